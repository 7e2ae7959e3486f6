/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets of TSI until they are streams.
 *
 *	CREATE ─► FRESH ──CONNECT──► CONNECTING ──epoll──► CONNECTED ──answer sent──► struct
 *sm_stream │ ▲                                        └──── it failed ──► FRESH │ └ BIND
 *	            └──LISTEN──► LISTENING ──accept4, announced──► struct sm_stream, as often as the
 *	                                                           guest has room
 *
 * All are non-blocking. A connection is accepted only once there are an rx buffer for its ACCEPTED
 * and room in the guest's queue; else it waits in the kernel's, whose length the guest chose.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "vsock/device.h"
#include "vsock/tsi.h"

#define STREAM_EVENTS   (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI)
#define ACCEPTS_AT_ONCE 16
#define ACCEPTED_COST   512
#define LINE_NS         1000000000ull
#define LINES           10u
#define FULL_LINE_NS    (60 * LINE_NS)
#define TRIES           64
#define BACKLOG_MAX     4096u
/* The longest rings of bytes that a host socket does not take: as many streams as a guest normally
 * has get the whole, what a hostile one can make us hold stays below 1 GiB. */
#define ROOMY_STREAMS 1024u
#define NARROW_BUF    (32u << 10)

static const uint8_t protocols[] = {
	[SM_TSI_TCP] = IPPROTO_TCP,
	[SM_TSI_UDP] = IPPROTO_UDP,
	[SM_TSI_ICMP] = IPPROTO_ICMP,
};
_Static_assert(SM_ARRAY_SIZE(protocols) == SM_TSI_PROTO_NUM, "a row for each");

/* ---- the table ---- */

static uint32_t bucket(const struct sm_tsi *t, uint32_t key)
{
	return sm_vsock_mix(t->vs, key, 0) % SM_TSI_BUCKETS;
}

struct sm_tsi_sock *sm_tsi_find(struct sm_tsi *t, uint32_t key)
{
	struct sm_tsi_sock *s;

	LIST_FOREACH(s, &t->by_key[bucket(t, key)], by_key)
	{
		if (s->key == key)
			return s;
	}
	return NULL;
}

static int fd_of(const struct sm_stream *s)
{
	if (s->fd >= 0)
		return s->fd;
	return s->source.fd >= 0 ? s->source.fd : s->sink.fd;
}

int sm_tsi_find_fd(struct sm_tsi *t, uint32_t key, uint32_t host_port)
{
	const struct sm_tsi_sock *s;
	const struct sm_stream *st;

	if (host_port == 0)
		host_port = SM_TSI_PORT;
	s = host_port == SM_TSI_PORT ? sm_tsi_find(t, key) : NULL;
	if (s && s->fd >= 0)
		return s->fd;
	st = sm_vsock_find(t->vs, key, host_port);
	return st && st->tsi ? fd_of(st) : -1;
}

void sm_tsi_ready(struct sm_tsi_sock *s)
{
	if (!s->is_ready)
		TAILQ_INSERT_TAIL(&s->tsi->ready, s, ready);
	s->is_ready = true;
}

bool sm_tsi_has_room(struct sm_tsi *t)
{
	uint32_t n = t->nsocks + t->vs->ntsi;
	uint64_t now;

	if (n < t->flows_max)
		return true;
	now = sm_now_ns();
	if (!t->full_ns || now - t->full_ns >= FULL_LINE_NS) {
		sm_warn("network: %u sockets and streams: more are refused until some are closed",
			n);
		t->full_ns = now;
	}
	return false;
}

uint32_t sm_tsi_buf(const struct sm_tsi *t)
{
	return t->vs->ntsi < ROOMY_STREAMS ? SM_VSOCK_BUF : NARROW_BUF;
}

/* There is room again: whoever could not accept tries once more. */
void sm_tsi_freed(struct sm_tsi *t)
{
	struct sm_tsi_sock *s;

	if (!t || !t->starved)
		return;
	t->starved = false;
	t->vs->walked += t->nsocks;
	LIST_FOREACH(s, &t->all, all)
	{
		if (s->state != SM_TSI_LISTENING)
			continue;
		s->readable = true;
		sm_tsi_ready(s);
	}
	sm_vsock_wake(t->vs);
}

static bool is_open(const struct sm_tsi_sock *s)
{
	return s->state == SM_TSI_LISTENING || s->state == SM_TSI_DATAGRAM;
}

static void set_port(struct sm_tsi_sock *s, uint16_t port)
{
	sm_tsi_ports_add(s->tsi, s->proto, SM_TSI_BOUND, s->port, -1);
	sm_tsi_ports_add(s->tsi, s->proto, SM_TSI_BOUND, port, 1);
	if (is_open(s)) {
		sm_tsi_ports_add(s->tsi, s->proto, SM_TSI_OPEN, s->port, -1);
		sm_tsi_ports_add(s->tsi, s->proto, SM_TSI_OPEN, port, 1);
	}
	s->port = port;
}

/* #syscalls:loop close setsockopt */
static void close_now(int fd, bool lingers)
{
	const struct linger off = { 0 };

	if (lingers)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	close(fd);
}

static void close_fd(struct sm_tsi_sock *s)
{
	sm_loop_forget(s->tsi->loop, s->io);
	s->io = NULL;
	if (s->fd >= 0)
		close_now(s->fd, s->lingers);
	s->fd = -1;
}

void sm_tsi_sock_free(struct sm_tsi_sock *s)
{
	struct sm_tsi *t = s->tsi;

	close_fd(s);
	set_port(s, 0);
	sm_tsi_hand_drop(s);
	if (s->is_ready)
		TAILQ_REMOVE(&t->ready, s, ready);
	if (s->state == SM_TSI_LISTENING)
		t->nlisteners--;
	LIST_REMOVE(s, by_key);
	LIST_REMOVE(s, all);
	t->nsocks--;
	free(s);
	sm_tsi_freed(t);
}

static void release_stream(struct sm_stream *s)
{
	if (!s || !s->tsi)
		return;
	s->error = 0;
	sm_flow_abandon(&s->flow, -ECONNABORTED);
	sm_stream_close(s);
	sm_vsock_touch(s);
}

/* Ends a stream as if its guest had closed it: what it wrote before still arrives. */
static void close_stream(struct sm_stream *s)
{
	const struct sm_vsock_hdr h = { .src_port = s->guest_port,
					.dst_port = s->host_port,
					.op = SM_VSOCK_OP_SHUTDOWN,
					.flags = SM_VSOCK_SHUT_BOTH,
					.buf_alloc = s->flow.guest_alloc,
					.fwd_cnt = s->flow.guest_fwd };

	if (s->flow.state == SM_FLOW_OPEN || s->flow.state == SM_FLOW_CLOSING)
		sm_vsock_stream_packet(s->vs, &h, NULL);
	else if (s->flow.state != SM_FLOW_OVER)
		release_stream(s);
}

static void release(struct sm_tsi *t, uint32_t key)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, key);

	if (s)
		sm_tsi_sock_free(s);
	release_stream(sm_vsock_find(t->vs, key, SM_TSI_PORT));
}

void sm_tsi_release(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	uint32_t host_port = sm_tsi_get32(q->body + 4);
	struct sm_tsi_sock *s;
	struct sm_stream *st;

	if (host_port == 0)
		host_port = SM_TSI_PORT;
	s = host_port == SM_TSI_PORT ? sm_tsi_find(t, q->key) : NULL;
	if (s)
		sm_tsi_sock_free(s);
	st = sm_vsock_find(t->vs, q->key, host_port);
	if (st && st->tsi)
		close_stream(st);
	else if (!s)
		sm_tsi_drop(t, q, "unknown key");
}

/* ---- events ---- */

/* #syscalls:loop connect */
static int connect_fd(const struct sm_tsi_sock *s, const union sm_tsi_addr *a)
{
	int r;

	do
		r = connect(s->fd, &a->sa, sm_tsi_addr_len(a));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void connected(struct sm_tsi_sock *s, int result)
{
	s->state = SM_TSI_CONNECTED;
	s->result = result;
	if (result < 0) { /* events of this attempt are none of the next one */
		sm_loop_remove(s->tsi->loop, s->io);
		s->io = NULL;
		s->events = 0;
	}
	sm_tsi_ready(s);
}

static void on_event(void *arg, uint32_t events)
{
	struct sm_tsi_sock *s = arg;
	struct sm_vsock *vs = s->tsi->vs;
	int r;

	s->events |= events;
	switch (s->state) {
	case SM_TSI_CONNECTING:
		/* Not SO_ERROR, after which the socket would refuse one more attempt. */
		r = connect_fd(s, &s->peer);
		if (r != -EALREADY && r != -EINPROGRESS)
			connected(s, r == -EISCONN ? 0 : r);
		break;
	case SM_TSI_LISTENING:
	case SM_TSI_DATAGRAM:
		s->readable = true;
		sm_tsi_ready(s);
		break;
	default:
		break;
	}
	sm_vsock_turn(vs);
}

int sm_tsi_watch(struct sm_tsi_sock *s, uint32_t events)
{
	if (s->io)
		return 0;
	return sm_loop_add(s->tsi->loop, s->fd, events | EPOLLET, on_event, s, &s->io);
}

/* ---- CREATE ---- */

static int proto_of(int family, uint32_t type, uint32_t protocol)
{
	uint32_t icmp = family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;

	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (type != 1 && type != 2)
		return -EINVAL;
	if (type == 1)
		return protocol == 0 || protocol == IPPROTO_TCP ? SM_TSI_TCP : -EPROTONOSUPPORT;
	if (protocol == 0 || protocol == IPPROTO_UDP)
		return SM_TSI_UDP;
	return protocol == icmp ? SM_TSI_ICMP : -EPROTONOSUPPORT;
}

/* #syscalls:loop socket(0=AF_INET) socket(0=AF_INET6) */
static int open_socket(int family, int proto)
{
	int type = proto == SM_TSI_TCP ? SOCK_STREAM : SOCK_DGRAM;
	int protocol =
		proto == SM_TSI_ICMP && family == AF_INET6 ? IPPROTO_ICMPV6 : protocols[proto];
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	return fd < 0 ? -errno : fd;
}

int sm_tsi_make(struct sm_tsi *t, const struct sm_tsi_req *q, int protocol)
{
	int family = sm_tsi_get16(q->body + 4);
	int proto = proto_of(family, sm_tsi_get16(q->body + 6), (uint32_t)protocol);
	struct sm_tsi_sock *s;
	int fd, r = 0;

	release(t, q->key);
	if (proto < 0)
		return proto;
	if (!sm_tsi_has_room(t))
		return -EMFILE;
	s = calloc(1, sizeof(*s));
	fd = s ? open_socket(family, proto) : -ENOBUFS;
	if (fd < 0) {
		free(s);
		return fd;
	}
	*s = (struct sm_tsi_sock){ .tsi = t,
				   .key = q->key,
				   .family = family,
				   .fd = fd,
				   .proto = (enum sm_tsi_proto)proto,
				   .state = proto == SM_TSI_TCP ? SM_TSI_FRESH : SM_TSI_DATAGRAM };
	STAILQ_INIT(&s->handed);
	LIST_INSERT_HEAD(&t->by_key[bucket(t, s->key)], s, by_key);
	LIST_INSERT_HEAD(&t->all, s, all);
	t->nsocks++;
	if (s->state == SM_TSI_DATAGRAM)
		r = sm_tsi_watch(s, EPOLLIN);
	if (r < 0)
		sm_tsi_sock_free(s);
	return r;
}

void sm_tsi_create(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	int r = sm_tsi_make(t, q, (int)sm_tsi_get32(q->body + 8));

	if (sm_tsi_get32(q->body + 12) & 1)
		sm_tsi_result(t, q, r);
	else if (r < 0)
		sm_tsi_drop(t, q, strerror(-r));
}

/* ---- the policy ---- */

/* A line for each denial, but for those of a flood: after the first LINES one in LINE_NS. */
static void log_denial(struct sm_tsi_sock *s, enum sm_tsi_action action, const union sm_tsi_addr *a)
{
	struct sm_tsi *t = s->tsi;
	bool v6 = a->sa.sa_family == AF_INET6;
	const void *bytes = v6 ? (const void *)&a->in6.sin6_addr : (const void *)&a->in.sin_addr;
	uint64_t n = ++t->vs->counters.denials;
	uint64_t fresh = (sm_now_ns() - t->denial_ns) / LINE_NS;
	char text[INET6_ADDRSTRLEN];

	t->denial_ns += fresh * LINE_NS;
	t->denial_lines =
		t->denial_lines + fresh < LINES ? t->denial_lines + (uint32_t)fresh : LINES;
	if (!t->denial_lines)
		return;
	t->denial_lines--;
	sm_warn("network policy: %s %s%s%s:%u %s denied (%llu since the last line)",
		action == SM_TSI_TO ? "to" : "at", v6 ? "[" : "",
		inet_ntop(a->sa.sa_family, bytes, text, sizeof(text)), v6 ? "]" : "",
		ntohs(a->in.sin_port), sm_tsi_proto_name(s->proto),
		(unsigned long long)(n - t->denials_told));
	t->denials_told = n;
}

bool sm_tsi_may(struct sm_tsi_sock *s, enum sm_tsi_action action, union sm_tsi_addr *a)
{
	const struct sm_tsi_policy *p = s->tsi->policy;

	if (action == SM_TSI_TO)
		sm_tsi_policy_settle(p, &a->sa);
	if (!sm_tsi_policy_allows(p, s->proto, &a->sa)) {
		log_denial(s, action, a);
		return false;
	}
	if (action == SM_TSI_TO)
		sm_tsi_find_own(s, a);
	return true;
}

/* ---- BIND, CONNECT, LISTEN ---- */

/* #syscalls:loop bind */
int sm_tsi_sock_bind(struct sm_tsi_sock *s, const union sm_tsi_addr *a)
{
	const struct sm_tsi_policy *p = s->tsi->policy;
	union sm_tsi_addr outer = *a;

	if (a->sa.sa_family == AF_UNSPEC)
		return -EAFNOSUPPORT;
	if (s->state != SM_TSI_FRESH && s->state != SM_TSI_DATAGRAM)
		return -EINVAL;
	/* The port of the guest is what the rules speak of; port 0 is judged by LISTEN. */
	if (a->in.sin_port && !sm_tsi_may(s, SM_TSI_AT, &outer))
		return -EACCES;
	outer.in.sin_port = htons(sm_tsi_policy_outer(p, s->proto, ntohs(a->in.sin_port)));
	if (bind(s->fd, &outer.sa, sm_tsi_addr_len(&outer)) < 0)
		return -errno;
	set_port(s, ntohs(outer.in.sin_port));
	return 0;
}

/* With the name that it has, also where the call failed. */
static void answer_named(struct sm_tsi *t, const struct sm_tsi_req *q, struct sm_tsi_sock *s, int r)
{
	uint8_t body[SM_TSI_NAMED];

	sm_tsi_put_named(t, s, r, body);
	sm_tsi_answer(t, q, body, sizeof(body));
}

void sm_tsi_bind(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	union sm_tsi_addr a;
	int r = sm_tsi_get_addr(q->body + 4, &a);

	if (!s && r == 0)
		r = sm_tsi_find_fd(t, q->key, 0) < 0 ? -EBADF : -EINVAL;
	else if (r == 0)
		r = sm_tsi_sock_bind(s, &a);
	answer_named(t, q, s, r);
}

int sm_tsi_sock_connect(struct sm_tsi_sock *s, union sm_tsi_addr *a)
{
	int r;

	if (a->sa.sa_family == AF_UNSPEC && s->state != SM_TSI_DATAGRAM)
		return -EAFNOSUPPORT;
	if (a->sa.sa_family != AF_UNSPEC && !sm_tsi_may(s, SM_TSI_TO, a))
		return -EACCES;
	r = connect_fd(s, a);
	if (s->state == SM_TSI_DATAGRAM)
		return r;
	/* To a peer on this machine it is over already, well or badly. */
	if (r == -EINPROGRESS)
		r = connect_fd(s, a);
	if (r == 0 || r == -EALREADY) {
		int w = sm_tsi_watch(s, STREAM_EVENTS);

		r = w < 0 ? w : r;
	}
	return r;
}

static int start_connect(struct sm_tsi *t, const struct sm_tsi_req *q, struct sm_tsi_sock *s)
{
	union sm_tsi_addr a;
	int r = sm_tsi_get_addr(q->body + 4, &a);

	if (r < 0)
		return r;
	if (!s)
		return sm_tsi_find_fd(t, q->key, 0) < 0 ? -EBADF : -EISCONN;
	if (s->state == SM_TSI_CONNECTING || s->state == SM_TSI_CONNECTED)
		return -EALREADY;
	if (s->state != SM_TSI_FRESH && s->state != SM_TSI_DATAGRAM)
		return -EISCONN;
	s->guest_alloc = q->h->buf_alloc;
	s->reply_port = q->h->src_port;
	s->has_destination = false;
	r = sm_tsi_sock_connect(s, &a);
	s->peer = a; /* as the policy settled it */
	return r;
}

void sm_tsi_connect(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	int r = start_connect(t, q, s);

	if (s && s->state == SM_TSI_FRESH && r == 0) {
		connected(s, 0);
		return;
	}
	if (s && s->state == SM_TSI_FRESH && r == -EALREADY) {
		s->state = SM_TSI_CONNECTING;
		r = -EINPROGRESS;
	}
	if (t->extended)
		answer_named(t, q, s, r);
	else if (r != -EINPROGRESS)
		sm_tsi_result(t, q, r);
}

/* listen(2) would choose a port where there is none, and the policy is to know it before. */
static int name_listener(struct sm_tsi_sock *s, union sm_tsi_addr *a)
{
	socklen_t len = sizeof(*a);

	*a = (union sm_tsi_addr){ .in6 = { 0 } };
	if (getsockname(s->fd, &a->sa, &len) < 0)
		return -errno;
	if (a->in.sin_port)
		return 0;
	if (bind(s->fd, &a->sa, len) < 0 || getsockname(s->fd, &a->sa, &len) < 0)
		return -errno;
	return 0;
}

/* #syscalls:loop listen */
int sm_tsi_sock_listen(struct sm_tsi_sock *s, int32_t backlog)
{
	uint32_t n =
		backlog < 0 || (uint32_t)backlog > BACKLOG_MAX ? BACKLOG_MAX : (uint32_t)backlog;
	union sm_tsi_addr a;
	bool first = s->state == SM_TSI_FRESH;
	int r;

	if (!first && s->state != SM_TSI_LISTENING)
		return s->state == SM_TSI_DATAGRAM ? -EOPNOTSUPP : -EINVAL;
	if (first && s->tsi->nlisteners == SM_TSI_LISTENERS_MAX)
		return -ENOBUFS;
	r = name_listener(s, &a);
	if (r < 0)
		return r;
	a.in.sin_port = htons(sm_tsi_policy_inner(s->tsi->policy, s->proto, ntohs(a.in.sin_port)));
	if (!sm_tsi_may(s, SM_TSI_AT, &a))
		return -EACCES;
	r = listen(s->fd, (int)n) < 0 ? -errno : sm_tsi_watch(s, EPOLLIN);
	if (r < 0)
		return r;
	s->tsi->nlisteners += first;
	if (first)
		sm_tsi_ports_add(s->tsi, s->proto, SM_TSI_OPEN, s->port, 1);
	s->state = SM_TSI_LISTENING;
	n = n ? n : 1;
	s->announce = s->announce + n > s->backlog ? s->announce + n - s->backlog : 0;
	s->backlog = n;
	sm_tsi_ready(s);
	return 0;
}

void sm_tsi_listen(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	int r = s ? sm_tsi_sock_listen(s, (int32_t)sm_tsi_get32(q->body + 4))
		: sm_tsi_find_fd(t, q->key, 0) < 0 ? -EBADF
						   : -EINVAL;

	if (r == 0)
		s->guest_alloc = q->h->buf_alloc;
	answer_named(t, q, s, r);
}

void sm_tsi_accept(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	uint32_t n = sm_tsi_get32(q->body + 4);

	if (!s || s->state != SM_TSI_LISTENING) {
		sm_tsi_drop(t, q, "not a listener");
		return;
	}
	s->announce = n < s->backlog - s->announce ? s->announce + n : s->backlog;
	sm_tsi_ready(s);
}

/* ---- streams ---- */

/* The stream that s is from now on; it is s that is gone. */
static void join(struct sm_tsi_sock *s, struct sm_stream *st, uint32_t buf)
{
	st->guest_port = s->key;
	st->host_port = SM_TSI_PORT;
	st->lingers = s->lingers;
	st->bound = s->port;
	s->port = 0;
	sm_vsock_hash(st);
	sm_flow_open(&st->flow, s->guest_alloc, buf);
	sm_stream_join(st, sm_steal_fd(&s->fd), sm_steal_ptr(s->io), s->events, s->tsi->loop,
		       sm_vsock_changed);
	sm_tsi_sock_free(s);
	sm_vsock_touch(st);
}

static int tell_connected(struct sm_tsi_sock *s)
{
	struct sm_tsi *t = s->tsi;
	struct sm_vsock_hdr h = sm_tsi_hdr(t, s->key, SM_TSI_CONNECT, SM_TSI_NAMED);
	struct sm_stream *st = s->result == 0 ? sm_vsock_stream_new(t->vs, true) : NULL;
	uint8_t body[SM_TSI_NAMED];
	bool lost = s->result == 0 && !st;

	h.buf_alloc = sm_tsi_buf(t);
	sm_tsi_put_named(t, s, lost ? -ENOBUFS : s->result, body);
	if (!sm_tsi_send(t, h, body)) {
		if (st)
			sm_vsock_stream_free(st);
		return -ENOBUFS;
	}
	s->state = SM_TSI_FRESH;
	if (st)
		join(s, st, h.buf_alloc);
	else if (lost)
		sm_tsi_sock_free(s);
	return SM_TSI_NAMED;
}

static int tell_connected_base(struct sm_tsi_sock *s)
{
	struct sm_tsi *t = s->tsi;
	uint8_t body[4];

	sm_tsi_put32(body, (uint32_t)s->result);
	if (!sm_tsi_send(t, sm_tsi_hdr(t, s->reply_port, SM_TSI_CONNECT, sizeof(body)), body))
		return -ENOBUFS;
	s->state = s->result < 0 ? SM_TSI_FRESH : SM_TSI_JOINING;
	return sizeof(body);
}

/* ---- accepted connections ---- */

/* A connection, or -errno; what is the connection's fault only is passed over.
 * #syscalls:loop accept4 */
int sm_tsi_accept_one(struct sm_tsi_sock *s, union sm_tsi_addr *peer)
{
	for (int i = 0; i < TRIES; i++) {
		socklen_t len = sizeof(*peer);
		int fd = accept4(s->fd, &peer->sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			sm_tsi_name_own(s, peer);
			return fd;
		}
		switch (errno) {
		case EAGAIN:
			return -EAGAIN;
		case EMFILE:
		case ENFILE:
		case ENOBUFS:
		case ENOMEM:
		case EINVAL:
		case EBADF:
			return -errno;
		default:
			break;
		}
	}
	return -ECONNABORTED;
}

static void put_accepted(const struct sm_tsi_sock *s, uint32_t host_port,
			 const struct sm_tsi_conn *conn, uint8_t body[SM_TSI_ANSWER])
{
	union sm_tsi_addr local = conn->local;

	memset(body, 0, SM_TSI_ANSWER);
	local.in.sin_port =
		htons(sm_tsi_policy_inner(s->tsi->policy, s->proto, ntohs(local.in.sin_port)));
	sm_tsi_put32(body, host_port);
	sm_tsi_put32(body + 4, s->guest_alloc);
	sm_tsi_put32(body + 8, sm_tsi_addr_len(&local));
	sm_tsi_put32(body + 12, sm_tsi_addr_len(&conn->peer));
	memcpy(body + 16, &local, sm_tsi_addr_len(&local));
	memcpy(body + 144, &conn->peer, sm_tsi_addr_len(&conn->peer));
}

int sm_tsi_announce(struct sm_tsi_sock *s, struct sm_tsi_conn *conn, const struct sm_chain *c)
{
	struct sm_tsi *t = s->tsi;
	struct sm_vsock_hdr h = sm_tsi_hdr(t, s->key, SM_TSI_ACCEPTED, SM_TSI_ANSWER);
	struct sm_stream *st = sm_vsock_stream_new(t->vs, true);
	uint8_t body[SM_TSI_ANSWER];
	struct sm_io *io;

	if (!st)
		return -ENOBUFS;
	if (sm_loop_add(t->loop, conn->fd, STREAM_EVENTS | EPOLLET, on_event, s, &io) < 0) {
		sm_vsock_stream_free(st);
		return -ENOBUFS;
	}
	h.buf_alloc = sm_tsi_buf(t);
	st->guest_port = s->key;
	st->host_port = sm_vsock_port(t->vs);
	/* Inherited from the listener, or nobody knows. */
	st->lingers = s->lingers || conn->foreign;
	st->foreign = conn->foreign;
	sm_vsock_hash(st);
	sm_flow_open(&st->flow, s->guest_alloc, h.buf_alloc);
	put_accepted(s, st->host_port, conn, body);
	sm_stream_join(st, sm_steal_fd(&conn->fd), io, 0, t->loop, sm_vsock_changed);
	sm_stream_precede(st, sm_steal_ptr(conn->prefix), conn->prefix_len);
	sm_chain_write(c, SM_VSOCK_HDR_SIZE, body, sizeof(body));
	sm_vsock_send_rx(t->vs, c, &h);
	s->announce--;
	s->total++;
	sm_vsock_touch(st);
	return 0;
}

/* One connection, for whose ACCEPTED there is c: 0, or -errno and c is not used. */
static int take_one(struct sm_tsi_sock *s, const struct sm_chain *c)
{
	struct sm_tsi_conn conn = { .fd = -1 };
	socklen_t len = sizeof(conn.local);
	int r;

	if (!sm_tsi_has_room(s->tsi))
		return -EMFILE;
	conn.fd = sm_tsi_accept_one(s, &conn.peer);
	if (conn.fd < 0)
		return conn.fd;
	if (getsockname(conn.fd, &conn.local.sa, &len) < 0)
		conn.local.sa.sa_family = (sa_family_t)s->family; /* it is over already */
	r = sm_tsi_announce(s, &conn, c);
	if (r < 0)
		close_now(conn.fd, s->lingers); /* which is inherited */
	return r;
}

static int serve_listener(struct sm_tsi_sock *s)
{
	struct sm_vsock *vs = s->tsi->vs;
	struct sm_chain *c = &vs->chains[0];
	int n = 0, r = sm_tsi_hand_serve(s);

	if (r < 0)
		return r;
	while (s->readable && s->announce) {
		if (n == ACCEPTS_AT_ONCE) {
			sm_tsi_ready(s);
			break;
		}
		if (!sm_vsock_pop_rx(vs, c, 0))
			return -ENOBUFS;
		r = c->in_len < SM_VSOCK_HDR_SIZE + SM_TSI_ANSWER ? -EPROTO : take_one(s, c);
		if (r == 0) {
			n++;
			continue;
		}
		sm_vsock_unpop_rx(vs);
		if (r == -EPROTO)
			sm_vsock_break_rx(vs);
		s->tsi->starved |= r != -EAGAIN && r != -EPROTO;
		s->readable = false;
	}
	return n * ACCEPTED_COST;
}

/* ---- turns ---- */

int sm_tsi_sock_serve(struct sm_tsi_sock *s)
{
	switch (s->state) {
	case SM_TSI_CONNECTED:
		return s->tsi->extended ? tell_connected(s) : tell_connected_base(s);
	case SM_TSI_LISTENING:
		return s->tsi->extended ? serve_listener(s) : sm_tsi_base_serve_listener(s);
	case SM_TSI_DATAGRAM:
		return sm_tsi_dgram_serve(s);
	default:
		return 0;
	}
}
