/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files (base/io.h). */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

#define READ_CHUNK 4096
#define TMP_TRIES  16

/* Reads to the end of fd; the byte past b->max tells a file that is too long. */
static int read_all(int fd, struct sm_buf *b)
{
	for (;;) {
		size_t room = b->max > b->len ? b->max - b->len : 0;
		size_t want = b->len > READ_CHUNK ? b->len : READ_CHUNK;
		uint8_t extra;
		uint8_t *p;
		ssize_t n;

		if (want > room)
			want = room;
		p = sm_buf_reserve(b, want);
		if (!p)
			return -ENOMEM;
		n = read(fd, room ? p : &extra, room ? want : 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		if (!room)
			return -EFBIG;
		b->len += (size_t)n;
	}
}

int sm_read_file_at(int dirfd, const char *path, struct sm_buf *b)
{
	sm_auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t had = b->len;
	int r;

	if (fd < 0)
		return -errno;
	r = read_all(fd, b);
	if (r < 0 && b->data) {
		b->len = had;
		b->data[had] = 0;
	}
	return r;
}

/* A new file beside path, its mode yet to be set. *tmp is its name, to be freed. Returns the fd or
 * -errno. */
static int open_tmp(int dirfd, const char *path, char **tmp)
{
	const char *slash = strrchr(path, '/');
	int dirlen = slash ? (int)(slash + 1 - path) : 0;

	for (int i = 0; i < TMP_TRIES; i++) {
		uint64_t id;
		int fd;

		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			return -errno;
		*tmp = sm_strf("%.*s.sm-%016" PRIx64, dirlen, path, id);
		if (!*tmp)
			return -ENOMEM;
		fd = openat(dirfd, *tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			    0600);
		if (fd >= 0)
			return fd;
		free(sm_steal_ptr(*tmp));
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static int fill(int fd, const void *data, size_t len, mode_t mode, int sync)
{
	int r = sm_write_full(fd, data, len);

	if (r < 0)
		return r;
	if (fchmod(fd, mode) < 0)
		return -errno;
	return sync && fsync(fd) < 0 ? -errno : 0;
}

int sm_write_file_at(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
		     int sync)
{
	sm_auto_free char *tmp = NULL;
	sm_auto_close int fd = open_tmp(dirfd, path, &tmp);
	int r;

	if (fd < 0)
		return fd;
	r = fill(fd, data, len, mode, sync);
	if (!r && renameat(dirfd, tmp, dirfd, path) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, tmp, 0);
	return r;
}

int sm_write_existing_at(int dirfd, const char *path, const char *text)
{
	sm_auto_close int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int mkdir_one(const char *path, mode_t mode)
{
	struct stat st;
	int code;

	if (!mkdir(path, mode))
		return 0;
	code = errno;
	/* Whatever mkdir(2) minds (EEXIST, EROFS, EACCES), a directory that is there is enough. */
	if (stat(path, &st) < 0)
		return -code;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int sm_mkdir_p(const char *path, mode_t mode)
{
	sm_auto_free char *copy = strdup(path);
	int r;

	if (!copy)
		return -ENOMEM;
	if (!*copy)
		return -ENOENT;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = 0;
		r = mkdir_one(copy, mode);
		if (r < 0)
			return r;
		*p = '/';
	}
	return mkdir_one(copy, mode);
}
