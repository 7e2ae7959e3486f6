/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_FS_HANDLE_H
#define SM_FS_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Files and directories that the guest has open. The guest names them by fh; a request that works
 * on one holds a reference, so that a RELEASE at the same time closes it only afterwards.
 *
 * Directories are read through a small pool of buffers: what getdents64() returned beyond the
 * guest's page is kept for its next READDIR. A buffer taken by another directory meanwhile costs a
 * seek, nothing else.
 */
#define FS_DIRBUFS 32
#define FS_DIRBUF_SIZE (16 * 1024)

struct sm_fs;
struct fs_inode;
struct fs_handle;

struct fs_dirbuf {
	struct fs_handle *owner;
	bool busy;
	bool placed;		/* while busy: what is in it is the owner's */
	uint64_t used;		/* clock of the last use */
	uint64_t next_off;	/* directory offset of the entry at pos */
	size_t pos, len;
	uint8_t *data;
};

struct fs_handle {
	uint64_t fh;
	struct fs_inode *inode;	/* referenced */
	int fd;
	uint32_t refs;
	bool released;		/* the guest's name for it is gone */
	bool dir;
	bool writable;
	_Atomic bool wrote;
	pthread_mutex_t dir_lock; /* one READDIR of it at a time */
};

/* Takes fd (on success) and a reference of inode; the fd budget has been charged. */
int fs_handle_new(struct sm_fs *fs, struct fs_inode *inode, int fd, bool dir, bool writable,
		  uint64_t *fh);

/* A reference to what fh names if it is of this inode and kind; NULL: -EBADF. */
struct fs_handle *fs_handle_get(struct sm_fs *fs, uint64_t fh, uint64_t nodeid, bool dir);
void fs_handle_put(struct sm_fs *fs, struct fs_handle *h);

/* Ends the guest's name for it. */
void fs_handle_release(struct sm_fs *fs, struct fs_handle *h);
void fs_handle_release_all(struct sm_fs *fs);

#endif
