/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_MOUNT_H
#define SM_GUEST_MOUNT_H

#include <stdint.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"

/*
 * The mounts of a container, made in its mount namespace before it pivots. All of it goes by
 * descriptors: a mount is made detached, given its attributes, then moved onto a destination that
 * was resolved inside the root, so that no path of the container is ever resolved by the VM's root.
 */
#define SM_MOUNTS_MAX 1024

struct sm_mounts {
	int root;		/* the container's root */
	const char *host;	/* where the exports are: "/run/host" */
	const char *cgroup;	/* the container's cgroup directory in the VM, NULL: none */
	uint64_t namespaces;	/* CLONE_NEW* of the container */
	int *late;		/* mounts that become read-only when all is in place */
	size_t nlate;
};

/* The path of an export, checked to be one component. 0 or -EINVAL. */
int sm_mount_export_path(const char *host, const char *name, char *path, size_t size);

int sm_mount_apply(struct sm_mounts *ms, const Supermachine__Agent__V1__Mount *m,
		   struct sm_err *err);

/* Makes the mounts read-only that had to be writable while the others were made. */
int sm_mount_finish(struct sm_mounts *ms, struct sm_err *err);

/* A detached copy of what path (relative to dirfd; "": dirfd itself) shows. A descriptor or
 * -errno. */
int sm_mount_clone(int dirfd, const char *path, int recursive);

/* A new detached filesystem. `data`: its options, comma separated; attr: MOUNT_ATTR_*. What the
 * filesystem says about an error is in err. A descriptor or -errno. */
int sm_mount_new(const char *type, const char *source, const char *data, uint64_t flags,
		 struct sm_err *err);

/* Puts a detached mount on what the descriptor `to` is. */
int sm_mount_attach(int mnt, int to);

/* MOUNT_ATTR_* of one mount, or with `recursive` of all below it too. */
int sm_mount_attr(int mnt, uint64_t set, uint64_t clear, int recursive);

/* MS_SHARED…, with MS_REC for all below it too. */
int sm_mount_propagation(int mnt, uint64_t ms);

#endif
