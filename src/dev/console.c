/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "dev/console.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "dev/sink.h"
#include "dev/turns.h"

enum { RX, TX, QUEUES_NUM };

#define TURN_BYTES  (64 << 10)
#define CHAIN_COST  256         /* what a chain counts at least against a turn */
#define CHAIN_BYTES (64u << 10) /* of one chain; what is longer loses the rest */
#define PIECE       4096

struct sm_vcon {
	struct sm_vdev vdev;
	struct sm_turns turns;
	struct sm_sink sink;
	uint64_t dropped;
};

static struct sm_vcon *of(struct sm_vdev *dev)
{
	return (struct sm_vcon *)dev;
}

static int transmit(struct sm_vdev *dev, uint32_t index, const struct sm_chain *c, int64_t *budget)
{
	struct sm_vcon *vcon = of(dev);
	size_t len = c->out_len < CHAIN_BYTES ? c->out_len : CHAIN_BYTES;
	size_t sent = 0, n, took;
	char text[PIECE];

	if (c->nin) /* 5.3.6.2.2: no device-writable buffer in a transmitq */
		return -EPROTO;
	do {
		n = sm_chain_read(c, sent, text, sizeof(text));
		took = sm_sink_write(&vcon->sink, text, n);
		sent += took;
	} while (took == n && sent < len);
	vcon->dropped += c->out_len - sent;
	*budget -= CHAIN_COST + (int64_t)sent;
	return 0;
}

/* Input buffers stay where they are: there is nothing to put into them. */
static int start(struct sm_vdev *dev, uint32_t index)
{
	if (index == TX)
		return sm_turns_start(&of(dev)->turns, index);
	sm_vq_disable_kicks(&dev->vq[index]);
	return 0;
}

static void stop(struct sm_vdev *dev, uint32_t index)
{
	if (index == TX)
		sm_turns_stop(&of(dev)->turns, index);
}

static void reset(struct sm_vdev *dev)
{
}

/* No feature is offered that has a field in the configuration. */
static const struct sm_vdev_ops vcon_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.nqueues = QUEUES_NUM,
	.start = start,
	.stop = stop,
	.reset = reset,
};

int sm_vcon_new(struct sm_loop *loop, int fd, struct sm_vcon **out)
{
	struct sm_vcon *vcon = calloc(1, sizeof(*vcon));
	int r;

	if (!vcon)
		return -ENOMEM;
	r = sm_sink_open(&vcon->sink, fd);
	if (r < 0) {
		free(vcon);
		return r;
	}
	vcon->vdev.ops = &vcon_ops;
	sm_turns_init(&vcon->turns, &vcon->vdev, loop, transmit, TURN_BYTES);
	*out = vcon;
	return 0;
}

void sm_vcon_free(struct sm_vcon *vcon)
{
	if (!vcon)
		return;
	sm_sink_close(&vcon->sink);
	free(vcon);
}

struct sm_vdev *sm_vcon_vdev(struct sm_vcon *vcon)
{
	return &vcon->vdev;
}

uint64_t sm_vcon_dropped(const struct sm_vcon *vcon)
{
	return vcon->dropped;
}
