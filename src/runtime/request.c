/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/request.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* borrowed: not closed with the request. */
static int32_t put(struct sm_request_fds *fds, int fd, bool borrowed)
{
	fds->fd[fds->n] = fd;
	fds->borrowed[fds->n] = borrowed;
	return (int32_t)fds->n++;
}

int32_t sm_request_put(struct sm_request_fds *fds, int fd)
{
	return put(fds, fd, false);
}

void sm_request_free(struct sm_request_fds **fds)
{
	for (size_t i = 0; *fds && i < (*fds)->n; i++)
		if (!(*fds)->borrowed[i])
			close((*fds)->fd[i]);
	free(*fds);
	*fds = NULL;
}

static bool is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

/* sm-vmm in its jail may not open what belongs to another user, such as a pipe or a terminal of whoever
 * called sudo, and must not switch what it shares with others to non-blocking: so that is opened anew
 * here. What cannot be opened is passed on as it is. */
static int32_t put_stdio(struct sm_request_fds *fds, int fd)
{
	int flags = fcntl(fd, F_GETFL), fresh = -1;
	char path[32];
	struct stat st;

	if (flags >= 0 && fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(fd))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		fresh = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	return fresh < 0 ? put(fds, fd, true) : put(fds, fresh, false);
}

void sm_request_stdio(const struct sm_runtime *rt, const struct sm_pty *pty,
		      Supermachine__Sandbox__V1__StdioFds *stdio, struct sm_request_fds *fds)
{
	int32_t *const at[] = { &stdio->stdin_fd, &stdio->stdout_fd, &stdio->stderr_fd };

	if (pty->slave >= 0) {
		stdio->terminal = true;
		stdio->rows = pty->rows;
		stdio->cols = pty->cols;
		stdio->stdin_fd = stdio->stdout_fd = put(fds, pty->slave, true);
		stdio->stderr_fd = -1;
		return;
	}
	for (int i = 0; i < 3; i++)
		*at[i] = rt->stdio_closed[i] || (i == STDIN_FILENO && is_null(i)) ?
				 -1 :
				 put_stdio(fds, i);
}
