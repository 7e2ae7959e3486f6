/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one epoll, in which every source is a struct sm_io.
 *
 *	caller's fds ──┐
 *	timerfd ───────┤ epoll ──► batch of events ──► callbacks ──► bury the removed
 *	eventfd ───────┤
 *	signalfd ──────┘
 *
 * Removing a source marks it dead and unlinks it; events that point to it may still stand in the
 * batch, so its memory is freed only after the batch. Timers live in a binary heap ordered by
 * deadline, in front of one timerfd that is set before each wait if the earliest deadline changed.
 * Posted calls go into one of two arrays under the lock and are run from the other, so that a
 * steady state allocates nothing.
 */
#include "config.h"

#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define BATCH 64
#define NEVER UINT64_MAX

struct sm_io {
	struct sm_io *next, **link; /* in loop->live, or next alone in loop->dead */
	int fd;
	bool dead;
	sm_io_fn *fn;
	void *arg;
};

struct sm_timer {
	uint64_t deadline;             /* CLOCK_MONOTONIC; NEVER: not armed */
	size_t pos;                    /* in loop->heap while armed */
	struct sm_timer *next, **link; /* in loop->timers */
	sm_timer_fn *fn;
	void *arg;
};

struct post {
	sm_post_fn *fn;
	void *arg;
};

struct posts {
	struct post *v;
	size_t n, cap;
};

struct sm_loop {
	int epfd, timerfd, eventfd, signalfd;
	bool stop, in_batch;
	struct sm_io *live, *dead;
	struct sm_io *internal[3]; /* of timerfd, eventfd, signalfd; in `live` too */

	struct sm_timer *timers;
	struct sm_timer **heap; /* armed timers; room for all of them */
	size_t armed, ntimers, heap_cap;
	uint64_t timerfd_at; /* what the timerfd is set to */

	sm_signal_fn *signal_fn;
	void *signal_arg;

	pthread_mutex_t lock; /* guards `incoming` */
	struct posts incoming;
	struct posts running; /* the loop thread's */
};

/* ---- sources ---- */

/* #syscalls:loop,tls epoll_ctl */
int sm_loop_add(struct sm_loop *loop, int fd, uint32_t events, sm_io_fn *fn, void *arg,
		struct sm_io **io)
{
	struct sm_io *s = calloc(1, sizeof(*s));
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (!s)
		return -ENOMEM;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(s);
		return -errno;
	}
	s->fd = fd;
	s->fn = fn;
	s->arg = arg;
	s->next = loop->live;
	s->link = &loop->live;
	if (s->next)
		s->next->link = &s->next;
	loop->live = s;
	*io = s;
	return 0;
}

int sm_loop_mod(struct sm_loop *loop, struct sm_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	return epoll_ctl(loop->epfd, EPOLL_CTL_MOD, io->fd, &ev) < 0 ? -errno : 0;
}

void sm_io_set(struct sm_io *io, sm_io_fn *fn, void *arg)
{
	io->fn = fn;
	io->arg = arg;
}

void sm_loop_remove(struct sm_loop *loop, struct sm_io *io)
{
	if (!io)
		return;
	epoll_ctl(loop->epfd, EPOLL_CTL_DEL, io->fd, NULL);
	sm_loop_forget(loop, io);
}

void sm_loop_forget(struct sm_loop *loop, struct sm_io *io)
{
	if (!io)
		return;
	*io->link = io->next;
	if (io->next)
		io->next->link = io->link;
	if (!loop->in_batch) {
		free(io);
		return;
	}
	io->dead = true;
	io->next = loop->dead;
	loop->dead = io;
}

static void bury(struct sm_loop *loop)
{
	while (loop->dead) {
		struct sm_io *s = loop->dead;

		loop->dead = s->next;
		free(s);
	}
}

/* ---- timers ---- */

static void heap_place(struct sm_loop *loop, size_t pos, struct sm_timer *t)
{
	loop->heap[pos] = t;
	t->pos = pos;
}

static void heap_up(struct sm_loop *loop, size_t pos, struct sm_timer *t)
{
	while (pos && loop->heap[(pos - 1) / 2]->deadline > t->deadline) {
		heap_place(loop, pos, loop->heap[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	heap_place(loop, pos, t);
}

static void heap_down(struct sm_loop *loop, size_t pos, struct sm_timer *t)
{
	for (;;) {
		size_t child = 2 * pos + 1;

		if (child + 1 < loop->armed &&
		    loop->heap[child + 1]->deadline < loop->heap[child]->deadline)
			child++;
		if (child >= loop->armed || loop->heap[child]->deadline >= t->deadline)
			break;
		heap_place(loop, pos, loop->heap[child]);
		pos = child;
	}
	heap_place(loop, pos, t);
}

static void disarm(struct sm_loop *loop, struct sm_timer *t)
{
	struct sm_timer *last;

	if (t->deadline == NEVER)
		return;
	t->deadline = NEVER;
	last = loop->heap[--loop->armed];
	if (last == t)
		return;
	/* The last one takes the free place and finds its own from there. */
	heap_up(loop, t->pos, last);
	heap_down(loop, last->pos, last);
}

int sm_timer_set(struct sm_loop *loop, struct sm_timer *timer, uint64_t ns)
{
	uint64_t now = sm_now_ns();

	disarm(loop, timer);
	if (ns >= NEVER - now)
		return 0;
	timer->deadline = now + ns;
	heap_up(loop, loop->armed++, timer);
	return 0;
}

int sm_timer_add(struct sm_loop *loop, uint64_t ns, sm_timer_fn *fn, void *arg,
		 struct sm_timer **timer)
{
	struct sm_timer *t;

	if (loop->ntimers == loop->heap_cap) {
		size_t cap = loop->heap_cap ? 2 * loop->heap_cap : 16;
		struct sm_timer **heap = reallocarray(loop->heap, cap, sizeof(struct sm_timer *));

		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_cap = cap;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->deadline = NEVER;
	t->fn = fn;
	t->arg = arg;
	t->next = loop->timers;
	t->link = &loop->timers;
	if (t->next)
		t->next->link = &t->next;
	loop->timers = t;
	loop->ntimers++;
	*timer = t;
	return sm_timer_set(loop, t, ns);
}

void sm_timer_remove(struct sm_loop *loop, struct sm_timer *timer)
{
	if (!timer)
		return;
	disarm(loop, timer);
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	loop->ntimers--;
	free(timer);
}

/* Sets the timerfd to the earliest deadline. #syscalls:loop,tls timerfd_settime */
static int set_timerfd(struct sm_loop *loop)
{
	uint64_t at = loop->armed ? loop->heap[0]->deadline : NEVER;
	struct itimerspec its = { 0 };

	if (at == loop->timerfd_at)
		return 0;
	if (at != NEVER) {
		its.it_value.tv_sec = (time_t)(at / 1000000000u);
		its.it_value.tv_nsec = (long)(at % 1000000000u);
	}
	if (timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &its, NULL) < 0)
		return -errno;
	loop->timerfd_at = at;
	return 0;
}

/* #syscalls:loop,tls read */
static void on_timerfd(void *arg, uint32_t events)
{
	struct sm_loop *loop = arg;
	uint64_t now = sm_now_ns();
	size_t budget =
		loop->armed; /* a timer that re-arms itself with 0 waits for the next turn */
	uint64_t count;

	if (read(loop->timerfd, &count, sizeof(count)) < 0 && errno == EAGAIN)
		return; /* it was set anew after this event */
	loop->timerfd_at = NEVER;
	while (budget-- && loop->armed && loop->heap[0]->deadline <= now) {
		struct sm_timer *t = loop->heap[0];

		disarm(loop, t);
		t->fn(t->arg);
	}
}

/* ---- posted calls ---- */

/* #syscalls:all write */
int sm_loop_post(struct sm_loop *loop, sm_post_fn *fn, void *arg)
{
	struct posts *in = &loop->incoming;

	pthread_mutex_lock(&loop->lock);
	if (in->n == in->cap) {
		size_t cap = in->cap ? 2 * in->cap : 16;
		struct post *v = reallocarray(in->v, cap, sizeof(*v));

		if (!v) {
			pthread_mutex_unlock(&loop->lock);
			return -ENOMEM;
		}
		in->v = v;
		in->cap = cap;
	}
	in->v[in->n++] = (struct post){ fn, arg };
	/* Under the lock, so that the loop's thread may free the loop as soon as it has run the
	 * call. This fails only on a full counter, that is, when the eventfd is readable anyway. */
	if (in->n == 1)
		eventfd_write(loop->eventfd, 1);
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

static void on_eventfd(void *arg, uint32_t events)
{
	struct sm_loop *loop = arg;
	struct posts batch;
	eventfd_t count;

	if (eventfd_read(loop->eventfd, &count) < 0)
		return;
	pthread_mutex_lock(&loop->lock);
	batch = loop->incoming;
	loop->incoming = loop->running;
	loop->incoming.n = 0;
	pthread_mutex_unlock(&loop->lock);
	loop->running = batch;
	for (size_t i = 0; i < batch.n; i++)
		batch.v[i].fn(batch.v[i].arg);
}

/* ---- signals ---- */

static void on_signalfd(void *arg, uint32_t events)
{
	struct sm_loop *loop = arg;
	struct signalfd_siginfo si;

	while (read(loop->signalfd, &si, sizeof(si)) == sizeof(si))
		loop->signal_fn(loop->signal_arg, (int)si.ssi_signo);
}

int sm_loop_signals(struct sm_loop *loop, const sigset_t *set, sm_signal_fn *fn, void *arg)
{
	int r;

	if (loop->signalfd >= 0)
		return -EALREADY;
	loop->signalfd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signalfd < 0)
		return -errno;
	r = sm_loop_add(loop, loop->signalfd, EPOLLIN, on_signalfd, loop, &loop->internal[2]);
	if (!r)
		r = -pthread_sigmask(SIG_BLOCK, set, NULL);
	if (r < 0) {
		sm_loop_remove(loop, loop->internal[2]);
		loop->internal[2] = NULL;
		sm_close(&loop->signalfd);
		return r;
	}
	loop->signal_fn = fn;
	loop->signal_arg = arg;
	return 0;
}

/* ---- the loop ---- */

struct sm_loop *sm_loop_new(void)
{
	struct sm_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	pthread_mutex_init(&loop->lock, NULL);
	loop->timerfd_at = NEVER;
	loop->signalfd = -1;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	loop->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	loop->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epfd < 0 || loop->timerfd < 0 || loop->eventfd < 0 ||
	    sm_loop_add(loop, loop->timerfd, EPOLLIN, on_timerfd, loop, &loop->internal[0]) < 0 ||
	    sm_loop_add(loop, loop->eventfd, EPOLLIN, on_eventfd, loop, &loop->internal[1]) < 0) {
		sm_loop_free(loop);
		return NULL;
	}
	return loop;
}

void sm_loop_free(struct sm_loop *loop)
{
	if (!loop)
		return;
	/* Wait for a sm_loop_post() that has put its call in, but not let go of the lock yet. */
	pthread_mutex_lock(&loop->lock);
	pthread_mutex_unlock(&loop->lock);
	while (loop->live)
		sm_loop_remove(loop, loop->live);
	bury(loop);
	while (loop->timers)
		sm_timer_remove(loop, loop->timers);
	sm_close(&loop->signalfd);
	sm_close(&loop->eventfd);
	sm_close(&loop->timerfd);
	sm_close(&loop->epfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->incoming.v);
	free(loop->running.v);
	free(loop->heap);
	free(loop);
}

static void run_batch(struct sm_loop *loop, const struct epoll_event *events, int n)
{
	loop->in_batch = true;
	for (int i = 0; i < n; i++) {
		struct sm_io *s = events[i].data.ptr;

		if (!s->dead)
			s->fn(s->arg, events[i].events);
	}
	loop->in_batch = false;
	bury(loop);
}

/* #syscalls:loop,tls epoll_wait */
int sm_loop_run(struct sm_loop *loop)
{
	struct epoll_event events[BATCH];
	int r;

	while (!loop->stop) {
		r = set_timerfd(loop);
		if (r < 0)
			return r;
		r = epoll_wait(loop->epfd, events, BATCH, -1);
		if (r < 0 && errno != EINTR)
			return -errno;
		run_batch(loop, events, r < 0 ? 0 : r);
	}
	loop->stop = false;
	return 0;
}

void sm_loop_stop(struct sm_loop *loop)
{
	loop->stop = true;
}
