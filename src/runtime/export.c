/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/export.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/log.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW /* Linux 5.14 */
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* mount_setattr() is there from Linux 5.12 on; what it cannot do is left to sm-vmm's own checks. */
static void restrict_mount(const struct sm_guest_export *e, int mnt)
{
	const unsigned int flags = AT_EMPTY_PATH | (e->recursive ? AT_RECURSIVE : 0);
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    MOUNT_ATTR_NOSYMFOLLOW | (e->readonly ? MOUNT_ATTR_RDONLY : 0),
		.propagation = MS_PRIVATE,
	};
	long r = syscall(SYS_mount_setattr, mnt, "", flags, &attr, sizeof(attr));

	if (r < 0 && errno == EINVAL) {
		attr.attr_set &= ~(uint64_t)MOUNT_ATTR_NOSYMFOLLOW;
		r = syscall(SYS_mount_setattr, mnt, "", flags, &attr, sizeof(attr));
	}
	if (r < 0)
		sm_debug("%s: mount_setattr: %s: no restrictions by the kernel", e->path,
			 strerror(errno));
}

int sm_export_open(const struct sm_guest_export *e)
{
	const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
				   (e->recursive ? AT_RECURSIVE : 0);
	int fd = open(e->path, O_PATH | O_CLOEXEC);
	int mnt;

	if (fd < 0)
		return -errno;
	mnt = (int)syscall(SYS_open_tree, fd, "", flags);
	if (mnt < 0) {
		sm_debug("%s: open_tree: %s: shared by its place in the host's tree", e->path,
			 strerror(errno));
		return fd;
	}
	close(fd);
	restrict_mount(e, mnt);
	return mnt;
}
