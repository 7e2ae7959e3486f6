/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fs_guest.h"

/*
 * A guest that does everything at once and to the same few files: four of its CPUs work on names,
 * nodes and open files that they have from each other, forget what another one is about to be told
 * of, and begin a new session now and then, while exports come and go and there are descriptors for
 * a part of the files only. What the requests say does not matter. Nothing may be used after it was
 * freed, which AddressSanitizer sees, and when all is forgotten nothing may be left.
 */
#define CPUS    4
#define STEPS   8000
#define SLOTS   64
#define MAX_FDS 24

struct known {
	_Atomic uint64_t node[SLOTS];
	_Atomic uint64_t fh[SLOTS], fh_node[SLOTS];
};

struct cpu {
	struct fg fg;
	struct known *known;
	uint32_t seed;
	uint64_t node, other; /* of this step */
	const char *name, *new_name;
	unsigned int from, to; /* slots */
	int failed;
};

static uint32_t roll(struct cpu *c, uint32_t n)
{
	c->seed ^= c->seed << 13;
	c->seed ^= c->seed >> 17;
	c->seed ^= c->seed << 5;
	return c->seed % n;
}

static void learn(struct cpu *c, uint64_t node)
{
	if (node)
		c->known->node[c->to] = node;
}

/* A reply of CREATE or TMPFILE. */
static void learn_open(struct cpu *c)
{
	struct fuse_open_out open;

	memcpy(&open, c->fg.payload + sizeof(struct fuse_entry_out), sizeof(open));
	learn(c, fg_entry(&c->fg).nodeid);
	c->known->fh[c->to] = open.fh;
	c->known->fh_node[c->to] = fg_entry(&c->fg).nodeid;
}

static void lookup(struct cpu *c)
{
	learn(c, fg_lookup(&c->fg, c->node, c->name));
}

static void forget(struct cpu *c)
{
	fg_forget(&c->fg, c->node, roll(c, 3));
}

/* More than it was told of, which may be on its way. */
static void forget_next(struct cpu *c)
{
	fg_forget(&c->fg, c->known->node[c->from] + (roll(c, 2) ? 1ull << 32 : 0), UINT64_MAX);
}

static void make_dir(struct cpu *c)
{
	struct fuse_mkdir_in in = { .mode = 0755 };

	if (fg_named(&c->fg, FUSE_MKDIR, c->node, &in, sizeof(in), c->name) == 0)
		learn(c, fg_entry(&c->fg).nodeid);
}

static void create(struct cpu *c)
{
	struct fuse_create_in in = { .flags = O_RDWR, .mode = 0644 };

	if (fg_named(&c->fg, FUSE_CREATE, c->node, &in, sizeof(in), c->name) == 0)
		learn_open(c);
}

static void make_tmpfile(struct cpu *c)
{
	struct fuse_create_in in = { .flags = O_RDWR, .mode = 0644 };

	if (fg_call(&c->fg, FUSE_TMPFILE, c->node, &in, sizeof(in), NULL, 0, 400) == 0)
		learn_open(c);
}

static void open_file(struct cpu *c)
{
	uint64_t fh;

	if (fg_open(&c->fg, c->node, O_RDWR, &fh) != 0)
		return;
	c->known->fh[c->to] = fh;
	c->known->fh_node[c->to] = c->node;
}

static void release(struct cpu *c)
{
	fg_release(&c->fg, FUSE_RELEASE, c->known->fh_node[c->from], c->known->fh[c->from]);
}

static void read_file(struct cpu *c)
{
	fg_read(&c->fg, FUSE_READ, c->known->fh_node[c->from], c->known->fh[c->from], 0, 100);
}

static void write_file(struct cpu *c)
{
	struct fuse_write_in in = { .fh = c->known->fh[c->from], .offset = 10, .size = 4 };

	fg_write(&c->fg, c->known->fh_node[c->from], in, "text");
}

static void read_dir(struct cpu *c)
{
	uint64_t fh;

	if (fg_opendir(&c->fg, c->node, &fh) != 0)
		return;
	for (int i = 0; i < 3; i++)
		fg_read(&c->fg, FUSE_READDIRPLUS, c->node, fh, 0, 600);
	fg_release(&c->fg, FUSE_RELEASEDIR, c->node, fh);
}

static void unlink_file(struct cpu *c)
{
	fg_named(&c->fg, FUSE_UNLINK, c->node, NULL, 0, c->name);
}

static void remove_dir(struct cpu *c)
{
	fg_named(&c->fg, FUSE_RMDIR, c->node, NULL, 0, c->name);
}

static void rename_file(struct cpu *c)
{
	struct fuse_rename2_in in = { .newdir = c->other, .flags = roll(c, 3) };
	char names[32];
	size_t first = strlen(c->name) + 1, second = strlen(c->new_name) + 1;

	memcpy(names, c->name, first);
	memcpy(names + first, c->new_name, second);
	fg_call(&c->fg, FUSE_RENAME2, c->node, &in, sizeof(in), names, first + second, 100);
}

static void link_file(struct cpu *c)
{
	struct fuse_link_in in = { c->other };

	fg_named(&c->fg, FUSE_LINK, c->node, &in, sizeof(in), c->name);
}

static void stat_file(struct cpu *c)
{
	struct fuse_attr attr;

	fg_getattr(&c->fg, c->node, &attr);
}

static void set_attributes(struct cpu *c)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE | FATTR_SIZE, .mode = 0640, .size = 30 };

	fg_call(&c->fg, FUSE_SETATTR, c->node, &in, sizeof(in), NULL, 0, 200);
}

static void get_attribute(struct cpu *c)
{
	struct fuse_getxattr_in in = { .size = 100 };

	fg_call(&c->fg, FUSE_GETXATTR, c->node, &in, sizeof(in), "user.x", 7, 200);
}

static void begin_again(struct cpu *c)
{
	if (roll(c, 300) == 0)
		fg_init_session(&c->fg);
	learn(c, fg_lookup(&c->fg, FUSE_ROOT_ID, "comes-and-goes"));
	c->fg.rw = fg_lookup(&c->fg, FUSE_ROOT_ID, "rw");
}

static void (*const steps[])(struct cpu *c) = {
	lookup,      lookup,     forget,    forget_next,    forget_next,   forget_next, forget_next,
	make_dir,    create,     create,    make_tmpfile,   open_file,     release,     release,
	read_file,   write_file, read_dir,  unlink_file,    unlink_file,   remove_dir,  rename_file,
	rename_file, link_file,  stat_file, set_attributes, get_attribute, begin_again,
};

/* A node that somebody knows, or the root of the export. */
static uint64_t some_node(struct cpu *c)
{
	uint64_t node = roll(c, 3) ? c->known->node[roll(c, SLOTS)] : 0;

	return node ? node : c->fg.rw;
}

static void *work(void *arg)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
	struct cpu *c = arg;

	c->failed = fs_worker_init(c->fg.worker, c->fg.fs);
	for (int i = 0; i < STEPS && c->failed == 0; i++) {
		c->node = some_node(c);
		c->other = some_node(c);
		c->name = names[roll(c, 8)];
		c->new_name = names[roll(c, 8)];
		c->from = roll(c, SLOTS);
		c->to = roll(c, SLOTS);
		steps[roll(c, sizeof(steps) / sizeof(steps[0]))](c);
	}
	return NULL;
}

static void come_and_go(const struct fg *g)
{
	int fd = open(g->path, O_PATH | O_CLOEXEC);

	if (sm_fs_add_export(g->fs, "comes-and-goes", fd, false) < 0)
		close(fd);
	usleep(500);
	sm_fs_remove_export(g->fs, "comes-and-goes");
}

static void test_all_at_once(void **state)
{
	struct sm_fs_options options = SM_FS_OPTIONS_DEFAULT;
	struct cpu *c = calloc(CPUS, sizeof(*c));
	struct fg *g = malloc(sizeof(*g));
	struct known known = { 0 };
	pthread_t id[CPUS];

	options.max_fds = MAX_FDS;
	fg_start(g, &options);
	for (unsigned int i = 0; i < CPUS; i++) {
		c[i] = (struct cpu){ .known = &known, .seed = 2463534242u + i };
		c[i].fg.fs = g->fs;
		c[i].fg.rw = g->rw;
		c[i].fg.worker = calloc(1, sizeof(*g->worker));
		assert_int_equal(pthread_create(&id[i], NULL, work, &c[i]), 0);
	}
	for (int i = 0; i < 100; i++)
		come_and_go(g);
	for (unsigned int i = 0; i < CPUS; i++) {
		assert_int_equal(pthread_join(id[i], NULL), 0);
		assert_int_equal(c[i].failed, 0);
		free(c[i].fg.worker);
	}
	fs_fuse_forget_all(g->fs);
	/* the roots of "rw" and "ro" */
	assert_int_equal(g->fs->inodes.count, 2);
	assert_int_equal(g->fs->nfds, 2);
	assert_int_equal(g->fs->handles.used, 0);
	fg_end(g);
	free(g);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
