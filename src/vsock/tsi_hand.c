/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that a listener of the guest gets without having accepted them (vsock.h), and the
 * list of what listens.
 *
 * What is handed over waits at its listener until the guest has room for one more, as a connection
 * waits in the kernel's queue: before the kernel's, HANDED_MAX for each listener at most. The
 * addresses that the guest is told have to be of the listener's family, whatever the connection is.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "vsock/device.h"
#include "vsock/tsi.h"

#define HANDED_MAX 128u
#define COST       512

/* ---- addresses ---- */

/* Makes an address one of `family`: mapped, or 0.0.0.0 for an IPv6 address at an AF_INET listener.
 */
static void fit(int family, union sm_tsi_addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	union sm_tsi_addr from = *a;

	if (a->sa.sa_family == family)
		return;
	*a = (union sm_tsi_addr){ .in6 = { 0 } };
	a->sa.sa_family = (sa_family_t)family;
	a->in.sin_port = from.in.sin_port; /* the same place in both */
	if (family == AF_INET6) {
		memcpy(a->in6.sin6_addr.s6_addr, mapped, sizeof(mapped));
		memcpy(a->in6.sin6_addr.s6_addr + 12, &from.in.sin_addr, 4);
	} else if (!memcmp(from.in6.sin6_addr.s6_addr, mapped, sizeof(mapped))) {
		memcpy(&a->in.sin_addr, from.in6.sin6_addr.s6_addr + 12, 4);
	}
}

/* The listener's own name with the guest's port; the loopback address for that of all. */
static int name_of(const struct sm_tsi_sock *s, union sm_tsi_addr *a)
{
	socklen_t len = sizeof(*a);

	*a = (union sm_tsi_addr){ .in6 = { 0 } };
	if (getsockname(s->fd, &a->sa, &len) < 0)
		return -errno;
	a->in.sin_port =
		htons(sm_tsi_policy_inner(s->tsi->policy, s->proto, ntohs(a->in.sin_port)));
	return 0;
}

static void settle(union sm_tsi_addr *a)
{
	if (a->sa.sa_family == AF_INET && !a->in.sin_addr.s_addr)
		a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr))
		a->in6.sin6_addr = in6addr_loopback;
}

int sm_tsi_listener_name(struct sm_tsi *t, uint32_t guest_port, uint32_t host_port,
			 union sm_tsi_addr *a)
{
	const struct sm_stream *st = sm_vsock_find(t->vs, guest_port, host_port);
	const struct sm_tsi_sock *s = st ? sm_tsi_find(t, st->key) : NULL;
	int r = s ? name_of(s, a) : -ENOTCONN;

	settle(a);
	return r;
}

/* ---- taking one ---- */

static bool is_inet(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET || sa->sa_family == AF_INET6;
}

static int int_option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int v = 0;

	return getsockopt(fd, SOL_SOCKET, name, &v, &len) < 0 ? -errno : v;
}

/* getpeername(2) without being one more call that the loop may make. It wants to know the length.
 */
static int peer_of(int fd, int domain, union sm_tsi_addr *a)
{
	socklen_t len = domain == AF_INET ? sizeof(a->in) : sizeof(a->in6);

	if (domain == AF_UNIX)
		len = sizeof(a->sa.sa_family);
	*a = (union sm_tsi_addr){ .in6 = { 0 } };
	return getsockopt(fd, SOL_SOCKET, SO_PEERNAME, a, &len) < 0 ? -errno : 0;
}

/* Both names, of AF_INET or AF_INET6 and if need be the listener's. */
static int names(const struct sm_tsi_sock *s, const struct sm_vsock_handed *h,
		 struct sm_tsi_conn *conn)
{
	socklen_t local = sizeof(conn->local);
	int domain = int_option(h->fd, SO_DOMAIN), r;

	if (domain < 0)
		return domain == -ENOTSOCK ? -EPROTOTYPE : domain;
	if (int_option(h->fd, SO_TYPE) != SOCK_STREAM ||
	    (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX))
		return -EPROTOTYPE;
	r = peer_of(h->fd, domain, &conn->peer);
	if (r == 0 && getsockname(h->fd, &conn->local.sa, &local) < 0)
		r = -errno;
	if (r < 0)
		return r;
	if (domain == AF_UNIX) {
		r = name_of(s, &conn->local);
		if (r < 0)
			return r;
		settle(&conn->local);
		conn->peer = conn->local;
		conn->peer.in.sin_port = 0;
	}
	if (h->peer)
		memcpy(&conn->peer, h->peer,
		       h->peer->sa_family == AF_INET ? sizeof(conn->peer.in)
						     : sizeof(conn->peer.in6));
	fit(s->family, &conn->local);
	fit(s->family, &conn->peer);
	return 0;
}

static struct sm_tsi_sock *find_listener(struct sm_tsi *t, uint16_t port)
{
	struct sm_tsi_sock *s, *found = NULL;

	/* The list has the newest first. */
	LIST_FOREACH(s, &t->all, all)
	{
		union sm_tsi_addr a;

		if (s->state != SM_TSI_LISTENING || name_of(s, &a) < 0)
			continue;
		if (port && ntohs(a.in.sin_port) != port)
			continue;
		if (!found || s->family == AF_INET || found->family != AF_INET)
			found = s;
	}
	return found;
}

static void free_conn(struct sm_tsi_conn *conn)
{
	sm_close(&conn->fd);
	free(conn->prefix);
	free(conn);
}

int sm_vsock_hand_over(struct sm_vsock *vs, const struct sm_vsock_handed *h)
{
	struct sm_tsi_sock *s = vs->tsi ? find_listener(vs->tsi, h->port) : NULL;
	struct sm_tsi_conn *conn;
	int r;

	if (!s)
		return -ENOENT;
	if (h->len > SM_VSOCK_PREFIX_MAX || (h->peer && !is_inet(h->peer)))
		return -EINVAL;
	if (s->nhanded == HANDED_MAX)
		return -EAGAIN;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return -ENOMEM;
	conn->fd = -1;
	conn->prefix = h->len ? malloc(h->len) : NULL;
	r = h->len && !conn->prefix ? -ENOMEM : names(s, h, conn);
	if (r < 0) {
		free_conn(conn);
		return r;
	}
	conn->fd = h->fd;
	conn->foreign = true;
	conn->prefix_len = h->len;
	if (h->len)
		memcpy(conn->prefix, h->prefix, h->len);
	STAILQ_INSERT_TAIL(&s->handed, conn, link);
	s->nhanded++;
	sm_tsi_ready(s);
	sm_vsock_wake(vs);
	return 0;
}

/* ---- giving it to the guest ---- */

static void pop(struct sm_tsi_sock *s)
{
	struct sm_tsi_conn *conn = STAILQ_FIRST(&s->handed);

	STAILQ_REMOVE_HEAD(&s->handed, link);
	s->nhanded--;
	free_conn(conn);
}

void sm_tsi_hand_drop(struct sm_tsi_sock *s)
{
	while (s->nhanded)
		pop(s);
}

/* 0, -ENOBUFS without an rx buffer, another -errno: to be tried again. */
static int serve_one(struct sm_tsi_sock *s)
{
	struct sm_vsock *vs = s->tsi->vs;
	struct sm_tsi_conn *conn = STAILQ_FIRST(&s->handed);
	struct sm_chain *c = &vs->chains[0];
	int r;

	if (!sm_tsi_has_room(s->tsi))
		return -EMFILE;
	if (!s->tsi->extended) {
		r = sm_tsi_base_announce(s, conn);
		return r == -ENOBUFS ? -ENOMEM : r;
	}
	if (!sm_vsock_pop_rx(vs, c, 0))
		return -ENOBUFS;
	r = c->in_len < SM_VSOCK_HDR_SIZE + SM_TSI_ANSWER ? -EPROTO : sm_tsi_announce(s, conn, c);
	if (r == 0)
		return 0;
	sm_vsock_unpop_rx(vs);
	if (r == -EPROTO)
		sm_vsock_break_rx(vs);
	return r == -ENOBUFS ? -ENOMEM : r;
}

int sm_tsi_hand_serve(struct sm_tsi_sock *s)
{
	int n = 0;

	while (s->nhanded && (s->announce || !s->tsi->extended)) {
		int r = serve_one(s);

		if (r == 0) {
			pop(s);
			n += COST;
			continue;
		}
		if (r == -ENOBUFS)
			return r;
		s->tsi->starved |= r != -EPROTO; /* once more when something was freed */
		break;
	}
	return n;
}

/* ---- who listens where ---- */

/* A datagram socket that has a name and no peer. */
static bool waits(const struct sm_tsi_sock *s)
{
	union sm_tsi_addr peer;

	if (s->state == SM_TSI_LISTENING)
		return true;
	return s->state == SM_TSI_DATAGRAM && s->proto == SM_TSI_UDP &&
	       peer_of(s->fd, s->family, &peer) < 0;
}

void sm_vsock_ports(struct sm_vsock *vs, sm_vsock_port_fn *fn, void *arg)
{
	const struct sm_tsi_sock *s;

	if (!vs->tsi)
		return;
	LIST_FOREACH(s, &vs->tsi->all, all)
	{
		union sm_tsi_addr a;
		struct sm_vsock_port p = { .proto = sm_tsi_proto_name(s->proto),
					   .addr = &a.sa,
					   .backlog = s->backlog,
					   .accepted = s->total };

		if (!waits(s) || name_of(s, &a) < 0 || !a.in.sin_port)
			continue;
		p.host_port = sm_tsi_policy_outer(vs->tsi->policy, s->proto, ntohs(a.in.sin_port));
		fn(arg, &p);
	}
}
