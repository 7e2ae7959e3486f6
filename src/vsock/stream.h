/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_STREAM_H
#define SM_VSOCK_STREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/loop.h"
#include "vsock/flow.h"
#include "vsock/vsock.h"

/*
 * A stream: a flow and the descriptors it joins. These functions do the I/O and tell the flow; what
 * the guest is told in turn is the device's business.
 *
 * Nothing here blocks but writes to regular files and to devices that know no poll(2).
 */
struct sm_end {
	int fd;			/* -1: none, or closed */
	struct sm_io *io;	/* edge-triggered; NULL: not watched, or always ready */
	bool socket;
	bool ready;		/* no EAGAIN since the last event */
	bool always;		/* epoll does not take it: ready at all times */
	bool ends;		/* an event told of more than bytes: EOF, an error, urgent data */
};

struct sm_stream;
typedef void sm_stream_changed_fn(struct sm_stream *s);

#define SM_STREAM_BITE_MAX 65536u	/* of one stream before the next has its turn */

struct sm_stream {
	struct sm_vsock *vs;
	struct sm_flow flow;
	uint32_t guest_port, host_port;
	struct sm_end source, sink;
	bool shared;		/* source.fd is sink.fd, watched by source.io */

	/* of a plain flow, whose descriptor is a TCP socket: open until the flow is OVER */
	int fd;			/* -1: not plain, or closed */
	int error;		/* how the socket failed, an errno: to be told before RST */
	bool failed;		/* it may still have to be read to its end */
	bool abort;		/* close such that the peer sees RST */
	struct sockaddr_in6 peer;	/* an accepted connection's, in either family */
	uint32_t key;			/* TSI's base dialect: the socket's */
	uint16_t bound;		/* the port that bind(2) gave it, counted by tsi_ports.c; or 0 */
	bool lingers;		/* its SO_LINGER would make close(2) wait */
	bool foreign;		/* fd was handed to us: others may have it open too */
	bool orphan;		/* see sm_stream_orphan() */

	uint8_t *held;		/* ring of flow.buf bytes while something is held, else NULL */
	uint32_t held_at, held_len;
	uint8_t *prefix;	/* heap: to be read before the source; NULL: no more of it */
	uint32_t prefix_at, prefix_len;
	uint64_t written;	/* bytes given to the sink */
	uint32_t bite;		/* bytes that are asked of the source at a time */
	struct sm_loop *loop;
	sm_stream_changed_fn *changed;

	bool answer;		/* no sink: both ways end with the source */
	sm_vsock_opened_fn *opened;
	sm_vsock_done_fn *done;
	sm_vsock_drained_fn *drained;
	void *arg, *drained_arg;
	uint32_t drain_at;	/* drained when fwd_cnt gets there */

	/* the device's: in which of its lists it is, and the links */
	bool hashed, owned, accepted, tsi, is_ready, is_due, is_done;
	LIST_ENTRY(sm_stream) by_ports, by_host_port, all;
	TAILQ_ENTRY(sm_stream) ready, due;
};

/* A stream of these descriptors (-1: none; the same number twice: both). They are its own from 0
 * on, and stay the caller's on -errno: -EBADF, -EINVAL (blocking, and cannot be opened anew). */
int sm_stream_adopt(struct sm_stream *s, int source, int sink);

/* A plain flow's socket, non-blocking, and its watch, edge-triggered, which has told of `events` so
 * far: its own from now on. */
void sm_stream_join(struct sm_stream *s, int fd, struct sm_io *io, uint32_t events,
		    struct sm_loop *loop, sm_stream_changed_fn *changed);

/* Starts to watch the descriptors. changed(s) runs after events: an end became ready, what was held
 * was written, or a sink that failed was ended. 0 or -errno. */
int sm_stream_watch(struct sm_stream *s, struct sm_loop *loop, sm_stream_changed_fn *changed);

/* Bytes on the heap, its own from now on, that are read before those of the source. NULL allowed. */
void sm_stream_precede(struct sm_stream *s, uint8_t *bytes, uint32_t len);

/* One readv from the source: bytes, 0 at its end, -EAGAIN or another -errno. */
ssize_t sm_stream_read(struct sm_stream *s, const struct iovec *iov, int n);

/* Writes bytes from the guest, iov is used up. What the sink does not take is held: the flow's
 * credit bounds it. A sink that fails is ended. 0, or -ENOMEM: nothing can be held. */
int sm_stream_write(struct sm_stream *s, struct iovec *iov, int n);

/* After the guest ended its way: ends the sink if nothing is held. */
void sm_stream_finish(struct sm_stream *s);

/* Of a plain flow that the guest has closed: what is held still goes to the peer, not for ever. */
void sm_stream_orphan(struct sm_stream *s);

void sm_stream_end_source(struct sm_stream *s);
void sm_stream_end_sink(struct sm_stream *s);

/* Both, without telling the flow. */
void sm_stream_close(struct sm_stream *s);

#endif
