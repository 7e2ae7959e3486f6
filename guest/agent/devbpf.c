/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/devbpf.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"

typedef Supermachine__Agent__V1__DeviceRule rule;

/*
 * Registers:	r2 type (BPF_DEVCG_DEV_*)  r3 the access that is not decided yet
 *		r4 major  r5 minor  r1 scratch
 */
enum { ACCESS_ALL = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE };

#define LOAD(dst, src, field)                                                                 \
	((struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (dst), .src_reg = (src), \
			    .off = offsetof(struct bpf_cgroup_dev_ctx, field) })
#define ALU_K(op, dst, k) \
	((struct bpf_insn){ .code = BPF_ALU | (op) | BPF_K, .dst_reg = (dst), .imm = (k) })
#define MOV(dst, src) \
	((struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = (dst), .src_reg = (src) })
#define MOV64_K(dst, k) \
	((struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (dst), .imm = (k) })
#define JUMP_K(op, dst, k, o)                                                                      \
	((struct bpf_insn){                                                                        \
		.code = BPF_JMP | (op) | BPF_K, .dst_reg = (dst), .imm = (k), .off = (o) })
#define EXIT() ((struct bpf_insn){ .code = BPF_JMP | BPF_EXIT })

static bool valid(const rule *r)
{
	return (r->type == 0 || r->type == S_IFCHR || r->type == S_IFBLK) && r->major >= -1 &&
	       r->major <= INT32_MAX && r->minor >= -1 && r->minor <= INT32_MAX &&
	       !(r->access & ~(uint32_t)ACCESS_ALL);
}

/* One rule: up to three tests that jump behind it, then its verdict on the accesses it names. */
static size_t put_rule(struct bpf_insn *to, const rule *r)
{
	size_t tests = (r->type != 0) + (r->major >= 0) + (r->minor >= 0);
	size_t len = tests + (r->allow ? 4 : 5);
	size_t n = 0;

	if (r->type) {
		int type = r->type == S_IFCHR ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK;

		to[n] = JUMP_K(BPF_JNE, 2, type, (int16_t)(len - n - 1));
		n++;
	}
	if (r->major >= 0) {
		to[n] = JUMP_K(BPF_JNE, 4, (int32_t)r->major, (int16_t)(len - n - 1));
		n++;
	}
	if (r->minor >= 0) {
		to[n] = JUMP_K(BPF_JNE, 5, (int32_t)r->minor, (int16_t)(len - n - 1));
		n++;
	}
	if (r->allow) {
		/* these are granted; nothing left: yes */
		to[n++] = ALU_K(BPF_AND, 3, ACCESS_ALL & ~(int32_t)r->access);
		to[n++] = JUMP_K(BPF_JNE, 3, 0, 2);
		to[n++] = MOV64_K(0, 1);
		to[n++] = EXIT();
	} else {
		/* one of these is asked for: no */
		to[n++] = MOV(1, 3);
		to[n++] = ALU_K(BPF_AND, 1, (int32_t)r->access);
		to[n++] = JUMP_K(BPF_JEQ, 1, 0, 2);
		to[n++] = MOV64_K(0, 0);
		to[n++] = EXIT();
	}
	return n;
}

int sm_devbpf_generate(rule *const *rules, size_t nrules, struct bpf_insn *insns)
{
	size_t n = 0;

	if (nrules > SM_DEVBPF_RULES_MAX)
		return -EINVAL;
	insns[n++] = LOAD(2, 1, access_type);
	insns[n++] = MOV(3, 2);
	insns[n++] = ALU_K(BPF_AND, 2, 0xffff);
	insns[n++] = ALU_K(BPF_RSH, 3, 16);
	insns[n++] = LOAD(4, 1, major);
	insns[n++] = LOAD(5, 1, minor);
	for (size_t i = nrules; i-- > 0;) {
		if (!valid(rules[i]))
			return -EINVAL;
		n += put_rule(insns + n, rules[i]);
	}
	insns[n++] = MOV64_K(0, 0);
	insns[n++] = EXIT();
	return (int)n;
}

static int load(const struct bpf_insn *insns, size_t n)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)insns,
		.insn_cnt = (uint32_t)n,
		.license = (uintptr_t)"Apache-2.0",
	};
	int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	return fd < 0 ? -errno : fd;
}

int sm_devbpf_attach(int cgroup_fd, rule *const *rules, size_t nrules, struct sm_err *err)
{
	sm_auto_free struct bpf_insn *insns = calloc(SM_DEVBPF_INSNS_MAX, sizeof(*insns));
	sm_auto_close int prog = -1;
	union bpf_attr attr = { .attach_type = BPF_CGROUP_DEVICE };
	int n;

	if (!insns)
		return sm_err_sys(err, -ENOMEM, "%s", "device rules");
	n = sm_devbpf_generate(rules, nrules, insns);
	if (n < 0)
		return sm_err_sys(err, n, "%s", "device rules");
	prog = load(insns, (size_t)n);
	if (prog == -ENOSYS || prog == -EINVAL)
		return sm_err_set(err, -ENOSYS, "%s",
				  "device rules: the guest kernel has no CONFIG_CGROUP_BPF");
	if (prog < 0)
		return sm_err_sys(err, prog, "%s", "device rules: load the program");
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)prog;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return sm_err_sys(err, errno, "%s", "device rules: attach the program");
	return 0;
}
