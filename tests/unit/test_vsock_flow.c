/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vsock/flow.h"
#include "vsock/vsock.h"

/* ---- packets ---- */

static void test_header_on_the_wire(void **state)
{
	static const uint8_t wire[SM_VSOCK_HDR_SIZE] = {
		3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0x39, 5, 0, 0, 0, 4,
		0, 0, 7, 0, 0, 0, 1, 0, 5, 0, 0xff, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0x80,
	};
	uint8_t back[SM_VSOCK_HDR_SIZE];
	struct sm_vsock_hdr h;

	sm_vsock_hdr_decode(&h, wire);
	assert_int_equal(h.src_cid, 3);
	assert_int_equal(h.dst_cid, UINT64_C(0x0100000000000002));
	assert_int_equal(h.src_port, 1337);
	assert_int_equal(h.dst_port, 1024);
	assert_int_equal(h.len, 7);
	assert_int_equal(h.type, SM_VSOCK_STREAM);
	assert_int_equal(h.op, SM_VSOCK_OP_RW);
	assert_int_equal(h.flags, 255);
	assert_int_equal(h.buf_alloc, 0x40000);
	assert_int_equal(h.fwd_cnt, 0x80000000u);
	sm_vsock_hdr_encode(&h, back);
	assert_memory_equal(wire, back, sizeof(wire));
}

static void test_check(void **state)
{
	static const struct {
		uint64_t src, dst;
		uint16_t type, op;
		uint32_t len;
		enum sm_vsock_verdict want;
	} cases[] = {
		{ 3, 2, SM_VSOCK_STREAM, SM_VSOCK_OP_RW, 10, SM_VSOCK_TAKE },
		{ 3, 2, SM_VSOCK_STREAM, SM_VSOCK_OP_RW, 11, SM_VSOCK_DROP },	/* too long */
		{ 3, 2, SM_VSOCK_STREAM, SM_VSOCK_OP_RST, 0, SM_VSOCK_TAKE },
		{ 4, 2, SM_VSOCK_STREAM, SM_VSOCK_OP_REQUEST, 0, SM_VSOCK_DROP }, /* not its */
		{ 2, 2, SM_VSOCK_STREAM, SM_VSOCK_OP_REQUEST, 0, SM_VSOCK_DROP },
		{ 3, 9, SM_VSOCK_STREAM, SM_VSOCK_OP_REQUEST, 0, SM_VSOCK_REFUSE }, /* not ours */
		{ 3, UINT64_C(0x100000002), SM_VSOCK_STREAM, SM_VSOCK_OP_RW, 0, SM_VSOCK_REFUSE },
		{ 3, 9, SM_VSOCK_STREAM, SM_VSOCK_OP_RST, 0, SM_VSOCK_DROP },
		{ 3, 2, SM_VSOCK_SEQPACKET, SM_VSOCK_OP_REQUEST, 0, SM_VSOCK_REFUSE },
		{ 3, 2, SM_VSOCK_SEQPACKET, SM_VSOCK_OP_RST, 0, SM_VSOCK_DROP },
		{ 3, 2, SM_VSOCK_DGRAM, SM_VSOCK_OP_RW, 0, SM_VSOCK_TAKE_DGRAM },
		{ 3, 2, 77, SM_VSOCK_OP_REQUEST, 0, SM_VSOCK_REFUSE },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sm_vsock_hdr h = { .src_cid = cases[i].src, .dst_cid = cases[i].dst,
					  .type = cases[i].type, .op = cases[i].op,
					  .len = cases[i].len };

		if (sm_vsock_hdr_check(&h, 3, 10) != cases[i].want)
			fail_msg("case %zu", i);
	}
}

static void test_refusal(void **state)
{
	struct sm_vsock_hdr h = { .src_cid = 3, .dst_cid = 9, .src_port = 5, .dst_port = 6,
				  .type = SM_VSOCK_SEQPACKET, .op = SM_VSOCK_OP_REQUEST };
	struct sm_vsock_hdr r = sm_vsock_hdr_refusal(&h);

	assert_true(r.src_cid == 9 && r.dst_cid == 3 && r.src_port == 6 && r.dst_port == 5);
	assert_int_equal(r.type, SM_VSOCK_SEQPACKET);
	assert_int_equal(r.op, SM_VSOCK_OP_RST);
	assert_int_equal(r.len, 0);
}

/* ---- flows ---- */

#define GUEST_BUF 100000u

static uint32_t packet(struct sm_flow *f, uint16_t op, uint32_t len, uint32_t flags)
{
	struct sm_vsock_hdr h = { .op = op, .len = len, .flags = flags, .buf_alloc = GUEST_BUF,
				  .fwd_cnt = f->guest_fwd };

	return sm_flow_packet(f, &h);
}

static uint32_t rw(struct sm_flow *f, uint32_t len)
{
	return packet(f, SM_VSOCK_OP_RW, len, 0);
}

static uint32_t guest_shutdown(struct sm_flow *f, uint32_t flags)
{
	return packet(f, SM_VSOCK_OP_SHUTDOWN, 0, flags);
}

/* The next packet to the guest must be this one. */
static struct sm_vsock_hdr sends(struct sm_flow *f, uint16_t op)
{
	struct sm_vsock_hdr h;

	assert_true(sm_flow_next(f, &h));
	assert_int_equal(h.op, op);
	assert_int_equal(h.len, 0);
	assert_int_equal(h.buf_alloc, SM_VSOCK_BUF);
	return h;
}

static void sends_nothing(struct sm_flow *f)
{
	struct sm_vsock_hdr h;

	assert_false(sm_flow_next(f, &h));
}

static void is_over(struct sm_flow *f, int err)
{
	assert_int_equal(f->state, SM_FLOW_OVER);
	assert_int_equal(f->err, err);
}

static struct sm_flow open_flow(void)
{
	struct sm_flow f;

	sm_flow_wait(&f);
	sends_nothing(&f);
	assert_int_equal(packet(&f, SM_VSOCK_OP_REQUEST, 0, 0), SM_FLOW_OPENED);
	sends(&f, SM_VSOCK_OP_RESPONSE);
	sends_nothing(&f);
	return f;
}

static void test_connect(void **state)
{
	struct sm_flow f;

	sm_flow_connect(&f);
	assert_int_equal(packet(&f, SM_VSOCK_OP_RST, 0, 0), 0); /* it knows nothing of us yet */
	sends(&f, SM_VSOCK_OP_REQUEST);
	assert_int_equal(packet(&f, SM_VSOCK_OP_RESPONSE, 0, 0), SM_FLOW_OPENED);
	assert_int_equal(f.state, SM_FLOW_OPEN);
	assert_int_equal(sm_flow_credit(&f), GUEST_BUF);
}

static void test_connect_refused(void **state)
{
	struct sm_flow f;

	sm_flow_connect(&f);
	sends(&f, SM_VSOCK_OP_REQUEST);
	assert_int_equal(packet(&f, SM_VSOCK_OP_RST, 0, 0), SM_FLOW_ENDED);
	is_over(&f, -ECONNREFUSED);
	sends_nothing(&f);
}

static void test_connect_given_up(void **state)
{
	struct sm_flow f;

	sm_flow_connect(&f);
	sm_flow_reset(&f, -ECANCELED);
	is_over(&f, -ECANCELED);
	sends_nothing(&f); /* REQUEST was never sent */
	sm_flow_connect(&f);
	sends(&f, SM_VSOCK_OP_REQUEST);
	sm_flow_reset(&f, -ECANCELED);
	sends(&f, SM_VSOCK_OP_RST);
	sends_nothing(&f);
}

/* Whatever comes where it must not: RST to the guest, and the flow is over. */
static void test_odd_packets_reset(void **state)
{
	struct sm_flow f;

	for (uint16_t op = 0; op < 10; op++) {
		if (op != SM_VSOCK_OP_RESPONSE && op != SM_VSOCK_OP_RST) {
			sm_flow_connect(&f);
			sends(&f, SM_VSOCK_OP_REQUEST);
			assert_int_equal(packet(&f, op, 0, 0), SM_FLOW_ENDED);
			is_over(&f, -EPROTO);
			sends(&f, SM_VSOCK_OP_RST);
		}
		if (op < SM_VSOCK_OP_REQUEST || op == SM_VSOCK_OP_REQUEST ||
		    op == SM_VSOCK_OP_RESPONSE || op >= SM_VSOCK_OP_NUM) {
			f = open_flow();
			assert_int_equal(packet(&f, op, 0, 0), SM_FLOW_ENDED);
			is_over(&f, -EPROTO);
			sends(&f, SM_VSOCK_OP_RST);
			sends_nothing(&f);
		}
	}
}

static void test_nothing_after_the_end(void **state)
{
	struct sm_flow f = open_flow();

	sm_flow_reset(&f, -EIO);
	for (uint16_t op = 0; op < 10; op++)
		assert_int_equal(packet(&f, op, 5, 3), 0);
	sm_flow_source_ended(&f);
	sm_flow_sink_ended(&f);
	sm_flow_reset(&f, -EPERM);
	is_over(&f, -EIO);
	sends(&f, SM_VSOCK_OP_RST);
	sends_nothing(&f);
}

static void test_rst_in_each_state(void **state)
{
	struct sm_flow f = open_flow();

	assert_int_equal(packet(&f, SM_VSOCK_OP_RST, 0, 0), SM_FLOW_ENDED);
	is_over(&f, -ECONNRESET);
	sends_nothing(&f);

	f = open_flow(); /* closing: it is the answer to our SHUTDOWN */
	sm_flow_source_ended(&f);
	sm_flow_sink_ended(&f);
	assert_int_equal(f.state, SM_FLOW_CLOSING);
	assert_int_equal(packet(&f, SM_VSOCK_OP_RST, 0, 0), SM_FLOW_ENDED);
	is_over(&f, 0);

	f = open_flow(); /* the guest closed and lost patience with our sink */
	rw(&f, 10);
	guest_shutdown(&f, SM_VSOCK_SHUT_BOTH);
	sm_flow_source_ended(&f);
	assert_int_equal(packet(&f, SM_VSOCK_OP_RST, 0, 0), SM_FLOW_ENDED);
	is_over(&f, 0);
	assert_true(sm_flow_complete(&f)); /* ten bytes are still to be written */

	sm_flow_wait(&f);
	packet(&f, SM_VSOCK_OP_RST, 0, 0);
	is_over(&f, -EPROTO);
	sends_nothing(&f);
}

static void test_credit_of_the_guest(void **state)
{
	struct sm_flow f = open_flow();
	struct sm_vsock_hdr h;

	assert_int_equal(sm_flow_credit(&f), GUEST_BUF);
	sm_flow_data(&f, GUEST_BUF, &h);
	assert_int_equal(h.op, SM_VSOCK_OP_RW);
	assert_int_equal(h.len, GUEST_BUF);
	assert_int_equal(sm_flow_credit(&f), 0);
	f.guest_fwd = 60000;
	packet(&f, SM_VSOCK_OP_CREDIT_UPDATE, 0, 0);
	assert_int_equal(sm_flow_credit(&f), 60000);
	f.guest_fwd = GUEST_BUF + 1; /* more than it got */
	packet(&f, SM_VSOCK_OP_CREDIT_UPDATE, 0, 0);
	assert_int_equal(sm_flow_credit(&f), 0);
	f.guest_fwd = f.out_cnt = UINT32_MAX - 10; /* counters wrap */
	sm_flow_data(&f, 20, &h);
	packet(&f, SM_VSOCK_OP_CREDIT_UPDATE, 0, 0);
	assert_int_equal(sm_flow_credit(&f), GUEST_BUF - 20);
}

static void test_credit_of_ours(void **state)
{
	struct sm_flow f = open_flow();

	assert_int_equal(rw(&f, SM_VSOCK_BUF / 2), SM_FLOW_DATA);
	sm_flow_forwarded(&f, SM_VSOCK_BUF / 2);
	sends_nothing(&f); /* half is still free as the guest sees it */
	assert_int_equal(rw(&f, 1), SM_FLOW_DATA);
	assert_int_equal(sends(&f, SM_VSOCK_OP_CREDIT_UPDATE).fwd_cnt, SM_VSOCK_BUF / 2);
	assert_int_equal(rw(&f, SM_VSOCK_BUF - 1), SM_FLOW_DATA); /* all that it may */
	sends_nothing(&f); /* nothing new to tell */
	sm_flow_forwarded(&f, 1);
	sends(&f, SM_VSOCK_OP_CREDIT_UPDATE);
	packet(&f, SM_VSOCK_OP_CREDIT_REQUEST, 0, 0);
	sends(&f, SM_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(rw(&f, 0), 0);
	assert_int_equal(rw(&f, 2), SM_FLOW_ENDED);
	is_over(&f, -EPROTO);
}

static void test_credit_violation_at_once(void **state)
{
	struct sm_flow f = open_flow();

	assert_int_equal(rw(&f, SM_VSOCK_BUF + 1), SM_FLOW_ENDED);
	is_over(&f, -EPROTO);
	f = open_flow();
	f.in_cnt = f.fwd_cnt = f.fwd_told = UINT32_MAX - 3;
	assert_int_equal(rw(&f, SM_VSOCK_BUF), SM_FLOW_DATA);
	assert_int_equal(sm_flow_held(&f), SM_VSOCK_BUF);
	assert_int_equal(rw(&f, UINT32_MAX), SM_FLOW_ENDED);
}

static void test_data_carries_the_update(void **state)
{
	struct sm_flow f = open_flow();
	struct sm_vsock_hdr h;

	rw(&f, SM_VSOCK_BUF);
	sm_flow_forwarded(&f, SM_VSOCK_BUF);
	sm_flow_data(&f, 1, &h);
	assert_int_equal(h.fwd_cnt, SM_VSOCK_BUF);
	sends_nothing(&f);
}

/* close(2) in a Linux guest: SHUTDOWN of both, then it waits for RST. */
static void test_guest_closes(void **state)
{
	struct sm_flow f = open_flow();

	rw(&f, 10);
	assert_int_equal(guest_shutdown(&f, SM_VSOCK_SHUT_BOTH),
			 SM_FLOW_STOP_SOURCE | SM_FLOW_FINISH_SINK);
	assert_int_equal(guest_shutdown(&f, SM_VSOCK_SHUT_BOTH), 0); /* twice is once */
	sm_flow_source_ended(&f);
	sends_nothing(&f);
	sm_flow_forwarded(&f, 10);
	sm_flow_sink_ended(&f);
	is_over(&f, 0);
	sends(&f, SM_VSOCK_OP_RST);
	sends_nothing(&f);
}

static void test_guest_half_closes(void **state)
{
	struct sm_flow f = open_flow();

	assert_int_equal(guest_shutdown(&f, SM_VSOCK_SHUT_SEND), SM_FLOW_FINISH_SINK);
	sm_flow_sink_ended(&f);
	sends_nothing(&f); /* the guest knows */
	assert_int_equal(f.state, SM_FLOW_OPEN);
	sm_flow_source_ended(&f);
	assert_int_equal(sends(&f, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	assert_int_equal(f.state, SM_FLOW_CLOSING);
	assert_int_equal(packet(&f, SM_VSOCK_OP_RST, 0, 0), SM_FLOW_ENDED);
	is_over(&f, 0);
}

static void test_data_after_shutdown_is_a_violation(void **state)
{
	struct sm_flow f = open_flow();

	guest_shutdown(&f, SM_VSOCK_SHUT_SEND);
	assert_int_equal(rw(&f, 1), SM_FLOW_ENDED);
	is_over(&f, -EPROTO);
}

static void test_host_half_closes(void **state)
{
	struct sm_flow f = open_flow();

	sm_flow_source_ended(&f);
	assert_int_equal(sends(&f, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_SEND);
	assert_int_equal(rw(&f, 10), SM_FLOW_DATA);
	sm_flow_forwarded(&f, 10);
	assert_int_equal(guest_shutdown(&f, SM_VSOCK_SHUT_BOTH), SM_FLOW_FINISH_SINK);
	sm_flow_sink_ended(&f);
	is_over(&f, 0);
	sends(&f, SM_VSOCK_OP_RST);
}

static void test_sink_fails(void **state)
{
	struct sm_flow f = open_flow();

	sm_flow_sink_ended(&f);
	assert_int_equal(sends(&f, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_RCV);
	assert_int_equal(rw(&f, 1000), 0); /* was on its way: thrown away, credit given back */
	assert_int_equal(sm_flow_held(&f), 0);
	assert_int_equal(f.state, SM_FLOW_OPEN);
	sm_flow_source_ended(&f);
	assert_int_equal(sends(&f, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	assert_int_equal(rw(&f, 1000), 0);
	assert_int_equal(guest_shutdown(&f, SM_VSOCK_SHUT_BOTH), SM_FLOW_ENDED);
	is_over(&f, 0);
	sends(&f, SM_VSOCK_OP_RST);
}

static void test_response_before_shutdown(void **state)
{
	struct sm_flow f;

	sm_flow_wait(&f);
	packet(&f, SM_VSOCK_OP_REQUEST, 0, 0);
	sm_flow_source_ended(&f);
	sm_flow_sink_ended(&f);
	sends(&f, SM_VSOCK_OP_RESPONSE);
	assert_int_equal(sends(&f, SM_VSOCK_OP_SHUTDOWN).flags, SM_VSOCK_SHUT_BOTH);
	sends_nothing(&f);
}

static void test_abandon(void **state)
{
	struct sm_flow f = open_flow();

	sm_flow_reset(&f, -EIO);
	sm_flow_abandon(&f, -ECONNRESET);
	is_over(&f, -EIO);
	sends_nothing(&f);
	f = open_flow();
	sm_flow_abandon(&f, -ECONNRESET);
	is_over(&f, -ECONNRESET);
	sends_nothing(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_on_the_wire),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_connect_given_up),
		cmocka_unit_test(test_odd_packets_reset),
		cmocka_unit_test(test_nothing_after_the_end),
		cmocka_unit_test(test_rst_in_each_state),
		cmocka_unit_test(test_credit_of_the_guest),
		cmocka_unit_test(test_credit_of_ours),
		cmocka_unit_test(test_credit_violation_at_once),
		cmocka_unit_test(test_data_carries_the_update),
		cmocka_unit_test(test_guest_closes),
		cmocka_unit_test(test_guest_half_closes),
		cmocka_unit_test(test_data_after_shutdown_is_a_violation),
		cmocka_unit_test(test_host_half_closes),
		cmocka_unit_test(test_sink_fails),
		cmocka_unit_test(test_response_before_shutdown),
		cmocka_unit_test(test_abandon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
