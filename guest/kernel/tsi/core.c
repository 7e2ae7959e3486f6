// SPDX-License-Identifier: GPL-2.0
/* Where TSI is on, what it takes, and packets from the host. */
#include <linux/init.h>
#include <linux/moduleparam.h>
#include <linux/sysctl.h>
#include <linux/wait.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "tsi.h"

struct tsi_net {
	int enabled;
	struct ctl_table_header *header;
	struct ctl_table table[2];
};

static bool tsi_boot;    /* the command line's tsi=1 */
static bool tsi_refused; /* the host does not speak the extension */
static bool tsi_up;      /* there is a device */
static bool tsi_ready;   /* the host answered */
static DECLARE_WAIT_QUEUE_HEAD(ready_wait);
static unsigned int tsi_net_id;
static struct tsi_key *hello_key;

/* tsi.stream_buf=: what a stream may hold that the program has not read; tsi.rx_buf=: of the
 * device's rx buffers. */
unsigned int tsi_stream_buf = 256 << 10;
static unsigned int rx_buf = 32 << 10;
module_param_named(stream_buf, tsi_stream_buf, uint, 0644);
module_param(rx_buf, uint, 0444);

static int __init set_boot(char *arg)
{
	return kstrtobool(arg, &tsi_boot);
}
early_param("tsi", set_boot);

bool tsi_takes(struct net *net, int family, int type, int protocol)
{
	const struct tsi_net *tn;

	if (!tsi_boot || READ_ONCE(tsi_refused))
		return false;
	tn = net_generic(net, tsi_net_id);
	if (!READ_ONCE(tn->enabled))
		return false;
	if (type == SOCK_STREAM)
		return protocol == 0 || protocol == IPPROTO_TCP;
	if (protocol == (family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return type == SOCK_DGRAM || type == SOCK_RAW;
	return type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP);
}

bool tsi_is_tsi(const struct sock *sk)
{
	return sk->sk_prot == &tsi_prot || sk->sk_prot == &tsi6_prot;
}

bool tsi_owns_port(u32 port)
{
	return tsi_boot && port >= TSI_KEY_MIN && port <= TSI_KEY_MAX;
}

unsigned int tsi_rx_buf(void)
{
	if (!tsi_boot)
		return 0;
	return SKB_WITH_OVERHEAD(clamp_t(unsigned int, roundup_pow_of_two(rx_buf), 4096, 65536));
}

#define READY_TIMEOUT (10 * HZ)

/* 0 once the host has answered HELLO; what is asked before it would be forgotten. */
int tsi_wait_ready(void)
{
	long left;

	if (likely(READ_ONCE(tsi_ready)))
		return 0;
	if (!READ_ONCE(tsi_up))
		return -ENETDOWN;
	left = wait_event_killable_timeout(
		ready_wait, READ_ONCE(tsi_ready) || READ_ONCE(tsi_refused), READY_TIMEOUT);
	if (left < 0)
		return -EINTR;
	return READ_ONCE(tsi_ready) ? 0 : -ENETDOWN;
}

/* The device can carry packets from here on. */
void tsi_device_up(void)
{
	struct tsi_wire_hello h = { .version = cpu_to_le32(TSI_VERSION) };

	if (!tsi_boot || !hello_key)
		return;
	WRITE_ONCE(tsi_up, true);
	tsi_tell(TSI_HELLO, hello_key->key, &h, sizeof(h));
}

static void reset_sock(struct sock *sk)
{
	if (sk->sk_type == SOCK_STREAM)
		tsi_stream_reset_all(sk);
	else
		tsi_dgram_forget(sk);
}

/* The host has forgotten everything, or is gone. */
void tsi_device_down(void)
{
	if (!tsi_boot)
		return;
	WRITE_ONCE(tsi_ready, false);
	WRITE_ONCE(tsi_up, false);
	tsi_for_each(reset_sock);
	tsi_keys_fail(-ECONNRESET);
}

/* Names are taken over here, in the order of packets: a connection may arrive right after LISTEN's
 * answer. */
static void take_answer(u32 op, u32 key, const struct virtio_vsock_hdr *hdr,
			const struct tsi_wire_answer *a, u32 len)
{
	struct tsi_key *k;
	struct sock *sk = NULL;
	struct tsi_addr name;
	int result = (int)le32_to_cpu(a->result);

	if (op == TSI_BIND || op == TSI_CONNECT || op == TSI_LISTEN)
		sk = tsi_find(key, TSI_HOST_PORT);
	if (sk && op == TSI_CONNECT && sk->sk_type == SOCK_STREAM) {
		tsi_stream_connected(sk, hdr, a, len);
		sock_put(sk);
	} else if (sk) {
		if (!result && len > sizeof(*a) &&
		    tsi_addr_read(&name, a->data,
				  min(le32_to_cpu(a->len), len - (u32)sizeof(*a)))) {
			spin_lock(&tsi_sk(sk)->lock);
			tsi_set_names(sk, &name, NULL);
			spin_unlock(&tsi_sk(sk)->lock);
		}
		if (!result && op == TSI_LISTEN)
			tsi_stream_listening(sk);
		sock_put(sk);
	}
	k = tsi_key_find(key);
	if (k)
		tsi_answer(k, op, a, len);
	tsi_key_put(k);
}

/* Of a datagram socket at once, of a stream when it ends. */
static void take_error(u32 key, const struct tsi_wire_error *e)
{
	u32 port = le32_to_cpu(e->host_port);
	int err = le32_to_cpu(e->err);
	struct sock *sk = tsi_find(key, port ?: TSI_HOST_PORT);

	if (!sk)
		return;
	if (err <= 0 || err > MAX_ERRNO)
		err = EIO;
	if (sk->sk_type == SOCK_STREAM) {
		WRITE_ONCE(tsi_sk(sk)->rst_errno, err);
	} else {
		WRITE_ONCE(sk->sk_err, err);
		sk_error_report(sk);
	}
	sock_put(sk);
}

static void take_hello(const struct tsi_wire_answer *a)
{
	int result = (int)le32_to_cpu(a->result);

	WRITE_ONCE(tsi_ready, result >= 0);
	WRITE_ONCE(tsi_refused, result < 0);
	wake_up_all(&ready_wait);
	if (result < 0)
		pr_warn("tsi: the host does not speak it (%d): no network\n", result);
}

static bool take_accepted(struct sk_buff *skb, u32 key, const struct tsi_wire_accepted *a)
{
	struct sock *sk;
	bool queued;

	if (skb->len < sizeof(*a))
		return false;
	sk = tsi_find(key, TSI_HOST_PORT);
	queued = sk && tsi_stream_accepted(sk, virtio_vsock_hdr(skb), a);
	if (sk)
		sock_put(sk);
	if (!queued)
		tsi_stream_refuse(skb, le32_to_cpu(a->host_port));
	return !queued;
}

/* True: the packet was kept, not only read. */
static bool take_control(struct sk_buff *skb, const struct virtio_vsock_hdr *hdr)
{
	u32 op = le32_to_cpu(hdr->src_port), key = le32_to_cpu(hdr->dst_port);
	const void *p = skb->data;
	struct sock *sk;
	bool kept;

	switch (op) {
	case TSI_RECVFROM:
		sk = tsi_find(key, TSI_HOST_PORT);
		if (!sk)
			return false;
		kept = sk->sk_type == SOCK_DGRAM && tsi_dgram_rx(sk, skb);
		sock_put(sk);
		return kept;
	case TSI_ACCEPTED:
		return take_accepted(skb, key, p);
	case TSI_ERROR:
		if (skb->len >= sizeof(struct tsi_wire_error))
			take_error(key, p);
		break;
	case TSI_HELLO:
		if (skb->len >= sizeof(__le32))
			take_hello(p);
		break;
	default:
		if (op >= TSI_CREATE && op < TSI_CREATE + 32 && skb->len >= sizeof(__le32))
			take_answer(op, key, hdr, p, skb->len);
	}
	return false;
}

static bool take_stream(struct sk_buff *skb, const struct virtio_vsock_hdr *hdr)
{
	struct sock *sk = tsi_find(le32_to_cpu(hdr->dst_port), le32_to_cpu(hdr->src_port));
	bool kept;

	/* What crossed our end of it. */
	if (!sk)
		return false;
	kept = sk->sk_type == SOCK_STREAM && tsi_stream_rx(sk, skb);
	sock_put(sk);
	return kept;
}

bool tsi_owns_pkt(struct sk_buff *skb)
{
	const struct virtio_vsock_hdr *hdr = virtio_vsock_hdr(skb);
	u16 type = le16_to_cpu(hdr->type);

	if (!tsi_boot || le64_to_cpu(hdr->src_cid) != TSI_HOST_CID)
		return false;
	return type == TSI_TYPE_DGRAM ||
	       (type == VIRTIO_VSOCK_TYPE_STREAM && tsi_owns_port(le32_to_cpu(hdr->dst_port)));
}

bool tsi_recv_pkt(struct sk_buff *skb)
{
	const struct virtio_vsock_hdr *hdr = virtio_vsock_hdr(skb);

	return le16_to_cpu(hdr->type) == TSI_TYPE_DGRAM ? take_control(skb, hdr)
							: take_stream(skb, hdr);
}

/* Of a namespace's own root too it would be the way out of the namespace: only the guest's root
 * may. */
static int set_enabled(struct ctl_table *table, int write, void *buffer, size_t *len, loff_t *pos)
{
	if (write && !capable(CAP_NET_ADMIN))
		return -EPERM;
	return proc_dointvec_minmax(table, write, buffer, len, pos);
}

static int __net_init init_net_tsi(struct net *net)
{
	struct tsi_net *tn = net_generic(net, tsi_net_id);

	if (!tsi_boot)
		return 0;
	tn->enabled = net_eq(net, &init_net);
	tn->table[0] = (struct ctl_table){
		.procname = "enabled",
		.data = &tn->enabled,
		.maxlen = sizeof(int),
		.mode = 0644,
		.proc_handler = set_enabled,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	};
	tn->header = register_net_sysctl(net, "net/tsi", tn->table);
	return tn->header ? 0 : -ENOMEM;
}

static void __net_exit exit_net_tsi(struct net *net)
{
	struct tsi_net *tn = net_generic(net, tsi_net_id);

	if (tn->header)
		unregister_net_sysctl_table(tn->header);
}

static struct pernet_operations tsi_net_ops = {
	.init = init_net_tsi,
	.exit = exit_net_tsi,
	.id = &tsi_net_id,
	.size = sizeof(struct tsi_net),
};

static int __init tsi_init(void)
{
	int err = proto_register(&tsi_prot, 1);

	if (!err)
		err = proto_register(&tsi6_prot, 1);
	if (!err)
		err = register_pernet_subsys(&tsi_net_ops);
	if (err)
		return err;
	hello_key = tsi_key_new();
	return hello_key ? 0 : -ENOMEM;
}
fs_initcall(tsi_init);
