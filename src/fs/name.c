/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on names in directories. Each is one component relative to the directory's own
 * descriptor; the host never resolves a path of the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/server.h"

/* Replies with the entry r->name[0] of r->inode, whose descriptor is dirfd. */
static int reply_entry(struct fs_req *r, int dirfd)
{
	struct fuse_entry_out out;
	struct statx stx;
	int ret = fs_statx(dirfd, r->name[0], &stx);

	if (ret == 0)
		ret = fs_entry_fill(r, r->inode, r->name[0], &stx, &out);
	if (ret < 0)
		return ret;
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

/* "There is no such name" is something the guest may believe, too. */
static int reply_absent(struct fs_req *r)
{
	struct fuse_entry_out out = {
		.entry_valid = r->fs->entry_timeout_ns / 1000000000,
		.entry_valid_nsec = r->fs->entry_timeout_ns % 1000000000,
	};

	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

int fs_op_lookup(struct fs_req *r)
{
	int fd, ret;

	if (!r->inode->export)
		return fs_export_lookup(r);
	ret = fs_inode_pin(r->fs, r->inode, &fd);
	if (ret < 0)
		return ret;
	ret = reply_entry(r, fd);
	fs_inode_unpin(r->fs, r->inode);
	return ret == -ENOENT ? reply_absent(r) : ret;
}

/* ---- new names ---- */

typedef int make_fn(struct fs_req *r, int dirfd);

static int make_entry(struct fs_req *r, mode_t mask, make_fn *make)
{
	int fd, ret = fs_cred_owner(r, mask);

	if (ret == 0)
		ret = fs_inode_pin(r->fs, r->inode, &fd);
	if (ret < 0)
		return ret;
	ret = make(r, fd);
	if (ret == 0)
		ret = reply_entry(r, fd);
	fs_inode_unpin(r->fs, r->inode);
	return ret;
}

/* #syscalls:fs mknodat mkdirat symlinkat linkat */
static int make_node(struct fs_req *r, int dirfd)
{
	struct fuse_mknod_in in;

	memcpy(&in, r->arg, sizeof(in));
	if (mknodat(dirfd, r->name[0], in.mode, in.rdev) < 0)
		return -errno;
	return 0;
}

int fs_op_mknod(struct fs_req *r)
{
	struct fuse_mknod_in in;

	memcpy(&in, r->arg, sizeof(in));
	return make_entry(r, in.umask, make_node);
}

static int make_dir(struct fs_req *r, int dirfd)
{
	struct fuse_mkdir_in in;

	memcpy(&in, r->arg, sizeof(in));
	return mkdirat(dirfd, r->name[0], in.mode & 07777) < 0 ? -errno : 0;
}

int fs_op_mkdir(struct fs_req *r)
{
	struct fuse_mkdir_in in;

	memcpy(&in, r->arg, sizeof(in));
	return make_entry(r, in.umask, make_dir);
}

/* The target follows the name and is any string: only the guest ever follows it. */
static int make_symlink(struct fs_req *r, int dirfd)
{
	const char *target = r->name[0] + strlen(r->name[0]) + 1;
	size_t room = r->arg_len - (size_t)((const uint8_t *)target - r->arg);

	if (strnlen(target, room) == room)
		return -EINVAL;
	return symlinkat(target, dirfd, r->name[0]) < 0 ? -errno : 0;
}

int fs_op_symlink(struct fs_req *r)
{
	return make_entry(r, 0, make_symlink);
}

static int make_link(struct fs_req *r, struct fs_inode *old, int dirfd)
{
	int fd, ret = fs_inode_pin(r->fs, old, &fd);

	if (ret < 0)
		return ret;
	if (linkat(r->fs->proc_fd, fs_fdname(fd).s, dirfd, r->name[0], AT_SYMLINK_FOLLOW) < 0)
		ret = -errno;
	fs_inode_unpin(r->fs, old);
	return ret;
}

int fs_op_link(struct fs_req *r)
{
	struct fuse_link_in in;
	struct fs_inode *old;
	int fd, ret;

	memcpy(&in, r->arg, sizeof(in));
	old = fs_inode_get(r->fs, in.oldnodeid);
	if (!old)
		return -ESTALE;
	ret = old->export == r->inode->export ? fs_inode_pin(r->fs, r->inode, &fd) : -EXDEV;
	if (ret == 0) {
		ret = make_link(r, old, fd);
		if (ret == 0)
			ret = reply_entry(r, fd);
		fs_inode_unpin(r->fs, r->inode);
	}
	fs_inode_put(r->fs, old);
	return ret;
}

/* ---- names that go ---- */

/* #syscalls:fs unlinkat */
static int remove_name(struct fs_req *r, int flags)
{
	struct fs_inode *victim;
	int fd, ret = fs_inode_pin(r->fs, r->inode, &fd);

	if (ret < 0)
		return ret;
	victim = fs_inode_keep(r->fs, r->inode, fd, r->name[0]);
	if (unlinkat(fd, r->name[0], flags) < 0)
		ret = -errno;
	else
		fs_inode_renamed(r->fs, victim, NULL, NULL);
	fs_inode_put(r->fs, victim);
	fs_inode_unpin(r->fs, r->inode);
	return ret;
}

int fs_op_unlink(struct fs_req *r)
{
	return remove_name(r, 0);
}

int fs_op_rmdir(struct fs_req *r)
{
	return remove_name(r, AT_REMOVEDIR);
}

/* #syscalls:fs renameat2 */
static int rename_between(struct fs_req *r, struct fs_inode *newdir, int from, int to,
			  uint32_t flags)
{
	struct fs_inode *moved = fs_inode_keep(r->fs, r->inode, from, r->name[0]);
	struct fs_inode *other = fs_inode_keep(r->fs, newdir, to, r->name[1]);
	int ret = 0;

	/* not by glibc, which makes it renameat() where there are no flags */
	if (syscall(SYS_renameat2, from, r->name[0], to, r->name[1], flags) < 0) {
		ret = -errno;
	} else if (moved != other) {
		if (flags & RENAME_EXCHANGE)
			fs_inode_renamed(r->fs, other, r->inode, r->name[0]);
		else
			fs_inode_renamed(r->fs, other, NULL, NULL);
		fs_inode_renamed(r->fs, moved, newdir, r->name[1]);
	}
	fs_inode_put(r->fs, moved);
	fs_inode_put(r->fs, other);
	return ret;
}

static int do_rename(struct fs_req *r, uint64_t newdir_id, uint32_t flags)
{
	struct fs_inode *newdir;
	int from, to, ret;

	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	newdir = fs_inode_get(r->fs, newdir_id);
	if (!newdir)
		return -ESTALE;
	if (newdir->export != r->inode->export)
		ret = -EXDEV;
	else
		ret = newdir->type == S_IFDIR ? fs_inode_pin(r->fs, r->inode, &from) : -ENOTDIR;
	if (ret == 0) {
		ret = fs_inode_pin(r->fs, newdir, &to);
		if (ret == 0) {
			ret = rename_between(r, newdir, from, to, flags);
			fs_inode_unpin(r->fs, newdir);
		}
		fs_inode_unpin(r->fs, r->inode);
	}
	fs_inode_put(r->fs, newdir);
	return ret;
}

int fs_op_rename(struct fs_req *r)
{
	struct fuse_rename_in in;

	memcpy(&in, r->arg, sizeof(in));
	return do_rename(r, in.newdir, 0);
}

int fs_op_rename2(struct fs_req *r)
{
	struct fuse_rename2_in in;

	memcpy(&in, r->arg, sizeof(in));
	return do_rename(r, in.newdir, in.flags);
}

/* #syscalls:fs readlinkat */
int fs_op_readlink(struct fs_req *r)
{
	size_t room = r->out_max < PATH_MAX ? r->out_max : PATH_MAX;
	struct fs_at at;
	ssize_t len;
	int ret;

	if (r->inode->type != S_IFLNK)
		return -EINVAL;
	ret = fs_at(r->fs, r->inode, &at);
	if (ret < 0)
		return ret;
	len = readlinkat(at.fd, at.name, (char *)r->out, room);
	ret = len < 0 ? -errno : (int)len;
	fs_at_done(r->fs, &at);
	return ret;
}
