/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_JAIL_H
#define SM_HV_JAIL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/*
 * What sm-vmm takes from itself before a guest can say anything to it. The walls, and which test
 * shows each of them, are in docs/threat-model.md.
 *
 *	(files opened, programs started)
 *	sm_jail_enter()		one thread: namespaces, root, limits, capabilities
 *	threads are made	each calls sm_jail_thread() before anything else
 *	sm_jail_thread(LOOP)	last: filters are inherited, and no thread is made from here on
 *
 * Without root's powers the namespaces and the root stay those of the caller; that is logged, and no
 * error.
 */
enum sm_jail_thread {
	SM_JAIL_LOOP,	/* events, vsock, control socket: no capabilities (but see below) */
	SM_JAIL_VCPU,	/* the guest: no capabilities */
	SM_JAIL_FS,	/* serves files: those capabilities that owners and permissions ask for */
	SM_JAIL_THREAD_NUM
};

struct sm_jail_config {
	const char *id;		/* for the record of a forbidden system call */
	bool core_dumps;	/* may leave a core dump and be traced */
	bool binds_privileged;	/* the loop keeps CAP_NET_BIND_SERVICE, if there is one to keep */
};

/* The process must have one thread. On an error nothing may run any more. */
int sm_jail_enter(const struct sm_jail_config *config, struct sm_err *err);

/* Of the calling thread, for good; binds_privileged: of the loop, as in the config. From here on a system call outside the list of its kind writes a
 * record and ends the process with 128 + SIGSYS. 0 or -errno. */
int sm_jail_thread(enum sm_jail_thread kind, bool binds_privileged);

/* For the loop of a VM none of whose ports is a unix socket of the host: it may make none. Before
 * sm_jail_thread(). 0 or -errno. */
int sm_jail_forbid_unix(void);

/* For a program that a backend runs: an empty, read-only directory that is nowhere in the tree, to be
 * its root. A descriptor, or -errno where we may not make one. */
int sm_jail_make_empty_dir(void);

/* In the child, before it executes the program: no network, namespaces of its own in which all file
 * systems are read-only, no core dump, no new privileges, and of capabilities only CAP_SYS_CHROOT, if
 * the program is to change its root by itself once it has opened its files. What we may not do is left
 * out. Async-signal-safe. */
void sm_jail_program(bool changes_root);

/* The lists: each kind, then the system calls it may make, sorted. */
void sm_jail_print(FILE *out);

#endif
