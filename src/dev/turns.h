/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_DEV_TURNS_H
#define SM_DEV_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "virtio/device.h"

/*
 * What the small devices have in common: queues that are served on the loop's thread, chain by
 * chain, in turns of bounded work, so that a guest that never stops asking cannot keep the loop
 * from everybody else.
 *
 *	kick ──► turn: pop ─► serve ─► push … until the ring is empty or the budget is used up
 *	  ▲                                             │
 *	  └──────────── we kick ourselves ◄─────────────┘
 */
/* Serves a chain of queue `index` and takes what that cost from *budget, which is more than 0 and
 * at least 1 of which must go. The bytes written into the chain, which goes back to the guest;
 * -EAGAIN: there is more to do for it, the next turn pops it again; any other error: the guest
 * broke the rules. */
typedef int sm_turns_fn(struct sm_vdev *dev, uint32_t index, const struct sm_chain *chain,
			int64_t *budget);

struct sm_turns {
	struct sm_vdev *dev;
	struct sm_loop *loop;
	sm_turns_fn *serve;
	int64_t budget; /* of one turn of one queue, in units of the device's */
	struct sm_turns_queue {
		struct sm_turns *turns;
		struct sm_io *io; /* of the kick; NULL: stopped */
	} queue[SM_VDEV_QUEUES_MAX];
	bool told_broken;
};

void sm_turns_init(struct sm_turns *t, struct sm_vdev *dev, struct sm_loop *loop,
		   sm_turns_fn *serve, int64_t budget);

/* For start() and stop() of the device's queues. After stop() serve() does not run. */
int sm_turns_start(struct sm_turns *t, uint32_t index);
void sm_turns_stop(struct sm_turns *t, uint32_t index);

#endif
