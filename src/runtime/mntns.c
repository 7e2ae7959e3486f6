/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A child makes the namespace and waits; it is opened through its /proc entries, then the child is
 * let go. sm-runtime itself never leaves its namespace: from within a chroot there would be no
 * return.
 */
#include "runtime/mntns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

/* Mounts of the host still arrive, none of ours leave; the root is private, as runc has it. */
static int furnish(const char *rootfs)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return -errno;
	if (mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount(NULL, rootfs, NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return -errno;
	return 0;
}

static void child(int sock, const char *rootfs)
{
	int r = furnish(rootfs);
	char end;

	if (sm_write_full(sock, &r, sizeof(r)) == 0)
		sm_read_full(sock, &end, 1);
	_exit(0);
}

static int open_entry(pid_t pid, const char *entry, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, entry);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int collect(int sock, pid_t pid, struct sm_mntns *ns)
{
	int r, rc = sm_read_full(sock, &r, sizeof(r));

	if (rc < 0 || r < 0)
		return rc < 0 ? rc : r;
	ns->ns = open_entry(pid, "ns/mnt", O_RDONLY);
	ns->root = open_entry(pid, "root", O_PATH | O_DIRECTORY);
	return ns->ns < 0 ? ns->ns : ns->root < 0 ? ns->root : 0;
}

int sm_mntns_make(const char *rootfs, struct sm_mntns *ns, struct sm_err *err)
{
	int sock[2];
	pid_t pid;
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		return sm_err_sys(err, errno, "socketpair");
	pid = fork();
	if (pid == 0) {
		close(sock[0]);
		child(sock[1], rootfs);
	}
	r = pid < 0 ? -errno : 0;
	close(sock[1]);
	if (r == 0)
		r = collect(sock[0], pid, ns);
	close(sock[0]);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	if (r == 0)
		return 0;
	sm_mntns_close(ns);
	return sm_err_sys(err, r, "mount namespace for createContainer hooks");
}

void sm_mntns_close(struct sm_mntns *ns)
{
	sm_close(&ns->ns);
	sm_close(&ns->root);
}

int sm_mntns_enter(const struct sm_mntns *ns)
{
	return setns(ns->ns, CLONE_NEWNS) < 0 || fchdir(ns->root) < 0 || chroot(".") < 0 ? -errno
											 : 0;
}
