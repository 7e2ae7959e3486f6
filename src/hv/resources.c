/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/resources.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define AGENT(name) Supermachine__Agent__V1__##name

#define COUNTERS_MAX 256
#define NAME_LEN_MAX 64
#define WAITERS_MAX  256

/* ---- stats ---------------------------------------------------------------------------------- */

static bool is_word(const char *name)
{
	size_t len = strlen(name);

	return len && len <= NAME_LEN_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

bool sm_stats_valid(const AGENT(StatsResponse) * stats)
{
	if (stats->n_memory_stat > COUNTERS_MAX)
		return false;
	for (size_t i = 0; i < stats->n_memory_stat; i++)
		if (!is_word(stats->memory_stat[i]->name))
			return false;
	return true;
}

/* ---- out of memory -------------------------------------------------------------------------- */

struct waiter {
	struct waiter *next;
	struct sm_rpc_call *call;
	const struct sm_rpc *rpc;
	uint64_t seen;
};

struct sm_oom {
	struct sm_agent *agent;
	char *id;
	uint64_t kills;
	uint64_t next_log;
	bool over;  /* the agent will say no more */
	bool asked; /* on_answer() will come */
	bool freed; /* … and be the last to know us */
	struct waiter *waiters;
	size_t nwaiters;
};

static void fail_ended(struct sm_rpc_call *call)
{
	sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not running");
}

static void tell(struct sm_rpc_call *call, uint64_t kills)
{
	AGENT(WaitOomResponse) rsp = SUPERMACHINE__AGENT__V1__WAIT_OOM_RESPONSE__INIT;

	rsp.kills = kills;
	sm_rpc_reply(call, &rsp.base);
}

/* Answers those for whom `answer` is there; rpc: that client's only. */
static void look_at_waiters(struct sm_oom *o, const struct sm_rpc *rpc)
{
	struct waiter **at = &o->waiters, *w;

	while ((w = *at)) {
		bool gone = rpc && w->rpc == rpc;

		if (!gone && !o->over && w->seen >= o->kills) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		o->nwaiters--;
		if (!gone && w->seen < o->kills)
			tell(w->call, o->kills);
		else
			fail_ended(w->call);
		free(w);
	}
}

static void ask(struct sm_oom *o);

static void report(struct sm_oom *o)
{
	if (o->kills < o->next_log)
		return;
	sm_warn("%s: out of memory in the guest: %llu process(es) of the container killed", o->id,
		(unsigned long long)o->kills);
	o->next_log = o->kills > UINT64_MAX / 2 ? UINT64_MAX : 2 * o->kills;
}

static void release(struct sm_oom *o)
{
	free(o->id);
	free(o);
}

static void on_answer(void *arg, enum sm_rpc_code code, const char *text,
		      const ProtobufCMessage *rsp)
{
	const AGENT(WaitOomResponse) *m = (const AGENT(WaitOomResponse) *)rsp;
	struct sm_oom *o = arg;

	(void)text;
	o->asked = false;
	if (o->freed) {
		release(o);
		return;
	}
	if (code == SM_RPC_OK && m->kills > o->kills) {
		o->kills = m->kills;
		report(o);
		ask(o);
	} else {
		o->over = true;
	}
	look_at_waiters(o, NULL);
}

static void ask(struct sm_oom *o)
{
	AGENT(WaitOomRequest) req = SUPERMACHINE__AGENT__V1__WAIT_OOM_REQUEST__INIT;

	req.id = o->id;
	req.seen = o->kills;
	o->asked = sm_agent_call(o->agent, "WaitOom", &req.base,
				 &supermachine__agent__v1__wait_oom_response__descriptor, on_answer,
				 o) == 0;
	o->over = !o->asked;
}

struct sm_oom *sm_oom_new(struct sm_agent *agent, const char *id)
{
	struct sm_oom *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->agent = agent;
	o->id = strdup(id);
	if (!o->id) {
		free(o);
		return NULL;
	}
	ask(o);
	return o;
}

void sm_oom_free(struct sm_oom *o)
{
	if (!o)
		return;
	o->over = true;
	look_at_waiters(o, NULL);
	o->freed = true;
	if (!o->asked)
		release(o);
}

uint64_t sm_oom_kills(const struct sm_oom *o)
{
	return o ? o->kills : 0;
}

void sm_oom_wait(struct sm_oom *o, struct sm_rpc_call *call, uint64_t seen)
{
	struct waiter *w;

	if (o->kills > seen) {
		tell(call, o->kills);
		return;
	}
	if (o->over) {
		fail_ended(call);
		return;
	}
	w = o->nwaiters < WAITERS_MAX ? malloc(sizeof(*w)) : NULL;
	if (!w) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "too many wait");
		return;
	}
	*w = (struct waiter){ o->waiters, call, sm_rpc_call_conn(call), seen };
	o->waiters = w;
	o->nwaiters++;
}

void sm_oom_client_gone(struct sm_oom *o, const struct sm_rpc *rpc)
{
	if (o)
		look_at_waiters(o, rpc);
}
