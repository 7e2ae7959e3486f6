/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The VM is ended before the lock is taken: whoever holds the lock (a create whose guest boots, a
 * start whose hooks run) waits for that VM, so its end is what makes them let go. Once we have the
 * lock nobody else changes the container; then the state is read again, for it may be another one
 * by now.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "base/clean.h"
#include "base/log.h"
#include "runtime/container.h"
#include "runtime/vmm.h"

#define ANSWER_MS 5000
#define END_MS 10000
#define SALVAGE_MAX (1u << 20)

/* Ends what runs, asking first, so that the guest writes out what its filesystems hold. */
static int end_vm(const struct sm_store *s, const struct sm_state *state, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	sm_auto_close int pidfd = -1;

	if (state->status == SM_STATUS_RUNNING) {
		pidfd = sm_proc_open(&state->vmm);
		if (pidfd >= 0 && sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, NULL) == 0 &&
		    sm_vmm_signal(&vmm, s->id, SIGKILL, false, NULL) == 0)
			sm_proc_wait_end(pidfd, END_MS);
	}
	return sm_container_kill_vmm(state, err);
}

/* The VM of a container of whose state nothing is left: it still listens. */
static void end_unknown(const struct sm_store *s)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;

	if (sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, NULL) == 0 &&
	    sm_vmm_signal(&vmm, s->id, SIGKILL, false, NULL) == 0)
		sm_vmm_wait_end(&vmm, END_MS);
}

static int may_delete(const struct sm_state *state, bool force, struct sm_err *err)
{
	enum sm_status status = sm_state_status(state);

	/* a created container has run nothing yet; callers count on its being taken */
	if (force || status == SM_STATUS_STOPPED || status == SM_STATUS_CREATED)
		return 0;
	return sm_err_set(err, -EBUSY, "cannot delete container %s that is not stopped: %s",
			  state->id, sm_status_name(status));
}

/* With --force a state that cannot be read is no hindrance: *state is NULL then. */
static int load(const struct sm_store *s, bool force, struct sm_state **state, struct sm_err *err)
{
	int r = sm_store_load(s, state, err);

	if (r < 0 && force) {
		sm_debug("delete: %s", sm_err_text(err));
		r = 0;
	}
	return r;
}

/*
 * The state that a damaged state.json would have told, as far as it is needed: whatever is in the
 * cgroups that config.json names belongs to the container. NULL where even that is not known.
 */
static struct sm_state *salvage(const struct sm_runtime *rt, const struct sm_store *s)
{
	struct sm_arena *arena = sm_arena_new(SALVAGE_MAX);
	struct sm_state *state = arena ? sm_arena_alloc(arena, sizeof(*state)) : NULL;
	struct sm_config *config = NULL;
	struct sm_cgroups cg = { NULL, 0 };
	const char **dirs = NULL;
	const char *path;

	if (state && sm_container_config(s, &config, NULL) == 0 &&
	    sm_cgroup_path(arena, config->cgroups_path, s->id, rt->systemd_cgroup, &path, NULL) ==
		    0 &&
	    sm_cgroup_plan(arena, path, &cg, NULL) == 0)
		dirs = sm_arena_array(arena, cg.n + 1, sizeof(*dirs));
	sm_config_free(config);
	if (!dirs) {
		sm_arena_free(arena);
		return NULL;
	}
	for (size_t i = 0; i < cg.n; i++)
		dirs[i] = cg.v[i].path;
	state->arena = arena;
	state->id = s->id;
	state->bundle = "/";
	state->status = SM_STATUS_STOPPED;
	state->cgroups = (struct sm_strs){ dirs, cg.n };
	return state;
}

static int delete_locked(const struct sm_runtime *rt, struct sm_store *s, bool force,
			 struct sm_err *err)
{
	sm_auto_state struct sm_state *state = NULL;
	struct sm_config *config = NULL;
	int r = load(s, force, &state, err);

	if (r == 0 && state) {
		r = may_delete(state, force, err);
		if (r == 0)
			r = end_vm(s, state, err);
		if (r == 0 && sm_container_config(s, &config, NULL) < 0)
			config = NULL;	/* no hooks to run then */
	}
	if (r == 0 && !state) {
		end_unknown(s);
		state = salvage(rt, s);
	}
	if (r == 0)
		r = sm_container_destroy(s, state, config, err);
	sm_config_free(config);
	return r;
}

static int delete(const struct sm_runtime *rt, const char *id, bool force, struct sm_err *err)
{
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	int r = sm_store_open(rt->root, id, &s, err);

	if (r == 0)
		r = load(&s, force, &state, err);
	if (r == 0 && state) {
		r = may_delete(state, force, err);
		if (r == 0)
			r = end_vm(&s, state, err);
	}
	if (r == 0)
		r = sm_store_lock(&s, err);
	if (r == 0)
		r = delete_locked(rt, &s, force, err);
	return r == -ENOENT && force ? 0 : r;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	bool force = false;
	const struct sm_opt opts[] = {
		{ "force", 'f', SM_OPT_BOOL, &force, NULL,
		  "end the container with SIGKILL if it still runs" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	return delete(rt, args.v[0], force, err);
}

const struct sm_command sm_cmd_delete = {
	.name = "delete",
	.args = "<container-id>",
	.summary = "remove all that is left of a container",
	.text = "   Removes a container that has stopped, or was created and never started.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
