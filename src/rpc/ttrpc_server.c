/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepts peers. Descriptors may run out: then the listening socket, which stays readable, is left
 * alone until a connection ends or a moment has passed.
 */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "rpc/ttrpc.h"

#define PAUSE_NS         100000000u
#define ACCEPTS_PER_TURN 16

struct conn {
	struct conn *next, **link; /* in server->conns */
	struct sm_rpc_server *server;
	struct sm_rpc *rpc;
};

struct sm_rpc_server {
	struct sm_loop *loop;
	int fd;
	struct sm_io *io;
	struct sm_timer *resume;
	const struct sm_rpc_service *service;
	void *service_arg;
	sm_rpc_gone_fn *gone;
	struct conn *conns;
	size_t n, max, max_calls;
};

static void free_conn(struct conn *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->server->n--;
	sm_rpc_free(c->rpc);
	free(c);
}

static void resume(void *arg)
{
	struct sm_rpc_server *server = arg;

	sm_loop_mod(server->loop, server->io, EPOLLIN);
}

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct conn *c = arg;
	struct sm_rpc_server *server = c->server;

	if (err)
		sm_debug("rpc: a connection ended: errno %d", -err);
	if (server->gone)
		server->gone(server->service_arg, rpc);
	free_conn(c);
	resume(server);
}

/* May the peer talk to us? A socket that has no peer credentials (vsock) lets nobody in.
 * #syscalls:loop getsockopt geteuid */
static bool is_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == 0 || cred.uid == geteuid();
}

static int add_conn(struct sm_rpc_server *server, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->server = server;
	r = sm_rpc_new(server->loop, fd, server->service, server->service_arg, on_closed, c,
		       &c->rpc);
	if (r < 0) {
		free(c);
		return r;
	}
	sm_rpc_set_inflight(c->rpc, server->max_calls);
	c->next = server->conns;
	c->link = &server->conns;
	if (c->next)
		c->next->link = &c->next;
	server->conns = c;
	server->n++;
	return 0;
}

static void pause_accepting(struct sm_rpc_server *server)
{
	sm_loop_mod(server->loop, server->io, 0);
	sm_timer_set(server->loop, server->resume, PAUSE_NS);
}

/* #syscalls:loop accept4 */
static void on_listen(void *arg, uint32_t events)
{
	struct sm_rpc_server *server = arg;

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int r = 0;

		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return;
		if (fd < 0)
			r = -errno;
		else if (server->n >= server->max || !is_allowed(fd))
			close(fd);
		else
			r = add_conn(server, fd);
		if (r < 0) {
			pause_accepting(server);
			return;
		}
	}
}

int sm_rpc_server_new(struct sm_loop *loop, int listen_fd, const struct sm_rpc_service *service,
		      void *service_arg, size_t max_conns, sm_rpc_gone_fn *gone,
		      struct sm_rpc_server **res)
{
	struct sm_rpc_server *server = calloc(1, sizeof(*server));
	int r = server ? 0 : -ENOMEM;

	if (!r)
		r = sm_set_nonblock(listen_fd);
	if (!r)
		r = sm_timer_add(loop, UINT64_MAX, resume, server, &server->resume);
	if (!r)
		r = sm_loop_add(loop, listen_fd, EPOLLIN, on_listen, server, &server->io);
	if (r < 0) {
		if (server)
			sm_timer_remove(loop, server->resume);
		free(server);
		sm_close(&listen_fd);
		return r;
	}
	server->loop = loop;
	server->fd = listen_fd;
	server->service = service;
	server->service_arg = service_arg;
	server->gone = gone;
	server->max = max_conns;
	server->max_calls = SM_RPC_INFLIGHT_MAX;
	*res = server;
	return 0;
}

void sm_rpc_server_set_inflight(struct sm_rpc_server *server, size_t max)
{
	server->max_calls = max;
}

void sm_rpc_server_free(struct sm_rpc_server *server)
{
	if (!server)
		return;
	while (server->conns)
		free_conn(server->conns);
	sm_loop_remove(server->loop, server->io);
	sm_timer_remove(server->loop, server->resume);
	sm_close(&server->fd);
	free(server);
}
