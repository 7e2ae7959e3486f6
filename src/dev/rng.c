/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "dev/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "dev/turns.h"

#define TURN_BYTES  (64 << 10)
#define BUFFER_COST 256 /* what a buffer counts at least against a turn */

struct sm_rng {
	struct sm_vdev vdev;
	struct sm_turns turns;
};

static struct sm_rng *of(struct sm_vdev *dev)
{
	return (struct sm_rng *)dev;
}

static int fill(void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		/* Once there was entropy it never blocks. */
		/* #syscalls:loop getrandom */
		ssize_t n = getrandom((char *)data + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* 5.4.6.2: one byte at least, and it may be less than the buffers take: as much as there is left in
 * this turn. */
static int request(struct sm_vdev *dev, uint32_t index, const struct sm_chain *c, int64_t *budget)
{
	size_t written = 0;

	if (c->nout) /* 5.4.6.1: no device-readable buffer */
		return -EPROTO;
	for (int i = 0; i<c->nin && * budget> 0; i++) {
		size_t len = c->iov[i].iov_len;

		if (len > (size_t)*budget)
			len = (size_t)*budget;
		if (fill(c->iov[i].iov_base, len) < 0)
			return -EIO;
		written += len;
		*budget -= len < BUFFER_COST ? BUFFER_COST : (int64_t)len;
	}
	return (int)written;
}

static int start(struct sm_vdev *dev, uint32_t index)
{
	return sm_turns_start(&of(dev)->turns, index);
}

static void stop(struct sm_vdev *dev, uint32_t index)
{
	sm_turns_stop(&of(dev)->turns, index);
}

static void reset(struct sm_vdev *dev)
{
}

static const struct sm_vdev_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.nqueues = 1,
	.start = start,
	.stop = stop,
	.reset = reset,
};

int sm_rng_new(struct sm_loop *loop, struct sm_rng **out)
{
	struct sm_rng *rng;
	char byte;

	if (getrandom(&byte, 1, GRND_NONBLOCK) < 0)
		return -errno;
	rng = calloc(1, sizeof(*rng));
	if (!rng)
		return -ENOMEM;
	rng->vdev.ops = &rng_ops;
	sm_turns_init(&rng->turns, &rng->vdev, loop, request, TURN_BYTES);
	*out = rng;
	return 0;
}

void sm_rng_free(struct sm_rng *rng)
{
	free(rng);
}

struct sm_vdev *sm_rng_vdev(struct sm_rng *rng)
{
	return &rng->vdev;
}
