/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_GUEST_H
#define SM_GUEST_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "guest/agent/link.h"
#include "rpc/ttrpc.h"

struct sm_container;

/* The agent. */
struct sm_guest {
	struct sm_loop *loop;
	struct sm_link link;
	const char *host;		/* directory of the exports */
	const char *cgroup_root;	/* NULL: no cgroups */
	bool vm;			/* PID 1 of a VM, not a test's process */
	bool settled;			/* the mounts of the VM are there */
	bool loopback;			/* … and its loopback interface */
	bool shares;			/* the exports are mounted */
	uint64_t began_ns;		/* CLOCK_BOOTTIME when main() began */
	struct sm_rpc *rpc;		/* the connection to the host, NULL: none */
	struct sm_timer *retry;		/* of connecting */
	bool ending;			/* Shutdown was answered: the host may hang up */
	struct sm_timer *bye;		/* … or by this */
	struct sm_container *containers;
};

/* The methods of supermachine.agent.v1.Agent; the handlers' argument is the struct sm_guest. */
extern const struct sm_rpc_service sm_guest_service;

#endif
