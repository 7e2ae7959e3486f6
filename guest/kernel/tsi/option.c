// SPDX-License-Identifier: GPL-2.0
/* Socket options: some are the guest's, most are the host's, some are both. */
#include <linux/net.h>
#include <linux/sockptr.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/netfilter_ipv4.h>
#include <net/inet_sock.h>

#include "tsi.h"

enum where {
	HERE, /* sock_setsockopt() and no more, or UDP_CORK */
	HOST,
	BOTH,
	REFUSE,      /* -ENOPROTOOPT */
	UNSUPPORTED, /* -EOPNOTSUPP */
	WHERE_NUM
};

static enum where where_socket(const struct sock *sk, int name)
{
	switch (name) {
	case SO_REUSEADDR:
	case SO_REUSEPORT:
	case SO_KEEPALIVE:
	case SO_BROADCAST:
	case SO_OOBINLINE:
	case SO_DONTROUTE:
	case SO_PRIORITY:
		return BOTH;
	case SO_SNDBUF:
	case SO_RCVBUF:
	case SO_SNDBUFFORCE:
	case SO_RCVBUFFORCE:
		/* A stream's bounds here are credit. */
		return sk->sk_type == SOCK_STREAM ? HOST : BOTH;
	case SO_BINDTODEVICE:
	case SO_BINDTOIFINDEX:
	case SO_MAX_PACING_RATE:
		return HOST;
	case SO_ATTACH_FILTER:
	case SO_ATTACH_BPF:
	case SO_ATTACH_REUSEPORT_CBPF:
	case SO_ATTACH_REUSEPORT_EBPF:
	case SO_DETACH_REUSEPORT_BPF:
	case SO_TXTIME:
	case SO_RESERVE_MEM:
		return REFUSE;
	case SO_ZEROCOPY:
		return UNSUPPORTED;
	default:
		return HERE;
	}
}

static enum where where_tcp(const struct sock *sk, int name)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return REFUSE;
	switch (name) {
	/* What would need packets, or memory of the program. */
	case TCP_REPAIR:
	case TCP_REPAIR_QUEUE:
	case TCP_REPAIR_OPTIONS:
	case TCP_REPAIR_WINDOW:
	case TCP_QUEUE_SEQ:
	case TCP_ULP:
	case TCP_MD5SIG:
	case TCP_MD5SIG_EXT:
	case TCP_ZEROCOPY_RECEIVE:
	case TCP_FASTOPEN_CONNECT:
	case TCP_INQ:
		return REFUSE;
	default:
		return HOST;
	}
}

static enum where where_is(const struct sock *sk, int level, int name)
{
	switch (level) {
	case SOL_SOCKET:
		return where_socket(sk, name);
	case SOL_TCP:
		return where_tcp(sk, name);
	case SOL_IP:
		return name == IP_HDRINCL || name == SO_ORIGINAL_DST ? REFUSE : HOST;
	case SOL_IPV6:
		if (sk->sk_family != AF_INET6)
			return REFUSE;
		return name == IPV6_ADDRFORM ? REFUSE : HOST;
	case SOL_UDP:
		if (sk->sk_protocol != IPPROTO_UDP)
			return REFUSE;
		return name == UDP_CORK ? HERE : HOST;
	default:
		return REFUSE;
	}
}

/* Those that the host's socket takes whatever their value: nobody need wait for it. */
static bool never_fails(const struct sock *sk, int level, int name)
{
	if (level == SOL_SOCKET)
		return name == SO_REUSEADDR || name == SO_REUSEPORT || name == SO_KEEPALIVE ||
		       name == SO_BROADCAST || name == SO_OOBINLINE;
	return level == SOL_TCP &&
	       (name == TCP_NODELAY || name == TCP_CORK || name == TCP_QUICKACK);
}

struct option {
	struct tsi_wire_option o;
	u8 val[TSI_OPT_MAX];
} __packed;

static void fill(struct option *o, const struct tsi_sock *tsk, int level, int name, u32 len)
{
	o->o = (struct tsi_wire_option){
		.key = cpu_to_le32(tsk->key->key),
		.host_port = cpu_to_le32(tsk->host_port),
		.level = cpu_to_le32(level),
		.name = cpu_to_le32(name),
		.len = cpu_to_le32(len),
	};
}

/* What the host has been told, and what follows here. With the sock locked. */
static void note(struct sock *sk, int level, int name, const struct option *o, u32 len)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct inet_sock *inet = inet_sk(sk);
	struct ipv6_pinfo *np = inet6_sk(sk);
	int val = len >= sizeof(int) ? *(const int *)o->val : o->val[0];
	u16 cmsg = 0;

	if (level == SOL_SOCKET && name == SO_RCVBUF) {
		u32 buf = clamp(val, 8 << 10, 8 << 20) * 2;

		/* What the host was told is its to use. */
		spin_lock_bh(&tsk->lock);
		if (sk->sk_state == TCP_CLOSE || buf > tsk->buf_alloc)
			tsk->buf_alloc = buf;
		spin_unlock_bh(&tsk->lock);
	} else if (level == SOL_IP) {
		if (name == IP_PKTINFO)
			cmsg = IP_CMSG_PKTINFO;
		else if (name == IP_RECVTTL)
			cmsg = IP_CMSG_TTL;
		else if (name == IP_RECVTOS)
			cmsg = IP_CMSG_TOS;
		inet->cmsg_flags = val ? inet->cmsg_flags | cmsg : inet->cmsg_flags & ~cmsg;
	} else if (level == SOL_IPV6) {
		if (name == IPV6_V6ONLY)
			sk->sk_ipv6only = !!val;
		else if (name == IPV6_RECVPKTINFO)
			np->rxopt.bits.rxinfo = !!val;
		else if (name == IPV6_RECVHOPLIMIT)
			np->rxopt.bits.rxhlim = !!val;
		else if (name == IPV6_RECVTCLASS)
			np->rxopt.bits.rxtclass = !!val;
	}
}

struct kept {
	struct list_head node;
	int level, name;
	u32 len;
	u8 val[];
};

/* A connection's socket of the host goes with it, while ours can be connected once more: its
 * options stay, as with TCP. */
static void keep(struct sock *sk, int level, int name, const struct option *o, u32 len)
{
	struct list_head *options = &tsi_sk(sk)->options;
	struct kept *k, *old;

	k = kmalloc(struct_size(k, val, len), GFP_KERNEL_ACCOUNT);
	if (!k)
		return;
	k->level = level;
	k->name = name;
	k->len = len;
	memcpy(k->val, o->val, len);
	list_for_each_entry(old, options, node) {
		if (old->level == level && old->name == name) {
			list_del(&old->node);
			kfree(old);
			break;
		}
	}
	list_add_tail(&k->node, options);
}

void tsi_options_forget(struct tsi_sock *tsk)
{
	struct kept *k, *next;

	list_for_each_entry_safe(k, next, &tsk->options, node) kfree(k);
}

/* The host may have ended it while the request was on its way. */
static bool is_stream(const struct sock *sk)
{
	return sk->sk_type == SOCK_STREAM && tsi_sk(sk)->peer.sa.sa_family;
}

static int tell_host(struct sock *sk, int level, int name, struct option *o, u32 len)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_reply reply = { .op = TSI_SETSOCKOPT };

	fill(o, tsk, level, name, len);
	if (len >= sizeof(int) && never_fails(sk, level, name))
		return tsi_post(tsk->key, TSI_SETSOCKOPT, o, sizeof(o->o) + len);
	return tsi_request(tsk->key, o, sizeof(o->o) + len, &reply);
}

/* To a new socket of the host's. With the sock locked. */
void tsi_options_replay(struct sock *sk)
{
	struct option o;
	struct kept *k;

	list_for_each_entry(k, &tsi_sk(sk)->options, node) {
		memcpy(o.val, k->val, k->len);
		tell_host(sk, k->level, k->name, &o, k->len);
	}
}

static int set_on_host(struct sock *sk, int level, int name, sockptr_t val, unsigned int len)
{
	struct option *o;
	bool ended;
	int err;

	len = min_t(unsigned int, len, TSI_OPT_MAX);
	o = kzalloc(sizeof(*o), GFP_KERNEL);
	if (!o)
		return -ENOMEM;
	if (copy_from_sockptr(o->val, val, len)) {
		kfree(o);
		return -EFAULT;
	}
	/* The host has no such privilege; what it grants everybody comes close. */
	if (level == SOL_SOCKET && name == SO_SNDBUFFORCE)
		name = SO_SNDBUF;
	if (level == SOL_SOCKET && name == SO_RCVBUFFORCE)
		name = SO_RCVBUF;
	lock_sock(sk);
	err = tsi_need_host(sk);
	ended = err == -ENOTCONN;
	if (!err)
		err = tell_host(sk, level, name, o, len);
	/* A connection that has ended takes options too. */
	if (ended || (err == -EBADF && is_stream(sk)))
		err = 0;
	err = tsi_check_host(sk, err);
	if (!err)
		note(sk, level, name, o, len);
	if (!err && sk->sk_type == SOCK_STREAM)
		keep(sk, level, name, o, len);
	release_sock(sk);
	kfree(o);
	return err;
}

/* What decides where a socket may be bound, to a new one of the host's. With the sock locked. */
int tsi_options_again(struct sock *sk)
{
	const struct {
		int level, name;
		bool on;
	} options[] = {
		{ SOL_SOCKET, SO_REUSEADDR, sk->sk_reuse },
		{ SOL_SOCKET, SO_REUSEPORT, sk->sk_reuseport },
		{ SOL_IPV6, IPV6_V6ONLY, sk->sk_ipv6only },
	};
	struct tsi_sock *tsk = tsi_sk(sk);
	const int on = 1;
	struct option o;
	int i, err = 0;

	memcpy(o.val, &on, sizeof(on));
	for (i = 0; i < ARRAY_SIZE(options) && !err; i++) {
		if (!options[i].on)
			continue;
		fill(&o, tsk, options[i].level, options[i].name, sizeof(on));
		err = tsi_post(tsk->key, TSI_SETSOCKOPT, &o, sizeof(o.o) + sizeof(on));
	}
	return err;
}

/* With OPT_ID sock_setsockopt() looks for a number in the tcp_sock that a stream has not. */
static int set_timestamping(struct sock *sk, int name, sockptr_t val, unsigned int len)
{
	struct so_timestamping ts = {};
	int id, err = -EINVAL;

	if (len < sizeof(int))
		return -EINVAL;
	if (copy_from_sockptr(&ts, val, len == sizeof(ts) ? sizeof(ts) : sizeof(int)))
		return -EFAULT;
	id = ts.flags & SOF_TIMESTAMPING_OPT_ID;
	ts.flags &= ~id;
	lock_sock(sk);
	if (!id || (sk->sk_tsflags & id) ||
	    (sk->sk_state != TCP_CLOSE && sk->sk_state != TCP_LISTEN))
		err = sock_set_timestamping(sk, name, ts);
	if (!err)
		WRITE_ONCE(sk->sk_tsflags, sk->sk_tsflags | id);
	release_sock(sk);
	return err;
}

/* What needs no host, and what of the rest is the guest's too. */
static int set_here(struct socket *sock, int level, int name, sockptr_t val, unsigned int len)
{
	struct sock *sk = sock->sk;

	if (level == SOL_UDP)
		return tsi_cork_set(sk, val, len);
	if (sk->sk_type == SOCK_STREAM &&
	    (name == SO_TIMESTAMPING_OLD || name == SO_TIMESTAMPING_NEW))
		return set_timestamping(sk, name, val, len);
	return sock_setsockopt(sock, level, name, val, len);
}

int tsi_setsockopt(struct socket *sock, int level, int name, sockptr_t val, unsigned int len)
{
	struct sock *sk = sock->sk;
	enum where where = where_is(sk, level, name);
	int err;

	switch (where) {
	case REFUSE:
		return -ENOPROTOOPT;
	case UNSUPPORTED:
		return -EOPNOTSUPP;
	case HERE:
	case BOTH:
		err = set_here(sock, level, name, val, len);
		if (err || where == HERE)
			return err;
		break;
	default:
		if (level == SOL_SOCKET && len < sizeof(int) && name != SO_BINDTODEVICE)
			return -EINVAL;
		if ((name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE) && level == SOL_SOCKET &&
		    !ns_capable(sock_net(sk)->user_ns, CAP_NET_ADMIN))
			return -EPERM;
	}
	return set_on_host(sk, level, name, val, len);
}

/* Of a connection that has ended there is nothing left to say but that. */
static int get_ended(int level, int name, u8 *data, u32 len)
{
	if ((level == SOL_IP && name == IP_MTU) || (level == SOL_IPV6 && name == IPV6_MTU))
		return -ENOTCONN;
	memset(data, 0, len);
	if (level == SOL_TCP && name == TCP_INFO && len)
		data[0] = TCP_CLOSE;
	return 0;
}

static int get_from_host(struct sock *sk, int level, int name, u8 *data, u32 *len)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_reply reply = { .op = TSI_GETSOCKOPT, .data = data, .len = *len };
	struct option o;
	bool ended;
	int err;

	lock_sock(sk);
	err = tsi_need_host(sk);
	ended = err == -ENOTCONN;
	if (!err) {
		fill(&o, tsk, level, name, *len);
		err = tsi_request(tsk->key, &o.o, sizeof(o.o), &reply);
	}
	ended |= err == -EBADF && is_stream(sk);
	if (!ended)
		err = tsi_check_host(sk, err);
	release_sock(sk);
	if (ended)
		return get_ended(level, name, data, *len);
	if (!err)
		*len = reply.len;
	return err;
}

static bool is_level(const struct sock *sk, int level)
{
	return level == SOL_SOCKET || level == SOL_IP ||
	       (level == SOL_TCP && sk->sk_protocol == IPPROTO_TCP) ||
	       (level == SOL_UDP && sk->sk_protocol == IPPROTO_UDP);
}

/* How far the host's TCP is, or 0. With the sock locked. */
int tsi_tcp_state(struct sock *sk)
{
	u8 state = 0;
	struct tsi_reply reply = { .op = TSI_GETSOCKOPT, .data = &state, .len = sizeof(state) };
	struct option o;
	int err;

	fill(&o, tsi_sk(sk), SOL_TCP, TCP_INFO, sizeof(state));
	err = tsi_request(tsi_sk(sk)->key, &o.o, sizeof(o.o), &reply);
	return err || !reply.len ? 0 : state;
}

/* 0 or -errno; *len is room first, then bytes. */
static int get(struct sock *sk, int level, int name, u8 *data, u32 *len)
{
	int on;

	if (level != SOL_UDP || name != UDP_CORK)
		return get_from_host(sk, level, name, data, len);
	on = READ_ONCE(tsi_sk(sk)->corked);
	*len = min_t(u32, *len, sizeof(on));
	memcpy(data, &on, *len);
	return 0;
}

int tsi_getsockopt(struct socket *sock, int level, int name, char __user *val, int __user *lenp)
{
	struct sock *sk = sock->sk;
	enum where where = where_is(sk, level, name);
	u8 data[TSI_OPT_MAX];
	int len, err;
	u32 n;

	/* As ip_getsockopt() has it, and setsockopt(2) and IPv6 have it not. */
	if (sk->sk_family == AF_INET && !is_level(sk, level))
		return -EOPNOTSUPP;
	if (where == REFUSE || where == UNSUPPORTED)
		return -ENOPROTOOPT;
	if (level == SOL_SOCKET && name != SO_SNDBUF && name != SO_RCVBUF && where != HOST)
		return sock_getsockopt(sock, level, name, val, lenp);
	if (get_user(len, lenp))
		return -EFAULT;
	if (len < 0)
		return -EINVAL;
	n = min(len, TSI_OPT_MAX);
	err = get(sk, level, name, data, &n);
	if (err)
		return err;
	if (put_user((int)n, lenp) || copy_to_user(val, data, n))
		return -EFAULT;
	return 0;
}
