/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_TSI_POLICY_H
#define SM_VSOCK_TSI_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

/*
 * Who may talk to whom, decided before any socket call: an ordered list of rules, the first that
 * matches decides, then the default.
 *
 *	allow|deny CIDR[:PORT[-PORT]] [tcp|udp|icmp]	"deny [fd00::]/8:1-1023 udp", "deny any:25 tcp"
 *	default allow|deny				allow, if not given
 *
 * There can be a second list behind a semicolon (that of a container, after the host's): both must
 * allow.
 *
 * Addresses that mean the same are the same to the rules: IPv4-mapped ones are IPv4. The address of
 * a bind or listen is judged as it is written: that of 0.0.0.0 is 0.0.0.0.
 */
enum sm_tsi_proto { SM_TSI_TCP, SM_TSI_UDP, SM_TSI_ICMP, SM_TSI_PROTO_NUM };

struct sm_tsi_policy;

/* Rules and the port map ("HOST:GUEST[/tcp|udp]"), each a list separated by commas or newlines; NULL
 * or "" is none. 0 or -EINVAL, -ENOMEM. */
int sm_tsi_policy_new(const char *rules, const char *ports, struct sm_tsi_policy **policy,
		      struct sm_err *err);
void sm_tsi_policy_free(struct sm_tsi_policy *p);

bool sm_tsi_policy_allows(const struct sm_tsi_policy *p, enum sm_tsi_proto proto,
			  const struct sockaddr *addr);

/* Makes of an unspecified destination, where there are rules, the loopback address, which is what
 * the kernel takes it for (or for the socket's own: that no rule could know). */
void sm_tsi_policy_settle(const struct sm_tsi_policy *p, struct sockaddr *addr);

bool sm_tsi_is_loopback(const struct sockaddr *addr); /* in any spelling */

const char *sm_tsi_proto_name(enum sm_tsi_proto proto);

/* The port, in host order, of the namespace for the one that the guest binds, and the other way
 * round; the same if the map says nothing. */
uint16_t sm_tsi_policy_outer(const struct sm_tsi_policy *p, enum sm_tsi_proto proto, uint16_t port);
bool sm_tsi_policy_maps(const struct sm_tsi_policy *p); /* any at all */
uint16_t sm_tsi_policy_inner(const struct sm_tsi_policy *p, enum sm_tsi_proto proto, uint16_t port);

#endif
