/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The stages are rows of a table, in order; an error names the one that failed. Each makes the next
 * ones harder to undo:
 *
 *	record		SIGSYS says what was forbidden, and ends the process
 *	namespaces	mounts, IPC, host name, cgroups of our own; the pid namespace was made by who
 *			started us, the network namespace is the container's
 *	root		an empty, read-only tmpfs; the host's file systems are gone
 *			└─ proc, of our own processes: the file behind an O_PATH descriptor is opened,
 *			   and a pipe opened anew, by the name /proc/self/fd/N
 *	limits		no core dump, nothing to be read by ptrace
 *	privileges	no new ones ever, and of the old ones what the fs threads need
 *
 * What glibc does by itself in any thread, most of it for malloc:
 * #syscalls:all futex brk mmap(2&PROT_EXEC=0) munmap exit_group
 * and in the loop alone, where buffers grow:
 * #syscalls:loop mremap
 */
#include "config.h"

#include "hv/jail.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/forbid.h"
#include "base/io.h"
#include "base/log.h"
#include "hv/filters.h"

#define ROOT_FLAGS (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define ROOT_ATTRS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

enum stage { RECORD, NAMESPACES, ROOT, LIMITS, PRIVILEGES, STAGE_NUM };

struct jail {
	const struct sm_jail_config *config;
	bool own_mounts;  /* the mount namespace is ours */
	const char *what; /* the call that failed */
};

static const struct {
	const char *name;
	const struct sock_filter *code;
	unsigned short len;
	const char *const *names;
} kinds[] = {
	[SM_JAIL_LOOP] = { "loop", filter_loop, SM_ARRAY_SIZE(filter_loop), names_loop },
	[SM_JAIL_VCPU] = { "vcpu", filter_vcpu, SM_ARRAY_SIZE(filter_vcpu), names_vcpu },
	[SM_JAIL_FS] = { "fs", filter_fs, SM_ARRAY_SIZE(filter_fs), names_fs },
};
static_assert(SM_ARRAY_SIZE(kinds) == SM_JAIL_THREAD_NUM, "a filter for each kind");

/* What the fs threads keep. Without CAP_DAC_READ_SEARCH, which would open any file of a file system
 * by its handle, and CAP_SYS_ADMIN, which trusted.* attributes would need. */
static const cap_value_t fs_caps[] = {
	CAP_CHOWN,        /* chown by the guest's root */
	CAP_DAC_OVERRIDE, /* the guest's kernel has checked permissions */
	CAP_FOWNER,       /* … and ownership: chmod, utimes, sticky directories, O_NOATIME */
	CAP_FSETID,       /* set-id bits that survive a chmod, a write by root */
	CAP_SETUID,       /* new files belong to who made them: setfsuid() … */
	CAP_SETGID,       /* … and setfsgid() */
	CAP_MKNOD,        /* device nodes in images; the mount does not let us open them */
	CAP_SETFCAP,      /* capabilities of files */
};

/* In the host's network namespace, whose users are not ours to let bind any port. */
static const cap_value_t binding_caps[] = { CAP_NET_BIND_SERVICE };

/* ---- the record ----------------------------------------------------------------------------- */

static int set_record(struct jail *j)
{
	sm_auto_free char *who = sm_strf("sm-vmm: %s", j->config->id);

	j->what = "sigaction";
	return who ? sm_forbid_record(who, "ending the VM", syscall_names,
				      SM_ARRAY_SIZE(syscall_names))
		   : -ENOMEM;
}

/* ---- namespaces ----------------------------------------------------------------------------- */

/* All of them at once, or else those that may be had. */
static int make_namespaces(struct jail *j)
{
	static const struct {
		int flag;
		const char *name;
	} all[] = {
		{ CLONE_NEWNS, "mount" },
		{ CLONE_NEWIPC, "ipc" },
		{ CLONE_NEWUTS, "uts" },
		{ CLONE_NEWCGROUP, "cgroup" },
	};
	size_t n = SM_ARRAY_SIZE(all);

	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0) {
		j->own_mounts = true;
		n = 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (unshare(all[i].flag) == 0)
			j->own_mounts |= all[i].flag == CLONE_NEWNS;
		else
			sm_info("jail: %s namespace: %s: staying in the caller's", all[i].name,
				strerror(errno));
	}
	if (getpid() != 1)
		sm_info("jail: sm-vmm was started in its caller's pid namespace");
	return 0;
}

/* ---- root ----------------------------------------------------------------------------------- */

struct fs_param {
	const char *key, *value;
};

/* A fresh file system, mounted nowhere yet: a descriptor. */
static int make_fs(struct jail *j, const char *type, const struct fs_param *params, size_t n,
		   unsigned int attrs)
{
	sm_auto_close int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	int mnt;

	j->what = type;
	if (fs < 0)
		return -errno;
	for (size_t i = 0; i < n; i++)
		if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, params[i].key, params[i].value,
			    0) < 0)
			return -errno;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attrs);
	return mnt < 0 ? -errno : mnt;
}

static int attach(struct jail *j, int mnt, int dirfd, const char *path)
{
	j->what = "move_mount";
	return syscall(SYS_move_mount, mnt, "", dirfd, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno
											  : 0;
}

/* Should we be outside of a pid namespace of our own, then at least nothing of those processes can
 * be looked into that we could not trace. */
static int put_proc(struct jail *j, int root)
{
	static const struct fs_param params[] = { { "subset", "pid" },
						  { "hidepid", "ptraceable" } };
	sm_auto_close int proc =
		make_fs(j, "proc", params, SM_ARRAY_SIZE(params), ROOT_ATTRS | MOUNT_ATTR_RDONLY);

	return proc < 0 ? proc : attach(j, proc, root, "proc");
}

/* The tmpfs lies over the old root and changes places with it. A root that cannot be pivoted from,
 * that of an initramfs, stays below, where no name leads. */
static int enter_root(struct jail *j, int root)
{
	if (fchdir(root) < 0)
		return -errno;
	j->what = "pivot_root";
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		j->what = "unmount the old root";
		if (umount2(".", MNT_DETACH) < 0)
			return -errno;
	} else if (errno != EINVAL || chroot(".") < 0) {
		return -errno;
	}
	j->what = "chdir";
	if (chdir("/") < 0)
		return -errno;
	j->what = "remount read-only";
	return mount(NULL, "/", NULL, MS_REMOUNT | ROOT_FLAGS, NULL) < 0 ? -errno : 0;
}

static int change_root(struct jail *j)
{
	static const struct fs_param params[] = { { "size", "4096" },
						  { "nr_inodes", "4" },
						  { "mode", "0555" } };
	sm_auto_close int root = -1;
	int r;

	if (!j->own_mounts)
		return 0;
	j->what = "make mounts private";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	root = make_fs(j, "tmpfs", params, SM_ARRAY_SIZE(params), ROOT_ATTRS);
	if (root < 0)
		return root;
	r = attach(j, root, AT_FDCWD, "/");
	if (r == 0 && mkdirat(root, "proc", 0555) < 0)
		r = -errno;
	if (r == 0)
		r = put_proc(j, root);
	return r < 0 ? r : enter_root(j, root);
}

/* ---- limits --------------------------------------------------------------------------------- */

static int set_limits(struct jail *j)
{
	const struct rlimit none = { 0, 0 };

	j->what = "RLIMIT_MEMLOCK";
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
		return -errno;
	if (j->config->core_dumps)
		return 0;
	j->what = "RLIMIT_CORE";
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	j->what = "PR_SET_DUMPABLE";
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

/* ---- privileges ----------------------------------------------------------------------------- */

/* Keeps those of v that the thread has. */
static int keep_caps(const cap_value_t *v, int n)
{
	cap_t have = cap_get_proc(), want = cap_init();
	int r = have && want ? 0 : -ENOMEM;

	for (int i = 0; r == 0 && i < n; i++) {
		cap_flag_value_t set = CAP_CLEAR;

		if (cap_get_flag(have, v[i], CAP_PERMITTED, &set) < 0 ||
		    cap_set_flag(want, CAP_PERMITTED, 1, &v[i], set) < 0 ||
		    cap_set_flag(want, CAP_EFFECTIVE, 1, &v[i], set) < 0)
			r = -errno;
	}
	if (r == 0 && cap_set_proc(want) < 0)
		r = -errno;
	cap_free(have);
	cap_free(want);
	return r;
}

/* The bounding set is for programs that a process executes: there are none. Who may not empty it
 * has nothing in it to pass on either. */
static int empty_bounding_set(void)
{
	for (cap_value_t c = 0; c < cap_max_bits(); c++)
		if (cap_drop_bound(c) < 0 && errno != EPERM)
			return -errno;
	return 0;
}

static int drop_privileges(struct jail *j)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				   SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				   SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	cap_value_t caps[SM_ARRAY_SIZE(fs_caps) + SM_ARRAY_SIZE(binding_caps)];
	int r;

	j->what = "PR_SET_NO_NEW_PRIVS";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	j->what = "ambient capabilities";
	if (cap_reset_ambient() < 0)
		return -errno;
	j->what = "bounding set";
	r = empty_bounding_set();
	if (r < 0)
		return r;
	j->what = "securebits";
	if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 && errno != EPERM)
		return -errno;
	j->what = "capabilities";
	memcpy(caps, fs_caps, sizeof(fs_caps));
	memcpy(caps + SM_ARRAY_SIZE(fs_caps), binding_caps, sizeof(binding_caps));
	return keep_caps(caps, j->config->binds_privileged ? SM_ARRAY_SIZE(caps) :
							     SM_ARRAY_SIZE(fs_caps));
}

/* ---- entering ------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(struct jail *j);
} stages[] = {
	[RECORD] = { "record", set_record },
	[NAMESPACES] = { "namespaces", make_namespaces },
	[ROOT] = { "root", change_root },
	[LIMITS] = { "limits", set_limits },
	[PRIVILEGES] = { "privileges", drop_privileges },
};
static_assert(SM_ARRAY_SIZE(stages) == STAGE_NUM, "a row for each stage");

int sm_jail_enter(const struct sm_jail_config *config, struct sm_err *err)
{
	struct jail j = { .config = config, .what = "" };

	for (size_t i = 0; i < SM_ARRAY_SIZE(stages); i++) {
		int r = stages[i].run(&j);

		if (r < 0)
			return sm_err_sys(err, r, "jail: %s: %s", stages[i].name, j.what);
	}
	return 0;
}

static int load_filter(enum sm_jail_thread kind)
{
	return sm_forbid_load(kinds[kind].code, kinds[kind].len);
}

/* A second filter beside the list, which allows them: the stricter one decides. Other tables of
 * system calls are the list's to forbid. */
int sm_jail_forbid_unix(void)
{
	static const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return sm_forbid_load(code, SM_ARRAY_SIZE(code));
}

int sm_jail_thread(enum sm_jail_thread kind, bool binds_privileged)
{
	const struct rlimit none = { 0, 0 };
	int r;

	sm_forbid_kind(kinds[kind].name);
	if (kind == SM_JAIL_FS)
		r = keep_caps(fs_caps, SM_ARRAY_SIZE(fs_caps));
	else if (kind == SM_JAIL_LOOP && binds_privileged)
		r = keep_caps(binding_caps, SM_ARRAY_SIZE(binding_caps));
	else
		r = keep_caps(NULL, 0);
	/* The threads are there. Before, the limit would count those of the user's other processes.
	 */
	if (r == 0 && kind == SM_JAIL_LOOP && setrlimit(RLIMIT_NPROC, &none) < 0)
		r = -errno;
	return r < 0 ? r : load_filter(kind);
}

/* ---- programs ------------------------------------------------------------------------------- */

int sm_jail_make_empty_dir(void)
{
	static const struct fs_param params[] = { { "size", "4096" },
						  { "nr_inodes", "2" },
						  { "mode", "0555" } };
	struct jail j = { .what = "" };

	return make_fs(&j, "tmpfs", params, SM_ARRAY_SIZE(params), ROOT_ATTRS | MOUNT_ATTR_RDONLY);
}

/* CAP_SYS_CHROOT stays with the program. It would lead out by a directory below the root or outside
 * of it, and there is none. And as our fs threads lack it, the program's /proc/PID/root is closed
 * to them. */
void sm_jail_program(bool changes_root)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID,
				   .propagation = MS_PRIVATE };
	const struct rlimit none = { 0, 0 };

	if (unshare(CLONE_NEWNS) == 0)
		syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr));
	unshare(CLONE_NEWNET);
	unshare(CLONE_NEWIPC);
	unshare(CLONE_NEWUTS);
	unshare(CLONE_NEWCGROUP);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (unsigned long c = 0; c <= CAP_LAST_CAP; c++)
		if (c != CAP_SYS_CHROOT || !changes_root)
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
}

/* ---- the lists ------------------------------------------------------------------------------ */

void sm_jail_print(FILE *out)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(kinds); i++) {
		fprintf(out, "%s\n", kinds[i].name);
		for (const char *const *name = kinds[i].names; *name; name++)
			fprintf(out, "  %s\n", *name);
	}
}
