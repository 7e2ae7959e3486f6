/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/copyup.h"
#include "guest/agent/path.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

static const struct {
	uint64_t ms;
	uint64_t attr;
} attrs[] = {
	{ MS_RDONLY, MOUNT_ATTR_RDONLY },
	{ MS_NOSUID, MOUNT_ATTR_NOSUID },
	{ MS_NODEV, MOUNT_ATTR_NODEV },
	{ MS_NOEXEC, MOUNT_ATTR_NOEXEC },
	{ MS_NODIRATIME, MOUNT_ATTR_NODIRATIME },
	{ MS_NOATIME, MOUNT_ATTR_NOATIME },
	{ MS_STRICTATIME, MOUNT_ATTR_STRICTATIME },
	{ MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
};

/* Those of the superblock */
static const struct {
	uint64_t ms;
	const char *name;
} sb_flags[] = {
	{ MS_RDONLY, "ro" },
	{ MS_SYNCHRONOUS, "sync" },
	{ MS_DIRSYNC, "dirsync" },
	{ MS_MANDLOCK, "mand" },
	{ MS_LAZYTIME, "lazytime" },
};

#define MS_ATIMES (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)

/* A failure whose text needs no more than the errno: the caller says what was done. */
static int plain(struct sm_err *err, int code)
{
	sm_err_clear(err);
	if (err)
		err->code = code;
	return code;
}

static uint64_t attr_of(uint64_t ms)
{
	uint64_t attr = 0;

	for (size_t i = 0; i < SM_ARRAY_SIZE(attrs); i++)
		if (ms & attrs[i].ms)
			attr |= attrs[i].attr;
	return attr;
}

/* proc, sysfs and their like: one superblock serves many mounts, so read-only is the mount's. */
static bool is_pseudo(const char *type)
{
	static const char *const names[] = { "proc",   "sysfs",  "cgroup2", "mqueue", "devpts",
					     "tmpfs",  "debugfs", "tracefs", "bpf",    "securityfs",
					     "devtmpfs" };

	for (size_t i = 0; i < SM_ARRAY_SIZE(names); i++)
		if (!strcmp(type, names[i]))
			return true;
	return false;
}

int sm_mount_export_path(const char *host, const char *name, char *path, size_t size)
{
	if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return (size_t)snprintf(path, size, "%s/%s", host, name) < size ? 0 : -EINVAL;
}

int sm_mount_clone(int dirfd, const char *path, int recursive)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	int fd;

	if (!*path)
		flags |= AT_EMPTY_PATH;
	if (recursive)
		flags |= AT_RECURSIVE;
	fd = (int)syscall(SYS_open_tree, dirfd, path, flags);
	return fd < 0 ? -errno : fd;
}

int sm_mount_attach(int mnt, int to)
{
	int r = (int)syscall(SYS_move_mount, mnt, "", to, "",
			     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);

	return r < 0 ? -errno : 0;
}

static int set_attr(int mnt, struct mount_attr *attr, int recursive)
{
	unsigned int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	int r = (int)syscall(SYS_mount_setattr, mnt, "", flags, attr, sizeof(*attr));

	return r < 0 ? -errno : 0;
}

int sm_mount_attr(int mnt, uint64_t set, uint64_t clear, int recursive)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear };

	if (!set && !clear)
		return 0;
	/* the access time bits are one number, which is replaced as a whole */
	if ((set | clear) & MOUNT_ATTR__ATIME)
		attr.attr_clr |= MOUNT_ATTR__ATIME;
	return set_attr(mnt, &attr, recursive);
}

int sm_mount_propagation(int mnt, uint64_t ms)
{
	struct mount_attr attr = {
		.propagation = ms & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE),
	};

	return attr.propagation ? set_attr(mnt, &attr, (ms & MS_REC) != 0) : 0;
}

/* What the filesystem wrote about its error, e.g. "tmpfs: Unknown parameter 'x'" */
static int fs_error(int fs, int code, struct sm_err *err)
{
	char text[256];
	ssize_t n = read(fs, text, sizeof(text) - 1);

	if (n > 2 && text[0] == 'e') {
		text[n] = '\0';
		text[strcspn(text, "\n")] = '\0';
		return sm_err_sys(err, code, "%s", text + 2);
	}
	return plain(err, code);
}

static int config(int fs, unsigned int cmd, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, cmd, key, value, 0) < 0 ? -errno : 0;
}

static int config_data(int fs, const char *data)
{
	sm_auto_free char *copy = strdup(data);
	char *save = NULL;

	if (!copy)
		return -ENOMEM;
	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(o, '=');
		int r;

		if (eq)
			*eq = '\0';
		r = config(fs, eq ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o, eq ? eq + 1 : NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

static int config_flags(int fs, const char *type, uint64_t flags)
{
	if (is_pseudo(type))
		flags &= ~(uint64_t)MS_RDONLY;
	for (size_t i = 0; i < SM_ARRAY_SIZE(sb_flags); i++) {
		int r = 0;

		if (flags & sb_flags[i].ms)
			r = config(fs, FSCONFIG_SET_FLAG, sb_flags[i].name, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

int sm_mount_new(const char *type, const char *source, const char *data, uint64_t flags,
		 struct sm_err *err)
{
	sm_auto_close int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	int r, mnt;

	if (fs < 0)
		return sm_err_sys(err, errno, "filesystem type \"%s\"", type);
	r = *source ? config(fs, FSCONFIG_SET_STRING, "source", source) : 0;
	if (r == 0)
		r = config_flags(fs, type, flags);
	if (r == 0)
		r = config_data(fs, data);
	if (r == 0)
		r = config(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
	if (r < 0)
		return fs_error(fs, r, err);
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attr_of(flags));
	return mnt < 0 ? fs_error(fs, errno, err) : mnt;
}

static bool is_cgroup(const char *type)
{
	return !strcmp(type, "cgroup") || !strcmp(type, "cgroup2");
}

static const char *source_of(const Supermachine__Agent__V1__Mount *m)
{
	if (strcmp(m->type, "bind"))
		return *m->source ? m->source : m->type;
	return *m->export ? m->export : m->guest_source;
}

static int open_bind(const struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m,
		     struct sm_err *err)
{
	char path[PATH_MAX];
	int mnt, r = 0;

	if (*m->export)
		r = sm_mount_export_path(ms->host, m->export, path, sizeof(path));
	else if (snprintf(path, sizeof(path), "%s", m->guest_source) >= (int)sizeof(path))
		r = -ENAMETOOLONG;
	if (r < 0)
		return plain(err, r);
	mnt = sm_mount_clone(AT_FDCWD, path, (m->flags & MS_REC) != 0);
	return mnt < 0 ? plain(err, mnt) : mnt;
}

/* A mount with the options that the container asked for, from something of the VM. */
static int restrict_clone(int mnt, const Supermachine__Agent__V1__Mount *m, uint64_t flags,
			  struct sm_err *err)
{
	uint64_t set = attr_of(flags);
	uint64_t clear = attr_of(m->clear_flags) & ~set;
	int r;

	if ((flags | m->clear_flags) & MS_ATIMES)
		clear |= MOUNT_ATTR__ATIME;
	r = sm_mount_attr(mnt, set, clear, 0);
	/* flags that a user namespace has locked stay as they are */
	if (r == -EPERM && clear)
		r = sm_mount_attr(mnt, set, set & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : 0, 0);
	return r < 0 ? sm_err_sys(err, r, "%s", "set its options") : 0;
}

/* Without a cgroup namespace a cgroup mount shows the container's own directory only. */
static int open_cgroup(const struct sm_mounts *ms, uint64_t flags, struct sm_err *err)
{
	int mnt;

	if (!ms->cgroup)
		return sm_err_set(err, -ENOENT, "%s", "the container has no cgroup");
	if (ms->namespaces & CLONE_NEWCGROUP) {
		mnt = sm_mount_new("cgroup2", "cgroup", "", flags, err);
		if (mnt >= 0)
			return mnt;
		sm_err_clear(err);
	}
	mnt = sm_mount_clone(AT_FDCWD, ms->cgroup, 1);
	if (mnt < 0)
		return plain(err, mnt);
	sm_mount_attr(mnt, attr_of(flags), 0, 1);
	return mnt;
}

/* The mode of a tmpfs that is given none is that of the directory it covers, as with runc. */
static int open_tmpfs(const struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m,
		      uint64_t flags, struct sm_err *err)
{
	sm_auto_close int under = sm_path_open(ms->root, m->destination, O_PATH | O_DIRECTORY);
	sm_auto_free char *data = NULL;
	struct stat st;

	if (under < 0 || fstat(under, &st) < 0)
		return sm_mount_new("tmpfs", source_of(m), m->data, flags, err);
	data = sm_strf("mode=%04o%s%s", st.st_mode & 07777u, *m->data ? "," : "", m->data);
	if (!data)
		return plain(err, -ENOMEM);
	return sm_mount_new("tmpfs", source_of(m), data, flags, err);
}

/* A user namespace that does not own the network may not mount sysfs: it gets the VM's,
 * read-only. */
static int open_sysfs(const struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m,
		      uint64_t flags, struct sm_err *err)
{
	int mnt = sm_mount_new("sysfs", source_of(m), m->data, flags, err);

	if (mnt != -EPERM || !(ms->namespaces & CLONE_NEWUSER) || !(m->flags & MS_RDONLY))
		return mnt;
	mnt = sm_mount_clone(AT_FDCWD, "/sys", 1);
	if (mnt < 0)
		return mnt;
	sm_err_clear(err);
	sm_mount_attr(mnt, attr_of(flags), 0, 1);
	return mnt;
}

static int open_detached(const struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m,
			 uint64_t flags, struct sm_err *err)
{
	if (!strcmp(m->type, "bind")) {
		sm_auto_close int mnt = open_bind(ms, m, err);
		int r = mnt < 0 ? mnt : restrict_clone(mnt, m, flags, err);

		return r < 0 ? r : sm_steal_fd(&mnt);
	}
	if (is_cgroup(m->type))
		return open_cgroup(ms, flags, err);
	if (!strcmp(m->type, "tmpfs"))
		return open_tmpfs(ms, m, flags, err);
	if (!strcmp(m->type, "sysfs"))
		return open_sysfs(ms, m, flags, err);
	return sm_mount_new(m->type, source_of(m), m->data, flags, err);
}

static bool is_dev(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	return len == 4 && !memcmp(path, "/dev", 4);
}

/* Takes over fd. */
static int remember_late(struct sm_mounts *ms, int fd)
{
	int *late = realloc(ms->late, (ms->nlate + 1) * sizeof(*late));

	if (!late)
		return -ENOMEM;
	ms->late = late;
	late[ms->nlate++] = fd;
	return 0;
}

static int attach(struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m, int mnt,
		  struct sm_err *err)
{
	sm_auto_close int to = m->is_file ? sm_path_make_file(ms->root, m->destination) :
					    sm_path_make_dir(ms->root, m->destination);
	int r = 0;

	if (to < 0)
		return sm_err_sys(err, to, "%s", "make the mount point");
	if (m->copy_up && !strcmp(m->type, "tmpfs"))
		r = sm_copy_up(to, mnt);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "copy what the directory holds");
	r = sm_mount_attach(mnt, to);
	if (r < 0)
		return plain(err, r);
	for (size_t i = 0; i < m->n_propagation && r == 0; i++)
		r = sm_mount_propagation(mnt, m->propagation[i]);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "set its propagation");
	r = sm_mount_attr(mnt, m->rec_set, m->rec_clear, 1);
	return r < 0 ? sm_err_sys(err, r, "%s", "set its recursive options") : 0;
}

int sm_mount_apply(struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m,
		   struct sm_err *err)
{
	/* what other mounts or device nodes are to be made on stays writable until all are made */
	bool late = (m->flags & MS_RDONLY) && (!strcmp(m->type, "tmpfs") || is_dev(m->destination));
	uint64_t flags = late ? m->flags & ~(uint64_t)MS_RDONLY : m->flags;
	sm_auto_close int mnt = open_detached(ms, m, flags, err);
	int r = mnt;

	if (r >= 0)
		r = attach(ms, m, mnt, err);
	if (r >= 0 && late) {
		r = remember_late(ms, mnt);
		if (r < 0)
			plain(err, r);
		else
			sm_steal_fd(&mnt);
	}
	if (r < 0)
		return sm_err_wrap(err, "mount \"%s\" to \"%s\"", source_of(m), m->destination);
	return 0;
}

int sm_mount_finish(struct sm_mounts *ms, struct sm_err *err)
{
	int r = 0;

	for (size_t i = 0; i < ms->nlate && r == 0; i++) {
		r = sm_mount_attr(ms->late[i], MOUNT_ATTR_RDONLY, 0, 0);
		sm_close(&ms->late[i]);
	}
	free(ms->late);
	ms->late = NULL;
	ms->nlate = 0;
	return r < 0 ? sm_err_sys(err, r, "%s", "make a mount read-only") : 0;
}
