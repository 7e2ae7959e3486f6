/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_MMIO_GUEST_H
#define TESTS_UNIT_MMIO_GUEST_H

/*
 * The driver's side of a virtio-mmio window, and a device behind it that sends back what it gets:
 * for tests and fuzzers.
 *
 *	struct mg d;			// a window with a device
 *	struct echo e;
 *
 *	echo_init(&e);
 *	mg_init(&d, &guest, &e.vdev, call, arg);
 *	mg_boot(&d, 16);		// as Linux does it: negotiate, rings, DRIVER_OK
 *	fake_chain(&d.ring[0], …); mg_notify(&d, 0); echo_serve(&e); fake_used(&d.ring[0], …)
 */

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <pthread.h>

#include "fakedrv.h"
#include "virtio/mmio.h"

#define S_ACK VIRTIO_CONFIG_S_ACKNOWLEDGE
#define S_DRIVER VIRTIO_CONFIG_S_DRIVER
#define S_FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define S_DRIVER_OK VIRTIO_CONFIG_S_DRIVER_OK
#define S_NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define S_FAILED VIRTIO_CONFIG_S_FAILED
#define S_RUNS (S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK)

/* ---- the driver ---- */

struct mg {
	struct sm_mmio *m;
	struct sm_vdev *dev;
	struct fake_guest *g;
	int irq_fd;
	struct fake_ring ring[SM_VDEV_QUEUES_MAX];
};

static inline void mg_call(void *arg, void (*fn)(void *), void *fn_arg)
{
	fn(fn_arg);
}

static inline uint32_t mg_read(struct mg *d, uint32_t off)
{
	uint32_t v = 0xdeadbeef;

	sm_mmio_access(d->m, off, &v, sizeof(v), false);
	return v;
}

static inline void mg_write(struct mg *d, uint32_t off, uint32_t v)
{
	sm_mmio_access(d->m, off, &v, sizeof(v), true);
}

static inline void mg_init(struct mg *d, struct fake_guest *g, struct sm_vdev *dev,
			   void (*call)(void *, void (*)(void *), void *), void *arg)
{
	struct sm_mmio_config c = { .dev = dev, .mem = &g->gm, .call = call, .arg = arg };

	memset(d, 0, sizeof(*d));
	d->g = g;
	d->dev = dev;
	d->irq_fd = c.irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->irq_fd < 0 || sm_mmio_new(&c, &d->m) < 0)
		abort();
}

static inline void mg_fini(struct mg *d)
{
	sm_mmio_free(d->m);
	close(d->irq_fd);
}

static inline uint32_t mg_status(struct mg *d)
{
	return mg_read(d, VIRTIO_MMIO_STATUS);
}

static inline void mg_add_status(struct mg *d, uint32_t bits)
{
	mg_write(d, VIRTIO_MMIO_STATUS, mg_status(d) | bits);
}

static inline void mg_reset(struct mg *d)
{
	mg_write(d, VIRTIO_MMIO_STATUS, 0);
}

static inline bool mg_irq(struct mg *d)
{
	eventfd_t v;

	return eventfd_read(d->irq_fd, &v) == 0;
}

static inline uint64_t mg_offered(struct mg *d)
{
	uint64_t f;

	mg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	f = (uint64_t)mg_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	mg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return f | mg_read(d, VIRTIO_MMIO_DEVICE_FEATURES);
}

static inline void mg_accept(struct mg *d, uint64_t features)
{
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
}

/* Up to FEATURES_OK; whether the device agreed. */
static inline bool mg_negotiate(struct mg *d, uint64_t features)
{
	mg_reset(d);
	mg_add_status(d, S_ACK);
	mg_add_status(d, S_DRIVER);
	mg_accept(d, features);
	mg_add_status(d, S_FEATURES_OK);
	return mg_status(d) & S_FEATURES_OK;
}

static inline void mg_place(struct mg *d, uint32_t i, uint32_t size, gpa_t desc, gpa_t avail,
			    gpa_t used)
{
	mg_write(d, VIRTIO_MMIO_QUEUE_SEL, i);
	mg_write(d, VIRTIO_MMIO_QUEUE_NUM, size);
	mg_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	mg_write(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
	mg_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	mg_write(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
	mg_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	mg_write(d, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
	mg_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* The rings are empty and at the same place each time. */
static inline void mg_place_ring(struct mg *d, uint32_t i, uint16_t size)
{
	struct fake_ring *r = &d->ring[i];

	if (!r->size)
		fake_ring_init(d->g, r, size);
	memset(r->avail, 0, 6 + 2u * r->size);
	memset(r->used, 0, 6 + 8u * r->size);
	r->free = r->avail_idx = r->seen_used = 0;
	mg_place(d, i, r->size, r->desc_gpa, r->avail_gpa, r->used_gpa);
}

/* Whether it runs. */
static inline bool mg_boot(struct mg *d, uint16_t size)
{
	if (!mg_negotiate(d, mg_offered(d)))
		return false;
	for (uint32_t i = 0; i < d->dev->ops->nqueues; i++)
		mg_place_ring(d, i, size);
	mg_add_status(d, S_DRIVER_OK);
	return mg_status(d) == S_RUNS;
}

static inline void mg_notify(struct mg *d, uint32_t queue)
{
	mg_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* ---- the device: two queues, what is readable of a chain is copied to what is writable ---- */

#define ECHO_QUEUES 2
#define ECHO_BYTES 64
#define F_ECHO (1ull << 5)

struct echo {
	struct sm_vdev vdev;	/* first */
	bool threads;		/* each queue is served by a thread of its own; else echo_serve() */
	bool hold;		/* keeps what it pops until it is stopped */
	int start_err;		/* what start() of queue 1 says */
	uint64_t features;	/* negotiated */
	_Atomic uint32_t config[2];	/* config space */
	unsigned int starts, stops, resets, negotiations;
	struct echo_queue {
		struct echo *e;
		pthread_t thread;
		int stop_fd;
		bool running, told;
		unsigned int served;	/* turns */
		struct sm_chain held;
		bool holds;
		struct iovec iov[SM_CHAIN_IOV_MAX];
	} q[ECHO_QUEUES];
};

static inline struct echo *echo_of(struct sm_vdev *dev)
{
	return (struct echo *)dev;
}

static inline void echo_answer(struct sm_vq *vq, const struct sm_chain *c)
{
	uint8_t bytes[ECHO_BYTES];
	size_t n = sm_chain_read(c, 0, bytes, sizeof(bytes));

	sm_vq_push(vq, c->head, (uint32_t)sm_chain_write(c, 0, bytes, n));
}

/* One turn: at most two ring sizes of chains. */
static inline void echo_turn(struct echo *e, uint32_t i)
{
	struct echo_queue *q = &e->q[i];
	struct sm_vq *vq = &e->vdev.vq[i];
	struct sm_chain c;
	eventfd_t v;
	int r = 0;

	eventfd_read(vq->kick_fd, &v);
	q->served++;
	for (uint32_t n = 0; n < 2u * vq->size && !q->holds; n++) {
		r = sm_vq_pop(vq, &c, q->iov, SM_CHAIN_IOV_MAX);
		if (r < 0 && !q->told)
			sm_vdev_broken(&e->vdev);
		if (r < 0)
			q->told = true;
		if (r < 0 || (r == 0 && !sm_vq_enable_kicks(vq)))
			break;
		if (r == 0)
			continue;
		if (e->hold) {
			q->held = c;
			q->holds = true;
		} else {
			echo_answer(vq, &c);
		}
	}
	sm_vq_notify(vq);
}

/* Without threads: serves what was notified. */
static inline void echo_serve(struct echo *e)
{
	for (uint32_t i = 0; i < ECHO_QUEUES; i++) {
		if (e->q[i].running)
			echo_turn(e, i);
	}
}

static inline void *echo_thread(void *arg)
{
	struct echo_queue *q = arg;
	uint32_t i = (uint32_t)(q - q->e->q);
	struct pollfd p[2] = { { q->e->vdev.vq[i].kick_fd, POLLIN, 0 },
			       { q->stop_fd, POLLIN, 0 } };

	do {
		echo_turn(q->e, i);
		poll(p, 2, -1);
	} while (!p[1].revents);
	return NULL;
}

static inline int echo_start(struct sm_vdev *dev, uint32_t i)
{
	struct echo *e = echo_of(dev);
	struct echo_queue *q = &e->q[i];

	if (i == 1 && e->start_err)
		return e->start_err;
	e->starts++;
	q->told = q->holds = false;
	q->running = true;
	if (!e->threads)
		return 0;
	q->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (q->stop_fd < 0 || pthread_create(&q->thread, NULL, echo_thread, q))
		abort();
	return 0;
}

static inline void echo_stop(struct sm_vdev *dev, uint32_t i)
{
	struct echo *e = echo_of(dev);
	struct echo_queue *q = &e->q[i];

	if (!q->running)
		abort();
	e->stops++;
	q->running = false;
	if (e->threads) {
		eventfd_write(q->stop_fd, 1);
		pthread_join(q->thread, NULL);
		close(q->stop_fd);
	}
	if (q->holds)
		echo_answer(&dev->vq[i], &q->held);
	q->holds = false;
	sm_vq_notify(&dev->vq[i]);
}

static inline void echo_reset(struct sm_vdev *dev)
{
	struct echo *e = echo_of(dev);

	if (e->q[0].running || e->q[1].running)
		abort();
	e->resets++;
}

static inline void echo_negotiated(struct sm_vdev *dev, uint64_t features)
{
	echo_of(dev)->features = features;
	echo_of(dev)->negotiations++;
}

static inline void echo_config_read(struct sm_vdev *dev, size_t off, void *data, size_t len)
{
	uint32_t config[2] = { echo_of(dev)->config[0], echo_of(dev)->config[1] };

	if (off + len > 6)
		abort();
	memcpy(data, (uint8_t *)config + off, len);
}

static inline void echo_init(struct echo *e)
{
	static const struct sm_vdev_ops ops = {
		.name = "echo",
		.id = 99,
		.nqueues = ECHO_QUEUES,
		.queue_max = 64,
		.features = F_ECHO,
		.config_size = 6,
		.config_read = echo_config_read,
		.negotiated = echo_negotiated,
		.start = echo_start,
		.stop = echo_stop,
		.reset = echo_reset,
	};

	memset(e, 0, sizeof(*e));
	e->vdev.ops = &ops;
	e->q[0].e = e->q[1].e = e;
	e->config[0] = 0x44434241; /* "ABCD" */
	e->config[1] = 0x48474645;
}

/* Sends 4 bytes through queue i and gets them back; false if they do not come. Only for a ring that
 * is empty. */
static inline bool echo_works(struct echo *e, struct mg *d, uint32_t i)
{
	struct fake_ring *r = &d->ring[i];
	struct fake_buf b[2] = { { fake_put(d->g, "ping", 4), 4, false },
				 { fake_alloc(d->g, 4), 4, true } };
	uint16_t head = fake_chain(r, b, 2);
	uint32_t id, len;

	mg_notify(d, i);
	echo_serve(e);
	return fake_used(r, &id, &len) && id == head && len == 4 &&
	       memcmp(fake_ptr(d->g, b[1].gpa), "ping", 4) == 0;
}

#endif
