/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_DEVICE_H
#define SM_VSOCK_DEVICE_H

#include "vsock/stream.h"
#include "vsock/vsock.h"

/* The inside of a vsock device, shared by device.c (queues), table.c (who is who) and vsock.c (the
 * public calls). See device.c for how they work together. */

#define SM_VSOCK_FLOWS_MAX 4096u
#define SM_VSOCK_ACCEPTED_MAX 3072u	/* of which made by the guest through listeners */
#define SM_VSOCK_REFUSALS_MAX 256u
#define SM_VSOCK_BUCKETS 4096u
#define SM_VSOCK_CHAINS_MAX 32u		/* rx buffers filled by one readv */
#define SM_VSOCK_IOVS_MAX (2 * SM_CHAIN_IOV_MAX)

LIST_HEAD(sm_stream_list, sm_stream);
TAILQ_HEAD(sm_stream_queue, sm_stream);

struct sm_vsock_listener {
	uint32_t port;
	sm_vsock_accept_fn *fn;		/* or serve */
	sm_vsock_serve_fn *serve;
	void *arg;
	LIST_ENTRY(sm_vsock_listener) link;
};

struct sm_tsi;

struct sm_vsock {
	struct sm_vdev vdev;
	struct sm_loop *loop;
	uint64_t guest_cid;
	struct sm_io *kick_io[3];
	int work_fd;			/* eventfd: another turn is wanted */
	struct sm_io *work_io;
	bool told_broken;

	struct sm_stream_list all;
	struct sm_stream_list by_ports[SM_VSOCK_BUCKETS];	/* flows that the guest knows */
	struct sm_stream_list by_host_port[SM_VSOCK_BUCKETS];	/* streams that own their port */
	LIST_HEAD(, sm_vsock_listener) listeners;
	uint32_t nstreams, naccepted, ntsi;
	uint32_t next_port;
	uint64_t secret[2];		/* of sm_vsock_mix() */

	uint32_t walked;	/* sockets and streams that a packet had us look at, one by one */
	struct sm_stream_queue ready;	/* something for the guest: control or data */
	struct sm_stream_queue due;	/* callbacks to run, perhaps to be freed */
	struct sm_vsock_hdr refusals[SM_VSOCK_REFUSALS_MAX];	/* ring of RSTs without a stream */
	uint32_t refusal_at, nrefusals;

	struct sm_tsi *tsi;		/* NULL: datagrams are not taken */
	struct sm_vsock_counters counters;
	struct sm_chain chains[SM_VSOCK_CHAINS_MAX];
	struct iovec iovs[SM_VSOCK_IOVS_MAX];	/* of the chains */
	struct iovec io[SM_CHAIN_IOV_MAX];	/* of one readv or writev */
};

/* ---- table.c ---- */

/* A fresh stream in state WAITING without descriptors; NULL: too many (but TSI counts its own), or
 * no memory. */
struct sm_stream *sm_vsock_stream_new(struct sm_vsock *vs, bool tsi);
void sm_vsock_stream_free(struct sm_stream *s); /* closes what is open, leaves all lists */

/* 32 bits of two numbers of the guest's, that it cannot foresee: for a bucket. */
uint32_t sm_vsock_mix(const struct sm_vsock *vs, uint32_t a, uint32_t b);
void sm_vsock_hash(struct sm_stream *s);	/* by (guest port, host port) */
void sm_vsock_unhash(struct sm_stream *s);
void sm_vsock_own(struct sm_stream *s);		/* by host port */
void sm_vsock_disown(struct sm_stream *s);
struct sm_stream *sm_vsock_find(struct sm_vsock *vs, uint32_t guest_port, uint32_t host_port);
struct sm_stream *sm_vsock_find_owner(struct sm_vsock *vs, uint32_t host_port);
struct sm_vsock_listener *sm_vsock_find_listener(struct sm_vsock *vs, uint32_t port);

/* ---- device.c ---- */

/* As if the guest had sent it; not for data. */
void sm_vsock_stream_packet(struct sm_vsock *vs, const struct sm_vsock_hdr *h,
			    const struct sm_chain *c);

/* Has the stream looked at: what it has to send, whether it is done. Cheap, any number of times. */
void sm_vsock_touch(struct sm_stream *s);

/* Wants a turn of the device soon, outside of the caller's stack. */
void sm_vsock_wake(struct sm_vsock *vs);

void sm_vsock_changed(struct sm_stream *s);	/* for sm_stream_watch(): touches, takes a turn */
void sm_vsock_turn(struct sm_vsock *vs);	/* from a callback of the loop */

/* The next rx buffer into c, with storage at iovs[used]: false if there is none, and then a turn
 * comes with the next one. */
bool sm_vsock_pop_rx(struct sm_vsock *vs, struct sm_chain *c, int used);
void sm_vsock_unpop_rx(struct sm_vsock *vs);	/* the last popped, which was not sent */

/* Gives c, whose payload of h->len bytes is in place, to the guest. */
void sm_vsock_send_rx(struct sm_vsock *vs, const struct sm_chain *c, const struct sm_vsock_hdr *h);

/* Buffers for one readv: payload parts of `room` bytes at most in vs->io, which has room for one
 * more, and *chains, a maximum before, in vs->chains. The first `skip` bytes of the first payload are
 * left out. The number of iovecs, 0 without buffers. */
int sm_vsock_gather(struct sm_vsock *vs, uint32_t room, uint32_t skip, uint32_t *chains);

/* The guest broke a rule of the rx queue. */
void sm_vsock_break_rx(struct sm_vsock *vs);

/* The stream is open: watch its descriptors; those that are missing are ended. */
void sm_vsock_opened(struct sm_stream *s);

/* ---- vsock.c ---- */

/* The stream that a REQUEST to host_port makes, in state WAITING; NULL: nobody expects it. */
struct sm_stream *sm_vsock_accept(struct sm_vsock *vs, uint32_t host_port);

extern const struct sm_vdev_ops sm_vsock_ops, sm_vsock_tsi_ops; /* … with TSI */

#endif
