/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dev/balloon.h"
#include "dev_guest.h"

#define MEM       (16u << 20)
#define MEM_LARGE (128u << 20)
#define PAGE      4096u
#define PFN(gpa)  (uint32_t)((gpa) >> VIRTIO_BALLOON_PFN_SHIFT)

enum { INFLATE, DEFLATE, REPORT };

struct bg {
	struct dg d;
	struct sm_balloon *b;
	gpa_t pages; /* page aligned, to the end of memory */
};

static void bg_init_mem(struct bg *g, uint16_t ring, size_t mem)
{
	dg_init(&g->d);
	assert_int_equal(sm_balloon_new(g->d.loop, &g->b), 0);
	dg_attach(&g->d, sm_balloon_vdev(g->b), mem, ring);
	g->pages = FAKE_GPA + (2u << 20);
	assert_true(g->d.g.next < 1u << 20);
}

static void bg_init(struct bg *g, uint16_t ring)
{
	bg_init_mem(g, ring, MEM);
}

static void bg_fini(struct bg *g)
{
	dg_detach(&g->d);
	sm_balloon_free(g->b);
	dg_fini(&g->d);
}

static uint8_t *page(struct bg *g, unsigned i)
{
	return fake_ptr(&g->d.g, g->pages + (gpa_t)i * PAGE);
}

static void dirty(struct bg *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		memset(page(g, i), 0x5a, PAGE);
}

/* Of the first n pages: one character each, '.' discarded, '#' as it was. */
static const char *map(struct bg *g, unsigned n)
{
	static char s[64];

	for (unsigned i = 0; i < n; i++)
		s[i] = page(g, i)[0] == 0 && page(g, i)[PAGE - 1] == 0 ? '.' : '#';
	s[n] = '\0';
	return s;
}

static struct sm_balloon_counters counters(struct bg *g)
{
	struct sm_balloon_counters c;

	sm_balloon_counters(g->b, &c);
	return c;
}

static int64_t send_pfns(struct bg *g, uint32_t queue, const uint32_t *pfn, uint32_t n)
{
	struct fake_buf b = { fake_put(&g->d.g, pfn, n * sizeof(*pfn)), n * 4, false };

	return dg_chain(&g->d, queue, &b, 1);
}

static void test_inflate_and_deflate(void **state)
{
	struct bg g;

	bg_init(&g, 16);
	dirty(&g, 8);
	const uint32_t pfn[] = { PFN(g.pages) + 1, PFN(g.pages) + 2, PFN(g.pages) + 6,
				 PFN(g.pages) + 4 };

	assert_int_equal(send_pfns(&g, INFLATE, pfn, 4), 0);
	assert_true(fake_called(&g.d.dev->vq[INFLATE]));
	assert_string_equal(map(&g, 8), "#..#.#.#");
	assert_int_equal(counters(&g).inflated, 4 * PAGE);
	memset(page(&g, 1), 1, PAGE); /* a page is back as soon as it is used */
	assert_int_equal(send_pfns(&g, DEFLATE, pfn, 4), 0);
	assert_string_equal(map(&g, 8), "##.#.#.#");
	assert_int_equal(counters(&g).deflated, 4 * PAGE);
	assert_int_equal(g.d.broken, 0);
	bg_fini(&g);
}

static void test_inflate_twice_and_overlapping(void **state)
{
	struct bg g;

	bg_init(&g, 16);
	dirty(&g, 4);
	const uint32_t pfn[] = { PFN(g.pages), PFN(g.pages) + 1, PFN(g.pages), PFN(g.pages) + 1,
				 PFN(g.pages) + 2 };

	assert_int_equal(send_pfns(&g, INFLATE, pfn, 5), 0);
	assert_string_equal(map(&g, 4), "...#");
	bg_fini(&g);
}

static void refused(uint32_t queue, const struct fake_buf *b, uint16_t n)
{
	struct bg g;

	bg_init(&g, 16);
	assert_int_equal(dg_chain(&g.d, queue, b, n), -1);
	assert_int_equal(g.d.broken, 1);
	fake_kick(&g.d.dev->vq[queue]);
	dg_spin(&g.d, 4);
	assert_int_equal(g.d.broken, 1); /* said once */
	bg_fini(&g);
}

static void test_violations(void **state)
{
	const gpa_t at = FAKE_GPA + (4u << 20);
	const struct fake_buf mixed[] = { { at, PAGE, false }, { at, PAGE, true } };
	const struct fake_buf odd = { at, 6, false }, empty = { at, 0, false };
	const struct fake_buf empty_in = { at, 0, true }, outside = { at, MEM, true };
	const struct fake_buf hole = { 0, 4, false };

	refused(INFLATE, mixed, 2);
	refused(INFLATE, mixed + 1, 1);
	refused(INFLATE, &odd, 1);
	refused(INFLATE, &empty, 1);
	refused(INFLATE, &hole, 1);
	refused(DEFLATE, mixed + 1, 1);
	refused(DEFLATE, &odd, 1);
	refused(REPORT, mixed, 1);
	refused(REPORT, mixed, 2);
	refused(REPORT, &empty_in, 1);
	refused(REPORT, &outside, 1);
}

static void test_page_outside_memory(void **state)
{
	const uint32_t bad[] = { 0, PFN(FAKE_GPA) - 1, PFN(FAKE_GPA + MEM), UINT32_MAX };

	for (int i = 0; i < 4; i++) {
		struct bg g;

		bg_init(&g, 16);
		dirty(&g, 2);
		const uint32_t pfn[] = { PFN(g.pages), bad[i], PFN(g.pages) + 1 };

		assert_int_equal(send_pfns(&g, INFLATE, pfn, 3), -1);
		assert_int_equal(g.d.broken, 1);
		assert_string_equal(map(&g, 2), ".#");
		bg_fini(&g);
	}
}

static void test_report(void **state)
{
	struct bg g;

	bg_init(&g, 16);
	dirty(&g, 8);
	const struct fake_buf b[] = { { g.pages + PAGE, 2 * PAGE, true },
				      { g.pages + 5 * PAGE, PAGE, true } };

	assert_int_equal(dg_chain(&g.d, REPORT, b, 2), 0);
	assert_string_equal(map(&g, 8), "#..##.##");
	assert_int_equal(counters(&g).reported, 3 * PAGE);
	bg_fini(&g);
}

/* What is not a page is not given back, least of all its neighbours. */
static void test_report_unaligned(void **state)
{
	struct bg g;

	bg_init(&g, 16);
	dirty(&g, 8);
	const struct fake_buf b[] = { { g.pages + 1, 3 * PAGE, true },
				      { g.pages + 5 * PAGE + 16, PAGE, true },
				      { g.pages + 7 * PAGE, PAGE - 1, true },
				      { g.pages + 7 * PAGE + 3, 1, true } };

	assert_int_equal(dg_chain(&g.d, REPORT, b, 4), 0);
	assert_string_equal(map(&g, 8), "#..#####");
	assert_int_equal(page(&g, 3)[1], 0x5a);
	bg_fini(&g);
}

static uint32_t resident(struct bg *g, unsigned from, unsigned n)
{
	uint32_t sum = 0;

	for (unsigned i = from; i < from + n; i++)
		sum += page(g, i)[7] != 0;
	return sum;
}

/* 96 MiB in one chain take several turns, between which the loop is free. */
static void test_report_in_turns(void **state)
{
	const unsigned n = (96u << 20) / PAGE, turn = (16u << 20) / PAGE;
	struct bg g;
	unsigned left = n;

	bg_init_mem(&g, 16, MEM_LARGE);
	dg_spin(&g.d, 2);
	dirty(&g, n);
	const struct fake_buf b[] = { { g.pages, 24u << 20, true },
				      { g.pages + (24u << 20), 72u << 20, true } };

	fake_chain(&g.d.ring[REPORT], b, 2);
	fake_kick(&g.d.dev->vq[REPORT]);
	for (int i = 0; i < 16 && left; i++) {
		unsigned now;

		dg_spin(&g.d, 1);
		now = resident(&g, 0, n);
		assert_in_range(left - now, 0, turn);
		assert_true(now == 0 || dg_used(&g.d, REPORT) == 0);
		left = now;
	}
	assert_int_equal(left, 0);
	dg_spin(&g.d, 2);
	assert_int_equal(g.d.ring[REPORT].used->idx, 1);
	assert_int_equal(counters(&g).reported, 96u << 20);
	bg_fini(&g);
}

static void test_stop_within_a_chain(void **state)
{
	const unsigned n = (64u << 20) / PAGE;
	uint64_t done;
	struct bg g;

	bg_init_mem(&g, 16, MEM_LARGE);
	dg_spin(&g.d, 2);
	dirty(&g, n);
	const struct fake_buf b = { g.pages, 64u << 20, true };

	fake_chain(&g.d.ring[REPORT], &b, 1);
	fake_kick(&g.d.dev->vq[REPORT]);
	dg_spin(&g.d, 1);
	done = counters(&g).reported;
	assert_int_equal(dg_stop(&g.d, REPORT), 0); /* the chain is still the ring's */
	dg_spin(&g.d, 8);
	assert_int_equal(counters(&g).reported, done);
	dg_start(&g.d, REPORT, 0);
	dg_spin(&g.d, 12);
	assert_int_equal(dg_used(&g.d, REPORT), 1);
	assert_int_equal(resident(&g, 0, n), 0);
	bg_fini(&g);
}

/* Every descriptor, all of them the same 2 MiB: as much work as one chain can make. */
static void test_report_longest_chain(void **state)
{
	static struct fake_buf b[1024];
	struct bg g;

	bg_init(&g, 1024);
	for (int i = 0; i < 1024; i++)
		b[i] = (struct fake_buf){ g.pages, 2u << 20, true };
	fake_chain(&g.d.ring[REPORT], b, 1024);
	fake_kick(&g.d.dev->vq[REPORT]);
	dg_spin(&g.d, 2 + (2 << 10) / 16);
	assert_int_equal(dg_used(&g.d, REPORT), 1);
	assert_int_equal(counters(&g).reported, UINT64_C(2) << 30);
	assert_int_equal(g.d.broken, 0);
	bg_fini(&g);
}

static void test_inflate_long_array(void **state)
{
	static uint32_t pfn[1500];
	struct bg g;

	bg_init(&g, 16);
	dirty(&g, 3000);
	for (uint32_t i = 0; i < 1500; i++)
		pfn[i] = PFN(g.pages) + 2 * i; /* no two together */
	struct fake_buf b = { fake_put(&g.d.g, pfn, sizeof(pfn)), sizeof(pfn), false };

	fake_chain(&g.d.ring[INFLATE], &b, 1);
	fake_kick(&g.d.dev->vq[INFLATE]);
	dg_spin(&g.d, 4);
	assert_int_equal(dg_used(&g.d, INFLATE), 0);
	assert_in_range(counters(&g).inflated, PAGE, 4 * 256 * PAGE);
	dg_spin(&g.d, 1500 / 256 + 2);
	assert_int_equal(dg_used(&g.d, INFLATE), 1);
	assert_int_equal(resident(&g, 0, 3000), 1500);
	bg_fini(&g);
}

/* All memory, the rings within it: they read as zeros from then on. */
static void test_rings_in_the_balloon(void **state)
{
	struct bg g;
	struct fake_buf b = { FAKE_GPA, MEM, true };

	bg_init(&g, 16);
	fake_chain(&g.d.ring[REPORT], &b, 1);
	fake_chain(&g.d.ring[REPORT], &b, 1);
	fake_kick(&g.d.dev->vq[REPORT]);
	dg_spin(&g.d, 32);
	for (uint32_t i = 0; i < 3; i++)
		fake_kick(&g.d.dev->vq[i]);
	dg_spin(&g.d, 32);
	assert_int_equal(g.d.broken, 1);
	bg_fini(&g);
}

static void test_config(void **state)
{
	const struct sm_vdev_ops *ops;
	uint32_t config[2], v = 77, all[2] = { 1, 2 };
	struct bg g;

	bg_init(&g, 16);
	ops = g.d.dev->ops;
	assert_int_equal(ops->config_size, 8);
	assert_int_equal(ops->features,
			 1 << VIRTIO_BALLOON_F_REPORTING | 1 << VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
	sm_balloon_set_target(g.b, 1234);
	assert_int_equal(g.d.changed, 1);
	ops->config_write(g.d.dev, 4, &v, 4);
	assert_int_equal(sm_balloon_actual(g.b), 77);
	ops->config_read(g.d.dev, 0, config, 8);
	assert_int_equal(config[0], 1234);
	assert_int_equal(config[1], 77);
	ops->config_write(g.d.dev, 0, all, 8); /* num_pages is not the driver's */
	ops->config_read(g.d.dev, 0, config, 8);
	assert_int_equal(config[0], 1234);
	assert_int_equal(sm_balloon_actual(g.b), 2);
	ops->config_write(g.d.dev, 5, &(uint8_t){ 1 }, 1);
	assert_int_equal(sm_balloon_actual(g.b), 258);
	ops->reset(g.d.dev);
	assert_int_equal(sm_balloon_actual(g.b), 0);
	ops->config_read(g.d.dev, 0, config, 4);
	assert_int_equal(config[0], 1234);
	g.d.dev->config_changed = NULL; /* a transport that cannot */
	sm_balloon_set_target(g.b, 0);
	bg_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inflate_and_deflate),
		cmocka_unit_test(test_inflate_twice_and_overlapping),
		cmocka_unit_test(test_violations),
		cmocka_unit_test(test_page_outside_memory),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_report_unaligned),
		cmocka_unit_test(test_report_in_turns),
		cmocka_unit_test(test_stop_within_a_chain),
		cmocka_unit_test(test_report_longest_chain),
		cmocka_unit_test(test_inflate_long_array),
		cmocka_unit_test(test_rings_in_the_balloon),
		cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
