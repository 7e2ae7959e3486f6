/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rm -rf (base/io.h).
 *
 * However deep the tree is, only a directory and its parent are open, and nothing recurses: a walk
 * starts at the top, unlinks all it meets that is no directory and goes down into the first
 * subdirectory. A directory found empty is removed, and that ends the walk. Walks are made until
 * one removes the top itself. Each directory is opened by one name relative to its parent without
 * following symlinks, so that a tree that somebody changes meanwhile cannot lead out of itself.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

/* How often a directory that reads as empty may turn out not to be. */
#define NOT_EMPTY_MAX 100

enum walk { WALK_DONE, WALK_AGAIN, WALK_NOT_EMPTY };

/* Which filesystem a directory is on, and whether it is where one begins: a bind mount has its
 * source's device number. */
static int device_of(int fd, uint64_t *dev, bool *mount_root)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stx) < 0)
		return -errno;
	*dev = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
	*mount_root = stx.stx_attributes & stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

static int open_dir(int parent, const char *name, DIR **dir)
{
	sm_auto_close int fd =
		openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*dir = fdopendir(fd);
	if (!*dir)
		return -errno;
	sm_steal_fd(&fd);
	return 0;
}

static int is_dir(DIR *dir, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISDIR(st.st_mode);
}

/* Unlinks what is no directory until there is one: 1, sub is its name. 0: none is left. */
static int sweep(DIR *dir, char sub[static NAME_MAX + 1])
{
	struct dirent *e;
	int r;

	while (errno = 0, (e = readdir(dir)) != NULL) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		r = is_dir(dir, e);
		if (r < 0)
			return r;
		if (r) {
			strcpy(sub, e->d_name);
			return 1;
		}
		if (unlinkat(dirfd(dir), e->d_name, 0) < 0 && errno != ENOENT)
			return -errno;
	}
	return -errno;
}

static int remove_empty(int parent, const char *name)
{
	if (!unlinkat(parent, name, AT_REMOVEDIR) || errno == ENOENT)
		return 0;
	return errno == ENOTEMPTY || errno == EEXIST ? WALK_NOT_EMPTY : -errno;
}

/* Goes from `top`, below parent, to an empty directory and removes it. */
static int walk(int parent, const char *top)
{
	sm_auto_dir DIR *outer = NULL;
	char name[NAME_MAX + 1];
	uint64_t dev = 0, top_dev = 0;
	bool mount_root = false;
	int r;

	if (strlen(top) > NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(name, top);
	for (int depth = 0;; depth++) {
		int at = outer ? dirfd(outer) : parent;
		sm_auto_dir DIR *dir = NULL;
		char sub[NAME_MAX + 1];

		r = open_dir(at, name, &dir);
		if (r < 0)
			return r == -ENOENT ? (depth ? WALK_AGAIN : WALK_DONE) : r;
		r = device_of(dirfd(dir), &dev, &mount_root);
		if (r < 0)
			return r;
		if (!depth)
			top_dev = dev;
		else if (dev != top_dev || mount_root)
			return -EXDEV;
		r = sweep(dir, sub);
		if (r < 0)
			return r;
		if (r == 0) {
			r = remove_empty(at, name);
			return r ? r : depth ? WALK_AGAIN : WALK_DONE;
		}
		strcpy(name, sub);
		sm_clean_dir(&outer);
		outer = sm_steal_ptr(dir);
	}
}

static int remove_at(int parent, const char *name)
{
	int not_empty = 0;
	int r;

	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (!unlinkat(parent, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	do {
		r = walk(parent, name);
		if (r == WALK_NOT_EMPTY && ++not_empty > NOT_EMPTY_MAX)
			r = -ENOTEMPTY;
	} while (r > 0);
	return r;
}

/* One component down; the old fd is closed. */
static int step_down(int fd, const char *name)
{
	sm_auto_close int old = fd;

	if (!strcmp(name, ".."))
		return -EINVAL;
	fd = openat(old, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Opens what holds the last component of path. An absolute path is the caller's to know; a relative
 * one leads down from dirfd, past no symlink. */
static int open_parent(int dirfd, char *path, const char **last)
{
	char *slash = strrchr(path, '/');
	char *rest = NULL;
	int fd;

	*last = slash ? slash + 1 : path;
	if (slash == path)
		return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (slash)
		*slash = 0;
	if (path[0] == '/') {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	fd = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!slash)
		return fd;
	for (char *name = strtok_r(path, "/", &rest); name && fd >= 0;
	     name = strtok_r(NULL, "/", &rest))
		fd = step_down(fd, name);
	return fd;
}

int sm_remove_tree_at(int dirfd, const char *path)
{
	sm_auto_free char *copy = strdup(path);
	sm_auto_close int parent = -1;
	const char *last;

	if (!copy)
		return -ENOMEM;
	parent = open_parent(dirfd, copy, &last);
	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	return remove_at(parent, last);
}
