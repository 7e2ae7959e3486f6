/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_DEV_BALLOON_H
#define SM_DEV_BALLOON_H

#include <stdint.h>

#include "base/loop.h"
#include "virtio/device.h"

/*
 * virtio-balloon (virtio 1.2, 5.5): how memory that the guest does not use comes back to the host.
 * By itself, when the guest reports free pages; on demand, when it is told to inflate its balloon.
 * Either way the pages are discarded (sm_gmem_discard()) and are there again, as zeros, as soon as
 * somebody touches them; the memory of the machine never grows by it.
 *
 * All calls on the loop's thread.
 */
struct sm_balloon;

struct sm_balloon_counters { /* bytes */
	uint64_t inflated, deflated, reported;
};

int sm_balloon_new(struct sm_loop *loop, struct sm_balloon **balloon);
void sm_balloon_free(struct sm_balloon *balloon); /* after its transport is gone; NULL allowed */
struct sm_vdev *sm_balloon_vdev(struct sm_balloon *balloon);
void sm_balloon_counters(const struct sm_balloon *balloon, struct sm_balloon_counters *out);

/* Asks the guest to have this many pages of 4 KiB in its balloon. It may take its time, or not do
 * it at all. */
void sm_balloon_set_target(struct sm_balloon *balloon, uint32_t pages);

/* How many it says that it has: the guest's word, and only fit to be shown. */
uint32_t sm_balloon_actual(const struct sm_balloon *balloon);

#endif
