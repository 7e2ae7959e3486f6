/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clean.h"
#include "spec/device.h"
#include "spec/validate.h"

/* The rules of linux.resources. */

#define DEVICES  "config-linux.md#allowed-device-list"
#define MEMORY   "config-linux.md#memory"
#define CPU      "config-linux.md#cpu"
#define BLOCK_IO "config-linux.md#block-io"

#define HOST_CPUS_MAX 8192

static const struct sm_memory *memory(const struct sm_config *c)
{
	static const struct sm_memory none;

	return c->resources->memory ? c->resources->memory : &none;
}

static const struct sm_cpu *cpu(const struct sm_config *c)
{
	static const struct sm_cpu none;

	return c->resources->cpu ? c->resources->cpu : &none;
}

static bool limit_low(const struct sm_config *c)
{
	return memory(c)->limit.v < -1;
}

static bool reservation_low(const struct sm_config *c)
{
	return memory(c)->reservation.v < -1;
}

static bool swap_low(const struct sm_config *c)
{
	return memory(c)->swap.v < -1;
}

static bool swap_no_limit(const struct sm_config *c)
{
	return memory(c)->swap.v > 0 && memory(c)->limit.v <= 0;
}

static bool swap_below_limit(const struct sm_config *c)
{
	return memory(c)->swap.v > 0 && memory(c)->swap.v < memory(c)->limit.v;
}

static bool swappiness_high(const struct sm_config *c)
{
	return memory(c)->swappiness.v > 100;
}

static bool cpus_bad(const struct sm_config *c)
{
	const char *list = cpu(c)->cpus;

	return list && list[0] && !sm_check_cpu_list(list, HOST_CPUS_MAX, NULL, NULL);
}

static bool mems_bad(const struct sm_config *c)
{
	const char *list = cpu(c)->mems;

	return list && list[0] && !sm_check_cpu_list(list, HOST_CPUS_MAX, NULL, NULL);
}

static bool idle_bad(const struct sm_config *c)
{
	return cpu(c)->idle.v < 0 || cpu(c)->idle.v > 1;
}

static bool period_high(const struct sm_config *c)
{
	return cpu(c)->period.v > 1000000;
}

static bool pids_low(const struct sm_config *c)
{
	return c->resources->pids && c->resources->pids->limit.v < -1;
}

static bool weight_range(const struct sm_config *c)
{
	const struct sm_block_io *io = c->resources->block_io;

	return io && io->weight.v && (io->weight.v < 10 || io->weight.v > 1000);
}

#define BYTES    "must be a number of bytes, or -1 for no limit"
#define CPU_LIST "must be a list of numbers and ranges, like 0-2,4"

static const struct sm_rule rules[] = {
	{ "memory.limit", MEMORY, limit_low, BYTES },
	{ "memory.reservation", MEMORY, reservation_low, BYTES },
	{ "memory.swap", MEMORY, swap_low, BYTES },
	{ "memory.swappiness", MEMORY, swappiness_high, "must be from 0 to 100" },
	{ "cpu.cpus", CPU, cpus_bad, CPU_LIST },
	{ "cpu.mems", CPU, mems_bad, CPU_LIST },
	{ "cpu.idle", CPU, idle_bad, "must be 0 or 1" },
	{ "cpu.period", CPU, period_high, "must be at most 1000000 (microseconds)" },
	{ "pids.limit", "config-linux.md#pids", pids_low, "must be a number, or -1 for no limit" },
	{ "blockIO.weight", BLOCK_IO, weight_range, "must be from 10 to 1000" },
	{ "memory.swap", MEMORY, swap_no_limit, "unable to set swap limit without memory limit" },
	{ "memory.swap", MEMORY, swap_below_limit, "memory+swap limit should be >= memory limit" },
	{ NULL }
};

/* Fields of cgroup v1 that neither the guest nor a v2 host has a place for. */
static int warn_v1(struct sm_check *c)
{
	const struct sm_block_io *io = c->config->resources->block_io;
	const struct {
		const char *path;
		const char *section;
		bool set;
	} fields[] = {
		{ "memory.kernel", MEMORY, memory(c->config)->kernel.v != 0 },
		{ "memory.kernelTCP", MEMORY, memory(c->config)->kernel_tcp.v != 0 },
		{ "memory.swappiness", MEMORY, memory(c->config)->swappiness.set },
		{ "memory.disableOOMKiller", MEMORY, memory(c->config)->disable_oom_killer },
		{ "cpu.realtimeRuntime", CPU, cpu(c->config)->realtime_runtime.v != 0 },
		{ "cpu.realtimePeriod", CPU, cpu(c->config)->realtime_period.v != 0 },
		{ "blockIO.leafWeight", BLOCK_IO, io && io->leaf_weight.v },
	};
	int rc = 0;

	for (size_t i = 0; i < SM_ARRAY_SIZE(fields) && !rc; i++)
		if (fields[i].set)
			rc = sm_check_warn(c, sm_check_at(c, "%s", fields[i].path),
					   fields[i].section, "not applied: it is of cgroup v1");
	return rc;
}

static int check_device_rules(struct sm_check *c)
{
	for (size_t i = 0; i < c->config->resources->devices.n; i++) {
		const struct sm_device_rule *d = &c->config->resources->devices.v[i];

		if (d->type && d->type[0] && strcmp(d->type, "a") && strcmp(d->type, "b") &&
		    strcmp(d->type, "c"))
			return sm_check_bad(c, sm_check_at(c, "devices[%zu].type", i), DEVICES,
					    "invalid device type \"%.20s\": a, b or c", d->type);
		if (!sm_device_access(d->access))
			return sm_check_bad(c, sm_check_at(c, "devices[%zu].access", i), DEVICES,
					    "\"%.20s\" is not made of r, w and m", d->access);
		if (d->major.v < -1 || d->major.v > INT32_MAX || d->minor.v < -1 ||
		    d->minor.v > INT32_MAX)
			return sm_check_bad(c, sm_check_at(c, "devices[%zu]", i), DEVICES,
					    "no such device number");
	}
	return 0;
}

/* "64KB", "2MB", "1GB": digits without a leading zero, a unit. */
static bool page_size_ok(const char *size)
{
	size_t digits = size ? strspn(size, "0123456789") : 0;

	return digits && size[0] != '0' && strchr("KMG", size[digits]) && size[digits] &&
	       !strcmp(size + digits + 1, "B");
}

static int check_hugepages(struct sm_check *c)
{
	for (size_t i = 0; i < c->config->resources->hugepage_limits.n; i++)
		if (!page_size_ok(c->config->resources->hugepage_limits.v[i].page_size))
			return sm_check_bad(c, sm_check_at(c, "hugepageLimits[%zu].pageSize", i),
					    "config-linux.md#huge-page-limits",
					    "must be a size like 64KB, 2MB or 1GB");
	return 0;
}

static bool plain_name(const char *name)
{
	return name[0] && strcmp(name, ".") && strcmp(name, "..") && !strpbrk(name, "/ \n");
}

static int check_names(struct sm_check *c)
{
	const struct sm_resources *r = c->config->resources;

	for (size_t i = 0; i < r->unified.n; i++)
		if (!plain_name(r->unified.v[i].key) || !strchr(r->unified.v[i].key, '.'))
			return sm_check_bad(c, sm_check_at(c, "unified"), "config-linux.md#unified",
					    "unified resource \"%.100s\" must be a file name "
					    "(no slashes), with a dot",
					    r->unified.v[i].key);
	for (size_t i = 0; i < r->rdma.n; i++)
		if (!plain_name(r->rdma.v[i].device))
			return sm_check_bad(c, sm_check_at(c, "rdma"), "config-linux.md#rdma",
					    "\"%.100s\" is no name of a device",
					    r->rdma.v[i].device);
	return 0;
}

int sm_resources_check(const char *name, const struct sm_resources *resources,
		       struct sm_arena *arena, struct sm_err *err)
{
	struct sm_config config = { .arena = arena, .resources = resources };
	struct sm_check check = { .name = name, .top = "", .config = &config, .err = err };

	return sm_check_resources(&check);
}

int sm_check_resources(struct sm_check *check)
{
	int rc = check_device_rules(check);

	if (!rc)
		rc = sm_check_rules(check, rules);
	if (!rc)
		rc = check_hugepages(check);
	if (!rc)
		rc = check_names(check);
	return rc ? rc : warn_v1(check);
}
