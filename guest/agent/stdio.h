/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_STDIO_H
#define SM_GUEST_STDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "guest/agent/link.h"
#include "proto/agent.pb-c.h"

/*
 * The agent's side of the standard streams of one process: a stream to the host for each port, and
 * a relay between it and a pipe, or the terminal's master.
 */
struct sm_stdio;

/* An output stream has ended: look at sm_stdio_drained(). */
typedef void sm_stdio_changed_fn(void *arg);

/* Connects the ports. child[] gets the process's ends of the pipes (the caller's to close), -1
 * where there is no port or a terminal. */
int sm_stdio_new(struct sm_loop *loop, const struct sm_link *link,
		 const Supermachine__Agent__V1__Stdio *msg, sm_stdio_changed_fn *changed, void *arg,
		 int child[3], struct sm_stdio **io);

/* The terminal is there: its master (taken over) is joined to the streams. */
int sm_stdio_terminal(struct sm_stdio *io, int master);

/* All output was handed to the host, or nobody takes it. */
bool sm_stdio_drained(const struct sm_stdio *io);

/* Runs fn(arg) once, when all that the process has written so far is handed over: possibly
 * before this returns. It must not free io. */
typedef void sm_stdio_flushed_fn(void *arg);
void sm_stdio_flush(struct sm_stdio *io, sm_stdio_flushed_fn *fn, void *arg);

/* -ENOTTY without a terminal. */
int sm_stdio_resize(struct sm_stdio *io, uint32_t rows, uint32_t cols);

/* Closes everything. NULL allowed. */
void sm_stdio_free(struct sm_stdio *io);

#endif
