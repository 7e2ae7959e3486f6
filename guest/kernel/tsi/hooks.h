/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TSI_HOOKS_H
#define TSI_HOOKS_H

#include <linux/types.h>

struct net;
struct sk_buff;
struct sock;
struct socket;

/* What the rest of the kernel calls (the patches of guest/kernel that have tsi in their names). */
#ifdef CONFIG_TSI

/* Is a socket that user space asks for ours? */
bool tsi_takes(struct net *net, int family, int type, int protocol);
int tsi_create(struct net *net, struct socket *sock, int family, int protocol);
bool tsi_is_tsi(const struct sock *sk);

/* The vsock device: it came up or was reset, a packet arrived. In a softirq, one at a time: what
 * owns() calls ours is for recv(), which says whether it keeps the skb. */
void tsi_device_up(void);
void tsi_device_down(void);
bool tsi_owns_pkt(struct sk_buff *skb);
bool tsi_recv_pkt(struct sk_buff *skb);
/* Ports of AF_VSOCK that are not to be had, and the size of the device's rx buffers (0: its own).
 */
bool tsi_owns_port(u32 port);
unsigned int tsi_rx_buf(void);

/* What the device's driver has for us: queue() takes the packet in any case, 0 or -ENETDOWN; the
 * device need not see it before kick(). Neither sleeps.
 */
int virtio_vsock_tsi_queue(struct sk_buff *skb);
void virtio_vsock_tsi_kick(void);

#else

static inline bool tsi_takes(struct net *net, int family, int type, int protocol)
{
	return false;
}

static inline int tsi_create(struct net *net, struct socket *sock, int family, int protocol)
{
	return -EOPNOTSUPP;
}

static inline bool tsi_is_tsi(const struct sock *sk)
{
	return false;
}

static inline void tsi_device_up(void)
{
}

static inline void tsi_device_down(void)
{
}

static inline bool tsi_owns_pkt(struct sk_buff *skb)
{
	return false;
}

static inline bool tsi_recv_pkt(struct sk_buff *skb)
{
	return false;
}

static inline bool tsi_owns_port(u32 port)
{
	return false;
}

static inline unsigned int tsi_rx_buf(void)
{
	return 0;
}

#endif
#endif
