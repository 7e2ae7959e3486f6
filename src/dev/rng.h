/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_DEV_RNG_H
#define SM_DEV_RNG_H

#include "base/loop.h"
#include "virtio/device.h"

/*
 * virtio-entropy (virtio 1.2, 5.4): the guest's buffers are filled from the host's random number
 * generator. All calls on the loop's thread.
 */
struct sm_rng;

/* -EAGAIN: the host itself has no entropy yet (only early at its boot). 0 or -errno. */
int sm_rng_new(struct sm_loop *loop, struct sm_rng **rng);
void sm_rng_free(struct sm_rng *rng); /* after its transport is gone; NULL allowed */
struct sm_vdev *sm_rng_vdev(struct sm_rng *rng);

#endif
