/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_CONTAINER_H
#define SM_GUEST_CONTAINER_H

#include "guest/agent/guest.h"
#include "proto/agent.pb-c.h"

/*
 * The containers of the VM and their processes. Each call below answers its RPC, now or when what it
 * asks for has happened.
 */
void sm_container_create(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__CreateContainerRequest *req);
void sm_container_start(struct sm_guest *g, struct sm_rpc_call *call,
			const Supermachine__Agent__V1__ContainerRequest *req);
void sm_container_exec(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ExecRequest *req);
void sm_container_wait(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ProcessRequest *req);
void sm_container_signal(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__SignalRequest *req);
void sm_container_resize(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ResizeRequest *req);
void sm_container_delete(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ContainerRequest *req);

/* Reaps all that have ended. */
void sm_container_reap(struct sm_guest *g);

#endif
