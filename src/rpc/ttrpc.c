/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ttrpc connection on the loop.
 *
 *	OPEN ──► BROKEN ──► CLOSED
 *	  └─────────┴──────────┴──► sm_rpc_free()
 *
 * OPEN	  reads, writes, calls handlers.
 * BROKEN a write failed, or the peer does not read: nothing is read or written any more. Found out
 *	  inside the user's own call of sm_rpc_send() or sm_rpc_reply(), where a callback would be a
 *	  surprise, so a timer of 0 ns brings the connection to CLOSED from the loop.
 * CLOSED the descriptor is gone, calls are cut off (they live until their reply), pending requests
 *	  have been ended, closed() has run.
 *
 * Any callback may free the connection: whoever runs callbacks holds it (`busy`), and looks at the
 * state again after each. What is freed while held is released by the last holder.
 */
#include "config.h"

#include "rpc/ttrpc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "proto/ttrpc.pb-c.h"
#include "rpc/frame.h"

/* What may wait for a peer that does not read: two of the largest frames. */
#define QUEUE_MAX (2 * (SM_RPC_FRAME_MAX + RPC_HEADER_LEN))

/* How many reads one turn of the loop does, so that one peer cannot keep it. */
#define READS_PER_TURN 64

enum state { RPC_OPEN, RPC_BROKEN, RPC_CLOSED };

/* A frame that waits to be written. */
struct out {
	struct out *next;
	struct sm_buf frame;
	size_t done;
	size_t nfds;
	int fds[]; /* ours; go with the first byte */
};

/* A request that waits for the peer's response. */
struct pending {
	struct pending *next;
	uint32_t stream;
	const ProtobufCMessageDescriptor *out;
	sm_rpc_done_fn *done;
	void *arg;
};

struct sm_rpc_call {
	struct sm_rpc_call *next, **link; /* in rpc->calls */
	struct sm_rpc *rpc;               /* NULL once that is closed */
	uint32_t stream;
	ProtobufCMessage *req;
	size_t nfds;
	int fds[];
};

struct sm_rpc {
	enum state state;
	bool freed;
	unsigned int busy;
	struct sm_loop *loop;
	int fd;
	struct sm_io *io;
	struct sm_timer *doom;
	int err; /* why BROKEN */

	const struct sm_rpc_service *service;
	void *service_arg;
	sm_rpc_closed_fn *closed;
	void *closed_arg;

	struct rpc_reader reader;
	int fds[SM_RPC_FDS_MAX]; /* came with the frame being read */
	size_t nfds;

	struct out *queue, **queue_end;
	size_t queued; /* bytes */

	struct sm_rpc_call *calls;
	size_t ncalls, max_calls;
	uint32_t peer_stream; /* the last one the peer used */

	struct pending *pending;
	uint32_t next_stream;
};

/* ---- life ---- */

static void close_fds(int *fds, size_t *n)
{
	while (*n)
		sm_close(&fds[--*n]);
}

static void release(struct sm_rpc *rpc)
{
	if (!rpc->freed || rpc->busy)
		return;
	rpc_reader_free(&rpc->reader);
	free(rpc);
}

static void free_out(struct out *out)
{
	close_fds(out->fds, &out->nfds);
	sm_buf_free(&out->frame);
	free(out);
}

static void end_pending(struct sm_rpc *rpc, enum sm_rpc_code code, const char *text)
{
	while (rpc->pending) {
		struct pending *p = rpc->pending;

		rpc->pending = p->next;
		p->done(p->arg, code, text, NULL);
		free(p);
	}
}

/* Gives back what the connection holds of the system; calls lose it. */
static void disconnect(struct sm_rpc *rpc)
{
	rpc->state = RPC_CLOSED;
	sm_loop_remove(rpc->loop, rpc->io);
	rpc->io = NULL;
	sm_timer_remove(rpc->loop, rpc->doom);
	rpc->doom = NULL;
	sm_close(&rpc->fd);
	close_fds(rpc->fds, &rpc->nfds);
	while (rpc->queue) {
		struct out *out = rpc->queue;

		rpc->queue = out->next;
		free_out(out);
	}
	while (rpc->calls) {
		struct sm_rpc_call *call = rpc->calls;

		rpc->calls = call->next;
		call->rpc = NULL;
	}
}

/* From the loop only: to CLOSED, telling everybody. */
static void shut(struct sm_rpc *rpc, int err)
{
	if (rpc->state == RPC_CLOSED)
		return;
	disconnect(rpc);
	rpc->busy++;
	end_pending(rpc, SM_RPC_UNAVAILABLE, "the connection was closed");
	if (!rpc->freed && rpc->closed)
		rpc->closed(rpc->closed_arg, rpc, err);
	rpc->busy--;
	release(rpc);
}

static void on_doom(void *arg)
{
	struct sm_rpc *rpc = arg;

	shut(rpc, rpc->err);
}

/* To BROKEN; may be said at any time. */
static void doom(struct sm_rpc *rpc, int err)
{
	if (rpc->state != RPC_OPEN)
		return;
	rpc->state = RPC_BROKEN;
	rpc->err = err;
	sm_loop_remove(rpc->loop, rpc->io);
	rpc->io = NULL;
	sm_timer_set(rpc->loop, rpc->doom, 0);
}

void sm_rpc_free(struct sm_rpc *rpc)
{
	if (!rpc)
		return;
	rpc->freed = true;
	if (rpc->state != RPC_CLOSED)
		disconnect(rpc);
	rpc->busy++;
	end_pending(rpc, SM_RPC_CANCELLED, "the connection was given up");
	rpc->busy--;
	release(rpc);
}

/* ---- writing ---- */

/* Writes what the peer takes of the queue. */
static int flush(struct sm_rpc *rpc)
{
	while (rpc->queue) {
		struct out *out = rpc->queue;
		ssize_t n = sm_send_fds(rpc->fd, out->frame.data + out->done,
					out->frame.len - out->done, out->fds, out->nfds);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		close_fds(out->fds, &out->nfds);
		out->done += (size_t)n;
		if (out->done < out->frame.len)
			continue;
		rpc->queue = out->next;
		if (!rpc->queue)
			rpc->queue_end = &rpc->queue;
		rpc->queued -= out->frame.len;
		free_out(out);
	}
	return sm_loop_mod(rpc->loop, rpc->io, EPOLLIN);
}

/* A queue entry that owns the frame and duplicates of fds. NULL: errno tells why. */
static struct out *new_out(struct sm_buf *frame, size_t done, const int *fds, size_t nfds)
{
	struct out *out = calloc(1, sizeof(*out) + nfds * sizeof(int));

	if (!out)
		return NULL;
	for (; out->nfds < nfds; out->nfds++) {
		int fd = fcntl(fds[out->nfds], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			int saved = errno;

			free_out(out);
			errno = saved;
			return NULL;
		}
		out->fds[out->nfds] = fd;
	}
	out->frame = *frame;
	*frame = (struct sm_buf)SM_BUF_INIT(0);
	out->done = done;
	return out;
}

static int enqueue(struct sm_rpc *rpc, struct sm_buf *frame, size_t done, const int *fds,
		   size_t nfds)
{
	struct out *out;
	int r;

	if (rpc->queued + frame->len > QUEUE_MAX)
		return -ENOBUFS;
	out = new_out(frame, done, fds, nfds);
	if (!out)
		return -errno;
	if (!rpc->queue) {
		r = sm_loop_mod(rpc->loop, rpc->io, EPOLLIN | EPOLLOUT);
		if (r < 0) {
			free_out(out);
			return r;
		}
	}
	*rpc->queue_end = out;
	rpc->queue_end = &out->next;
	rpc->queued += out->frame.len;
	return 0;
}

/* Writes a frame, or as much as goes without waiting and queues the rest. The connection is of no
 * use after an error: the caller dooms it. */
static int transmit(struct sm_rpc *rpc, struct sm_buf *frame, const int *fds, size_t nfds)
{
	ssize_t n = 0;

	if (!rpc->queue) {
		n = sm_send_fds(rpc->fd, frame->data, frame->len, fds, nfds);
		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n == (ssize_t)frame->len)
			return 0;
		if (n > 0)
			nfds = 0;
		else
			n = 0;
	}
	return enqueue(rpc, frame, (size_t)n, fds, nfds);
}

/* ---- serving ---- */

static void send_status(struct sm_rpc *rpc, uint32_t stream, enum sm_rpc_code code,
			const char *text)
{
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SM_RPC_FRAME_MAX + RPC_HEADER_LEN);
	int r;

	if (!rpc || rpc->state != RPC_OPEN)
		return;
	r = rpc_frame_status(&frame, stream, code, text);
	if (r == -EMSGSIZE)
		r = rpc_frame_status(&frame, stream, code, "the error's text is too long");
	if (!r)
		r = transmit(rpc, &frame, NULL, 0);
	if (r < 0)
		doom(rpc, r);
}

static void free_call(struct sm_rpc_call *call)
{
	if (call->rpc) {
		*call->link = call->next;
		if (call->next)
			call->next->link = call->link;
		call->rpc->ncalls--;
	}
	close_fds(call->fds, &call->nfds);
	protobuf_c_message_free_unpacked(call->req, NULL);
	free(call);
}

void sm_rpc_reply(struct sm_rpc_call *call, const ProtobufCMessage *rsp)
{
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SM_RPC_FRAME_MAX + RPC_HEADER_LEN);
	struct sm_rpc *rpc = call->rpc;
	int r;

	if (rpc && rpc->state == RPC_OPEN) {
		r = rpc_frame_reply(&frame, call->stream, rsp);
		if (r == -EMSGSIZE)
			send_status(rpc, call->stream, SM_RPC_RESOURCE_EXHAUSTED,
				    "the response is too long");
		else if (!r)
			r = transmit(rpc, &frame, NULL, 0);
		if (r < 0 && r != -EMSGSIZE)
			doom(rpc, r);
	}
	free_call(call);
}

void sm_rpc_fail(struct sm_rpc_call *call, enum sm_rpc_code code, const char *fmt, ...)
{
	sm_auto_free char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	/* A failure never looks like a success. */
	send_status(call->rpc, call->stream, code == SM_RPC_OK ? SM_RPC_UNKNOWN : code,
		    text ? text : "out of memory");
	free_call(call);
}

struct sm_rpc *sm_rpc_call_conn(const struct sm_rpc_call *call)
{
	return call->rpc;
}

int sm_rpc_call_fd(struct sm_rpc_call *call, size_t i)
{
	return i < call->nfds ? sm_steal_fd(&call->fds[i]) : -1;
}

size_t sm_rpc_call_nfds(const struct sm_rpc_call *call)
{
	return call->nfds;
}

static const struct sm_rpc_method *find_method(const struct sm_rpc_service *service,
					       const char *name)
{
	for (size_t i = 0; i < service->nmethods; i++) {
		if (!strcmp(service->methods[i].name, name))
			return &service->methods[i];
	}
	return NULL;
}

/* A call of this connection; takes over the frame's descriptors, and req on success. */
static struct sm_rpc_call *new_call(struct sm_rpc *rpc, ProtobufCMessage *req)
{
	struct sm_rpc_call *call = malloc(sizeof(*call) + rpc->nfds * sizeof(int));

	if (!call)
		return NULL;
	call->rpc = rpc;
	call->stream = rpc->reader.header.stream;
	call->req = req;
	call->nfds = rpc->nfds;
	memcpy(call->fds, rpc->fds, rpc->nfds * sizeof(int));
	rpc->nfds = 0;
	call->next = rpc->calls;
	call->link = &rpc->calls;
	if (call->next)
		call->next->link = &call->next;
	rpc->calls = call;
	rpc->ncalls++;
	return call;
}

/* Finds the handler that a request names and runs it. */
static void dispatch(struct sm_rpc *rpc, const Ttrpc__Request *envelope)
{
	uint32_t stream = rpc->reader.header.stream;
	const struct sm_rpc_method *method;
	sm_auto_free char *text = NULL;
	struct sm_rpc_call *call;
	ProtobufCMessage *req;

	if (!rpc->service || strcmp(envelope->service, rpc->service->name) != 0) {
		text = sm_strf("unknown service \"%.200s\"", envelope->service);
		send_status(rpc, stream, SM_RPC_UNIMPLEMENTED, text ? text : "unknown service");
		return;
	}
	method = find_method(rpc->service, envelope->method);
	if (!method) {
		text = sm_strf("unknown method \"%.200s\" of %s", envelope->method,
			       envelope->service);
		send_status(rpc, stream, SM_RPC_UNIMPLEMENTED, text ? text : "unknown method");
		return;
	}
	req = rpc_unpack(method->in, envelope->payload.data, envelope->payload.len);
	if (!req) {
		text = sm_strf("the request is no %s", method->in->name);
		send_status(rpc, stream, SM_RPC_INVALID_ARGUMENT, text ? text : "bad request");
		return;
	}
	call = new_call(rpc, req);
	if (!call) {
		protobuf_c_message_free_unpacked(req, NULL);
		send_status(rpc, stream, SM_RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	method->fn(rpc->service_arg, call, req);
}

/* 0, or what the connection ends with. */
static int on_request(struct sm_rpc *rpc)
{
	uint32_t stream = rpc->reader.header.stream;
	Ttrpc__Request *envelope;

	if (stream % 2 != 1) {
		send_status(rpc, stream, SM_RPC_INVALID_ARGUMENT, "a client's stream ids are odd");
		return 0;
	}
	if (stream <= rpc->peer_stream) {
		send_status(rpc, stream, SM_RPC_INVALID_ARGUMENT, "stream ids must increase");
		return 0;
	}
	rpc->peer_stream = stream;
	if (rpc_reader_oversized(&rpc->reader)) {
		send_status(rpc, stream, SM_RPC_RESOURCE_EXHAUSTED, "the request is over 4 MiB");
		return 0;
	}
	if (rpc->ncalls >= rpc->max_calls)
		return -EDQUOT;
	envelope = (Ttrpc__Request *)rpc_unpack(&ttrpc__request__descriptor, rpc->reader.body.data,
						rpc->reader.body.len);
	if (!envelope || !envelope->service[0] || !envelope->method[0])
		send_status(rpc, stream, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	else
		dispatch(rpc, envelope);
	if (envelope)
		ttrpc__request__free_unpacked(envelope, NULL);
	return 0;
}

/* ---- calling ---- */

static int check_send(const struct sm_rpc *rpc, size_t nfds)
{
	if (rpc->state != RPC_OPEN)
		return -EPIPE;
	if (nfds > SM_RPC_FDS_MAX)
		return -EINVAL;
	return rpc->next_stream > INT32_MAX ? -EOVERFLOW : 0;
}

int sm_rpc_send(struct sm_rpc *rpc, const char *service, const char *method,
		const ProtobufCMessage *req, const int *fds, size_t nfds,
		const ProtobufCMessageDescriptor *out, sm_rpc_done_fn *done, void *arg)
{
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SM_RPC_FRAME_MAX + RPC_HEADER_LEN);
	sm_auto_free struct pending *p = NULL;
	int r = check_send(rpc, nfds);

	if (r < 0)
		return r;
	r = rpc_frame_request(&frame, rpc->next_stream, service, method, req);
	if (r < 0)
		return r;
	p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct pending){ rpc->pending, rpc->next_stream, out, done, arg };
	r = transmit(rpc, &frame, fds, nfds);
	if (r < 0) {
		doom(rpc, r);
		return r;
	}
	rpc->next_stream += 2;
	rpc->pending = sm_steal_ptr(p);
	return 0;
}

static void on_response(struct sm_rpc *rpc)
{
	sm_auto_free struct pending *p = NULL;
	struct rpc_response response;

	for (struct pending **at = &rpc->pending; *at; at = &(*at)->next) {
		if ((*at)->stream == rpc->reader.header.stream) {
			p = *at;
			*at = p->next;
			break;
		}
	}
	if (!p)
		return;
	rpc_response_open(&response, &rpc->reader, p->out);
	p->done(p->arg, response.code, response.text, response.rsp);
	rpc_response_free(&response);
}

/* ---- reading ---- */

/* A frame is complete. 0, or what the connection ends with. */
static int on_frame(struct sm_rpc *rpc)
{
	int r = 0;

	/* Frames of other types (data of streams, and what is not known yet) are not for us. */
	if (rpc->reader.header.type == RPC_REQUEST)
		r = on_request(rpc);
	else if (rpc->reader.header.type == RPC_RESPONSE)
		on_response(rpc);
	if (rpc->state == RPC_CLOSED)
		return 0;
	close_fds(rpc->fds, &rpc->nfds);
	rpc_reader_next(&rpc->reader);
	return r;
}

/* One read: 1 if there may be more, 0 if not now, else what the connection ends with;
 * -ENODATA stands for the end of the stream. */
static int receive(struct sm_rpc *rpc)
{
	bool first = rpc->reader.have == 0;
	int spare[SM_RPC_FDS_MAX];
	size_t nfds = SM_RPC_FDS_MAX;
	size_t len;
	uint8_t *p = rpc_reader_room(&rpc->reader, &len);
	ssize_t n;

	if (!p)
		return -ENOMEM;
	n = sm_recv_fds(rpc->fd, p, len, first ? rpc->fds : spare, &nfds);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	if (first)
		rpc->nfds = nfds;
	else
		close_fds(spare, &nfds);
	if (n == 0)
		return -ENODATA;
	if (rpc_reader_add(&rpc->reader, (size_t)n)) {
		int r = on_frame(rpc);

		return r < 0 ? r : 1;
	}
	return 1;
}

static void on_io(void *arg, uint32_t events)
{
	struct sm_rpc *rpc = arg;
	int r = 0;

	rpc->busy++;
	if (events & EPOLLOUT)
		r = flush(rpc);
	if (r >= 0 && (events & ~(uint32_t)EPOLLOUT)) {
		for (int i = 0; i < READS_PER_TURN; i++) {
			r = receive(rpc);
			if (r <= 0 || rpc->state != RPC_OPEN)
				break;
		}
	}
	if (r < 0 && rpc->state == RPC_OPEN)
		shut(rpc, r == -ENODATA ? 0 : r);
	rpc->busy--;
	release(rpc);
}

int sm_rpc_new(struct sm_loop *loop, int fd, const struct sm_rpc_service *service,
	       void *service_arg, sm_rpc_closed_fn *closed, void *closed_arg, struct sm_rpc **res)
{
	struct sm_rpc *rpc = calloc(1, sizeof(*rpc));
	int r = rpc ? 0 : -ENOMEM;

	if (!r)
		r = sm_set_nonblock(fd);
	if (!r)
		r = sm_timer_add(loop, UINT64_MAX, on_doom, rpc, &rpc->doom);
	if (!r)
		r = sm_loop_add(loop, fd, EPOLLIN, on_io, rpc, &rpc->io);
	if (r < 0) {
		if (rpc)
			sm_timer_remove(loop, rpc->doom);
		free(rpc);
		sm_close(&fd);
		return r;
	}
	rpc->loop = loop;
	rpc->fd = fd;
	rpc->service = service;
	rpc->service_arg = service_arg;
	rpc->closed = closed;
	rpc->closed_arg = closed_arg;
	rpc->queue_end = &rpc->queue;
	rpc->next_stream = 1;
	rpc->max_calls = SM_RPC_INFLIGHT_MAX;
	rpc_reader_init(&rpc->reader);
	*res = rpc;
	return 0;
}

void sm_rpc_set_inflight(struct sm_rpc *rpc, size_t max)
{
	rpc->max_calls = max;
}
