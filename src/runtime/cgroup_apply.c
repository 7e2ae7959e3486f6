/* SPDX-License-Identifier: Apache-2.0 */
/* linux.resources on the host: what concerns the VM as a whole (docs/config.md). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/cgroup.h"
#include "spec/cgroup.h"

#define VMM_OVERHEAD (UINT64_C(512) << 20) /* of sm-vmm and QEMU with its translated code */
#define UNDO_MAX     256
#define VMM_THREADS  512 /* room below pids.max for sm-vmm, QEMU and their threads */

/*
 * A hybrid host has some controllers in version 1 hierarchies and the others in version 2's: each
 * is set where it is.
 */
struct apply {
	const struct sm_cgroups *cg;
	const struct sm_cgroup_dir *v2; /* NULL: there is none */
	const struct sm_resources *res;
	uint64_t overhead;
	struct sm_arena *arena;
	struct sm_err *err;
	struct sm_cgroup_undo *undo; /* NULL: the cgroups are new */
};

/* The directory of the version 1 hierarchy that has a controller; NULL: there is none. */
static const char *v1_dir(const struct apply *a, const char *controller)
{
	return sm_cgroup_v1_dir(a->cg, controller);
}

static bool v2_has(const struct apply *a, const char *controller)
{
	return sm_cgroup_v2_dir(a->cg, controller);
}

/* Of what a file held, the line that says the same as value would: that of its device, or the only
 * one. NULL: nothing to write back. */
static char *old_line(char *text, const char *value)
{
	size_t key = strcspn(value, " ");
	bool device = memchr(value, ':', key);
	char *save = NULL, *line;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!device || (!strncmp(line, value, key) && line[key] == ' '))
			return line;
	return device ? NULL : text;
}

static int note_old(const struct apply *a, const char *path, const char *value)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(1u << 20);
	struct sm_pair *pair;
	char *line;

	if (!a->undo || sm_read_file_at(AT_FDCWD, path, &text) < 0 || !text.data)
		return 0;
	if (a->undo->n == UNDO_MAX)
		return -E2BIG;
	line = old_line((char *)text.data, value);
	if (!line)
		return 0;
	pair = &a->undo->v[a->undo->n];
	pair->key = sm_arena_strdup(a->arena, path);
	pair->value = sm_arena_strdup(a->arena, line);
	if (!pair->key || !pair->value)
		return -ENOMEM;
	a->undo->n++;
	return 0;
}

static int put(const struct apply *a, const char *dir, const char *file, const char *value)
{
	sm_auto_free char *path = sm_strf("%s/%s", dir, file);
	int r = path ? note_old(a, path, value) : -ENOMEM;

	if (r == 0)
		r = sm_write_existing_at(AT_FDCWD, path, value);
	return r < 0 ? sm_err_sys(a->err, r, "cgroup: write \"%s\" to %s/%s", value, dir, file) : 0;
}

static int put_v1(const struct apply *a, const char *controller, const char *file,
		  const char *value)
{
	const char *dir = v1_dir(a, controller);
	const char *newer = strcmp(controller, "blkio") != 0 ? controller : "io";

	if (!dir && v2_has(a, newer))
		return 0;
	if (!dir)
		return sm_err_set(a->err, -ENOENT,
				  "cgroup: %s: this host has no %s controller to set it", file,
				  controller);
	return value ? put(a, dir, file, value) : sm_err_sys(a->err, -ENOMEM, "cgroup: %s", file);
}

static int put_i64(const struct apply *a, const char *controller, const char *file,
		   const struct sm_i64 *v)
{
	return !v->set ? 0 : put_v1(a, controller, file, sm_arena_strf(a->arena, "%" PRId64, v->v));
}

static int put_u64(const struct apply *a, const char *controller, const char *file,
		   const struct sm_u64 *v)
{
	/* 0 is how an unset value is written down by many */
	return !v->set || !v->v
		       ? 0
		       : put_v1(a, controller, file, sm_arena_strf(a->arena, "%" PRIu64, v->v));
}

static int apply_cpu(const struct apply *a)
{
	const struct sm_cpu *c = a->res->cpu;
	struct sm_i64 quota;
	int r;

	if (!c)
		return 0;
	quota = c->quota;
	quota.set = quota.set && quota.v;
	if ((r = put_u64(a, "cpu", "cpu.shares", &c->shares)) < 0 ||
	    (r = put_u64(a, "cpu", "cpu.cfs_period_us", &c->period)) < 0 ||
	    (r = put_i64(a, "cpu", "cpu.cfs_quota_us", &quota)) < 0 ||
	    (r = put_u64(a, "cpu", "cpu.cfs_burst_us", &c->burst)) < 0 ||
	    (r = put_i64(a, "cpu", "cpu.idle", &c->idle)) < 0 ||
	    (r = put_u64(a, "cpu", "cpu.rt_period_us", &c->realtime_period)) < 0 ||
	    (r = put_i64(a, "cpu", "cpu.rt_runtime_us", &c->realtime_runtime)) < 0)
		return r;
	if (c->cpus && *c->cpus && (r = put_v1(a, "cpuset", "cpuset.cpus", c->cpus)) < 0)
		return r;
	return c->mems && *c->mems ? put_v1(a, "cpuset", "cpuset.mems", c->mems) : 0;
}

/* A limit of the guest's memory as one of the VM's. */
static int64_t of_vm(const struct apply *a, int64_t limit)
{
	if (limit < 0)
		return -1;
	return limit > INT64_MAX - (int64_t)a->overhead ? INT64_MAX : limit + (int64_t)a->overhead;
}

static int put_memory(const struct apply *a, const char *file, const struct sm_i64 *v)
{
	const struct sm_i64 more = { v->set && v->v, of_vm(a, v->v) };

	return put_i64(a, "memory", file, &more);
}

/* A host without swap accounting has no such file; there is nothing to limit then. */
static int put_memsw(const struct apply *a, const struct sm_memory *m)
{
	int r = put_memory(a, "memory.memsw.limit_in_bytes", &m->swap);

	return r == -ENOENT || r == -EACCES ? 0 : r;
}

/* memory.memsw may at no time be below memory.limit: the one that rises is written first. */
static bool memsw_rises(const struct apply *a, const struct sm_memory *m)
{
	const char *dir = v1_dir(a, "memory");
	sm_auto_free char *path = dir ? sm_strf("%s/memory.memsw.limit_in_bytes", dir) : NULL;
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(64);

	if (!path || sm_read_file_at(AT_FDCWD, path, &text) < 0 || !text.data)
		return false;
	return m->swap.v < 0 || of_vm(a, m->swap.v) > strtoll((char *)text.data, NULL, 10);
}

static int apply_memory(const struct apply *a)
{
	const struct sm_memory *m = a->res->memory;
	bool first;
	int r;

	if (!m)
		return 0;
	first = m->swap.v && memsw_rises(a, m);
	if ((first && (r = put_memsw(a, m)) < 0) ||
	    (r = put_memory(a, "memory.limit_in_bytes", &m->limit)) < 0 ||
	    (r = put_memory(a, "memory.soft_limit_in_bytes", &m->reservation)) < 0)
		return r;
	return first || m->swap.v <= 0 ? 0 : put_memsw(a, m);
}

static int put_throttles(const struct apply *a, const char *file, const sm_throttle_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct sm_throttle_device *d = &list->v[i];
		int r = put_v1(a, "blkio", file,
			       sm_arena_strf(a->arena, "%" PRId64 ":%" PRId64 " %" PRIu64,
					     d->major.v, d->minor.v, d->rate.v));

		if (r < 0)
			return r;
	}
	return 0;
}

/* The file's name depends on the scheduler that the kernel has. */
static const char *weight_file(const struct apply *a)
{
	const char *dir = v1_dir(a, "blkio");
	sm_auto_free char *path = dir ? sm_strf("%s/blkio.weight", dir) : NULL;

	return path && access(path, F_OK) == 0 ? "blkio.weight" : "blkio.bfq.weight";
}

static int apply_blkio(const struct apply *a)
{
	const struct sm_block_io *b = a->res->block_io;
	int r;

	if (!b)
		return 0;
	r = put_u64(a, "blkio", weight_file(a), &b->weight);
	for (size_t i = 0; r == 0 && i < b->weight_device.n; i++)
		r = put_v1(a, "blkio", "blkio.weight_device",
			   sm_arena_strf(a->arena, "%" PRId64 ":%" PRId64 " %" PRIu64,
					 b->weight_device.v[i].major.v,
					 b->weight_device.v[i].minor.v,
					 b->weight_device.v[i].weight.v));
	if (r < 0 || (r = put_throttles(a, "blkio.throttle.read_bps_device", &b->read_bps)) < 0 ||
	    (r = put_throttles(a, "blkio.throttle.write_bps_device", &b->write_bps)) < 0 ||
	    (r = put_throttles(a, "blkio.throttle.read_iops_device", &b->read_iops)) < 0)
		return r;
	return put_throttles(a, "blkio.throttle.write_iops_device", &b->write_iops);
}

static int apply_hugetlb(const struct apply *a)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->res->hugepage_limits.n; i++) {
		const struct sm_hugepage_limit *h = &a->res->hugepage_limits.v[i];
		sm_auto_free char *file = sm_strf("hugetlb.%s.limit_in_bytes", h->page_size);

		if (!file)
			return sm_err_sys(a->err, -ENOMEM, "cgroup: hugetlb");
		r = put_v1(a, "hugetlb", file, sm_arena_strf(a->arena, "%" PRIu64, h->limit.v));
	}
	return r;
}

static const char *pids_limit(const struct apply *a)
{
	const struct sm_pids *p = a->res->pids;

	if (a->undo && p && p->limit.v < 0)
		return "max";
	if (!p || !p->limit.set || p->limit.v <= 0 || p->limit.v > INT32_MAX - VMM_THREADS)
		return NULL;
	return sm_arena_strf(a->arena, "%" PRId64, p->limit.v + VMM_THREADS);
}

static int apply_v1(const struct apply *a)
{
	const char *pids = pids_limit(a);
	int r;

	if ((r = apply_cpu(a)) < 0 || (r = apply_memory(a)) < 0 || (r = apply_blkio(a)) < 0 ||
	    (r = apply_hugetlb(a)) < 0)
		return r;
	return pids ? put_v1(a, "pids", "pids.max", pids) : 0;
}

static bool is_unified(const struct apply *a, const char *file)
{
	for (size_t i = 0; i < a->res->unified.n; i++)
		if (!strcmp(a->res->unified.v[i].key, file))
			return true;
	return false;
}

static int apply_v2(const struct apply *a)
{
	struct sm_pairs files = { 0 };
	const char *pids = v2_has(a, "pids") ? pids_limit(a) : NULL;
	int r = sm_cgroup_files(a->res, SM_CGROUP_HOST, a->overhead, a->arena, &files, a->err);

	for (size_t i = 0; r == 0 && i < files.n; i++) {
		const char *file = files.v[i].key;
		const char *controller = sm_arena_strndup(a->arena, file, strcspn(file, "."));

		if (!controller)
			r = sm_err_sys(a->err, -ENOMEM, "cgroup: %s", file);
		else if (v2_has(a, controller))
			r = put(a, a->v2->path, file, files.v[i].value);
		else if (is_unified(a, file))
			r = sm_err_set(
				a->err, -EINVAL,
				"linux.resources.unified: %s: this host has no such controller of "
				"cgroup version 2",
				file);
	}
	return r == 0 && pids ? put(a, a->v2->path, "pids.max", pids) : r;
}

uint64_t sm_cgroup_overhead(uint32_t memory_mib, const struct sm_resources *res)
{
	uint64_t ram = (uint64_t)memory_mib << 20;
	uint64_t limit =
		res->memory && res->memory->limit.v > 0 ? (uint64_t)res->memory->limit.v : 0;

	return VMM_OVERHEAD + (ram > limit ? ram - limit : 0);
}

static int apply(struct apply *a)
{
	int r;

	if (!a->cg->n)
		return 0;
	for (size_t i = 0; i < a->cg->n; i++)
		if (a->cg->v[i].version == SM_CGROUP_V2)
			a->v2 = &a->cg->v[i];
	r = apply_v2(a);
	return r < 0 ? r : apply_v1(a);
}

int sm_cgroup_apply(const struct sm_cgroups *cg, const struct sm_resources *resources,
		    uint64_t overhead, struct sm_arena *arena, struct sm_err *err)
{
	struct apply a = { cg, NULL, resources, overhead, arena, err, NULL };

	return apply(&a);
}

int sm_cgroup_change(const struct sm_cgroups *cg, const struct sm_resources *resources,
		     uint64_t overhead, struct sm_arena *arena, struct sm_cgroup_undo *undo,
		     struct sm_err *err)
{
	struct apply a = { cg, NULL, resources, overhead, arena, err, undo };

	undo->n = 0;
	undo->v = sm_arena_array(arena, UNDO_MAX, sizeof(*undo->v));
	return undo->v ? apply(&a) : sm_err_sys(err, -ENOMEM, "cgroup");
}

void sm_cgroup_take_back(const struct sm_cgroup_undo *undo)
{
	for (size_t i = undo->n; i--;) {
		int r = sm_write_existing_at(AT_FDCWD, undo->v[i].key, undo->v[i].value);

		if (r < 0)
			sm_debug("cgroup: write \"%s\" back to %s: %s", undo->v[i].value,
				 undo->v[i].key, strerror(-r));
	}
}
