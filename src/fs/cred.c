/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a worker is to the host. The guest's kernel has checked permissions already, so a worker keeps
 * its capabilities; but a new file's owner is the file system uid of the thread that makes it, and
 * set-id bits survive a write only by CAP_FSETID. Both are switched on demand and cached: a guest
 * whose processes are of one user causes no system call here.
 *
 * CAP_SYS_RESOURCE goes for good: it would let the guest write past quotas and into the blocks that a
 * file system keeps for root.
 *
 * These are the raw per-thread calls; glibc's would change all threads of the process.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/server.h"

static int read_caps(struct fs_worker *w)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	static_assert(sizeof(w->caps) == 2 * sizeof(struct __user_cap_data_struct),
		      "what capset() takes");
	return syscall(SYS_capget, &head, w->caps) < 0 ? -errno : 0;
}

/* of the first 32, where ours are; #syscalls:fs capset */
static int cap_effective(struct fs_worker *w, unsigned int cap, bool on)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	memcpy(data, w->caps, sizeof(data));
	if (on)
		data[0].effective |= CAP_TO_MASK(cap) & data[0].permitted;
	else
		data[0].effective &= ~CAP_TO_MASK(cap);
	if (syscall(SYS_capset, &head, data) < 0)
		return -errno;
	memcpy(w->caps, data, sizeof(data));
	return 0;
}

int fs_worker_init(struct fs_worker *w, struct sm_fs *fs)
{
	int bits = prctl(PR_GET_SECUREBITS);
	int ret;

	w->fs = fs;
	w->uid = geteuid();
	w->gid = getegid();
	w->umask = 0;
	w->fsetid = true;
	/* umask and working directory of this thread alone */
	if (unshare(CLONE_FS) < 0 || fchdir(fs->proc_fd) < 0)
		return -errno;
	umask(0);
	ret = read_caps(w);
	if (ret == 0)
		ret = cap_effective(w, CAP_SYS_RESOURCE, false);
	if (ret < 0)
		return ret;
	/* Changing the uid must not drop capabilities. Without CAP_SETPCAP, whoever took that away has
	 * set the bit for the process; else the host's permission checks apply to other uids. */
	if (bits >= 0 && !(bits & SECBIT_NO_SETUID_FIXUP))
		prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP);
	return 0;
}

/* #syscalls:fs setfsuid setfsgid umask */
static int set_id(long nr, uint32_t id)
{
	syscall(nr, id);
	return (uint32_t)syscall(nr, -1) == id ? 0 : -EPERM;
}

int fs_cred_owner(struct fs_req *r, mode_t mask)
{
	struct fs_worker *w = r->worker;
	int ret = 0;

	mask &= 0777;
	if (w->umask != mask)
		umask(mask);
	w->umask = mask;
	if (r->in.uid == UINT32_MAX || r->in.gid == UINT32_MAX)
		return -EINVAL;
	if (w->gid != r->in.gid)
		ret = set_id(SYS_setfsgid, r->in.gid);
	if (ret < 0)
		return ret;
	w->gid = r->in.gid;
	if (w->uid != r->in.uid)
		ret = set_id(SYS_setfsuid, r->in.uid);
	if (ret == 0)
		w->uid = r->in.uid;
	return ret;
}

int fs_cred_fsetid(struct fs_req *r, bool on)
{
	int ret = 0;

	if (r->worker->fsetid != on)
		ret = cap_effective(r->worker, CAP_FSETID, on);
	if (ret == 0)
		r->worker->fsetid = on;
	return ret;
}
