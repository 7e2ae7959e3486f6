/* SPDX-License-Identifier: Apache-2.0 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/boot/boot.h"

/* Documentation/x86/boot.rst. The setup code in front is for real mode and is left out. */
#define HEADER_AT offsetof(struct boot_params, hdr)
#define SECTOR 512u
#define VERSION_MIN 0x020c	/* the first that tells of a 64-bit entry */
#define ENTRY_64 0x200

_Static_assert(sizeof(struct setup_header) <= SM_BOOT_HEADER_MAX, "room for the header");

static int read_header(int fd, const char *path, struct setup_header *h, struct sm_err *err)
{
	ssize_t n = pread(fd, h, sizeof(*h), (off_t)HEADER_AT);

	if (n != (ssize_t)sizeof(*h) || h->boot_flag != 0xaa55 ||
	    memcmp(&h->header, "HdrS", 4) != 0)
		return sm_err_set(err, -ENOEXEC, "kernel %s: neither an ELF vmlinux nor a bzImage",
				  path);
	if (h->version < VERSION_MIN || !(h->xloadflags & XLF_KERNEL_64) ||
	    !(h->loadflags & LOADED_HIGH))
		return sm_err_set(err, -ENOEXEC,
				  "kernel %s: a bzImage without a 64-bit entry (boot protocol "
				  "%u.%02u, 2.12 is needed)",
				  path, h->version >> 8, h->version & 0xff);
	return 0;
}

int sm_boot_load_bzimage(const struct sm_gmem *gm, int fd, const char *path,
			 struct sm_boot_kernel *k, struct sm_err *err)
{
	struct setup_header h;
	uint64_t skip, size;
	struct stat st;
	void *to;
	int r = read_header(fd, path, &h, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return sm_err_sys(err, errno, "kernel %s", path);
	skip = ((h.setup_sects ? h.setup_sects : 4u) + 1u) * SECTOR;
	if ((uint64_t)st.st_size <= skip)
		return sm_err_set(err, -ENOEXEC, "kernel %s: cut off behind its setup code", path);
	size = (uint64_t)st.st_size - skip;
	/* It unpacks itself in place: init_size is what it needs from pref_address on. */
	to = sm_boot_place(gm, h.pref_address, size > h.init_size ? size : h.init_size, path,
			   "image while it unpacks", err);
	if (!to)
		return -ENOMEM;
	if (pread(fd, to, size, (off_t)skip) != (ssize_t)size)
		return sm_err_set(err, -ENOEXEC, "kernel %s: cannot be read whole", path);
	k->protocol = SM_BOOT_LINUX64;
	k->entry = h.pref_address + ENTRY_64;
	k->end = h.pref_address + (size > h.init_size ? size : h.init_size);
	k->initrd_max = h.initrd_addr_max;
	k->header_len = sizeof(h);
	memcpy(k->header, &h, sizeof(h));
	return 0;
}
