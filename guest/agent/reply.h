/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_REPLY_H
#define SM_GUEST_REPLY_H

#include "proto/agent.pb-c.h"
#include "rpc/ttrpc.h"

static inline void sm_reply_empty(struct sm_rpc_call *call)
{
	static const Supermachine__Agent__V1__Empty empty = SUPERMACHINE__AGENT__V1__EMPTY__INIT;

	sm_rpc_reply(call, &empty.base);
}

static inline void sm_reply_status(struct sm_rpc_call *call, int status)
{
	Supermachine__Agent__V1__WaitResponse rsp = SUPERMACHINE__AGENT__V1__WAIT_RESPONSE__INIT;

	rsp.status = (uint32_t)status;
	sm_rpc_reply(call, &rsp.base);
}

#endif
