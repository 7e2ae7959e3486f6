/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "fs_guest.h"

/* Names, inodes, exports: what a well-behaved guest sees, and what the host does meanwhile. */

static int setup(void **state)
{
	*state = malloc(sizeof(struct fg));
	fg_start(*state, NULL);
	return 0;
}

static int teardown(void **state)
{
	fg_end(*state);
	free(*state);
	return 0;
}

static int rename2(struct fg *g, uint64_t from, const char *a, uint64_t to, const char *b,
		   uint32_t flags)
{
	struct fuse_rename2_in in = { .newdir = to, .flags = flags };
	char names[2 * NAME_MAX + 2];
	int n = snprintf(names, sizeof(names), "%s%c%s", a, 0, b);

	return fg_call(g, FUSE_RENAME2, from, &in, sizeof(in), names, (size_t)n + 1, 4096);
}

static uint64_t mkdir_in(struct fg *g, uint64_t dir, const char *name)
{
	struct fuse_mkdir_in in = { .mode = 0755, .umask = 022 };

	assert_int_equal(fg_named(g, FUSE_MKDIR, dir, &in, sizeof(in), name), 0);
	return fg_entry(g).nodeid;
}

static void test_init(void **state)
{
	struct fg *g = *state;
	struct fuse_init_in in = { .major = 7, .minor = 38, .flags = ~0u };
	struct fuse_init_out out;

	assert_int_equal(fg_init_session(g), 0);
	assert_int_equal(g->payload_len, sizeof(out));
	memcpy(&out, g->payload, sizeof(out));
	assert_int_equal(out.major, 7);
	assert_int_equal(out.minor, 38);
	assert_int_equal(out.max_write, 1 << 20);
	assert_int_equal(out.max_pages, 256);
	assert_true(out.flags & FUSE_SUBMOUNTS);
	assert_true(out.flags & FUSE_HANDLE_KILLPRIV_V2);
	assert_false(out.flags & (FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
				  FUSE_EXPORT_SUPPORT | FUSE_NO_OPEN_SUPPORT));

	in.minor = 99; /* a newer guest speaks ours */
	assert_int_equal(fg_call(g, FUSE_INIT, 0, &in, sizeof(in), NULL, 0, 64), 0);
	memcpy(&out, g->payload, sizeof(out));
	assert_int_equal(out.minor, 38);
	in.minor = 31; /* an older one its own, with the short structure */
	in.flags = FUSE_BIG_WRITES;
	assert_int_equal(fg_call(g, FUSE_INIT, 0, &in, 16, NULL, 0, 64), 0);
	memcpy(&out, g->payload, sizeof(out));
	assert_int_equal(out.minor, 31);
	assert_int_equal(out.flags, FUSE_BIG_WRITES);
	in.minor = 26;
	assert_int_equal(fg_call(g, FUSE_INIT, 0, &in, 16, NULL, 0, 64), -EPROTO);
}

static void test_root(void **state)
{
	struct fg *g = *state;
	struct fuse_mkdir_in in = { .mode = 0755 };
	struct fuse_attr attr;

	assert_int_equal(fg_getattr(g, FUSE_ROOT_ID, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0555);
	assert_int_equal(fg_named(g, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "rw"), 0);
	assert_true(fg_entry(g).attr.flags & FUSE_ATTR_SUBMOUNT);
	assert_int_equal(fg_entry(g).entry_valid, 0);
	assert_int_equal(fg_entry(g).entry_valid_nsec, 0);
	assert_int_equal(fg_named(g, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "other"), -ENOENT);
	assert_int_equal(fg_named(g, FUSE_MKDIR, FUSE_ROOT_ID, &in, sizeof(in), "d"), -EROFS);
	assert_int_equal(fg_named(g, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "rw"), -EROFS);
	assert_int_equal(rename2(g, FUSE_ROOT_ID, "rw", FUSE_ROOT_ID, "x", 0), -EROFS);
	assert_int_equal(rename2(g, g->rw, "ro", FUSE_ROOT_ID, "x", 0), -EXDEV);
}

static void test_root_lists_exports(void **state)
{
	struct fg *g = *state;
	struct fuse_dirent *d;
	char seen[64] = "";
	size_t at = 0;

	assert_int_equal(fg_read(g, FUSE_READDIR, FUSE_ROOT_ID, 0, 0, 4096), 0);
	while (at < g->payload_len) {
		d = (struct fuse_dirent *)(g->payload + at);
		strncat(seen, d->name, d->namelen);
		strcat(seen, " ");
		at += FUSE_DIRENT_SIZE(d);
	}
	assert_string_equal(seen, ". .. rw ro ");
	assert_int_equal(fg_read(g, FUSE_READDIR, FUSE_ROOT_ID, 0, 4, 4096), 0);
	assert_int_equal(g->payload_len, 0);
	assert_int_equal(fg_read(g, FUSE_READDIR, FUSE_ROOT_ID, 0, UINT64_MAX, 4096), 0);
	assert_int_equal(g->payload_len, 0);
}

static void test_lookup(void **state)
{
	struct fg *g = *state;
	uint64_t a, b;

	fg_host_file(g, "a", "hello");
	assert_int_equal(linkat(g->dir, "a", g->dir, "b", 0), 0);
	a = fg_lookup(g, g->rw, "a");
	b = fg_lookup(g, g->rw, "b");
	assert_int_not_equal(a, 0);
	assert_int_equal(a, b);
	assert_int_equal(fg_entry(g).attr.nlink, 2);
	assert_int_equal(fg_entry(g).attr.size, 5);
	assert_int_equal(fg_entry(g).entry_valid, 1);
	/* what is not there may be believed for as long */
	assert_int_equal(fg_named(g, FUSE_LOOKUP, g->rw, NULL, 0, "c"), 0);
	assert_int_equal(fg_entry(g).nodeid, 0);
	assert_int_equal(fg_entry(g).entry_valid, 1);
	assert_int_equal(fg_named(g, FUSE_LOOKUP, a, NULL, 0, "x"), -ENOTDIR);
}

static void test_forget(void **state)
{
	struct fg *g = *state;
	struct fuse_attr attr;
	uint64_t a, b;

	fg_host_file(g, "a", "hello");
	a = fg_lookup(g, g->rw, "a");
	assert_int_equal(fg_lookup(g, g->rw, "a"), a);
	fg_forget(g, a, 1);
	assert_int_equal(g->written, 0);
	assert_int_equal(fg_getattr(g, a, &attr), 0);
	fg_forget(g, a, 1000); /* more than it had */
	assert_int_equal(fg_getattr(g, a, &attr), -ESTALE);
	fg_forget(g, a, 1);
	b = fg_lookup(g, g->rw, "a");
	assert_int_not_equal(a, b); /* the old name stays dead */
	fg_forget(g, g->rw, UINT64_MAX); /* an export's root stays */
	assert_int_equal(fg_getattr(g, g->rw, &attr), 0);
	fg_forget(g, FUSE_ROOT_ID, 1);
	assert_int_equal(fg_getattr(g, FUSE_ROOT_ID, &attr), 0);
}

static void test_batch_forget(void **state)
{
	struct fg *g = *state;
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} msg = { .in = { .count = 1000000 } };
	struct fuse_attr attr;
	uint64_t a, b;

	fg_host_file(g, "a", "");
	fg_host_file(g, "b", "");
	a = fg_lookup(g, g->rw, "a");
	b = fg_lookup(g, g->rw, "b");
	msg.one[0] = (struct fuse_forget_one){ a, 1 };
	msg.one[1] = (struct fuse_forget_one){ b, 1 };
	assert_int_equal(fg_call(g, FUSE_BATCH_FORGET, 0, &msg, sizeof(msg), NULL, 0, 0), 1);
	assert_int_equal(fg_getattr(g, a, &attr), -ESTALE);
	assert_int_equal(fg_getattr(g, b, &attr), -ESTALE);
}

static void test_unlinked_file_lives(void **state)
{
	struct fg *g = *state;
	struct fuse_attr attr;
	uint64_t a, fh;

	fg_host_file(g, "a", "hello");
	a = fg_lookup(g, g->rw, "a");
	assert_int_equal(fg_open(g, a, O_RDONLY, &fh), 0);
	assert_int_equal(fg_named(g, FUSE_UNLINK, g->rw, NULL, 0, "a"), 0);
	assert_int_equal(fg_named(g, FUSE_UNLINK, g->rw, NULL, 0, "a"), -ENOENT);
	assert_int_equal(fg_getattr(g, a, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(fg_read(g, FUSE_READ, a, fh, 0, 100), 0);
	assert_memory_equal(g->payload, "hello", 5);
	assert_int_equal(fg_release(g, FUSE_RELEASE, a, fh), 0);
	fg_forget(g, a, 1);
	assert_int_equal(fg_getattr(g, a, &attr), -ESTALE);
}

static void test_rmdir(void **state)
{
	struct fg *g = *state;
	uint64_t d = mkdir_in(g, g->rw, "d");
	struct fuse_attr attr;

	mkdir_in(g, d, "e");
	assert_int_equal(fg_named(g, FUSE_RMDIR, g->rw, NULL, 0, "d"), -ENOTEMPTY);
	assert_int_equal(fg_named(g, FUSE_UNLINK, g->rw, NULL, 0, "d"), -EISDIR);
	assert_int_equal(fg_named(g, FUSE_RMDIR, d, NULL, 0, "e"), 0);
	assert_int_equal(fg_named(g, FUSE_RMDIR, g->rw, NULL, 0, "d"), 0);
	assert_int_equal(fg_getattr(g, d, &attr), 0); /* somebody's working directory */
	assert_int_equal(attr.nlink, 0);
}

static void test_rename(void **state)
{
	struct fg *g = *state;
	uint64_t d = mkdir_in(g, g->rw, "d"), a, b;
	struct fuse_attr attr;

	fg_host_file(g, "a", "from a");
	fg_host_file(g, "d/b", "b");
	a = fg_lookup(g, g->rw, "a");
	b = fg_lookup(g, d, "b");
	assert_int_equal(rename2(g, g->rw, "a", d, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename2(g, g->rw, "a", d, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(fg_lookup(g, g->rw, "a"), b);
	assert_int_equal(fg_lookup(g, d, "b"), a);
	assert_int_equal(rename2(g, d, "b", g->rw, "a", 0), 0);
	assert_int_equal(fg_lookup(g, g->rw, "a"), a);
	assert_int_equal(fg_getattr(g, b, &attr), 0); /* replaced, still held */
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(fg_getattr(g, a, &attr), 0);
	assert_int_equal(attr.size, 6);
	assert_int_equal(rename2(g, g->rw, "a", d, "b", 1 << 5), -EINVAL);
	assert_int_equal(rename2(g, g->rw, "a", g->ro, "b", 0), -EXDEV);
	assert_int_equal(rename2(g, g->ro, "file", g->rw, "b", 0), -EROFS);
	assert_int_equal(rename2(g, g->rw, "a", a, "b", 0), -ENOTDIR);
	assert_int_equal(rename2(g, g->rw, "a", 12345, "b", 0), -ESTALE);
}

/* Everything below a moved directory is reached by its new name. */
static void test_rename_directory(void **state)
{
	struct fg *g = *state;
	uint64_t d = mkdir_in(g, g->rw, "d"), e = mkdir_in(g, d, "e"), x = mkdir_in(g, g->rw, "x");
	struct fuse_attr attr;
	uint64_t f;

	fg_host_file(g, "d/e/f", "deep");
	f = fg_lookup(g, e, "f");
	assert_int_equal(rename2(g, g->rw, "d", x, "moved", 0), 0);
	assert_int_equal(fg_getattr(g, f, &attr), 0);
	assert_int_equal(attr.size, 4);
	assert_int_equal(rename2(g, g->rw, "x", e, "loop", 0), -EINVAL);
}

/* The host moves directories into each other behind our back: hints must not form a ring. */
static void test_host_turns_tree(void **state)
{
	struct fg *g = *state;
	uint64_t a = mkdir_in(g, g->rw, "a"), b = mkdir_in(g, a, "b");
	struct fuse_attr attr;

	fg_lookup(g, b, "x"); /* b has a descriptor from here on */
	assert_int_equal(renameat(g->dir, "a/b", g->dir, "b"), 0);
	assert_int_equal(renameat(g->dir, "a", g->dir, "b/a"), 0);
	assert_int_equal(fg_lookup(g, b, "a"), a);
	assert_int_equal(fg_lookup(g, g->rw, "b"), b);
	assert_int_equal(fg_getattr(g, a, &attr), 0);
	fg_forget(g, b, 100);
	assert_int_equal(fg_getattr(g, a, &attr), 0);
	fg_forget(g, a, 100);
	assert_int_equal(g->fs->inodes.count, 2); /* the exports' roots: nothing is leaked */
}

static void test_host_replaces_file(void **state)
{
	struct fg *g = *state;
	struct fuse_attr attr;
	uint64_t a, b;

	fg_host_file(g, "a", "old");
	a = fg_lookup(g, g->rw, "a");
	fg_host_file(g, "new", "newer");
	assert_int_equal(renameat(g->dir, "new", g->dir, "a"), 0);
	assert_int_equal(fg_getattr(g, a, &attr), -ESTALE); /* never the other file's */
	b = fg_lookup(g, g->rw, "a");
	assert_int_not_equal(a, b);
	assert_int_equal(fg_getattr(g, b, &attr), 0);
	assert_int_equal(attr.size, 5);
	assert_int_equal(unlinkat(g->dir, "a", 0), 0);
	assert_int_equal(fg_getattr(g, b, &attr), -ESTALE);
	assert_int_equal(fg_named(g, FUSE_LOOKUP, g->rw, NULL, 0, "a"), 0);
	assert_int_equal(fg_entry(g).nodeid, 0);
}

/* Symlinks are data for the guest; the host never follows one, wherever it turns up. */
static void test_symlinks_are_not_followed(void **state)
{
	struct fg *g = *state;
	struct fuse_open_in open_in = { .flags = O_RDONLY };
	struct fuse_create_in create = { .flags = O_WRONLY | O_CREAT, .mode = 0644 };
	uint64_t l, d;

	assert_int_equal(symlinkat("/etc", g->dir, "link"), 0);
	l = fg_lookup(g, g->rw, "link");
	assert_true(S_ISLNK(fg_entry(g).attr.mode));
	assert_int_equal(fg_named(g, FUSE_LOOKUP, l, NULL, 0, "passwd"), -ENOTDIR);
	assert_int_equal(fg_call(g, FUSE_OPEN, l, &open_in, sizeof(open_in), NULL, 0, 64),
			 -EOPNOTSUPP);
	assert_int_equal(fg_call(g, FUSE_OPENDIR, l, &open_in, sizeof(open_in), NULL, 0, 64),
			 -ENOTDIR);
	assert_int_equal(fg_named(g, FUSE_CREATE, g->rw, &create, sizeof(create), "link"), -ESTALE);
	assert_int_equal(fg_call(g, FUSE_READLINK, l, NULL, 0, NULL, 0, 4096), 0);
	assert_int_equal(g->payload_len, 4);
	assert_memory_equal(g->payload, "/etc", 4);

	/* a directory that becomes a link after the guest saw it */
	d = mkdir_in(g, g->rw, "d");
	assert_int_equal(renameat(g->dir, "d", g->dir, "away"), 0);
	assert_int_equal(symlinkat("/etc", g->dir, "d"), 0);
	assert_int_equal(fg_named(g, FUSE_LOOKUP, d, NULL, 0, "passwd"), -ESTALE);
}

static void test_make_all_kinds(void **state)
{
	struct fg *g = *state;
	struct fuse_mknod_in in = { .mode = S_IFIFO | 0666, .umask = 027 };
	struct fuse_open_in open_in = { .flags = O_RDONLY };
	uint64_t f;

	assert_int_equal(fg_named(g, FUSE_MKNOD, g->rw, &in, sizeof(in), "fifo"), 0);
	assert_int_equal(fg_entry(g).attr.mode, S_IFIFO | 0640);
	f = fg_entry(g).nodeid; /* opening it would block for ever */
	assert_int_equal(fg_call(g, FUSE_OPEN, f, &open_in, sizeof(open_in), NULL, 0, 64),
			 -EOPNOTSUPP);
	in.mode = S_IFSOCK | 0600;
	assert_int_equal(fg_named(g, FUSE_MKNOD, g->rw, &in, sizeof(in), "sock"), 0);
	in.mode = S_IFREG | 0666;
	assert_int_equal(fg_named(g, FUSE_MKNOD, g->rw, &in, sizeof(in), "file"), 0);
	assert_int_equal(fg_entry(g).attr.mode, S_IFREG | 0640);
	assert_int_equal(fg_named(g, FUSE_MKNOD, g->rw, &in, sizeof(in), "file"), -EEXIST);
	assert_int_equal(fg_call(g, FUSE_SYMLINK, g->rw, NULL, 0, "s\0../../x", 10, 4096), 0);
	assert_true(S_ISLNK(fg_entry(g).attr.mode));
	assert_int_equal(fg_call(g, FUSE_SYMLINK, g->rw, NULL, 0, "t\0no end", 8, 4096), -EINVAL);
	assert_int_equal(fg_call(g, FUSE_SYMLINK, g->rw, NULL, 0, "t", 2, 4096), -EINVAL);
}

static void test_link(void **state)
{
	struct fg *g = *state;
	struct fuse_link_in in;
	uint64_t a, s;

	fg_host_file(g, "a", "x");
	a = fg_lookup(g, g->rw, "a");
	in.oldnodeid = a;
	assert_int_equal(fg_named(g, FUSE_LINK, g->rw, &in, sizeof(in), "b"), 0);
	assert_int_equal(fg_entry(g).nodeid, a);
	assert_int_equal(fg_entry(g).attr.nlink, 2);
	assert_int_equal(symlinkat("nowhere", g->dir, "s"), 0);
	s = in.oldnodeid = fg_lookup(g, g->rw, "s");
	assert_int_equal(fg_named(g, FUSE_LINK, g->rw, &in, sizeof(in), "s2"), 0);
	assert_int_equal(fg_entry(g).nodeid, s); /* the link itself */
	in.oldnodeid = 999;
	assert_int_equal(fg_named(g, FUSE_LINK, g->rw, &in, sizeof(in), "c"), -ESTALE);
	in.oldnodeid = fg_lookup(g, g->ro, "file");
	assert_int_equal(fg_named(g, FUSE_LINK, g->rw, &in, sizeof(in), "c"), -EXDEV);
	in.oldnodeid = FUSE_ROOT_ID;
	assert_int_equal(fg_named(g, FUSE_LINK, g->rw, &in, sizeof(in), "c"), -EXDEV);
}

static void test_owner_of_new_files(void **state)
{
	struct fg *g = *state;
	struct fuse_mkdir_in in = { .mode = 0777, .umask = 02 };
	struct fuse_mknod_in node = { .mode = S_IFREG | 0644 };
	uint64_t d;

	if (geteuid() != 0) /* only root can make files of others */
		return;
	g->uid = 1234;
	g->gid = 5678;
	assert_int_equal(fg_named(g, FUSE_MKDIR, g->rw, &in, sizeof(in), "d"), 0);
	d = fg_entry(g).nodeid;
	assert_int_equal(fg_entry(g).attr.uid, 1234);
	assert_int_equal(fg_entry(g).attr.gid, 5678);
	assert_int_equal(fg_entry(g).attr.mode, S_IFDIR | 0775);
	assert_int_equal(fchmodat(g->dir, "d", 02775, 0), 0);
	g->uid = g->gid = 0; /* back, and by the directory's set-gid bit */
	assert_int_equal(fg_named(g, FUSE_MKNOD, d, &node, sizeof(node), "f"), 0);
	assert_int_equal(fg_entry(g).attr.uid, 0);
	assert_int_equal(fg_entry(g).attr.gid, 5678);
	g->uid = UINT32_MAX;
	assert_int_equal(fg_named(g, FUSE_MKNOD, d, &node, sizeof(node), "g"), -EINVAL);
}

static void test_export_names(void **state)
{
	struct fg *g = *state;
	const char *bad[] = { "", ".", "..", "a/b", "a b", "\xc3\xa9" };
	char name[SM_FS_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sm_fs_add_export(g->fs, bad[i], g->dir, false), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[SM_FS_NAME_MAX + 1] = '\0';
	assert_int_equal(sm_fs_add_export(g->fs, name, g->dir, false), -EINVAL);
	name[SM_FS_NAME_MAX] = '\0';
	assert_int_equal(sm_fs_add_export(g->fs, name, open(g->path, O_PATH), false), 0);
	assert_int_equal(sm_fs_add_export(g->fs, "rw", g->dir, false), -EEXIST);
	assert_int_equal(sm_fs_add_export(g->fs, "bad", -1, false), -EBADF);
	assert_int_equal(sm_fs_remove_export(g->fs, "nobody"), -ENOENT);
}

static void test_export_goes_while_open(void **state)
{
	struct fg *g = *state;
	uint64_t f, fh, again;

	f = fg_lookup(g, g->ro, "file");
	assert_int_equal(fg_open(g, f, O_RDONLY, &fh), 0);
	assert_int_equal(sm_fs_remove_export(g->fs, "ro"), 0);
	assert_int_equal(fg_lookup(g, FUSE_ROOT_ID, "ro"), 0);
	assert_int_equal(fg_read(g, FUSE_READ, f, fh, 0, 100), 0);
	assert_int_equal(g->payload_len, 10);
	/* the same directory again is another export */
	assert_int_equal(sm_fs_add_export(g->fs, "ro", openat(g->dir, "ro", O_PATH), true), 0);
	again = fg_lookup(g, FUSE_ROOT_ID, "ro");
	assert_int_not_equal(again, g->ro);
	assert_int_not_equal(fg_lookup(g, again, "file"), f);
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, fh), 0);
}

static void test_file_export(void **state)
{
	struct fg *g = *state;
	uint64_t f, fh;

	fg_host_file(g, "single", "alone");
	assert_int_equal(sm_fs_add_export(g->fs, "m3", openat(g->dir, "single", O_PATH), false), 0);
	f = fg_lookup(g, FUSE_ROOT_ID, "m3");
	assert_true(S_ISREG(fg_entry(g).attr.mode));
	assert_false(fg_entry(g).attr.flags & FUSE_ATTR_SUBMOUNT);
	assert_int_equal(fg_open(g, f, O_RDWR, &fh), 0);
	assert_int_equal(fg_read(g, FUSE_READ, f, fh, 0, 100), 0);
	assert_int_equal(g->payload_len, 5);
	assert_int_equal(fg_release(g, FUSE_RELEASE, f, fh), 0);
}

/* The same directory twice: one writable, one not; the guest must not get from one to the other. */
static void test_exports_are_apart(void **state)
{
	struct fg *g = *state;
	uint64_t d = fg_lookup(g, g->rw, "ro"), w = fg_lookup(g, d, "file");
	uint64_t r = fg_lookup(g, g->ro, "file"), fh;

	assert_int_not_equal(r, w);
	assert_int_equal(fg_open(g, w, O_RDWR, &fh), 0);
	assert_int_equal(fg_release(g, FUSE_RELEASE, r, fh), -EBADF);
	assert_int_equal(fg_release(g, FUSE_RELEASE, w, fh), 0);
	assert_int_equal(fg_open(g, r, O_RDWR, &fh), -EROFS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_init),
		T(test_root),
		T(test_root_lists_exports),
		T(test_lookup),
		T(test_forget),
		T(test_batch_forget),
		T(test_unlinked_file_lives),
		T(test_rmdir),
		T(test_rename),
		T(test_rename_directory),
		T(test_host_turns_tree),
		T(test_host_replaces_file),
		T(test_symlinks_are_not_followed),
		T(test_make_all_kinds),
		T(test_link),
		T(test_owner_of_new_files),
		T(test_export_names),
		T(test_export_goes_while_open),
		T(test_file_export),
		T(test_exports_are_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
