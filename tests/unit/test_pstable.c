/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of ps: columns, widths, texts that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clean.h"
#include "runtime/pstable.h"

#define SECOND UINT64_C(1000000000)
#define ARGS_MAX 8

typedef Supermachine__Agent__V1__ProcessInfo info;

/* 2026-11-26 10:00:00 UTC */
#define NOW (UINT64_C(1795687200) * SECOND)

static info shell, worker;
static info *both[] = { &shell, &worker };

static Supermachine__Agent__V1__ProcessesResponse make_list(void)
{
	Supermachine__Agent__V1__ProcessesResponse r =
		SUPERMACHINE__AGENT__V1__PROCESSES_RESPONSE__INIT;

	supermachine__agent__v1__process_info__init(&shell);
	supermachine__agent__v1__process_info__init(&worker);
	shell.pid = shell.sid = shell.pgid = 1;
	shell.state = 'S';
	shell.priority = 20;
	shell.threads = 1;
	shell.tty = 136 << 8;
	shell.foreground = true;
	shell.comm = (char *)"sh";
	shell.args = (char *)"sh -c wait";
	shell.start_ns = 10 * SECOND;
	shell.cpu_ns = 90 * SECOND + SECOND / 2;
	shell.vsz_kib = 1234;
	shell.rss_kib = 512;
	worker.pid = 12345;
	worker.ppid = 1;
	worker.sid = 1;
	worker.uid = worker.gid = 1000;
	worker.state = 'Z';
	worker.priority = 25;
	worker.nice = 5;
	worker.threads = 3;
	worker.comm = (char *)"work er";
	worker.start_ns = 190000 * SECOND;
	r.processes = both;
	r.n_processes = 2;
	r.boottime_ns = 200010 * SECOND;
	r.realtime_ns = NOW;
	r.memory_kib = 10240;
	return r;
}

/* The table for options that a space separates. */
static char *table(const char *options)
{
	Supermachine__Agent__V1__ProcessesResponse r = make_list();
	sm_auto_ps_format struct sm_ps_format f = SM_PS_FORMAT_INIT;
	sm_auto_free char *copy = strdup(options);
	char *args[ARGS_MAX], *save = NULL;
	size_t n = 0;

	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		args[n++] = w;
	assert_int_equal(sm_ps_format_parse(&f, args, n, NULL), 0);
	return sm_ps_table(&f, &r);
}

static void is(const char *options, const char *want)
{
	sm_auto_free char *got = table(options);

	assert_non_null(got);
	assert_string_equal(got, want);
}

static void test_shapes(void **state)
{
	(void)state;
	is("", "UID    PID PPID C STIME TTY       TIME CMD\n"
	       "0        1    0 0 Nov24 pts/0 00:01:30 sh -c wait\n"
	       "1000 12345    1 0 07:13 ?     00:00:00 [work er] <defunct>\n");
	is("-e", "  PID TTY       TIME CMD\n"
		 "    1 pts/0 00:01:30 sh\n"
		 "12345 ?     00:00:00 work er <defunct>\n");
	is("ax", "  PID TTY   STAT TIME COMMAND\n"
		 "    1 pts/0 Ss+  1:30 sh -c wait\n"
		 "12345 ?     ZNl  0:00 [work er] <defunct>\n");
	is("aux", "USER   PID %CPU %MEM  VSZ RSS TTY   STAT START TIME COMMAND\n"
		  "0        1  0.0  5.0 1234 512 pts/0 Ss+  Nov24 1:30 sh -c wait\n"
		  "1000 12345  0.0  0.0    0   0 ?     ZNl  07:13 0:00 [work er] <defunct>\n");
	is("-ef", "UID    PID PPID C STIME TTY       TIME CMD\n"
		  "0        1    0 0 Nov24 pts/0 00:01:30 sh -c wait\n"
		  "1000 12345    1 0 07:13 ?     00:00:00 [work er] <defunct>\n");
}

static void test_columns(void **state)
{
	(void)state;
	is("-o pid,etime,etimes", "  PID    ELAPSED ELAPSED\n"
				  "    1 2-07:33:20  200000\n"
				  "12345   02:46:50   10010\n");
	is("-eopid,nice,pri,nlwp", "  PID NI PRI NLWP\n    1  0  19    1\n12345  5  14    3\n");
	is("o pid -o uid=", "  PID     \n    1    0\n12345 1000\n");
	is("-o pid= -o uid=", "    1    0\n12345 1000\n");
	is("--format=pid,gid=WHO h", "    1    0\n12345 1000\n");
	is("--format pid,gid=WHO", "  PID  WHO\n    1    0\n12345 1000\n");
	is("-o lstart --no-headers", "Tue Nov 24 02:26:40 2026\nThu Nov 26 07:13:10 2026\n");
}

static void test_text(void **state)
{
	Supermachine__Agent__V1__ProcessesResponse r = make_list();
	sm_auto_ps_format struct sm_ps_format f = SM_PS_FORMAT_INIT;
	sm_auto_free char *got = NULL;

	(void)state;
	shell.comm = (char *)"h\xc3\xbc\x1b[m\n";
	shell.args = (char *)"\x7f\xff\xc2\x9b \xe2\x82\xac\t";
	worker.comm = (char *)"w";
	worker.state = 200;	/* nonsense is no harm either */
	worker.start_ns = worker.cpu_ns = worker.rss_kib = UINT64_MAX;
	assert_int_equal(sm_ps_format_parse(&f, (char *const[]){ (char *)"-ocomm,args" }, 1, NULL),
			 0);
	got = sm_ps_table(&f, &r);
	assert_string_equal(got, "COMMAND COMMAND\nh\xc3\xbc?[m?  ??? \xe2\x82\xac?\nw       [w]\n");
	sm_ps_format_free(&f);
	assert_int_equal(sm_ps_format_parse(&f, (char *const[]){ (char *)"aux" }, 1, NULL), 0);
	free(got);
	got = sm_ps_table(&f, &r);
	assert_non_null(got);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "-C",  "-o",    "-o pid,what", "--sort=pid", "-",
					   "12",  "--",	   "-l",	  "-aux -p",	"axf",
					   "-T",  "-o pid,"
					   "pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,"
					   "pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,"
					   "pid,pid,pid,pid,pid" };

	(void)state;
	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		sm_auto_ps_format struct sm_ps_format f = SM_PS_FORMAT_INIT;
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		sm_auto_free char *copy = strdup(bad[i]);
		char *args[ARGS_MAX], *save = NULL;
		size_t n = 0;

		for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
			args[n++] = w;
		assert_true(sm_ps_format_parse(&f, args, n, &err) < 0);
		assert_memory_equal(sm_err_text(&err), "ps: ", 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_refused),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
