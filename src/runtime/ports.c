/* SPDX-License-Identifier: Apache-2.0 */

/* ports: what a container's sockets wait for. No command of runc's. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "runtime/jsonout.h"
#include "runtime/runtime.h"
#include "runtime/store.h"
#include "runtime/vmm.h"

#define ANSWER_MS 30000

typedef Supermachine__Sandbox__V1__Port port;
typedef Supermachine__Sandbox__V1__PortsResponse list;

static int compare(const void *a, const void *b)
{
	const port *p = *(const port *const *)a, *q = *(const port *const *)b;
	int r = strcmp(p->protocol, q->protocol);

	if (r == 0 && p->port != q->port)
		return p->port < q->port ? -1 : 1;
	return r ? r : strcmp(p->address, q->address);
}

static void print_table(const list *l)
{
	int width = (int)strlen("ADDRESS");

	for (size_t i = 0; i < l->n_ports; i++)
		if ((int)strlen(l->ports[i]->address) > width)
			width = (int)strlen(l->ports[i]->address);
	printf("%-8s  %-*s  %-5s  %-9s  %-7s  %s\n", "PROTOCOL", width, "ADDRESS", "PORT",
	       "HOST PORT", "BACKLOG", "ACCEPTED");
	for (size_t i = 0; i < l->n_ports; i++) {
		const port *p = l->ports[i];
		bool tcp = !strcmp(p->protocol, "tcp");

		printf("%-8s  %-*s  %-5u  %-9u  ", p->protocol, width, p->address, p->port,
		       p->host_port);
		if (tcp)
			printf("%-7u  %llu\n", p->backlog, (unsigned long long)p->accepted);
		else
			printf("%-7s  -\n", "-");
	}
}

static int print_json(const list *l, struct sm_err *err)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;

	sm_jsonout_open_array(j);
	for (size_t i = 0; i < l->n_ports; i++) {
		const port *p = l->ports[i];

		sm_jsonout_open(j);
		sm_jsonout_string(j, "protocol", p->protocol);
		sm_jsonout_string(j, "address", p->address);
		sm_jsonout_number(j, "port", p->port);
		sm_jsonout_number(j, "hostPort", p->host_port);
		if (!strcmp(p->protocol, "tcp")) {
			sm_jsonout_number(j, "backlog", p->backlog);
			sm_jsonout_u64(j, "accepted", p->accepted);
		}
		sm_jsonout_close(j);
	}
	sm_jsonout_close_array(j);
	if (sm_jsonout_text(j, &text, &len) < 0)
		return sm_err_sys(err, -ENOMEM, "ports");
	printf("%s\n", text);
	return 0;
}

static int ask(const struct sm_store *s, const struct sm_state *state, list **l, struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	enum sm_status status = sm_state_status(state);
	int r;

	if (status == SM_STATUS_STOPPED || status == SM_STATUS_CREATING)
		return 0;
	r = sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, err);
	if (r == 0)
		r = sm_vmm_ports(&vmm, l, err);
	/* it ended meanwhile */
	return r < 0 && sm_state_status(state) == SM_STATUS_STOPPED ? 0 : r;
}

static int show(struct sm_runtime *rt, const char *format, const char *id, struct sm_err *err)
{
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	list none = SUPERMACHINE__SANDBOX__V1__PORTS_RESPONSE__INIT, *l = NULL;
	int r;

	if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0)
		return sm_err_set(err, -EINVAL, "invalid format option");
	r = sm_store_find(rt->root, id, &s, &state, err);
	if (r == 0)
		r = ask(&s, state, &l, err);
	if (r < 0)
		return r;
	if (l && l->n_ports)
		qsort(l->ports, l->n_ports, sizeof(l->ports[0]), compare);
	if (!strcmp(format, "json"))
		r = print_json(l ? l : &none, err);
	else
		print_table(l ? l : &none);
	if (l)
		supermachine__sandbox__v1__ports_response__free_unpacked(l, NULL);
	return r;
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
	return show(rt, format, args.v[0], err);
}

const struct sm_command sm_cmd_ports = {
	.name = "ports",
	.args = "<container-id>",
	.summary = "list the ports that a container listens at",
	.text = "   TCP listeners and UDP sockets without a peer. HOST PORT is where they are in\n"
		"   the container's network namespace. Listeners of a container without a network\n"
		"   are not known here.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
