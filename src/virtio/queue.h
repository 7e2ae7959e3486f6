/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VIRTIO_QUEUE_H
#define SM_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio/gmem.h"

/*
 * Device side of a split virtqueue (virtio 1.2, 2.7), with indirect descriptors and event index.
 *
 *	   driver                                  device (us)
 *	   desc[] ── chain of buffers ──┐
 *	   avail: flags idx ring[] used_event ──► sm_vq_pop()  → struct sm_chain
 *	   used:  flags idx ring[] avail_event ◄── sm_vq_push() + sm_vq_notify()
 *
 * Everything in the rings is written by the guest at will: indices are read once, descriptors are
 * copied before they are checked, a chain is bounded by the queue size, each buffer must lie in
 * guest memory. A violation breaks the queue: pop returns -EPROTO from then on and the device asks
 * for a reset (sm_vdev_broken()); the process goes on.
 *
 * A queue is used by one thread at a time. Concurrent push by several workers needs their own lock.
 */
#define SM_VQ_SIZE_MAX 1024
#define SM_CHAIN_IOV_MAX (SM_VQ_SIZE_MAX + 8)

#define SM_VIRTIO_F_INDIRECT_DESC 28
#define SM_VIRTIO_F_EVENT_IDX 29
#define SM_VIRTIO_F_VERSION_1 32

/* What is implemented here: every transport offers it. */
#define SM_VQ_FEATURES                                                                    \
	(1ull << SM_VIRTIO_F_INDIRECT_DESC | 1ull << SM_VIRTIO_F_EVENT_IDX | \
	 1ull << SM_VIRTIO_F_VERSION_1)

struct sm_vq {
	const struct sm_gmem *mem;
	uint16_t size;		/* power of two, <= SM_VQ_SIZE_MAX */
	gpa_t desc_gpa, avail_gpa, used_gpa;
	bool event_idx;		/* negotiated */
	bool indirect;		/* negotiated */
	int kick_fd;		/* eventfd: guest → device; -1 if none */
	int call_fd;		/* eventfd: device → guest; -1 if none */
	void (*call)(void *arg);	/* instead of it, by the device's thread; NULL if none */
	void *call_arg;
	/* private to queue.c */
	void *desc, *avail, *used;
	uint16_t next_avail;	/* the next ring entry to pop */
	uint16_t seen_avail;	/* avail->idx when it was last read */
	uint16_t next_used, signalled_used;
	bool signalled_valid, started, broken;
};

/* A popped chain: first nout device-readable buffers, then nin device-writable ones. iov points
 * into guest memory: the guest can change the bytes at any time, so copy before checking. */
struct sm_chain {
	uint16_t head;
	uint16_t nout, nin;
	uint32_t out_len, in_len;	/* sums; a chain over UINT32_MAX bytes is a violation */
	struct iovec *iov;		/* the storage given to sm_vq_pop(): out first, then in */
};

/* Starts at ring index `base` (where a stopped queue left off; 0 for a new one). Checks alignment
 * and that the rings lie in guest memory: 0, -EINVAL or -EFAULT. */
int sm_vq_start(struct sm_vq *vq, uint16_t base);

/* Stops and tells the next available index. */
uint16_t sm_vq_stop(struct sm_vq *vq);

/* Takes the next chain: 1, 0 when the ring is empty, -EPROTO when the guest broke the rules. iov is
 * the caller's storage for max entries (SM_CHAIN_IOV_MAX always suffices). */
int sm_vq_pop(struct sm_vq *vq, struct sm_chain *chain, struct iovec *iov, int max);

/* The device found a violation by itself, such as a buffer that is too small: as if pop had. */
void sm_vq_break(struct sm_vq *vq);

/* Puts the last popped chain back, to be popped again; called n times, the last n, none of which
 * may have been pushed. By the thread that popped. */
void sm_vq_unpop(struct sm_vq *vq);

/* Gives a chain back with the number of bytes written to its in buffers. */
void sm_vq_push(struct sm_vq *vq, uint16_t head, uint32_t written);

/* Signals call_fd, or calls call(), if the driver wants to know of the pushes since the last call.
 * Call once a batch. */
void sm_vq_notify(struct sm_vq *vq);

/* Asks the driver (not) to kick. After enabling, true means that a chain came in between: go on
 * popping. Must be called each time before waiting for a kick: with the event index an enabled kick
 * is good for one. */
bool sm_vq_enable_kicks(struct sm_vq *vq);
void sm_vq_disable_kicks(struct sm_vq *vq);

/* Copies between a chain's buffers and plain memory, from byte `off` of the out (in) part: the
 * number of bytes copied, less than len at the end of the part. */
size_t sm_chain_read(const struct sm_chain *c, size_t off, void *dst, size_t len);
size_t sm_chain_write(const struct sm_chain *c, size_t off, const void *src, size_t len);

/* The bytes [off, off + len) of the out (in) part as iovecs, for sendmsg/preadv without a copy: the
 * count, bytes past the end of the part left out, -EMSGSIZE when max does not suffice. */
int sm_chain_out_iov(const struct sm_chain *c, size_t off, size_t len, struct iovec *iov, int max);
int sm_chain_in_iov(const struct sm_chain *c, size_t off, size_t len, struct iovec *iov, int max);

#endif
