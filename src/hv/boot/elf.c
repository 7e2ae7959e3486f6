/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An uncompressed kernel. Linux's vmlinux says with e_entry where the 64-bit boot protocol enters, as a
 * physical address; other kernels have a virtual one there and say in a note where PVH enters.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clean.h"
#include "hv/boot/boot.h"

#define SEGMENTS_MAX 64
#define NOTES_MAX (64u << 10)
#define XEN_ELFNOTE_PHYS32_ENTRY 18	/* Xen's public/elfnote.h */

static int pread_full(int fd, void *data, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (uint8_t *)data + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

static int read_headers(int fd, const char *path, Elf64_Ehdr *eh, Elf64_Phdr *ph, struct sm_err *err)
{
	if (pread_full(fd, eh, sizeof(*eh), 0) < 0 || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_ident[EI_DATA] != ELFDATA2LSB || eh->e_machine != EM_X86_64 ||
	    eh->e_type != ET_EXEC)
		return sm_err_set(err, -ENOEXEC,
				  "kernel %s: an ELF file, but not an executable for x86_64", path);
	if (eh->e_phentsize != sizeof(*ph) || !eh->e_phnum || eh->e_phnum > SEGMENTS_MAX ||
	    pread_full(fd, ph, eh->e_phnum * sizeof(*ph), eh->e_phoff) < 0)
		return sm_err_set(err, -ENOEXEC,
				  "kernel %s: its program headers (%u of %u bytes) make no sense",
				  path, eh->e_phnum, eh->e_phentsize);
	return 0;
}

static int load_segment(const struct sm_gmem *gm, int fd, const char *path, const Elf64_Phdr *p,
			struct sm_boot_kernel *k, struct sm_err *err)
{
	void *to;
	int r;

	if (!p->p_memsz)
		return 0;
	if (p->p_filesz > p->p_memsz)
		return sm_err_set(err, -ENOEXEC, "kernel %s: a segment is longer in the file than "
				  "in memory", path);
	to = sm_boot_place(gm, p->p_paddr, p->p_memsz, path, "segment", err);
	if (!to)
		return -ENOMEM;
	r = pread_full(fd, to, p->p_filesz, p->p_offset);
	if (r < 0)
		return sm_err_set(err, -ENOEXEC, "kernel %s: cut off within a segment", path);
	if (p->p_paddr + p->p_memsz > k->end)
		k->end = p->p_paddr + p->p_memsz;
	return 0;
}

static bool enters_by_address(const Elf64_Ehdr *eh, const Elf64_Phdr *ph)
{
	for (unsigned int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && eh->e_entry - ph[i].p_paddr < ph[i].p_memsz)
			return true;
	return false;
}

/* ELF notes are 4-byte aligned: name and descriptor are padded to that. */
static bool find_pvh_note(const uint8_t *notes, size_t len, uint32_t *entry)
{
	Elf64_Nhdr n;
	size_t at = 0;

	while (len - at >= sizeof(n)) {
		size_t name, desc;

		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		if (n.n_namesz > len || n.n_descsz > len)
			return false;
		name = (n.n_namesz + 3ul) & ~3ul;
		desc = (n.n_descsz + 3ul) & ~3ul;
		if (name + desc > len - at)
			return false;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    memcmp(notes + at, "Xen", 4) == 0 && n.n_descsz >= sizeof(*entry)) {
			memcpy(entry, notes + at + name, sizeof(*entry));
			return true;
		}
		at += name + desc;
	}
	return false;
}

static bool pvh_entry(int fd, const Elf64_Ehdr *eh, const Elf64_Phdr *ph, uint32_t *entry)
{
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		sm_auto_free uint8_t *notes = NULL;

		if (ph[i].p_type != PT_NOTE || !ph[i].p_filesz || ph[i].p_filesz > NOTES_MAX)
			continue;
		notes = malloc(ph[i].p_filesz);
		if (notes && pread_full(fd, notes, ph[i].p_filesz, ph[i].p_offset) == 0 &&
		    find_pvh_note(notes, ph[i].p_filesz, entry))
			return true;
	}
	return false;
}

int sm_boot_load_elf(const struct sm_gmem *gm, int fd, const char *path, struct sm_boot_kernel *k,
		     struct sm_err *err)
{
	Elf64_Phdr ph[SEGMENTS_MAX];
	uint32_t pvh = 0;
	Elf64_Ehdr eh;
	int r = read_headers(fd, path, &eh, ph, err);

	for (unsigned int i = 0; r == 0 && i < eh.e_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			r = load_segment(gm, fd, path, &ph[i], k, err);
	if (r < 0)
		return r;
	if (enters_by_address(&eh, ph)) {
		k->protocol = SM_BOOT_LINUX64;
		k->entry = eh.e_entry;
	} else if (pvh_entry(fd, &eh, ph, &pvh)) {
		k->protocol = SM_BOOT_PVH;
		k->entry = pvh;
	} else {
		return sm_err_set(err, -ENOEXEC, "kernel %s: neither its entry point is in one of "
				  "its segments nor has it a PVH note", path);
	}
	return 0;
}
