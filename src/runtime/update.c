/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 *	what			undone by, if a later row fails
 *	host cgroup written	the old values written back, newest first
 *	state.json written	the old state written
 *	guest cgroup written	the agent undoes what it did itself; nothing comes later
 *
 * The lock keeps two updates apart. Of a paused guest sm-vmm answers at once: it finds the
 * request when it is resumed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/cgroup.h"
#include "runtime/container.h"
#include "runtime/resources.h"
#include "runtime/runtime.h"
#include "runtime/store.h"
#include "runtime/vmm.h"
#include "spec/cgroup.h"

#define ANSWER_MS 30000
#define MIB       20 /* bits */

struct flags {
	const char *resources;
	const char *cpu_period, *cpu_quota, *cpu_burst, *cpu_share, *rt_period, *rt_runtime, *idle;
	const char *cpus, *mems;
	const char *memory, *reservation, *swap, *kernel, *kernel_tcp;
	const char *l3, *mem_bw;
	int blkio_weight, pids_limit;
};

/* What the flags or the document ask for. */
struct change {
	struct sm_resources all;
	struct sm_memory memory;
	struct sm_cpu cpu;
	struct sm_pids pids;
	struct sm_block_io block_io;
};

/* ---- the flags: texts are runc's ------------------------------------------------------------- */

struct number {
	const char *name, *text;
	void *value;
};

static int bad_number(const struct number *n, const char *kind, bool range, struct sm_err *err)
{
	return sm_err_set(err, -EINVAL, "invalid value for %s: strconv.Parse%s: parsing \"%s\": %s",
			  n->name, kind, n->text, range ? "value out of range" : "invalid syntax");
}

static bool all_digits(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

static int parse_unsigned(const struct number *n, struct sm_err *err)
{
	struct sm_u64 *v = n->value;

	if (!n->text || !*n->text)
		return 0;
	if (!all_digits(n->text))
		return bad_number(n, "Uint", false, err);
	errno = 0;
	*v = (struct sm_u64){ true, strtoull(n->text, NULL, 10) };
	return errno ? bad_number(n, "Uint", true, err) : 0;
}

static int parse_signed(const struct number *n, struct sm_err *err)
{
	struct sm_i64 *v = n->value;

	if (!n->text || !*n->text)
		return 0;
	if (!all_digits(n->text + (*n->text == '-' || *n->text == '+')))
		return bad_number(n, "Int", false, err);
	errno = 0;
	*v = (struct sm_i64){ true, strtoll(n->text, NULL, 10) };
	return errno ? bad_number(n, "Int", true, err) : 0;
}

static int parse_size(const struct number *n, struct sm_err *err)
{
	struct sm_i64 *v = n->value;

	if (!n->text || !*n->text)
		return 0;
	v->set = true;
	v->v = -1;
	if (strcmp(n->text, "-1") != 0 && sm_size_parse(n->text, &v->v) < 0)
		return sm_err_set(err, -EINVAL, "invalid value for %s: invalid size: '%s'", n->name,
				  n->text);
	return 0;
}

static int from_flags(const struct flags *f, struct change *c, struct sm_err *err)
{
	const struct {
		int (*parse)(const struct number *n, struct sm_err *err);
		struct number n;
	} rows[] = {
		{ parse_signed, { "cpu-idle", f->idle, &c->cpu.idle } },
		{ parse_unsigned, { "cpu-burst", f->cpu_burst, &c->cpu.burst } },
		{ parse_unsigned, { "cpu-period", f->cpu_period, &c->cpu.period } },
		{ parse_unsigned, { "cpu-rt-period", f->rt_period, &c->cpu.realtime_period } },
		{ parse_unsigned, { "cpu-share", f->cpu_share, &c->cpu.shares } },
		{ parse_signed, { "cpu-quota", f->cpu_quota, &c->cpu.quota } },
		{ parse_signed, { "cpu-rt-runtime", f->rt_runtime, &c->cpu.realtime_runtime } },
		{ parse_size, { "memory", f->memory, &c->memory.limit } },
		{ parse_size, { "memory-swap", f->swap, &c->memory.swap } },
		{ parse_size, { "kernel-memory", f->kernel, &c->memory.kernel } },
		{ parse_size, { "kernel-memory-tcp", f->kernel_tcp, &c->memory.kernel_tcp } },
		{ parse_size, { "memory-reservation", f->reservation, &c->memory.reservation } },
	};

	c->cpu.cpus = f->cpus;
	c->cpu.mems = f->mems;
	c->pids.limit = (struct sm_i64){ f->pids_limit != 0, f->pids_limit };
	if (f->blkio_weight < 0 || f->blkio_weight > UINT16_MAX)
		return sm_err_set(err, -EINVAL, "blkio-weight %d: must be from 10 to 1000",
				  f->blkio_weight);
	c->block_io.weight = (struct sm_u64){ f->blkio_weight != 0, (uint64_t)f->blkio_weight };
	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		int r = rows[i].parse(&rows[i].n, err);

		if (r < 0)
			return r;
	}
	c->all.memory = &c->memory;
	c->all.cpu = &c->cpu;
	c->all.pids = &c->pids;
	c->all.block_io = &c->block_io;
	return 0;
}

/* Whatever it is: a socket cannot be opened by its name in /proc. */
static int read_stdin(struct sm_buf *text)
{
	char part[4096];
	ssize_t n;
	int r = 0;

	do {
		n = read(STDIN_FILENO, part, sizeof(part));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			r = sm_buf_put(text, part, (size_t)n);
	} while (n && r == 0);
	return r;
}

static int from_file(const char *file, struct sm_arena *arena, struct change *c, struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(SM_JSON_LEN_MAX);
	bool standard = !strcmp(file, "-");
	int r = standard ? read_stdin(&text) : sm_read_file_at(AT_FDCWD, file, &text);

	if (r < 0)
		return sm_err_sys(err, r, "%s%s", standard ? "read " : "open ",
				  standard ? "standard input" : file);
	return sm_resources_parse("resources", text.data ? (const char *)text.data : "", text.len,
				  arena, &c->all, err);
}

static int refuse(const struct flags *f, struct sm_err *err)
{
	const char *flag = f->l3 && *f->l3           ? "l3-cache-schema"
			   : f->mem_bw && *f->mem_bw ? "mem-bw-schema"
						     : NULL;

	return flag ? sm_err_set(err, -ENOTSUP, "--%s: Intel RDT is not supported: leave it out",
				 flag)
		    : 0;
}

/* ---- the update ----------------------------------------------------------------------------- */

/* Memory of a VM is what it was booted with. */
static int check_memory(const struct sm_state *state, const struct sm_resources *r,
			struct sm_err *err)
{
	int64_t limit = r->memory ? r->memory->limit.v : 0;

	if (limit <= 0 || !state->memory_mib || limit <= (int64_t)state->memory_mib << MIB)
		return 0;
	return sm_err_set(
		err, -EINVAL,
		"memory limit %lld: is more than the %u MiB of the container's VM, which "
		"cannot grow: create the container with the annotation " SM_ANNOTATION_MEMORY
		" (MiB) for a bigger one",
		(long long)limit, state->memory_mib);
}

/* checkBeforeUpdate: rather no change than a kill. */
static int check_usage(const struct sm_store *s, int64_t limit, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	Supermachine__Agent__V1__StatsResponse *now;
	int r = sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, err);

	if (r == 0)
		r = sm_vmm_stats(&vmm, s->id, &now, err);
	if (r < 0)
		return r;
	if (now->memory_usage > (uint64_t)limit)
		r = sm_err_set(err, -EBUSY,
			       "unable to set memory limit to %lld (current usage: %llu, peak "
			       "usage: %llu)",
			       (long long)limit, (unsigned long long)now->memory_usage,
			       (unsigned long long)now->memory_peak);
	protobuf_c_message_free_unpacked(&now->base, NULL);
	return r;
}

static int update_guest(const struct sm_store *s, const struct sm_state *state,
			const struct sm_resources *r, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	struct sm_pairs files;
	int rc = sm_cgroup_files(r, SM_CGROUP_GUEST, 0, state->arena, &files, err);

	if (rc < 0 || !files.n)
		return rc;
	rc = sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, err);
	if (rc == 0)
		rc = sm_vmm_update(&vmm, s->id, &files, err);
	return rc < 0 && !sm_proc_alive(&state->vmm)
		       ? sm_err_set(err, -ESRCH, "container not running")
		       : rc;
}

static int apply(const struct sm_store *s, struct sm_state *state, struct sm_resources *merged,
		 const struct sm_resources *changes, struct sm_err *err)
{
	const struct sm_resources *before = state->updated;
	sm_auto_err struct sm_err ignored = SM_ERR_INIT;
	struct sm_cgroup_undo undo = { NULL, 0 };
	struct sm_cgroups cg;
	int r = sm_cgroup_find(state->arena, &state->cgroups, &cg, err);

	if (r < 0)
		return r;
	r = sm_cgroup_change(&cg, changes, sm_cgroup_overhead(state->memory_mib, merged),
			     state->arena, &undo, err);
	state->updated = merged;
	if (r == 0)
		r = sm_store_save(s, state, err);
	if (r == 0 && (r = update_guest(s, state, changes, err)) < 0) {
		state->updated = before;
		sm_store_save(s, state, &ignored);
	}
	if (r < 0)
		sm_cgroup_take_back(&undo);
	return r;
}

static int merge_and_apply(const struct sm_store *s, struct sm_state *state,
			   const struct sm_resources *base, const struct change *c,
			   struct sm_err *err)
{
	struct sm_resources *merged, *changes;
	int r = sm_resources_merge(state->arena, base, &c->all, &merged, &changes);

	if (r < 0)
		return sm_err_sys(err, r, "update");
	r = sm_resources_check("resources", merged, state->arena, err);
	if (r == 0)
		r = check_memory(state, changes, err);
	if (r == 0 && c->all.memory && c->all.memory->check_before_update &&
	    c->all.memory->limit.v > 0)
		r = check_usage(s, c->all.memory->limit.v, err);
	return r < 0 ? r : apply(s, state, merged, changes, err);
}

/* What was there before is in the state, or else in the config that create kept. */
static int update(const struct sm_store *s, struct sm_state *state, const struct change *c,
		  struct sm_err *err)
{
	struct sm_config *config;
	int r;

	if (state->updated)
		return merge_and_apply(s, state, state->updated, c, err);
	r = sm_container_config(s, &config, err);
	if (r < 0)
		return r;
	r = merge_and_apply(s, state, config->resources, c, err);
	sm_config_free(config);
	return r;
}

static int run_locked(struct sm_store *s, const struct flags *f, struct sm_err *err)
{
	sm_auto_state struct sm_state *state = NULL;
	struct change c = { 0 };
	enum sm_status status;
	int r = sm_store_lock(s, err);

	if (r < 0 || (r = sm_store_load(s, &state, err)) < 0)
		return r;
	r = f->resources ? from_file(f->resources, state->arena, &c, err) : from_flags(f, &c, err);
	if (r < 0 || (r = refuse(f, err)) < 0)
		return r;
	if (c.all.memory && (c.all.memory->kernel.v || c.all.memory->kernel_tcp.v))
		sm_warn("Kernel memory settings are ignored and will be removed");
	status = sm_state_status(state);
	if (status == SM_STATUS_STOPPED || status == SM_STATUS_CREATING)
		return sm_err_set(err, -ESRCH, "container not running");
	return update(s, state, &c, err);
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	struct flags f = { 0 };
	const struct sm_opt opts[] = {
		{ "resources", 'r', SM_OPT_STRING, &f.resources, "FILE",
		  "take the changes from a file of JSON (-: standard input) and no option" },
		{ "blkio-weight", 0, SM_OPT_INT, &f.blkio_weight, "N",
		  "weight of block I/O, 10 to 1000" },
		{ "cpu-period", 0, SM_OPT_STRING, &f.cpu_period, "US",
		  "period of the CPU quota, in microseconds" },
		{ "cpu-quota", 0, SM_OPT_STRING, &f.cpu_quota, "US",
		  "CPU time in a period, in microseconds; -1: no limit" },
		{ "cpu-burst", 0, SM_OPT_STRING, &f.cpu_burst, "US",
		  "unused CPU time that may be saved up, in microseconds" },
		{ "cpu-share", 0, SM_OPT_STRING, &f.cpu_share, "N", "CPU weight, 2 to 262144" },
		{ "cpu-rt-period", 0, SM_OPT_STRING, &f.rt_period, "US",
		  "period of the CPU realtime quota, in microseconds" },
		{ "cpu-rt-runtime", 0, SM_OPT_STRING, &f.rt_runtime, "US",
		  "CPU realtime quota, in microseconds" },
		{ "cpuset-cpus", 0, SM_OPT_STRING, &f.cpus, "LIST", "CPUs of the host to use" },
		{ "cpuset-mems", 0, SM_OPT_STRING, &f.mems, "LIST",
		  "memory nodes of the host to use" },
		{ "cpu-idle", 0, SM_OPT_STRING, &f.idle, "N", "1: run when nobody else wants to" },
		{ "memory", 0, SM_OPT_STRING, &f.memory, "SIZE",
		  "memory limit, like 100M or 1g; -1: none" },
		{ "memory-reservation", 0, SM_OPT_STRING, &f.reservation, "SIZE",
		  "memory that is reclaimed last" },
		{ "memory-swap", 0, SM_OPT_STRING, &f.swap, "SIZE",
		  "limit of memory and swap together; -1: none" },
		{ "pids-limit", 0, SM_OPT_INT, &f.pids_limit, "N",
		  "number of processes; -1: no limit" },
		{ "l3-cache-schema", 0, SM_OPT_STRING, &f.l3, "TEXT",
		  "refused: Intel RDT is not supported" },
		{ "mem-bw-schema", 0, SM_OPT_STRING, &f.mem_bw, "TEXT",
		  "refused: Intel RDT is not supported" },
		{ "kernel-memory", 0, SM_OPT_STRING, &f.kernel, "SIZE", NULL },
		{ "kernel-memory-tcp", 0, SM_OPT_STRING, &f.kernel_tcp, "SIZE", NULL },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_open(rt->root, args.v[0], &s, err);
	return r < 0 ? r : run_locked(&s, &f, err);
}

const struct sm_command sm_cmd_update = {
	.name = "update",
	.args = "<container-id>",
	.summary = "change the limits of a container",
	.text = "   What is not given stays as it is. All of it is applied or, if some\n"
		"   cannot be, none. The memory limit cannot be more than the memory that\n"
		"   the VM was made with.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
