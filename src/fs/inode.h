/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_FS_INODE_H
#define SM_FS_INODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "fs/idtab.h"

/*
 * The files that the guest knows, and how the host reaches them.
 *
 * A file is identified by where it is (export, mount, device, inode number). It is reached in one of
 * two ways:
 *
 *	fd	an O_PATH descriptor: the file itself, whatever happens to its names
 *	hint	(parent, name): where it was seen last; each use compares what is found there with the
 *		identity, and a difference is -ESTALE, upon which the guest looks the path up again
 *
 * LOOKUP and READDIRPLUS only set hints, so that listing a directory of any size costs one statx()
 * a file and no descriptors. The first operation that needs the file itself turns the hint into a
 * descriptor. Descriptors of files that have a hint are a cache: past the budget the one used
 * longest ago is closed. A file that loses its name by the guest's hand (unlink, rename over it)
 * gets its descriptor before that and keeps it, for the guest may still have it open.
 *
 *	  guest's count   our users          hint ─► parent inode (a reference)
 *	     nlookup        refs             fd   ─► open O_PATH, on the LRU list if it has a hint
 *	        └── both 0: freed ──┘
 *
 * All of it is guarded by fs->lock; no system call but close() is made under it.
 */
struct sm_fs;
struct fs_export;

struct fs_inode {
	uint64_t nodeid;
	uint64_t nlookup;		/* references of the guest */
	uint32_t refs;			/* ours: requests, open files, children's hints, the export */
	uint32_t fd_users;		/* the descriptor is in use: not to be closed */
	int fd;				/* -1: none */
	uint16_t type;			/* S_IFMT bits */
	bool hashed;
	bool listed;			/* on the LRU list */
	struct fs_export *export;	/* NULL: the root directory of exports */
	uint64_t mnt, dev, ino;		/* identity, with export */
	struct fs_inode *hash_next;
	struct fs_inode *parent;	/* hint; NULL: none */
	char *name;
	uint64_t version;		/* of the contents the guest may cache; 0: unknown (file.c) */
	TAILQ_ENTRY(fs_inode) lru;
};

TAILQ_HEAD(fs_inode_list, fs_inode);

struct fs_inodes {
	struct fs_idtab ids;
	struct fs_inode **hash;
	size_t nbuckets, count;
	struct fs_inode_list lru;	/* with fd and hint; head: used longest ago */
};

/* How to name a file in a system call: (fd, "") is the file itself, else name in directory fd. */
struct fs_at {
	struct fs_inode *pinned;	/* fd is its; given back by fs_at_done() */
	int fd;
	char name[256];
};

int fs_inodes_init(struct sm_fs *fs, uint32_t max);
void fs_inodes_free(struct sm_fs *fs);

/* Takes a reference; NULL if the guest does not hold such a file. */
struct fs_inode *fs_inode_get(struct sm_fs *fs, uint64_t nodeid);
void fs_inode_put(struct sm_fs *fs, struct fs_inode *inode);
void fs_inode_put_locked(struct sm_fs *fs, struct fs_inode *inode);

/* The guest learns of a file of export: finds or makes it, counts one lookup, notes where it was
 * seen. parent NULL: it has no name; then fd (owned from here on, also on errors; else -1) is how
 * to reach it. -ENFILE, -ENOMEM, -ENAMETOOLONG. The caller has a reference besides,
 * for a guest can give back what it was not told of yet. */
int fs_inode_enter(struct sm_fs *fs, struct fs_export *export, struct fs_inode *parent,
		   const char *name, int fd, const struct statx *stx, struct fs_inode **inode);

/* The inode of an export's root: a reference for the export, none of the guest's. */
int fs_inode_new_root(struct sm_fs *fs, struct fs_export *export, int fd, const struct statx *stx,
		      struct fs_inode **inode);

/* One more lookup by the guest of an inode that the caller holds. */
void fs_inode_count(struct sm_fs *fs, struct fs_inode *inode);

/* The guest gave n lookups back. More than it had, or an unknown nodeid: all, or nothing. */
void fs_inode_forget(struct sm_fs *fs, uint64_t nodeid, uint64_t n);
void fs_inode_forget_all(struct sm_fs *fs);

/* The descriptor of the file itself, held until fs_inode_unpin(). -ESTALE, -ENFILE, … */
int fs_inode_pin(struct sm_fs *fs, struct fs_inode *inode, int *fd);
void fs_inode_unpin(struct sm_fs *fs, struct fs_inode *inode);

/* The cheapest way to name the file now. By (fd, name) it may be another file by now. */
int fs_at(struct sm_fs *fs, struct fs_inode *inode, struct fs_at *at);
void fs_at_done(struct sm_fs *fs, struct fs_at *at);

/* statx() of the file, checked to be it. */
int fs_inode_stat(struct sm_fs *fs, struct fs_inode *inode, struct statx *stx);

/* The entry `name` of parent is about to go: whoever the guest knows by it gets a descriptor. A
 * reference, or NULL if the guest does not know it or it was seen elsewhere last. */
struct fs_inode *fs_inode_keep(struct sm_fs *fs, struct fs_inode *parent, int dirfd,
			       const char *name);

/* It went (parent NULL), or has another name now. NULL inode allowed. */
void fs_inode_renamed(struct sm_fs *fs, struct fs_inode *inode, struct fs_inode *parent,
		      const char *name);

/* Descriptor budget of inodes and open files: 0 or -ENFILE. */
int fs_fd_reserve(struct sm_fs *fs);
void fs_fd_release(struct sm_fs *fs);

/* statx() as everything here uses it: no symlink followed, no automount triggered. */
int fs_statx(int fd, const char *name, struct statx *stx);

#endif
