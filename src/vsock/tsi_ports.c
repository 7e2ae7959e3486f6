/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port map, seen from within: the guest meets its own sockets at the ports that it bound, and
 * not at those which the map made of them. What of its sockets is at which port of the namespace is
 * counted in a table, since it is asked for each datagram to and from loopback.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "vsock/tsi.h"

struct sm_tsi_ports {
	uint16_t n[SM_TSI_PROTO_NUM][SM_TSI_ROLE_NUM][UINT16_MAX + 1];
};
static_assert(SM_VSOCK_TSI_FLOWS_MAX <= UINT16_MAX, "all of them at one port");

int sm_tsi_ports_new(const struct sm_tsi_policy *p, struct sm_tsi_ports **ports)
{
	*ports = NULL;
	if (!sm_tsi_policy_maps(p))
		return 0;
	*ports = calloc(1, sizeof(**ports)); /* of which what is used becomes memory */
	return *ports ? 0 : -ENOMEM;
}

void sm_tsi_ports_add(struct sm_tsi *t, enum sm_tsi_proto proto, enum sm_tsi_role role,
		      uint16_t port, int n)
{
	if (t->ports && port)
		t->ports->n[proto][role][port] = (uint16_t)(t->ports->n[proto][role][port] + n);
}

static bool is_own(const struct sm_tsi_sock *s, enum sm_tsi_role role, const union sm_tsi_addr *a,
		   uint16_t port)
{
	const struct sm_tsi_ports *ports = s->tsi->ports;

	return ports && sm_tsi_is_loopback(&a->sa) && ports->n[s->proto][role][port];
}

void sm_tsi_find_own(const struct sm_tsi_sock *s, union sm_tsi_addr *a)
{
	uint16_t outer = sm_tsi_policy_outer(s->tsi->policy, s->proto, ntohs(a->in.sin_port));

	if (is_own(s, SM_TSI_OPEN, a, outer))
		a->in.sin_port = htons(outer);
}

void sm_tsi_name_own(const struct sm_tsi_sock *s, union sm_tsi_addr *a)
{
	uint16_t port = ntohs(a->in.sin_port);

	if (is_own(s, SM_TSI_BOUND, a, port))
		a->in.sin_port = htons(sm_tsi_policy_inner(s->tsi->policy, s->proto, port));
}
