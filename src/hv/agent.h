/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_AGENT_H
#define SM_HV_AGENT_H

#include "base/loop.h"
#include "proto/agent.pb-c.h"
#include "rpc/ttrpc.h"
#include "vsock/vsock.h"

/*
 * The connection to the agent, PID 1 of the VM. The agent opens it to host port SM_AGENT_PORT; it is
 * usable once Hello was answered: ready(). After that no other is accepted, ever: with it goes what
 * was asked of the agent, and a guest that hangs up again and again has nothing to say.
 * lost() tells that it ended; every call still open has been ended with SM_RPC_UNAVAILABLE then.
 */
#define SM_AGENT_PORT 1025u
#define SM_AGENT_SERVICE "supermachine.agent.v1.Agent"

struct sm_agent;

struct sm_agent_events {
	void (*connected)(void *arg);
	void (*ready)(void *arg, const Supermachine__Agent__V1__HelloResponse *hello);
	void (*lost)(void *arg, const char *why);
};

int sm_agent_new(struct sm_loop *loop, struct sm_vsock *vs, const struct sm_agent_events *events,
		 void *arg, struct sm_agent **agent);
void sm_agent_free(struct sm_agent *agent); /* NULL allowed */

/* One call; `out` is the type of the answer. -ENOTCONN before ready(), and then done() does not run. */
int sm_agent_call(struct sm_agent *agent, const char *method, const ProtobufCMessage *req,
		  const ProtobufCMessageDescriptor *out, sm_rpc_done_fn *done, void *arg);

/* Has the guest's wall clock set to the host's; what is called afterwards finds it set. */
void sm_agent_set_clock(struct sm_agent *agent);

#endif
