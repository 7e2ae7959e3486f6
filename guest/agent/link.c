/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
/* needs struct sockaddr */
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "base/clean.h"

static int connect_to(int domain, const void *addr, socklen_t len)
{
	sm_auto_close int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, addr, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return sm_steal_fd(&fd);
}

static int connect_unix(const char *path, uint32_t port)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n;

	if (port == SM_AGENT_PORT)
		n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	else
		n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s_%u", path, port);
	if (n >= (int)sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	return connect_to(AF_UNIX, &sun, sizeof(sun));
}

int sm_link_connect(const struct sm_link *link, uint32_t port)
{
	const struct sockaddr_vm svm = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_HOST,
		.svm_port = port,
	};

	if (link->unix_path)
		return connect_unix(link->unix_path, port);
	return connect_to(AF_VSOCK, &svm, sizeof(svm));
}

int sm_link_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int err = 0;

	while (poll(&p, 1, -1) < 0)
		if (errno != EINTR)
			return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}
