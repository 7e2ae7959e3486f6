/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket options that a guest may set and read on our sockets: those that concern the wire, and
 * the addresses, between the socket and its peer. All else stays in the guest.
 */
#include "config.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clean.h"
#include "vsock/device.h"
#include "vsock/tsi.h"

#define VALUE_MAX 256u
#define INT       4

/* In the C library's headers these are hidden behind other features, or too new. */
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef MCAST_JOIN_GROUP
#define MCAST_JOIN_GROUP  42
#define MCAST_LEAVE_GROUP 45
#endif
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif

static const struct option {
	int level, name;
	uint16_t min, max; /* bytes of a value that is set, more are cut; max 0: read only */
} options[] = {
	{ SOL_SOCKET, SO_REUSEADDR, INT, INT },
	{ SOL_SOCKET, SO_REUSEPORT, INT, INT },
	{ SOL_SOCKET, SO_KEEPALIVE, INT, INT },
	{ SOL_SOCKET, SO_BROADCAST, INT, INT },
	{ SOL_SOCKET, SO_DONTROUTE, INT, INT },
	{ SOL_SOCKET, SO_OOBINLINE, INT, INT },
	{ SOL_SOCKET, SO_SNDBUF, INT, INT },
	{ SOL_SOCKET, SO_RCVBUF, INT, INT },
	{ SOL_SOCKET, SO_PRIORITY, INT, INT },
	{ SOL_SOCKET, SO_LINGER, sizeof(struct linger), sizeof(struct linger) },
	{ SOL_SOCKET, SO_BINDTODEVICE, 0, 16 },
	{ SOL_SOCKET, SO_BINDTOIFINDEX, INT, INT },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, 4, 8 },
	{ IPPROTO_TCP, TCP_NODELAY, INT, INT },
	{ IPPROTO_TCP, TCP_MAXSEG, INT, INT },
	{ IPPROTO_TCP, TCP_CORK, INT, INT },
	{ IPPROTO_TCP, TCP_KEEPIDLE, INT, INT },
	{ IPPROTO_TCP, TCP_KEEPINTVL, INT, INT },
	{ IPPROTO_TCP, TCP_KEEPCNT, INT, INT },
	{ IPPROTO_TCP, TCP_SYNCNT, INT, INT },
	{ IPPROTO_TCP, TCP_LINGER2, INT, INT },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, INT, INT },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, INT, INT },
	{ IPPROTO_TCP, TCP_INFO, 0, 0 },
	{ IPPROTO_TCP, TCP_QUICKACK, INT, INT },
	{ IPPROTO_TCP, TCP_CONGESTION, 1, 16 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, INT, INT },
	{ IPPROTO_TCP, TCP_FASTOPEN, INT, INT },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, INT, INT },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, INT, INT },
	{ IPPROTO_IP, IP_TOS, 1, INT },
	{ IPPROTO_IP, IP_TTL, 1, INT },
	{ IPPROTO_IP, IP_PKTINFO, 1, INT },
	{ IPPROTO_IP, IP_RECVTTL, 1, INT },
	{ IPPROTO_IP, IP_RECVTOS, 1, INT },
	{ IPPROTO_IP, IP_RECVERR, 1, INT },
	{ IPPROTO_IP, IP_MTU_DISCOVER, 1, INT },
	{ IPPROTO_IP, IP_MTU, 0, 0 },
	{ IPPROTO_IP, IP_FREEBIND, 1, INT },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, INT },
	{ IPPROTO_IP, IP_MULTICAST_IF, 4, sizeof(struct ip_mreqn) },
	{ IPPROTO_IP, IP_MULTICAST_TTL, 1, INT },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, 1, INT },
	{ IPPROTO_IP, IP_MULTICAST_ALL, 1, INT },
	{ IPPROTO_IP, IP_ADD_MEMBERSHIP, 8, sizeof(struct ip_mreqn) },
	{ IPPROTO_IP, IP_DROP_MEMBERSHIP, 8, sizeof(struct ip_mreqn) },
	{ IPPROTO_IP, MCAST_JOIN_GROUP, sizeof(struct group_req), sizeof(struct group_req) },
	{ IPPROTO_IP, MCAST_LEAVE_GROUP, sizeof(struct group_req), sizeof(struct group_req) },
	{ IPPROTO_IPV6, IPV6_V6ONLY, INT, INT },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, INT, INT },
	{ IPPROTO_IPV6, IPV6_TCLASS, INT, INT },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, INT, INT },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, INT, INT },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, INT, INT },
	{ IPPROTO_IPV6, IPV6_RECVERR, INT, INT },
	{ IPPROTO_IPV6, IPV6_DONTFRAG, INT, INT },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, INT, INT },
	{ IPPROTO_IPV6, IPV6_MTU, INT, INT },
	{ IPPROTO_IPV6, IPV6_MULTICAST_IF, INT, INT },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, INT, INT },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP, INT, INT },
	{ IPPROTO_IPV6, IPV6_MULTICAST_ALL, INT, INT },
	{ IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, sizeof(struct ipv6_mreq), sizeof(struct ipv6_mreq) },
	{ IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, sizeof(struct ipv6_mreq), sizeof(struct ipv6_mreq) },
	{ IPPROTO_IPV6, MCAST_JOIN_GROUP, sizeof(struct group_req), sizeof(struct group_req) },
	{ IPPROTO_IPV6, MCAST_LEAVE_GROUP, sizeof(struct group_req), sizeof(struct group_req) },
};

/* ---- the request ---- */

struct where {
	int fd, level, name;
	uint32_t len, host_port;
	const struct option *option;
};

static int find(struct sm_tsi *t, const struct sm_tsi_req *q, struct where *w)
{
	w->host_port = sm_tsi_get32(q->body + 4);
	w->level = (int)sm_tsi_get32(q->body + 8);
	w->name = (int)sm_tsi_get32(q->body + 12);
	w->len = sm_tsi_get32(q->body + 16);
	if (w->len > VALUE_MAX)
		return -EINVAL;
	w->fd = sm_tsi_find_fd(t, q->key, w->host_port);
	if (w->fd < 0)
		return -EBADF;
	for (size_t i = 0; i < SM_ARRAY_SIZE(options); i++) {
		w->option = &options[i];
		if (w->option->level == w->level && w->option->name == w->name)
			return 0;
	}
	return -ENOPROTOOPT;
}

/* close(2) must not wait, whatever the guest's does: see sm_stream_close() and sm_tsi_sock_free().
 */
static void note_linger(struct sm_tsi *t, const struct sm_tsi_req *q, const struct where *w)
{
	bool own = w->host_port == 0 || w->host_port == SM_TSI_PORT;
	struct sm_tsi_sock *s = own ? sm_tsi_find(t, q->key) : NULL;
	struct sm_stream *st = sm_vsock_find(t->vs, q->key, own ? SM_TSI_PORT : w->host_port);
	struct linger l;

	memcpy(&l, q->body + 20, sizeof(l));
	if (s)
		s->lingers = l.l_onoff;
	else if (st)
		st->lingers = l.l_onoff;
}

static void note_errors(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);

	if (s)
		s->queues_errors = true;
}

/* A connection that was handed over may be a unix socket, which the guest takes for TCP: what it
 * sets there has no effect. */
static bool is_unix(int fd)
{
	socklen_t len = sizeof(int);
	int domain = 0;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static int set(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct where w;
	int r = find(t, q, &w);

	if (r < 0)
		return r;
	if (!w.option->max)
		return -ENOPROTOOPT;
	if (w.len < w.option->min || w.len > q->len - 20)
		return -EINVAL;
	if (w.len > w.option->max) /* as the kernel, which looks at no more than it needs */
		w.len = w.option->max;
	if (setsockopt(w.fd, w.level, w.name, q->body + 20, w.len) < 0)
		return errno == EOPNOTSUPP && is_unix(w.fd) ? 0 : -errno;
	if (w.level == SOL_SOCKET && w.name == SO_LINGER)
		note_linger(t, q, &w);
	if ((w.level == IPPROTO_IP && w.name == IP_RECVERR) ||
	    (w.level == IPPROTO_IPV6 && w.name == IPV6_RECVERR))
		note_errors(t, q);
	return 0;
}

void sm_tsi_setsockopt(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	sm_tsi_result(t, q, set(t, q));
}

void sm_tsi_getsockopt(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	uint8_t body[8 + VALUE_MAX] = { 0 };
	socklen_t len = 0;
	struct where w;
	int r = find(t, q, &w);

	if (r == 0) {
		len = w.len;
		if (getsockopt(w.fd, w.level, w.name, body + 8, &len) < 0) {
			r = errno == EOPNOTSUPP && is_unix(w.fd) ? 0 : -errno;
			len = r < 0 || len < sizeof(int) ? 0 : sizeof(int);
		}
	}
	sm_tsi_put32(body, (uint32_t)r);
	sm_tsi_put32(body + 4, len);
	sm_tsi_answer(t, q, body, 8 + len);
}
