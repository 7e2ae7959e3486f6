/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/devices.h"
#include "guest/agent/path.h"

typedef Supermachine__Agent__V1__Container container;

/* The root becomes a mount of its own, on the directory that it is a copy of. */
static int bind_root(struct sm_mounts *ms, const container *c)
{
	char path[PATH_MAX];
	sm_auto_close int at = -1, mnt = -1;
	int r = sm_mount_export_path(ms->host, c->root_export, path, sizeof(path));

	if (r < 0)
		return r;
	at = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return -errno;
	mnt = sm_mount_clone(at, "", 1);
	if (mnt < 0)
		return mnt;
	r = sm_mount_attach(mnt, at);
	if (r < 0)
		return r;
	ms->root = sm_steal_fd(&mnt);
	return sm_mount_propagation(ms->root, MS_PRIVATE | MS_REC);
}

int sm_rootfs_make(struct sm_mounts *ms, const container *c, struct sm_err *err)
{
	int r;

	if (c->n_mounts > SM_MOUNTS_MAX)
		return sm_err_sys(err, -E2BIG, "%zu mounts", c->n_mounts);
	/* nothing that is mounted from here on may show in the VM's own namespace */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return sm_err_sys(err, errno, "%s", "make the mounts private");
	r = bind_root(ms, c);
	if (r < 0)
		return sm_err_sys(err, r, "bind the root filesystem \"%s\"", c->root_export);
	for (size_t i = 0; i < c->n_mounts; i++) {
		r = sm_mount_apply(ms, c->mounts[i], err);
		if (r < 0)
			return r;
	}
	return sm_devices_make(ms->root, c, err);
}

static int make_readonly(int root, const char *path)
{
	sm_auto_close int at = sm_path_open(root, path, O_PATH);
	sm_auto_close int mnt = -1;
	int r;

	if (at < 0)
		return at == -ENOENT || at == -ENOTDIR ? 0 : at;
	mnt = sm_mount_clone(at, "", 1);
	if (mnt < 0)
		return mnt;
	r = sm_mount_attr(mnt, MOUNT_ATTR_RDONLY, 0, 0);
	return r < 0 ? r : sm_mount_attach(mnt, at);
}

static int mask(int root, const char *path, struct sm_err *err)
{
	sm_auto_close int at = sm_path_open(root, path, O_PATH);
	sm_auto_close int mnt = -1;
	struct stat st;

	if (at < 0)
		return at == -ENOENT || at == -ENOTDIR ? 0 : at;
	if (fstat(at, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		mnt = sm_mount_new("tmpfs", "tmpfs", "nr_blocks=1,nr_inodes=1", MS_RDONLY, err);
	else
		mnt = sm_mount_clone(AT_FDCWD, "/dev/null", 0);
	return mnt < 0 ? mnt : sm_mount_attach(mnt, at);
}

static int hide_paths(int root, const container *c, struct sm_err *err)
{
	for (size_t i = 0; i < c->n_readonly_paths; i++) {
		int r = make_readonly(root, c->readonly_paths[i]);

		if (r < 0)
			return sm_err_sys(err, r, "make path \"%s\" read-only",
					  c->readonly_paths[i]);
	}
	for (size_t i = 0; i < c->n_masked_paths; i++) {
		int r = mask(root, c->masked_paths[i], err);

		if (r < 0)
			return sm_err_sys(err, r, "mask path \"%s\"", c->masked_paths[i]);
	}
	return 0;
}

static int pivot(int root)
{
	/* old and new root at one place: the old one is on top after it, see pivot_root(2) */
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

int sm_rootfs_finish(struct sm_mounts *ms, const container *c, struct sm_err *err)
{
	sm_auto_close int cwd = sm_path_make_dir(ms->root, c->process->cwd);
	int r;

	if (cwd < 0)
		return sm_err_sys(err, cwd, "mkdir %s", c->process->cwd);
	r = hide_paths(ms->root, c, err);
	if (r == 0)
		r = sm_mount_finish(ms, err);
	if (r < 0)
		return r;
	r = c->root_readonly ? sm_mount_attr(ms->root, MOUNT_ATTR_RDONLY, 0, 0) : 0;
	if (r < 0)
		return sm_err_sys(err, r, "%s", "make the root filesystem read-only");
	r = pivot(ms->root);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "pivot_root");
	r = sm_mount_propagation(ms->root, c->root_propagation);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "set the propagation of the root filesystem");
	sm_close(&ms->root);
	return 0;
}

int sm_sysctl_path(const char *key, char *path, size_t size)
{
	/* as sysctl(8): the first separator tells which of the two is one */
	const char *first = strpbrk(key, "./");
	size_t len = strlen(key);

	if (!len || len >= size || !first || strstr(key, "..") || strstr(key, "//") ||
	    key[0] == '.' || key[0] == '/')
		return -EINVAL;
	for (size_t i = 0; i <= len; i++) {
		path[i] = key[i];
		if (*first == '.' && key[i] == '.')
			path[i] = '/';
		else if (*first == '.' && key[i] == '/')
			path[i] = '.';
	}
	/* a swapped "/" may have become a ".." that names a directory */
	return strstr(path, "/../") || strstr(path, "//") ? -EINVAL : 0;
}

int sm_sysctl_set(const container *c, struct sm_err *err)
{
	sm_auto_close int dir =
		c->n_sysctl ? open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	for (size_t i = 0; i < c->n_sysctl; i++) {
		char path[256];
		int r = sm_sysctl_path(c->sysctl[i]->key, path, sizeof(path));

		if (r == 0)
			r = sm_write_existing_at(dir, path, c->sysctl[i]->value);
		if (r < 0)
			return sm_err_sys(err, r, "set sysctl \"%s\" to \"%s\"", c->sysctl[i]->key,
					  c->sysctl[i]->value);
	}
	return 0;
}
