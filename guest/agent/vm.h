/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_VM_H
#define SM_GUEST_VM_H

#include "base/err.h"
#include "guest/agent/guest.h"

/*
 * What the VM itself needs:
 *
 *	settle	while the connection to the host is made: mounts, controllers, limits
 *	prepare	before the first container: the other CPUs, and the shares, which may be
 *		attached after a restore
 *	raise	when the first container was created: the loopback interface, which only its
 *		program needs and its hooks
 *
 * Each is done once, and outside a VM (tests) not at all.
 */
void sm_vm_settle(struct sm_guest *g);
int sm_vm_prepare(struct sm_guest *g, struct sm_err *err);
void sm_vm_raise_loopback(struct sm_guest *g);

/* Sets the wall clock; 0: leave it. */
void sm_vm_set_clock(const struct sm_guest *g, uint64_t realtime_ns);

/* Sets it where it is wrong by more than messages are late; a clock that is right is not to jump. */
void sm_vm_correct_clock(const struct sm_guest *g, uint64_t realtime_ns);

/* Ends the VM, or outside of one the program. */
void sm_vm_end(const struct sm_guest *g) __attribute__((noreturn));

#endif
