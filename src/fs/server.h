/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_FS_SERVER_H
#define SM_FS_SERVER_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/fs.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "virtio/device.h"

/*
 * The FUSE server behind the device. One request at a time runs on a worker; several workers run
 * at once and share struct sm_fs.
 *
 *	chain ─► fs_fuse_serve(): header, row of the table, lengths, names, inode
 *	               └─► op_*(req): host system calls ─► payload in req->out, or straight into the
 *	                   chain's buffers; its length, or -errno ─► header written last
 */
#define FS_SCRATCH (68 * 1024)		/* the largest message but for data: a 64 KiB xattr */
#define FS_MAX_PAGES 256
#define FS_MAX_WRITE (FS_MAX_PAGES * 4096u)
#define FS_NO_REPLY INT32_MIN

struct fs_export {
	char name[SM_FS_NAME_MAX + 1];
	bool readonly;
	uint32_t refs;			/* the table's and one for each inode */
	struct fs_inode *root;		/* NULL once removed */
};

/* Queue threads, device.c. */
struct fs_queue;

struct sm_fs {
	struct sm_vdev vdev;		/* first */
	unsigned int workers;
	uint64_t entry_timeout_ns, attr_timeout_ns;
	uint32_t max_inodes;
	int (*thread_started)(void *arg);
	void *thread_arg;
	int proc_fd;			/* /proc/self/fd */

	pthread_mutex_t lock;		/* guards everything down to the next blank line */
	struct fs_inodes inodes;
	struct fs_idtab handles;
	struct fs_inode root;
	struct fs_export *exports[SM_FS_EXPORTS_MAX];
	size_t nexports;
	uint32_t nfds, max_fds;

	pthread_mutex_t dirbuf_lock;	/* guards the fields of dirbuf[], not the bytes of busy ones */
	struct fs_dirbuf dirbuf[FS_DIRBUFS];
	uint64_t dirbuf_clock;

	_Atomic uint64_t flags;		/* FUSE_* of the session; 0: no INIT yet */
	struct fs_queue *queue[2];
};

/* A thread that serves requests: its identity towards the host and its memory. */
struct fs_worker {
	struct sm_fs *fs;
	uid_t uid;
	gid_t gid;
	mode_t umask;
	bool fsetid;			/* CAP_FSETID is in effect */
	uint32_t caps[2][3];		/* what capset() takes: effective, permitted, inheritable */
	void (*hand_over)(struct fs_worker *w);	/* this request may take long; NULL allowed */
	uint8_t in[FS_SCRATCH];
	uint8_t out[FS_SCRATCH];
	struct iovec iov[SM_CHAIN_IOV_MAX];
	struct iovec data_iov[SM_CHAIN_IOV_MAX];
};

struct fs_req {
	struct sm_fs *fs;
	struct fs_worker *worker;
	const struct sm_chain *chain;
	struct fuse_in_header in;
	const uint8_t *arg;		/* copied: what follows the header */
	size_t arg_len;
	const char *name[2];		/* checked components, as many as the operation has */
	struct fs_inode *inode;		/* of in.nodeid, referenced; NULL if the operation has none */
	uint8_t *out;			/* payload of the reply */
	size_t out_max;			/* what the guest has room for, at most FS_SCRATCH */
	bool direct;			/* the payload is in the chain's buffers already */
};

/* Makes the calling thread a worker: own umask and working directory, capabilities that survive
 * changes of the file system uid. */
int fs_worker_init(struct fs_worker *w, struct sm_fs *fs);

/* Serves one chain; the number of bytes written to its in buffers. */
uint32_t fs_fuse_serve(struct fs_worker *w, const struct sm_chain *chain);

/* Everything the guest made is dropped: DESTROY, INIT, device reset. */
void fs_fuse_forget_all(struct sm_fs *fs);

/* ---- identity (cred.c) ---- */

/* What is created next belongs to the requester. 0 or -errno. */
int fs_cred_owner(struct fs_req *r, mode_t umask);

/* Whether writes and truncations keep set-id bits (they do for a privileged writer). */
int fs_cred_fsetid(struct fs_req *r, bool on);

/* ---- attributes (attr.c) ---- */

void fs_attr_fill(const struct statx *stx, struct fuse_attr *attr);

/* The reply for a file seen as `name` in r's or another directory: counts a lookup, fills *out. */
int fs_entry_fill(struct fs_req *r, struct fs_inode *parent, const char *name,
		  const struct statx *stx, struct fuse_entry_out *out);
/* What the guest is told of an inode that was entered. */
void fs_entry_set(struct sm_fs *fs, const struct fs_inode *inode, const struct fs_inode *parent,
		  const struct statx *stx, struct fuse_entry_out *out);
void fs_root_attr(struct sm_fs *fs, struct fuse_attr *attr);

/* ---- the root directory (export.c) ---- */

int fs_export_lookup(struct fs_req *r);
int fs_export_readdir(struct fs_req *r, bool plus);
void fs_export_put_locked(struct fs_export *export);
void fs_export_syncfs(struct sm_fs *fs);

/* ---- operations: payload length, -errno or FS_NO_REPLY ---- */

typedef int fs_op_fn(struct fs_req *r);

/* name.c */
fs_op_fn fs_op_lookup, fs_op_mknod, fs_op_mkdir, fs_op_symlink, fs_op_unlink, fs_op_rmdir;
fs_op_fn fs_op_rename, fs_op_rename2, fs_op_link, fs_op_readlink;
/* attr.c */
fs_op_fn fs_op_getattr, fs_op_setattr, fs_op_statfs;
/* file.c */
fs_op_fn fs_op_open, fs_op_create, fs_op_tmpfile, fs_op_release;
/* data.c */
fs_op_fn fs_op_read, fs_op_write, fs_op_fsync, fs_op_fallocate, fs_op_lseek, fs_op_copy, fs_op_syncfs;
/* dir.c */
fs_op_fn fs_op_opendir, fs_op_readdir, fs_op_readdirplus, fs_op_releasedir, fs_op_fsyncdir;
/* xattr.c */
fs_op_fn fs_op_setxattr, fs_op_getxattr, fs_op_listxattr, fs_op_removexattr;

/* A descriptor of an inode's file for I/O: only regular files and directories are ever opened. */
int fs_reopen(struct fs_req *r, struct fs_inode *inode, int flags);

/* "123": the name of a descriptor in proc_fd. */
struct fs_fdname {
	char s[16];
};
struct fs_fdname fs_fdname(int fd);

static inline void fs_hand_over(struct fs_req *r)
{
	if (r->worker->hand_over)
		r->worker->hand_over(r->worker);
}

#endif
