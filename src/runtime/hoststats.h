/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_HOSTSTATS_H
#define SM_RUNTIME_HOSTSTATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/sandbox.pb-c.h"
#include "runtime/cgroup.h"
#include "runtime/jsonout.h"

/*
 * The numbers of `events`. Each comes from where its limit is applied: memory and pids from the
 * container's cgroup in the guest, CPU and block I/O and cpuset from sm-vmm's cgroup on the host.
 * Where the host's has no such controller (rootless), CPU comes from the guest too. The guest's
 * sockets are sm-vmm's, which counts what goes over them.
 */
#define SM_HOSTSTATS_CPUS_MAX 1024
#define SM_HOSTSTATS_IO_MAX   64

struct sm_io_stat {
	uint64_t major, minor, value;
	const char *op; /* "Read", "Write" … */
};

struct sm_io_stats {
	struct sm_io_stat v[SM_HOSTSTATS_IO_MAX];
	size_t n;
};

struct sm_hoststats {
	bool has_cpu;
	uint64_t cpu_total, cpu_kernel, cpu_user; /* ns */
	uint64_t percpu[SM_HOSTSTATS_CPUS_MAX];
	size_t npercpu;
	uint64_t periods, throttled_periods, throttled_ns;
	char cpus[512], mems[512]; /* lists, "0-2,4" */
	struct sm_io_stats bytes, operations;
};

/* What cannot be read stays 0. */
void sm_hoststats_read(const struct sm_cgroups *cg, struct sm_hoststats *out);

/* runc's line for stats, and that for oom (stats NULL). 0 or -errno of sm_jsonout_text(). */
void sm_hoststats_show(struct sm_jsonout *j, const char *id, const struct sm_hoststats *host,
		       const Supermachine__Agent__V1__StatsResponse *guest,
		       const Supermachine__Sandbox__V1__InfoResponse *vm);
void sm_hoststats_show_oom(struct sm_jsonout *j, const char *id);

#endif
