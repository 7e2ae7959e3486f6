/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers that break the rules, as the guest sees it: the device needs a reset or just works, it
 * works again after the reset, and a neighbour in the same guest memory never notices. What breaks
 * a ring is told apart more finely by test_queue.c.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "mmio_guest.h"

#define SIZE 16
#define MEM (1u << 20)
#define KERNEL 0x4000u	/* bytes at the beginning of guest memory that play the kernel */
#define HOLE 0x1000u	/* not guest memory */

struct bench {
	struct fake_guest g;
	gpa_t kernel;
	struct echo e, neighbour_e;
	struct mg d, neighbour;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	fake_guest_init(&b->g, MEM);
	b->kernel = fake_alloc(&b->g, KERNEL);
	memset(fake_ptr(&b->g, b->kernel), 0xcc, KERNEL);
	echo_init(&b->e);
	mg_init(&b->d, &b->g, &b->e.vdev, mg_call, NULL);
	echo_init(&b->neighbour_e);
	mg_init(&b->neighbour, &b->g, &b->neighbour_e.vdev, mg_call, NULL);
	*state = b;
	return mg_boot(&b->d, SIZE) && mg_boot(&b->neighbour, SIZE) ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	mg_fini(&b->d);
	mg_fini(&b->neighbour);
	fake_guest_fini(&b->g);
	free(b);
	return 0;
}

static bool neighbour_works(struct bench *b)
{
	return mg_status(&b->neighbour) == S_RUNS &&
	       echo_works(&b->neighbour_e, &b->neighbour, 0) &&
	       echo_works(&b->neighbour_e, &b->neighbour, 1);
}

static bool works(struct bench *b)
{
	return mg_status(&b->d) == S_RUNS && echo_works(&b->e, &b->d, 0) &&
	       echo_works(&b->e, &b->d, 1);
}

/* The device stopped, said so, and comes back. */
static void assert_broken(struct bench *b, const char *name)
{
	struct mg *d = &b->d;
	uint32_t status = mg_status(d);

	if (!(status & S_NEEDS_RESET) || !mg_irq(d) ||
	    !(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG))
		fail_msg("%s: not noticed", name);
	mg_add_status(d, S_RUNS);
	if (!(mg_status(d) & S_NEEDS_RESET))
		fail_msg("%s: the driver took NEEDS_RESET away", name);
	if (!neighbour_works(b))
		fail_msg("%s: the neighbour suffers", name);
	if (!mg_boot(d, SIZE) || !works(b))
		fail_msg("%s: no life after the reset", name);
	if (!neighbour_works(b))
		fail_msg("%s: the neighbour suffers later", name);
}

/* ---- rings ---- */

static uint16_t two(struct bench *b)
{
	struct fake_buf bufs[2] = { { fake_alloc(&b->g, 16), 16, false },
				    { fake_alloc(&b->g, 16), 16, true } };

	return fake_describe(&b->d.ring[0], bufs, 2);
}

static struct vring_desc *desc(struct bench *b, uint16_t i)
{
	return &b->d.ring[0].desc[i];
}

/* A descriptor of a table of two entries, each 16 bytes readable. */
static uint16_t indirect(struct bench *b, struct vring_desc **table)
{
	struct fake_buf t = { fake_alloc(&b->g, 32), 32, false };
	uint16_t head = fake_describe(&b->d.ring[0], &t, 1);

	desc(b, head)->flags = VRING_DESC_F_INDIRECT;
	*table = fake_ptr(&b->g, t.gpa);
	(*table)[0] = (struct vring_desc){ fake_alloc(&b->g, 16), 16, VRING_DESC_F_NEXT, 1 };
	(*table)[1] = (struct vring_desc){ fake_alloc(&b->g, 16), 16, 0, 0 };
	return head;
}

static void publish(struct bench *b, uint16_t head)
{
	fake_publish(&b->d.ring[0], head);
}

static void chain_loop(struct bench *b)
{
	uint16_t head = two(b), second = desc(b, head)->next;

	desc(b, head)->flags |= VRING_DESC_F_WRITE;
	desc(b, second)->flags |= VRING_DESC_F_NEXT;
	desc(b, second)->next = head;
	publish(b, head);
}

static void chain_of_itself(struct bench *b)
{
	uint16_t head = two(b);

	desc(b, head)->next = head;
	publish(b, head);
}

static void next_at_size(struct bench *b)
{
	uint16_t head = two(b);

	desc(b, head)->next = SIZE;
	publish(b, head);
}

static void next_far_outside(struct bench *b)
{
	uint16_t head = two(b);

	desc(b, head)->next = UINT16_MAX;
	publish(b, head);
}

static void head_outside(struct bench *b)
{
	publish(b, UINT16_MAX);
}

static void indirect_in_indirect(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect(b, &t);

	t[1] = *desc(b, head);
	publish(b, head);
}

static void indirect_with_next(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect(b, &t);

	desc(b, head)->flags |= VRING_DESC_F_NEXT;
	desc(b, head)->next = two(b);
	publish(b, head);
}

static void indirect_loop(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect(b, &t);

	t[1].flags = VRING_DESC_F_NEXT;
	publish(b, head);
}

static void indirect_in_hole(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect(b, &t);

	desc(b, head)->addr = HOLE;
	publish(b, head);
}

static void indirect_across_end(struct bench *b)
{
	struct vring_desc *t;
	uint16_t head = indirect(b, &t);

	desc(b, head)->addr = FAKE_GPA + MEM - 16;
	publish(b, head);
}

static void buffer(struct bench *b, uint64_t addr, uint32_t len)
{
	uint16_t head = two(b);

	desc(b, desc(b, head)->next)->addr = addr;
	desc(b, desc(b, head)->next)->len = len;
	publish(b, head);
}

static void address_wraps(struct bench *b)
{
	buffer(b, UINT64_MAX - 7, 16);
}

static void address_and_length_wrap(struct bench *b)
{
	buffer(b, UINT64_MAX - UINT32_MAX + FAKE_GPA, UINT32_MAX);
}

static void longest_buffer(struct bench *b)
{
	buffer(b, FAKE_GPA, UINT32_MAX);
}

static void buffer_in_hole(struct bench *b)
{
	buffer(b, HOLE, 16);
}

static void buffer_across_end(struct bench *b)
{
	buffer(b, FAKE_GPA + MEM - 8, 16);
}

static void buffer_across_beginning(struct bench *b)
{
	buffer(b, FAKE_GPA - 8, 16);
}

/* The window itself, seen from a device, is no memory. */
static void buffer_in_window(struct bench *b)
{
	buffer(b, 0xd0000000, 4);
}

static void avail_jumps(struct bench *b)
{
	publish(b, two(b));
	b->d.ring[0].avail->idx = SIZE + 9;
}

static void avail_goes_back(struct bench *b)
{
	b->d.ring[0].avail->idx = UINT16_MAX;
}

static void readable_after_writable(struct bench *b)
{
	uint16_t head = two(b);

	desc(b, head)->flags |= VRING_DESC_F_WRITE;
	desc(b, desc(b, head)->next)->flags = 0;
	publish(b, head);
}

static void test_rings(void **state)
{
	static const struct {
		const char *name;
		void (*make)(struct bench *b);
	} cases[] = {
#define CASE(f) { #f, f }
		CASE(chain_loop),
		CASE(chain_of_itself),
		CASE(next_at_size),
		CASE(next_far_outside),
		CASE(head_outside),
		CASE(indirect_in_indirect),
		CASE(indirect_with_next),
		CASE(indirect_loop),
		CASE(indirect_in_hole),
		CASE(indirect_across_end),
		CASE(address_wraps),
		CASE(address_and_length_wrap),
		CASE(longest_buffer),
		CASE(buffer_in_hole),
		CASE(buffer_across_end),
		CASE(buffer_across_beginning),
		CASE(buffer_in_window),
		CASE(avail_jumps),
		CASE(avail_goes_back),
		CASE(readable_after_writable),
#undef CASE
	};
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cases[i].make(b);
		mg_notify(&b->d, 0);
		echo_serve(&b->e);
		assert_broken(b, cases[i].name);
	}
}

/* Broken or not, the other ring of the device, or all of it: the guest goes on notifying. */
static void test_broken_is_told_once(void **state)
{
	struct bench *b = *state;

	buffer_in_hole(b);
	mg_notify(&b->d, 0);
	echo_serve(&b->e);
	assert_true(mg_irq(&b->d));
	mg_write(&b->d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	for (int i = 0; i < 1000; i++) {
		mg_notify(&b->d, 0);
		echo_serve(&b->e);
	}
	assert_false(mg_irq(&b->d));
	assert_true(echo_works(&b->e, &b->d, 1)); /* 2.1.2 leaves that open */
	assert_true(neighbour_works(b));
}

/* ---- where rings lie ---- */

static void test_bad_places(void **state)
{
	static const struct {
		const char *name;
		uint32_t size;
		uint64_t desc, avail, used;
	} cases[] = {
		{ "no size", 0, 0, 0x1000, 0x2000 },
		{ "no power of two", 12, 0, 0x1000, 0x2000 },
		{ "longer than offered", 128, 0, 0x1000, 0x2000 },
		{ "longer than 16 bits", 0x10010, 0, 0x1000, 0x2000 },
		{ "2^31", 0x80000000, 0, 0x1000, 0x2000 },
		{ "descriptors misaligned", SIZE, 8, 0x1000, 0x2000 },
		{ "available misaligned", SIZE, 0, 0x1001, 0x2000 },
		{ "used misaligned", SIZE, 0, 0x1000, 0x2002 },
		{ "descriptors in a hole", SIZE, HOLE - FAKE_GPA, 0x1000, 0x2000 },
		{ "available across the end", SIZE, 0, MEM - 8, 0x2000 },
		{ "used across the end", SIZE, 0, 0x1000, MEM - 8 },
		{ "descriptors at the end of all", SIZE, 0 - FAKE_GPA - 16ull, 0x1000, 0x2000 },
		{ "used wraps", SIZE, 0, 0x1000, 0 - FAKE_GPA - 4ull },
		{ "all at zero", SIZE, 0 - (uint64_t)FAKE_GPA, 0 - (uint64_t)FAKE_GPA,
		  0 - (uint64_t)FAKE_GPA },
	};
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mg *d = &b->d;

		mg_negotiate(d, mg_offered(d));
		mg_irq(d);
		mg_place_ring(d, 0, SIZE);
		mg_place(d, 1, cases[i].size, FAKE_GPA + cases[i].desc, FAKE_GPA + cases[i].avail,
			 FAKE_GPA + cases[i].used);
		assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
		mg_add_status(d, S_DRIVER_OK);
		assert_false(b->e.q[0].running || b->e.q[1].running);
		assert_broken(b, cases[i].name);
	}
}

/* All three parts of both rings on the same bytes, then on the neighbour's rings, then on the
 * kernel: served as they read, and only guest memory is changed. Whether the device can make sense
 * of it is the guest's affair. */
static void test_overlapping_rings(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	gpa_t places[] = { fake_alloc(&b->g, 4096), b->kernel, b->kernel + KERNEL - 64,
			   b->neighbour.ring[0].desc_gpa, b->neighbour.ring[0].used_gpa };
	uint8_t before[KERNEL];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		gpa_t at = places[i] & ~(gpa_t)15;

		memcpy(before, fake_ptr(&b->g, b->kernel), KERNEL);
		mg_negotiate(d, mg_offered(d));
		mg_place(d, 0, SIZE, at, at, at);
		mg_place(d, 1, SIZE, at, at + 2, at + 4);
		mg_add_status(d, S_DRIVER_OK);
		for (int n = 0; n < 100; n++) {
			mg_notify(d, n & 1);
			echo_serve(&b->e);
		}
		assert_int_equal(mg_status(d) & ~S_NEEDS_RESET, S_RUNS);
		mg_reset(d);
		assert_int_equal(mg_status(d), 0);
		/* A ring that is its own avail and used ring changes no more than itself. */
		if (at == b->kernel)
			assert_memory_equal(before + 512, fake_ptr(&b->g, b->kernel + 512),
					    KERNEL - 512);
	}
	assert_true(mg_boot(d, SIZE));
	assert_true(works(b));
	/* Its rings were written into by the guest's own doing. */
	assert_true(mg_boot(&b->neighbour, SIZE));
	assert_true(neighbour_works(b));
}

/* A used ring in the kernel's memory: the entries arrive there, and the queue works. */
static void test_used_ring_over_kernel(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	struct fake_ring *r = &d->ring[0];

	mg_negotiate(d, mg_offered(d));
	mg_place_ring(d, 1, SIZE);
	mg_place_ring(d, 0, SIZE);
	mg_write(d, VIRTIO_MMIO_QUEUE_READY, 0);
	r->used_gpa = b->kernel;
	r->used = fake_ptr(&b->g, b->kernel);
	r->used->idx = r->seen_used = 0xcccc;
	mg_place(d, 0, SIZE, r->desc_gpa, r->avail_gpa, r->used_gpa);
	mg_add_status(d, S_DRIVER_OK);
	assert_true(works(b));
	assert_int_equal(*(uint8_t *)fake_ptr(&b->g, b->kernel + 6 + 8 * SIZE), 0xcc);
	assert_true(neighbour_works(b));
}

/* ---- registers ---- */

/* What is written to them after DRIVER_OK, or while ready before it, changes nothing. */
static void test_frozen_queue_registers(void **state)
{
	static const uint32_t values[] = { 0x1000, 0, UINT32_MAX, FAKE_GPA, 3 };
	struct bench *b = *state;
	struct mg *d = &b->d;

	for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
		for (uint32_t q = 0; q < 3; q++) {
			mg_write(d, VIRTIO_MMIO_QUEUE_SEL, q);
			mg_write(d, VIRTIO_MMIO_QUEUE_NUM, values[v]);
			for (uint32_t off = 0x80; off <= 0xa4; off += 4)
				mg_write(d, off, values[v]);
			mg_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
		}
		assert_true(works(b));
	}
	assert_int_equal(b->e.starts, 2);
	mg_negotiate(d, mg_offered(d));
	for (uint32_t q = 0; q < 2; q++) {
		mg_place_ring(d, q, SIZE);
		mg_place(d, q, 4, FAKE_GPA, FAKE_GPA, FAKE_GPA);
	}
	mg_add_status(d, S_DRIVER_OK);
	assert_true(works(b));
	assert_int_equal(b->e.vdev.vq[0].size, SIZE);
	assert_true(neighbour_works(b));
}

static bool plain_access(uint32_t off, size_t len)
{
	if (off >= VIRTIO_MMIO_CONFIG)
		return len == 1 || len == 2 || len == 4 || len == 8;
	return len == 4 && off % 4 == 0;
}

/* Every offset with every width: what is not allowed reads as zero, writes nothing, and never
 * touches more than its bytes. */
static void test_every_width_and_offset(void **state)
{
	struct bench *b = *state;
	uint8_t data[32], zero[32] = { 0 };

	for (uint32_t off = 0; off < SM_MMIO_WINDOW; off++) {
		for (size_t len = 0; len <= 16; len++) {
			memset(data, 0xaa, sizeof(data));
			sm_mmio_access(b->d.m, off, data, len, false);
			assert_int_equal(data[len], 0xaa);
			if (!plain_access(off, len) || off >= VIRTIO_MMIO_CONFIG + 6)
				assert_memory_equal(data, zero, len);
			memset(data, 0, sizeof(data)); /* would be a reset */
			if (!plain_access(off, len) || off >= VIRTIO_MMIO_CONFIG)
				sm_mmio_access(b->d.m, off, data, len, true);
		}
	}
	assert_true(works(b));
	for (uint64_t off = SM_MMIO_WINDOW - 16; off; off <<= 1) {
		memset(data, 0xaa, sizeof(data));
		sm_mmio_access(b->d.m, off, data, 8, true);
		sm_mmio_access(b->d.m, off, data, 8, false);
		assert_memory_equal(data, zero, 8);
		sm_mmio_access(b->d.m, 0 - off, data, 4, false);
		assert_memory_equal(data, zero, 4);
	}
	assert_true(works(b));
	assert_true(neighbour_works(b));
}

/* Every value that is one bit, to every register but Status and QueueReady, which would stop the
 * queues by right. */
static void test_every_register_written(void **state)
{
	struct bench *b = *state;

	for (uint32_t off = 0; off < SM_MMIO_WINDOW; off += 4) {
		if (off == VIRTIO_MMIO_STATUS || off == VIRTIO_MMIO_QUEUE_READY)
			continue;
		for (uint64_t v = 1; v <= UINT32_MAX; v <<= 1)
			mg_write(&b->d, off, (uint32_t)v);
		mg_write(&b->d, off, 0);
	}
	assert_true(works(b));
	assert_true(neighbour_works(b));
}

/* ---- storms and resets ---- */

static void test_notify_storm(void **state)
{
	struct bench *b = *state;
	unsigned int before = b->e.q[0].served;

	for (uint32_t i = 0; i < 200000; i++)
		mg_notify(&b->d, i & 7);
	echo_serve(&b->e);
	assert_int_equal(b->e.q[0].served, before + 1);
	assert_true(works(b));
	assert_true(neighbour_works(b));
}

static void test_status_storm(void **state)
{
	struct bench *b = *state;

	for (uint32_t i = 0; i < 100000; i++)
		mg_write(&b->d, VIRTIO_MMIO_STATUS, i * 2654435761u >> 24);
	assert_true(mg_boot(&b->d, SIZE));
	assert_true(works(b));
	assert_int_equal(b->e.starts, b->e.stops + 2);
	assert_true(neighbour_works(b));
}

/* What the device holds is given back before the reset is done, and not a byte is written later. */
static void test_reset_in_flight(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	uint16_t head = two(b);
	uint32_t id, len;
	uint8_t *before;

	b->e.hold = true;
	publish(b, head);
	mg_notify(d, 0);
	echo_serve(&b->e);
	assert_true(b->e.q[0].holds);
	assert_false(fake_used(&d->ring[0], &id, &len));
	mg_reset(d);
	assert_int_equal(mg_status(d), 0);
	assert_true(fake_used(&d->ring[0], &id, &len) && id == head);
	/* The guest has its memory back. */
	publish(b, head);
	before = malloc(MEM);
	memcpy(before, b->g.mem, MEM);
	for (int i = 0; i < 10; i++) {
		mg_notify(d, 0);
		echo_serve(&b->e);
	}
	assert_memory_equal(before, b->g.mem, MEM);
	free(before);
	b->e.hold = false;
	assert_true(mg_boot(d, SIZE));
	assert_true(works(b));
	assert_true(neighbour_works(b));
}

/* The device finds the ring broken, and the guest resets without looking. */
static void test_reset_while_broken(void **state)
{
	struct bench *b = *state;

	for (int i = 0; i < 100; i++) {
		chain_loop(b);
		mg_notify(&b->d, 0);
		echo_serve(&b->e);
		assert_true(mg_status(&b->d) & S_NEEDS_RESET);
		mg_reset(&b->d);
		assert_int_equal(mg_status(&b->d), 0);
		assert_int_equal(mg_read(&b->d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		assert_true(mg_boot(&b->d, SIZE));
	}
	assert_true(works(b));
	assert_true(neighbour_works(b));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_rings),
		TEST(test_broken_is_told_once),
		TEST(test_bad_places),
		TEST(test_overlapping_rings),
		TEST(test_used_ring_over_kernel),
		TEST(test_frozen_queue_registers),
		TEST(test_every_width_and_offset),
		TEST(test_every_register_written),
		TEST(test_notify_storm),
		TEST(test_status_storm),
		TEST(test_reset_in_flight),
		TEST(test_reset_while_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
