/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The MP table (Intel MultiProcessor Specification 1.4, chapter 4), by which a kernel without ACPI
 * learns of its CPUs and of the I/O APIC.
 *
 *	floating pointer (16) │ header (44) │ CPU (20) × n │ bus │ I/O APIC │ interrupt (8) × n │ local × 2
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "hv/boot/boot.h"
#include "hv/boot/layout_x86_64.h"

#define VCPUS_MAX 64u
#define APIC_VERSION 0x14
#define BUS_ISA 0
#define ALL_CPUS 0xff

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTERRUPT, ENTRY_LOCAL };
enum { TYPE_INT = 0, TYPE_NMI = 1, TYPE_EXTINT = 3 };

struct pointer {
	char signature[4];
	uint32_t table;
	uint8_t length, spec, checksum, features[5];
};

struct header {
	char signature[4];
	uint16_t length;
	uint8_t spec, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
};

struct cpu {
	uint8_t type, apic_id, version, flags;
	uint32_t signature, features, reserved[2];
};

struct bus {
	uint8_t type, id;
	char name[6];
};

struct ioapic {
	uint8_t type, id, version, flags;
	uint32_t address;
};

struct interrupt {		/* of the I/O APIC or, with the same shape, of local ones */
	uint8_t type, kind;
	uint16_t flags;		/* 0: polarity and trigger as the bus has them */
	uint8_t bus, irq, apic, pin;
};

_Static_assert(sizeof(struct pointer) == 16 && sizeof(struct header) == 44 &&
	       sizeof(struct cpu) == 20 && sizeof(struct bus) == 8 &&
	       sizeof(struct ioapic) == 8 && sizeof(struct interrupt) == 8, "as specified");

#define TABLE_MAX (sizeof(struct header) + VCPUS_MAX * sizeof(struct cpu) + \
		   (SM_LAYOUT_IOAPIC_PINS + 4) * sizeof(struct interrupt))

struct table {
	uint8_t data[TABLE_MAX];
	size_t len;
	uint16_t entries;
};

static void add(struct table *t, const void *entry, size_t len)
{
	memcpy(t->data + t->len, entry, len);
	t->len += len;
	t->entries++;
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void add_cpus(struct table *t, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct cpu cpu = {
			.type = ENTRY_CPU,
			.apic_id = (uint8_t)i,
			.version = APIC_VERSION,
			.flags = (uint8_t)(1 | (i == 0 ? 2 : 0)),	/* usable, boots */
			.signature = 0x600,
			.features = 0x201,	/* FPU, APIC */
		};

		add(t, &cpu, sizeof(cpu));
	}
}

/* A kernel sets up each pin that is listed, some eight exits each. */
static void add_interrupts(struct table *t, uint8_t ioapic_id, uint32_t irqs)
{
	struct interrupt in = { .type = ENTRY_INTERRUPT, .bus = BUS_ISA, .apic = ioapic_id };

	for (uint8_t i = 0; i < SM_LAYOUT_IOAPIC_PINS; i++) {
		if (!(irqs >> i & 1))
			continue;
		in.irq = in.pin = i;
		add(t, &in, sizeof(in));
	}
	in = (struct interrupt){ .type = ENTRY_LOCAL, .kind = TYPE_EXTINT, .apic = ALL_CPUS };
	add(t, &in, sizeof(in));
	in.kind = TYPE_NMI;
	in.pin = 1;
	add(t, &in, sizeof(in));
}

int sm_boot_mp_table(const struct sm_gmem *gm, unsigned int vcpus, uint32_t irqs)
{
	struct pointer p = { .signature = "_MP_", .length = 1, .spec = 4 };
	struct header h = { .signature = "PCMP", .spec = 4, .oem = "SUPERMAC",
			    .product = "microVM     ", .lapic = SM_LAYOUT_LAPIC };
	struct bus bus = { .type = ENTRY_BUS, .id = BUS_ISA, .name = "ISA   " };
	struct ioapic io = { .type = ENTRY_IOAPIC, .id = (uint8_t)vcpus, .version = APIC_VERSION,
			     .flags = 1, .address = SM_LAYOUT_IOAPIC };
	struct table t = { .len = sizeof(h) };
	uint8_t *to;

	if (!vcpus || vcpus > VCPUS_MAX)
		return -EINVAL;
	add_cpus(&t, vcpus);
	add(&t, &bus, sizeof(bus));
	add(&t, &io, sizeof(io));
	add_interrupts(&t, io.id, irqs);
	h.length = (uint16_t)t.len;
	h.entries = t.entries;
	memcpy(t.data, &h, sizeof(h));
	h.checksum = checksum(t.data, t.len);
	memcpy(t.data, &h, sizeof(h));
	p.table = SM_LAYOUT_MP_TABLE + sizeof(p);
	p.checksum = checksum(&p, sizeof(p));
	to = sm_gmem_ptr(gm, SM_LAYOUT_MP_TABLE, sizeof(p) + t.len);
	if (!to)
		return -EFAULT;
	memcpy(to, &p, sizeof(p));
	memcpy(to + sizeof(p), t.data, t.len);
	return 0;
}
