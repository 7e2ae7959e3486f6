/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel takes the mapping from a user namespace: a child makes one, its maps are written from
 * here, and it is opened before the child ends.
 */
#include "runtime/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

#define MAP_TEXT_MAX  16384 /* 340 lines of three numbers */
#define MOUNTINFO_MAX (4u << 20)

#ifndef STATX_MNT_ID /* Linux 5.8 */
#define STATX_MNT_ID 0x1000
#endif

static int write_map(pid_t pid, const char *file, const sm_id_map_list *map)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(MAP_TEXT_MAX);
	char path[64], line[80];
	int r = 0;

	for (size_t i = 0; r == 0 && i < map->n; i++) {
		int n = snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
				 map->v[i].container_id.v, map->v[i].host_id.v, map->v[i].size.v);

		r = sm_buf_put(&text, line, (size_t)n);
	}
	if (r == 0)
		r = sm_buf_put(&text, "", 1);
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return r < 0 ? r : sm_write_existing_at(AT_FDCWD, path, (const char *)text.data);
}

static int open_mapped(pid_t pid, const struct sm_idmap *map)
{
	char path[64];
	int r = write_map(pid, "uid_map", &map->uids);
	int fd;

	if (r == 0)
		r = write_map(pid, "gid_map", &map->gids);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A user namespace with the mapping. */
static int make_userns(const struct sm_idmap *map)
{
	/* no stack of its own: a fork that is born in the namespace */
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
	int fd;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		for (;;)
			pause();
	fd = open_mapped((pid_t)pid, map);
	kill((pid_t)pid, SIGKILL);
	while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}

/* The type of the file system that a path is on, as /proc/self/mountinfo has it; "" if unknown. */
static void name_filesystem(const char *path, char *name, size_t size)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(MOUNTINFO_MAX);
	struct statx stx;
	char id[32];

	*name = '\0';
	if (syscall(SYS_statx, AT_FDCWD, path, 0, STATX_MNT_ID, &stx) < 0 ||
	    sm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", &text) < 0 ||
	    sm_buf_put(&text, "", 1) < 0)
		return;
	snprintf(id, sizeof(id), "%" PRIu64 " ", (uint64_t)stx.stx_mnt_id);
	for (char *line = strtok((char *)text.data, "\n"); line; line = strtok(NULL, "\n")) {
		char *type = strncmp(line, id, strlen(id)) ? NULL : strstr(line, " - ");

		if (type)
			snprintf(name, size, "%.*s ", (int)strcspn(type + 3, " "), type + 3);
	}
}

int sm_idmap_apply(int mnt, const char *path, const struct sm_idmap *map, struct sm_err *err)
{
	const unsigned int flags = AT_EMPTY_PATH | (map->recursive ? AT_RECURSIVE : 0);
	sm_auto_close int userns = make_userns(map);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns };
	char type[64];
	int code;

	if (userns < 0)
		return sm_err_sys(err, userns, "user namespace for the id-mapped mount of %s",
				  path);
	if (syscall(SYS_mount_setattr, mnt, "", flags, &attr, sizeof(attr)) == 0)
		return 0;
	code = errno;
	name_filesystem(path, type, sizeof(type));
	if (code == EINVAL)
		return sm_err_set(
			err, -EOPNOTSUPP,
			"id-mapped mount of %s: the host's %sfile system%s does not support "
			"that: leave the mappings and idmap out",
			path, type, map->recursive ? ", or one mounted below it," : "");
	return sm_err_sys(err, code, "id-mapped mount of %s (%sfile system)", path, type);
}
