/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_FS_DIR_H
#define SM_FS_DIR_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs_req;

struct fs_dirent {
	const char *name;
	uint64_t ino;
	uint64_t off;	/* where the entry after this one is */
	uint32_t type;	/* DT_* */
};

/* Puts a record at r->out + pos if it ends by size: its length, or 0. entry NULL: only tells. */
size_t fs_dirent_put(struct fs_req *r, size_t pos, size_t size, bool plus,
		     const struct fs_dirent *e, const struct fuse_entry_out *entry);

#endif
