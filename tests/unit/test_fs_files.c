/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "fs_guest.h"

/* Open files, directories, attributes, budgets; and guests that break the rules. */

static int setup(void **state)
{
	*state = malloc(sizeof(struct fg));
	fg_start(*state, NULL);
	return 0;
}

/* Room for 12 descriptors in all, two of which the exports have. */
static int setup_tight(void **state)
{
	struct sm_fs_options options = { .entry_timeout_ns = 1, .attr_timeout_ns = 1, .max_fds = 12 };

	*state = malloc(sizeof(struct fg));
	fg_start(*state, &options);
	return 0;
}

/* … or for 20 files, those two among them. */
static int setup_few(void **state)
{
	struct sm_fs_options options = { .max_inodes = 20 };

	*state = malloc(sizeof(struct fg));
	fg_start(*state, &options);
	return 0;
}

static int teardown(void **state)
{
	fg_end(*state);
	free(*state);
	return 0;
}

static uint64_t create(struct fg *g, uint64_t dir, const char *name, int flags, uint64_t *fh)
{
	struct fuse_create_in in = { .flags = (uint32_t)(flags | O_CREAT), .mode = 0644 };
	struct fuse_open_out out;

	assert_int_equal(fg_named(g, FUSE_CREATE, dir, &in, sizeof(in), name), 0);
	memcpy(&out, g->payload + sizeof(struct fuse_entry_out), sizeof(out));
	*fh = out.fh;
	return fg_entry(g).nodeid;
}

static void host_reads(struct fg *g, const char *name, const char *want)
{
	char buf[256];
	int fd = openat(g->dir, name, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf));

	close(fd);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, strlen(want));
}

static void test_read_write(void **state)
{
	struct fg *g = *state;
	uint64_t fh, f = create(g, g->rw, "f", O_RDWR, &fh);
	struct fuse_write_in in = { .fh = fh, .size = 5 };

	assert_int_equal(fg_write(g, f, in, "hello"), 0);
	assert_int_equal(*(const uint32_t *)g->payload, 5);
	in.offset = 5;
	in.size = 6;
	assert_int_equal(fg_write(g, f, in, " world"), 0);
	host_reads(g, "f", "hello world");
	assert_int_equal(fg_read(g, FUSE_READ, f, fh, 6, 100), 0);
	assert_int_equal(g->payload_len, 5);
	assert_memory_equal(g->payload, "world", 5);
	assert_int_equal(fg_read(g, FUSE_READ, f, fh, 100, 100), 0);
	assert_int_equal(g->payload_len, 0);
	assert_int_equal(fg_read(g, FUSE_READ, f, fh, 0, 0), 0);
	in.size = 0;
	assert_int_equal(fg_write(g, f, in, NULL), 0);
	assert_int_equal(*(const uint32_t *)g->payload, 0);
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, fh), 0);
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, fh), -EBADF);
}

static void test_largest_transfer(void **state)
{
	struct fg *g = *state;
	uint64_t fh, f = create(g, g->rw, "f", O_RDWR, &fh);
	struct fuse_write_in in = { .fh = fh, .size = FG_ROOM };
	char *data = malloc(FG_ROOM);

	for (size_t i = 0; i < FG_ROOM; i++)
		data[i] = (char)(i * 7);
	assert_int_equal(fg_write(g, f, in, data), 0);
	assert_int_equal(*(const uint32_t *)g->payload, FG_ROOM);
	assert_int_equal(fg_read(g, FUSE_READ, f, fh, 0, FG_ROOM), 0);
	assert_int_equal(g->payload_len, FG_ROOM);
	assert_memory_equal(g->payload, data, FG_ROOM);
	free(data);
}

/* Appending writes go to the end whatever the guest thinks it is; pages written back go where they
 * belong although the file is open for appending. */
static void test_append(void **state)
{
	struct fg *g = *state;
	uint64_t fh, f = create(g, g->rw, "f", O_RDWR | O_APPEND, &fh);
	struct fuse_write_in in = { .fh = fh, .size = 3, .flags = O_APPEND };

	fg_host_file(g, "f", "0123");
	assert_int_equal(fg_write(g, f, in, "abc"), 0);
	host_reads(g, "f", "0123abc");
	in.write_flags = FUSE_WRITE_CACHE;
	assert_int_equal(fg_write(g, f, in, "xyz"), 0);
	host_reads(g, "f", "xyz3abc");
}

static void test_truncate(void **state)
{
	struct fg *g = *state;
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = 2 };
	uint64_t f, fh;

	fg_host_file(g, "f", "hello");
	f = fg_lookup(g, g->rw, "f");
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &in, sizeof(in), NULL, 0, 4096), 0);
	host_reads(g, "f", "he");
	in.size = (uint64_t)INT64_MAX + 1;
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &in, sizeof(in), NULL, 0, 4096), -EINVAL);
	in.size = 0;
	assert_int_equal(fg_call(g, FUSE_SETATTR, g->rw, &in, sizeof(in), NULL, 0, 4096), -EINVAL);
	assert_int_equal(fg_open(g, f, O_WRONLY | O_TRUNC, &fh), 0);
	host_reads(g, "f", "");
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, fh), 0);
}

static void test_setattr(void **state)
{
	struct fg *g = *state;
	struct fuse_setattr_in in = { .valid = FATTR_MODE | FATTR_ATIME | FATTR_MTIME,
				      .mode = S_IFREG | 0754, .atime = 1, .mtime = 0xffffffffu,
				      .mtimensec = 7 };
	struct fuse_attr_out out;
	struct stat st;
	uint64_t f;

	fg_host_file(g, "f", "x");
	f = fg_lookup(g, g->rw, "f");
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &in, sizeof(in), NULL, 0, 4096), 0);
	memcpy(&out, g->payload, sizeof(out));
	assert_int_equal(out.attr.mode, S_IFREG | 0754);
	assert_int_equal(fstatat(g->dir, "f", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0754);
	assert_int_equal(st.st_atim.tv_sec, 1);
	assert_int_equal(st.st_mtim.tv_sec, 0xffffffffu);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	in.mtimensec = 1000000000; /* UTIME_NOW and such must not get in by this door */
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &in, sizeof(in), NULL, 0, 4096), -EINVAL);
	in.mtimensec = UTIME_OMIT;
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &in, sizeof(in), NULL, 0, 4096), -EINVAL);
	assert_int_equal(fg_call(g, FUSE_SETATTR, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0, 4096),
			 -EROFS);
}

static mode_t mode_of(struct fg *g, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(g->dir, name, &st, 0), 0);
	return st.st_mode & 07777;
}

static void host_mode(struct fg *g, const char *name, mode_t mode)
{
	assert_int_equal(fchmodat(g->dir, name, mode, 0), 0);
}

static void test_set_id_bits(void **state)
{
	struct fg *g = *state;
	uint64_t f, fh;
	struct fuse_write_in in = { .size = 1 };
	struct fuse_setattr_in set = { .valid = FATTR_SIZE | FATTR_KILL_SUIDGID };

	if (geteuid() != 0) /* others cannot keep the bits */
		return;
	fg_host_file(g, "f", "x");
	host_mode(g, "f", 06755);
	f = fg_lookup(g, g->rw, "f");
	assert_int_equal(fg_entry(g).attr_valid, 0); /* so that the guest sees them go */
	assert_int_equal(fg_open(g, f, O_RDWR, &fh), 0);
	in.fh = fh;
	assert_int_equal(fg_write(g, f, in, "a"), 0);
	assert_int_equal(mode_of(g, "f"), 06755);
	in.write_flags = FUSE_WRITE_KILL_SUIDGID;
	assert_int_equal(fg_write(g, f, in, "b"), 0);
	assert_int_equal(mode_of(g, "f"), 0755);
	host_mode(g, "f", 06755);
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &set, sizeof(set), NULL, 0, 4096), 0);
	assert_int_equal(mode_of(g, "f"), 0755);
	host_mode(g, "f", 06755); /* and the capability is back for the next one */
	in.write_flags = 0;
	assert_int_equal(fg_write(g, f, in, "c"), 0);
	assert_int_equal(mode_of(g, "f"), 06755);
}

static bool keeps_cache(struct fg *g, uint64_t f)
{
	struct fuse_open_in in = { .flags = O_RDONLY };
	struct fuse_open_out out;

	assert_int_equal(fg_call(g, FUSE_OPEN, f, &in, sizeof(in), NULL, 0, 64), 0);
	memcpy(&out, g->payload, sizeof(out));
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, out.fh), 0);
	return out.open_flags & FOPEN_KEEP_CACHE;
}

static void test_page_cache(void **state)
{
	struct fg *g = *state;
	struct fuse_write_in in = { .size = 1 };
	struct timespec old = { .tv_sec = 0, .tv_nsec = 30000000 };
	uint64_t f, fh;

	fg_host_file(g, "f", "one");
	f = fg_lookup(g, g->rw, "f");
	assert_false(keeps_cache(g, f));
	assert_false(keeps_cache(g, f)); /* too young to tell a change from no change */
	nanosleep(&old, NULL);
	assert_false(keeps_cache(g, f));
	assert_true(keeps_cache(g, f));
	fg_host_file(g, "f", "two");
	assert_false(keeps_cache(g, f));
	assert_int_equal(fg_open(g, f, O_RDWR, &fh), 0); /* what the guest itself wrote it has */
	in.fh = fh;
	assert_int_equal(fg_write(g, f, in, "a"), 0);
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, fh), 0);
	assert_true(keeps_cache(g, f));
}

static void test_tmpfile(void **state)
{
	struct fg *g = *state;
	struct fuse_create_in in = { .flags = O_RDWR | O_TMPFILE, .mode = 0600 };
	struct fuse_link_in link = { 0 };
	struct fuse_attr attr;
	int err = fg_call(g, FUSE_TMPFILE, g->rw, &in, sizeof(in), NULL, 0, 4096);
	uint64_t f;

	assert_int_equal(err, 0);
	f = link.oldnodeid = fg_entry(g).nodeid;
	assert_int_equal(fg_entry(g).attr.nlink, 0);
	assert_int_equal(fg_getattr(g, f, &attr), 0);
	assert_int_equal(fg_named(g, FUSE_LINK, g->rw, &link, sizeof(link), "named"), 0);
	assert_int_equal(fg_entry(g).nodeid, f);
	assert_int_equal(fg_lookup(g, g->rw, "named"), f);
}

static void test_holes(void **state)
{
	struct fg *g = *state;
	uint64_t fh, f = create(g, g->rw, "f", O_RDWR, &fh);
	struct fuse_fallocate_in in = { .fh = fh, .length = 65536 };
	struct fuse_lseek_in seek = { .fh = fh, .whence = SEEK_HOLE };
	struct fuse_attr attr;

	assert_int_equal(fg_call(g, FUSE_FALLOCATE, f, &in, sizeof(in), NULL, 0, 0), 0);
	assert_int_equal(fg_getattr(g, f, &attr), 0);
	assert_int_equal(attr.size, 65536);
	in.mode = 0x80000000u;
	assert_int_equal(fg_call(g, FUSE_FALLOCATE, f, &in, sizeof(in), NULL, 0, 0), -EOPNOTSUPP);
	in.mode = 0;
	in.length = UINT64_MAX;
	assert_int_equal(fg_call(g, FUSE_FALLOCATE, f, &in, sizeof(in), NULL, 0, 0), -EINVAL);
	assert_int_equal(fg_call(g, FUSE_LSEEK, f, &seek, sizeof(seek), NULL, 0, 64), 0);
	seek.offset = 1 << 20;
	assert_int_equal(fg_call(g, FUSE_LSEEK, f, &seek, sizeof(seek), NULL, 0, 64), -ENXIO);
	seek.whence = SEEK_SET;
	assert_int_equal(fg_call(g, FUSE_LSEEK, f, &seek, sizeof(seek), NULL, 0, 64), -EINVAL);
}

static void test_copy_range(void **state)
{
	struct fg *g = *state;
	uint64_t a, fa, fb, b = create(g, g->rw, "b", O_RDWR, &fb);
	struct fuse_copy_file_range_in in = { .nodeid_out = b, .fh_out = fb, .len = 100 };

	fg_host_file(g, "a", "hello world");
	a = fg_lookup(g, g->rw, "a");
	assert_int_equal(fg_open(g, a, O_RDONLY, &fa), 0);
	in.fh_in = fa;
	in.off_in = 6;
	assert_int_equal(fg_call(g, FUSE_COPY_FILE_RANGE, a, &in, sizeof(in), NULL, 0, 64), 0);
	assert_int_equal(*(const uint32_t *)g->payload, 5);
	host_reads(g, "b", "world");
	in.nodeid_out = a;
	assert_int_equal(fg_call(g, FUSE_COPY_FILE_RANGE, a, &in, sizeof(in), NULL, 0, 64), -EBADF);
}

static void test_xattr(void **state)
{
	struct fg *g = *state;
	struct fuse_setxattr_in set = { .size = 5 };
	struct fuse_getxattr_in get = { .size = 100 };
	uint64_t f;

	fg_host_file(g, "f", "x");
	f = fg_lookup(g, g->rw, "f");
	assert_int_equal(fg_named(g, FUSE_GETXATTR, f, &get, sizeof(get), "security.a"), -ENODATA);
	assert_int_equal(fg_call(g, FUSE_SETXATTR, f, &set, sizeof(set), "security.a\0value", 16,
				 64), 0);
	assert_int_equal(fg_named(g, FUSE_GETXATTR, f, &get, sizeof(get), "security.a"), 0);
	assert_int_equal(g->payload_len, 5);
	assert_memory_equal(g->payload, "value", 5);
	get.size = 4;
	assert_int_equal(fg_named(g, FUSE_GETXATTR, f, &get, sizeof(get), "security.a"), -ERANGE);
	get.size = 0;
	assert_int_equal(fg_named(g, FUSE_GETXATTR, f, &get, sizeof(get), "security.a"), 0);
	assert_int_equal(*(const uint32_t *)g->payload, 5);
	get.size = 100;
	assert_int_equal(fg_call(g, FUSE_LISTXATTR, f, &get, sizeof(get), NULL, 0, 4096), 0);
	assert_memory_equal(g->payload, "security.a", 11);
	assert_int_equal(fg_named(g, FUSE_REMOVEXATTR, f, NULL, 0, "security.a"), 0);
	assert_int_equal(fg_named(g, FUSE_REMOVEXATTR, f, NULL, 0, "security.a"), -ENODATA);
	set.size = 6; /* one more than there is */
	assert_int_equal(fg_call(g, FUSE_SETXATTR, f, &set, sizeof(set), "security.a\0value", 16,
				 64), -EINVAL);
	set.size = UINT32_MAX;
	assert_int_equal(fg_call(g, FUSE_SETXATTR, f, &set, sizeof(set), "security.a\0value", 16,
				 64), -E2BIG);
	assert_int_equal(fg_call(g, FUSE_SETXATTR, f, &set, sizeof(set), "no end", 6, 64), -EINVAL);
	assert_int_equal(fg_call(g, FUSE_GETXATTR, f, &get, sizeof(get), "", 1, 64), -EINVAL);
	assert_int_equal(fg_call(g, FUSE_GETXATTR, f, &get, sizeof(get), NULL, 0, 64), -EINVAL);
}

/* ---- directories ---- */

/* Reads all of a directory in replies of `size`: the number of names, each seen once. */
static int list(struct fg *g, uint64_t dir, uint32_t opcode, uint32_t size, int expect)
{
	char *seen = calloc((size_t)expect, 1);
	uint64_t fh, off = 0;
	int n = 0;

	assert_int_equal(fg_opendir(g, dir, &fh), 0);
	for (;;) {
		size_t at = 0, head = opcode == FUSE_READDIR ? 0 : sizeof(struct fuse_entry_out);

		assert_int_equal(fg_read(g, opcode, dir, fh, off, size), 0);
		if (g->payload_len == 0)
			break;
		while (at < g->payload_len) {
			const struct fuse_dirent *d = (const void *)(g->payload + at + head);
			int i = d->name[0] == 'f' ? atoi(d->name + 1) : -1;

			if (i >= 0) {
				assert_true(i < expect && !seen[i]);
				seen[i] = 1;
				n++;
				if (head)
					assert_int_not_equal(*(const uint64_t *)(g->payload + at), 0);
			}
			off = d->off;
			at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d->namelen);
		}
		assert_int_equal(at, g->payload_len);
	}
	assert_int_equal(fg_release(g, FUSE_RELEASEDIR, dir, fh), 0);
	free(seen);
	return n;
}

static uint64_t big_dir(struct fg *g, int n)
{
	char name[32];

	assert_int_equal(mkdirat(g->dir, "big", 0755), 0);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "big/f%d", i);
		fg_host_file(g, name, "");
	}
	return fg_lookup(g, g->rw, "big");
}

static void test_readdir(void **state)
{
	struct fg *g = *state;
	uint64_t d = big_dir(g, 3000);

	assert_int_equal(list(g, d, FUSE_READDIR, 4096, 3000), 3000);
	assert_int_equal(list(g, d, FUSE_READDIR, 300, 3000), 3000);
	assert_int_equal(list(g, d, FUSE_READDIRPLUS, 4096, 3000), 3000);
	assert_int_equal(list(g, d, FUSE_READDIRPLUS, 65536, 3000), 3000);
	assert_true(g->fs->nfds < 10); /* knowing 3,000 files takes no descriptors */
}

/* More directories read at once, in turns, than there are buffers. */
static void test_readdir_many(void **state)
{
	struct fg *g = *state;
	uint64_t fh[FS_DIRBUFS + 8], off[FS_DIRBUFS + 8] = { 0 };
	uint64_t d = big_dir(g, 100);
	int names = 0;

	for (size_t i = 0; i < FS_DIRBUFS + 8; i++)
		assert_int_equal(fg_opendir(g, d, &fh[i]), 0);
	for (int round = 0; round < 102; round++) {
		for (size_t i = 0; i < FS_DIRBUFS + 8; i++) {
			const struct fuse_dirent *e = (const void *)g->payload;

			assert_int_equal(fg_read(g, FUSE_READDIR, d, fh[i], off[i], 32), 0);
			assert_true(g->payload_len > 0);
			off[i] = e->off;
			names++;
		}
	}
	assert_int_equal(names, 102 * (FS_DIRBUFS + 8));
	for (size_t i = 0; i < FS_DIRBUFS + 8; i++) {
		assert_int_equal(fg_read(g, FUSE_READDIR, d, fh[i], off[i], 32), 0);
		assert_int_equal(g->payload_len, 0);
		assert_int_equal(fg_release(g, FUSE_RELEASEDIR, d, fh[i]), 0);
	}
}

/* As a directory of vfat may have it: 255 characters, 765 bytes. The guest gets the name alone. */
static void test_name_too_long(void **state)
{
	struct fg *g = *state;
	struct fs_export *export = g->fs->exports[0];
	size_t before = g->fs->inodes.count;
	struct fs_inode *inode;
	struct statx stx;
	char name[766];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	fg_host_file(g, "file", "text");
	assert_int_equal(fs_statx(g->dir, "file", &stx), 0);
	assert_int_equal(fs_inode_enter(g->fs, export, export->root, name, -1, &stx, &inode),
			 -ENAMETOOLONG);
	assert_int_equal(g->fs->inodes.count, before);
	name[255] = '\0';
	assert_int_equal(fs_inode_enter(g->fs, export, export->root, name, -1, &stx, &inode), 0);
	assert_int_equal(fs_inode_stat(g->fs, inode, &stx), -ESTALE); /* there is no such name */
	fs_inode_put(g->fs, inode);
}

static void test_readdir_without_room(void **state)
{
	struct fg *g = *state;
	uint64_t fh;

	assert_int_equal(fg_opendir(g, g->rw, &fh), 0);
	assert_int_equal(fg_read(g, FUSE_READDIR, g->rw, fh, 0, 0), -EINVAL);
	assert_int_equal(fg_read(g, FUSE_READDIR, g->rw, fh, 0, 8), -EINVAL);
	assert_int_equal(fg_read(g, FUSE_READDIRPLUS, g->rw, fh, 0, 32), -EINVAL);
	assert_int_equal(fg_read(g, FUSE_READDIR, g->rw, fh, UINT64_MAX, 4096), -EINVAL);
	assert_int_equal(fg_read(g, FUSE_READ, g->rw, fh, 0, 4096), -EBADF);
	assert_int_equal(fg_read(g, FUSE_READDIR, g->ro, fh, 0, 4096), -EBADF);
}

/* ---- budgets ---- */

static void test_descriptor_budget(void **state)
{
	struct fg *g = *state;
	uint64_t d = big_dir(g, 50), f[50], fh[50];
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = 0600 };
	char name[16];
	int open = 0, err;

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		f[i] = fg_lookup(g, d, name);
		assert_int_not_equal(f[i], 0);
		/* needs the file's own descriptor: another one's is closed for it */
		assert_int_equal(fg_call(g, FUSE_SETATTR, f[i], &in, sizeof(in), NULL, 0, 4096), 0);
	}
	assert_true(g->fs->nfds <= 12);
	while ((err = fg_open(g, f[open], O_RDONLY, &fh[open])) == 0)
		open++;
	assert_int_equal(err, -ENFILE);
	assert_true(open >= 6);
	while (open-- > 0)
		assert_int_equal(fg_release(g, FUSE_RELEASE, f[open], fh[open]), 0);
	assert_int_equal(fg_open(g, f[0], O_RDONLY, &fh[0]), 0);
}

static void test_inode_budget(void **state)
{
	struct fg *g = *state;
	uint64_t d = big_dir(g, 50), f[50] = { 0 };
	char name[16];
	int n = 0;

	do {
		snprintf(name, sizeof(name), "f%d", n);
		f[n] = fg_lookup(g, d, name);
	} while (f[n] && ++n < 50);
	assert_int_equal(n, 20 - 3); /* big_dir() itself */
	assert_int_equal(fg_error(g), -ENFILE);
	fg_forget(g, f[3], 1);
	assert_int_not_equal(fg_lookup(g, d, name), 0);
	assert_int_equal(fg_lookup(g, d, "f3"), 0);
}

/* What is exported as a file is in the root's file system. */
static void test_syncfs_of_the_root(void **state)
{
	struct fg *g = *state;
	struct fuse_syncfs_in in = { 0 };
	uint32_t before;

	fg_host_file(g, "single", "text");
	assert_int_equal(sm_fs_add_export(g->fs, "single",
					  openat(g->dir, "single", O_PATH | O_CLOEXEC), false),
			 0);
	before = g->fs->nfds;
	assert_int_equal(fg_call(g, FUSE_SYNCFS, FUSE_ROOT_ID, &in, sizeof(in), NULL, 0, 0), 0);
	assert_int_equal(fg_call(g, FUSE_SYNCFS, g->rw, &in, sizeof(in), NULL, 0, 0), 0);
	assert_int_equal(g->fs->nfds, before);
	assert_int_equal(sm_fs_remove_export(g->fs, "single"), 0);
	assert_int_equal(g->fs->nfds, before - 1);
}

/* A long path whose descriptors were all taken away is opened again, step by step. */
static void test_deep_path_after_eviction(void **state)
{
	struct fg *g = *state;
	struct fuse_mkdir_in in = { .mode = 0755 };
	struct fuse_attr attr;
	uint64_t d = g->rw, other;

	for (int i = 0; i < 40; i++) {
		assert_int_equal(fg_named(g, FUSE_MKDIR, d, &in, sizeof(in), "d"), 0);
		d = fg_entry(g).nodeid;
	}
	other = big_dir(g, 30);
	list(g, other, FUSE_READDIRPLUS, 4096, 30);
	assert_int_equal(fg_getattr(g, d, &attr), 0);
	assert_true(S_ISDIR(attr.mode));
	assert_int_equal(fg_named(g, FUSE_MKDIR, d, &in, sizeof(in), "last"), 0);
}

/* ---- read-only exports ---- */

static void test_readonly(void **state)
{
	struct fg *g = *state;
	uint64_t f = fg_lookup(g, g->ro, "file"), fh;
	struct fuse_setattr_in set = { .valid = FATTR_ATIME_NOW };
	struct fuse_setxattr_in xattr = { .size = 1 };
	struct fuse_create_in create_in = { .flags = O_CREAT | O_RDONLY, .mode = 0644 };
	struct fuse_mknod_in node = { .mode = S_IFREG };
	struct fuse_mkdir_in dir = { .mode = 0755 };
	struct fuse_link_in link = { f };
	struct fuse_fallocate_in fall = { .length = 10 };
	struct fuse_write_in in = { .size = 1 };

	assert_int_equal(fg_open(g, f, O_WRONLY, &fh), -EROFS);
	assert_int_equal(fg_open(g, f, O_RDWR, &fh), -EROFS);
	assert_int_equal(fg_open(g, f, O_RDONLY | O_TRUNC, &fh), -EROFS);
	assert_int_equal(fg_call(g, FUSE_SETATTR, f, &set, sizeof(set), NULL, 0, 4096), -EROFS);
	assert_int_equal(fg_call(g, FUSE_SETXATTR, f, &xattr, sizeof(xattr), "user.a\0v", 8, 64),
			 -EROFS);
	assert_int_equal(fg_named(g, FUSE_REMOVEXATTR, f, NULL, 0, "user.a"), -EROFS);
	assert_int_equal(fg_named(g, FUSE_CREATE, g->ro, &create_in, sizeof(create_in), "n"),
			 -EROFS);
	assert_int_equal(fg_call(g, FUSE_TMPFILE, g->ro, &create_in, sizeof(create_in), NULL, 0,
				 4096), -EROFS);
	assert_int_equal(fg_named(g, FUSE_MKNOD, g->ro, &node, sizeof(node), "n"), -EROFS);
	assert_int_equal(fg_named(g, FUSE_MKDIR, g->ro, &dir, sizeof(dir), "n"), -EROFS);
	assert_int_equal(fg_named(g, FUSE_LINK, g->ro, &link, sizeof(link), "n"), -EROFS);
	assert_int_equal(fg_named(g, FUSE_UNLINK, g->ro, NULL, 0, "file"), -EROFS);
	assert_int_equal(fg_named(g, FUSE_RMDIR, g->ro, NULL, 0, "file"), -EROFS);
	assert_int_equal(fg_call(g, FUSE_SYMLINK, g->ro, NULL, 0, "s\0t", 4, 4096), -EROFS);
	assert_int_equal(fg_open(g, f, O_RDONLY, &fh), 0);
	in.fh = fall.fh = fh;
	assert_int_equal(fg_write(g, f, in, "x"), -EBADF);
	assert_int_equal(fg_call(g, FUSE_FALLOCATE, f, &fall, sizeof(fall), NULL, 0, 0), -EBADF);
	host_reads(g, "ro/file", "read only\n");
}

/* ---- guests that break the rules ---- */

static void test_bad_names(void **state)
{
	struct fg *g = *state;
	char longest[NAME_MAX + 2];
	static const struct {
		const char *name;
		size_t len;
	} bad[] = {
		{ "", 0 }, { "", 1 }, { ".", 2 }, { "..", 3 }, { "../x", 5 }, { "/etc", 5 },
		{ "a/b", 4 }, { "ro/", 4 }, { "no end", 6 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(fg_call(g, FUSE_LOOKUP, g->rw, NULL, 0, bad[i].name, bad[i].len,
					 4096), -EINVAL);
	memset(longest, 'n', sizeof(longest));
	longest[NAME_MAX + 1] = '\0';
	assert_int_equal(fg_named(g, FUSE_LOOKUP, g->rw, NULL, 0, longest), -ENAMETOOLONG);
	longest[NAME_MAX] = '\0';
	assert_int_equal(fg_named(g, FUSE_LOOKUP, g->rw, NULL, 0, longest), 0);
	assert_int_equal(fg_call(g, FUSE_RENAME, g->rw, &g->rw, 8, "a\0..", 5, 64), -EINVAL);
	assert_int_equal(fg_call(g, FUSE_RENAME, g->rw, &g->rw, 8, "a", 2, 64), -EINVAL);
	assert_int_equal(fg_named(g, FUSE_UNLINK, g->rw, NULL, 0, ".."), -EINVAL);
}

static void test_bad_headers(void **state)
{
	struct fg *g = *state;
	struct fuse_in_header in = { .opcode = FUSE_STATFS, .unique = 77, .nodeid = 1 };

	for (size_t len = 0; len < 40; len++) { /* no whole header: nothing can be said */
		memset(g->msg, 0, len + 1);
		fg_send(g, len, 4096);
		assert_int_equal(g->written, 0);
	}
	for (size_t room = 0; room < 16; room++) { /* no room to say anything */
		fg_header(g, FUSE_STATFS, 1, 0);
		fg_send(g, 40, room);
		assert_int_equal(g->written, 0);
	}
	for (uint32_t len = 0; len < 100; len++) {
		in.len = len;
		memcpy(g->msg, &in, sizeof(in));
		fg_send(g, 40, 4096);
		assert_int_equal(fg_error(g), len == 40 ? 0 : -EINVAL);
	}
}

/* Each operation with its arguments cut at each length, and with each room for the reply. */
static void test_short_messages(void **state)
{
	struct fg *g = *state;

	for (uint32_t op = 0; op < 64; op++) {
		if (op == FUSE_DESTROY)
			continue;
		for (size_t len = 0; len < 100; len++) {
			fg_header(g, op, g->rw, len);
			memset(g->msg + 40, 0, len);
			fg_send(g, 40 + len, 16 + 200);
			assert_true(g->written <= 216);
			fg_header(g, op, g->rw, 100);
			memset(g->msg + 40, 0, 100);
			fg_send(g, 140, 16 + len);
			assert_true(g->written <= 16 + len);
		}
	}
	assert_int_equal(fg_init_session(g), 0);
}

static void test_unknown_operations(void **state)
{
	struct fg *g = *state;
	uint32_t ops[] = { 0, 7, 19, FUSE_FLUSH, FUSE_ACCESS, FUSE_BMAP, FUSE_IOCTL, FUSE_POLL,
			   FUSE_GETLK, FUSE_SETLK, FUSE_SETLKW, FUSE_SETUPMAPPING, 52, 4096,
			   UINT32_MAX };
	char arg[64] = { 0 };

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		assert_int_equal(fg_call(g, ops[i], g->rw, arg, sizeof(arg), NULL, 0, 4096),
				 -ENOSYS);
	assert_int_equal(fg_call(g, FUSE_INTERRUPT, 0, arg, 8, NULL, 0, 0), 1);
}

static void test_invented_nodes(void **state)
{
	struct fg *g = *state;
	uint64_t ids[] = { 0, 2, 3, UINT32_MAX, UINT64_MAX, 1ull << 32, g->rw + 1, g->rw + (1ull << 32),
			   g->rw | 1ull << 63 };
	struct fuse_attr attr;

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		if (ids[i] == g->ro)
			continue;
		assert_int_equal(fg_getattr(g, ids[i], &attr), -ESTALE);
		fg_forget(g, ids[i], 1);
		assert_int_equal(fg_read(g, FUSE_READ, ids[i], ids[i], 0, 100), -EBADF);
		assert_int_equal(fg_release(g, FUSE_RELEASEDIR, ids[i], ids[i]), -EBADF);
	}
}

static void test_before_init(void **state)
{
	struct fg *g = *state;
	struct fuse_attr attr;
	uint64_t f = fg_lookup(g, fg_lookup(g, g->rw, "ro"), "file"), fh;

	assert_int_equal(fg_open(g, f, O_RDONLY, &fh), 0);
	assert_int_equal(fg_call(g, FUSE_DESTROY, 0, NULL, 0, NULL, 0, 0), 0);
	assert_int_equal(g->fs->handles.used, 0);
	assert_int_equal(g->fs->inodes.count, 2);
	assert_int_equal(fg_getattr(g, g->rw, &attr), -EIO);
	assert_int_equal(fg_init_session(g), 0);
	assert_int_equal(fg_getattr(g, g->rw, &attr), 0);
	assert_int_equal(fg_getattr(g, f, &attr), -ESTALE);
}

static void test_write_claims_more_than_it_has(void **state)
{
	struct fg *g = *state;
	uint64_t fh, f = create(g, g->rw, "f", O_RDWR, &fh);
	struct fuse_write_in in = { .fh = fh, .size = 100 };

	assert_int_equal(fg_call(g, FUSE_WRITE, f, &in, sizeof(in), "short", 5, 64), -EINVAL);
	in.size = UINT32_MAX;
	assert_int_equal(fg_call(g, FUSE_WRITE, f, &in, sizeof(in), "short", 5, 64), -EINVAL);
	in.size = 5;
	in.offset = UINT64_MAX;
	assert_int_equal(fg_call(g, FUSE_WRITE, f, &in, sizeof(in), "short", 5, 64), -EINVAL);
	/* a read of more than there is room for is cut */
	fg_host_file(g, "f", "0123456789");
	struct fuse_read_in rd = { .fh = fh, .size = UINT32_MAX };
	assert_int_equal(fg_call(g, FUSE_READ, f, &rd, sizeof(rd), NULL, 0, 4), 0);
	assert_int_equal(g->payload_len, 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_read_write),
		T(test_largest_transfer),
		T(test_append),
		T(test_truncate),
		T(test_setattr),
		T(test_set_id_bits),
		T(test_page_cache),
		T(test_tmpfile),
		T(test_holes),
		T(test_copy_range),
		T(test_xattr),
		T(test_readdir),
		T(test_readdir_many),
		T(test_readdir_without_room),
		T(test_name_too_long),
		cmocka_unit_test_setup_teardown(test_descriptor_budget, setup_tight, teardown),
		cmocka_unit_test_setup_teardown(test_deep_path_after_eviction, setup_tight, teardown),
		cmocka_unit_test_setup_teardown(test_inode_budget, setup_few, teardown),
		T(test_syncfs_of_the_root),
		T(test_readonly),
		T(test_bad_names),
		T(test_bad_headers),
		T(test_short_messages),
		T(test_unknown_operations),
		T(test_invented_nodes),
		T(test_before_init),
		T(test_write_claims_more_than_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
