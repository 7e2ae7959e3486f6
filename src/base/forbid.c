/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/forbid.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* For the handler of a signal, which has no other way to know: set before there are threads … */
static char record_who[300];
static const char *record_ending = "ending";
static const char *const *record_names;
static size_t record_nnames;
/* … and by each thread for itself. */
static __thread const char *record_kind;

static char *put(char *at, const char *end, const char *text)
{
	while (*text && at < end)
		*at++ = *text++;
	return at;
}

static char *put_number(char *at, const char *end, unsigned int v)
{
	char digits[12], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	return put(at, end, p);
}

/* Async-signal-safe: a line of the log's shape but for the time. */
static void on_forbidden(int signo, siginfo_t *info, void *context)
{
	unsigned int nr = (unsigned int)info->si_syscall;
	const char *name = nr < record_nnames ? record_names[nr] : NULL;
	char line[512], *p = line;
	const char *end = line + sizeof(line) - 1;

	(void)context;
	p = put(p, end, "level=error msg=\"");
	p = put(p, end, record_who);
	p = put(p, end, ": ");
	if (record_kind) {
		p = put(p, end, record_kind);
		p = put(p, end, " thread: ");
	}
	p = put(p, end, "forbidden system call ");
	p = put_number(p, end, nr);
	p = put(p, end, " (");
	p = put(p, end, name ? name : "?");
	p = put(p, end, "): ");
	p = put(p, end, record_ending);
	p = put(p, end, "\"");
	*p++ = '\n';
	if (write(STDERR_FILENO, line, (size_t)(p - line)) < 0)
		syscall(SYS_exit_group, 128 + signo); /* the same end, unrecorded */
	syscall(SYS_exit_group, 128 + signo);
}

int sm_forbid_record(const char *who, const char *ending, const char *const *names, size_t n)
{
	struct sigaction sa = { .sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO };

	snprintf(record_who, sizeof(record_who), "%s", who);
	record_ending = ending;
	record_names = names;
	record_nnames = n;
	/* One arena: further ones would need mprotect(), and the threads that allocate are few. */
	mallopt(M_ARENA_MAX, 1);
	return sigaction(SIGSYS, &sa, NULL) < 0 ? -errno : 0;
}

void sm_forbid_kind(const char *kind)
{
	record_kind = kind;
}

int sm_forbid_load(const struct sock_filter *code, unsigned short len)
{
	const struct sock_fprog prog = { .len = len, .filter = (struct sock_filter *)code };

#ifdef SM_SANITIZE
	/* The sanitizers' own threads, mappings and reports need more than any list. */
	sm_info("%s thread: a build with sanitizers runs without a filter of %u",
		record_kind ? record_kind : "main", prog.len);
	return 0;
#endif
	/* Without the flag, kernels before 5.16 would switch speculative stores off for the thread:
	 * slow, and no wall inside one process. */
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		       &prog) < 0
		       ? -errno
		       : 0;
}
