/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/request.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int32_t put(struct sm_request_fds *fds, int fd)
{
	fds->fd[fds->n] = fd;
	return (int32_t)fds->n++;
}

static bool is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

void sm_request_stdio(const struct sm_runtime *rt, const struct sm_pty *pty,
		      Supermachine__Sandbox__V1__StdioFds *stdio, struct sm_request_fds *fds)
{
	int32_t *const at[] = { &stdio->stdin_fd, &stdio->stdout_fd, &stdio->stderr_fd };

	if (pty->slave >= 0) {
		stdio->terminal = true;
		stdio->rows = pty->rows;
		stdio->cols = pty->cols;
		stdio->stdin_fd = stdio->stdout_fd = put(fds, pty->slave);
		stdio->stderr_fd = -1;
		return;
	}
	for (int i = 0; i < 3; i++)
		*at[i] =
			rt->stdio_closed[i] || (i == STDIN_FILENO && is_null(i)) ? -1 : put(fds, i);
}
