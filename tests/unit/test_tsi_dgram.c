/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tsi_guest.h"

#include <netinet/ip_icmp.h>

/* TSI's datagrams. */

static int setup(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, NULL, NULL, 0);
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

static void datagrams(struct vg *v, int family)
{
	int host = host_socket(family, SOCK_DGRAM), big = 1 << 20;
	struct sockaddr_in6 a, from, name = { 0 };
	socklen_t len = loopback(family, port_of(host), &a), flen = sizeof(from);
	static uint8_t out[65507], in[70000];
	static const uint32_t sizes[] = { 1, 0, 100, 4000, 3988, 3989, 65507, 1, 65507, 9000, 0 };
	struct sockaddr_in6 any;
	struct prefix p;

	setsockopt(host, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 13 + (i >> 7));
	assert_int_equal(tg_create(v, KEY, family, 2, 0), 0);
	loopback(family, 0, &any);
	assert_int_equal(tg_addr(v, BIND, KEY, &any, len, &name), 0);
	for (size_t i = 0; i < SM_ARRAY_SIZE(sizes); i++) {
		send_to(v, KEY, &a, len, 1, out, sizes[i]);
		assert_int_equal(tg_result(v, SENDTO, KEY), 0);
		wait_readable(host);
		assert_int_equal(recvfrom(host, in, sizeof(in), 0, (struct sockaddr *)&from, &flen),
				 sizes[i]);
		assert_memory_equal(in, out, sizes[i]);
		assert_memory_equal(&from, &name, len);
		assert_int_equal(sendto(host, out, sizes[i], 0, (struct sockaddr *)&from, flen),
				 sizes[i]);
		assert_int_equal(receive_from(v, KEY, &p, in), sizes[i]);
		assert_memory_equal(in, out, sizes[i]);
		assert_int_equal(p.addr_len, len);
		assert_int_equal(p.flags, 0);
		assert_memory_equal(p.addr, &a, len);
	}
	tg_two(v, RELEASE, KEY, 0);
	assert_int_equal(counters(v).flows, 0);
	close(host);
}

static void test_datagrams(void **state)
{
	datagrams(*state, AF_INET);
	datagrams(*state, AF_INET6);
}

/* Pieces wait for rx buffers, and nothing comes in between. */
static void test_datagram_in_pieces(void **state)
{
	struct vg *v = *state;
	int host = host_socket(AF_INET, SOCK_DGRAM);
	struct sockaddr_in6 a, name = { 0 };
	socklen_t len = loopback(AF_INET, 0, &a);
	static uint8_t out[30000];
	const uint8_t *data;
	uint32_t n = 0, pieces = 0;
	struct sm_vsock_hdr h;

	assert_int_equal(tg_create(v, KEY, AF_INET, 2, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, &name), 0);
	/* All buffers but two are taken. */
	for (uint32_t i = 0; i < RING - 2; i++)
		tg_two(v, LISTEN, KEY + 1, 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 3 + (i >> 9));
	for (int i = 0; i < 2; i++)
		assert_int_equal(sendto(host, out, sizeof(out), 0, (struct sockaddr *)&name, len),
				 sizeof(out));
	vg_spin(v);
	tg_two(v, LISTEN, KEY + 2, 0);
	for (uint32_t i = 0; i < RING - 2; i++) {
		assert_true(vg_recv(v, &h, NULL));
		assert_int_equal(h.src_port, LISTEN);
	}
	while (n < 2 * (sizeof(out) + 64)) {
		uint32_t at = n % (sizeof(out) + 64), skip = at ? 0 : 64;

		if (!vg_recv(v, &h, &data)) {
			vg_give_rx(v, 1);
			vg_spin(v);
			continue;
		}
		if (h.src_port == LISTEN) {
			assert_true(at == 0); /* not within one */
			continue;
		}
		assert_int_equal(h.src_port, RECVFROM);
		assert_memory_equal(data + skip, out + (at ? at - 64 : 0), h.len - skip);
		n += h.len;
		pieces++;
		assert_int_equal(h.flags & 1, n % (sizeof(out) + 64) == 0);
	}
	assert_true(pieces >= 16);
	close(host);
}

static void test_connected_datagrams(void **state)
{
	struct vg *v = *state;
	int host = host_socket(AF_INET, SOCK_DGRAM);
	struct sockaddr_in6 a, name = { 0 }, none = { 0 };
	socklen_t len = loopback(AF_INET, port_of(host), &a);
	uint8_t in[100];
	struct prefix p;
	struct msg m;

	assert_int_equal(tg_create(v, KEY, AF_INET, 2, 17), 0);
	send_to(v, KEY, NULL, 0, 1, "x", 1);
	assert_int_equal(tg_result(v, SENDTO, KEY), -EDESTADDRREQ);
	assert_int_equal(tg_addr(v, CONNECT, KEY, &a, len, &name), 0);
	send_to(v, KEY, NULL, 0, 0, "abc", 3);
	wait_readable(host);
	assert_int_equal(recv(host, in, sizeof(in), 0), 3);
	assert_int_equal(sendto(host, "def", 3, 0, (struct sockaddr *)&name, len), 3);
	assert_int_equal(receive_from(v, KEY, &p, in), 3);
	/* Nobody there: an error of the socket, once. */
	close(host);
	send_to(v, KEY, NULL, 0, 0, "abc", 3);
	tg_gets(v, ERROR, KEY, &m);
	assert_int_equal(get32(m.b), 0);
	assert_int_equal(get32(m.b + 4), ECONNREFUSED);
	assert_true(tg_quiet(v));
	/* … and the association is dissolved. */
	assert_int_equal(tg_addr(v, CONNECT, KEY, &none, 16, NULL), 0);
	send_to(v, KEY, NULL, 0, 1, "x", 1);
	assert_int_equal(tg_result(v, SENDTO, KEY), -EDESTADDRREQ);
	/* Sizes and families that cannot be. */
	static uint8_t big[65508];

	send_to(v, KEY, &a, 15, 1, "x", 1);
	assert_int_equal(tg_result(v, SENDTO, KEY), -EINVAL);
	a.sin6_family = AF_UNIX;
	send_to(v, KEY, &a, 16, 1, "x", 1);
	assert_int_equal(tg_result(v, SENDTO, KEY), -EAFNOSUPPORT);
	loopback(AF_INET, 9, &a);
	send_to(v, KEY, &a, 16, 1, big, sizeof(big));
	assert_int_equal(tg_result(v, SENDTO, KEY), -EMSGSIZE);
}

/* Where a datagram went to, by which way, and with what marks: both ways. */
static void test_ancillary(void **state)
{
	struct vg *v = *state;
	int host = host_socket(AF_INET, SOCK_DGRAM), one = 1, tos = 0x20, ttl = 44;
	struct sockaddr_in6 a, name = { 0 };
	socklen_t len = loopback(AF_INET, port_of(host), &a);
	uint8_t in[100], control[256];
	struct iovec iov = { in, sizeof(in) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct sockaddr_in any = { .sin_family = AF_INET };
	int seen = 0;
	struct prefix p = { 0 };
	uint8_t body[65];

	assert_int_equal(tg_create(v, KEY, AF_INET, 2, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &any, len, &name), 0);
	assert_int_equal(set_option(v, KEY, 0, IPPROTO_IP, IP_PKTINFO, &one, 4), 0);
	assert_int_equal(set_option(v, KEY, 0, IPPROTO_IP, IP_RECVTTL, &one, 4), 0);
	assert_int_equal(set_option(v, KEY, 0, IPPROTO_IP, IP_RECVTOS, &one, 4), 0);
	setsockopt(host, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	setsockopt(host, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	loopback(AF_INET, ntohs(name.sin6_port), &name);
	assert_int_equal(sendto(host, "x", 1, 0, (struct sockaddr *)&name, len), 1);
	assert_int_equal(receive_from(v, KEY, &p, in), 1);
	assert_int_equal(p.flags, 2 | 4 | 8);
	assert_int_equal(p.ifindex, 1);
	assert_int_equal(p.ttl, 44);
	assert_int_equal(p.tos, 0x20);
	assert_memory_equal(p.local, "\x7f\0\0\1", 4);
	/* … and back, from another address of lo. */
	setsockopt(host, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	setsockopt(host, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one));
	p = (struct prefix){ .addr_len = 16, .flags = 1 | 2 | 4, .ttl = 55 };
	memcpy(p.addr, &a, 16);
	memcpy(p.local, "\x7f\0\0\2", 4);
	memcpy(body, &p, 64);
	body[64] = 'y';
	tg_send(v, SENDTO, KEY, body, 65);
	assert_int_equal(tg_result(v, SENDTO, KEY), 0);
	m.msg_name = &name;
	m.msg_namelen = sizeof(name);
	wait_readable(host);
	assert_int_equal(recvmsg(host, &m, 0), 1);
	assert_int_equal(((struct sockaddr_in *)&name)->sin_addr.s_addr, htonl(0x7f000002));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		seen += c->cmsg_type == IP_TTL && *(int *)CMSG_DATA(c) == 55;
	assert_int_equal(seen, 1);
	close(host);
}

static void test_ancillary_v6(void **state)
{
	struct vg *v = *state;
	int host = host_socket(AF_INET6, SOCK_DGRAM), one = 1, hops = 9;
	struct sockaddr_in6 a, name = { 0 }, any = { .sin6_family = AF_INET6 };
	uint8_t in[100], body[65] = { 0 };
	struct prefix p = { 0 };

	loopback(AF_INET6, port_of(host), &a);
	assert_int_equal(tg_create(v, KEY, AF_INET6, 2, 0), 0);
	assert_int_equal(set_option(v, KEY, 0, IPPROTO_IPV6, IPV6_V6ONLY, &one, 4), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &any, sizeof(any), &name), 0);
	assert_int_equal(set_option(v, KEY, 0, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, 4), 0);
	assert_int_equal(set_option(v, KEY, 0, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one, 4), 0);
	setsockopt(host, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof(hops));
	loopback(AF_INET6, ntohs(name.sin6_port), &name);
	assert_int_equal(sendto(host, "x", 1, 0, (struct sockaddr *)&name, sizeof(name)), 1);
	assert_int_equal(receive_from(v, KEY, &p, in), 1);
	assert_int_equal(p.flags, 2 | 4);
	assert_int_equal(p.ttl, 9);
	assert_memory_equal(p.local, &in6addr_loopback, 16);
	p = (struct prefix){
		.addr_len = 28, .flags = 1 | 2 | 4 | 8, .ttl = 5, .tos = 1, .ifindex = 1
	};
	memcpy(p.addr, &a, 28);
	memcpy(p.local, &in6addr_loopback, 16);
	memcpy(body, &p, 64);
	tg_send(v, SENDTO, KEY, body, 65);
	assert_int_equal(tg_result(v, SENDTO, KEY), 0);
	wait_readable(host);
	assert_int_equal(recv(host, in, sizeof(in), 0), 1);
	close(host);
}

/* Echo over lo, where the group may; else the clear error. */
static void test_ping(void **state)
{
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo.sequence = htons(7) };
	struct vg *v = *state;
	struct sockaddr_in6 a;
	socklen_t len = loopback(AF_INET, 0, &a);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
	uint8_t in[100];
	struct prefix p;

	if (fd < 0) {
		int e = errno;

		assert_int_equal(tg_create(v, KEY, AF_INET, 2, IPPROTO_ICMP), -e);
		return;
	}
	close(fd);
	assert_int_equal(tg_create(v, KEY, AF_INET, 2, IPPROTO_ICMP), 0);
	send_to(v, KEY, &a, len, 1, &echo, sizeof(echo));
	assert_int_equal(tg_result(v, SENDTO, KEY), 0);
	assert_int_equal(receive_from(v, KEY, &p, in), sizeof(echo));
	assert_int_equal(in[0], ICMP_ECHOREPLY);
	assert_int_equal(in[7], 7);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_datagrams), CASE(test_datagram_in_pieces), CASE(test_connected_datagrams),
		CASE(test_ancillary), CASE(test_ancillary_v6),       CASE(test_ping),
	};

	return cmocka_run_group_tests_name("tsi datagrams", tests, tg_isolate, NULL);
}
