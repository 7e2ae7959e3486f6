/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "runtime/container.h"

/* The name of the temporary file is runc's, because its messages name it. */
int sm_pidfile_write(const char *path, pid_t pid, struct sm_err *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	sm_auto_free char *tmp = sm_strf("%.*s.%s", (int)(name - path), path, name);
	sm_auto_close int fd = -1;
	char text[16];
	int r = 0;

	if (!tmp)
		return sm_err_sys(err, -ENOMEM, "%s", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_SYNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return sm_err_sys(err, errno, "open %s", tmp);
	snprintf(text, sizeof(text), "%d", (int)pid);
	r = sm_write_full(fd, text, strlen(text));
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	unlink(tmp);
	return sm_err_sys(err, r, "pid file %s", path);
}
