/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may answer for `events` and `ps`. The first byte says which message the rest is:
 *
 *	0	StatsResponse: what sm-vmm lets through becomes a line of JSON
 *	1	ProcessesResponse: becomes a table, line by line
 *	2	counts of kills for want of memory, 8 bytes each, answers to WaitOom
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include "base/clean.h"
#include "base/log.h"
#include "hv/resources.h"
#include "runtime/hoststats.h"
#include "runtime/pstable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the agent's connection, played: the one request that stands ---- */

struct sm_agent {
	sm_rpc_done_fn *done;
	void *arg;
	uint64_t seen;
};

int sm_agent_call(struct sm_agent *a, const char *method, const ProtobufCMessage *req,
		  const ProtobufCMessageDescriptor *out, sm_rpc_done_fn *done, void *arg)
{
	check(!a->done && !strcmp(method, "WaitOom"));
	a->done = done;
	a->arg = arg;
	a->seen = ((const Supermachine__Agent__V1__WaitOomRequest *)req)->seen;
	return 0;
}

static void answer(struct sm_agent *a, enum sm_rpc_code code, const ProtobufCMessage *rsp)
{
	sm_rpc_done_fn *done = sm_steal_ptr(a->done);

	done(a->arg, code, "", rsp);
}

static void try_kills(const uint8_t *data, size_t len)
{
	Supermachine__Agent__V1__WaitOomResponse rsp =
		SUPERMACHINE__AGENT__V1__WAIT_OOM_RESPONSE__INIT;
	struct sm_agent a = { 0 };
	struct sm_oom *o = sm_oom_new(&a, "c");
	uint64_t most = 0;

	check(o != NULL);
	for (; len >= sizeof(rsp.kills) && a.done; len -= sizeof(rsp.kills)) {
		memcpy(&rsp.kills, data, sizeof(rsp.kills));
		data += sizeof(rsp.kills);
		answer(&a, SM_RPC_OK, &rsp.base);
		most = rsp.kills > most ? rsp.kills : most;
		/* who says the same or less is asked no more */
		check(sm_oom_kills(o) == most && (!a.done || a.seen == most));
	}
	sm_oom_free(o);
	if (a.done)
		answer(&a, SM_RPC_UNAVAILABLE, NULL);
}

/* ---- messages ---- */

static void try_stats(const uint8_t *data, size_t len)
{
	static const struct sm_hoststats host;
	static const Supermachine__Sandbox__V1__InfoResponse vm =
		SUPERMACHINE__SANDBOX__V1__INFO_RESPONSE__INIT; /* sm-vmm's own */
	Supermachine__Agent__V1__StatsResponse *m =
		supermachine__agent__v1__stats_response__unpack(NULL, len, data);
	sm_auto_json struct sm_jsonout *j = NULL;
	const char *text;
	yajl_val tree;
	size_t n;

	if (m && sm_stats_valid(m)) {
		j = sm_jsonout_new(NULL);
		sm_hoststats_show(j, "c", &host, m, &vm);
		check(sm_jsonout_text(j, &text, &n) == 0 && !memchr(text, '\n', n));
		tree = yajl_tree_parse(text, NULL, 0);
		check(YAJL_IS_OBJECT(tree));
		yajl_tree_free(tree);
	}
	if (m)
		supermachine__agent__v1__stats_response__free_unpacked(m, NULL);
}

static void try_processes(const uint8_t *data, size_t len)
{
	sm_auto_ps_format struct sm_ps_format f = SM_PS_FORMAT_INIT;
	static char *const args[] = { (char *)"-eo",
				      (char *)"pid,ppid,user,stat,tty,time,etime,lstart,pcpu,pmem,"
					      "vsz,rss,ni,pri,nlwp,comm,args" };
	Supermachine__Agent__V1__ProcessesResponse *m =
		supermachine__agent__v1__processes_response__unpack(NULL, len, data);
	sm_auto_free char *table = NULL;
	size_t lines = 0;

	if (!m)
		return;
	check(sm_ps_format_parse(&f, args, SM_ARRAY_SIZE(args), NULL) == 0);
	table = sm_ps_table(&f, m);
	check(table != NULL);
	for (const char *c = table; *c; c++) {
		lines += *c == '\n';
		check(*c == '\n' || !iscntrl((unsigned char)*c));
	}
	check(lines == 1 + m->n_processes);
	supermachine__agent__v1__processes_response__free_unpacked(m, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static void (*const tries[])(const uint8_t *, size_t) = { try_stats, try_processes,
								  try_kills };

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	if (len)
		tries[data[0] % SM_ARRAY_SIZE(tries)](data + 1, len - 1);
	return 0;
}
