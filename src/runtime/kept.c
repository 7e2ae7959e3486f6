/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

char *sm_kept_dir(void)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		return strdup("/run/supermachine");
	return xdg && *xdg == '/' ? sm_strf("%s/supermachine", xdg) : NULL;
}

/* Anyone could otherwise choose a host's backend, or the filter of a container. */
static bool trusted(const struct stat *st)
{
	return S_ISREG(st->st_mode) && (st->st_uid == 0 || st->st_uid == geteuid()) &&
	       !(st->st_mode & (S_IWGRP | S_IWOTH));
}

int sm_kept_read(const char *dir, const char *name, struct sm_buf *text)
{
	sm_auto_free char *path = sm_strf("%s/%s", dir, name);
	sm_auto_close int fd = -1;
	struct stat st;
	uint8_t *p;
	int r;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ELOOP ? -EPERM : -errno;
	if (!trusted(&st))
		return -EPERM;
	if ((size_t)st.st_size > text->max - text->len)
		return -EINVAL;
	p = sm_buf_reserve(text, (size_t)st.st_size);
	if (!p)
		return -ENOMEM;
	r = sm_read_full(fd, p, (size_t)st.st_size);
	if (r == 0)
		text->len += (size_t)st.st_size;
	return r;
}

int sm_kept_write(const char *dir, const char *name, const void *data, size_t len)
{
	sm_auto_free char *path = sm_strf("%s/%s", dir, name);
	int r = path ? sm_mkdir_p(dir, 0700) : -ENOMEM;

	return r < 0 ? r : sm_write_file_at(AT_FDCWD, path, data, len, 0600, 0);
}
