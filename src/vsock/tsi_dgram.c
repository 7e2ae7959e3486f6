/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams, none of which is ever queued here.
 *
 *	SENDTO:   prefix copied and checked → sendmsg from guest memory
 *	RECVFROM: recvmsg ─┬─ rx buffers, behind header and prefix, as many as the last one took
 *	                   └─ scratch: the rest, which goes into more buffers at once or, while
 *	                      there are none, before anything else
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

#include "vsock/device.h"
#include "vsock/tsi.h"

#define PREFIX        64u
#define AT_ONCE       32
#define BYTES_AT_ONCE (64u << 10)
#define CONTROL_MAX   256

/* Flags of the prefix. */
#define WANTS_ANSWER 1u
#define HAS_LOCAL    2u
#define HAS_TTL      4u
#define HAS_TOS      8u

/* Of header.flags: the last piece. */
#define LAST 1u

union control {
	struct cmsghdr align;
	uint8_t bytes[CONTROL_MAX];
};

/* ---- from the guest ---- */

static void add_control(struct msghdr *m, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control + m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	m->msg_controllen += CMSG_SPACE(len);
}

static void add_int(struct msghdr *m, bool v6, int type4, int type6, uint32_t v)
{
	int i = (int)v;

	add_control(m, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? type6 : type4, &i, sizeof(i));
}

static void add_local(struct msghdr *m, bool v6, const uint8_t *prefix)
{
	struct in_pktinfo p4 = { .ipi_ifindex = (int)sm_tsi_get32(prefix + 4) };
	struct in6_pktinfo p6 = { .ipi6_ifindex = sm_tsi_get32(prefix + 4) };

	if (v6) {
		memcpy(&p6.ipi6_addr, prefix + 36, sizeof(p6.ipi6_addr));
		add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &p6, sizeof(p6));
	} else {
		memcpy(&p4.ipi_spec_dst, prefix + 36, sizeof(p4.ipi_spec_dst));
		add_control(m, IPPROTO_IP, IP_PKTINFO, &p4, sizeof(p4));
	}
}

static int get_destination(const uint8_t *prefix, union sm_tsi_addr *a, struct msghdr *m)
{
	uint16_t len = sm_tsi_get16(prefix), family = sm_tsi_get16(prefix + 8);

	if (!len)
		return 0;
	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	a->sa.sa_family = family;
	if (len != sm_tsi_addr_len(a))
		return -EINVAL;
	memcpy(a, prefix + 8, len);
	a->sa.sa_family = family;
	m->msg_name = a;
	m->msg_namelen = len;
	return 0;
}

static int transmit(struct sm_tsi_sock *s, const struct sm_tsi_req *q, struct msghdr *m,
		    uint32_t skip)
{
	struct sm_vsock *vs = s->tsi->vs;
	uint32_t len = q->h->len - skip;
	ssize_t r;
	int n;

	if (len > SM_TSI_DATAGRAM_MAX)
		return -EMSGSIZE;
	if (m->msg_name && !sm_tsi_may(s, SM_TSI_TO, m->msg_name))
		return -EACCES;
	n = sm_chain_out_iov(q->chain, SM_VSOCK_HDR_SIZE + skip, len, vs->io, IOV_MAX);
	if (n < 0)
		return n;
	m->msg_iov = vs->io;
	m->msg_iovlen = (size_t)n;
	do
		r = sendmsg(s->fd, m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	vs->counters.datagrams++;
	vs->counters.tsi_tx_bytes += (uint32_t)r;
	return 0;
}

static int send_one(struct sm_tsi_sock *s, const struct sm_tsi_req *q)
{
	uint16_t flags = sm_tsi_get16(q->body + 2);
	union sm_tsi_addr a = { .in6 = { 0 } };
	bool v6 = s->family == AF_INET6;
	union control control = { .bytes = { 0 } };
	struct msghdr m = { .msg_control = &control };
	int r = get_destination(q->body, &a, &m);

	if (r < 0)
		return r;
	if (flags & HAS_LOCAL)
		add_local(&m, v6, q->body);
	if (flags & HAS_TTL)
		add_int(&m, v6, IP_TTL, IPV6_HOPLIMIT, sm_tsi_get32(q->body + 52));
	if (flags & HAS_TOS)
		add_int(&m, v6, IP_TOS, IPV6_TCLASS, sm_tsi_get32(q->body + 56));
	if (!m.msg_controllen)
		m.msg_control = NULL;
	return transmit(s, q, &m, PREFIX);
}

/* What went wrong, where there is no answer: a datagram may be lost, all else the socket says. */
static void failed(struct sm_tsi *t, const struct sm_tsi_req *q, struct sm_tsi_sock *s, int r)
{
	if (!s || r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM || r == -EINTR) {
		sm_tsi_drop(t, q, strerror(-r));
		return;
	}
	s->error = -r;
	sm_tsi_ready(s);
}

void sm_tsi_sendto(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	int r = !s ? -EBADF : s->state == SM_TSI_DATAGRAM ? send_one(s, q) : -EOPNOTSUPP;

	if (sm_tsi_get16(q->body + 2) & WANTS_ANSWER)
		sm_tsi_result(t, q, r);
	else if (r < 0)
		failed(t, q, s && s->state == SM_TSI_DATAGRAM ? s : NULL, r);
}

void sm_tsi_base_sendto_addr(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	union sm_tsi_addr a;
	int r = sm_tsi_get_addr(q->body + 4, &a);

	if (!s || s->state != SM_TSI_DATAGRAM || r < 0 || a.sa.sa_family == AF_UNSPEC) {
		sm_tsi_drop(t, q, "no destination");
		return;
	}
	s->to = a;
	s->has_destination = true;
}

static void base_send(struct sm_tsi *t, const struct sm_tsi_req *q, bool to)
{
	struct sm_tsi_sock *s = sm_tsi_find(t, q->key);
	struct msghdr m = { 0 };
	int r;

	if (!s || s->state != SM_TSI_DATAGRAM) {
		sm_tsi_drop(t, q, "no datagram socket");
		return;
	}
	if (to && s->has_destination) {
		m.msg_name = &s->to;
		m.msg_namelen = sm_tsi_addr_len(&s->to);
	}
	r = transmit(s, q, &m, 0);
	if (r < 0)
		sm_tsi_drop(t, q, strerror(-r));
}

void sm_tsi_base_sendto_data(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	base_send(t, q, true);
}

void sm_tsi_base_data(struct sm_tsi *t, const struct sm_tsi_req *q)
{
	base_send(t, q, false);
}

/* ---- to the guest ---- */

static int first_int(const struct cmsghdr *c)
{
	int v = 0;

	/* IP_TOS comes as a byte. */
	if (c->cmsg_len < CMSG_LEN(sizeof(v)))
		return c->cmsg_len > CMSG_LEN(0) ? *CMSG_DATA(c) : 0;
	memcpy(&v, CMSG_DATA(c), sizeof(v));
	return v;
}

static uint16_t put_control(uint8_t *prefix, const struct cmsghdr *c)
{
	bool v6 = c->cmsg_level == IPPROTO_IPV6;

	if (!v6 && c->cmsg_level != IPPROTO_IP)
		return 0;
	if (!v6 && c->cmsg_type == IP_PKTINFO) {
		struct in_pktinfo p;

		memcpy(&p, CMSG_DATA(c), sizeof(p));
		sm_tsi_put32(prefix + 4, (uint32_t)p.ipi_ifindex);
		memcpy(prefix + 36, &p.ipi_addr, sizeof(p.ipi_addr));
		return HAS_LOCAL;
	}
	if (v6 && c->cmsg_type == IPV6_PKTINFO) {
		struct in6_pktinfo p;

		memcpy(&p, CMSG_DATA(c), sizeof(p));
		sm_tsi_put32(prefix + 4, p.ipi6_ifindex);
		memcpy(prefix + 36, &p.ipi6_addr, sizeof(p.ipi6_addr));
		return HAS_LOCAL;
	}
	if (c->cmsg_type == (v6 ? IPV6_HOPLIMIT : IP_TTL)) {
		sm_tsi_put32(prefix + 52, (uint32_t)first_int(c));
		return HAS_TTL;
	}
	if (c->cmsg_type == (v6 ? IPV6_TCLASS : IP_TOS)) {
		sm_tsi_put32(prefix + 56, (uint32_t)first_int(c));
		return HAS_TOS;
	}
	return 0;
}

static void put_prefix(const struct sm_tsi_sock *s, struct msghdr *m, uint8_t prefix[PREFIX])
{
	uint16_t flags = 0;

	memset(prefix, 0, PREFIX);
	if (m->msg_namelen <= sizeof(struct sockaddr_in6)) {
		sm_tsi_name_own(s, m->msg_name);
		sm_tsi_put16(prefix, (uint16_t)m->msg_namelen);
		memcpy(prefix + 8, m->msg_name, m->msg_namelen);
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		flags |= put_control(prefix, c);
	sm_tsi_put16(prefix + 2, flags);
}

static struct sm_vsock_hdr data_hdr(const struct sm_tsi *t, uint32_t key, uint32_t len, bool last)
{
	struct sm_vsock_hdr h =
		sm_tsi_hdr(t, key, t->extended ? SM_TSI_RECVFROM : SM_TSI_SENDTO_DATA, len);

	h.flags = last ? LAST : 0;
	return h;
}

bool sm_tsi_send_left(struct sm_tsi *t)
{
	struct sm_chain *c = &t->vs->chains[0];

	while (t->left_len) {
		uint32_t part = t->left_len;
		struct sm_vsock_hdr h;

		if (!sm_vsock_pop_rx(t->vs, c, 0))
			return false;
		if (part > c->in_len - SM_VSOCK_HDR_SIZE)
			part = c->in_len - SM_VSOCK_HDR_SIZE;
		sm_chain_write(c, SM_VSOCK_HDR_SIZE, t->scratch + t->left_at, part);
		t->left_at += part;
		t->left_len -= part;
		h = data_hdr(t, t->left_key, part, !t->left_len);
		sm_vsock_send_rx(t->vs, c, &h);
	}
	return true;
}

/* Makes packets of the n bytes that were read into `chains` buffers and the scratch. */
static void deliver(struct sm_tsi_sock *s, struct msghdr *m, uint32_t n, uint32_t chains)
{
	struct sm_tsi *t = s->tsi;
	uint32_t skip = t->extended ? PREFIX : 0, used = 0;
	uint8_t prefix[PREFIX];

	if (skip) {
		put_prefix(s, m, prefix);
		sm_chain_write(&t->vs->chains[0], SM_VSOCK_HDR_SIZE, prefix, PREFIX);
	}
	for (uint32_t i = 0; i < chains; i++, skip = 0) {
		struct sm_chain *c = &t->vs->chains[i];
		uint32_t part = c->in_len - SM_VSOCK_HDR_SIZE - skip;
		struct sm_vsock_hdr h;

		if (i && !n) {
			sm_vsock_unpop_rx(t->vs);
			continue;
		}
		if (part > n)
			part = n;
		n -= part;
		h = data_hdr(t, s->key, part + skip, !n || !t->extended);
		sm_vsock_send_rx(t->vs, c, &h);
		used++;
	}
	s->hint = used;
	if (!n || !t->extended)
		return; /* the base dialect knows no pieces */
	t->left_key = s->key;
	t->left_at = 0;
	t->left_len = n;
	s->hint++;
}

static bool tell_error(struct sm_tsi_sock *s)
{
	uint8_t body[8] = { 0 };

	if (s->tsi->extended) {
		sm_tsi_put32(body + 4, (uint32_t)s->error);
		if (!sm_tsi_send(s->tsi, sm_tsi_hdr(s->tsi, s->key, SM_TSI_ERROR, sizeof(body)),
				 body))
			return false;
	}
	s->error = 0;
	return true;
}

/* With IP_RECVERR an error is also queued, for recvmsg to tell more of it; that stays here. */
static void drop_error(struct sm_tsi_sock *s)
{
	struct msghdr m = { 0 };

	if (s->queues_errors && recvmsg(s->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return;
}

/* One datagram: its length, -EAGAIN, -ENOBUFS without rx buffers, or another -errno. */
static int receive_one(struct sm_tsi_sock *s)
{
	struct sm_tsi *t = s->tsi;
	uint32_t chains = s->hint && s->hint < SM_VSOCK_CHAINS_MAX ? s->hint : 1;
	union sm_tsi_addr a = { .in6 = { 0 } };
	union control control;
	struct msghdr m = { .msg_name = &a,
			    .msg_namelen = sizeof(a),
			    .msg_iov = t->vs->io,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	int n = sm_vsock_gather(t->vs, UINT32_MAX, t->extended ? PREFIX : 0, &chains);
	ssize_t r;

	if (!n)
		return -ENOBUFS;
	t->vs->io[n++] = (struct iovec){ t->scratch, sizeof(t->scratch) };
	m.msg_iovlen = (size_t)n;
	do
		r = recvmsg(s->fd, &m, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		r = errno == ENOBUFS ? -ENOMEM : -errno; /* the former is said of rx buffers */
		while (chains--)
			sm_vsock_unpop_rx(t->vs);
		return (int)r;
	}
	t->vs->counters.datagrams++;
	t->vs->counters.tsi_rx_bytes += (uint32_t)r;
	deliver(s, &m, (uint32_t)r, chains);
	return (int)r;
}

int sm_tsi_dgram_serve(struct sm_tsi_sock *s)
{
	uint32_t bytes = 0;

	for (int i = 0; s->error || s->readable; i++) {
		int r;

		if (i == AT_ONCE || bytes >= BYTES_AT_ONCE) {
			sm_tsi_ready(s);
			break;
		}
		if (s->error && !tell_error(s))
			return -ENOBUFS;
		r = s->readable ? receive_one(s) : -EAGAIN;
		if (r == -ENOBUFS)
			return r;
		if (r == -EAGAIN) {
			s->readable = false;
		} else if (r < 0) {
			s->error = -r;
			drop_error(s);
		} else if (!sm_tsi_send_left(s->tsi)) {
			return -ENOBUFS;
		} else {
			bytes += (uint32_t)r + SM_VSOCK_HDR_SIZE;
		}
	}
	return (int)bytes;
}
