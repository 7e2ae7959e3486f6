/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the dialect of libkrunfw's kernels differs from the extension (docs/tsi.md, "Base"): a
 * stream takes REQUEST and RESPONSE, its socket is still spoken of afterwards (GETNAME), and ACCEPT
 * asks for one connection.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "vsock/device.h"
#include "vsock/tsi.h"

#define GUEST_O_NONBLOCK 0x800u
#define ACCEPTS_MAX      1024u
#define AT_ONCE          16

void sm_tsi_base_create(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	int r = sm_tsi_make(t, q, 0);

	if (r < 0)
		sm_tsi_drop(t, q, strerror(-r));
}

/* ---- GETNAME ---- */

static int peer_name(struct sm_tsi *t, uint32_t key, uint32_t host_port, union sm_tsi_addr *a)
{
	const struct sm_tsi_sock *s = host_port == SM_TSI_PORT ? sm_tsi_find(t, key) : NULL;
	const struct sm_stream *st = s ? NULL : sm_vsock_find(t->vs, key, host_port);

	if (s)
		*a = s->peer;
	else if (st && st->tsi)
		a->in6 = st->peer;
	return a->sa.sa_family == AF_UNSPEC ? -ENOTCONN : 0;
}

static int local_name(struct sm_tsi *t, uint32_t key, uint32_t host_port, union sm_tsi_addr *a)
{
	socklen_t len = sizeof(*a);
	int fd = sm_tsi_find_fd(t, key, host_port);

	if (fd < 0)
		return -EBADF;
	if (getsockname(fd, &a->sa, &len) < 0)
		return -errno;
	if (a->sa.sa_family == AF_UNIX) /* handed over: as if it were the listener's */
		return sm_tsi_listener_name(t, key, host_port, a);
	a->in.sin_port = htons(sm_tsi_policy_inner(t->policy, SM_TSI_TCP, ntohs(a->in.sin_port)));
	return 0;
}

void sm_tsi_base_getname(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	uint32_t host_port = sm_tsi_get32(q->body + 4);
	union sm_tsi_addr a = { .in6 = { 0 } };
	uint8_t body[SM_TSI_NAMED] = { 0 };
	int r;

	if (!host_port)
		host_port = SM_TSI_PORT;
	/* accept(2) of the guest says 2, which is a peer's too. */
	r = sm_tsi_get32(q->body + 8) ? peer_name(t, q->key, host_port, &a)
				      : local_name(t, q->key, host_port, &a);
	sm_tsi_put32(body, (uint32_t)r);
	if (r == 0) {
		sm_tsi_put32(body + 4, sm_tsi_addr_len(&a));
		memcpy(body + 8, &a, sm_tsi_addr_len(&a));
	}
	sm_tsi_answer(t, q, body, sizeof(body));
}

/* ---- LISTEN, ACCEPT ---- */

/*
 * libkrunfw's kernels have no word for options, and where LISTEN fails with EADDRINUSE their
 * program listens in the guest alone, without knowing. So we go by what servers ask for:
 * SO_REUSEADDR, for those that are started again, and IPV6_V6ONLY where the port's IPv4 side is
 * taken, for those that listen at both.
 */
static int bind_listener(struct sm_tsi_sock *s, const union sm_tsi_addr *a)
{
	const int on = 1;
	int r;

	setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	r = sm_tsi_sock_bind(s, a);
	if (r != -EADDRINUSE || a->sa.sa_family != AF_INET6 ||
	    !IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) ||
	    setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return r;
	return sm_tsi_sock_bind(s, a);
}

static int start_listening(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	union sm_tsi_addr a;
	int r = sm_tsi_get_addr(q->body + 12, &a);

	if (r < 0)
		return r;
	if (!s)
		return -EBADF;
	r = bind_listener(s, &a);
	if (r < 0)
		return r;
	s->vm_port = sm_tsi_get32(q->body + 4);
	return sm_tsi_sock_listen(s, (int32_t)sm_tsi_get32(q->body + 8));
}

void sm_tsi_base_listen(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	sm_tsi_result(t, q, start_listening(t, q));
}

void sm_tsi_base_accept(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	bool wait = !(sm_tsi_get32(q->body + 4) & GUEST_O_NONBLOCK);

	if (!s || s->state != SM_TSI_LISTENING) {
		sm_tsi_result(t, q, s ? -EINVAL : -EBADF);
	} else if (s->accepted) {
		s->accepted--;
		sm_tsi_result(t, q, 0);
	} else if (!wait || s->accepts == ACCEPTS_MAX) {
		sm_tsi_result(t, q, -EAGAIN);
	} else {
		s->reply_port = q->h->src_port;
		s->accepts++;
	}
}

void sm_tsi_base_opened(struct sm_tsi *t, const struct sm_stream *st)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, st->key);

	if (!s || s->state != SM_TSI_LISTENING || st->host_port == SM_TSI_PORT)
		return;
	if (s->accepted < s->backlog)
		s->accepted++;
	sm_tsi_ready(s);
}

int sm_tsi_base_announce(struct sm_tsi_sock *s, struct sm_tsi_conn *conn)
{
	struct sm_vsock *vs = s->tsi->vs;
	struct sm_stream *st = sm_vsock_stream_new(vs, true);
	int r = st ? sm_stream_adopt(st, conn->fd, conn->fd) : -ENOBUFS;

	if (r < 0) {
		if (st)
			sm_vsock_stream_free(st);
		return r;
	}
	conn->fd = -1;
	sm_stream_precede(st, sm_steal_ptr(conn->prefix), conn->prefix_len);
	st->guest_port = s->vm_port;
	st->host_port = sm_vsock_port(vs);
	st->key = s->key;
	st->peer = conn->peer.in6;
	s->total++;
	sm_vsock_hash(st);
	sm_flow_connect(&st->flow);
	sm_vsock_touch(st);
	return 0;
}

static bool answer_waiting(struct sm_tsi_sock *s)
{
	static const uint8_t zero[4];

	while (s->accepts && s->accepted) {
		if (!sm_tsi_send(s->tsi,
				 sm_tsi_hdr(s->tsi, s->reply_port, SM_TSI_ACCEPT, sizeof(zero)),
				 zero))
			return false;
		s->accepts--;
		s->accepted--;
	}
	return true;
}

int sm_tsi_base_serve_listener(struct sm_tsi_sock *s)
{
	if (!answer_waiting(s) || sm_tsi_hand_serve(s) < 0)
		return -ENOBUFS;
	for (int n = 0; s->readable; n++) {
		struct sm_tsi_conn conn = { .fd = -EMFILE };
		int r;

		if (n == AT_ONCE) {
			sm_tsi_ready(s);
			break;
		}
		if (sm_tsi_has_room(s->tsi))
			conn.fd = sm_tsi_accept_one(s, &conn.peer);
		r = conn.fd < 0 ? conn.fd : sm_tsi_base_announce(s, &conn);
		if (r == 0)
			continue;
		if (conn.fd >= 0)
			close(conn.fd);
		s->tsi->starved |= r != -EAGAIN;
		s->readable = false;
	}
	return 0;
}

/* ---- the stream of a connect ---- */

struct sm_stream *sm_tsi_request(struct sm_tsi *t, uint32_t key)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, key);
	struct sm_stream *st;

	if (!s || s->state != SM_TSI_JOINING)
		return NULL;
	st = sm_vsock_stream_new(t->vs, true);
	if (!st)
		return NULL;
	sm_loop_remove(t->loop, s->io);
	s->io = NULL;
	if (sm_stream_adopt(st, s->fd, s->fd) < 0) {
		sm_vsock_stream_free(st);
		return NULL;
	}
	s->fd = -1;
	s->state = SM_TSI_JOINED;
	st->host_port = SM_TSI_PORT;
	st->key = key;
	st->peer = s->peer.in6;
	return st;
}
