/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_KVM_PROBE_H
#define SM_HV_KVM_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Does KVM work here? It is there, speaks API 12, has what a monitor needs, makes a VM, and runs
 * guest code at speed. The last matters: some hosts emulate guests instruction by instruction, at a
 * few million a second, and nothing that is asked beforehand tells.
 */
#define SM_KVM_MIPS_MIN 50

struct sm_kvm_probe {
	bool present;		/* /dev/kvm exists */
	bool usable;
	uint64_t mips;		/* of a guest loop; 0: it did not run */
	char text[256];		/* what was found, for people */
};

/* Takes 2 s at most. Uses SIGALRM. Never fails: what goes wrong is the result. */
void sm_kvm_probe(struct sm_kvm_probe *out);

/* {"present":true,"usable":false,"mips":2,"text":"…"}, which `sm-runtime doctor` reads. */
void sm_kvm_probe_print(const struct sm_kvm_probe *probe, FILE *out);

#endif
