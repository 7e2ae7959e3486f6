/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_BRIDGE_H
#define SM_VSOCK_BRIDGE_H

#include "base/loop.h"
#include "vsock/vsock.h"

/*
 * A unix socket by which programs of the host get to the guest. A client says in one line what it
 * wants, and is answered in one:
 *
 *	CONNECT PORT			a connection to the guest's AF_VSOCK listener at PORT:
 *					"OK HOST-PORT", then its bytes both ways
 *	ACCEPT PORT|* [LENGTH [PEER]]	the connected stream socket that came along (SCM_RIGHTS,
 *with any byte up to here) is one that the guest's TCP listener at PORT accepts ("*": its first
 *one, AF_INET preferred). LENGTH bytes that were read from it already follow the line, and the
 *guest sees them first. PEER, "192.0.2.1:4711" or "[2001:db8::1]:4711", is who the guest is told it
 *is from. "OK"
 *
 * or "ERROR why", and the connection is closed: without a word where it was the guest that refused
 * or did not answer. The first is the convention of Firecracker and Cloud
 * Hypervisor.
 *
 * A client has SM_BRIDGE_LINE_NS for all of that, the guest's answer included. No more than
 * SM_BRIDGE_CLIENTS_MAX are connected at a time: others wait in the socket's queue.
 */
#define SM_BRIDGE_CLIENTS_MAX 1024u
#define SM_BRIDGE_LINE_MAX    128u
#define SM_BRIDGE_LINE_NS     10000000000ull

struct sm_bridge;

/* fd: a listening unix socket, owned from 0 on. line_ns: 0 for SM_BRIDGE_LINE_NS. */
int sm_bridge_new(struct sm_loop *loop, struct sm_vsock *vs, int fd, uint64_t line_ns,
		  struct sm_bridge **bridge);

/* NULL allowed. Before sm_vsock_free(). Ends every connection. */
void sm_bridge_free(struct sm_bridge *bridge);

#endif
