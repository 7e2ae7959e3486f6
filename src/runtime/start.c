/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>

#include "base/clean.h"
#include "base/log.h"
#include "runtime/container.h"
#include "runtime/notify.h"
#include "runtime/vmm.h"

#define CONNECT_MS 30000

static int check(enum sm_status status, struct sm_err *err)
{
	switch (status) {
	case SM_STATUS_CREATED:
		return 0;
	case SM_STATUS_STOPPED:
		return sm_err_set(err, -EINVAL, "cannot start a container that has stopped");
	case SM_STATUS_PAUSED:
		return sm_err_set(err, -EINVAL, "cannot start a container in the paused state");
	case SM_STATUS_CREATING:
		return sm_err_set(err, -EINVAL, "cannot start a container that is being created");
	default:
		return sm_err_set(err, -EINVAL, "cannot start an already running container");
	}
}

/* Between the answer of sm-vmm and the state that says so we may be killed: see store.c. */
static int start_process(const struct sm_store *s, struct sm_state *state, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	int r = sm_vmm_connect(s->dirfd, CONNECT_MS, &vmm, err);

	if (r < 0)
		return r;
	if (sm_proc_self(&state->creator) < 0)
		return sm_err_sys(err, -ESRCH, "/proc/self/stat");
	r = sm_store_save(s, state, err);
	if (r < 0)
		return r;
	vmm.timeout_ms = -1;	/* startContainer hooks take their time */
	r = sm_vmm_start(&vmm, s->id, err);
	if (r < 0) {
		state->creator = (struct sm_proc_id){ 0, 0 };
		sm_store_save(s, state, NULL);
		sm_err_wrap(err, "unable to start container process");
	}
	return r;
}

static int start(const struct sm_store *s, struct sm_state *state, struct sm_err *err)
{
	struct sm_config *config = NULL;
	int r = check(sm_state_status(state), err);

	if (r == 0)
		r = sm_container_config(s, &config, err);
	if (r == 0)
		r = start_process(s, state, err);
	if (r == 0)
		r = sm_container_started(s, state, config, err);
	sm_config_free(config);
	return r;
}

/* Whoever wants to be told that the container is ready waits for that, or for its end, and hinders
 * nobody meanwhile. */
static int relay_ready(struct sm_store *s, const struct sm_state *state, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	const char *host = sm_notify_host();
	sm_auto_err struct sm_err why = SM_ERR_INIT;
	int r;

	if (!host)
		return 0;
	sm_close(&s->lock);
	r = sm_vmm_connect(s->dirfd, CONNECT_MS, &vmm, &why);
	vmm.timeout_ms = -1;
	if (r == 0)
		r = sm_vmm_wait_ready(&vmm, s->id, &why);
	if (r == 0)
		return sm_notify_tell(host, state->vmm.pid, true, err);
	sm_debug("NOTIFY_SOCKET: %s", sm_err_text(&why));
	return 0;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const struct sm_opt opts[] = { { NULL } };
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_open(rt->root, args.v[0], &s, err);
	if (r == 0)
		r = sm_store_lock(&s, err);
	if (r == 0)
		r = sm_store_load(&s, &state, err);
	if (r == 0)
		r = start(&s, state, err);
	return r < 0 ? r : relay_ready(&s, state, err);
}

const struct sm_command sm_cmd_start = {
	.name = "start",
	.args = "<container-id>",
	.summary = "run the program of a created container",
	.text = "   Runs the program that \"create\" prepared, and returns when it runs.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
