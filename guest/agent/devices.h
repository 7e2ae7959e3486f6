/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_DEVICES_H
#define SM_GUEST_DEVICES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"

/* Makes the device nodes of a container, and the links that every /dev has, below `root`. In a user
 * namespace, or where the filesystem refuses device nodes, the VM's own nodes are bound instead.
 * The umask must be 0. */
int sm_devices_make(int root, const Supermachine__Agent__V1__Container *c, struct sm_err *err);

#endif
