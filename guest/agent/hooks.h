/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_HOOKS_H
#define SM_GUEST_HOOKS_H

#include "base/err.h"
#include "proto/agent.pb-c.h"

/* Runs the startContainer hooks, one after the other, as children of the calling process: the
 * first of the container. A hook without env gets `env`. The first that fails ends it. */
int sm_hooks_run(const Supermachine__Agent__V1__Container *c, char *const *env, struct sm_err *err);

#endif
