/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: the table of operations, and what is checked for each of them before it runs. Facts are
 * those of include/uapi/linux/fuse.h (protocol 7.38) and virtio 1.2, 5.11.6.
 *
 *	  device-readable                          device-writable
 *	┌────────────────┬──────┬──────┬─────┐   ┌─────────────────┬─────────────┐
 *	│ fuse_in_header │ args │ name │ ... │   │ fuse_out_header │ payload ... │
 *	└────────────────┴──────┴──────┴─────┘   └─────────────────┴─────────────┘
 *
 * The message is copied out of guest memory before it is looked at, except for the data of WRITE.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/clean.h"
#include "base/log.h"
#include "fs/server.h"

enum op_flag {
	OP_NODE = 1 << 0,	/* in.nodeid names an inode: req->inode */
	OP_ROOT = 1 << 1,	/* also works on the root directory */
	OP_MODIFY = 1 << 2,	/* not on a read-only export */
	OP_DIR = 1 << 3,	/* the inode must be a directory */
	OP_SLOW = 1 << 4,	/* may wait for a disk */
};

struct op {
	const char *name;
	fs_op_fn *fn;
	uint16_t arg_min;	/* fixed part after the header */
	uint16_t reply_min;	/* room for a reply that the guest must offer */
	uint8_t names;		/* components after the fixed part */
	uint8_t flags;
};

#define INIT_FLAGS                                                                              \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |             \
	 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |  \
	 FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_POSIX_ACL | FUSE_MAX_PAGES |     \
	 FUSE_CACHE_SYMLINKS | FUSE_SETXATTR_EXT | FUSE_SUBMOUNTS | FUSE_INIT_EXT)
#define INIT_IN_MIN 16 /* before 7.36 the structure ended with `flags` */

void fs_fuse_forget_all(struct sm_fs *fs)
{
	atomic_store(&fs->flags, 0);
	fs_handle_release_all(fs);
	fs_inode_forget_all(fs);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static int op_init(struct fs_req *r)
{
	struct fuse_init_in in = { 0 };
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION };

	memcpy(&in, r->arg, r->arg_len < sizeof(in) ? r->arg_len : sizeof(in));
	if (in.major < FUSE_KERNEL_VERSION || (in.major == FUSE_KERNEL_VERSION && in.minor < 31))
		return -EPROTO; /* older than virtio-fs itself */
	fs_fuse_forget_all(r->fs);
	out.minor = min_u32(in.minor, FUSE_KERNEL_MINOR_VERSION);
	out.max_readahead = in.max_readahead;
	out.flags = in.flags & (uint32_t)INIT_FLAGS;
	out.max_background = 128;
	out.congestion_threshold = 96;
	out.max_write = FS_MAX_WRITE;
	out.time_gran = 1;
	out.max_pages = FS_MAX_PAGES;
	atomic_store(&r->fs->flags, out.flags | 1ull << 63);
	memcpy(r->out, &out, sizeof(out));
	return sizeof(out);
}

static int op_destroy(struct fs_req *r)
{
	fs_fuse_forget_all(r->fs);
	return 0;
}

static int op_forget(struct fs_req *r)
{
	struct fuse_forget_in in;

	memcpy(&in, r->arg, sizeof(in));
	fs_inode_forget(r->fs, r->in.nodeid, in.nlookup);
	return FS_NO_REPLY;
}

static int op_batch_forget(struct fs_req *r)
{
	struct fuse_batch_forget_in in;
	size_t fits = (r->arg_len - sizeof(in)) / sizeof(struct fuse_forget_one);

	memcpy(&in, r->arg, sizeof(in));
	for (size_t i = 0; i < in.count && i < fits; i++) {
		struct fuse_forget_one one;

		memcpy(&one, r->arg + sizeof(in) + i * sizeof(one), sizeof(one));
		fs_inode_forget(r->fs, one.nodeid, one.nlookup);
	}
	return FS_NO_REPLY;
}

/* Requests here end before they could be interrupted; 7.38 wants no reply to this one. */
static int op_interrupt(struct fs_req *r)
{
	return FS_NO_REPLY;
}

#define ENTRY_OUT sizeof(struct fuse_entry_out)
#define ATTR_OUT sizeof(struct fuse_attr_out)
#define OPEN_OUT sizeof(struct fuse_open_out)
#define DIR_MODIFY (OP_NODE | OP_DIR | OP_MODIFY)

/* FLUSH, ACCESS, BMAP, IOCTL, POLL and the locks have no row: -ENOSYS, upon which the guest does
 * without them for good (locks are then the guest kernel's own). */
static const struct op ops[] = {
	[FUSE_LOOKUP] = { "LOOKUP", fs_op_lookup, 0, ENTRY_OUT, 1, OP_NODE | OP_ROOT | OP_DIR },
	[FUSE_FORGET] = { "FORGET", op_forget, sizeof(struct fuse_forget_in), 0, 0, 0 },
	[FUSE_GETATTR] = { "GETATTR", fs_op_getattr, sizeof(struct fuse_getattr_in), ATTR_OUT, 0,
			   OP_NODE | OP_ROOT },
	[FUSE_SETATTR] = { "SETATTR", fs_op_setattr, sizeof(struct fuse_setattr_in), ATTR_OUT, 0,
			   OP_NODE | OP_MODIFY },
	[FUSE_READLINK] = { "READLINK", fs_op_readlink, 0, 0, 0, OP_NODE },
	[FUSE_SYMLINK] = { "SYMLINK", fs_op_symlink, 0, ENTRY_OUT, 1, DIR_MODIFY },
	[FUSE_MKNOD] = { "MKNOD", fs_op_mknod, sizeof(struct fuse_mknod_in), ENTRY_OUT, 1,
			 DIR_MODIFY },
	[FUSE_MKDIR] = { "MKDIR", fs_op_mkdir, sizeof(struct fuse_mkdir_in), ENTRY_OUT, 1,
			 DIR_MODIFY },
	[FUSE_UNLINK] = { "UNLINK", fs_op_unlink, 0, 0, 1, DIR_MODIFY },
	[FUSE_RMDIR] = { "RMDIR", fs_op_rmdir, 0, 0, 1, DIR_MODIFY },
	[FUSE_RENAME] = { "RENAME", fs_op_rename, sizeof(struct fuse_rename_in), 0, 2, DIR_MODIFY },
	[FUSE_LINK] = { "LINK", fs_op_link, sizeof(struct fuse_link_in), ENTRY_OUT, 1, DIR_MODIFY },
	[FUSE_OPEN] = { "OPEN", fs_op_open, sizeof(struct fuse_open_in), OPEN_OUT, 0, OP_NODE },
	[FUSE_READ] = { "READ", fs_op_read, sizeof(struct fuse_read_in), 0, 0, 0 },
	[FUSE_WRITE] = { "WRITE", fs_op_write, sizeof(struct fuse_write_in),
			 sizeof(struct fuse_write_out), 0, 0 },
	[FUSE_STATFS] = { "STATFS", fs_op_statfs, 0, sizeof(struct fuse_statfs_out), 0,
			  OP_NODE | OP_ROOT },
	[FUSE_RELEASE] = { "RELEASE", fs_op_release, sizeof(struct fuse_release_in), 0, 0, 0 },
	[FUSE_FSYNC] = { "FSYNC", fs_op_fsync, sizeof(struct fuse_fsync_in), 0, 0, OP_SLOW },
	[FUSE_SETXATTR] = { "SETXATTR", fs_op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, 0,
			    OP_NODE | OP_MODIFY },
	[FUSE_GETXATTR] = { "GETXATTR", fs_op_getxattr, sizeof(struct fuse_getxattr_in), 0, 0,
			    OP_NODE },
	[FUSE_LISTXATTR] = { "LISTXATTR", fs_op_listxattr, sizeof(struct fuse_getxattr_in), 0, 0,
			     OP_NODE },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", fs_op_removexattr, 0, 0, 0, OP_NODE | OP_MODIFY },
	[FUSE_INIT] = { "INIT", op_init, INIT_IN_MIN, sizeof(struct fuse_init_out), 0, 0 },
	[FUSE_OPENDIR] = { "OPENDIR", fs_op_opendir, sizeof(struct fuse_open_in), OPEN_OUT, 0,
			   OP_NODE | OP_ROOT | OP_DIR },
	[FUSE_READDIR] = { "READDIR", fs_op_readdir, sizeof(struct fuse_read_in), 0, 0,
			   OP_NODE | OP_ROOT | OP_DIR },
	[FUSE_RELEASEDIR] = { "RELEASEDIR", fs_op_releasedir, sizeof(struct fuse_release_in), 0, 0,
			      0 },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", fs_op_fsyncdir, sizeof(struct fuse_fsync_in), 0, 0,
			    OP_SLOW },
	[FUSE_CREATE] = { "CREATE", fs_op_create, sizeof(struct fuse_create_in),
			  ENTRY_OUT + OPEN_OUT, 1, DIR_MODIFY },
	[FUSE_INTERRUPT] = { "INTERRUPT", op_interrupt, sizeof(struct fuse_interrupt_in), 0, 0, 0 },
	[FUSE_DESTROY] = { "DESTROY", op_destroy, 0, 0, 0, 0 },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", op_batch_forget,
				sizeof(struct fuse_batch_forget_in), 0, 0, 0 },
	[FUSE_FALLOCATE] = { "FALLOCATE", fs_op_fallocate, sizeof(struct fuse_fallocate_in), 0, 0,
			     OP_SLOW },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", fs_op_readdirplus, sizeof(struct fuse_read_in), 0, 0,
			       OP_NODE | OP_ROOT | OP_DIR },
	[FUSE_RENAME2] = { "RENAME2", fs_op_rename2, sizeof(struct fuse_rename2_in), 0, 2,
			   DIR_MODIFY },
	[FUSE_LSEEK] = { "LSEEK", fs_op_lseek, sizeof(struct fuse_lseek_in),
			 sizeof(struct fuse_lseek_out), 0, 0 },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", fs_op_copy,
				   sizeof(struct fuse_copy_file_range_in),
				   sizeof(struct fuse_write_out), 0, OP_SLOW },
	[FUSE_SYNCFS] = { "SYNCFS", fs_op_syncfs, sizeof(struct fuse_syncfs_in), 0, 0,
			  OP_NODE | OP_ROOT | OP_SLOW },
	[FUSE_TMPFILE] = { "TMPFILE", fs_op_tmpfile, sizeof(struct fuse_create_in),
			   ENTRY_OUT + OPEN_OUT, 0, DIR_MODIFY },
};

/* One path component: never empty, "." or "..", no slash, ended by a zero byte. */
static int check_name(const char *name, size_t room)
{
	size_t len = strnlen(name, room);

	if (len == room || len == 0)
		return -EINVAL;
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name, '/', len) || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	return 0;
}

static int take_names(struct fs_req *r, const struct op *op)
{
	size_t off = op->arg_min;

	for (int i = 0; i < op->names; i++) {
		int ret;

		r->name[i] = (const char *)r->arg + off;
		ret = check_name(r->name[i], r->arg_len - off);
		if (ret < 0)
			return ret;
		off += strlen(r->name[i]) + 1;
	}
	return 0;
}

static int check_inode(const struct fs_req *r, const struct op *op)
{
	const struct fs_inode *inode = r->inode;

	if (!inode)
		return -ESTALE;
	/* the guest looks for an ACL of the root before others than its owner may pass */
	if (!inode->export && r->in.opcode == FUSE_GETXATTR)
		return -ENODATA;
	if (!inode->export && !(op->flags & OP_ROOT))
		return op->flags & OP_MODIFY ? -EROFS : -EOPNOTSUPP;
	if ((op->flags & OP_MODIFY) && inode->export->readonly)
		return -EROFS;
	if ((op->flags & OP_DIR) && inode->type != S_IFDIR)
		return -ENOTDIR;
	return 0;
}

static const struct op *find_op(uint32_t opcode)
{
	return opcode < SM_ARRAY_SIZE(ops) && ops[opcode].fn ? &ops[opcode] : NULL;
}

static int run(struct fs_req *r)
{
	const struct op *op = find_op(r->in.opcode);
	int ret;

	if (!op)
		return -ENOSYS;
	if (r->arg_len < op->arg_min || r->out_max < op->reply_min) {
		sm_debug("fs: %s: %zu bytes of arguments, room for %zu", op->name, r->arg_len,
			 r->out_max);
		return -EINVAL;
	}
	if (!atomic_load_explicit(&r->fs->flags, memory_order_relaxed) && op->fn != op_init)
		return -EIO;
	ret = take_names(r, op);
	if (ret < 0)
		return ret;
	if (op->flags & OP_NODE) {
		r->inode = fs_inode_get(r->fs, r->in.nodeid);
		ret = check_inode(r, op);
	}
	if (op->flags & OP_SLOW)
		fs_hand_over(r);
	if (ret == 0)
		ret = op->fn(r);
	fs_inode_put(r->fs, r->inode);
	return ret;
}

/* These have no reply, not even an error. */
static bool is_silent(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

/* Copies the message: the number of bytes, or 0 if there is no whole header. */
static size_t copy_in(struct fs_req *r)
{
	struct fs_worker *w = r->worker;
	size_t max = sizeof(w->in), len;

	/* data is not copied; its length is part of the header's */
	len = sm_chain_read(r->chain, 0, w->in, sizeof(r->in));
	if (len < sizeof(r->in))
		return 0;
	memcpy(&r->in, w->in, sizeof(r->in));
	if (r->in.opcode == FUSE_WRITE)
		max = sizeof(r->in) + sizeof(struct fuse_write_in);
	return len + sm_chain_read(r->chain, len, w->in + len, max - len);
}

uint32_t fs_fuse_serve(struct fs_worker *w, const struct sm_chain *chain)
{
	struct fs_req r = { .fs = w->fs, .worker = w, .chain = chain, .out = w->out };
	struct fuse_out_header head = { .len = sizeof(head) };
	size_t len = copy_in(&r), payload = 0;
	int ret;

	if (len == 0 || (chain->in_len < sizeof(head) && !is_silent(r.in.opcode)))
		return 0;
	if (chain->in_len > sizeof(head))
		r.out_max = chain->in_len - sizeof(head);
	if (r.out_max > FS_SCRATCH)
		r.out_max = FS_SCRATCH;
	r.arg = w->in + sizeof(r.in);
	if (r.in.len < sizeof(r.in) || r.in.len > chain->out_len) {
		ret = -EINVAL;
	} else {
		r.arg_len = (r.in.len < len ? r.in.len : len) - sizeof(r.in);
		ret = run(&r);
	}
	if (is_silent(r.in.opcode) || ret == FS_NO_REPLY)
		return 0;
	if (ret < 0)
		head.error = ret;
	else
		payload = (size_t)ret;
	head.len += payload;
	head.unique = r.in.unique;
	if (payload > 0 && !r.direct)
		sm_chain_write(chain, sizeof(head), w->out, payload);
	sm_chain_write(chain, 0, &head, sizeof(head));
	return head.len;
}
