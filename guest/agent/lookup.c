/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/path.h"

enum { PASSWD_MAX = 1 << 20 };

const char *sm_env_get(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++)
		if (!strncmp(*env, name, len) && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

static size_t name_len(const char *var)
{
	return strcspn(var, "=");
}

static void put_var(char **to, size_t *n, char *var)
{
	size_t len = name_len(var);

	for (size_t i = 0; i < *n; i++) {
		if (name_len(to[i]) == len && !strncmp(to[i], var, len)) {
			to[i] = var;
			return;
		}
	}
	to[(*n)++] = var;
}

char **sm_env_make(char *const *env, size_t n, const char *home)
{
	char **to = calloc(n + 2, sizeof(*to));
	const char *old;
	size_t len = 0;

	if (!to)
		return NULL;
	for (size_t i = 0; i < n; i++)
		put_var(to, &len, env[i]);
	old = sm_env_get(to, "HOME");
	if (!old || !*old) {
		char *var = sm_strf("HOME=%s", home);

		if (!var) {
			free(to);
			return NULL;
		}
		put_var(to, &len, var);
	}
	return to;
}

/* What os/exec calls findExecutable */
static int check_executable(const char *path, struct sm_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return sm_err_sys(err, errno, "stat %s", path);
	if (S_ISDIR(st.st_mode))
		/* Docker and Podman make 126 of "permission denied" */
		return sm_err_set(err, -EISDIR, "%s", "is a directory: permission denied");
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return sm_err_set(err, -errno, "%s",
				  errno == EACCES ? "permission denied" : strerrordesc_np(errno));
	return 0;
}

static int search(const char *name, const char *list, char **path)
{
	while (list) {
		const char *end = strchrnul(list, ':');
		int len = (int)(end - list);
		char *candidate = len ? sm_strf("%.*s/%s", len, list, name) : sm_strf("./%s", name);

		if (!candidate)
			return -ENOMEM;
		if (check_executable(candidate, NULL) == 0) {
			*path = candidate;
			return 0;
		}
		free(candidate);
		list = *end ? end + 1 : NULL;
	}
	return -ENOENT;
}

int sm_lookup_program(const char *name, char *const *env, char **path, struct sm_err *err)
{
	const char *list = sm_env_get(env, "PATH");
	int r;

	if (strchr(name, '/')) {
		r = check_executable(name, err);
		if (r < 0)
			return sm_err_wrap(err, "exec: \"%s\"", name);
		*path = strdup(name);
		return *path ? 0 : sm_err_sys(err, -ENOMEM, "exec: \"%s\"", name);
	}
	r = list && *list && *name ? search(name, list, path) : -ENOENT;
	if (r < 0)
		return sm_err_set(err, r, "exec: \"%s\": executable file not found in $PATH", name);
	/* os/exec refuses what only a relative entry of PATH leads to */
	if (**path != '/') {
		free(sm_steal_ptr(*path));
		return sm_err_set(
			err, -EACCES,
			"exec: \"%s\": cannot run executable found relative to current directory",
			name);
	}
	return 0;
}

/* A line name:password:uid:gid:gecos:home:shell; its home if it is uid's. */
static const char *line_home(const char *line, size_t len, uint32_t uid, size_t *home_len)
{
	const char *field[7] = { line }, *end = line + len, *p = line;
	char number[12], *stop;
	size_t n = 1, digits;

	while (n < 7 && (p = memchr(p, ':', (size_t)(end - p))))
		field[n++] = ++p;
	if (n < 6)
		return NULL;
	digits = (size_t)(field[3] - field[2]) - 1;
	if (!digits || digits >= sizeof(number) || field[2][0] < '0' || field[2][0] > '9')
		return NULL;
	memcpy(number, field[2], digits);
	number[digits] = '\0';
	if (strtoull(number, &stop, 10) != uid || *stop)
		return NULL;
	*home_len = (size_t)((n > 6 ? field[6] - 1 : end) - field[5]);
	return field[5];
}

void sm_passwd_home(const char *text, size_t len, uint32_t uid, char *home, size_t size)
{
	const char *end = text + len;

	snprintf(home, size, "/");
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		const char *stop = nl ? nl : end;
		size_t n = 0;
		const char *found = line_home(text, (size_t)(stop - text), uid, &n);

		if (found) {
			/* an empty one, or one that cannot be a path, is no better than none */
			if (n && n < size && !memchr(found, '\0', n))
				snprintf(home, size, "%.*s", (int)n, found);
			return;
		}
		text = stop + 1;
	}
}

void sm_lookup_home(int root, uint32_t uid, char *home, size_t size)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(PASSWD_MAX);
	sm_auto_close int fd = sm_path_open(root, "/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	uint8_t *p;
	ssize_t n;

	snprintf(home, size, "/");
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > PASSWD_MAX)
		return;
	p = sm_buf_reserve(&text, (size_t)st.st_size);
	if (!p)
		return;
	n = read(fd, p, (size_t)st.st_size);
	if (n > 0)
		sm_passwd_home((const char *)p, (size_t)n, uid, home, size);
}
