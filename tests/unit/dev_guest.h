/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DEV_GUEST_H
#define TESTS_UNIT_DEV_GUEST_H

/* Any of the small devices with a driver on plain memory, for tests. */

#include "base/loop.h"
#include "fakedrv.h"
#include "virtio/device.h"

#define DG_QUEUES_MAX 3

struct dg {
	struct sm_loop *loop;
	struct sm_vdev *dev;
	struct fake_guest g;
	struct fake_ring ring[DG_QUEUES_MAX];
	int broken, changed;
};

static inline void dg_broken(struct sm_vdev *dev, void *arg)
{
	((struct dg *)arg)->broken++;
}

static inline void dg_changed(struct sm_vdev *dev, void *arg)
{
	((struct dg *)arg)->changed++;
}

/* First the loop, so that a device can be made on it. */
static inline void dg_init(struct dg *d)
{
	memset(d, 0, sizeof(*d));
	d->loop = sm_loop_new();
	if (!d->loop)
		abort();
}

static inline void dg_start(struct dg *d, uint32_t i, uint16_t base)
{
	if (sm_vq_start(&d->dev->vq[i], base) < 0 || d->dev->ops->start(d->dev, i) < 0)
		abort();
}

static inline uint16_t dg_stop(struct dg *d, uint32_t i)
{
	d->dev->ops->stop(d->dev, i);
	return sm_vq_stop(&d->dev->vq[i]);
}

static inline void dg_attach(struct dg *d, struct sm_vdev *dev, size_t mem, uint16_t ring_size)
{
	d->dev = dev;
	dev->broken = dg_broken;
	dev->config_changed = dg_changed;
	dev->config_changed_arg = d;
	dev->broken_arg = d;
	fake_guest_init(&d->g, mem);
	for (uint32_t i = 0; i < dev->ops->nqueues; i++) {
		fake_ring_init(&d->g, &d->ring[i], ring_size);
		fake_ring_attach(&d->ring[i], &d->g, &dev->vq[i]);
		dev->vq[i].event_idx = dev->vq[i].indirect = true;
		dg_start(d, i, 0);
	}
}

/* The caller frees the device, and then the loop by dg_fini(). */
static inline void dg_detach(struct dg *d)
{
	for (uint32_t i = 0; i < d->dev->ops->nqueues; i++) {
		dg_stop(d, i);
		fake_ring_detach(&d->dev->vq[i]);
	}
	d->dev->ops->reset(d->dev);
	fake_guest_fini(&d->g);
}

static inline void dg_fini(struct dg *d)
{
	sm_loop_free(d->loop);
}

static inline void dg_stop_loop(void *arg)
{
	sm_loop_stop(arg);
}

/* Lets the loop do what it has to do, n times over: at most n turns of each queue. */
static inline void dg_spin(struct dg *d, int n)
{
	while (n--) {
		sm_loop_post(d->loop, dg_stop_loop, d->loop);
		if (sm_loop_run(d->loop) < 0)
			abort();
	}
}

/* One chain, served as far as a few turns go: the bytes written to it, -1 if it did not return. */
static inline int64_t dg_chain(struct dg *d, uint32_t i, const struct fake_buf *b, uint16_t n)
{
	uint32_t id, len;

	fake_chain(&d->ring[i], b, n);
	fake_kick(&d->dev->vq[i]);
	dg_spin(d, 4);
	return fake_used(&d->ring[i], &id, &len) ? (int64_t)len : -1;
}

/* How many chains have come back since the last question. */
static inline uint32_t dg_used(struct dg *d, uint32_t i)
{
	uint32_t id, len, n = 0;

	while (fake_used(&d->ring[i], &id, &len))
		n++;
	return n;
}

#endif
