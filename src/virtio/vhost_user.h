/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VIRTIO_VHOST_USER_H
#define SM_VIRTIO_VHOST_USER_H

#include "base/loop.h"
#include "virtio/device.h"

/*
 * The back end's end of a vhost-user connection (QEMU docs/interop/vhost-user.rst): the transport by
 * which QEMU's vhost-user-*-device front ends reach our devices. The front end sends the memory
 * table (memfds), ring addresses and eventfds; the device behind sees only struct sm_vdev.
 *
 * fd is a connected stream socket (owned from now on). Messages are served on the loop's thread.
 * gone() runs once when the front end hung up or sent something invalid (err 0 or -errno); the queues
 * are stopped then. The device stays the caller's.
 */
struct sm_vhost_user;
typedef void sm_vhost_user_gone_fn(void *arg, int err);

int sm_vhost_user_new(struct sm_loop *loop, int fd, struct sm_vdev *dev,
		      sm_vhost_user_gone_fn *gone, void *arg, struct sm_vhost_user **vu);
void sm_vhost_user_free(struct sm_vhost_user *vu); /* stops the queues; NULL allowed */

#endif
