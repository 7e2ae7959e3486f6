/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "hv/boot/layout_x86_64.h"
#include "hv/kvm/machine.h"

#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ENABLE 0x800u
#define MTRR_WRITE_BACK 6u

#define CR0_PE 1ull
#define CR0_ET 0x10ull
#define CR0_PG 0x80000000ull
#define CR4_PAE 0x20ull
#define EFER_LME 0x100ull
#define EFER_LMA 0x400ull
#define RFLAGS_RESERVED 2ull

#define SEGMENT_CODE 0xbu	/* execute, read, accessed */
#define SEGMENT_DATA 0x3u	/* read, write, accessed */
#define GDT_LIMIT 31u

/* Memory slots were set before: with interrupt chips there, each change of a slot waits for a grace
 * period of their bus (7.5 ms). */
int sm_kvm_arch_vm(struct sm_hv *hv, struct sm_err *err)
{
	uint64_t map = SM_LAYOUT_IDENTITY_MAP;

	if (ioctl(hv->vm, KVM_SET_IDENTITY_MAP_ADDR, &map) < 0 ||
	    ioctl(hv->vm, KVM_SET_TSS_ADDR, (unsigned long)SM_LAYOUT_TSS) < 0)
		return sm_err_sys(err, errno, "KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR");
	if (ioctl(hv->vm, KVM_CREATE_IRQCHIP, 0) < 0)
		return sm_err_sys(err, errno, "KVM_CREATE_IRQCHIP");
	return 0;
}

/* For a guest that looks for MTRRs without being told of any: switched off, all memory would be uncacheable. */
static int set_msrs(const struct sm_kvm_vcpu *v)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} u = { .room = { 0 } };

	u.msrs.nmsrs = 1;
	u.msrs.entries[0] = (struct kvm_msr_entry){ .index = MSR_MTRR_DEF_TYPE,
						    .data = MTRR_ENABLE | MTRR_WRITE_BACK };
	return ioctl(v->fd, KVM_SET_MSRS, &u.msrs) == 1 ? 0 : -EINVAL;
}

int sm_kvm_arch_vcpu(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err)
{
	int r = sm_kvm_cpuid_set(hv, v, err);

	if (r < 0)
		return r;
	r = set_msrs(v);
	return r < 0 ? sm_err_sys(err, r, "KVM_SET_MSRS of CPU %u", v->index) : 0;
}

/* ---- how the first CPU begins -------------------------------------------------------------------- */

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool wide)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !wide,
		.l = wide,
	};
}

static void enter_flat(struct kvm_sregs *s, const struct sm_boot_start *b)
{
	bool wide = b->protocol == SM_BOOT_LINUX64;
	struct kvm_segment data = segment(SM_LAYOUT_DS, SEGMENT_DATA, false);

	s->cs = segment(SM_LAYOUT_CS, SEGMENT_CODE, wide);
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->gdt = (struct kvm_dtable){ .base = b->gdt, .limit = GDT_LIMIT };
	s->idt = (struct kvm_dtable){ .base = 0, .limit = 0 };
	s->cr0 = CR0_PE | CR0_ET;
	if (wide) {
		s->cr0 |= CR0_PG;
		s->cr3 = b->page_tables;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
}

int sm_kvm_arch_reset(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err)
{
	const struct sm_boot_start *b = &hv->start;
	struct kvm_regs regs = { .rip = b->entry, .rflags = RFLAGS_RESERVED };
	struct kvm_sregs sregs;

	if (b->protocol == SM_BOOT_LINUX64)
		regs.rsi = b->info;
	else
		regs.rbx = b->info;
	if (ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0)
		return sm_err_sys(err, errno, "KVM_GET_SREGS");
	enter_flat(&sregs, b);
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return sm_err_sys(err, errno, "KVM_SET_SREGS, KVM_SET_REGS");
	return 0;
}

/* KVM_GET_REGS and KVM_GET_SREGS: */
/* #syscalls:vcpu ioctl(1=0x8090ae81) ioctl(1=0x8138ae83) */
/* Its watchdogs are not to take the pause for a lockup. A guest without kvm-clock is not told. */
/* KVM_KVMCLOCK_CTRL: */
/* #syscalls:vcpu ioctl(1=0xaead) */
void sm_kvm_arch_resumed(const struct sm_kvm_vcpu *v)
{
	ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

void sm_kvm_arch_dump(const struct sm_kvm_vcpu *v)
{
	struct kvm_sregs s;
	struct kvm_regs r;

	if (ioctl(v->fd, KVM_GET_REGS, &r) < 0 || ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return;
	sm_error("CPU %u: rip %#llx rsp %#llx rflags %#llx cr0 %#llx cr2 %#llx cr3 %#llx cr4 %#llx "
		 "efer %#llx cs %#x",
		 v->index, r.rip, r.rsp, r.rflags, s.cr0, s.cr2, s.cr3, s.cr4, s.efer,
		 s.cs.selector);
	sm_error("CPU %u: rax %#llx rbx %#llx rcx %#llx rdx %#llx rsi %#llx rdi %#llx rbp %#llx "
		 "r8 %#llx r9 %#llx r10 %#llx r11 %#llx r12 %#llx r13 %#llx r14 %#llx r15 %#llx",
		 v->index, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11,
		 r.r12, r.r13, r.r14, r.r15);
}
