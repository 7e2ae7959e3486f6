/* SPDX-License-Identifier: Apache-2.0 */
/* The console and the random number generator. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "dev/console.h"
#include "dev/rng.h"
#include "dev_guest.h"

#define MEM (4u << 20)

enum { RX, TX };

/* ---- console ---- */

struct con {
	struct dg d;
	struct sm_vcon *vcon;
	int out; /* where the text comes out */
};

static void con_init(struct con *c, int reader, int writer, uint16_t ring)
{
	dg_init(&c->d);
	assert_int_equal(sm_vcon_new(c->d.loop, writer, &c->vcon), 0);
	dg_attach(&c->d, sm_vcon_vdev(c->vcon), MEM, ring);
	c->out = reader;
}

static void con_init_socket(struct con *c, uint16_t ring)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(fcntl(sv[0], F_SETFL, O_NONBLOCK), 0);
	con_init(c, sv[0], sv[1], ring);
}

static void con_fini(struct con *c)
{
	dg_detach(&c->d);
	sm_vcon_free(c->vcon);
	dg_fini(&c->d);
	close(c->out);
}

static struct fake_buf text(struct con *c, const char *s)
{
	return (struct fake_buf){ fake_put(&c->d.g, s, strlen(s)), (uint32_t)strlen(s), false };
}

static size_t drain(struct con *c)
{
	static char buf[65536];
	size_t sum = 0;
	ssize_t n;

	while ((n = read(c->out, buf, sizeof(buf))) > 0)
		sum += (size_t)n;
	return sum;
}

static void expect_text(struct con *c, const char *s)
{
	char buf[256] = "";

	assert_int_equal(read(c->out, buf, sizeof(buf) - 1), strlen(s));
	assert_string_equal(buf, s);
}

static void test_console_prints(void **state)
{
	struct fake_buf b[2];
	struct con c;

	con_init_socket(&c, 16);
	b[0] = text(&c, "Linux ");
	b[1] = text(&c, "version\n");
	assert_int_equal(dg_chain(&c.d, TX, b, 2), 0);
	assert_true(fake_called(&c.d.dev->vq[TX]));
	expect_text(&c, "Linux version\n");
	b[0] = text(&c, "again\n");
	assert_int_equal(dg_chain(&c.d, TX, b, 1), 0);
	expect_text(&c, "again\n");
	assert_int_equal(sm_vcon_dropped(c.vcon), 0);
	assert_int_equal(c.d.broken, 0);
	con_fini(&c);
}

static void test_console_prints_to_a_pipe(void **state)
{
	struct con c;
	int p[2];
	struct fake_buf b;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	con_init(&c, p[0], p[1], 16);
	b = text(&c, "piped\n");
	assert_int_equal(dg_chain(&c.d, TX, &b, 1), 0);
	expect_text(&c, "piped\n");
	b = (struct fake_buf){ fake_alloc(&c.d.g, 1 << 20), 1 << 20, false };
	assert_int_equal(dg_chain(&c.d, TX, &b, 1), 0); /* more than a pipe takes */
	assert_true(sm_vcon_dropped(c.vcon) >= (1u << 20) - (64u << 10));
	con_fini(&c);
}

static void test_console_drops_what_nobody_reads(void **state)
{
	struct fake_buf b;
	uint64_t sum = 0;
	struct con c;

	con_init_socket(&c, 16);
	b = (struct fake_buf){ fake_alloc(&c.d.g, 65536), 65536, false };
	for (int i = 0; i < 32; i++, sum += b.len)
		assert_int_equal(dg_chain(&c.d, TX, &b, 1), 0);
	assert_true(sm_vcon_dropped(c.vcon) > 0);
	assert_int_equal(drain(&c) + sm_vcon_dropped(c.vcon), sum);
	b = text(&c, "there again\n");
	assert_int_equal(dg_chain(&c.d, TX, &b, 1), 0);
	expect_text(&c, "there again\n");
	con_fini(&c);
}

static void test_console_outlives_its_reader(void **state)
{
	struct fake_buf b;
	struct con c;

	con_init_socket(&c, 16);
	shutdown(c.out, SHUT_RDWR);
	b = text(&c, "lost");
	assert_int_equal(dg_chain(&c.d, TX, &b, 1), 0);
	assert_int_equal(sm_vcon_dropped(c.vcon), 4);
	assert_int_equal(c.d.broken, 0);
	con_fini(&c);
}

static void test_console_input_is_left_alone(void **state)
{
	struct fake_buf b;
	struct con c;

	con_init_socket(&c, 16);
	b = (struct fake_buf){ fake_alloc(&c.d.g, 4096), 4096, true };
	assert_int_equal(dg_chain(&c.d, RX, &b, 1), -1);
	b.in = false; /* the wrong direction is never looked at either */
	assert_int_equal(dg_chain(&c.d, RX, &b, 1), -1);
	assert_int_equal(c.d.broken, 0);
	con_fini(&c);
}

static void test_console_refuses_writable_buffers(void **state)
{
	struct fake_buf b[2];
	struct con c;

	con_init_socket(&c, 16);
	b[0] = text(&c, "x");
	b[1] = (struct fake_buf){ fake_alloc(&c.d.g, 16), 16, true };
	assert_int_equal(dg_chain(&c.d, TX, b, 2), -1);
	assert_int_equal(dg_chain(&c.d, TX, b, 1), -1);
	assert_int_equal(c.d.broken, 1);
	dg_stop(&c.d, TX); /* a new start is a new chance, and a new complaint */
	dg_start(&c.d, TX, 1);
	dg_spin(&c.d, 4);
	assert_int_equal(dg_used(&c.d, TX), 1);
	assert_int_equal(dg_chain(&c.d, TX, b + 1, 1), -1);
	assert_int_equal(c.d.broken, 2);
	con_fini(&c);
}

static void test_console_refuses_empty_buffers(void **state)
{
	struct fake_buf b;
	struct con c;

	con_init_socket(&c, 16);
	b = (struct fake_buf){ fake_alloc(&c.d.g, 16), 0, false };
	assert_int_equal(dg_chain(&c.d, TX, &b, 1), -1);
	assert_int_equal(c.d.broken, 1);
	con_fini(&c);
}

/* More pieces than a sendmsg() would take, and 1 GiB of text that is the same MiB over and over. */
static void test_console_takes_the_longest_chain(void **state)
{
	static struct fake_buf b[1024];
	struct con c;

	con_init_socket(&c, 1024);
	for (int i = 0; i < 1024; i++)
		b[i] = (struct fake_buf){ FAKE_GPA, 1, false };
	assert_int_equal(dg_chain(&c.d, TX, b, 1024), 0);
	assert_int_equal(drain(&c), 1024);
	for (int i = 0; i < 1024; i++)
		b[i].len = 1 << 20;
	assert_int_equal(dg_chain(&c.d, TX, b, 1024), 0);
	assert_int_equal(drain(&c) + sm_vcon_dropped(c.vcon), 1 << 30);
	assert_int_equal(c.d.broken, 0);
	con_fini(&c);
}

/* A turn ends although the ring is full, and the next one comes by itself. */
static void test_console_shares_the_loop(void **state)
{
	struct fake_buf b;
	struct con c;

	con_init_socket(&c, 256);
	b = (struct fake_buf){ fake_alloc(&c.d.g, 4096), 4096, false };
	dg_spin(&c.d, 2);
	for (int i = 0; i < 64; i++)
		fake_chain(&c.d.ring[TX], &b, 1);
	fake_kick(&c.d.dev->vq[TX]);
	dg_spin(&c.d, 1);
	assert_in_range(dg_used(&c.d, TX), 1, 32);
	assert_int_equal(dg_stop(&c.d, TX), c.d.ring[TX].used->idx); /* with more to do */
	dg_spin(&c.d, 8);
	assert_int_equal(dg_used(&c.d, TX), 0);
	dg_start(&c.d, TX, c.d.ring[TX].used->idx);
	dg_spin(&c.d, 8);
	assert_int_equal(c.d.ring[TX].used->idx, 64);
	con_fini(&c);
}

/* A ring full of chains that are long and say nothing: to walk along them is what takes time. */
static void test_console_counts_buffers(void **state)
{
	struct vring_desc *table;
	struct fake_ring *r;
	struct con c;
	gpa_t gpa;

	con_init_socket(&c, 1024);
	dg_spin(&c.d, 2);
	r = &c.d.ring[TX];
	gpa = fake_alloc(&c.d.g, 1024 * sizeof(*table));
	table = fake_ptr(&c.d.g, gpa);
	for (uint16_t i = 0; i < 1024; i++)
		table[i] = (struct vring_desc){ FAKE_GPA, 1, i < 1023 ? VRING_DESC_F_NEXT : 0,
						(uint16_t)(i + 1) };
	r->desc[0] = (struct vring_desc){ gpa, 1024 * sizeof(*table), VRING_DESC_F_INDIRECT, 0 };
	for (int i = 0; i < 16; i++)
		fake_publish(r, 0);
	fake_kick(&c.d.dev->vq[TX]);
	for (uint16_t n = 4; n <= 16; n = (uint16_t)(n + 4)) {
		dg_spin(&c.d, 1);
		assert_int_equal(r->used->idx, n);
	}
	assert_int_equal(drain(&c), 16 * 1024);
	con_fini(&c);
}

static void test_console_refuses_bad_descriptors(void **state)
{
	struct sm_loop *loop = sm_loop_new();
	struct sm_vcon *vcon;

	assert_int_equal(sm_vcon_new(loop, -1, &vcon), -EBADF);
	sm_vcon_free(NULL);
	sm_loop_free(loop);
}

/* ---- random numbers ---- */

struct entropy {
	struct dg d;
	struct sm_rng *rng;
};

static void entropy_init(struct entropy *e, uint16_t ring)
{
	dg_init(&e->d);
	assert_int_equal(sm_rng_new(e->d.loop, &e->rng), 0);
	dg_attach(&e->d, sm_rng_vdev(e->rng), MEM, ring);
}

static void entropy_fini(struct entropy *e)
{
	dg_detach(&e->d);
	sm_rng_free(e->rng);
	dg_fini(&e->d);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i])
			return false;
	}
	return true;
}

static void test_rng_fills(void **state)
{
	struct entropy e;
	struct fake_buf b[2];
	uint8_t *p;

	entropy_init(&e, 16);
	b[0] = (struct fake_buf){ fake_alloc(&e.d.g, 64), 32, true };
	b[1] = (struct fake_buf){ fake_alloc(&e.d.g, 64), 32, true };
	assert_int_equal(dg_chain(&e.d, 0, b, 2), 64);
	assert_true(fake_called(&e.d.dev->vq[0]));
	p = fake_ptr(&e.d.g, b[0].gpa);
	assert_false(is_zero(p, 32));
	assert_true(is_zero(p + 32, 32));
	assert_false(is_zero(p + 64, 32));
	assert_true(is_zero(p + 96, 32));
	assert_memory_not_equal(p, p + 64, 32);
	entropy_fini(&e);
}

static void test_rng_is_bounded(void **state)
{
	struct entropy e;
	struct fake_buf b;

	entropy_init(&e, 16);
	dg_spin(&e.d, 2);
	b = (struct fake_buf){ fake_alloc(&e.d.g, 1 << 20), 1 << 20, true };
	fake_chain(&e.d.ring[0], &b, 1);
	fake_chain(&e.d.ring[0], &b, 1);
	fake_kick(&e.d.dev->vq[0]);
	dg_spin(&e.d, 1);
	assert_int_equal(dg_used(&e.d, 0), 1);
	assert_int_equal(e.d.ring[0].used->ring[0].len, 64 << 10);
	assert_true(
		is_zero((uint8_t *)fake_ptr(&e.d.g, b.gpa) + (64 << 10), (1 << 20) - (64 << 10)));
	dg_spin(&e.d, 2);
	assert_int_equal(dg_used(&e.d, 0), 1); /* the next one in a turn of its own */
	entropy_fini(&e);
}

static void test_rng_many_small_buffers(void **state)
{
	static struct fake_buf b[1024];
	struct entropy e;
	int64_t n;

	entropy_init(&e, 1024);
	b[0].gpa = fake_alloc(&e.d.g, 1024);
	for (unsigned i = 0; i < 1024; i++)
		b[i] = (struct fake_buf){ b[0].gpa + i, 1, true };
	n = dg_chain(&e.d, 0, b, 1024);
	assert_in_range(n, 1, 1024);
	assert_int_equal(e.d.broken, 0);
	entropy_fini(&e);
}

static void test_rng_refuses(const struct fake_buf *b, uint16_t n)
{
	struct entropy e;

	entropy_init(&e, 16);
	assert_int_equal(dg_chain(&e.d, 0, b, n), -1);
	assert_int_equal(e.d.broken, 1);
	fake_kick(&e.d.dev->vq[0]);
	dg_spin(&e.d, 4);
	assert_int_equal(e.d.broken, 1); /* said once */
	entropy_fini(&e);
}

static void test_rng_violations(void **state)
{
	const struct fake_buf readable[] = { { FAKE_GPA + 65536, 16, false },
					     { FAKE_GPA + 65536, 16, true } };
	const struct fake_buf empty = { FAKE_GPA + 65536, 0, true };
	const struct fake_buf outside = { FAKE_GPA + MEM - 8, 16, true };

	test_rng_refuses(readable, 1);
	test_rng_refuses(readable, 2);
	test_rng_refuses(&empty, 1);
	test_rng_refuses(&outside, 1);
}

/* The device's own rings as buffers: whatever comes of it, the process stays. */
static void test_rng_over_its_rings(void **state)
{
	struct entropy e;
	struct fake_buf b;

	entropy_init(&e, 256);
	b = (struct fake_buf){ FAKE_GPA, 16 << 10, true };
	for (int i = 0; i < 4; i++)
		fake_chain(&e.d.ring[0], &b, 1);
	fake_kick(&e.d.dev->vq[0]);
	dg_spin(&e.d, 16);
	assert_in_range(e.d.broken, 0, 1);
	entropy_fini(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_console_prints),
		cmocka_unit_test(test_console_prints_to_a_pipe),
		cmocka_unit_test(test_console_drops_what_nobody_reads),
		cmocka_unit_test(test_console_outlives_its_reader),
		cmocka_unit_test(test_console_input_is_left_alone),
		cmocka_unit_test(test_console_refuses_writable_buffers),
		cmocka_unit_test(test_console_refuses_empty_buffers),
		cmocka_unit_test(test_console_takes_the_longest_chain),
		cmocka_unit_test(test_console_shares_the_loop),
		cmocka_unit_test(test_console_counts_buffers),
		cmocka_unit_test(test_console_refuses_bad_descriptors),
		cmocka_unit_test(test_rng_fills),
		cmocka_unit_test(test_rng_is_bounded),
		cmocka_unit_test(test_rng_many_small_buffers),
		cmocka_unit_test(test_rng_violations),
		cmocka_unit_test(test_rng_over_its_rings),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
