/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_CGROUP_H
#define SM_RUNTIME_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "spec/config.h"

/*
 * The container's cgroup on the host, where sm-vmm and what it starts live: the same path in every
 * hierarchy that is mounted, of version 1 and 2 alike.
 */
enum sm_cgroup_version { SM_CGROUP_V1, SM_CGROUP_V2 };

struct sm_cgroup_dir {
	const char *mount;	/* of the hierarchy */
	const char *path;	/* absolute directory of the container in it */
	const char *controllers;	/* "cpu,cpuacct", "name=systemd"; v2: "cpu io", "" */
	enum sm_cgroup_version version;
	bool tolerated;		/* a hierarchy that we know nothing about may refuse us */
};

struct sm_cgroups {
	struct sm_cgroup_dir *v;
	size_t n;
};

/* Where linux.cgroupsPath is (NULL: ID at the top), below each mount: cleaned, begins with a
 * slash, in the arena. systemd: the path is slice:prefix:name. */
int sm_cgroup_path(struct sm_arena *arena, const char *cgroups_path, const char *id, bool systemd,
		   const char **path, struct sm_err *err);

/* Finds the hierarchies. Nothing is made yet. */
int sm_cgroup_plan(struct sm_arena *arena, const char *path, struct sm_cgroups *cg,
		   struct sm_err *err);

/* The same of a container that has its directories already: those of them that are there. */
int sm_cgroup_find(struct sm_arena *arena, const struct sm_strs *dirs, struct sm_cgroups *cg,
		   struct sm_err *err);

/* The directory of the version 1 hierarchy that has a controller; NULL: there is none. The same for
 * version 2, by the controllers at its top. */
const char *sm_cgroup_v1_dir(const struct sm_cgroups *cg, const char *controller);
const char *sm_cgroup_v2_dir(const struct sm_cgroups *cg, const char *controller);

/* -EBUSY where there are processes in one already, other than that one (0: any). */
int sm_cgroup_check(const struct sm_cgroups *cg, pid_t but, struct sm_err *err);

/* Makes the directories. -EBUSY as above; the list then holds those before it. rootless: those that
 * may not be made are taken off the list. */
int sm_cgroup_make(struct sm_cgroups *cg, bool rootless, struct sm_err *err);

/* What a VM of that much memory needs beyond the container's memory limit, in bytes. */
uint64_t sm_cgroup_overhead(uint32_t memory_mib, const struct sm_resources *resources);

/* What resources say of the VM as a whole; overhead: bytes that it needs beyond the memory
 * limit. */
int sm_cgroup_apply(const struct sm_cgroups *cg, const struct sm_resources *resources,
		    uint64_t overhead, struct sm_arena *arena, struct sm_err *err);

/* The same for a VM that runs. What was written over is noted in *undo, also on failure. */
struct sm_cgroup_undo {
	struct sm_pair *v;	/* path, what it held */
	size_t n;
};
int sm_cgroup_change(const struct sm_cgroups *cg, const struct sm_resources *resources,
		     uint64_t overhead, struct sm_arena *arena, struct sm_cgroup_undo *undo,
		     struct sm_err *err);
void sm_cgroup_take_back(const struct sm_cgroup_undo *undo);

int sm_cgroup_join(const struct sm_cgroups *cg, pid_t pid, struct sm_err *err);

/* The same by the directories alone; those that are gone don't count. */
void sm_cgroup_join_dirs(const struct sm_strs *dirs, pid_t pid);

/*
 * Removes the directories, and kills what is left in them of the container whose sm-vmm ended.
 * owner: its state directory, -1 where there is none. Those that are gone don't count; nor do those
 * with processes of others in them, which stay, with a warning.
 */
int sm_cgroup_remove(const struct sm_strs *dirs, int owner, struct sm_err *err);

#endif
