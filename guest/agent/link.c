/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/link.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
/* needs struct sockaddr */
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "base/clean.h"

static int connect_to(int domain, int type, const void *addr, socklen_t len)
{
	sm_auto_close int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | type, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, addr, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return sm_steal_fd(&fd);
}

static int connect_unix(const char *path, uint32_t port, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n;

	if (port == SM_AGENT_PORT)
		n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	else
		n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s_%u", path, port);
	if (n >= (int)sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	return connect_to(AF_UNIX, type, &sun, sizeof(sun));
}

static int connect_port(const struct sm_link *link, uint32_t port, int type)
{
	const struct sockaddr_vm svm = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_HOST,
		.svm_port = port,
	};

	if (link->unix_path)
		return connect_unix(link->unix_path, port, type);
	return connect_to(AF_VSOCK, type, &svm, sizeof(svm));
}

int sm_link_connect(const struct sm_link *link, uint32_t port)
{
	return connect_port(link, port, SOCK_NONBLOCK);
}

int sm_link_connect_wait(const struct sm_link *link, uint32_t port)
{
	return connect_port(link, port, 0);
}
