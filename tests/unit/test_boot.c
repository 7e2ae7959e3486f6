/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of each kind and of none, and the tables that they get, on plain memory. */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/err.h"
#include "hv/boot/boot.h"
#include "hv/boot/layout_x86_64.h"

#define MIB (1ull << 20)
#define MEMORY (64 * MIB)
#define KERNEL_AT (16 * MIB)
#define NOTE_AT 0x800u

struct fixture {
	struct sm_gmem gm;
	uint8_t *mem;
	struct sm_err err;
	char path[64];		/* of the kernel, a memfd */
	int fd;
};

struct kernel {			/* an ELF file: headers, a segment of text at 0x1000, a note */
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->mem = mmap(NULL, 6ull << 30, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	f->fd = memfd_create("kernel", MFD_CLOEXEC);
	if (f->mem == MAP_FAILED || f->fd < 0 || sm_gmem_add(&f->gm, 0, MEMORY, f->mem) < 0)
		return -1;
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sm_gmem_clear(&f->gm);
	munmap(f->mem, 6ull << 30);
	close(f->fd);
	sm_err_clear(&f->err);
	free(f);
	return 0;
}

static struct kernel good_elf(void)
{
	struct kernel k = {
		.eh = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_entry = KERNEL_AT + 0x40,
			.e_phoff = offsetof(struct kernel, ph),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 2,
		},
		.ph = {
			{ .p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = KERNEL_AT,
			  .p_vaddr = 0xffffffff81000000, .p_filesz = 0x100, .p_memsz = 0x3000 },
			{ .p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = 0 },
		},
	};
	return k;
}

static void write_elf(struct fixture *f, const struct kernel *k)
{
	uint8_t text[0x100];

	memset(text, 0x90, sizeof(text));
	assert_int_equal(ftruncate(f->fd, 0x1100), 0);
	assert_int_equal(pwrite(f->fd, k, sizeof(*k), 0), sizeof(*k));
	assert_int_equal(pwrite(f->fd, text, sizeof(text), 0x1000), sizeof(text));
}

static int load_elf(struct fixture *f, const struct kernel *k, struct sm_boot_kernel *out)
{
	*out = (struct sm_boot_kernel){ .entry = 0 };
	write_elf(f, k);
	return sm_boot_load_elf(&f->gm, f->fd, "vmlinux", out, &f->err);
}

static void refused(struct fixture *f, const struct kernel *k, int code, const char *text)
{
	struct sm_boot_kernel out;

	assert_int_equal(load_elf(f, k, &out), code);
	if (!strstr(sm_err_text(&f->err), text))
		fail_msg("\"%s\" does not say \"%s\"", sm_err_text(&f->err), text);
}

static void an_elf_with_an_entry_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct kernel k = good_elf();
	struct sm_boot_kernel out;

	assert_int_equal(load_elf(f, &k, &out), 0);
	assert_int_equal(out.protocol, SM_BOOT_LINUX64);
	assert_int_equal(out.entry, KERNEL_AT + 0x40);
	assert_int_equal(out.end, KERNEL_AT + 0x3000);
	assert_int_equal(f->mem[KERNEL_AT], 0x90);
	assert_int_equal(f->mem[KERNEL_AT + 0xff], 0x90);
	assert_int_equal(f->mem[KERNEL_AT + 0x100], 0);
}

static void put_note(struct fixture *f, struct kernel *k, const void *note, size_t len)
{
	k->ph[1].p_filesz = len;
	assert_int_equal(pwrite(f->fd, note, len, NOTE_AT), (ssize_t)len);
}

static void an_elf_with_a_virtual_entry_goes_by_its_note(void **state)
{
	static const uint32_t notes[] = {
		4, 5, 1, 0x756e47 /* GNU */, 0x64636261, 0x65,	/* another one first */
		4, 4, 18, 0x6e6558 /* Xen */, 0x1000123,
	};
	struct fixture *f = *state;
	struct kernel k = good_elf();
	struct sm_boot_kernel out;

	k.eh.e_entry = 0xffffffff81000000;
	refused(f, &k, -ENOEXEC, "neither its entry point");
	put_note(f, &k, notes, sizeof(notes));
	assert_int_equal(load_elf(f, &k, &out), 0);
	assert_int_equal(out.protocol, SM_BOOT_PVH);
	assert_int_equal(out.entry, 0x1000123);
}

static void notes_that_lie(void **state)
{
	static const uint32_t bad[][5] = {
		{ 0xffffffff, 4, 18, 0x6e6558, 1 },	/* name longer than all */
		{ 4, 0xfffffffd, 18, 0x6e6558, 1 },	/* rounding up would wrap in 32 bits */
		{ 4, 8, 18, 0x6e6558, 1 },		/* cut off */
		{ 4, 0, 18, 0x6e6558, 1 },		/* no entry in it */
		{ 0, 0, 0, 0, 0 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		struct kernel k = good_elf();

		k.eh.e_entry = 0xffffffff81000000;
		put_note(f, &k, bad[i], sizeof(bad[i]));
		refused(f, &k, -ENOEXEC, "nor has it a PVH note");
	}
}

static void elf_headers_that_make_no_sense(void **state)
{
	struct fixture *f = *state;
	struct kernel k;

#define BAD(edit, code, text) do { k = good_elf(); edit; refused(f, &k, code, text); } while (0)
	BAD(k.eh.e_ident[EI_CLASS] = ELFCLASS32, -ENOEXEC, "not an executable for x86_64");
	BAD(k.eh.e_machine = EM_AARCH64, -ENOEXEC, "not an executable for x86_64");
	BAD(k.eh.e_type = ET_DYN, -ENOEXEC, "not an executable for x86_64");
	BAD(k.eh.e_phnum = 0, -ENOEXEC, "program headers (0 of 56 bytes)");
	BAD(k.eh.e_phnum = 65, -ENOEXEC, "program headers (65");
	BAD(k.eh.e_phentsize = 32, -ENOEXEC, "make no sense");
	BAD(k.eh.e_phoff = UINT64_MAX - 8, -ENOEXEC, "make no sense");
	BAD(k.ph[0].p_filesz = 0x4000, -ENOEXEC, "longer in the file");
	BAD(k.ph[0].p_offset = 0x1001, -ENOEXEC, "cut off");
	BAD(k.ph[0].p_offset = UINT64_MAX - 0x7f, -ENOEXEC, "cut off");
	BAD(k.ph[0].p_paddr = 0x1000, -ENOMEM, "not within the guest's memory above 1 MiB");
	BAD(k.ph[0].p_paddr = MEMORY - 0x1000, -ENOMEM, "not within the guest's memory");
	BAD(k.ph[0].p_paddr = UINT64_MAX - 0xfff, -ENOMEM, "not within the guest's memory");
	BAD(k.ph[0].p_memsz = UINT64_MAX, -ENOMEM, "not within the guest's memory");
#undef BAD
}

static struct boot_params good_bzimage(void)
{
	struct boot_params bp = { .hdr = {
		.setup_sects = 1,
		.boot_flag = 0xaa55,
		.header = 0x53726448,	/* "HdrS" */
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.xloadflags = XLF_KERNEL_64,
		.pref_address = KERNEL_AT,
		.init_size = 0x10000,
		.initrd_addr_max = 0x7fffffff,
	} };
	return bp;
}

static int load_bzimage(struct fixture *f, const struct boot_params *bp, size_t size,
			struct sm_boot_kernel *out)
{
	uint8_t page[4096];

	memset(page, 0x90, sizeof(page));
	memcpy(page, bp, 1024);	/* the setup sectors of this image: the header is in the first two */
	*out = (struct sm_boot_kernel){ .entry = 0 };
	assert_int_equal(ftruncate(f->fd, 0), 0);
	assert_int_equal(pwrite(f->fd, page, size, 0), (ssize_t)size);
	return sm_boot_load_bzimage(&f->gm, f->fd, "bzImage", out, &f->err);
}

static void a_bzimage(void **state)
{
	struct fixture *f = *state;
	struct boot_params bp = good_bzimage();
	struct sm_boot_kernel out;

	assert_int_equal(load_bzimage(f, &bp, 4096, &out), 0);
	assert_int_equal(out.protocol, SM_BOOT_LINUX64);
	assert_int_equal(out.entry, KERNEL_AT + 0x200);
	assert_int_equal(out.end, KERNEL_AT + 0x10000);
	assert_int_equal(out.initrd_max, 0x7fffffff);
	assert_int_equal(out.header_len, sizeof(bp.hdr));
	assert_int_equal(f->mem[KERNEL_AT], 0x90);
	assert_int_equal(f->mem[KERNEL_AT + 4096 - 1024], 0);

	bp.hdr.init_size = UINT32_MAX;
	assert_int_equal(load_bzimage(f, &bp, 4096, &out), -ENOMEM);
	bp = good_bzimage();
	assert_int_equal(load_bzimage(f, &bp, 1024, &out), -ENOEXEC);
	assert_non_null(strstr(sm_err_text(&f->err), "cut off behind its setup code"));
	bp.hdr.version = 0x020b;
	assert_int_equal(load_bzimage(f, &bp, 4096, &out), -ENOEXEC);
	assert_non_null(strstr(sm_err_text(&f->err), "boot protocol 2.11, 2.12 is needed"));
	bp.hdr.boot_flag = 0;
	assert_int_equal(load_bzimage(f, &bp, 4096, &out), -ENOEXEC);
	assert_non_null(strstr(sm_err_text(&f->err), "neither an ELF vmlinux nor a bzImage"));
}

static void names_of_libkrunfw(void **state)
{
	struct fixture *f = *state;
	struct sm_boot_kernel out = { .entry = 0 };

	assert_true(sm_boot_is_krunfw("libkrunfw.so.5"));
	assert_true(sm_boot_is_krunfw("/usr/lib64/libkrunfw.so.5.6.1"));
	assert_true(sm_boot_is_krunfw("/opt/x/libkrunfw.so"));
	assert_false(sm_boot_is_krunfw("/boot/vmlinux"));
	assert_false(sm_boot_is_krunfw("/lib.so/vmlinux"));
	assert_false(sm_boot_is_krunfw("/boot/vmlinux.soon"));
	assert_int_equal(sm_boot_load_krunfw(&f->gm, "libnone-such.so.5", &out, &f->err), -ENOENT);
	assert_int_equal(sm_boot_load_krunfw(&f->gm, "libc.so.6", &out, &f->err), -ENOEXEC);
	assert_non_null(strstr(sm_err_text(&f->err), "a library without a kernel in it"));
}

/* ---- all of it ---------------------------------------------------------------------------------- */

static int load_all(struct fixture *f, const char *initrd, struct sm_boot_start *start)
{
	struct sm_boot_config c = { .kernel = f->path, .initrd = initrd, .cmdline = "quiet a=b",
				    .vcpus = 4 };

	return sm_boot_load(&f->gm, &c, start, &f->err);
}

static void boot_params_say_where_everything_is(void **state)
{
	struct fixture *f = *state;
	struct kernel k = good_elf();
	struct sm_boot_start start;
	const struct boot_params *bp = (const void *)(f->mem + SM_LAYOUT_BOOT_PARAMS);
	const struct setup_data *seed = (const void *)(f->mem + SM_LAYOUT_SETUP_DATA);
	const uint64_t *tables = (const void *)(f->mem + SM_LAYOUT_PML4);
	static const uint8_t zero[32];

	write_elf(f, &k);
	assert_int_equal(load_all(f, "/proc/self/exe", &start), 0);
	assert_int_equal(start.info, SM_LAYOUT_BOOT_PARAMS);
	assert_int_equal(start.page_tables, SM_LAYOUT_PML4);
	assert_string_equal((char *)f->mem + bp->hdr.cmd_line_ptr, "quiet a=b");
	assert_int_equal(bp->hdr.cmdline_size, 9);
	assert_memory_equal(f->mem + bp->hdr.ramdisk_image, "\177ELF", 4);
	assert_true(bp->hdr.ramdisk_image + bp->hdr.ramdisk_size <= MEMORY);
	assert_true(bp->hdr.ramdisk_image >= KERNEL_AT + 0x3000);
	assert_int_equal(bp->hdr.ramdisk_image % 4096, 0);
	assert_int_equal(bp->e820_entries, 3);
	assert_int_equal(bp->e820_table[0].addr + bp->e820_table[0].size, SM_LAYOUT_LOW_END);
	assert_int_equal(bp->e820_table[1].type, 2);
	assert_int_equal(bp->e820_table[2].addr, MIB);
	assert_int_equal(bp->e820_table[2].size, MEMORY - MIB);
	assert_int_equal(seed->type, 9);
	assert_int_equal(seed->len, 32);
	assert_memory_not_equal(seed->data, zero, sizeof(zero));
	assert_int_equal(tables[0], SM_LAYOUT_PML4 + 4096 + 3);
	assert_int_equal(tables[1024 + 511], (511ull << 21) + 0x83);
}

static void memory_above_the_hole_is_told_of(void **state)
{
	struct fixture *f = *state;
	struct kernel k = good_elf();
	struct sm_boot_start start;
	const struct boot_params *bp = (const void *)(f->mem + SM_LAYOUT_BOOT_PARAMS);

	sm_gmem_clear(&f->gm);
	assert_int_equal(sm_gmem_add(&f->gm, 0, SM_LAYOUT_HOLE_START, f->mem), 0);
	assert_int_equal(sm_gmem_add(&f->gm, SM_LAYOUT_HOLE_END, 2ull << 30,
				     f->mem + SM_LAYOUT_HOLE_START), 0);
	write_elf(f, &k);
	assert_int_equal(load_all(f, NULL, &start), 0);
	assert_int_equal(bp->e820_entries, 4);
	assert_int_equal(bp->e820_table[2].addr + bp->e820_table[2].size, SM_LAYOUT_HOLE_START);
	assert_int_equal(bp->e820_table[3].addr, SM_LAYOUT_HOLE_END);
	assert_int_equal(bp->e820_table[3].size, 2ull << 30);
	assert_int_equal(bp->hdr.ramdisk_size, 0);
}

static void pvh_gets_its_own_description(void **state)
{
	static const uint32_t note[] = { 4, 4, 18, 0x6e6558, KERNEL_AT + 0x10 };
	struct fixture *f = *state;
	struct kernel k = good_elf();
	struct sm_boot_start start;
	const uint32_t *info = (const void *)(f->mem + SM_LAYOUT_PVH_INFO);

	k.eh.e_entry = 0xffffffff81000000;
	put_note(f, &k, note, sizeof(note));
	write_elf(f, &k);
	assert_int_equal(load_all(f, "/proc/self/exe", &start), 0);
	assert_int_equal(start.protocol, SM_BOOT_PVH);
	assert_int_equal(start.entry, KERNEL_AT + 0x10);
	assert_int_equal(start.info, SM_LAYOUT_PVH_INFO);
	assert_int_equal(info[0], 0x336ec578);
	assert_int_equal(info[1], 1);		/* version */
	assert_int_equal(info[3], 1);		/* modules */
	assert_string_equal((char *)f->mem + info[6], "quiet a=b");
	assert_int_equal(info[12], 3);		/* entries of the memory map */
}

static void what_does_not_fit_is_said(void **state)
{
	struct fixture *f = *state;
	struct kernel k = good_elf();
	struct sm_boot_start start;

	k.ph[0].p_memsz = MEMORY - KERNEL_AT;
	write_elf(f, &k);
	assert_int_equal(load_all(f, "/proc/self/exe", &start), -ENOMEM);
	assert_non_null(strstr(sm_err_text(&f->err), "do not fit above the kernel"));
	assert_int_equal(load_all(f, "/none/such", &start), -ENOENT);
	assert_non_null(strstr(sm_err_text(&f->err), "initramfs /none/such"));
	snprintf(f->path, sizeof(f->path), "/dev/null");
	assert_int_equal(load_all(f, NULL, &start), -ENOEXEC);
	assert_non_null(strstr(sm_err_text(&f->err), "is empty or cannot be read"));
}

/* ---- MP table ----------------------------------------------------------------------------------- */

static unsigned int sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void the_mp_table_counts(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p = f->mem + SM_LAYOUT_MP_TABLE;
	const uint8_t irqs[] = { 0, 5, 6 };

	for (unsigned int n = 1; n <= 64; n += 21) {
		const uint8_t *h = p + 16;
		uint16_t len, entries;
		unsigned int cpus = 0, boot = 0;

		assert_int_equal(sm_boot_mp_table(&f->gm, n, 0x61), 0);
		assert_memory_equal(p, "_MP_", 4);
		assert_int_equal(sum(p, 16), 0);
		assert_memory_equal(h, "PCMP", 4);
		memcpy(&len, h + 4, 2);
		memcpy(&entries, h + 34, 2);
		assert_int_equal(sum(h, len), 0);
		assert_int_equal(entries, n + 1 + 1 + 3 + 2);
		assert_int_equal(len, 44 + n * 20 + (entries - n) * 8);
		for (const uint8_t *e = h + 44; *e == 0; e += 20, cpus++) {
			assert_int_equal(e[1], cpus);
			boot += e[3] >> 1 & 1;
		}
		assert_int_equal(cpus, n);
		assert_int_equal(boot, 1);
		for (size_t i = 0; i < sizeof(irqs); i++) {
			const uint8_t *e = h + 44 + n * 20 + 8 + 8 + i * 8;

			assert_int_equal(e[0], 3);
			assert_int_equal(e[5], irqs[i]);
			assert_int_equal(e[7], irqs[i]);
		}
	}
	assert_int_equal(sm_boot_mp_table(&f->gm, 0, 1), -EINVAL);
	assert_int_equal(sm_boot_mp_table(&f->gm, 65, 1), -EINVAL);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(an_elf_with_an_entry_of_its_own),
		T(an_elf_with_a_virtual_entry_goes_by_its_note),
		T(notes_that_lie),
		T(elf_headers_that_make_no_sense),
		T(a_bzimage),
		T(names_of_libkrunfw),
		T(boot_params_say_where_everything_is),
		T(memory_above_the_hole_is_told_of),
		T(pvh_gets_its_own_description),
		T(what_does_not_fit_is_said),
		T(the_mp_table_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
