// SPDX-License-Identifier: GPL-2.0
/* MSG_MORE and UDP_CORK: several sends make one datagram, which has the first one's destination. */
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "tsi.h"

struct tsi_cork {
	struct tsi_out out;
	u32 len, room;
	u8 *data;
};

/* With the sock locked, or nobody left who could lock it. */
void tsi_cork_drop(struct sock *sk)
{
	struct tsi_cork *cork = tsi_sk(sk)->cork;

	if (!cork)
		return;
	WRITE_ONCE(tsi_sk(sk)->cork, NULL);
	kvfree(cork->data);
	kfree(cork);
}

static int make_room(struct tsi_cork *cork, u32 len)
{
	u32 room = clamp_t(u32, roundup_pow_of_two(len), 2048, TSI_DGRAM_MAX + 1);
	u8 *data;

	if (cork->room >= len)
		return 0;
	data = kvrealloc(cork->data, cork->room, room, GFP_KERNEL_ACCOUNT);
	if (!data)
		return -ENOBUFS;
	cork->data = data;
	cork->room = room;
	return 0;
}

static int append(struct tsi_cork *cork, struct msghdr *msg, size_t len)
{
	int err = -EMSGSIZE;

	if (len <= TSI_DGRAM_MAX - cork->len)
		err = make_room(cork, cork->len + len);
	if (err)
		return err;
	if (!copy_from_iter_full(cork->data + cork->len, len, &msg->msg_iter))
		return -EFAULT;
	cork->len += len;
	return 0;
}

/* Sends what there is, if anything. With the sock locked. */
int tsi_cork_push(struct sock *sk, bool noblock)
{
	struct tsi_cork *cork = tsi_sk(sk)->cork;
	struct msghdr msg = {};
	struct kvec vec;
	int err;

	if (!cork)
		return 0;
	vec = (struct kvec){ cork->data, cork->len };
	iov_iter_kvec(&msg.msg_iter, WRITE, &vec, 1, cork->len);
	err = tsi_dgram_send(sk, &msg, cork->len, &cork->out, noblock);
	tsi_cork_drop(sk);
	return err;
}

/* Locks the sock; it has a cork then, whose destination is the message's if it is new. */
static int lock_corked(struct sock *sk, struct msghdr *msg)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	struct tsi_cork *cork = NULL;
	int err = 0;

	if (!READ_ONCE(tsk->cork)) {
		cork = kzalloc(sizeof(*cork), GFP_KERNEL_ACCOUNT);
		err = cork ? tsi_dgram_begin(sk, msg, &cork->out) : -ENOBUFS;
	}
	lock_sock(sk);
	if (!tsk->cork && cork && !err) {
		WRITE_ONCE(tsk->cork, cork);
		return 0;
	}
	kfree(cork);
	if (tsk->cork)
		return 0;
	release_sock(sk);
	return err ?: -EAGAIN;
}

int tsi_cork_sendmsg(struct sock *sk, struct msghdr *msg, size_t len, bool more)
{
	int err;

	/* Again where somebody else sent it off meanwhile. */
	do
		err = lock_corked(sk, msg);
	while (err == -EAGAIN);
	if (err)
		return err;
	err = append(tsi_sk(sk)->cork, msg, len);
	if (err)
		tsi_cork_drop(sk);
	else if (!more)
		err = tsi_cork_push(sk, msg->msg_flags & MSG_DONTWAIT);
	release_sock(sk);
	return err ?: len;
}

/* UDP_CORK; taking it away sends. */
int tsi_cork_set(struct sock *sk, sockptr_t val, unsigned int len)
{
	int on;

	if (len < sizeof(on))
		return -EINVAL;
	if (copy_from_sockptr(&on, val, sizeof(on)))
		return -EFAULT;
	lock_sock(sk);
	WRITE_ONCE(tsi_sk(sk)->corked, on != 0);
	if (!on)
		tsi_cork_push(sk, false);
	release_sock(sk);
	return 0;
}
