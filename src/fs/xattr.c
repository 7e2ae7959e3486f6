/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes, passed through as they are. There are no *at() calls for them on the hosts
 * that we support, so files are named relative to the worker's working directory, /proc/self/fd:
 * "12" is the file of descriptor 12 itself, "12/name" an entry of the directory it is (the l…()
 * variants follow the former, as any magic link before the last component, and not the latter).
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/server.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_PREFIX "system.posix_acl_"

struct path {
	char s[NAME_MAX + 16];
};

static struct path path_of(const struct fs_at *at)
{
	struct path p;

	snprintf(p.s, sizeof(p.s), "%d/%s", at->fd, at->name);
	if (!at->name[0])
		p.s[strlen(p.s) - 1] = '\0';
	return p;
}

/* The name at `off` of the arguments: bounded, ended by a zero byte. *len: with that byte. */
static int take_name(const struct fs_req *r, size_t off, const char **name, size_t *len)
{
	*name = (const char *)r->arg + off;
	if (off > r->arg_len || r->arg_len == off)
		return -EINVAL;
	*len = strnlen(*name, r->arg_len - off) + 1;
	if (*len > r->arg_len - off || *len == 1)
		return -EINVAL;
	return *len - 1 > XATTR_NAME_MAX ? -ERANGE : 0;
}

/* The guest asks for size bytes at most, or for the size with 0. */
static int reply_value(struct fs_req *r, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out out = { 0 };

	if (n < 0)
		return -errno;
	if (size > 0)
		return (int)n;
	out.size = (uint32_t)n;
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

static int check_room(const struct fs_req *r, uint32_t *size)
{
	if (*size == 0)
		return r->out_max < sizeof(struct fuse_getxattr_out) ? -EINVAL : 0;
	if (*size > r->out_max)
		*size = (uint32_t)r->out_max;
	return *size == 0 ? -ERANGE : 0;
}

/* #syscalls:fs getxattr lgetxattr */
int fs_op_getxattr(struct fs_req *r)
{
	struct fuse_getxattr_in in;
	const char *name;
	struct fs_at at;
	struct path p;
	size_t len;
	int ret;

	memcpy(&in, r->arg, sizeof(in));
	ret = take_name(r, sizeof(in), &name, &len);
	if (ret == 0)
		ret = check_room(r, &in.size);
	if (ret == 0)
		ret = fs_at(r->fs, r->inode, &at);
	if (ret < 0)
		return ret;
	p = path_of(&at);
	if (at.name[0])
		ret = reply_value(r, lgetxattr(p.s, name, r->out, in.size), in.size);
	else
		ret = reply_value(r, getxattr(p.s, name, r->out, in.size), in.size);
	fs_at_done(r->fs, &at);
	/* The guest's kernel asks for ACLs to check permissions, and would fail the access because the
	 * host's file system has none. */
	if (ret == -EOPNOTSUPP && strncmp(name, ACL_PREFIX, strlen(ACL_PREFIX)) == 0)
		ret = -ENODATA;
	return ret;
}

/* #syscalls:fs listxattr llistxattr */
int fs_op_listxattr(struct fs_req *r)
{
	struct fuse_getxattr_in in;
	struct fs_at at;
	struct path p;
	int ret;

	memcpy(&in, r->arg, sizeof(in));
	ret = check_room(r, &in.size);
	if (ret == 0)
		ret = fs_at(r->fs, r->inode, &at);
	if (ret < 0)
		return ret;
	p = path_of(&at);
	if (at.name[0])
		ret = reply_value(r, llistxattr(p.s, (char *)r->out, in.size), in.size);
	else
		ret = reply_value(r, listxattr(p.s, (char *)r->out, in.size), in.size);
	fs_at_done(r->fs, &at);
	return ret;
}

/* The setter of an ACL was not in the file's group: what the host would do by itself for a caller
 * without CAP_FSETID. */
static int clear_sgid(struct fs_req *r, int fd)
{
	struct statx stx;
	int ret = fs_statx(fd, "", &stx);

	if (ret < 0 || !(stx.stx_mode & S_ISGID))
		return ret;
	ret = fchmodat(r->fs->proc_fd, fs_fdname(fd).s, stx.stx_mode & 07777 & ~S_ISGID, 0);
	return ret < 0 ? -errno : 0;
}

/* #syscalls:fs setxattr */
int fs_op_setxattr(struct fs_req *r)
{
	bool ext = atomic_load(&r->fs->flags) & FUSE_SETXATTR_EXT;
	size_t off = ext ? sizeof(struct fuse_setxattr_in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
	struct fuse_setxattr_in in = { 0 };
	const char *name;
	size_t len;
	int fd, ret = take_name(r, off, &name, &len);

	if (ret < 0)
		return ret;
	memcpy(&in, r->arg, off);
	if (in.size > r->arg_len - off - len)
		return in.size > XATTR_SIZE_MAX ? -E2BIG : -EINVAL;
	ret = fs_inode_pin(r->fs, r->inode, &fd);
	if (ret < 0)
		return ret;
	if (setxattr(fs_fdname(fd).s, name, name + len, in.size, (int)in.flags) < 0)
		ret = -errno;
	if (ret == 0 && (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) &&
	    strcmp(name, ACL_ACCESS) == 0)
		ret = clear_sgid(r, fd);
	fs_inode_unpin(r->fs, r->inode);
	return ret;
}

/* #syscalls:fs removexattr */
int fs_op_removexattr(struct fs_req *r)
{
	const char *name;
	size_t len;
	int fd, ret = take_name(r, 0, &name, &len);

	if (ret == 0)
		ret = fs_inode_pin(r->fs, r->inode, &fd);
	if (ret < 0)
		return ret;
	if (removexattr(fs_fdname(fd).s, name) < 0)
		ret = -errno;
	fs_inode_unpin(r->fs, r->inode);
	return ret;
}
