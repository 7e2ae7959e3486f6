/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TSI_H
#define TSI_H

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ipv6.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/virtio_vsock.h>
#include <linux/wait.h>
#include <net/inet_sock.h>
#include <net/sock.h>

#include "hooks.h"
#include "wire.h"

/*
 * A TSI socket has no inet socket behind it: it is the host's. Three locks, taken in this order:
 *
 *	lock_sock()	calls of user space, as in other protocols; given up while they wait
 *	tsi_key.lock	a request and its answer
 *	tsi_sock.lock	what packets change; never held over anything that sleeps or faults
 *
 * Packets arrive in a softirq, one at a time, which takes only the third: no user of a socket can
 * hold up another's. So a process takes it, and the locks of the tables, with softirqs off.
 */

struct tsi_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

/* Who waits for an answer, and where it goes. */
struct tsi_reply {
	u32 op;
	int result;
	void *data;
	u32 len; /* in: room, out: bytes */
	bool done;
};

/* A number by which the host knows a socket. The streams that a listener accepted share its key. */
struct tsi_key {
	struct hlist_node node;
	refcount_t ref;
	u32 key;
	struct mutex lock;
	spinlock_t answer_lock; /* the rest */
	u32 waiting;            /* TSI_BIT() of the requests without an answer */
	struct tsi_reply *reply;
	wait_queue_head_t wait;
};

#define TSI_BIT(op) BIT((op)-TSI_CREATE)

enum tsi_host {
	TSI_HOST_NONE, /* the host knows nothing of it yet */
	TSI_HOST_OPEN,
	TSI_HOST_GONE, /* the host has forgotten it: a stream that ended */
	TSI_HOST_NUM
};

/* A datagram but for its bytes. */
struct tsi_out {
	struct tsi_wire_dgram d;
	struct tsi_addr to; /* sa_family is 0 for the connected peer */
};

#define TSI_DESTS 4

struct tsi_sock {
	struct inet_sock inet; /* must be first */

	struct hlist_node node; /* in the table of sockets */
	struct tsi_key *key;
	u32 host_port;
	struct list_head options; /* a stream's, as the host was told; with the sock locked */
	bool hashed;
	bool accepted; /* by a listener: key is the listener's */

	spinlock_t lock; /* the rest */
	enum tsi_host host;
	struct tsi_addr local, peer; /* peer: sa_family is 0 where there is none */

	/* A stream. Counters run freely, as on the wire. */
	u32 tx_cnt, peer_fwd_cnt, peer_buf_alloc;
	u32 rx_cnt, fwd_cnt, told_fwd_cnt, buf_alloc, told_buf_alloc;
	int rst_errno; /* what ERROR said */
	bool peer_fin, fin_sent;
	struct sk_buff *gathered; /* pages of a splice(2) on their way into a packet */
	bool want_space;          /* wake somebody when there is room again */

	/* A listener, and a stream that nobody accepted yet. */
	struct list_head accept_queue, accept_node;
	u32 accept_len, give_back;
	int backlog;

	/* A datagram socket. */
	struct sk_buff *partial, *partial_last;
	u32 dests[TSI_DESTS]; /* hashes of destinations that a send went to without an error */
	unsigned int next_dest;
	struct tsi_cork *cork; /* what MSG_MORE left, changed with the sock locked */
	bool corked;           /* UDP_CORK */
	bool named;            /* the host bound it */
};

struct tsi6_sock {
	struct tsi_sock tsi;
	struct ipv6_pinfo np; /* must be last, as af_inet6.c has it */
};

static inline struct tsi_sock *tsi_sk(const struct sock *sk)
{
	return (struct tsi_sock *)sk;
}

static inline struct sock *tsi_sock_sk(struct tsi_sock *tsk)
{
	return (struct sock *)tsk;
}

extern struct proto tsi_prot, tsi6_prot;
extern const struct proto_ops tsi_stream_ops, tsi6_stream_ops, tsi_dgram_ops, tsi6_dgram_ops;
extern unsigned int tsi_stream_buf;

/* core.c */
int tsi_wait_ready(void);

/* table.c */
struct tsi_key *tsi_key_new(void);
struct tsi_key *tsi_key_find(u32 key);
void tsi_key_put(struct tsi_key *key);
void tsi_keys_fail(int err);
void tsi_hash(struct tsi_sock *tsk);
void tsi_unhash(struct tsi_sock *tsk);
struct sock *tsi_find(u32 key, u32 host_port);
void tsi_for_each(void (*fn)(struct sock *sk));

/* request.c */
struct sk_buff *tsi_packet(u32 op, u32 key, u32 len, gfp_t gfp, void **payload);
int tsi_send(struct sk_buff *skb);
int tsi_tell(u32 op, u32 key, const void *payload, u32 len);
void tsi_release_host(u32 key, u32 host_port);
int tsi_request_skb(struct tsi_key *key, struct sk_buff *skb, struct tsi_reply *reply);
int tsi_request(struct tsi_key *key, const void *payload, u32 len, struct tsi_reply *reply);
int tsi_post_skb(struct tsi_key *key, u32 op, struct sk_buff *skb);
int tsi_post(struct tsi_key *key, u32 op, const void *payload, u32 len);
int tsi_settle(struct tsi_key *key, u32 op);
void tsi_answer(struct tsi_key *key, u32 op, const struct tsi_wire_answer *a, u32 len);
int tsi_need_host(struct sock *sk);
int tsi_check_host(struct sock *sk, int err);
int tsi_request_name(struct sock *sk, u32 op, const struct tsi_addr *addr);
int tsi_post_bind(struct sock *sk);

/* addr.c */
int tsi_addr_len(const struct tsi_addr *addr);
int tsi_addr_get(const struct sock *sk, const struct sockaddr *uaddr, int len,
		 struct tsi_addr *out);
int tsi_addr_put(const struct tsi_addr *addr, int family, struct sockaddr *out);
bool tsi_addr_read(struct tsi_addr *addr, const u8 *field, u32 len);
void tsi_addr_none(struct tsi_addr *addr, int family);
void tsi_set_names(struct sock *sk, const struct tsi_addr *local, const struct tsi_addr *peer);
void tsi_name_loopback(struct tsi_addr *addr);
__be16 tsi_addr_port(const struct tsi_addr *addr);
bool tsi_addr_is_known(const struct tsi_addr *addr);
void tsi_addr_know(const struct tsi_addr *addr, bool is_known);

/* socket.c: what streams and datagrams share */
struct sock *tsi_sock_new(struct net *net, struct socket *sock, int family, int type, int protocol);
int tsi_bind(struct socket *sock, struct sockaddr *uaddr, int len);
int tsi_getname(struct socket *sock, struct sockaddr *uaddr, int peer);
int tsi_ioctl(struct sock *sk, int cmd, unsigned long arg);

/* stream.c */
void tsi_stream_init(struct sock *sk);
void tsi_stream_close_locked(struct sock *sk, int err);
bool tsi_stream_is_over(const struct sock *sk);
bool tsi_stream_rx(struct sock *sk, struct sk_buff *skb);
void tsi_stream_connected(struct sock *sk, const struct virtio_vsock_hdr *hdr,
			  const struct tsi_wire_answer *a, u32 len);
bool tsi_stream_accepted(struct sock *listener, const struct virtio_vsock_hdr *hdr,
			 const struct tsi_wire_accepted *a);
void tsi_stream_listening(struct sock *sk);
void tsi_stream_reset_all(struct sock *sk);

/* stream_io.c */
int tsi_stream_op(struct tsi_sock *tsk, u16 op, u32 flags);
int tsi_stream_op_locked(struct tsi_sock *tsk, u16 op, u32 flags, gfp_t gfp);
void tsi_stream_refuse(struct sk_buff *skb, u32 host_port);
void tsi_stream_credit(struct tsi_sock *tsk, const struct virtio_vsock_hdr *hdr);
bool tsi_stream_append(struct sock *sk, struct sk_buff *skb, bool *kept);
bool tsi_stream_readable(const struct sock *sk);
bool tsi_stream_writable(const struct sock *sk);
bool tsi_stream_may_send(const struct sock *sk);
u32 tsi_stream_space(const struct sock *sk);
int tsi_stream_wait_space(struct sock *sk, long *timeo);
int tsi_stream_send_data(struct sock *sk, struct sk_buff *skb);
void tsi_stream_write_space(struct sock *sk);
int tsi_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len);
int tsi_stream_recvmsg(struct socket *sock, struct msghdr *msg, size_t len, int flags);
u32 tsi_stream_unread(const struct tsi_sock *tsk);

/* stream_page.c */
int tsi_stream_flush(struct sock *sk);
ssize_t tsi_stream_sendpage(struct socket *sock, struct page *page, int offset, size_t size,
			    int flags);
void tsi_stream_splice_eof(struct socket *sock);

/* stream_close.c */
void tsi_stream_close_connection(struct sock *sk);

/* dgram.c */
bool tsi_dgram_rx(struct sock *sk, struct sk_buff *skb);
void tsi_dgram_forget(struct sock *sk);
int tsi_dgram_begin(struct sock *sk, struct msghdr *msg, struct tsi_out *out);
int tsi_dgram_send(struct sock *sk, struct msghdr *msg, u32 len, struct tsi_out *out, bool noblock);

/* cork.c */
int tsi_cork_sendmsg(struct sock *sk, struct msghdr *msg, size_t len, bool more);
int tsi_cork_set(struct sock *sk, sockptr_t val, unsigned int len);
int tsi_cork_push(struct sock *sk, bool noblock);
void tsi_cork_drop(struct sock *sk);

/* cmsg.c */
int tsi_cmsg_get(struct sock *sk, struct msghdr *msg, struct tsi_wire_dgram *d);
void tsi_cmsg_put(struct sock *sk, struct msghdr *msg, const struct tsi_wire_dgram *d);

/* option.c */
int tsi_setsockopt(struct socket *sock, int level, int name, sockptr_t val, unsigned int len);
int tsi_options_again(struct sock *sk);
void tsi_options_replay(struct sock *sk);
void tsi_options_forget(struct tsi_sock *tsk);
int tsi_tcp_state(struct sock *sk);
int tsi_getsockopt(struct socket *sock, int level, int name, char __user *val, int __user *len);

#endif
