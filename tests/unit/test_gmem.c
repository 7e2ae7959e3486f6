/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio/gmem.h"

static uint8_t low[4096], high[4096];

static void test_add_keeps_order_and_refuses_overlap(void **state)
{
	struct sm_gmem gm = { .n = 0 };

	assert_int_equal(sm_gmem_add(&gm, 0x2000, 0x1000, high), 0);
	assert_int_equal(sm_gmem_add(&gm, 0x1000, 0x1000, low), 0);
	assert_int_equal(gm.n, 2);
	assert_true(gm.region[0].host == low && gm.region[1].host == high);
	assert_int_equal(sm_gmem_add(&gm, 0x1800, 0x10, low), -EINVAL);
	assert_int_equal(sm_gmem_add(&gm, 0x0fff, 2, low), -EINVAL);
	assert_int_equal(sm_gmem_add(&gm, 0, UINT64_MAX, low), -EINVAL);
	assert_int_equal(sm_gmem_add(&gm, 0x1000, 1, low), -EINVAL);
	assert_int_equal(sm_gmem_add(&gm, 0x5000, 0, low), -EINVAL);
	assert_int_equal(sm_gmem_add(&gm, UINT64_MAX, 2, low), -EINVAL);
	assert_int_equal(sm_gmem_add(&gm, UINT64_MAX, 1, low), 0);
	assert_int_equal(gm.n, 3);
	sm_gmem_clear(&gm);
	assert_int_equal(gm.n, 0);
}

static void test_table_is_bounded(void **state)
{
	struct sm_gmem gm = { .n = 0 };

	for (uint64_t i = 0; i < SM_GMEM_REGIONS_MAX; i++)
		assert_int_equal(sm_gmem_add(&gm, i * 0x10000, 16, low), 0);
	assert_int_equal(sm_gmem_add(&gm, UINT64_C(1) << 40, 16, low), -ENOSPC);
}

static void test_ptr(void **state)
{
	struct sm_gmem gm = { .n = 0 };

	sm_gmem_add(&gm, 0x1000, 0x1000, low);
	sm_gmem_add(&gm, 0x2000, 0x1000, high);
	assert_ptr_equal(sm_gmem_ptr(&gm, 0x1000, 0x1000), low);
	assert_ptr_equal(sm_gmem_ptr(&gm, 0x2fff, 1), high + 0xfff);
	assert_null(sm_gmem_ptr(&gm, 0x0fff, 1));
	assert_null(sm_gmem_ptr(&gm, 0x1001, 0x1000));
	assert_null(sm_gmem_ptr(&gm, 0x3000, 1));
	assert_null(sm_gmem_ptr(&gm, 0x1000, 0));
	assert_null(sm_gmem_ptr(&gm, 0x1800, UINT64_MAX));
	assert_null(sm_gmem_ptr(&gm, UINT64_MAX, 2));
}

static void test_iov_crosses_regions(void **state)
{
	struct sm_gmem gm = { .n = 0 };
	struct iovec iov[2];

	sm_gmem_add(&gm, 0x1000, 0x1000, low);
	sm_gmem_add(&gm, 0x2000, 0x1000, high);
	assert_int_equal(sm_gmem_iov(&gm, 0x1ff0, 0x20, iov, 2), 2);
	assert_ptr_equal(iov[0].iov_base, low + 0xff0);
	assert_int_equal(iov[0].iov_len, 0x10);
	assert_ptr_equal(iov[1].iov_base, high);
	assert_int_equal(iov[1].iov_len, 0x10);
	assert_int_equal(sm_gmem_iov(&gm, 0x1ff0, 0x20, iov, 1), -EFAULT);
	assert_int_equal(sm_gmem_iov(&gm, 0x2ff0, 0x11, iov, 2), -EFAULT);
	assert_int_equal(sm_gmem_iov(&gm, 0x1000, 0, iov, 2), -EFAULT);
	assert_int_equal(sm_gmem_iov(&gm, 0x1000, UINT64_MAX, iov, 2), -EFAULT);
}

static void test_iov_does_not_wrap(void **state)
{
	struct sm_gmem gm = { .n = 0 };
	struct iovec iov[4];

	sm_gmem_add(&gm, 0, 0x1000, low);
	sm_gmem_add(&gm, UINT64_MAX - 0xfff, 0x1000, high);
	assert_int_equal(sm_gmem_iov(&gm, UINT64_MAX - 0xf, 0x20, iov, 4), -EFAULT);
	assert_int_equal(sm_gmem_iov(&gm, UINT64_MAX - 0xf, 0x10, iov, 4), 1);
}

static void test_map(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct sm_gmem gm = { .n = 0 };
	uint8_t *p;
	char c = 0;

	assert_int_equal(ftruncate(fd, 0x4000), 0);
	assert_int_equal(sm_gmem_map(&gm, 0, 0x3f00, fd, 0x100), 0); /* offset within a page */
	p = sm_gmem_ptr(&gm, 0x10, 1);
	assert_non_null(p);
	*p = 'x';
	assert_int_equal(pread(fd, &c, 1, 0x110), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(sm_gmem_map(&gm, 0x10000, 0x4001, fd, 0), -EINVAL);
	assert_int_equal(sm_gmem_map(&gm, 0x10000, 1, fd, 0x4000), -EINVAL);
	assert_int_equal(sm_gmem_map(&gm, 0x10000, 2, fd, UINT64_MAX), -EINVAL);
	assert_int_equal(sm_gmem_map(&gm, 0x10000, 0, fd, 0), -EINVAL);
	assert_int_equal(sm_gmem_map(&gm, 0x10, 0x1000, fd, 0), -EINVAL); /* overlaps */
	close(fd);
	assert_int_equal(*p, 'x'); /* the descriptor stayed the caller's */
	sm_gmem_clear(&gm);
}

static void test_discard_private(void **state)
{
	uint8_t *p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sm_gmem gm = { .n = 0 };

	memset(p, 1, 0x4000);
	sm_gmem_add(&gm, 0x10000, 0x2000, p);
	sm_gmem_add(&gm, 0x12000, 0x2000, p + 0x2000);
	assert_int_equal(sm_gmem_discard(&gm, 0x10fff, 0x1001), 0); /* the second page alone */
	assert_int_equal(p[0xfff], 1);
	assert_int_equal(p[0x1000], 0);
	assert_int_equal(p[0x2000], 1);
	assert_int_equal(sm_gmem_discard(&gm, 0x12001, 0x1ffe), 0); /* no whole page */
	assert_int_equal(p[0x2fff], 1);
	assert_int_equal(sm_gmem_discard(&gm, 0x12001, 1), 0);
	assert_int_equal(sm_gmem_discard(&gm, 0x11000, 0x3001), -EFAULT);
	assert_int_equal(sm_gmem_discard(&gm, 0xffff, 0x1001), -EFAULT);
	assert_int_equal(sm_gmem_discard(&gm, 0x10000, 0), -EFAULT);
	assert_int_equal(sm_gmem_discard(&gm, 0x10000, UINT64_MAX), -EFAULT);
	assert_int_equal(p[0], 1);
	assert_int_equal(sm_gmem_discard(&gm, 0x10000, 0x4000), 0); /* both regions */
	assert_int_equal(p[0] | p[0x3fff], 0);
	munmap(p, 0x4000);
}

static void test_discard_ptr(void **state)
{
	uint8_t *p = mmap(NULL, 0x3000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sm_gmem gm = { .n = 0 };

	memset(p, 1, 0x3000);
	sm_gmem_add(&gm, 0, 0x2000, p);
	assert_int_equal(sm_gmem_discard_ptr(&gm, p + 0x1000, 0x1000), 0);
	assert_int_equal(p[0x1000], 0);
	assert_int_equal(sm_gmem_discard_ptr(&gm, p + 0x1000, 0x2000), -EFAULT);
	assert_int_equal(sm_gmem_discard_ptr(&gm, p + 0x2000, 0x1000), -EFAULT);
	assert_int_equal(sm_gmem_discard_ptr(&gm, p - 1, 2), -EFAULT);
	assert_int_equal(sm_gmem_discard_ptr(&gm, p, 0), -EFAULT);
	assert_int_equal(sm_gmem_discard_ptr(&gm, p, SIZE_MAX), -EFAULT);
	assert_int_equal(p[0], 1);
	assert_int_equal(p[0x2000], 1);
	munmap(p, 0x3000);
}

static void test_discard_shared(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct sm_gmem gm = { .n = 0 };
	struct stat st;
	uint8_t *p;

	assert_int_equal(ftruncate(fd, 0x4000), 0);
	assert_int_equal(sm_gmem_map(&gm, 0, 0x3f00, fd, 0x100), 0);
	p = sm_gmem_ptr(&gm, 0, 0x3f00);
	memset(p, 1, 0x3f00);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 4 * 8);
	assert_int_equal(sm_gmem_discard(&gm, 0, 0x3f00), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 8); /* but for the page that the region begins within */
	assert_int_equal(p[0xeff], 1);
	assert_int_equal(p[0xf00], 0);
	sm_gmem_clear(&gm);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add_keeps_order_and_refuses_overlap),
		cmocka_unit_test(test_table_is_bounded),
		cmocka_unit_test(test_ptr),
		cmocka_unit_test(test_iov_crosses_regions),
		cmocka_unit_test(test_iov_does_not_wrap),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_discard_private),
		cmocka_unit_test(test_discard_ptr),
		cmocka_unit_test(test_discard_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
