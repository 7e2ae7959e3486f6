/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define CHUNK 4096

struct sm_console {
	struct sm_loop *loop;
	struct sm_io *io;
	int in;
	int file;
	size_t len;		/* of the file */
};

/* Moves the newest half to the front, so that the file is plain text at any time.
 * #syscalls:loop pread64 pwrite64 ftruncate */
static void shift(struct sm_console *con)
{
	char *half = malloc(SM_CONSOLE_MAX / 2);
	ssize_t n = -1;

	if (half)
		n = pread(con->file, half, SM_CONSOLE_MAX / 2,
			  (off_t)(con->len - SM_CONSOLE_MAX / 2));
	if (n < 0 || pwrite(con->file, half, (size_t)n, 0) != n)
		n = 0;
	if (ftruncate(con->file, n) < 0)
		n = 0;
	con->len = (size_t)n;
	free(half);
}

/* #syscalls:loop recvmsg pwrite64 */
static int take(struct sm_console *con)
{
	char chunk[CHUNK];
	struct iovec iov = { chunk, sizeof(chunk) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(con->in, &m, MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EPIPE;
	if (con->len + (size_t)n > SM_CONSOLE_MAX)
		shift(con);
	n = pwrite(con->file, chunk, (size_t)n, (off_t)con->len);
	if (n > 0)
		con->len += (size_t)n;
	return 0;
}

static void on_output(void *arg, uint32_t events)
{
	struct sm_console *con = arg;

	(void)events;
	if (take(con) == -EPIPE) {
		sm_loop_remove(con->loop, con->io);
		con->io = NULL;
	}
}

int sm_console_new(struct sm_loop *loop, int dirfd, const char *name, int *guest_fd,
		   struct sm_console **out)
{
	struct sm_console *con = calloc(1, sizeof(*con));
	int sv[2], r;

	if (!con)
		return -ENOMEM;
	con->loop = loop;
	con->file = openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (con->file < 0) {
		r = -errno;
		goto err_con;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
		r = -errno;
		goto err_file;
	}
	con->in = sv[0];
	r = sm_loop_add(loop, con->in, EPOLLIN, on_output, con, &con->io);
	if (r < 0)
		goto err_pair;
	*guest_fd = sv[1];
	*out = con;
	return 0;
err_pair:
	close(sv[0]);
	close(sv[1]);
err_file:
	close(con->file);
err_con:
	free(con);
	return r;
}

void sm_console_free(struct sm_console *con)
{
	if (!con)
		return;
	sm_loop_remove(con->loop, con->io);
	close(con->in);
	close(con->file);
	free(con);
}

size_t sm_console_tail(struct sm_console *con, char *buf, size_t size)
{
	size_t want, start;
	ssize_t n;

	for (int i = 0; i < 64 && take(con) == 0; i++)
		;
	want = con->len < size - 1 ? con->len : size - 1;
	n = pread(con->file, buf, want, (off_t)(con->len - want));
	if (n < 0)
		n = 0;
	buf[n] = '\0';
	if (want < con->len) {
		char *nl = memchr(buf, '\n', (size_t)n);

		start = nl ? (size_t)(nl + 1 - buf) : 0;
		n -= (ssize_t)start;
		memmove(buf, buf + start, (size_t)n + 1);
	}
	return (size_t)n;
}
