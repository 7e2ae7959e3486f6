// SPDX-License-Identifier: GPL-2.0
/* The bytes of streams, and their credit (virtio 1.2, 5.10.6.3). */
#include <linux/net.h>
#include <linux/sched/signal.h>

#include "tsi.h"

/* Payload up to this goes into the packet's head, more into pages of their own. */
#define LINEAR_MAX (SKB_WITH_OVERHEAD(2048) - VIRTIO_VSOCK_SKB_HEADROOM)
#define PAGE_ORDER 3

/* A packet up to this does not keep its rx buffer, one up to the second is put behind the last
 * one's bytes. */
#define SMALL_MAX 256
#define MERGE_MAX 4096

static void fill_header(struct sk_buff *skb, u16 op, u32 flags, u32 key, u32 host_port, u32 len)
{
	struct virtio_vsock_hdr *hdr = virtio_vsock_hdr(skb);

	memset(hdr, 0, sizeof(*hdr));
	hdr->dst_cid = cpu_to_le64(TSI_HOST_CID);
	hdr->src_port = cpu_to_le32(key);
	hdr->dst_port = cpu_to_le32(host_port);
	hdr->len = cpu_to_le32(len);
	hdr->type = cpu_to_le16(VIRTIO_VSOCK_TYPE_STREAM);
	hdr->op = cpu_to_le16(op);
	hdr->flags = cpu_to_le32(flags);
	virtio_vsock_skb_set_tap_delivered(skb);
}

/* With tsk->lock, so that fwd_cnt never runs backwards on the wire. */
static int queue_packet(struct tsi_sock *tsk, struct sk_buff *skb)
{
	struct virtio_vsock_hdr *hdr = virtio_vsock_hdr(skb);

	hdr->fwd_cnt = cpu_to_le32(tsk->fwd_cnt);
	hdr->buf_alloc = cpu_to_le32(tsk->buf_alloc);
	tsk->told_fwd_cnt = tsk->fwd_cnt;
	WRITE_ONCE(tsk->told_buf_alloc, tsk->buf_alloc);
	return virtio_vsock_tsi_queue(skb);
}

/* The caller kicks. */
int tsi_stream_op_locked(struct tsi_sock *tsk, u16 op, u32 flags, gfp_t gfp)
{
	struct sk_buff *skb = virtio_vsock_alloc_skb(VIRTIO_VSOCK_SKB_HEADROOM, gfp);

	if (!skb)
		return -ENOMEM;
	fill_header(skb, op, flags, tsk->key->key, tsk->host_port, 0);
	return queue_packet(tsk, skb);
}

int tsi_stream_op(struct tsi_sock *tsk, u16 op, u32 flags)
{
	struct sk_buff *skb =
		virtio_vsock_alloc_skb(VIRTIO_VSOCK_SKB_HEADROOM, GFP_KERNEL | __GFP_NOFAIL);
	int err;

	fill_header(skb, op, flags, tsk->key->key, tsk->host_port, 0);
	spin_lock_bh(&tsk->lock);
	err = queue_packet(tsk, skb);
	spin_unlock_bh(&tsk->lock);
	virtio_vsock_tsi_kick();
	return err;
}

/* Makes the packet that told of a connection our RST for it: memory for another might not be there.
 */
void tsi_stream_refuse(struct sk_buff *skb, u32 host_port)
{
	u32 key = le32_to_cpu(virtio_vsock_hdr(skb)->dst_port);

	skb_trim(skb, 0);
	fill_header(skb, VIRTIO_VSOCK_OP_RST, 0, key, host_port, 0);
	tsi_send(skb);
}

void tsi_stream_credit(struct tsi_sock *tsk, const struct virtio_vsock_hdr *hdr)
{
	WRITE_ONCE(tsk->peer_buf_alloc, le32_to_cpu(hdr->buf_alloc));
	WRITE_ONCE(tsk->peer_fwd_cnt, le32_to_cpu(hdr->fwd_cnt));
}

u32 tsi_stream_unread(const struct tsi_sock *tsk)
{
	return READ_ONCE(tsk->rx_cnt) - READ_ONCE(tsk->fwd_cnt);
}

/* As many as SO_RCVLOWAT asks for, as far as credit can bring them. */
bool tsi_stream_readable(const struct sock *sk)
{
	const struct tsi_sock *tsk = tsi_sk(sk);

	return tsi_stream_unread(tsk) >=
	       min_t(u32, sock_rcvlowat(sk, 0, INT_MAX), READ_ONCE(tsk->told_buf_alloc) / 2);
}

/* Bytes that the host has room for. */
u32 tsi_stream_space(const struct sock *sk)
{
	const struct tsi_sock *tsk = tsi_sk(sk);
	u32 out = READ_ONCE(tsk->tx_cnt) - READ_ONCE(tsk->peer_fwd_cnt);
	u32 buf = READ_ONCE(tsk->peer_buf_alloc);

	return out < buf ? buf - out : 0;
}

/* A quarter of the buffer free makes it worth to wake a writer. */
bool tsi_stream_writable(const struct sock *sk)
{
	const struct tsi_sock *tsk = tsi_sk(sk);
	u32 n = tsi_stream_space(sk);

	return n && n >= READ_ONCE(tsk->peer_buf_alloc) / 4 &&
	       sk_wmem_alloc_get(sk) < READ_ONCE(sk->sk_sndbuf);
}

/* Also runs for each packet of data that the device is done with. */
void tsi_stream_write_space(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct socket_wq *wq;

	/* Pairs with those who set want_space and look again. */
	smp_mb();
	if (!READ_ONCE(tsk->want_space) || !tsi_stream_writable(sk))
		return;
	WRITE_ONCE(tsk->want_space, false);
	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	if (skwq_has_sleeper(wq))
		wake_up_interruptible_poll(&wq->wait, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
	if (wq && wq->fasync_list && !(READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN))
		sock_wake_async(wq, SOCK_WAKE_SPACE, POLL_OUT);
	rcu_read_unlock();
}

/* The bytes of a small packet in a buffer of their size: the device's are much larger. */
static struct sk_buff *compact(struct sk_buff *skb)
{
	struct sk_buff *copy = alloc_skb(SMALL_MAX, GFP_ATOMIC);

	if (!copy)
		return skb;
	skb_put_data(copy, skb->data, skb->len);
	return copy;
}

/* With tsk->lock. True: there is enough for a reader. *kept: the skb is in the queue. */
bool tsi_stream_append(struct sock *sk, struct sk_buff *skb, bool *kept)
{
	struct sk_buff *queued;
	struct tsi_sock *tsk = tsi_sk(sk);
	struct sk_buff *tail = skb_peek_tail(&sk->sk_receive_queue);
	u32 len = skb->len;

	/* A host that does not heed our credit would fill our memory. */
	if (tsk->rx_cnt + len - tsk->told_fwd_cnt > 2 * tsk->buf_alloc) {
		tsi_stream_op_locked(tsk, VIRTIO_VSOCK_OP_RST, 0, GFP_ATOMIC);
		WRITE_ONCE(tsk->host, TSI_HOST_GONE);
		tsi_stream_close_locked(sk, EPROTO);
		return true;
	}
	if (tail && len <= MERGE_MAX && len <= skb_tailroom(tail)) {
		skb_put_data(tail, skb->data, len);
	} else {
		queued = len <= SMALL_MAX ? compact(skb) : skb;
		*kept = queued == skb;
		__skb_queue_tail(&sk->sk_receive_queue, queued);
	}
	WRITE_ONCE(tsk->rx_cnt, tsk->rx_cnt + len);
	return tsi_stream_readable(sk);
}

/* Bytes were read: tells the host before it runs short of credit, which is what it was told of,
 * also where SO_RCVBUF has made the buffer larger since. */
static void give_credit(struct tsi_sock *tsk)
{
	u32 buf, free, news;
	bool due;

	spin_lock_bh(&tsk->lock);
	buf = tsk->told_buf_alloc;
	free = buf - (tsk->rx_cnt - tsk->told_fwd_cnt);
	news = tsk->fwd_cnt - tsk->told_fwd_cnt;
	due = tsi_sock_sk(tsk)->sk_state == TCP_ESTABLISHED && !tsk->peer_fin && free < buf / 2 &&
	      news >= buf / 8;
	spin_unlock_bh(&tsk->lock);
	/* That must not fail: a reader may be about to wait for what comes of it. */
	if (due)
		tsi_stream_op(tsk, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
}

static struct sk_buff *new_data(struct sock *sk, struct msghdr *msg, u32 len, int *err)
{
	u32 head = len <= LINEAR_MAX ? len : 0;
	struct sk_buff *skb = alloc_skb_with_frags(VIRTIO_VSOCK_SKB_HEADROOM + head, len - head,
						   PAGE_ORDER, err, sk->sk_allocation);

	if (!skb)
		return NULL;
	skb_reserve(skb, VIRTIO_VSOCK_SKB_HEADROOM);
	skb_put(skb, head);
	skb->data_len = len - head;
	skb->len = len;
	skb_set_owner_w(skb, sk);
	*err = skb_copy_datagram_from_iter(skb, 0, &msg->msg_iter, len);
	if (!*err)
		return skb;
	kfree_skb(skb);
	return NULL;
}

bool tsi_stream_may_send(const struct sock *sk)
{
	return READ_ONCE(sk->sk_state) == TCP_ESTABLISHED && !READ_ONCE(sk->sk_err) &&
	       !(READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN);
}

static bool has_space(const struct sock *sk)
{
	return tsi_stream_space(sk) && sk_wmem_alloc_get(sk) < READ_ONCE(sk->sk_sndbuf);
}

/* Until there is space, or no sense in waiting any more; once a writer has to wait, until it is
 * worth it. */
int tsi_stream_wait_space(struct sock *sk, long *timeo)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int err = 0;

	if (has_space(sk))
		return 0;
	add_wait_queue(sk_sleep(sk), &wait);
	for (;;) {
		sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
		WRITE_ONCE(tsk->want_space, true);
		smp_mb();
		if (!tsi_stream_may_send(sk) || tsi_stream_writable(sk))
			break;
		err = -EAGAIN;
		if (!*timeo)
			break;
		err = sock_intr_errno(*timeo);
		if (signal_pending(current))
			break;
		err = 0;
		sk_wait_event(sk, timeo, !tsi_stream_may_send(sk) || tsi_stream_writable(sk),
			      &wait);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	return err;
}

/* A packet of data, for whose bytes there is space; takes it. */
int tsi_stream_send_data(struct sock *sk, struct sk_buff *skb)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	int err = -EPIPE;

	fill_header(skb, VIRTIO_VSOCK_OP_RW, 0, tsk->key->key, tsk->host_port, skb->len);
	spin_lock_bh(&tsk->lock);
	if (sk->sk_state == TCP_ESTABLISHED) {
		WRITE_ONCE(tsk->tx_cnt, tsk->tx_cnt + skb->len);
		err = queue_packet(tsk, skb);
		skb = NULL;
	}
	spin_unlock_bh(&tsk->lock);
	kfree_skb(skb);
	virtio_vsock_tsi_kick();
	return err;
}

/* One packet; bytes or -errno. */
static int send_some(struct sock *sk, struct msghdr *msg)
{
	u32 n = min3((u32)min_t(size_t, msg_data_left(msg), U32_MAX), tsi_stream_space(sk),
		     (u32)VIRTIO_VSOCK_MAX_PKT_BUF_SIZE);
	struct sk_buff *skb;
	int err;

	skb = new_data(sk, msg, n, &err);
	if (!skb)
		return err;
	return tsi_stream_send_data(sk, skb) ?: n;
}

int tsi_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)
{
	struct sock *sk = sock->sk;
	int flags = msg->msg_flags;
	size_t sent = 0;
	long timeo;
	int n, err = 0;

	if (flags & (MSG_OOB | MSG_FASTOPEN))
		return -EOPNOTSUPP;
	lock_sock(sk);
	sk_clear_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	if (sk->sk_state != TCP_ESTABLISHED)
		err = sk_stream_wait_connect(sk, &timeo);
	if (!err)
		err = tsi_stream_flush(sk);
	while (!err && msg_data_left(msg)) {
		err = tsi_stream_may_send(sk) ? tsi_stream_wait_space(sk, &timeo) : -EPIPE;
		if (err || !tsi_stream_may_send(sk))
			continue;
		n = send_some(sk, msg);
		err = min(n, 0);
		sent += max(n, 0);
	}
	if (!sent && err)
		err = sk_stream_error(sk, flags, err);
	release_sock(sk);
	return sent ?: err;
}

/* Copies from where the queue's bytes begin, plus off; no further than the end of one packet. */
static int copy_from(struct sock *sk, struct msghdr *msg, u32 off, size_t len, int flags)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct sk_buff *skb;
	u32 n = 0;
	int err;

	/* Packets are only added meanwhile, and bytes to the last one: what we saw stays. */
	spin_lock_bh(&tsk->lock);
	skb_queue_walk(&sk->sk_receive_queue, skb)
	{
		n = skb->len;
		if (off < n)
			break;
		off -= n;
	}
	spin_unlock_bh(&tsk->lock);
	n = min_t(size_t, n - off, len);
	if (!(flags & MSG_TRUNC)) {
		err = skb_copy_datagram_msg(skb, off, msg, n);
		if (err)
			return err;
	}
	return n;
}

/* The first n bytes are read; they end in the first packet. */
static void consume(struct sock *sk, u32 n)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct sk_buff *skb;

	spin_lock_bh(&tsk->lock);
	skb = skb_peek(&sk->sk_receive_queue);
	WRITE_ONCE(tsk->fwd_cnt, tsk->fwd_cnt + n);
	if (n == skb->len) {
		__skb_unlink(skb, &sk->sk_receive_queue);
	} else {
		__skb_pull(skb, n);
		skb = NULL;
	}
	spin_unlock_bh(&tsk->lock);
	consume_skb(skb);
}

/* Why there is nothing to read: 1 for no reason but that it has not come. */
static int why_empty(struct sock *sk)
{
	if (READ_ONCE(tsi_sk(sk)->peer_fin))
		return 0;
	if (sk->sk_err)
		return sock_error(sk);
	if (sk->sk_shutdown & RCV_SHUTDOWN)
		return 0;
	if (sk->sk_state == TCP_CLOSE)
		return -ENOTCONN;
	return 1;
}

static int wait_data(struct sock *sk, u32 seen, long *timeo)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	DEFINE_WAIT_FUNC(wait, woken_wake_function);

	if (!*timeo)
		return -EAGAIN;
	if (signal_pending(current))
		return sock_intr_errno(*timeo);
	add_wait_queue(sk_sleep(sk), &wait);
	sk_set_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	sk_wait_event(sk, timeo,
		      tsi_stream_unread(tsk) > seen || READ_ONCE(sk->sk_err) ||
			      (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN) ||
			      READ_ONCE(sk->sk_state) == TCP_CLOSE,
		      &wait);
	sk_clear_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	remove_wait_queue(sk_sleep(sk), &wait);
	return 0;
}

static int do_recv(struct sock *sk, struct msghdr *msg, size_t len, int flags)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	long timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT);
	size_t target = sock_rcvlowat(sk, flags & MSG_WAITALL, len);
	size_t got = 0;
	bool peek = flags & MSG_PEEK;
	int n;

	/* Once also for no bytes: TCP waits for data then, too. */
	do {
		u32 seen = peek ? got : 0;

		if (tsi_stream_unread(tsk) > seen) {
			n = copy_from(sk, msg, seen, len - got, flags);
			if (n < 0)
				return got ?: n;
			if (!peek)
				consume(sk, n);
			got += n;
			continue;
		}
		if (got >= target)
			break;
		/* An error is for the next call if this one has something to say. */
		if (got && (sk->sk_err || (sk->sk_shutdown & RCV_SHUTDOWN) || !timeo ||
			    sk->sk_state == TCP_CLOSE || signal_pending(current)))
			break;
		n = got ? 1 : why_empty(sk);
		if (n > 0) {
			if (!peek)
				give_credit(tsk);
			n = wait_data(sk, seen, &timeo);
			if (!n)
				continue;
		}
		if (!got)
			return n;
		break;
	} while (got < len);
	return got;
}

int tsi_stream_recvmsg(struct socket *sock, struct msghdr *msg, size_t len, int flags)
{
	struct sock *sk = sock->sk;
	int n;

	msg->msg_namelen = 0;
	if (flags & MSG_OOB)
		return -EINVAL;
	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	lock_sock(sk);
	n = sk->sk_state == TCP_LISTEN ? -ENOTCONN : do_recv(sk, msg, len, flags);
	if (n > 0 && !(flags & MSG_PEEK))
		give_credit(tsi_sk(sk));
	release_sock(sk);
	return n;
}
