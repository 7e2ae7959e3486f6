/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_KVM_PROBE_H
#define SM_HV_KVM_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Does KVM work here? It is there, speaks API 12, has what our monitor needs, makes a VM, and runs
 * guest code at speed. The last matters: some hosts emulate guests instruction by instruction, at a
 * few million a second, and nothing that is asked beforehand tells.
 */
#define SM_KVM_MIPS_MIN 20

enum sm_kvm_reason {	/* why it cannot be used */
	SM_KVM_WORKS,
	SM_KVM_ABSENT,		/* no /dev/kvm, or nothing behind it */
	SM_KVM_DENIED,		/* it may not be opened */
	SM_KVM_BUSY,		/* another hypervisor has the CPU */
	SM_KVM_API,		/* another API version */
	SM_KVM_EXTENSION,	/* something that is needed is missing */
	SM_KVM_BROKEN,		/* a VM cannot be made or run */
	SM_KVM_SLOW,
	SM_KVM_REASON_NUM
};

struct sm_kvm_probe {
	bool present;		/* /dev/kvm exists */
	bool usable;		/* reason == SM_KVM_WORKS */
	enum sm_kvm_reason reason;
	uint64_t mips;		/* of a guest loop; 0: it did not run */
	char text[256];		/* what was found, for people; no character that JSON escapes */
};

/* Takes 0.4 s where guests are emulated, milliseconds where KVM works, 2 s where that is hard to tell.
 * Uses SIGALRM. Never fails: what goes wrong is the result. */
void sm_kvm_probe(struct sm_kvm_probe *out);

/* {"present":true,"usable":false,"reason":"slow","mips":2,"text":"…"}, which sm-runtime reads
 * (runtime/kvmprobe.h knows the words). */
void sm_kvm_probe_print(const struct sm_kvm_probe *probe, FILE *out);

#endif
