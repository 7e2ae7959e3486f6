/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_VIEW_H
#define SM_RUNTIME_VIEW_H

#include <sys/types.h>

#include "runtime/mntns.h"
#include "spec/guest.h"

/*
 * The container's files where tools of the host look for them: who joins the mount namespace of the
 * container's process, as `podman cp` does, finds the container's root there, with its bind mounts.
 * sm-vmm, whose namespace it is, keeps the empty root of its jail, which lies below. No program,
 * set-id bit or device node in the view means anything.
 *
 * Call it when the guest has made the mount points. Paths are those of the namespace `in`; NULL: of
 * ours. A help for other tools, not for the container: what cannot be shown is left out, and logged
 * for debugging.
 */
void sm_view_attach(const struct sm_guest_container *g, const struct sm_mntns *in, pid_t vmm);

#endif
