/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may write to the request queue. The input is a series of
 *
 *	opcode, node, room, length, bytes…
 *
 * Bit 7 of opcode: the bytes are the whole message; else a header is put in front. `node` chooses
 * among the nodes that replies named lately; bit 7 of it puts a file handle seen lately first in the
 * arguments. Each input has a directory of its own on tmpfs, which is the exported tree.
 */
#include "config.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "unit/fs_guest.h"

#define RECENT 8
#define REQUESTS_MAX 64

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct recent {
	uint64_t id[RECENT];
	unsigned int n;
};

/* A worker's working directory is /proc/self/fd, so that libFuzzer must know its own by full names. */
static void make_absolute(int *argc, char ***argv)
{
	static char cwd[PATH_MAX], prefix[PATH_MAX + 32];
	char **v = calloc((size_t)*argc + 2, sizeof(*v));
	int n = 0;

	if (!v || !getcwd(cwd, sizeof(cwd)))
		abort();
	v[n++] = (*argv)[0];
	snprintf(prefix, sizeof(prefix), "-artifact_prefix=%s/", cwd);
	v[n++] = prefix; /* first, so that another one overrides it */
	for (int i = 1; i < *argc; i++) {
		char *full = (*argv)[i][0] == '-' ? NULL : realpath((*argv)[i], NULL);

		v[n++] = full ? full : (*argv)[i];
	}
	*argc = n;
	*argv = v;
}

/* Files stay small whatever a request says. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct rlimit small = { 1 << 20, 1 << 20 };

	make_absolute(argc, argv);
	return setrlimit(RLIMIT_FSIZE, &small);
}

static void remember(struct recent *r, uint64_t id)
{
	r->id[r->n++ % RECENT] = id;
}

static void learn(struct fg *g, uint32_t opcode, struct recent *nodes, struct recent *fhs)
{
	struct fuse_open_out open_out;
	size_t at = 0;

	if (g->written < 16 || fg_error(g) != 0)
		return;
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		remember(nodes, fg_entry(g).nodeid);
		break;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		remember(nodes, fg_entry(g).nodeid);
		at = sizeof(struct fuse_entry_out);
		/* fall through */
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		memcpy(&open_out, g->payload + at, sizeof(open_out));
		remember(fhs, open_out.fh);
		break;
	}
}

static void run(struct fg *g, const uint8_t *data, size_t size)
{
	struct recent nodes = { .id = { FUSE_ROOT_ID, g->rw, g->ro } }, fhs = { 0 };

	nodes.n = 3;
	for (int i = 0; i < REQUESTS_MAX && size >= 4; i++) {
		uint32_t opcode = data[0] & 0x7f;
		size_t len = data[3] < size - 4 ? data[3] : size - 4, at = 0;
		size_t room = 16 + (size_t)data[2] * 16;

		if (!(data[0] & 0x80))
			at = fg_header(g, opcode, nodes.id[data[1] % RECENT], len);
		memcpy(g->msg + at, data + 4, len);
		if ((data[1] & 0x80) && at && len >= 8)
			memcpy(g->msg + at, &fhs.id[data[1] / 8 % RECENT], 8);
		else if ((data[0] & 0x80) && len >= 16)
			g->msg[8] = 77; /* as fg_error() wants it */
		fg_send(g, at + len, room);
		assert(g->written <= room);
		if (at)
			learn(g, opcode, &nodes, &fhs);
		data += 4 + len;
		size -= 4 + len;
	}
}

static void be_root_again(struct fg *g)
{
	struct fs_req r = { .worker = g->worker, .in = { .uid = geteuid(), .gid = getegid() } };

	if (fs_cred_owner(&r, 0) < 0 || fs_cred_fsetid(&r, true) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sm_fs_options options = { .max_fds = 24 };
	struct fg *g = malloc(sizeof(*g));

	if (!g)
		abort();
	signal(SIGXFSZ, SIG_IGN); /* libFuzzer has its own idea */
	fg_start(g, &options);
	run(g, data, size);
	be_root_again(g);
	fg_end(g);
	free(g);
	return 0;
}
