/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/export.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/idmap.h"

#define ANSWER_MAX 4096

#ifndef MOUNT_ATTR_NOSYMFOLLOW /* Linux 5.14 */
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* mount_setattr() is there from Linux 5.12 on; what it cannot do is left to sm-vmm's own checks. */
static void restrict_mount(const struct sm_guest_export *e, bool follow, int mnt)
{
	const unsigned int flags = AT_EMPTY_PATH | (e->recursive ? AT_RECURSIVE : 0);
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    (follow ? 0 : MOUNT_ATTR_NOSYMFOLLOW) |
			    (e->readonly ? MOUNT_ATTR_RDONLY : 0),
		.propagation = MS_PRIVATE,
	};
	long r = syscall(SYS_mount_setattr, mnt, "", flags, &attr, sizeof(attr));

	if (r < 0 && errno == EINVAL) {
		attr.attr_set &= ~(uint64_t)MOUNT_ATTR_NOSYMFOLLOW;
		r = syscall(SYS_mount_setattr, mnt, "", flags, &attr, sizeof(attr));
	}
	if (r < 0)
		sm_debug("%s: mount_setattr: %s: no restrictions by the kernel", e->path,
			 strerror(errno));
}

/* The mount of what fd stands for. */
static int clone_mount(const struct sm_guest_export *e, bool follow, int fd, struct sm_err *err)
{
	const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
				   (e->recursive ? AT_RECURSIVE : 0);
	sm_auto_close int mnt = (int)syscall(SYS_open_tree, fd, "", flags);
	int r;

	if (mnt < 0)
		return sm_err_sys(err, errno, "%s of %s", e->idmap ? "id-mapped mount" : "mount",
				  e->path);
	r = e->idmap ? sm_idmap_apply(mnt, e->path, e->idmap, err) : 0;
	if (r < 0)
		return r;
	restrict_mount(e, follow, mnt);
	return sm_steal_fd(&mnt);
}

int sm_export_mount(const struct sm_guest_export *e, bool follow, struct sm_err *err)
{
	sm_auto_close int fd = open(e->path, O_PATH | O_CLOEXEC);

	return fd < 0 ? sm_err_sys(err, errno, "%s", e->path) : clone_mount(e, follow, fd, err);
}

/* A descriptor, or -errno with a message. */
static int open_one(const struct sm_guest_export *e, bool root, struct sm_err *err)
{
	sm_auto_close int fd = open(e->path, O_PATH | O_CLOEXEC);
	int mnt;

	if (fd < 0)
		return sm_err_sys(err, errno, "%s \"%s\"", root ? "rootfs" : "mount source",
				  e->path);
	mnt = clone_mount(e, false, fd, err);
	if (mnt >= 0 || e->idmap)
		return mnt;
	sm_debug("%s: shared by its place in the host's tree", sm_err_text(err));
	sm_err_clear(err);
	return sm_steal_fd(&fd);
}

static int open_here(const struct sm_guest_export *e, size_t n, int *fds, struct sm_err *err)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = open_one(&e[i], i == 0, err);
		if (fds[i] < 0) {
			while (i-- > 0)
				close(fds[i]);
			return err->code;
		}
	}
	return 0;
}

/* ---- in another namespace: by a child -------------------------------------------------------- */

struct answer {
	int code;
	char text[ANSWER_MAX];
};

static void child(int sock, const struct sm_guest_export *e, size_t n, const struct sm_mntns *in)
{
	struct sm_err err = SM_ERR_INIT;
	struct answer answer = { 0 };
	int fds[SM_IO_FDS_MAX];
	int r = sm_mntns_enter(in);

	if (r < 0)
		sm_err_sys(&err, r, "mount namespace of createContainer hooks");
	else
		r = open_here(e, n, fds, &err);
	answer.code = r;
	if (r < 0)
		snprintf(answer.text, sizeof(answer.text), "%s", sm_err_text(&err));
	sm_send_fds(sock, &answer, sizeof(answer), fds, r < 0 ? 0 : n);
	_exit(0);
}

static int receive(int sock, size_t n, int *fds, struct sm_err *err)
{
	struct answer answer;
	size_t got = n;
	ssize_t len = sm_recv_fds(sock, &answer, sizeof(answer), fds, &got);

	if (len < 0)
		return sm_err_sys(err, (int)len, "exports");
	if (len != sizeof(answer) || (answer.code == 0 && got != n))
		return sm_err_set(err, -ECHILD, "exports: the process that opens them was killed");
	return answer.code < 0 ? sm_err_set(err, answer.code, "%s", answer.text) : 0;
}

static int open_inside(const struct sm_guest_export *e, size_t n, const struct sm_mntns *in,
		       int *fds, struct sm_err *err)
{
	int sock[2];
	pid_t pid;
	int r;

	/* a packet each, whole or not at all */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return sm_err_sys(err, errno, "socketpair");
	pid = fork();
	if (pid == 0)
		child(sock[1], e, n, in);
	close(sock[1]);
	r = pid < 0 ? sm_err_sys(err, errno, "fork") : receive(sock[0], n, fds, err);
	close(sock[0]);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return r;
}

int sm_export_open(const struct sm_guest_export *e, size_t n, const struct sm_mntns *in, int *fds,
		   struct sm_err *err)
{
	if (n > SM_IO_FDS_MAX)
		return sm_err_set(err, -E2BIG, "more than %d exports", SM_IO_FDS_MAX);
	return in ? open_inside(e, n, in, fds, err) : open_here(e, n, fds, err);
}
