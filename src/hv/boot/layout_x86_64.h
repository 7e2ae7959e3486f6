/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_BOOT_LAYOUT_X86_64_H
#define SM_HV_BOOT_LAYOUT_X86_64_H

/*
 * Guest-physical memory of a machine without firmware. Everything below 1 MiB is ours until the kernel
 * has looked at it; it learns from the e820 map that [0, LOW_END) is free afterwards.
 *
 *	0x0000_0500	GDT (4 entries)
 *	0x0000_6000	hvm_start_info, its modules and memory map (PVH only)
 *	0x0000_7000	boot_params ("zero page")
 *	0x0000_8000	setup_data: seed of the random number generator
 *	0x0000_9000	page tables: PML4, PDPT, PD; the first GiB one to one
 *	0x0002_0000	command line
 *	0x0009_fc00	LOW_END: e820 says reserved from here to 1 MiB
 *	0x000f_0000	MP table (the kernel looks for one in [0xf0000, 0x100000))
 *	0x0010_0000	kernel as its file says, 16 MiB for ours
 *	…		initramfs, at the end of the first 3 GiB or of memory
 *	0xc000_0000	HOLE: devices. What does not fit below goes on at 4 GiB
 *	0xd000_0000	virtio-mmio windows, 4 KiB each
 *	0xfec0_0000	I/O APIC
 *	0xfee0_0000	local APIC
 *	0xfffb_c000	4 pages that KVM needs on Intel (identity map, TSS)
 *	0x1_0000_0000	the rest of memory
 */
#define SM_LAYOUT_GDT 0x500u
#define SM_LAYOUT_PVH_INFO 0x6000u
#define SM_LAYOUT_BOOT_PARAMS 0x7000u
#define SM_LAYOUT_SETUP_DATA 0x8000u
#define SM_LAYOUT_PML4 0x9000u
#define SM_LAYOUT_CMDLINE 0x20000u
#define SM_LAYOUT_CMDLINE_MAX 0x10000u
#define SM_LAYOUT_LOW_END 0x9fc00u
#define SM_LAYOUT_MP_TABLE 0xf0000u
#define SM_LAYOUT_HIGH_START 0x100000u
#define SM_LAYOUT_HOLE_START 0xc0000000u
#define SM_LAYOUT_HOLE_END 0x100000000ull
#define SM_LAYOUT_MMIO 0xd0000000u
#define SM_LAYOUT_MMIO_SIZE 0x1000u
#define SM_LAYOUT_IOAPIC 0xfec00000u
#define SM_LAYOUT_LAPIC 0xfee00000u
#define SM_LAYOUT_IDENTITY_MAP 0xfffbc000u
#define SM_LAYOUT_TSS 0xfffbd000u

#define SM_LAYOUT_DOORBELLS 0xd00u	/* port of the first virtio-mmio window; each has 4 */
#define SM_LAYOUT_IRQ_FIRST 5u		/* of the first virtio-mmio window */
#define SM_LAYOUT_IOAPIC_PINS 24u

#define SM_LAYOUT_CS 0x10u		/* selectors in the GDT */
#define SM_LAYOUT_DS 0x18u

#endif
