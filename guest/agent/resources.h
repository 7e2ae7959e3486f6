/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_RESOURCES_H
#define SM_GUEST_RESOURCES_H

#include <stdint.h>

#include "guest/agent/guest.h"
#include "proto/agent.pb-c.h"

/* What a container uses and may use, by the files of its cgroup, and when that was not enough. */

/* The numbers of the cgroup that dirfd is. The message's list is allocated: sm_stats_free(). */
int sm_stats_read(int dirfd, Supermachine__Agent__V1__StatsResponse *rsp);
void sm_stats_free(Supermachine__Agent__V1__StatsResponse *rsp);

/* Writes all files or, with the first that fails, what they held before. */
int sm_cgroup_update(int dirfd, Supermachine__Agent__V1__KeyValue *const *files, size_t n,
		     struct sm_err *err);

/* The requests; each answers its call. */
void sm_request_stats(struct sm_guest *g, struct sm_rpc_call *call,
		      const Supermachine__Agent__V1__ContainerRequest *req);
void sm_request_update(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__UpdateRequest *req);
void sm_request_wait_oom(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__WaitOomRequest *req);

/* Watches the cgroup that was just made, as far as the kernel lets it. */
void sm_oom_watch(struct sm_container *c);

/* Looks now, and answers who waited for what it sees. */
void sm_oom_look(struct sm_container *c);

/* No more kills will be seen: whoever still waits is told. */
void sm_oom_end(struct sm_container *c);

#endif
