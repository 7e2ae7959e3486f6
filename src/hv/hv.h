/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_HV_H
#define SM_HV_HV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "virtio/device.h"

/*
 * What a backend offers: a machine with our devices in it.
 *
 *	create ──► add_device … ──► load ──► boot ──► (the guest runs) ──► ended()
 *	                                       └────► stop ──────────────────┘
 *
 * load() is the last call that may open files and start programs, boot() the one that starts threads:
 * between them the process goes to jail. The backend owns the transports of the devices, not the
 * devices. ended() runs once after a boot that returned 0, on the loop's thread, when the machine is
 * over for whatever reason: the guest reset itself, stop() was called, the backend broke. Only free()
 * is allowed then.
 */
struct sm_hv;

struct sm_hv_config {
	const char *kernel;		/* vmlinux */
	const char *initrd;		/* cpio */
	const char *cmdline;		/* appended to what the backend needs; may be NULL */
	unsigned int vcpus;
	unsigned int memory_mib;
	const char *qemu;		/* the program, for the qemu backend */
	int console_fd;			/* one end of a stream socket: guest console output goes in; the
					 * backend's once create() returned 0 */
	/* kvm only */
	bool hugepages;			/* guest memory in 2 MiB pages of the host's pool */
	bool serial;			/* an 8250 for messages before virtio, into the console too */
	/* Called by each thread that boot() makes, first of all; not 0: the machine is over. NULL allowed. */
	int (*thread_started)(void *arg);
	void *thread_arg;
};

/* why: text for people, "the guest ended the VM", never NULL. */
typedef void sm_hv_ended_fn(void *arg, const char *why);

struct sm_hv_ops {
	const char *name;
	int (*create)(struct sm_loop *loop, const struct sm_hv_config *config,
		      sm_hv_ended_fn *ended, void *arg, struct sm_hv **hv, struct sm_err *err);
	int (*add_device)(struct sm_hv *hv, struct sm_vdev *dev, struct sm_err *err);
	int (*load)(struct sm_hv *hv, struct sm_err *err);
	int (*boot)(struct sm_hv *hv, struct sm_err *err);
	/* The guest stands still when pause() returns 0, and until resume(); the devices do not, nor
	 * do the guest's clocks: it finds that time has passed, as what a cgroup freezer stopped
	 * does. Each only when the other came before, or boot(). ended() may run within pause(),
	 * which then fails. */
	int (*pause)(struct sm_hv *hv);
	int (*resume)(struct sm_hv *hv);
	void (*stop)(struct sm_hv *hv);	/* at once; ended() follows */
	void (*free)(struct sm_hv *hv);	/* stops what still runs; NULL allowed */
};

extern const struct sm_hv_ops sm_hv_qemu, sm_hv_kvm;

#endif
