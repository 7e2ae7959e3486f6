/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"
#include "spec/seccomp.h"

/* Profiles are compiled and then asked about system calls: by an interpreter for the few classic BPF
 * instructions that seccomp programs consist of, and once by this machine's kernel. */

static uint32_t run(const struct sm_seccomp_filter *f, const struct seccomp_data *data)
{
	const struct sock_filter *code = (const void *)f->bpf;
	size_t n = f->len / sizeof(*code);
	uint32_t a = 0;

	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &code[pc];
		bool yes;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(i->k % 4 == 0 && i->k < sizeof(*data));
			memcpy(&a, (const uint8_t *)data + i->k, 4);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_JMP | BPF_JEQ | BPF_K:
			yes = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			yes = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			yes = a >= i->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			yes = a & i->k;
			break;
		default:
			fail_msg("instruction %#x", i->code);
			return 0;
		}
		pc += yes ? i->jt : i->jf;
	}
	fail_msg("no return");
	return 0;
}

#define X64 AUDIT_ARCH_X86_64
#define I386 AUDIT_ARCH_I386
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))

struct row {
	const char *profile;	/* members of linux.seccomp */
	uint32_t arch;
	int nr;
	uint64_t args[3];
	uint32_t result;
};

#define ALLOW_READ "\"syscalls\":[{\"names\":[\"read\",\"no_such_call\"],\"action\":\"SCMP_ACT_ALLOW\"}]"
#define DENY(action) "\"defaultAction\":\"" action "\"," ALLOW_READ
#define ON(args) "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"personality\"]," \
	"\"action\":\"SCMP_ACT_ERRNO\",\"args\":[" args "]}]"
#define ARG(index, value, op) "{\"index\":" #index ",\"value\":" #value ",\"op\":\"SCMP_CMP_" #op "\"}"
#define MASK "{\"index\":0,\"value\":255,\"valueTwo\":8,\"op\":\"SCMP_CMP_MASKED_EQ\"}"
#define OK SECCOMP_RET_ALLOW
#define NO ERRNO(EPERM)
#define PERSONALITY X64, SYS_personality

static const struct row rows[] = {
	/* actions */
	{ DENY("SCMP_ACT_ERRNO"), X64, SYS_read, { 0 }, OK },
	{ "\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"names\":[\"close\"],"
	  "\"action\":\"SCMP_ACT_ALLOW\"}]", X64, SYS_read, { 0 }, NO },
	{ "\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":13,\"syscalls\":[{\"names\":"
	  "[\"close\"],\"action\":\"SCMP_ACT_ALLOW\"}]", X64, SYS_read, { 0 }, ERRNO(EACCES) },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_KILL\"}]", X64, SYS_read, { 0 }, SECCOMP_RET_KILL_THREAD },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_KILL_THREAD\"}]", X64, SYS_read, { 0 }, SECCOMP_RET_KILL_THREAD },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_KILL_PROCESS\"}]", X64, SYS_read, { 0 }, SECCOMP_RET_KILL_PROCESS },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_TRAP\"}]", X64, SYS_read, { 0 }, SECCOMP_RET_TRAP },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_LOG\"}]", X64, SYS_read, { 0 }, SECCOMP_RET_LOG },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_TRACE\",\"errnoRet\":7}]", X64, SYS_read, { 0 },
	  SECCOMP_RET_TRACE | 7 },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38}]", X64, SYS_read, { 0 }, ERRNO(ENOSYS) },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
	  "\"action\":\"SCMP_ACT_ALLOW\"}]", X64, SYS_read, { 0 }, OK },

	/* calls above all that the profile names */
	{ DENY("SCMP_ACT_ERRNO"), X64, SYS_clone3, { 0 }, ERRNO(ENOSYS) },
	{ DENY("SCMP_ACT_KILL"), X64, SYS_clone3, { 0 }, ERRNO(ENOSYS) },
	{ DENY("SCMP_ACT_LOG"), X64, SYS_clone3, { 0 }, SECCOMP_RET_LOG },
	{ DENY("SCMP_ACT_TRACE"), X64, SYS_clone3, { 0 }, SECCOMP_RET_TRACE | EPERM },
	{ "\"defaultAction\":\"SCMP_ACT_ERRNO\"", X64, SYS_clone3, { 0 }, NO },
	{ "\"defaultAction\":\"SCMP_ACT_ALLOW\"", X64, SYS_clone3, { 0 }, OK },

	/* architectures */
	{ DENY("SCMP_ACT_ERRNO"), I386, 3, { 0 }, SECCOMP_RET_KILL_THREAD },
	{ DENY("SCMP_ACT_ERRNO"), I386, 435, { 0 }, SECCOMP_RET_KILL_THREAD },
	{ DENY("SCMP_ACT_ERRNO") ",\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\"]", I386, 3,
	  { 0 }, OK },
	{ DENY("SCMP_ACT_ERRNO") ",\"architectures\":[\"SCMP_ARCH_X86\"]", I386, 435, { 0 },
	  ERRNO(ENOSYS) },
	{ DENY("SCMP_ACT_ERRNO") ",\"architectures\":[\"SCMP_ARCH_X86\"]", I386, 2, { 0 }, NO },
	{ DENY("SCMP_ACT_ERRNO") ",\"architectures\":[\"SCMP_ARCH_X86\"]", X64, SYS_read, { 0 }, OK },
	{ DENY("SCMP_ACT_ERRNO") ",\"architectures\":[\"SCMP_ARCH_AARCH64\",\"SCMP_ARCH_S390X\"]", X64,
	  SYS_read, { 0 }, OK },
	{ DENY("SCMP_ACT_ERRNO") ",\"architectures\":[\"SCMP_ARCH_X32\"]", X64, 0x40000000, { 0 }, OK },
	{ DENY("SCMP_ACT_ERRNO"), X64, 0x40000000, { 0 }, SECCOMP_RET_KILL_THREAD },
	{ DENY("SCMP_ACT_ERRNO"), AUDIT_ARCH_AARCH64, 63, { 0 }, SECCOMP_RET_KILL_THREAD },

	/* conditions */
	{ ON(ARG(0, 8, EQ)), PERSONALITY, { 8 }, NO },
	{ ON(ARG(0, 8, EQ)), PERSONALITY, { 9 }, OK },
	{ ON(ARG(0, 8, NE)), PERSONALITY, { 8 }, OK },
	{ ON(ARG(0, 8, NE)), PERSONALITY, { 1ull << 32 | 8 }, NO },
	{ ON(ARG(0, 8, LT)), PERSONALITY, { 7 }, NO },
	{ ON(ARG(0, 8, LT)), PERSONALITY, { 8 }, OK },
	{ ON(ARG(0, 8, LE)), PERSONALITY, { 8 }, NO },
	{ ON(ARG(0, 8, LE)), PERSONALITY, { 9 }, OK },
	{ ON(ARG(0, 8, GT)), PERSONALITY, { 9 }, NO },
	{ ON(ARG(0, 8, GT)), PERSONALITY, { 8 }, OK },
	{ ON(ARG(0, 8, GE)), PERSONALITY, { 8 }, NO },
	{ ON(ARG(0, 8, GE)), PERSONALITY, { 7 }, OK },
	{ ON(ARG(0, 18446744073709551615, EQ)), PERSONALITY, { UINT64_MAX }, NO },
	{ ON(MASK), PERSONALITY, { 0x108 }, NO },
	{ ON(MASK), PERSONALITY, { 0x118 }, OK },
	{ ON(ARG(0, 8, EQ) "," ARG(1, 1, EQ)), PERSONALITY, { 8, 1 }, NO },
	{ ON(ARG(0, 8, EQ) "," ARG(1, 1, EQ)), PERSONALITY, { 8, 2 }, OK },
	/* two on one argument: either */
	{ ON(ARG(0, 8, EQ) "," ARG(0, 9, EQ)), PERSONALITY, { 8 }, NO },
	{ ON(ARG(0, 8, EQ) "," ARG(0, 9, EQ)), PERSONALITY, { 9 }, NO },
	{ ON(ARG(0, 8, EQ) "," ARG(0, 9, EQ)), PERSONALITY, { 10 }, OK },
};

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

static void compile(const char *profile, struct sm_seccomp_filter *f)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_config *c = config(profile);

	if (sm_seccomp_compile(c->seccomp, f, &err))
		fail_msg("%s", sm_err_text(&err));
	sm_config_free(c);
}

static void test_row(void **state)
{
	const struct row *r = *state;
	struct seccomp_data data = { .nr = r->nr, .arch = r->arch };
	struct sm_seccomp_filter f;

	memcpy(data.args, r->args, sizeof(r->args));
	compile(r->profile, &f);
	assert_int_equal(run(&f, &data), r->result);
	free(f.bpf);
}

static void test_nothing(void **state)
{
	struct sm_seccomp_filter f;

	compile("", &f);
	assert_null(f.bpf);
	assert_int_equal(sm_seccomp_compile(NULL, &f, NULL), 0);
	assert_null(f.bpf);
}

static void test_flags(void **state)
{
	static const struct {
		const char *profile;
		uint32_t flags;
	} flags[] = {
		{ "\"defaultAction\":\"SCMP_ACT_ALLOW\"", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
		{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[]", 0 },
		{ "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\","
		  "\"SECCOMP_FILTER_FLAG_TSYNC\"]",
		  SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_TSYNC },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(flags); i++) {
		struct sm_seccomp_filter f;

		compile(flags[i].profile, &f);
		assert_int_equal(f.flags, flags[i].flags);
		free(f.bpf);
	}
}

/* More than 32 entries make libseccomp sort its program as a tree. */
static void test_tree(void **state)
{
	static const char *const names[] = {
		"read",	   "write",  "open",   "close",	  "stat",   "fstat",  "lstat",	"poll",
		"lseek",   "mmap",   "munmap", "brk",	  "ioctl",  "pread64", "readv", "writev",
		"access",  "pipe",   "select", "mremap",  "msync",  "madvise", "dup",	"dup2",
		"pause",   "getpid", "socket", "connect", "accept", "bind",   "listen", "clone",
		"fork",	   "vfork",  "execve", "exit",	  "wait4",  "kill",   "uname",	"fcntl",
	};
	struct seccomp_data data = { .arch = X64 };
	struct sm_seccomp_filter f;
	char profile[8192] = "\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[";

	for (size_t i = 0; i < SM_ARRAY_SIZE(names); i++)
		snprintf(profile + strlen(profile), sizeof(profile) - strlen(profile),
			 "%s{\"names\":[\"%s\"],\"action\":\"SCMP_ACT_ALLOW\"}", i ? "," : "", names[i]);
	strcat(profile, "]");
	compile(profile, &f);
	data.nr = SYS_fcntl;
	assert_int_equal(run(&f, &data), OK);
	data.nr = SYS_flock;
	assert_int_equal(run(&f, &data), ERRNO(ENOSYS));
	data.nr = SYS_getitimer;
	assert_int_equal(run(&f, &data), NO);
	free(f.bpf);
}

/* The kernel takes the program and does as the interpreter does. */
static void test_kernel(void **state)
{
	struct sm_seccomp_filter f;
	struct sock_fprog prog;
	int status;
	pid_t pid;

	compile("\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"getppid\"],"
		"\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":77}]", &f);
	prog = (struct sock_fprog){ (unsigned short)(f.len / sizeof(struct sock_filter)),
				    (struct sock_filter *)f.bpf };
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0))
			_exit(100);
		_exit(syscall(SYS_getppid) == -1 ? errno : 101);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 77);
	free(f.bpf);
}

static const struct CMUnitTest plain[] = {
	cmocka_unit_test(test_nothing),
	cmocka_unit_test(test_flags),
	cmocka_unit_test(test_tree),
	cmocka_unit_test(test_kernel),
};

int main(void)
{
	struct CMUnitTest tests[SM_ARRAY_SIZE(plain) + SM_ARRAY_SIZE(rows)];
	size_t n = SM_ARRAY_SIZE(plain);

	memcpy(tests, plain, sizeof(plain));
	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++)
		tests[n++] = (struct CMUnitTest){ rows[i].profile, test_row, NULL, NULL,
						  (void *)&rows[i] };
	return cmocka_run_group_tests_name("spec/seccomp", tests, NULL, NULL);
}
