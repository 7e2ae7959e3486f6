/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of a vhost-user connection.
 *
 *	socket ──► receive: header, payload, descriptors ──► row of the table: sizes, counts
 *	                                                          │
 *	       ◄── reply, or an acknowledgement if wanted ◄── handler: 0 or -errno
 *
 * A ring goes through the states of the protocol ("Ring states"), of which we keep what is needed
 * to decide whether it runs:
 *
 *	runs = memory ∧ num ∧ addr ∧ kick ∧ enabled
 *
 * SET_VRING_KICK starts a ring, GET_VRING_BASE stops it and takes the kick away again, and
 * SET_VRING_ENABLE switches it where VHOST_USER_F_PROTOCOL_FEATURES was negotiated (without it
 * every ring is enabled). Each change that a running ring must not see (memory table, kick) stops
 * all that run, applies the change and starts them again where they were.
 *
 * The protocol has no message for a reset of the device by its driver: the front end stops the
 * rings and later starts them at index 0. A pause of the machine looks the same up to the index. So
 * a ring that is to start elsewhere than where it stopped means that the device was reset in
 * between.
 *
 * A message that makes no sense is answered with an error where the front end asked for an answer;
 * otherwise, and for each one whose shape is wrong, the connection ends.
 */
#include "config.h"

#include "virtio/vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "virtio/vhost_user_proto.h"

#define MESSAGES_PER_TURN 32

struct msg {
	struct sm_vhu_header h;
	union sm_vhu_payload p;
	int fds[SM_VHU_REGIONS_MAX];
	size_t nfds;
	size_t have;		/* bytes of header and payload received so far */
};

struct ring {
	uint64_t desc, avail, used;	/* front end addresses */
	int err_fd;
	uint16_t base;		/* where it will start */
	uint16_t stopped_at;
	bool have_addr, enabled, running;
};

struct sm_vhost_user {
	struct sm_loop *loop;
	int fd;
	struct sm_io *io;
	int broken_fd;		/* eventfd: the device says that a queue broke, from any thread */
	struct sm_io *broken_io;
	struct sm_vdev *dev;
	sm_vhost_user_gone_fn *gone;
	void *arg;
	struct sm_gmem mem;
	struct sm_vhu_memory table;	/* what mem was made of */
	struct ring ring[SM_VDEV_QUEUES_MAX];
	uint64_t features;	/* negotiated */
	uint64_t protocol;	/* negotiated */
	bool started;		/* at least one ring ran since the last reset */
	bool warned;
	struct msg msg;
};

/* ---- rings ---- */

/* A ring address of the front end as a guest address; anything outside its table stays outside. */
static gpa_t to_gpa(const struct sm_vhost_user *vu, uint64_t uaddr)
{
	for (uint32_t i = 0; i < vu->table.n; i++) {
		const struct sm_vhu_region *r = &vu->table.region[i];

		if (uaddr - r->uaddr < r->size)
			return r->gpa + (uaddr - r->uaddr);
	}
	return UINT64_MAX;
}

static void stop_ring(struct sm_vhost_user *vu, uint32_t i)
{
	struct ring *r = &vu->ring[i];

	if (!r->running)
		return;
	vu->dev->ops->stop(vu->dev, i);
	r->base = r->stopped_at = sm_vq_stop(&vu->dev->vq[i]);
	r->running = false;
}

static int start_ring(struct sm_vhost_user *vu, uint32_t i)
{
	struct sm_vq *vq = &vu->dev->vq[i];
	struct ring *r = &vu->ring[i];
	int err;

	if (r->running || !r->enabled || !r->have_addr || !vq->size || vq->kick_fd < 0)
		return 0;
	vq->mem = &vu->mem;
	vq->desc_gpa = to_gpa(vu, r->desc);
	vq->avail_gpa = to_gpa(vu, r->avail);
	vq->used_gpa = to_gpa(vu, r->used);
	err = sm_vq_start(vq, r->base);
	if (err < 0)
		return err;
	err = vu->dev->ops->start(vu->dev, i);
	if (err < 0) {
		sm_vq_stop(vq);
		return err;
	}
	r->running = vu->started = true;
	return 0;
}

static void stop_rings(struct sm_vhost_user *vu)
{
	for (uint32_t i = 0; i < vu->dev->ops->nqueues; i++)
		stop_ring(vu, i);
}

static int start_rings(struct sm_vhost_user *vu)
{
	int r = 0;

	for (uint32_t i = 0; i < vu->dev->ops->nqueues && r == 0; i++)
		r = start_ring(vu, i);
	return r;
}

static bool any_running(const struct sm_vhost_user *vu)
{
	for (uint32_t i = 0; i < vu->dev->ops->nqueues; i++) {
		if (vu->ring[i].running)
			return true;
	}
	return false;
}

static void reset_device(struct sm_vhost_user *vu)
{
	if (!vu->started)
		return;
	vu->started = false;
	vu->dev->ops->reset(vu->dev);
	for (uint32_t i = 0; i < vu->dev->ops->nqueues; i++)
		vu->ring[i].stopped_at = 0;
}

/* ---- handlers: 0 or -errno; those that answer fill m->p and m->h.size ---- */

static void answer_u64(struct msg *m, uint64_t v)
{
	m->p.u64 = v;
	m->h.size = sizeof(m->p.u64);
}

static uint64_t offered_features(const struct sm_vhost_user *vu)
{
	return sm_vdev_features(vu->dev) | 1ull << SM_VHU_F_PROTOCOL_FEATURES;
}

/* The front end for virtio-fs makes the configuration space itself (the tag is an argument of its
 * own) and complains about a back end that offers to. */
static bool serves_config(const struct sm_vhost_user *vu)
{
	return vu->dev->ops->config_size && vu->dev->ops->id != VIRTIO_ID_FS;
}

static uint64_t offered_protocol(const struct sm_vhost_user *vu)
{
	return 1ull << SM_VHU_PROTOCOL_F_MQ | 1ull << SM_VHU_PROTOCOL_F_REPLY_ACK |
	       (serves_config(vu) ? 1ull << SM_VHU_PROTOCOL_F_CONFIG : 0);
}

static int get_features(struct sm_vhost_user *vu, struct msg *m)
{
	answer_u64(m, offered_features(vu));
	return 0;
}

static int set_features(struct sm_vhost_user *vu, struct msg *m)
{
	uint64_t f = m->p.u64;

	if (f & ~offered_features(vu))
		return -EINVAL;
	if (any_running(vu))
		return f == vu->features ? 0 : -EBUSY;
	vu->features = f;
	for (uint32_t i = 0; i < vu->dev->ops->nqueues; i++) {
		if (!(f >> SM_VHU_F_PROTOCOL_FEATURES & 1))
			vu->ring[i].enabled = true;
	}
	sm_vdev_negotiated(vu->dev, f & ~(1ull << SM_VHU_F_PROTOCOL_FEATURES));
	return 0;
}

static int get_protocol_features(struct sm_vhost_user *vu, struct msg *m)
{
	answer_u64(m, offered_protocol(vu));
	return 0;
}

static int set_protocol_features(struct sm_vhost_user *vu, struct msg *m)
{
	if (m->p.u64 & ~offered_protocol(vu))
		return -EINVAL;
	vu->protocol = m->p.u64;
	return 0;
}

static int get_queue_num(struct sm_vhost_user *vu, struct msg *m)
{
	answer_u64(m, vu->dev->ops->nqueues);
	return 0;
}

static int set_owner(struct sm_vhost_user *vu, struct msg *m)
{
	return 0;
}

/* "No longer used": some back ends took it for a request to disable all rings, which is what is
 * safe. */
static int reset_owner(struct sm_vhost_user *vu, struct msg *m)
{
	stop_rings(vu);
	for (uint32_t i = 0; i < vu->dev->ops->nqueues; i++)
		vu->ring[i].enabled = false;
	return 0;
}

/* Maps a table that was checked to have as many descriptors as regions. */
static int map_table(struct sm_gmem *gm, const struct msg *m)
{
	for (uint32_t i = 0; i < m->p.memory.n; i++) {
		const struct sm_vhu_region *r = &m->p.memory.region[i];
		int err = r->uaddr + (r->size - 1) < r->uaddr ?
				  -EINVAL :
				  sm_gmem_map(gm, r->gpa, r->size, m->fds[i], r->offset);

		if (err < 0) {
			sm_gmem_clear(gm);
			return err;
		}
	}
	return 0;
}

static int set_mem_table(struct sm_vhost_user *vu, struct msg *m)
{
	struct sm_gmem fresh = { .n = 0 };
	int r;

	if (m->p.memory.n > SM_VHU_REGIONS_MAX || m->nfds != m->p.memory.n ||
	    m->h.size != offsetof(struct sm_vhu_memory, region) +
				 m->p.memory.n * sizeof(struct sm_vhu_region))
		return -EINVAL;
	r = map_table(&fresh, m);
	if (r < 0)
		return r;
	stop_rings(vu);
	sm_gmem_clear(&vu->mem);
	vu->mem = fresh;
	vu->table = m->p.memory;
	return start_rings(vu);
}

static struct ring *ring_of(struct sm_vhost_user *vu, uint32_t index)
{
	return index < vu->dev->ops->nqueues ? &vu->ring[index] : NULL;
}

static int set_vring_num(struct sm_vhost_user *vu, struct msg *m)
{
	struct ring *r = ring_of(vu, m->p.state.index);
	uint32_t n = m->p.state.num;

	if (!r || !n || n > SM_VQ_SIZE_MAX || (n & (n - 1)))
		return -EINVAL;
	if (r->running)
		return -EBUSY;
	vu->dev->vq[m->p.state.index].size = (uint16_t)n;
	return 0;
}

static int set_vring_addr(struct sm_vhost_user *vu, struct msg *m)
{
	struct ring *r = ring_of(vu, m->p.addr.index);

	if (!r)
		return -EINVAL;
	if (r->running)
		return -EBUSY;
	r->desc = m->p.addr.desc;
	r->avail = m->p.addr.avail;
	r->used = m->p.addr.used;
	r->have_addr = true;
	return start_ring(vu, m->p.addr.index);
}

static int set_vring_base(struct sm_vhost_user *vu, struct msg *m)
{
	struct ring *r = ring_of(vu, m->p.state.index);

	if (!r || m->p.state.num > UINT16_MAX)
		return -EINVAL;
	if (r->running)
		return -EBUSY;
	r->base = (uint16_t)m->p.state.num;
	if (r->base != r->stopped_at && !any_running(vu))
		reset_device(vu);
	return 0;
}

static int get_vring_base(struct sm_vhost_user *vu, struct msg *m)
{
	struct ring *r = ring_of(vu, m->p.state.index);

	if (!r)
		return -EINVAL;
	stop_ring(vu, m->p.state.index);
	sm_close(&vu->dev->vq[m->p.state.index].kick_fd);
	m->p.state.num = r->base;
	return 0;
}

/* The ring and descriptor of a KICK, CALL or ERR message; *fd is -1 where the message says so. */
static int vring_fd(struct sm_vhost_user *vu, struct msg *m, uint32_t *index, int *fd)
{
	bool nofd = m->p.u64 & SM_VHU_VRING_NOFD;

	*index = m->p.u64 & SM_VHU_VRING_INDEX;
	if (m->p.u64 > (SM_VHU_VRING_INDEX | SM_VHU_VRING_NOFD) || !ring_of(vu, *index) ||
	    m->nfds != (nofd ? 0 : 1))
		return -EINVAL;
	*fd = nofd ? -1 : m->fds[0];
	/* Neither a full counter nor an empty one may ever block us. */
	return nofd ? 0 : sm_set_nonblock(*fd);
}

/* After vring_fd(): the descriptor is the ring's from now on. */
static int keep_fd(struct msg *m)
{
	return m->nfds ? sm_steal_fd(&m->fds[0]) : -1;
}

static int set_vring_kick(struct sm_vhost_user *vu, struct msg *m)
{
	uint32_t i;
	int fd, r = vring_fd(vu, m, &i, &fd);

	if (r < 0)
		return r;
	if (fd < 0)
		return -EOPNOTSUPP; /* a ring to be polled */
	stop_ring(vu, i);
	sm_close(&vu->dev->vq[i].kick_fd);
	vu->dev->vq[i].kick_fd = keep_fd(m);
	return start_ring(vu, i);
}

/* A front end masks and unmasks the interrupt of a running ring by changing this descriptor, so the
 * number stays the same under the device's feet. #syscalls:loop dup3 */
static int set_vring_call(struct sm_vhost_user *vu, struct msg *m)
{
	struct sm_vq *vq;
	uint32_t i;
	int fd, r = vring_fd(vu, m, &i, &fd);

	if (r < 0)
		return r;
	vq = &vu->dev->vq[i];
	if (fd >= 0 && vq->call_fd >= 0) {
		if (dup3(fd, vq->call_fd, O_CLOEXEC) < 0)
			return -errno;
	} else {
		stop_ring(vu, i);
		sm_close(&vq->call_fd);
		vq->call_fd = keep_fd(m);
		r = start_ring(vu, i);
	}
	/* Whatever was signalled to the old one may have been missed. */
	if (vu->ring[i].running && vq->call_fd >= 0)
		eventfd_write(vq->call_fd, 1);
	return r;
}

static int set_vring_err(struct sm_vhost_user *vu, struct msg *m)
{
	uint32_t i;
	int fd, r = vring_fd(vu, m, &i, &fd);

	if (r < 0)
		return r;
	sm_close(&vu->ring[i].err_fd);
	vu->ring[i].err_fd = keep_fd(m);
	return 0;
}

static int set_vring_enable(struct sm_vhost_user *vu, struct msg *m)
{
	struct ring *r = ring_of(vu, m->p.state.index);

	if (!r || m->p.state.num > 1)
		return -EINVAL;
	r->enabled = m->p.state.num;
	if (r->enabled)
		return start_ring(vu, m->p.state.index);
	stop_ring(vu, m->p.state.index);
	return 0;
}

/* An error is a reply without payload. */
static int get_config(struct sm_vhost_user *vu, struct msg *m)
{
	struct sm_vhu_config *c = &m->p.config;

	if (m->h.size < SM_VHU_CONFIG_HEADER || m->h.size - SM_VHU_CONFIG_HEADER != c->size ||
	    c->offset > vu->dev->ops->config_size ||
	    c->size > vu->dev->ops->config_size - c->offset) {
		m->h.size = 0;
		return 0;
	}
	vu->dev->ops->config_read(vu->dev, c->offset, c->data, c->size);
	return 0;
}

/* ---- dispatch ---- */

struct request {
	int (*handle)(struct sm_vhost_user *vu, struct msg *m);
	uint16_t size;		/* of the payload, the least one if `more` */
	uint8_t fds;		/* at most */
	bool more;		/* the handler checks the size */
	bool answers;
};

#define U64 sizeof(uint64_t)
#define STATE sizeof(struct sm_vhu_vring_state)
#define ADDR sizeof(struct sm_vhu_vring_addr)

static const struct request requests[SM_VHU_REQUEST_NUM] = {
	[SM_VHU_GET_FEATURES] = { get_features, .answers = true },
	[SM_VHU_SET_FEATURES] = { set_features, U64 },
	[SM_VHU_SET_OWNER] = { set_owner },
	[SM_VHU_RESET_OWNER] = { reset_owner },
	[SM_VHU_SET_MEM_TABLE] = { set_mem_table, 8, SM_VHU_REGIONS_MAX, .more = true },
	[SM_VHU_SET_VRING_NUM] = { set_vring_num, STATE },
	[SM_VHU_SET_VRING_ADDR] = { set_vring_addr, ADDR },
	[SM_VHU_SET_VRING_BASE] = { set_vring_base, STATE },
	[SM_VHU_GET_VRING_BASE] = { get_vring_base, STATE, .answers = true },
	[SM_VHU_SET_VRING_KICK] = { set_vring_kick, U64, 1 },
	[SM_VHU_SET_VRING_CALL] = { set_vring_call, U64, 1 },
	[SM_VHU_SET_VRING_ERR] = { set_vring_err, U64, 1 },
	[SM_VHU_GET_PROTOCOL_FEATURES] = { get_protocol_features, .answers = true },
	[SM_VHU_SET_PROTOCOL_FEATURES] = { set_protocol_features, U64 },
	[SM_VHU_GET_QUEUE_NUM] = { get_queue_num, .answers = true },
	[SM_VHU_SET_VRING_ENABLE] = { set_vring_enable, STATE },
	[SM_VHU_GET_CONFIG] = { get_config, SM_VHU_CONFIG_HEADER, .more = true, .answers = true },
};

static int reply(struct sm_vhost_user *vu, struct msg *m)
{
	struct iovec iov[2] = { { &m->h, sizeof(m->h) }, { &m->p, m->h.size } };
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	m->h.flags = SM_VHU_VERSION | SM_VHU_REPLY;
	n = sendmsg(vu->fd, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	/* Less than all: it does not read what it asked for. */
	return (size_t)n == sizeof(m->h) + m->h.size ? 0 : -EPIPE;
}

static int dispatch(struct sm_vhost_user *vu, struct msg *m)
{
	bool want_ack = (m->h.flags & SM_VHU_NEED_REPLY) &&
			(vu->protocol >> SM_VHU_PROTOCOL_F_REPLY_ACK & 1);
	const struct request *q =
		m->h.request < SM_VHU_REQUEST_NUM ? &requests[m->h.request] : NULL;
	int r;

	if (!q || !q->handle)
		r = -EOPNOTSUPP;
	else if (m->h.size < q->size || (m->h.size > q->size && !q->more) || m->nfds > q->fds)
		r = -EINVAL;
	else
		r = q->handle(vu, m);
	if (r < 0)
		sm_debug("vhost-user: %s: request %u: %s", vu->dev->ops->name, m->h.request,
			 strerror(-r));
	if (q && q->answers)
		return r < 0 ? r : reply(vu, m);
	if (!want_ack)
		return r;
	answer_u64(m, (uint64_t)-r);
	return reply(vu, m);
}

/* ---- the connection ---- */

static void drop_fds(struct msg *m)
{
	for (size_t i = 0; i < m->nfds; i++)
		sm_close(&m->fds[i]);
	m->nfds = 0;
}

/* Receives what is there of one message: 1 when it is whole, 0 when there is more to wait for,
 * -ENODATA at the end of the stream. */
static int receive(struct sm_vhost_user *vu, struct msg *m)
{
	for (;;) {
		bool head = m->have < sizeof(m->h);
		size_t want = sizeof(m->h) + (head ? 0 : m->h.size) - m->have;
		uint8_t *to = head ? (uint8_t *)&m->h + m->have :
				     (uint8_t *)&m->p + (m->have - sizeof(m->h));
		size_t nfds = SM_VHU_REGIONS_MAX - m->nfds;
		ssize_t n;

		if (!want)
			return 1;
		n = sm_recv_fds(vu->fd, to, want, m->fds + m->nfds, &nfds);
		if (n <= 0)
			return n == 0 ? -ENODATA : n == -EAGAIN ? 0 : (int)n;
		m->nfds += nfds;
		m->have += (size_t)n;
		if (m->have == sizeof(m->h) &&
		    ((m->h.flags & SM_VHU_VERSION_MASK) != SM_VHU_VERSION ||
		     m->h.size > sizeof(m->p)))
			return -EPROTO;
	}
}

static void disconnect(struct sm_vhost_user *vu)
{
	sm_loop_remove(vu->loop, vu->io);
	vu->io = NULL;
	sm_close(&vu->fd);
	stop_rings(vu);
	reset_device(vu);
}

static void on_socket(void *arg, uint32_t events)
{
	struct sm_vhost_user *vu = arg;
	int r = 1;

	for (int i = 0; i < MESSAGES_PER_TURN && r > 0; i++) {
		r = receive(vu, &vu->msg);
		if (r <= 0)
			break;
		r = dispatch(vu, &vu->msg);
		drop_fds(&vu->msg);
		vu->msg.have = 0;
		r = r < 0 ? r : 1;
	}
	if (r >= 0)
		return;
	disconnect(vu);
	if (r == -ENODATA || r == -ECONNRESET)
		r = vu->msg.have ? -EPROTO : 0;
	vu->gone(vu->arg, r);
}

/* Any thread. */
static void on_broken(struct sm_vdev *dev, void *arg)
{
	struct sm_vhost_user *vu = arg;

	eventfd_write(vu->broken_fd, 1);
}

static void on_broken_fd(void *arg, uint32_t events)
{
	struct sm_vhost_user *vu = arg;
	eventfd_t v;

	eventfd_read(vu->broken_fd, &v);
	/* Said once: a guest that fails in a loop would fill the log. */
	if (!vu->warned)
		sm_warn("virtio: %s: the guest broke the rules of a queue: the device stops serving it",
			vu->dev->ops->name);
	vu->warned = true;
	for (uint32_t i = 0; i < vu->dev->ops->nqueues; i++) {
		if (vu->dev->vq[i].broken && vu->ring[i].err_fd >= 0)
			eventfd_write(vu->ring[i].err_fd, 1);
	}
}

int sm_vhost_user_new(struct sm_loop *loop, int fd, struct sm_vdev *dev,
		      sm_vhost_user_gone_fn *gone, void *arg, struct sm_vhost_user **out)
{
	struct sm_vhost_user *vu = calloc(1, sizeof(*vu));
	int r;

	if (!vu)
		return -ENOMEM;
	*vu = (struct sm_vhost_user){
		.loop = loop, .fd = -1, .dev = dev, .gone = gone, .arg = arg
	};
	for (int i = 0; i < SM_VDEV_QUEUES_MAX; i++) {
		dev->vq[i].kick_fd = dev->vq[i].call_fd = -1;
		vu->ring[i].err_fd = -1;
	}
	vu->broken_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = vu->broken_fd < 0 ? -errno : sm_set_nonblock(fd);
	if (r == 0)
		r = sm_loop_add(loop, vu->broken_fd, EPOLLIN, on_broken_fd, vu, &vu->broken_io);
	if (r == 0)
		r = sm_loop_add(loop, fd, EPOLLIN, on_socket, vu, &vu->io);
	if (r < 0) {
		sm_vhost_user_free(vu);
		return r;
	}
	vu->fd = fd;
	dev->broken = on_broken;
	dev->broken_arg = vu;
	*out = vu;
	return 0;
}

void sm_vhost_user_free(struct sm_vhost_user *vu)
{
	if (!vu)
		return;
	disconnect(vu);
	vu->dev->broken = NULL;
	drop_fds(&vu->msg);
	for (int i = 0; i < SM_VDEV_QUEUES_MAX; i++) {
		sm_close(&vu->dev->vq[i].kick_fd);
		sm_close(&vu->dev->vq[i].call_fd);
		sm_close(&vu->ring[i].err_fd);
	}
	sm_gmem_clear(&vu->mem);
	sm_loop_remove(vu->loop, vu->broken_io);
	sm_close(&vu->broken_fd);
	free(vu);
}
