/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_LOOP_H
#define SM_BASE_LOOP_H

#include <signal.h>
#include <stdint.h>

/*
 * One epoll loop, owned by one thread. All calls but sm_loop_post() belong to that thread.
 *
 * A source is named by a handle that dies with it: a callback may remove any source, its own
 * included, at any time; no callback of a removed source runs afterwards, even if its event was
 * already fetched. Handles are never NULL and are freed by the matching remove call only.
 */
struct sm_loop;
struct sm_io;
struct sm_timer;

typedef void sm_io_fn(void *arg, uint32_t events);	/* EPOLL* bits */
typedef void sm_timer_fn(void *arg);
typedef void sm_signal_fn(void *arg, int signo);
typedef void sm_post_fn(void *arg);

struct sm_loop *sm_loop_new(void); /* NULL: errno tells why */

/* NULL allowed; not from a callback. Frees the sources and timers that are left. */
void sm_loop_free(struct sm_loop *loop);

/* Runs until sm_loop_stop(), which lets the events at hand finish and may also come before; 0 or
 * -errno. */
int sm_loop_run(struct sm_loop *loop);
void sm_loop_stop(struct sm_loop *loop);

/* Watches fd (which stays the caller's) for EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET…; EPOLLERR and
 * EPOLLHUP always come. *io is set on 0. A fd that epoll does not take (regular file): -EPERM. */
int sm_loop_add(struct sm_loop *loop, int fd, uint32_t events, sm_io_fn *fn, void *arg,
		struct sm_io **io);
int sm_loop_mod(struct sm_loop *loop, struct sm_io *io, uint32_t events);
void sm_io_set(struct sm_io *io, sm_io_fn *fn, void *arg); /* who is called from now on */
void sm_loop_remove(struct sm_loop *loop, struct sm_io *io); /* NULL allowed; before close(fd) */
/* The same for a fd that is closed right after and has no duplicate, by which the kernel forgets it. */
void sm_loop_forget(struct sm_loop *loop, struct sm_io *io);

/* Fires once after ns nanoseconds (UINT64_MAX: not until it is set again). The handle stays valid until removed; sm_timer_set re-arms it. */
int sm_timer_add(struct sm_loop *loop, uint64_t ns, sm_timer_fn *fn, void *arg,
		 struct sm_timer **timer);
int sm_timer_set(struct sm_loop *loop, struct sm_timer *timer, uint64_t ns);
void sm_timer_remove(struct sm_loop *loop, struct sm_timer *timer); /* NULL allowed */

/* Blocks the signals of `set` in the calling thread (do it before threads start) and delivers them
 * here. Once per loop. */
int sm_loop_signals(struct sm_loop *loop, const sigset_t *set, sm_signal_fn *fn, void *arg);

/* From any thread: run fn(arg) soon on the loop's thread, in the order of the calls. 0 or -ENOMEM.
 * What is left when the loop is freed does not run. */
int sm_loop_post(struct sm_loop *loop, sm_post_fn *fn, void *arg);

#endif
