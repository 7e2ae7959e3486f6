/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing regular files. Nothing else is ever opened on the host: FIFOs, devices and
 * sockets are the guest kernel's own business.
 *
 * The guest's page cache survives an open (FOPEN_KEEP_CACHE) when the file is what it was when the
 * guest last had it open: a version made of size, mtime and ctime is noted at open, and at the close
 * of a file that this guest wrote. A change by the host shows at the next open, at the latest when
 * the attributes that the guest holds expire (FUSE_AUTO_INVAL_DATA).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/server.h"

#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME)
/* Coarser than any file system's clock tick: a change this young may be followed by another one
 * that leaves the same times. */
#define TICK_NS 20000000

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 32;
}

/* Never 0. */
static uint64_t version_of(const struct statx *stx)
{
	uint64_t h = mix(1, stx->stx_size);

	h = mix(h, (uint64_t)stx->stx_mtime.tv_sec);
	h = mix(h, (uint64_t)stx->stx_ctime.tv_sec);
	return mix(h, (uint64_t)stx->stx_mtime.tv_nsec << 32 | stx->stx_ctime.tv_nsec) | 1;
}

static bool just_changed(const struct statx *stx)
{
	struct timespec now;
	int64_t age;

	clock_gettime(CLOCK_REALTIME, &now);
	age = (now.tv_sec - stx->stx_ctime.tv_sec) * 1000000000 + now.tv_nsec -
	      stx->stx_ctime.tv_nsec;
	return age < TICK_NS;
}

/* Notes the version; true if the guest's cached pages are of this one. */
static bool note_version(struct fs_inode *inode, int fd, bool ours)
{
	uint64_t version, old;
	struct statx stx;

	if (fs_statx(fd, "", &stx) < 0)
		return false;
	version = version_of(&stx);
	old = __atomic_load_n(&inode->version, __ATOMIC_RELAXED);
	if (old == version)
		return true;
	if (!ours && just_changed(&stx))
		version = 0;
	__atomic_store_n(&inode->version, version, __ATOMIC_RELAXED);
	return false;
}

/* #syscalls:fs openat close */
int fs_reopen(struct fs_req *r, struct fs_inode *inode, int flags)
{
	int fd, pfd, ret;

	if (inode->type != S_IFREG && inode->type != S_IFDIR)
		return -EOPNOTSUPP;
	ret = fs_inode_pin(r->fs, inode, &pfd);
	if (ret < 0)
		return ret;
	fd = openat(r->fs->proc_fd, fs_fdname(pfd).s, flags | O_CLOEXEC);
	if (fd < 0 && errno == EPERM && (flags & O_NOATIME))
		fd = openat(r->fs->proc_fd, fs_fdname(pfd).s, (flags & ~O_NOATIME) | O_CLOEXEC);
	ret = fd < 0 ? -errno : fd;
	fs_inode_unpin(r->fs, inode);
	return ret;
}

/* Makes the handle for fd, whose place in the budget is reserved; both are gone on an error. */
static int reply_open(struct fs_req *r, struct fs_inode *inode, int fd, int flags, uint8_t *out)
{
	struct fuse_open_out open_out = { 0 };
	int ret = fs_handle_new(r->fs, inode, fd, false, (flags & O_ACCMODE) != O_RDONLY,
				&open_out.fh);

	if (ret < 0) {
		close(fd);
		fs_fd_release(r->fs);
		return ret;
	}
	if (note_version(inode, fd, false))
		open_out.open_flags |= FOPEN_KEEP_CACHE;
	memcpy(out, &open_out, sizeof(open_out));
	return sizeof(open_out);
}

int fs_op_open(struct fs_req *r)
{
	struct fuse_open_in in;
	int fd, ret, flags;

	memcpy(&in, r->arg, sizeof(in));
	flags = (int)in.flags & OPEN_FLAGS;
	if (r->inode->type == S_IFDIR)
		return -EISDIR;
	if (r->inode->export->readonly) {
		if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
			return -EROFS;
		flags |= O_NOATIME;
	}
	ret = fs_fd_reserve(r->fs);
	if (ret < 0)
		return ret;
	if (flags & O_TRUNC)
		ret = fs_cred_fsetid(r, !(in.open_flags & FUSE_OPEN_KILL_SUIDGID));
	fd = ret < 0 ? ret : fs_reopen(r, r->inode, flags);
	if (fd < 0) {
		fs_fd_release(r->fs);
		return fd;
	}
	return reply_open(r, r->inode, fd, flags, r->out);
}

/* The entry and the open file that follows it in the reply. `path`: an O_PATH descriptor for a file
 * without a name, else -1. fd is charged and goes on an error. */
static int reply_created(struct fs_req *r, struct fs_inode *parent, int path, int fd, int flags)
{
	struct fuse_entry_out entry;
	struct fs_inode *inode;
	struct statx stx;
	int ret = fs_statx(fd, "", &stx);

	if (ret < 0 && path >= 0)
		close(path);
	if (ret == 0)
		ret = fs_inode_enter(r->fs, r->inode->export, parent, r->name[0], path, &stx,
				     &inode);
	if (ret < 0) {
		close(fd);
		fs_fd_release(r->fs);
		return ret;
	}
	fs_entry_set(r->fs, inode, parent, &stx, &entry);
	memcpy(r->out, &entry, sizeof(entry));
	ret = reply_open(r, inode, fd, flags, r->out + sizeof(entry));
	if (ret < 0)
		fs_inode_forget(r->fs, inode->nodeid, 1);
	fs_inode_put(r->fs, inode);
	return ret < 0 ? ret : (int)sizeof(entry) + ret;
}

/* Somebody else made the name between the guest's lookup and now. It may be anything, so the guest
 * looks again and opens what it finds. */
static int create_error(int err, uint32_t flags)
{
	return err == EEXIST && !(flags & O_EXCL) ? -ESTALE : -err;
}

int fs_op_create(struct fs_req *r)
{
	struct fuse_create_in in;
	int dirfd, fd, ret, flags;

	memcpy(&in, r->arg, sizeof(in));
	flags = ((int)in.flags & OPEN_FLAGS & ~O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	ret = fs_cred_owner(r, in.umask);
	if (ret == 0)
		ret = fs_fd_reserve(r->fs);
	if (ret < 0)
		return ret;
	ret = fs_inode_pin(r->fs, r->inode, &dirfd);
	if (ret < 0) {
		fs_fd_release(r->fs);
		return ret;
	}
	fd = openat(dirfd, r->name[0], flags, in.mode & 07777);
	ret = fd < 0 ? create_error(errno, in.flags) : 0;
	fs_inode_unpin(r->fs, r->inode);
	if (ret < 0) {
		fs_fd_release(r->fs);
		return ret;
	}
	return reply_created(r, r->inode, -1, fd, flags);
}

int fs_op_tmpfile(struct fs_req *r)
{
	struct fuse_create_in in;
	int dirfd, path = -1, fd, ret, flags;

	memcpy(&in, r->arg, sizeof(in));
	flags = ((int)in.flags & OPEN_FLAGS & ~O_TRUNC) | O_TMPFILE | O_CLOEXEC;
	flags |= (int)in.flags & O_EXCL;
	ret = fs_cred_owner(r, in.umask);
	if (ret == 0)
		ret = fs_fd_reserve(r->fs);
	if (ret < 0)
		return ret;
	ret = fs_inode_pin(r->fs, r->inode, &dirfd);
	if (ret < 0) {
		fs_fd_release(r->fs);
		return ret;
	}
	fd = openat(r->fs->proc_fd, fs_fdname(dirfd).s, flags, in.mode & 07777);
	ret = fd < 0 ? -errno : 0;
	fs_inode_unpin(r->fs, r->inode);
	if (ret == 0) {
		path = openat(r->fs->proc_fd, fs_fdname(fd).s, O_PATH | O_CLOEXEC);
		ret = path < 0 ? -errno : 0;
	}
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		fs_fd_release(r->fs);
		return ret;
	}
	return reply_created(r, NULL, path, fd, flags);
}

int fs_op_release(struct fs_req *r)
{
	struct fuse_release_in in;
	struct fs_handle *h;

	memcpy(&in, r->arg, sizeof(in));
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	if (h->wrote)
		note_version(h->inode, h->fd, true);
	fs_handle_release(r->fs, h);
	fs_handle_put(r->fs, h);
	return 0;
}
