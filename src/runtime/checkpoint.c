/* SPDX-License-Identifier: Apache-2.0 */

/*
 * checkpoint and restore: runc's verbs and flags are known, so that who uses them is told why it does
 * not work, and not that there is no such flag.
 */
#include <errno.h>
#include <stdint.h>

#include "runtime/runtime.h"
#include "runtime/store.h"

/* The rows of flags whose value nobody looks at. */
#define TAKE_TEXT(name, letter) { name, letter, SM_OPT_STRING, &text, "", NULL }
#define TAKE_BOOL(name, letter) { name, letter, SM_OPT_BOOL, &flag, NULL, NULL }

static int refuse(const char *verb, const char *what, struct sm_err *err)
{
	return sm_err_set(err, -ENOTSUP,
			  "%s is not supported: a container here is a virtual machine, and %s; "
			  "\"pause\" stops one in memory",
			  verb, what);
}

static int run_checkpoint(struct sm_runtime *rt, const struct sm_command *cmd, int argc,
			  char **argv, struct sm_err *err)
{
	const char *text = NULL;
	bool flag = false;
	const struct sm_opt opts[] = {
		TAKE_TEXT("image-path", 0),	    TAKE_TEXT("work-path", 0),
		TAKE_TEXT("parent-path", 0),	    TAKE_BOOL("leave-running", 0),
		TAKE_BOOL("tcp-established", 0),    TAKE_BOOL("tcp-skip-in-flight", 0),
		TAKE_BOOL("tcp-close", 0),	    TAKE_BOOL("link-remap", 0),
		TAKE_BOOL("ext-unix-sk", 0),	    TAKE_BOOL("shell-job", 0),
		TAKE_BOOL("lazy-pages", 0),	    TAKE_TEXT("status-fd", 0),
		TAKE_TEXT("page-server", 0),	    TAKE_BOOL("file-locks", 0),
		TAKE_BOOL("pre-dump", 0),	    TAKE_TEXT("manage-cgroups-mode", 0),
		TAKE_TEXT("empty-ns", 0),	    TAKE_BOOL("auto-dedup", 0),
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	enum sm_status status;
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_find(rt->root, args.v[0], &s, &state, err);
	if (r < 0)
		return r;
	status = sm_state_status(state);
	if (status != SM_STATUS_RUNNING && status != SM_STATUS_PAUSED)
		return sm_err_set(err, -EINVAL, "Container cannot be checkpointed in %s state",
				  sm_status_name(status));
	return refuse("checkpoint", "its memory cannot be written to files yet", err);
}

static int run_restore(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		       struct sm_err *err)
{
	const char *text = NULL;
	bool flag = false;
	const struct sm_opt opts[] = {
		TAKE_TEXT("console-socket", 0),	 TAKE_TEXT("image-path", 0),
		TAKE_TEXT("work-path", 0),	 TAKE_BOOL("tcp-established", 0),
		TAKE_BOOL("tcp-close", 0),	 TAKE_BOOL("ext-unix-sk", 0),
		TAKE_BOOL("shell-job", 0),	 TAKE_BOOL("file-locks", 0),
		TAKE_TEXT("manage-cgroups-mode", 0), TAKE_TEXT("bundle", 'b'),
		TAKE_BOOL("detach", 'd'),	 TAKE_TEXT("pid-file", 0),
		TAKE_BOOL("no-subreaper", 0),	 TAKE_BOOL("no-pivot", 0),
		TAKE_TEXT("empty-ns", 0),	 TAKE_BOOL("auto-dedup", 0),
		TAKE_BOOL("lazy-pages", 0),	 TAKE_TEXT("lsm-profile", 0),
		TAKE_TEXT("lsm-mount-context", 0), { NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_open(rt->root, args.v[0], &s, err);
	if (r == 0)
		return sm_err_set(err, -EEXIST, "container with given ID already exists");
	if (r != -ENOENT)
		return r;
	return refuse("restore", "none can be made from files yet", err);
}

const struct sm_command sm_cmd_checkpoint = {
	.name = "checkpoint",
	.args = "<container-id>",
	.summary = "not supported yet",
	.text = "   Takes runc's flags and fails.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run_checkpoint,
};

const struct sm_command sm_cmd_restore = {
	.name = "restore",
	.args = "<container-id>",
	.summary = "not supported yet",
	.text = "   Takes runc's flags and fails.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run_restore,
};
