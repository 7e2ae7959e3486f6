/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on the contents of open files. Data goes between the file and guest memory directly. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/server.h"

/* From here on a transfer is worth waking another worker for what comes in meanwhile. */
#define LONG_TRANSFER (256 * 1024)
#define COPY_MAX (64 * 1024 * 1024)

/* #syscalls:fs preadv2 */
static ssize_t read_into(struct fs_req *r, int fd, int n, uint64_t offset)
{
	struct iovec *iov = r->worker->data_iov;
	size_t want = 0;
	ssize_t got;

	for (int i = 0; i < n; i++)
		want += iov[i].iov_len;
	/* what is in the host's cache comes at once; for the rest others may go ahead */
	got = preadv2(fd, iov, n, (off_t)offset, RWF_NOWAIT);
	if (got >= 0 && (size_t)got == want)
		return got;
	fs_hand_over(r);
	return preadv2(fd, iov, n, (off_t)offset, 0);
}

int fs_op_read(struct fs_req *r)
{
	struct fuse_read_in in;
	struct fs_handle *h;
	ssize_t got;
	int n;

	memcpy(&in, r->arg, sizeof(in));
	if (in.offset > INT64_MAX)
		return -EINVAL;
	if (in.size > FS_MAX_WRITE)
		in.size = FS_MAX_WRITE;
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	n = sm_chain_in_iov(r->chain, sizeof(struct fuse_out_header), in.size, r->worker->data_iov,
			    SM_CHAIN_IOV_MAX);
	if (n <= 0)
		got = n;
	else
		got = read_into(r, h->fd, n, in.offset);
	if (got < 0)
		got = n < 0 ? n : -errno;
	fs_handle_put(r->fs, h);
	r->direct = true;
	return (int)got;
}

/* #syscalls:fs pwritev2 */
static ssize_t write_from(struct fs_req *r, struct fs_handle *h, const struct fuse_write_in *in,
			  int n)
{
	/* Appending is the file's, not the descriptor's, so that pages written back by the guest's
	 * cache go where they belong. */
	bool append = (in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE);
	int ret = fs_cred_fsetid(r, !(in->write_flags & FUSE_WRITE_KILL_SUIDGID));
	ssize_t put;

	if (ret < 0)
		return ret;
	h->wrote = true;
	put = pwritev2(h->fd, r->worker->data_iov, n, (off_t)in->offset, append ? RWF_APPEND : 0);
	return put < 0 ? -errno : put;
}

int fs_op_write(struct fs_req *r)
{
	const size_t head = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in);
	struct fuse_write_out out = { 0 };
	struct fuse_write_in in;
	struct fs_handle *h;
	ssize_t put = 0;
	int n;

	memcpy(&in, r->arg, sizeof(in));
	if (in.size > FS_MAX_WRITE || in.size > r->chain->out_len - head || in.offset > INT64_MAX)
		return -EINVAL;
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h || !h->writable) {
		if (h)
			fs_handle_put(r->fs, h);
		return -EBADF;
	}
	n = sm_chain_out_iov(r->chain, head, in.size, r->worker->data_iov, SM_CHAIN_IOV_MAX);
	if (in.size >= LONG_TRANSFER)
		fs_hand_over(r);
	if (n != 0)
		put = n < 0 ? n : write_from(r, h, &in, n);
	fs_handle_put(r->fs, h);
	if (put < 0)
		return (int)put;
	out.size = (uint32_t)put;
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

/* #syscalls:fs fsync fdatasync */
int fs_op_fsync(struct fs_req *r)
{
	struct fuse_fsync_in in;
	struct fs_handle *h;
	int ret;

	memcpy(&in, r->arg, sizeof(in));
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	ret = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	ret = ret < 0 ? -errno : 0;
	fs_handle_put(r->fs, h);
	return ret;
}

/* #syscalls:fs fallocate */
int fs_op_fallocate(struct fs_req *r)
{
	const uint32_t known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE |
			       FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;
	struct fuse_fallocate_in in;
	struct fs_handle *h;
	int ret;

	memcpy(&in, r->arg, sizeof(in));
	if (in.offset > INT64_MAX || in.length > INT64_MAX)
		return -EINVAL;
	if (in.mode & ~known)
		return -EOPNOTSUPP;
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	ret = fs_cred_fsetid(r, true);
	h->wrote = true;
	if (ret == 0 && fallocate(h->fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) < 0)
		ret = -errno;
	fs_handle_put(r->fs, h);
	return ret;
}

/* #syscalls:fs lseek */
int fs_op_lseek(struct fs_req *r)
{
	struct fuse_lseek_out out;
	struct fuse_lseek_in in;
	struct fs_handle *h;
	off_t off;

	memcpy(&in, r->arg, sizeof(in));
	if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE)
		return -EINVAL;
	h = fs_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	off = lseek(h->fd, (off_t)in.offset, (int)in.whence);
	if (off < 0)
		off = -errno;
	fs_handle_put(r->fs, h);
	if (off < 0)
		return (int)off;
	out.offset = (uint64_t)off;
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

/* #syscalls:fs copy_file_range */
static int copy_range(struct fs_req *r, const struct fuse_copy_file_range_in *in,
		      struct fs_handle *from, struct fs_handle *to)
{
	struct fuse_write_out out = { 0 };
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
	ssize_t n;

	if (!to->writable || in->flags || off_in < 0 || off_out < 0)
		return -EINVAL;
	to->wrote = true;
	n = copy_file_range(from->fd, &off_in, to->fd, &off_out,
			    in->len < COPY_MAX ? in->len : COPY_MAX, 0);
	if (n < 0)
		return -errno;
	out.size = (uint32_t)n;
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

int fs_op_copy(struct fs_req *r)
{
	struct fuse_copy_file_range_in in;
	struct fs_handle *from, *to;
	int ret = -EBADF;

	memcpy(&in, r->arg, sizeof(in));
	from = fs_handle_get(r->fs, in.fh_in, r->in.nodeid, false);
	to = fs_handle_get(r->fs, in.fh_out, in.nodeid_out, false);
	if (from && to)
		ret = fs_cred_fsetid(r, true);
	if (ret == 0)
		ret = copy_range(r, &in, from, to);
	if (from)
		fs_handle_put(r->fs, from);
	if (to)
		fs_handle_put(r->fs, to);
	return ret;
}

/* #syscalls:fs syncfs */
int fs_op_syncfs(struct fs_req *r)
{
	int fd, ret;

	if (!r->inode->export) {
		fs_export_syncfs(r->fs);
		return 0;
	}
	if (r->inode->export->readonly)
		return 0;
	fd = fs_reopen(r, r->inode, O_RDONLY);
	if (fd < 0)
		return fd;
	ret = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return ret;
}
