/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_KVM_MACHINE_H
#define SM_HV_KVM_MACHINE_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "dev/balloon.h"
#include "dev/console.h"
#include "dev/rng.h"
#include "dev/serial.h"
#include "hv/boot/boot.h"
#include "hv/hv.h"
#include "virtio/gmem.h"
#include "virtio/mmio.h"

/*
 * A machine of the kvm backend, as its parts see it. The rest of sm-vmm sees hv.h.
 *
 *	loop thread			vCPU thread × n
 *	devices, ended()  ◄── calls ──	KVM_RUN ─► exit ─► bus ─► mmio register, port
 *	   ▲                               │
 *	   └─────────── end_fd ────────────┘  the machine is over
 *
 * The loop thread makes everything and frees it. A vCPU thread reads `bus`, `mem` and `config`, which do
 * not change while it runs, and writes what the lock guards.
 */
#define SM_KVM_DEVICES_MAX 8
#define SM_KVM_WHY_MAX 160

struct sm_kvm_slot {		/* a virtio-mmio window */
	struct sm_vdev *dev;
	struct sm_mmio *mmio;
	struct sm_hv *hv;
	pthread_mutex_t irq_lock;	/* from the interrupt's edge to its fall */
	int irq_fd;			/* of a threaded device, else -1 */
};

struct sm_kvm_vcpu {
	struct sm_hv *hv;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	struct kvm_coalesced_mmio_ring *ring;	/* the VM's, seen through this vCPU; NULL: KVM has none */
	pthread_t thread;
	bool started;		/* thread is valid */
};

/* A function that a vCPU wants to have run by the loop's thread; lives on the vCPU's stack. */
struct sm_kvm_call {
	struct sm_kvm_call *next;
	void (*fn)(void *arg);
	void *arg;
	bool done;
};

struct sm_hv {
	struct sm_loop *loop;
	struct sm_hv_config config;
	sm_hv_ended_fn *ended;
	void *arg;

	int kvm, vm;
	pthread_t maker;		/* makes vm meanwhile; valid if making */
	bool making;
	int make_error;			/* errno of KVM_CREATE_VM */
	struct sm_gmem mem;
	void *map;			/* all of guest memory, aligned */
	size_t map_size;
	void *mapping;			/* what it is part of */
	size_t mapping_size;
	struct sm_kvm_slot bus[SM_KVM_DEVICES_MAX];
	unsigned int nslots;
	struct sm_boot_start start;
	int ring_page;			/* KVM_CAP_COALESCED_MMIO: page of the ring in a vCPU's mapping, or 0 */
	struct sm_kvm_vcpu *vcpu;	/* config.vcpus of them */

	struct sm_vcon *console;
	struct sm_rng *rng;
	struct sm_balloon *balloon;
	struct sm_serial *serial;	/* NULL unless asked for */

	int end_fd, call_fd;		/* eventfds, watched by the loop */
	struct sm_io *end_io, *call_io;

	atomic_bool stopping;		/* vCPU threads end as soon as they see it */
	atomic_bool paused;
	pthread_mutex_t ring_lock;	/* guards `first` of the coalesced MMIO ring */
	pthread_mutex_t lock;		/* guards what follows */
	pthread_cond_t changed;
	struct sm_kvm_call *calls, **calls_end;
	unsigned int resting;		/* vCPU threads that are parked */
	char why[SM_KVM_WHY_MAX];	/* the machine is over because …; "" before */
};

/* memory.c */
int sm_kvm_memory_new(struct sm_hv *hv, struct sm_err *err);
int sm_kvm_memory_set(struct sm_hv *hv, struct sm_err *err);	/* the slots of hv->vm */
void sm_kvm_memory_free(struct sm_hv *hv);

/* bus.c: devices and ports. An access is answered whatever it is.
 *
 * Writes to InterruptACK, one for each interrupt, and to the registers that a driver sets up features and
 * queues with do not get to us one by one: KVM keeps them in a ring (Documentation/virt/kvm/api.rst, 4.116)
 * until some vCPU leaves the guest for another reason, and then they come first, in their order. That is soon
 * enough, since what they say is only looked at when another register is read or written, which does that. */
int sm_kvm_bus_add(struct sm_hv *hv, struct sm_vdev *dev, struct sm_err *err);
int sm_kvm_bus_wire(struct sm_hv *hv, struct sm_err *err);	/* after the interrupt chips */
void sm_kvm_bus_free(struct sm_hv *hv);
void sm_kvm_bus_mmio(struct sm_hv *hv, uint64_t gpa, void *data, size_t len, bool write);
void sm_kvm_bus_drain(struct sm_hv *hv, struct kvm_coalesced_mmio_ring *ring); /* with hv->ring_lock */
/* false: the guest asked for the end of the machine */
bool sm_kvm_bus_port(struct sm_hv *hv, uint16_t port, void *data, size_t len, bool write);
/* The words that tell a kernel of the windows; a fresh string, NULL: no memory. */
char *sm_kvm_bus_cmdline(const struct sm_hv *hv);
uint32_t sm_kvm_bus_irqs(const struct sm_hv *hv);

/* calls.c: from vCPU threads to the loop's. Signature of sm_mmio_config.call; `hv` is a struct sm_hv. */
void sm_kvm_call(void *hv, void (*fn)(void *arg), void *arg);
/* Both with the lock held, which serve() drops while a function runs. */
void sm_kvm_calls_serve(struct sm_hv *hv);	/* by the loop's thread */
void sm_kvm_calls_drop(struct sm_hv *hv);	/* stopping is set: nobody waits any longer */

/* vcpu.c */
int sm_kvm_vcpus_new(struct sm_hv *hv, struct sm_err *err);	/* after memory and interrupt chips */
int sm_kvm_vcpus_start(struct sm_hv *hv, struct sm_err *err);	/* threads; they run at once */
void sm_kvm_vcpus_join(struct sm_hv *hv);	/* stopping is set: ends them */
void sm_kvm_vcpus_free(struct sm_hv *hv);
void sm_kvm_vcpus_kick(struct sm_hv *hv);	/* out of KVM_RUN, to look at the flags */

/* The machine is over; the first reason counts. Any thread. */
void sm_kvm_end(struct sm_hv *hv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* arch_x86_64.c, cpuid_x86_64.c: what differs from machine to machine */
int sm_kvm_arch_vm(struct sm_hv *hv, struct sm_err *err);	/* interrupt chips; memory is set */
int sm_kvm_arch_vcpu(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err);
int sm_kvm_arch_reset(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err); /* the first one */
void sm_kvm_arch_resumed(const struct sm_kvm_vcpu *v);	/* by its thread, which was parked */
void sm_kvm_arch_dump(const struct sm_kvm_vcpu *v);	/* registers to the log */
int sm_kvm_cpuid_set(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err);

#endif
