/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/container.h"
#include "guest/agent/reply.h"

/* systemd takes no longer ones either. */
enum { DATAGRAM_MAX = 4096, DATAGRAMS_AT_ONCE = 16, WAITERS_MAX = 64 };

static const char name[] = "notify.sock";

/* ---- what it says --------------------------------------------------------------------------- */

/* Lines of NAME=VALUE */
static bool says_ready(const char *text, size_t len)
{
	static const char word[] = "READY=1";
	const char *end = text + len;

	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((nl ? nl : end) - text);

		if (n == sizeof(word) - 1 && !memcmp(text, word, n))
			return true;
		text += n + 1;
	}
	return false;
}

static void answer(struct sm_container *c)
{
	struct sm_waiter *w;

	while ((w = c->notify.waiters)) {
		c->notify.waiters = w->next;
		if (c->notify.ready)
			sm_reply_empty(w->call);
		else
			sm_rpc_fail(w->call, SM_RPC_FAILED_PRECONDITION, "container not running");
		free(w);
	}
	c->notify.nwaiters = 0;
}

static void look(struct sm_container *c)
{
	char text[DATAGRAM_MAX];

	for (int i = 0; i < DATAGRAMS_AT_ONCE; i++) {
		ssize_t n = recv(c->notify.fd, text, sizeof(text), MSG_DONTWAIT);

		if (n < 0)
			break;
		c->notify.ready |= says_ready(text, (size_t)n);
	}
	if (c->notify.ready)
		answer(c);
}

static void on_datagram(void *arg, uint32_t events)
{
	(void)events;
	look(arg);
}

/* ---- the socket ----------------------------------------------------------------------------- */

/* By the directory's descriptor: its path may be longer than the 108 bytes of an address. */
static int bind_socket(int fd, int dirfd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || fchmodat(dirfd, name, 0777, 0) < 0)
		return -errno;
	return 0;
}

static int make_socket(struct sm_notify *n)
{
	sm_auto_close int dirfd = -1;
	int r = sm_mkdir_p(n->dir, 0755);

	if (r < 0)
		return r;
	dirfd = open(n->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	n->fd = dirfd < 0 ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return n->fd < 0 ? -errno : bind_socket(n->fd, dirfd);
}

int sm_notify_open(struct sm_container *c, const char *dir, struct sm_err *err)
{
	int r;

	c->notify.dir = strdup(dir);
	r = c->notify.dir ? make_socket(&c->notify) : -ENOMEM;
	if (r == 0)
		r = sm_loop_add(c->g->loop, c->notify.fd, EPOLLIN, on_datagram, c, &c->notify.io);
	return r < 0 ? sm_err_sys(err, r, "%s", "make the notify socket") : 0;
}

void sm_notify_end(struct sm_container *c)
{
	struct sm_notify *n = &c->notify;
	sm_auto_close int dirfd = -1;

	if (n->fd >= 0)
		look(c);
	answer(c);
	sm_loop_remove(c->g->loop, sm_steal_ptr(n->io));
	sm_close(&n->fd);
	dirfd = n->dir ? open(n->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (dirfd >= 0 && unlinkat(dirfd, name, 0) == 0)
		rmdir(n->dir);
}

/* ---- the request ---------------------------------------------------------------------------- */

void sm_request_wait_ready(struct sm_guest *g, struct sm_rpc_call *call,
			   const Supermachine__Agent__V1__ContainerRequest *req)
{
	struct sm_container *c = sm_container_find(g, req->id);
	struct sm_waiter *w;

	if (!c || c->deleting || !c->notify.dir) {
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "%s",
			    c && !c->deleting ? "the container has no notify socket"
					      : "container does not exist");
		return;
	}
	if (c->notify.ready) {
		sm_reply_empty(call);
		return;
	}
	if (c->notify.fd < 0) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not running");
		return;
	}
	w = c->notify.nwaiters < WAITERS_MAX ? malloc(sizeof(*w)) : NULL;
	if (!w) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "too many wait");
		return;
	}
	*w = (struct sm_waiter){ c->notify.waiters, call };
	c->notify.waiters = w;
	c->notify.nwaiters++;
}
