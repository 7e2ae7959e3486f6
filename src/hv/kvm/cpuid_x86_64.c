/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the guest's CPUID instruction says: what KVM supports on this CPU, less what a container has no
 * use for, and made to agree with the machine that there is: one socket of n cores without
 * hyperthreads, each with its own APIC ID.
 *
 * A row of the table edits each entry of one function; functions that have no row pass as KVM gave them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clean.h"
#include "hv/kvm/machine.h"

#define ENTRIES_MAX 256

#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_TIMING 0x40000010u
#define APIC_BUS_KHZ 1000000u	/* KVM's local APIC timer counts nanoseconds */

#define F1_ECX_MONITOR (1u << 3)
#define F1_ECX_DS (1u << 2 | 1u << 4)
#define F1_ECX_VMX (1u << 5)
#define F1_ECX_SMX (1u << 6)
#define F1_ECX_SPEEDSTEP (1u << 7 | 1u << 8)
#define F1_ECX_PDCM (1u << 15)
#define F1_ECX_TSC_DEADLINE (1u << 24)
#define F1_ECX_HYPERVISOR (1u << 31)
#define F1_EDX_MTRR (1u << 12)
#define F1_EDX_DS (1u << 21)
#define F1_EDX_HTT (1u << 28)
#define F1_EDX_THERMAL (1u << 22 | 1u << 29)
#define F6_EAX_ARAT (1u << 2)
#define F7_EBX_SGX (1u << 2)
#define F7_EBX_RTM_HLE (1u << 4 | 1u << 11)
#define F7_EBX_PT (1u << 25)
#define F8_1_ECX_SVM (1u << 2)
#define F8_1_ECX_CMP_LEGACY (1u << 1)
#define F8_1_ECX_PERF (1u << 23 | 1u << 24 | 1u << 28)
#define F8_1_ECX_TOPOLOGY (1u << 22)

struct cpu {
	uint32_t index, count;		/* this CPU's number, how many there are */
	uint32_t id_bits;		/* of an APIC ID */
	uint32_t tsc_khz;
	bool tsc_deadline;
};

/* Without MTRRs: all memory is write-back, and reading them would be 40 exits of a boot. */
static void basic(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	e->ebx = (e->ebx & 0xffff) | c->count << 16 | c->index << 24;
	e->ecx &= ~(F1_ECX_MONITOR | F1_ECX_DS | F1_ECX_VMX | F1_ECX_SMX | F1_ECX_SPEEDSTEP |
		    F1_ECX_PDCM | F1_ECX_TSC_DEADLINE);
	e->ecx |= F1_ECX_HYPERVISOR | (c->tsc_deadline ? F1_ECX_TSC_DEADLINE : 0);
	e->edx &= ~(F1_EDX_MTRR | F1_EDX_DS | F1_EDX_THERMAL | F1_EDX_HTT);
	e->edx |= c->count > 1 ? F1_EDX_HTT : 0;
}

/* Deterministic cache parameters (Intel 4, AMD 0x8000001d): caches of level 1 and 2 belong to one core,
 * that of level 3 to all. */
static void caches(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	uint32_t level = e->eax >> 5 & 7, sharing = level >= 3 ? c->count : 1;

	if (!(e->eax & 0x1f))
		return;
	e->eax = (e->eax & 0x3fff) | (sharing - 1) << 14;
	if (e->function == 4)
		e->eax |= (c->count - 1) << 26;
}

static void features7(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	(void)c;
	if (e->index == 0)
		e->ebx &= ~(F7_EBX_SGX | F7_EBX_RTM_HLE | F7_EBX_PT);
}

/* Extended topology (0xb, 0x1f): a level of threads, one a core, and one of cores. */
static void topology(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	bool cores = e->index == 1;

	e->eax = e->ebx = 0;
	e->ecx = e->index;
	e->edx = c->index;
	if (e->index > 1)
		return;
	e->ecx |= (cores ? 2u : 1u) << 8;
	e->eax = cores ? c->id_bits : 0;
	e->ebx = cores ? c->count : 1;
}

static void nothing(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	(void)c;
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

/* Power and thermal management, of which this is told here: the local APIC's timer runs whatever the
 * CPU does. Without it a kernel wants the PIT besides. */
static void power(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	(void)c;
	e->eax &= F6_EAX_ARAT;
	e->ebx = e->ecx = e->edx = 0;
}

static void hypervisor(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	(void)c;
	if (e->eax < LEAF_TIMING)
		e->eax = LEAF_TIMING;
}

static void extended(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	e->edx &= ~F1_EDX_MTRR;
	e->ecx &= ~(F8_1_ECX_SVM | F8_1_ECX_PERF | F8_1_ECX_CMP_LEGACY);
	e->ecx |= c->count > 1 && (e->ecx & F8_1_ECX_TOPOLOGY) ? F8_1_ECX_CMP_LEGACY : 0;
}

static void sizes(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	e->ecx = (e->ecx & ~0xf0ffu) | (c->count - 1) | c->id_bits << 12;
}

/* AMD 0x8000001e: one node, a core for each APIC ID. */
static void amd_topology(struct kvm_cpuid_entry2 *e, const struct cpu *c)
{
	e->eax = c->index;
	e->ebx = c->index & 0xff;
	e->ecx = 0;
	e->edx = 0;
}

static const struct {
	uint32_t function;
	void (*edit)(struct kvm_cpuid_entry2 *e, const struct cpu *c);
} rows[] = {
	{ 0x1, basic },
	{ 0x4, caches },
	{ 0x5, nothing },	/* MWAIT */
	{ 0x6, power },
	{ 0x7, features7 },
	{ 0xa, nothing },	/* performance counters */
	{ 0xb, topology },
	{ 0x12, nothing },	/* SGX */
	{ 0x14, nothing },	/* processor trace */
	{ 0x1f, topology },
	{ LEAF_HYPERVISOR, hypervisor },
	{ 0x80000001, extended },
	{ 0x80000008, sizes },
	{ 0x8000000a, nothing }, /* SVM */
	{ 0x8000001d, caches },
	{ 0x8000001e, amd_topology },
	{ 0x8000001f, nothing }, /* memory encryption */
	{ 0x80000022, nothing }, /* performance counters */
	{ 0x80000026, nothing }, /* extended topology, once more */
};

static void edit(struct kvm_cpuid2 *set, const struct cpu *c)
{
	for (uint32_t i = 0; i < set->nent; i++)
		for (size_t r = 0; r < SM_ARRAY_SIZE(rows); r++)
			if (set->entries[i].function == rows[r].function)
				rows[r].edit(&set->entries[i], c);
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *set, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < set->nent; i++)
		if (set->entries[i].function == function && set->entries[i].index == index)
			return &set->entries[i];
	return NULL;
}

/* An entry that KVM does not have of its own, or not at every index. */
static struct kvm_cpuid_entry2 *want(struct kvm_cpuid2 *set, uint32_t function, uint32_t index,
				     uint32_t flags)
{
	struct kvm_cpuid_entry2 *e = find(set, function, index);

	if (e || set->nent == ENTRIES_MAX)
		return e;
	e = &set->entries[set->nent++];
	*e = (struct kvm_cpuid_entry2){ .function = function, .index = index, .flags = flags };
	return e;
}

/* The TSC's frequency where kernels look for it that run on a hypervisor: nothing to calibrate. */
static void add_timing(struct kvm_cpuid2 *set, const struct cpu *c)
{
	struct kvm_cpuid_entry2 *e = want(set, LEAF_TIMING, 0, 0);

	if (e) {
		e->eax = c->tsc_khz;
		e->ebx = APIC_BUS_KHZ;
	}
}

static void add_topology(struct kvm_cpuid2 *set)
{
	struct kvm_cpuid_entry2 *max = find(set, 0, 0);

	if (!max || max->eax < 0xb)
		return;
	for (uint32_t i = 0; i < 3; i++)
		want(set, 0xb, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
}

static uint32_t bits_for(uint32_t n)
{
	uint32_t bits = 0;

	while (1u << bits < n)
		bits++;
	return bits;
}

int sm_kvm_cpuid_set(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err)
{
	sm_auto_free struct kvm_cpuid2 *set = NULL;
	struct cpu c = { .index = v->index, .count = hv->config.vcpus };
	int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

	set = calloc(1, sizeof(*set) + ENTRIES_MAX * sizeof(set->entries[0]));
	if (!set)
		return sm_err_sys(err, -ENOMEM, "CPUID");
	set->nent = ENTRIES_MAX;
	if (ioctl(hv->kvm, KVM_GET_SUPPORTED_CPUID, set) < 0)
		return sm_err_sys(err, errno, "KVM_GET_SUPPORTED_CPUID");
	c.id_bits = bits_for(c.count);
	c.tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	c.tsc_deadline = ioctl(hv->vm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	add_topology(set);
	edit(set, &c);
	if (c.tsc_khz)
		add_timing(set, &c);
	if (ioctl(v->fd, KVM_SET_CPUID2, set) < 0)
		return sm_err_sys(err, errno, "KVM_SET_CPUID2 of CPU %u", v->index);
	return 0;
}
