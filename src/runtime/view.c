/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A child opens the mounts here, then goes over into sm-vmm's namespace and puts them there: the
 * root over "/", which is where setns() leads and an absolute path of sm-vmm's does not, the others
 * on their destinations, resolved inside the root by the kernel.
 */
#include "runtime/view.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/log.h"
#include "runtime/export.h"

#ifndef MOVE_MOUNT_T_EMPTY_PATH
#define MOVE_MOUNT_T_EMPTY_PATH 0x00000040
#endif

/* A namespace of its own, not ours: nothing may be mounted over the host's. */
static int open_namespace(pid_t vmm)
{
	char path[64];
	struct stat ours, theirs;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)vmm);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (stat("/proc/self/ns/mnt", &ours) < 0 || fstat(fd, &theirs) < 0 ||
	    (ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)) {
		close(fd);
		return -EBUSY;
	}
	return fd;
}

static int open_export(const struct sm_guest_export *e, bool readonly)
{
	struct sm_guest_export shown = *e;
	struct sm_err err = SM_ERR_INIT;
	int fd;

	shown.readonly = readonly;
	fd = sm_export_mount(&shown, true, &err);
	if (fd < 0)
		sm_debug("view: %s", sm_err_text(&err));
	sm_err_clear(&err);
	return fd;
}

static const struct sm_guest_export *find(const struct sm_guest_container *g, const char *name)
{
	for (size_t i = 0; i < g->nexports; i++)
		if (!strcmp(g->exports[i].name, name))
			return &g->exports[i];
	return NULL;
}

static int attach(int mnt, int root, const char *destination)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	sm_auto_close int place = (int)syscall(SYS_openat2, root, destination, &how, sizeof(how));

	if (place < 0)
		return -errno;
	return syscall(SYS_move_mount, mnt, "", place, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
		       ? -errno
		       : 0;
}

static int show(const struct sm_guest_container *g, const struct sm_mntns *in, int ns)
{
	const Supermachine__Agent__V1__Container *c = g->msg;
	sm_auto_free int *mnt = calloc(c->n_mounts + 1, sizeof(*mnt));
	int root, r = mnt ? 0 : -ENOMEM;

	if (r == 0 && in)
		r = sm_mntns_enter(in);
	if (r < 0)
		return r;
	root = open_export(&g->exports[0], c->root_readonly);
	for (size_t i = 0; i < c->n_mounts; i++) {
		const Supermachine__Agent__V1__Mount *m = c->mounts[i];
		const struct sm_guest_export *e = *m->export ? find(g, m->export) : NULL;

		mnt[i] = e ? open_export(e, m->flags & MS_RDONLY) : -1;
	}
	if (root < 0)
		return root;
	if (setns(ns, CLONE_NEWNS) < 0 ||
	    syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	for (size_t i = 0; i < c->n_mounts; i++) {
		r = mnt[i] < 0 ? 0 : attach(mnt[i], root, c->mounts[i]->destination);
		if (r < 0)
			sm_debug("view: %s: %s", c->mounts[i]->destination, strerror(-r));
	}
	return 0;
}

void sm_view_attach(const struct sm_guest_container *g, const struct sm_mntns *in, pid_t vmm)
{
	sm_auto_close int ns = open_namespace(vmm);
	int r = ns < 0 ? ns : 0;
	pid_t pid = r < 0 ? -1 : fork();

	if (pid == 0) {
		r = show(g, in, ns);
		if (r < 0)
			sm_debug("view: %s", strerror(-r));
		_exit(0);
	}
	if (pid < 0) {
		sm_debug("view: %s", strerror(r < 0 ? -r : errno));
		return;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
