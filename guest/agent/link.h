/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_LINK_H
#define SM_GUEST_LINK_H

#include <stdint.h>

/* The way to the host: vsock, or for tests AF_UNIX sockets PATH (the agent's port) and
 * PATH_<port>. */
struct sm_link {
	const char *unix_path;	/* NULL: vsock */
};

enum { SM_AGENT_PORT = 1025 };

/* A non-blocking stream socket, possibly still connecting. */
int sm_link_connect(const struct sm_link *link, uint32_t port);

/* Waits until such a socket is connected: 0 or -errno. */
int sm_link_wait(int fd);

#endif
