/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/hoststats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

#define FILE_MAX     (1u << 20)
#define CPU_LIST_MAX 8192

typedef Supermachine__Agent__V1__StatsResponse guest_stats;

/* ---- reading -------------------------------------------------------------------------------- */

/* A file of a cgroup; NULL: it is not there. */
static char *slurp(const char *dir, const char *name, struct sm_buf *text)
{
	sm_auto_free char *path = dir ? sm_strf("%s/%s", dir, name) : NULL;

	text->len = 0;
	if (!path || sm_read_file_at(AT_FDCWD, path, text) < 0)
		return NULL;
	return (char *)text->data;
}

static uint64_t number_in(const char *text)
{
	return text ? strtoull(text, NULL, 10) : 0;
}

/* The value of a line "name number". */
static uint64_t value_of(const char *text, const char *name)
{
	size_t len = strlen(name);

	while (text && *text) {
		if (!strncmp(text, name, len) && text[len] == ' ')
			return number_in(text + len + 1);
		text = strchr(text, '\n');
		text += text != NULL;
	}
	return 0;
}

static void read_percpu(char *text, struct sm_hoststats *out)
{
	char *end;

	while (text && out->npercpu < SM_HOSTSTATS_CPUS_MAX) {
		uint64_t v = strtoull(text, &end, 10);

		if (end == text)
			return;
		out->percpu[out->npercpu++] = v;
		text = end;
	}
}

static void read_cpu_v1(const struct sm_cgroups *cg, struct sm_buf *text, struct sm_hoststats *out)
{
	const char *acct = sm_cgroup_v1_dir(cg, "cpuacct");
	long hz = sysconf(_SC_CLK_TCK);
	uint64_t tick = 1000000000u / (uint64_t)(hz > 0 ? hz : 100);
	char *all;

	if (!slurp(acct, "cpuacct.usage", text))
		return;
	out->has_cpu = true;
	out->cpu_total = number_in((char *)text->data);
	all = slurp(acct, "cpuacct.stat", text);
	out->cpu_user = value_of(all, "user") * tick;
	out->cpu_kernel = value_of(all, "system") * tick;
	read_percpu(slurp(acct, "cpuacct.usage_percpu", text), out);
	all = slurp(sm_cgroup_v1_dir(cg, "cpu"), "cpu.stat", text);
	out->periods = value_of(all, "nr_periods");
	out->throttled_periods = value_of(all, "nr_throttled");
	out->throttled_ns = value_of(all, "throttled_time");
}

static void read_cpu_v2(const struct sm_cgroups *cg, struct sm_buf *text, struct sm_hoststats *out)
{
	char *all = slurp(sm_cgroup_v2_dir(cg, "cpu"), "cpu.stat", text);

	if (!all)
		return;
	out->has_cpu = true;
	out->cpu_total = value_of(all, "usage_usec") * 1000;
	out->cpu_user = value_of(all, "user_usec") * 1000;
	out->cpu_kernel = value_of(all, "system_usec") * 1000;
	out->periods = value_of(all, "nr_periods");
	out->throttled_periods = value_of(all, "nr_throttled");
	out->throttled_ns = value_of(all, "throttled_usec") * 1000;
}

static void add_io(struct sm_io_stats *s, uint64_t major, uint64_t minor, const char *op,
		   uint64_t v)
{
	if (s->n < SM_HOSTSTATS_IO_MAX)
		s->v[s->n++] = (struct sm_io_stat){ major, minor, v, op };
}

/* "8:0 Read 4096" */
static void read_io_v1(char *text, struct sm_io_stats *out)
{
	static const char *const ops[] = { "Read", "Write", "Sync", "Async", "Discard", "Total" };
	char *save = NULL, *line;

	for (line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t major, minor, v;
		char op[16];

		if (sscanf(line, "%" SCNu64 ":%" SCNu64 " %15s %" SCNu64, &major, &minor, op, &v) !=
		    4)
			continue;
		for (size_t i = 0; i < SM_ARRAY_SIZE(ops); i++)
			if (!strcmp(op, ops[i]))
				add_io(out, major, minor, ops[i], v);
	}
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6" */
static void read_io_v2(char *text, struct sm_hoststats *out)
{
	char *save = NULL, *line;

	for (line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t major, minor, v[4];

		if (sscanf(line,
			   "%" SCNu64 ":%" SCNu64 " rbytes=%" SCNu64 " wbytes=%" SCNu64
			   " rios=%" SCNu64 " wios=%" SCNu64,
			   &major, &minor, &v[0], &v[1], &v[2], &v[3]) != 6)
			continue;
		add_io(&out->bytes, major, minor, "Read", v[0]);
		add_io(&out->bytes, major, minor, "Write", v[1]);
		add_io(&out->operations, major, minor, "Read", v[2]);
		add_io(&out->operations, major, minor, "Write", v[3]);
	}
}

static void copy_list(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%.*s", (int)strcspn(text ? text : "", "\n"), text ? text : "");
}

static void read_cpuset(const struct sm_cgroups *cg, struct sm_buf *text, struct sm_hoststats *out)
{
	const char *v1 = sm_cgroup_v1_dir(cg, "cpuset");
	const char *dir = v1 ? v1 : sm_cgroup_v2_dir(cg, "cpuset");

	copy_list(out->cpus, sizeof(out->cpus),
		  slurp(dir, v1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective", text));
	copy_list(out->mems, sizeof(out->mems),
		  slurp(dir, v1 ? "cpuset.effective_mems" : "cpuset.mems.effective", text));
}

void sm_hoststats_read(const struct sm_cgroups *cg, struct sm_hoststats *out)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(FILE_MAX);
	const char *blkio = sm_cgroup_v1_dir(cg, "blkio");

	*out = (struct sm_hoststats){ 0 };
	if (sm_cgroup_v1_dir(cg, "cpuacct"))
		read_cpu_v1(cg, &text, out);
	else
		read_cpu_v2(cg, &text, out);
	read_cpuset(cg, &text, out);
	read_io_v1(slurp(blkio, "blkio.throttle.io_service_bytes_recursive", &text), &out->bytes);
	read_io_v1(slurp(blkio, "blkio.throttle.io_serviced_recursive", &text), &out->operations);
	if (!blkio)
		read_io_v2(slurp(sm_cgroup_v2_dir(cg, "io"), "io.stat", &text), out);
}

/* ---- writing: the names, the order and what is left out when it is 0 are runc's ----------------
 */

static void put(struct sm_jsonout *j, const char *key, uint64_t v)
{
	if (v)
		sm_jsonout_u64(j, key, v);
}

static void open_object(struct sm_jsonout *j, const char *key)
{
	sm_jsonout_key(j, key);
	sm_jsonout_open(j);
}

static void show_cpu(struct sm_jsonout *j, const struct sm_hoststats *h, const guest_stats *g)
{
	open_object(j, "cpu");
	open_object(j, "usage");
	put(j, "total", h->has_cpu ? h->cpu_total : g->cpu_usage_ns);
	if (h->npercpu) {
		sm_jsonout_key(j, "percpu");
		sm_jsonout_open_array(j);
		for (size_t i = 0; i < h->npercpu; i++)
			sm_jsonout_u64(j, NULL, h->percpu[i]);
		sm_jsonout_close_array(j);
	}
	sm_jsonout_u64(j, "kernel", h->has_cpu ? h->cpu_kernel : g->cpu_system_ns);
	sm_jsonout_u64(j, "user", h->has_cpu ? h->cpu_user : g->cpu_user_ns);
	sm_jsonout_close(j);
	open_object(j, "throttling");
	put(j, "periods", h->periods);
	put(j, "throttledPeriods", h->throttled_periods);
	put(j, "throttledTime", h->throttled_ns);
	sm_jsonout_close(j);
	sm_jsonout_close(j);
}

/* "0-2,4" as numbers */
static void show_list(struct sm_jsonout *j, const char *key, const char *list)
{
	unsigned long n = 0;

	if (!*list)
		return;
	sm_jsonout_key(j, key);
	sm_jsonout_open_array(j);
	while (*list >= '0' && *list <= '9') {
		char *end;
		unsigned long first = strtoul(list, &end, 10);
		unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

		for (; first <= last && n < CPU_LIST_MAX; first++, n++)
			sm_jsonout_u64(j, NULL, first);
		list = end + (*end == ',');
	}
	sm_jsonout_close_array(j);
}

/* The rest is what a cpuset of version 1 has by default, which is what ours have. */
static void show_cpuset(struct sm_jsonout *j, const struct sm_hoststats *h)
{
	static const char *const zeros[] = { "mem_hardwall",       "mem_exclusive",
					     "memory_migrate",     "memory_spread_page",
					     "memory_spread_slab", "memory_pressure" };

	open_object(j, "cpuset");
	show_list(j, "cpus", h->cpus);
	sm_jsonout_u64(j, "cpu_exclusive", 0);
	show_list(j, "mems", h->mems);
	for (size_t i = 0; i < SM_ARRAY_SIZE(zeros); i++)
		sm_jsonout_u64(j, zeros[i], 0);
	sm_jsonout_u64(j, "sched_load_balance", *h->cpus != '\0');
	sm_jsonout_number(j, "sched_relax_domain_level", *h->cpus ? -1 : 0);
	sm_jsonout_close(j);
}

static void show_entry(struct sm_jsonout *j, const char *key, uint64_t limit, uint64_t usage,
		       uint64_t max, uint64_t failures)
{
	open_object(j, key);
	sm_jsonout_u64(j, "limit", limit);
	put(j, "usage", usage);
	put(j, "max", max);
	sm_jsonout_u64(j, "failcnt", failures);
	sm_jsonout_close(j);
}

static uint64_t counter(const guest_stats *g, const char *name)
{
	for (size_t i = 0; i < g->n_memory_stat; i++)
		if (!strcmp(g->memory_stat[i]->name, name))
			return g->memory_stat[i]->value;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const Supermachine__Agent__V1__Counter *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void show_memory(struct sm_jsonout *j, const guest_stats *g)
{
	open_object(j, "memory");
	put(j, "cache", counter(g, "file"));
	show_entry(j, "usage", g->memory_limit, g->memory_usage, g->memory_peak,
		   g->memory_failures);
	/* of memory and swap together, and the guest has no swap */
	show_entry(j, "swap", g->memory_limit, g->memory_usage, g->memory_peak, 0);
	show_entry(j, "kernel", 0, counter(g, "kernel"), 0, 0);
	show_entry(j, "kernelTCP", 0, counter(g, "sock"), 0, 0);
	if (g->n_memory_stat) {
		qsort(g->memory_stat, g->n_memory_stat, sizeof(*g->memory_stat), compare);
		open_object(j, "raw");
		for (size_t i = 0; i < g->n_memory_stat; i++)
			sm_jsonout_u64(j, g->memory_stat[i]->name, g->memory_stat[i]->value);
		sm_jsonout_close(j);
	}
	sm_jsonout_close(j);
}

static void show_io(struct sm_jsonout *j, const char *key, const struct sm_io_stats *s)
{
	if (!s->n)
		return;
	sm_jsonout_key(j, key);
	sm_jsonout_open_array(j);
	for (size_t i = 0; i < s->n; i++) {
		sm_jsonout_open(j);
		put(j, "major", s->v[i].major);
		put(j, "minor", s->v[i].minor);
		sm_jsonout_string(j, "op", s->v[i].op);
		put(j, "value", s->v[i].value);
		sm_jsonout_close(j);
	}
	sm_jsonout_close_array(j);
}

static void open_event(struct sm_jsonout *j, const char *type, const char *id)
{
	sm_jsonout_open(j);
	sm_jsonout_string(j, "type", type);
	sm_jsonout_string(j, "id", id);
}

static void show_tsi(struct sm_jsonout *j, const Supermachine__Sandbox__V1__InfoResponse *vm)
{
	open_object(j, "tsi");
	sm_jsonout_u64(j, "flows", vm->vsock_flows);
	sm_jsonout_u64(j, "listeners", vm->tsi_listeners);
	sm_jsonout_u64(j, "rxBytes", vm->tsi_rx_bytes);
	sm_jsonout_u64(j, "txBytes", vm->tsi_tx_bytes);
	sm_jsonout_u64(j, "datagrams", vm->tsi_datagrams);
	sm_jsonout_u64(j, "drops", vm->vsock_drops);
	sm_jsonout_u64(j, "creditStalls", vm->vsock_credit_stalls);
	sm_jsonout_u64(j, "policyDenials", vm->tsi_denials);
	sm_jsonout_close(j);
}

void sm_hoststats_show(struct sm_jsonout *j, const char *id, const struct sm_hoststats *h,
		       const guest_stats *g, const Supermachine__Sandbox__V1__InfoResponse *vm)
{
	open_event(j, "stats", id);
	open_object(j, "data");
	show_cpu(j, h, g);
	show_cpuset(j, h);
	show_memory(j, g);
	open_object(j, "pids");
	put(j, "current", g->pids_current);
	put(j, "limit", g->pids_limit == UINT64_MAX ? 0 : g->pids_limit);
	sm_jsonout_close(j);
	open_object(j, "blkio");
	show_io(j, "ioServiceBytesRecursive", &h->bytes);
	show_io(j, "ioServicedRecursive", &h->operations);
	sm_jsonout_close(j);
	open_object(j, "hugetlb");
	sm_jsonout_close(j);
	open_object(j, "intel_rdt");
	sm_jsonout_close(j);
	sm_jsonout_null(j, "network_interfaces");
	show_tsi(j, vm);
	sm_jsonout_close(j);
	sm_jsonout_close(j);
}

void sm_hoststats_show_oom(struct sm_jsonout *j, const char *id)
{
	open_event(j, "oom", id);
	sm_jsonout_close(j);
}
