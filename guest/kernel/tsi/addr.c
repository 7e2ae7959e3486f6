// SPDX-License-Identifier: GPL-2.0
/* Addresses: as user space gives them, as the wire has them, as names of a sock. */
#include <linux/jhash.h>
#include <net/ipv6.h>

#include "tsi.h"

int tsi_addr_len(const struct tsi_addr *addr)
{
	return addr->sa.sa_family == AF_INET6 ? sizeof(addr->in6) : sizeof(addr->in);
}

__be16 tsi_addr_port(const struct tsi_addr *addr)
{
	return addr->in.sin_port; /* at the same place in both */
}

static void map_v4(const struct sockaddr_in *in, struct sockaddr_in6 *out)
{
	__be32 v4 = in->sin_addr.s_addr;

	*out = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = in->sin_port };
	ipv6_addr_set_v4mapped(v4, &out->sin6_addr);
}

/* The form that a socket of the given family has for the host. What family a call allows is its own
 * business. */
int tsi_addr_get(const struct sock *sk, const struct sockaddr *uaddr, int len, struct tsi_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (sk->sk_family == AF_INET6 && uaddr->sa_family == AF_INET6) {
		if (len < SIN6_LEN_RFC2133)
			return -EINVAL;
		memcpy(&out->in6, uaddr, min_t(int, len, sizeof(out->in6)));
		return 0;
	}
	if (len < (int)sizeof(out->in))
		return -EINVAL;
	if (sk->sk_family == AF_INET6) {
		map_v4((const struct sockaddr_in *)uaddr, &out->in6);
		return 0;
	}
	memcpy(&out->in, uaddr, sizeof(out->in));
	memset(out->in.sin_zero, 0, sizeof(out->in.sin_zero));
	out->in.sin_family = AF_INET;
	return 0;
}

/* For user space; returns the length. */
int tsi_addr_put(const struct tsi_addr *addr, int family, struct sockaddr *out)
{
	if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

		if (addr->sa.sa_family == AF_INET6)
			*in6 = addr->in6;
		else
			map_v4(&addr->in, in6);
		in6->sin6_flowinfo = 0;
		return sizeof(*in6);
	}
	*(struct sockaddr_in *)out = addr->in;
	memset(((struct sockaddr_in *)out)->sin_zero, 0, sizeof(addr->in.sin_zero));
	return sizeof(struct sockaddr_in);
}

/* From the wire. */
bool tsi_addr_read(struct tsi_addr *addr, const u8 *field, u32 len)
{
	u16 family;

	memset(addr, 0, sizeof(*addr));
	if (len < sizeof(family))
		return false;
	memcpy(&family, field, sizeof(family));
	if (family == AF_INET && len >= sizeof(addr->in))
		memcpy(&addr->in, field, sizeof(addr->in));
	else if (family == AF_INET6 && len >= sizeof(addr->in6))
		memcpy(&addr->in6, field, sizeof(addr->in6));
	else
		return false;
	return true;
}

void tsi_addr_none(struct tsi_addr *addr, int family)
{
	memset(addr, 0, sizeof(*addr));
	addr->sa.sa_family = family;
}

static __be32 v4_of(const struct tsi_addr *addr)
{
	if (addr->sa.sa_family == AF_INET)
		return addr->in.sin_addr.s_addr;
	return ipv6_addr_v4mapped(&addr->in6.sin6_addr) ? addr->in6.sin6_addr.s6_addr32[3] : 0;
}

/* NULL leaves one as it is. Called with tsk->lock. inet_sock's own fields follow for those who look
 * there. */
void tsi_set_names(struct sock *sk, const struct tsi_addr *local, const struct tsi_addr *peer)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct inet_sock *inet = inet_sk(sk);

	if (local) {
		tsk->local = *local;
		inet->inet_sport = tsi_addr_port(local);
		inet->inet_num = ntohs(inet->inet_sport);
		inet->inet_saddr = inet->inet_rcv_saddr = v4_of(local);
		if (local->sa.sa_family == AF_INET6)
			sk->sk_v6_rcv_saddr = local->in6.sin6_addr;
	}
	if (peer) {
		tsk->peer = *peer;
		inet->inet_dport = tsi_addr_port(peer);
		inet->inet_daddr = v4_of(peer);
		if (peer->sa.sa_family == AF_INET6)
			sk->sk_v6_daddr = peer->in6.sin6_addr;
	}
}

/* An address of all zeros stands for the loopback, also in getpeername(2). */
void tsi_name_loopback(struct tsi_addr *addr)
{
	struct in6_addr *a6 = &addr->in6.sin6_addr;

	if (addr->sa.sa_family == AF_INET) {
		if (addr->in.sin_addr.s_addr == htonl(INADDR_ANY))
			addr->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (ipv6_addr_any(a6)) {
		*a6 = in6addr_loopback;
	} else if (ipv6_addr_v4mapped(a6) && !a6->s6_addr32[3]) {
		a6->s6_addr32[3] = htonl(INADDR_LOOPBACK);
	}
}

/* Where connects were under way lately; which ones is of no consequence but for the time of calls.
 */
static u32 known[256];

static u32 hash_addr(const struct tsi_addr *addr)
{
	return jhash(addr, tsi_addr_len(addr), 0) | 1;
}

bool tsi_addr_is_known(const struct tsi_addr *addr)
{
	u32 hash = hash_addr(addr);

	return READ_ONCE(known[hash >> 24]) == hash;
}

void tsi_addr_know(const struct tsi_addr *addr, bool is_known)
{
	u32 hash = hash_addr(addr);
	u32 *slot = &known[hash >> 24];

	if (is_known)
		WRITE_ONCE(*slot, hash);
	else if (READ_ONCE(*slot) == hash)
		WRITE_ONCE(*slot, 0);
}
