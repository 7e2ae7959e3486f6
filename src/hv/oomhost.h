/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_OOMHOST_H
#define SM_HV_OOMHOST_H

#include "base/err.h"

/*
 * A process killed in the guest for want of memory, made known on the host.
 *
 * Who runs containers learns of such a kill from the host's memory cgroup of the container: an
 * eventfd on memory.oom_control (version 1), memory.events (version 2). There the kernel writes,
 * nobody else. So, when the VM is over and its memory is given back, the cgroup's limit is set low
 * and a helper that lives in it uses more: the kernel kills the helper, which is the first that it
 * would choose, and tells all who wait, before sm-vmm exits.
 *
 * The helper is forked before the jail, is single-threaded, and waits in seccomp's strict mode for
 * one byte: all that sm-vmm in jail, or who took it over, can have it do is this. It ends with
 * sm-vmm.
 */
struct sm_oomhost;

/* dirfd: the cgroup's directory, the caller's still. *o may be NULL on 0: it has no memory limit of
 * its own to set. */
int sm_oomhost_new(int dirfd, struct sm_oomhost **o, struct sm_err *err);

/* Once, when the guest's memory has been freed: returns when the helper was killed, or after 3 s.
 */
void sm_oomhost_tell(struct sm_oomhost *o); /* NULL allowed */

void sm_oomhost_free(struct sm_oomhost *o); /* NULL allowed */

#endif
