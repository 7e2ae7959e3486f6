/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_SETTINGS_H
#define SM_RUNTIME_SETTINGS_H

#include <stdint.h>

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
struct sm_settings {
	struct sm_arena *arena;
	const char *file;	/* that was read, or would have been */
	const char *hypervisor;	/* "auto", "kvm" or "qemu" */
	const char *vmm;	/* sm-vmm */
	const char *kernel;	/* vmlinux */
	const char *initrd;	/* initramfs.cpio */
	const char *qemu;
	struct sm_strs kernel_parameters;
	struct sm_vm_defaults vm;
	bool core_dumps;	/* sm-vmm may leave them */
};

int sm_settings_load(struct sm_settings **settings, struct sm_err *err);
void sm_settings_free(struct sm_settings **settings);
#define sm_auto_settings __attribute__((cleanup(sm_settings_free)))

/* The backend that "auto" comes to on this host. */
const char *sm_settings_backend(const struct sm_settings *settings);

#endif
