/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fakedrv.h"

#define SIZE 16

struct bench {
	struct fake_guest g;
	struct fake_ring r;
	struct sm_vq vq;
	struct sm_chain c;
	struct iovec iov[SM_CHAIN_IOV_MAX];
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	fake_guest_init(&b->g, 1 << 20);
	fake_ring_init(&b->g, &b->r, SIZE);
	fake_ring_attach(&b->r, &b->g, &b->vq);
	b->vq.indirect = b->vq.event_idx = true;
	*state = b;
	return sm_vq_start(&b->vq, 0);
}

static int teardown(void **state)
{
	struct bench *b = *state;

	fake_ring_detach(&b->vq);
	fake_guest_fini(&b->g);
	free(b);
	return 0;
}

static int pop(struct bench *b)
{
	return sm_vq_pop(&b->vq, &b->c, b->iov, SM_CHAIN_IOV_MAX);
}

/* ---- good chains ---- */

static void test_empty(void **state)
{
	struct bench *b = *state;

	assert_int_equal(pop(b), 0);
	sm_vq_stop(&b->vq);
	assert_int_equal(pop(b), 0);
}

static void test_out_and_in(void **state)
{
	struct bench *b = *state;
	struct fake_buf bufs[] = { { fake_put(&b->g, "hello ", 6), 6, false },
				   { fake_put(&b->g, "world", 5), 5, false },
				   { fake_alloc(&b->g, 4), 4, true },
				   { fake_alloc(&b->g, 100), 100, true } };
	uint16_t head = fake_chain(&b->r, bufs, 4);
	struct iovec part[4];
	char text[32] = "";
	uint32_t id, len;

	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.head, head);
	assert_int_equal(b->c.nout, 2);
	assert_int_equal(b->c.nin, 2);
	assert_int_equal(b->c.out_len, 11);
	assert_int_equal(b->c.in_len, 104);

	assert_int_equal(sm_chain_read(&b->c, 0, text, sizeof(text)), 11);
	assert_string_equal(text, "hello world");
	assert_int_equal(sm_chain_read(&b->c, 8, text, 2), 2);
	assert_memory_equal(text, "rl", 2);
	assert_int_equal(sm_chain_read(&b->c, 11, text, 2), 0);
	assert_int_equal(sm_chain_write(&b->c, 2, "abcdef", 6), 6);
	assert_memory_equal((char *)fake_ptr(&b->g, bufs[2].gpa) + 2, "ab", 2);
	assert_memory_equal(fake_ptr(&b->g, bufs[3].gpa), "cdef", 4);
	assert_int_equal(sm_chain_write(&b->c, 103, "xy", 2), 1);
	assert_int_equal(sm_chain_write(&b->c, 1000, "xy", 2), 0);

	assert_int_equal(sm_chain_out_iov(&b->c, 4, 4, part, 4), 2);
	assert_int_equal(part[0].iov_len, 2);
	assert_int_equal(part[1].iov_len, 2);
	assert_int_equal(sm_chain_out_iov(&b->c, 4, 4, part, 1), -EMSGSIZE);
	assert_int_equal(sm_chain_out_iov(&b->c, 0, 0, part, 1), 0);
	assert_int_equal(sm_chain_in_iov(&b->c, 4, 1000, part, 1), 1);
	assert_int_equal(part[0].iov_len, 100);

	sm_vq_push(&b->vq, b->c.head, 8);
	assert_true(fake_used(&b->r, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 8);
	assert_false(fake_used(&b->r, &id, &len));
}

static void test_longest_chain(void **state)
{
	struct bench *b = *state;
	struct fake_buf bufs[SIZE];

	for (int i = 0; i < SIZE; i++)
		bufs[i] = (struct fake_buf){ fake_alloc(&b->g, 16), 16, i >= 8 };
	fake_chain(&b->r, bufs, SIZE);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.nout + b->c.nin, SIZE);
}

static void test_buffer_across_regions(void **state)
{
	struct bench *b = *state;
	uint8_t more[64];
	gpa_t end = FAKE_GPA + (1 << 20);
	struct fake_buf buf = { end - 10, 20, false };

	sm_vq_stop(&b->vq);
	assert_int_equal(sm_gmem_add(&b->g.gm, end, sizeof(more), more), 0);
	assert_int_equal(sm_vq_start(&b->vq, 0), 0);
	fake_chain(&b->r, &buf, 1);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.nout, 2);
	assert_int_equal(b->c.out_len, 20);
	sm_vq_stop(&b->vq);
}

/* Writes an indirect table of n buffers and a descriptor for it. */
static uint16_t put_indirect(struct bench *b, const struct fake_buf *bufs, uint16_t n,
			     struct vring_desc **table)
{
	struct fake_buf t = { fake_alloc(&b->g, 16u * n), 16u * n, false };
	struct vring_desc *d = fake_ptr(&b->g, t.gpa);
	uint16_t head = fake_describe(&b->r, &t, 1);

	for (uint16_t i = 0; i < n; i++) {
		d[i] = (struct vring_desc){
			.addr = bufs[i].gpa,
			.len = bufs[i].len,
			.flags = (uint16_t)((bufs[i].in ? VRING_DESC_F_WRITE : 0) |
					    (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
			.next = (uint16_t)(i + 1),
		};
	}
	b->r.desc[head].flags = VRING_DESC_F_INDIRECT;
	*table = d;
	return head;
}

static void test_indirect(void **state)
{
	struct bench *b = *state;
	struct fake_buf bufs[SIZE];
	struct vring_desc *table;

	for (int i = 0; i < SIZE; i++)
		bufs[i] = (struct fake_buf){ fake_alloc(&b->g, 16), 16, i >= 8 };
	fake_publish(&b->r, put_indirect(b, bufs, SIZE, &table));
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.nout, 8);
	assert_int_equal(b->c.nin, 8);
}

/* virtio 1.2, 2.7.5.3.2: normal descriptors may come before the table. */
static void test_direct_then_indirect(void **state)
{
	struct bench *b = *state;
	struct fake_buf first = { fake_alloc(&b->g, 16), 16, false };
	struct fake_buf second = { fake_alloc(&b->g, 16), 16, true };
	uint16_t head = fake_describe(&b->r, &first, 1);
	struct vring_desc *table;

	put_indirect(b, &second, 1, &table);
	b->r.desc[head].flags |= VRING_DESC_F_NEXT;
	fake_publish(&b->r, head);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.nout, 1);
	assert_int_equal(b->c.nin, 1);
}

static void test_unpop(void **state)
{
	struct bench *b = *state;
	struct fake_buf buf = { fake_alloc(&b->g, 16), 16, true };
	uint16_t first = fake_chain(&b->r, &buf, 1);

	fake_chain(&b->r, &buf, 1);
	assert_int_equal(pop(b), 1);
	assert_int_equal(pop(b), 1);
	assert_int_equal(pop(b), 0);
	sm_vq_unpop(&b->vq);
	sm_vq_unpop(&b->vq);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.head, first);
	assert_int_equal(sm_vq_stop(&b->vq), 1);
	assert_int_equal(sm_vq_start(&b->vq, 1), 0);
	assert_int_equal(pop(b), 1);
}

static void test_index_wraps(void **state)
{
	struct bench *b = *state;
	struct fake_buf buf = { fake_alloc(&b->g, 16), 16, true };
	uint32_t id, len;

	for (uint32_t i = 0; i < 70000; i++) {
		uint16_t head = fake_chain(&b->r, &buf, 1);

		assert_int_equal(pop(b), 1);
		sm_vq_push(&b->vq, b->c.head, i);
		assert_true(fake_used(&b->r, &id, &len));
		assert_int_equal(id, head);
		assert_int_equal(len, i);
	}
}

/* ---- bad ones: each must break the queue, and nothing else ---- */

static struct fake_buf good_buf(struct bench *b)
{
	return (struct fake_buf){ FAKE_GPA + b->g.size - 16, 16, false };
}

/* A chain of two, its head. */
static uint16_t two(struct bench *b)
{
	struct fake_buf bufs[2] = { good_buf(b), good_buf(b) };

	return fake_describe(&b->r, bufs, 2);
}

static void head_outside(struct bench *b)
{
	fake_publish(&b->r, SIZE);
}

static void next_outside(struct bench *b)
{
	uint16_t head = two(b);

	b->r.desc[head].next = SIZE;
	fake_publish(&b->r, head);
}

static void loop_of_one(struct bench *b)
{
	uint16_t head = two(b);

	b->r.desc[head].next = head;
	fake_publish(&b->r, head);
}

static void loop_of_two(struct bench *b)
{
	uint16_t head = two(b);
	uint16_t second = b->r.desc[head].next;

	b->r.desc[second].flags |= VRING_DESC_F_NEXT;
	b->r.desc[second].next = head;
	fake_publish(&b->r, head);
}

static void avail_jumps(struct bench *b)
{
	fake_publish(&b->r, two(b));
	b->r.avail->idx = SIZE + 1;
}

static void readable_after_writable(struct bench *b)
{
	uint16_t head = two(b);

	b->r.desc[head].flags |= VRING_DESC_F_WRITE;
	fake_publish(&b->r, head);
}

static void bad_address(struct bench *b, uint64_t addr, uint32_t len)
{
	uint16_t head = two(b);

	b->r.desc[head].addr = addr;
	b->r.desc[head].len = len;
	fake_publish(&b->r, head);
}

static void empty_buffer(struct bench *b)
{
	bad_address(b, FAKE_GPA, 0);
}

static void address_in_hole(struct bench *b)
{
	bad_address(b, 0x1000, 16);
}

static void buffer_into_hole(struct bench *b)
{
	bad_address(b, FAKE_GPA + (1 << 20) - 8, 16);
}

static void address_wraps(struct bench *b)
{
	bad_address(b, UINT64_MAX - 7, 16);
}

static void longest_buffer(struct bench *b)
{
	bad_address(b, FAKE_GPA, UINT32_MAX);
}

static uint16_t indirect_two(struct bench *b, struct vring_desc **table)
{
	struct fake_buf bufs[2] = { good_buf(b), good_buf(b) };

	return put_indirect(b, bufs, 2, table);
}

static void indirect_not_negotiated(struct bench *b)
{
	struct vring_desc *t;

	b->vq.indirect = false;
	fake_publish(&b->r, indirect_two(b, &t));
}

static void indirect_in_indirect(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect_two(b, &t);

	t[1].flags = VRING_DESC_F_INDIRECT;
	fake_publish(&b->r, head);
}

static void indirect_at_once_in_indirect(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect_two(b, &t);

	t[0] = b->r.desc[head]; /* the table names itself */
	fake_publish(&b->r, head);
}

static void indirect_of_length(struct bench *b, uint32_t len)
{
	struct vring_desc *t;
	uint16_t head = indirect_two(b, &t);

	b->r.desc[head].len = len;
	fake_publish(&b->r, head);
}

static void indirect_empty(struct bench *b)
{
	indirect_of_length(b, 0);
}

static void indirect_odd(struct bench *b)
{
	indirect_of_length(b, 31);
}

static void indirect_too_long(struct bench *b)
{
	indirect_of_length(b, (SM_VQ_SIZE_MAX + 1) * 16);
}

static void indirect_cut_short(struct bench *b)
{
	indirect_of_length(b, 16); /* the second entry is outside now */
}

static void indirect_with_next(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect_two(b, &t);

	b->r.desc[head].flags |= VRING_DESC_F_NEXT;
	b->r.desc[head].next = two(b);
	fake_publish(&b->r, head);
}

static void indirect_in_hole(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect_two(b, &t);

	b->r.desc[head].addr = 0;
	fake_publish(&b->r, head);
}

static void indirect_loop(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect_two(b, &t);

	t[1].flags = VRING_DESC_F_NEXT;
	t[1].next = 0;
	fake_publish(&b->r, head);
}

static void indirect_longer_than_queue(struct bench *b)
{
	struct fake_buf bufs[SIZE + 1];
	struct vring_desc *t;

	for (int i = 0; i <= SIZE; i++)
		bufs[i] = good_buf(b);
	fake_publish(&b->r, put_indirect(b, bufs, SIZE + 1, &t));
}

static void test_violations(void **state)
{
	static const struct {
		const char *name;
		void (*make)(struct bench *b);
	} cases[] = {
#define CASE(f) { #f, f }
		CASE(head_outside),
		CASE(next_outside),
		CASE(loop_of_one),
		CASE(loop_of_two),
		CASE(avail_jumps),
		CASE(readable_after_writable),
		CASE(empty_buffer),
		CASE(address_in_hole),
		CASE(buffer_into_hole),
		CASE(address_wraps),
		CASE(longest_buffer),
		CASE(indirect_not_negotiated),
		CASE(indirect_in_indirect),
		CASE(indirect_at_once_in_indirect),
		CASE(indirect_empty),
		CASE(indirect_odd),
		CASE(indirect_too_long),
		CASE(indirect_cut_short),
		CASE(indirect_with_next),
		CASE(indirect_in_hole),
		CASE(indirect_loop),
		CASE(indirect_longer_than_queue),
#undef CASE
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *s;
		struct bench *b;

		assert_int_equal(setup(&s), 0);
		b = s;
		cases[i].make(b);
		if (pop(b) != -EPROTO)
			fail_msg("%s: not noticed", cases[i].name);
		fake_publish(&b->r, two(b));
		if (pop(b) != -EPROTO)
			fail_msg("%s: the queue goes on", cases[i].name);
		assert_false(sm_vq_enable_kicks(&b->vq));
		teardown(&s);
	}
}

static void test_chain_over_4g(void **state)
{
	struct bench *b = *state;
	struct fake_buf bufs[2] = { { UINT64_C(1) << 40, UINT32_MAX, true },
				    { UINT64_C(1) << 40, 1, true } };

	sm_vq_stop(&b->vq);
	/* Nobody touches these bytes. */
	assert_int_equal(sm_gmem_add(&b->g.gm, UINT64_C(1) << 40, UINT64_C(1) << 33, b->g.mem), 0);
	assert_int_equal(sm_vq_start(&b->vq, 0), 0);
	fake_chain(&b->r, bufs, 1);
	assert_int_equal(pop(b), 1);
	fake_chain(&b->r, bufs, 2);
	assert_int_equal(pop(b), -EPROTO);
}

static void test_too_little_storage(void **state)
{
	struct bench *b = *state;

	fake_publish(&b->r, two(b));
	assert_int_equal(sm_vq_pop(&b->vq, &b->c, b->iov, 1), -EPROTO);
}

static void test_break(void **state)
{
	struct bench *b = *state;

	fake_publish(&b->r, two(b));
	sm_vq_break(&b->vq);
	assert_int_equal(pop(b), -EPROTO);
	sm_vq_stop(&b->vq);
	assert_int_equal(sm_vq_start(&b->vq, 0), 0);
	assert_int_equal(pop(b), 1);
}

static void test_start_checks(void **state)
{
	struct bench *b = *state;
	struct sm_vq good, vq;

	sm_vq_stop(&b->vq);
	good = b->vq;
#define EXPECT(change, err)                                  \
	do {                                                 \
		vq = good;                                   \
		change;                                      \
		assert_int_equal(sm_vq_start(&vq, 0), err);  \
	} while (0)
	EXPECT(vq.size = 0, -EINVAL);
	EXPECT(vq.size = 12, -EINVAL);
	EXPECT(vq.size = 2 * SM_VQ_SIZE_MAX, -EINVAL);
	EXPECT(vq.desc_gpa = 0, -EFAULT);
	EXPECT(vq.avail_gpa = FAKE_GPA + (1 << 20) - 36, -EFAULT);
	EXPECT(vq.used_gpa = UINT64_MAX - 3, -EFAULT);
	EXPECT(vq.desc_gpa += 8, -EINVAL);
	EXPECT(vq.avail_gpa += 1, -EINVAL);
	EXPECT(vq.used_gpa += 2, -EINVAL);
	EXPECT((void)0, 0);
#undef EXPECT
}

/* ---- signals and kicks ---- */

/* One chain through the queue; whether the driver is signalled. */
static bool one_signals(struct bench *b)
{
	fake_publish(&b->r, two(b));
	assert_int_equal(pop(b), 1);
	sm_vq_push(&b->vq, b->c.head, 0);
	sm_vq_notify(&b->vq);
	return fake_called(&b->vq);
}

static void test_signal_by_event_index(void **state)
{
	struct bench *b = *state;

	assert_true(one_signals(b)); /* the first one always does */
	sm_vq_notify(&b->vq);
	assert_false(fake_called(&b->vq)); /* nothing new */
	fake_set_used_event(&b->r, 3);
	assert_false(one_signals(b)); /* 2 */
	assert_false(one_signals(b)); /* 3 */
	assert_true(one_signals(b));  /* 4: passes 3 */
	assert_false(one_signals(b));
}

static void test_signal_after_full_turn_of_index(void **state)
{
	struct bench *b = *state;

	assert_true(one_signals(b));
	fake_set_used_event(&b->r, 40000);
	for (uint32_t i = 0; i < 65536; i++) {
		fake_publish(&b->r, two(b));
		assert_int_equal(pop(b), 1);
		sm_vq_push(&b->vq, b->c.head, 0);
	}
	sm_vq_notify(&b->vq);
	assert_true(fake_called(&b->vq));
}

static void test_signal_by_flag(void **state)
{
	struct bench *b = *state;

	b->vq.event_idx = false;
	assert_true(one_signals(b));
	b->r.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	assert_false(one_signals(b));
	b->r.avail->flags = 0;
	assert_true(one_signals(b));
}

static void test_kicks_by_event_index(void **state)
{
	struct bench *b = *state;

	assert_false(sm_vq_enable_kicks(&b->vq));
	assert_int_equal(fake_avail_event(&b->r), 0);
	fake_publish(&b->r, two(b));
	assert_true(sm_vq_enable_kicks(&b->vq)); /* came in between */
	assert_int_equal(pop(b), 1);
	assert_false(sm_vq_enable_kicks(&b->vq));
	assert_int_equal(fake_avail_event(&b->r), 1);
	sm_vq_disable_kicks(&b->vq);
	assert_int_equal(b->r.used->flags, 0);
}

static void test_kicks_by_flag(void **state)
{
	struct bench *b = *state;

	b->vq.event_idx = false;
	sm_vq_disable_kicks(&b->vq);
	assert_int_equal(b->r.used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(sm_vq_enable_kicks(&b->vq));
	assert_int_equal(b->r.used->flags, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_empty),
		TEST(test_out_and_in),
		TEST(test_longest_chain),
		TEST(test_buffer_across_regions),
		TEST(test_indirect),
		TEST(test_direct_then_indirect),
		TEST(test_unpop),
		TEST(test_index_wraps),
		cmocka_unit_test(test_violations),
		TEST(test_chain_over_4g),
		TEST(test_too_little_storage),
		TEST(test_break),
		TEST(test_start_checks),
		TEST(test_signal_by_event_index),
		TEST(test_signal_after_full_turn_of_index),
		TEST(test_signal_by_flag),
		TEST(test_kicks_by_event_index),
		TEST(test_kicks_by_flag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
