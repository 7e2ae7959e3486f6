/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ps. The table is of the guest's processes, as the agent tells. The JSON is for programs, which take
 * the numbers for pids of this host (containerd's Pids, and `docker top`, which asks the host's ps(1) for
 * them): so they are those of the processes that stand for the container here, sm-vmm and the proxy
 * of each exec. Numbers from the guest would name processes that have nothing to do with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/pstable.h"
#include "runtime/runtime.h"
#include "runtime/store.h"
#include "runtime/vmm.h"

#define ANSWER_MS 30000
#define PROCS_MAX (1u << 20)
#define STAT_MAX 8192
#define KERNEL_THREAD 0x00200000u	/* PF_KTHREAD */

/* ---- for programs --------------------------------------------------------------------------- */

/* -1: there is no such process, or it is one of the kernel's (KVM puts a thread of its own into the cgroup
 * of who made a VM). The name in between may hold anything. */
static pid_t parent_of(pid_t pid)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(STAT_MAX);
	sm_auto_free char *path = sm_strf("/proc/%d/stat", (int)pid);
	unsigned int flags;
	const char *at;
	int parent;

	if (!path || sm_read_file_at(AT_FDCWD, path, &text) < 0 || !text.data)
		return -1;
	at = strrchr((char *)text.data, ')');
	if (!at || sscanf(at + 1, " %*c %d %*d %*d %*d %*d %u", &parent, &flags) != 2)
		return -1;
	return flags & KERNEL_THREAD ? -1 : (pid_t)parent;
}

/* The proxies are in the container's cgroups beside sm-vmm and, its child, QEMU. */
static void print_proxies(pid_t vmm, char *procs)
{
	char *save = NULL;

	for (char *line = strtok_r(procs, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);
		pid_t parent = pid > 0 && pid != vmm ? parent_of(pid) : -1;

		if (parent >= 0 && parent != vmm)
			printf(",%d", (int)pid);
	}
}

static void print_json(const struct sm_state *state)
{
	printf("[%d", (int)state->vmm.pid);
	for (size_t i = 0; i < state->cgroups.n; i++) {
		sm_auto_buf struct sm_buf text = SM_BUF_INIT(PROCS_MAX);
		sm_auto_free char *path = sm_strf("%s/cgroup.procs", state->cgroups.v[i]);

		if (!path || sm_read_file_at(AT_FDCWD, path, &text) < 0 || !text.data)
			continue;
		print_proxies(state->vmm.pid, (char *)text.data);
		break;	/* they are in all of them */
	}
	printf("]\n");
}

/* ---- for people ----------------------------------------------------------------------------- */

static int ask(const struct sm_store *s, Supermachine__Agent__V1__ProcessesResponse **list,
	       struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	int r = sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, err);

	return r < 0 ? r : sm_vmm_processes(&vmm, s->id, list, err);
}

static int print_table(const struct sm_ps_format *f,
		       const Supermachine__Agent__V1__ProcessesResponse *list, struct sm_err *err)
{
	sm_auto_free char *text = sm_ps_table(f, list);

	if (!text)
		return sm_err_sys(err, -ENOMEM, "ps");
	fputs(text, stdout);
	if (list->truncated)
		sm_warn("ps: there are more processes than can be shown");
	return 0;
}

static int show_table(const struct sm_store *s, const struct sm_state *state,
		      const struct sm_ps_format *f, struct sm_err *err)
{
	Supermachine__Agent__V1__ProcessesResponse none =
		SUPERMACHINE__AGENT__V1__PROCESSES_RESPONSE__INIT;
	Supermachine__Agent__V1__ProcessesResponse *list = NULL;
	enum sm_status status = sm_state_status(state);
	int r;

	if (status == SM_STATUS_PAUSED)
		return sm_err_set(err, -EBUSY,
				  "cannot list the processes of a paused container: resume it, or "
				  "use --format json");
	if (status == SM_STATUS_CREATING)
		return sm_err_set(err, -EBUSY,
				  "cannot list the processes of a container that is being created");
	r = status == SM_STATUS_STOPPED ? 0 : ask(s, &list, err);
	if (r < 0 && sm_state_status(state) == SM_STATUS_STOPPED)
		r = 0;	/* it ended meanwhile */
	if (r == 0)
		r = print_table(f, list ? list : &none, err);
	if (list)
		supermachine__agent__v1__processes_response__free_unpacked(list, NULL);
	return r;
}

static int show(struct sm_runtime *rt, const char *format, const struct sm_args *args,
		struct sm_err *err)
{
	sm_auto_ps_format struct sm_ps_format f = SM_PS_FORMAT_INIT;
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	int r = sm_store_find(rt->root, args->v[0], &s, &state, err);

	if (r < 0)
		return r;
	if (!strcmp(format, "json")) {
		if (sm_state_status(state) == SM_STATUS_STOPPED)
			printf("null\n");
		else
			print_json(state);
		return 0;
	}
	if (strcmp(format, "table") != 0)
		return sm_err_set(err, -EINVAL, "invalid format option");
	r = sm_ps_format_parse(&f, args->v + 1, args->n - 1, err);
	return r < 0 ? r : show_table(&s, state, &f, err);
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const char *format = "table";
	const struct sm_opt opts[] = {
		{ "format", 'f', SM_OPT_STRING, &format, "FORMAT", "table (default) or json" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	return show(rt, format, &args, err);
}

const struct sm_command sm_cmd_ps = {
	.name = "ps",
	.args = "<container-id> [ps options]",
	.summary = "list the processes of a container",
	.text = "   The table is of the processes in the container, with its pids, as ps(1) with\n"
		"   these options (default: -ef) prints it. The JSON is an array of host pids: of\n"
		"   the container, and of each detached exec.\n",
	.min = 1,
	.max = SIZE_MAX,
	.stop_at = 1,
	.failed = 1,
	.run = run,
};
