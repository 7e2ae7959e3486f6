/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/copyup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"

enum { DEPTH_MAX = 128 };

static int copy_dir(int from, int to, dev_t dev, unsigned int depth);

static int copy_data(int from_dir, const char *name, int to_dir, mode_t mode)
{
	sm_auto_close int in = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	sm_auto_close int out = -1;
	ssize_t n;

	if (in < 0)
		return -errno;
	out = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (out < 0)
		return -errno;
	do {
		n = sendfile(out, in, NULL, 1u << 30);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

static int copy_link(int from_dir, const char *name, int to_dir)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? -errno : 0;
}

static int copy_subdir(int from_dir, const char *name, int to_dir, const struct stat *st,
		       unsigned int depth)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	sm_auto_close int from = -1, to = -1;

	if (mkdirat(to_dir, name, 0700) < 0)
		return -errno;
	from = openat(from_dir, name, flags);
	to = openat(to_dir, name, flags);
	if (from < 0 || to < 0)
		return -errno;
	return copy_dir(from, to, st->st_dev, depth + 1);
}

static int copy_meta(int to_dir, const char *name, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(st->st_mode) && fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0)
		return -errno;
	return utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_entry(int from, const char *name, int to, dev_t dev, unsigned int depth)
{
	struct stat st;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (st.st_dev != dev)
		return 0;
	if (S_ISDIR(st.st_mode))
		r = copy_subdir(from, name, to, &st, depth);
	else if (S_ISLNK(st.st_mode))
		r = copy_link(from, name, to);
	else if (S_ISREG(st.st_mode))
		r = copy_data(from, name, to, 0600);
	else
		r = mknodat(to, name, st.st_mode, st.st_rdev) < 0 ? -errno : 0;
	return r < 0 ? r : copy_meta(to, name, &st);
}

static int copy_dir(int from, int to, dev_t dev, unsigned int depth)
{
	sm_auto_dir DIR *dir = NULL;
	struct dirent *e;
	int fd, r = 0;

	if (depth > DEPTH_MAX)
		return -ELOOP;
	fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = copy_entry(fd, e->d_name, to, dev, depth);
	return r ? r : -errno;
}

int sm_copy_up(int from, int to)
{
	struct stat st;

	if (fstat(from, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? copy_dir(from, to, st.st_dev, 0) : 0;
}
