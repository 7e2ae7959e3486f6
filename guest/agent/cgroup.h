/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_CGROUP_H
#define SM_GUEST_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"

/* The cgroup v2 directory of a container: <root>/<id>. */
struct sm_cgroup {
	char *path;	/* NULL: there is none */
	int fd;		/* the directory */
	int events;	/* cgroup.events: EPOLLPRI when it changes */
};

#define SM_CGROUP_INIT { (char *)0, -1, -1 }

/* Makes it and writes its settings. On an error nothing is left. */
int sm_cgroup_make(struct sm_cgroup *cg, const char *root,
		   const Supermachine__Agent__V1__Container *c, struct sm_err *err);

/* Has the kernel ask the device rules, if there are any. */
int sm_cgroup_guard_devices(const struct sm_cgroup *cg,
			    const Supermachine__Agent__V1__Container *c, struct sm_err *err);

/* Whether a process is in it or below. */
bool sm_cgroup_populated(const struct sm_cgroup *cg);

/* The directory of the cgroup that pid is in: the container may have moved its first process
 * below its own cgroup. A descriptor or -errno. */
int sm_cgroup_open_of(const char *root, pid_t pid);

/* SIGKILL for all in it and below. */
void sm_cgroup_kill(const struct sm_cgroup *cg);

/* Another signal for all in it (not below: only the container itself makes those). */
int sm_cgroup_signal(const struct sm_cgroup *cg, int signo);

/* Removes it, with the directories that the container made in it. -EBUSY while processes are in
 * it. */
int sm_cgroup_remove(struct sm_cgroup *cg);

/* Lets children of the root use the controllers. Those that are missing are left out. */
void sm_cgroup_enable_controllers(const char *root);

#endif
