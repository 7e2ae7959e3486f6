/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>

#include <cmocka.h>

#include "base/clean.h"
#include "vsock_guest.h"

/* The device from end to end: descriptors on one side, rings on the other. */

#define GP 1000u	/* guest port */
#define HP 5000u	/* host port */

struct ended {
	int times, err;
};

static void on_done(void *arg, int err)
{
	struct ended *e = arg;

	e->times++;
	e->err = err;
}

static int setup(void **state)
{
	struct vg *v = malloc(sizeof(*v));

	signal(SIGPIPE, SIG_IGN);
	vg_init(v);
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

static void expect(struct vg *v, uint32_t port, int source, int sink, struct ended *e)
{
	struct sm_vsock_stream s = { source, sink, e ? on_done : NULL, e };

	if (e)
		*e = (struct ended){ 0, 1 };
	assert_int_equal(sm_vsock_expect(v->vs, port, &s), 0);
}

static struct sm_vsock_hdr gets(struct vg *v, uint16_t op)
{
	struct sm_vsock_hdr h;

	assert_true(vg_recv(v, &h, NULL));
	assert_int_equal(h.op, op);
	assert_int_equal(h.src_cid, SM_VSOCK_HOST_CID);
	assert_int_equal(h.dst_cid, GUEST_CID);
	return h;
}

static void gets_nothing(struct vg *v)
{
	struct sm_vsock_hdr h;

	assert_false(vg_recv(v, &h, NULL));
}

/* The guest connects to an expected port; all rx buffers are given. */
static void connect_to(struct vg *v, uint32_t host_port)
{
	struct sm_vsock_hdr h;

	vg_give_rx(v, RING);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, host_port);
	h = gets(v, SM_VSOCK_OP_RESPONSE);
	assert_int_equal(h.src_port, host_port);
	assert_int_equal(h.dst_port, GP);
	assert_int_equal(h.buf_alloc, SM_VSOCK_BUF);
}

static void ended_once(const struct ended *e, int err)
{
	assert_int_equal(e->times, 1);
	assert_int_equal(e->err, err);
}

static void make_pipe(int p[2])
{
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
}

static void fill_pattern(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8));
}

/* Takes len bytes of stream data for the guest, all from host_port; the buffers are given back. */
static void gets_data(struct vg *v, const uint8_t *want, uint32_t len)
{
	const uint8_t *data;
	struct sm_vsock_hdr h;

	while (len) {
		if (!vg_recv(v, &h, &data)) {
			vg_spin(v);
			assert_true(vg_recv(v, &h, &data));
		}
		assert_int_equal(h.op, SM_VSOCK_OP_RW);
		assert_true(h.len && h.len <= len);
		assert_memory_equal(data, want, h.len);
		want += h.len;
		len -= h.len;
		vg_give_rx(v, 1);
	}
}

/* ---- the two ways ---- */

static void test_guest_to_pipe(void **state)
{
	struct vg *v = *state;
	struct ended e;
	char text[16];
	int p[2];

	make_pipe(p);
	expect(v, HP, -1, p[1], &e);
	connect_to(v, HP);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_SEND); /* no source */
	vg_data(v, GP, HP, "hello", 5);
	assert_int_equal(read(p[0], text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_BOTH);
	gets(v, SM_VSOCK_OP_RST);
	ended_once(&e, 0);
	assert_int_equal(read(p[0], text, sizeof(text)), 0);
	close(p[0]);
	gets_nothing(v);
}

static void test_pipe_to_guest(void **state)
{
	struct vg *v = *state;
	uint8_t bytes[20000];
	struct ended e;
	int p[2];

	fill_pattern(bytes, sizeof(bytes));
	make_pipe(p);
	assert_int_equal(write(p[1], bytes, sizeof(bytes)), sizeof(bytes));
	expect(v, HP, p[0], -1, &e);
	connect_to(v, HP);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_RCV); /* no sink */
	gets_data(v, bytes, sizeof(bytes));
	assert_int_equal(write(p[1], "x", 1), 1);
	vg_spin(v);
	gets_data(v, (const uint8_t *)"x", 1);
	gets_nothing(v);
	close(p[1]);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	assert_int_equal(e.times, 0);
	vg_op(v, SM_VSOCK_OP_RST, GP, HP);
	ended_once(&e, 0);
	gets_nothing(v);
}

static void test_socket_both_ways(void **state)
{
	struct vg *v = *state;
	struct ended e;
	char c[4];
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	expect(v, HP, sv[0], sv[0], &e);
	connect_to(v, HP);
	gets_nothing(v);
	vg_data(v, GP, HP, "ab", 2);
	assert_int_equal(recv(sv[1], c, sizeof(c), MSG_DONTWAIT), 2);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_SEND);
	/* The half close came through. */
	assert_int_equal(recv(sv[1], c, sizeof(c), MSG_DONTWAIT), 0);
	assert_int_equal(send(sv[1], "cd", 2, 0), 2);
	vg_spin(v);
	gets_data(v, (const uint8_t *)"cd", 2);
	close(sv[1]);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	vg_op(v, SM_VSOCK_OP_RST, GP, HP);
	ended_once(&e, 0);
}

static void test_guest_reads_no_more(void **state)
{
	struct vg *v = *state;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	expect(v, HP, sv[0], sv[0], NULL);
	connect_to(v, HP);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_RCV);
	assert_int_equal(send(sv[1], "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	vg_data(v, GP, HP, "y", 1);
	assert_int_equal(recv(sv[1], &(char){ 0 }, 1, MSG_DONTWAIT), 1);
	close(sv[1]);
}

static void test_files(void **state)
{
	struct vg *v = *state;
	int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
	int keep = fcntl(out, F_DUPFD_CLOEXEC, 0);
	static uint8_t bytes[100000];
	struct ended e;
	char text[8];

	fill_pattern(bytes, sizeof(bytes));
	assert_int_equal(write(in, bytes, sizeof(bytes)), sizeof(bytes));
	lseek(in, 0, SEEK_SET);
	expect(v, HP, in, out, &e);
	connect_to(v, HP);
	gets_data(v, bytes, sizeof(bytes));
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_SEND);
	vg_data(v, GP, HP, "to file", 7);
	assert_int_equal(pread(keep, text, sizeof(text), 0), 7);
	assert_memory_equal(text, "to file", 7);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_BOTH);
	ended_once(&e, 0);
	close(keep);
}

static void test_devices(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_counters c;
	struct ended e;

	expect(v, HP, open("/dev/null", O_RDONLY), open("/dev/null", O_WRONLY), &e);
	connect_to(v, HP);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_SEND);
	vg_data(v, GP, HP, "into the void", 13);
	sm_vsock_counters(v->vs, &c);
	assert_int_equal(c.tx_bytes, 13);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_BOTH);
	ended_once(&e, 0);
	gets(v, SM_VSOCK_OP_RST);
	expect(v, HP, -1, open("/dev/full", O_WRONLY), &e);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP);
	gets(v, SM_VSOCK_OP_RESPONSE);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	vg_data(v, GP, HP, "x", 1); /* ENOSPC: the sink has failed */
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	vg_op(v, SM_VSOCK_OP_RST, GP, HP);
	ended_once(&e, 0);
}

static void test_tty(void **state)
{
	struct vg *v = *state;
	int master, slave, flags;
	struct termios raw;
	struct ended e;
	char text[8];
	int keep;

	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	keep = dup(slave);
	flags = fcntl(keep, F_GETFL);
	expect(v, HP, slave, slave, &e);
	connect_to(v, HP);
	vg_data(v, GP, HP, "out", 3);
	assert_int_equal(read(master, text, sizeof(text)), 3);
	assert_int_equal(write(master, "in", 2), 2);
	vg_spin(v);
	gets_data(v, (const uint8_t *)"in", 2);
	assert_int_equal(fcntl(keep, F_GETFL), flags); /* the description is not ours to change */
	close(keep);
	close(master);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	vg_op(v, SM_VSOCK_OP_RST, GP, HP);
	ended_once(&e, 0);
}

static void test_descriptors_that_would_block(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_stream s = { .source = 1 << 20, .sink = -1 };
	int master, slave;

	assert_int_equal(sm_vsock_expect(v->vs, HP, &s), -EBADF);
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	s = (struct sm_vsock_stream){ .source = -1, .sink = master };
	assert_int_equal(sm_vsock_expect(v->vs, HP, &s), -EINVAL);
	assert_true(fcntl(master, F_GETFD) >= 0); /* still ours */
	fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
	assert_int_equal(sm_vsock_expect(v->vs, HP, &s), 0);
	close(slave);
}

static void test_flags_of_pipe_are_kept(void **state)
{
	struct vg *v = *state;
	int p[2], keep, flags;

	make_pipe(p);
	keep = dup(p[1]);
	flags = fcntl(keep, F_GETFL);
	expect(v, HP, -1, p[1], NULL);
	assert_int_equal(fcntl(keep, F_GETFL), flags);
	close(keep);
	close(p[0]);
}

/* ---- sinks that fail or do not drain ---- */

static void test_sink_closed_by_reader(void **state)
{
	struct vg *v = *state;
	struct ended e;
	int p[2], q[2];

	make_pipe(p);
	make_pipe(q);
	expect(v, HP, q[0], p[1], &e);
	connect_to(v, HP);
	close(p[0]);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_RCV);
	vg_data(v, GP, HP, "late", 4);
	gets_nothing(v);
	assert_int_equal(write(q[1], "go on", 5), 5); /* the other way does not mind */
	vg_spin(v);
	gets_data(v, (const uint8_t *)"go on", 5);
	close(q[1]);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_BOTH);
	gets(v, SM_VSOCK_OP_RST);
	ended_once(&e, 0);
}

/* Fills a stream whose sink does not drain up to its credit; how much that was. */
static uint32_t stuff(struct vg *v, int pipe_size)
{
	static uint8_t bytes[32768];
	uint32_t total = 0;

	fill_pattern(bytes, sizeof(bytes));
	while (total < SM_VSOCK_BUF + (uint32_t)pipe_size) {
		vg_data(v, GP, HP, bytes, sizeof(bytes));
		total += sizeof(bytes);
	}
	return total;
}

static void test_stuck_sink_is_bounded_and_drains(void **state)
{
	struct vg *v = *state;
	uint8_t want[32768], got[32768];
	struct sm_vsock_hdr h;
	struct ended e;
	uint32_t total;
	int p[2], size;

	make_pipe(p);
	size = fcntl(p[1], F_GETPIPE_SZ);
	expect(v, HP, -1, p[1], &e);
	connect_to(v, HP);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	total = stuff(v, size);
	while (vg_recv(v, &h, NULL)) {
		assert_int_equal(h.op, SM_VSOCK_OP_CREDIT_UPDATE);
		assert_true(h.fwd_cnt <= (uint32_t)size);
	}
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_BOTH);
	gets_nothing(v); /* no RST while bytes are held */
	fill_pattern(want, sizeof(want));
	for (uint32_t done = 0; done < total; done += sizeof(got)) {
		for (size_t n = 0; n < sizeof(got);) {
			ssize_t r = read(p[0], got + n, sizeof(got) - n);

			assert_true(r > 0);
			n += (size_t)r;
			vg_spin(v);
		}
		assert_memory_equal(got, want, sizeof(got));
	}
	assert_int_equal(read(p[0], got, 1), 0);
	while (vg_recv(v, &h, NULL) && h.op == SM_VSOCK_OP_CREDIT_UPDATE)
		;
	assert_int_equal(h.op, SM_VSOCK_OP_RST);
	ended_once(&e, 0);
	close(p[0]);
}

static void test_guest_sends_past_its_credit(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_hdr h;
	struct ended e;
	int p[2], size;

	make_pipe(p);
	size = fcntl(p[1], F_GETPIPE_SZ);
	expect(v, HP, -1, p[1], &e);
	connect_to(v, HP);
	stuff(v, size);
	assert_int_equal(e.times, 0);
	vg_data(v, GP, HP, "!", 1);
	ended_once(&e, -EPROTO);
	while (vg_recv(v, &h, NULL) && h.op != SM_VSOCK_OP_RST)
		;
	assert_int_equal(h.op, SM_VSOCK_OP_RST);
	close(p[0]);
}

static void test_stuck_sink_stops_nobody_else(void **state)
{
	struct vg *v = *state;
	int p[2], q[2], size;
	char c;

	make_pipe(p);
	make_pipe(q);
	size = fcntl(p[1], F_GETPIPE_SZ);
	expect(v, HP, -1, p[1], NULL);
	expect(v, HP + 1, -1, q[1], NULL);
	connect_to(v, HP);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP + 1);
	stuff(v, size);
	vg_data(v, GP, HP + 1, "x", 1);
	assert_int_equal(read(q[0], &c, 1), 1);
	close(p[0]);
	close(q[0]);
}

/* ---- the guest's buffers and credit ---- */

static void test_without_rx_buffers_nothing_is_read(void **state)
{
	struct vg *v = *state;
	int p[2], left;

	make_pipe(p);
	assert_int_equal(write(p[1], "abc", 3), 3);
	expect(v, HP, p[0], -1, NULL);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP); /* not even the RESPONSE fits */
	gets_nothing(v);
	assert_int_equal(ioctl(p[1], FIONREAD, &left), 0);
	assert_int_equal(left, 3);
	vg_give_rx(v, 1);
	vg_spin(v);
	gets(v, SM_VSOCK_OP_RESPONSE);
	vg_give_rx(v, 2);
	vg_spin(v);
	gets_data(v, (const uint8_t *)"abc", 3);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	close(p[1]);
}

static void test_credit_of_the_guest_is_kept(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_hdr h;
	struct sm_vsock_counters c;
	uint8_t bytes[300];
	int p[2], left;

	fill_pattern(bytes, sizeof(bytes));
	make_pipe(p);
	assert_int_equal(write(p[1], bytes, 300), 300);
	v->alloc = 100;
	expect(v, HP, p[0], -1, NULL);
	connect_to(v, HP);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	gets_data(v, bytes, 100);
	gets_nothing(v);
	assert_int_equal(ioctl(p[1], FIONREAD, &left), 0);
	assert_int_equal(left, 200);
	h = vg_hdr(v, SM_VSOCK_OP_CREDIT_UPDATE, GP, HP);
	h.fwd_cnt = 50;
	vg_send(v, h, NULL);
	gets_data(v, bytes + 100, 50);
	gets_nothing(v);
	sm_vsock_counters(v->vs, &c);
	assert_int_equal(c.rx_bytes, 150);
	assert_int_equal(c.credit_stalls, 2);
}

static void test_one_read_fills_several_buffers(void **state)
{
	struct vg *v = *state;
	uint8_t bytes[2 * PIECE + 1];
	int p[2];

	fill_pattern(bytes, sizeof(bytes));
	make_pipe(p);
	assert_int_equal(write(p[1], bytes, sizeof(bytes)), sizeof(bytes));
	expect(v, HP, p[0], -1, NULL);
	connect_to(v, HP);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	assert_int_equal(gets(v, SM_VSOCK_OP_RW).len, PIECE);
	assert_int_equal(gets(v, SM_VSOCK_OP_RW).len, PIECE);
	assert_int_equal(gets(v, SM_VSOCK_OP_RW).len, 1);
	gets_nothing(v);
	/* The buffers that the read did not reach are still the device's, in order. */
	assert_int_equal(write(p[1], "z", 1), 1);
	vg_spin(v);
	gets_data(v, (const uint8_t *)"z", 1);
	close(p[1]);
}

static void test_streams_take_turns(void **state)
{
	struct vg *v = *state;
	int seen[2] = { 0, 0 };
	struct sm_vsock_hdr h;

	vg_give_rx(v, RING);
	for (uint32_t i = 0; i < 2; i++) {
		expect(v, HP + i, open("/dev/zero", O_RDONLY | O_CLOEXEC), -1, NULL);
		vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP + i);
	}
	for (int i = 0; i < 300; i++) {
		if (!vg_recv(v, &h, NULL)) {
			vg_spin(v);
			assert_true(vg_recv(v, &h, NULL));
		}
		vg_give_rx(v, 1);
		if (h.op != SM_VSOCK_OP_RW)
			continue;
		seen[h.src_port - HP]++;
		if (seen[h.src_port - HP] % 16)
			continue;
		h = vg_hdr(v, SM_VSOCK_OP_CREDIT_UPDATE, GP, h.src_port);
		h.fwd_cnt = (uint32_t)seen[h.dst_port - HP] * PIECE;
		vg_send(v, h, NULL);
	}
	if (seen[0] < 100 || seen[1] < 100)
		fail_msg("%d and %d packets", seen[0], seen[1]);
}

/* ---- packets that belong to nobody ---- */

static void test_unknown_gets_rst(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_hdr h;

	vg_give_rx(v, RING);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, 4711);
	h = gets(v, SM_VSOCK_OP_RST);
	assert_int_equal(h.src_port, 4711);
	assert_int_equal(h.dst_port, GP);
	vg_data(v, GP, 4711, "x", 1); /* RW before REQUEST */
	gets(v, SM_VSOCK_OP_RST);
	vg_op(v, SM_VSOCK_OP_RST, GP, 4711);
	gets_nothing(v); /* never answered */
	h = vg_hdr(v, SM_VSOCK_OP_REQUEST, GP, 4711);
	h.src_cid = 4;
	vg_send(v, h, NULL);
	gets_nothing(v); /* not this guest's address */
	h = vg_hdr(v, SM_VSOCK_OP_REQUEST, GP, 4711);
	h.type = SM_VSOCK_SEQPACKET;
	vg_send(v, h, NULL);
	assert_int_equal(gets(v, SM_VSOCK_OP_RST).type, SM_VSOCK_SEQPACKET);
}

static void test_second_connect_is_refused(void **state)
{
	struct vg *v = *state;
	int p[2];

	make_pipe(p);
	expect(v, HP, p[0], -1, NULL);
	connect_to(v, HP);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP + 1, HP);
	assert_int_equal(gets(v, SM_VSOCK_OP_RST).dst_port, GP + 1);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP); /* a duplicate ends the first one */
	gets(v, SM_VSOCK_OP_RST);
	close(p[1]);
}

/* While the guest gives no rx buffers, refusals pile up to a bound, then tx stands still; nothing
 * is lost and nothing hangs once buffers come. */
static void test_storm_without_rx_buffers(void **state)
{
	struct vg *v = *state;
	uint32_t sent = 0, taken = 0, answered = 0, id, len;
	struct sm_vsock_hdr h;

	for (int i = 0; i < 100; i++) {
		while (sent < 600 && sent - taken < RING) {
			h = vg_hdr(v, SM_VSOCK_OP_REQUEST, 10000 + sent++, 4711);
			vg_put(v, &h, NULL);
			fake_kick(&v->dev->vq[TX]);
			vg_spin(v);
			while (fake_used(&v->ring[TX], &id, &len))
				taken++;
			if (taken != sent)
				break;
		}
	}
	assert_true(taken >= 64 && taken < 600);
	vg_give_rx(v, RING);
	while (answered < 600) {
		vg_spin(v);
		while (fake_used(&v->ring[TX], &id, &len))
			taken++;
		while (sent < 600 && sent - taken < RING) {
			h = vg_hdr(v, SM_VSOCK_OP_REQUEST, 10000 + sent++, 4711);
			vg_put(v, &h, NULL);
			fake_kick(&v->dev->vq[TX]);
			vg_spin(v);
			while (fake_used(&v->ring[TX], &id, &len))
				taken++;
		}
		assert_true(vg_recv(v, &h, NULL));
		assert_int_equal(h.dst_port, 10000 + answered++);
		vg_give_rx(v, 1);
	}
}

static void test_malformed_packets(void **state)
{
	struct vg *v = *state;
	struct fake_buf b = { v->tx_mem, SM_VSOCK_HDR_SIZE - 1, false };
	struct sm_vsock_counters c;
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_RW, GP, HP);

	vg_give_rx(v, RING);
	fake_chain(&v->ring[TX], &b, 1); /* not even a header */
	fake_kick(&v->dev->vq[TX]);
	vg_spin(v);
	h.len = 10; /* more than there is */
	sm_vsock_hdr_encode(&h, fake_ptr(&v->g, v->tx_mem));
	b.len = SM_VSOCK_HDR_SIZE + 9;
	fake_chain(&v->ring[TX], &b, 1);
	fake_kick(&v->dev->vq[TX]);
	vg_spin(v);
	gets_nothing(v);
	sm_vsock_counters(v->vs, &c);
	assert_int_equal(c.drops, 2);
	assert_int_equal(v->broken, 0);
}

static void test_payload_in_one_buffer_with_header(void **state)
{
	struct vg *v = *state;
	struct fake_buf b = { v->tx_mem, SM_VSOCK_HDR_SIZE + 5, false };
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_RW, GP, HP);
	char text[8];
	int p[2];

	make_pipe(p);
	expect(v, HP, -1, p[1], NULL);
	connect_to(v, HP);
	h.len = 5;
	sm_vsock_hdr_encode(&h, fake_ptr(&v->g, v->tx_mem));
	memcpy((char *)fake_ptr(&v->g, v->tx_mem) + SM_VSOCK_HDR_SIZE, "hello", 5);
	fake_chain(&v->ring[TX], &b, 1);
	fake_kick(&v->dev->vq[TX]);
	vg_spin(v);
	assert_int_equal(read(p[0], text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	close(p[0]);
}

static void test_broken_tx(void **state)
{
	struct vg *v = *state;

	fake_publish(&v->ring[TX], RING + 1);
	fake_kick(&v->dev->vq[TX]);
	vg_spin(v);
	fake_kick(&v->dev->vq[TX]);
	vg_spin(v);
	assert_int_equal(v->broken, 1);
}

static void test_rx_buffer_without_room(void **state)
{
	struct vg *v = *state;
	struct fake_buf b = { v->rx_mem, SM_VSOCK_HDR_SIZE, true };

	fake_chain(&v->ring[RX], &b, 1);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, 4711);
	assert_int_equal(v->broken, 1);
	gets_nothing(v);
}

/* ---- public calls ---- */

static void test_abort(void **state)
{
	struct vg *v = *state;
	struct ended e;
	int p[2];

	make_pipe(p);
	expect(v, HP, -1, p[1], &e);
	assert_int_equal(sm_vsock_abort(v->vs, HP), 0);
	assert_int_equal(sm_vsock_abort(v->vs, HP), -ENOENT);
	assert_int_equal(read(p[0], &(char){ 0 }, 1), 0); /* closed */
	close(p[0]);
	make_pipe(p);
	expect(v, HP, -1, p[1], &e);
	connect_to(v, HP);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	assert_int_equal(sm_vsock_abort(v->vs, HP), 0);
	vg_spin(v);
	gets(v, SM_VSOCK_OP_RST);
	assert_int_equal(e.times, 0);
	close(p[0]);
}

static void test_abort_without_rx_buffers(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_counters c;
	int p[2];

	make_pipe(p);
	expect(v, HP, -1, p[1], NULL);
	vg_give_rx(v, 2);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP);
	gets(v, SM_VSOCK_OP_RESPONSE);
	gets(v, SM_VSOCK_OP_SHUTDOWN);
	assert_int_equal(sm_vsock_abort(v->vs, HP), 0);
	vg_spin(v);
	vg_data(v, GP, HP, "x", 1); /* on its way while the RST could not be sent */
	vg_give_rx(v, 3);
	vg_spin(v);
	gets(v, SM_VSOCK_OP_RST);
	gets_nothing(v);
	sm_vsock_counters(v->vs, &c);
	assert_int_equal(c.flows, 0);
	close(p[0]);
}

static void test_ports(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_stream none = { .source = -1, .sink = -1 };
	uint32_t port = sm_vsock_port(v->vs);

	assert_true(port >= 1u << 20);
	expect(v, port, -1, -1, NULL);
	assert_true(sm_vsock_port(v->vs) != port);
	assert_int_equal(sm_vsock_expect(v->vs, port, &none), -EADDRINUSE);
	assert_int_equal(sm_vsock_listen(v->vs, port, NULL, NULL), -ENOENT);
	for (uint32_t i = 1; i < 4096; i++)
		expect(v, i, -1, -1, NULL);
	assert_int_equal(sm_vsock_expect(v->vs, 9999, &none), -ENOSPC);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, 17); /* one ends */
	vg_give_rx(v, RING);
	vg_spin(v);
	vg_op(v, SM_VSOCK_OP_RST, GP, 17);
	assert_int_equal(sm_vsock_expect(v->vs, 9999, &none), 0);
}

static void count(void *arg)
{
	++*(int *)arg;
}

static void test_drain(void **state)
{
	struct vg *v = *state;
	int p[2], size, drained = 0;
	static uint8_t bytes[32768];
	struct ended e;

	make_pipe(p);
	size = fcntl(p[1], F_GETPIPE_SZ);
	assert_int_equal(sm_vsock_drain(v->vs, HP, count, &drained), -ENOENT);
	expect(v, HP, -1, p[1], &e);
	assert_int_equal(sm_vsock_drain(v->vs, HP, count, &drained), 0);
	assert_int_equal(drained, 1); /* nothing came yet */
	connect_to(v, HP);
	for (int n = 0; n < size + 2 * (int)sizeof(bytes); n += (int)sizeof(bytes))
		vg_data(v, GP, HP, bytes, sizeof(bytes));
	assert_int_equal(sm_vsock_drain(v->vs, HP, count, &drained), 0);
	assert_int_equal(sm_vsock_drain(v->vs, HP, count, &drained), -EBUSY);
	vg_data(v, GP, HP, bytes, sizeof(bytes)); /* later bytes do not count */
	assert_int_equal(drained, 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(read(p[0], bytes, sizeof(bytes)), sizeof(bytes));
		vg_spin(v);
	}
	assert_int_equal(drained, 2);
	assert_int_equal(sm_vsock_drain(v->vs, HP, count, &drained), 0);
	close(p[0]); /* the sink fails: nothing more will be written */
	vg_spin(v);
	assert_int_equal(drained, 3);
	assert_int_equal(e.times, 0);
}

static void keep_fd(void *arg, int fd)
{
	*(int *)arg = fd;
}

static void test_listen(void **state)
{
	struct vg *v = *state;
	int fd[2] = { -1, -1 };
	char c;

	assert_int_equal(sm_vsock_listen(v->vs, HP, keep_fd, &fd[0]), 0);
	assert_int_equal(sm_vsock_listen(v->vs, HP, keep_fd, &fd[1]), -EADDRINUSE);
	connect_to(v, HP);
	assert_true(fd[0] >= 0);
	vg_data(v, GP, HP, "q", 1);
	assert_int_equal(read(fd[0], &c, 1), 1);
	assert_int_equal(write(fd[0], "a", 1), 1);
	vg_spin(v);
	gets_data(v, (const uint8_t *)"a", 1);
	assert_int_equal(sm_vsock_listen(v->vs, HP, NULL, NULL), 0);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP + 1, HP);
	gets(v, SM_VSOCK_OP_RST);
	assert_int_equal(write(fd[0], "b", 1), 1); /* what was accepted stays */
	vg_spin(v);
	gets_data(v, (const uint8_t *)"b", 1);
	close(fd[0]);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
}

static void test_connect(void **state)
{
	struct vg *v = *state;
	struct sm_vsock_stream s = { .sink = -1, .done = on_done };
	struct ended e = { 0, 1 };
	struct sm_vsock_hdr h;
	uint32_t port;
	int p[2];

	vg_give_rx(v, RING);
	make_pipe(p);
	s.source = p[0];
	s.arg = &e;
	assert_int_equal(write(p[1], "early", 5), 5);
	assert_int_equal(sm_vsock_connect(v->vs, 77, &s, &port), 0);
	vg_spin(v);
	h = gets(v, SM_VSOCK_OP_REQUEST);
	assert_int_equal(h.dst_port, 77);
	assert_int_equal(h.src_port, port);
	assert_int_equal(h.buf_alloc, SM_VSOCK_BUF);
	gets_nothing(v); /* nothing is read before the answer */
	vg_op(v, SM_VSOCK_OP_RESPONSE, 77, h.src_port);
	gets_data(v, (const uint8_t *)"early", 5);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_RCV);
	assert_int_equal(e.times, 0);
	close(p[1]);
	vg_spin(v);
	assert_int_equal(gets(v, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	vg_op(v, SM_VSOCK_OP_RST, 77, h.src_port);
	ended_once(&e, 0);
}

static void test_connect_refused(void **state)
{
	struct vg *v = *state;
	struct ended e = { 0, 1 };
	struct sm_vsock_stream s = { .sink = -1, .done = on_done, .arg = &e };
	uint32_t port;
	int p[2];

	vg_give_rx(v, RING);
	make_pipe(p);
	s.source = p[0];
	assert_int_equal(sm_vsock_connect(v->vs, 77, &s, &port), 0);
	vg_spin(v);
	vg_op(v, SM_VSOCK_OP_RST, 77, gets(v, SM_VSOCK_OP_REQUEST).src_port);
	ended_once(&e, -ECONNREFUSED);
	assert_int_equal(sm_vsock_abort(v->vs, port), -ENOENT);
	close(p[1]);
}

static void test_connect_without_answer(void **state)
{
	struct vg *v = *state;
	struct ended e = { 0, 1 };
	struct sm_vsock_stream s = { -1, -1, on_done, &e };
	uint32_t port;

	vg_give_rx(v, RING);
	assert_int_equal(sm_vsock_connect(v->vs, 77, &s, &port), 0);
	vg_spin(v);
	gets(v, SM_VSOCK_OP_REQUEST);
	assert_int_equal(sm_vsock_abort(v->vs, port), 0);
	vg_spin(v);
	gets(v, SM_VSOCK_OP_RST);
	vg_op(v, SM_VSOCK_OP_RESPONSE, 77, port); /* too late */
	gets(v, SM_VSOCK_OP_RST);
	assert_int_equal(e.times, 0);
}

static void test_reset_ends_all(void **state)
{
	struct vg *v = *state;
	struct ended e[3];
	int p[2], q[2], size;
	struct sm_vsock_counters c;

	make_pipe(p);
	make_pipe(q);
	size = fcntl(p[1], F_GETPIPE_SZ);
	expect(v, HP, -1, p[1], &e[0]);
	expect(v, HP + 1, q[0], -1, &e[1]);
	expect(v, HP + 2, -1, -1, &e[2]);
	connect_to(v, HP);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP + 1);
	stuff(v, size);
	vg_shutdown(v, GP, HP, SM_VSOCK_SHUT_BOTH);
	vg_stop(v);
	v->dev->ops->reset(v->dev);
	ended_once(&e[1], -ECONNRESET);
	ended_once(&e[2], -ECONNRESET);
	/* The first one was complete: its last bytes still reach a slow reader. */
	assert_int_equal(e[0].times, 0);
	for (uint32_t n = 0; n < SM_VSOCK_BUF + (uint32_t)size;) {
		static uint8_t sinkhole[65536];
		ssize_t r = read(p[0], sinkhole, sizeof(sinkhole));

		assert_true(r > 0);
		n += (uint32_t)r;
		vg_spin(v);
	}
	ended_once(&e[0], 0);
	sm_vsock_counters(v->vs, &c);
	assert_int_equal(c.flows, 0);
	close(p[0]);
	close(q[1]);
	vg_start(v);
}

/* A callback may do what it likes to other streams. */
struct chain {
	struct vg *v;
	int times;
};

static void abort_the_next(void *arg, int err)
{
	struct chain *c = arg;

	c->times++;
	assert_int_equal(sm_vsock_abort(c->v->vs, HP), -ENOENT); /* its own is gone */
	assert_int_equal(sm_vsock_abort(c->v->vs, HP + 1), 0);
	expect(c->v, HP, -1, -1, NULL);
}

static void test_callback_aborts_others(void **state)
{
	struct vg *v = *state;
	struct chain c = { v, 0 };
	struct sm_vsock_stream s = { -1, -1, abort_the_next, &c };
	struct ended e;

	assert_int_equal(sm_vsock_expect(v->vs, HP, &s), 0);
	expect(v, HP + 1, -1, -1, &e);
	vg_give_rx(v, RING);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP + 1);
	vg_op(v, SM_VSOCK_OP_REQUEST, GP, HP);
	vg_op(v, SM_VSOCK_OP_RST, GP, HP);
	assert_int_equal(c.times, 1);
	assert_int_equal(e.times, 0);
	assert_int_equal(sm_vsock_abort(v->vs, HP), 0);
}

static void test_config_space(void **state)
{
	struct vg *v = *state;
	uint8_t cid[8];

	v->dev->ops->config_read(v->dev, 0, cid, sizeof(cid));
	assert_memory_equal(cid, "\3\0\0\0\0\0\0\0", 8);
	v->dev->ops->config_read(v->dev, 4, cid, 4);
	assert_memory_equal(cid, "\0\0\0\0", 4);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_guest_to_pipe),
		TEST(test_pipe_to_guest),
		TEST(test_socket_both_ways),
		TEST(test_guest_reads_no_more),
		TEST(test_files),
		TEST(test_devices),
		TEST(test_tty),
		TEST(test_descriptors_that_would_block),
		TEST(test_flags_of_pipe_are_kept),
		TEST(test_sink_closed_by_reader),
		TEST(test_stuck_sink_is_bounded_and_drains),
		TEST(test_guest_sends_past_its_credit),
		TEST(test_stuck_sink_stops_nobody_else),
		TEST(test_without_rx_buffers_nothing_is_read),
		TEST(test_credit_of_the_guest_is_kept),
		TEST(test_one_read_fills_several_buffers),
		TEST(test_streams_take_turns),
		TEST(test_unknown_gets_rst),
		TEST(test_second_connect_is_refused),
		TEST(test_storm_without_rx_buffers),
		TEST(test_malformed_packets),
		TEST(test_payload_in_one_buffer_with_header),
		TEST(test_broken_tx),
		TEST(test_rx_buffer_without_room),
		TEST(test_abort),
		TEST(test_abort_without_rx_buffers),
		TEST(test_ports),
		TEST(test_drain),
		TEST(test_listen),
		TEST(test_connect),
		TEST(test_connect_refused),
		TEST(test_connect_without_answer),
		TEST(test_reset_ends_all),
		TEST(test_callback_aborts_others),
		TEST(test_config_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
