/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/filter.h"

#define ALLOW_GETPID "\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[" \
		     "{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ALLOW\"}]"

static int make_dir(void **state)
{
	char *dir = strdup("/tmp/sm-filter-XXXXXX");

	assert_non_null(dir);
	assert_non_null(mkdtemp(dir));
	*state = dir;
	return 0;
}

static int drop_dir(void **state)
{
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, *state), 0);
	free(*state);
	return 0;
}

static struct sm_config *config(const char *profile)
{
	sm_auto_free char *json = sm_strf("{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},"
					  "\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"},"
					  "\"linux\":{\"seccomp\":{%s}}}", profile);
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_config *c;

	if (sm_config_parse("config.json", json, strlen(json), &c, &err))
		fail_msg("%s", sm_err_text(&err));
	return c;
}

/* The filter must be what the compiler makes of the profile, wherever it comes from. */
static void check(const char *dir, const char *profile)
{
	struct sm_config *c = config(profile);
	struct sm_seccomp_filter got, want;

	assert_int_equal(sm_seccomp_compile(c->seccomp, &want, NULL), 0);
	assert_int_equal(sm_filter_get(dir, c->seccomp, &got, NULL), 0);
	assert_int_equal(got.len, want.len);
	assert_int_equal(got.flags, want.flags);
	assert_memory_equal(got.bpf, want.bpf, want.len);
	free(got.bpf);
	free(want.bpf);
	sm_config_free(c);
}

/* The one file that is kept. */
static char *kept(const char *dir)
{
	for (unsigned int i = 0; i < SM_FILTER_FILES; i++) {
		char *path = sm_strf("%s/seccomp:%x", dir, i);

		assert_non_null(path);
		if (access(path, F_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

static void read_kept(const char *path, struct sm_buf *b)
{
	b->len = 0;
	assert_int_equal(sm_read_file_at(AT_FDCWD, path, b), 0);
	assert_true(b->len > 8);
}

static void put(const char *path, const void *data, size_t len, mode_t mode)
{
	assert_int_equal(sm_write_file_at(AT_FDCWD, path, data, len, mode, 0), 0);
}

/* What is in the file is used, for its own profile only. */
static void test_kept_and_used(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(1 << 20);
	struct sm_config *c = config(ALLOW_GETPID);
	struct sm_seccomp_filter f;
	sm_auto_free char *path = NULL;
	struct stat st;

	check(*state, ALLOW_GETPID);
	path = kept(*state);
	assert_non_null(path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	check(*state, ALLOW_GETPID);
	read_kept(path, &b);
	b.data[b.len - 1] ^= 1;
	put(path, b.data, b.len, 0600);
	assert_int_equal(sm_filter_get(*state, c->seccomp, &f, NULL), 0);
	assert_int_equal(f.bpf[f.len - 1], b.data[b.len - 1]);
	free(f.bpf);
	sm_config_free(c);
}

static void test_other_profiles(void **state)
{
	static const char *const profiles[] = {
		ALLOW_GETPID,
		"\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\"syscalls\":["
		"{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ALLOW\"}]",
		"\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86\"],"
		"\"syscalls\":[{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ALLOW\"}]",
		"\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		"{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ALLOW\"}]",
		"\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		"{\"names\":[\"getpid\",\"read\"],\"action\":\"SCMP_ACT_ALLOW\"}]",
		"\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
		"{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_LOG\"}]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
		"{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":7}]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["
		"{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":8}]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"getpid\"],"
		"\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,"
		"\"op\":\"SCMP_CMP_EQ\"}]}]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"getpid\"],"
		"\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":2,"
		"\"op\":\"SCMP_CMP_EQ\"}]}]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"]",
	};

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < SM_ARRAY_SIZE(profiles); i++)
			check(*state, profiles[i]);
}

static void test_damaged_or_foreign(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(1 << 20);
	sm_auto_free char *path = NULL;
	size_t len;

	check(*state, ALLOW_GETPID);
	path = kept(*state);
	assert_non_null(path);
	read_kept(path, &b);
	len = b.len;
	for (size_t cut = 0; cut < len; cut++) {
		if (cut >= 8 && len - cut > 32 && cut % 7)
			continue;	/* the middle of the key, now and then */
		put(path, b.data, cut, 0600);
		check(*state, ALLOW_GETPID);
	}
	b.data[len - 1] ^= 1;
	for (size_t i = 0; i < 48; i++) {
		b.data[i] ^= 1;
		put(path, b.data, len, 0600);
		check(*state, ALLOW_GETPID);
		b.data[i] ^= 1;
	}
	put(path, b.data, len, 0666);
	check(*state, ALLOW_GETPID);
	assert_int_equal(remove(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	check(*state, ALLOW_GETPID);
}

static void test_nowhere(void **state)
{
	struct sm_seccomp_filter f;

	(void)state;
	check(NULL, ALLOW_GETPID);
	check("/dev/null/no", ALLOW_GETPID);
	assert_int_equal(sm_filter_get(NULL, NULL, &f, NULL), 0);
	assert_null(f.bpf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kept_and_used, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_other_profiles, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_damaged_or_foreign, make_dir, drop_dir),
		cmocka_unit_test(test_nowhere),
	};

	return cmocka_run_group_tests_name("runtime/filter", tests, NULL, NULL);
}
