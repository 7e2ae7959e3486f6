/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "dev/turns.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* The walk along a chain is work as well, whatever the device then does with it. */
#define TURN_BUFFERS (4 * SM_VQ_SIZE_MAX)

/* 1: there is more than one turn's worth, 0: there is not, -EPROTO: the guest broke the rules. */
static int serve_chains(struct sm_turns *t, uint32_t index)
{
	struct sm_vq *vq = &t->dev->vq[index];
	struct iovec iov[SM_CHAIN_IOV_MAX];
	int64_t budget = t->budget;
	uint32_t buffers = 0;
	struct sm_chain c;
	int r;

	while (budget > 0 && buffers < TURN_BUFFERS) {
		r = sm_vq_pop(vq, &c, iov, SM_CHAIN_IOV_MAX);
		if (r < 0)
			return r;
		if (r == 0 && !sm_vq_enable_kicks(vq))
			return 0;
		if (r == 0) { /* more came in, or the guest said so and took it back */
			buffers++;
			continue;
		}
		buffers += (uint32_t)c.nout + c.nin;
		r = t->serve(t->dev, index, &c, &budget);
		if (r == -EAGAIN) {
			sm_vq_unpop(vq);
			return 1;
		}
		if (r < 0) {
			sm_vq_break(vq);
			return -EPROTO;
		}
		sm_vq_push(vq, c.head, (uint32_t)r);
	}
	return 1;
}

/* #syscalls:loop read write */
static void on_kick(void *arg, uint32_t events)
{
	struct sm_turns_queue *q = arg;
	struct sm_turns *t = q->turns;
	uint32_t index = (uint32_t)(q - t->queue);
	struct sm_vq *vq = &t->dev->vq[index];
	eventfd_t v;
	int r;

	eventfd_read(vq->kick_fd, &v);
	sm_vq_disable_kicks(vq);
	r = serve_chains(t, index);
	sm_vq_notify(vq);
	if (r > 0)
		eventfd_write(vq->kick_fd, 1);
	if (r < 0 && !t->told_broken) {
		t->told_broken = true;
		sm_vdev_broken(t->dev);
	}
}

void sm_turns_init(struct sm_turns *t, struct sm_vdev *dev, struct sm_loop *loop,
		   sm_turns_fn *serve, int64_t budget)
{
	*t = (struct sm_turns){ .dev = dev, .loop = loop, .serve = serve, .budget = budget };
	for (uint32_t i = 0; i < SM_VDEV_QUEUES_MAX; i++)
		t->queue[i].turns = t;
}

int sm_turns_start(struct sm_turns *t, uint32_t index)
{
	struct sm_turns_queue *q = &t->queue[index];
	int r = sm_loop_add(t->loop, t->dev->vq[index].kick_fd, EPOLLIN, on_kick, q, &q->io);

	if (r < 0)
		return r;
	t->told_broken = false;
	/* What the guest published while the queue stood still got no kick. */
	eventfd_write(t->dev->vq[index].kick_fd, 1);
	return 0;
}

void sm_turns_stop(struct sm_turns *t, uint32_t index)
{
	sm_loop_remove(t->loop, t->queue[index].io);
	t->queue[index].io = NULL;
}
