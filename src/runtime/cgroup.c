/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A host has one or more hierarchies (mounts of type cgroup and cgroup2 in mountinfo). A
 * container's cgroup is the same path below each of them. create plans the list, writes it into
 * state.json, and only then makes the directories, so that delete finds them however create ended.
 * create accepts only cgroups that nobody is in, and looks again after sm-vmm has joined, for two
 * may have found the same one empty. A container that stopped holds none: another one may be given
 * its cgroup, and delete leaves it to that one (cgroup_remove.c).
 */
#include "runtime/cgroup.h"

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
#include "base/log.h"

#define HIERARCHIES_MAX 32
#define TEXT_MAX (1u << 20)

/* ---- the path ------------------------------------------------------------------------------- */

/* Without "." and "..", which cannot climb above the top; begins with a slash. */
static const char *clean_path(struct sm_arena *arena, const char *path)
{
	size_t len = strlen(path);
	char *out = sm_arena_alloc(arena, len + 2);
	size_t n = 0;

	if (!out)
		return NULL;
	while (*path) {
		size_t part = strcspn(path, "/");

		if (part == 2 && !memcmp(path, "..", 2)) {
			while (n && out[--n] != '/')
				;
		} else if (part && !(part == 1 && *path == '.')) {
			out[n++] = '/';
			memcpy(out + n, path, part);
			n += part;
		}
		path += part;
		path += *path == '/';
	}
	out[n] = '\0';
	return out;
}

/* "a-b.slice" is a.slice/a-b.slice. */
static const char *expand_slice(struct sm_arena *arena, const char *slice)
{
	size_t len = strlen(slice), stem;
	const char *path = "";

	if (len <= 6 || strcmp(slice + len - 6, ".slice") != 0 || strchr(slice, '/'))
		return NULL;
	stem = len - 6;
	if (stem == 1 && *slice == '-')
		return path;
	for (size_t i = 1; i <= stem && path; i++)
		if (slice[i] == '-' || i == stem)
			path = sm_arena_strf(arena, "%s/%.*s.slice", path, (int)i, slice);
	return path;
}

static int systemd_path(struct sm_arena *arena, const char *given, const char *id,
			const char **path, struct sm_err *err)
{
	const char *text = given ? given : "";
	const char *one = strchr(text, ':');
	const char *two = one ? strchr(one + 1, ':') : NULL;
	const char *slice, *dir;

	if (!*text) {
		*path = sm_arena_strf(arena, "/system.slice/%s.scope", id);
		return *path ? 0 : sm_err_sys(err, -ENOMEM, "linux.cgroupsPath");
	}
	if (!two || strchr(two + 1, ':'))
		return sm_err_set(err, -EINVAL,
				  "expected cgroupsPath to be of format \"slice:prefix:name\" for "
				  "systemd cgroups, got \"%s\" instead",
				  text);
	slice = one == text ? "system.slice" :
			      sm_arena_strf(arena, "%.*s", (int)(one - text), text);
	dir = slice ? expand_slice(arena, slice) : NULL;
	if (!dir)
		return sm_err_set(err, -EINVAL, "linux.cgroupsPath: invalid slice name: %s",
				  slice ? slice : text);
	*path = sm_arena_strf(arena, "%s/%.*s%s%s.scope", dir, (int)(two - one - 1), one + 1,
			      two == one + 1 ? "" : "-", two + 1);
	*path = *path ? clean_path(arena, *path) : NULL;
	return *path ? 0 : sm_err_sys(err, -ENOMEM, "linux.cgroupsPath");
}

int sm_cgroup_path(struct sm_arena *arena, const char *cgroups_path, const char *id, bool systemd,
		   const char **path, struct sm_err *err)
{
	if (systemd)
		return systemd_path(arena, cgroups_path, id, path, err);
	*path = clean_path(arena, cgroups_path && *cgroups_path ? cgroups_path : id);
	if (!*path)
		return sm_err_sys(err, -ENOMEM, "linux.cgroupsPath");
	if (!**path)
		return sm_err_set(err, -EINVAL, "linux.cgroupsPath \"%s\": names no cgroup",
				  cgroups_path);
	return 0;
}

/* ---- the hierarchies ------------------------------------------------------------------------ */

static bool is_known(const char *options)
{
	static const char *const known[] = { "cpu",	"cpuacct", "cpuset", "memory",
					     "devices", "freezer", "blkio",  "pids",
					     "name=systemd" };

	for (size_t i = 0; i < SM_ARRAY_SIZE(known); i++) {
		const char *at = strstr(options, known[i]);

		if (at && (at == options || at[-1] == ','))
			return true;
	}
	return false;
}

/* What v2 can control; "" in a hybrid layout, where version 1 has the controllers. */
static const char *v2_controllers(struct sm_arena *arena, const char *mount)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(4096);
	sm_auto_close int fd = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || sm_read_file_at(fd, "cgroup.controllers", &text) < 0 || !text.len)
		return "";
	return sm_arena_strndup(arena, (const char *)text.data,
				strcspn((const char *)text.data, "\n"));
}

/* \040 and its like in mountinfo */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		unsigned int c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1 && s[1] && s[2] && s[3]) {
			*out++ = (char)c;
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

static bool seen(const struct sm_cgroups *cg, const char *options, enum sm_cgroup_version version)
{
	for (size_t i = 0; i < cg->n; i++)
		if (cg->v[i].version == version &&
		    (version == SM_CGROUP_V2 || !strcmp(cg->v[i].controllers, options)))
			return true;
	return false;
}

/* One line of mountinfo: "36 35 0:30 /root /mount opts ... - type source superoptions" */
static int plan_line(struct sm_arena *arena, char *line, const char *path, struct sm_cgroups *cg)
{
	char mount[PATH_MAX], type[32], options[512] = "";
	char *dash = strstr(line, " - ");
	struct sm_cgroup_dir *d = &cg->v[cg->n];
	enum sm_cgroup_version version;
	const char *found;

	if (cg->n == HIERARCHIES_MAX || !dash ||
	    sscanf(line, "%*s %*s %*s %*s %4095s", mount) != 1 ||
	    sscanf(dash + 3, "%31s %*s %511s", type, options) < 1)
		return 0;
	if (strcmp(type, "cgroup") != 0 && strcmp(type, "cgroup2") != 0)
		return 0;
	version = type[6] ? SM_CGROUP_V2 : SM_CGROUP_V1;
	/* "rw,cpu,cpuacct" */
	found = strchr(options, ',') ? strchr(options, ',') + 1 : "";
	if (seen(cg, found, version))
		return 0;
	unescape(mount);
	d->version = version;
	d->tolerated = version == SM_CGROUP_V1 && !is_known(found);
	d->mount = sm_arena_strdup(arena, mount);
	d->path = sm_arena_strf(arena, "%s%s", mount, path);
	d->controllers = version == SM_CGROUP_V2 ? v2_controllers(arena, mount) :
						   sm_arena_strdup(arena, found);
	if (!d->mount || !d->path || !d->controllers)
		return -ENOMEM;
	cg->n++;
	return 0;
}

int sm_cgroup_plan(struct sm_arena *arena, const char *path, struct sm_cgroups *cg,
		   struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(TEXT_MAX);
	char *line, *rest;
	int r = sm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", &text);

	cg->n = 0;
	cg->v = sm_arena_array(arena, HIERARCHIES_MAX + 1, sizeof(*cg->v));
	if (r == 0 && !cg->v)
		r = -ENOMEM;
	rest = text.data ? (char *)text.data : NULL;
	while (r == 0 && (line = strsep(&rest, "\n")))
		r = plan_line(arena, line, path, cg);
	return r < 0 ? sm_err_sys(err, r, "cgroup: /proc/self/mountinfo") : 0;
}

/* The directory of dirs that is below a mount; NULL: none. */
static const char *below(const struct sm_strs *dirs, const char *mount)
{
	size_t len = strlen(mount);

	for (size_t i = 0; i < dirs->n; i++)
		if (!strncmp(dirs->v[i], mount, len) && dirs->v[i][len] == '/')
			return dirs->v[i];
	return NULL;
}

int sm_cgroup_find(struct sm_arena *arena, const struct sm_strs *dirs, struct sm_cgroups *cg,
		   struct sm_err *err)
{
	int r = sm_cgroup_plan(arena, "", cg, err);
	size_t kept = 0;

	for (size_t i = 0; r == 0 && i < cg->n; i++) {
		struct sm_cgroup_dir d = cg->v[i];

		d.path = below(dirs, d.mount);
		if (d.path && access(d.path, F_OK) == 0)
			cg->v[kept++] = d;
	}
	cg->n = kept;
	return r;
}

static bool has_controller(const struct sm_cgroup_dir *d, const char *name)
{
	const char *c = d->controllers;

	while (*c) {
		size_t word = strcspn(c, ", ");

		if (word == strlen(name) && !memcmp(c, name, word))
			return true;
		c += word;
		c += *c != '\0';
	}
	return false;
}

static const char *dir_of(const struct sm_cgroups *cg, enum sm_cgroup_version version,
			  const char *controller)
{
	for (size_t i = 0; i < cg->n; i++)
		if (cg->v[i].version == version && has_controller(&cg->v[i], controller))
			return cg->v[i].path;
	return NULL;
}

const char *sm_cgroup_v1_dir(const struct sm_cgroups *cg, const char *controller)
{
	return dir_of(cg, SM_CGROUP_V1, controller);
}

const char *sm_cgroup_v2_dir(const struct sm_cgroups *cg, const char *controller)
{
	return dir_of(cg, SM_CGROUP_V2, controller);
}

/* ---- making --------------------------------------------------------------------------------- */

/* A new cpuset of version 1 is empty, and nobody can be put into it, until it was told its CPUs. */
static int inherit_cpuset(const char *dir)
{
	static const char *const names[] = { "cpuset.cpus", "cpuset.mems" };

	for (size_t i = 0; i < SM_ARRAY_SIZE(names); i++) {
		sm_auto_buf struct sm_buf mine = SM_BUF_INIT(65536), above = SM_BUF_INIT(65536);
		sm_auto_free char *path = sm_strf("%s/%s", dir, names[i]);
		sm_auto_free char *up = sm_strf("%s/../%s", dir, names[i]);
		int r;

		if (!path || !up)
			return -ENOMEM;
		r = sm_read_file_at(AT_FDCWD, path, &mine);
		if (r < 0)
			return r;
		if (mine.len > 1)
			continue;
		r = sm_read_file_at(AT_FDCWD, up, &above);
		if (r == 0 && above.len > 1)
			r = sm_write_existing_at(AT_FDCWD, path, (const char *)above.data);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Lets the children of a v2 cgroup use all controllers that it has; each on its own, because one
 * that the kernel refuses must not take the others with it. */
static void enable_controllers(const char *dir)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(4096);
	sm_auto_close int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *rest, *name;

	if (fd < 0 || sm_read_file_at(fd, "cgroup.controllers", &text) < 0 || !text.data)
		return;
	rest = (char *)text.data;
	while ((name = strsep(&rest, " \n"))) {
		sm_auto_free char *word = *name ? sm_strf("+%s", name) : NULL;
		int r = word ? sm_write_existing_at(fd, "cgroup.subtree_control", word) : 0;

		if (r < 0)
			sm_debug("cgroup: %s: enable %s: %s", dir, name, strerror(-r));
	}
}

static int make_level(const struct sm_cgroup_dir *d, const char *dir)
{
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	return d->version == SM_CGROUP_V1 && !strcmp(d->controllers, "cpuset") ? inherit_cpuset(dir)
									       : 0;
}

static int make_dir(const struct sm_cgroup_dir *d)
{
	sm_auto_free char *dir = strdup(d->path);
	char *slash = dir ? dir + strlen(d->mount) : NULL;
	int r;

	if (!dir)
		return -ENOMEM;
	if (d->version == SM_CGROUP_V2)
		enable_controllers(d->mount);
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		r = make_level(d, dir);
		if (r < 0)
			return r;
		if (d->version == SM_CGROUP_V2)
			enable_controllers(dir);
		*slash = '/';
	}
	return make_level(d, d->path);
}

static int count_processes(const char *dir, pid_t but)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(TEXT_MAX);
	sm_auto_free char *path = sm_strf("%s/cgroup.procs", dir);
	char *rest, *line;
	int n = 0;

	if (!path || sm_read_file_at(AT_FDCWD, path, &text) < 0 || !text.data)
		return 0;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n")) && *line)
		n += !but || atol(line) != but;
	return n;
}

static int check_empty(const struct sm_cgroup_dir *d, pid_t but, struct sm_err *err)
{
	int n = count_processes(d->path, but);

	return n ? sm_err_set(err, -EBUSY,
			      "container's cgroup is not empty: %d process(es) found (%s)", n,
			      d->path)
		 : 0;
}

int sm_cgroup_check(const struct sm_cgroups *cg, pid_t but, struct sm_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < cg->n; i++)
		r = check_empty(&cg->v[i], but, err);
	return r;
}

int sm_cgroup_make(struct sm_cgroups *cg, bool rootless, struct sm_err *err)
{
	const size_t n = cg->n;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		const struct sm_cgroup_dir d = cg->v[i];
		int r = check_empty(&d, 0, err);
		bool denied;

		if (r < 0) { /* what is in it must not be taken for ours */
			cg->n = kept;
			return r;
		}
		r = make_dir(&d);
		denied = r == -EACCES || r == -EPERM || r == -EROFS;
		if (r < 0 && !d.tolerated && !(rootless && denied))
			return sm_err_sys(err, r, "cgroup: mkdir %s", d.path);
		if (r < 0)
			sm_debug("cgroup: %s left out: %s", d.path, strerror(-r));
		else
			cg->v[kept++] = d;
	}
	cg->n = kept;
	return 0;
}

/* ---- joining -------------------------------------------------------------------------------- */

static int join_dir(const char *dir, pid_t pid)
{
	sm_auto_free char *path = sm_strf("%s/cgroup.procs", dir);
	sm_auto_free char *text = sm_strf("%d", (int)pid);

	return path && text ? sm_write_existing_at(AT_FDCWD, path, text) : -ENOMEM;
}

int sm_cgroup_join(const struct sm_cgroups *cg, pid_t pid, struct sm_err *err)
{
	for (size_t i = 0; i < cg->n; i++) {
		int r = join_dir(cg->v[i].path, pid);

		if (r < 0 && !cg->v[i].tolerated)
			return sm_err_sys(err, r, "cgroup: join %s", cg->v[i].path);
	}
	return 0;
}

void sm_cgroup_join_dirs(const struct sm_strs *dirs, pid_t pid)
{
	for (size_t i = 0; i < dirs->n; i++) {
		int r = join_dir(dirs->v[i], pid);

		if (r < 0)
			sm_debug("cgroup: join %s: %s", dirs->v[i], strerror(-r));
	}
}
