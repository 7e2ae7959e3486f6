/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mmio, version 2 (virtio 1.2, 4.2): registers for the driver, struct sm_vdev behind them.
 *
 *	┌───────────────────────── from everywhere: 0 is written. Queues stop,
 *	▼                          the device forgets, and so do the registers
 *	0 ──► ACKNOWLEDGE ──► DRIVER ──► FEATURES_OK ──► DRIVER_OK ──────► FAILED
 *	                                 its choice is   queues that are   queues
 *	                                 latched         ready start       stop
 *
 * Bits of Status are only ever added. FEATURES_OK stays off when the driver took what was not
 * offered or left VERSION_1 out. Whatever cannot work (a ring that does not lie in guest memory,
 * DRIVER_OK out of turn, a queue that the device found broken) sets DEVICE_NEEDS_RESET, which is
 * told by a configuration change interrupt, and nothing more starts before the reset.
 *
 * A queue's registers take writes while it is not ready and before DRIVER_OK. QueueReady = 1 checks
 * them, and since they do not change while it is ready they are the copy that DRIVER_OK starts the
 * queue from, whatever is written later. After DRIVER_OK a queue can only be stopped (QueueReady =
 * 0; 4.2.2.2: the driver may want its memory back) and rests until the reset: VIRTIO_F_RING_RESET
 * is not offered. Rings may overlap each other or anything else in guest memory. That is the
 * guest's loss alone: a ring is bytes from which each index and descriptor is copied and then
 * checked.
 *
 * Threads. A vCPU's access is served on its own thread under the lock. What concerns the device
 * goes to the loop's thread by call(), with the lock held meanwhile, so that other vCPUs see the
 * registers before or after. So the loop's thread must never take the lock, and does not: broken()
 * and config_changed(), which the device calls from any thread, set atomics and write irq_fd. The
 * registers of the data path (QueueNotify, InterruptStatus, InterruptACK, configuration space) take
 * no lock either: an interrupt handler does not wait for the reset that another vCPU began.
 *
 * Interrupts. irq_fd is the call_fd of every queue: the host's kernel turns it into an edge without
 * a hop through here, and therefore we do not know whether a buffer was used. So the bit of
 * InterruptStatus that says so always reads 1 from DRIVER_OK to the reset. The interrupt is an edge
 * and the device's own: nothing keeps firing for a bit that stays, no other device is asked in
 * vain, and what the bit costs at a configuration change is a look at rings without news. The other
 * bit is real: on until acknowledged. An acknowledgement may come late (KVM keeps it until the next
 * exit to us), so it is good for the changes that InterruptStatus had told of, and for no later one.
 */
#include "config.h"

#include "virtio/mmio.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#define VIRTIO_MMIO_NO_LEGACY
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clean.h"
#include "base/log.h"

#define MAGIC 0x74726976u	/* "virt" */
#define VENDOR 0x6d707573u	/* "supm" */

enum { ADDR_DESC, ADDR_DRIVER, ADDR_DEVICE, ADDR_NUM };

struct queue {
	uint32_t num;
	gpa_t addr[ADDR_NUM];
	bool ready;	/* the above was checked and is frozen */
	bool running;	/* the device has it */
};

struct sm_mmio {
	struct sm_vdev *dev;
	const struct sm_gmem *mem;
	void (*interrupt)(void *arg);
	void *interrupt_arg;
	int irq_fd;
	void (*call)(void *arg, void (*fn)(void *), void *fn_arg);
	void *arg;
	struct sm_mmio_shm shm[SM_MMIO_SHM_MAX];
	size_t nshm;

	pthread_mutex_t lock;	/* guards all from here to the atomics */
	uint32_t device_features_sel, driver_features_sel;
	uint64_t driver_features;
	bool excess_features;	/* accepted some above bit 63 */
	uint32_t queue_sel, shm_sel;
	struct queue queue[SM_VDEV_QUEUES_MAX];
	bool started;		/* a queue ran since the last reset */
	int start_err;

	_Atomic uint32_t status;	/* written with the lock held; DEVICE_NEEDS_RESET … */
	atomic_bool needs_reset;	/* … is here */
	/* Configuration changes, counted: the last one, the last that InterruptStatus told of, the last
	 * that was acknowledged. */
	_Atomic uint32_t changed, told, acked;
	_Atomic uint32_t generation;
	atomic_bool warned;
};

/* ---- any thread: interrupts and faults ---- */

static void raise_config(struct sm_mmio *m)
{
	m->changed++;
	if (m->interrupt)
		m->interrupt(m->interrupt_arg);
	else
		eventfd_write(m->irq_fd, 1);
}

void sm_mmio_config_changed(struct sm_mmio *m)
{
	m->generation++;
	if (m->status & VIRTIO_CONFIG_S_DRIVER)
		raise_config(m);
}

/* Said once: a guest that fails in a loop would fill the log. */
static void fault(struct sm_mmio *m, const char *what)
{
	if (!atomic_exchange(&m->warned, true))
		sm_warn("virtio: %s: %s: the device waits for its reset", m->dev->ops->name, what);
	m->needs_reset = true;
	raise_config(m);
}

static void on_broken(struct sm_vdev *dev, void *arg)
{
	fault(arg, "the guest broke the rules of a queue");
}

static void on_config_changed(struct sm_vdev *dev, void *arg)
{
	sm_mmio_config_changed(arg);
}

/* ---- the loop's thread: the device ---- */

static void stop_queue(struct sm_mmio *m, uint32_t i)
{
	if (!m->queue[i].running)
		return;
	m->dev->ops->stop(m->dev, i);
	sm_vq_stop(&m->dev->vq[i]);
	m->queue[i].running = false;
}

static void stop_queues(void *arg)
{
	struct sm_mmio *m = arg;

	for (uint32_t i = 0; i < m->dev->ops->nqueues; i++)
		stop_queue(m, i);
}

static void stop_selected(void *arg)
{
	struct sm_mmio *m = arg;

	stop_queue(m, m->queue_sel);
}

static void place(const struct sm_mmio *m, uint32_t i, struct sm_vq *vq)
{
	const struct queue *q = &m->queue[i];

	vq->mem = m->mem;
	vq->size = (uint16_t)q->num;
	vq->desc_gpa = q->addr[ADDR_DESC];
	vq->avail_gpa = q->addr[ADDR_DRIVER];
	vq->used_gpa = q->addr[ADDR_DEVICE];
}

static int start_queue(struct sm_mmio *m, uint32_t i)
{
	struct sm_vq *vq = &m->dev->vq[i];
	int r;

	if (!m->queue[i].ready)
		return 0;
	place(m, i, vq);
	r = sm_vq_start(vq, 0);
	if (r < 0)
		return r;
	r = m->dev->ops->start(m->dev, i);
	if (r < 0) {
		sm_vq_stop(vq);
		return r;
	}
	m->queue[i].running = m->started = true;
	return 0;
}

static void start_queues(void *arg)
{
	struct sm_mmio *m = arg;

	m->start_err = 0;
	for (uint32_t i = 0; i < m->dev->ops->nqueues && m->start_err == 0; i++)
		m->start_err = start_queue(m, i);
	if (m->start_err < 0)
		stop_queues(m);
}

static void negotiate(void *arg)
{
	struct sm_mmio *m = arg;

	sm_vdev_negotiated(m->dev, m->driver_features);
}

/* A device that never ran has nothing to forget but what the host itself has prepared in it. */
static void reset_device(void *arg)
{
	struct sm_mmio *m = arg;

	stop_queues(m);
	if (m->started)
		m->dev->ops->reset(m->dev);
	m->started = false;
}

/* ---- Status ---- */

static void reset(struct sm_mmio *m)
{
	if (m->started)
		m->call(m->arg, reset_device, m);
	m->device_features_sel = m->driver_features_sel = 0;
	m->driver_features = 0;
	m->excess_features = false;
	m->queue_sel = m->shm_sel = 0;
	memset(m->queue, 0, sizeof(m->queue));
	m->needs_reset = false;
	m->acked = m->told = m->changed;
	m->status = 0;
}

static bool has(const struct sm_mmio *m, uint32_t bits)
{
	return (m->status & bits) == bits;
}

static void enter(struct sm_mmio *m, uint32_t bit)
{
	m->status |= bit;
}

static void enter_failed(struct sm_mmio *m, uint32_t bit)
{
	enter(m, bit);
	if (m->started)
		m->call(m->arg, stop_queues, m);
}

static void enter_features_ok(struct sm_mmio *m, uint32_t bit)
{
	if (!has(m, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER) ||
	    (m->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)) ||
	    m->excess_features || (m->driver_features & ~sm_vdev_features(m->dev)) ||
	    !(m->driver_features >> VIRTIO_F_VERSION_1 & 1))
		return;
	m->call(m->arg, negotiate, m);
	enter(m, bit);
}

/* The bit comes first: with it off, the interrupt of a buffer that was used at once would be taken
 * for nobody's. */
static void enter_driver_ok(struct sm_mmio *m, uint32_t bit)
{
	enter(m, bit);
	if (!has(m, VIRTIO_CONFIG_S_FEATURES_OK) || has(m, VIRTIO_CONFIG_S_FAILED)) {
		fault(m, "the driver is ready out of turn");
		return;
	}
	if (m->needs_reset)
		return;
	m->call(m->arg, start_queues, m);
	if (m->start_err < 0)
		fault(m, "a queue cannot be started");
}

/* In the order in which a write of several bits enters them. */
static const struct {
	uint32_t bit;
	void (*enter)(struct sm_mmio *m, uint32_t bit);
} steps[] = {
	{ VIRTIO_CONFIG_S_ACKNOWLEDGE, enter },
	{ VIRTIO_CONFIG_S_DRIVER, enter },
	{ VIRTIO_CONFIG_S_FAILED, enter_failed },
	{ VIRTIO_CONFIG_S_FEATURES_OK, enter_features_ok },
	{ VIRTIO_CONFIG_S_DRIVER_OK, enter_driver_ok },
};

static void write_status(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	if (!v) {
		reset(m);
		return;
	}
	for (size_t i = 0; i < SM_ARRAY_SIZE(steps); i++) {
		if ((v & steps[i].bit) && !has(m, steps[i].bit))
			steps[i].enter(m, steps[i].bit);
	}
}

static uint32_t read_status(struct sm_mmio *m, uint32_t off)
{
	return m->status | (m->needs_reset ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

/* ---- what the device is ---- */

static uint32_t read_magic(struct sm_mmio *m, uint32_t off)
{
	return MAGIC;
}

static uint32_t read_version(struct sm_mmio *m, uint32_t off)
{
	return 2;
}

static uint32_t read_device_id(struct sm_mmio *m, uint32_t off)
{
	return m->dev->ops->id;
}

static uint32_t read_vendor(struct sm_mmio *m, uint32_t off)
{
	return VENDOR;
}

/* ---- features ---- */

static uint32_t read_device_features(struct sm_mmio *m, uint32_t off)
{
	uint32_t sel = m->device_features_sel;

	return sel > 1 ? 0 : (uint32_t)(sm_vdev_features(m->dev) >> (32 * sel));
}

static void write_device_features_sel(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	m->device_features_sel = v;
}

static void write_driver_features(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	uint32_t sel = m->driver_features_sel;

	if (has(m, VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	if (sel > 1) {
		m->excess_features |= v != 0;
		return;
	}
	m->driver_features &= ~((uint64_t)UINT32_MAX << (32 * sel));
	m->driver_features |= (uint64_t)v << (32 * sel);
}

static void write_driver_features_sel(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	m->driver_features_sel = v;
}

/* ---- queues ---- */

static struct queue *selected(struct sm_mmio *m)
{
	return m->queue_sel < m->dev->ops->nqueues ? &m->queue[m->queue_sel] : NULL;
}

/* The selected queue if its registers may be written. */
static struct queue *unfrozen(struct sm_mmio *m)
{
	struct queue *q = selected(m);

	return q && !q->ready && !has(m, VIRTIO_CONFIG_S_DRIVER_OK) ? q : NULL;
}

static uint32_t queue_max(const struct sm_mmio *m)
{
	return m->dev->ops->queue_max ? m->dev->ops->queue_max : SM_VDEV_QUEUE_MAX;
}

static void write_queue_sel(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	m->queue_sel = v;
}

static uint32_t read_queue_num_max(struct sm_mmio *m, uint32_t off)
{
	return selected(m) ? queue_max(m) : 0;
}

static void write_queue_num(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	struct queue *q = unfrozen(m);

	if (q)
		q->num = v;
}

/* Low and high halves, 0x10 from one address to the next. */
static void write_queue_addr(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	struct queue *q = unfrozen(m);
	unsigned int shift = off & 4 ? 32 : 0;
	gpa_t *addr;

	if (!q)
		return;
	addr = &q->addr[(off - VIRTIO_MMIO_QUEUE_DESC_LOW) / 0x10];
	*addr &= ~((uint64_t)UINT32_MAX << shift);
	*addr |= (uint64_t)v << shift;
}

static uint32_t read_queue_ready(struct sm_mmio *m, uint32_t off)
{
	struct queue *q = selected(m);

	return q && q->ready;
}

/* Tried with a queue that nobody else sees: the device may be looking at its own. */
static bool can_start(const struct sm_mmio *m, uint32_t i)
{
	struct sm_vq vq = { .kick_fd = -1, .call_fd = -1 };

	if (m->queue[i].num > queue_max(m))
		return false;
	place(m, i, &vq);
	return sm_vq_start(&vq, 0) == 0;
}

static void make_ready(struct sm_mmio *m)
{
	struct queue *q = unfrozen(m);

	if (!q)
		return;
	if (can_start(m, m->queue_sel))
		q->ready = true;
	else
		fault(m, "a queue is not in guest memory, misaligned or of a size not offered");
}

static void make_unready(struct sm_mmio *m)
{
	struct queue *q = selected(m);

	if (!q)
		return;
	if (q->running)
		m->call(m->arg, stop_selected, m);
	q->ready = false;
}

static void write_queue_ready(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	if (v == 1)
		make_ready(m);
	else if (v == 0)
		make_unready(m);
}

static void write_queue_notify(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	int fd = sm_mmio_kick_fd(m, v);

	if (fd >= 0)
		eventfd_write(fd, 1); /* full: it is signalled anyway */
}

/* ---- interrupts, shared memory, configuration ---- */

static uint32_t read_interrupt_status(struct sm_mmio *m, uint32_t off)
{
	uint32_t changed = m->changed;

	m->told = changed;
	return (has(m, VIRTIO_CONFIG_S_DRIVER_OK) ? VIRTIO_MMIO_INT_VRING : 0) |
	       (changed != m->acked ? VIRTIO_MMIO_INT_CONFIG : 0);
}

static void write_interrupt_ack(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	if (v & VIRTIO_MMIO_INT_CONFIG)
		m->acked = m->told;
}

static void write_shm_sel(struct sm_mmio *m, uint32_t off, uint32_t v)
{
	m->shm_sel = v;
}

/* Low and high half of the length, then of the base. Of a region that is not there all bits are
 * set. */
static uint32_t read_shm(struct sm_mmio *m, uint32_t off)
{
	uint64_t v = UINT64_MAX;

	for (size_t i = 0; i < m->nshm; i++) {
		if (m->shm[i].id == m->shm_sel)
			v = off >= VIRTIO_MMIO_SHM_BASE_LOW ? m->shm[i].base : m->shm[i].len;
	}
	return (uint32_t)(off & 4 ? v >> 32 : v);
}

static uint32_t read_generation(struct sm_mmio *m, uint32_t off)
{
	return m->generation;
}

/* The one place where other widths are allowed: fields have them. */
static void read_config(struct sm_mmio *m, uint64_t off, void *data, size_t len)
{
	size_t size = m->dev->ops->config_size;

	memset(data, 0, len);
	if ((len != 1 && len != 2 && len != 4 && len != 8) || off >= size)
		return;
	m->dev->ops->config_read(m->dev, off, data, len < size - off ? len : size - off);
}

struct config_write {
	struct sm_mmio *m;
	uint64_t off;
	const void *data;
	size_t len;
};

static void write_config_in_loop(void *arg)
{
	struct config_write *w = arg;

	w->m->dev->ops->config_write(w->m->dev, w->off, w->data, w->len);
}

static void write_config(struct sm_mmio *m, uint64_t off, const void *data, size_t len)
{
	const struct sm_vdev_ops *ops = m->dev->ops;
	struct config_write w = { m, off, data, len };

	if (!ops->config_write || (len != 1 && len != 2 && len != 4 && len != 8) ||
	    off >= ops->config_size || len > ops->config_size - off)
		return;
	pthread_mutex_lock(&m->lock);
	if (has(m, VIRTIO_CONFIG_S_DRIVER))
		m->call(m->arg, write_config_in_loop, &w);
	pthread_mutex_unlock(&m->lock);
}

/* ---- dispatch ---- */

struct reg {
	uint32_t (*read)(struct sm_mmio *m, uint32_t off);
	void (*write)(struct sm_mmio *m, uint32_t off, uint32_t v);
	bool lockless;
};

#define REG(name) [VIRTIO_MMIO_##name / 4]

static const struct reg regs[VIRTIO_MMIO_CONFIG / 4] = {
	REG(MAGIC_VALUE) = { read_magic },
	REG(VERSION) = { read_version },
	REG(DEVICE_ID) = { read_device_id },
	REG(VENDOR_ID) = { read_vendor },
	REG(DEVICE_FEATURES) = { read_device_features },
	REG(DEVICE_FEATURES_SEL) = { .write = write_device_features_sel },
	REG(DRIVER_FEATURES) = { .write = write_driver_features },
	REG(DRIVER_FEATURES_SEL) = { .write = write_driver_features_sel },
	REG(QUEUE_SEL) = { .write = write_queue_sel },
	REG(QUEUE_NUM_MAX) = { read_queue_num_max },
	REG(QUEUE_NUM) = { .write = write_queue_num },
	REG(QUEUE_READY) = { read_queue_ready, write_queue_ready },
	REG(QUEUE_NOTIFY) = { .write = write_queue_notify, .lockless = true },
	REG(INTERRUPT_STATUS) = { read_interrupt_status, .lockless = true },
	REG(INTERRUPT_ACK) = { .write = write_interrupt_ack, .lockless = true },
	REG(STATUS) = { read_status, write_status },
	REG(QUEUE_DESC_LOW) = { .write = write_queue_addr },
	REG(QUEUE_DESC_HIGH) = { .write = write_queue_addr },
	REG(QUEUE_AVAIL_LOW) = { .write = write_queue_addr },
	REG(QUEUE_AVAIL_HIGH) = { .write = write_queue_addr },
	REG(QUEUE_USED_LOW) = { .write = write_queue_addr },
	REG(QUEUE_USED_HIGH) = { .write = write_queue_addr },
	REG(SHM_SEL) = { .write = write_shm_sel },
	REG(SHM_LEN_LOW) = { read_shm },
	REG(SHM_LEN_HIGH) = { read_shm },
	REG(SHM_BASE_LOW) = { read_shm },
	REG(SHM_BASE_HIGH) = { read_shm },
	REG(CONFIG_GENERATION) = { read_generation, .lockless = true },
};

static void access_reg(struct sm_mmio *m, uint32_t off, uint32_t *v, bool write)
{
	const struct reg *r = &regs[off / 4];

	if (!r->lockless)
		pthread_mutex_lock(&m->lock);
	if (write && r->write)
		r->write(m, off, *v);
	if (!write)
		*v = r->read ? r->read(m, off) : 0;
	if (!r->lockless)
		pthread_mutex_unlock(&m->lock);
}

void sm_mmio_access(struct sm_mmio *m, uint64_t off, void *data, size_t len, bool write)
{
	uint32_t v = 0;

	if (off >= VIRTIO_MMIO_CONFIG) {
		if (write)
			write_config(m, off - VIRTIO_MMIO_CONFIG, data, len);
		else
			read_config(m, off - VIRTIO_MMIO_CONFIG, data, len);
	} else if (len != sizeof(v) || off % sizeof(v)) {
		if (!write)
			memset(data, 0, len);
	} else {
		if (write)
			memcpy(&v, data, sizeof(v));
		v = le32toh(v);
		access_reg(m, (uint32_t)off, &v, write);
		v = htole32(v);
		if (!write)
			memcpy(data, &v, sizeof(v));
	}
}

/* ---- making and freeing ---- */

int sm_mmio_kick_fd(const struct sm_mmio *m, uint32_t queue)
{
	return queue < m->dev->ops->nqueues ? m->dev->vq[queue].kick_fd : -1;
}

static int make_kicks(struct sm_vdev *dev, const struct sm_mmio_config *c)
{
	for (uint32_t i = 0; i < SM_VDEV_QUEUES_MAX; i++) {
		dev->vq[i].kick_fd = -1;
		dev->vq[i].call_fd = c->irq_fd;
		dev->vq[i].call = c->interrupt;
		dev->vq[i].call_arg = c->interrupt_arg;
	}
	for (uint32_t i = 0; i < dev->ops->nqueues; i++) {
		dev->vq[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (dev->vq[i].kick_fd < 0)
			return -errno;
	}
	return 0;
}

int sm_mmio_new(const struct sm_mmio_config *c, struct sm_mmio **out)
{
	struct sm_mmio *m;
	int r;

	if (c->dev->ops->nqueues > SM_VDEV_QUEUES_MAX || c->nshm > SM_MMIO_SHM_MAX)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->dev = c->dev;
	m->mem = c->mem;
	m->interrupt = c->interrupt;
	m->interrupt_arg = c->interrupt_arg;
	m->irq_fd = c->irq_fd;
	m->call = c->call;
	m->arg = c->arg;
	m->nshm = c->nshm;
	for (size_t i = 0; i < c->nshm; i++)
		m->shm[i] = c->shm[i];
	pthread_mutex_init(&m->lock, NULL);
	r = make_kicks(m->dev, c);
	if (r < 0) {
		sm_mmio_free(m);
		return r;
	}
	m->dev->broken = on_broken;
	m->dev->broken_arg = m;
	m->dev->config_changed = on_config_changed;
	m->dev->config_changed_arg = m;
	*out = m;
	return 0;
}

void sm_mmio_free(struct sm_mmio *m)
{
	if (!m)
		return;
	reset_device(m);
	m->dev->broken = NULL;
	m->dev->config_changed = NULL;
	for (uint32_t i = 0; i < SM_VDEV_QUEUES_MAX; i++) {
		sm_close(&m->dev->vq[i].kick_fd);
		m->dev->vq[i].call_fd = -1;
		m->dev->vq[i].call = NULL;
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}
