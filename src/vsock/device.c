/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio side of vsock: queues, and the turns in which they are served.
 *
 *	kick of tx ───┐
 *	kick of rx ───┤            ┌─ receive: tx chains → flow → sink (sendmsg from guest memory)
 *	descriptor ───┼──► turn ───┼─ pump: ready streams, in turn → rx chains (readv into it)
 *	call from ────┘            ├─ notify: one interrupt for each queue
 *	the host (work_fd)         └─ reap: done() and drained() callbacks, streams freed
 *
 * A turn handles a bounded number of bytes and asks for another one if there is more. Public calls
 * and callbacks never run a turn, they touch() a stream (which puts it in the lists it belongs to)
 * and wake() the device, so nothing here is entered twice.
 *
 * Towards the guest nothing is queued: what is to be sent is state in the flows, and source bytes
 * stay in their descriptors until the guest gives buffers and credit. The one queue is the ring of
 * refusals (RST for packets that belong to no stream); while it is full the tx queue is not served
 * (virtio 1.2, 5.10.6.1, allows that once the extra resources are used up).
 *
 * One readv fills several rx chains: their payload parts stand in one iovec, and the headers are
 * written when it is known how far it came; chains not reached are put back.
 */
#include "config.h"

#include "vsock/device.h"
#include "vsock/tsi.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clean.h"

enum { RX, TX, EVENT, QUEUES };

#define RX_TURN_BYTES (512u << 10)
#define TX_TURN_BYTES (512u << 10)
#define BITE_MIN 4096u			/* what a stream is asked for at a time, at least */
#define PACKET_COST 256u		/* what a packet counts at least against a turn */
#define WALK_COST 32u			/* … and each thing that it had us look at */

static struct sm_vq *queue(struct sm_vsock *vs, int index)
{
	return &vs->vdev.vq[index];
}

static void broken(struct sm_vsock *vs)
{
	if (!vs->told_broken)
		sm_vdev_broken(&vs->vdev);
	vs->told_broken = true;
}

void sm_vsock_wake(struct sm_vsock *vs)
{
	eventfd_write(vs->work_fd, 1);
}

/* ---- streams and their lists ---- */

static bool has_data(const struct sm_stream *s)
{
	return s->source.fd >= 0 && s->source.ready && s->flow.state == SM_FLOW_OPEN;
}

static bool has_work(const struct sm_stream *s)
{
	return s->flow.pending || (has_data(s) && sm_flow_credit(&s->flow));
}

static bool is_drained(const struct sm_stream *s)
{
	return (int32_t)(s->flow.fwd_cnt - s->drain_at) >= 0 ||
	       (s->flow.state == SM_FLOW_OVER && s->sink.fd < 0);
}

static bool is_closed(const struct sm_stream *s)
{
	return s->flow.state == SM_FLOW_OVER && s->source.fd < 0 && s->sink.fd < 0 && s->fd < 0;
}

void sm_vsock_touch(struct sm_stream *s)
{
	struct sm_vsock *vs = s->vs;

	*(s->tsi ? &vs->counters.tsi_tx_bytes : &vs->counters.tx_bytes) += s->written;
	s->written = 0;
	if (s->flow.plain && s->held_len && s->flow.guest_shut == SM_VSOCK_SHUT_BOTH)
		sm_stream_orphan(s);
	/* Once nothing more can be read before it. */
	if (s->error && !(has_data(s) && sm_flow_credit(&s->flow)))
		sm_flow_reset(&s->flow, -s->error);
	if (s->flow.state == SM_FLOW_OVER) {
		if (sm_flow_complete(&s->flow) && s->held_len)
			sm_stream_end_source(s);
		else
			sm_stream_close(s);
		if (!s->flow.pending)
			sm_vsock_unhash(s);
	}
	if (!s->is_ready && has_work(s)) {
		TAILQ_INSERT_TAIL(&vs->ready, s, ready);
		s->is_ready = true;
	}
	if (!s->is_due && ((s->drained && is_drained(s)) || is_closed(s))) {
		TAILQ_INSERT_TAIL(&vs->due, s, due);
		s->is_due = true;
	}
}

/* Callbacks may make, abort and drain streams: those touch lists, but only here are streams
 * freed. */
static void reap(struct sm_vsock *vs)
{
	struct sm_stream *s;

	while ((s = TAILQ_FIRST(&vs->due))) {
		TAILQ_REMOVE(&vs->due, s, due);
		s->is_due = false;
		if (s->drained && is_drained(s)) {
			sm_vsock_drained_fn *fn = s->drained;

			s->drained = NULL;
			fn(s->drained_arg);
		}
		if (!is_closed(s))
			continue;
		if (!s->is_done) {
			s->is_done = true;
			sm_vsock_disown(s);
			if (s->done)
				s->done(s->arg, s->flow.err);
		}
		if (!s->flow.pending)
			sm_vsock_stream_free(s);
	}
}

void sm_vsock_changed(struct sm_stream *s)
{
	struct sm_vsock *vs = s->vs;

	sm_vsock_touch(s);
	sm_vsock_turn(vs);
}

void sm_vsock_opened(struct sm_stream *s)
{
	int r = sm_stream_watch(s, s->vs->loop, sm_vsock_changed);

	if (r < 0) {
		sm_flow_reset(&s->flow, r);
		return;
	}
	if (s->source.fd < 0)
		sm_stream_end_source(s);
	if (s->sink.fd < 0 && !s->answer)
		sm_stream_end_sink(s);
}

/* ---- from the guest ---- */

static void refuse(struct sm_vsock *vs, const struct sm_vsock_hdr *h)
{
	uint32_t at = (vs->refusal_at + vs->nrefusals) % SM_VSOCK_REFUSALS_MAX;

	vs->counters.drops++;
	vs->refusals[at] = sm_vsock_hdr_refusal(h);
	vs->nrefusals++;
}

static void deliver(struct sm_vsock *vs, struct sm_stream *s, const struct sm_chain *c,
		    uint32_t len)
{
	int n = sm_chain_out_iov(c, SM_VSOCK_HDR_SIZE, len, vs->io, SM_CHAIN_IOV_MAX);
	int r = n < 0 ? n : sm_stream_write(s, vs->io, n);

	if (r < 0)
		sm_flow_reset(&s->flow, r);
}

static struct sm_stream *stream_of(struct sm_vsock *vs, const struct sm_vsock_hdr *h)
{
	struct sm_stream *s = sm_vsock_find(vs, h->src_port, h->dst_port);

	if (s || h->op != SM_VSOCK_OP_REQUEST)
		return s;
	s = vs->tsi && h->dst_port == SM_TSI_PORT ? sm_tsi_request(vs->tsi, h->src_port) :
						     sm_vsock_accept(vs, h->dst_port);
	if (s) {
		s->guest_port = h->src_port;
		sm_vsock_hash(s);
	}
	return s;
}

static void opened(struct sm_stream *s)
{
	if (s->opened)
		s->opened(s->arg);
	if (s->flow.state == SM_FLOW_OVER)
		return;
	sm_vsock_opened(s);
	if (s->tsi)
		sm_tsi_base_opened(s->vs->tsi, s);
}

/* docs/tsi.md, "End of a stream". */
static void aborted(struct sm_stream *s, const struct sm_vsock_hdr *h)
{
	bool by_guest = h->op == SM_VSOCK_OP_RST && s->flow.guest_shut != SM_VSOCK_SHUT_BOTH;

	if (!by_guest && s->flow.err != -EPROTO)
		return;
	s->error = 0;
	s->abort = true;
	sm_stream_close(s);
}

void sm_vsock_stream_packet(struct sm_vsock *vs, const struct sm_vsock_hdr *h,
			    const struct sm_chain *c)
{
	struct sm_stream *s = stream_of(vs, h);
	uint32_t update;

	if (!s && h->op == SM_VSOCK_OP_RST)
		return; /* crossed with ours */
	if (!s) {
		refuse(vs, h);
		return;
	}
	update = sm_flow_packet(&s->flow, h);
	if ((update & SM_FLOW_ENDED) && s->flow.plain)
		aborted(s, h);
	if (update & SM_FLOW_OPENED)
		opened(s);
	if (update & SM_FLOW_DATA)
		deliver(vs, s, c, h->len);
	if (update & SM_FLOW_STOP_SOURCE)
		sm_stream_end_source(s);
	if (update & SM_FLOW_FINISH_SINK)
		sm_stream_finish(s);
	sm_vsock_touch(s);
}

static void packet(struct sm_vsock *vs, const struct sm_chain *c)
{
	uint8_t wire[SM_VSOCK_HDR_SIZE];
	struct sm_vsock_hdr h;

	if (sm_chain_read(c, 0, wire, sizeof(wire)) < sizeof(wire)) {
		vs->counters.drops++;
		return;
	}
	sm_vsock_hdr_decode(&h, wire);
	switch (sm_vsock_hdr_check(&h, vs->guest_cid, c->out_len - sizeof(wire))) {
	case SM_VSOCK_TAKE:
		sm_vsock_stream_packet(vs, &h, c);
		break;
	case SM_VSOCK_TAKE_DGRAM:
		if (vs->tsi)
			sm_tsi_packet(vs->tsi, &h, c);
		else
			vs->counters.drops++;
		break;
	case SM_VSOCK_REFUSE:
		refuse(vs, &h);
		break;
	default:
		vs->counters.drops++;
	}
}

/* What is to be answered must wait for rx buffers. */
static bool is_stuck(const struct sm_vsock *vs)
{
	return vs->nrefusals == SM_VSOCK_REFUSALS_MAX || (vs->tsi && sm_tsi_is_full(vs->tsi));
}

/* Whether there is more than one turn's worth. */
static bool receive(struct sm_vsock *vs)
{
	struct sm_vq *tx = queue(vs, TX);
	uint32_t bytes = 0;
	struct sm_chain c;
	int r;

	sm_vq_disable_kicks(tx);
	while (bytes < TX_TURN_BYTES) {
		if (is_stuck(vs))
			return false; /* pump() goes on with us when it could send one */
		r = sm_vq_pop(tx, &c, vs->iovs, SM_VSOCK_IOVS_MAX);
		if (r < 0)
			broken(vs);
		if (r < 0 || (r == 0 && !sm_vq_enable_kicks(tx)))
			return false;
		if (r == 0)
			continue;
		vs->walked = 0;
		packet(vs, &c);
		sm_vq_push(tx, c.head, 0);
		/* A chain can be longer than all of guest memory: no sum of the guest's may wrap. */
		bytes += c.out_len < TX_TURN_BYTES ? c.out_len : TX_TURN_BYTES;
		bytes += PACKET_COST + vs->walked * WALK_COST;
	}
	return true;
}

/* ---- to the guest ---- */

bool sm_vsock_pop_rx(struct sm_vsock *vs, struct sm_chain *c, int used)
{
	struct sm_vq *rx = queue(vs, RX);
	int r;

	do
		r = sm_vq_pop(rx, c, vs->iovs + used, SM_VSOCK_IOVS_MAX - used);
	while (r == 0 && sm_vq_enable_kicks(rx));
	if (r > 0 && c->in_len <= SM_VSOCK_HDR_SIZE) {
		sm_vq_unpop(rx);
		sm_vq_break(rx);
		r = -EPROTO;
	}
	if (r < 0)
		broken(vs);
	return r > 0;
}

void sm_vsock_unpop_rx(struct sm_vsock *vs)
{
	sm_vq_unpop(queue(vs, RX));
}

void sm_vsock_break_rx(struct sm_vsock *vs)
{
	sm_vq_break(queue(vs, RX));
	broken(vs);
}

void sm_vsock_send_rx(struct sm_vsock *vs, const struct sm_chain *c, const struct sm_vsock_hdr *h)
{
	uint8_t wire[SM_VSOCK_HDR_SIZE];

	sm_vsock_hdr_encode(h, wire);
	sm_chain_write(c, 0, wire, sizeof(wire));
	sm_vq_push(queue(vs, RX), c->head, (uint32_t)sizeof(wire) + h->len);
}

static void address(const struct sm_stream *s, struct sm_vsock_hdr *h)
{
	h->src_cid = SM_VSOCK_HOST_CID;
	h->dst_cid = s->vs->guest_cid;
	h->src_port = s->host_port;
	h->dst_port = s->guest_port;
}

static bool send_refusals(struct sm_vsock *vs)
{
	struct sm_chain *c = &vs->chains[0];

	while (vs->nrefusals) {
		if (!sm_vsock_pop_rx(vs, c, 0))
			return false;
		sm_vsock_send_rx(vs, c, &vs->refusals[vs->refusal_at]);
		vs->refusal_at = (vs->refusal_at + 1) % SM_VSOCK_REFUSALS_MAX;
		vs->nrefusals--;
	}
	return true;
}

static bool send_control(struct sm_stream *s)
{
	struct sm_vsock *vs = s->vs;
	struct sm_chain *c = &vs->chains[0];
	struct sm_vsock_hdr h;

	if (s->error && s->flow.state == SM_FLOW_OVER && s->flow.pending) {
		if (!sm_tsi_tell_error(vs->tsi, s))
			return false;
		s->error = 0;
	}
	while (s->flow.pending) {
		if (!sm_vsock_pop_rx(vs, c, 0))
			return false;
		if (!sm_flow_next(&s->flow, &h)) {
			sm_vq_unpop(queue(vs, RX));
			break;
		}
		address(s, &h);
		sm_vsock_send_rx(vs, c, &h);
	}
	return true;
}

int sm_vsock_gather(struct sm_vsock *vs, uint32_t room, uint32_t skip, uint32_t *chains)
{
	uint32_t max = *chains;
	int used = 0, n = 0;

	*chains = 0;
	while (room && *chains < max &&
	       used + SM_CHAIN_IOV_MAX <= SM_VSOCK_IOVS_MAX) {
		struct sm_chain *c = &vs->chains[*chains];
		uint32_t part;
		int r;

		if (!sm_vsock_pop_rx(vs, c, used))
			break;
		if (c->in_len <= SM_VSOCK_HDR_SIZE + skip) {
			sm_vsock_unpop_rx(vs);
			sm_vsock_break_rx(vs);
			break;
		}
		part = c->in_len - SM_VSOCK_HDR_SIZE - skip;
		if (part > room)
			part = room;
		r = sm_chain_in_iov(c, SM_VSOCK_HDR_SIZE + skip, part, vs->io + n, IOV_MAX - 1 - n);
		if (r < 0) {
			sm_vsock_unpop_rx(vs);
			if (!n) /* one buffer in more pieces than readv takes */
				sm_vsock_break_rx(vs);
			break;
		}
		skip = 0;
		n += r;
		used += c->nout + c->nin;
		room -= part;
		(*chains)++;
	}
	return n;
}

/* Makes packets of the n bytes that were read, and puts the other buffers back. */
static void send_data(struct sm_stream *s, uint32_t n, uint32_t chains)
{
	struct sm_vsock *vs = s->vs;
	struct sm_vsock_hdr h;

	*(s->tsi ? &vs->counters.tsi_rx_bytes : &vs->counters.rx_bytes) += n;
	for (uint32_t i = 0; i < chains; i++) {
		struct sm_chain *c = &vs->chains[i];
		uint32_t part = c->in_len - SM_VSOCK_HDR_SIZE;

		if (!n) {
			sm_vq_unpop(queue(vs, RX));
			continue;
		}
		if (part > n)
			part = n;
		sm_flow_data(&s->flow, part, &h);
		address(s, &h);
		sm_vsock_send_rx(vs, c, &h);
		n -= part;
	}
}

/* No more buffers than what it brings lately is likely to fill: each is a walk through the ring. */
static void learn(struct sm_stream *s, uint32_t read)
{
	if (read >= SM_STREAM_BITE_MAX / 4)
		s->bite = SM_STREAM_BITE_MAX;
	else
		s->bite = 4 * read > BITE_MIN ? 4 * read : BITE_MIN;
}

/* Reads the source once: the bytes, 0 if nothing came of it, -ENOBUFS without rx buffers. */
static int send_source(struct sm_stream *s)
{
	struct sm_vsock *vs = s->vs;
	uint32_t room = sm_flow_credit(&s->flow);
	uint32_t chains = SM_VSOCK_CHAINS_MAX;
	ssize_t r;
	int n;

	n = sm_vsock_gather(vs, room < s->bite ? room : s->bite, 0, &chains);
	if (!n)
		return -ENOBUFS;
	r = sm_stream_read(s, vs->io, n);
	if (r > 0)
		learn(s, (uint32_t)r);
	send_data(s, r > 0 ? (uint32_t)r : 0, chains);
	if (r == 0)
		sm_stream_end_source(s);
	if (r == 0 && s->answer)
		sm_stream_end_sink(s);
	if (r < 0 && r != -EAGAIN)
		sm_flow_reset(&s->flow, (int)r);
	else if (r > 0 && !sm_flow_credit(&s->flow))
		vs->counters.credit_stalls++;
	return r > 0 ? (int)r : 0;
}

/* The bytes that stream s sent, -ENOBUFS without rx buffers. */
static int serve(struct sm_stream *s)
{
	struct sm_vsock *vs = s->vs;
	int r = 0;

	/* Data carries the credit, and comes before the end of it: so control goes after, but for
	 * the handshake. */
	if (sm_flow_shakes_hands(&s->flow) && !send_control(s))
		return -ENOBUFS;
	if (has_data(s) && sm_flow_credit(&s->flow))
		r = send_source(s);
	if (r < 0 || !send_control(s))
		return -ENOBUFS;
	TAILQ_REMOVE(&vs->ready, s, ready);
	s->is_ready = false;
	sm_vsock_touch(s); /* back to the tail if there is more */
	return r;
}

/* Whether there is more than one turn's worth. */
static bool pump(struct sm_vsock *vs)
{
	uint32_t bytes = 0;
	struct sm_stream *s;
	int r;

	if (!send_refusals(vs) || (vs->tsi && !sm_tsi_send_answers(vs->tsi)))
		return false;
	/* Streams and the sockets of TSI take turns. */
	while (bytes < RX_TURN_BYTES) {
		bool idle = true;

		if (vs->tsi && sm_tsi_is_ready(vs->tsi)) {
			r = sm_tsi_serve(vs->tsi);
			if (r < 0)
				return false;
			bytes += (uint32_t)r + PACKET_COST;
			idle = false;
		}
		s = TAILQ_FIRST(&vs->ready);
		if (s) {
			r = serve(s);
			if (r < 0)
				return false;
			bytes += (uint32_t)r + PACKET_COST;
		} else if (idle) {
			return false;
		}
	}
	return true;
}

void sm_vsock_turn(struct sm_vsock *vs)
{
	bool more = receive(vs);
	bool stuck = is_stuck(vs);

	more |= pump(vs);
	more |= stuck && !is_stuck(vs);
	sm_vq_notify(queue(vs, TX));
	sm_vq_notify(queue(vs, RX));
	reap(vs);
	if (more)
		sm_vsock_wake(vs);
}

/* ---- the device ---- */

/* The eventfds of kicks and of work_fd are edge-triggered and never read: each write is an event, and
 * a turn looks at everything. */
static void on_wakeup(void *arg, uint32_t events)
{
	sm_vsock_turn(arg);
}

static struct sm_vsock *of(struct sm_vdev *dev)
{
	return (struct sm_vsock *)dev;
}

static void config_read(struct sm_vdev *dev, size_t off, void *data, size_t len)
{
	uint64_t cid = htole64(of(dev)->guest_cid);

	memcpy(data, (uint8_t *)&cid + off, len);
}

static int start(struct sm_vdev *dev, uint32_t index)
{
	struct sm_vsock *vs = of(dev);

	vs->told_broken = false;
	if (index == EVENT)
		return 0; /* its buffers stay where they are until there is an event */
	sm_vsock_wake(vs);
	return sm_loop_add(vs->loop, dev->vq[index].kick_fd, EPOLLIN | EPOLLET, on_wakeup, vs,
			   &vs->kick_io[index]);
}

static void stop(struct sm_vdev *dev, uint32_t index)
{
	struct sm_vsock *vs = of(dev);

	sm_loop_remove(vs->loop, vs->kick_io[index]);
	vs->kick_io[index] = NULL;
}

static void reset(struct sm_vdev *dev)
{
	struct sm_vsock *vs = of(dev);
	struct sm_stream *s;

	vs->nrefusals = 0;
	if (vs->tsi)
		sm_tsi_reset(vs->tsi);
	LIST_FOREACH(s, &vs->all, all) {
		sm_flow_abandon(&s->flow, -ECONNRESET);
		sm_vsock_touch(s);
	}
	reap(vs);
}

const struct sm_vdev_ops sm_vsock_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.nqueues = QUEUES,
	.config_size = sizeof(uint64_t),
	.config_read = config_read,
	.start = start,
	.stop = stop,
	.reset = reset,
};

const struct sm_vdev_ops sm_vsock_tsi_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.nqueues = QUEUES,
	.features = 1ull << SM_VSOCK_F_DGRAM,
	.config_size = sizeof(uint64_t),
	.config_read = config_read,
	.start = start,
	.stop = stop,
	.reset = reset,
};

int sm_vsock_new(struct sm_loop *loop, uint64_t guest_cid, struct sm_vsock **out)
{
	struct sm_vsock *vs = sm_calloc_sparse(sizeof(*vs));
	int r;

	if (!vs)
		return -ENOMEM;
	vs->vdev.ops = &sm_vsock_ops;
	vs->loop = loop;
	vs->guest_cid = guest_cid;
	TAILQ_INIT(&vs->ready);
	TAILQ_INIT(&vs->due);
	vs->work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = vs->work_fd < 0 || getrandom(vs->secret, sizeof(vs->secret), 0) < 0 ?
		    -errno :
		    sm_loop_add(loop, vs->work_fd, EPOLLIN | EPOLLET, on_wakeup, vs, &vs->work_io);
	if (r < 0) {
		sm_vsock_free(vs);
		return r;
	}
	*out = vs;
	return 0;
}

void sm_vsock_free(struct sm_vsock *vs)
{
	struct sm_vsock_listener *l;
	struct sm_stream *s;

	if (!vs)
		return;
	while ((s = LIST_FIRST(&vs->all)))
		sm_vsock_stream_free(s);
	sm_tsi_free(vs->tsi);
	while ((l = LIST_FIRST(&vs->listeners))) {
		LIST_REMOVE(l, link);
		free(l);
	}
	sm_loop_remove(vs->loop, vs->work_io);
	if (vs->work_fd >= 0)
		close(vs->work_fd);
	free(vs);
}
