/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VIRTIO_DEVICE_H
#define SM_VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/queue.h"

/*
 * What a device is to its transport (mmio.c or vhost_user.c), and the other way round. A device
 * knows guest memory, rings and two eventfds, nothing of KVM or QEMU.
 *
 *	transport                                device
 *	   features(negotiated) ───────────────►  remembers
 *	   start(q)  for each enabled queue ───►  watches q->kick_fd, pops, pushes, notifies
 *	   stop(q)   ──────────────────────────►  returns when nothing of this queue is in flight
 *	   reset() ────────────────────────────►  drops all state the guest made
 *	   config_write(bytes) ────────────────►  keeps what the driver may set
 *	                      broken(dev) ◄─────  the guest broke the rules
 *	              config_changed(dev) ◄─────  config space reads differently now
 *
 * All calls come from the loop's thread, but for config_read(), which any thread may make at any
 * time. A device may serve its queues on threads of its own between start and stop.
 */
#define SM_VDEV_QUEUES_MAX 8
#define SM_VDEV_QUEUE_MAX 256	/* a driver makes its rings as long as it may: 6.5 KiB each */

struct sm_vdev;

struct sm_vdev_ops {
	const char *name;		/* "vsock" */
	uint32_t id;			/* virtio device ID */
	uint32_t nqueues;
	uint32_t queue_max;		/* longest ring on offer, 0: SM_VDEV_QUEUE_MAX */
	uint64_t features;		/* device feature bits; ring features are the transport's */
	bool threaded;			/* threads of its own notify, which may only write eventfds */
	size_t config_size;
	/* Copies config space; off + len <= config_size is checked by the transport. Any thread:
	 * what changes while the device lives is read atomically, at most 4 bytes a field. */
	void (*config_read)(struct sm_vdev *dev, size_t off, void *data, size_t len);
	/* The driver writes config space, the same bounds. NULL: writes are ignored. */
	void (*config_write)(struct sm_vdev *dev, size_t off, const void *data, size_t len);
	void (*negotiated)(struct sm_vdev *dev, uint64_t features);
	int (*start)(struct sm_vdev *dev, uint32_t index);	/* queue dev->vq[index] is started */
	void (*stop)(struct sm_vdev *dev, uint32_t index);
	void (*reset)(struct sm_vdev *dev);
};

/* Embedded as the first member of each device. */
struct sm_vdev {
	const struct sm_vdev_ops *ops;
	struct sm_vq vq[SM_VDEV_QUEUES_MAX];
	/* Set by the transport, NULL where it cannot tell the driver; called by the device from
	 * any thread: the first at most once per start, the second after each change of config
	 * space. */
	void (*broken)(struct sm_vdev *dev, void *arg);
	void *broken_arg;
	void (*config_changed)(struct sm_vdev *dev, void *arg);
	void *config_changed_arg;
};

static inline void sm_vdev_broken(struct sm_vdev *dev)
{
	if (dev->broken)
		dev->broken(dev, dev->broken_arg);
}

static inline void sm_vdev_config_changed(struct sm_vdev *dev)
{
	if (dev->config_changed)
		dev->config_changed(dev, dev->config_changed_arg);
}

/* For transports: what the driver may choose from, and what it chose. */
static inline uint64_t sm_vdev_features(const struct sm_vdev *dev)
{
	return dev->ops->features | SM_VQ_FEATURES;
}

static inline void sm_vdev_negotiated(struct sm_vdev *dev, uint64_t features)
{
	for (uint32_t i = 0; i < dev->ops->nqueues; i++) {
		dev->vq[i].event_idx = features >> SM_VIRTIO_F_EVENT_IDX & 1;
		dev->vq[i].indirect = features >> SM_VIRTIO_F_INDIRECT_DESC & 1;
	}
	if (dev->ops->negotiated)
		dev->ops->negotiated(dev, features);
}

#endif
