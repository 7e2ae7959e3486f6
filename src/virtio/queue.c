/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device side of a split virtqueue.
 *
 *	            seen_avail (what the driver's idx was when last read)
 *	                 ▼
 *	avail ring  ─────┬──────────────►      pop() takes entries [next_avail, seen_avail) without
 *	    ▲ next_avail                       touching the shared index, then reads it once more
 *
 *	used ring   ─────┬──────────────►      push() publishes one entry, notify() looks at what
 *	    ▲ signalled_used  ▲ next_used      the driver asked of [signalled_used, next_used)
 *
 * The ring addresses are translated once, by start(): the memory table does not change while a
 * queue runs. Descriptors are copied to locals before anything is decided from them.
 */
#include "config.h"

#include "virtio/queue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

/* ---- shared 16-bit words ---- */

static uint16_t load16(const void *p, memory_order order)
{
	return le16toh(atomic_load_explicit((const _Atomic uint16_t *)p, order));
}

static void store16(void *p, uint16_t v, memory_order order)
{
	atomic_store_explicit((_Atomic uint16_t *)p, htole16(v), order);
}

static struct vring_avail *avail_of(const struct sm_vq *vq)
{
	return vq->avail;
}

static struct vring_used *used_of(const struct sm_vq *vq)
{
	return vq->used;
}

/* virtio 1.2, 2.7.6 and 2.7.8: used_event ends the available ring, avail_event the used one. */
static const void *used_event(const struct sm_vq *vq)
{
	return &avail_of(vq)->ring[vq->size];
}

static void *avail_event(const struct sm_vq *vq)
{
	return &used_of(vq)->ring[vq->size];
}

/* ---- start and stop ---- */

int sm_vq_start(struct sm_vq *vq, uint16_t base)
{
	uint64_t n = vq->size;

	if (!n || n > SM_VQ_SIZE_MAX || (n & (n - 1)))
		return -EINVAL;
	vq->desc = sm_gmem_ptr(vq->mem, vq->desc_gpa, n * sizeof(struct vring_desc));
	vq->avail = sm_gmem_ptr(vq->mem, vq->avail_gpa, 6 + 2 * n);
	vq->used = sm_gmem_ptr(vq->mem, vq->used_gpa, 6 + 8 * n);
	if (!vq->desc || !vq->avail || !vq->used)
		return -EFAULT;
	/* A region may be mapped anywhere, so it is the pointers that must be aligned as well. */
	if (((uintptr_t)vq->desc | vq->desc_gpa) % VRING_DESC_ALIGN_SIZE ||
	    ((uintptr_t)vq->avail | vq->avail_gpa) % VRING_AVAIL_ALIGN_SIZE ||
	    ((uintptr_t)vq->used | vq->used_gpa) % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	vq->next_avail = vq->seen_avail = base;
	vq->next_used = load16(&used_of(vq)->idx, memory_order_relaxed);
	vq->signalled_used = vq->next_used;
	vq->signalled_valid = false;
	vq->broken = false;
	vq->started = true;
	return 0;
}

uint16_t sm_vq_stop(struct sm_vq *vq)
{
	vq->started = false;
	return vq->next_avail;
}

/* ---- taking chains ---- */

static int broken(struct sm_vq *vq)
{
	vq->broken = true;
	return -EPROTO;
}

/* The number of chains to pop, read from the driver's index only when the known ones are used
 * up. */
static int pending(struct sm_vq *vq)
{
	if (vq->next_avail == vq->seen_avail) {
		vq->seen_avail = load16(&avail_of(vq)->idx, memory_order_acquire);
		if ((uint16_t)(vq->seen_avail - vq->next_avail) > vq->size)
			return broken(vq);
	}
	return (uint16_t)(vq->seen_avail - vq->next_avail);
}

/* A walk along a chain: through the queue's table, then perhaps through one indirect table. */
struct walk {
	const uint8_t *table;	/* of struct vring_desc; an indirect one need not be aligned */
	uint32_t entries;
	uint32_t left;		/* descriptors that this chain may still have */
	bool in_indirect;
	uint64_t out_len, in_len;
	int n, max;		/* iovecs: filled, room */
};

/* Descriptor i, in this machine's byte order; false when it is not in the table or the chain is
 * longer than the queue, which is also what stops a loop. */
static bool fetch(struct walk *w, uint32_t i, struct vring_desc *d)
{
	if (i >= w->entries || !w->left--)
		return false;
	memcpy(d, w->table + i * sizeof(*d), sizeof(*d));
	d->addr = le64toh(d->addr);
	d->len = le32toh(d->len);
	d->flags = le16toh(d->flags);
	d->next = le16toh(d->next);
	return true;
}

/* virtio 1.2, 2.7.5.3.1: no table inside a table, INDIRECT excludes NEXT, and since a chain is
 * never longer than the queue, no table needs to be longer than the longest queue. */
static bool enter_indirect(const struct sm_vq *vq, struct walk *w, const struct vring_desc *d)
{
	if (!vq->indirect || w->in_indirect || (d->flags & VRING_DESC_F_NEXT) || !d->len ||
	    d->len % sizeof(*d) || d->len / sizeof(*d) > SM_VQ_SIZE_MAX)
		return false;
	w->table = sm_gmem_ptr(vq->mem, d->addr, d->len);
	w->entries = d->len / (uint32_t)sizeof(*d);
	w->left++;	/* the descriptor of the table is no buffer */
	w->in_indirect = true;
	return w->table;
}

static bool add_buffer(const struct sm_vq *vq, struct walk *w, const struct vring_desc *d,
		       struct sm_chain *chain)
{
	bool in = d->flags & VRING_DESC_F_WRITE;
	int n;

	if (!in && chain->nin)
		return false; /* 2.7.4.2: readable ones come first */
	n = sm_gmem_iov(vq->mem, d->addr, d->len, chain->iov + w->n, w->max - w->n);
	if (n < 0)
		return false;
	w->n += n;
	if (in) {
		chain->nin += (uint16_t)n;
		w->in_len += d->len;
	} else {
		chain->nout += (uint16_t)n;
		w->out_len += d->len;
	}
	return w->in_len + w->out_len <= UINT32_MAX;
}

static bool walk_chain(const struct sm_vq *vq, struct sm_chain *chain, int max)
{
	struct walk w = { .table = vq->desc, .entries = vq->size, .left = vq->size, .max = max };
	struct vring_desc d;
	uint32_t i = chain->head;

	do {
		if (!fetch(&w, i, &d))
			return false;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!enter_indirect(vq, &w, &d) || !fetch(&w, 0, &d) ||
			    (d.flags & VRING_DESC_F_INDIRECT))
				return false;
		}
		if (!add_buffer(vq, &w, &d, chain))
			return false;
		i = d.next;
	} while (d.flags & VRING_DESC_F_NEXT);
	chain->out_len = (uint32_t)w.out_len;
	chain->in_len = (uint32_t)w.in_len;
	return true;
}

int sm_vq_pop(struct sm_vq *vq, struct sm_chain *chain, struct iovec *iov, int max)
{
	int r;

	if (vq->broken)
		return -EPROTO;
	if (!vq->started)
		return 0;
	r = pending(vq);
	if (r <= 0)
		return r;
	*chain = (struct sm_chain){ .iov = iov };
	chain->head = load16(&avail_of(vq)->ring[vq->next_avail & (vq->size - 1)],
			     memory_order_relaxed);
	if (!walk_chain(vq, chain, max))
		return broken(vq);
	vq->next_avail++;
	return 1;
}

void sm_vq_break(struct sm_vq *vq)
{
	vq->broken = true;
}

void sm_vq_unpop(struct sm_vq *vq)
{
	vq->next_avail--;
}

/* ---- giving them back ---- */

void sm_vq_push(struct sm_vq *vq, uint16_t head, uint32_t written)
{
	struct vring_used *used = used_of(vq);

	used->ring[vq->next_used & (vq->size - 1)] =
		(struct vring_used_elem){ htole32(head), htole32(written) };
	vq->next_used++;
	/* After a full turn of the index the window of notify() would look empty. */
	if (vq->next_used == vq->signalled_used)
		vq->signalled_valid = false;
	store16(&used->idx, vq->next_used, memory_order_release);
}

static bool wants_signal(const struct sm_vq *vq)
{
	if (!vq->event_idx)
		return !(load16(&avail_of(vq)->flags, memory_order_relaxed) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	return !vq->signalled_valid ||
	       vring_need_event(load16(used_event(vq), memory_order_relaxed), vq->next_used,
				vq->signalled_used);
}

/* #syscalls:all write */
void sm_vq_notify(struct sm_vq *vq)
{
	if (!vq->started || (vq->signalled_valid && vq->signalled_used == vq->next_used))
		return;
	/* The driver must see idx before we look whether it waits for it (2.7.7). */
	atomic_thread_fence(memory_order_seq_cst);
	if (wants_signal(vq)) {
		if (vq->call)
			vq->call(vq->call_arg);
		else if (vq->call_fd >= 0)
			eventfd_write(vq->call_fd, 1);
	}
	vq->signalled_used = vq->next_used;
	vq->signalled_valid = true;
}

/* ---- kicks ---- */

bool sm_vq_enable_kicks(struct sm_vq *vq)
{
	if (!vq->started || vq->broken)
		return false;
	if (vq->event_idx)
		store16(avail_event(vq), vq->next_avail, memory_order_relaxed);
	else
		store16(&used_of(vq)->flags, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	return load16(&avail_of(vq)->idx, memory_order_relaxed) != vq->next_avail;
}

void sm_vq_disable_kicks(struct sm_vq *vq)
{
	/* With the event index kicks stay off until avail_event is moved on. */
	if (vq->started && !vq->event_idx)
		store16(&used_of(vq)->flags, VRING_USED_F_NO_NOTIFY, memory_order_relaxed);
}

/* ---- the bytes of a chain ---- */

/* Moves *iov and *off to where byte *off of these n buffers is; how many buffers are left. */
static int seek(const struct iovec **iov, int n, size_t *off)
{
	while (n && *off >= (*iov)->iov_len) {
		*off -= (*iov)->iov_len;
		(*iov)++;
		n--;
	}
	return n;
}

size_t sm_chain_read(const struct sm_chain *c, size_t off, void *dst, size_t len)
{
	const struct iovec *iov = c->iov;
	size_t done = 0;

	for (int n = seek(&iov, c->nout, &off); n && done < len; n--, iov++, off = 0) {
		size_t part = iov->iov_len - off;

		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)dst + done, (const uint8_t *)iov->iov_base + off, part);
		done += part;
	}
	return done;
}

size_t sm_chain_write(const struct sm_chain *c, size_t off, const void *src, size_t len)
{
	const struct iovec *iov = c->iov + c->nout;
	size_t done = 0;

	for (int n = seek(&iov, c->nin, &off); n && done < len; n--, iov++, off = 0) {
		size_t part = iov->iov_len - off;

		if (part > len - done)
			part = len - done;
		memcpy((uint8_t *)iov->iov_base + off, (const uint8_t *)src + done, part);
		done += part;
	}
	return done;
}

static int slice(const struct iovec *from, int n, size_t off, size_t len, struct iovec *iov,
		 int max)
{
	int count = 0;

	for (n = seek(&from, n, &off); n && len; n--, from++, off = 0) {
		size_t part = from->iov_len - off;

		if (part > len)
			part = len;
		if (count == max)
			return -EMSGSIZE;
		iov[count++] = (struct iovec){ (uint8_t *)from->iov_base + off, part };
		len -= part;
	}
	return count;
}

int sm_chain_out_iov(const struct sm_chain *c, size_t off, size_t len, struct iovec *iov, int max)
{
	return slice(c->iov, c->nout, off, len, iov, max);
}

int sm_chain_in_iov(const struct sm_chain *c, size_t off, size_t len, struct iovec *iov, int max)
{
	return slice(c->iov + c->nout, c->nin, off, len, iov, max);
}
