/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/proc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clean.h"
#include "base/log.h"
#include "hv/resources.h"

#define AGENT(name) Supermachine__Agent__V1__##name

/* A client's connection and three streams, of a quarter of the descriptors: half are for TSI's
 * sockets, the rest is for the guest's files. */
#define FDS_EACH  4
#define FDS_SHARE 4

/* One who is told of the end. */
struct sm_waiter {
	struct sm_waiter *next;
	struct sm_rpc_call *call;
};

size_t sm_procs_limit(void)
{
	struct rlimit lim;
	rlim_t n = SM_PROCS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur / FDS_SHARE / FDS_EACH < n)
		n = lim.rlim_cur / FDS_SHARE / FDS_EACH;
	return n ? n : 1;
}

struct sm_proc *sm_proc_find(struct sm_procs *t, const char *id, const char *exec_id)
{
	for (struct sm_proc *p = t->first; p; p = p->next)
		if (strcmp(p->id, id) == 0 && strcmp(p->exec_id, exec_id) == 0)
			return p;
	return NULL;
}

static void remove_exports(struct sm_proc *p)
{
	for (size_t i = 0; i < p->nexports; i++) {
		sm_fs_remove_export(p->table->fs, p->exports[i]);
		free(p->exports[i]);
	}
	free(p->exports);
	p->exports = NULL;
	p->nexports = 0;
}

void sm_proc_free(struct sm_proc *p)
{
	struct sm_proc **at = &p->table->first;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at) {
		*at = p->next;
		p->table->n--;
	}
	sm_stdio_detach(&p->io);
	remove_exports(p);
	sm_oom_free(p->oom);
	free(p->id);
	free(p->exec_id);
	free(p);
}

static void refuse(const struct sm_procs *t, struct sm_rpc_call *call, const char *what)
{
	sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED,
		    "%s: this VM has %zu containers and execs already, and %s: end some first%s",
		    what, t->n,
		    t->max < SM_PROCS_MAX ? "more would need more open files than sm-vmm may have"
					  : "there can be no more in one",
		    t->max < SM_PROCS_MAX ? ", or raise RLIMIT_NOFILE where they are created" : "");
}

struct sm_proc *sm_proc_new(struct sm_procs *t, struct sm_rpc_call *call, const char *id,
			    const char *exec_id)
{
	struct sm_proc *p;

	if (sm_proc_find(t, id, exec_id)) {
		sm_rpc_fail(call, SM_RPC_ALREADY_EXISTS, "%s with given ID already exists",
			    *exec_id ? "exec" : "container");
		return NULL;
	}
	if (t->n >= t->max) {
		refuse(t, call, *exec_id ? "exec" : "container");
		return NULL;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	p->table = t;
	p->id = strdup(id);
	p->exec_id = strdup(exec_id);
	p->maker = call;
	p->io.tty = -1;
	p->next = t->first;
	t->first = p;
	t->n++;
	if (!p->id || !p->exec_id) {
		sm_proc_free(p);
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	return p;
}

static void answer_waiters(struct sm_proc *p, const char *lost)
{
	AGENT(WaitResponse) rsp = SUPERMACHINE__AGENT__V1__WAIT_RESPONSE__INIT;
	struct sm_waiter *w;

	rsp.status = p->status;
	while ((w = p->waiters)) {
		p->waiters = w->next;
		if (lost)
			sm_rpc_fail(w->call, SM_RPC_UNAVAILABLE, "%s", lost);
		else
			sm_rpc_reply(w->call, &rsp.base);
		free(w);
	}
}

void sm_proc_client_gone(struct sm_proc *p)
{
	struct sm_waiter **at = &p->waiters, *w;

	while ((w = *at)) {
		if (sm_rpc_call_conn(w->call)) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		sm_rpc_fail(w->call, SM_RPC_CANCELLED, "the client is gone");
		free(w);
	}
}

void sm_proc_lost(struct sm_proc *p, const char *why)
{
	answer_waiters(p, why);
}

static void tell(struct sm_proc *p)
{
	answer_waiters(p, NULL);
	p->table->told(p->table->arg, p);
}

static void on_drained(void *arg)
{
	struct sm_proc *p = arg;

	if (--p->draining)
		return;
	tell(p);
	sm_proc_reap(p);
}

void sm_proc_drop_output(struct sm_proc *p)
{
	sm_stdio_detach(&p->io);	/* no on_drained() of an aborted stream */
	if (p->draining) {
		p->draining = 0;
		tell(p);
	}
}

static void drain(struct sm_proc *p)
{
	p->draining = 1;	/* so that on_drained() cannot tell before the loop is through */
	for (size_t i = 1; i < SM_ARRAY_SIZE(p->io.stream); i++) {
		if (!p->io.stream[i].open)
			continue;
		p->draining++;
		if (sm_vsock_drain(p->table->vs, p->io.stream[i].port, on_drained, p) < 0)
			p->draining--;
	}
	if (--p->draining == 0)
		tell(p);
}

void sm_proc_reap(struct sm_proc *p)
{
	if (*p->exec_id && p->state == SM_PROC_ENDED && !p->draining && !p->owner &&
	    sm_stdio_drained(&p->io))
		sm_proc_free(p);
}

void sm_proc_stdio_changed(void *arg)
{
	sm_proc_reap(arg);
}

static void on_waited(void *arg, enum sm_rpc_code code, const char *text,
		      const ProtobufCMessage *rsp)
{
	struct sm_proc *p = arg;

	if (code != SM_RPC_OK) {
		if (code != SM_RPC_UNAVAILABLE && code != SM_RPC_CANCELLED)
			sm_error("%s: wait: %s", p->id, text);
		return;		/* lost() answers the waiters, or all are given up */
	}
	p->status = ((const AGENT(WaitResponse) *)rsp)->status;
	p->state = SM_PROC_ENDED;
	drain(p);
	sm_proc_reap(p);
}

void sm_proc_alive(struct sm_proc *p)
{
	AGENT(ProcessRequest) req = SUPERMACHINE__AGENT__V1__PROCESS_REQUEST__INIT;

	p->state = SM_PROC_ALIVE;
	req.id = p->id;
	req.exec_id = p->exec_id;
	sm_agent_call(p->table->agent, "Wait", &req.base,
		      &supermachine__agent__v1__wait_response__descriptor, on_waited, p);
}

void sm_proc_wait(struct sm_proc *p, struct sm_rpc_call *call)
{
	struct sm_waiter *w = calloc(1, sizeof(*w));

	if (!w) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	w->call = call;
	w->next = p->waiters;
	p->waiters = w;
	if (p->state == SM_PROC_ENDED && !p->draining)
		answer_waiters(p, NULL);
}
