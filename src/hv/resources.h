/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_RESOURCES_H
#define SM_HV_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/agent.h"
#include "proto/agent.pb-c.h"
#include "rpc/ttrpc.h"

/* What the guest says about a container's resources, checked before anybody else sees it. */

/* Names are words of the kernel's, and there are not too many of them. */
bool sm_stats_valid(const Supermachine__Agent__V1__StatsResponse *stats);

/*
 * The kills for want of memory in one container. One request to the agent stands all the time; any
 * number of clients wait for its answer here. The guest may lie about the count: it decides what is
 * logged (a line for each power of two at most) and what clients are told, nothing else.
 */
struct sm_oom;

/* Watches from now on. NULL: out of memory. */
struct sm_oom *sm_oom_new(struct sm_agent *agent, const char *id);
void sm_oom_free(struct sm_oom *o); /* NULL allowed; fails who waits */

/* How many there were. */
uint64_t sm_oom_kills(const struct sm_oom *o); /* NULL: none */

/* Answers the call when there were more than `seen`. */
void sm_oom_wait(struct sm_oom *o, struct sm_rpc_call *call, uint64_t seen);

/* A client's connection has closed: its calls are dropped. */
void sm_oom_client_gone(struct sm_oom *o, const struct sm_rpc *rpc);

#endif
