/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/ports.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/clean.h"
#include "proto/sandbox.pb-c.h"

#define PORT(name) Supermachine__Sandbox__V1__##name

struct list {
	size_t n, room;
	PORT(Port) * ports;
	PORT(Port) * *pointers;
	char (*texts)[INET6_ADDRSTRLEN];
};

static void count(void *arg, const struct sm_vsock_port *p)
{
	struct list *l = arg;

	(void)p;
	l->room++;
}

static void add(void *arg, const struct sm_vsock_port *p)
{
	const struct sockaddr_in *in = (const void *)p->addr;
	const struct sockaddr_in6 *in6 = (const void *)p->addr;
	bool v6 = p->addr->sa_family == AF_INET6;
	struct list *l = arg;
	PORT(Port) *port = &l->ports[l->n];

	if (l->n == l->room)
		return;
	supermachine__sandbox__v1__port__init(port);
	inet_ntop(p->addr->sa_family, v6 ? (const void *)&in6->sin6_addr : &in->sin_addr,
		  l->texts[l->n], sizeof(l->texts[0]));
	port->protocol = (char *)p->proto;
	port->address = l->texts[l->n];
	port->port = ntohs(in->sin_port);
	port->host_port = p->host_port;
	port->backlog = p->backlog;
	port->accepted = p->accepted;
	l->pointers[l->n++] = port;
}

void sm_ports_reply(struct sm_vsock *vs, struct sm_rpc_call *call)
{
	PORT(PortsResponse) rsp = SUPERMACHINE__SANDBOX__V1__PORTS_RESPONSE__INIT;
	struct list l = { 0 };

	sm_vsock_ports(vs, count, &l);
	l.ports = calloc(l.room + 1, sizeof(*l.ports));
	l.pointers = calloc(l.room + 1, sizeof(*l.pointers));
	l.texts = calloc(l.room + 1, sizeof(*l.texts));
	if (l.ports && l.pointers && l.texts) {
		sm_vsock_ports(vs, add, &l);
		rsp.ports = l.pointers;
		rsp.n_ports = l.n;
		sm_rpc_reply(call, &rsp.base);
	} else {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "out of memory");
	}
	free(l.ports);
	free(l.pointers);
	free(l.texts);
}
