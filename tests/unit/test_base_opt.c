/* SPDX-License-Identifier: Apache-2.0 */
/* src/base/opt: command lines as runc's callers write them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "base/opt.h"

#define ARGS_MAX 12

struct values {
	const char *bundle;
	bool detach, tty;
	int fds;
	struct sm_opt_list env;
};

struct row {
	const char *args[ARGS_MAX]; /* behind the program's name */
	size_t stop_at;
	const char *error; /* NULL: it parses, to the following */
	const char *bundle;
	bool detach;
	int fds;
	const char *env; /* joined by commas */
	const char *pos; /* joined by commas */
};

#define ANY SIZE_MAX

static const struct row rows[] = {
	{ { NULL }, ANY },
	/* every way to give a value */
	{ { "--bundle", "B" }, ANY, .bundle = "B" },
	{ { "--bundle=B" }, ANY, .bundle = "B" },
	{ { "-bundle", "B" }, ANY, .bundle = "B" },
	{ { "-bundle=B" }, ANY, .bundle = "B" },
	{ { "-b", "B" }, ANY, .bundle = "B" },
	{ { "-b=B" }, ANY, .bundle = "B" },
	{ { "--b", "B" }, ANY, .bundle = "B" },
	{ { "-b=" }, ANY, .bundle = "" },
	{ { "-b", "" }, ANY, .bundle = "" },
	{ { "-b=a=b" }, ANY, .bundle = "a=b" },
	{ { "-b", "--detach" }, ANY, .bundle = "--detach" },
	{ { "-b", "--" }, ANY, .bundle = "--" },
	{ { "-b", "one", "-b", "two" }, ANY, .bundle = "two" },
	/* booleans take no argument of their own */
	{ { "-d" }, ANY, .detach = true },
	{ { "--detach=true" }, ANY, .detach = true },
	{ { "--detach=1" }, ANY, .detach = true },
	{ { "--detach=T" }, ANY, .detach = true },
	{ { "-d", "-d=false" }, ANY, .detach = false },
	{ { "-d", "--detach=F" }, ANY, .detach = false },
	{ { "-d", "false" }, ANY, .detach = true, .pos = "false" },
	/* integers */
	{ { "--preserve-fds", "3" }, ANY, .fds = 3 },
	{ { "--preserve-fds=-1" }, ANY, .fds = -1 },
	{ { "--preserve-fds=0x10" }, ANY, .fds = 16 },
	{ { "--preserve-fds=+7" }, ANY, .fds = 7 },
	/* lists */
	{ { "-e", "A=1", "--env", "B=2", "-env=C=3" }, ANY, .env = "A=1,B=2,C=3" },
	/* positionals */
	{ { "web", "-b", "B" }, ANY, .bundle = "B", .pos = "web" },
	{ { "web", "-b", "B" }, 1, .pos = "web,-b,B" },
	{ { "-d", "web", "ls", "-d" }, 1, .detach = true, .pos = "web,ls,-d" },
	{ { "web", "--", "-d" }, 1, .pos = "web,--,-d" },
	{ { "-d" }, 0, .pos = "-d" },
	{ { "--", "-d", "--", "x" }, ANY, .pos = "-d,--,x" },
	{ { "web", "--", "-d" }, ANY, .pos = "web,-d" },
	{ { "-", "x" }, ANY, .pos = "-,x" },
	{ { "", "-d" }, ANY, .detach = true, .pos = "" },
	/* what is wrong, in runc's words */
	{ { "--bogus" }, ANY, "flag provided but not defined: -bogus" },
	{ { "-bogus=1" }, ANY, "flag provided but not defined: -bogus" },
	{ { "-dt" }, ANY, "flag provided but not defined: -dt" },
	{ { "--bund", "x" }, ANY, "flag provided but not defined: -bund" },
	{ { "--bundle" }, ANY, "flag needs an argument: -bundle" },
	{ { "-b" }, ANY, "flag needs an argument: -b" },
	{ { "-d=z" }, ANY, "invalid boolean value \"z\" for -d: parse error" },
	{ { "--detach=" }, ANY, "invalid boolean value \"\" for -detach: parse error" },
	{ { "--preserve-fds=x" }, ANY, "invalid value \"x\" for flag -preserve-fds: parse error" },
	{ { "--preserve-fds", "" }, ANY, "invalid value \"\" for flag -preserve-fds: parse error" },
	{ { "--preserve-fds= 1" },
	  ANY,
	  "invalid value \" 1\" for flag -preserve-fds: parse error" },
	{ { "--preserve-fds=1x" },
	  ANY,
	  "invalid value \"1x\" for flag -preserve-fds: parse error" },
	{ { "--preserve-fds=2147483648" },
	  ANY,
	  "invalid value \"2147483648\" for flag -preserve-fds: value out of range" },
	{ { "--preserve-fds=99999999999999999999" },
	  ANY,
	  "invalid value \"99999999999999999999\" for flag -preserve-fds: value out of range" },
	{ { "---x" }, ANY, "bad flag syntax: ---x" },
	{ { "--=x" }, ANY, "bad flag syntax: --=x" },
	{ { "-=x" }, ANY, "bad flag syntax: -=x" },
};

static void join(char *out, size_t size, const char *const *v, size_t n)
{
	out[0] = 0;
	for (size_t i = 0; i < n; i++) {
		strncat(out, i ? "," : "", size - strlen(out) - 1);
		strncat(out, v[i], size - strlen(out) - 1);
	}
}

static void check(const struct row *row, const struct values *v, int r, char *const *pos,
		  size_t npos, const struct sm_err *err)
{
	char text[256];

	if (row->error) {
		assert_int_equal(r, -EINVAL);
		assert_string_equal(sm_err_text(err), row->error);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(!v->bundle, !row->bundle);
	if (row->bundle)
		assert_string_equal(v->bundle, row->bundle);
	assert_int_equal(v->detach, row->detach);
	assert_int_equal(v->fds, row->fds);
	join(text, sizeof(text), v->env.v, v->env.n);
	assert_string_equal(text, row->env ? row->env : "");
	join(text, sizeof(text), (const char *const *)pos, npos);
	assert_string_equal(text, row->pos ? row->pos : "");
	assert_int_equal(npos > 0, row->pos != NULL);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct values v = { 0 };
	const struct sm_opt opts[] = {
		{ "bundle", 'b', SM_OPT_STRING, &v.bundle, "DIR", "the bundle" },
		{ "detach", 'd', SM_OPT_BOOL, &v.detach, NULL, "do not wait" },
		{ "tty", 't', SM_OPT_BOOL, &v.tty, NULL, "a terminal" },
		{ "preserve-fds", 0, SM_OPT_INT, &v.fds, "N", "pass on" },
		{ "env", 'e', SM_OPT_LIST, &v.env, "K=V", "set" },
		{ NULL },
	};
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	char *argv[ARGS_MAX + 2] = { (char *)"prog" };
	char *pos[ARGS_MAX + 2];
	size_t npos = 99;
	int argc = 1;
	int r;

	for (; argc <= ARGS_MAX && row->args[argc - 1]; argc++)
		argv[argc] = (char *)row->args[argc - 1];
	r = sm_opt_parse(opts, argc, argv, row->stop_at, pos, &npos, &err);
	check(row, &v, r, pos, npos, &err);
	sm_opt_list_free(&v.env);
	assert_null(v.env.v);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t ns;
	} durations[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "5s", 0, INT64_C(5000000000) },
		{ "500ms", 0, 500000000 },
		{ "1m30s", 0, INT64_C(90000000000) },
		{ "-1.5h", 0, INT64_C(-5400000000000) },
		{ "+.5s", 0, 500000000 },
		{ "1.s", 0, 1000000000 },
		{ "7ns", 0, 7 },
		{ "3us", 0, 3000 },
		{ "3\u00b5s", 0, 3000 },
		{ "3\u03bcs", 0, 3000 },
		{ "1h1m1s1ms1us1ns", 0, INT64_C(3661001001001) },
		{ "0.0000000001s", 0, 0 },
		{ "2562047h", 0, INT64_C(9223369200000000000) },
		{ "", -EINVAL, 0 },
		{ "5", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ ".s", -EINVAL, 0 },
		{ "1.2.3s", -EINVAL, 0 },
		{ "5x", -EINVAL, 0 },
		{ "5s ", -EINVAL, 0 },
		{ " 5s", -EINVAL, 0 },
		{ "1s-1s", -EINVAL, 0 },
		{ "2562048h", -EINVAL, 0 },
		{ "99999999999999999999s", -EINVAL, 0 },
		{ "9223372036s9223372036s", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < SM_ARRAY_SIZE(durations); i++) {
		int64_t ns = -7;
		const struct sm_opt opts[] = {
			{ "interval", 0, SM_OPT_DURATION, &ns, "TIME", "" },
			{ NULL },
		};
		char program[] = "program", flag[] = "--interval";
		sm_auto_free char *text = strdup(durations[i].text);
		char *argv[] = { program, flag, text, NULL }, *pos[4];
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		size_t npos;

		assert_int_equal(sm_opt_parse(opts, 3, argv, SIZE_MAX, pos, &npos, &err),
				 durations[i].r);
		assert_int_equal(ns, durations[i].r ? -7 : durations[i].ns);
	}
}

static void test_help(void **state)
{
	static const struct sm_opt opts[] = {
		{ "bundle", 'b', SM_OPT_STRING, NULL, "DIR", "where the bundle is" },
		{ "criu", 0, SM_OPT_STRING, NULL, "PATH", NULL },
		{ "detach", 'd', SM_OPT_BOOL, NULL, NULL, "do not wait" },
		{ "no-pivot", 0, SM_OPT_BOOL, NULL, NULL, "accepted" },
		{ NULL },
	};
	sm_auto_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	sm_opt_help(opts, out);
	fclose(out);
	assert_string_equal(text, "OPTIONS:\n"
				  "   --bundle DIR, -b DIR  where the bundle is\n"
				  "   --detach, -d          do not wait\n"
				  "   --no-pivot            accepted\n");
}

static void test_help_of_nothing(void **state)
{
	static const struct sm_opt opts[] = { { NULL } };
	sm_auto_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	sm_opt_help(opts, out);
	fclose(out);
	assert_string_equal(text, "");
}

/* A test for each row, named after its command line. */
int main(void)
{
	static struct CMUnitTest tests[SM_ARRAY_SIZE(rows) + 3];
	static char names[SM_ARRAY_SIZE(rows)][160];
	size_t n = 0;

	for (; n < SM_ARRAY_SIZE(rows); n++) {
		size_t argc = 0;

		while (argc < ARGS_MAX && rows[n].args[argc])
			argc++;
		snprintf(names[n], sizeof(names[n]), "%zu: ", n);
		join(names[n] + strlen(names[n]), sizeof(names[n]) - 8, rows[n].args, argc);
		tests[n] = (struct CMUnitTest){ names[n], test_row, NULL, NULL, (void *)&rows[n] };
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_durations);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_help);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_help_of_nothing);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
