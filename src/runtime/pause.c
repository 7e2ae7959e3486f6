/* SPDX-License-Identifier: Apache-2.0 */

/*
 * pause and resume. No lock: sm-vmm decides of two that come at once, and says in the state directory
 * what it is.
 */
#include <errno.h>
#include <stdint.h>

#include "runtime/runtime.h"
#include "runtime/store.h"
#include "runtime/vmm.h"

#define ANSWER_MS 10000

typedef int request_fn(struct sm_vmm *vmm, const char *id, struct sm_err *err);

static int find(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		struct sm_store *s, struct sm_state **state, struct sm_err *err)
{
	const struct sm_opt opts[] = { { NULL } };
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	return r ? r : sm_store_find(rt->root, args.v[0], s, state, err);
}

/* sm-vmm that is gone, or goes meanwhile, has taken the container with it. */
static int ask(const struct sm_store *s, const struct sm_state *state, request_fn *request,
	       const char *gone, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	int r = sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, err);

	if (r == 0)
		r = request(&vmm, s->id, err);
	if (r < 0 && sm_state_status(state) == SM_STATUS_STOPPED)
		return sm_err_set(err, -ESRCH, "%s", gone);
	return r;
}

static int run_pause(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		     struct sm_err *err)
{
	static const char not_running[] = "container not running";
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	enum sm_status status;
	int r = find(rt, cmd, argc, argv, &s, &state, err);

	if (r)
		return r < 0 ? r : 0;
	status = sm_state_status(state);
	if (status != SM_STATUS_RUNNING && status != SM_STATUS_CREATED)
		return sm_err_set(err, -ESRCH, not_running);
	return ask(&s, state, sm_vmm_pause, not_running, err);
}

static int run_resume(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		      struct sm_err *err)
{
	static const char not_paused[] = "container not paused";
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	int r = find(rt, cmd, argc, argv, &s, &state, err);

	if (r)
		return r < 0 ? r : 0;
	if (sm_state_status(state) != SM_STATUS_PAUSED)
		return sm_err_set(err, -EINVAL, not_paused);
	return ask(&s, state, sm_vmm_resume, not_paused, err);
}

const struct sm_command sm_cmd_pause = {
	.name = "pause",
	.args = "<container-id>",
	.summary = "stop all processes of a container until \"resume\"",
	.text = "   Has the container's VM stand still. Signals that it is sent meanwhile arrive\n"
		"   when it is resumed, but SIGKILL at once.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run_pause,
};

const struct sm_command sm_cmd_resume = {
	.name = "resume",
	.args = "<container-id>",
	.summary = "let a paused container go on",
	.text = "   Lets a container that was paused go on.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run_resume,
};
