/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/err.h"
#include "tls/tls.h"

/* A child gives up what sm-tls does, and then does what it must not. */

#define ALLOWED    0
#define FORBIDDEN  (128 + 31) /* SIGSYS */
#define FAILED     1          /* the try was allowed, and did not succeed */
#define NO_JAIL    2
#define RECORD_MAX 512

typedef long try_fn(void);

static long try_execve(void)
{
	char *const argv[] = { (char *)"sh", NULL };

	return execve("/bin/sh", argv, NULL);
}

static long try_fork(void)
{
	return syscall(SYS_clone, 17L, NULL, NULL, NULL, NULL);
}

static long try_inet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long try_bind(void)
{
	return bind(0, NULL, 0);
}

static long try_read_file(void)
{
	return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}

static long try_write_file(void)
{
	return open("/dev/null", O_WRONLY);
}

static long try_make_file(void)
{
	return open("/tmp/sm-tls-made", O_RDONLY | O_CREAT, 0600);
}

static long try_unlink(void)
{
	return unlink("/no/such/file");
}

static long try_exec_memory(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static long try_mprotect(void)
{
	return mprotect(NULL, 4096, PROT_EXEC);
}

static long try_memory(void)
{
	void *p = malloc(4u << 20);

	free(p);
	return p ? 0 : -1;
}

static long try_ptrace(void)
{
	return syscall(SYS_ptrace, 16, 1, 0, 0);
}

static const struct {
	const char *name; /* as the record has it */
	try_fn *fn;
	int status;
} tries[] = {
	{ "execve", try_execve, FORBIDDEN },     { "clone", try_fork, FORBIDDEN },
	{ "socket", try_inet, FORBIDDEN },       { "socket", try_unix, ALLOWED },
	{ "bind", try_bind, FORBIDDEN },         { "openat", try_read_file, ALLOWED },
	{ "openat", try_write_file, FORBIDDEN }, { "openat", try_make_file, FORBIDDEN },
	{ "unlink", try_unlink, FORBIDDEN },     { "mmap", try_exec_memory, FORBIDDEN },
	{ "mprotect", try_mprotect, FORBIDDEN }, { "malloc", try_memory, ALLOWED },
	{ "ptrace", try_ptrace, FORBIDDEN },
};

static void __attribute__((noreturn)) child(try_fn *fn, int record)
{
	long r;

	dup2(record, 2);
	if (sm_tls_jail_drop(NULL) < 0 || sm_tls_jail_filter(NULL) < 0)
		_exit(NO_JAIL);
	r = fn();
	_exit(r < 0 ? FAILED : ALLOWED);
}

static int run(try_fn *fn, char *text)
{
	int record[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(record), 0);
	pid = fork();
	if (pid == 0)
		child(fn, record[1]);
	close(record[1]);
	n = read(record[0], text, RECORD_MAX - 1);
	text[n > 0 ? n : 0] = '\0';
	close(record[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_filter(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(tries); i++) {
		char text[RECORD_MAX], want[RECORD_MAX];
		int status = run(tries[i].fn, text);

#ifdef SM_SANITIZE
		if (tries[i].status == FORBIDDEN)
			continue; /* there is no filter */
#endif
		if (status != tries[i].status)
			print_message("# %s, try %zu\n", tries[i].name, i);
		assert_int_equal(status, tries[i].status);
		snprintf(want, sizeof(want), " (%s): ending\"\n", tries[i].name);
		if (status == FORBIDDEN) {
			assert_non_null(
				strstr(text, "level=error msg=\"sm-tls: forbidden system call "));
			assert_non_null(strstr(text, want));
		}
	}
}

static long read_own_state(void)
{
	char text[8192] = "";
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	return n > 0 && strstr(text, "CapEff:\t0000000000000000") &&
			       strstr(text, "CapPrm:\t0000000000000000") &&
			       strstr(text, "CapAmb:\t0000000000000000") &&
			       strstr(text, "NoNewPrivs:\t1")
		       ? 0
		       : -1;
}

static void test_drop(void **state)
{
	char text[RECORD_MAX];

	assert_int_equal(run(read_own_state, text), ALLOWED);
}

static void test_print(void **state)
{
	char *text = NULL, *rest, *line, *last = NULL;
	size_t len, lines = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	sm_tls_jail_print(f);
	fclose(f);
	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		if (last)
			assert_true(strcmp(last, line) < 0);
		assert_null(strstr(line, "exec"));
		last = line;
		lines++;
	}
	assert_in_range(lines, 10, 32);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
