/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "virtio/gmem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a region of these bounds belongs in the table, -EINVAL if it overlaps another. */
static int place(const struct sm_gmem *gm, gpa_t gpa, uint64_t size)
{
	size_t at = 0;

	while (at < gm->n && gm->region[at].gpa < gpa)
		at++;
	if (at > 0 && gpa - gm->region[at - 1].gpa < gm->region[at - 1].size)
		return -EINVAL;
	if (at < gm->n && gm->region[at].gpa - gpa < size)
		return -EINVAL;
	return (int)at;
}

static int insert(struct sm_gmem *gm, const struct sm_gmem_region *r)
{
	int at;

	if (!r->size || r->gpa + (r->size - 1) < r->gpa)
		return -EINVAL;
	if (gm->n == SM_GMEM_REGIONS_MAX)
		return -ENOSPC;
	at = place(gm, r->gpa, r->size);
	if (at < 0)
		return at;
	memmove(&gm->region[at + 1], &gm->region[at], (gm->n - (size_t)at) * sizeof(*r));
	gm->region[at] = *r;
	gm->n++;
	return 0;
}

int sm_gmem_add(struct sm_gmem *gm, gpa_t gpa, uint64_t size, void *host)
{
	return insert(gm, &(struct sm_gmem_region){ .gpa = gpa, .size = size, .host = host });
}

/* #syscalls:loop fstat newfstatat mmap(2&PROT_EXEC=0) munmap */
int sm_gmem_map(struct sm_gmem *gm, gpa_t gpa, uint64_t size, int fd, uint64_t offset)
{
	uint64_t slack = offset & ((uint64_t)sysconf(_SC_PAGESIZE) - 1);
	struct sm_gmem_region r = { .gpa = gpa, .size = size, .shared = true };
	struct stat st;
	uint64_t end;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!size || __builtin_add_overflow(offset, size, &end) || end > (uint64_t)st.st_size)
		return -EINVAL;
	r.map_size = size + slack;
	r.map = mmap(NULL, r.map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		     (off_t)(offset - slack));
	if (r.map == MAP_FAILED)
		return -errno;
	r.host = (uint8_t *)r.map + slack;
	err = insert(gm, &r);
	if (err < 0)
		munmap(r.map, r.map_size);
	return err;
}

void sm_gmem_clear(struct sm_gmem *gm)
{
	for (size_t i = 0; i < gm->n; i++) {
		if (gm->region[i].map)
			munmap(gm->region[i].map, gm->region[i].map_size);
	}
	*gm = (struct sm_gmem){ .n = 0 };
}

/* The region that holds gpa, NULL if none. The table is short and mostly one entry. */
static const struct sm_gmem_region *find(const struct sm_gmem *gm, gpa_t gpa)
{
	for (size_t i = 0; i < gm->n; i++) {
		if (gpa - gm->region[i].gpa < gm->region[i].size)
			return &gm->region[i];
	}
	return NULL;
}

void *sm_gmem_ptr(const struct sm_gmem *gm, gpa_t gpa, uint64_t len)
{
	const struct sm_gmem_region *r = find(gm, gpa);

	if (!r || !len || len > r->size - (gpa - r->gpa))
		return NULL;
	return r->host + (gpa - r->gpa);
}

int sm_gmem_iov(const struct sm_gmem *gm, gpa_t gpa, uint64_t len, struct iovec *iov, int max)
{
	int n = 0;

	if (!len)
		return -EFAULT;
	while (len) {
		const struct sm_gmem_region *r = find(gm, gpa);
		uint64_t part;

		if (!r || n == max)
			return -EFAULT;
		part = r->size - (gpa - r->gpa);
		if (part > len)
			part = len;
		iov[n++] = (struct iovec){ r->host + (gpa - r->gpa), (size_t)part };
		len -= part;
		gpa += part;
		if (len && !gpa) /* past the end of the address space */
			return -EFAULT;
	}
	return n;
}

/* The region that holds all of [ptr, ptr + len), NULL if none. */
static const struct sm_gmem_region *find_ptr(const struct sm_gmem *gm, const void *ptr, size_t len)
{
	for (size_t i = 0; i < gm->n; i++) {
		const struct sm_gmem_region *r = &gm->region[i];
		uint64_t off = (uintptr_t)ptr - (uintptr_t)r->host;

		if (off < r->size && len <= r->size - off)
			return r;
	}
	return NULL;
}

int sm_gmem_discard_ptr(const struct sm_gmem *gm, void *ptr, size_t len)
{
	const struct sm_gmem_region *r = find_ptr(gm, ptr, len);
	size_t mask = (size_t)sysconf(_SC_PAGESIZE) - 1;
	size_t skip = -(uintptr_t)ptr & mask; /* to the first whole page */

	if (!r || !len)
		return -EFAULT;
	if (len < skip || !((len - skip) & ~mask))
		return 0;
	/* #syscalls:loop madvise */
	/* Letting go of a shared page would leave it in its file: punch a hole there. */
	if (madvise((uint8_t *)ptr + skip, (len - skip) & ~mask,
		    r->shared ? MADV_REMOVE : MADV_DONTNEED) < 0)
		return -errno;
	return 0;
}

int sm_gmem_discard(const struct sm_gmem *gm, gpa_t gpa, uint64_t len)
{
	struct iovec iov[SM_GMEM_REGIONS_MAX];
	int n = sm_gmem_iov(gm, gpa, len, iov, SM_GMEM_REGIONS_MAX);
	int r = n < 0 ? n : 0;

	for (int i = 0; i < n && r == 0; i++)
		r = sm_gmem_discard_ptr(gm, iov[i].iov_base, iov[i].iov_len);
	return r;
}
