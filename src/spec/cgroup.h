/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_CGROUP_H
#define SM_SPEC_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "spec/config.h"

/*
 * linux.resources as files of cgroup v2 and their values, in the order in which to write them.
 *
 * Guest: what has to be exact for the workload: memory.*, pids.max, and the unified keys of these
 * controllers. Host: what concerns the VM as a whole: cpu.*, cpuset.*, io.*, rdma.*, hugetlb.* and
 * the other unified keys; memory.max is the limit plus `overhead` bytes for guest kernel and VMM;
 * memory.swap.max, because the guest has no swap.
 */
enum sm_cgroup_side { SM_CGROUP_GUEST, SM_CGROUP_HOST };

/* *files is allocated in the arena. 0 or -ENOMEM. */
int sm_cgroup_files(const struct sm_resources *resources, enum sm_cgroup_side side,
		    uint64_t overhead, struct sm_arena *arena, struct sm_pairs *files,
		    struct sm_err *err);

/* runc's conversions: cpu.shares 2..262144 to cpu.weight 1..10000, blkio.weight 10..1000 to
 * io.weight 1..10000. 0 (unset) stays 0. */
uint64_t sm_cgroup_cpu_weight(uint64_t shares);
uint64_t sm_cgroup_io_weight(uint64_t weight);

#endif
