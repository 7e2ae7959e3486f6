/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_SPAWN_H
#define SM_GUEST_SPAWN_H

#include <sys/types.h>

#include "base/err.h"
#include "guest/agent/child.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* The namespaces that a container may have of its own. The network is the VM's. */
#define SM_NAMESPACES                                                                          \
	((uint64_t)(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
		    CLONE_NEWCGROUP | CLONE_NEWTIME))

struct sm_spawned {
	pid_t pid;
	int pidfd;
	int sync;	/* SOCK_SEQPACKET, non-blocking; see child.h */
};

/* Makes the process that `ch` describes, in the cgroup (-1: ours), and lets it go as far as READY.
 * ch->sync is not used. On an error nothing is left but a zombie to be reaped. */
int sm_spawn(const struct sm_child *ch, int cgroup, struct sm_spawned *out, struct sm_err *err);

#endif
