/* SPDX-License-Identifier: Apache-2.0 */
/* Reading directories. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/dir.h"
#include "fs/server.h"

int fs_op_opendir(struct fs_req *r)
{
	struct fuse_open_out out = { 0 };
	int fd, ret;

	if (!r->inode->export)
		goto reply; /* read by name table: no handle */
	ret = fs_fd_reserve(r->fs);
	if (ret < 0)
		return ret;
	fd = fs_reopen(r, r->inode, O_RDONLY | O_DIRECTORY |
					    (r->inode->export->readonly ? O_NOATIME : 0));
	ret = fd < 0 ? fd : fs_handle_new(r->fs, r->inode, fd, true, false, &out.fh);
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		fs_fd_release(r->fs);
		return ret;
	}
reply:
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

/* ---- buffers ---- */

/* The handle's own buffer, or the one unused longest: then empty and the directory to be
 * positioned. There are more buffers than workers. From here on it is the handle's: the end of the
 * handle that it is taken from, at the same time, must not find it by the old name. */
static struct fs_dirbuf *dirbuf_take(struct sm_fs *fs, struct fs_handle *h)
{
	struct fs_dirbuf *best = NULL;

	pthread_mutex_lock(&fs->dirbuf_lock);
	for (int i = 0; i < FS_DIRBUFS; i++) {
		struct fs_dirbuf *b = &fs->dirbuf[i];

		if (b->busy)
			continue;
		if (b->owner == h) {
			best = b;
			break;
		}
		if (!best || b->used < best->used)
			best = b;
	}
	if (best && !best->data)
		best->data = malloc(FS_DIRBUF_SIZE);
	if (best && !best->data)
		best = NULL;
	if (best) {
		best->busy = true;
		best->placed = best->owner == h;
		best->owner = h;
	}
	pthread_mutex_unlock(&fs->dirbuf_lock);
	return best;
}

/* keep: what is in it is good for the next READDIR. */
static void dirbuf_give(struct sm_fs *fs, struct fs_dirbuf *b, bool keep)
{
	pthread_mutex_lock(&fs->dirbuf_lock);
	b->busy = false;
	if (!keep)
		b->owner = NULL;
	b->used = ++fs->dirbuf_clock;
	pthread_mutex_unlock(&fs->dirbuf_lock);
}

/* #syscalls:fs lseek */
static int dirbuf_seek(struct fs_dirbuf *b, struct fs_handle *h, uint64_t offset)
{
	if (b->placed && b->next_off == offset)
		return 0;
	b->pos = b->len = 0;
	b->next_off = offset;
	return lseek(h->fd, (off_t)offset, SEEK_SET) < 0 ? -errno : 0;
}

/* The entry at the buffer's position, read if need be: 1, 0 at the end, -errno.
 * #syscalls:fs getdents64 */
static int dirbuf_peek(struct fs_dirbuf *b, const struct fs_handle *h,
		       const struct dirent64 **entry)
{
	long n;

	if (b->pos == b->len) {
		n = syscall(SYS_getdents64, h->fd, b->data, FS_DIRBUF_SIZE);
		b->pos = 0;
		b->len = n < 0 ? 0 : (size_t)n;
		if (n <= 0)
			return n < 0 ? -errno : 0;
	}
	*entry = (const struct dirent64 *)(b->data + b->pos);
	return 1;
}

static void dirbuf_next(struct fs_dirbuf *b, const struct dirent64 *entry)
{
	b->next_off = (uint64_t)entry->d_off;
	b->pos += entry->d_reclen;
}

/* ---- replies ---- */

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

size_t fs_dirent_put(struct fs_req *r, size_t pos, size_t size, bool plus,
		     const struct fs_dirent *e, const struct fuse_entry_out *entry)
{
	size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	size_t namelen = strlen(e->name), len = FUSE_DIRENT_ALIGN(head + namelen);
	struct fuse_dirent d = { .ino = e->ino, .off = e->off, .type = e->type,
				 .namelen = (uint32_t)namelen };
	uint8_t *p = r->out + pos;

	if (len > size - pos)
		return 0;
	if (!entry)
		return len;
	if (plus)
		memcpy(p, entry, sizeof(*entry));
	memcpy(p + head - FUSE_NAME_OFFSET, &d, FUSE_NAME_OFFSET);
	memcpy(p + head, e->name, namelen);
	memset(p + head + namelen, 0, len - head - namelen);
	return len;
}

/* One entry: the bytes it took, 0 if it did not fit. With `plus` the guest learns the file, too, so
 * room is made sure of before. */
static size_t add_entry(struct fs_req *r, struct fs_handle *h, const struct dirent64 *d,
			size_t pos, size_t size, bool plus)
{
	struct fs_dirent e = { d->d_name, d->d_ino, (uint64_t)d->d_off, d->d_type };
	struct fuse_entry_out entry = { 0 };
	struct statx stx;

	if (fs_dirent_put(r, pos, size, plus, &e, NULL) == 0)
		return 0;
	/* an entry without a nodeid tells the guest the name only: it looks up itself, and is told
	 * what is wrong with it */
	if (plus && !is_dots(d->d_name) && fs_statx(h->fd, d->d_name, &stx) == 0)
		(void)fs_entry_fill(r, h->inode, d->d_name, &stx, &entry);
	return fs_dirent_put(r, pos, size, plus, &e, &entry);
}

static int fill(struct fs_req *r, struct fs_handle *h, struct fs_dirbuf *b, size_t size, bool plus)
{
	const struct dirent64 *d = NULL;
	size_t pos = 0, len;
	int ret;

	while ((ret = dirbuf_peek(b, h, &d)) > 0) {
		len = add_entry(r, h, d, pos, size, plus);
		if (len == 0)
			break;
		pos += len;
		dirbuf_next(b, d);
	}
	if (ret > 0 && pos == 0)
		return -EINVAL; /* no room for even one */
	return ret < 0 && pos == 0 ? ret : (int)pos;
}

static int read_dir(struct fs_req *r, bool plus)
{
	struct fuse_read_in in;
	struct fs_handle *h;
	struct fs_dirbuf *b;
	int ret = -ENOMEM;

	if (!r->inode->export)
		return fs_export_readdir(r, plus);
	memcpy(&in, r->arg, sizeof(in));
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, true);
	if (!h)
		return -EBADF;
	pthread_mutex_lock(&h->dir_lock);
	b = dirbuf_take(r->fs, h);
	if (b) {
		ret = dirbuf_seek(b, h, in.offset);
		if (ret == 0)
			ret = fill(r, h, b, in.size < r->out_max ? in.size : r->out_max, plus);
		dirbuf_give(r->fs, b, ret >= 0);
	}
	pthread_mutex_unlock(&h->dir_lock);
	fs_handle_put(r->fs, h);
	return ret;
}

int fs_op_readdir(struct fs_req *r)
{
	return read_dir(r, false);
}

int fs_op_readdirplus(struct fs_req *r)
{
	return read_dir(r, true);
}

int fs_op_releasedir(struct fs_req *r)
{
	struct fuse_release_in in;
	struct fs_handle *h;

	if (r->in.nodeid == FUSE_ROOT_ID)
		return 0;
	memcpy(&in, r->arg, sizeof(in));
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, true);
	if (!h)
		return -EBADF;
	fs_handle_release(r->fs, h);
	fs_handle_put(r->fs, h);
	return 0;
}

int fs_op_fsyncdir(struct fs_req *r)
{
	struct fuse_fsync_in in;
	struct fs_handle *h;
	int ret;

	if (r->in.nodeid == FUSE_ROOT_ID)
		return 0;
	memcpy(&in, r->arg, sizeof(in));
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, true);
	if (!h)
		return -EBADF;
	ret = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	ret = ret < 0 ? -errno : 0;
	fs_handle_put(r->fs, h);
	return ret;
}
