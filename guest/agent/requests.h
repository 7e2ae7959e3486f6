/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_REQUESTS_H
#define SM_GUEST_REQUESTS_H

#include "guest/agent/guest.h"
#include "proto/agent.pb-c.h"

/* The requests that are about containers. Each answers its call, now or when what it asks for has
 * happened. */
void sm_request_create(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__CreateContainerRequest *req);
void sm_request_start(struct sm_guest *g, struct sm_rpc_call *call,
			const Supermachine__Agent__V1__ContainerRequest *req);
void sm_request_exec(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ExecRequest *req);
void sm_request_wait(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ProcessRequest *req);
void sm_request_signal(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__SignalRequest *req);
void sm_request_resize(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ResizeRequest *req);
void sm_request_delete(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ContainerRequest *req);
void sm_request_processes(struct sm_guest *g, struct sm_rpc_call *call,
			    const Supermachine__Agent__V1__ContainerRequest *req);

#endif
