/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_VM_H
#define SM_GUEST_VM_H

#include "base/err.h"
#include "guest/agent/guest.h"

/*
 * What the VM itself needs, in two steps so that the first message to the host waits for none of it:
 *
 *	settle	after Hello: mounts, controllers, loopback, limits; what a snapshot of the idle guest holds
 *	prepare	before the first container: the shares, which may be attached after a restore
 *
 * Outside a VM (tests) both do nothing.
 */
void sm_vm_settle(struct sm_guest *g);
int sm_vm_prepare(struct sm_guest *g, struct sm_err *err);

/* Sets the wall clock; 0: leave it. */
void sm_vm_set_clock(const struct sm_guest *g, uint64_t realtime_ns);

/* Ends the VM, or outside of one the program. */
void sm_vm_end(const struct sm_guest *g) __attribute__((noreturn));

#endif
