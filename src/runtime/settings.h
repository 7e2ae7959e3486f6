/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_SETTINGS_H
#define SM_RUNTIME_SETTINGS_H

#include <stdbool.h>

#include "base/err.h"
#include "spec/config.h"
#include "spec/json.h"

/*
 * What the host's owner decides for all containers: /etc/supermachine/config.json (sm-runtime(8)),
 * which may be missing, and where the parts of supermachine are.
 *
 * A part that stands in the directory of the running program wins over the installed one, so that a
 * build tree works as it is.
 */
enum sm_hypervisor { SM_HYPERVISOR_AUTO, SM_HYPERVISOR_KVM, SM_HYPERVISOR_QEMU, SM_HYPERVISOR_NUM };

struct sm_settings {
	struct sm_arena *arena;
	const char *file;	/* that was read, or would have been */
	enum sm_hypervisor hypervisor;
	const char *vmm;	/* sm-vmm */
	const char *kernel;	/* vmlinux, bzImage, or libkrunfw.so.5 */
	const char *initrd;	/* initramfs.cpio */
	const char *qemu;
	struct sm_strs kernel_parameters;
	bool hugepages, early_console, core_dumps;
	bool tsi;		/* containers have a network */
	const char *network_policy, *ports;	/* as sm-vmm(8) has them; "" if not given */
	struct sm_vm_defaults vm;	/* as for the qemu backend: see sm_backend_defaults() */
	bool vcpus_given;	/* vm.size.vcpus is the file's */
};

extern const struct sm_word sm_hypervisor_words[], sm_network_words[];

int sm_settings_load(struct sm_settings **settings, struct sm_err *err);
void sm_settings_free(struct sm_settings **settings);
#define sm_auto_settings __attribute__((cleanup(sm_settings_free)))

#endif
