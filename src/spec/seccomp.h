/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_SECCOMP_H
#define SM_SPEC_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "spec/config.h"

/* A compiled linux.seccomp: an array of struct sock_filter for a native x86_64 kernel. */
struct sm_seccomp_filter {
	uint8_t *bpf;		/* NULL: the profile filters nothing */
	size_t len;
	uint32_t flags;		/* SECCOMP_FILTER_FLAG_* for seccomp(2) */
};

/* Free filter->bpf with free(3). Syscalls that this libseccomp does not know are skipped, as runc
 * does: a kernel that old profiles were not written for must not fail them. */
int sm_seccomp_compile(const struct sm_seccomp *profile, struct sm_seccomp_filter *filter,
		       struct sm_err *err);

/* filter->flags of a profile. */
uint32_t sm_seccomp_flags(const struct sm_seccomp *profile);

/* The words that profiles may use, for `features`. */
extern const struct sm_word sm_seccomp_action_words[];
extern const struct sm_word sm_seccomp_op_words[];
extern const struct sm_word sm_seccomp_arch_words[];
extern const struct sm_word sm_seccomp_flag_words[];

/* Whether an action is more than known. */
bool sm_seccomp_action_supported(uint64_t action);

/* The version of libseccomp, "2.5.4". */
void sm_seccomp_library(char *text, size_t size);

#endif
