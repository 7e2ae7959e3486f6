/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "tls/tls.h"

#define BACKLOG         512
#define ACCEPTS_AT_ONCE 16
#define RETRY_NS        1000000000ull
#define LINE_NS         1000000000ull

struct sm_tls_listener {
	struct sm_tls_front *front;
	int fd;
	struct sm_io *io; /* NULL: not accepting */
	LIST_ENTRY(sm_tls_listener) link;
};

void sm_tls_front_warn(struct sm_tls_front *f, const char *fmt, ...)
{
	uint64_t now = sm_now_ns();
	char text[256];
	va_list ap;

	if (f->warned_ns && now - f->warned_ns < LINE_NS)
		return;
	f->warned_ns = now;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sm_warn("%s", text);
}

/* ---- accepting ---- */

static void pause_all(struct sm_tls_front *f)
{
	struct sm_tls_listener *l;

	LIST_FOREACH(l, &f->listeners, link)
	{
		sm_loop_remove(f->loop, l->io);
		l->io = NULL;
	}
}

static void on_retry(void *arg)
{
	struct sm_tls_front *f = arg;

	sm_timer_remove(f->loop, f->retry);
	f->retry = NULL;
	sm_tls_front_start(f);
}

static void try_later(struct sm_tls_front *f, int r)
{
	sm_tls_front_warn(f, "accept: %s", strerror(-r));
	pause_all(f);
	if (!f->retry && sm_timer_add(f->loop, RETRY_NS, on_retry, f, &f->retry) < 0)
		f->retry = NULL;
}

/* #syscalls:tls accept4 */
static void on_accept(void *arg, uint32_t events)
{
	struct sm_tls_listener *l = arg;
	struct sm_tls_front *f = l->front;

	(void)events;
	for (int i = 0; i < ACCEPTS_AT_ONCE && l->io; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof(peer);
		int fd, r;

		if (f->nconns >= f->max) {
			pause_all(f);
			return;
		}
		fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		r = fd < 0 ? -errno : sm_tls_conn_new(f, fd, &peer);
		if (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS)
			try_later(f, r);
		else if (fd < 0)
			return; /* none is there, or it was the client's fault */
	}
}

void sm_tls_front_start(struct sm_tls_front *f)
{
	struct sm_tls_listener *l;

	if (f->nconns >= f->max || f->retry)
		return;
	LIST_FOREACH(l, &f->listeners, link)
	{
		int r = l->io ? 0 : sm_loop_add(f->loop, l->fd, EPOLLIN, on_accept, l, &l->io);

		if (r < 0) {
			l->io = NULL;
			try_later(f, r);
			return;
		}
	}
}

void sm_tls_front_left(struct sm_tls_front *f)
{
	f->nconns--;
	sm_tls_front_start(f);
}

/* ---- listening ---- */

/* "HOST:PORT" in two; the host without brackets. */
static int split(char *where, const char **host, const char **port)
{
	char *colon = strrchr(where, ':');

	if (!colon || !colon[1])
		return -EINVAL;
	*colon = '\0';
	*port = colon + 1;
	*host = where;
	if (where[0] == '[') {
		if (colon[-1] != ']')
			return -EINVAL;
		colon[-1] = '\0';
		*host = where + 1;
	} else if (strchr(where, ':')) {
		return -EINVAL;
	}
	if (!**host)
		*host = "::";
	return 0;
}

static int open_listener(const struct addrinfo *a)
{
	const int on = 1, off = 0;
	sm_auto_close int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return sm_steal_fd(&fd);
}

static void tell(const char *host, int fd)
{
	struct sockaddr_in6 a = { 0 };
	socklen_t len = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &len) == 0)
		sm_info("listening at %s port %u", host, ntohs(a.sin6_port));
}

int sm_tls_front_listen(struct sm_tls_front *f, const char *where, struct sm_err *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
	sm_auto_free char *copy = strdup(where);
	const char *host, *port;
	struct sm_tls_listener *l;
	struct addrinfo *a;
	int r;

	if (!copy)
		return sm_err_sys(err, -ENOMEM, "--listen");
	if (split(copy, &host, &port) < 0 || getaddrinfo(host, port, &hints, &a) != 0)
		return sm_err_set(err, -EINVAL,
				  "--listen %s: must be ADDRESS:PORT, such as 192.0.2.1:443, "
				  "[::]:443 or :443",
				  where);
	l = calloc(1, sizeof(*l));
	r = l ? open_listener(a) : -ENOMEM;
	freeaddrinfo(a);
	if (r < 0) {
		free(l);
		return sm_err_sys(err, r, "--listen %s", where);
	}
	l->front = f;
	l->fd = r;
	LIST_INSERT_HEAD(&f->listeners, l, link);
	tell(host, l->fd);
	return 0;
}

void sm_tls_front_end(struct sm_tls_front *f)
{
	struct sm_tls_listener *l;

	f->max = 0;
	sm_tls_conn_end_all(f);
	sm_timer_remove(f->loop, f->retry);
	pause_all(f);
	while ((l = LIST_FIRST(&f->listeners))) {
		LIST_REMOVE(l, link);
		close(l->fd);
		free(l);
	}
}
