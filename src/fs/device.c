/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-fs device (virtio 1.2, 5.11): queue 0 for what must not wait (FORGET), queue 1 for
 * requests. Linux before 6.11 uses one request queue however many there are, so there is one.
 *
 * Each queue has threads of its own, which are made once, before there is a filter that would forbid
 * it, and between start and stop of the queue take turns as the leader:
 *
 *	   ┌──────────────────────────── leader ────────────────────────────┐
 *	   │ pop ─► serve ─► push ─► (ring empty: notify, sleep until kick) ─┘
 *	   │          │
 *	   │          └─ a request that may take long hands the lead over: one of the followers goes on
 *	   │             popping, and this thread follows when it is done
 *	 followers: wait for the lead
 *
 * So a guest that does one thing at a time is served by one warm thread without any hand-over, and
 * an fsync() or a read from a slow disk holds nobody up.
 *
 * Before it sleeps the leader looks at the ring for as long as the guest took lately, if that was
 * short: a guest that waits for each reply mostly has its next request there within POLL_NS, and
 * saves the kick and us the wake-up.
 *
 * A stop waits until no thread is `busy` with the ring: the sleeper is woken by stop_fd, the others end
 * their request.
 *
 *	queue->lock guards the ring (pop, push, notify) and the fields from `vq` on
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "fs/server.h"

#define VIRTIO_ID_FS 26
#define HIPRIO 0
#define NQUEUES 2
#define WORKERS_DEFAULT 4
#define WORKERS_MAX (FS_DIRBUFS - 1)
#define STACK_SIZE (256 * 1024)
#define GUARD_SIZE 4096
#define INODES_MAX (1u << 20)
/* Notify at the latest after so many replies: the guest can go on while we work on the rest. */
#define BATCH 8
/* Measured under TCG on two busy cores, medians of interleaved runs: dependent 4 KiB reads and writes
 * gain 10-15 %; 20 µs costs more than it saves, 250 µs gains no more. */
#define POLL_NS 100000

struct thread {
	struct fs_worker worker; /* first */
	struct fs_queue *queue;
	pthread_t id;
	void *stack;
	bool leads;
};

struct fs_queue {
	struct sm_fs *fs;
	int epoll_fd, stop_fd;
	unsigned int nthreads;	/* does not change once they run */
	struct thread *thread[WORKERS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t lead_free; /* … or started, or to quit */
	pthread_cond_t idle;	/* nobody is busy; one more is ready */
	struct sm_vq *vq;	/* NULL: stopped */
	bool led, stopping, quit, failed;
	bool brisk;		/* the guest's last pause was shorter than POLL_NS */
	unsigned int ready, busy, pushed;
	int error;		/* of a thread that could not set itself up */
};

struct config { /* virtio 1.2, 5.11.4 */
	char tag[36];
	uint8_t num_request_queues[4]; /* le32 */
};

/* ---- threads ---- */

static void fail(struct fs_queue *q)
{
	if (!q->failed && !q->stopping)
		sm_vdev_broken(&q->fs->vdev);
	q->failed = true;
}

/* Tells the guest of the replies so far. */
static void flush(struct fs_queue *q)
{
	if (q->pushed > 0)
		sm_vq_notify(q->vq);
	q->pushed = 0;
}

/* Called by the leader in the midst of a request. */
static void hand_over(struct fs_worker *w)
{
	struct thread *t = (struct thread *)w;
	struct fs_queue *q = t->queue;

	if (!t->leads || q->nthreads == 1)
		return;
	pthread_mutex_lock(&q->lock);
	t->leads = false;
	q->led = false;
	q->brisk = false; /* the guest is likely to wait for this one */
	flush(q);
	pthread_cond_signal(&q->lead_free);
	pthread_mutex_unlock(&q->lock);
}

/* Sleeps until the guest kicks. The lock is dropped meanwhile. #syscalls:fs epoll_wait */
static void wait_kick(struct fs_queue *q)
{
	struct epoll_event ev[2];
	uint64_t start;

	if (!q->failed && sm_vq_enable_kicks(q->vq))
		return;
	start = sm_now_ns();
	pthread_mutex_unlock(&q->lock);
	while (epoll_wait(q->epoll_fd, ev, 2, -1) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&q->lock);
	q->brisk = sm_now_ns() - start < POLL_NS;
	if (!q->failed)
		sm_vq_disable_kicks(q->vq);
}

static int pop(struct thread *t, struct sm_chain *chain)
{
	struct fs_queue *q = t->queue;
	int ret = q->failed ? 0 : sm_vq_pop(q->vq, chain, t->worker.iov, SM_CHAIN_IOV_MAX);

	if (ret < 0)
		fail(q);
	return ret;
}

/* As pop(), for a while. #syscalls:fs sched_yield */
static int poll_ring(struct thread *t, struct sm_chain *chain)
{
	struct fs_queue *q = t->queue;
	uint64_t end = sm_now_ns() + POLL_NS;
	int ret = 0;

	while (ret == 0 && !q->stopping && !q->failed && sm_now_ns() < end) {
		pthread_mutex_unlock(&q->lock);
		sched_yield();
		pthread_mutex_lock(&q->lock);
		ret = pop(t, chain);
	}
	return ret;
}

/* Serves one chain if there is one, or waits. Called and left with the lock held. */
static void lead(struct thread *t)
{
	struct fs_queue *q = t->queue;
	struct sm_chain chain;
	uint32_t written;
	int ret = pop(t, &chain);

	if (ret == 0) {
		flush(q);
		if (q->brisk)
			ret = poll_ring(t, &chain);
	}
	if (ret <= 0) {
		wait_kick(q);
		return;
	}
	pthread_mutex_unlock(&q->lock);
	written = fs_fuse_serve(&t->worker, &chain);
	pthread_mutex_lock(&q->lock);
	sm_vq_push(q->vq, chain.head, written);
	if (++q->pushed >= BATCH || !t->leads)
		flush(q);
}

/* One turn of a thread. Called and left with the lock held. */
static void take_turn(struct thread *t)
{
	struct fs_queue *q = t->queue;
	bool runs = q->vq && !q->stopping;

	if (runs && t->leads) {
		q->busy++;
		lead(t);
		if (--q->busy == 0 && q->stopping)
			pthread_cond_broadcast(&q->idle);
	} else if (runs && !q->led) {
		q->led = t->leads = true;
	} else {
		if (t->leads)
			q->led = t->leads = false;
		pthread_cond_wait(&q->lead_free, &q->lock);
	}
}

static int set_up(struct thread *t)
{
	struct sm_fs *fs = t->queue->fs;
	int ret = fs_worker_init(&t->worker, fs);

	return ret < 0 || !fs->thread_started ? ret : fs->thread_started(fs->thread_arg);
}

/* An end of a thread: #syscalls:fs rt_sigprocmask exit */
static void *run(void *arg)
{
	struct thread *t = arg;
	struct fs_queue *q = t->queue;
	int ret = set_up(t);

	pthread_mutex_lock(&q->lock);
	q->ready++;
	if (ret < 0)
		q->error = ret;
	pthread_cond_broadcast(&q->idle);
	while (ret == 0 && !q->quit)
		take_turn(t);
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/* A stack of ours, for glibc would give the memory of its own back at the end of the thread by one
 * more system call. The lowest page stays out of reach. */
static int create(struct thread *t)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int ret;

	t->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (t->stack == MAP_FAILED)
		return -errno;
	mprotect(t->stack, GUARD_SIZE, PROT_NONE);
	sigfillset(&all);
	sigdelset(&all, SIGSYS); /* of a filter: blocked, it would end the process without a word */
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, (uint8_t *)t->stack + GUARD_SIZE, STACK_SIZE - GUARD_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&t->id, &attr, run, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (ret < 0)
		munmap(t->stack, STACK_SIZE);
	return ret;
}

static int spawn(struct fs_queue *q)
{
	struct thread *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return -ENOMEM;
	t->queue = q;
	t->worker.hand_over = hand_over;
	ret = create(t);
	if (ret < 0)
		free(t);
	else
		q->thread[q->nthreads++] = t;
	return ret;
}

/* Makes the threads unless they are there, and waits until each is set up. */
static int start_threads(struct fs_queue *q, unsigned int want)
{
	int ret = 0;

	while (ret == 0 && q->nthreads < want)
		ret = spawn(q);
	pthread_mutex_lock(&q->lock);
	while (q->ready < q->nthreads)
		pthread_cond_wait(&q->idle, &q->lock);
	if (ret == 0)
		ret = q->error;
	pthread_mutex_unlock(&q->lock);
	return ret;
}

/* ---- queues ---- */

static unsigned int threads_of(const struct sm_fs *fs, uint32_t index)
{
	return index == HIPRIO ? 1 : fs->workers;
}

static struct fs_queue *queue_new(struct sm_fs *fs)
{
	struct epoll_event stop = { .events = EPOLLIN };
	struct fs_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->fs = fs;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->lead_free, NULL);
	pthread_cond_init(&q->idle, NULL);
	q->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	q->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->stop_fd >= 0 && epoll_ctl(q->epoll_fd, EPOLL_CTL_ADD, q->stop_fd, &stop) == 0)
		return q;
	sm_close(&q->epoll_fd);
	sm_close(&q->stop_fd);
	free(q);
	return NULL;
}

/* Its ring is stopped. */
static void queue_free(struct fs_queue *q)
{
	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	q->quit = true;
	pthread_cond_broadcast(&q->lead_free);
	pthread_mutex_unlock(&q->lock);
	for (unsigned int i = 0; i < q->nthreads; i++) {
		pthread_join(q->thread[i]->id, NULL);
		munmap(q->thread[i]->stack, STACK_SIZE);
		free(q->thread[i]);
	}
	sm_close(&q->epoll_fd);
	sm_close(&q->stop_fd);
	pthread_cond_destroy(&q->idle);
	pthread_cond_destroy(&q->lead_free);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* #syscalls:loop epoll_ctl */
static int queue_start(struct sm_vdev *dev, uint32_t index)
{
	/* Edge-triggered: each kick is one event, and nobody needs to read the eventfd. */
	struct epoll_event kick = { .events = EPOLLIN | EPOLLET };
	struct sm_fs *fs = (struct sm_fs *)dev;
	struct fs_queue *q = fs->queue[index];
	struct sm_vq *vq = &dev->vq[index];
	int ret;

	if (vq->kick_fd < 0 || q->vq)
		return -EINVAL;
	ret = start_threads(q, threads_of(fs, index));
	if (ret < 0)
		return ret;
	sm_vq_disable_kicks(vq);
	if (epoll_ctl(q->epoll_fd, EPOLL_CTL_ADD, vq->kick_fd, &kick) < 0)
		return -errno;
	pthread_mutex_lock(&q->lock);
	q->vq = vq;
	q->failed = q->brisk = false;
	q->pushed = 0;
	pthread_cond_broadcast(&q->lead_free);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

/* #syscalls:loop epoll_ctl read write */
static void queue_stop(struct sm_vdev *dev, uint32_t index)
{
	struct fs_queue *q = ((struct sm_fs *)dev)->queue[index];
	eventfd_t count;

	if (!q || !q->vq)
		return;
	pthread_mutex_lock(&q->lock);
	q->stopping = true;
	eventfd_write(q->stop_fd, 1);
	while (q->busy > 0)
		pthread_cond_wait(&q->idle, &q->lock);
	flush(q);
	epoll_ctl(q->epoll_fd, EPOLL_CTL_DEL, q->vq->kick_fd, NULL);
	eventfd_read(q->stop_fd, &count);
	q->vq = NULL;
	q->stopping = false;
	pthread_mutex_unlock(&q->lock);
}

/* ---- device ---- */

static void config_read(struct sm_vdev *dev, size_t off, void *data, size_t len)
{
	struct config config = { .tag = SM_FS_TAG, .num_request_queues = { NQUEUES - 1 } };

	memcpy(data, (const uint8_t *)&config + off, len);
}

static void negotiated(struct sm_vdev *dev, uint64_t features)
{
}

static void reset(struct sm_vdev *dev)
{
	fs_fuse_forget_all((struct sm_fs *)dev);
}

static const struct sm_vdev_ops ops = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.threaded = true,
	.nqueues = NQUEUES,
	.queue_max = SM_VQ_SIZE_MAX,
	.config_size = sizeof(struct config),
	.config_read = config_read,
	.negotiated = negotiated,
	.start = queue_start,
	.stop = queue_stop,
	.reset = reset,
};

struct sm_vdev *sm_fs_vdev(struct sm_fs *fs)
{
	return &fs->vdev;
}

/* Half of what the process may have: the rest is for connections of the container. */
static uint32_t default_fds(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 512;
	return lim.rlim_cur / 2 < FS_IDTAB_MAX ? (uint32_t)(lim.rlim_cur / 2) : FS_IDTAB_MAX;
}

static void set_options(struct sm_fs *fs, const struct sm_fs_options *o)
{
	fs->workers = o->workers ? o->workers : WORKERS_DEFAULT;
	if (fs->workers > WORKERS_MAX)
		fs->workers = WORKERS_MAX;
	fs->entry_timeout_ns = o->entry_timeout_ns;
	fs->attr_timeout_ns = o->attr_timeout_ns;
	fs->max_fds = o->max_fds ? o->max_fds : default_fds();
	fs->max_inodes = o->max_inodes && o->max_inodes < INODES_MAX ? o->max_inodes : INODES_MAX;
	fs->thread_started = o->thread_started;
	fs->thread_arg = o->thread_arg;
}

static int open_proc(struct sm_fs *fs)
{
	sm_close(&fs->proc_fd);
	fs->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fs->proc_fd < 0 ? -errno : 0;
}

int sm_fs_new(struct sm_loop *loop, const struct sm_fs_options *options, struct sm_fs **out)
{
	static const struct sm_fs_options defaults = SM_FS_OPTIONS_DEFAULT;
	struct sm_fs *fs = calloc(1, sizeof(*fs));
	int ret;

	if (!fs)
		return -ENOMEM;
	fs->vdev.ops = &ops;
	set_options(fs, options ? options : &defaults);
	fs->root = (struct fs_inode){ .nodeid = FUSE_ROOT_ID, .refs = 1, .fd = -1, .type = S_IFDIR };
	pthread_mutex_init(&fs->lock, NULL);
	pthread_mutex_init(&fs->dirbuf_lock, NULL);
	fs_idtab_init(&fs->handles, fs->max_fds);
	ret = fs_inodes_init(fs, fs->max_inodes);
	fs->proc_fd = -1;
	if (ret == 0)
		ret = open_proc(fs);
	for (uint32_t i = 0; ret == 0 && i < NQUEUES; i++) {
		fs->queue[i] = queue_new(fs);
		ret = fs->queue[i] ? 0 : -ENOMEM;
	}
	if (ret < 0)
		sm_fs_free(fs);
	else
		*out = fs;
	return ret;
}

int sm_fs_start_threads(struct sm_fs *fs)
{
	int ret = open_proc(fs);

	for (uint32_t i = 0; ret == 0 && i < NQUEUES; i++)
		ret = start_threads(fs->queue[i], threads_of(fs, i));
	return ret;
}

void sm_fs_free(struct sm_fs *fs)
{
	if (!fs)
		return;
	for (uint32_t i = 0; i < NQUEUES; i++) {
		queue_stop(&fs->vdev, i);
		queue_free(fs->queue[i]);
	}
	fs_fuse_forget_all(fs);
	while (fs->nexports > 0)
		sm_fs_remove_export(fs, fs->exports[0]->name);
	for (int i = 0; i < FS_DIRBUFS; i++)
		free(fs->dirbuf[i].data);
	fs_inodes_free(fs);
	fs_idtab_clear(&fs->handles);
	sm_close(&fs->proc_fd);
	pthread_mutex_destroy(&fs->dirbuf_lock);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}
