/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	accept4 ─► LINE ──"CONNECT n"──► CONNECTING ──guest's RESPONSE──► JOINED ──done──► freed
 *	            │                        └── RST, time ──► freed
 *	            └──"ACCEPT n len"──► PREFIX ──all there──► handed over, answered, freed
 *
 * In LINE and PREFIX the socket is ours and read no further than the line and its prefix: a byte
 * more may belong to the guest. From CONNECTING on it is the stream's, and we keep its number only
 * to answer, in opened().
 *
 * Clients are programs of the container's owner (the socket is theirs alone), but slow, broken and
 * many is what they can be: a time limit for each, bounded lines, and when there are too many, or
 *no descriptors, nothing is accepted for a while.
 */
#include "config.h"

#include "vsock/bridge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define RETRY_NS        1000000000ull
#define ACCEPTS_AT_ONCE 16

enum state {
	LINE,       /* reads up to the newline */
	PREFIX,     /* … and the bytes that are to be seen first */
	CONNECTING, /* the guest is asked; the socket is the stream's */
	JOINED,
	STATE_NUM
};

struct client {
	struct sm_bridge *bridge;
	enum state state;
	int fd; /* ours in LINE and PREFIX */
	struct sm_io *io;
	struct sm_timer *timer; /* not in JOINED */
	uint32_t host_port;
	char line[SM_BRIDGE_LINE_MAX + 1];
	uint32_t len;
	int handed; /* the descriptor that came along, or -1 */
	uint16_t port;
	bool has_peer;
	struct sockaddr_in6 peer; /* in either family */
	uint8_t *prefix;
	uint32_t prefix_len, prefix_have;
	LIST_ENTRY(client) link;
};

struct sm_bridge {
	struct sm_loop *loop;
	struct sm_vsock *vs;
	int fd;
	struct sm_io *io; /* NULL: not accepting */
	struct sm_timer *retry;
	uint64_t line_ns;
	uint32_t nclients;
	LIST_HEAD(, client) clients;
};

static void watch(struct sm_bridge *b);

/* ---- the end of a client ---- */

/* #syscalls:loop close */
static void forget(struct client *c)
{
	struct sm_bridge *b = c->bridge;

	sm_loop_remove(b->loop, c->io);
	sm_timer_remove(b->loop, c->timer);
	if (c->state == LINE || c->state == PREFIX)
		sm_close(&c->fd);
	sm_close(&c->handed);
	free(c->prefix);
	LIST_REMOVE(c, link);
	b->nclients--;
	free(c);
	watch(b);
}

/* A line fits into the buffer of a socket that nothing was written to; who has filled it does not
 * listen anyway. */
static void say(int fd, const char *text)
{
	sm_send_fds(fd, text, strlen(text), NULL, 0);
}

static void refuse(struct client *c, const char *why)
{
	char text[128];

	snprintf(text, sizeof(text), "ERROR %s\n", why);
	say(c->fd, text);
	forget(c);
}

static void on_time(void *arg)
{
	struct client *c = arg;

	if (c->state == CONNECTING)
		sm_vsock_abort(c->bridge->vs, c->host_port);
	forget(c);
}

/* ---- CONNECT ---- */

static void on_opened(void *arg)
{
	struct client *c = arg;
	char text[32];

	sm_timer_remove(c->bridge->loop, c->timer);
	c->timer = NULL;
	c->state = JOINED;
	snprintf(text, sizeof(text), "OK %u\n", c->host_port);
	say(c->fd, text);
}

static void on_done(void *arg, int err)
{
	(void)err;
	forget(arg);
}

static void connect_guest(struct client *c, uint32_t port)
{
	const struct sm_vsock_stream s = {
		.source = c->fd, .sink = c->fd, .opened = on_opened, .done = on_done, .arg = c
	};
	int r;

	sm_loop_remove(c->bridge->loop, c->io);
	c->io = NULL;
	r = sm_vsock_connect(c->bridge->vs, port, &s, &c->host_port);
	if (r < 0)
		refuse(c, strerror(-r));
	else
		c->state = CONNECTING;
}

/* ---- ACCEPT ---- */

static void hand_over(struct client *c)
{
	const struct sm_vsock_handed h = {
		.port = c->port,
		.fd = c->handed,
		.peer = c->has_peer ? (const struct sockaddr *)&c->peer : NULL,
		.prefix = c->prefix,
		.len = c->prefix_len,
	};
	int r = c->handed < 0 ? -EBADF : sm_vsock_hand_over(c->bridge->vs, &h);

	if (r < 0) {
		refuse(c, r == -ENOENT  ? "the guest does not listen there"
			  : r == -EBADF ? "no descriptor came along"
					: strerror(-r));
		return;
	}
	c->handed = -1;
	say(c->fd, "OK\n");
	forget(c);
}

/* ---- lines ---- */

/* A decimal number and what ends it, a space or the end: behind that, or NULL. */
static const char *number(const char *p, uint32_t max, uint32_t *v)
{
	uint64_t n = 0;
	const char *start = p;

	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > max)
			return NULL;
	}
	if (p == start || (*p && *p != ' '))
		return NULL;
	*v = (uint32_t)n;
	return *p ? p + 1 : p;
}

/* "ADDRESS:PORT", in brackets if of IPv6. */
static bool peer_of(struct client *c, char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&c->peer;
	char *colon = strrchr(text, ':');
	bool v6 = *text == '[';
	const char *end;
	uint32_t port;

	if (!colon || colon == text || (v6 && colon[-1] != ']'))
		return false;
	end = number(colon + 1, UINT16_MAX, &port);
	if (!end || *end)
		return false;
	colon[v6 ? -1 : 0] = '\0';
	c->peer.sin6_family = v6 ? AF_INET6 : AF_INET;
	c->peer.sin6_port = htons((uint16_t)port);
	c->has_peer = true;
	return v6 ? inet_pton(AF_INET6, text + 1, &c->peer.sin6_addr) == 1
		  : inet_pton(AF_INET, text, &in->sin_addr) == 1;
}

static bool parse_accept(struct client *c, char *p)
{
	bool any = p[0] == '*' && (!p[1] || p[1] == ' ');
	uint32_t port = 0;
	const char *at = any ? p + 1 + (p[1] == ' ') : number(p, UINT16_MAX, &port);

	if (!at || (!any && !port))
		return false;
	c->port = (uint16_t)port;
	if (!*at)
		return true;
	at = number(at, SM_VSOCK_PREFIX_MAX, &c->prefix_len);
	return at && (!*at || peer_of(c, c->line + (at - c->line)));
}

static void run_line(struct client *c)
{
	uint32_t port;
	const char *end;

	if (!strncmp(c->line, "CONNECT ", 8)) {
		end = number(c->line + 8, UINT32_MAX, &port);
		if (end && !*end)
			connect_guest(c, port);
		else
			refuse(c, "CONNECT: must be followed by a port");
		return;
	}
	if (strncmp(c->line, "ACCEPT ", 7) != 0) {
		refuse(c, "must be CONNECT or ACCEPT");
		return;
	}
	if (!parse_accept(c, c->line + 7)) {
		refuse(c, "ACCEPT: must be followed by PORT or *, LENGTH, ADDRESS:PORT");
		return;
	}
	c->state = PREFIX;
	c->prefix = c->prefix_len ? malloc(c->prefix_len) : NULL;
	if (c->prefix_len && !c->prefix)
		refuse(c, strerror(ENOMEM));
	else if (!c->prefix_len)
		hand_over(c);
}

/* ---- reading ---- */

/* One read; a descriptor that comes along is kept, the first one. 0: the end. */
static ssize_t take(struct client *c, void *data, size_t len)
{
	size_t nfds = 1;
	int fd = -1;
	ssize_t n = sm_recv_fds(c->fd, data, len, &fd, &nfds);

	if (n < 0 || !nfds)
		return n;
	if (c->handed >= 0)
		close(fd);
	else
		c->handed = fd;
	return n;
}

/* Byte by byte: what is behind the line must stay. Whether there may be more to read. */
static bool read_line(struct client *c)
{
	char *at = c->line + c->len;
	ssize_t n = take(c, at, 1);

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		forget(c);
		return false;
	}
	if (*at == '\n') {
		*at = '\0';
		if (c->len && at[-1] == '\r')
			at[-1] = '\0';
		run_line(c);
		return false; /* to be called again if there is a prefix */
	}
	if (++c->len < SM_BRIDGE_LINE_MAX)
		return true;
	refuse(c, "the line is too long");
	return false;
}

static void read_prefix(struct client *c)
{
	ssize_t n = 1;

	while (n > 0 && c->prefix_have < c->prefix_len) {
		n = take(c, c->prefix + c->prefix_have, c->prefix_len - c->prefix_have);
		c->prefix_have += n > 0 ? (uint32_t)n : 0;
	}
	if (c->prefix_have == c->prefix_len)
		hand_over(c);
	else if (n != -EAGAIN)
		forget(c);
}

static void on_client(void *arg, uint32_t events)
{
	struct client *c = arg;

	(void)events;
	if (c->state == PREFIX) {
		read_prefix(c);
		return;
	}
	while (read_line(c))
		;
}

/* ---- accepting ---- */

static void on_retry(void *arg)
{
	struct sm_bridge *b = arg;

	sm_timer_remove(b->loop, b->retry);
	b->retry = NULL;
	watch(b);
}

static void pause_accepting(struct sm_bridge *b)
{
	sm_loop_remove(b->loop, b->io);
	b->io = NULL;
}

static void try_later(struct sm_bridge *b)
{
	pause_accepting(b);
	if (!b->retry && sm_timer_add(b->loop, RETRY_NS, on_retry, b, &b->retry) < 0)
		b->retry = NULL; /* the end of the next client will do */
}

/* Level-triggered: one event for each line, or for what is left of it, would do no better. The
 * prefix may be there with the line. */
static int add(struct sm_bridge *b, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct client){ .bridge = b, .fd = fd, .handed = -1 };
	r = sm_loop_add(b->loop, fd, EPOLLIN, on_client, c, &c->io);
	if (r == 0)
		r = sm_timer_add(b->loop, b->line_ns, on_time, c, &c->timer);
	if (r < 0) {
		sm_loop_remove(b->loop, c->io);
		free(c);
		return r;
	}
	LIST_INSERT_HEAD(&b->clients, c, link);
	b->nclients++;
	return 0;
}

/* #syscalls:loop accept4 */
static void on_accept(void *arg, uint32_t events)
{
	struct sm_bridge *b = arg;

	(void)events;
	for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		int fd, r;

		if (b->nclients == SM_BRIDGE_CLIENTS_MAX) {
			pause_accepting(b);
			return;
		}
		fd = accept4(b->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
			return;
		r = fd < 0 ? -errno : add(b, fd);
		if (r < 0) {
			if (fd >= 0)
				close(fd);
			try_later(b);
			return;
		}
	}
}

static void watch(struct sm_bridge *b)
{
	if (b->io || b->retry || b->fd < 0)
		return;
	if (sm_loop_add(b->loop, b->fd, EPOLLIN, on_accept, b, &b->io) < 0) {
		b->io = NULL;
		try_later(b);
	}
}

/* ---- the whole ---- */

int sm_bridge_new(struct sm_loop *loop, struct sm_vsock *vs, int fd, uint64_t line_ns,
		  struct sm_bridge **out)
{
	struct sm_bridge *b = calloc(1, sizeof(*b));
	int r = b ? sm_set_nonblock(fd) : -ENOMEM;

	if (r == 0) {
		*b = (struct sm_bridge){ .loop = loop, .vs = vs, .fd = fd };
		b->line_ns = line_ns ? line_ns : SM_BRIDGE_LINE_NS;
		r = sm_loop_add(loop, fd, EPOLLIN, on_accept, b, &b->io);
	}
	if (r < 0) {
		free(b);
		return r;
	}
	*out = b;
	return 0;
}

void sm_bridge_free(struct sm_bridge *b)
{
	struct client *c;

	if (!b)
		return;
	pause_accepting(b);
	sm_timer_remove(b->loop, b->retry);
	sm_close(&b->fd);
	while ((c = LIST_FIRST(&b->clients))) {
		if (c->state == CONNECTING || c->state == JOINED)
			sm_vsock_abort(b->vs, c->host_port);
		forget(c);
	}
	free(b);
}
