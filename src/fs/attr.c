/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: of entries that the guest learns, of inodes, of file systems. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clean.h"
#include "fs/server.h"

#define NS_PER_S 1000000000u

void fs_attr_fill(const struct statx *stx, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = stx->stx_ino,
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = (uint64_t)stx->stx_atime.tv_sec,
		.mtime = (uint64_t)stx->stx_mtime.tv_sec,
		.ctime = (uint64_t)stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = stx->stx_mode,
		.nlink = stx->stx_nlink,
		.uid = stx->stx_uid,
		.gid = stx->stx_gid,
		.rdev = (uint32_t)makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.blksize = stx->stx_blksize,
	};
}

void fs_root_attr(struct sm_fs *fs, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = FUSE_ROOT_ID,
		.mode = S_IFDIR | 0555,
		.nlink = 2,
		.blksize = 4096,
	};
}

/* How long the guest may believe attributes. Not at all the set-id bits: when a write takes them away,
 * its kernel does not notice. */
static uint64_t attr_valid_ns(const struct sm_fs *fs, const struct statx *stx)
{
	if (S_ISREG(stx->stx_mode) && (stx->stx_mode & (S_ISUID | S_ISGID)))
		return 0;
	return fs->attr_timeout_ns;
}

void fs_entry_set(struct sm_fs *fs, const struct fs_inode *inode, const struct fs_inode *parent,
		  const struct statx *stx, struct fuse_entry_out *out)
{
	/* names in the root directory come and go by the loop's thread: never believed for long */
	uint64_t valid = parent && !parent->export ? 0 : fs->entry_timeout_ns;
	uint64_t attr_valid = attr_valid_ns(fs, stx);

	*out = (struct fuse_entry_out){
		.nodeid = inode->nodeid,
		.entry_valid = valid / NS_PER_S,
		.entry_valid_nsec = valid % NS_PER_S,
		.attr_valid = attr_valid / NS_PER_S,
		.attr_valid_nsec = attr_valid % NS_PER_S,
	};
	fs_attr_fill(stx, &out->attr);
	if (inode->type == S_IFDIR && parent && (!parent->export || parent->mnt != inode->mnt) &&
	    (atomic_load_explicit(&fs->flags, memory_order_relaxed) & FUSE_SUBMOUNTS))
		out->attr.flags |= FUSE_ATTR_SUBMOUNT;
}

int fs_entry_fill(struct fs_req *r, struct fs_inode *parent, const char *name,
		  const struct statx *stx, struct fuse_entry_out *out)
{
	struct fs_inode *inode;
	int ret = fs_inode_enter(r->fs, parent->export, parent, name, -1, stx, &inode);

	if (ret < 0)
		return ret;
	fs_entry_set(r->fs, inode, parent, stx, out);
	fs_inode_put(r->fs, inode);
	return 0;
}

static int reply_attr(struct fs_req *r, const struct statx *stx)
{
	uint64_t valid = stx ? attr_valid_ns(r->fs, stx) : r->fs->attr_timeout_ns;
	struct fuse_attr_out out = {
		.attr_valid = valid / NS_PER_S,
		.attr_valid_nsec = valid % NS_PER_S,
	};

	if (stx)
		fs_attr_fill(stx, &out.attr);
	else
		fs_root_attr(r->fs, &out.attr);
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

int fs_op_getattr(struct fs_req *r)
{
	struct fuse_getattr_in in;
	struct fs_handle *h = NULL;
	struct statx stx;
	int ret;

	if (!r->inode->export)
		return reply_attr(r, NULL);
	memcpy(&in, r->arg, sizeof(in));
	if (in.getattr_flags & FUSE_GETATTR_FH)
		h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (h) {
		ret = fs_statx(h->fd, "", &stx);
		fs_handle_put(r->fs, h);
	} else {
		ret = fs_inode_stat(r->fs, r->inode, &stx);
	}
	return ret < 0 ? ret : reply_attr(r, &stx);
}

struct fs_fdname fs_fdname(int fd)
{
	struct fs_fdname n;
	char *p = n.s + sizeof(n.s) - 1, *end = p;
	unsigned int v = (unsigned int)fd;

	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	*end = '\0';
	memmove(n.s, p, (size_t)(end - p) + 1);
	return n;
}

/* #syscalls:fs fchmodat */
static int set_mode(struct fs_req *r, int fd, const struct fuse_setattr_in *in)
{
	if (r->inode->type == S_IFLNK)
		return -EOPNOTSUPP;
	if (fchmodat(r->fs->proc_fd, fs_fdname(fd).s, in->mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

/* #syscalls:fs fchownat */
static int set_owner(struct fs_req *r, int fd, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* #syscalls:fs openat ftruncate close */
static int set_size(struct fs_req *r, int fd, const struct fuse_setattr_in *in)
{
	sm_auto_close int fresh = -1;
	struct fs_handle *h = NULL;
	int ret;

	if (r->inode->type != S_IFREG || in->size > INT64_MAX)
		return -EINVAL;
	if (in->valid & FATTR_FH)
		h = fs_handle_get(r->fs, in->fh, r->in.nodeid, false);
	if (h && !h->writable) {
		fs_handle_put(r->fs, h);
		h = NULL;
	}
	ret = fs_cred_fsetid(r, !(in->valid & FATTR_KILL_SUIDGID));
	if (ret == 0 && !h) {
		fresh = openat(r->fs->proc_fd, fs_fdname(fd).s, O_WRONLY | O_CLOEXEC);
		ret = fresh < 0 ? -errno : 0;
	}
	if (ret == 0 && ftruncate(h ? h->fd : fresh, (off_t)in->size) < 0)
		ret = -errno;
	if (h) {
		h->wrote = true;
		fs_handle_put(r->fs, h);
	}
	return ret;
}

static struct timespec time_arg(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec,
				uint32_t nsec)
{
	struct timespec ts = { .tv_nsec = UTIME_OMIT };

	if (valid & now)
		ts.tv_nsec = UTIME_NOW;
	else if (valid & set)
		ts = (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = nsec };
	return ts;
}

/* #syscalls:fs utimensat */
static int set_times(struct fs_req *r, int fd, const struct fuse_setattr_in *in)
{
	struct timespec ts[2] = {
		time_arg(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_arg(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	if ((in->valid & FATTR_ATIME && in->atimensec >= NS_PER_S) ||
	    (in->valid & FATTR_MTIME && in->mtimensec >= NS_PER_S))
		return -EINVAL;
	return utimensat(r->fs->proc_fd, fs_fdname(fd).s, ts, 0) < 0 ? -errno : 0;
}

static int set_all(struct fs_req *r, int fd, const struct fuse_setattr_in *in)
{
	int ret = 0;

	if (in->valid & FATTR_MODE)
		ret = set_mode(r, fd, in);
	if (ret == 0 && (in->valid & (FATTR_UID | FATTR_GID)))
		ret = set_owner(r, fd, in);
	if (ret == 0 && (in->valid & FATTR_SIZE))
		ret = set_size(r, fd, in);
	if (ret == 0 && (in->valid & (FATTR_ATIME | FATTR_MTIME)))
		ret = set_times(r, fd, in);
	return ret;
}

int fs_op_setattr(struct fs_req *r)
{
	struct fuse_setattr_in in;
	struct statx stx;
	int fd, ret;

	memcpy(&in, r->arg, sizeof(in));
	ret = fs_inode_pin(r->fs, r->inode, &fd);
	if (ret < 0)
		return ret;
	ret = set_all(r, fd, &in);
	fs_inode_unpin(r->fs, r->inode);
	if (ret == 0)
		ret = fs_inode_stat(r->fs, r->inode, &stx);
	return ret < 0 ? ret : reply_attr(r, &stx);
}

/* #syscalls:fs fstatfs */
int fs_op_statfs(struct fs_req *r)
{
	struct fuse_statfs_out out = { .st = { .bsize = 4096, .frsize = 4096, .namelen = 255 } };
	struct statfs st;
	struct fs_at at;
	int ret = 0;

	if (r->inode->export) {
		ret = fs_at(r->fs, r->inode, &at);
		if (ret < 0)
			return ret;
		ret = fstatfs(at.fd, &st) < 0 ? -errno : 0;
		fs_at_done(r->fs, &at);
		out.st = (struct fuse_kstatfs){
			.blocks = st.f_blocks,
			.bfree = st.f_bfree,
			.bavail = st.f_bavail,
			.files = st.f_files,
			.ffree = st.f_ffree,
			.bsize = (uint32_t)st.f_bsize,
			.frsize = (uint32_t)st.f_frsize,
			.namelen = (uint32_t)st.f_namelen,
		};
	}
	memcpy(r->out, &out, sizeof(out));
	return ret < 0 ? ret : (int)sizeof(out);
}
