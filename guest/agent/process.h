/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_PROCESS_H
#define SM_GUEST_PROCESS_H

#include <sys/types.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"

/*
 * What a process is given before it becomes the container's program. Some of it needs the VM's
 * capabilities, which a user namespace takes away: that the agent does from outside. The rest the
 * new process does itself, in two steps: as far as create goes, and what is left for the moment
 * before execve, because runc's create already looks for the program as the final user.
 */

/* From outside, while pid waits: scheduling, CPUs, I/O priority, oom_score_adj. */
int sm_process_tune(pid_t pid, const Supermachine__Agent__V1__Process *p, struct sm_err *err);

/* From outside, when pid has made its container: limits would be in the way of that. */
int sm_process_limit(pid_t pid, const Supermachine__Agent__V1__Process *p, struct sm_err *err);

/* Inside: working directory, no_new_privs, user, groups, capabilities. */
int sm_process_become(const Supermachine__Agent__V1__Process *p, struct sm_err *err);

/* Inside, last: the seccomp filter, then the capabilities that were kept for it go. */
int sm_process_seal(const Supermachine__Agent__V1__Process *p, struct sm_err *err);

/* Gives a new session keyring of that name to the calling process. */
int sm_process_keyring(const char *name, struct sm_err *err);

#endif
