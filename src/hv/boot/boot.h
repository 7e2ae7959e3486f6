/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_BOOT_BOOT_H
#define SM_HV_BOOT_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "virtio/gmem.h"

/*
 * What firmware and boot loader would do: kernel, initramfs, command line and tables in guest memory, and
 * how the first CPU must begin. Knows memory only, nothing of who runs the CPU.
 *
 * Kernels: an uncompressed ELF vmlinux (entered by Linux's 64-bit protocol, or by PVH where its entry
 * point is no physical address of its own), a bzImage with a 64-bit entry, or libkrunfw
 * (libkrunfw.so.N: a shared library that holds a kernel).
 */
enum sm_boot_protocol {
	SM_BOOT_LINUX64,	/* Documentation/x86/boot.rst, "64-bit Boot Protocol" */
	SM_BOOT_PVH,		/* Xen's public/arch-x86/hvm/start_info.h: 32-bit, no paging */
	SM_BOOT_PROTOCOL_NUM
};

struct sm_boot_config {
	const char *kernel;
	const char *initrd;	/* NULL: none */
	const char *cmdline;
	unsigned int vcpus;
	uint32_t irqs;		/* those that something is connected to, a bit each */
};

struct sm_boot_start {
	enum sm_boot_protocol protocol;
	gpa_t entry;
	gpa_t info;		/* boot_params or hvm_start_info */
	gpa_t gdt, page_tables;	/* page_tables: LINUX64 only */
};

/* gm: fresh memory, all zero, beginning at 0. Opens files. */
int sm_boot_load(const struct sm_gmem *gm, const struct sm_boot_config *config,
		 struct sm_boot_start *start, struct sm_err *err);

/* ---- the parts ---------------------------------------------------------------------------------- */

#define SM_BOOT_HEADER_MAX 0x7b	/* struct setup_header at 0x1f1 of boot_params */

/* A kernel that was put into guest memory. */
struct sm_boot_kernel {
	enum sm_boot_protocol protocol;
	gpa_t entry;
	gpa_t end;		/* the first byte behind it, its bss included */
	uint8_t header[SM_BOOT_HEADER_MAX]; /* of a bzImage */
	size_t header_len;	/* 0: has none */
	gpa_t initrd_max;	/* highest address of the initramfs */
};

/* Each reads a kernel of its kind from fd, which stays the caller's; `path` is for messages. */
int sm_boot_load_elf(const struct sm_gmem *gm, int fd, const char *path, struct sm_boot_kernel *k,
		     struct sm_err *err);
int sm_boot_load_bzimage(const struct sm_gmem *gm, int fd, const char *path,
			 struct sm_boot_kernel *k, struct sm_err *err);
/* Loads a shared library into this process: its owner is trusted as root is. */
int sm_boot_load_krunfw(const struct sm_gmem *gm, const char *path, struct sm_boot_kernel *k,
			struct sm_err *err);

/* Whether a kernel of this name is a libkrunfw: "….so" or "….so.N". */
int sm_boot_is_krunfw(const char *path);

/* size bytes of guest memory at gpa, above 1 MiB, for `what` of the kernel file; NULL and err. */
void *sm_boot_place(const struct sm_gmem *gm, gpa_t gpa, uint64_t size, const char *path,
		    const char *what, struct sm_err *err);

/* Tables for the kernel (arch): GDT and page tables, boot_params or start info, e820, seed. */
struct sm_boot_modules {
	gpa_t initrd, initrd_size;	/* size 0: none */
	gpa_t cmdline;
	size_t cmdline_len;
};
int sm_boot_tables(const struct sm_gmem *gm, const struct sm_boot_kernel *k,
		   const struct sm_boot_modules *m, struct sm_boot_start *start);

/* MultiProcessor Specification 1.4: vcpus CPUs (1 to 64), one I/O APIC, the ISA interrupts of `irqs`. */
int sm_boot_mp_table(const struct sm_gmem *gm, unsigned int vcpus, uint32_t irqs);

#endif
