/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_MNTNS_H
#define SM_RUNTIME_MNTNS_H

#include "base/err.h"

/*
 * A mount namespace for createContainer hooks: a copy of ours, in which the container's root is a
 * mount of its own at its place on the host, private to it. What hooks mount below the root is
 * there for the next hook and for the exports that are opened in it (runtime/export.h), and nowhere
 * else.
 *
 * It lives as long as one of its descriptors, or a mount opened from it.
 */
struct sm_mntns {
	int ns, root; /* the namespace, and its "/": ours may be a chroot */
};

#define SM_MNTNS_INIT                                                                              \
	{                                                                                          \
		-1, -1                                                                             \
	}

int sm_mntns_make(const char *rootfs, struct sm_mntns *ns, struct sm_err *err);
void sm_mntns_close(struct sm_mntns *ns);

/* For a child process: there is no way back. 0 or -errno. */
int sm_mntns_enter(const struct sm_mntns *ns);

#endif
