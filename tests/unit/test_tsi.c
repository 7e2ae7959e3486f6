/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tsi_guest.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <time.h>

#include "base/log.h"

/* TSI's control packets, options, the policy, and the base dialect. */

static int setup(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, NULL, NULL, 0);
	assert_int_equal(tg_hello(v), 0);
	*state = v;
	return 0;
}

static int setup_base(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, NULL, NULL, 0);
	*state = v;
	return 0;
}

static int setup_policy(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, "deny 127.0.0.0/8, deny ::1, deny any:7777", "18080:80", 0);
	assert_int_equal(tg_hello(v), 0);
	*state = v;
	return 0;
}

static int setup_closed(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, "deny any:1-65535 tcp", NULL, 0);
	assert_int_equal(tg_hello(v), 0);
	*state = v;
	return 0;
}

static int setup_ports(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, NULL, "18081:80, 15353:53, 18082:81, 19090:90", 0);
	assert_int_equal(tg_hello(v), 0);
	*state = v;
	return 0;
}

static int teardown(void **state)
{
	struct vg *v = *state;

	vg_fini(v);
	free(v);
	return 0;
}

/* ---- malformed ---- */

static void test_malformed(void **state)
{
	static const struct {
		uint32_t op, key, len;
		int32_t result;     /* 1: dropped */
		uint32_t at, value; /* in place of what is there; at 0: nothing */
	} cases[] = {
		{ HELLO, 0, 7, -EINVAL, 0, 0 },
		{ HELLO, 0, 8, -EPROTONOSUPPORT, 4, 0 }, /* and base it is */
		{ CREATE, KEY, 15, 1, 0, 0 },
		{ CREATE, KEY, 0, 1, 0, 0 },
		{ BIND, KEY, 135, -EINVAL, 0, 0 },
		{ BIND, KEY, 136, -EINVAL, 4, 15 },
		{ BIND, KEY, 136, -EINVAL, 4, 129 },
		{ BIND, KEY, 136, -EINVAL, 4, UINT32_MAX },
		{ BIND, KEY, 136, -EINVAL, 4, 28 },
		{ BIND, KEY, 136, -EAFNOSUPPORT, 8, 1 },
		{ BIND, KEY, 136, -EAFNOSUPPORT, 8, AF_UNSPEC },
		{ BIND, KEY, 136, -EAFNOSUPPORT, 8, 0xffff },
		{ BIND, KEY + 9, 136, -EBADF, 0, 0 },
		{ CONNECT, KEY, 135, -EINVAL, 0, 0 },
		{ CONNECT, KEY, 136, -EINVAL, 4, 0 },
		{ CONNECT, KEY, 136, -EAFNOSUPPORT, 8, 77 },
		{ CONNECT, KEY, 136, -EAFNOSUPPORT, 8, AF_UNSPEC },
		{ CONNECT, KEY + 9, 136, -EBADF, 0, 0 },
		{ LISTEN, KEY, 7, -EINVAL, 0, 0 },
		{ LISTEN, KEY + 9, 8, -EBADF, 0, 0 },
		{ LISTEN, KEY + 1, 8, -EOPNOTSUPP, 0, 0 }, /* a datagram socket */
		{ ACCEPT, KEY, 7, 1, 0, 0 },
		{ ACCEPT, KEY, 8, 1, 0, 0 }, /* no listener */
		{ ACCEPT, KEY + 9, 8, 1, 0, 0 },
		{ SETSOCKOPT, KEY, 19, -EINVAL, 0, 0 },
		{ SETSOCKOPT, KEY, 24, -EINVAL, 16, 257 },
		{ SETSOCKOPT, KEY, 24, -EINVAL, 16, UINT32_MAX },
		{ SETSOCKOPT, KEY, 24, -EBADF, 4, 77 },
		{ SETSOCKOPT, KEY, 24, -ENOPROTOOPT, 8, 4711 },
		{ SETSOCKOPT, KEY, 24, -ENOPROTOOPT, 12, 4711 },
		{ SETSOCKOPT, KEY, 24, -EINVAL, 16, 3 },
		{ SETSOCKOPT, KEY, 24, -EINVAL, 16, 5 }, /* not all of it is there */
		{ SETSOCKOPT, KEY, 23, -EINVAL, 16, 4 }, /* the value is not all there */
		{ SETSOCKOPT, KEY + 9, 24, -EBADF, 0, 0 },
		{ GETSOCKOPT, KEY, 19, -EINVAL, 0, 0 },
		{ GETSOCKOPT, KEY, 20, -EINVAL, 16, 257 },
		{ GETSOCKOPT, KEY, 20, -ENOPROTOOPT, 12, 4711 },
		{ GETSOCKOPT, KEY + 9, 20, -EBADF, 0, 0 },
		{ SENDTO, KEY + 1, 63, 1, 0, 0 },
		{ SENDTO, KEY, 64, 1, 0, 0 }, /* a stream socket */
		{ SENDTO, KEY + 9, 64, 1, 0, 0 },
		{ RELEASE, KEY, 7, 1, 0, 0 },
		{ RELEASE, KEY + 9, 8, 1, 0, 0 },
		{ RELEASE, KEY, 8, 1, 4, 12345 },
		{ GETNAME, KEY, 136, 1, 0, 0 }, /* base only */
		{ SENDTO_DATA, KEY, 136, 1, 0, 0 },
		{ ACCEPTED, KEY, 272, 1, 0, 0 },
		{ 0, KEY, 136, 1, 0, 0 },
		{ UINT32_MAX, KEY, 136, 1, 0, 0 },
		/* the key is not that of the header, or none of ours */
		{ BIND, KEY, 136, -EINVAL, 1, KEY + 1 },
		{ LISTEN, 5, 8, -EINVAL, 0, 0 },
		{ LISTEN, 0x80000000u, 8, -EINVAL, 0, 0 },
	};
	struct vg *v = *state;

	for (size_t i = 0; i < SM_ARRAY_SIZE(cases); i++) {
		uint8_t body[512] = { 0 };
		uint64_t drops;
		bool option = cases[i].op == SETSOCKOPT || cases[i].op == GETSOCKOPT;
		struct msg m;

		tg_hello(v);
		assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
		assert_int_equal(tg_create(v, KEY + 1, AF_INET, 2, 0), 0);
		put32(body, cases[i].key);
		put32(body + 4, option ? OUT : 16);
		put32(body + 8, option ? SOL_SOCKET : AF_INET);
		if (option) {
			put32(body + 12, SO_KEEPALIVE);
			put32(body + 16, 4);
		}
		if (cases[i].at)
			put32(body + (cases[i].at == 1 ? 0 : cases[i].at), cases[i].value);
		drops = counters(v).drops;
		tg_send(v, cases[i].op, cases[i].key, body, cases[i].len);
		if (cases[i].result == 1) {
			if (!tg_quiet(v) || counters(v).drops != drops + 1)
				fail_msg("case %zu: not dropped", i);
			continue;
		}
		if (!tg_recv(v, &m) || (int32_t)get32(m.b) != cases[i].result ||
		    m.h.src_port != cases[i].op || m.h.dst_port != cases[i].key)
			fail_msg("case %zu: %d", i, (int32_t)get32(m.b));
	}
	assert_int_equal(v->broken, 0);
}

static void test_create(void **state)
{
	static const struct {
		int family, type, protocol, result;
	} cases[] = {
		{ AF_INET, 1, 0, 0 },
		{ AF_INET, 1, IPPROTO_TCP, 0 },
		{ AF_INET6, 1, IPPROTO_TCP, 0 },
		{ AF_INET, 2, 0, 0 },
		{ AF_INET6, 2, IPPROTO_UDP, 0 },
		{ AF_UNIX, 1, 0, -EAFNOSUPPORT },
		{ AF_PACKET, 1, 0, -EAFNOSUPPORT },
		{ 0, 1, 0, -EAFNOSUPPORT },
		{ AF_INET, 3, 0, -EINVAL },
		{ AF_INET, 0, 0, -EINVAL },
		{ AF_INET, 1, IPPROTO_UDP, -EPROTONOSUPPORT },
		{ AF_INET, 1, IPPROTO_SCTP, -EPROTONOSUPPORT },
		{ AF_INET, 2, IPPROTO_TCP, -EPROTONOSUPPORT },
		{ AF_INET, 2, IPPROTO_RAW, -EPROTONOSUPPORT },
		{ AF_INET, 2, IPPROTO_ICMPV6, -EPROTONOSUPPORT },
		{ AF_INET6, 2, IPPROTO_ICMP, -EPROTONOSUPPORT },
	};
	struct vg *v = *state;

	for (size_t i = 0; i < SM_ARRAY_SIZE(cases); i++) {
		/* The same key again and again: what it was is released. */
		if (tg_create(v, KEY, cases[i].family, cases[i].type, cases[i].protocol) !=
		    cases[i].result)
			fail_msg("case %zu", i);
		assert_int_equal(counters(v).flows, cases[i].result == 0);
	}
}

/* Answers wait for rx buffers, and the guest's requests wait for them: none is lost. */
static void test_many_answers(void **state)
{
	struct vg *v = *state;
	uint32_t sent = 0, got = 0, id, len;
	struct sm_vsock_hdr h;
	const uint8_t *data;
	uint8_t body[8] = { 0 };

	put32(body, KEY);
	while (sent < 300 && (uint16_t)(v->ring[TX].avail_idx - v->ring[TX].seen_used) < RING) {
		h = vg_hdr(v, SM_VSOCK_OP_RW, KEY, LISTEN);
		h.type = SM_VSOCK_DGRAM;
		h.len = 8;
		vg_put(v, &h, body);
		fake_kick(&v->dev->vq[TX]);
		vg_spin(v);
		while (fake_used(&v->ring[TX], &id, &len))
			;
		sent++;
	}
	assert_true(sent < 300); /* it stopped taking them */
	for (int i = 0; i < 1000 && got < sent; i++) {
		while (vg_recv(v, &h, &data)) {
			assert_int_equal((int32_t)get32(data), -EBADF);
			got++;
		}
		vg_give_rx(v, 1);
		vg_spin(v);
	}
	assert_int_equal(got, sent);
}

static void test_small_rx_buffer(void **state)
{
	struct vg *v = *state;
	const uint8_t hello[8] = { 1 };

	for (uint32_t i = 0; i < RING; i++) /* those of setup() are used up */
		tg_send(v, HELLO, 0, hello, sizeof(hello));
	assert_int_equal(v->broken, 0);
	struct fake_buf b = { v->rx_mem, SM_VSOCK_HDR_SIZE + 4, true };
	const uint8_t *data;
	struct sm_vsock_hdr h;

	while (vg_recv(v, &h, &data))
		;
	fake_chain(&v->ring[RX], &b, 1);
	tg_send(v, HELLO, 0, hello, sizeof(hello));
	fake_kick(&v->dev->vq[RX]);
	vg_spin(v);
	assert_int_equal(v->broken, 1);
}

/* ---- options ---- */

static int32_t get_option(struct vg *v, uint32_t key, uint32_t host_port, int level, int name,
			  uint32_t *len, struct msg *m)
{
	uint8_t body[20];

	put32(body, key);
	put32(body + 4, host_port);
	put32(body + 8, (uint32_t)level);
	put32(body + 12, (uint32_t)name);
	put32(body + 16, *len);
	tg_send(v, GETSOCKOPT, key, body, sizeof(body));
	tg_gets(v, GETSOCKOPT, key, m);
	*len = get32(m->b + 4);
	assert_int_equal(m->h.len, 8 + *len);
	return (int32_t)get32(m->b);
}

static void test_options(void **state)
{
	struct vg *v = *state;
	static const struct {
		int level, name, value;
	} cases[] = {
		{ SOL_SOCKET, SO_REUSEADDR, 1 },      { SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },      { IPPROTO_TCP, TCP_KEEPIDLE, 77 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 7 },    { IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 9 }, { IPPROTO_IP, IP_TOS, 0x10 },
		{ IPPROTO_IP, IP_TTL, 33 },
	};
	uint32_t len;
	struct msg m;

	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	for (size_t i = 0; i < SM_ARRAY_SIZE(cases); i++) {
		assert_int_equal(set_option(v, KEY, i & 1 ? OUT : 0, cases[i].level, cases[i].name,
					    &cases[i].value, 4),
				 0);
		len = 4;
		assert_int_equal(get_option(v, KEY, OUT, cases[i].level, cases[i].name, &len, &m),
				 0);
		assert_int_equal(len, 4);
		assert_int_equal(get32(m.b + 8), cases[i].value);
	}
	len = 256;
	assert_int_equal(get_option(v, KEY, OUT, IPPROTO_TCP, TCP_INFO, &len, &m), 0);
	assert_true(len > 100);
	assert_int_equal(set_option(v, KEY, OUT, IPPROTO_TCP, TCP_INFO, &len, 4), -ENOPROTOOPT);
	/* What would let a guest out of its place, or stays there. */
	assert_int_equal(set_option(v, KEY, OUT, SOL_SOCKET, SO_RCVTIMEO, m.b, 16), -ENOPROTOOPT);
	assert_int_equal(set_option(v, KEY, OUT, SOL_SOCKET, SO_ATTACH_FILTER, m.b, 16),
			 -ENOPROTOOPT);
	assert_int_equal(set_option(v, KEY, OUT, SOL_SOCKET, SO_MARK, m.b, 4), -ENOPROTOOPT);
	assert_int_equal(set_option(v, KEY, OUT, IPPROTO_TCP, TCP_REPAIR, m.b, 4), -ENOPROTOOPT);
	assert_int_equal(set_option(v, KEY, OUT, IPPROTO_IP, IP_TRANSPARENT, m.b, 4), -ENOPROTOOPT);
	/* The kernel's own verdict. */
	assert_int_equal(set_option(v, KEY, OUT, IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8),
			 -ENOENT);
}

/* Options of streams, of one that was accepted, and close(2) never waits for a peer. */
static void test_options_of_streams(void **state)
{
	struct linger linger = { 1, 60 };
	struct vg *v = *state;
	struct sockaddr_in6 a, name = { 0 };
	socklen_t alen = loopback(AF_INET, 0, &a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	uint32_t len = 4, hp;
	struct msg m;

	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, alen, &name), 0);
	assert_int_equal(set_option(v, KEY, 0, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	assert_int_equal(tg_listen(v, KEY, 5, NULL), 0);
	assert_int_equal(counters(v).listeners, 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, alen), 0);
	tg_gets(v, ACCEPTED, KEY, &m);
	hp = get32(m.b);
	assert_int_equal(set_option(v, KEY, hp, IPPROTO_TCP, TCP_NODELAY, &one, 4), 0);
	assert_int_equal(get_option(v, KEY, hp, IPPROTO_TCP, TCP_NODELAY, &len, &m), 0);
	assert_int_equal(get32(m.b + 8), 1);
	len = sizeof(linger);
	assert_int_equal(get_option(v, KEY, hp, SOL_SOCKET, SO_LINGER, &len, &m), 0);
	assert_int_equal(get32(m.b + 12), 60);
	/* Its options outlive the end of both ways. */
	vg_op(v, SM_VSOCK_OP_CREDIT_UPDATE, KEY, hp);
	vg_shutdown(v, KEY, hp, SM_VSOCK_SHUT_SEND);
	shutdown(fd, SHUT_WR);
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY, hp, &m);
	len = 4;
	assert_int_equal(get_option(v, KEY, hp, IPPROTO_TCP, TCP_NODELAY, &len, &m), 0);
	vg_shutdown(v, KEY, hp, CLOSE);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, hp, &m);
	len = 4;
	assert_int_equal(get_option(v, KEY, hp, IPPROTO_TCP, TCP_NODELAY, &len, &m), -EBADF);
	tg_two(v, RELEASE, KEY, OUT);
	assert_int_equal(counters(v).listeners, 0);
	close(fd);
}

/* ---- policy ---- */

static void test_policy(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), log = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct sockaddr_in6 a, name = { 0 }, mapped = { .sin6_family = AF_INET6 };
	socklen_t len = loopback(AF_INET, port_of(l), &a);
	struct sockaddr_in any = { .sin_family = AF_INET };

	sm_log_setup(log, SM_LOG_TEXT, SM_LOG_INFO);
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY, &a, len, NULL), -EACCES);
	any.sin_port = htons(port_of(l)); /* 0.0.0.0 */
	assert_int_equal(tg_addr(v, CONNECT, KEY, &any, len, NULL), -EACCES);
	assert_int_equal(tg_create(v, KEY + 1, AF_INET6, 1, 0), 0);
	mapped.sin6_port = any.sin_port;
	assert_int_equal(tg_addr(v, CONNECT, KEY + 1, &mapped, sizeof(mapped), NULL), -EACCES);
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 1, &mapped, sizeof(mapped), NULL), -EACCES);
	inet_pton(AF_INET6, "::ffff:0.0.0.0", &mapped.sin6_addr);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 1, &mapped, sizeof(mapped), NULL), -EACCES);
	/* datagrams, with and without an answer */
	assert_int_equal(tg_create(v, KEY + 2, AF_INET, 2, 0), 0);
	send_to(v, KEY + 2, &a, len, 1, "x", 1);
	assert_int_equal(tg_result(v, SENDTO, KEY + 2), -EACCES);
	send_to(v, KEY + 2, &a, len, 0, "x", 1);
	struct msg m;

	tg_gets(v, ERROR, KEY + 2, &m);
	assert_int_equal(get32(m.b + 4), EACCES);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 2, &a, len, NULL), -EACCES);
	/* listeners */
	any.sin_port = htons(7777);
	assert_int_equal(tg_addr(v, BIND, KEY, &any, len, NULL), -EACCES);
	any.sin_port = 0;
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, NULL), -EACCES);
	loopback(AF_INET, 0, &a);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, NULL), 0);
	assert_int_equal(tg_listen(v, KEY, 1, NULL), -EACCES);
	assert_int_equal(counters(v).denials, 11);
	/* The port map: the guest sees its own port, the host the other one. */
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	any.sin_port = htons(80);
	assert_int_equal(tg_addr(v, BIND, KEY, &any, len, &name), 0);
	assert_int_equal(ntohs(name.sin6_port), 80);
	assert_int_equal(tg_listen(v, KEY, 1, &name), 0);
	assert_int_equal(ntohs(name.sin6_port), 80);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	len = loopback(AF_INET, 18080, &a);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	tg_gets(v, ACCEPTED, KEY, &m);
	assert_int_equal(m.b[16 + 2] << 8 | m.b[16 + 3], 80);
	close(fd);
	close(l);
	sm_log_setup(2, SM_LOG_TEXT, SM_LOG_INFO);
	close(log);
}

/* Where nothing was bound it is listen(2) that chooses the port, which the policy judges too. */
static void test_policy_of_a_port_chosen(void **state)
{
	struct vg *v = *state;

	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(tg_create(v, KEY + i, i ? AF_INET6 : AF_INET, 1, 0), 0);
		assert_int_equal(tg_listen(v, KEY + i, 1, NULL), -EACCES);
	}
	assert_int_equal(counters(v).listeners, 0);
}

static unsigned int lines_with(int log, const char *text)
{
	static char bytes[256 << 10];
	ssize_t n = pread(log, bytes, sizeof(bytes) - 1, 0);
	unsigned int lines = 0;

	assert_true(n >= 0);
	bytes[n] = '\0';
	for (const char *at = bytes; (at = strstr(at, text)); at++)
		lines++;
	return lines;
}

/* The first ones have a line each; the others are counted, a line a second. */
static void test_many_denials(void **state)
{
	struct vg *v = *state;
	int log = memfd_create("log", MFD_CLOEXEC);
	struct sockaddr_in a = { .sin_family = AF_INET };
	time_t begin = time(NULL);

	sm_log_setup(log, SM_LOG_TEXT, SM_LOG_INFO);
	inet_pton(AF_INET, "127.9.9.9", &a.sin_addr);
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	for (uint16_t i = 1; i <= 10; i++) {
		a.sin_port = htons(i);
		assert_int_equal(tg_addr(v, CONNECT, KEY, &a, sizeof(a), NULL), -EACCES);
	}
	assert_int_equal(lines_with(log, "denied (1 since"), 10);
	assert_int_equal(lines_with(log, "to 127.9.9.9:7 tcp denied"), 1);
	for (int i = 0; i < 200; i++)
		assert_int_equal(tg_addr(v, CONNECT, KEY, &a, sizeof(a), NULL), -EACCES);
	assert_true(lines_with(log, "denied") <= 10 + (unsigned int)(time(NULL) - begin) + 1);
	assert_int_equal(counters(v).denials, 210);
	sm_log_setup(2, SM_LOG_TEXT, SM_LOG_INFO);
	close(log);
}

/* The guest finds its own sockets at the ports that it bound, whatever they are for others. */
static void test_own_ports(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in6 a, udp;
	socklen_t len = loopback(AF_INET, 80, &a);
	uint8_t in[10];
	struct prefix p;
	struct msg m;

	loopback(AF_INET, 53, &udp);
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, NULL), 0);
	assert_int_equal(tg_create(v, KEY + 1, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 1, &a, len, NULL), -ECONNREFUSED);
	assert_int_equal(tg_listen(v, KEY, 1, NULL), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 1, &a, len, NULL), 0);
	tg_gets(v, ACCEPTED, KEY, &m);
	assert_int_equal(tg_create(v, KEY + 2, AF_INET, 2, 0), 0);
	assert_int_equal(tg_create(v, KEY + 3, AF_INET, 2, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY + 2, &udp, len, NULL), 0);
	send_to(v, KEY + 3, &udp, len, 0, "ask", 3);
	assert_int_equal(receive_from(v, KEY + 2, &p, in), 3);
	send_to(v, KEY + 2, p.addr, len, 0, "tell", 4);
	assert_int_equal(receive_from(v, KEY + 3, &p, in), 4);
	assert_memory_equal(p.addr, &udp, len);
}

static void create_reusing(struct vg *v, uint32_t key, int option)
{
	const int on = 1;

	assert_int_equal(tg_create(v, key, AF_INET, 1, 0), 0);
	assert_int_equal(set_option(v, key, OUT, SOL_SOCKET, option, &on, sizeof(on)), 0);
}

/* A client that bound a port of the map too has that one for the listener, before and after it is a
 * stream. */
static void test_own_client_port(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in6 to, from;
	socklen_t len = loopback(AF_INET, 81, &to);
	struct msg m;
	uint32_t hp;

	loopback(AF_INET, 90, &from);
	create_reusing(v, KEY, SO_REUSEADDR);
	assert_int_equal(tg_addr(v, BIND, KEY, &to, len, NULL), 0);
	assert_int_equal(tg_listen(v, KEY, 4, NULL), 0);
	for (uint32_t key = KEY + 1; key < KEY + 3; key++) {
		create_reusing(v, key, SO_REUSEADDR);
		assert_int_equal(tg_addr(v, BIND, key, &from, len, NULL), 0);
		assert_int_equal(tg_addr(v, CONNECT, key, &to, len, NULL), 0);
		tg_gets(v, ACCEPTED, KEY, &m);
		assert_int_equal(m.b[144 + 2] << 8 | m.b[144 + 3], 90);
		hp = get32(m.b);
		vg_send(v, vg_hdr(v, SM_VSOCK_OP_RST, key, OUT), NULL);
		tg_gets(v, ERROR, KEY, &m);
		tg_stream(v, SM_VSOCK_OP_RST, KEY, hp, &m);
	}
}

/* A port is the guest's as long as one of its sockets takes connections there. */
static void test_own_port_shared(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in6 a;
	socklen_t len = loopback(AF_INET, 81, &a);
	const int on = 1;
	struct msg m;

	for (uint32_t key = KEY; key < KEY + 2; key++) {
		create_reusing(v, key, SO_REUSEADDR);
		assert_int_equal(set_option(v, key, OUT, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)),
				 0);
		assert_int_equal(tg_addr(v, BIND, key, &a, len, NULL), 0);
		assert_int_equal(tg_listen(v, key, 1, NULL), 0);
		assert_int_equal(tg_listen(v, key, 2, NULL), 0);
	}
	tg_two(v, RELEASE, KEY, OUT);
	assert_int_equal(tg_create(v, KEY + 2, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 2, &a, len, NULL), 0);
	tg_gets(v, ACCEPTED, KEY + 1, &m);
	tg_two(v, RELEASE, KEY + 1, OUT);
	assert_int_equal(tg_create(v, KEY + 3, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 3, &a, len, NULL), -ECONNREFUSED);
	/* The namespace's own 81 is meant now. */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 3, &a, len, NULL), 0);
	close(fd);
}

/* ---- base ---- */

#define CONTROL 77u /* the guest's control socket */

static void base_send(struct vg *v, uint32_t op, const void *body, uint32_t len)
{
	tg_send(v, op, CONTROL, body, len);
}

static void base_create(struct vg *v, uint32_t key, int family, int type)
{
	uint8_t body[8];

	put32(body, key);
	put16(body + 4, (uint16_t)family);
	put16(body + 6, (uint16_t)type);
	base_send(v, CREATE, body, sizeof(body));
}

static void base_addr(struct vg *v, uint32_t op, uint32_t key, const void *addr, uint32_t len)
{
	uint8_t body[136] = { 0 };

	put32(body, key);
	put32(body + 4, len);
	memcpy(body + 8, addr, len);
	base_send(v, op, body, sizeof(body));
}

static void base_three(struct vg *v, uint32_t op, uint32_t a, uint32_t b, uint32_t c, uint32_t len)
{
	uint8_t body[12];

	put32(body, a);
	put32(body + 4, b);
	put32(body + 8, c);
	base_send(v, op, body, len);
}

static void base_name(struct vg *v, uint32_t key, uint32_t host_port, uint32_t peer, int fd)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	struct msg m;

	base_three(v, GETNAME, key, host_port, peer, 12);
	tg_gets(v, GETNAME, CONTROL, &m);
	assert_int_equal(get32(m.b), 0);
	/* The one's peer is the other's name. */
	if (peer)
		assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	else
		assert_int_equal(getpeername(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(get32(m.b + 4), len);
	assert_memory_equal(m.b + 8, &a, len);
}

static void test_base_out(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd;
	struct sockaddr_in6 a;
	socklen_t len = loopback(AF_INET, port_of(l), &a);
	struct msg m;

	base_create(v, 1000, AF_INET, 1);
	base_addr(v, CONNECT, 1000, &a, len);
	assert_int_equal(tg_result(v, CONNECT, CONTROL), 0);
	fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	send(fd, "early", 5, 0);
	assert_true(tg_quiet(v)); /* nothing before the REQUEST */
	vg_op(v, SM_VSOCK_OP_REQUEST, 1000, OUT);
	tg_stream(v, SM_VSOCK_OP_RESPONSE, 1000, OUT, &m);
	tg_stream(v, SM_VSOCK_OP_RW, 1000, OUT, &m);
	assert_int_equal(m.h.len, 5);
	base_name(v, 1000, OUT, 0, fd);
	base_name(v, 1000, OUT, 1, fd);
	vg_data(v, 1000, OUT, "hello", 5);
	wait_readable(fd);
	assert_int_equal(recv(fd, m.b, 10, 0), 5);
	/* RELEASE is a close: what was written arrives. */
	base_three(v, RELEASE, 1000, OUT, 0, 8);
	wait_readable(fd);
	assert_int_equal(recv(fd, m.b, 10, 0), 0);
	tg_stream(v, SM_VSOCK_OP_RST, 1000, OUT, &m);
	assert_int_equal(counters(v).flows, 0);
	close(fd);
	/* A second REQUEST finds nobody, and neither does one without CONNECT. */
	vg_op(v, SM_VSOCK_OP_REQUEST, 1000, OUT);
	tg_stream(v, SM_VSOCK_OP_RST, 1000, OUT, &m);
	base_create(v, 1001, AF_INET, 1);
	vg_op(v, SM_VSOCK_OP_REQUEST, 1001, OUT);
	tg_stream(v, SM_VSOCK_OP_RST, 1001, OUT, &m);
	close(l);
	base_addr(v, CONNECT, 1001, &a, len);
	assert_int_equal(tg_result(v, CONNECT, CONTROL), -ECONNREFUSED);
}

static void test_base_in(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in6 a;
	socklen_t len = loopback(AF_INET, 0, &a);
	int probe = host_socket(AF_INET, SOCK_STREAM), fd = socket(AF_INET, SOCK_STREAM, 0);
	uint8_t body[144] = { 0 };
	uint32_t hp;
	struct msg m;

	a.sin6_port = htons(port_of(probe));
	close(probe);
	base_create(v, 1000, AF_INET, 1);
	put32(body, 1000);
	put32(body + 4, 2000);
	put32(body + 8, 5);
	put32(body + 12, len);
	memcpy(body + 16, &a, len);
	base_send(v, LISTEN, body, sizeof(body));
	assert_int_equal(tg_result(v, LISTEN, CONTROL), 0);
	base_three(v, ACCEPT, 1000, 0x800, 0, 8);
	assert_int_equal(tg_result(v, ACCEPT, CONTROL), -EAGAIN);
	base_three(v, ACCEPT, 1000, 0, 0, 8);
	assert_true(tg_quiet(v)); /* it waits */
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	assert_true(tg_recv(v, &m));
	assert_int_equal(m.h.op, SM_VSOCK_OP_REQUEST);
	assert_int_equal(m.h.dst_port, 2000);
	hp = m.h.src_port;
	vg_op(v, SM_VSOCK_OP_RESPONSE, 2000, hp);
	assert_int_equal(tg_result(v, ACCEPT, CONTROL), 0);
	base_name(v, 2000, hp, 1, fd);
	base_name(v, 2000, hp, 2, fd); /* accept(2) */
	base_name(v, 2000, hp, 0, fd);
	vg_data(v, 2000, hp, "hi", 2);
	wait_readable(fd);
	assert_int_equal(recv(fd, m.b, 10, 0), 2);
	/* (vm_port, host port) is one stream, and not its listener. */
	base_three(v, RELEASE, 2000, hp, 0, 8);
	tg_stream(v, SM_VSOCK_OP_RST, 2000, hp, &m);
	assert_int_equal(counters(v).listeners, 1);
	close(fd);
	/* One that the guest does not take. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	assert_true(tg_recv(v, &m));
	vg_op(v, SM_VSOCK_OP_RST, 2000, m.h.src_port);
	wait_readable(fd);
	assert_int_equal(recv(fd, m.b, 10, 0), 0);
	close(fd);
	base_three(v, RELEASE, 1000, OUT, 0, 8);
	assert_int_equal(counters(v).flows, 0);
	base_send(v, LISTEN, body, 143);
	assert_int_equal(tg_result(v, LISTEN, CONTROL), -EINVAL);
	base_send(v, LISTEN, body, sizeof(body));
	assert_int_equal(tg_result(v, LISTEN, CONTROL), -EBADF);
	base_three(v, GETNAME, 1000, OUT, 0, 12);
	assert_int_equal(tg_result(v, GETNAME, CONTROL), -EBADF);
}

static void test_base_datagrams(void **state)
{
	struct vg *v = *state;
	int host = host_socket(AF_INET, SOCK_DGRAM), other = host_socket(AF_INET, SOCK_DGRAM);
	struct sockaddr_in6 a, b, from;
	socklen_t len = loopback(AF_INET, port_of(host), &a), to, flen = sizeof(from);
	uint8_t in[100];
	struct msg m;

	base_create(v, 1000, AF_INET, 2);
	base_addr(v, SENDTO_ADDR, 1000, &a, len);
	tg_send(v, SENDTO_DATA, 1000, "abc", 3);
	wait_readable(host);
	assert_int_equal(recvfrom(host, in, sizeof(in), 0, (struct sockaddr *)&from, &flen), 3);
	assert_int_equal(sendto(host, "wxyz", 4, 0, (struct sockaddr *)&from, flen), 4);
	tg_gets(v, SENDTO_DATA, 1000, &m);
	assert_int_equal(m.h.len, 4);
	assert_memory_equal(m.b, "wxyz", 4);
	base_addr(v, CONNECT, 1000, &a, len);
	assert_int_equal(tg_result(v, CONNECT, CONTROL), 0);
	tg_send(v, SENDTO_DATA, 1000, "", 0);
	wait_readable(host);
	assert_int_equal(recv(host, in, sizeof(in), 0), 0);
	/* What a connected socket sends goes to its own key: to the peer of CONNECT, whatever
	 * SENDTO_ADDR said since. */
	to = loopback(AF_INET, port_of(other), &b);
	base_addr(v, SENDTO_ADDR, 1000, &b, to);
	tg_send(v, 1000, 1000, "peer", 4);
	wait_readable(host);
	assert_int_equal(recv(host, in, sizeof(in), 0), 4);
	base_three(v, GETNAME, 1000, OUT, 1, 12);
	tg_gets(v, GETNAME, CONTROL, &m);
	assert_int_equal(get32(m.b), 0);
	assert_memory_equal(m.b + 8, &a, len);
	tg_send(v, SENDTO_DATA, 1000, "to", 2);
	wait_readable(other);
	assert_int_equal(recv(other, in, sizeof(in), 0), 2);
	tg_send(v, 1001, 1001, "x", 1);
	tg_send(v, SENDTO_DATA, 1001, "x", 1);
	base_addr(v, SENDTO_ADDR, 1001, &a, len);
	base_addr(v, SENDTO_ADDR, 1000, &a, 3);
	assert_true(tg_quiet(v));
	assert_int_equal(counters(v).drops, 4);
	base_three(v, RELEASE, 1000, OUT, 0, 8);
	assert_int_equal(counters(v).flows, 0);
	close(host);
	close(other);
}

static int32_t base_listen(struct vg *v, uint32_t key, int family, const void *addr, uint32_t len)
{
	uint8_t body[144] = { 0 };

	base_create(v, key, family, 1);
	put32(body, key);
	put32(body + 4, key); /* as libkrunfw has it */
	put32(body + 8, 5);
	put32(body + 12, len);
	memcpy(body + 16, addr, len);
	base_send(v, LISTEN, body, sizeof(body));
	return tg_result(v, LISTEN, CONTROL);
}

/* What programs ask for by options that the base dialect cannot tell. */
static void test_base_ports(void **state)
{
	struct vg *v = *state;
	int probe = host_socket(AF_INET, SOCK_STREAM), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in6 a, six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	socklen_t len = loopback(AF_INET, port_of(probe), &a);
	struct msg m;
	uint32_t hp;

	six.sin6_port = four.sin_port = htons(port_of(probe));
	assert_int_equal(base_listen(v, 1000, AF_INET, &a, len), -EADDRINUSE);
	close(probe);
	assert_int_equal(base_listen(v, 1000, AF_INET, &four, sizeof(four)), 0);
	/* The other family's half of the port; all of it is taken then. */
	assert_int_equal(base_listen(v, 1001, AF_INET6, &six, sizeof(six)), 0);
	assert_int_equal(base_listen(v, 1002, AF_INET6, &six, sizeof(six)), -EADDRINUSE);
	assert_int_equal(base_listen(v, 1003, AF_INET, &four, sizeof(four)), -EADDRINUSE);
	/* A connection that the guest ends first leaves TIME_WAIT, and the port is free. */
	assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
	assert_true(tg_recv(v, &m));
	hp = m.h.src_port;
	vg_op(v, SM_VSOCK_OP_RESPONSE, 1000, hp);
	base_three(v, RELEASE, 1000, hp, 0, 8);
	tg_stream(v, SM_VSOCK_OP_RST, 1000, hp, &m);
	wait_readable(fd);
	assert_int_equal(recv(fd, m.b, 1, 0), 0);
	close(fd);
	base_three(v, RELEASE, 1000, OUT, 0, 8);
	assert_int_equal(base_listen(v, 1004, AF_INET, &four, sizeof(four)), 0);
}

/* Without TSI there is no answer to anything. */
static void test_off(void **state)
{
	struct sm_vsock_counters c;
	struct vg v;

	vg_init(&v);
	vg_give_rx(&v, RING);
	base_create(&v, 1000, AF_INET, 1);
	assert_true(tg_quiet(&v));
	sm_vsock_counters(v.vs, &c);
	assert_int_equal(c.drops, 1);
	vg_fini(&v);
}

int main(void)
{
#define CASE(f, s) cmocka_unit_test_setup_teardown(f, s, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_malformed, setup),
		CASE(test_create, setup),
		CASE(test_many_answers, setup),
		CASE(test_small_rx_buffer, setup),
		CASE(test_options, setup),
		CASE(test_options_of_streams, setup),
		CASE(test_policy_of_a_port_chosen, setup_closed),
		CASE(test_policy, setup_policy),
		CASE(test_many_denials, setup_policy),
		CASE(test_own_ports, setup_ports),
		CASE(test_own_client_port, setup_ports),
		CASE(test_own_port_shared, setup_ports),
		CASE(test_base_out, setup_base),
		CASE(test_base_in, setup_base),
		CASE(test_base_datagrams, setup_base),
		CASE(test_base_ports, setup_base),
		cmocka_unit_test(test_off),
	};

	return cmocka_run_group_tests_name("tsi", tests, tg_isolate, NULL);
}
