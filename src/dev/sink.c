/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "dev/sink.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

int sm_sink_open(struct sm_sink *s, int fd)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	s->socket = S_ISSOCK(st.st_mode);
	r = s->socket ? 0 : sm_set_nonblock(fd);
	if (r < 0)
		return r;
	s->fd = fd;
	return 0;
}

void sm_sink_close(struct sm_sink *s)
{
	sm_close(&s->fd);
}

size_t sm_sink_write(const struct sm_sink *s, const void *data, size_t len)
{
	struct iovec iov = { (void *)data, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	/* The console writes on the loop's thread, the serial port on those of the vCPUs. */
	do {
		/* #syscalls:loop sendmsg write */
		/* #syscalls:vcpu sendmsg write */
		n = s->socket ? sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL)
			      : write(s->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? 0 : (size_t)n;
}
