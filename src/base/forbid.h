/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_FORBID_H
#define SM_BASE_FORBID_H

#include <linux/filter.h>
#include <stddef.h>

/*
 * Filters of system calls, and the record of a call that one of them forbids: a line on standard
 * error, then the end of the process with 128 + SIGSYS.
 *
 *	level=error msg="sm-vmm: web1: loop thread: forbidden system call 59 (execve): ending the
 *VM"
 */

/* While there is one thread. who: "sm-vmm: web1"; ending: "ending the VM", for good; names: of
 * system calls, by number, for good, with gaps. 0 or -errno. */
int sm_forbid_record(const char *who, const char *ending, const char *const *names, size_t n);

/* What the record calls the calling thread; of a process whose threads don't differ: never. */
void sm_forbid_kind(const char *kind);

/* For the calling thread and what it makes, for good. Needs no new privileges set. 0 or -errno. */
int sm_forbid_load(const struct sock_filter *code, unsigned short len);

#endif
