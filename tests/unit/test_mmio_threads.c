/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport between threads that know nothing of each other, mostly for TSan:
 *
 *	2 vCPUs          register accesses of all kinds, boots and resets
 *	the loop         start, stop and reset, called by the vCPUs; configuration changes
 *	the device       a thread for each queue, which finds some of the rings broken
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/loop.h"
#include "mmio_guest.h"

#define SIZE 16
#define BOOTS 150
#define STRAY 12000

struct bench {
	struct fake_guest g;
	struct echo e;
	struct mg d;
	struct sm_loop *loop;
	pthread_t loop_thread;
	atomic_bool booting;	/* the first vCPU goes on */
};

/* ---- call(): as the monitor does it ---- */

struct call {
	void (*fn)(void *);
	void *arg;
	int done_fd;
};

static void run_call(void *arg)
{
	struct call *c = arg;

	c->fn(c->arg);
	eventfd_write(c->done_fd, 1);
}

static void call(void *arg, void (*fn)(void *), void *fn_arg)
{
	struct bench *b = arg;
	struct call c = { fn, fn_arg, eventfd(0, EFD_CLOEXEC) };
	eventfd_t v;

	if (c.done_fd < 0 || sm_loop_post(b->loop, run_call, &c) < 0)
		abort();
	eventfd_read(c.done_fd, &v);
	close(c.done_fd);
}

static void *run_loop(void *arg)
{
	struct bench *b = arg;

	sm_loop_run(b->loop);
	return NULL;
}

static void stop_loop(void *arg)
{
	sm_loop_stop(arg);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	fake_guest_init(&b->g, 1 << 20);
	echo_init(&b->e);
	b->e.threads = true;
	b->loop = sm_loop_new();
	mg_init(&b->d, &b->g, &b->e.vdev, call, b);
	*state = b;
	return pthread_create(&b->loop_thread, NULL, run_loop, b);
}

static int teardown(void **state)
{
	struct bench *b = *state;

	sm_loop_post(b->loop, stop_loop, b->loop);
	pthread_join(b->loop_thread, NULL);
	mg_fini(&b->d);
	sm_loop_free(b->loop);
	fake_guest_fini(&b->g);
	free(b);
	return 0;
}

/* ---- threads ---- */

/* Boots, has some chains served or a ring broken, resets, over and over. The other vCPU disturbs,
 * so that nothing is certain but that it ends. */
static void *boots(void *arg)
{
	struct bench *b = arg;
	gpa_t ping = fake_put(&b->g, "ping", 4);
	struct fake_buf good[2][2] = { { { ping, 4, false }, { fake_alloc(&b->g, 4), 4, true } },
				       { { ping, 4, false }, { fake_alloc(&b->g, 4), 4, true } } };
	struct fake_buf bad = { 0, 4, true };

	for (int i = 0; i < BOOTS; i++) {
		mg_boot(&b->d, SIZE);
		for (int n = 0; n < 8; n++) {
			fake_chain(&b->d.ring[n & 1], good[n & 1], 2);
			mg_notify(&b->d, n & 1);
		}
		if (i % 3 == 0) {
			fake_chain(&b->d.ring[i & 1], &bad, 1);
			mg_notify(&b->d, i & 1);
		}
		mg_status(&b->d);
		mg_irq(&b->d);
		mg_reset(&b->d);
	}
	b->booting = false;
	return NULL;
}

/* Writes anything anywhere but what places queues: that could set both on one ring, and their
 * threads would race in guest memory, by the guest's doing and at its loss. */
static void *strays(void *arg)
{
	struct bench *b = arg;
	uint32_t x = 1, v = 0;

	for (int i = 0; i < STRAY && b->booting; i++) {
		uint32_t off;

		x = x * 1664525u + 1013904223u;
		off = x >> 20;
		if (off < VIRTIO_MMIO_CONFIG)
			off &= ~3u;
		v = x >> 12 & 0xff;
		if (off == VIRTIO_MMIO_STATUS && x & 0x700)
			v |= 1; /* a reset is rare */
		if (off != VIRTIO_MMIO_QUEUE_SEL &&
		    (off < VIRTIO_MMIO_QUEUE_DESC_LOW || off > VIRTIO_MMIO_QUEUE_USED_HIGH))
			sm_mmio_access(b->d.m, off, &v, 4, x & 0x100);
		sm_mmio_access(b->d.m, (x >> 24) & ~3u, &v, 4, false);
		mg_read(&b->d, VIRTIO_MMIO_INTERRUPT_STATUS);
		mg_write(&b->d, VIRTIO_MMIO_INTERRUPT_ACK, 3);
		mg_notify(&b->d, x >> 31);
	}
	return NULL;
}

static void change_config(void *arg)
{
	struct bench *b = arg;

	b->e.config[0]++;
	sm_vdev_config_changed(&b->e.vdev);
	if (b->booting)
		sm_loop_post(b->loop, change_config, b);
}

/* Waits for the device's thread by its interrupts. */
static bool works(struct bench *b, uint32_t i)
{
	struct fake_ring *r = &b->d.ring[i];
	struct fake_buf bufs[2] = { { fake_put(&b->g, "ping", 4), 4, false },
				    { fake_alloc(&b->g, 4), 4, true } };
	struct pollfd p = { b->d.irq_fd, POLLIN, 0 };
	uint32_t id, len;
	bool done;

	fake_chain(r, bufs, 2);
	mg_notify(&b->d, i);
	while (!(done = fake_used(r, &id, &len)) && poll(&p, 1, 10000) == 1)
		mg_irq(&b->d);
	return done && memcmp(fake_ptr(&b->g, bufs[1].gpa), "ping", 4) == 0;
}

static void test_vcpus_and_loop(void **state)
{
	struct bench *b = *state;
	pthread_t vcpu[2];

	b->booting = true;
	assert_int_equal(sm_loop_post(b->loop, change_config, b), 0);
	assert_int_equal(pthread_create(&vcpu[0], NULL, boots, b), 0);
	assert_int_equal(pthread_create(&vcpu[1], NULL, strays, b), 0);
	pthread_join(vcpu[0], NULL);
	pthread_join(vcpu[1], NULL);
	assert_true(mg_boot(&b->d, SIZE));
	assert_true(works(b, 0) && works(b, 1));
	assert_true(b->e.starts == b->e.stops + 2);
}

/* Chains come in as fast as they can while the other vCPU resets: whatever is in flight is back, or
 * was never taken, when the reset is done. */
static void *floods(void *arg)
{
	struct bench *b = arg;

	while (b->booting) {
		mg_notify(&b->d, 0);
		mg_notify(&b->d, 1);
	}
	return NULL;
}

static void test_reset_in_flight(void **state)
{
	struct bench *b = *state;
	struct fake_buf bufs[2] = { { fake_put(&b->g, "ping", 4), 4, false },
				    { fake_alloc(&b->g, 4), 4, true } };
	pthread_t vcpu;
	uint8_t before[64];

	b->booting = true;
	assert_int_equal(pthread_create(&vcpu, NULL, floods, b), 0);
	for (int i = 0; i < BOOTS; i++) {
		struct fake_ring *r = &b->d.ring[0];

		assert_true(mg_boot(&b->d, SIZE));
		for (int n = 0; n < SIZE / 2; n++)
			fake_chain(r, bufs, 2);
		mg_notify(&b->d, 0);
		mg_reset(&b->d);
		/* The thread sanitizer would see a device that still writes. */
		memset(r->used, i, sizeof(before));
		memset(fake_ptr(&b->g, bufs[1].gpa), i, 4);
		memcpy(before, r->used, sizeof(before));
		mg_status(&b->d);
		assert_memory_equal(before, r->used, sizeof(before));
	}
	b->booting = false;
	pthread_join(vcpu, NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_vcpus_and_loop),
		TEST(test_reset_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
