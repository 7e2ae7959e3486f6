/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/nspath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "runtime/store.h"

#define AT "config.json: linux.namespaces: "

static bool is_of(pid_t pid, const struct stat *ns)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", (int)pid);
	return stat(path, &st) == 0 && st.st_dev == ns->st_dev && st.st_ino == ns->st_ino;
}

/* A container whose sm-vmm is alive in the namespace. */
static bool is_ours(const char *root, const char *id, const struct stat *ns)
{
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	sm_auto_err struct sm_err ignored = SM_ERR_INIT;

	return sm_store_check_id(id, NULL) == 0 &&
	       sm_store_find(root, id, &s, &state, &ignored) == 0 && sm_proc_alive(&state->vmm) &&
	       is_of(state->vmm.pid, ns);
}

static int check_ipc(const char *path, const char *root, struct sm_err *err)
{
	sm_auto_dir DIR *dir = opendir(root);
	const struct dirent *e;
	struct stat ns;
	bool host;

	if (stat(path, &ns) < 0)
		return sm_err_sys(err, errno, AT "lstat %s", path);
	/* sm-vmm without privileges is in the host's namespace */
	host = is_of(getpid(), &ns);
	while (!host && dir && (e = readdir(dir)))
		if (is_ours(root, e->d_name, &ns))
			return 0;
	return sm_err_set(err, -EOPNOTSUPP,
			  AT "ipc namespace %s is not that of a container of this runtime, and cannot "
			     "be joined: the container has a kernel of its own; leave the path out",
			  path);
}

static void child(int ns, int out)
{
	struct utsname u;
	int r = setns(ns, CLONE_NEWUTS) < 0 || uname(&u) < 0 ? -errno : 0;

	sm_write_full(out, &r, sizeof(r));
	if (r == 0)
		sm_write_full(out, &u, sizeof(u));
	_exit(0);
}

static int read_names(int fd, struct sm_uts_names *names)
{
	struct utsname u;
	int r, rc = sm_read_full(fd, &r, sizeof(r));

	if (rc < 0 || r < 0)
		return rc < 0 ? rc : r;
	rc = sm_read_full(fd, &u, sizeof(u));
	if (rc < 0)
		return rc;
	snprintf(names->host, sizeof(names->host), "%s", u.nodename);
	if (strcmp(u.domainname, "(none)"))
		snprintf(names->domain, sizeof(names->domain), "%s", u.domainname);
	return 0;
}

static int look_uts(const char *path, struct sm_uts_names *names, struct sm_err *err)
{
	sm_auto_close int ns = open(path, O_RDONLY | O_CLOEXEC);
	int p[2], r;
	pid_t pid;

	if (ns < 0)
		return sm_err_sys(err, errno, AT "lstat %s", path);
	if (pipe2(p, O_CLOEXEC) < 0)
		return sm_err_sys(err, errno, "pipe");
	pid = fork();
	if (pid == 0)
		child(ns, p[1]);
	r = pid < 0 ? -errno : 0;
	close(p[1]);
	if (r == 0)
		r = read_names(p[0], names);
	close(p[0]);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return r < 0 ? sm_err_sys(err, r, AT "uts namespace %s", path) : 0;
}

int sm_nspath_look(const struct sm_config *config, const char *root, struct sm_uts_names *names,
		   struct sm_err *err)
{
	const char *uts = sm_config_namespace_path(config, CLONE_NEWUTS);
	const char *ipc = sm_config_namespace_path(config, CLONE_NEWIPC);
	int r = ipc ? check_ipc(ipc, root, err) : 0;

	return r == 0 && uts ? look_uts(uts, names, err) : r;
}
