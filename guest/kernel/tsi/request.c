// SPDX-License-Identifier: GPL-2.0
/* Packets for the host, requests and their answers. */
#include <linux/sched/signal.h>

#include "tsi.h"

/* A control packet or datagram; the payload is the caller's to fill. */
struct sk_buff *tsi_packet(u32 op, u32 key, u32 len, gfp_t gfp, void **payload)
{
	struct sk_buff *skb = virtio_vsock_alloc_skb(VIRTIO_VSOCK_SKB_HEADROOM + len, gfp);
	struct virtio_vsock_hdr *hdr;

	if (!skb)
		return NULL;
	hdr = virtio_vsock_hdr(skb);
	memset(hdr, 0, sizeof(*hdr));
	hdr->dst_cid = cpu_to_le64(TSI_HOST_CID);
	hdr->src_port = cpu_to_le32(key);
	hdr->dst_port = cpu_to_le32(op);
	hdr->len = cpu_to_le32(len);
	hdr->type = cpu_to_le16(TSI_TYPE_DGRAM);
	hdr->op = cpu_to_le16(VIRTIO_VSOCK_OP_RW);
	/* No packet capture: it takes packets for linear ones. */
	virtio_vsock_skb_set_tap_delivered(skb);
	*payload = skb_put(skb, len);
	return skb;
}

int tsi_send(struct sk_buff *skb)
{
	int err = virtio_vsock_tsi_queue(skb);

	if (!err)
		virtio_vsock_tsi_kick();
	return err;
}

/* What has no answer, and what nobody says once more, such as the RELEASE of a close(2): it does
 * not fail for want of memory. */
static struct sk_buff *news(u32 op, u32 key, const void *payload, u32 len)
{
	void *p;
	struct sk_buff *skb = tsi_packet(op, key, len, GFP_KERNEL | __GFP_NOFAIL, &p);

	memcpy(p, payload, len);
	return skb;
}

int tsi_tell(u32 op, u32 key, const void *payload, u32 len)
{
	return tsi_send(news(op, key, payload, len));
}

void tsi_release_host(u32 key, u32 host_port)
{
	struct tsi_wire_release r = {
		.key = cpu_to_le32(key),
		.host_port = cpu_to_le32(host_port),
	};

	tsi_tell(TSI_RELEASE, key, &r, sizeof(r));
}

/* Puts a request on its way once an earlier one of its kind, whose caller was killed or did not
 * wait, is answered. Takes the skb.
 */
static int start(struct tsi_key *k, u32 op, struct sk_buff *skb, struct tsi_reply *reply)
{
	int err = wait_event_killable(k->wait, !(READ_ONCE(k->waiting) & TSI_BIT(op)));

	if (err) {
		kfree_skb(skb);
		return -EINTR;
	}
	spin_lock_bh(&k->answer_lock);
	k->waiting |= TSI_BIT(op);
	k->reply = reply;
	spin_unlock_bh(&k->answer_lock);
	err = tsi_send(skb);
	if (err) {
		spin_lock_bh(&k->answer_lock);
		k->waiting &= ~TSI_BIT(op);
		k->reply = NULL;
		spin_unlock_bh(&k->answer_lock);
	}
	return err;
}

/*
 * Asks and waits. Only a signal that kills ends the wait: the host answers these at once, and a
 * call that was interrupted and made again would find its work done already. The result is the
 * host's or -EINTR, -ENETDOWN.
 */
int tsi_request_skb(struct tsi_key *k, struct sk_buff *skb, struct tsi_reply *reply)
{
	int err = mutex_lock_killable(&k->lock);

	if (err) {
		kfree_skb(skb);
		return err;
	}
	reply->done = false;
	err = start(k, reply->op, skb, reply);
	if (!err) {
		err = wait_event_killable(k->wait, smp_load_acquire(&reply->done));
		spin_lock_bh(&k->answer_lock);
		if (k->reply == reply)
			k->reply = NULL;
		spin_unlock_bh(&k->answer_lock);
		err = reply->done ? reply->result : -EINTR;
	}
	mutex_unlock(&k->lock);
	return err;
}

int tsi_request(struct tsi_key *k, const void *payload, u32 len, struct tsi_reply *reply)
{
	void *p;
	struct sk_buff *skb = tsi_packet(reply->op, k->key, len, GFP_KERNEL, &p);

	if (!skb)
		return -ENOMEM;
	memcpy(p, payload, len);
	return tsi_request_skb(k, skb, reply);
}

/* Asks, and does not wait for the answer. Takes the skb. */
int tsi_post_skb(struct tsi_key *k, u32 op, struct sk_buff *skb)
{
	int err = mutex_lock_killable(&k->lock);

	if (err) {
		kfree_skb(skb);
		return err;
	}
	err = start(k, op, skb, NULL);
	mutex_unlock(&k->lock);
	return err;
}

int tsi_post(struct tsi_key *k, u32 op, const void *payload, u32 len)
{
	void *p;
	struct sk_buff *skb = tsi_packet(op, k->key, len, GFP_KERNEL, &p);

	if (!skb)
		return -ENOMEM;
	memcpy(p, payload, len);
	return tsi_post_skb(k, op, skb);
}

/* Until what was posted is answered. */
int tsi_settle(struct tsi_key *k, u32 op)
{
	return wait_event_killable(k->wait, !(READ_ONCE(k->waiting) & TSI_BIT(op))) ? -EINTR : 0;
}

void tsi_answer(struct tsi_key *k, u32 op, const struct tsi_wire_answer *a, u32 len)
{
	struct tsi_reply *r;
	u32 n = 0;

	spin_lock(&k->answer_lock);
	if (!(k->waiting & TSI_BIT(op)))
		goto out;
	k->waiting &= ~TSI_BIT(op);
	r = k->reply;
	if (r && r->op == op) {
		r->result = (int)le32_to_cpu(a->result);
		if (len > sizeof(*a))
			n = min3(le32_to_cpu(a->len), len - (u32)sizeof(*a), r->len);
		if (n)
			memcpy(r->data, a->data, n);
		r->len = n;
		k->reply = NULL;
		smp_store_release(&r->done, true);
	}
	wake_up_all(&k->wait);
out:
	spin_unlock(&k->answer_lock);
}

static void fill_create(const struct sock *sk, u32 key, u32 flags, struct tsi_wire_create *c)
{
	*c = (struct tsi_wire_create){
		.key = cpu_to_le32(key),
		.family = cpu_to_le16(sk->sk_family),
		.type = cpu_to_le16(sk->sk_type),
		.protocol = cpu_to_le32(sk->sk_protocol),
		.flags = cpu_to_le32(flags),
	};
}

static int create_on_host(struct sock *sk, struct tsi_key *k)
{
	struct tsi_reply reply = { .op = TSI_CREATE };
	struct tsi_wire_create c;

	/* Whether there may be one is known to the host alone, and socket(2) is to say it. */
	if (sk->sk_protocol == IPPROTO_ICMP || sk->sk_protocol == IPPROTO_ICMPV6) {
		fill_create(sk, k->key, TSI_CREATE_ANSWER, &c);
		return tsi_request(k, &c, sizeof(c), &reply);
	}
	fill_create(sk, k->key, 0, &c);
	/* What the socket was made for is right behind it. */
	return virtio_vsock_tsi_queue(news(TSI_CREATE, k->key, &c, sizeof(c)));
}

/* With the sock locked: makes the host's socket if there is none. */
int tsi_need_host(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	enum tsi_host host = READ_ONCE(tsk->host);
	int err;

	if (host == TSI_HOST_OPEN)
		return 0;
	if (host == TSI_HOST_GONE)
		return -ENOTCONN;
	err = tsi_wait_ready();
	if (err)
		return err;
	if (!tsk->key) {
		tsk->key = tsi_key_new();
		if (!tsk->key)
			return -ENOMEM;
		tsk->host_port = TSI_HOST_PORT;
		tsi_hash(tsk);
	}
	err = create_on_host(sk, tsk->key);
	if (err)
		return err;
	WRITE_ONCE(tsk->host, TSI_HOST_OPEN);
	tsi_options_replay(sk);
	return 0;
}

/* CREATE is not answered: that it failed is seen by what came after it. */
int tsi_check_host(struct sock *sk, int err)
{
	struct tsi_sock *tsk = tsi_sk(sk);

	if (err != -EBADF)
		return err;
	spin_lock_bh(&tsk->lock);
	if (tsk->host == TSI_HOST_OPEN && !tsk->accepted)
		WRITE_ONCE(tsk->host, TSI_HOST_NONE);
	spin_unlock_bh(&tsk->lock);
	return -ENOBUFS;
}

static void fill_name(struct tsi_wire_name *n, u32 key, const struct tsi_addr *addr)
{
	memset(n, 0, sizeof(*n));
	n->key = cpu_to_le32(key);
	n->addr_len = cpu_to_le32(tsi_addr_len(addr));
	memcpy(n->addr, addr, tsi_addr_len(addr));
}

/* BIND and CONNECT, the latter of a datagram socket. The answer's name is taken over where it
 * arrives. */
int tsi_request_name(struct sock *sk, u32 op, const struct tsi_addr *addr)
{
	struct tsi_key *k = tsi_sk(sk)->key;
	struct tsi_reply reply = { .op = op };
	struct tsi_wire_name n;

	fill_name(&n, k->key, addr);
	return tsi_check_host(sk, tsi_request(k, &n, sizeof(n), &reply));
}

/* To any address and port, and without waiting; tsi_settle() does where the name is asked for. */
int tsi_post_bind(struct sock *sk)
{
	struct tsi_key *k = tsi_sk(sk)->key;
	struct tsi_wire_name n;
	struct tsi_addr any;

	tsi_addr_none(&any, sk->sk_family);
	fill_name(&n, k->key, &any);
	return tsi_post(k, TSI_BIND, &n, sizeof(n));
}
