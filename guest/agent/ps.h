/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_PS_H
#define SM_GUEST_PS_H

#include <stdbool.h>
#include <sys/types.h>

#include "guest/agent/cgroup.h"
#include "proto/agent.pb-c.h"

/* The processes in a cgroup and below. Bounded, whatever the container does: so many processes
 * and so many bytes of their arguments, then `truncated` is set. */
enum { SM_PS_MAX = 4096, SM_PS_BYTES_MAX = 1 << 20, SM_PS_ARGS_MAX = 4096 };

/* `level`: the pid namespace whose ids are told, 0 for ours, 1 for one right below.
 * 0 or -ENOMEM; sm_ps_free() in either case. */
int sm_ps_list(const struct sm_cgroup *cg, unsigned int level,
	       Supermachine__Agent__V1__ProcessesResponse *out);

/* One process, which need not be there any more (-ENOENT, -ESRCH). Its ids are those of our pid
 * namespace in ppid; the others as sm_ps_list() has them. For tests. */
int sm_ps_read(pid_t pid, unsigned int level, Supermachine__Agent__V1__ProcessInfo *p);

/* What /proc/PID/stat and status say, each ended by a zero; stat is changed. 0, -EINVAL: it is
 * none, or -ENOMEM; p may have its name in either case. For tests. */
int sm_ps_parse(char *stat, const char *status, unsigned int level,
		Supermachine__Agent__V1__ProcessInfo *p);

void sm_ps_free(Supermachine__Agent__V1__ProcessesResponse *out);

#endif
