/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	accept4 ─► HANDSHAKE ──done──► HANDING ──"OK"──► FORWARD ──both ways ended──► LINGER ─►
 *freed └── time, error ──┴── "ERROR", time ──┴── time, error ─────────────┴──► freed
 *
 * HANDING: one end of a socket pair goes to the container's vsock.sock with ACCEPT, and the guest's
 * listener gets it as the client's connection. All descriptors are non-blocking and watched
 * edge-triggered: an event runs turn(), which goes on until nothing moves, or its share is used up;
 * then modifying the watch brings the next event. So nothing spins, whoever does not read.
 *
 * "in" is the way client → guest, "out" guest → client. A way that ends is told to its sink
 * (shutdown(2), close_notify) when all is written, and the other way goes on. A client that goes
 * without close_notify may have been cut off: the guest's connection is dropped with it.
 *
 * LINGER: all was said. What the client still sends is thrown away for a moment, since closing a
 * socket with unread bytes would reset it, and could cost the client the end of the answer.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "tls/tls.h"

#define BUF        16384u
#define TURN_BYTES (256u << 10)
#define LINGER_NS  5000000000ull
#define EVENTS     (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

enum state { HANDSHAKE, HANDING, FORWARD, LINGER, STATE_NUM };

struct way {
	uint8_t buf[BUF];
	size_t at, len;
	bool ended; /* the source is */
	bool told;  /* … and the sink knows */
};

struct sm_tls_conn {
	struct sm_tls_front *front;
	enum state state;
	struct sm_tls_certs *certs;
	SSL *ssl;
	int net, plain, bridge;
	struct sm_io *net_io, *plain_io, *bridge_io;
	struct sm_timer *timer;
	struct sockaddr_storage peer;
	bool guest_gone; /* it reads and writes no more */
	struct way in, out;
	LIST_ENTRY(sm_tls_conn) link;
};

static void drop_fd(struct sm_tls_conn *c, struct sm_io **io, int *fd)
{
	sm_loop_remove(c->front->loop, *io);
	*io = NULL;
	sm_close(fd);
}

static void end(struct sm_tls_conn *c)
{
	struct sm_tls_front *f = c->front;

	drop_fd(c, &c->net_io, &c->net);
	drop_fd(c, &c->plain_io, &c->plain);
	drop_fd(c, &c->bridge_io, &c->bridge);
	sm_timer_remove(f->loop, c->timer);
	SSL_free(c->ssl);
	sm_tls_certs_release(c->certs);
	LIST_REMOVE(c, link);
	free(c);
	sm_tls_front_left(f);
}

static void on_time(void *arg)
{
	end(arg);
}

static void limit(struct sm_tls_conn *c, uint64_t ns)
{
	sm_timer_set(c->front->loop, c->timer, ns ? ns : UINT64_MAX);
}

/* ---- the end of it ---- */

/* #syscalls:tls recvfrom */
static void drain(struct sm_tls_conn *c)
{
	ssize_t n = 1;

	for (size_t all = 0; n > 0 && all < TURN_BYTES; all += (size_t)n)
		n = recv(c->net, c->in.buf, BUF, 0);
	if (n > 0)
		sm_loop_mod(c->front->loop, c->net_io, EVENTS);
	else if (n == 0 || errno != EAGAIN)
		end(c);
}

/* #syscalls:tls shutdown */
static void linger(struct sm_tls_conn *c)
{
	drop_fd(c, &c->plain_io, &c->plain);
	shutdown(c->net, SHUT_WR);
	c->state = LINGER;
	limit(c, LINGER_NS);
	drain(c);
}

/* Nothing to be forwarded: the client learns that it was no accident of the network's. */
static void refuse(struct sm_tls_conn *c)
{
	SSL_shutdown(c->ssl);
	linger(c);
}

/* ---- forwarding: each returns the bytes that moved, -EAGAIN for none, or how it failed ---- */

static ssize_t tls_result(struct sm_tls_conn *c, int ok, size_t n)
{
	if (ok)
		return (ssize_t)n;
	switch (SSL_get_error(c->ssl, ok)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -EPROTO;
	}
}

/* #syscalls:tls read write */
static ssize_t read_net(struct sm_tls_conn *c)
{
	size_t n = 0;
	int ok;

	ERR_clear_error();
	ok = SSL_read_ex(c->ssl, c->in.buf, BUF, &n);
	return tls_result(c, ok, n);
}

static ssize_t write_net(struct sm_tls_conn *c)
{
	size_t n = 0;
	int ok;

	ERR_clear_error();
	ok = SSL_write_ex(c->ssl, c->out.buf + c->out.at, c->out.len, &n);
	return tls_result(c, ok, n);
}

static ssize_t read_plain(struct sm_tls_conn *c)
{
	ssize_t n = recv(c->plain, c->out.buf, BUF, 0);

	return n < 0 ? -errno : n;
}

/* #syscalls:tls sendto */
static ssize_t write_plain(struct sm_tls_conn *c)
{
	ssize_t n = send(c->plain, c->in.buf + c->in.at, c->in.len, MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

/* The sink of a way that ended is told: 0, -EAGAIN. */
static int tell_plain(struct sm_tls_conn *c)
{
	shutdown(c->plain, SHUT_WR);
	return 0;
}

static int tell_net(struct sm_tls_conn *c)
{
	int r;

	ERR_clear_error();
	r = SSL_shutdown(c->ssl);
	if (r >= 0)
		return 0;
	return SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_WRITE ? -EAGAIN : -EPROTO;
}

struct io {
	ssize_t (*read)(struct sm_tls_conn *c);
	ssize_t (*write)(struct sm_tls_conn *c);
	int (*tell)(struct sm_tls_conn *c);
};

/* One read, one write of a way: bytes that moved, 0 for none, or -errno: the connection is over. */
static ssize_t move(struct sm_tls_conn *c, struct way *w, const struct io *io)
{
	ssize_t moved = 0, n;

	if (!w->len && !w->ended) {
		n = io->read(c);
		if (n < 0 && n != -EAGAIN)
			return n;
		w->at = 0;
		w->len = n > 0 ? (size_t)n : 0;
		w->ended = n == 0;
		moved += n > 0 ? n : 0;
	}
	if (w->len) {
		n = io->write(c);
		if (n == 0 || (n < 0 && n != -EAGAIN))
			return n ? n : -EPIPE;
		w->at += n > 0 ? (size_t)n : 0;
		w->len -= n > 0 ? (size_t)n : 0;
		moved += n > 0 ? n : 0;
	}
	if (w->ended && !w->len && !w->told) {
		n = io->tell(c);
		if (n < 0 && n != -EAGAIN)
			return n;
		w->told = n == 0;
	}
	return moved;
}

static void forward(struct sm_tls_conn *c)
{
	static const struct io in = { read_net, write_plain, tell_plain };
	static const struct io out = { read_plain, write_net, tell_net };
	size_t all = 0;

	while (all < TURN_BYTES) {
		/* The guest's way first: what it said before it closed has to arrive, whatever
		 * becomes of bytes to a guest that reads no more. */
		ssize_t o = move(c, &c->out, &out);
		ssize_t i = o < 0 ? o : c->guest_gone ? 0 : move(c, &c->in, &in);

		if (i == -EPIPE || i == -ECONNRESET) {
			c->guest_gone = true;
			i = 0;
		}
		if (o == -ECONNRESET) { /* by the guest: the client gets no close_notify */
			linger(c);
			return;
		}
		if (o < 0 || i < 0) {
			end(c);
			return;
		}
		if (c->out.told && (c->in.told || c->guest_gone)) {
			linger(c);
			return;
		}
		all += (size_t)(o + i);
		if (!o && !i)
			break;
	}
	if (all && c->front->idle_ns)
		limit(c, c->front->idle_ns);
	if (all < TURN_BYTES)
		return;
	sm_loop_mod(c->front->loop, c->net_io, EVENTS);
	sm_loop_mod(c->front->loop, c->plain_io, EVENTS);
}

static void on_plain(void *arg, uint32_t events)
{
	struct sm_tls_conn *c = arg;

	c->guest_gone |= (events & EPOLLHUP) != 0;
	if (c->state == FORWARD)
		forward(c);
}

/* ---- handing over ---- */

static void peer_text(const struct sm_tls_conn *c, char *text, size_t size)
{
	const struct sockaddr_in *in = (const void *)&c->peer;
	const struct sockaddr_in6 *in6 = (const void *)&c->peer;
	char host[INET6_ADDRSTRLEN];

	if (c->peer.ss_family == AF_INET) {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
	} else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
	}
}

/* By its directory's descriptor: state directories can be deeper than the 108 bytes of a socket's
 * path. The container may have been made anew since the last time.
 * #syscalls:tls openat(2&O_CHANGES=0) socket(0=AF_UNIX) connect close */
static int connect_bridge(const char *path)
{
	sm_auto_free char *dir_copy = strdup(path), *base_copy = strdup(path);
	sm_auto_close int dirfd = -1, fd = -1;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (!dir_copy || !base_copy)
		return -ENOMEM;
	dirfd = open(dirname(dir_copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -errno;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%.64s", dirfd,
		 basename(base_copy));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return sm_steal_fd(&fd);
}

/* "OK\n": the guest has it. */
static void on_bridge(void *arg, uint32_t events)
{
	struct sm_tls_conn *c = arg;
	char text[128];
	ssize_t n = recv(c->bridge, text, sizeof(text) - 1, 0);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	text[n > 0 ? n : 0] = '\0';
	drop_fd(c, &c->bridge_io, &c->bridge);
	if (strcmp(text, "OK\n") != 0) {
		text[strcspn(text, "\n")] = '\0';
		sm_tls_front_warn(c->front, "%s: port %s: %s", c->front->socket, c->front->port,
				  *text ? text : "no answer");
		refuse(c);
		return;
	}
	c->state = FORWARD;
	limit(c, c->front->idle_ns);
	forward(c);
}

/* #syscalls:tls socketpair(0=AF_UNIX) */
static int hand(struct sm_tls_conn *c)
{
	sm_auto_close int ours = -1, theirs = -1;
	char peer[INET6_ADDRSTRLEN + 16], line[128];
	int sv[2], len;
	ssize_t r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	ours = sv[0];
	theirs = sv[1];
	c->bridge = connect_bridge(c->front->socket);
	if (c->bridge < 0)
		return c->bridge;
	peer_text(c, peer, sizeof(peer));
	len = snprintf(line, sizeof(line), "ACCEPT %s 0 %s\n", c->front->port, peer);
	r = sm_send_fds(c->bridge, line, (size_t)len, &theirs, 1);
	if (r != len)
		return r < 0 ? (int)r : -EPIPE;
	r = sm_loop_add(c->front->loop, ours, EVENTS, on_plain, c, &c->plain_io);
	if (r < 0)
		return (int)r;
	c->plain = sm_steal_fd(&ours);
	return sm_loop_add(c->front->loop, c->bridge, EPOLLIN, on_bridge, c, &c->bridge_io);
}

/* ---- the handshake ---- */

static void shake(struct sm_tls_conn *c)
{
	int r;

	ERR_clear_error();
	r = SSL_accept(c->ssl);
	if (r != 1) {
		r = SSL_get_error(c->ssl, r);
		if (r == SSL_ERROR_SSL)
			linger(c); /* with an alert that the client should see */
		else if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE)
			end(c);
		return;
	}
	c->state = HANDING;
	r = hand(c);
	if (r < 0) {
		sm_tls_front_warn(c->front, "%s: %s", c->front->socket, strerror(-r));
		refuse(c);
	}
}

static void on_net(void *arg, uint32_t events)
{
	struct sm_tls_conn *c = arg;

	(void)events;
	switch (c->state) {
	case HANDSHAKE:
		shake(c);
		break;
	case FORWARD:
		forward(c);
		break;
	case LINGER:
		drain(c);
		break;
	default: /* what comes while the guest is asked is read afterwards */
		break;
	}
}

/* #syscalls:tls setsockopt */
int sm_tls_conn_new(struct sm_tls_front *f, int fd, const struct sockaddr_storage *peer)
{
	struct sm_tls_conn *c = calloc(1, sizeof(*c));
	const int on = 1;
	int r = -ENOMEM;

	if (!c) {
		close(fd);
		return r;
	}
	c->front = f;
	c->net = fd;
	c->plain = c->bridge = -1;
	c->peer = *peer;
	LIST_INSERT_HEAD(&f->conns, c, link);
	f->nconns++;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->certs = sm_tls_certs_use(f->certs);
	c->ssl = sm_tls_certs_client(c->certs);
	if (c->ssl && SSL_set_fd(c->ssl, fd) == 1)
		r = sm_loop_add(f->loop, fd, EVENTS, on_net, c, &c->net_io);
	if (r == 0)
		r = sm_timer_add(f->loop, f->handshake_ns, on_time, c, &c->timer);
	if (r < 0)
		end(c);
	return r;
}

void sm_tls_conn_end_all(struct sm_tls_front *f)
{
	struct sm_tls_conn *c;

	while ((c = LIST_FIRST(&f->conns)))
		end(c);
}
