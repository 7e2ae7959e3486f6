/* SPDX-License-Identifier: Apache-2.0 */
/* src/base: errors, buffers, UTF-8, log lines. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/err.h"
#include "base/log.h"
#include "base/utf8.h"

/* ---- err ---- */

static void test_err_set_and_wrap(void **state)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	assert_int_equal(sm_err_set(&err, -EINVAL, "%s: must be absolute", "process.cwd"), -EINVAL);
	assert_int_equal(sm_err_wrap(&err, "create %s", "web1"), -EINVAL);
	assert_int_equal(sm_err_wrap(&err, "sm-runtime"), -EINVAL);
	assert_string_equal(sm_err_text(&err),
			    "sm-runtime: create web1: process.cwd: must be absolute");
	assert_int_equal(err.code, -EINVAL);
	/* a later one replaces it; positive codes are negated */
	assert_int_equal(sm_err_set(&err, ENOENT, "other"), -ENOENT);
	assert_string_equal(sm_err_text(&err), "other");
	sm_err_clear(&err);
	assert_int_equal(err.code, 0);
	assert_null(err.msg);
}

/* runc's callers search for Go's spelling. */
static void test_err_sys_spelling(void **state)
{
	static const struct {
		int code;
		const char *text;
	} rows[] = {
		{ ENOENT, "open x: no such file or directory" },
		{ EACCES, "open x: permission denied" },
		{ EPERM, "open x: operation not permitted" },
		{ ENOTDIR, "open x: not a directory" },
		{ EIO, "open x: input/output error" },
		{ EADV, "open x: advertise error" },
		{ ENOTUNIQ, "open x: name not unique on network" },
		{ EDOTDOT, "open x: RFS specific error" },
		{ 4000, "open x: errno 4000" },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		sm_auto_err struct sm_err err = SM_ERR_INIT;

		assert_int_equal(sm_err_sys(&err, -rows[i].code, "open %s", "x"), -rows[i].code);
		assert_string_equal(sm_err_text(&err), rows[i].text);
	}
}

static void test_err_null(void **state)
{
	assert_int_equal(sm_err_set(NULL, EINVAL, "x"), -EINVAL);
	assert_int_equal(sm_err_sys(NULL, -EINVAL, "x"), -EINVAL);
	assert_true(sm_err_wrap(NULL, "x") < 0);
	assert_non_null(sm_err_text(NULL));
	sm_err_clear(NULL);
}

/* Wrapping what was returned without being set does not lose the failure. */
static void test_err_wrap_of_nothing(void **state)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	assert_int_equal(sm_err_wrap(&err, "create"), -EIO);
	assert_string_equal(sm_err_text(&err), "create: input/output error");
}

static void test_err_text_without_message(void **state)
{
	struct sm_err err = { -ENOMEM, NULL };

	assert_string_equal(sm_err_text(&err), "Cannot allocate memory");
	err.code = -4000;
	assert_string_equal(sm_err_text(&err), "unknown error");
}

/* ---- buf ---- */

static void test_buf_put(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(10);

	assert_int_equal(sm_buf_put(&b, "", 0), 0);
	assert_string_equal(b.data, "");
	assert_int_equal(sm_buf_put(&b, "hello", 5), 0);
	assert_int_equal(sm_buf_printf(&b, "%d", 12345), 0);
	assert_string_equal(b.data, "hello12345");
	assert_int_equal(sm_buf_put(&b, "x", 1), -EMSGSIZE);
	assert_int_equal(sm_buf_printf(&b, "x"), -EMSGSIZE);
	assert_int_equal(sm_buf_put(&b, "", 0), 0);
	assert_int_equal(b.len, 10);
	assert_string_equal(b.data, "hello12345");
}

static void test_buf_lengths_that_overflow(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	assert_int_equal(sm_buf_put(&b, "abc", 3), 0);
	assert_int_equal(sm_buf_put(&b, "abc", SIZE_MAX), -EMSGSIZE);
	assert_int_equal(sm_buf_put(&b, "abc", SIZE_MAX - 3), -EMSGSIZE);
	assert_null(sm_buf_reserve(&b, SIZE_MAX - 2));
	assert_string_equal(b.data, "abc");
}

static void test_buf_reserve(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(100);
	uint8_t *p = sm_buf_reserve(&b, 100);

	assert_non_null(p);
	assert_int_equal(b.len, 0);
	memcpy(p, "text", 4);
	b.len += 4;
	assert_string_equal(b.data, "text");
	assert_null(sm_buf_reserve(&b, 97));
	assert_ptr_equal(sm_buf_reserve(&b, 96), b.data + 4);
}

static void test_buf_consume(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(100);

	sm_buf_consume(&b, 3);
	assert_int_equal(sm_buf_put(&b, "hello", 5), 0);
	sm_buf_consume(&b, 2);
	assert_string_equal(b.data, "llo");
	sm_buf_consume(&b, 100);
	assert_string_equal(b.data, "");
	assert_int_equal(b.len, 0);
}

static void test_buf_grows(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(1 << 20);

	for (int i = 0; i < 1 << 20; i++)
		assert_int_equal(sm_buf_put(&b, &"abcdefgh"[i % 8], 1), 0);
	for (int i = 0; i < 1 << 20; i++)
		assert_int_equal(b.data[i], "abcdefgh"[i % 8]);
	assert_int_equal(b.data[b.len], 0);
}

/* ---- utf8 ---- */

static void test_utf8_decode(void **state)
{
	static const struct {
		const char *s;
		size_t len;
		uint32_t cp;
	} rows[] = {
		{ "", 1, 0 },
		{ "a", 1, 'a' },
		{ "\x7f", 1, 0x7f },
		{ "\xc3\xa9", 2, 0xe9 },
		{ "\xe2\x82\xac", 3, 0x20ac },
		{ "\xf0\x9f\x98\x80", 4, 0x1f600 },
		{ "\xf4\x8f\xbf\xbf", 4, 0x10ffff },
		{ "\xef\xbf\xbd", 3, 0xfffd },
		{ "\x80", 0, 0 },             /* continuation alone */
		{ "\xc3", 0, 0 },             /* cut */
		{ "\xe2\x82", 0, 0 },         /* cut */
		{ "\xf0\x9f\x98", 0, 0 },     /* cut */
		{ "\xc0\xaf", 0, 0 },         /* '/' in two bytes */
		{ "\xe0\x80\xaf", 0, 0 },     /* in three */
		{ "\xf0\x80\x80\xaf", 0, 0 }, /* in four */
		{ "\xed\xa0\x80", 0, 0 },     /* surrogate */
		{ "\xf4\x90\x80\x80", 0, 0 }, /* past U+10FFFF */
		{ "\xff", 0, 0 },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		uint32_t cp = 0;

		assert_int_equal(sm_utf8_decode(rows[i].s, &cp), rows[i].len);
		if (rows[i].len)
			assert_int_equal(cp, rows[i].cp);
	}
}

static void test_utf8_clean(void **state)
{
	sm_auto_free char *s = sm_utf8_clean("caf\xc3\xa9 \xff\xe2\x82 end");

	assert_string_equal(s, "caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd end");
}

/* ---- log ---- */

/* What a call wrote, with its time taken out: *time gets that. */
static char *logged(enum sm_log_format format, enum sm_log_level max, enum sm_log_level level,
		    const char *msg, char when[static 21])
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	const char *mark = format == SM_LOG_JSON ? "\"time\":\"" : "time=\"";
	char *line = calloc(1, 2u << 20);
	char *at;

	assert_true(fd >= 0);
	assert_non_null(line);
	sm_log_setup(fd, format, max);
	sm_log(level, "%s", msg);
	sm_log_setup(2, SM_LOG_TEXT, SM_LOG_INFO);
	assert_true(pread(fd, line, (2u << 20) - 1, 0) >= 0);
	close(fd);
	at = strstr(line, mark);
	if (!at)
		return line;
	at += strlen(mark);
	memcpy(when, at, 20);
	when[20] = 0;
	memmove(at, at + 20, strlen(at + 20) + 1);
	return line;
}

static void test_log_text(void **state)
{
	char when[21];
	sm_auto_free char *a = logged(SM_LOG_TEXT, SM_LOG_INFO, SM_LOG_ERROR, "it failed", when);
	sm_auto_free char *b = logged(SM_LOG_TEXT, SM_LOG_INFO, SM_LOG_WARN,
				      "\"q\" \\ \n\t\x01\x7f\a\v caf\xc3\xa9 \xff \xc2\x9b", when);

	assert_string_equal(a, "time=\"\" level=error msg=\"it failed\"\n");
	assert_string_equal(b,
			    "time=\"\" level=warning msg=\"\\\"q\\\" \\\\ \\n\\t\\x01\\x7f\\a\\v "
			    "caf\xc3\xa9 \\xff \\u009b\"\n");
}

static void test_log_json(void **state)
{
	char when[21];
	sm_auto_free char *a = logged(SM_LOG_JSON, SM_LOG_INFO, SM_LOG_INFO,
				      "\"q\" \\ \n\t\x01\a\v caf\xc3\xa9 \xff", when);

	assert_string_equal(a, "{\"level\":\"info\",\"msg\":\"\\\"q\\\" \\\\ \\n\\t\\u0001\\u0007"
			       "\\u000b caf\xc3\xa9 \xef\xbf\xbd\",\"time\":\"\"}\n");
}

static void test_log_time(void **state)
{
	char when[21] = "";
	time_t before = time(NULL), at;
	sm_auto_free char *line = logged(SM_LOG_TEXT, SM_LOG_INFO, SM_LOG_INFO, "x", when);
	struct tm tm = { 0 };
	const char *end = strptime(when, "%Y-%m-%dT%H:%M:%SZ", &tm);

	assert_non_null(line);
	assert_non_null(end);
	assert_int_equal(*end, 0);
	at = timegm(&tm);
	assert_true(at >= before && at <= time(NULL));
}

/* As the C library has it, over the centuries and around their ends. */
static void test_log_dates(void **state)
{
	for (uint64_t day = 0; day < 250000; day++) {
		char want[32], got[SM_LOG_TIME_LEN];
		time_t t = (time_t)(day * 86400 + day * 7919 % 86400);
		struct tm tm;

		assert_non_null(gmtime_r(&t, &tm));
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%SZ", &tm);
		sm_log_time(got, (uint64_t)t);
		assert_string_equal(got, want);
	}
}

static void test_log_levels(void **state)
{
	char when[21];
	sm_auto_free char *a = logged(SM_LOG_TEXT, SM_LOG_INFO, SM_LOG_DEBUG, "x", when);
	sm_auto_free char *b = logged(SM_LOG_TEXT, SM_LOG_DEBUG, SM_LOG_DEBUG, "x", when);
	sm_auto_free char *c = logged(SM_LOG_TEXT, SM_LOG_ERROR, SM_LOG_WARN, "x", when);

	assert_string_equal(a, "");
	assert_string_equal(b, "time=\"\" level=debug msg=\"x\"\n");
	assert_string_equal(c, "");
}

/* A message without end is cut, and the line still closed. */
static void test_log_long(void **state)
{
	char when[21];
	sm_auto_free char *msg = malloc((1u << 20) + 1);
	sm_auto_free char *a = NULL, *b = NULL;

	assert_non_null(msg);
	memset(msg, 1, 1u << 20);
	msg[1u << 20] = 0;
	a = logged(SM_LOG_TEXT, SM_LOG_INFO, SM_LOG_INFO, msg, when);
	b = logged(SM_LOG_JSON, SM_LOG_INFO, SM_LOG_INFO, msg, when);
	assert_true(strlen(a) < (1u << 20) + 64);
	assert_string_equal(a + strlen(a) - 6, "\\x01\"\n");
	assert_string_equal(b + strlen(b) - 19, "\\u0001\",\"time\":\"\"}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_set_and_wrap),
		cmocka_unit_test(test_err_sys_spelling),
		cmocka_unit_test(test_err_null),
		cmocka_unit_test(test_err_wrap_of_nothing),
		cmocka_unit_test(test_err_text_without_message),
		cmocka_unit_test(test_buf_put),
		cmocka_unit_test(test_buf_lengths_that_overflow),
		cmocka_unit_test(test_buf_reserve),
		cmocka_unit_test(test_buf_consume),
		cmocka_unit_test(test_buf_grows),
		cmocka_unit_test(test_utf8_decode),
		cmocka_unit_test(test_utf8_clean),
		cmocka_unit_test(test_log_text),
		cmocka_unit_test(test_log_json),
		cmocka_unit_test(test_log_time),
		cmocka_unit_test(test_log_dates),
		cmocka_unit_test(test_log_levels),
		cmocka_unit_test(test_log_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
