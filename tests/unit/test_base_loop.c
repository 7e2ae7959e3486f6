/* SPDX-License-Identifier: Apache-2.0 */
/* src/base/loop: sources, timers, signals, posted calls, and what callbacks may do to them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/loop.h"

#define NSOURCES 8
#define MS       1000000ull

struct fixture;

struct source {
	struct fixture *f;
	struct sm_io *io;
	struct sm_timer *timer;
	int fd;
	int fired;
	uint32_t events;
};

struct fixture {
	struct sm_loop *loop;
	struct source s[NSOURCES];
	int order[64]; /* in which sources fired */
	int norder;
	int stop_after;
	int signals[8];
	int nsignals;
	void *posted[4096];
	int nposted;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->loop = sm_loop_new();
	assert_non_null(f->loop);
	for (int i = 0; i < NSOURCES; i++) {
		f->s[i].f = f;
		f->s[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sm_loop_free(f->loop);
	for (int i = 0; i < NSOURCES; i++)
		sm_close(&f->s[i].fd);
	free(f);
	return 0;
}

static void note(struct source *s)
{
	struct fixture *f = s->f;

	s->fired++;
	f->order[f->norder++ % 64] = (int)(s - f->s);
	if (f->stop_after && f->norder >= f->stop_after)
		sm_loop_stop(f->loop);
}

static void stop(void *arg)
{
	sm_loop_stop(arg);
}

static void turn(struct fixture *f)
{
	assert_int_equal(sm_loop_post(f->loop, stop, f->loop), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
}

/* ---- sources ---- */

static void on_io(void *arg, uint32_t events)
{
	struct source *s = arg;
	eventfd_t count;

	s->events = events;
	if (events & EPOLLIN)
		assert_int_equal(eventfd_read(s->fd, &count), 0);
	note(s);
}

static void test_io(void **state)
{
	struct fixture *f = *state;
	struct source *s = &f->s[0];

	assert_int_equal(sm_loop_add(f->loop, s->fd, EPOLLIN, on_io, s, &s->io), 0);
	turn(f);
	assert_int_equal(s->fired, 0);
	eventfd_write(s->fd, 1);
	turn(f);
	assert_int_equal(s->fired, 1);
	assert_int_equal(s->events, EPOLLIN);
	assert_int_equal(sm_loop_mod(f->loop, s->io, EPOLLOUT), 0);
	turn(f);
	assert_true(s->fired > 1);
	assert_int_equal(s->events, EPOLLOUT);
	sm_loop_remove(f->loop, s->io);
	s->fired = 0;
	turn(f);
	assert_int_equal(s->fired, 0);
	/* the descriptor is still ours, and may be added again */
	assert_int_equal(sm_loop_add(f->loop, s->fd, EPOLLOUT, on_io, s, &s->io), 0);
	turn(f);
	assert_true(s->fired > 0);
}

static void test_io_errors(void **state)
{
	struct fixture *f = *state;
	int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	struct sm_io *io = NULL;

	assert_int_equal(sm_loop_add(f->loop, file, EPOLLIN, on_io, &f->s[0], &io), -EPERM);
	assert_int_equal(sm_loop_add(f->loop, -1, EPOLLIN, on_io, &f->s[0], &io), -EBADF);
	assert_null(io);
	sm_loop_remove(f->loop, NULL);
	sm_timer_remove(f->loop, NULL);
	sm_loop_free(NULL);
	close(file);
}

/* Whichever comes first removes all the others, whose events are in the same batch. */
static void remove_all_others(void *arg, uint32_t events)
{
	struct source *s = arg;
	struct fixture *f = s->f;

	for (int i = 0; i < NSOURCES; i++) {
		if (&f->s[i] == s)
			continue;
		sm_loop_remove(f->loop, f->s[i].io);
		f->s[i].io = NULL;
		sm_close(&f->s[i].fd);
	}
	note(s);
}

static void test_remove_others_in_batch(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < NSOURCES; i++) {
		struct source *s = &f->s[i];

		assert_int_equal(sm_loop_add(f->loop, s->fd, EPOLLIN, remove_all_others, s, &s->io),
				 0);
		eventfd_write(s->fd, 1);
	}
	f->stop_after = 1;
	assert_int_equal(sm_loop_run(f->loop), 0);
	assert_int_equal(f->norder, 1);
}

/* Removes itself and puts another source on the same descriptor, which must not see this event. */
static void replace_self(void *arg, uint32_t events)
{
	struct source *s = arg;
	struct fixture *f = s->f;
	eventfd_t count;

	assert_int_equal(eventfd_read(s->fd, &count), 0);
	sm_loop_remove(f->loop, s->io);
	assert_int_equal(sm_loop_add(f->loop, s->fd, EPOLLIN, on_io, &f->s[1], &s->io), 0);
	note(s);
}

static void test_replace_self(void **state)
{
	struct fixture *f = *state;
	struct source *s = &f->s[0];

	close(f->s[1].fd);
	f->s[1].fd = dup(s->fd);
	assert_int_equal(sm_loop_add(f->loop, s->fd, EPOLLIN, replace_self, s, &s->io), 0);
	eventfd_write(s->fd, 1);
	turn(f);
	turn(f);
	assert_int_equal(s->fired, 1);
	assert_int_equal(f->s[1].fired, 0);
	eventfd_write(s->fd, 1);
	turn(f);
	assert_int_equal(s->fired, 1);
	assert_int_equal(f->s[1].fired, 1);
}

static void test_free_with_sources(void **state)
{
	struct fixture *f = *state;
	sigset_t set;

	sigemptyset(&set);
	for (int i = 0; i < NSOURCES; i++) {
		struct source *s = &f->s[i];

		assert_int_equal(sm_loop_add(f->loop, s->fd, EPOLLIN, on_io, s, &s->io), 0);
		assert_int_equal(sm_timer_add(f->loop, (uint64_t)i * MS, stop, f->loop, &s->timer),
				 0);
	}
	assert_int_equal(sm_loop_post(f->loop, stop, f->loop), 0);
	/* the teardown frees the loop: no leak, says the sanitizer */
}

static void test_stop_before_run(void **state)
{
	struct fixture *f = *state;

	sm_loop_stop(f->loop);
	assert_int_equal(sm_loop_run(f->loop), 0);
	turn(f);
}

/* ---- timers ---- */

static void on_timer(void *arg)
{
	note(arg);
}

static void test_timers_in_order(void **state)
{
	static const int delays[NSOURCES] = { 7, 1, 5, 3, 8, 2, 6, 4 };
	struct fixture *f = *state;
	uint64_t begin = sm_now_ns();

	for (int i = 0; i < NSOURCES; i++)
		assert_int_equal(sm_timer_add(f->loop, (uint64_t)delays[i] * MS, on_timer, &f->s[i],
					      &f->s[i].timer),
				 0);
	f->stop_after = NSOURCES;
	assert_int_equal(sm_loop_run(f->loop), 0);
	assert_true(sm_now_ns() - begin >= 8 * MS);
	for (int i = 0; i < NSOURCES; i++) {
		assert_int_equal(delays[f->order[i]], i + 1);
		assert_int_equal(f->s[i].fired, 1);
	}
}

/* Timers set, moved and removed at random leave a heap that still knows which are first. */
static void test_timers_at_random(void **state)
{
	struct fixture *f = *state;
	enum { N = 300 };
	static struct source many[N];
	unsigned int seed = 1;

	for (int i = 0; i < N; i++) {
		many[i] = (struct source){ .f = f };
		assert_int_equal(
			sm_timer_add(f->loop, UINT64_MAX, on_timer, &f->s[0], &many[i].timer), 0);
	}
	for (int k = 0; k < 5000; k++) {
		int i = rand_r(&seed) % N;

		if (rand_r(&seed) % 4 == 0) {
			sm_timer_remove(f->loop, many[i].timer);
			assert_int_equal(sm_timer_add(f->loop, 3600000 * MS, on_timer, &f->s[0],
						      &many[i].timer),
					 0);
		} else {
			sm_timer_set(f->loop, many[i].timer,
				     rand_r(&seed) % 3 ? UINT64_MAX : 3600000 * MS);
		}
	}
	/* Now a known order, of six that are due soon; each replaces a timer somewhere in the heap.
	 */
	for (int i = 0; i < N; i++) {
		bool soon = i % 50 == 0;

		sm_timer_remove(f->loop, many[i].timer);
		assert_int_equal(
			sm_timer_add(f->loop, soon ? (uint64_t)(N - i) * 10000 : 3600000 * MS,
				     on_timer, soon ? &f->s[i / 50] : &f->s[7], &many[i].timer),
			0);
	}
	f->stop_after = N / 50;
	assert_int_equal(sm_loop_run(f->loop), 0);
	assert_int_equal(f->norder, N / 50);
	assert_int_equal(f->s[7].fired, 0);
	for (int i = 0; i < N / 50; i++)
		assert_int_equal(f->order[i], N / 50 - 1 - i);
	for (int i = 0; i < N; i++)
		sm_timer_remove(f->loop, many[i].timer);
}

static void rearm(void *arg)
{
	struct source *s = arg;

	note(s);
	sm_timer_set(s->f->loop, s->timer, 0);
}

/* A timer that is always due does not keep the loop from its sources. */
static void test_timer_rearmed_with_zero(void **state)
{
	struct fixture *f = *state;
	struct source *s = &f->s[0];

	assert_int_equal(sm_timer_add(f->loop, 0, rearm, s, &s->timer), 0);
	f->stop_after = 50;
	assert_int_equal(sm_loop_run(f->loop), 0);
	f->stop_after = 0;
	turn(f);
	assert_true(s->fired >= 50);
}

static void remove_timers(void *arg)
{
	struct source *s = arg;
	struct fixture *f = s->f;

	note(s);
	for (int i = 0; i < NSOURCES; i++) {
		sm_timer_remove(f->loop, f->s[i].timer);
		f->s[i].timer = NULL;
	}
}

static void test_timer_removes_all(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < NSOURCES; i++)
		assert_int_equal(sm_timer_add(f->loop, 0, remove_timers, &f->s[i], &f->s[i].timer),
				 0);
	f->stop_after = 1;
	assert_int_equal(sm_loop_run(f->loop), 0);
	turn(f);
	assert_int_equal(f->norder, 1);
}

static void test_timer_fires_once(void **state)
{
	struct fixture *f = *state;
	struct source *s = &f->s[0], *never = &f->s[1], *guard = &f->s[2];

	assert_int_equal(sm_timer_add(f->loop, 1, on_timer, s, &s->timer), 0);
	assert_int_equal(sm_timer_add(f->loop, 2, on_timer, never, &never->timer), 0);
	assert_int_equal(sm_timer_set(f->loop, never->timer, UINT64_MAX), 0);
	f->stop_after = 2;
	assert_int_equal(sm_timer_add(f->loop, 3 * MS, on_timer, guard, &guard->timer), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
	assert_int_equal(s->fired, 1);
	assert_int_equal(never->fired, 0);
	/* and again when it is set again */
	f->stop_after = 3;
	assert_int_equal(sm_timer_set(f->loop, s->timer, 1), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
	assert_int_equal(s->fired, 2);
}

/* ---- signals ---- */

static void on_signal(void *arg, int signo)
{
	struct fixture *f = arg;

	f->signals[f->nsignals++] = signo;
}

static void test_signals(void **state)
{
	struct fixture *f = *state;
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &old), 0);
	assert_int_equal(sm_loop_signals(f->loop, &set, on_signal, f), 0);
	assert_int_equal(sm_loop_signals(f->loop, &set, on_signal, f), -EALREADY);
	raise(SIGUSR2);
	raise(SIGUSR1);
	turn(f);
	assert_int_equal(f->nsignals, 2);
	assert_int_equal(f->signals[0] + f->signals[1], SIGUSR1 + SIGUSR2);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
}

/* ---- posted calls ---- */

static struct fixture *posting; /* a posted call has one argument, and here that is the data */

static void on_post(void *arg)
{
	posting->posted[posting->nposted++ % 4096] = arg;
}

static void *post_many(void *arg)
{
	struct fixture *f = arg;

	for (uintptr_t i = 0; i < 1000; i++)
		assert_int_equal(sm_loop_post(f->loop, on_post, (void *)i), 0);
	return NULL;
}

static void test_post_from_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[4];
	int counts[1000] = { 0 };

	posting = f;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, f), 0);
	while (f->nposted < 4000)
		turn(f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	turn(f);
	assert_int_equal(f->nposted, 4000);
	for (int i = 0; i < 4000; i++)
		counts[(uintptr_t)f->posted[i]]++;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(counts[i], 4);
}

static void test_post_in_order(void **state)
{
	struct fixture *f = *state;

	posting = f;
	post_many(f);
	turn(f);
	assert_int_equal(f->nposted, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal((uintptr_t)f->posted[i], i);
}

static void post_again(void *arg)
{
	struct fixture *f = posting;
	uintptr_t left = (uintptr_t)arg;

	f->nposted++;
	if (left)
		assert_int_equal(sm_loop_post(f->loop, post_again, (void *)(left - 1)), 0);
	else
		sm_loop_stop(f->loop);
}

static void test_post_from_post(void **state)
{
	struct fixture *f = *state;

	posting = f;
	assert_int_equal(sm_loop_post(f->loop, post_again, (void *)100), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
	assert_int_equal(f->nposted, 101);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_io),
		CASE(test_io_errors),
		CASE(test_remove_others_in_batch),
		CASE(test_replace_self),
		CASE(test_free_with_sources),
		CASE(test_stop_before_run),
		CASE(test_timers_in_order),
		CASE(test_timers_at_random),
		CASE(test_timer_rearmed_with_zero),
		CASE(test_timer_removes_all),
		CASE(test_timer_fires_once),
		CASE(test_signals),
		CASE(test_post_from_threads),
		CASE(test_post_in_order),
		CASE(test_post_from_post),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
