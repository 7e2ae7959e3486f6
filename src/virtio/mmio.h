/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VIRTIO_MMIO_H
#define SM_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/device.h"

/*
 * The virtio-mmio transport (virtio 1.2, 4.2, version 2) for one device: what the monitor of a
 * virtual machine needs to put a struct sm_vdev into a window of guest-physical space. It knows
 * neither KVM nor vCPUs:
 *
 *	exit of a vCPU in the window  → sm_mmio_access(), on that vCPU's thread
 *	a write to QueueNotify        → the eventfd sm_mmio_kick_fd(queue), best without an exit
 *	interrupt(), or irq_fd        → an edge of the device's interrupt
 */
#define SM_MMIO_WINDOW 0x1000u	/* bytes of guest-physical space */
#define SM_MMIO_SHM_MAX 2

struct sm_mmio;

/* A shared memory region of the device (virtio 1.2, 2.10). */
struct sm_mmio_shm {
	uint32_t id;
	gpa_t base;
	uint64_t len;
};

struct sm_mmio_config {
	struct sm_vdev *dev;		/* with ops set; stays the caller's */
	const struct sm_gmem *mem;	/* does not change while the transport lives */
	/* Any thread, but those of a threaded device: */
	void (*interrupt)(void *arg);	/* NULL: irq_fd */
	void *interrupt_arg;
	int irq_fd;			/* eventfd; stays the caller's, open until sm_mmio_free() */
	/* Runs fn(fn_arg) on the loop's thread and returns when it ran. Called from vCPU threads:
	 * a loop that waits for a vCPU's thread must go on serving it. */
	void (*call)(void *arg, void (*fn)(void *), void *fn_arg);
	void *arg;
	const struct sm_mmio_shm *shm;	/* copied */
	size_t nshm;
};

/* By the loop's thread. 0, -EINVAL (too many queues or regions) or -errno. From here to
 * sm_mmio_free() the descriptors and callbacks of dev and its queues are the transport's. */
int sm_mmio_new(const struct sm_mmio_config *config, struct sm_mmio **m);

/* By the loop's thread, when no vCPU runs any more: stops the queues, resets the device. NULL
 * allowed. */
void sm_mmio_free(struct sm_mmio *m);

/* One access of a vCPU at offset off of the window: any thread, any off, any len; data has len
 * bytes. What the standard does not allow reads as zero and writes nothing. */
void sm_mmio_access(struct sm_mmio *m, uint64_t off, void *data, size_t len, bool write);

/* The eventfd that is written for a 4-byte write of `queue` to VIRTIO_MMIO_QUEUE_NOTIFY; -1 if the
 * device has no such queue. */
int sm_mmio_kick_fd(const struct sm_mmio *m, uint32_t queue);

/* Any thread: config space reads differently from now on. What sm_vdev_config_changed() does. */
void sm_mmio_config_changed(struct sm_mmio *m);

#endif
