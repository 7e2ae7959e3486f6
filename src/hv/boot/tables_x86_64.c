/* SPDX-License-Identifier: Apache-2.0 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "hv/boot/boot.h"
#include "hv/boot/layout_x86_64.h"

/* Linux's <asm/e820.h> and <xen/…/start_info.h> are not among the exported headers everywhere. */
#define E820_RAM 1
#define E820_RESERVED 2
#define RNG_SEED_TYPE 9		/* SETUP_RNG_SEED, Linux 6.0 */
#define RNG_SEED_LEN 32
#define LOADER_UNDEFINED 0xff
#define KERNEL_ALIGNMENT 0x1000000u

#define PVH_MAGIC 0x336ec578u
#define PVH_VERSION 1

#define PTE_PRESENT 1ull
#define PTE_WRITE 2ull
#define PTE_HUGE 0x80ull
#define MIB2 (2ull << 20)

struct range {
	gpa_t start, end;
	uint32_t type;
};

struct seed {			/* struct setup_data with its data */
	uint64_t next;
	uint32_t type, len;
	uint8_t bytes[RNG_SEED_LEN];
};
_Static_assert(offsetof(struct seed, bytes) == offsetof(struct setup_data, data), "the same shape");

struct pvh_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct pvh_module {
	uint64_t paddr, size, cmdline, reserved;
};

struct pvh_memory {
	uint64_t addr, size;
	uint32_t type, reserved;
};

#define RANGES_MAX (SM_GMEM_REGIONS_MAX + 2)

/* Memory as the kernel is told of it, whatever the protocol. */
static size_t memory_map(const struct sm_gmem *gm, struct range *r)
{
	size_t n = 0;

	r[n++] = (struct range){ 0, SM_LAYOUT_LOW_END, E820_RAM };
	r[n++] = (struct range){ SM_LAYOUT_LOW_END, SM_LAYOUT_HIGH_START, E820_RESERVED };
	for (size_t i = 0; i < gm->n; i++)
		r[n++] = (struct range){ i ? gm->region[i].gpa : SM_LAYOUT_HIGH_START,
					 gm->region[i].gpa + gm->region[i].size, E820_RAM };
	return n;
}

/* The selectors that the protocols ask for: flat code at 0x10 and data at 0x18. */
static int put_gdt(const struct sm_gmem *gm, enum sm_boot_protocol protocol)
{
	uint64_t gdt[4] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
	void *to = sm_gmem_ptr(gm, SM_LAYOUT_GDT, sizeof(gdt));

	if (!to)
		return -EFAULT;
	if (protocol == SM_BOOT_PVH)
		gdt[2] = 0x00cf9b000000ffff;	/* 32-bit code */
	memcpy(to, gdt, sizeof(gdt));
	return 0;
}

static int put_page_tables(const struct sm_gmem *gm)
{
	uint64_t *pml4 = sm_gmem_ptr(gm, SM_LAYOUT_PML4, 3 * 4096);

	if (!pml4)
		return -EFAULT;
	pml4[0] = (SM_LAYOUT_PML4 + 4096) | PTE_PRESENT | PTE_WRITE;
	pml4[512] = (SM_LAYOUT_PML4 + 2 * 4096) | PTE_PRESENT | PTE_WRITE;
	for (unsigned int i = 0; i < 512; i++)
		pml4[1024 + i] = i * MIB2 | PTE_PRESENT | PTE_WRITE | PTE_HUGE;
	return 0;
}

/* Spares the guest its wait for entropy: the kernel believes what its loader says. */
static int put_seed(const struct sm_gmem *gm)
{
	struct seed seed = { .type = RNG_SEED_TYPE, .len = RNG_SEED_LEN };
	void *to = sm_gmem_ptr(gm, SM_LAYOUT_SETUP_DATA, sizeof(seed));

	if (!to)
		return -EFAULT;
	if (getrandom(seed.bytes, sizeof(seed.bytes), 0) != sizeof(seed.bytes))
		return -EIO;
	memcpy(to, &seed, sizeof(seed));
	return 0;
}

static int put_boot_params(const struct sm_gmem *gm, const struct sm_boot_kernel *k,
			   const struct sm_boot_modules *m)
{
	struct boot_params *bp = sm_gmem_ptr(gm, SM_LAYOUT_BOOT_PARAMS, sizeof(*bp));
	struct range map[RANGES_MAX];
	size_t n = memory_map(gm, map);
	int r = put_seed(gm);

	if (!bp)
		return -EFAULT;
	if (r < 0)
		return r;
	memcpy(&bp->hdr, k->header, k->header_len);
	if (!k->header_len) {
		bp->hdr.boot_flag = 0xaa55;
		memcpy(&bp->hdr.header, "HdrS", 4);
		bp->hdr.version = 0x020c;
		bp->hdr.kernel_alignment = KERNEL_ALIGNMENT;
	}
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.cmd_line_ptr = (uint32_t)m->cmdline;
	bp->hdr.cmdline_size = (uint32_t)m->cmdline_len;
	bp->hdr.ramdisk_image = (uint32_t)m->initrd;
	bp->hdr.ramdisk_size = (uint32_t)m->initrd_size;
	bp->hdr.setup_data = SM_LAYOUT_SETUP_DATA;
	for (size_t i = 0; i < n; i++)
		bp->e820_table[i] = (struct boot_e820_entry){ map[i].start,
							      map[i].end - map[i].start,
							      map[i].type };
	bp->e820_entries = (uint8_t)n;
	return 0;
}

static int put_pvh_info(const struct sm_gmem *gm, const struct sm_boot_modules *m)
{
	struct {
		struct pvh_info info;
		struct pvh_module module;
		struct pvh_memory map[RANGES_MAX];
	} *p = sm_gmem_ptr(gm, SM_LAYOUT_PVH_INFO, sizeof(*p));
	struct range map[RANGES_MAX];
	size_t n = memory_map(gm, map);

	if (!p)
		return -EFAULT;
	p->info = (struct pvh_info){
		.magic = PVH_MAGIC,
		.version = PVH_VERSION,
		.nr_modules = m->initrd_size ? 1 : 0,
		.modules = SM_LAYOUT_PVH_INFO + sizeof(p->info),
		.cmdline = m->cmdline,
		.memmap = SM_LAYOUT_PVH_INFO + sizeof(p->info) + sizeof(p->module),
		.memmap_entries = (uint32_t)n,
	};
	p->module = (struct pvh_module){ .paddr = m->initrd, .size = m->initrd_size };
	for (size_t i = 0; i < n; i++)
		p->map[i] = (struct pvh_memory){ .addr = map[i].start,
						 .size = map[i].end - map[i].start,
						 .type = map[i].type };
	return 0;
}

int sm_boot_tables(const struct sm_gmem *gm, const struct sm_boot_kernel *k,
		   const struct sm_boot_modules *m, struct sm_boot_start *start)
{
	int r = put_gdt(gm, k->protocol);

	*start = (struct sm_boot_start){ .protocol = k->protocol, .entry = k->entry,
					 .gdt = SM_LAYOUT_GDT };
	if (r < 0)
		return r;
	if (k->protocol == SM_BOOT_PVH) {
		start->info = SM_LAYOUT_PVH_INFO;
		return put_pvh_info(gm, m);
	}
	start->info = SM_LAYOUT_BOOT_PARAMS;
	start->page_tables = SM_LAYOUT_PML4;
	r = put_page_tables(gm);
	return r < 0 ? r : put_boot_params(gm, k, m);
}
