/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/resources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/container.h"
#include "guest/agent/reply.h"

enum { FILE_MAX = 65536, COUNTERS_MAX = 256, FILES_MAX = 256, WAITERS_MAX = 64 };

#define USEC UINT64_C(1000)

typedef Supermachine__Agent__V1__StatsResponse stats_msg;
typedef Supermachine__Agent__V1__Counter counter_msg;

/* ---- numbers -------------------------------------------------------------------------------- */

/* A file of one number; "max" and what cannot be read are `none`. */
static uint64_t number(int dirfd, const char *name, uint64_t none)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(FILE_MAX);
	char *end;
	uint64_t v;

	if (sm_read_file_at(dirfd, name, &text) < 0 || !text.data)
		return none;
	v = strtoull((char *)text.data, &end, 10);
	return end == (char *)text.data ? none : v;
}

/* Lines of "name number" */
typedef int line_fn(void *arg, const char *name, uint64_t value);

static int each_line(int dirfd, const char *file, line_fn *fn, void *arg)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(FILE_MAX);
	char *save = NULL, *line;
	int r = sm_read_file_at(dirfd, file, &text);

	if (r < 0 || !text.data)
		return 0; /* a controller that this kernel lacks */
	for (line = strtok_r((char *)text.data, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		char *space = strchr(line, ' ');

		if (!space)
			continue;
		*space = '\0';
		r = fn(arg, line, strtoull(space + 1, NULL, 10));
	}
	return r;
}

static int on_cpu(void *arg, const char *name, uint64_t value)
{
	stats_msg *m = arg;

	if (!strcmp(name, "usage_usec"))
		m->cpu_usage_ns = value * USEC;
	else if (!strcmp(name, "user_usec"))
		m->cpu_user_ns = value * USEC;
	else if (!strcmp(name, "system_usec"))
		m->cpu_system_ns = value * USEC;
	return 0;
}

static int on_event(void *arg, const char *name, uint64_t value)
{
	stats_msg *m = arg;

	if (!strcmp(name, "max"))
		m->memory_failures = value;
	else if (!strcmp(name, "oom_kill"))
		m->oom_kills = value;
	return 0;
}

static int on_memory(void *arg, const char *name, uint64_t value)
{
	stats_msg *m = arg;
	counter_msg *c;

	if (m->n_memory_stat == COUNTERS_MAX)
		return 0;
	c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	supermachine__agent__v1__counter__init(c);
	c->value = value;
	c->name = strdup(name);
	if (!c->name) {
		free(c);
		return -ENOMEM;
	}
	m->memory_stat[m->n_memory_stat++] = c;
	return 0;
}

void sm_stats_free(stats_msg *m)
{
	for (size_t i = 0; i < m->n_memory_stat; i++) {
		free(m->memory_stat[i]->name);
		free(m->memory_stat[i]);
	}
	free(sm_steal_ptr(m->memory_stat));
	m->n_memory_stat = 0;
}

int sm_stats_read(int dirfd, stats_msg *m)
{
	int r;

	supermachine__agent__v1__stats_response__init(m);
	m->memory_stat = calloc(COUNTERS_MAX, sizeof(counter_msg *));
	r = m->memory_stat ? each_line(dirfd, "memory.stat", on_memory, m) : -ENOMEM;
	if (r < 0) {
		sm_stats_free(m);
		return r;
	}
	each_line(dirfd, "cpu.stat", on_cpu, m);
	each_line(dirfd, "memory.events", on_event, m);
	m->memory_usage = number(dirfd, "memory.current", 0);
	m->memory_limit = number(dirfd, "memory.max", UINT64_MAX);
	m->memory_peak = number(dirfd, "memory.peak", 0);
	m->pids_current = number(dirfd, "pids.current", 0);
	m->pids_limit = number(dirfd, "pids.max", UINT64_MAX);
	return 0;
}

/* ---- settings ------------------------------------------------------------------------------- */

static void write_back(int dirfd, Supermachine__Agent__V1__KeyValue *const *files,
		       struct sm_buf *old, size_t n)
{
	while (n--)
		sm_write_existing_at(dirfd, files[n]->key,
				     old[n].data ? (const char *)old[n].data : "");
}

int sm_cgroup_update(int dirfd, Supermachine__Agent__V1__KeyValue *const *files, size_t n,
		     struct sm_err *err)
{
	struct sm_buf *old = calloc(n + 1, sizeof(*old));
	size_t done = 0;
	int r = old ? 0 : -ENOMEM;

	while (r == 0 && done < n) {
		const char *key = files[done]->key;

		old[done].max = FILE_MAX;
		r = !*key || strchr(key, '/') ? -EINVAL : sm_read_file_at(dirfd, key, &old[done]);
		if (r == 0)
			r = sm_write_existing_at(dirfd, key, files[done]->value);
		if (r < 0)
			sm_err_sys(err, r, "write \"%s\" to cgroup file %s", files[done]->value,
				   key);
		else
			done++;
	}
	if (old && r < 0)
		write_back(dirfd, files, old, done);
	for (size_t i = 0; old && i < n; i++)
		sm_buf_free(&old[i]);
	free(old);
	return r;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* The container of a request that has a cgroup, or the request is answered. */
static struct sm_container *get(struct sm_guest *g, struct sm_rpc_call *call, const char *id)
{
	struct sm_container *c = sm_container_find(g, id);

	if (!c || c->deleting) {
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "container does not exist");
		return NULL;
	}
	if (c->first->state == SM_PROC_ENDED || c->cgroup.fd < 0) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not running");
		return NULL;
	}
	return c;
}

void sm_request_stats(struct sm_guest *g, struct sm_rpc_call *call,
		      const Supermachine__Agent__V1__ContainerRequest *req)
{
	struct sm_container *c = get(g, call, req->id);
	stats_msg rsp;

	if (!c)
		return;
	if (sm_stats_read(c->cgroup.fd, &rsp) < 0) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
		return;
	}
	sm_rpc_reply(call, &rsp.base);
	sm_stats_free(&rsp);
}

void sm_request_update(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__UpdateRequest *req)
{
	struct sm_container *c = get(g, call, req->id);
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	if (!c)
		return;
	if (req->n_cgroup > FILES_MAX)
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "too many cgroup files");
	else if (sm_cgroup_update(c->cgroup.fd, req->cgroup, req->n_cgroup, &err) < 0)
		sm_rpc_fail(call, SM_RPC_UNKNOWN, "%s", sm_err_text(&err));
	else
		sm_reply_empty(call);
}

/* ---- out of memory -------------------------------------------------------------------------- */

struct sm_oom_waiter {
	struct sm_oom_waiter *next;
	struct sm_rpc_call *call;
	uint64_t seen;
};

static void tell(struct sm_rpc_call *call, uint64_t kills)
{
	Supermachine__Agent__V1__WaitOomResponse rsp =
		SUPERMACHINE__AGENT__V1__WAIT_OOM_RESPONSE__INIT;

	rsp.kills = kills;
	sm_rpc_reply(call, &rsp.base);
}

static void tell_ended(struct sm_rpc_call *call)
{
	sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not running");
}

void sm_oom_look(struct sm_container *c)
{
	struct sm_oom_waiter **at = &c->oom.waiters, *w;
	stats_msg m = SUPERMACHINE__AGENT__V1__STATS_RESPONSE__INIT;

	if (c->cgroup.fd < 0)
		return;
	each_line(c->cgroup.fd, "memory.events", on_event, &m);
	if (m.oom_kills > c->oom.kills)
		c->oom.kills = m.oom_kills;
	while ((w = *at)) {
		if (w->seen >= c->oom.kills) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		c->oom.nwaiters--;
		tell(w->call, c->oom.kills);
		free(w);
	}
}

void sm_oom_end(struct sm_container *c)
{
	struct sm_oom_waiter *w;

	sm_oom_look(c);
	sm_loop_remove(c->g->loop, sm_steal_ptr(c->oom.io));
	sm_close(&c->oom.fd);
	while ((w = c->oom.waiters)) {
		c->oom.waiters = w->next;
		tell_ended(w->call);
		free(w);
	}
	c->oom.nwaiters = 0;
}

static void on_change(void *arg, uint32_t events)
{
	(void)events;
	sm_oom_look(arg);
}

void sm_oom_watch(struct sm_container *c)
{
	char byte;

	c->oom.fd = openat(c->cgroup.fd, "memory.events", O_RDONLY | O_CLOEXEC);
	/* Until it was read once, kernfs knows no state that could have changed. */
	if (c->oom.fd < 0 || read(c->oom.fd, &byte, 1) < 0 ||
	    sm_loop_add(c->g->loop, c->oom.fd, EPOLLPRI | EPOLLET, on_change, c, &c->oom.io) < 0)
		sm_close(&c->oom.fd);
}

void sm_request_wait_oom(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__WaitOomRequest *req)
{
	struct sm_container *c = sm_container_find(g, req->id);
	struct sm_oom_waiter *w;

	if (!c || c->deleting) {
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "container does not exist");
		return;
	}
	if (!c->gone)
		sm_oom_look(c);
	if (c->oom.kills > req->seen) {
		tell(call, c->oom.kills);
		return;
	}
	if (c->gone) {
		tell_ended(call);
		return;
	}
	w = c->oom.nwaiters < WAITERS_MAX ? malloc(sizeof(*w)) : NULL;
	if (!w) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "too many wait");
		return;
	}
	*w = (struct sm_oom_waiter){ c->oom.waiters, call, req->seen };
	c->oom.waiters = w;
	c->oom.nwaiters++;
}
