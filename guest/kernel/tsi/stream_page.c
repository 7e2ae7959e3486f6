// SPDX-License-Identifier: GPL-2.0
/* sendfile(2) and splice(2) to a stream: the device reads the file's pages, and as many as one call
 * has go into a packet. */
#include <linux/net.h>

#include "tsi.h"

/* Sends what was gathered. With the sock locked. */
int tsi_stream_flush(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct sk_buff *skb = tsk->gathered;

	if (!skb)
		return 0;
	tsk->gathered = NULL;
	return tsi_stream_send_data(sk, skb);
}

static struct sk_buff *begin(struct sock *sk)
{
	struct sk_buff *skb = virtio_vsock_alloc_skb(VIRTIO_VSOCK_SKB_HEADROOM, sk->sk_allocation);

	if (skb)
		skb_set_owner_w(skb, sk);
	return skb;
}

static void add_page(struct sock *sk, struct sk_buff *skb, struct page *page, int offset, u32 n)
{
	int i = skb_shinfo(skb)->nr_frags;

	if (skb_can_coalesce(skb, i, page, offset)) {
		skb_frag_size_add(&skb_shinfo(skb)->frags[i - 1], n);
	} else {
		get_page(page);
		skb_fill_page_desc(skb, i, page, offset, n);
	}
	skb->len += n;
	skb->data_len += n;
	skb->truesize += n;
	refcount_add(n, &sk->sk_wmem_alloc);
}

/* How much more fits the packet: 0 if it has to go first. */
static u32 room(const struct sock *sk, const struct sk_buff *skb)
{
	u32 max = min_t(u32, tsi_stream_space(sk), VIRTIO_VSOCK_MAX_PKT_BUF_SIZE);

	if (skb_shinfo(skb)->nr_frags == MAX_SKB_FRAGS)
		return 0;
	return max > skb->len ? max - skb->len : 0;
}

/* Some of the page: bytes or -errno. */
static int gather(struct sock *sk, struct page *page, int offset, size_t size, long *timeo)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	u32 n;
	int err;

	if (!tsi_stream_may_send(sk))
		return -EPIPE;
	if (!tsk->gathered) {
		err = tsi_stream_wait_space(sk, timeo);
		if (err)
			return err;
		if (!tsi_stream_may_send(sk))
			return -EPIPE;
		tsk->gathered = begin(sk);
		if (!tsk->gathered)
			return -ENOMEM;
	}
	n = min_t(size_t, room(sk, tsk->gathered), size);
	if (!n)
		return tsi_stream_flush(sk);
	add_page(sk, tsk->gathered, page, offset, n);
	return n;
}

ssize_t tsi_stream_sendpage(struct socket *sock, struct page *page, int offset, size_t size,
			    int flags)
{
	struct sock *sk = sock->sk;
	size_t sent = 0;
	long timeo;
	int n = 0, err;

	if (!sendpage_ok(page))
		return sock_no_sendpage(sock, page, offset, size, flags);
	lock_sock(sk);
	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	if (sk->sk_state != TCP_ESTABLISHED)
		n = sk_stream_wait_connect(sk, &timeo);
	while (n >= 0 && sent < size) {
		n = gather(sk, page, offset + sent, size - sent, &timeo);
		sent += max(n, 0);
	}
	/* The rest of the call's pages is right behind; if it is not, splice_eof() comes. */
	if (!(flags & MSG_SENDPAGE_NOTLAST) || n < 0) {
		err = tsi_stream_flush(sk);
		n = n < 0 ? n : err;
	}
	if (!sent && n < 0)
		n = sk_stream_error(sk, flags, n);
	release_sock(sk);
	return sent ?: n;
}

void tsi_stream_splice_eof(struct socket *sock)
{
	lock_sock(sock->sk);
	tsi_stream_flush(sock->sk);
	release_sock(sock->sk);
}
