/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_DEVBPF_H
#define SM_GUEST_DEVBPF_H

#include <linux/bpf.h>
#include <stddef.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"

/*
 * The device rules of a container as a BPF_PROG_TYPE_CGROUP_DEVICE program. Each of the three kinds
 * of access (mknod, read, write) is decided by the last rule that names the device and that access;
 * where none does it is refused.
 */
#define SM_DEVBPF_RULES_MAX 256
#define SM_DEVBPF_INSNS_MAX (8 + 8 * SM_DEVBPF_RULES_MAX)

/* Fills insns (room for SM_DEVBPF_INSNS_MAX); their number, or -EINVAL for rules that make no sense
 * or are too many. */
int sm_devbpf_generate(Supermachine__Agent__V1__DeviceRule *const *rules, size_t nrules,
		       struct bpf_insn *insns);

/* Loads the program and attaches it to the cgroup. */
int sm_devbpf_attach(int cgroup_fd, Supermachine__Agent__V1__DeviceRule *const *rules,
		     size_t nrules, struct sm_err *err);

#endif
