/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clean.h"
#include "guest/agent/mount.h"
#include "guest/agent/path.h"

typedef Supermachine__Agent__V1__Device device;

/* runtime-spec config-linux.md#default-devices */
static const struct {
	const char *path;
	unsigned int major, minor;
} defaults[] = {
	{ "/dev/null", 1, 3 },	{ "/dev/zero", 1, 5 },	  { "/dev/full", 1, 7 },
	{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct {
	const char *target, *path;
} links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
	{ "/proc/kcore", "/dev/core" },
};

/* The VM's node of the same name, if it is the same device, on a file in the container. */
static int bind_node(int root, const device *d)
{
	sm_auto_close int to = -1, mnt = sm_mount_clone(AT_FDCWD, d->path, 0);
	struct stat st;

	if (mnt < 0)
		return mnt;
	if (fstat(mnt, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != d->type || st.st_rdev != makedev(d->major, d->minor))
		return -ENODEV;
	to = sm_path_make_file(root, d->path);
	return to < 0 ? to : sm_mount_attach(mnt, to);
}

static int make_node(int root, const device *d)
{
	const char *name;
	sm_auto_close int dir = sm_path_make_parent(root, d->path, &name);

	if (dir < 0)
		return dir;
	if (mknodat(dir, name, d->type | (d->mode & 07777), makedev(d->major, d->minor)) < 0)
		return errno == EEXIST ? 0 : -errno;
	return fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int make_device(int root, const device *d, bool bind, struct sm_err *err)
{
	int r;

	if (d->path[0] != '/' || (d->type != S_IFCHR && d->type != S_IFBLK && d->type != S_IFIFO))
		return sm_err_sys(err, -EINVAL, "device \"%s\"", d->path);
	r = bind && d->type != S_IFIFO ? -EPERM : make_node(root, d);
	if (r == -EPERM && d->type != S_IFIFO)
		r = bind_node(root, d);
	return r < 0 ? sm_err_sys(err, r, "make device \"%s\"", d->path) : 0;
}

static int make_link(int root, const char *target, const char *path)
{
	const char *name;
	sm_auto_close int dir = sm_path_make_parent(root, path, &name);

	if (dir < 0)
		return dir;
	return symlinkat(target, dir, name) < 0 && errno != EEXIST ? -errno : 0;
}

/* /dev/ptmx must be that of the container's own devpts, whatever was there. */
static int make_ptmx(int root)
{
	const char *name;
	sm_auto_close int dir = sm_path_make_parent(root, "/dev/ptmx", &name);

	if (dir < 0)
		return dir;
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return -errno;
	return symlinkat("pts/ptmx", dir, name) < 0 ? -errno : 0;
}

static int make_links(int root, struct sm_err *err)
{
	int r;

	for (size_t i = 0; i < SM_ARRAY_SIZE(links); i++) {
		if (!strcmp(links[i].path, "/dev/core")) {
			sm_auto_close int fd = sm_path_open(root, links[i].target, O_PATH);

			if (fd < 0)
				continue;
		}
		r = make_link(root, links[i].target, links[i].path);
		if (r < 0)
			return sm_err_sys(err, r, "make link \"%s\"", links[i].path);
	}
	r = make_ptmx(root);
	return r < 0 ? sm_err_sys(err, r, "%s", "make link \"/dev/ptmx\"") : 0;
}

/* A /dev that is bound from elsewhere is complete: runc leaves it alone too. */
static bool dev_is_bound(const Supermachine__Agent__V1__Container *c)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (!strcmp(c->mounts[i]->type, "bind") &&
		    (!strcmp(c->mounts[i]->destination, "/dev") ||
		     !strcmp(c->mounts[i]->destination, "/dev/")))
			return true;
	return false;
}

int sm_devices_make(int root, const Supermachine__Agent__V1__Container *c, struct sm_err *err)
{
	bool bind = (c->namespaces & CLONE_NEWUSER) != 0;
	int r = 0;

	if (dev_is_bound(c))
		return 0;
	for (size_t i = 0; i < c->n_devices && r == 0; i++)
		r = make_device(root, c->devices[i], bind, err);
	for (size_t i = 0; i < SM_ARRAY_SIZE(defaults) && r == 0 && c->default_devices; i++) {
		device d = {
			.path = (char *)(uintptr_t)defaults[i].path,
			.type = S_IFCHR,
			.major = defaults[i].major,
			.minor = defaults[i].minor,
			.mode = 0666,
		};

		r = make_device(root, &d, bind, err);
	}
	return r == 0 && c->default_devices ? make_links(root, err) : r;
}
