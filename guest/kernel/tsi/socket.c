// SPDX-License-Identifier: GPL-2.0
/* What streams and datagram sockets have in common: how they begin and end, names, ioctl. */
#include <asm/ioctls.h>
#include <linux/bpf-cgroup.h>
#include <linux/net.h>
#include <linux/sockios.h>
#include <net/inet_common.h>
#include <net/ip.h>
#include <net/ipv6.h>

#include "tsi.h"

static void destruct(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);

	__skb_queue_purge(&sk->sk_receive_queue);
	__skb_queue_purge(&sk->sk_error_queue);
	kfree_skb(tsk->partial);
	tsi_options_forget(tsk);
	tsi_key_put(tsk->key);
}

/* The defaults of inet_create() and inet6_create(), for code that looks at inet_sk() and
 * inet6_sk(). */
static void init_inet(struct sock *sk, struct net *net)
{
	struct inet_sock *inet = inet_sk(sk);
	struct ipv6_pinfo *np;

	inet->uc_ttl = -1;
	inet->mc_loop = 1;
	inet->mc_ttl = 1;
	inet->mc_all = 1;
	inet->pmtudisc = IP_PMTUDISC_WANT;
	if (sk->sk_family != AF_INET6)
		return;
	np = &((struct tsi6_sock *)sk)->np;
	inet->pinet6 = np;
	np->hop_limit = -1;
	np->mcast_hops = IPV6_DEFAULT_MCASTHOPS;
	np->mc_loop = 1;
	np->mc_all = 1;
	np->pmtudisc = IPV6_PMTUDISC_WANT;
	sk->sk_ipv6only = net->ipv6.sysctl.bindv6only;
}

/* sock is NULL for a stream that a listener will hand out later, made where nothing sleeps. */
struct sock *tsi_sock_new(struct net *net, struct socket *sock, int family, int type, int protocol)
{
	struct proto *prot = family == AF_INET6 ? &tsi6_prot : &tsi_prot;
	struct sock *sk = sk_alloc(net, family, sock ? GFP_KERNEL : GFP_ATOMIC, prot, 0);
	struct tsi_sock *tsk;

	if (!sk)
		return NULL;
	tsk = tsi_sk(sk);
	sock_init_data(sock, sk);
	sk->sk_type = type;
	sk->sk_protocol = protocol;
	sk->sk_destruct = destruct;
	init_inet(sk, net);
	spin_lock_init(&tsk->lock);
	INIT_HLIST_NODE(&tsk->node);
	INIT_LIST_HEAD(&tsk->accept_queue);
	INIT_LIST_HEAD(&tsk->accept_node);
	INIT_LIST_HEAD(&tsk->options);
	tsi_addr_none(&tsk->local, family);
	if (type == SOCK_STREAM)
		tsi_stream_init(sk);
	return sk;
}

static const struct proto_ops *ops_of(int family, int type)
{
	if (type == SOCK_STREAM)
		return family == AF_INET6 ? &tsi6_stream_ops : &tsi_stream_ops;
	return family == AF_INET6 ? &tsi6_dgram_ops : &tsi_dgram_ops;
}

int tsi_create(struct net *net, struct socket *sock, int family, int protocol)
{
	struct sock *sk;
	int err;

	/* ICMP: the guest's own stack reaches nobody. Of this errno ping makes a datagram socket. */
	if (sock->type == SOCK_RAW)
		return -EPERM;
	if (!protocol)
		protocol = sock->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	sk = tsi_sock_new(net, sock, family, sock->type, protocol);
	if (!sk)
		return -ENOBUFS;
	sock->ops = ops_of(family, sock->type);
	err = BPF_CGROUP_RUN_PROG_INET_SOCK(sk);
	if (!err && (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)) {
		lock_sock(sk);
		err = tsi_need_host(sk);
		release_sock(sk);
	}
	if (err)
		sock->ops->release(sock);
	return err;
}

/* bind(2) and its address, as inet and inet6 check it. */
static int check_bind(struct sock *sk, const struct sockaddr *uaddr, int len)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)uaddr;
	bool v6 = sk->sk_family == AF_INET6;
	u16 port;

	if (len < (v6 ? SIN6_LEN_RFC2133 : (int)sizeof(*in)))
		return -EINVAL;
	/* Old programs leave the family out. */
	if (uaddr->sa_family != sk->sk_family &&
	    (v6 || uaddr->sa_family != AF_UNSPEC || in->sin_addr.s_addr != htonl(INADDR_ANY)))
		return -EAFNOSUPPORT;
	if (sk->sk_protocol == IPPROTO_ICMP || sk->sk_protocol == IPPROTO_ICMPV6)
		return 0;
	port = ntohs(in->sin_port);
	if (port && inet_port_requires_bind_service(sock_net(sk), port) &&
	    !ns_capable(sock_net(sk)->user_ns, CAP_NET_BIND_SERVICE))
		return -EACCES;
	return 0;
}

int tsi_bind(struct socket *sock, struct sockaddr *uaddr, int len)
{
	struct sock *sk = sock->sk;
	struct tsi_addr addr;
	int err = check_bind(sk, uaddr, len);

	if (!err)
		err = tsi_addr_get(sk, uaddr, len, &addr);
	if (err)
		return err;
	lock_sock(sk);
	err = -EINVAL;
	if (sk->sk_state == TCP_CLOSE)
		err = tsi_need_host(sk);
	if (!err)
		err = tsi_request_name(sk, TSI_BIND, &addr);
	if (!err)
		tsi_sk(sk)->named = true;
	release_sock(sk);
	return err == -ENOTCONN ? -EINVAL : err;
}

int tsi_getname(struct socket *sock, struct sockaddr *uaddr, int peer)
{
	struct sock *sk = sock->sk;
	struct tsi_sock *tsk = tsi_sk(sk);
	bool stream = sk->sk_type == SOCK_STREAM;
	struct tsi_addr name;
	int err = 0;

	/* A connect(2), or a datagram's first send, gives the socket its name; the host is asked,
	 * but not waited for. */
	if (!peer && (stream ? READ_ONCE(sk->sk_state) == TCP_SYN_SENT : tsk->key != NULL)) {
		lock_sock(sk);
		if (tsk->key)
			err = tsi_settle(tsk->key, stream ? TSI_CONNECT : TSI_BIND);
		release_sock(sk);
		if (err)
			return err;
	}
	spin_lock_bh(&tsk->lock);
	name = peer ? tsk->peer : tsk->local;
	/* 2: accept4() asks for whom it accepted, who may be gone by now */
	if (peer == 1 && (stream ? sk->sk_state != TCP_ESTABLISHED || tsi_stream_is_over(sk)
				 : !tsi_addr_port(&name)))
		name.sa.sa_family = 0;
	spin_unlock_bh(&tsk->lock);
	if (!name.sa.sa_family)
		return -ENOTCONN;
	return tsi_addr_put(&name, sk->sk_family, uaddr);
}

static int first_datagram(struct sock *sk)
{
	struct sk_buff *skb;
	int n = 0;

	spin_lock_bh(&sk->sk_receive_queue.lock);
	skb = skb_peek(&sk->sk_receive_queue);
	if (skb)
		n = skb->len;
	spin_unlock_bh(&sk->sk_receive_queue.lock);
	return n;
}

/* Unasked, the host tells only when half of its buffer was filled. */
static void ask_for_credit(struct sock *sk)
{
	lock_sock(sk);
	if (sk->sk_state == TCP_ESTABLISHED)
		tsi_stream_op(tsi_sk(sk), VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	release_sock(sk);
}

/* Reached through inet_ioctl() and inet6_ioctl(), which know those about interfaces and routes. */
int tsi_ioctl(struct sock *sk, int cmd, unsigned long arg)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	bool stream = sk->sk_type == SOCK_STREAM;
	int n;

	switch (cmd) {
	case SIOCINQ:
		if (stream && sk->sk_state == TCP_LISTEN)
			return -EINVAL;
		n = stream ? tsi_stream_unread(tsk) : first_datagram(sk);
		break;
	case SIOCOUTQ:
		if (stream && sk->sk_state == TCP_LISTEN)
			return -EINVAL;
		n = stream ? READ_ONCE(tsk->tx_cnt) - READ_ONCE(tsk->peer_fwd_cnt)
			   : sk_wmem_alloc_get(sk);
		if (stream && sk->sk_state != TCP_ESTABLISHED)
			n = 0;
		if (stream && n)
			ask_for_credit(sk);
		break;
	case SIOCATMARK:
	case SIOCOUTQNSD:
		if (!stream)
			return -ENOIOCTLCMD;
		n = 0;
		break;
	default:
		return -ENOIOCTLCMD;
	}
	return put_user(n, (int __user *)arg);
}

struct proto tsi_prot = {
	.name = "TSI",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct tsi_sock),
	.ioctl = tsi_ioctl,
};

struct proto tsi6_prot = {
	.name = "TSI6",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct tsi6_sock),
	.ioctl = tsi_ioctl,
};
