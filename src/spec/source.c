/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "base/clean.h"
#include "spec/device.h"
#include "spec/source.h"

/* <linux/magic.h> of older headers lacks these. */
#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif

/* Filesystems that show a kernel: a container in a VM is to see its own kernel's. */
static bool shows_a_kernel(const struct statfs *fs)
{
	static const uint32_t magics[] = {
		PROC_SUPER_MAGIC,   SYSFS_MAGIC,   CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC,      SECURITYFS_MAGIC,
		BPF_FS_MAGIC,       MQUEUE_MAGIC,
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(magics); i++)
		if ((uint32_t)fs->f_type == magics[i])
			return true;
	return false;
}

static const char *unshareable(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFCHR:
	case S_IFBLK:
		return "a device of the host, which does not exist in the VM";
	case S_IFSOCK:
		return "a socket of the host, to which a VM cannot connect";
	case S_IFIFO:
		return "a fifo of the host, whose other end is outside of the VM";
	default:
		return NULL;
	}
}

int sm_source_look(struct sm_arena *arena, const char *bundle, const char *source,
		   struct sm_source *out, struct sm_err *err)
{
	sm_auto_close int fd = -1;
	struct statfs fs;
	struct stat st;
	const char *why;

	*out = (struct sm_source){ 0 };
	out->path = source[0] == '/' ? sm_arena_strdup(arena, source)
				     : sm_arena_strf(arena, "%s/%s", bundle, source);
	if (!out->path)
		return sm_err_sys(err, -ENOMEM, "%s", source);
	fd = open(out->path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || fstatfs(fd, &fs))
		return sm_err_sys(err, -errno, "stat %s", out->path);
	out->is_file = !S_ISDIR(st.st_mode);
	if (S_ISCHR(st.st_mode))
		out->guest = sm_device_guest_path(S_IFCHR, major(st.st_rdev), minor(st.st_rdev));
	else if (shows_a_kernel(&fs) || !strcmp(out->path, "/dev") ||
		 !strcmp(out->path, "/sys/fs/cgroup"))
		out->guest = out->path;
	why = out->guest ? NULL : unshareable(st.st_mode);
	return why ? sm_err_set(err, -EOPNOTSUPP, "%s is %s", out->path, why) : 0;
}
