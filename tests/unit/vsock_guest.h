/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_VSOCK_GUEST_H
#define TESTS_UNIT_VSOCK_GUEST_H

/* A vsock device with a driver on plain memory: the guest's side of packets, for tests. */

#include <stdio.h>

#include "base/loop.h"
#include "fakedrv.h"
#include "vsock/packet.h"
#include "vsock/vsock.h"

#define GUEST_CID 3
#define RING 32u
#define RX_BUF 4096u
#define PIECE (RX_BUF - SM_VSOCK_HDR_SIZE)
#define GUEST_ALLOC (256u << 10)

enum { RX, TX, EVENT };

struct vg {
	struct sm_loop *loop;
	struct sm_vsock *vs;
	struct sm_vdev *dev;
	struct fake_guest g;
	struct fake_ring ring[3];
	gpa_t rx_mem;	/* RING buffers, the i-th descriptor's at i * RX_BUF */
	gpa_t tx_mem;	/* RING headers of 64 bytes, then one payload of SM_VSOCK_BUF */
	uint32_t alloc;	/* what the guest advertises */
	int broken;
};

static inline void vg_broken(struct sm_vdev *dev, void *arg)
{
	((struct vg *)arg)->broken++;
}

static inline void vg_start(struct vg *v)
{
	for (uint32_t i = 0; i < 3; i++) {
		if (sm_vq_start(&v->dev->vq[i], 0) < 0 || v->dev->ops->start(v->dev, i) < 0)
			abort();
	}
}

static inline void vg_stop(struct vg *v)
{
	for (uint32_t i = 0; i < 3; i++) {
		v->dev->ops->stop(v->dev, i);
		sm_vq_stop(&v->dev->vq[i]);
	}
}

static inline void vg_init(struct vg *v)
{
	memset(v, 0, sizeof(*v));
	v->loop = sm_loop_new();
	if (!v->loop || sm_vsock_new(v->loop, GUEST_CID, &v->vs) < 0)
		abort();
	v->dev = sm_vsock_vdev(v->vs);
	v->dev->broken = vg_broken;
	v->dev->broken_arg = v;
	fake_guest_init(&v->g, 1 << 20);
	for (int i = 0; i < 3; i++) {
		fake_ring_init(&v->g, &v->ring[i], RING);
		fake_ring_attach(&v->ring[i], &v->g, &v->dev->vq[i]);
		v->dev->vq[i].event_idx = v->dev->vq[i].indirect = true;
	}
	v->rx_mem = fake_alloc(&v->g, RING * RX_BUF);
	v->tx_mem = fake_alloc(&v->g, RING * 64 + SM_VSOCK_BUF);
	v->alloc = GUEST_ALLOC;
	vg_start(v);
}

static inline void vg_fini(struct vg *v)
{
	vg_stop(v);
	v->dev->ops->reset(v->dev);
	for (int i = 0; i < 3; i++)
		fake_ring_detach(&v->dev->vq[i]);
	sm_vsock_free(v->vs);
	sm_loop_free(v->loop);
	fake_guest_fini(&v->g);
}

static inline void vg_stop_loop(void *arg)
{
	sm_loop_stop(arg);
}

/* Lets the device do all that it can do by now. */
static inline void vg_spin(struct vg *v)
{
	for (int i = 0; i < 12; i++) {
		sm_loop_post(v->loop, vg_stop_loop, v->loop);
		if (sm_loop_run(v->loop) < 0)
			abort();
	}
}

/* Gives n rx buffers; the caller knows that there is room. */
static inline void vg_give_rx(struct vg *v, uint32_t n)
{
	struct fake_ring *r = &v->ring[RX];

	while (n--) {
		struct fake_buf b = { v->rx_mem + r->free * RX_BUF, RX_BUF, true };

		fake_chain(r, &b, 1);
	}
	fake_kick(&v->dev->vq[RX]);
}

/* Puts a packet on the tx ring, header and payload in two buffers, without a kick. */
static inline void vg_put(struct vg *v, const struct sm_vsock_hdr *h, const void *data)
{
	struct fake_buf b[2] = { { v->tx_mem + v->ring[TX].free * 64, SM_VSOCK_HDR_SIZE, false },
				 { v->tx_mem + RING * 64, h->len, false } };

	sm_vsock_hdr_encode(h, fake_ptr(&v->g, b[0].gpa));
	if (h->len && data)
		memcpy(fake_ptr(&v->g, b[1].gpa), data, h->len);
	fake_chain(&v->ring[TX], b, h->len ? 2 : 1);
}

static inline struct sm_vsock_hdr vg_hdr(struct vg *v, uint16_t op, uint32_t guest_port,
					 uint32_t host_port)
{
	return (struct sm_vsock_hdr){ .src_cid = GUEST_CID, .dst_cid = SM_VSOCK_HOST_CID,
				      .src_port = guest_port, .dst_port = host_port,
				      .type = SM_VSOCK_STREAM, .op = op, .buf_alloc = v->alloc };
}

/* Sends a packet and lets the device work. */
static inline void vg_send(struct vg *v, struct sm_vsock_hdr h, const void *data)
{
	uint32_t id, len;

	vg_put(v, &h, data);
	fake_kick(&v->dev->vq[TX]);
	vg_spin(v);
	while (fake_used(&v->ring[TX], &id, &len))
		;
}

static inline void vg_op(struct vg *v, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	vg_send(v, vg_hdr(v, op, guest_port, host_port), NULL);
}

static inline void vg_shutdown(struct vg *v, uint32_t guest_port, uint32_t host_port,
			       uint32_t flags)
{
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_SHUTDOWN, guest_port, host_port);

	h.flags = flags;
	vg_send(v, h, NULL);
}

static inline void vg_data(struct vg *v, uint32_t guest_port, uint32_t host_port,
			   const void *data, uint32_t len)
{
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_RW, guest_port, host_port);

	h.len = len;
	vg_send(v, h, data);
}

/* The next packet for the guest; *data points to its payload until its buffer is given again. */
static inline bool vg_recv(struct vg *v, struct sm_vsock_hdr *h, const uint8_t **data)
{
	uint32_t id, len;
	const uint8_t *p;

	if (!fake_used(&v->ring[RX], &id, &len))
		return false;
	p = fake_ptr(&v->g, v->rx_mem + id * RX_BUF);
	sm_vsock_hdr_decode(h, p);
	if (len != SM_VSOCK_HDR_SIZE + h->len)
		abort();
	if (data)
		*data = p + SM_VSOCK_HDR_SIZE;
	return true;
}

#endif
