/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_OCISTATE_H
#define SM_RUNTIME_OCISTATE_H

#include "runtime/jsonout.h"
#include "runtime/store.h"

/*
 * The state of a container as JSON, members as runc orders them (runtime-spec runtime.md#state).
 */

/* For `state` and `list`: pid is 0 when stopped. owner: a user's name, or "". */
void sm_ocistate_show(struct sm_jsonout *j, const struct sm_state *state, const char *owner);

/* For a hook's standard input; freed by the caller. A pid of 0 is left out. NULL: no memory. */
char *sm_ocistate_hook(const struct sm_state *state, enum sm_status status, pid_t pid);

#endif
