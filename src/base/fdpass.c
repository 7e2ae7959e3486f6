/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors over sockets (base/io.h). */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * SM_IO_FDS_MAX)];
};

/* #syscalls:loop,tls sendmsg */
ssize_t sm_send_fds(int sock, const void *data, size_t len, const int *fds, size_t nfds)
{
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	if (nfds > SM_IO_FDS_MAX)
		return -EINVAL;
	if (nfds) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Collects the descriptors of a message; returns how many it carried, those past `room` closed. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t room)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < room)
				fds[n] = fd;
			else
				close(fd);
			n++;
		}
	}
	return n;
}

/* #syscalls:loop recvmsg */
ssize_t sm_recv_fds(int sock, void *data, size_t len, int *fds, size_t *nfds)
{
	struct iovec iov = { data, len };
	union control control;
	struct msghdr msg;
	size_t room = *nfds;
	ssize_t n;

	*nfds = 0;
	do {
		msg = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*nfds = take_fds(&msg, fds, room);
	if (*nfds <= room && !(msg.msg_flags & MSG_CTRUNC))
		return n;
	/* Some are lost, so that the rest can no longer be told apart. */
	for (size_t i = 0; i < *nfds && i < room; i++)
		close(fds[i]);
	*nfds = 0;
	return -EMSGSIZE;
}
