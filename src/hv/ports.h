/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_PORTS_H
#define SM_HV_PORTS_H

#include "rpc/ttrpc.h"
#include "vsock/vsock.h"

/* Answers with what the guest's sockets wait for: Sandbox.Ports. */
void sm_ports_reply(struct sm_vsock *vs, struct sm_rpc_call *call);

#endif
