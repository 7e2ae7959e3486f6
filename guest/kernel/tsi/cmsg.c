// SPDX-License-Identifier: GPL-2.0
/* Control messages of datagrams: addresses of this end, TTL, TOS. */
#include <net/ip.h>
#include <net/ipv6.h>

#include "tsi.h"

static void set_local(struct tsi_wire_dgram *d, u32 ifindex, const void *addr, size_t len)
{
	d->flags |= cpu_to_le16(TSI_DGRAM_LOCAL);
	d->ifindex = cpu_to_le32(ifindex);
	memcpy(d->local, addr, len);
}

static int set_int(const struct cmsghdr *c, struct tsi_wire_dgram *d, u16 flag, int low, int high)
{
	int val;

	if (c->cmsg_len == CMSG_LEN(sizeof(int)))
		val = *(int *)CMSG_DATA(c);
	else if (c->cmsg_len == CMSG_LEN(1) && flag == TSI_DGRAM_TOS)
		val = *(u8 *)CMSG_DATA(c);
	else
		return -EINVAL;
	if (val < low || val > high)
		return -EINVAL;
	if (val < 0)
		return 0;
	d->flags |= cpu_to_le16(flag);
	if (flag == TSI_DGRAM_TTL)
		d->ttl = cpu_to_le32(val);
	else
		d->tos = cpu_to_le32(val);
	return 0;
}

static int get_v4(const struct cmsghdr *c, struct tsi_wire_dgram *d)
{
	const struct in_pktinfo *info = CMSG_DATA(c);

	switch (c->cmsg_type) {
	case IP_PKTINFO:
		if (c->cmsg_len != CMSG_LEN(sizeof(*info)))
			return -EINVAL;
		set_local(d, info->ipi_ifindex, &info->ipi_spec_dst, sizeof(info->ipi_spec_dst));
		return 0;
	case IP_TTL:
		return set_int(c, d, TSI_DGRAM_TTL, 1, 255);
	case IP_TOS:
		return set_int(c, d, TSI_DGRAM_TOS, 0, 255);
	default:
		return -EINVAL;
	}
}

static int get_v6(const struct cmsghdr *c, struct tsi_wire_dgram *d)
{
	const struct in6_pktinfo *info = CMSG_DATA(c);

	switch (c->cmsg_type) {
	case IPV6_PKTINFO:
	case IPV6_2292PKTINFO:
		if (c->cmsg_len < CMSG_LEN(sizeof(*info)))
			return -EINVAL;
		set_local(d, info->ipi6_ifindex, &info->ipi6_addr, sizeof(info->ipi6_addr));
		return 0;
	case IPV6_HOPLIMIT:
	case IPV6_2292HOPLIMIT:
		return set_int(c, d, TSI_DGRAM_TTL, -1, 255);
	case IPV6_TCLASS:
		return set_int(c, d, TSI_DGRAM_TOS, -1, 255);
	case IPV6_DONTFRAG:
		return 0;
	default:
		return -EINVAL;
	}
}

/* Of a send. Levels of other families are passed over, as inet does. */
int tsi_cmsg_get(struct sock *sk, struct msghdr *msg, struct tsi_wire_dgram *d)
{
	struct cmsghdr *c;
	int err;

	for_each_cmsghdr(c, msg) {
		if (!CMSG_OK(msg, c))
			return -EINVAL;
		err = 0;
		if (c->cmsg_level == SOL_IPV6 && sk->sk_family == AF_INET6)
			err = get_v6(c, d);
		else if (c->cmsg_level == SOL_IP && sk->sk_family == AF_INET)
			err = get_v4(c, d);
		else if (c->cmsg_level == SOL_UDP)
			err = -EINVAL;
		if (err)
			return err;
	}
	return 0;
}

static void put_v4(struct sock *sk, struct msghdr *msg, const struct tsi_wire_dgram *d,
		   const void *local)
{
	u16 flags = le16_to_cpu(d->flags), want = inet_sk(sk)->cmsg_flags;
	int ttl = (int)le32_to_cpu(d->ttl);
	u8 tos = le32_to_cpu(d->tos);
	struct in_pktinfo info = { .ipi_ifindex = (int)le32_to_cpu(d->ifindex) };

	memcpy(&info.ipi_addr, local, sizeof(info.ipi_addr));
	info.ipi_spec_dst = info.ipi_addr;
	if ((want & IP_CMSG_PKTINFO) && (flags & TSI_DGRAM_LOCAL))
		put_cmsg(msg, SOL_IP, IP_PKTINFO, sizeof(info), &info);
	if ((want & IP_CMSG_TTL) && (flags & TSI_DGRAM_TTL))
		put_cmsg(msg, SOL_IP, IP_TTL, sizeof(ttl), &ttl);
	if ((want & IP_CMSG_TOS) && (flags & TSI_DGRAM_TOS))
		put_cmsg(msg, SOL_IP, IP_TOS, sizeof(tos), &tos);
}

static void put_v6(struct sock *sk, struct msghdr *msg, const struct tsi_wire_dgram *d, bool mapped)
{
	const struct ipv6_pinfo *np = inet6_sk(sk);
	u16 flags = le16_to_cpu(d->flags);
	int ttl = (int)le32_to_cpu(d->ttl), tos = (int)le32_to_cpu(d->tos);
	struct in6_pktinfo info = { .ipi6_ifindex = (int)le32_to_cpu(d->ifindex) };

	memcpy(&info.ipi6_addr, d->local, sizeof(info.ipi6_addr));
	if (np->rxopt.bits.rxinfo && (flags & TSI_DGRAM_LOCAL))
		put_cmsg(msg, SOL_IPV6, IPV6_PKTINFO, sizeof(info), &info);
	if (np->rxopt.bits.rxhlim && (flags & TSI_DGRAM_TTL) && !mapped)
		put_cmsg(msg, SOL_IPV6, IPV6_HOPLIMIT, sizeof(ttl), &ttl);
	if (np->rxopt.bits.rxtclass && (flags & TSI_DGRAM_TOS) && !mapped)
		put_cmsg(msg, SOL_IPV6, IPV6_TCLASS, sizeof(tos), &tos);
}

/* Of a receive: what the program asked for and the host knows. */
void tsi_cmsg_put(struct sock *sk, struct msghdr *msg, const struct tsi_wire_dgram *d)
{
	const struct sockaddr_in6 *from = (const struct sockaddr_in6 *)d->addr;
	bool mapped;

	if (sk->sk_family == AF_INET) {
		if (inet_sk(sk)->cmsg_flags)
			put_v4(sk, msg, d, d->local);
		return;
	}
	mapped = from->sin6_family == AF_INET || ipv6_addr_v4mapped(&from->sin6_addr);
	put_v6(sk, msg, d, mapped);
	/* IPV6_PKTINFO has the address mapped, IP_PKTINFO alone has it as it is. */
	if (mapped && inet_sk(sk)->cmsg_flags)
		put_v4(sk, msg, d, d->local + (inet6_sk(sk)->rxopt.bits.rxinfo ? 12 : 0));
}
