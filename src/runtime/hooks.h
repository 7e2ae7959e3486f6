/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_HOOKS_H
#define SM_RUNTIME_HOOKS_H

#include "base/err.h"
#include "runtime/mntns.h"
#include "spec/config.h"

/*
 * Hooks that run on the host (runtime-spec config.md#posix-platform-hooks): state JSON on standard
 * input, standard output and error into the message of a failure.
 */
struct sm_hook_run {
	const char *state;	/* JSON */
	const char *cwd;
	int abort_fd;		/* readable: the container is lost, stop; -1: none */
	pid_t ns_of;		/* in whose network namespace; 0: in ours */
	const struct sm_mntns *mounts;	/* in which mount namespace; NULL: in ours */
	const struct sm_strs *env;	/* of a hook that has none; NULL: ours */
};

/* In order, until one fails. runc's texts. SIGPIPE must be ignored. */
int sm_hooks_run(const sm_hook_list *hooks, const struct sm_hook_run *run, struct sm_err *err);

/* All of them; failures are logged only. */
void sm_hooks_run_all(const sm_hook_list *hooks, const struct sm_hook_run *run);

#endif
