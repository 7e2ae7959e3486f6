/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_MOUNT_H
#define SM_SPEC_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/json.h"

#define SM_MOUNT_PROPAGATION_MAX 8

/* What the words of mounts[].options ask for (runtime-spec config.md#linux-mount-options). */
struct sm_mount_options {
	uint64_t flags;		/* MS_*, without propagation; MS_BIND of bind and rbind included */
	uint64_t clear_flags;	/* MS_* that were asked away (rw, suid, dev…) */
	uint64_t propagation[SM_MOUNT_PROPAGATION_MAX];	/* MS_PRIVATE, MS_SLAVE | MS_REC…, in order */
	size_t npropagation;
	uint64_t rec_set;	/* MOUNT_ATTR_* of the r… words */
	uint64_t rec_clear;
	bool copy_up;		/* tmpcopyup */
	bool idmap, idmap_recursive;	/* idmap; ridmap: both */
	const char *data;	/* the other words, comma separated; in the arena; NULL: none */
};

/* 0, -ENOMEM or -E2BIG (more propagation words than SM_MOUNT_PROPAGATION_MAX). */
int sm_mount_options_parse(struct sm_arena *arena, const struct sm_strs *words,
			   struct sm_mount_options *out);

/* The i-th word that is known, for `features`; NULL past the end. Sorted. */
const char *sm_mount_option_name(size_t i);

/* rootfsPropagation's words. */
extern const struct sm_word sm_mount_propagation_words[];

#endif
