/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/resources.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- sizes ---------------------------------------------------------------------------------- */

/* "100", "1.5": the digits' end, or NULL. */
static const char *skip_number(const char *p)
{
	const char *start = p;

	p += strspn(p, "0123456789");
	if (p == start)
		return NULL;
	if (*p == '.') {
		start = ++p;
		p += strspn(p, "0123456789");
		if (p == start)
			return NULL;
	}
	return p;
}

int sm_size_parse(const char *text, int64_t *bytes)
{
	static const char units[] = "kmgtp";
	const char *p = skip_number(text), *unit;
	int64_t scale = 1, whole, v;
	double part = 0;

	if (!p)
		return -EINVAL;
	errno = 0;
	whole = strtoll(text, NULL, 10);
	if (errno)
		return -EINVAL;
	if (memchr(text, '.', (size_t)(p - text)))
		part = strtod(strchr(text, '.'), NULL);
	p += *p == ' ';
	unit = *p ? strchr(units, tolower((unsigned char)*p)) : NULL;
	if (unit) {
		scale <<= 10 * (unit - units + 1);
		p++;
	}
	p += unit && (*p == 'i' || *p == 'I');
	p += *p == 'b' || *p == 'B';
	if (*p || __builtin_mul_overflow(whole, scale, &v) ||
	    __builtin_add_overflow(v, (int64_t)(part * (double)scale), &v))
		return -EINVAL;
	*bytes = v;
	return 0;
}

/* ---- merging -------------------------------------------------------------------------------- */

#define TAKE(to, from, field)                                                                      \
	do {                                                                                       \
		if ((from)->field.set && (from)->field.v)                                          \
			(to)->field = (from)->field;                                               \
	} while (0)

static void take_memory(struct sm_memory *to, const struct sm_memory *from)
{
	TAKE(to, from, limit);
	TAKE(to, from, swap);
	TAKE(to, from, reservation);
}

static void take_cpu(struct sm_cpu *to, const struct sm_cpu *from)
{
	TAKE(to, from, shares);
	TAKE(to, from, quota);
	TAKE(to, from, period);
	TAKE(to, from, realtime_runtime);
	TAKE(to, from, realtime_period);
	/* of these, 0 is a value */
	if (from->burst.set)
		to->burst = from->burst;
	if (from->idle.set)
		to->idle = from->idle;
	if (from->cpus && *from->cpus)
		to->cpus = from->cpus;
	if (from->mems && *from->mems)
		to->mems = from->mems;
}

/* The parts that can change, each there and mutable. */
struct parts {
	struct sm_resources all;
	struct sm_memory memory;
	struct sm_cpu cpu;
	struct sm_pids pids;
	struct sm_block_io block_io;
};

static struct parts *parts_new(struct sm_arena *arena)
{
	struct parts *p = sm_arena_alloc(arena, sizeof(*p));

	if (!p)
		return NULL;
	p->all.memory = &p->memory;
	p->all.cpu = &p->cpu;
	p->all.pids = &p->pids;
	p->all.block_io = &p->block_io;
	return p;
}

static int take_unified(struct sm_arena *arena, struct sm_pairs *to, const struct sm_pairs *from)
{
	struct sm_pair *v;
	size_t n = 0;

	if (!from->n)
		return 0;
	v = sm_arena_array(arena, to->n + from->n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < to->n; i++) {
		bool replaced = false;

		for (size_t k = 0; k < from->n; k++)
			replaced |= !strcmp(to->v[i].key, from->v[k].key);
		if (!replaced)
			v[n++] = to->v[i];
	}
	memcpy(v + n, from->v, from->n * sizeof(*v));
	*to = (struct sm_pairs){ v, n + from->n };
	return 0;
}

static int take(struct sm_arena *arena, struct parts *to, const struct sm_resources *from)
{
	if (from->memory)
		take_memory(&to->memory, from->memory);
	if (from->cpu)
		take_cpu(&to->cpu, from->cpu);
	if (from->pids)
		TAKE(&to->pids, from->pids, limit);
	if (from->block_io)
		TAKE(&to->block_io, from->block_io, weight);
	return take_unified(arena, &to->all.unified, &from->unified);
}

int sm_resources_merge(struct sm_arena *arena, const struct sm_resources *base,
		       const struct sm_resources *change, struct sm_resources **merged,
		       struct sm_resources **apply)
{
	struct parts *all = parts_new(arena), *some = parts_new(arena);
	const struct sm_i64 none = { true, -1 };

	if (!all || !some || take(arena, all, base) < 0 || take(arena, all, change) < 0 ||
	    take(arena, some, change) < 0)
		return -ENOMEM;
	/* no limit of memory alone lifts that of memory and swap too, as runc has it */
	if (some->memory.limit.v == -1 && !some->memory.swap.v)
		all->memory.swap = none;
	if (some->cpu.quota.v || some->cpu.period.v) {
		some->cpu.quota = all->cpu.quota;
		some->cpu.period = all->cpu.period;
	}
	if (some->memory.limit.v || some->memory.swap.v) {
		some->memory.limit = all->memory.limit;
		some->memory.swap = all->memory.swap;
	}
	*merged = &all->all;
	*apply = &some->all;
	return 0;
}

/* ---- showing -------------------------------------------------------------------------------- */

static void put_i64(struct sm_jsonout *j, const char *key, struct sm_i64 v)
{
	if (v.set)
		sm_jsonout_number(j, key, v.v);
}

static void put_u64(struct sm_jsonout *j, const char *key, struct sm_u64 v)
{
	if (v.set)
		sm_jsonout_u64(j, key, v.v);
}

static void show_cpu(struct sm_jsonout *j, const struct sm_cpu *c)
{
	sm_jsonout_key(j, "cpu");
	sm_jsonout_open(j);
	put_u64(j, "shares", c->shares);
	put_i64(j, "quota", c->quota);
	put_u64(j, "burst", c->burst);
	put_u64(j, "period", c->period);
	put_i64(j, "realtimeRuntime", c->realtime_runtime);
	put_u64(j, "realtimePeriod", c->realtime_period);
	if (c->cpus)
		sm_jsonout_string(j, "cpus", c->cpus);
	if (c->mems)
		sm_jsonout_string(j, "mems", c->mems);
	put_i64(j, "idle", c->idle);
	sm_jsonout_close(j);
}

void sm_resources_show(struct sm_jsonout *j, const struct sm_resources *r)
{
	sm_jsonout_open(j);
	if (r->memory) {
		sm_jsonout_key(j, "memory");
		sm_jsonout_open(j);
		put_i64(j, "limit", r->memory->limit);
		put_i64(j, "reservation", r->memory->reservation);
		put_i64(j, "swap", r->memory->swap);
		sm_jsonout_close(j);
	}
	if (r->cpu)
		show_cpu(j, r->cpu);
	if (r->pids) {
		sm_jsonout_key(j, "pids");
		sm_jsonout_open(j);
		put_i64(j, "limit", r->pids->limit);
		sm_jsonout_close(j);
	}
	if (r->block_io) {
		sm_jsonout_key(j, "blockIO");
		sm_jsonout_open(j);
		put_u64(j, "weight", r->block_io->weight);
		sm_jsonout_close(j);
	}
	sm_jsonout_pairs(j, "unified", &r->unified);
	sm_jsonout_close(j);
}
