/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_FS_GUEST_H
#define TESTS_UNIT_FS_GUEST_H

/*
 * A guest's FUSE client for tests: one request at a time, straight to the dispatch, with the message
 * cut into buffers as Linux cuts it. Exports "rw" (a fresh directory) and "ro" (its "ro"
 * subdirectory, read-only).
 */

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "fs/server.h"

#define FG_ROOM (1024 * 1024)

struct fg {
	struct sm_fs *fs;
	struct fs_worker *worker;
	char path[64];		/* what is exported as "rw" */
	int dir;		/* the same */
	uint64_t rw, ro;	/* nodeids of the exports' roots */
	uint32_t uid, gid;	/* of the next requests */
	uint32_t written;	/* by the last request */
	uint8_t msg[FG_ROOM + 256];
	_Alignas(8) uint8_t reply[FG_ROOM + 256];	/* tests look at structures in it */
	const uint8_t *payload;
	size_t payload_len;
};

/* Sends len bytes of g->msg, offers `room` bytes in all for the reply. */
static inline void fg_send(struct fg *g, size_t len, size_t room)
{
	struct iovec iov[4];
	struct sm_chain chain = { .iov = iov };
	size_t cut = len < 40 ? len : 40, head = room < 16 ? room : 16;

	if (cut)
		iov[chain.nout++] = (struct iovec){ g->msg, cut };
	if (len > cut)
		iov[chain.nout++] = (struct iovec){ g->msg + cut, len - cut };
	if (head)
		iov[chain.nout + chain.nin++] = (struct iovec){ g->reply, head };
	if (room > head)
		iov[chain.nout + chain.nin++] = (struct iovec){ g->reply + head, room - head };
	chain.out_len = (uint32_t)len;
	chain.in_len = (uint32_t)room;
	memset(g->reply, 0xee, room < 4096 ? room : 4096);
	g->written = fs_fuse_serve(g->worker, &chain);
	g->payload = g->reply + sizeof(struct fuse_out_header);
	g->payload_len = g->written > 16 ? g->written - 16 : 0;
}

/* What the reply's header says: 0 or -errno; 1 if there was none. */
static inline int fg_error(const struct fg *g)
{
	struct fuse_out_header head;

	if (g->written < sizeof(head))
		return 1;
	memcpy(&head, g->reply, sizeof(head));
	if (head.len != g->written || head.unique != 77)
		abort();
	return head.error;
}

static inline size_t fg_header(struct fg *g, uint32_t opcode, uint64_t nodeid, size_t len)
{
	struct fuse_in_header in = { .opcode = opcode, .nodeid = nodeid, .unique = 77,
				     .uid = g->uid, .gid = g->gid, .len = (uint32_t)(40 + len) };

	memcpy(g->msg, &in, sizeof(in));
	return sizeof(in);
}

/* One request: fixed arguments, then `tail` bytes (names with their zero bytes, values). */
static inline int fg_call(struct fg *g, uint32_t opcode, uint64_t nodeid, const void *arg,
			  size_t len, const void *tail, size_t tail_len, size_t room)
{
	size_t at = fg_header(g, opcode, nodeid, len + tail_len);

	if (len)
		memcpy(g->msg + at, arg, len);
	if (tail_len)
		memcpy(g->msg + at + len, tail, tail_len);
	fg_send(g, at + len + tail_len, 16 + room);
	return fg_error(g);
}

/* One with a name. */
static inline int fg_named(struct fg *g, uint32_t opcode, uint64_t nodeid, const void *arg,
			   size_t len, const char *name)
{
	return fg_call(g, opcode, nodeid, arg, len, name, strlen(name) + 1, 4096);
}

static inline struct fuse_entry_out fg_entry(const struct fg *g)
{
	struct fuse_entry_out e;

	memcpy(&e, g->payload, sizeof(e));
	return e;
}

/* The nodeid of a name (counted), 0 if it is not there. */
static inline uint64_t fg_lookup(struct fg *g, uint64_t dir, const char *name)
{
	return fg_named(g, FUSE_LOOKUP, dir, NULL, 0, name) == 0 ? fg_entry(g).nodeid : 0;
}

static inline int fg_opened(struct fg *g, uint32_t opcode, uint64_t nodeid, int flags, uint64_t *fh)
{
	struct fuse_open_in in = { .flags = (uint32_t)flags };
	struct fuse_open_out out;
	int err = fg_call(g, opcode, nodeid, &in, sizeof(in), NULL, 0, 4096);

	*fh = 0;
	if (err == 0) {
		memcpy(&out, g->payload, sizeof(out));
		*fh = out.fh;
	}
	return err;
}

static inline int fg_open(struct fg *g, uint64_t nodeid, int flags, uint64_t *fh)
{
	return fg_opened(g, FUSE_OPEN, nodeid, flags, fh);
}

static inline int fg_opendir(struct fg *g, uint64_t nodeid, uint64_t *fh)
{
	return fg_opened(g, FUSE_OPENDIR, nodeid, 0, fh);
}

static inline int fg_release(struct fg *g, uint32_t opcode, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };

	return fg_call(g, opcode, nodeid, &in, sizeof(in), NULL, 0, 0);
}

static inline int fg_read(struct fg *g, uint32_t opcode, uint64_t nodeid, uint64_t fh,
			  uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };

	return fg_call(g, opcode, nodeid, &in, sizeof(in), NULL, 0, size);
}

static inline int fg_write(struct fg *g, uint64_t nodeid, struct fuse_write_in in, const void *data)
{
	return fg_call(g, FUSE_WRITE, nodeid, &in, sizeof(in), data, in.size,
		       sizeof(struct fuse_write_out));
}

static inline void fg_forget(struct fg *g, uint64_t nodeid, uint64_t n)
{
	struct fuse_forget_in in = { n };

	fg_header(g, FUSE_FORGET, nodeid, sizeof(in));
	memcpy(g->msg + 40, &in, sizeof(in));
	fg_send(g, 40 + sizeof(in), 0);
}

static inline int fg_getattr(struct fg *g, uint64_t nodeid, struct fuse_attr *attr)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;
	int err = fg_call(g, FUSE_GETATTR, nodeid, &in, sizeof(in), NULL, 0, 4096);

	memcpy(&out, g->payload, sizeof(out));
	*attr = out.attr;
	return err;
}

static inline int fg_init_session(struct fg *g)
{
	struct fuse_init_in in = { .major = 7, .minor = 38, .max_readahead = 131072, .flags = ~0u };

	return fg_call(g, FUSE_INIT, 0, &in, sizeof(in), NULL, 0, sizeof(struct fuse_init_out));
}

/* A file made by the host. */
static inline void fg_host_file(struct fg *g, const char *name, const char *text)
{
	int fd = openat(g->dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

static inline void fg_start(struct fg *g, const struct sm_fs_options *options)
{
	memset(g, 0, offsetof(struct fg, msg));
	strcpy(g->path, "/dev/shm/sm-test-fs.XXXXXX");
	if (!mkdtemp(g->path))
		abort();
	g->dir = open(g->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	g->worker = calloc(1, sizeof(*g->worker));
	g->uid = geteuid();
	g->gid = getegid();
	if (g->dir < 0 || !g->worker || mkdirat(g->dir, "ro", 0755) < 0)
		abort();
	fg_host_file(g, "ro/file", "read only\n");
	if (sm_fs_new(NULL, options, &g->fs) < 0 || fs_worker_init(g->worker, g->fs) < 0 ||
	    sm_fs_add_export(g->fs, "rw", open(g->path, O_PATH | O_CLOEXEC), false) < 0 ||
	    sm_fs_add_export(g->fs, "ro", openat(g->dir, "ro", O_PATH | O_CLOEXEC), true) < 0 ||
	    fg_init_session(g) < 0)
		abort();
	g->rw = fg_lookup(g, FUSE_ROOT_ID, "rw");
	g->ro = fg_lookup(g, FUSE_ROOT_ID, "ro");
}

static inline void fg_end(struct fg *g)
{
	sm_fs_free(g->fs);
	free(g->worker);
	close(g->dir);
	if (sm_remove_tree_at(AT_FDCWD, g->path) < 0)
		abort();
}

#endif
