/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control packets of TSI: a row for each opcode of a dialect, its body copied before it is looked
 * at. No packet has more than one answer, and none is taken while the ring of answers is full, so
 * that an answer neither gets lost nor makes memory grow. What is not the answer to a packet at
 * once (a connect that ended, a connection, a datagram) is state of its socket until there is an rx
 * buffer for it.
 */
#include "config.h"

#include "vsock/tsi.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clean.h"
#include "base/log.h"
#include "vsock/device.h"

#define WIRE_VERSION 1u

struct row {
	uint16_t op;
	uint16_t min; /* bytes of the request */
	bool answers;
	const char *name;
	void (*run)(struct sm_tsi *t, const struct sm_tsi_req *q);
};

/* ---- bytes ---- */

uint32_t sm_tsi_get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

uint16_t sm_tsi_get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

void sm_tsi_put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

void sm_tsi_put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

socklen_t sm_tsi_addr_len(const union sm_tsi_addr *a)
{
	return a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in);
}

int sm_tsi_get_addr(const uint8_t *p, union sm_tsi_addr *a)
{
	uint32_t len = sm_tsi_get32(p);
	uint16_t family = sm_tsi_get16(p + 4);

	*a = (union sm_tsi_addr){ .in6 = { 0 } };
	if (family != AF_INET && family != AF_INET6 && family != AF_UNSPEC)
		return -EAFNOSUPPORT;
	a->sa.sa_family = family;
	if (len != sm_tsi_addr_len(a) && !(family == AF_UNSPEC && len == sizeof(a->in6)))
		return -EINVAL;
	memcpy(a, p + 4, len);
	a->sa.sa_family = family;
	return 0;
}

/* ---- to the guest ---- */

void sm_tsi_trace(const struct sm_tsi *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!t->trace)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sm_info("tsi: %s", text);
}

struct sm_vsock_hdr sm_tsi_hdr(const struct sm_tsi *t, uint32_t key, uint16_t op, uint32_t len)
{
	return (struct sm_vsock_hdr){
		.src_cid = SM_VSOCK_HOST_CID,
		.dst_cid = t->vs->guest_cid,
		.src_port = op,
		.dst_port = key,
		.len = len,
		.type = SM_VSOCK_DGRAM,
		.op = SM_VSOCK_OP_RW,
	};
}

bool sm_tsi_send(struct sm_tsi *t, struct sm_vsock_hdr h, const void *body)
{
	struct sm_chain *c = &t->vs->chains[0];

	if (!sm_vsock_pop_rx(t->vs, c, 0))
		return false;
	if (c->in_len < SM_VSOCK_HDR_SIZE + h.len) {
		sm_vsock_unpop_rx(t->vs);
		sm_vsock_break_rx(t->vs);
		return false;
	}
	sm_chain_write(c, SM_VSOCK_HDR_SIZE, body, h.len);
	sm_vsock_send_rx(t->vs, c, &h);
	return true;
}

void sm_tsi_answer(struct sm_tsi *t, const struct sm_tsi_req *q, const void *body, size_t len)
{
	struct sm_tsi_answer *a = &t->answers[(t->answer_at + t->nanswers) % SM_TSI_ANSWERS];

	a->key = q->h->src_port;
	a->op = (uint16_t)q->h->dst_port;
	a->len = (uint16_t)len;
	memcpy(a->body, body, len);
	t->nanswers++;
}

void sm_tsi_result(struct sm_tsi *t, const struct sm_tsi_req *q, int result)
{
	uint8_t body[4];

	sm_tsi_put32(body, (uint32_t)result);
	sm_tsi_answer(t, q, body, sizeof(body));
}

/* #syscalls:loop getsockname */
void sm_tsi_put_named(const struct sm_tsi *t, const struct sm_tsi_sock *s, int result,
		      uint8_t body[SM_TSI_NAMED])
{
	union sm_tsi_addr a = { .in6 = { 0 } };
	socklen_t len = sizeof(a);
	bool named = s && getsockname(s->fd, &a.sa, &len) == 0;

	memset(body, 0, SM_TSI_NAMED);
	if (result == 0 && !named)
		result = -errno;
	sm_tsi_put32(body, (uint32_t)result);
	if (!named)
		return;
	/* The port is at the same place in both, and in network order. */
	a.in.sin_port = htobe16(sm_tsi_policy_inner(t->policy, s->proto, be16toh(a.in.sin_port)));
	sm_tsi_put32(body + 4, len);
	memcpy(body + 8, &a, len);
}

bool sm_tsi_is_full(const struct sm_tsi *t)
{
	return t->nanswers == SM_TSI_ANSWERS;
}

bool sm_tsi_send_answers(struct sm_tsi *t)
{
	if (!sm_tsi_send_left(t))
		return false;
	while (t->nanswers) {
		const struct sm_tsi_answer *a = &t->answers[t->answer_at];

		if (!sm_tsi_send(t, sm_tsi_hdr(t, a->key, a->op, a->len), a->body))
			return false;
		t->answer_at = (t->answer_at + 1) % SM_TSI_ANSWERS;
		t->nanswers--;
	}
	return true;
}

bool sm_tsi_tell_error(struct sm_tsi *t, const struct sm_stream *s)
{
	uint8_t body[8];

	sm_tsi_put32(body, s->host_port);
	sm_tsi_put32(body + 4, (uint32_t)s->error);
	return sm_tsi_send(t, sm_tsi_hdr(t, s->guest_port, SM_TSI_ERROR, sizeof(body)), body);
}

bool sm_tsi_is_ready(const struct sm_tsi *t)
{
	return !TAILQ_EMPTY(&t->ready);
}

int sm_tsi_serve(struct sm_tsi *t)
{
	struct sm_tsi_sock *s = TAILQ_FIRST(&t->ready);
	int r;

	TAILQ_REMOVE(&t->ready, s, ready);
	s->is_ready = false;
	r = sm_tsi_sock_serve(s);
	if (r == -ENOBUFS && !s->is_ready) { /* it is still there then, and the first again */
		TAILQ_INSERT_HEAD(&t->ready, s, ready);
		s->is_ready = true;
	}
	return r;
}

/* ---- from the guest ---- */

void sm_tsi_drop(struct sm_tsi *t, const struct sm_tsi_req *q, const char *why)
{
	t->vs->counters.drops++;
	sm_tsi_trace(t, "key %#x: opcode %u dropped: %s", q->h->src_port, q->h->dst_port, why);
}

static void hello(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	uint32_t version = sm_tsi_get32(q->body);
	uint8_t body[8];

	sm_tsi_reset(t);
	t->extended = version == WIRE_VERSION;
	sm_tsi_put32(body, t->extended ? 0 : (uint32_t)-EPROTONOSUPPORT);
	sm_tsi_put32(body + 4, WIRE_VERSION);
	sm_tsi_answer(t, q, body, sizeof(body));
}

static const struct row extension[] = {
	{ SM_TSI_HELLO, 8, true, "HELLO", hello },
	{ SM_TSI_CREATE, 16, false, "CREATE", sm_tsi_create },
	{ SM_TSI_BIND, 136, true, "BIND", sm_tsi_bind },
	{ SM_TSI_CONNECT, 136, true, "CONNECT", sm_tsi_connect },
	{ SM_TSI_LISTEN, 8, true, "LISTEN", sm_tsi_listen },
	{ SM_TSI_ACCEPT, 8, false, "ACCEPT", sm_tsi_accept },
	{ SM_TSI_SETSOCKOPT, 20, true, "SETSOCKOPT", sm_tsi_setsockopt },
	{ SM_TSI_GETSOCKOPT, 20, true, "GETSOCKOPT", sm_tsi_getsockopt },
	{ SM_TSI_SENDTO, 64, false, "SENDTO", sm_tsi_sendto },
	{ SM_TSI_RELEASE, 8, false, "RELEASE", sm_tsi_release },
};

static const struct row base[] = {
	{ SM_TSI_HELLO, 8, true, "HELLO", hello },
	{ SM_TSI_CREATE, 8, false, "PROXY_CREATE", sm_tsi_base_create },
	{ SM_TSI_CONNECT, 136, true, "CONNECT", sm_tsi_connect },
	{ SM_TSI_GETNAME, 12, true, "GETNAME", sm_tsi_base_getname },
	{ SM_TSI_SENDTO_ADDR, 136, false, "SENDTO_ADDR", sm_tsi_base_sendto_addr },
	{ SM_TSI_SENDTO_DATA, 0, false, "SENDTO_DATA", sm_tsi_base_sendto_data },
	{ SM_TSI_LISTEN, 144, true, "LISTEN", sm_tsi_base_listen },
	{ SM_TSI_ACCEPT, 8, true, "ACCEPT", sm_tsi_base_accept },
	{ SM_TSI_RELEASE, 8, false, "PROXY_RELEASE", sm_tsi_release },
};

/* From a connected datagram socket of libkrunfw's to its own key. */
static const struct row base_data = { 0, 0, false, "DATA", sm_tsi_base_data };

static const struct row *row_of(const struct sm_tsi *t, const struct sm_vsock_hdr *h)
{
	const struct row *rows = t->extended ? extension : base;
	size_t n = t->extended ? SM_ARRAY_SIZE(extension) : SM_ARRAY_SIZE(base);

	if (!t->extended && h->dst_port == h->src_port)
		return &base_data;
	for (size_t i = 0; i < n; i++)
		if (rows[i].op == h->dst_port)
			return &rows[i];
	return NULL;
}

/* The key that a request speaks of stands in its header too, but for the base dialect, where that
 * is the guest's control socket, and for HELLO, which has none. */
static int check(const struct sm_tsi *t, const struct row *row, struct sm_tsi_req *q)
{
	if (q->h->len < row->min)
		return -EINVAL;
	q->key = q->h->src_port;
	if (row == &base_data || row->op == SM_TSI_HELLO || row->op == SM_TSI_SENDTO ||
	    row->op == SM_TSI_SENDTO_DATA)
		return 0;
	q->key = sm_tsi_get32(q->body);
	if (!t->extended)
		return 0;
	return q->key == q->h->src_port && q->key >= SM_TSI_KEY_MIN && q->key <= SM_TSI_KEY_MAX
		       ? 0
		       : -EINVAL;
}

void sm_tsi_packet(struct sm_tsi *t, const struct sm_vsock_hdr *h, const struct sm_chain *c)
{
	const struct row *row = row_of(t, h);
	struct sm_tsi_req q = { .h = h, .chain = c };
	int r;

	if (!row) {
		sm_tsi_drop(t, &q, "unknown");
		return;
	}
	q.len = (uint32_t)sm_chain_read(c, SM_VSOCK_HDR_SIZE, q.body,
					h->len < sizeof(q.body) ? h->len : sizeof(q.body));
	r = check(t, row, &q);
	if (r == 0) {
		sm_tsi_trace(t, "key %#x: %s", q.key, row->name);
		row->run(t, &q);
	} else if (row->answers) {
		sm_tsi_result(t, &q, r);
	} else {
		sm_tsi_drop(t, &q, "malformed");
	}
}

/* ---- the whole ---- */

static void end_streams(struct sm_tsi *t)
{
	struct sm_stream *s;

	LIST_FOREACH(s, &t->vs->all, all)
	{
		if (!s->tsi)
			continue;
		s->error = 0;
		sm_flow_abandon(&s->flow, -ECONNRESET);
		sm_vsock_touch(s);
	}
}

void sm_tsi_reset(struct sm_tsi *t)
{
	struct sm_tsi_sock *s;

	t->vs->walked += t->nsocks + t->vs->nstreams;
	while ((s = LIST_FIRST(&t->all)))
		sm_tsi_sock_free(s);
	end_streams(t);
	t->nanswers = 0;
	t->left_len = 0;
	t->extended = false;
}

void sm_tsi_free(struct sm_tsi *t)
{
	if (!t)
		return;
	sm_tsi_reset(t);
	sm_tsi_policy_free(t->policy);
	free(t->ports);
	free(t);
}

int sm_vsock_enable_tsi(struct sm_vsock *vs, const struct sm_vsock_tsi *config, struct sm_err *err)
{
	struct sm_tsi *t = sm_calloc_sparse(sizeof(*t));
	const char *trace = getenv("SUPERMACHINE_VSOCK_TRACE");
	int r;

	if (!t)
		return sm_err_sys(err, -ENOMEM, "tsi");
	r = sm_tsi_policy_new(config->policy, config->ports, &t->policy, err);
	if (r == 0) {
		r = sm_tsi_ports_new(t->policy, &t->ports);
		if (r < 0)
			sm_err_sys(err, r, "tsi");
	}
	if (r < 0) {
		sm_tsi_policy_free(t->policy);
		free(t);
		return r;
	}
	t->vs = vs;
	t->loop = vs->loop;
	t->trace = trace && strcmp(trace, "1") == 0;
	t->flows_max = config->flows_max && config->flows_max < SM_VSOCK_TSI_FLOWS_MAX
			       ? config->flows_max
			       : SM_VSOCK_TSI_FLOWS_MAX;
	TAILQ_INIT(&t->ready);
	vs->tsi = t;
	vs->vdev.ops = &sm_vsock_tsi_ops;
	return 0;
}
