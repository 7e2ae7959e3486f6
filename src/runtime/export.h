/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_EXPORT_H
#define SM_RUNTIME_EXPORT_H

#include "spec/guest.h"

/*
 * A directory or file of the host for a VM: a descriptor of a mount of its own that stands in no mount
 * namespace. Its ".." leads nowhere, read-only is enforced by the host's kernel, and no set-id bit,
 * device node, symlink or program in it means anything to a process of the host that gets in this way.
 * Later mounts of the host below the source are not seen.
 *
 * Where the kernel or missing privileges forbid that, it is a plain O_PATH descriptor. Returns it, or
 * -errno.
 */
int sm_export_open(const struct sm_guest_export *e);

#endif
