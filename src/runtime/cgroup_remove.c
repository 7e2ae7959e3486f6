/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Whoever asks for the end of a cgroup has ended the container's sm-vmm before, and with it went
 * its pid namespace, or, by parent-death signals, QEMU. So what is still there is one of
 *
 *	ours		sm-vmm of a container whose state is lost, known by its --state-dir; the
 *			process of a detached exec, known by the state directory it holds
 *			open						killed, waited for
 *	dying		a signal or its own exit ends it already	waited for
 *	a stranger	another container that was given the same cgroup, or one below, after
 *			ours had stopped; whoever else was put there	left, and the cgroup with it
 */
#include "runtime/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/store.h"

#define TEXT_MAX   (1u << 20)
#define REMOVE_NS  (10ull * 1000000000)
#define GRACE_MS   50
#define GRACES     4
#define DEPTH_MAX  64
#define PF_EXITING 4ul /* include/linux/sched.h */

struct removal {
	struct stat owner; /* the state directory */
	bool owned;        /* there is one */
	bool strangers;    /* have been found, and told of */
	uint64_t deadline;
};

/* ---- whose a process is --------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* sm-vmm is told its state directory; the path's spelling does not matter. */
static bool serves_owner(const struct removal *rm, int proc)
{
	static const char option[] = "--state-dir";
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(TEXT_MAX);
	const char *arg, *end;
	struct stat st;

	if (sm_read_file_at(proc, "cmdline", &text) < 0 || !text.data)
		return false;
	arg = (const char *)text.data;
	for (end = arg + text.len; arg < end; arg += strlen(arg) + 1)
		if (!strcmp(arg, option) && arg + sizeof(option) < end)
			return stat(arg + sizeof(option), &st) == 0 && same_file(&st, &rm->owner);
	return false;
}

static bool holds_owner(const struct removal *rm, int proc)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sm_auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!dir) {
		sm_close(&fd);
		return false;
	}
	while ((e = readdir(dir)))
		if (fstatat(fd, e->d_name, &st, 0) == 0 && same_file(&st, &rm->owner))
			return true;
	return false;
}

static bool has_sigkill(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at && strtoull(at + strlen(name), NULL, 16) & 1ull << (SIGKILL - 1);
}

/* proc(5): the state and the flags are the 3rd and the 9th field of stat, after the name. */
static bool is_dying(int proc)
{
	sm_auto_buf struct sm_buf stat = SM_BUF_INIT(4096), status = SM_BUF_INIT(TEXT_MAX);
	const char *fields;
	unsigned long flags;
	char state;

	if (sm_read_file_at(proc, "stat", &stat) < 0 || !stat.data ||
	    sm_read_file_at(proc, "status", &status) < 0 || !status.data)
		return true;
	fields = strrchr((const char *)stat.data, ')');
	if (fields && sscanf(fields + 1, " %c %*d %*d %*d %*d %*d %lu", &state, &flags) == 2 &&
	    (state == 'Z' || state == 'X' || flags & PF_EXITING))
		return true;
	return has_sigkill((const char *)status.data, "\nSigPnd:") ||
	       has_sigkill((const char *)status.data, "\nShdPnd:");
}

static int ms_left(const struct removal *rm)
{
	uint64_t now = sm_now_ns();

	return now < rm->deadline ? (int)((rm->deadline - now) / 1000000) : 0;
}

/* Returns 0 when the process has ended, or at the deadline; -EBUSY: it is a stranger. Between the
 * signal and the exit there is a moment at which nothing shows that a process is dying, so it is
 * looked at more than once. */
static int end_process(const struct removal *rm, pid_t pid)
{
	sm_auto_free char *path = sm_strf("/proc/%d", (int)pid);
	sm_auto_close int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	sm_auto_close int proc = -1;

	if (pid <= 0 || pid == getpid()) /* 0: of a pid namespace that we don't see */
		return -EBUSY;
	if (pidfd < 0)
		return errno == ESRCH ? 0 : -EBUSY;
	proc = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (proc < 0 && errno == ENOENT)
		return 0;
	if (rm->owned && (serves_owner(rm, proc) || holds_owner(rm, proc))) {
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		sm_proc_wait_end(pidfd, ms_left(rm));
		return 0;
	}
	for (int i = 0; i < (rm->strangers ? 1 : GRACES); i++) {
		if (is_dying(proc)) {
			sm_proc_wait_end(pidfd, ms_left(rm));
			return 0;
		}
		if (sm_proc_wait_end(pidfd, GRACE_MS) == 0)
			return 0;
	}
	return -EBUSY;
}

/* Returns how many processes were there; -EBUSY: one is a stranger, *stranger. */
static int end_processes(const struct removal *rm, int dirfd, pid_t *stranger)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(TEXT_MAX);
	char *rest, *line;
	int n = 0;

	if (sm_read_file_at(dirfd, "cgroup.procs", &text) < 0 || !text.data)
		return 0;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n")) && *line) {
		*stranger = (pid_t)atol(line);
		if (end_process(rm, *stranger) < 0)
			return -EBUSY;
		n++;
	}
	return n;
}

/* ---- directories ---------------------------------------------------------------------------- */

/*
 * A process leaves its cgroup a little after its pidfd tells its end. Version 2 reports that by an
 * event on cgroup.events; version 1 has nothing of the kind, so a short timeout is all there is.
 */
static void wait_for_change(int dirfd)
{
	sm_auto_close int fd = openat(dirfd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	char text[256];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n > 0) {
		text[n] = '\0';
		if (strstr(text, "populated 0"))
			return;
	}
	poll(&p, n > 0 ? 1 : 0, n > 0 ? 100 : 2);
}

static int remove_at(struct removal *rm, int parent, const char *name, int depth);

static int remove_children(struct removal *rm, int dirfd, int depth)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sm_auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		sm_close(&fd);
		return -ENOENT;
	}
	while (r == 0 && (e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			r = remove_at(rm, dirfd, e->d_name, depth + 1);
	return r;
}

/* Until nobody is in it, a stranger is found, or time is over. */
static int empty(struct removal *rm, int dirfd, const char *name)
{
	pid_t stranger = 0;
	int n;

	while ((n = end_processes(rm, dirfd, &stranger)) > 0 && sm_now_ns() < rm->deadline)
		wait_for_change(dirfd);
	if (n >= 0)
		return 0;
	if (!rm->strangers)
		sm_warn("cgroup: %s is left: process %d in it is not the container's", name,
			(int)stranger);
	rm->strangers = true;
	return n;
}

/* Returns 1 if it was left to others. */
static int remove_at(struct removal *rm, int parent, const char *name, int depth)
{
	sm_auto_close int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	for (;;) {
		if (empty(rm, fd, name) < 0)
			return 1;
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY && errno != ENOTEMPTY)
			return -errno;
		if (sm_now_ns() >= rm->deadline)
			return -EBUSY;
		r = depth < DEPTH_MAX ? remove_children(rm, fd, depth) : -ELOOP;
		if (r)
			return r;
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
			return 0;
		wait_for_change(fd);
	}
}

int sm_cgroup_remove(const struct sm_strs *dirs, int owner, struct sm_err *err)
{
	struct removal rm = { .deadline = sm_now_ns() + REMOVE_NS };
	int ret = 0;

	rm.owned = fstat(owner, &rm.owner) == 0;
	for (size_t i = 0; i < dirs->n; i++) {
		int r = remove_at(&rm, AT_FDCWD, dirs->v[i], 0);

		if (r < 0 && ret == 0)
			ret = sm_err_sys(err, r, "cgroup: remove %s", dirs->v[i]);
	}
	return ret;
}
