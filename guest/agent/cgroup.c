/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/devbpf.h"

enum { DEPTH_MAX = 32, PROCS_MAX = 1 << 20 };

void sm_cgroup_enable_controllers(const char *root)
{
	static const char *const names[] = { "+cpu", "+memory", "+pids", "+io", "+cpuset" };
	sm_auto_close int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || sm_write_existing_at(dir, "cgroup.subtree_control",
					    "+cpu +memory +pids +io +cpuset") == 0)
		return;
	for (size_t i = 0; i < SM_ARRAY_SIZE(names); i++)
		sm_write_existing_at(dir, "cgroup.subtree_control", names[i]);
}

static int write_settings(const struct sm_cgroup *cg, const Supermachine__Agent__V1__Container *c,
			  struct sm_err *err)
{
	for (size_t i = 0; i < c->n_cgroup; i++) {
		const char *key = c->cgroup[i]->key;
		int r = !*key || strchr(key, '/')
				? -EINVAL
				: sm_write_existing_at(cg->fd, key, c->cgroup[i]->value);

		if (r < 0)
			return sm_err_sys(err, r, "write \"%s\" to cgroup file %s",
					  c->cgroup[i]->value, key);
	}
	return 0;
}

int sm_cgroup_guard_devices(const struct sm_cgroup *cg,
			    const Supermachine__Agent__V1__Container *c, struct sm_err *err)
{
	if (!c->n_device_rules || cg->fd < 0)
		return 0;
	return sm_devbpf_attach(cg->fd, c->device_rules, c->n_device_rules, err);
}

int sm_cgroup_make(struct sm_cgroup *cg, const char *root,
		   const Supermachine__Agent__V1__Container *c, struct sm_err *err)
{
	int r;

	cg->path = sm_strf("%s/%s", root, c->id);
	if (!cg->path)
		return sm_err_sys(err, -ENOMEM, "%s", "make the cgroup");
	if (mkdir(cg->path, 0755) < 0) {
		r = sm_err_sys(err, errno, "make the cgroup %s", cg->path);
		free(sm_steal_ptr(cg->path));
		return r;
	}
	cg->fd = open(cg->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cg->fd < 0)
		r = sm_err_sys(err, errno, "open the cgroup %s", cg->path);
	else
		r = write_settings(cg, c, err);
	if (r < 0) {
		sm_cgroup_remove(cg);
		return r;
	}
	cg->events = openat(cg->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	return 0;
}

bool sm_cgroup_populated(const struct sm_cgroup *cg)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(4096);

	if (cg->fd < 0 || sm_read_file_at(cg->fd, "cgroup.events", &text) < 0 || !text.data)
		return false;
	return strstr((char *)text.data, "populated 1") != NULL;
}

int sm_cgroup_open_of(const char *root, pid_t pid)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(PATH_MAX * 2);
	sm_auto_free char *path = NULL;
	char proc[64], *line;
	int r, fd;

	snprintf(proc, sizeof(proc), "/proc/%d/cgroup", (int)pid);
	r = sm_read_file_at(AT_FDCWD, proc, &text);
	if (r < 0 || !text.data)
		return r < 0 ? r : -ESRCH;
	line = strstr((char *)text.data, "0::/");
	if (!line)
		return -ENOENT;
	line[strcspn(line, "\n")] = '\0';
	path = sm_strf("%s%s", root, line + 3);
	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void sm_cgroup_kill(const struct sm_cgroup *cg)
{
	if (cg->fd >= 0 && sm_write_existing_at(cg->fd, "cgroup.kill", "1") < 0)
		sm_cgroup_signal(cg, SIGKILL);
}

int sm_cgroup_signal(const struct sm_cgroup *cg, int signo)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(PROCS_MAX);
	char *save = NULL, *line;
	int r;

	if (cg->fd < 0)
		return -ESRCH;
	r = sm_read_file_at(cg->fd, "cgroup.procs", &text);
	if (r < 0 || !text.data)
		return r;
	for (line = strtok_r((char *)text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		/* 0: a process that this pid namespace does not see */
		if (pid > 1)
			kill(pid, signo);
	}
	return 0;
}

/* Directories only: the files of a cgroup go with it. */
static int remove_dirs(int parent, const char *name, unsigned int depth)
{
	sm_auto_dir DIR *dir = NULL;
	struct dirent *e;
	int fd;

	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY || depth > DEPTH_MAX)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			remove_dirs(fd, e->d_name, depth + 1);
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int sm_cgroup_remove(struct sm_cgroup *cg)
{
	int r;

	if (!cg->path)
		return 0;
	r = remove_dirs(AT_FDCWD, cg->path, 0);
	if (r < 0)
		return r;
	free(sm_steal_ptr(cg->path));
	sm_close(&cg->fd);
	sm_close(&cg->events);
	return 0;
}
