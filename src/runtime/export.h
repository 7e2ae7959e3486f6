/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_EXPORT_H
#define SM_RUNTIME_EXPORT_H

#include "runtime/mntns.h"
#include "spec/guest.h"

/*
 * Directories and files of the host for a VM: for each a descriptor of a mount of its own that
 * stands in no mount namespace. Its ".." leads nowhere, read-only is enforced by the host's kernel,
 * and no set-id bit, device node, symlink or program in it means anything to a process of the host
 * that gets in this way. Later mounts of the host below the source are not seen.
 *
 * Where the kernel or missing privileges forbid that, it is a plain O_PATH descriptor, but for an
 * id-mapped one: that is an error.
 *
 * Paths are those of the namespace `in`; NULL: of ours. At most SM_IO_FDS_MAX. On failure none is
 * open.
 */
int sm_export_open(const struct sm_guest_export *e, size_t n, const struct sm_mntns *in, int *fds,
		   struct sm_err *err);

/* One mount, for other eyes than sm-vmm's: with follow its symlinks work. -ENOSYS and the like where
 * there can be none. */
int sm_export_mount(const struct sm_guest_export *e, bool follow, struct sm_err *err);

#endif
