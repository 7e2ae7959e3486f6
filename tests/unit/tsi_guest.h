/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TSI_GUEST_H
#define TESTS_UNIT_TSI_GUEST_H

/* The guest's side of TSI (docs/tsi.md) over plain memory, for tests. */

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "vsock_guest.h"

enum {
	CREATE = 1024,
	CONNECT,
	GETNAME,
	SENDTO_ADDR,
	SENDTO_DATA,
	LISTEN,
	ACCEPT,
	RELEASE,
	HELLO = 1040,
	SETSOCKOPT,
	GETSOCKOPT,
	BIND,
	ACCEPTED = 1045,
	RECVFROM,
	SENDTO,
	ERROR
};

#define KEY 0x40000000u
#define OUT 620u

struct msg {
	struct sm_vsock_hdr h;
	uint8_t b[RX_BUF];
};

/* close(2) of a program that waits for its end. */
#define CLOSE (SM_VSOCK_SHUT_BOTH | SM_VSOCK_SHUT_ANSWER)

static inline void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static inline void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, 2);
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static inline uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return le16toh(v);
}

/* A control packet of the guest. */
static inline void tg_send(struct vg *v, uint32_t op, uint32_t key, const void *body, uint32_t len)
{
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_RW, key, op);

	h.type = SM_VSOCK_DGRAM;
	h.len = len;
	vg_send(v, h, body);
}

/* The next packet for the guest, waiting for it; its buffer is given back. */
static inline bool tg_recv(struct vg *v, struct msg *m)
{
	const uint8_t *data;

	for (int i = 0; i < 2000; i++) {
		if (vg_recv(v, &m->h, &data)) {
			memcpy(m->b, data, m->h.len);
			vg_give_rx(v, 1);
			return true;
		}
		vg_spin(v);
		if (i > 10)
			usleep(1000);
	}
	return false;
}

static inline bool tg_quiet(struct vg *v)
{
	struct sm_vsock_hdr h;

	vg_spin(v);
	return !vg_recv(v, &h, NULL);
}

/* … a control packet, of this opcode and key. */
static inline void tg_gets(struct vg *v, uint32_t op, uint32_t key, struct msg *m)
{
	assert_true(tg_recv(v, m));
	assert_int_equal(m->h.type, SM_VSOCK_DGRAM);
	assert_int_equal(m->h.op, SM_VSOCK_OP_RW);
	assert_int_equal(m->h.src_cid, SM_VSOCK_HOST_CID);
	assert_int_equal(m->h.dst_cid, GUEST_CID);
	assert_int_equal(m->h.src_port, op);
	assert_int_equal(m->h.dst_port, key);
}

static inline int32_t tg_result(struct vg *v, uint32_t op, uint32_t key)
{
	struct msg m;

	tg_gets(v, op, key, &m);
	return (int32_t)get32(m.b);
}

/* … a stream packet. */
static inline void tg_stream(struct vg *v, uint16_t op, uint32_t key, uint32_t host_port,
			     struct msg *m)
{
	assert_true(tg_recv(v, m));
	assert_int_equal(m->h.type, SM_VSOCK_STREAM);
	assert_int_equal(m->h.op, op);
	assert_int_equal(m->h.src_port, host_port);
	assert_int_equal(m->h.dst_port, key);
}

static inline int32_t tg_hello(struct vg *v)
{
	const uint8_t body[8] = { 1 };

	tg_send(v, HELLO, 0, body, sizeof(body));
	return tg_result(v, HELLO, 0);
}

static inline int32_t tg_create(struct vg *v, uint32_t key, int family, int type, int protocol)
{
	uint8_t body[16] = { 0 };

	put32(body, key);
	put16(body + 4, (uint16_t)family);
	put16(body + 6, (uint16_t)type);
	put32(body + 8, (uint32_t)protocol);
	put32(body + 12, 1);
	tg_send(v, CREATE, key, body, sizeof(body));
	return tg_result(v, CREATE, key);
}

static inline void tg_send_addr(struct vg *v, uint32_t op, uint32_t key, const void *addr,
				uint32_t len)
{
	uint8_t body[136] = { 0 };

	put32(body, key);
	put32(body + 4, len);
	memcpy(body + 8, addr, len);
	tg_send(v, op, key, body, sizeof(body));
}

/* BIND, CONNECT; the name that comes back, if wanted. */
static inline int32_t tg_addr(struct vg *v, uint32_t op, uint32_t key, const void *addr,
			      uint32_t len, struct sockaddr_in6 *name)
{
	struct msg m;

	tg_send_addr(v, op, key, addr, len);
	tg_gets(v, op, key, &m);
	assert_int_equal(m.h.len, 136);
	if (name) {
		assert_true(get32(m.b + 4) <= sizeof(*name));
		memcpy(name, m.b + 8, get32(m.b + 4));
	}
	return (int32_t)get32(m.b);
}

static inline void tg_two(struct vg *v, uint32_t op, uint32_t key, uint32_t arg)
{
	uint8_t body[8];

	put32(body, key);
	put32(body + 4, arg);
	tg_send(v, op, key, body, sizeof(body));
}

static inline int32_t tg_listen(struct vg *v, uint32_t key, int backlog, struct sockaddr_in6 *name)
{
	struct msg m;

	tg_two(v, LISTEN, key, (uint32_t)backlog);
	tg_gets(v, LISTEN, key, &m);
	if (name)
		memcpy(name, m.b + 8, get32(m.b + 4) <= sizeof(*name) ? get32(m.b + 4) : 0);
	return (int32_t)get32(m.b);
}

static inline void tg_init(struct vg *v, const char *policy, const char *ports, uint32_t flows_max)
{
	struct sm_vsock_tsi c = { .policy = policy, .ports = ports, .flows_max = flows_max };

	signal(SIGPIPE, SIG_IGN);
	vg_init(v);
	assert_int_equal(sm_vsock_enable_tsi(v->vs, &c, NULL), 0);
	vg_give_rx(v, RING);
	vg_spin(v);
}

/* Loopback addresses of a family; the length. */
static inline socklen_t loopback(int family, uint16_t port, struct sockaddr_in6 *a)
{
	struct sockaddr_in *in = (struct sockaddr_in *)a;

	memset(a, 0, sizeof(*a));
	a->sin6_family = (sa_family_t)family;
	a->sin6_port = htons(port);
	if (family == AF_INET) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(*in);
	}
	a->sin6_addr = in6addr_loopback;
	return sizeof(*a);
}

static inline uint16_t port_of(int fd)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin6_port);
}

/* A socket of the host at a port of its own. */
static inline int host_socket(int family, int type)
{
	struct sockaddr_in6 a;
	socklen_t len = loopback(family, 0, &a);
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4096), 0);
	return fd;
}

static inline struct sm_vsock_counters counters(struct vg *v)
{
	struct sm_vsock_counters c;

	sm_vsock_counters(v->vs, &c);
	return c;
}

static inline void wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 5000), 1);
}

static inline int32_t set_option(struct vg *v, uint32_t key, uint32_t host_port, int level, int name,
			  const void *value, uint32_t len)
{
	uint8_t body[20 + 256] = { 0 };

	put32(body, key);
	put32(body + 4, host_port);
	put32(body + 8, (uint32_t)level);
	put32(body + 12, (uint32_t)name);
	put32(body + 16, len);
	memcpy(body + 20, value, len);
	tg_send(v, SETSOCKOPT, key, body, 20 + len);
	return tg_result(v, SETSOCKOPT, key);
}

struct prefix {
	uint16_t addr_len, flags;
	uint32_t ifindex;
	uint8_t addr[28], local[16];
	uint32_t ttl, tos, zero;
};
_Static_assert(sizeof(struct prefix) == 64, "the wire");

static inline void send_to(struct vg *v, uint32_t key, const void *addr, uint32_t addr_len, uint16_t flags,
		    const void *data, uint32_t len)
{
	static uint8_t body[64 + 70000];
	struct prefix p = { .addr_len = (uint16_t)addr_len, .flags = flags };

	memset(body, 0, sizeof(body));
	if (addr)
		memcpy(p.addr, addr, addr_len);
	memcpy(body, &p, sizeof(p));
	memcpy(body + 64, data, len);
	tg_send(v, SENDTO, key, body, 64 + len);
}

/* A whole datagram, put together of its pieces. */
static inline uint32_t receive_from(struct vg *v, uint32_t key, struct prefix *p, uint8_t *data)
{
	uint32_t n = 0, skip = 64;
	struct msg m;

	do {
		tg_gets(v, RECVFROM, key, &m);
		if (skip)
			memcpy(p, m.b, 64);
		memcpy(data + n, m.b + skip, m.h.len - skip);
		n += m.h.len - skip;
		skip = 0;
	} while (!(m.h.flags & 1));
	return n;
}

/* A network of our own, where we may have one: with ping for all, and no port that is taken. */
static inline int tg_isolate(void **state)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0 2147483647", 12) < 0)
		print_message("no ping here\n");
	if (fd >= 0)
		close(fd);
	return 0;
}

#endif
