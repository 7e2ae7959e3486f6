/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/server.h"

#define HASH_MIN 256
#define DEPTH_MAX 4096 /* hints followed upwards */

/* #syscalls:loop,fs statx */
int fs_statx(int fd, const char *name, struct statx *stx)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	if (statx(fd, name, flags, STATX_BASIC_STATS | STATX_MNT_ID, stx) < 0)
		return -errno;
	return 0;
}

static uint64_t stx_dev(const struct statx *stx)
{
	return (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor;
}

static bool inode_is(const struct fs_inode *inode, const struct statx *stx)
{
	return inode->ino == stx->stx_ino && inode->dev == stx_dev(stx) &&
	       inode->mnt == stx->stx_mnt_id && inode->type == (stx->stx_mode & S_IFMT);
}

/* ---- hash of identities ---- */

static size_t hash_of(const struct fs_export *export, uint64_t mnt, uint64_t dev, uint64_t ino)
{
	uint64_t h = ino * 0x9e3779b97f4a7c15u ^ dev * 0xc2b2ae3d27d4eb4fu ^ mnt * 0x165667b19e3779f9u ^
		     (uintptr_t)export;

	return (h ^ h >> 29) * 0xbf58476d1ce4e5b9u >> 20;
}

static struct fs_inode **bucket_of(struct fs_inodes *t, const struct fs_inode *inode)
{
	return &t->hash[hash_of(inode->export, inode->mnt, inode->dev, inode->ino) &
			(t->nbuckets - 1)];
}

static void hash_grow(struct fs_inodes *t)
{
	size_t old = t->nbuckets;
	struct fs_inode **from = t->hash, *inode, *next;
	struct fs_inode **to = calloc(old * 2, sizeof(*to));

	if (!to)
		return; /* longer chains, nothing worse */
	t->hash = to;
	t->nbuckets = old * 2;
	for (size_t i = 0; i < old; i++) {
		for (inode = from[i]; inode; inode = next) {
			struct fs_inode **b = bucket_of(t, inode);

			next = inode->hash_next;
			inode->hash_next = *b;
			*b = inode;
		}
	}
	free(from);
}

static void hash_add(struct fs_inodes *t, struct fs_inode *inode)
{
	struct fs_inode **b;

	if (++t->count > t->nbuckets)
		hash_grow(t);
	b = bucket_of(t, inode);
	inode->hash_next = *b;
	*b = inode;
	inode->hashed = true;
}

static void hash_remove(struct fs_inodes *t, struct fs_inode *inode)
{
	struct fs_inode **b;

	if (!inode->hashed)
		return;
	for (b = bucket_of(t, inode); *b != inode; b = &(*b)->hash_next)
		;
	*b = inode->hash_next;
	inode->hashed = false;
	t->count--;
}

static struct fs_inode *hash_find(struct fs_inodes *t, const struct fs_export *export,
				  const struct statx *stx)
{
	struct fs_inode *inode;
	size_t h = hash_of(export, stx->stx_mnt_id, stx_dev(stx), stx->stx_ino);

	for (inode = t->hash[h & (t->nbuckets - 1)]; inode; inode = inode->hash_next) {
		if (inode->ino != stx->stx_ino || inode->dev != stx_dev(stx) ||
		    inode->mnt != stx->stx_mnt_id || inode->export != export)
			continue;
		if (inode->type == (stx->stx_mode & S_IFMT))
			return inode;
		hash_remove(t, inode); /* the host made another file of the same number */
		return NULL;
	}
	return NULL;
}

/* ---- descriptors ---- */

static void lru_update(struct fs_inodes *t, struct fs_inode *inode)
{
	bool want = inode->fd >= 0 && inode->parent;

	if (inode->listed)
		TAILQ_REMOVE(&t->lru, inode, lru);
	inode->listed = want;
	if (want)
		TAILQ_INSERT_TAIL(&t->lru, inode, lru);
}

/* #syscalls:loop,fs close */
static void close_locked(struct sm_fs *fs, struct fs_inode *inode)
{
	close(inode->fd);
	inode->fd = -1;
	fs->nfds--;
	lru_update(&fs->inodes, inode);
}

static int fd_reserve_locked(struct sm_fs *fs)
{
	struct fs_inode *inode;

	if (fs->nfds >= fs->max_fds) {
		TAILQ_FOREACH(inode, &fs->inodes.lru, lru) {
			if (inode->fd_users == 0) {
				close_locked(fs, inode);
				break;
			}
		}
	}
	if (fs->nfds >= fs->max_fds)
		return -ENFILE;
	fs->nfds++;
	return 0;
}

int fs_fd_reserve(struct sm_fs *fs)
{
	int ret;

	pthread_mutex_lock(&fs->lock);
	ret = fd_reserve_locked(fs);
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

void fs_fd_release(struct sm_fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	fs->nfds--;
	pthread_mutex_unlock(&fs->lock);
}

/* ---- hints ---- */

static void hint_drop(struct sm_fs *fs, struct fs_inode *inode)
{
	struct fs_inode *parent = inode->parent;

	if (!parent)
		return;
	inode->parent = NULL;
	free(inode->name);
	inode->name = NULL;
	lru_update(&fs->inodes, inode);
	fs_inode_put_locked(fs, parent);
}

/* A directory now seen in `parent`, of which it was an ancestor by older hints (the host moved
 * things): the older hint goes, or the two would hold each other for ever. */
static void hint_break_cycle(struct sm_fs *fs, struct fs_inode *inode, struct fs_inode *parent)
{
	struct fs_inode *at = parent;

	while (at && at->parent != inode)
		at = at->parent;
	if (at)
		hint_drop(fs, at);
}

static bool hint_is(const struct fs_inode *inode, const struct fs_inode *parent, const char *name)
{
	return inode->parent == parent && parent && strcmp(inode->name, name) == 0;
}

static int hint_set(struct sm_fs *fs, struct fs_inode *inode, struct fs_inode *parent,
		    const char *name)
{
	char *copy;

	if (inode->export->root == inode || inode == parent || hint_is(inode, parent, name))
		return 0;
	/* In UTF-8 the names of vfat, NTFS or SMB can have three times as many bytes, and a
	 * directory of the host's may hold them. */
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	if (inode->type == S_IFDIR)
		hint_break_cycle(fs, inode, parent);
	parent->refs++;
	hint_drop(fs, inode);
	inode->parent = parent;
	inode->name = copy;
	lru_update(&fs->inodes, inode);
	return 0;
}

/* ---- life ---- */

int fs_inodes_init(struct sm_fs *fs, uint32_t max)
{
	struct fs_inodes *t = &fs->inodes;

	fs_idtab_init(&t->ids, max);
	TAILQ_INIT(&t->lru);
	t->nbuckets = HASH_MIN;
	t->hash = calloc(t->nbuckets, sizeof(*t->hash));
	return t->hash ? 0 : -ENOMEM;
}

void fs_inodes_free(struct sm_fs *fs)
{
	free(fs->inodes.hash);
	fs_idtab_clear(&fs->inodes.ids);
}

/* Frees an inode that nobody refers to, and its parents if they were kept by the hint only. */
static void reap(struct sm_fs *fs, struct fs_inode *inode)
{
	while (inode && inode->refs == 0 && inode->nlookup == 0) {
		struct fs_inode *parent = inode->parent;

		hash_remove(&fs->inodes, inode);
		fs_idtab_remove(&fs->inodes.ids, inode->nodeid);
		inode->parent = NULL;
		lru_update(&fs->inodes, inode);
		if (inode->fd >= 0)
			close_locked(fs, inode);
		fs_export_put_locked(inode->export);
		free(inode->name);
		free(inode);
		if (parent)
			parent->refs--;
		inode = parent;
	}
}

void fs_inode_put_locked(struct sm_fs *fs, struct fs_inode *inode)
{
	inode->refs--;
	reap(fs, inode);
}

void fs_inode_put(struct sm_fs *fs, struct fs_inode *inode)
{
	if (!inode)
		return;
	pthread_mutex_lock(&fs->lock);
	fs_inode_put_locked(fs, inode);
	pthread_mutex_unlock(&fs->lock);
}

static struct fs_inode *find_locked(struct sm_fs *fs, uint64_t nodeid)
{
	struct fs_inode *inode;

	if (nodeid == FUSE_ROOT_ID)
		return &fs->root;
	inode = fs_idtab_find(&fs->inodes.ids, nodeid);
	if (inode && (inode->nlookup > 0 || inode->export->root == inode))
		return inode;
	return NULL;
}

struct fs_inode *fs_inode_get(struct sm_fs *fs, uint64_t nodeid)
{
	struct fs_inode *inode;

	pthread_mutex_lock(&fs->lock);
	inode = find_locked(fs, nodeid);
	if (inode)
		inode->refs++;
	pthread_mutex_unlock(&fs->lock);
	return inode;
}

/* A new inode without references; fd (may be -1) is its on success. */
static int make(struct sm_fs *fs, struct fs_export *export, int fd, const struct statx *stx,
		struct fs_inode **out)
{
	struct fs_inode *inode = calloc(1, sizeof(*inode));
	int ret;

	if (!inode)
		return -ENOMEM;
	ret = fs_idtab_add(&fs->inodes.ids, inode, &inode->nodeid);
	if (ret < 0) {
		free(inode);
		return ret;
	}
	inode->fd = fd;
	inode->type = stx->stx_mode & S_IFMT;
	inode->export = export;
	inode->mnt = stx->stx_mnt_id;
	inode->dev = stx_dev(stx);
	inode->ino = stx->stx_ino;
	export->refs++;
	hash_add(&fs->inodes, inode);
	*out = inode;
	return 0;
}

int fs_inode_new_root(struct sm_fs *fs, struct fs_export *export, int fd, const struct statx *stx,
		      struct fs_inode **inode)
{
	int ret;

	pthread_mutex_lock(&fs->lock);
	ret = fd_reserve_locked(fs);
	if (ret == 0) {
		ret = make(fs, export, fd, stx, inode);
		if (ret < 0)
			fs->nfds--;
		else
			(*inode)->refs = 1;
	}
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

/* fd (-1: none) is charged to the budget; *fd is -1 when the inode took it. */
static int enter_locked(struct sm_fs *fs, struct fs_export *export, struct fs_inode *parent,
			const char *name, int *fd, const struct statx *stx, struct fs_inode **out)
{
	struct fs_inode *inode = hash_find(&fs->inodes, export, stx);
	int ret = 0;

	if (!inode) {
		ret = make(fs, export, *fd, stx, &inode);
		if (ret < 0)
			return ret;
		*fd = -1;
	}
	inode->nlookup++;
	if (parent)
		ret = hint_set(fs, inode, parent, name);
	if (ret < 0) {
		inode->nlookup--;
		reap(fs, inode);
		return ret;
	}
	inode->refs++;
	*out = inode;
	return 0;
}

int fs_inode_enter(struct sm_fs *fs, struct fs_export *export, struct fs_inode *parent,
		   const char *name, int fd, const struct statx *stx, struct fs_inode **inode)
{
	int ret = 0;

	pthread_mutex_lock(&fs->lock);
	if (fd >= 0)
		ret = fd_reserve_locked(fs);
	if (ret == 0) {
		ret = enter_locked(fs, export, parent, name, &fd, stx, inode);
		if (fd >= 0)
			fs->nfds--;
	}
	pthread_mutex_unlock(&fs->lock);
	if (fd >= 0)
		close(fd);
	return ret;
}

void fs_inode_count(struct sm_fs *fs, struct fs_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	inode->nlookup++;
	pthread_mutex_unlock(&fs->lock);
}

void fs_inode_forget(struct sm_fs *fs, uint64_t nodeid, uint64_t n)
{
	struct fs_inode *inode;

	pthread_mutex_lock(&fs->lock);
	inode = nodeid == FUSE_ROOT_ID ? NULL : find_locked(fs, nodeid);
	if (inode) {
		inode->nlookup -= n < inode->nlookup ? n : inode->nlookup;
		reap(fs, inode);
	}
	pthread_mutex_unlock(&fs->lock);
}

void fs_inode_forget_all(struct sm_fs *fs)
{
	struct fs_inode *inode;
	uint32_t pos = 0;

	pthread_mutex_lock(&fs->lock);
	while ((inode = fs_idtab_next(&fs->inodes.ids, &pos))) {
		inode->refs++;
		inode->nlookup = 0;
		hint_drop(fs, inode);
		fs_inode_put_locked(fs, inode);
	}
	pthread_mutex_unlock(&fs->lock);
}

/* ---- reaching the file ---- */

/* The nearest inode from `inode` upwards that has no descriptor but whose parent has one. */
static struct fs_inode *first_step(struct fs_inode *inode)
{
	for (int depth = 0; inode->parent && depth < DEPTH_MAX; depth++) {
		if (inode->parent->fd >= 0)
			return inode;
		inode = inode->parent;
	}
	return NULL;
}

/* #syscalls:fs openat */
static int open_checked(int dirfd, const char *name, const struct fs_inode *inode)
{
	struct statx stx;
	int ret, fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	ret = fs_statx(fd, "", &stx);
	if (ret == 0 && !inode_is(inode, &stx))
		ret = -ESTALE;
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

/* Gives `inode` a descriptor by its parent's. The lock is dropped meanwhile. */
static int open_step(struct sm_fs *fs, struct fs_inode *inode)
{
	struct fs_inode *parent = inode->parent;
	char name[NAME_MAX + 1];
	int fd, ret;

	parent->fd_users++; /* so that it is not the one to make room */
	ret = fd_reserve_locked(fs);
	if (ret < 0) {
		parent->fd_users--;
		return ret;
	}
	strcpy(name, inode->name);
	inode->refs++;
	parent->refs++;
	pthread_mutex_unlock(&fs->lock);
	fd = open_checked(parent->fd, name, inode);
	pthread_mutex_lock(&fs->lock);
	parent->fd_users--;
	if (fd >= 0 && inode->fd < 0) {
		inode->fd = fd;
		lru_update(&fs->inodes, inode);
	} else {
		fs->nfds--;
		if (fd >= 0)
			close(fd);
	}
	fs_inode_put_locked(fs, parent);
	fs_inode_put_locked(fs, inode);
	return fd < 0 ? fd : 0;
}

/* The caller holds a reference. */
static int pin_locked(struct sm_fs *fs, struct fs_inode *inode)
{
	int ret;

	for (int i = 0; inode->fd < 0; i++) {
		struct fs_inode *step = first_step(inode);

		if (!step)
			return -ESTALE;
		ret = i < 2 * DEPTH_MAX ? open_step(fs, step) : -ELOOP;
		if (ret < 0)
			return ret;
	}
	inode->fd_users++;
	return 0;
}

static void unpin_locked(struct sm_fs *fs, struct fs_inode *inode)
{
	inode->fd_users--;
	lru_update(&fs->inodes, inode);
}

int fs_inode_pin(struct sm_fs *fs, struct fs_inode *inode, int *fd)
{
	int ret;

	pthread_mutex_lock(&fs->lock);
	ret = pin_locked(fs, inode);
	*fd = inode->fd;
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

void fs_inode_unpin(struct sm_fs *fs, struct fs_inode *inode)
{
	pthread_mutex_lock(&fs->lock);
	unpin_locked(fs, inode);
	pthread_mutex_unlock(&fs->lock);
}

int fs_at(struct sm_fs *fs, struct fs_inode *inode, struct fs_at *at)
{
	struct fs_inode *parent;
	int ret;

	pthread_mutex_lock(&fs->lock);
	parent = inode->parent;
	if (inode->fd >= 0 || !parent) {
		at->pinned = inode;
		at->name[0] = '\0';
	} else {
		at->pinned = parent;
		strcpy(at->name, inode->name);
	}
	at->pinned->refs++;
	ret = pin_locked(fs, at->pinned);
	at->fd = at->pinned->fd;
	if (ret < 0)
		fs_inode_put_locked(fs, at->pinned);
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

void fs_at_done(struct sm_fs *fs, struct fs_at *at)
{
	pthread_mutex_lock(&fs->lock);
	unpin_locked(fs, at->pinned);
	fs_inode_put_locked(fs, at->pinned);
	pthread_mutex_unlock(&fs->lock);
}

/* What our own descriptor shows is the file, even if its numbers changed: overlayfs does that when
 * it copies a file up and its layers are on different file systems. */
static void follow_identity(struct sm_fs *fs, struct fs_inode *inode, const struct statx *stx)
{
	pthread_mutex_lock(&fs->lock);
	if (inode->hashed && !hash_find(&fs->inodes, inode->export, stx)) {
		hash_remove(&fs->inodes, inode);
		inode->mnt = stx->stx_mnt_id;
		inode->dev = stx_dev(stx);
		inode->ino = stx->stx_ino;
		hash_add(&fs->inodes, inode);
	}
	pthread_mutex_unlock(&fs->lock);
}

int fs_inode_stat(struct sm_fs *fs, struct fs_inode *inode, struct statx *stx)
{
	struct fs_at at;
	int ret = fs_at(fs, inode, &at);

	if (ret < 0)
		return ret;
	ret = fs_statx(at.fd, at.name, stx);
	if (ret == -ENOENT)
		ret = -ESTALE;
	if (ret == 0 && !inode_is(inode, stx)) {
		if (at.name[0])
			ret = -ESTALE;
		else
			follow_identity(fs, inode, stx);
	}
	fs_at_done(fs, &at);
	return ret;
}

/* ---- names that go and come ---- */

struct fs_inode *fs_inode_keep(struct sm_fs *fs, struct fs_inode *parent, int dirfd,
			       const char *name)
{
	struct fs_inode *inode;
	struct statx stx;

	if (fs_statx(dirfd, name, &stx) < 0)
		return NULL;
	pthread_mutex_lock(&fs->lock);
	inode = hash_find(&fs->inodes, parent->export, &stx);
	if (inode && hint_is(inode, parent, name)) {
		inode->refs++;
		if (pin_locked(fs, inode) == 0)
			unpin_locked(fs, inode);
	} else {
		inode = NULL;
	}
	pthread_mutex_unlock(&fs->lock);
	return inode;
}

void fs_inode_renamed(struct sm_fs *fs, struct fs_inode *inode, struct fs_inode *parent,
		      const char *name)
{
	if (!inode)
		return;
	pthread_mutex_lock(&fs->lock);
	if (parent)
		hint_set(fs, inode, parent, name); /* out of memory: found stale later */
	else
		hint_drop(fs, inode);
	pthread_mutex_unlock(&fs->lock);
}
