/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_RELAY_H
#define SM_GUEST_RELAY_H

#include <stdbool.h>

#include "base/loop.h"

/*
 * One direction of one stream: bytes from a descriptor to another, through a bounded buffer, on the
 * loop, without ever blocking it. Both descriptors are the relay's: non-blocking, closed at its
 * end.
 *
 *	EOF on `from`		what is buffered is written, then `to` is shut down and closed
 *	`to` takes no more	`from` is closed, so that who writes there gets EPIPE
 *
 * A socket that is still connecting is waited for; one that cannot be connected counts as gone.
 */
struct sm_relay;

/* The most that a pipe or terminal may hold for sm_relay_mark() to be exact. */
#define SM_RELAY_PIPE_MAX (256u << 10)

/* Runs once, at the end; the relay's descriptors are closed. `broken`: `to` was gone before `from`
 * ended. sm_relay_free() is allowed in it. */
typedef void sm_relay_done_fn(void *arg, bool broken);

/* Takes over from and to in any case. */
int sm_relay_new(struct sm_loop *loop, int from, int to, sm_relay_done_fn *done, void *arg,
		 struct sm_relay **relay);

/* Runs fn(arg) once, when all that stands in `from` now has been handed to `to`, or the relay
 * has ended: possibly before this returns, and then the relay may be gone. fn must not free the
 * relay. Once at a time. */
typedef void sm_relay_mark_fn(void *arg);
void sm_relay_mark(struct sm_relay *r, sm_relay_mark_fn *fn, void *arg);

/* NULL allowed. Ends it without done() or the mark's fn(); what is buffered is lost. */
void sm_relay_free(struct sm_relay *r);

#endif
