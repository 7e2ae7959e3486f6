/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"

enum { LINKS_MAX = 40, RACES_MAX = 16 };

/* A walk along a path whose components may be missing. */
struct walk {
	int root;
	bool file;		/* the last component is a file */
	unsigned int links;
	char done[PATH_MAX];	/* what is walked, free of symlinks: "" or "/a/b" */
	char todo[PATH_MAX];
};

int sm_path_open(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned int)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	/* EAGAIN: the kernel lost a race with a rename on the way up a ".." */
	do {
		fd = (int)syscall(SYS_openat2, root, *path ? path : "/", &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : fd;
}

/* Cuts the first component off w->todo; false at the end. */
static bool next(struct walk *w, char name[NAME_MAX + 1], bool *last)
{
	char *p = w->todo + strspn(w->todo, "/");
	size_t len = strcspn(p, "/");

	if (!len || len > NAME_MAX)
		return false;
	memcpy(name, p, len);
	name[len] = '\0';
	p += len;
	*last = p[strspn(p, "/")] == '\0';
	memmove(w->todo, p, strlen(p) + 1);
	return true;
}

static int follow(struct walk *w, int fd)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	if (++w->links > LINKS_MAX)
		return -ELOOP;
	target[n] = '\0';
	if (*target == '/')
		*w->done = '\0';
	strcpy(rest, w->todo);
	if ((size_t)snprintf(w->todo, sizeof(w->todo), "%s/%s", target, rest) >= sizeof(w->todo))
		return -ENAMETOOLONG;
	return 0;
}

static int make(struct walk *w, const char *name, bool file)
{
	sm_auto_close int dir = sm_path_open(w->root, w->done, O_PATH | O_DIRECTORY);
	int r;

	if (dir < 0)
		return dir;
	if (file)
		r = mknodat(dir, name, S_IFREG | 0755, 0);
	else
		r = mkdirat(dir, name, 0755);
	return r < 0 && errno != EEXIST ? -errno : 0;
}

static int step(struct walk *w, const char *name, bool last)
{
	char path[PATH_MAX];
	sm_auto_close int fd = -1;
	struct stat st;
	int r;

	if (!strcmp(name, "."))
		return 0;
	if (!strcmp(name, "..")) {
		char *slash = strrchr(w->done, '/');

		if (slash)
			*slash = '\0';
		return 0;
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", w->done, name) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = sm_path_open(w->root, path, O_PATH | O_NOFOLLOW);
	/* Others who share the file system may make it at the same time, and that it is not there may
	 * be what we knew before. */
	for (int i = 0; fd == -ENOENT && i < RACES_MAX; i++) {
		r = make(w, name, last && w->file);
		if (r < 0 && r != -ENOENT)
			return r;
		fd = sm_path_open(w->root, path, O_PATH | O_NOFOLLOW);
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return follow(w, fd);
	if (!last && !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	strcpy(w->done, path);
	return 0;
}

static int walk_and_make(int root, const char *path, bool file)
{
	struct walk w = { .root = root, .file = file };
	char name[NAME_MAX + 1];
	bool last;
	int fd = sm_path_open(root, path, O_PATH);

	if (fd != -ENOENT)
		return fd;
	if (strlen(path) >= sizeof(w.todo))
		return -ENAMETOOLONG;
	strcpy(w.todo, path);
	while (next(&w, name, &last)) {
		int r = step(&w, name, last);

		if (r < 0)
			return r;
	}
	if (w.todo[strspn(w.todo, "/")])
		return -ENAMETOOLONG;
	return sm_path_open(root, w.done, O_PATH);
}

int sm_path_make_dir(int root, const char *path)
{
	return walk_and_make(root, path, false);
}

int sm_path_make_file(int root, const char *path)
{
	return walk_and_make(root, path, true);
}

int sm_path_make_parent(int root, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	*name = slash ? slash + 1 : path;
	if (!**name || !strcmp(*name, ".") || !strcmp(*name, ".."))
		return -EINVAL;
	if (*name - path >= (ptrdiff_t)sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(*name - path));
	dir[*name - path] = '\0';
	return sm_path_make_dir(root, dir);
}
