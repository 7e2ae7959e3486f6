// SPDX-License-Identifier: GPL-2.0
/* Datagram sockets: UDP and ICMP echo. */
#include <linux/bpf-cgroup.h>
#include <linux/jhash.h>
#include <linux/net.h>
#include <linux/timekeeping.h>
#include <net/inet_common.h>
#include <net/ipv6.h>

#include "tsi.h"

/* As for streams; and what is received up to the third is copied into a buffer of its size, since
 * the receive buffer counts buffers.
 */
#define HEAD_MAX   1536
#define PAGE_ORDER 3
#define COPY_MAX   SKB_WITH_OVERHEAD(8192)

#define PREFIX sizeof(struct tsi_wire_dgram)

static bool is_ping(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_ICMP || sk->sk_protocol == IPPROTO_ICMPV6;
}

/* The host's socket is gone, and so is what it was bound and connected to; the next call makes a
 * new one. */
void tsi_dgram_forget(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr none;

	tsi_addr_none(&none, sk->sk_family);
	spin_lock(&tsk->lock);
	WRITE_ONCE(tsk->host, TSI_HOST_NONE);
	WRITE_ONCE(tsk->named, false);
	tsi_set_names(sk, &none, &none);
	tsk->peer.sa.sa_family = 0;
	kfree_skb(tsk->partial);
	tsk->partial = NULL;
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	WRITE_ONCE(sk->sk_err, ECONNRESET);
	spin_unlock(&tsk->lock);
	sk_error_report(sk);
}

static int disconnect(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr none;
	int err = 0;

	tsi_addr_none(&none, AF_UNSPEC);
	if (sk->sk_state == TCP_ESTABLISHED)
		err = tsi_request_name(sk, TSI_CONNECT, &none);
	if (err)
		return err;
	spin_lock_bh(&tsk->lock);
	tsk->peer.sa.sa_family = 0;
	/* A port that the connect chose is gone with it. */
	WRITE_ONCE(tsk->named, tsi_addr_port(&tsk->local) != 0);
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	spin_unlock_bh(&tsk->lock);
	return 0;
}

static int check_connect(const struct sock *sk, const struct sockaddr *uaddr, int len)
{
	if (sk->sk_family == AF_INET6 && uaddr->sa_family == AF_INET)
		return sk->sk_ipv6only ? -EAFNOSUPPORT : 0;
	if (len < (sk->sk_family == AF_INET6 ? SIN6_LEN_RFC2133 : (int)sizeof(struct sockaddr_in)))
		return -EINVAL;
	return uaddr->sa_family == sk->sk_family ? 0 : -EAFNOSUPPORT;
}

static int do_connect(struct sock *sk, const struct sockaddr *uaddr, int len)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr addr;
	int err = check_connect(sk, uaddr, len);

	if (!err)
		err = tsi_addr_get(sk, uaddr, len, &addr);
	if (!err)
		err = tsi_need_host(sk);
	if (!err)
		err = tsi_request_name(sk, TSI_CONNECT, &addr);
	if (err)
		return err;
	spin_lock_bh(&tsk->lock);
	tsi_name_loopback(&addr);
	tsi_set_names(sk, NULL, &addr);
	WRITE_ONCE(tsk->named, true);
	WRITE_ONCE(sk->sk_state, TCP_ESTABLISHED);
	spin_unlock_bh(&tsk->lock);
	return 0;
}

static int dgram_connect(struct socket *sock, struct sockaddr *uaddr, int len, int flags)
{
	struct sock *sk = sock->sk;
	int err;

	if (len < (int)sizeof(uaddr->sa_family))
		return -EINVAL;
	lock_sock(sk);
	err = uaddr->sa_family == AF_UNSPEC ? disconnect(sk) : do_connect(sk, uaddr, len);
	release_sock(sk);
	return err;
}

/* Where to; 0 and no family: the connected peer. */
static int destination(struct sock *sk, struct msghdr *msg, struct tsi_addr *to)
{
	const struct sockaddr *name = msg->msg_name;
	bool v6 = sk->sk_family == AF_INET6;
	int err;

	to->sa.sa_family = 0;
	if (name && v6 && name->sa_family == AF_UNSPEC && !is_ping(sk) &&
	    msg->msg_namelen >= sizeof(name->sa_family))
		name = NULL;
	if (!name)
		return sk->sk_state == TCP_ESTABLISHED ? 0 : -EDESTADDRREQ;
	if (msg->msg_namelen <
	    (v6 && name->sa_family == AF_INET6 ? SIN6_LEN_RFC2133 : sizeof(struct sockaddr_in)))
		return -EINVAL;
	if (name->sa_family != sk->sk_family) {
		if (is_ping(sk))
			return v6 ? -EINVAL : -EAFNOSUPPORT;
		if (v6 ? name->sa_family != AF_INET : name->sa_family != AF_UNSPEC)
			return v6 ? -EINVAL : -EAFNOSUPPORT;
		if (v6 && sk->sk_ipv6only)
			return -ENETUNREACH;
	}
	err = tsi_addr_get(sk, name, msg->msg_namelen, to);
	if (!err && !is_ping(sk) && !tsi_addr_port(to))
		err = -EINVAL;
	return err;
}

/* Makes the host's socket and has it bound, so that it has a name before its first datagram is out.
 */
static int prepare(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	int err = 0;

	if (READ_ONCE(tsk->host) == TSI_HOST_OPEN && READ_ONCE(tsk->named))
		return 0;
	lock_sock(sk);
	err = tsi_need_host(sk);
	if (!err && !tsk->named) {
		err = tsi_post_bind(sk);
		WRITE_ONCE(tsk->named, !err);
	}
	release_sock(sk);
	return err;
}

static u32 hash_dest(const struct tsi_addr *to)
{
	return jhash(to, tsi_addr_len(to), 0) | 1;
}

/* An address that no route leads to, or that policy denies, is to be told by the call itself: a
 * first send waits. */
static bool is_known(struct tsi_sock *tsk, const struct tsi_addr *to)
{
	u32 hash = hash_dest(to);
	int i;

	for (i = 0; i < TSI_DESTS; i++) {
		if (READ_ONCE(tsk->dests[i]) == hash)
			return true;
	}
	return false;
}

static void remember(struct tsi_sock *tsk, const struct tsi_addr *to)
{
	spin_lock_bh(&tsk->lock);
	WRITE_ONCE(tsk->dests[tsk->next_dest++ % TSI_DESTS], hash_dest(to));
	spin_unlock_bh(&tsk->lock);
}

static struct sk_buff *new_datagram(struct sock *sk, struct msghdr *msg, u32 len,
				    const struct tsi_wire_dgram *d, bool noblock, int *err)
{
	u32 head = len <= HEAD_MAX ? len : 0;
	struct sk_buff *skb = sock_alloc_send_pskb(sk, VIRTIO_VSOCK_SKB_HEADROOM + PREFIX + head,
						   len - head, noblock, err, PAGE_ORDER);
	struct virtio_vsock_hdr *hdr;

	if (!skb)
		return NULL;
	skb_reserve(skb, VIRTIO_VSOCK_SKB_HEADROOM);
	hdr = virtio_vsock_hdr(skb);
	memset(hdr, 0, sizeof(*hdr));
	hdr->dst_cid = cpu_to_le64(TSI_HOST_CID);
	hdr->src_port = cpu_to_le32(tsi_sk(sk)->key->key);
	hdr->dst_port = cpu_to_le32(TSI_SENDTO);
	hdr->len = cpu_to_le32(PREFIX + len);
	hdr->type = cpu_to_le16(TSI_TYPE_DGRAM);
	hdr->op = cpu_to_le16(VIRTIO_VSOCK_OP_RW);
	virtio_vsock_skb_set_tap_delivered(skb);
	skb_put_data(skb, d, PREFIX);
	skb_put(skb, head);
	skb->data_len = len - head;
	skb->len += skb->data_len;
	*err = skb_copy_datagram_from_iter(skb, PREFIX, &msg->msg_iter, len);
	if (!*err)
		return skb;
	kfree_skb(skb);
	return NULL;
}

/* Whether and where it may go. As with inet, also a send that goes nowhere binds. */
int tsi_dgram_begin(struct sock *sk, struct msghdr *msg, struct tsi_out *out)
{
	int err = prepare(sk);

	if (!err)
		err = destination(sk, msg, &out->to);
	if (!err && msg->msg_controllen)
		err = tsi_cmsg_get(sk, msg, &out->d);
	if (err || !out->to.sa.sa_family)
		return err;
	out->d.addr_len = cpu_to_le16(tsi_addr_len(&out->to));
	memcpy(out->d.addr, &out->to, tsi_addr_len(&out->to));
	return 0;
}

int tsi_dgram_send(struct sock *sk, struct msghdr *msg, u32 len, struct tsi_out *out, bool noblock)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_reply reply = { .op = TSI_SENDTO };
	bool ask = out->to.sa.sa_family && !noblock && !is_known(tsk, &out->to);
	struct sk_buff *skb;
	int err;

	if (ask)
		out->d.flags |= cpu_to_le16(TSI_DGRAM_ANSWER);
	skb = new_datagram(sk, msg, len, &out->d, noblock, &err);
	if (!skb)
		return err;
	err = ask ? tsi_check_host(sk, tsi_request_skb(tsk->key, skb, &reply)) : tsi_send(skb);
	if (ask && !err)
		remember(tsk, &out->to);
	return err;
}

static int dgram_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)
{
	struct sock *sk = sock->sk;
	struct tsi_sock *tsk = tsi_sk(sk);
	bool more = (msg->msg_flags & MSG_MORE) || READ_ONCE(tsk->corked);
	struct tsi_out out = {};
	int err;

	if (len > TSI_DGRAM_MAX)
		return -EMSGSIZE;
	if (msg->msg_flags & MSG_OOB)
		return -EOPNOTSUPP;
	if ((more || READ_ONCE(tsk->cork)) && !is_ping(sk))
		return tsi_cork_sendmsg(sk, msg, len, more);
	err = tsi_dgram_begin(sk, msg, &out);
	if (!err)
		err = tsi_dgram_send(sk, msg, len, &out, msg->msg_flags & MSG_DONTWAIT);
	return err ?: len;
}

/* The pages of one splice(2) are one datagram. */
static ssize_t dgram_sendpage(struct socket *sock, struct page *page, int offset, size_t size,
			      int flags)
{
	if (flags & MSG_SENDPAGE_NOTLAST)
		flags |= MSG_MORE;
	return sock_no_sendpage(sock, page, offset, size, flags);
}

static void put_name(struct sock *sk, struct msghdr *msg, const struct tsi_addr *from)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr peer;

	if (!from) {
		spin_lock_bh(&tsk->lock);
		peer = tsk->peer;
		spin_unlock_bh(&tsk->lock);
		from = &peer;
	}
	msg->msg_namelen = tsi_addr_put(from, sk->sk_family, msg->msg_name);
}

/* Where from, for the program, and for its answer: who wrote to us can be written to. */
static void take_source(struct sock *sk, struct msghdr *msg, const struct tsi_wire_dgram *d)
{
	u32 len = min_t(u32, le16_to_cpu(d->addr_len), sizeof(d->addr));
	struct tsi_addr from;
	bool known = tsi_addr_read(&from, d->addr, len);

	if (msg->msg_name)
		put_name(sk, msg, known ? &from : NULL);
	if (known && sk->sk_state != TCP_ESTABLISHED && !is_known(tsi_sk(sk), &from))
		remember(tsi_sk(sk), &from);
}

static int dgram_recvmsg(struct socket *sock, struct msghdr *msg, size_t len, int flags)
{
	struct sock *sk = sock->sk;
	const struct tsi_wire_dgram *d;
	int off = sk_peek_offset(sk, flags), err;
	struct sk_buff *skb;
	size_t n;

	msg->msg_namelen = 0;
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	/* Errors of the network come by SO_ERROR and the next call; there is no more to them. */
	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	skb = __skb_recv_datagram(sk, &sk->sk_receive_queue, flags, &off, &err);
	if (!skb)
		return err;
	d = (const struct tsi_wire_dgram *)(skb->data - PREFIX);
	n = min_t(size_t, len, skb->len - off);
	if (n < skb->len - off || (le16_to_cpu(d->flags) & TSI_DGRAM_TRUNC))
		msg->msg_flags |= MSG_TRUNC;
	err = skb_copy_datagram_msg(skb, off, msg, n);
	if (!err) {
		sock_recv_cmsgs(msg, sk, skb);
		take_source(sk, msg, d);
		tsi_cmsg_put(sk, msg, d);
		err = flags & MSG_TRUNC ? skb->len : n;
		sk_peek_offset_bwd(sk, flags & MSG_PEEK ? -err : err);
	}
	skb_free_datagram(sk, skb);
	return err;
}

/* A whole one, its prefix before its bytes. */
static void deliver(struct sock *sk, struct sk_buff *skb)
{
	struct sk_buff_head *queue = &sk->sk_receive_queue;

	__skb_pull(skb, PREFIX);
	if (atomic_read(&sk->sk_rmem_alloc) + skb->truesize > READ_ONCE(sk->sk_rcvbuf) &&
	    atomic_read(&sk->sk_rmem_alloc)) {
		atomic_inc(&sk->sk_drops);
		kfree_skb(skb);
		return;
	}
	memset(skb->cb, 0, sizeof(skb->cb));
	skb_set_owner_r(skb, sk);
	if (sock_flag(sk, SOCK_RCVTSTAMP) || sk->sk_tsflags)
		__net_timestamp(skb);
	sock_skb_set_dropcount(sk, skb);
	spin_lock_bh(&queue->lock);
	__skb_queue_tail(queue, skb);
	spin_unlock_bh(&queue->lock);
	if (!sock_flag(sk, SOCK_DEAD))
		sk->sk_data_ready(sk);
}

/* Adds a piece to those before it; the datagram when it is whole. With tsk->lock. */
static struct sk_buff *add_piece(struct tsi_sock *tsk, struct sk_buff *skb, bool last)
{
	struct sk_buff *first = tsk->partial;

	skb->next = NULL;
	if (!first) {
		first = skb;
		if (skb->len < PREFIX)
			goto drop;
	} else {
		if (tsk->partial_last == first)
			skb_shinfo(first)->frag_list = skb;
		else
			tsk->partial_last->next = skb;
		first->len += skb->len;
		first->data_len += skb->len;
		first->truesize += skb->truesize;
		if (first->len > PREFIX + U16_MAX)
			goto drop;
	}
	tsk->partial = last ? NULL : first;
	tsk->partial_last = skb;
	return last ? first : NULL;
drop:
	tsk->partial = NULL;
	kfree_skb(first);
	return NULL;
}

static struct sk_buff *fit(struct sk_buff *skb)
{
	struct sk_buff *copy;

	if (skb->len > COPY_MAX || skb_is_nonlinear(skb))
		return skb;
	copy = alloc_skb(skb->len, GFP_ATOMIC);
	if (!copy)
		return skb;
	skb_put_data(copy, skb->data, skb->len);
	return copy;
}

/* RECVFROM: whether the skb was kept. */
bool tsi_dgram_rx(struct sock *sk, struct sk_buff *skb)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	bool last = le32_to_cpu(virtio_vsock_hdr(skb)->flags) & TSI_PIECE_LAST;
	struct sk_buff *whole, *fitting;

	spin_lock(&tsk->lock);
	whole = add_piece(tsk, skb, last);
	spin_unlock(&tsk->lock);
	if (!whole)
		return true;
	fitting = fit(whole);
	deliver(sk, fitting);
	return fitting == whole;
}

static int dgram_shutdown(struct socket *sock, int how)
{
	struct sock *sk = sock->sk;
	int err;

	how++;
	if ((how & ~SHUTDOWN_MASK) || !how)
		return -EINVAL;
	lock_sock(sk);
	/* Who waits is woken also where there is no peer. */
	err = sk->sk_state == TCP_ESTABLISHED ? 0 : -ENOTCONN;
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | how);
	sk->sk_state_change(sk);
	release_sock(sk);
	return err;
}

static int dgram_set_peek_off(struct sock *sk, int val)
{
	return is_ping(sk) ? -EOPNOTSUPP : sk_set_peek_off(sk, val);
}

static int dgram_release(struct socket *sock)
{
	struct sock *sk = sock->sk;
	struct tsi_sock *tsk;

	if (!sk)
		return 0;
	tsk = tsi_sk(sk);
	BPF_CGROUP_RUN_PROG_INET_SOCK_RELEASE(sk);
	lock_sock(sk);
	if (tsk->host == TSI_HOST_OPEN)
		tsi_release_host(tsk->key->key, TSI_HOST_PORT);
	WRITE_ONCE(tsk->host, TSI_HOST_GONE);
	tsi_cork_drop(sk);
	sock_orphan(sk);
	sock->sk = NULL;
	release_sock(sk);
	tsi_unhash(tsk);
	skb_queue_purge(&sk->sk_receive_queue);
	sock_put(sk);
	return 0;
}

/* clang-format off */
#define TSI_DGRAM_OPS(pf, in_ioctl) {		\
	.family = pf,				\
	.owner = THIS_MODULE,			\
	.release = dgram_release,		\
	.bind = tsi_bind,			\
	.connect = dgram_connect,		\
	.socketpair = sock_no_socketpair,	\
	.accept = sock_no_accept,		\
	.getname = tsi_getname,			\
	.poll = datagram_poll,			\
	.ioctl = in_ioctl,			\
	.gettstamp = sock_gettstamp,		\
	.listen = sock_no_listen,		\
	.shutdown = dgram_shutdown,		\
	.setsockopt = tsi_setsockopt,		\
	.getsockopt = tsi_getsockopt,		\
	.sendmsg = dgram_sendmsg,		\
	.recvmsg = dgram_recvmsg,		\
	.mmap = sock_no_mmap,			\
	.sendpage = dgram_sendpage,		\
	.set_peek_off = dgram_set_peek_off,	\
}
/* clang-format on */

const struct proto_ops tsi_dgram_ops = TSI_DGRAM_OPS(PF_INET, inet_ioctl);
const struct proto_ops tsi6_dgram_ops = TSI_DGRAM_OPS(PF_INET6, inet6_ioctl);
