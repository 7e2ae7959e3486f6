/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clean.h"
#include "spec/cgroup.h"

/* linux.resources to cgroup v2, with runc's conversions of the numbers that were v1's. */

#define PERIOD_DEFAULT 100000

/* The list being made. A failed allocation is remembered and told at the end. */
struct list {
	struct sm_arena *arena;
	struct sm_pair *v;
	size_t n;
	size_t cap;
	bool failed;
};

static void put(struct list *l, const char *file, const char *value)
{
	if (!file || !value) {
		l->failed = true;
		return;
	}
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 8;
		struct sm_pair *v = sm_arena_array(l->arena, cap, sizeof(*v));

		if (!v) {
			l->failed = true;
			return;
		}
		if (l->n)
			memcpy(v, l->v, l->n * sizeof(*v));
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct sm_pair){ file, value };
}

/* 0 is v1's word for unset, a negative number that for no limit. */
static void put_limit(struct list *l, const char *file, int64_t v, uint64_t more)
{
	if (v < 0)
		put(l, file, "max");
	else if (v > 0)
		put(l, file, sm_arena_strf(l->arena, "%" PRIu64, (uint64_t)v + more));
}

static void put_u64(struct list *l, const char *file, uint64_t v)
{
	put(l, file, sm_arena_strf(l->arena, "%" PRIu64, v));
}

uint64_t sm_cgroup_cpu_weight(uint64_t shares)
{
	if (!shares)
		return 0;
	shares = shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
	return 1 + (shares - 2) * 9999 / 262142;
}

uint64_t sm_cgroup_io_weight(uint64_t weight)
{
	return weight ? 1 + (weight - 10) * 9999 / 990 : 0;
}

/* v1's swap limit was memory and swap together. */
static int64_t swap_alone(const struct sm_memory *m)
{
	if (m->limit.v == -1 && !m->swap.v)
		return -1;
	return m->swap.v <= 0 ? m->swap.v : m->swap.v - m->limit.v;
}

/* Swap happens on the host only: the guest has none. */
static void put_swap(struct list *l, const struct sm_memory *m)
{
	int64_t swap = swap_alone(m);

	if (!swap && m->swap.v > 0)
		put(l, "memory.swap.max", "0");
	else
		put_limit(l, "memory.swap.max", swap, 0);
}

static void put_memory(struct list *l, const struct sm_memory *m, uint64_t overhead, bool host)
{
	if (!m)
		return;
	if (host)
		put_swap(l, m);
	put_limit(l, "memory.max", m->limit.v, overhead);
	put_limit(l, "memory.low", m->reservation.v, 0);
}

static void put_cpu(struct list *l, const struct sm_cpu *cpu)
{
	uint64_t period;

	if (!cpu)
		return;
	if (cpu->idle.v)
		put_u64(l, "cpu.idle", 1);
	else if (cpu->shares.v)
		put_u64(l, "cpu.weight", sm_cgroup_cpu_weight(cpu->shares.v));
	period = cpu->period.v ? cpu->period.v : PERIOD_DEFAULT;
	if (cpu->quota.v > 0)
		put(l, "cpu.max",
		    sm_arena_strf(l->arena, "%" PRId64 " %" PRIu64, cpu->quota.v, period));
	else if (cpu->quota.v < 0 || cpu->period.v)
		put(l, "cpu.max", sm_arena_strf(l->arena, "max %" PRIu64, period));
	if (cpu->burst.set)
		put_u64(l, "cpu.max.burst", cpu->burst.v);
	if (cpu->cpus && cpu->cpus[0])
		put(l, "cpuset.cpus", cpu->cpus);
	if (cpu->mems && cpu->mems[0])
		put(l, "cpuset.mems", cpu->mems);
}

static void put_throttle(struct list *l, const sm_throttle_list *devices, const char *key)
{
	for (size_t i = 0; i < devices->n; i++) {
		const struct sm_throttle_device *d = &devices->v[i];

		put(l, "io.max",
		    d->rate.v ? sm_arena_strf(l->arena, "%" PRId64 ":%" PRId64 " %s=%" PRIu64,
					      d->major.v, d->minor.v, key, d->rate.v)
			      : sm_arena_strf(l->arena, "%" PRId64 ":%" PRId64 " %s=max",
					      d->major.v, d->minor.v, key));
	}
}

static void put_io(struct list *l, const struct sm_block_io *io)
{
	if (!io)
		return;
	if (io->weight.v)
		put(l, "io.weight",
		    sm_arena_strf(l->arena, "default %" PRIu64, sm_cgroup_io_weight(io->weight.v)));
	for (size_t i = 0; i < io->weight_device.n; i++) {
		const struct sm_weight_device *d = &io->weight_device.v[i];

		if (d->weight.v)
			put(l, "io.weight",
			    sm_arena_strf(l->arena, "%" PRId64 ":%" PRId64 " %" PRIu64, d->major.v,
					  d->minor.v, sm_cgroup_io_weight(d->weight.v)));
	}
	put_throttle(l, &io->read_bps, "rbps");
	put_throttle(l, &io->write_bps, "wbps");
	put_throttle(l, &io->read_iops, "riops");
	put_throttle(l, &io->write_iops, "wiops");
}

static void put_hugepages(struct list *l, const struct sm_resources *r)
{
	for (size_t i = 0; i < r->hugepage_limits.n; i++)
		put(l, sm_arena_strf(l->arena, "hugetlb.%s.max", r->hugepage_limits.v[i].page_size),
		    sm_arena_strf(l->arena, "%" PRIu64, r->hugepage_limits.v[i].limit.v));
}

static const char *rdma_limit(struct list *l, const struct sm_u64 *v)
{
	return v->set ? sm_arena_strf(l->arena, "%" PRIu64, v->v) : "max";
}

static void put_rdma(struct list *l, const struct sm_resources *r)
{
	for (size_t i = 0; i < r->rdma.n; i++) {
		const struct sm_rdma *d = &r->rdma.v[i];
		const char *handles = rdma_limit(l, &d->hca_handles);
		const char *objects = rdma_limit(l, &d->hca_objects);

		if (!handles || !objects) {
			l->failed = true;
			return;
		}
		put(l, "rdma.max",
		    sm_arena_strf(l->arena, "%s hca_handle=%s hca_object=%s", d->device, handles,
				  objects));
	}
}

/* memory.* and pids.* are the guest's, for they are about the container's processes; the host's
 * files would count the VM's. */
static bool guest_key(const char *key)
{
	return !strncmp(key, "memory.", 7) || !strncmp(key, "pids.", 5);
}

static void put_unified(struct list *l, const struct sm_pairs *unified, bool host)
{
	for (size_t i = 0; i < unified->n; i++)
		if (guest_key(unified->v[i].key) != host)
			put(l, unified->v[i].key, unified->v[i].value);
}

int sm_cgroup_files(const struct sm_resources *resources, enum sm_cgroup_side side,
		    uint64_t overhead, struct sm_arena *arena, struct sm_pairs *files,
		    struct sm_err *err)
{
	struct list l = { .arena = arena };
	bool host = side == SM_CGROUP_HOST;

	put_memory(&l, resources->memory, host ? overhead : 0, host);
	if (!host && resources->pids)
		put_limit(&l, "pids.max", resources->pids->limit.v, 0);
	if (host) {
		put_cpu(&l, resources->cpu);
		put_io(&l, resources->block_io);
		put_hugepages(&l, resources);
		put_rdma(&l, resources);
	}
	put_unified(&l, &resources->unified, host);
	if (l.failed)
		return sm_err_sys(err, -ENOMEM, "linux.resources");
	*files = (struct sm_pairs){ l.v, l.n };
	return 0;
}
