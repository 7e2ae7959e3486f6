/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See flow.h for the states. Credit (virtio 1.2, 5.10.6.3), as both sides count it:
 *
 *	in:	buf ─┬─ in_cnt - fwd_cnt	bytes that we hold
 *	             └─ in_cnt - fwd_told	bytes that the guest thinks we hold;
 *	                			past half of it an update goes out
 *	out:	guest_alloc - (out_cnt - guest_fwd)	what we may send
 *
 * All counters wrap at 2^32; differences are what counts.
 */
#include "config.h"

#include "vsock/flow.h"

#include <assert.h>
#include <errno.h>

#include "vsock/vsock.h"

#define PENDING(op) (1u << SM_VSOCK_OP_##op)

/* The edges of the picture in flow.h. */
static const uint8_t edges[] = {
	[SM_FLOW_WAITING] = 1u << SM_FLOW_OPEN | 1u << SM_FLOW_OVER,
	[SM_FLOW_CONNECTING] = 1u << SM_FLOW_OPEN | 1u << SM_FLOW_OVER,
	[SM_FLOW_OPEN] = 1u << SM_FLOW_CLOSING | 1u << SM_FLOW_OVER,
	[SM_FLOW_CLOSING] = 1u << SM_FLOW_CLOSING | 1u << SM_FLOW_OVER,
	[SM_FLOW_OVER] = 0,
};
static_assert(sizeof(edges) == SM_FLOW_STATE_NUM, "a row for each state");

static void enter(struct sm_flow *f, enum sm_flow_state state)
{
	assert(edges[f->state] & 1u << state); /* nothing that comes from the guest decides this */
	f->state = state;
}

static void over(struct sm_flow *f, int err)
{
	enter(f, SM_FLOW_OVER);
	f->err = err;
	f->pending = 0;
}

void sm_flow_wait(struct sm_flow *f)
{
	*f = (struct sm_flow){ .state = SM_FLOW_WAITING, .buf = SM_VSOCK_BUF };
}

void sm_flow_connect(struct sm_flow *f)
{
	*f = (struct sm_flow){ .state = SM_FLOW_CONNECTING,
			       .pending = PENDING(REQUEST),
			       .buf = SM_VSOCK_BUF };
}

void sm_flow_open(struct sm_flow *f, uint32_t guest_alloc, uint32_t buf)
{
	*f = (struct sm_flow){
		.state = SM_FLOW_OPEN, .plain = true, .guest_alloc = guest_alloc, .buf = buf
	};
}

/* A guest that has closed a plain flow knows no more of it, but where it waits for its end. */
static bool is_forgotten(const struct sm_flow *f)
{
	return f->plain && f->guest_shut == SM_VSOCK_SHUT_BOTH && !f->guest_waits;
}

void sm_flow_reset(struct sm_flow *f, int err)
{
	/* A REQUEST that is not sent yet, and with it the whole stream, is unknown to the guest. */
	bool known = f->state != SM_FLOW_WAITING && f->state != SM_FLOW_OVER &&
		     !(f->pending & PENDING(REQUEST)) && !is_forgotten(f);

	if (f->state == SM_FLOW_OVER)
		return;
	over(f, err);
	if (known)
		f->pending = PENDING(RST);
}

/* Nothing is lost by a sudden end once both ways were ended, by whomever: a guest that waits long
 * enough for our answer to its SHUTDOWN sends RST by itself. */
static void cut(struct sm_flow *f, int err)
{
	bool in_ended = (f->guest_shut & SM_VSOCK_SHUT_SEND) || (f->host_shut & SM_VSOCK_SHUT_RCV);
	bool out_ended = (f->host_shut & SM_VSOCK_SHUT_SEND) || (f->guest_shut & SM_VSOCK_SHUT_RCV);

	over(f, in_ended && out_ended ? 0 : err);
}

void sm_flow_abandon(struct sm_flow *f, int err)
{
	if (f->state != SM_FLOW_OVER)
		cut(f, err);
	f->pending = 0;
}

uint32_t sm_flow_credit(const struct sm_flow *f)
{
	uint32_t out = f->out_cnt - f->guest_fwd;

	return f->guest_alloc > out ? f->guest_alloc - out : 0;
}

uint32_t sm_flow_held(const struct sm_flow *f)
{
	return f->in_cnt - f->fwd_cnt;
}

bool sm_flow_complete(const struct sm_flow *f)
{
	return f->state == SM_FLOW_OVER && (f->guest_shut & SM_VSOCK_SHUT_SEND) &&
	       !(f->host_shut & SM_VSOCK_SHUT_RCV);
}

static void consider_update(struct sm_flow *f)
{
	if (f->fwd_cnt != f->fwd_told && f->in_cnt - f->fwd_told > f->buf / 2 &&
	    (f->state == SM_FLOW_OPEN || f->state == SM_FLOW_CLOSING))
		f->pending |= PENDING(CREDIT_UPDATE);
}

void sm_flow_forwarded(struct sm_flow *f, uint32_t n)
{
	f->fwd_cnt += n;
	consider_update(f);
}

/* What the guest must hear of: an end that it already knows from its own side is left out until
 * both ways have ended, because only SHUTDOWN of both makes it answer with RST. */
static uint8_t to_tell(const struct sm_flow *f)
{
	uint8_t tell = 0;

	if (f->plain)
		return f->guest_shut & SM_VSOCK_SHUT_RCV ? 0 : f->host_shut & SM_VSOCK_SHUT_SEND;
	if (f->host_shut == SM_VSOCK_SHUT_BOTH)
		return SM_VSOCK_SHUT_BOTH;
	if ((f->host_shut & SM_VSOCK_SHUT_RCV) && !(f->guest_shut & SM_VSOCK_SHUT_SEND))
		tell |= SM_VSOCK_SHUT_RCV;
	if ((f->host_shut & SM_VSOCK_SHUT_SEND) && !(f->guest_shut & SM_VSOCK_SHUT_RCV))
		tell |= SM_VSOCK_SHUT_SEND;
	return tell;
}

/* After a change of either side's ends. */
static void settle(struct sm_flow *f)
{
	if (f->state != SM_FLOW_OPEN && f->state != SM_FLOW_CLOSING)
		return;
	if (f->host_shut == SM_VSOCK_SHUT_BOTH && f->guest_shut == SM_VSOCK_SHUT_BOTH) {
		sm_flow_reset(f, 0);
		return;
	}
	if (to_tell(f) & ~f->told_shut)
		f->pending |= PENDING(SHUTDOWN);
	if (f->host_shut == SM_VSOCK_SHUT_BOTH)
		enter(f, SM_FLOW_CLOSING);
}

void sm_flow_source_ended(struct sm_flow *f)
{
	f->host_shut |= SM_VSOCK_SHUT_SEND;
	settle(f);
}

void sm_flow_sink_ended(struct sm_flow *f)
{
	f->host_shut |= SM_VSOCK_SHUT_RCV;
	settle(f);
}

/* ---- packets ---- */

static uint32_t violation(struct sm_flow *f)
{
	sm_flow_reset(f, -EPROTO);
	return SM_FLOW_ENDED;
}

static uint32_t take_data(struct sm_flow *f, uint32_t len)
{
	if ((f->guest_shut & SM_VSOCK_SHUT_SEND) || len > f->buf - sm_flow_held(f))
		return violation(f);
	f->in_cnt += len;
	if (f->host_shut & SM_VSOCK_SHUT_RCV) {
		sm_flow_forwarded(f, len); /* was on its way when the sink failed */
		return 0;
	}
	consider_update(f);
	return len ? SM_FLOW_DATA : 0;
}

static uint32_t take_shutdown(struct sm_flow *f, uint32_t flags)
{
	uint8_t fresh = (uint8_t)(flags & SM_VSOCK_SHUT_BOTH & ~(uint32_t)f->guest_shut);
	uint32_t update = 0;

	f->guest_shut |= fresh;
	f->guest_waits |= flags & SM_VSOCK_SHUT_ANSWER;
	if ((fresh & SM_VSOCK_SHUT_RCV) && !(f->host_shut & SM_VSOCK_SHUT_SEND))
		update |= SM_FLOW_STOP_SOURCE;
	if ((fresh & SM_VSOCK_SHUT_SEND) && !(f->host_shut & SM_VSOCK_SHUT_RCV))
		update |= SM_FLOW_FINISH_SINK;
	settle(f);
	return f->state == SM_FLOW_OVER ? SM_FLOW_ENDED : update;
}

static uint32_t take_open(struct sm_flow *f, const struct sm_vsock_hdr *h)
{
	switch (h->op) {
	case SM_VSOCK_OP_RW:
		return take_data(f, h->len);
	case SM_VSOCK_OP_SHUTDOWN:
		return take_shutdown(f, h->flags);
	case SM_VSOCK_OP_RST:
		cut(f, -ECONNRESET);
		return SM_FLOW_ENDED;
	case SM_VSOCK_OP_CREDIT_REQUEST:
		f->pending |= PENDING(CREDIT_UPDATE);
		return 0;
	case SM_VSOCK_OP_CREDIT_UPDATE:
		return 0;
	}
	return violation(f);
}

static uint32_t take_connecting(struct sm_flow *f, const struct sm_vsock_hdr *h)
{
	if (f->pending & PENDING(REQUEST))
		return 0; /* it cannot be an answer to ours */
	if (h->op == SM_VSOCK_OP_RESPONSE) {
		enter(f, SM_FLOW_OPEN);
		return SM_FLOW_OPENED;
	}
	if (h->op != SM_VSOCK_OP_RST)
		return violation(f);
	over(f, -ECONNREFUSED);
	return SM_FLOW_ENDED;
}

uint32_t sm_flow_packet(struct sm_flow *f, const struct sm_vsock_hdr *h)
{
	if (f->state == SM_FLOW_OVER)
		return 0;
	f->guest_alloc = h->buf_alloc;
	f->guest_fwd = h->fwd_cnt;
	switch (f->state) {
	case SM_FLOW_WAITING:
		if (h->op != SM_VSOCK_OP_REQUEST)
			return violation(f);
		enter(f, SM_FLOW_OPEN);
		f->pending = PENDING(RESPONSE);
		return SM_FLOW_OPENED;
	case SM_FLOW_CONNECTING:
		return take_connecting(f, h);
	default:
		return take_open(f, h);
	}
}

/* ---- what to send ---- */

static void fill(struct sm_flow *f, uint16_t op, uint32_t len, struct sm_vsock_hdr *h)
{
	*h = (struct sm_vsock_hdr){
		.len = len,
		.type = SM_VSOCK_STREAM,
		.op = op,
		.buf_alloc = f->buf,
		.fwd_cnt = f->fwd_cnt,
	};
	f->fwd_told = f->fwd_cnt;
	f->pending &= ~(PENDING(CREDIT_UPDATE) | 1u << op);
}

bool sm_flow_shakes_hands(const struct sm_flow *f)
{
	return f->pending & (PENDING(REQUEST) | PENDING(RESPONSE));
}

bool sm_flow_next(struct sm_flow *f, struct sm_vsock_hdr *h)
{
	static const uint16_t order[] = { SM_VSOCK_OP_REQUEST, SM_VSOCK_OP_RESPONSE,
					  SM_VSOCK_OP_SHUTDOWN, SM_VSOCK_OP_CREDIT_UPDATE,
					  SM_VSOCK_OP_RST };

	for (unsigned int i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (!(f->pending & 1u << order[i]))
			continue;
		fill(f, order[i], 0, h);
		if (order[i] == SM_VSOCK_OP_SHUTDOWN)
			h->flags = f->told_shut |= to_tell(f);
		return true;
	}
	return false;
}

void sm_flow_data(struct sm_flow *f, uint32_t n, struct sm_vsock_hdr *h)
{
	fill(f, SM_VSOCK_OP_RW, n, h);
	f->out_cnt += n;
}
