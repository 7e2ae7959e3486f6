/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tsi_guest.h"

#include <dirent.h>
#include <netinet/tcp.h>
#include <malloc.h>
#include <poll.h>
#include <sys/resource.h>

/* TSI's streams end to end: the guest's packets on one side, sockets of this process on the other.
 */

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

static int is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 5000) == 1 && (p.revents & (events | POLLERR | POLLHUP));
}

/* The guest connects to a listener of the host: the host's end. */
static int connect_out(struct vg *v, uint32_t key, int family, int listener)
{
	struct sockaddr_in6 a, name;
	socklen_t len = loopback(family, port_of(listener), &a), plen = sizeof(a);
	struct sockaddr_in6 peer;
	int fd;

	assert_int_equal(tg_create(v, key, family, 1, 0), 0);
	assert_int_equal(tg_addr(v, CONNECT, key, &a, len, &name), 0);
	fd = accept4(listener, (struct sockaddr *)&peer, &plen, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	assert_memory_equal(&peer, &name, plen); /* the local name was the true one */
	return fd;
}

static void expect_data(struct vg *v, uint32_t key, uint32_t host_port, const char *text)
{
	struct msg m;

	tg_stream(v, SM_VSOCK_OP_RW, key, host_port, &m);
	assert_int_equal(m.h.len, strlen(text));
	assert_memory_equal(m.b, text, m.h.len);
}

static void expect_text(int fd, const char *text)
{
	char buf[64];

	assert_true(is_ready(fd, POLLIN));
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void expect_eof(int fd)
{
	assert_true(is_ready(fd, POLLIN));
	assert_int_equal(recv(fd, &(char){ 0 }, 1, 0), 0);
}

static void expect_reset(int fd)
{
	assert_true(is_ready(fd, POLLIN));
	assert_int_equal(recv(fd, &(char){ 0 }, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

static uint64_t flows(struct vg *v)
{
	struct sm_vsock_counters c;

	sm_vsock_counters(v->vs, &c);
	return c.flows;
}

static void expect_flows(struct vg *v, uint64_t n)
{
	for (int i = 0; i < 1000 && flows(v) != n; i++) {
		vg_spin(v);
		usleep(1000);
	}
	assert_int_equal(flows(v), n);
}

static void out_both_ways(struct vg *v, int family)
{
	int l = host_socket(family, SOCK_STREAM);
	int fd = connect_out(v, KEY, family, l);
	struct msg m;

	vg_data(v, KEY, OUT, "hello", 5);
	expect_text(fd, "hello");
	assert_int_equal(send(fd, "world", 5, 0), 5);
	expect_data(v, KEY, OUT, "world");
	/* Half close by the guest: the other way goes on. */
	vg_shutdown(v, KEY, OUT, SM_VSOCK_SHUT_SEND);
	expect_eof(fd);
	assert_int_equal(send(fd, "more", 4, 0), 4);
	expect_data(v, KEY, OUT, "more");
	shutdown(fd, SHUT_WR);
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY, OUT, &m);
	assert_int_equal(m.h.flags, SM_VSOCK_SHUT_SEND);
	assert_true(tg_quiet(v));
	vg_shutdown(v, KEY, OUT, CLOSE);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, OUT, &m);
	assert_true(tg_quiet(v));
	assert_int_equal(flows(v), 0);
	close(fd);
	close(l);
}

static void test_out(void **state)
{
	out_both_ways(*state, AF_INET);
	out_both_ways(*state, AF_INET6);
}

/* The peer ends first, the guest goes on sending. */
static void test_half_close_by_peer(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);
	struct msg m;

	send(fd, "bye", 3, 0);
	shutdown(fd, SHUT_WR);
	expect_data(v, KEY, OUT, "bye");
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY, OUT, &m);
	assert_int_equal(m.h.flags, SM_VSOCK_SHUT_SEND);
	vg_data(v, KEY, OUT, "still here", 10);
	expect_text(fd, "still here");
	vg_shutdown(v, KEY, OUT, SM_VSOCK_SHUT_SEND);
	expect_eof(fd);
	assert_true(tg_quiet(v));
	vg_shutdown(v, KEY, OUT, CLOSE);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, OUT, &m);
	expect_flows(v, 0);
	close(fd);
	close(l);
}

/* A read ends at urgent data, which a guest does not get, though there is more behind it. */
static void test_urgent(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);
	struct msg m;

	send(fd, "one", 3, 0);
	expect_data(v, KEY, OUT, "one");
	send(fd, "two", 3, 0);
	send(fd, "!", 1, MSG_OOB);
	send(fd, "three", 5, 0);
	expect_data(v, KEY, OUT, "two");
	expect_data(v, KEY, OUT, "three");
	vg_shutdown(v, KEY, OUT, CLOSE);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, OUT, &m);
	expect_flows(v, 0);
	close(fd);
	close(l);
}

static void abort_it(int fd)
{
	struct linger linger = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static void expect_error(struct vg *v, uint32_t key, uint32_t host_port, int error)
{
	struct msg m;

	tg_gets(v, ERROR, key, &m);
	assert_int_equal(m.h.len, 8);
	assert_int_equal(get32(m.b), host_port);
	assert_int_equal(get32(m.b + 4), error);
	tg_stream(v, SM_VSOCK_OP_RST, key, host_port, &m);
}

/* What came before the reset is read before it. */
static void test_reset_by_peer(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);

	send(fd, "last", 4, 0);
	abort_it(fd);
	expect_data(v, KEY, OUT, "last");
	expect_error(v, KEY, OUT, ECONNRESET);
	expect_flows(v, 0);
	/* … after a half close by the guest, … */
	fd = connect_out(v, KEY + 1, AF_INET, l);
	vg_shutdown(v, KEY + 1, OUT, SM_VSOCK_SHUT_SEND);
	expect_eof(fd);
	abort_it(fd);
	expect_error(v, KEY + 1, OUT, ECONNRESET);
	expect_flows(v, 0);
	/* … after one by the peer, … */
	fd = connect_out(v, KEY + 2, AF_INET, l);
	shutdown(fd, SHUT_WR);
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY + 2, OUT, &(struct msg){ 0 });
	abort_it(fd);
	expect_error(v, KEY + 2, OUT, EPIPE); /* as a write of the guest's would say */
	expect_flows(v, 0);
	close(l);
}

static void test_reset_by_guest(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);
	struct msg m;

	vg_op(v, SM_VSOCK_OP_RST, KEY, OUT);
	expect_reset(fd);
	close(fd);
	assert_true(tg_quiet(v));
	expect_flows(v, 0);
	/* One that broke the rules is reset on both sides. */
	fd = connect_out(v, KEY, AF_INET, l);
	vg_op(v, SM_VSOCK_OP_REQUEST, KEY, OUT);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, OUT, &m);
	expect_reset(fd);
	close(fd);
	expect_flows(v, 0);
	close(l);
}

static void test_refused(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM);
	struct sockaddr_in6 a;
	socklen_t len = loopback(AF_INET, port_of(l), &a);

	close(l);
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 6), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY, &a, len, NULL), -ECONNREFUSED);
	/* The socket is as before: it can try again. */
	assert_int_equal(tg_addr(v, CONNECT, KEY, &a, len, NULL), -ECONNREFUSED);
	assert_int_equal(flows(v), 1);
	tg_two(v, RELEASE, KEY, OUT);
	assert_int_equal(flows(v), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY, &a, len, NULL), -EBADF);
}

/* The guest lets go of a socket whose connect is under way. */
static void test_released_while_connecting(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80) };

	inet_pton(AF_INET, "192.0.2.1", &a.sin_addr); /* nobody's */
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	tg_send_addr(v, CONNECT, KEY, &a, sizeof(a));
	tg_two(v, RELEASE, KEY, OUT);
	assert_int_equal(flows(v), 0);
}

/* To a listener whose queue is full: the guest is told at once that it is under way and what its
 * name is, and when there is room, that it has ended. */
static void test_under_way(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), first, fd;
	struct sockaddr_in6 a, name = { 0 }, peer = { 0 };
	socklen_t len = loopback(AF_INET, port_of(l), &a), peer_len = sizeof(peer);
	struct msg m;

	assert_int_equal(listen(l, 0), 0);
	first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(first, (struct sockaddr *)&a, len), 0);
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, CONNECT, KEY, &a, len, &name), -EINPROGRESS);
	assert_int_equal(name.sin6_family, AF_INET);
	assert_int_not_equal(name.sin6_port, 0);
	assert_true(tg_quiet(v));
	close(accept(l, NULL, NULL));
	tg_gets(v, CONNECT, KEY, &m);
	assert_int_equal(get32(m.b), 0);
	assert_memory_equal(m.b + 8, &name, len);
	fd = accept(l, (struct sockaddr *)&peer, &peer_len);
	assert_true(fd >= 0);
	assert_memory_equal(&peer, &name, len);
	tg_two(v, RELEASE, KEY, OUT);
	expect_flows(v, 0);
	assert_true(tg_quiet(v));
	close(fd);
	close(first);
	close(l);
}

/* The peer's end and its reset are one event, and a read tells of the end only. */
static void test_end_and_reset(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);
	struct msg m;

	shutdown(fd, SHUT_WR);
	abort_it(fd);
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY, OUT, &m);
	expect_error(v, KEY, OUT, EPIPE);
	expect_flows(v, 0);
	close(l);
}

static void in_both_ways(struct vg *v, int family)
{
	struct sockaddr_in6 a, name = { 0 };
	socklen_t len = loopback(family, 0, &a);
	struct sockaddr_in6 local;
	socklen_t local_len = sizeof(local);
	uint32_t host_port;
	struct msg m;
	int fd;

	assert_int_equal(tg_create(v, KEY, family, 1, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, &name), 0);
	assert_true(name.sin6_port != 0);
	assert_int_equal(tg_listen(v, KEY, 2, &a), 0);
	assert_memory_equal(&a, &name, len);
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, len), 0);
	send(fd, "early", 5, 0);
	tg_gets(v, ACCEPTED, KEY, &m);
	assert_int_equal(m.h.len, 272);
	assert_int_equal(m.h.buf_alloc, SM_VSOCK_BUF);
	host_port = get32(m.b);
	assert_int_equal(get32(m.b + 8), len);
	assert_int_equal(get32(m.b + 12), len);
	assert_memory_equal(m.b + 16, &name, len);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&local, &local_len), 0);
	assert_memory_equal(m.b + 144, &local, len);
	/* Data may come at once: LISTEN has said what there is room for, and it says so. */
	assert_int_equal(get32(m.b + 4), vg_hdr(v, 0, 0, 0).buf_alloc);
	expect_data(v, KEY, host_port, "early");
	vg_data(v, KEY, host_port, "hi", 2);
	expect_text(fd, "hi");
	/* The listener goes, the stream stays. */
	tg_two(v, RELEASE, KEY, OUT);
	vg_data(v, KEY, host_port, "ho", 2);
	expect_text(fd, "ho");
	close(fd);
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY, host_port, &m);
	/* A guest that does not ask hears no more of what it has closed. */
	vg_shutdown(v, KEY, host_port, SM_VSOCK_SHUT_BOTH);
	expect_flows(v, 0);
	assert_true(tg_quiet(v));
}

static void test_in(void **state)
{
	in_both_ways(*state, AF_INET);
	in_both_ways(*state, AF_INET6);
}

static int client_of(const struct sockaddr_in6 *name, socklen_t len)
{
	int fd = socket(name->sin6_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	if (connect(fd, (const struct sockaddr *)name, len) < 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

static uint32_t accepts(struct vg *v, uint32_t key)
{
	struct msg m;

	tg_gets(v, ACCEPTED, key, &m);
	return get32(m.b);
}

/* Announced are as many as the guest has room for; RST gives one up, and its client sees that. */
static void test_backlog(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in6 a, name = { 0 };
	socklen_t len = loopback(AF_INET, 0, &a);
	uint32_t port[3];
	int fd[3];

	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, &name), 0);
	assert_int_equal(tg_listen(v, KEY, 2, NULL), 0);
	for (int i = 0; i < 3; i++)
		fd[i] = client_of(&name, len);
	port[0] = accepts(v, KEY);
	port[1] = accepts(v, KEY);
	assert_true(tg_quiet(v));
	tg_two(v, ACCEPT, KEY, 1);
	port[2] = accepts(v, KEY);
	assert_true(port[0] != port[1] && port[1] != port[2]);
	tg_two(v, ACCEPT, KEY, 100); /* no more than it had */
	vg_op(v, SM_VSOCK_OP_RST, KEY, port[0]);
	expect_reset(fd[0]);
	tg_two(v, RELEASE, KEY, 0);
	for (int i = 1; i < 3; i++) {
		vg_op(v, SM_VSOCK_OP_RST, KEY, port[i]);
		expect_reset(fd[i]);
	}
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	expect_flows(v, 0);
}

/* A host that does not read: the guest's credit runs out, then all arrives, and the close last. */
static void test_slow_peer(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd, small = 4096;
	static uint8_t piece[65536], got[65536];
	uint64_t sent = 0, seen = 0;
	uint32_t fwd = 0;
	struct msg m;

	setsockopt(l, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	fd = connect_out(v, KEY, AF_INET, l);
	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = (uint8_t)(i * 31 >> 3);
	while (sent - fwd + sizeof(piece) <= SM_VSOCK_BUF) {
		vg_data(v, KEY, OUT, piece, sizeof(piece));
		sent += sizeof(piece);
		while (vg_recv(v, &m.h, NULL)) {
			assert_int_equal(m.h.op, SM_VSOCK_OP_CREDIT_UPDATE);
			fwd = m.h.fwd_cnt;
			vg_give_rx(v, 1);
		}
	}
	vg_shutdown(v, KEY, OUT, CLOSE);
	while (seen < sent) {
		ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);

		if (n < 0) {
			vg_spin(v);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(got[i], piece[(seen + (uint64_t)i) % sizeof(piece)]);
		seen += (uint64_t)n;
	}
	do
		assert_true(tg_recv(v, &m));
	while (m.h.op == SM_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(m.h.op, SM_VSOCK_OP_RST);
	expect_eof(fd);
	close(fd);
	close(l);
	expect_flows(v, 0);
}

static int with_user_timeout(int ms)
{
	int n = 0;

	for (int fd = 3; fd < 256; fd++) {
		int v = 0;
		socklen_t len = sizeof(v);

		n += getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &v, &len) == 0 && v == ms;
	}
	return n;
}

/* A host that never reads does not make us hold for ever what a guest has closed behind. */
static void test_orphan(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd[2], small = 4096, own = 7000;
	static const uint8_t piece[65536];
	struct msg m;

	setsockopt(l, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t sent = 0, fwd = 0;

		fd[i] = connect_out(v, KEY + i, AF_INET, l);
		if (i)
			assert_int_equal(set_option(v, KEY + i, OUT, IPPROTO_TCP, TCP_USER_TIMEOUT,
						    &own, sizeof(own)),
					 0);
		while (sent - fwd + sizeof(piece) <= SM_VSOCK_BUF) {
			vg_data(v, KEY + i, OUT, piece, sizeof(piece));
			sent += sizeof(piece);
			while (vg_recv(v, &m.h, NULL)) {
				fwd = m.h.fwd_cnt;
				vg_give_rx(v, 1);
			}
		}
		assert_int_equal(with_user_timeout(180000), i);
		vg_shutdown(v, KEY + i, OUT, CLOSE);
		vg_spin(v);
		assert_int_equal(with_user_timeout(180000), 1);
	}
	assert_int_equal(with_user_timeout(own), 1);
	close(fd[0]);
	close(fd[1]);
	close(l);
	expect_flows(v, 0);
}

/* More than the guest takes at once, its buffers and credit given back bit by bit. */
static void test_slow_guest(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd;
	static uint8_t all[600000];
	uint32_t seen = 0, told = 0;

	v->alloc = 20000;
	fd = connect_out(v, KEY, AF_INET, l);
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * 7 + (i >> 8));
	for (uint32_t sent = 0; seen < sizeof(all);) {
		ssize_t n = send(fd, all + sent, sizeof(all) - sent, MSG_DONTWAIT);
		struct sm_vsock_hdr h;
		const uint8_t *data;

		sent += n > 0 ? (uint32_t)n : 0;
		vg_spin(v);
		while (vg_recv(v, &h, &data)) {
			assert_int_equal(h.op, SM_VSOCK_OP_RW);
			assert_memory_equal(data, all + seen, h.len);
			seen += h.len;
			assert_true(seen - told <= v->alloc);
			vg_give_rx(v, 1);
		}
		h = vg_hdr(v, SM_VSOCK_OP_CREDIT_UPDATE, KEY, OUT);
		h.fwd_cnt = told = seen;
		vg_send(v, h, NULL);
	}
	abort_it(fd);
	expect_error(v, KEY, OUT, ECONNRESET);
	close(l);
}

/* The peer resets while the guest writes and does not read. */
static void test_reset_without_credit(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd;
	struct msg m;

	v->alloc = 10;
	fd = connect_out(v, KEY, AF_INET, l);
	send(fd, "0123456789abcdef", 16, 0);
	expect_data(v, KEY, OUT, "0123456789");
	abort_it(fd);
	vg_data(v, KEY, OUT, "x", 1);
	tg_gets(v, ERROR, KEY, &m);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, OUT, &m);
	expect_flows(v, 0);
	close(l);
}

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* 10^5 connections, one after the other, a thousand with SM_QUICK: all is as before. */
static void test_cycles(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM);
	int cycles = getenv("SM_TSI_CYCLES") ? atoi(getenv("SM_TSI_CYCLES")) : 2000;
	size_t fds = count_fds(), memory = 0;
	struct msg m;

	for (int i = 0; i < cycles; i++) {
		uint32_t key = KEY + (uint32_t)i;
		int fd = connect_out(v, key, AF_INET, l);

		vg_data(v, key, OUT, "x", 1);
		if (i & 1) {
			vg_op(v, SM_VSOCK_OP_RST, key, OUT);
		} else {
			vg_shutdown(v, key, OUT, CLOSE);
			tg_stream(v, SM_VSOCK_OP_RST, key, OUT, &m);
		}
		abort_it(fd);
		if (i == 100)
			memory = mallinfo2().uordblks;
	}
	expect_flows(v, 0);
	assert_int_equal(count_fds(), fds);
	assert_true(mallinfo2().uordblks <= memory);
	close(l);
}

/* Many at once, of which each costs little. */
static void test_many(void **state)
{
	struct vg *v = *state;
	struct rlimit lim;
	int l = host_socket(AF_INET, SOCK_STREAM), *fds;
	size_t n, before = mallinfo2().uordblks, each;
	struct msg m;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	n = lim.rlim_cur > 20200 ? 10000 : (lim.rlim_cur - 200) / 2;
	fds = calloc(n, sizeof(*fds));
	for (size_t i = 0; i < n; i++)
		fds[i] = connect_out(v, KEY + (uint32_t)i, AF_INET, l);
	each = (mallinfo2().uordblks - before) / n;
	print_message("%zu streams, %zu bytes each\n", n, each);
	assert_true(each <= 1024);
	for (size_t i = 0; i < n; i++) {
		vg_data(v, KEY + (uint32_t)i, OUT, "ping", 4);
		expect_text(fds[i], "ping");
		send(fds[i], "pong", 4, 0);
		expect_data(v, KEY + (uint32_t)i, OUT, "pong");
	}
	for (size_t i = 0; i < n; i++) {
		vg_shutdown(v, KEY + (uint32_t)i, OUT, CLOSE);
		tg_stream(v, SM_VSOCK_OP_RST, KEY + (uint32_t)i, OUT, &m);
		abort_it(fds[i]);
	}
	free(fds);
	close(l);
	expect_flows(v, 0);
}

/* A second HELLO, and a reset of the device, end everything. */
static void test_hello_again(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);

	assert_int_equal(tg_create(v, KEY + 1, AF_INET, 2, 0), 0);
	assert_int_equal(flows(v), 2);
	assert_int_equal(tg_hello(v), 0);
	expect_flows(v, 0);
	expect_eof(fd);
	close(fd);
	close(l);
}

static int setup_few(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	tg_init(v, NULL, NULL, 3);
	assert_int_equal(tg_hello(v), 0);
	*state = v;
	return 0;
}

/* At the limit there are no more sockets, and connections wait in the host's queue. */
static void test_limit(void **state)
{
	struct vg *v = *state;
	struct sockaddr_in6 a, name = { 0 };
	socklen_t len = loopback(AF_INET, 0, &a);
	uint32_t port[3];
	int fd[4];
	struct msg m;

	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(tg_addr(v, BIND, KEY, &a, len, &name), 0);
	assert_int_equal(tg_listen(v, KEY, 10, NULL), 0);
	for (int i = 0; i < 4; i++)
		fd[i] = client_of(&name, len);
	port[0] = accepts(v, KEY);
	port[1] = accepts(v, KEY);
	assert_true(tg_quiet(v));
	assert_int_equal(tg_create(v, KEY + 1, AF_INET, 1, 0), -EMFILE);
	assert_int_equal(flows(v), 3);
	vg_op(v, SM_VSOCK_OP_RST, KEY, port[0]);
	port[2] = accepts(v, KEY);
	assert_true(tg_quiet(v));
	vg_op(v, SM_VSOCK_OP_CREDIT_UPDATE, KEY, port[1]);
	vg_shutdown(v, KEY, port[1], CLOSE);
	tg_stream(v, SM_VSOCK_OP_RST, KEY, port[1], &m);
	accepts(v, KEY);
	/* The one that the guest has replaced makes room for itself. */
	assert_int_equal(tg_create(v, KEY, AF_INET, 1, 0), 0);
	assert_int_equal(flows(v), 3);
	assert_int_equal(tg_create(v, KEY + 1, AF_INET, 1, 0), -EMFILE);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
}

static void test_listeners_limit(void **state)
{
	struct vg *v = *state;

	for (uint32_t i = 0; i <= 1024; i++) {
		assert_int_equal(tg_create(v, KEY + i, AF_INET, 1, 0), 0);
		if (tg_listen(v, KEY + i, 1, NULL) != (i < 1024 ? 0 : -ENOBUFS))
			fail_msg("listener %u", i);
	}
	tg_two(v, RELEASE, KEY, 0);
	assert_int_equal(tg_listen(v, KEY + 1024, 1, NULL), 0);
	/* again: another backlog, and no second one */
	assert_int_equal(tg_listen(v, KEY + 1024, 7, NULL), 0);
	for (uint32_t i = 1; i <= 1024; i++)
		tg_two(v, RELEASE, KEY + i, 0);
	assert_int_equal(flows(v), 0);
}

/* More than was promised to be held, counters that run backwards, packets for nobody. */
static void test_credit_abuse(void **state)
{
	struct vg *v = *state;
	int l = host_socket(AF_INET, SOCK_STREAM), fd = connect_out(v, KEY, AF_INET, l);
	static uint8_t bytes[65536];
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_CREDIT_UPDATE, KEY, OUT);
	struct msg m;
	int i;

	/* the guest's window shrinks below what is on its way: nothing is sent, nothing breaks */
	h.buf_alloc = 0;
	vg_send(v, h, NULL);
	send(fd, "x", 1, 0);
	assert_true(tg_quiet(v));
	h.fwd_cnt = 0x80000000u;
	h.buf_alloc = UINT32_MAX;
	vg_send(v, h, NULL);
	expect_data(v, KEY, OUT, "x");
	h.fwd_cnt = 5; /* of one byte */
	h.buf_alloc = 100;
	vg_send(v, h, NULL);
	/* more than the host takes */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
	for (i = 0; i < 1000; i++) {
		vg_data(v, KEY, OUT, bytes, sizeof(bytes));
		m.h.op = 0;
		while (vg_recv(v, &m.h, NULL))
			vg_give_rx(v, 1);
		if (m.h.op == SM_VSOCK_OP_RST)
			break;
	}
	assert_true(i < 1000);
	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	vg_data(v, KEY + 5, OUT, "x", 1);
	tg_stream(v, SM_VSOCK_OP_RST, KEY + 5, OUT, &m);
	h = vg_hdr(v, SM_VSOCK_OP_RW, KEY, OUT);
	h.src_cid = 99;
	vg_send(v, h, NULL);
	h.type = SM_VSOCK_DGRAM;
	h.dst_port = HELLO;
	vg_send(v, h, NULL);
	assert_true(tg_quiet(v));
	expect_flows(v, 0);
	close(l);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_out),
		CASE(test_half_close_by_peer),
		CASE(test_urgent),
		CASE(test_reset_by_peer),
		CASE(test_reset_by_guest),
		CASE(test_refused),
		CASE(test_released_while_connecting),
		CASE(test_under_way),
		CASE(test_end_and_reset),
		CASE(test_in),
		CASE(test_backlog),
		CASE(test_slow_peer),
		CASE(test_orphan),
		CASE(test_slow_guest),
		CASE(test_reset_without_credit),
		CASE(test_cycles),
		CASE(test_many),
		CASE(test_hello_again),
		cmocka_unit_test_setup_teardown(test_limit, setup_few, teardown),
		CASE(test_listeners_limit),
		CASE(test_credit_abuse),
	};

	return cmocka_run_group_tests_name("tsi streams", tests, tg_isolate, NULL);
}
