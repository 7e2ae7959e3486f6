/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define LIMIT_NS (10ull * 1000000000)
#define DEFAULT_PATH "/bin:/usr/bin"	/* execvp's where PATH is not set */

static void run_child(const char *const argv[], int out)
{
	int null = open("/dev/null", O_RDWR);

	signal(SIGPIPE, SIG_DFL);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* To the end of what it says. -ETIMEDOUT if that does not come. */
static int read_output(int fd, struct sm_buf *out)
{
	uint64_t deadline = sm_now_ns() + LIMIT_NS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char chunk[4096];
	ssize_t n;

	for (;;) {
		uint64_t now = sm_now_ns();

		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline - now) / 1000000) + 1) <= 0)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		sm_buf_put(out, chunk, (size_t)n);	/* what is too much is left out */
	}
}

int sm_program_output(const char *const argv[], struct sm_buf *out)
{
	int p[2], status, r;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run_child(argv, p[1]);
	close(p[1]);
	r = pid < 0 ? -EAGAIN : read_output(p[0], out);
	close(p[0]);
	if (pid < 0)
		return r;
	if (r < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;	/* SIGCHLD is ignored: nobody knows how it ended */
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static bool executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool sm_program_exists(const char *name)
{
	const char *dir = getenv("PATH");

	if (!*name || strchr(name, '/'))
		return *name && executable(name);
	for (dir = dir ? dir : DEFAULT_PATH;; dir++) {
		size_t n = strcspn(dir, ":");
		sm_auto_free char *path = sm_strf("%.*s%s%s", (int)n, dir, n ? "/" : "", name);

		if (path && executable(path))
			return true;
		dir += n;
		if (!*dir)
			return false;
	}
}
