/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon's queues:
 *
 *	inflate   readable: le32 page numbers         → discard them
 *	deflate   readable: le32 page numbers         → nothing, a touch brings a page back
 *	report    writable: the free memory itself    → discard it
 *
 * To discard small pages takes its time (16 MiB: 1 ms, in a memfd 3.5 ms; a single one 2 to 4 us,
 * and the more as vCPUs have it mapped), so a turn discards a bounded number of bytes by a bounded
 * number of calls. A chain that is not through by then is put back on the ring, and what is kept
 * until the next turn is how many of its bytes are done: no pointer, and nothing that the guest
 * could have changed in between (it may change the descriptors, and then has other pages of its own
 * discarded).
 *
 * A hostile guest can have any of its memory discarded, the rings included: to us they then read as
 * zeros, which is no worse than the guest writing zeros there.
 */
#include "config.h"

#include "dev/balloon.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dev/turns.h"

/* Numbered without the queues of features that are not offered, as Linux and QEMU do it; 5.5.2
 * numbers them all. */
enum { INFLATE, DEFLATE, REPORT, QUEUES_NUM };

#define TURN_BYTES  (16 << 20)
#define CALL_COST   (64 << 10) /* what a discard costs at least; costs are multiples of it */
#define PAGES_MAX   256u       /* page numbers read at once */
#define CONFIG_SIZE offsetof(struct virtio_balloon_config, free_page_hint_cmd_id)

struct sm_balloon {
	struct sm_vdev vdev;
	struct sm_turns turns;
	_Atomic uint32_t num_pages, actual; /* of config space: vCPU threads read it too */
	uint64_t done[QUEUES_NUM]; /* bytes done of the chain that will be popped next */
	struct sm_balloon_counters counters;
};

static struct sm_balloon *of(struct sm_vdev *dev)
{
	return (struct sm_balloon *)dev;
}

static int64_t cost(uint64_t len)
{
	return (int64_t)((len + CALL_COST - 1) / CALL_COST * CALL_COST);
}

/* Whether the buffers can be an array of page numbers. */
static bool is_array(const struct sm_chain *c)
{
	return !c->nin && c->out_len % sizeof(uint32_t) == 0;
}

/* The number of pages that follow each other from the first one on. */
static size_t run(const uint32_t *pfn, size_t n)
{
	size_t len = 1;

	while (len < n && (uint64_t)le32toh(pfn[0]) + len == le32toh(pfn[len]))
		len++;
	return len;
}

static int inflate(struct sm_balloon *b, const struct sm_chain *c, int64_t *budget)
{
	uint64_t *done = &b->done[INFLATE];
	uint32_t pfn[PAGES_MAX];
	size_t n, len;

	if (!is_array(c))
		return -EPROTO;
	while ((n = sm_chain_read(c, *done, pfn, sizeof(pfn)) / sizeof(pfn[0]))) {
		for (size_t i = 0; i < n; i += len) {
			gpa_t gpa = (gpa_t)le32toh(pfn[i]) << VIRTIO_BALLOON_PFN_SHIFT;
			uint64_t bytes;

			if (*budget <= 0)
				return -EAGAIN;
			len = run(pfn + i, n - i);
			bytes = (uint64_t)len << VIRTIO_BALLOON_PFN_SHIFT;
			/* Memory that cannot be discarded, being locked, say, is just not. */
			if (sm_gmem_discard(b->vdev.vq[INFLATE].mem, gpa, bytes) == -EFAULT)
				return -EPROTO;
			*done += len * sizeof(pfn[0]);
			b->counters.inflated += bytes;
			*budget -= cost(bytes);
		}
	}
	*done = 0;
	return 0;
}

static int deflate(struct sm_balloon *b, const struct sm_chain *c, int64_t *budget)
{
	if (!is_array(c))
		return -EPROTO;
	b->counters.deflated += (uint64_t)c->out_len / sizeof(uint32_t) << VIRTIO_BALLOON_PFN_SHIFT;
	*budget -= CALL_COST;
	return 0;
}

static int report(struct sm_balloon *b, const struct sm_chain *c, int64_t *budget)
{
	uint64_t *done = &b->done[REPORT];
	uint64_t skip = *done;

	if (c->nout)
		return -EPROTO;
	for (int i = 0; i < c->nin; i++) {
		uint64_t left = c->iov[i].iov_len, len;

		if (skip >= left) {
			skip -= left;
			continue;
		}
		left -= skip;
		if (*budget <= 0)
			return -EAGAIN;
		len = left < (uint64_t)*budget ? left : (uint64_t)*budget;
		sm_gmem_discard_ptr(b->vdev.vq[REPORT].mem, (uint8_t *)c->iov[i].iov_base + skip,
				    len);
		*done += len;
		b->counters.reported += len;
		*budget -= cost(len);
		if (len < left)
			return -EAGAIN;
		skip = 0;
	}
	*done = 0;
	return 0;
}

static int serve(struct sm_vdev *dev, uint32_t index, const struct sm_chain *c, int64_t *budget)
{
	struct sm_balloon *b = of(dev);

	switch (index) {
	case INFLATE:
		return inflate(b, c, budget);
	case DEFLATE:
		return deflate(b, c, budget);
	default:
		return report(b, c, budget);
	}
}

static struct virtio_balloon_config config_of(const struct sm_balloon *b)
{
	return (struct virtio_balloon_config){ .num_pages = htole32(b->num_pages),
					       .actual = htole32(b->actual) };
}

static void config_read(struct sm_vdev *dev, size_t off, void *data, size_t len)
{
	struct virtio_balloon_config config = config_of(of(dev));

	memcpy(data, (const uint8_t *)&config + off, len);
}

/* 5.5.4: `actual` is the driver's, num_pages is ours. */
static void config_write(struct sm_vdev *dev, size_t off, const void *data, size_t len)
{
	struct virtio_balloon_config config = config_of(of(dev));

	memcpy((uint8_t *)&config + off, data, len);
	of(dev)->actual = le32toh(config.actual);
}

static int start(struct sm_vdev *dev, uint32_t index)
{
	struct sm_balloon *b = of(dev);

	b->done[index] = 0; /* to discard what is free once more does no harm */
	return sm_turns_start(&b->turns, index);
}

static void stop(struct sm_vdev *dev, uint32_t index)
{
	sm_turns_stop(&of(dev)->turns, index);
}

static void reset(struct sm_vdev *dev)
{
	of(dev)->actual = 0;
}

static const struct sm_vdev_ops balloon_ops = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.nqueues = QUEUES_NUM,
	.features = 1u << VIRTIO_BALLOON_F_DEFLATE_ON_OOM | 1u << VIRTIO_BALLOON_F_REPORTING,
	.config_size = CONFIG_SIZE,
	.config_read = config_read,
	.config_write = config_write,
	.start = start,
	.stop = stop,
	.reset = reset,
};

int sm_balloon_new(struct sm_loop *loop, struct sm_balloon **out)
{
	struct sm_balloon *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->vdev.ops = &balloon_ops;
	sm_turns_init(&b->turns, &b->vdev, loop, serve, TURN_BYTES);
	*out = b;
	return 0;
}

void sm_balloon_free(struct sm_balloon *b)
{
	free(b);
}

struct sm_vdev *sm_balloon_vdev(struct sm_balloon *b)
{
	return &b->vdev;
}

void sm_balloon_counters(const struct sm_balloon *b, struct sm_balloon_counters *out)
{
	*out = b->counters;
}

void sm_balloon_set_target(struct sm_balloon *b, uint32_t pages)
{
	b->num_pages = pages;
	sm_vdev_config_changed(&b->vdev);
}

uint32_t sm_balloon_actual(const struct sm_balloon *b)
{
	return b->actual;
}
