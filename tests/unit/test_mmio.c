/* SPDX-License-Identifier: Apache-2.0 */
/* The transport's registers and states, as a driver sees them that keeps to the rules, nearly. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "mmio_guest.h"

#define SIZE 16

struct bench {
	struct fake_guest g;
	struct echo e;
	struct mg d;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	fake_guest_init(&b->g, 1 << 20);
	echo_init(&b->e);
	mg_init(&b->d, &b->g, &b->e.vdev, mg_call, NULL);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	mg_fini(&b->d);
	fake_guest_fini(&b->g);
	free(b);
	return 0;
}

static void test_identity(void **state)
{
	struct bench *b = *state;

	assert_int_equal(mg_read(&b->d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(mg_read(&b->d, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(mg_read(&b->d, VIRTIO_MMIO_DEVICE_ID), 99);
	assert_int_not_equal(mg_read(&b->d, VIRTIO_MMIO_VENDOR_ID), 0);
	assert_int_equal(mg_status(&b->d), 0);
	mg_write(&b->d, VIRTIO_MMIO_MAGIC_VALUE, 0);
	assert_int_equal(mg_read(&b->d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
}

static void test_new_checks(void **state)
{
	struct bench *b = *state;
	struct sm_mmio_shm shm[SM_MMIO_SHM_MAX + 1] = { { 0 } };
	struct sm_vdev_ops ops = { .nqueues = SM_VDEV_QUEUES_MAX + 1 };
	struct sm_vdev dev = { .ops = &ops };
	struct sm_mmio_config c = { .dev = &dev, .mem = &b->g.gm, .irq_fd = -1, .call = mg_call };
	struct sm_mmio *m = NULL;

	assert_int_equal(sm_mmio_new(&c, &m), -EINVAL);
	ops.nqueues = 0;
	c.shm = shm;
	c.nshm = SM_MMIO_SHM_MAX + 1;
	assert_int_equal(sm_mmio_new(&c, &m), -EINVAL);
	sm_mmio_free(NULL);
}

static void count_up(void *arg)
{
	++*(int *)arg;
}

/* Where the monitor has a function for interrupts it is called in place of irq_fd, for queues and
 * for the device. */
static void test_interrupt_by_call(void **state)
{
	struct bench *b = *state;
	int n = 0, of_queues;
	struct sm_mmio_config c = { .dev = &b->e.vdev,
				    .mem = &b->g.gm,
				    .interrupt = count_up,
				    .interrupt_arg = &n,
				    .irq_fd = b->d.irq_fd,
				    .call = mg_call };

	sm_mmio_free(b->d.m);
	assert_int_equal(sm_mmio_new(&c, &b->d.m), 0);
	assert_true(mg_boot(&b->d, SIZE));
	assert_int_equal(n, 0);
	assert_true(echo_works(&b->e, &b->d, 0));
	of_queues = n;
	assert_true(of_queues > 0);
	sm_vdev_config_changed(&b->e.vdev);
	assert_int_equal(n, of_queues + 1);
	assert_false(mg_irq(&b->d));
}

static void test_life(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	assert_true(mg_negotiate(d, mg_offered(d)));
	assert_int_equal(b->e.negotiations, 1);
	assert_int_equal(b->e.features, mg_offered(d));
	assert_int_equal(b->e.features, F_ECHO | SM_VQ_FEATURES);
	assert_true(b->e.vdev.vq[1].event_idx && b->e.vdev.vq[1].indirect);
	mg_place_ring(d, 0, SIZE);
	mg_place_ring(d, 1, SIZE);
	assert_int_equal(b->e.starts, 0);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	mg_add_status(d, S_DRIVER_OK);
	assert_int_equal(mg_status(d), S_RUNS);
	assert_int_equal(b->e.starts, 2);
	assert_false(mg_irq(d));
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	for (int i = 0; i < 3 * SIZE; i++)
		assert_true(echo_works(&b->e, d, i & 1));
	assert_true(mg_irq(d));
	mg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);

	mg_reset(d);
	assert_int_equal(mg_status(d), 0);
	assert_int_equal(b->e.stops, 2);
	assert_int_equal(b->e.resets, 1);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	mg_reset(d);
	assert_int_equal(b->e.resets, 1); /* what never ran has nothing to forget */
	assert_true(mg_boot(d, SIZE));
	assert_true(echo_works(&b->e, d, 1));
}

/* A device that is freed while it runs is stopped and reset. */
static void test_free_while_running(void **state)
{
	struct bench *b = *state;
	struct echo e;
	struct mg d;

	echo_init(&e);
	mg_init(&d, &b->g, &e.vdev, mg_call, NULL);
	assert_true(mg_boot(&d, SIZE));
	mg_fini(&d);
	assert_int_equal(e.stops, 2);
	assert_int_equal(e.resets, 1);
	assert_int_equal(e.vdev.vq[0].kick_fd, -1);
	sm_vdev_broken(&e.vdev);
	sm_vdev_config_changed(&e.vdev);
}

/* ---- features ---- */

static void test_features(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	uint64_t v1 = 1ull << SM_VIRTIO_F_VERSION_1;

	mg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	assert_true(mg_negotiate(d, v1));
	assert_int_equal(b->e.features, v1);
	assert_false(b->e.vdev.vq[0].event_idx || b->e.vdev.vq[0].indirect);
	/* They are what they are now. */
	mg_accept(d, mg_offered(d));
	mg_add_status(d, S_FEATURES_OK);
	assert_int_equal(b->e.negotiations, 1);
	assert_int_equal(b->e.features, v1);
}

static void test_features_refused(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	uint64_t v1 = 1ull << SM_VIRTIO_F_VERSION_1;

	assert_false(mg_negotiate(d, F_ECHO)); /* without VERSION_1 */
	assert_false(mg_negotiate(d, v1 | 1));
	assert_false(mg_negotiate(d, v1 | 1ull << 40)); /* RING_RESET */
	mg_accept(d, v1); /* thinks better of it */
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 7);
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	mg_add_status(d, S_FEATURES_OK);
	assert_int_equal(mg_status(d), S_ACK | S_DRIVER | S_FEATURES_OK);
	mg_reset(d);
	mg_add_status(d, S_ACK | S_DRIVER);
	mg_accept(d, v1);
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, UINT32_MAX);
	mg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	mg_add_status(d, S_FEATURES_OK);
	assert_int_equal(mg_status(d), S_ACK | S_DRIVER);
	assert_int_equal(b->e.negotiations, 1);
	/* A reset forgets what was accepted. */
	mg_accept(d, v1);
	mg_reset(d);
	mg_write(d, VIRTIO_MMIO_STATUS, S_ACK | S_DRIVER | S_FEATURES_OK);
	assert_int_equal(mg_status(d), S_ACK | S_DRIVER);
}

/* ---- Status ---- */

static void test_bits_are_only_added(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	assert_true(mg_boot(d, SIZE));
	mg_write(d, VIRTIO_MMIO_STATUS, S_ACK);
	assert_int_equal(mg_status(d), S_RUNS);
	mg_write(d, VIRTIO_MMIO_STATUS, S_NEEDS_RESET | 0x30 | 0xffffff00);
	assert_int_equal(mg_status(d), S_RUNS);
	assert_int_equal(b->e.starts, 2);
	assert_true(echo_works(&b->e, d, 0));
}

static void test_features_ok_needs_a_driver(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	mg_accept(d, mg_offered(d));
	mg_write(d, VIRTIO_MMIO_STATUS, S_ACK | S_FEATURES_OK);
	assert_int_equal(mg_status(d), S_ACK);
	/* All at once is in order. */
	mg_write(d, VIRTIO_MMIO_STATUS, S_RUNS);
	assert_int_equal(mg_status(d), S_RUNS);
	assert_int_equal(b->e.starts, 0); /* no queue was made ready */
}

static void assert_needs_reset(struct bench *b, uint32_t others)
{
	struct mg *d = &b->d;

	assert_int_equal(mg_status(d), others | S_NEEDS_RESET);
	assert_true(mg_irq(d));
	assert_true(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	mg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_false(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	assert_true(mg_boot(d, SIZE));
	assert_true(echo_works(&b->e, d, 0) && echo_works(&b->e, d, 1));
	mg_irq(d);
}

static void test_driver_ok_out_of_turn(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	mg_write(d, VIRTIO_MMIO_STATUS, S_ACK | S_DRIVER);
	mg_place_ring(d, 0, SIZE);
	mg_add_status(d, S_DRIVER_OK);
	assert_int_equal(b->e.starts, 0);
	mg_accept(d, mg_offered(d));
	mg_add_status(d, S_FEATURES_OK); /* too late */
	assert_int_equal(b->e.negotiations, 0);
	assert_needs_reset(b, S_ACK | S_DRIVER | S_DRIVER_OK);
}

static void test_failed(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	assert_true(mg_boot(d, SIZE));
	mg_add_status(d, S_FAILED);
	assert_int_equal(mg_status(d), S_RUNS | S_FAILED);
	assert_int_equal(b->e.stops, 2);
	assert_false(echo_works(&b->e, d, 0));
	assert_true(mg_boot(d, SIZE));
	assert_true(echo_works(&b->e, d, 0));
	/* And before: nothing starts any more. */
	mg_negotiate(d, mg_offered(d));
	mg_place_ring(d, 0, SIZE);
	mg_irq(d);
	mg_add_status(d, S_FAILED);
	mg_add_status(d, S_DRIVER_OK);
	assert_int_equal(b->e.starts, 4);
	assert_needs_reset(b, S_RUNS | S_FAILED);
}

static void test_device_cannot_start(void **state)
{
	struct bench *b = *state;

	b->e.start_err = -ENOMEM;
	assert_false(mg_boot(&b->d, SIZE));
	assert_int_equal(b->e.stops, 1); /* the one that had started */
	b->e.start_err = 0;
	assert_needs_reset(b, S_RUNS);
	assert_int_equal(b->e.resets, 1);
}

/* ---- queues ---- */

static void test_queue_registers(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	mg_negotiate(d, mg_offered(d));
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	mg_place_ring(d, 1, SIZE);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 1);
	mg_write(d, VIRTIO_MMIO_QUEUE_READY, 2);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 1);
	mg_write(d, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	mg_place(d, 2, SIZE, FAKE_GPA, FAKE_GPA, FAKE_GPA);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	mg_write(d, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	mg_write(d, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(mg_status(d), S_ACK | S_DRIVER | S_FEATURES_OK);
	assert_int_equal(sm_mmio_kick_fd(d->m, 2), -1);
	assert_true(sm_mmio_kick_fd(d->m, 1) >= 0);
}

/* A driver that gives up a queue before DRIVER_OK may set it up anew. */
static void test_ready_taken_back(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	mg_negotiate(d, mg_offered(d));
	mg_place_ring(d, 0, SIZE);
	mg_place_ring(d, 1, SIZE);
	mg_write(d, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	mg_place_ring(d, 1, SIZE);
	mg_add_status(d, S_DRIVER_OK);
	assert_int_equal(b->e.starts, 2);
	assert_true(echo_works(&b->e, d, 1));
}

/* virtio 1.2, 4.2.2.2: the driver stops using a queue. It is not a reset of that queue. */
static void test_queue_stopped_while_running(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	struct fake_ring *r = &d->ring[1];

	assert_true(mg_boot(d, SIZE));
	mg_write(d, VIRTIO_MMIO_QUEUE_SEL, 1);
	mg_write(d, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(b->e.stops, 1);
	assert_true(echo_works(&b->e, d, 0));
	assert_false(echo_works(&b->e, d, 1));
	mg_place(d, 1, SIZE, r->desc_gpa, r->avail_gpa, r->used_gpa);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(b->e.starts, 2);
	assert_int_equal(mg_status(d), S_RUNS);
	assert_true(mg_boot(d, SIZE));
	assert_true(echo_works(&b->e, d, 1));
}

static void test_notify_by_register_or_eventfd(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	int fd = sm_mmio_kick_fd(d->m, 1);
	eventfd_t v = 0;

	mg_notify(d, 1);
	assert_int_equal(eventfd_read(fd, &v), 0);
	assert_int_equal(v, 1);
	mg_notify(d, 2);
	mg_notify(d, UINT32_MAX);
	mg_notify(d, 1 << 16 | 1); /* NOTIFICATION_DATA is not offered */
	assert_int_equal(eventfd_read(fd, &v), -1);
	/* A full counter blocks nobody. */
	assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
	mg_notify(d, 1);
	assert_true(mg_boot(d, SIZE));
	assert_true(echo_works(&b->e, d, 1));
}

/* ---- configuration, interrupts, shared memory ---- */

static uint64_t config(struct bench *b, uint32_t off, size_t len)
{
	uint64_t v = UINT64_MAX;

	sm_mmio_access(b->d.m, VIRTIO_MMIO_CONFIG + off, &v, len, false);
	return v;
}

static void test_config_space(void **state)
{
	struct bench *b = *state;
	uint64_t ones = UINT64_MAX;

	assert_int_equal((uint8_t)config(b, 0, 1), 'A');
	assert_int_equal((uint8_t)config(b, 5, 1), 'F');
	assert_int_equal((uint16_t)config(b, 2, 2), 0x4443);
	assert_int_equal((uint16_t)config(b, 1, 2), 0x4342);
	assert_int_equal((uint32_t)config(b, 0, 4), 0x44434241);
	assert_true(config(b, 0, 8) == 0x464544434241);
	assert_true((uint32_t)config(b, 4, 4) == 0x4645); /* the end is zeros */
	assert_true(config(b, 5, 8) == 0x46);
	assert_true(config(b, 6, 8) == 0 && config(b, 7, 8) == 0 && config(b, 0xef8, 8) == 0);
	assert_true(config(b, 0, 3) == 0xffffffffff000000);
	for (uint32_t off = 0; off < 16; off++)
		sm_mmio_access(b->d.m, VIRTIO_MMIO_CONFIG + off, &ones, 8, true);
	assert_int_equal((uint32_t)config(b, 0, 4), 0x44434241);
}

static void test_config_change(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;
	uint32_t gen = mg_read(d, VIRTIO_MMIO_CONFIG_GENERATION);

	sm_vdev_config_changed(&b->e.vdev); /* nobody is there yet */
	assert_int_not_equal(mg_read(d, VIRTIO_MMIO_CONFIG_GENERATION), gen);
	assert_false(mg_irq(d));
	assert_true(mg_boot(d, SIZE));
	gen = mg_read(d, VIRTIO_MMIO_CONFIG_GENERATION);
	b->e.config[0] = 0x31313131;
	sm_vdev_config_changed(&b->e.vdev);
	assert_true(mg_irq(d));
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_CONFIG | VIRTIO_MMIO_INT_VRING);
	assert_int_not_equal(mg_read(d, VIRTIO_MMIO_CONFIG_GENERATION), gen);
	assert_int_equal((uint32_t)config(b, 0, 4), 0x31313131);
	mg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_true(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	mg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	assert_int_equal(mg_status(d), S_RUNS);
	sm_vdev_config_changed(&b->e.vdev);
	mg_reset(d);
	assert_int_equal(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

/* KVM delivers an acknowledgement with the next exit only: a change in between is not acknowledged. */
static void test_config_change_before_acknowledgement(void **state)
{
	struct bench *b = *state;
	struct mg *d = &b->d;

	assert_true(mg_boot(d, SIZE));
	sm_vdev_config_changed(&b->e.vdev);
	assert_true(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	sm_vdev_config_changed(&b->e.vdev);
	mg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_true(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	mg_write(d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_false(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}

static uint64_t shm(struct mg *d, uint32_t id, uint32_t off)
{
	mg_write(d, VIRTIO_MMIO_SHM_SEL, id);
	return mg_read(d, off) | (uint64_t)mg_read(d, off + 4) << 32;
}

static void test_shared_memory(void **state)
{
	struct bench *b = *state;
	struct sm_mmio_shm table[] = { { 0, 0x1200000000, 0x240000000 }, { 5, 0x1000, 1 } };
	struct echo e;
	struct mg d = { .dev = &e.vdev };
	struct sm_mmio_config c = { .dev = &e.vdev, .mem = &b->g.gm, .irq_fd = -1,
				    .call = mg_call, .shm = table, .nshm = 2 };

	echo_init(&e);
	assert_int_equal(sm_mmio_new(&c, &d.m), 0);
	assert_true(shm(&d, 0, VIRTIO_MMIO_SHM_LEN_LOW) == 0x240000000);
	assert_true(shm(&d, 0, VIRTIO_MMIO_SHM_BASE_LOW) == 0x1200000000);
	assert_true(shm(&d, 5, VIRTIO_MMIO_SHM_LEN_LOW) == 1);
	assert_true(shm(&d, 5, VIRTIO_MMIO_SHM_BASE_LOW) == 0x1000);
	assert_true(shm(&d, 1, VIRTIO_MMIO_SHM_LEN_LOW) == UINT64_MAX);
	assert_true(shm(&d, 1, VIRTIO_MMIO_SHM_BASE_LOW) == UINT64_MAX);
	assert_true(shm(&b->d, 0, VIRTIO_MMIO_SHM_LEN_LOW) == UINT64_MAX);
	mg_reset(&d);
	assert_int_equal(mg_read(&d, VIRTIO_MMIO_SHM_LEN_HIGH), 2);
	sm_mmio_free(d.m);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_identity),
		TEST(test_new_checks),
		TEST(test_interrupt_by_call),
		TEST(test_life),
		TEST(test_free_while_running),
		TEST(test_features),
		TEST(test_features_refused),
		TEST(test_bits_are_only_added),
		TEST(test_features_ok_needs_a_driver),
		TEST(test_driver_ok_out_of_turn),
		TEST(test_failed),
		TEST(test_device_cannot_start),
		TEST(test_queue_registers),
		TEST(test_ready_taken_back),
		TEST(test_queue_stopped_while_running),
		TEST(test_notify_by_register_or_eventfd),
		TEST(test_config_space),
		TEST(test_config_change),
		TEST(test_config_change_before_acknowledgement),
		TEST(test_shared_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
