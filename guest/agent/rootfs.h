/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_ROOTFS_H
#define SM_GUEST_ROOTFS_H

#include "base/err.h"
#include "guest/agent/mount.h"
#include "proto/agent.pb-c.h"

/*
 * The root of a container, made by its first process in its mount namespace, in runc's order:
 *
 *	make	bind the root, the mounts, the device nodes
 *		(then the terminal is opened in it)
 *	finish	cwd, read-only and masked paths, what is read-only as a whole, pivot
 *
 * ms->host, cgroup and namespaces are set by the caller; ms->root is open after make.
 */
int sm_rootfs_make(struct sm_mounts *ms, const Supermachine__Agent__V1__Container *c,
		   struct sm_err *err);
int sm_rootfs_finish(struct sm_mounts *ms, const Supermachine__Agent__V1__Container *c,
		     struct sm_err *err);

/* Sets kernel parameters, named with dots (or slashes). Needs the VM's /proc. */
int sm_sysctl_set(const Supermachine__Agent__V1__Container *c, struct sm_err *err);

/* "net.ipv4.conf.eth0/1.x" → "net/ipv4/conf/eth0.1/x"; -EINVAL for what leaves /proc/sys. */
int sm_sysctl_path(const char *key, char *path, size_t size);

#endif
