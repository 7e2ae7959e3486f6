/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_VSOCK_H
#define SM_VSOCK_VSOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/loop.h"
#include "virtio/device.h"

/*
 * virtio-vsock (virtio 1.2, 5.10): streams between the guest and file descriptors of this process.
 * The device owns every descriptor given to it and runs wholly on the loop's thread.
 *
 * A stream has a source (bytes for the guest) and a sink (bytes from the guest), either of which
 * may be absent. Descriptors can be pipes, sockets, ttys, character devices or regular files; they
 * need not be non-blocking and their flags are never changed, since the open file description may
 * be shared with other processes: pipes and ttys are opened anew through /proc/self/fd, sockets use
 * MSG_DONTWAIT, files are read and written as they are. Two of them cannot be served without
 * blocking and are refused with -EINVAL: a pty master, and a pipe or tty that cannot be opened anew
 * (no /proc, no permission), unless they are non-blocking already.
 *
 *	source at EOF    → SHUTDOWN(sender sends no more) to the guest; the other way goes on
 *	sink failed      → SHUTDOWN(sender receives no more): the guest's writer gets EPIPE
 *	guest SHUTDOWN   → shutdown(2) or close of the sink once everything is written
 *	both ways ended  → RST exchanged, done()
 *
 * Credit: a stream buffers at most SM_VSOCK_BUF bytes towards a sink that does not drain; the
 * guest's writer stops there and nothing else does.
 */
#define SM_VSOCK_BUF (256u << 10)
#define SM_VSOCK_HOST_CID 2u

struct sm_vsock;

struct sm_vsock_counters {
	uint64_t flows;		/* streams there are now, expected ones included */
	uint64_t rx_bytes;	/* read from sources for the guest */
	uint64_t tx_bytes;	/* from the guest, written to sinks */
	uint64_t drops;		/* packets that made no sense and those refused */
	uint64_t credit_stalls;	/* times a stream used up the guest's credit */
	uint64_t tsi_rx_bytes, tsi_tx_bytes;	/* the same of TSI, which are not in those */
	uint64_t listeners;	/* of TSI, that there are now */
	uint64_t datagrams;	/* of TSI, both ways */
	uint64_t denials;	/* of TSI's policy */
};

int sm_vsock_new(struct sm_loop *loop, uint64_t guest_cid, struct sm_vsock **vs);
/* After its transport is gone. Closes all streams; no callback runs any more. */
void sm_vsock_free(struct sm_vsock *vs);
struct sm_vdev *sm_vsock_vdev(struct sm_vsock *vs);
void sm_vsock_counters(const struct sm_vsock *vs, struct sm_vsock_counters *out);

/* TSI, the guest's sockets in our network namespace (docs/tsi.md), with rules and a port map as
 * tsi_policy.h has them. Before the transport is made; 0, or -errno and err. */
#define SM_VSOCK_TSI_FLOWS_MAX 16384u
struct sm_vsock_tsi {
	const char *policy, *ports;	/* may be NULL */
	uint32_t flows_max;		/* sockets and streams, each a descriptor; 0: all there may be */
};
int sm_vsock_enable_tsi(struct sm_vsock *vs, const struct sm_vsock_tsi *config,
			struct sm_err *err);

/* How a stream ended: 0, or -errno (-ECONNRESET: the guest reset it or the device was reset;
 * -ECONNREFUSED: nobody listens in the guest; -EPROTO: the guest broke the rules; others: a
 * descriptor failed). Callbacks may use all calls of this header but sm_vsock_free(). */
typedef void sm_vsock_done_fn(void *arg, int err);
/* The guest took the connection. Before any byte of the stream; the descriptors can be written to. */
typedef void sm_vsock_opened_fn(void *arg);

struct sm_vsock_stream {
	int source;			/* read for the guest; -1: none, it sees EOF at once */
	int sink;			/* written for the guest; -1: none, its bytes are refused */
	sm_vsock_done_fn *done;		/* may be NULL; runs once, after both are closed */
	void *arg;
	sm_vsock_opened_fn *opened;	/* may be NULL */
	bool answer;			/* without a sink: the guest is told of that with the source's
					 * end only, in one SHUTDOWN(3) */
};
/* A socket that is both source and sink is given as the same number twice. */

/* Waits for the guest to connect to host port `port` and joins that stream to the descriptors.
 * Once: a second connect is refused. 0, -EADDRINUSE, -ENOSPC (too many), -ENOMEM, -EBADF, -EINVAL
 * (see above); on an error the descriptors stay the caller's. */
int sm_vsock_expect(struct sm_vsock *vs, uint32_t port, const struct sm_vsock_stream *s);

/* Gives up an expectation, or ends the stream that it has become: the guest sees a reset, the
 * descriptors are closed, neither done() nor drained() runs. -ENOENT if there is neither (any
 * more). */
int sm_vsock_abort(struct sm_vsock *vs, uint32_t port);

/* Runs fn(arg) as soon as every byte that the guest has sent so far on the stream of host port
 * `port` is written to its sink, or the stream has ended: possibly before this returns. One at a
 * time for each stream (-EBUSY). -ENOENT if there is no such stream (any more): fn does not run. */
typedef void sm_vsock_drained_fn(void *arg);
int sm_vsock_drain(struct sm_vsock *vs, uint32_t port, sm_vsock_drained_fn *fn, void *arg);

/* A free host port for sm_vsock_expect(), from a range of its own (>= 1 << 20). */
uint32_t sm_vsock_port(struct sm_vsock *vs);

/* Accepts every connect of the guest to `port`: fn gets the host end of a fresh socketpair (its own
 * from then on), or refuses by not being there. fn NULL: stop listening. */
typedef void sm_vsock_accept_fn(void *arg, int fd);
int sm_vsock_listen(struct sm_vsock *vs, uint32_t port, sm_vsock_accept_fn *fn, void *arg);

/* The same, but fn says what the stream is joined to (all of *s is zero and the descriptors -1
 * before): 0, and the descriptors are the device's; -errno: the guest is refused. */
typedef int sm_vsock_serve_fn(void *arg, struct sm_vsock_stream *s);
int sm_vsock_serve(struct sm_vsock *vs, uint32_t port, sm_vsock_serve_fn *fn, void *arg);

/* Connects to a listener in the guest, from a fresh host port which *port tells (NULL allowed) and
 * by which the stream can be aborted and drained: a guest need not ever answer. done() also tells a
 * refusal. 0, or -errno as sm_vsock_expect(). */
int sm_vsock_connect(struct sm_vsock *vs, uint32_t guest_port, const struct sm_vsock_stream *s,
		     uint32_t *port);

/* A connection that a TCP listener of the guest (of TSI) gets as if it had accepted it. */
#define SM_VSOCK_PREFIX_MAX 16384u
struct sm_vsock_handed {
	uint16_t port;			/* where the guest listens; 0: its first, AF_INET preferred */
	int fd;				/* a connected stream socket: TCP, or AF_UNIX */
	const struct sockaddr *peer;	/* who it is from, of AF_INET or AF_INET6; NULL: ask fd */
	const void *prefix;		/* bytes that come before those of fd, copied */
	uint32_t len;			/* of them, SM_VSOCK_PREFIX_MAX at most */
};
/* 0: fd is the device's. Else it stays the caller's: -ENOENT (no such listener), -EAGAIN (too many
 * wait for the guest), -EPROTOTYPE or -ENOTCONN (no such socket), -ENOMEM, -EINVAL. */
int sm_vsock_hand_over(struct sm_vsock *vs, const struct sm_vsock_handed *h);

/* What the guest's sockets of TSI wait for: TCP listeners, and UDP sockets without a peer. */
struct sm_vsock_port {
	const char *proto;		/* "tcp" or "udp" */
	const struct sockaddr *addr;	/* with the guest's port */
	uint16_t host_port;		/* the namespace's, in host order */
	uint32_t backlog;		/* of a listener */
	uint64_t accepted;		/* connections that it was given */
};
typedef void sm_vsock_port_fn(void *arg, const struct sm_vsock_port *p);
void sm_vsock_ports(struct sm_vsock *vs, sm_vsock_port_fn *fn, void *arg);

#endif
