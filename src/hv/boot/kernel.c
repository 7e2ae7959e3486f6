/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "hv/boot/layout_x86_64.h"

#define PAGE 4096u

void *sm_boot_place(const struct sm_gmem *gm, gpa_t gpa, uint64_t size, const char *path,
		    const char *what, struct sm_err *err)
{
	void *p = gpa >= SM_LAYOUT_HIGH_START ? sm_gmem_ptr(gm, gpa, size) : NULL;

	if (!p)
		sm_err_set(err, -ENOMEM,
			   "kernel %s: its %s (%llu KiB at %#llx) is not within the guest's memory "
			   "above 1 MiB: give the VM more memory, or take another kernel",
			   path, what, (unsigned long long)size >> 10, (unsigned long long)gpa);
	return p;
}

static int load_file(const struct sm_gmem *gm, const char *path, struct sm_boot_kernel *k,
		     struct sm_err *err)
{
	sm_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char magic[4];

	if (fd < 0)
		return sm_err_sys(err, errno, "kernel %s", path);
	if (pread(fd, magic, sizeof(magic), 0) != sizeof(magic))
		return sm_err_set(err, -ENOEXEC, "kernel %s: is empty or cannot be read", path);
	if (memcmp(magic, "\177ELF", 4) == 0)
		return sm_boot_load_elf(gm, fd, path, k, err);
	return sm_boot_load_bzimage(gm, fd, path, k, err);
}

/* As high as it may be, so that the kernel does not have to move it out of its way. */
static int load_initrd(const struct sm_gmem *gm, const char *path, const struct sm_boot_kernel *k,
		       struct sm_boot_modules *m, struct sm_err *err)
{
	sm_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	gpa_t top = gm->region[0].gpa + gm->region[0].size;
	struct stat st;
	uint64_t size;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return sm_err_sys(err, errno, "initramfs %s", path);
	size = (uint64_t)st.st_size;
	if (top - 1 > k->initrd_max)
		top = k->initrd_max + 1;
	if (size > top || ((top - size) & ~(gpa_t)(PAGE - 1)) < k->end)
		return sm_err_set(err, -ENOMEM,
				  "initramfs %s: %llu KiB do not fit above the kernel, which ends at "
				  "%#llx: give the VM more memory",
				  path, (unsigned long long)size >> 10, (unsigned long long)k->end);
	if (!size)
		return 0;
	m->initrd = (top - size) & ~(gpa_t)(PAGE - 1);
	m->initrd_size = size;
	r = sm_read_full(fd, sm_gmem_ptr(gm, m->initrd, size), size);
	return r < 0 ? sm_err_sys(err, r, "initramfs %s", path) : 0;
}

static int put_cmdline(const struct sm_gmem *gm, const char *text, struct sm_boot_modules *m,
		       struct sm_err *err)
{
	size_t len = strlen(text);

	if (len >= SM_LAYOUT_CMDLINE_MAX)
		return sm_err_set(err, -E2BIG,
				  "kernel command line: %zu bytes, must be less than %u", len,
				  SM_LAYOUT_CMDLINE_MAX);
	m->cmdline = SM_LAYOUT_CMDLINE;
	m->cmdline_len = len;
	memcpy(sm_gmem_ptr(gm, m->cmdline, len + 1), text, len + 1);
	return 0;
}

int sm_boot_load(const struct sm_gmem *gm, const struct sm_boot_config *c,
		 struct sm_boot_start *start, struct sm_err *err)
{
	struct sm_boot_kernel k = { .initrd_max = UINT32_MAX };
	struct sm_boot_modules m = { .cmdline_len = 0 };
	int r;

	if (!gm->n || gm->region[0].gpa || gm->region[0].size <= SM_LAYOUT_HIGH_START)
		return sm_err_set(err, -EINVAL, "guest memory must begin at 0 and be over 1 MiB");
	r = sm_boot_is_krunfw(c->kernel) ? sm_boot_load_krunfw(gm, c->kernel, &k, err) :
					   load_file(gm, c->kernel, &k, err);
	if (r == 0 && c->initrd)
		r = load_initrd(gm, c->initrd, &k, &m, err);
	if (r == 0)
		r = put_cmdline(gm, c->cmdline, &m, err);
	if (r < 0)
		return r;
	r = sm_boot_tables(gm, &k, &m, start);
	if (r == 0)
		r = sm_boot_mp_table(gm, c->vcpus, c->irqs);
	return r < 0 ? sm_err_sys(err, r, "boot tables") : 0;
}
