/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One connection to sm-vmm with requests of two kinds on it: WaitOom stands all the time and is
 * sent again after each answer; Info, for what sm-vmm counts itself, and after it Stats are sent by
 * a timer, never a second time while the first are not answered (that of a paused VM fails). The
 * connection closes when the VM ends: that is the end of the stream of events.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clean.h"
#include "base/loop.h"
#include "rpc/ttrpc.h"
#include "runtime/hoststats.h"
#include "runtime/runtime.h"
#include "runtime/store.h"
#include "runtime/vmm.h"

#define SECOND_NS           INT64_C(1000000000)
#define DEFAULT_INTERVAL_NS (5 * SECOND_NS)
#define CONNECT_MS          5000
#define ANSWER_NS           (30 * SECOND_NS) /* of a single line */

struct events {
	const struct sm_store *store;
	struct sm_cgroups cgroups;
	struct sm_loop *loop;
	struct sm_rpc *rpc;
	struct sm_timer *timer;
	uint64_t interval_ns;
	bool once;
	Supermachine__Sandbox__V1__InfoResponse vm; /* its numbers */
	bool asked;                                 /* Info or Stats is not answered yet */
	bool told;                                  /* the one line was printed */
	bool watching;                              /* WaitOom stands */
	uint64_t kills;                             /* seen */
	int result;
	struct sm_err *err;
};

static void stop(struct events *e, int result)
{
	if (!e->result)
		e->result = result;
	sm_loop_stop(e->loop);
}

static void print_line(struct events *e, struct sm_jsonout *j)
{
	const char *text;
	size_t len;
	int r = sm_jsonout_text(j, &text, &len);

	if (r < 0)
		stop(e, sm_err_sys(e->err, r, "events"));
	else if (printf("%.*s\n", (int)len, text) < 0 || fflush(stdout) != 0)
		stop(e, sm_err_sys(e->err, errno, "standard output"));
}

/* ---- oom ------------------------------------------------------------------------------------ */

static void ask_oom(struct events *e);

static void on_oom(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	sm_auto_json struct sm_jsonout *j = NULL;
	struct events *e = arg;

	(void)text;
	if (code != SM_RPC_OK)
		return;
	j = sm_jsonout_new(NULL);
	sm_hoststats_show_oom(j, e->store->id);
	print_line(e, j);
	e->kills = ((const Supermachine__Agent__V1__WaitOomResponse *)rsp)->kills;
	ask_oom(e);
}

/* What fails here ends the connection. */
static void ask_oom(struct events *e)
{
	Supermachine__Agent__V1__WaitOomRequest req =
		SUPERMACHINE__AGENT__V1__WAIT_OOM_REQUEST__INIT;

	req.id = e->store->id;
	req.seen = e->kills;
	sm_rpc_send(e->rpc, SM_VMM_SERVICE, "WaitOom", &req.base, NULL, 0,
		    &supermachine__agent__v1__wait_oom_response__descriptor, on_oom, e);
}

/* ---- stats ---------------------------------------------------------------------------------- */

static void show(struct events *e, const Supermachine__Agent__V1__StatsResponse *guest)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	struct sm_hoststats host;

	sm_hoststats_read(&e->cgroups, &host);
	sm_hoststats_show(j, e->store->id, &host, guest, &e->vm);
	print_line(e, j);
}

/* The first answer says from where the kills count. */
static void on_stats(void *arg, enum sm_rpc_code code, const char *text,
		     const ProtobufCMessage *rsp)
{
	const Supermachine__Agent__V1__StatsResponse *guest =
		(const Supermachine__Agent__V1__StatsResponse *)rsp;
	struct events *e = arg;

	e->asked = false;
	if (code == SM_RPC_UNAVAILABLE || code == SM_RPC_CANCELLED)
		return; /* on_closed() comes, or this is the end */
	if (code != SM_RPC_OK) {
		if (e->once)
			stop(e, sm_err_set(e->err, -EIO, "%s", text));
		return;
	}
	if (e->once || e->watching)
		show(e, guest);
	if (e->once) {
		e->told = true;
		stop(e, 0);
	} else if (!e->watching) {
		e->watching = true;
		e->kills = guest->oom_kills;
		ask_oom(e);
	}
}

/* What fails here ends the connection. */
static void on_info(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;
	struct events *e = arg;

	(void)text;
	e->asked = false;
	if (code != SM_RPC_OK)
		return;
	e->vm = *(const Supermachine__Sandbox__V1__InfoResponse *)rsp;
	e->vm.backend = e->vm.kernel = e->vm.agent_version = NULL; /* rsp's own */
	req.id = e->store->id;
	e->asked =
		sm_rpc_send(e->rpc, SM_VMM_SERVICE, "Stats", &req.base, NULL, 0,
			    &supermachine__agent__v1__stats_response__descriptor, on_stats, e) == 0;
}

static void ask_stats(struct events *e)
{
	Supermachine__Agent__V1__Empty req = SUPERMACHINE__AGENT__V1__EMPTY__INIT;

	if (!e->asked)
		e->asked = sm_rpc_send(e->rpc, SM_VMM_SERVICE, "Info", &req.base, NULL, 0,
				       &supermachine__sandbox__v1__info_response__descriptor,
				       on_info, e) == 0;
}

static void on_timer(void *arg)
{
	struct events *e = arg;

	if (e->once) {
		stop(e, sm_err_set(e->err, -ETIMEDOUT, "the guest does not answer"));
		return;
	}
	ask_stats(e);
	sm_timer_set(e->loop, e->timer, e->interval_ns);
}

static int not_running(struct events *e)
{
	return sm_err_set(e->err, -ESRCH, "container with id %s is not running", e->store->id);
}

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct events *e = arg;

	(void)rpc;
	(void)err;
	if (e->once && !e->told)
		stop(e, not_running(e));
	sm_loop_stop(e->loop);
}

/* ---- the command ---------------------------------------------------------------------------- */

static int connect_vmm(struct events *e, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	int r = sm_vmm_connect(e->store->dirfd, CONNECT_MS, &vmm, err);

	if (r < 0)
		return r;
	e->loop = sm_loop_new();
	if (!e->loop)
		return sm_err_sys(err, errno, "event loop");
	r = sm_rpc_new(e->loop, sm_steal_fd(&vmm.fd), NULL, NULL, on_closed, e, &e->rpc);
	if (r == 0)
		r = sm_timer_add(e->loop, e->once ? ANSWER_NS : e->interval_ns, on_timer, e,
				 &e->timer);
	return r < 0 ? sm_err_sys(err, r, "connection to sm-vmm") : 0;
}

static int follow(struct events *e, const struct sm_state *state, struct sm_err *err)
{
	int r = sm_cgroup_find(state->arena, &state->cgroups, &e->cgroups, err);

	e->err = err;
	if (r == 0)
		r = connect_vmm(e, err);
	if (r < 0 && !sm_proc_alive(&state->vmm))
		r = not_running(e);
	if (r == 0) {
		ask_stats(e);
		r = sm_loop_run(e->loop);
		r = r < 0 ? sm_err_sys(err, r, "event loop") : e->result;
	}
	sm_rpc_free(e->rpc);
	sm_loop_free(e->loop);
	return r;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	int64_t interval = DEFAULT_INTERVAL_NS;
	bool once = false;
	const struct sm_opt opts[] = {
		{ "interval", 0, SM_OPT_DURATION, &interval, "TIME",
		  "time between two lines of numbers, like 500ms or 1m30s (default 5s)" },
		{ "stats", 0, SM_OPT_BOOL, &once, NULL, "print the numbers once" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	struct events e = { .store = &s };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_find(rt->root, args.v[0], &s, &state, err);
	if (r < 0)
		return r;
	if (interval <= 0)
		return sm_err_set(err, -EINVAL, "duration interval must be greater than 0");
	e.err = err;
	if (sm_state_status(state) == SM_STATUS_STOPPED)
		return not_running(&e);
	e.interval_ns = (uint64_t)interval;
	e.once = once;
	return follow(&e, state, err);
}

const struct sm_command sm_cmd_events = {
	.name = "events",
	.args = "<container-id>",
	.summary = "print what the container uses, and when it runs out of memory",
	.text = "   Prints a line of JSON with numbers every five seconds, and one whenever\n"
		"   the guest's kernel kills a process of the container because it used\n"
		"   more memory than it may. Ends when the container does.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
