// SPDX-License-Identifier: GPL-2.0
/* Streams: connect, listen, accept, and their ends. */
#include <linux/bpf-cgroup.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <net/inet_common.h>
#include <net/ipv6.h>

#include "tsi.h"

void tsi_stream_init(struct sock *sk)
{
	tsi_sk(sk)->buf_alloc = tsi_sk(sk)->told_buf_alloc = READ_ONCE(tsi_stream_buf);
	sk->sk_write_space = tsi_stream_write_space;
	/* Bounds packets that the device has not taken; the host's buffer bounds their bytes. */
	sk->sk_sndbuf = 1 << 20;
}

/* Ends it for the guest; err, if any, is what the next call says. With tsk->lock. */
void tsi_stream_close_locked(struct sock *sk, int err)
{
	if (err)
		WRITE_ONCE(sk->sk_err, err);
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
}

/* Both ways have ended: TCP calls it closed, though the host still has its socket. */
bool tsi_stream_is_over(const struct sock *sk)
{
	const struct tsi_sock *tsk = tsi_sk(sk);

	return READ_ONCE(tsk->peer_fin) && READ_ONCE(tsk->fin_sent);
}

/* What nobody accepted. Of a listener that has ended, so that no more come. */
static void drop_children(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk), *child, *next;
	LIST_HEAD(children);

	spin_lock_bh(&tsk->lock);
	list_splice_init(&tsk->accept_queue, &children);
	tsk->accept_len = 0;
	tsk->give_back = 0;
	spin_unlock_bh(&tsk->lock);
	list_for_each_entry_safe(child, next, &children, accept_node)
	{
		list_del_init(&child->accept_node);
		tsi_unhash(child);
		if (READ_ONCE(child->host) == TSI_HOST_OPEN)
			tsi_stream_op(child, VIRTIO_VSOCK_OP_RST, 0);
		sock_put(tsi_sock_sk(child));
	}
}

/* Forgets a connection or listener and what the host had for it; what comes next begins with a new
 * key. */
static void start_over(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr none, local = tsk->local;

	tsi_unhash(tsk);
	drop_children(sk);
	spin_lock_bh(&tsk->lock);
	/* What a packet from the host is about to do with it, it does not. */
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	tsi_addr_none(&none, sk->sk_family);
	/* As TCP's, the name loses its address, and its port stays to be seen. */
	if (!tsk->named) {
		local = none;
		local.in.sin_port = tsi_addr_port(&tsk->local);
	}
	tsi_set_names(sk, &local, &none);
	tsk->peer.sa.sa_family = 0;
	tsk->host = TSI_HOST_NONE;
	tsk->accepted = false;
	tsk->peer_fin = false;
	tsk->fin_sent = false;
	tsk->rst_errno = 0;
	__skb_queue_purge(&sk->sk_receive_queue);
	kfree_skb(tsk->gathered);
	tsk->gathered = NULL;
	WRITE_ONCE(tsk->rx_cnt, tsk->fwd_cnt);
	spin_unlock_bh(&tsk->lock);
	tsi_key_put(tsk->key);
	tsk->key = NULL;
}

/* Its children are the caller's to drop, as they are where a reset of the device has ended it. */
static void close_listener(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);

	spin_lock_bh(&tsk->lock);
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	spin_unlock_bh(&tsk->lock);
	tsi_release_host(tsk->key->key, TSI_HOST_PORT);
}

/* What bind(2) gave stays, also where the host has a new socket. */
static int bind_again(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr local = tsk->local, none;
	int err = tsi_need_host(sk);

	if (!err)
		err = tsi_options_again(sk);
	if (!err)
		err = tsi_request_name(sk, TSI_BIND, &local);
	if (!err)
		return 0;
	/* Without a name, but named: listen(2) fails then. */
	tsi_addr_none(&none, sk->sk_family);
	spin_lock_bh(&tsk->lock);
	tsi_set_names(sk, &none, NULL);
	spin_unlock_bh(&tsk->lock);
	return err;
}

/* connect(2) to AF_UNSPEC, shutdown(2), and after a connect that failed. */
static int disconnect(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	int state = READ_ONCE(sk->sk_state), err = 0;
	bool aborts = state == TCP_SYN_SENT;

	if (state == TCP_LISTEN) {
		close_listener(sk);
	} else if (state == TCP_SYN_SENT) {
		tsi_release_host(tsk->key->key, TSI_HOST_PORT);
	} else if (state == TCP_ESTABLISHED) {
		aborts = !tsi_stream_is_over(sk);
		tsi_stream_op(tsk, VIRTIO_VSOCK_OP_RST, 0);
	}
	/* The host's socket stays where it has not been connected: it may be bound and have
	 * options. */
	if (state != TCP_CLOSE || tsk->host == TSI_HOST_GONE) {
		start_over(sk);
		err = tsk->named ? bind_again(sk) : 0;
	}
	spin_lock_bh(&tsk->lock);
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	WRITE_ONCE(sk->sk_shutdown, 0);
	if (aborts)
		WRITE_ONCE(sk->sk_err, ECONNRESET);
	spin_unlock_bh(&tsk->lock);
	sk->sk_disconnects++;
	if (aborts)
		sk_error_report(sk);
	return err;
}

static int send_connect(struct sock *sk, const struct tsi_addr *addr)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	u32 key = tsk->key->key;
	struct tsi_wire_name *n;
	struct tsi_addr peer = *addr;
	struct sk_buff *skb;
	void *p;

	skb = tsi_packet(TSI_CONNECT, key, sizeof(*n), GFP_KERNEL, &p);
	if (!skb)
		return -ENOMEM;
	n = p;
	memset(n, 0, sizeof(*n));
	n->key = cpu_to_le32(key);
	n->addr_len = cpu_to_le32(tsi_addr_len(addr));
	memcpy(n->addr, addr, tsi_addr_len(addr));
	virtio_vsock_hdr(skb)->buf_alloc = cpu_to_le32(tsk->buf_alloc);

	tsi_name_loopback(&peer);
	spin_lock_bh(&tsk->lock);
	tsk->tx_cnt = tsk->peer_fwd_cnt = tsk->peer_buf_alloc = 0;
	tsk->rx_cnt = tsk->fwd_cnt = tsk->told_fwd_cnt = 0;
	tsk->told_buf_alloc = tsk->buf_alloc;
	tsk->peer_fin = tsk->fin_sent = false;
	tsk->rst_errno = 0;
	tsi_set_names(sk, NULL, &peer);
	WRITE_ONCE(sk->sk_shutdown, 0);
	WRITE_ONCE(sk->sk_state, TCP_SYN_SENT);
	spin_unlock_bh(&tsk->lock);
	return tsi_post_skb(tsk->key, TSI_CONNECT, skb);
}

static int start_connect(struct sock *sk, const struct sockaddr *uaddr, int len)
{
	struct tsi_addr addr;
	int err;

	if (len < (sk->sk_family == AF_INET6 ? SIN6_LEN_RFC2133 : (int)sizeof(struct sockaddr_in)))
		return -EINVAL;
	if (uaddr->sa_family != sk->sk_family)
		return -EAFNOSUPPORT;
	err = tsi_addr_get(sk, uaddr, len, &addr);
	if (!err)
		err = tsi_need_host(sk);
	if (err)
		return err;
	err = send_connect(sk, &addr);
	if (err)
		WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	return err;
}

static long wait_connected(struct sock *sk, long timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);

	add_wait_queue(sk_sleep(sk), &wait);
	while (sk->sk_state == TCP_SYN_SENT && timeo && !signal_pending(current))
		sk_wait_event(sk, &timeo, READ_ONCE(sk->sk_state) != TCP_SYN_SENT, &wait);
	remove_wait_queue(sk_sleep(sk), &wait);
	return timeo;
}

/* After a connect that is not to wait was begun: what is wrong with the address itself, a route
 * that is not there or a policy, is to be told by the call, what the peer says later. Where a
 * connect was under way lately the host's word is not waited for. */
static int begun(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	int err = tsi_addr_is_known(&tsk->peer) ? 0 : tsi_settle(tsk->key, TSI_CONNECT);

	if (err)
		return err;
	if (sk->sk_state != TCP_CLOSE || READ_ONCE(sk->sk_err) == ECONNREFUSED)
		return -EINPROGRESS;
	return 0;
}

/* What the state of the socket says to connect(2), as inet_stream_connect() has it. */
static int do_connect(struct socket *sock, const struct sockaddr *uaddr, int len, int flags)
{
	struct sock *sk = sock->sk;
	long timeo = sock_sndtimeo(sk, flags & O_NONBLOCK);
	int err = -EALREADY;

	if (sock->state == SS_CONNECTED)
		return -EISCONN;
	if (sock->state == SS_UNCONNECTED) {
		if (sk->sk_state != TCP_CLOSE)
			return -EISCONN;
		err = start_connect(sk, uaddr, len);
		if (err)
			return err;
		sock->state = SS_CONNECTING;
		err = timeo ? -EINPROGRESS : begun(sk);
		if (err && !timeo)
			return err;
	} else if (sock->state != SS_CONNECTING) {
		return -EINVAL;
	}
	if (sk->sk_state == TCP_SYN_SENT) {
		if (!timeo)
			return err;
		timeo = wait_connected(sk, timeo);
		if (sk->sk_state == TCP_SYN_SENT)
			return timeo ? sock_intr_errno(timeo) : err;
	}
	if (sk->sk_state != TCP_CLOSE) {
		sock->state = SS_CONNECTED;
		return 0;
	}
	err = sock_error(sk) ?: -ECONNABORTED;
	sock->state = SS_UNCONNECTED;
	disconnect(sk);
	return err;
}

static int stream_connect(struct socket *sock, struct sockaddr *uaddr, int len, int flags)
{
	struct sock *sk = sock->sk;
	int err = 0;

	if (len < (int)sizeof(uaddr->sa_family))
		return -EINVAL;
	lock_sock(sk);
	if (uaddr->sa_family == AF_UNSPEC) {
		err = disconnect(sk);
		sock->state = SS_UNCONNECTED;
	} else {
		err = do_connect(sock, uaddr, len, flags);
	}
	release_sock(sk);
	return err;
}

/* CONNECT's answer, or two of them: that it is under way, and how it ended. */
void tsi_stream_connected(struct sock *sk, const struct virtio_vsock_hdr *hdr,
			  const struct tsi_wire_answer *a, u32 len)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	int result = (int)le32_to_cpu(a->result);
	struct tsi_addr name;
	bool named = len > sizeof(*a) &&
		     tsi_addr_read(&name, a->data, min(le32_to_cpu(a->len), len - (u32)sizeof(*a)));

	spin_lock(&tsk->lock);
	/* The answer may be for a connect that was given up since we found the sock; the next one
	 * has another key. */
	if (sk->sk_state != TCP_SYN_SENT || tsk->key->key != le32_to_cpu(hdr->dst_port)) {
		spin_unlock(&tsk->lock);
		return;
	}
	if (named)
		tsi_set_names(sk, &name, NULL);
	tsi_addr_know(&tsk->peer, !result || result == -EINPROGRESS || result == -ECONNREFUSED);
	if (result == -EINPROGRESS) {
		spin_unlock(&tsk->lock);
		return;
	}
	if (result == -EBADF) {
		WRITE_ONCE(tsk->host, TSI_HOST_NONE);
		tsi_stream_close_locked(sk, ENOBUFS);
	} else if (result) {
		tsi_stream_close_locked(sk, result < 0 && result >= -MAX_ERRNO ? -result : EIO);
	} else {
		tsk->peer_buf_alloc = le32_to_cpu(hdr->buf_alloc);
		WRITE_ONCE(sk->sk_state, TCP_ESTABLISHED);
	}
	spin_unlock(&tsk->lock);
	sk->sk_state_change(sk);
	if (result)
		sk_error_report(sk);
	else
		sk_wake_async(sk, SOCK_WAKE_IO, POLL_OUT);
}

/* The header says what each of its connections may hold to begin with. */
static int request_listen(struct sock *sk, int backlog)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_reply reply = { .op = TSI_LISTEN };
	struct tsi_wire_listen *l;
	struct sk_buff *skb;
	void *p;

	skb = tsi_packet(TSI_LISTEN, tsk->key->key, sizeof(*l), GFP_KERNEL, &p);
	if (!skb)
		return -ENOMEM;
	virtio_vsock_hdr(skb)->buf_alloc = cpu_to_le32(tsk->buf_alloc);
	l = p;
	l->key = cpu_to_le32(tsk->key->key);
	l->backlog = cpu_to_le32(backlog);
	WRITE_ONCE(tsk->backlog, backlog);
	return tsi_request_skb(tsk->key, skb, &reply);
}

static int stream_listen(struct socket *sock, int backlog)
{
	struct sock *sk = sock->sk;
	int err = -EINVAL;

	lock_sock(sk);
	if (sock->state == SS_UNCONNECTED &&
	    (sk->sk_state == TCP_CLOSE || sk->sk_state == TCP_LISTEN))
		err = tsi_need_host(sk);
	/* never on another address than the one that it was bound to */
	if (!err && tsi_sk(sk)->named && !tsi_addr_port(&tsi_sk(sk)->local))
		err = -EADDRINUSE;
	if (!err)
		err = tsi_check_host(sk, request_listen(sk, backlog));
	release_sock(sk);
	return err;
}

/* LISTEN's answer: connections may be right behind it. */
void tsi_stream_listening(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);

	spin_lock(&tsk->lock);
	if (sk->sk_state == TCP_CLOSE && tsk->host == TSI_HOST_OPEN) {
		WRITE_ONCE(sk->sk_shutdown, 0);
		WRITE_ONCE(sk->sk_state, TCP_LISTEN);
	}
	spin_unlock(&tsk->lock);
}

/* What a connection has from its listener, as with TCP. */
static void inherit(struct sock *sk, const struct sock *from)
{
	sk->sk_rcvtimeo = from->sk_rcvtimeo;
	sk->sk_sndtimeo = from->sk_sndtimeo;
	sk->sk_rcvlowat = from->sk_rcvlowat;
	sk->sk_lingertime = from->sk_lingertime;
	sk->sk_reuse = from->sk_reuse;
	sk->sk_reuseport = from->sk_reuseport;
	sk->sk_priority = from->sk_priority;
	sk->sk_mark = from->sk_mark;
	sk->sk_ipv6only = from->sk_ipv6only;
	sk->sk_userlocks = from->sk_userlocks;
	if (sock_flag(from, SOCK_LINGER))
		sock_set_flag(sk, SOCK_LINGER);
	if (sock_flag(from, SOCK_KEEPOPEN))
		sock_set_flag(sk, SOCK_KEEPOPEN);
	if (sock_flag(from, SOCK_URGINLINE))
		sock_set_flag(sk, SOCK_URGINLINE);
	tsi_sk(sk)->buf_alloc = tsi_sk(from)->buf_alloc;
}

static struct sock *new_child(struct sock *listener, const struct virtio_vsock_hdr *hdr,
			      const struct tsi_wire_accepted *a)
{
	struct sock *sk = tsi_sock_new(sock_net(listener), NULL, listener->sk_family, SOCK_STREAM,
				       listener->sk_protocol);
	struct tsi_addr local, peer;
	struct tsi_sock *tsk;

	if (!sk)
		return NULL;
	tsk = tsi_sk(sk);
	inherit(sk, listener);
	/* The listener's own may be another by now. */
	tsk->key = tsi_key_find(le32_to_cpu(hdr->dst_port));
	if (!tsk->key) {
		sock_put(sk);
		return NULL;
	}
	tsk->host_port = le32_to_cpu(a->host_port);
	tsk->host = TSI_HOST_OPEN;
	tsk->accepted = true;
	tsk->peer_buf_alloc = le32_to_cpu(hdr->buf_alloc);
	tsk->told_buf_alloc = le32_to_cpu(a->credit);
	if (!tsi_addr_read(&local, a->local, min_t(u32, le32_to_cpu(a->local_len), TSI_ADDR_FIELD)))
		tsi_addr_none(&local, sk->sk_family);
	if (!tsi_addr_read(&peer, a->peer, min_t(u32, le32_to_cpu(a->peer_len), TSI_ADDR_FIELD)))
		tsi_addr_none(&peer, sk->sk_family);
	tsi_set_names(sk, &local, &peer);
	sk->sk_state = TCP_ESTABLISHED;
	return sk;
}

/* A connection came in: whether it waits for accept(2) now. */
bool tsi_stream_accepted(struct sock *listener, const struct virtio_vsock_hdr *hdr,
			 const struct tsi_wire_accepted *a)
{
	struct tsi_sock *ltsk = tsi_sk(listener);
	struct sock *sk = NULL;
	bool queued = false;

	if (READ_ONCE(listener->sk_state) == TCP_LISTEN)
		sk = new_child(listener, hdr, a);
	if (sk) {
		tsi_hash(tsi_sk(sk));
		spin_lock(&ltsk->lock);
		if (listener->sk_state == TCP_LISTEN) {
			list_add_tail(&tsi_sk(sk)->accept_node, &ltsk->accept_queue);
			WRITE_ONCE(ltsk->accept_len, ltsk->accept_len + 1);
			sock_hold(sk);
			queued = true;
		}
		spin_unlock(&ltsk->lock);
	}
	if (queued)
		listener->sk_data_ready(listener);
	else if (sk)
		tsi_unhash(tsi_sk(sk));
	if (sk)
		sock_put(sk);
	return queued;
}

static int wait_for_child(struct sock *sk, long timeo)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	DEFINE_WAIT(wait);
	int err;

	/* Exclusively: a connection wakes one of those who wait. */
	for (;;) {
		prepare_to_wait_exclusive(sk_sleep(sk), &wait, TASK_INTERRUPTIBLE);
		release_sock(sk);
		if (!READ_ONCE(tsk->accept_len) && READ_ONCE(sk->sk_state) == TCP_LISTEN)
			timeo = schedule_timeout(timeo);
		sched_annotate_sleep();
		lock_sock(sk);
		err = 0;
		if (tsk->accept_len)
			break;
		err = -EINVAL;
		if (sk->sk_state != TCP_LISTEN)
			break;
		err = sock_intr_errno(timeo);
		if (signal_pending(current))
			break;
		err = -EAGAIN;
		if (!timeo)
			break;
	}
	finish_wait(sk_sleep(sk), &wait);
	return err;
}

/* The oldest connection; *n of them are to be given back to the host. */
static struct sock *take_child(struct sock *sk, u32 *n)
{
	struct tsi_sock *tsk = tsi_sk(sk), *child;

	spin_lock_bh(&tsk->lock);
	child = list_first_entry_or_null(&tsk->accept_queue, struct tsi_sock, accept_node);
	if (child) {
		list_del_init(&child->accept_node);
		WRITE_ONCE(tsk->accept_len, tsk->accept_len - 1);
		tsk->give_back++;
		/* In bundles, of at most 16: how long a queue the host allows is not known here, and
		 * its own is as long once more. */
		if (tsk->give_back * 4 >= clamp(tsk->backlog, 1, 64)) {
			*n = tsk->give_back;
			tsk->give_back = 0;
		}
	}
	spin_unlock_bh(&tsk->lock);
	return child ? tsi_sock_sk(child) : NULL;
}

static int stream_accept(struct socket *sock, struct socket *newsock, int flags, bool kern)
{
	struct sock *sk = sock->sk, *child = NULL;
	struct tsi_wire_accept a;
	u32 n = 0;
	int err = -EINVAL;
	long timeo;

	lock_sock(sk);
	if (sk->sk_state != TCP_LISTEN)
		goto out;
	timeo = sock_rcvtimeo(sk, flags & O_NONBLOCK);
	while (!(child = take_child(sk, &n))) {
		err = timeo ? wait_for_child(sk, timeo) : -EAGAIN;
		if (err)
			goto out;
	}
	err = 0;
	if (n) {
		a.key = cpu_to_le32(tsi_sk(sk)->key->key);
		a.n = cpu_to_le32(n);
		tsi_tell(TSI_ACCEPT, tsi_sk(sk)->key->key, &a, sizeof(a));
	}
out:
	release_sock(sk);
	if (!child)
		return err;
	lock_sock(child);
	sock_graft(child, newsock);
	newsock->state = SS_CONNECTED;
	release_sock(child);
	return 0;
}

/* What its end of the stream says; sk_err is said once, and data that came before it can still be
 * read. */
static void take_rst(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	int err = tsk->rst_errno;

	if (!err && !(tsk->peer_fin && (sk->sk_shutdown & SEND_SHUTDOWN)))
		err = ECONNRESET;
	WRITE_ONCE(tsk->host, TSI_HOST_GONE);
	tsi_stream_close_locked(sk, err);
}

/* A packet on the stream: whether it was kept. */
bool tsi_stream_rx(struct sock *sk, struct sk_buff *skb)
{
	const struct virtio_vsock_hdr *hdr = virtio_vsock_hdr(skb);
	struct tsi_sock *tsk = tsi_sk(sk);
	u16 op = le16_to_cpu(hdr->op);
	u32 flags = le32_to_cpu(hdr->flags);
	bool readable = false, changed = false, kept = false;

	spin_lock(&tsk->lock);
	if (sk->sk_state != TCP_ESTABLISHED) {
		spin_unlock(&tsk->lock);
		return false;
	}
	tsi_stream_credit(tsk, hdr);
	if (op == VIRTIO_VSOCK_OP_RW && skb->len && !tsk->peer_fin) {
		readable = tsi_stream_append(sk, skb, &kept);
	} else if (op == VIRTIO_VSOCK_OP_SHUTDOWN) {
		if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND) {
			tsk->peer_fin = true;
			WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | RCV_SHUTDOWN);
		}
		if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
			WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | SEND_SHUTDOWN);
		changed = true;
	} else if (op == VIRTIO_VSOCK_OP_RST) {
		take_rst(sk);
		changed = true;
	} else if (op == VIRTIO_VSOCK_OP_CREDIT_REQUEST) {
		tsi_stream_op_locked(tsk, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, GFP_ATOMIC);
	}
	spin_unlock(&tsk->lock);
	if (op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
		virtio_vsock_tsi_kick();
	if (readable)
		sk->sk_data_ready(sk);
	if (changed) {
		sk->sk_state_change(sk);
		sk_wake_async(sk, SOCK_WAKE_WAITD, op == VIRTIO_VSOCK_OP_RST ? POLL_HUP : POLL_IN);
		if (sk->sk_err)
			sk_error_report(sk);
	}
	/* Between the credit that came and the question who waits for it: those who wait say so,
	 * and look at the credit then. */
	smp_mb();
	if (READ_ONCE(tsk->want_space))
		sk->sk_write_space(sk);
	return kept;
}

/* After a reset of the device. Not to sleep. */
void tsi_stream_reset_all(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_addr none;

	spin_lock(&tsk->lock);
	if (sk->sk_state != TCP_CLOSE) {
		tsi_stream_close_locked(sk, ECONNRESET);
		WRITE_ONCE(tsk->host, TSI_HOST_GONE);
	} else if (tsk->host == TSI_HOST_OPEN) {
		/* Bound at most: the next call begins anew. */
		tsi_addr_none(&none, sk->sk_family);
		tsi_set_names(sk, &none, NULL);
		WRITE_ONCE(sk->sk_err, ECONNRESET);
		WRITE_ONCE(tsk->host, TSI_HOST_NONE);
	}
	spin_unlock(&tsk->lock);
	sk->sk_state_change(sk);
	sk_error_report(sk);
}

static int stream_shutdown(struct socket *sock, int how)
{
	struct sock *sk = sock->sk;
	struct tsi_sock *tsk = tsi_sk(sk);
	bool fin = false;
	int err = 0;

	how++; /* SHUT_RD, SHUT_WR, SHUT_RDWR to RCV_SHUTDOWN, SEND_SHUTDOWN, both */
	if ((how & ~SHUTDOWN_MASK) || !how)
		return -EINVAL;
	lock_sock(sk);
	if (sock->state == SS_CONNECTING)
		sock->state = sk->sk_state == TCP_ESTABLISHED ? SS_CONNECTED : SS_DISCONNECTING;
	switch (sk->sk_state) {
	case TCP_LISTEN:
		if (!(how & RCV_SHUTDOWN))
			break;
		fallthrough;
	case TCP_SYN_SENT:
		err = disconnect(sk);
		sock->state = SS_UNCONNECTED;
		break;
	default:
		if (sk->sk_state == TCP_CLOSE || tsi_stream_is_over(sk))
			err = -ENOTCONN;
		if (how & SEND_SHUTDOWN)
			tsi_stream_flush(sk);
		spin_lock_bh(&tsk->lock);
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | how);
		if (sk->sk_state == TCP_ESTABLISHED && (how & SEND_SHUTDOWN) && !tsk->fin_sent)
			fin = tsk->fin_sent = true;
		spin_unlock_bh(&tsk->lock);
		if (fin)
			err = tsi_stream_op(tsk, VIRTIO_VSOCK_OP_SHUTDOWN,
					    VIRTIO_VSOCK_SHUTDOWN_SEND);
	}
	sk->sk_state_change(sk);
	release_sock(sk);
	return err;
}

static int stream_release(struct socket *sock)
{
	struct sock *sk = sock->sk;
	struct tsi_sock *tsk;
	int state;

	if (!sk)
		return 0;
	tsk = tsi_sk(sk);
	BPF_CGROUP_RUN_PROG_INET_SOCK_RELEASE(sk);
	lock_sock(sk);
	state = READ_ONCE(sk->sk_state);
	if (state == TCP_LISTEN)
		close_listener(sk);
	else if (state == TCP_ESTABLISHED)
		tsi_stream_close_connection(sk);
	else if (tsk->host == TSI_HOST_OPEN)
		tsi_release_host(tsk->key->key, tsk->host_port);
	spin_lock_bh(&tsk->lock);
	WRITE_ONCE(tsk->host, TSI_HOST_GONE);
	tsi_stream_close_locked(sk, 0);
	spin_unlock_bh(&tsk->lock);
	drop_children(sk);
	kfree_skb(tsk->gathered);
	tsk->gathered = NULL;
	sock_orphan(sk);
	sock->sk = NULL;
	release_sock(sk);
	tsi_unhash(tsk);
	sock_put(sk);
	return 0;
}

static __poll_t stream_poll(struct file *file, struct socket *sock, poll_table *table)
{
	struct sock *sk = sock->sk;
	struct tsi_sock *tsk = tsi_sk(sk);
	__poll_t mask = 0;
	int state, shutdown;

	sock_poll_wait(file, sock, table);
	state = READ_ONCE(sk->sk_state);
	if (state == TCP_LISTEN)
		return READ_ONCE(tsk->accept_len) ? EPOLLIN | EPOLLRDNORM : 0;
	shutdown = READ_ONCE(sk->sk_shutdown);
	if (shutdown == SHUTDOWN_MASK || state == TCP_CLOSE)
		mask |= EPOLLHUP;
	if (shutdown & RCV_SHUTDOWN)
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (state != TCP_SYN_SENT) {
		if (tsi_stream_readable(sk))
			mask |= EPOLLIN | EPOLLRDNORM;
		if (state == TCP_ESTABLISHED && !(shutdown & SEND_SHUTDOWN) &&
		    !tsi_stream_writable(sk)) {
			sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
			WRITE_ONCE(tsk->want_space, true);
			/* Against write_space(), which looks after credit came. */
			smp_mb();
			if (tsi_stream_writable(sk))
				mask |= EPOLLOUT | EPOLLWRNORM;
		} else {
			mask |= EPOLLOUT | EPOLLWRNORM;
		}
	}
	/* Pairs with the order in which an end is told: data, shutdown, error. */
	smp_rmb();
	if (READ_ONCE(sk->sk_err))
		mask |= EPOLLERR;
	return mask;
}

/* clang-format off */
#define TSI_STREAM_OPS(pf, in_ioctl) {		\
	.family = pf,				\
	.owner = THIS_MODULE,			\
	.release = stream_release,		\
	.bind = tsi_bind,			\
	.connect = stream_connect,		\
	.socketpair = sock_no_socketpair,	\
	.accept = stream_accept,		\
	.getname = tsi_getname,			\
	.poll = stream_poll,			\
	.ioctl = in_ioctl,			\
	.gettstamp = sock_gettstamp,		\
	.listen = stream_listen,		\
	.shutdown = stream_shutdown,		\
	.setsockopt = tsi_setsockopt,		\
	.getsockopt = tsi_getsockopt,		\
	.sendmsg = tsi_stream_sendmsg,		\
	.recvmsg = tsi_stream_recvmsg,		\
	.mmap = sock_no_mmap,			\
	.sendpage = tsi_stream_sendpage,		\
	.splice_eof = tsi_stream_splice_eof,	\
}
/* clang-format on */

const struct proto_ops tsi_stream_ops = TSI_STREAM_OPS(PF_INET, inet_ioctl);
const struct proto_ops tsi6_stream_ops = TSI_STREAM_OPS(PF_INET6, inet6_ioctl);
