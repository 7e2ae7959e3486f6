/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_FAKEDRV_H
#define TESTS_UNIT_FAKEDRV_H

/*
 * A virtio driver for tests and fuzzers: a piece of plain memory that plays the guest's, an
 * allocator over it that never frees, and the driver's side of split rings. It does what a good
 * driver does; a test that wants a bad one writes to desc[], avail and used itself.
 *
 *	struct fake_guest g;
 *	struct fake_ring r;
 *
 *	fake_guest_init(&g, 1 << 20);
 *	fake_ring_init(&g, &r, 16);
 *	fake_ring_attach(&r, &g, &vq);		// fills vq and makes its eventfds
 *	sm_vq_start(&vq, 0);
 *	head = fake_chain(&r, buffers, n);	// published; fake_kick(&vq) if somebody waits
 *	…
 *	while (fake_used(&r, &id, &len)) …
 *	fake_ring_detach(&vq);
 *	fake_guest_fini(&g);
 */

#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio/gmem.h"
#include "virtio/queue.h"

#define FAKE_GPA 0x100000u	/* where the memory begins; gpa 0 is a hole */

struct fake_guest {
	uint8_t *mem;
	size_t size, next;
	struct sm_gmem gm;
};

struct fake_buf {
	gpa_t gpa;
	uint32_t len;
	bool in;	/* device-writable */
};

struct fake_ring {
	uint16_t size;
	uint16_t free;		/* next descriptor; they are taken in turn and never tracked */
	uint16_t avail_idx;	/* what is published */
	uint16_t seen_used;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	gpa_t desc_gpa, avail_gpa, used_gpa;
};

static inline void fake_guest_init(struct fake_guest *g, size_t size)
{
	memset(g, 0, sizeof(*g));
	g->mem = aligned_alloc(4096, size);
	if (!g->mem)
		abort();
	memset(g->mem, 0, size);
	g->size = size;
	if (sm_gmem_add(&g->gm, FAKE_GPA, size, g->mem) < 0)
		abort();
}

static inline void fake_guest_fini(struct fake_guest *g)
{
	sm_gmem_clear(&g->gm);
	free(g->mem);
}

/* Guest memory, 16-byte aligned; aborts when the guest is full. */
static inline gpa_t fake_alloc(struct fake_guest *g, size_t len)
{
	gpa_t gpa = FAKE_GPA + g->next;

	len = (len + 15) & ~(size_t)15;
	if (len > g->size - g->next)
		abort();
	g->next += len;
	return gpa;
}

static inline void *fake_ptr(struct fake_guest *g, gpa_t gpa)
{
	return g->mem + (gpa - FAKE_GPA);
}

static inline gpa_t fake_put(struct fake_guest *g, const void *data, size_t len)
{
	gpa_t gpa = fake_alloc(g, len);

	memcpy(fake_ptr(g, gpa), data, len);
	return gpa;
}

static inline void fake_ring_init(struct fake_guest *g, struct fake_ring *r, uint16_t size)
{
	memset(r, 0, sizeof(*r));
	r->size = size;
	r->desc_gpa = fake_alloc(g, 16u * size);
	r->avail_gpa = fake_alloc(g, 6 + 2u * size);
	r->used_gpa = fake_alloc(g, 6 + 8u * size);
	r->desc = fake_ptr(g, r->desc_gpa);
	r->avail = fake_ptr(g, r->avail_gpa);
	r->used = fake_ptr(g, r->used_gpa);
}

/* Everything of vq but the negotiated flags, which are left as they are. */
static inline void fake_ring_attach(const struct fake_ring *r, const struct fake_guest *g,
				    struct sm_vq *vq)
{
	vq->mem = &g->gm;
	vq->size = r->size;
	vq->desc_gpa = r->desc_gpa;
	vq->avail_gpa = r->avail_gpa;
	vq->used_gpa = r->used_gpa;
	vq->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vq->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static inline void fake_ring_detach(struct sm_vq *vq)
{
	close(vq->kick_fd);
	close(vq->call_fd);
	vq->kick_fd = vq->call_fd = -1;
}

/* Writes a chain of n buffers into the table; the caller publishes its head. */
static inline uint16_t fake_describe(struct fake_ring *r, const struct fake_buf *b, uint16_t n)
{
	uint16_t head = r->free;

	for (uint16_t i = 0; i < n; i++) {
		struct vring_desc *d = &r->desc[r->free];

		r->free = (uint16_t)((r->free + 1) % r->size);
		d->addr = b[i].gpa;
		d->len = b[i].len;
		d->flags = (uint16_t)((b[i].in ? VRING_DESC_F_WRITE : 0) |
				      (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		d->next = r->free;
	}
	return head;
}

static inline void fake_publish(struct fake_ring *r, uint16_t head)
{
	r->avail->ring[r->avail_idx % r->size] = head;
	r->avail_idx++;
	atomic_store_explicit((_Atomic uint16_t *)&r->avail->idx, r->avail_idx,
			      memory_order_release);
}

static inline uint16_t fake_chain(struct fake_ring *r, const struct fake_buf *b, uint16_t n)
{
	uint16_t head = fake_describe(r, b, n);

	fake_publish(r, head);
	return head;
}

/* The next used entry; false if there is none. */
static inline bool fake_used(struct fake_ring *r, uint32_t *id, uint32_t *len)
{
	uint16_t idx = atomic_load_explicit((_Atomic uint16_t *)&r->used->idx,
					    memory_order_acquire);

	if (idx == r->seen_used)
		return false;
	*id = r->used->ring[r->seen_used % r->size].id;
	*len = r->used->ring[r->seen_used % r->size].len;
	r->seen_used++;
	return true;
}

/* The driver's word on when it wants a signal, with the event index. */
static inline void fake_set_used_event(struct fake_ring *r, uint16_t idx)
{
	atomic_store((_Atomic uint16_t *)&r->avail->ring[r->size], idx);
}

static inline uint16_t fake_avail_event(struct fake_ring *r)
{
	return atomic_load((_Atomic uint16_t *)&r->used->ring[r->size]);
}

static inline void fake_kick(const struct sm_vq *vq)
{
	if (eventfd_write(vq->kick_fd, 1) < 0)
		abort();
}

/* Whether the device signalled since the last question. */
static inline bool fake_called(const struct sm_vq *vq)
{
	eventfd_t v;

	return eventfd_read(vq->call_fd, &v) == 0;
}

#endif
