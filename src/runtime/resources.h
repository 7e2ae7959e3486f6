/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_RESOURCES_H
#define SM_RUNTIME_RESOURCES_H

#include "runtime/jsonout.h"
#include "spec/config.h"

/*
 * Changes of linux.resources. Of all that is in there a container can be given another memory
 * limit, reservation and swap, CPU weight, quota, period, burst, realtime and idle, cpuset, pids
 * limit, block I/O weight, and unified files; as with runc, the rest of a document is not looked
 * at. 0 and "" mean what was before.
 */

/* "100M", "1.5g", "4096": bytes, as Docker's tools read them. -EINVAL: is none. */
int sm_size_parse(const char *text, int64_t *bytes);

/* base with the changes. *apply is what has to be written for them: what changed, and what is
 * written together with it (quota and period, limit and swap). 0 or -ENOMEM. */
int sm_resources_merge(struct sm_arena *arena, const struct sm_resources *base,
		       const struct sm_resources *change, struct sm_resources **merged,
		       struct sm_resources **apply);

/* The members named above, as in config.json. */
void sm_resources_show(struct sm_jsonout *j, const struct sm_resources *r);

#endif
