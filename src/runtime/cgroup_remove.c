/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a container's cgroup. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/cgroup.h"
#include "runtime/store.h"

#define TEXT_MAX (1u << 20)
#define REMOVE_NS (10ull * 1000000000)
#define DEPTH_MAX 64

/* Kills the processes of one cgroup and waits for their end. Returns how many there were. */
static int kill_processes(int dirfd, uint64_t deadline)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(TEXT_MAX);
	char *rest, *line;
	int n = 0;

	if (sm_read_file_at(dirfd, "cgroup.procs", &text) < 0 || !text.data)
		return 0;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n")) && *line) {
		pid_t pid = (pid_t)atol(line);
		sm_auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
		uint64_t now = sm_now_ns();

		n++;
		if (fd < 0 || pid == getpid())
			continue;
		syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		sm_proc_wait_end(fd, now < deadline ? (int)((deadline - now) / 1000000) : 0);
	}
	return n;
}

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

static int remove_at(int parent, const char *name, uint64_t deadline, int depth);

static int remove_children(int dirfd, uint64_t deadline, int depth)
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
			r = remove_at(dirfd, e->d_name, deadline, depth + 1);
	return r;
}

static int remove_at(int parent, const char *name, uint64_t deadline, int depth)
{
	sm_auto_close int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	for (;;) {
		while (kill_processes(fd, deadline) && sm_now_ns() < deadline)
			wait_for_change(fd);
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY && errno != ENOTEMPTY)
			return -errno;
		if (sm_now_ns() >= deadline)
			return -EBUSY;
		r = depth < DEPTH_MAX ? remove_children(fd, deadline, depth) : -ELOOP;
		if (r < 0)
			return r;
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
			return 0;
		wait_for_change(fd);
	}
}

int sm_cgroup_remove(const struct sm_strs *dirs, struct sm_err *err)
{
	uint64_t deadline = sm_now_ns() + REMOVE_NS;
	int ret = 0;

	for (size_t i = 0; i < dirs->n; i++) {
		int r = remove_at(AT_FDCWD, dirs->v[i], deadline, 0);

		if (r < 0 && ret == 0)
			ret = sm_err_sys(err, r, "cgroup: remove %s", dirs->v[i]);
	}
	return ret;
}
