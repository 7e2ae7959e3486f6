/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_FS_FS_H
#define SM_FS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "virtio/device.h"

/*
 * virtio-fs (virtio 1.2, 5.11): a FUSE server over the exports of a VM. An export is a name and a
 * descriptor of a directory (or of a single file); the root of the filesystem that the guest mounts
 * is a read-only directory that holds the exports by name. Nothing outside of them can be named.
 *
 *	mount -t virtiofs sm /run/host        guest
 *	/run/host/rootfs  → export "rootfs"   directory, possibly read-only
 *	/run/host/m3      → export "m3"       a single file
 *
 * Exports can be added and removed while the VM runs, by the loop's thread.
 */
#define SM_FS_TAG "sm"
#define SM_FS_NAME_MAX 64
#define SM_FS_EXPORTS_MAX 1024

struct sm_fs;

struct sm_fs_options {
	unsigned int workers;		/* threads; 0: a default */
	uint64_t entry_timeout_ns;	/* how long the guest may believe names and attributes */
	uint64_t attr_timeout_ns;
	uint32_t max_fds;		/* inode and open-file budget; 0: from RLIMIT_NOFILE */
	uint32_t max_inodes;		/* files that the guest may know of at a time, 0: a million;
					 * 200 bytes each, and its name */
	/* Runs on each thread before it serves anything: 0, or -errno, which makes the start of the
	 * threads fail. NULL allowed. */
	int (*thread_started)(void *arg);
	void *thread_arg;
};

#define SM_FS_OPTIONS_DEFAULT { .entry_timeout_ns = 1000000000, .attr_timeout_ns = 1000000000 }

/* options may be NULL: defaults. */
int sm_fs_new(struct sm_loop *loop, const struct sm_fs_options *options, struct sm_fs **fs);
void sm_fs_free(struct sm_fs *fs);	/* after its transport is gone */
struct sm_vdev *sm_fs_vdev(struct sm_fs *fs);

/* Makes the threads now; else the first start of a queue does. Files are reached through the /proc that
 * the process has at this moment. 0 or -errno of one that could not set itself up. */
int sm_fs_start_threads(struct sm_fs *fs);

/* fd (O_PATH suffices) becomes the device's. name: 1..SM_FS_NAME_MAX characters [A-Za-z0-9_.-], not
 * "." or "..". -EEXIST, -EINVAL, -ENOSPC; on an error fd stays the caller's. */
int sm_fs_add_export(struct sm_fs *fs, const char *name, int fd, bool readonly);

/* The name is gone at once; files that the guest has open stay usable until it closes them. */
int sm_fs_remove_export(struct sm_fs *fs, const char *name);

#endif
