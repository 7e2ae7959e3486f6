/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_LAUNCH_H
#define SM_RUNTIME_LAUNCH_H

#include "runtime/backend.h"
#include "runtime/cgroup.h"
#include "runtime/services.h"
#include "runtime/settings.h"
#include "runtime/store.h"
#include "runtime/vmm.h"

/* Starting sm-vmm, and taking it back. */

struct sm_launch_config {
	const char *id;
	const struct sm_settings *settings;
	const struct sm_backend *backend;
	const char *kernel, *initrd;	/* of the guest */
	const char *cmdline;		/* more kernel parameters; may be NULL */
	struct sm_vm_size size;
	enum sm_netns netns;
	const char *netns_path;		/* of SM_NETNS_PATH */
	const char *hostname;		/* of the container; empty: the host's */
	const struct sm_pairs *sysctl;	/* of config.json */
	bool tsi;			/* the guest has a network: that of the namespace */
	const char *policy, *ports;	/* … whom it may talk to, at which ports; may be NULL */
	const struct sm_service_fds *services;
	struct sm_i64 oom_score_adj;
	bool debug;
};

struct sm_launch {
	struct sm_proc_id proc;
	int pidfd;
	int control;		/* connected to sm-vmm: ttrpc */
	uint64_t launched_ns;	/* CLOCK_MONOTONIC at its exec */
};

#define SM_LAUNCH_INIT { { 0, 0 }, -1, -1, 0 }

/* Starts sm-vmm as a child of the caller, in the cgroups and the network namespace, with nothing
 * but its own descriptors. state->vmm is set and saved before sm-vmm runs its first instruction.
 * On failure nothing is left. */
int sm_launch_start(const struct sm_launch_config *c, const struct sm_store *s,
		    struct sm_state *state, const struct sm_cgroups *cg, struct sm_launch *l,
		    struct sm_err *err);

/* Kills the child, waits for its end and closes everything. */
void sm_launch_kill(struct sm_launch *l);

/* Lets it live on. */
void sm_launch_release(struct sm_launch *l);

/* After the control connection was lost: adds to err how sm-vmm ended and what it last said. */
void sm_launch_explain(struct sm_launch *l, const struct sm_store *s, struct sm_err *err);

#endif
