/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_SESSION_H
#define SM_RUNTIME_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "proto/sandbox.pb-c.h"
#include "runtime/console.h"

/*
 * A conversation with sm-vmm that lasts: requests while signals are looked after, and then the wait
 * for the end of a process, with signals forwarded and, in the foreground, a terminal relayed.
 */
struct sm_session;

/* Takes the connected socket fd in any case. From now on the signals that can be forwarded are
 * blocked in this process. */
int sm_session_new(int fd, struct sm_session **s, struct sm_err *err);
void sm_session_free(struct sm_session **s);
#define sm_auto_session __attribute__((cleanup(sm_session_free)))

/* One request, answered. INT, TERM, HUP and QUIT end it: -EINTR. The connection lost:
 * -ECONNRESET. */
int sm_session_call(struct sm_session *s, const char *method, const ProtobufCMessage *req,
		    const int *fds, size_t nfds, const ProtobufCMessageDescriptor *out,
		    struct sm_err *err);

/* For debug messages: where the time went since sm-vmm was launched. */
void sm_session_log_times(struct sm_session *s, uint64_t launched_ns);

/* Runs fn(arg) when the container has said that it is ready, during a call or a follow; never, if
 * it does not say so. Once at most. */
void sm_session_when_ready(struct sm_session *s, const char *id, void (*fn)(void *arg), void *arg);

/* Waits until it has said so: 0. It ended without, or the VM did: -errno. Signals change
 * nothing. */
int sm_session_wait_ready(struct sm_session *s, const char *id, struct sm_err *err);

/* What to look after until the process ends. */
struct sm_follow {
	const char *id;
	const char *exec_id;	/* "" for the container's first process */
	int master;		/* of a pty to relay to the caller's stdin and stdout; -1: none */
	int winsize_from;	/* terminal whose size counts on SIGWINCH; -1: none */
	bool resize;		/* tell sm-vmm of a new size, which it cannot see itself */
	int pidfd;		/* its end is the process's; -1: sm-vmm is asked by Wait */
};

/* Returns when the process has ended and what it wrote to the pty is out. *status: as wait4(2)
 * gives it; of Wait only. -ECONNRESET: the VM was lost before it could say. */
int sm_session_follow(struct sm_session *s, const struct sm_follow *follow, uint32_t *status,
		      struct sm_err *err);

#endif
