/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_GUEST_H
#define SM_SPEC_GUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"
#include "spec/config.h"

struct sm_seccomp_filter;

/*
 * A config as the agent's messages, and the directories and files of the host that the VM must be
 * given for it: "rootfs", and "m0", "m1"… for the bind mounts (mounts of one source share one, if they
 * show owners alike).
 */
struct sm_guest_inputs {
	const char *id;
	const char *bundle;		/* absolute; relative sources start here */
	const char *hook_state;		/* state JSON for startContainer hooks; may be NULL */
	const char *hostname, *domainname; /* where the config has none; may be NULL */
	const struct sm_seccomp_filter *filter;	/* of config->seccomp; NULL: compile it */
	bool new_session_keyring;	/* not --no-new-keyring */
	bool notify;			/* the caller wants to be told when it is ready: sd_notify(3) */
	bool ids_mapped;		/* sm-vmm runs in the container's user namespace: ids on
					 * the shares are the container's already */
};

/* How a mount shows owners: an id of the file system, which is a containerID, as the hostID. */
struct sm_idmap {
	sm_id_map_list uids, gids;
	bool recursive;		/* what is mounted below it as well */
};

struct sm_guest_export {
	const char *name;
	const char *path; /* on the host, absolute; symlinks are to be followed when it is opened */
	bool readonly;
	bool is_file;		/* not a directory */
	bool recursive;		/* with what is mounted below it: one of its mounts is */
	const struct sm_idmap *idmap;	/* NULL: as it is */
};

struct sm_guest_container {
	struct sm_arena *arena;
	Supermachine__Agent__V1__Container *msg;
	struct sm_guest_export *exports;	/* [0] is the root filesystem */
	size_t nexports;
};

/* Looks at the host for the root and the sources of bind mounts, which must exist. The result
 * borrows strings from config and in: free it before them. */
int sm_spec_container(const struct sm_config *config, const struct sm_guest_inputs *in,
		      struct sm_guest_container **out, struct sm_err *err);
void sm_guest_container_free(struct sm_guest_container *c);

/* A process alone, for exec. seccomp may be NULL. The message is in the arena and borrows strings
 * from the process. */
struct sm_guest_process_inputs {
	const struct sm_process *process;
	const struct sm_seccomp *seccomp;
	const struct sm_seccomp_filter *filter;	/* of seccomp; NULL: compile it */
	bool new_session_keyring;
	bool exec;			/* process.execCPUAffinity counts */
};
int sm_spec_process(const struct sm_guest_process_inputs *in, struct sm_arena *arena,
		    Supermachine__Agent__V1__Process **out, struct sm_err *err);

#endif
