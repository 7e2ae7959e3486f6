/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the guest reaches by addresses that are not memory: the virtio-mmio windows and a few ports.
 * Anything else reads as ones and ignores writes, as an empty bus does.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "base/clean.h"
#include "base/io.h"
#include "hv/boot/layout_x86_64.h"
#include "hv/kvm/machine.h"

#define PORT_SERIAL 0x3f8u
#define PORT_I8042 0x64u
#define IRQ_TIMER 0u
#define IRQ_SERIAL 4u
#define I8042_RESET 0xfeu

/* Offsets in a window (virtio 1.2, 4.2.2). */
#define QUEUE_NOTIFY 0x50u

/* Registers that are written and then not looked at before another one is. Those between them are read
 * only; of QueueReady and Status the driver wants to see the effect. */
static const struct {
	uint32_t offset, size;
} coalesced[] = {
	{ 0x14, 0x28 },	/* DeviceFeaturesSel, DriverFeatures(Sel), QueueSel, QueueNum */
	{ 0x64, 0x4 },	/* InterruptACK */
	{ 0x80, 0x28 },	/* QueueDescLow to QueueDeviceHigh */
};

/* KVM_COALESCED_MMIO_MAX, whose definition needs the kernel's PAGE_SIZE. */
#define RING_MAX \
	((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

static gpa_t window(unsigned int slot)
{
	return SM_LAYOUT_MMIO + (gpa_t)slot * SM_LAYOUT_MMIO_SIZE;
}

static uint32_t interrupt(const struct sm_kvm_slot *s)
{
	return SM_LAYOUT_IRQ_FIRST + (uint32_t)(s - s->hv->bus);
}

/*
 * An edge. KVM raises that of an irqfd in a worker, for its I/O APIC has to be asked: two switches
 * of a thread in the way of each interrupt. Two threads at once would make one edge of two, of which
 * the guest has seen the first already. #syscalls:loop,vcpu ioctl(1=0x4008ae61)
 */
static void raise_interrupt(void *arg)
{
	struct sm_kvm_slot *s = arg;
	struct kvm_irq_level up = { .irq = interrupt(s), .level = 1 };
	struct kvm_irq_level down = { .irq = interrupt(s), .level = 0 };

	/* They fail only for a VM without interrupt chips. */
	pthread_mutex_lock(&s->irq_lock);
	ioctl(s->hv->vm, KVM_IRQ_LINE, &up);
	ioctl(s->hv->vm, KVM_IRQ_LINE, &down);
	pthread_mutex_unlock(&s->irq_lock);
}

static int wire_interrupt(struct sm_hv *hv, unsigned int slot)
{
	struct kvm_irqfd irq = { .fd = (uint32_t)hv->bus[slot].irq_fd,
				 .gsi = interrupt(&hv->bus[slot]) };

	if (hv->bus[slot].irq_fd < 0)
		return 0;
	return ioctl(hv->vm, KVM_IRQFD, &irq) < 0 ? -errno : 0;
}

/* Beside the register: KVM has to decode the instruction that writes to that. */
static int wire_doorbell(struct sm_hv *hv, unsigned int slot, uint32_t queue)
{
	struct kvm_ioeventfd io = {
		.datamatch = queue,
		.addr = SM_LAYOUT_DOORBELLS + 4 * slot,
		.len = 4,
		.fd = sm_mmio_kick_fd(hv->bus[slot].mmio, queue),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO,
	};
	uint32_t id = hv->bus[slot].dev->ops->id;

	if (id != VIRTIO_ID_VSOCK && id != VIRTIO_ID_FS)
		return 0;
	return ioctl(hv->vm, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

static int wire_queue(struct sm_hv *hv, unsigned int slot, uint32_t queue)
{
	struct kvm_ioeventfd io = {
		.datamatch = queue,
		.addr = window(slot) + QUEUE_NOTIFY,
		.len = 4,
		.fd = sm_mmio_kick_fd(hv->bus[slot].mmio, queue),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return ioctl(hv->vm, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

static int coalesce_writes(struct sm_hv *hv, unsigned int slot)
{
	for (size_t i = 0; hv->ring_page && i < SM_ARRAY_SIZE(coalesced); i++) {
		struct kvm_coalesced_mmio_zone zone = {
			.addr = window(slot) + coalesced[i].offset,
			.size = coalesced[i].size,
		};

		if (ioctl(hv->vm, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
			return -errno;
	}
	return 0;
}

int sm_kvm_bus_add(struct sm_hv *hv, struct sm_vdev *dev, struct sm_err *err)
{
	struct sm_kvm_slot *s = &hv->bus[hv->nslots];
	struct sm_mmio_config c = { .dev = dev, .mem = &hv->mem, .call = sm_kvm_call, .arg = hv };
	int r;

	if (hv->nslots == SM_KVM_DEVICES_MAX)
		return sm_err_set(err, -ENOSPC, "kvm: no room for device %s", dev->ops->name);
	s->hv = hv;
	s->irq_fd = dev->ops->threaded ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (dev->ops->threaded && s->irq_fd < 0)
		return sm_err_sys(err, errno, "kvm: device %s", dev->ops->name);
	c.irq_fd = s->irq_fd;
	c.interrupt = dev->ops->threaded ? NULL : raise_interrupt;
	c.interrupt_arg = s;
	r = sm_mmio_new(&c, &s->mmio);
	if (r < 0) {
		sm_close(&s->irq_fd);
		return sm_err_sys(err, r, "kvm: device %s", dev->ops->name);
	}
	pthread_mutex_init(&s->irq_lock, NULL);
	s->dev = dev;
	hv->nslots++;
	return 0;
}

int sm_kvm_bus_wire(struct sm_hv *hv, struct sm_err *err)
{
	for (unsigned int i = 0; i < hv->nslots; i++) {
		const struct sm_vdev_ops *ops = hv->bus[i].dev->ops;
		int r = wire_interrupt(hv, i);

		for (uint32_t q = 0; r == 0 && q < ops->nqueues; q++) {
			r = wire_queue(hv, i, q);
			if (r == 0)
				r = wire_doorbell(hv, i, q);
		}
		if (r == 0)
			r = coalesce_writes(hv, i);
		if (r < 0)
			return sm_err_sys(err, r, "kvm: irqfd and ioeventfds of device %s",
					  ops->name);
	}
	return 0;
}

void sm_kvm_bus_free(struct sm_hv *hv)
{
	for (unsigned int i = 0; i < hv->nslots; i++) {
		sm_mmio_free(hv->bus[i].mmio);
		sm_close(&hv->bus[i].irq_fd);
		pthread_mutex_destroy(&hv->bus[i].irq_lock);
	}
	hv->nslots = 0;
}

void sm_kvm_bus_mmio(struct sm_hv *hv, uint64_t gpa, void *data, size_t len, bool write)
{
	uint64_t off = gpa - SM_LAYOUT_MMIO;

	if (off < (uint64_t)hv->nslots * SM_LAYOUT_MMIO_SIZE)
		sm_mmio_access(hv->bus[off / SM_LAYOUT_MMIO_SIZE].mmio, off % SM_LAYOUT_MMIO_SIZE,
			       data, len, write);
	else if (!write)
		memset(data, 0xff, len);
}

void sm_kvm_bus_drain(struct sm_hv *hv, struct kvm_coalesced_mmio_ring *ring)
{
	const uint32_t size = RING_MAX;
	uint32_t first = ring->first % size;

	while (first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % size) {
		struct kvm_coalesced_mmio m = ring->coalesced_mmio[first];

		if (m.len <= sizeof(m.data))
			sm_kvm_bus_mmio(hv, m.phys_addr, m.data, m.len, true);
		first = (first + 1) % size;
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
	}
}

bool sm_kvm_bus_port(struct sm_hv *hv, uint16_t port, void *data, size_t len, bool write)
{
	uint8_t *byte = data;

	if (hv->serial && port >= PORT_SERIAL && port < PORT_SERIAL + 8 && len == 1) {
		sm_serial_io(hv->serial, (uint16_t)(port - PORT_SERIAL), byte, write);
		return true;
	}
	if (port == PORT_I8042 && write)
		return *byte != I8042_RESET;
	if (!write)
		memset(data, port == PORT_I8042 ? 0 : 0xff, len);
	return true;
}

/* The PIT's is among them for kernels that would take a table without it for a broken one. */
uint32_t sm_kvm_bus_irqs(const struct sm_hv *hv)
{
	uint32_t devices = (1u << hv->nslots) - 1;

	return 1u << IRQ_TIMER | (hv->serial ? 1u << IRQ_SERIAL : 0) |
	       devices << SM_LAYOUT_IRQ_FIRST;
}

char *sm_kvm_bus_cmdline(const struct sm_hv *hv)
{
	char *text = sm_strf(" sm.doorbells=%#x", SM_LAYOUT_DOORBELLS);

	for (unsigned int i = 0; text && i < hv->nslots; i++) {
		char *longer = sm_strf("%s virtio_mmio.device=4K@%#llx:%u", text,
				       (unsigned long long)window(i), SM_LAYOUT_IRQ_FIRST + i);

		free(text);
		text = longer;
	}
	return text;
}
