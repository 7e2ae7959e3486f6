/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_EXECPROC_H
#define SM_RUNTIME_EXECPROC_H

#include <stdbool.h>

#include "base/err.h"
#include "base/opt.h"
#include "proto/agent.pb-c.h"
#include "runtime/store.h"
#include "spec/config.h"

/* The options of exec, and the process that they make of the container's own. */
struct sm_exec_options {
	const char *console_socket, *pidfd_socket, *cwd, *user, *process, *pid_file;
	const char *process_label, *apparmor, *cgroup;
	struct sm_opt_list env, gids, caps;
	bool tty, detach, no_new_privs, ignore_paused, no_subreaper;
	int preserve_fds;
};

struct sm_exec_process {
	Supermachine__Agent__V1__Process *msg;
	bool terminal;
	unsigned int rows, cols;	/* 0: not said */
	struct sm_arena *arena;		/* holds msg */
	struct sm_config *container, *given;	/* what the message was made of */
};

/* args: the command, for who gives no --process. */
int sm_exec_process_make(const struct sm_store *s, const struct sm_exec_options *o, char **args,
			 size_t nargs, struct sm_exec_process **out, struct sm_err *err);
void sm_exec_process_free(struct sm_exec_process **p);

#endif
