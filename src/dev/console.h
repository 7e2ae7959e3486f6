/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_DEV_CONSOLE_H
#define SM_DEV_CONSOLE_H

#include <stdint.h>

#include "base/loop.h"
#include "virtio/device.h"

/*
 * virtio-console (virtio 1.2, 5.3) with one port and no input: the guest's hvc0. What it prints
 * goes to a descriptor that is never waited for: bytes that do not fit are dropped and counted,
 * since a guest's kernel spins until its console has taken a line.
 *
 * All calls on the loop's thread.
 */
struct sm_vcon;

/* fd: a stream socket or pipe, the device's from now on (not on errors). 0 or -errno. */
int sm_vcon_new(struct sm_loop *loop, int fd, struct sm_vcon **vcon);
void sm_vcon_free(struct sm_vcon *vcon); /* after its transport is gone; NULL allowed */
struct sm_vdev *sm_vcon_vdev(struct sm_vcon *vcon);

/* Bytes of the guest that nobody took. */
uint64_t sm_vcon_dropped(const struct sm_vcon *vcon);

#endif
