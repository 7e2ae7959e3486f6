/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "spec/seccomp.h"

/*
 * linux.seccomp through libseccomp, with the guest's x86_64 in mind whatever this was built on.
 *
 * In front of libseccomp's program goes a short one of ours, as runc has it: a system call with a
 * number above all that the profile names, in a profile whose default is to fail, gets ENOSYS. A
 * profile that was written before the call existed can't have meant EPERM, and libcs fall back to
 * an older call only on ENOSYS.
 *
 *	ld  [arch]
 *	jeq X86_64 ? : i386
 *	ld  [nr];  jset x32 bit ? filter;  jgt last64 ? ENOSYS : filter
 *	i386:  jeq I386 ? : filter;  ld [nr];  jgt last32 ? ENOSYS : filter
 *	ENOSYS: ret ERRNO | ENOSYS
 *	filter: …
 */

/* Values are SCMP_ACT_* without data. KILL is the old name of KILL_THREAD. */
const struct sm_word sm_seccomp_action_words[] = {
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0) },
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0) },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
	{ NULL }
};

const struct sm_word sm_seccomp_op_words[] = {
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
	{ NULL }
};

/* Only x86's can occur in the guest; the others are known and do nothing (value 0). */
const struct sm_word sm_seccomp_arch_words[] = {
	{ "SCMP_ARCH_AARCH64", 0 },
	{ "SCMP_ARCH_ARM", 0 },
	{ "SCMP_ARCH_LOONGARCH64", 0 },
	{ "SCMP_ARCH_M68K", 0 },
	{ "SCMP_ARCH_MIPS", 0 },
	{ "SCMP_ARCH_MIPS64", 0 },
	{ "SCMP_ARCH_MIPS64N32", 0 },
	{ "SCMP_ARCH_MIPSEL", 0 },
	{ "SCMP_ARCH_MIPSEL64", 0 },
	{ "SCMP_ARCH_MIPSEL64N32", 0 },
	{ "SCMP_ARCH_PARISC", 0 },
	{ "SCMP_ARCH_PARISC64", 0 },
	{ "SCMP_ARCH_PPC", 0 },
	{ "SCMP_ARCH_PPC64", 0 },
	{ "SCMP_ARCH_PPC64LE", 0 },
	{ "SCMP_ARCH_RISCV64", 0 },
	{ "SCMP_ARCH_S390", 0 },
	{ "SCMP_ARCH_S390X", 0 },
	{ "SCMP_ARCH_SH", 0 },
	{ "SCMP_ARCH_SHEB", 0 },
	{ "SCMP_ARCH_X32", SCMP_ARCH_X32 },
	{ "SCMP_ARCH_X86", SCMP_ARCH_X86 },
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
	{ NULL }
};

const struct sm_word sm_seccomp_flag_words[] = {
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
	{ NULL }
};

#define ARGS_MAX 6

static uint32_t action_with_data(uint64_t action, const struct sm_u64 *errno_ret)
{
	uint32_t data = errno_ret->set ? (uint32_t)errno_ret->v : EPERM;

	if (action == SCMP_ACT_ERRNO(0))
		return SCMP_ACT_ERRNO(data);
	if (action == SCMP_ACT_TRACE(0))
		return SCMP_ACT_TRACE(data);
	return (uint32_t)action;
}

static int add_architectures(scmp_filter_ctx ctx, const struct sm_strs *names)
{
	uint64_t arch;

	for (size_t i = 0; i < names->n; i++) {
		int rc;

		if (sm_word_value(sm_seccomp_arch_words, names->v[i], &arch) || !arch)
			continue;
		rc = seccomp_arch_add(ctx, (uint32_t)arch);
		if (rc && rc != -EEXIST)
			return rc;
	}
	return 0;
}

static struct scmp_arg_cmp condition(const struct sm_seccomp_arg *arg)
{
	return (struct scmp_arg_cmp){
		.arg = (unsigned int)arg->index.v,
		.op = (enum scmp_compare)arg->op.v,
		.datum_a = arg->value.v,
		.datum_b = arg->value_two.v,
	};
}

/* A system call that an architecture of the filter does not have is none of its rules. */
static int rule_result(int rc)
{
	return rc == -EDOM || rc == -EEXIST || rc == -EFAULT ? 0 : rc;
}

/* Conditions on different arguments hold together; where two are on one argument, which libseccomp
 * cannot join, each is a rule of its own (so runc has it, and profiles are written for that). */
static int add_rule(scmp_filter_ctx ctx, uint32_t action, int nr,
		    const struct sm_seccomp_syscall *call)
{
	struct scmp_arg_cmp cmps[ARGS_MAX];
	bool twice = false;
	unsigned int seen = 0;
	int rc = 0;

	for (size_t i = 0; i < call->args.n; i++) {
		twice |= seen >> call->args.v[i].index.v & 1;
		seen |= 1u << call->args.v[i].index.v;
	}
	if (!twice) {
		for (size_t i = 0; i < call->args.n; i++)
			cmps[i] = condition(&call->args.v[i]);
		return rule_result(seccomp_rule_add_array(ctx, action, nr,
							  (unsigned int)call->args.n, cmps));
	}
	for (size_t i = 0; i < call->args.n && !rc; i++) {
		cmps[0] = condition(&call->args.v[i]);
		rc = rule_result(seccomp_rule_add_array(ctx, action, nr, 1, cmps));
	}
	return rc;
}

static int add_rules(scmp_filter_ctx ctx, uint32_t default_action,
		     const struct sm_seccomp_syscall *call, struct sm_err *err)
{
	uint32_t action = action_with_data(call->action.v, &call->errno_ret);

	if (action == default_action)
		return 0;
	for (size_t i = 0; i < call->names.n; i++) {
		int nr = seccomp_syscall_resolve_name(call->names.v[i]);
		int rc = nr == __NR_SCMP_ERROR ? 0 : add_rule(ctx, action, nr, call);

		if (rc)
			return sm_err_sys(err, rc, "linux.seccomp: a rule for %.40s",
					  call->names.v[i]);
	}
	return 0;
}

/* The highest number that the profile names, -1 if it names none. */
static int last_syscall(const struct sm_seccomp *profile, uint32_t arch)
{
	int last = -1;

	for (size_t i = 0; i < profile->syscalls.n; i++) {
		const struct sm_strs *names = &profile->syscalls.v[i].names;

		for (size_t k = 0; k < names->n; k++) {
			int nr = seccomp_syscall_resolve_name_arch(arch, names->v[k]);

			last = nr > last ? nr : last;
		}
	}
	return last;
}

#define LD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP(op, k, yes, no) BPF_JUMP(BPF_JMP | (op) | BPF_K, (k), (yes), (no))
#define X32_BIT 0x40000000u
#define PROLOGUE_LEN 9

/* The program that the comment at the top draws; without i386 in the filter, that part lets all
 * through to libseccomp's own answer for a foreign architecture. */
static void put_prologue(struct sock_filter out[PROLOGUE_LEN], uint32_t last64, uint32_t last32)
{
	const struct sock_filter code[] = {
		LD(arch),
		JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 0, 3),
		LD(nr),
		JUMP(BPF_JSET, X32_BIT, 5, 0),
		JUMP(BPF_JGT, last64, 3, 4),
		JUMP(BPF_JEQ, AUDIT_ARCH_I386, 0, 3),
		LD(nr),
		JUMP(BPF_JGT, last32, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	_Static_assert(sizeof(code) == PROLOGUE_LEN * sizeof(*out), "all of it");
	memcpy(out, code, sizeof(code));
}

/* Does a call that no rule names fail? Then it has to fail with ENOSYS if it is a new one. */
static bool default_fails(const struct sm_seccomp *profile)
{
	uint64_t action = profile->default_action.v;

	if (action == SCMP_ACT_ERRNO(0) && profile->default_errno_ret.set &&
	    profile->default_errno_ret.v == ENOSYS)
		return false;
	return action != SCMP_ACT_ALLOW && action != SCMP_ACT_LOG && action != SCMP_ACT_TRACE(0);
}

static int export(scmp_filter_ctx ctx, const struct sm_seccomp *profile,
		  struct sm_seccomp_filter *filter)
{
	sm_auto_close int fd = memfd_create("seccomp", MFD_CLOEXEC);
	sm_auto_free uint8_t *bpf = NULL;
	size_t prologue = 0;
	struct stat st;
	int rc = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
	int last64 = last_syscall(profile, SCMP_ARCH_X86_64);
	int last32 = seccomp_arch_exist(ctx, SCMP_ARCH_X86) ? -1 :
							      last_syscall(profile, SCMP_ARCH_X86);

	if (!rc && (fstat(fd, &st) || lseek(fd, 0, SEEK_SET)))
		rc = -errno;
	if (rc)
		return rc;
	if (default_fails(profile) && last64 >= 0)
		prologue = PROLOGUE_LEN * sizeof(struct sock_filter);
	bpf = malloc(prologue + (size_t)st.st_size);
	if (!bpf)
		return -ENOMEM;
	if (prologue)
		put_prologue((struct sock_filter *)bpf, (uint32_t)last64,
			     last32 < 0 ? UINT32_MAX : (uint32_t)last32);
	rc = sm_read_full(fd, bpf + prologue, (size_t)st.st_size);
	if (rc)
		return rc;
	filter->bpf = sm_steal_ptr(bpf);
	filter->len = prologue + (size_t)st.st_size;
	return 0;
}

static int build(scmp_filter_ctx ctx, const struct sm_seccomp *profile, uint32_t default_action,
		 struct sm_err *err)
{
	int rc = 0;

	if (seccomp_arch_native() != SCMP_ARCH_X86_64) {
		rc = seccomp_arch_add(ctx, SCMP_ARCH_X86_64);
		if (!rc)
			rc = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
	}
	if (!rc)
		rc = add_architectures(ctx, &profile->architectures);
	/* A tree is faster for long lists; libseccomp 2.5 fails to make one without rules. */
	if (!rc && profile->syscalls.n > 32)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc)
		return sm_err_sys(err, rc, "linux.seccomp");
	for (size_t i = 0; i < profile->syscalls.n && !rc; i++)
		rc = add_rules(ctx, default_action, &profile->syscalls.v[i], err);
	return rc;
}

/* Without a word about flags, runc asks for SPEC_ALLOW; an empty list is a word. */
uint32_t sm_seccomp_flags(const struct sm_seccomp *profile)
{
	return profile->flags.set ? (uint32_t)profile->flags.v : SECCOMP_FILTER_FLAG_SPEC_ALLOW;
}

int sm_seccomp_compile(const struct sm_seccomp *profile, struct sm_seccomp_filter *filter,
		       struct sm_err *err)
{
	uint32_t default_action;
	scmp_filter_ctx ctx;
	int rc;

	*filter = (struct sm_seccomp_filter){ NULL };
	if (!profile || !profile->default_action.set)
		return 0;
	default_action = action_with_data(profile->default_action.v, &profile->default_errno_ret);
	ctx = seccomp_init(default_action);
	if (!ctx)
		return sm_err_sys(err, -ENOMEM, "linux.seccomp");
	rc = build(ctx, profile, default_action, err);
	if (!rc) {
		rc = export(ctx, profile, filter);
		if (rc)
			sm_err_sys(err, rc, "linux.seccomp: export");
	}
	seccomp_release(ctx);
	filter->flags = sm_seccomp_flags(profile);
	return rc;
}

bool sm_seccomp_action_supported(uint64_t action)
{
	return action != SCMP_ACT_NOTIFY;
}

void sm_seccomp_library(char *text, size_t size)
{
	const struct scmp_version *v = seccomp_version();

	snprintf(text, size, "%u.%u.%u", v ? v->major : 0, v ? v->minor : 0, v ? v->micro : 0);
}
