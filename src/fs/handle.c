/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/server.h"

int fs_handle_new(struct sm_fs *fs, struct fs_inode *inode, int fd, bool dir, bool writable,
		  uint64_t *fh)
{
	struct fs_handle *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return -ENOMEM;
	h->inode = inode;
	h->fd = fd;
	h->refs = 1; /* the guest's */
	h->dir = dir;
	h->writable = writable;
	pthread_mutex_init(&h->dir_lock, NULL);
	pthread_mutex_lock(&fs->lock);
	ret = fs_idtab_add(&fs->handles, h, &h->fh);
	if (ret == 0) {
		inode->refs++;
		*fh = h->fh;
	}
	pthread_mutex_unlock(&fs->lock);
	if (ret < 0) {
		pthread_mutex_destroy(&h->dir_lock);
		free(h);
	}
	return ret;
}

struct fs_handle *fs_handle_get(struct sm_fs *fs, uint64_t fh, uint64_t nodeid, bool dir)
{
	struct fs_handle *h;

	pthread_mutex_lock(&fs->lock);
	h = fs_idtab_find(&fs->handles, fh);
	if (h && h->dir == dir && h->inode->nodeid == nodeid)
		h->refs++;
	else
		h = NULL;
	pthread_mutex_unlock(&fs->lock);
	return h;
}

static void dirbuf_disown(struct sm_fs *fs, const struct fs_handle *h)
{
	pthread_mutex_lock(&fs->dirbuf_lock);
	for (int i = 0; i < FS_DIRBUFS; i++) {
		if (fs->dirbuf[i].owner == h)
			fs->dirbuf[i].owner = NULL;
	}
	pthread_mutex_unlock(&fs->dirbuf_lock);
}

void fs_handle_put(struct sm_fs *fs, struct fs_handle *h)
{
	bool last;

	pthread_mutex_lock(&fs->lock);
	last = --h->refs == 0;
	pthread_mutex_unlock(&fs->lock);
	if (!last)
		return;
	if (h->dir)
		dirbuf_disown(fs, h);
	close(h->fd);
	pthread_mutex_lock(&fs->lock);
	fs->nfds--;
	fs_inode_put_locked(fs, h->inode);
	pthread_mutex_unlock(&fs->lock);
	pthread_mutex_destroy(&h->dir_lock);
	free(h);
}

void fs_handle_release(struct sm_fs *fs, struct fs_handle *h)
{
	bool first;

	pthread_mutex_lock(&fs->lock);
	first = !h->released;
	h->released = true;
	fs_idtab_remove(&fs->handles, h->fh);
	pthread_mutex_unlock(&fs->lock);
	if (first)
		fs_handle_put(fs, h);
}

static struct fs_handle *next_handle(struct sm_fs *fs, uint32_t *pos)
{
	struct fs_handle *h;

	pthread_mutex_lock(&fs->lock);
	h = fs_idtab_next(&fs->handles, pos);
	if (h)
		h->refs++;
	pthread_mutex_unlock(&fs->lock);
	return h;
}

void fs_handle_release_all(struct sm_fs *fs)
{
	struct fs_handle *h;
	uint32_t pos = 0;

	while ((h = next_handle(fs, &pos))) {
		fs_handle_release(fs, h);
		fs_handle_put(fs, h);
	}
}
