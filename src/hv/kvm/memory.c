/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guest memory is one private anonymous mapping, cut in two by the hole below 4 GiB. The devices are in
 * this process, so nobody else needs to map it; pages come when they are touched and go when the
 * balloon says so.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hv/boot/layout_x86_64.h"
#include "hv/kvm/machine.h"

#define HUGE_PAGE ((size_t)2 << 20)

/* Aligned so that what is a huge page to the guest can be one to the host: KVM then maps 2 MiB at each
 * fault. What is too much stays mapped and untouched: cutting it off costs more than it. */
static void *map_aligned(struct sm_hv *hv, int flags)
{
	size_t slack = flags & MAP_HUGETLB ? 0 : HUGE_PAGE;
	uint8_t *p = mmap(NULL, hv->map_size + slack, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	hv->mapping = p;
	hv->mapping_size = hv->map_size + slack;
	return slack ? p + (-(uintptr_t)p & (HUGE_PAGE - 1)) : p;
}

static int map_memory(struct sm_hv *hv, struct sm_err *err)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	hv->map_size = (size_t)hv->config.memory_mib << 20;
	if (hv->config.hugepages)
		hv->map_size = (hv->map_size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	/* Huge pages are reserved now: one that is missing later would be a SIGBUS. */
	flags |= hv->config.hugepages ? MAP_HUGETLB | 21 << MAP_HUGE_SHIFT : MAP_NORESERVE;
	hv->map = map_aligned(hv, flags);
	if (!hv->map)
		return sm_err_sys(err, errno, "guest memory: %u MiB%s", hv->config.memory_mib,
				  hv->config.hugepages ? " of 2 MiB pages (see "
							 "/proc/sys/vm/nr_hugepages)" : "");
	madvise(hv->map, hv->map_size, MADV_DONTDUMP);
	madvise(hv->map, hv->map_size, MADV_HUGEPAGE);
	return 0;
}

static int add_regions(struct sm_hv *hv)
{
	uint64_t low = hv->map_size < SM_LAYOUT_HOLE_START ? hv->map_size : SM_LAYOUT_HOLE_START;
	int r = sm_gmem_add(&hv->mem, 0, low, hv->map);

	if (r == 0 && hv->map_size > low)
		r = sm_gmem_add(&hv->mem, SM_LAYOUT_HOLE_END, hv->map_size - low,
				(uint8_t *)hv->map + low);
	return r;
}

int sm_kvm_memory_new(struct sm_hv *hv, struct sm_err *err)
{
	int r = map_memory(hv, err);

	if (r < 0)
		return r;
	r = add_regions(hv);
	return r < 0 ? sm_err_sys(err, r, "guest memory") : 0;
}

int sm_kvm_memory_set(struct sm_hv *hv, struct sm_err *err)
{
	for (uint32_t i = 0; i < hv->mem.n; i++) {
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = hv->mem.region[i].gpa,
			.memory_size = hv->mem.region[i].size,
			.userspace_addr = (uintptr_t)hv->mem.region[i].host,
		};

		if (ioctl(hv->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
			return sm_err_sys(err, errno, "KVM_SET_USER_MEMORY_REGION at %#llx",
					  (unsigned long long)region.guest_phys_addr);
	}
	return 0;
}

void sm_kvm_memory_free(struct sm_hv *hv)
{
	sm_gmem_clear(&hv->mem);
	if (hv->mapping)
		munmap(hv->mapping, hv->mapping_size);
	hv->mapping = hv->map = NULL;
}
