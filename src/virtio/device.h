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
 *	              config_changed(dev) ◄─────  the driver should read the configuration again
 *
 * All calls come from the loop's thread. A device may serve its queues on threads of its own between
 * start and stop.
 */
#define SM_VDEV_QUEUES_MAX 8

struct sm_vdev;

struct sm_vdev_ops {
	const char *name;		/* "vsock" */
	uint32_t id;			/* virtio device ID */
	uint32_t nqueues;
	uint64_t features;		/* device feature bits; ring features are the transport's */
	size_t config_size;
	/* Copies config space; off + len <= config_size is checked by the transport. */
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
	/* set by the transport; called by the device from any thread, at most once per start */
	void (*broken)(struct sm_vdev *dev, void *arg);
	/* set by the transport, NULL if it cannot; called by the device on the loop's thread */
	void (*config_changed)(struct sm_vdev *dev, void *arg);
	void *broken_arg;	/* the arg of both */
};

static inline void sm_vdev_broken(struct sm_vdev *dev)
{
	if (dev->broken)
		dev->broken(dev, dev->broken_arg);
}

static inline void sm_vdev_config_changed(struct sm_vdev *dev)
{
	if (dev->config_changed)
		dev->config_changed(dev, dev->broken_arg);
}

#endif
