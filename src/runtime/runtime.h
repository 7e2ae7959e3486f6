/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_RUNTIME_H
#define SM_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/opt.h"

/*
 * The command line: global options, the table of commands, and what every command is given. A
 * command lives in a file of its own, has a row in main.c and parses its own options with
 * sm_cli_parse(), which also answers --help and counts the arguments.
 */

#define SM_RUNTIME_NAME "sm-runtime"
#define SM_OCI_VERSION "1.2.0"

struct sm_runtime {
	const char *root;		/* absolute; where the state of containers is */
	const char *log;		/* NULL: standard error */
	const char *log_format;
	const char *rootless, *criu;
	bool debug, systemd_cgroup;
	bool version, help;
	bool root_given;
	bool usage;			/* the error is about how the command was called */
	bool stdio_closed[3];		/* fds 0 to 2 as the caller left them */
	enum sm_log_format format;
	uint64_t started_ns;		/* sm_now_ns() at main() */
	char *root_buf;
};

struct sm_command {
	const char *name;
	const char *args;		/* "<container-id> [signal]" */
	const char *summary;
	const char *text;		/* what --help says beyond; may be NULL */
	size_t min, max;		/* number of arguments */
	size_t stop_at;			/* options end after this many of them; SIZE_MAX: never */
	int failed;			/* exit code of a failure */
	/* Returns the exit code, or -errno with err set. */
	int (*run)(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		   struct sm_err *err);
	bool stateless;			/* works without a root directory */
};

/* The caller is not root, or root of a user namespace only. */
bool sm_is_rootless(void);

extern const struct sm_command *const sm_commands[];	/* ends with NULL */

struct sm_args {
	char **v;
	size_t n;
};

#define sm_auto_args __attribute__((cleanup(sm_args_free)))
void sm_args_free(struct sm_args *args);

/* 0: go on. SM_CLI_HELPED: help was printed, the command has nothing more to do. Else -errno. */
#define SM_CLI_HELPED 1
int sm_cli_parse(struct sm_runtime *rt, const struct sm_command *cmd, const struct sm_opt *opts,
		 int argc, char **argv, struct sm_args *args, struct sm_err *err);

/* The commands, each in the file of its name. */
extern const struct sm_command sm_cmd_checkpoint, sm_cmd_create, sm_cmd_delete, sm_cmd_doctor,
	sm_cmd_events, sm_cmd_exec, sm_cmd_features, sm_cmd_kill, sm_cmd_list, sm_cmd_pause,
	sm_cmd_ports, sm_cmd_ps, sm_cmd_restore, sm_cmd_resume, sm_cmd_run, sm_cmd_spec, sm_cmd_start,
	sm_cmd_state, sm_cmd_update;

#endif
