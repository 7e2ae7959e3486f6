// SPDX-License-Identifier: GPL-2.0
/* close(2) of a connection, and how long it waits. */
#include <linux/sched/signal.h>
#include <net/tcp_states.h>

#include "tsi.h"

static void wait_over(struct sock *sk, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);

	add_wait_queue(sk_sleep(sk), &wait);
	while (sk->sk_state == TCP_ESTABLISHED && *timeo && !signal_pending(current))
		sk_wait_event(sk, timeo, READ_ONCE(sk->sk_state) != TCP_ESTABLISHED, &wait);
	remove_wait_queue(sk_sleep(sk), &wait);
}

/* Data or our FIN are not the peer's yet. */
static bool is_closing(struct sock *sk)
{
	int state = tsi_tcp_state(sk);

	return state && (BIT(state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT | TCPF_FIN_WAIT1 |
				       TCPF_LAST_ACK | TCPF_CLOSING));
}

/* SO_LINGER: until the peer has acknowledged everything, as only the host knows, who is asked. */
static void linger(struct sock *sk, long *timeo)
{
	long step = 1, left;

	while (sk->sk_state == TCP_ESTABLISHED && *timeo && !signal_pending(current) &&
	       is_closing(sk)) {
		step = min3(2 * step, (long)HZ / 10, *timeo);
		left = step;
		wait_over(sk, &left);
		*timeo -= step - left;
	}
}

static void end(struct tsi_sock *tsk, u32 flags)
{
	tsi_stream_op(tsk, VIRTIO_VSOCK_OP_SHUTDOWN, flags);
}

/* Bytes that nobody read make it an abort, as with TCP. With the sock locked. */
void tsi_stream_close_connection(struct sock *sk)
{
	struct tsi_sock *tsk = tsi_sk(sk);
	bool lingers = sock_flag(sk, SOCK_LINGER) && !(current->flags & PF_EXITING);
	long timeo = sk->sk_lingertime;

	tsi_stream_flush(sk);
	if (tsi_stream_unread(tsk) || (sock_flag(sk, SOCK_LINGER) && !sk->sk_lingertime)) {
		tsi_stream_op(tsk, VIRTIO_VSOCK_OP_RST, 0);
		return;
	}
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	if (lingers) {
		if (!tsk->fin_sent)
			end(tsk, VIRTIO_VSOCK_SHUTDOWN_SEND);
		linger(sk, &timeo);
	}
	if (sk->sk_state == TCP_ESTABLISHED)
		end(tsk, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND |
				 (lingers ? TSI_SHUTDOWN_ANSWER : 0));
	/* Until the host has written everything and closed. */
	if (lingers)
		wait_over(sk, &timeo);
}
