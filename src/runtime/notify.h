/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_NOTIFY_H
#define SM_RUNTIME_NOTIFY_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The caller's NOTIFY_SOCKET (sd_notify(3)), relayed as runc does: the container gets a socket of
 * its own, which is in the guest; when it says READY=1 there, the caller is told that, and which
 * process is the container's.
 *
 *	container ──READY=1──► agent ──WaitReady──► sm-vmm ──► sm-runtime ──READY=1──► caller
 */

/* The caller's socket; NULL: none, or an empty name. */
const char *sm_notify_host(void);

/* READY=1 and MAINPID=pid for `host`; barrier: returns when they were taken, for callers that look
 * at the sender before they believe it, and a sender that is about to end. */
int sm_notify_tell(const char *host, pid_t pid, bool barrier, struct sm_err *err);

#endif
