/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

typedef Supermachine__Agent__V1__Process process;
typedef Supermachine__Agent__V1__Capabilities caps;

enum { CAPS_NUM = 64, CPUS_MAX = 1024, GROUPS_MAX = 65536, IOPRIO_WHO = 1 };

/* <linux/sched/types.h> has it, but does not go with <sched.h>. */
struct sched_attr_v0 {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
};

static const char *const rlimit_names[] = {
	"CPU",	"FSIZE", "DATA",  "STACK",	 "CORE",     "RSS",  "NPROC",  "NOFILE",
	"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
};

static int tune_scheduler(pid_t pid, const Supermachine__Agent__V1__Scheduler *s)
{
	struct sched_attr_v0 attr = {
		.size = sizeof(attr),
		.policy = s->policy,
		.flags = s->flags,
		.nice = s->nice,
		.priority = s->priority,
		.runtime = s->runtime,
		.deadline = s->deadline,
		.period = s->period,
	};

	return syscall(SYS_sched_setattr, pid, &attr, 0) < 0 ? -errno : 0;
}

static int tune_affinity(pid_t pid, const uint32_t *cpus, size_t n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (size_t i = 0; i < n; i++) {
		if (cpus[i] >= CPUS_MAX)
			return -EINVAL;
		CPU_SET(cpus[i], &set);
	}
	return sched_setaffinity(pid, sizeof(set), &set) < 0 ? -errno : 0;
}

static int tune_oom(pid_t pid, int value)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	snprintf(text, sizeof(text), "%d", value);
	return sm_write_existing_at(AT_FDCWD, path, text);
}

int sm_process_tune(pid_t pid, const process *p, struct sm_err *err)
{
	int r;

	r = p->oom_score_adj ? tune_oom(pid, p->oom_score_adj->value) : 0;
	if (r < 0)
		return sm_err_sys(err, r, "set oom_score_adj to %d", (int)p->oom_score_adj->value);
	r = p->scheduler ? tune_scheduler(pid, p->scheduler) : 0;
	if (r < 0)
		return sm_err_sys(err, r, "%s", "set the scheduler");
	if (p->io_priority >> 13 && syscall(SYS_ioprio_set, IOPRIO_WHO, pid, p->io_priority) < 0)
		return sm_err_sys(err, errno, "%s", "set the I/O priority");
	r = p->n_cpu_affinity ? tune_affinity(pid, p->cpu_affinity, p->n_cpu_affinity) : 0;
	return r < 0 ? sm_err_sys(err, r, "%s", "set the CPU affinity") : 0;
}

int sm_process_limit(pid_t pid, const process *p, struct sm_err *err)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		const Supermachine__Agent__V1__Rlimit *l = p->rlimits[i];
		struct rlimit lim = { .rlim_cur = l->soft, .rlim_max = l->hard };

		if (l->resource >= SM_ARRAY_SIZE(rlimit_names))
			return sm_err_sys(err, -EINVAL, "set rlimit number %u", l->resource);
		if (prlimit(pid, (enum __rlimit_resource)l->resource, &lim, NULL) < 0)
			return sm_err_sys(err, errno, "set rlimit RLIMIT_%s",
					  rlimit_names[l->resource]);
	}
	return 0;
}

int sm_process_keyring(const char *name, struct sm_err *err)
{
	char full[NAME_MAX];

	snprintf(full, sizeof(full), "_ses.%s", name);
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, full) < 0 && errno != ENOSYS)
		return sm_err_sys(err, errno, "%s", "join a session keyring");
	return 0;
}

static uint64_t known_caps(void)
{
	uint64_t mask = 0;

	for (int i = 0; i < CAPS_NUM && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		mask |= UINT64_C(1) << i;
	return mask;
}

static int set_caps(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable },
		{ (uint32_t)(effective >> 32), (uint32_t)(permitted >> 32),
		  (uint32_t)(inheritable >> 32) },
	};

	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static int set_ambient(uint64_t mask)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (int i = 0; i < CAPS_NUM; i++)
		if (mask >> i & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return -errno;
	return 0;
}

static int drop_bounding(uint64_t keep, uint64_t known)
{
	for (int i = 0; i < CAPS_NUM; i++)
		if (known >> i & 1 && !(keep >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return -errno;
	return 0;
}

/* Loading a filter without no_new_privs takes CAP_SYS_ADMIN, which is kept until then. */
static uint64_t kept_for_seccomp(const process *p)
{
	return p->seccomp && !p->no_new_privileges ? UINT64_C(1) << CAP_SYS_ADMIN : 0;
}

static caps known_only(const process *p, uint64_t known)
{
	static const caps none = SUPERMACHINE__AGENT__V1__CAPABILITIES__INIT;
	caps c = p->capabilities ? *p->capabilities : none;

	c.bounding &= known;
	c.effective &= known;
	c.inheritable &= known;
	c.permitted &= known;
	/* the kernel raises no others; runc ignores them as well */
	c.ambient &= c.inheritable & c.permitted;
	return c;
}

/* The texts are runc's. True: try again as the final user. */
static int enter_cwd(const char *cwd, bool last, bool *again, struct sm_err *err)
{
	char real[PATH_MAX];

	*again = false;
	if (chdir(cwd) < 0) {
		if (errno == EACCES && !last) {
			*again = true;
			return 0;
		}
		return sm_err_sys(err, errno, "chdir to cwd (\"%s\") set in config.json failed",
				  cwd);
	}
	/* a directory out of the root has no path here: CVE-2024-21626 */
	if (!getcwd(real, sizeof(real)) || *real != '/')
		return sm_err_set(
			err, -EPERM, "%s",
			"current working directory is outside of container mount namespace "
			"root -- possible container breakout attempt detected");
	return 0;
}

/* A stream that is a pipe or a terminal can be opened again by the user through /proc/self/fd. */
static void own_stdio(uint32_t uid)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && fchown(fd, uid, (gid_t)-1) < 0)
			continue;	/* an id without a mapping: it stays as it is */
	}
}

static int set_user(const process *p, struct sm_err *err)
{
	_Static_assert(sizeof(gid_t) == sizeof(*p->additional_gids), "gids are passed as they are");

	if (p->n_additional_gids > GROUPS_MAX)
		return sm_err_sys(err, -EINVAL, "%s", "set the groups");
	if (setgroups(p->n_additional_gids, p->additional_gids) < 0)
		return sm_err_sys(err, errno, "%s", "set the groups");
	if (setresgid(p->gid, p->gid, p->gid) < 0)
		return sm_err_sys(err, errno, "set the group %u", p->gid);
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return sm_err_sys(err, errno, "set the user %u", p->uid);
	return 0;
}

int sm_process_become(const process *p, struct sm_err *err)
{
	uint64_t known = known_caps();
	caps c = known_only(p, known);
	bool again;
	int r;

	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return sm_err_sys(err, errno, "%s", "set no_new_privs");
	own_stdio(p->uid);
	r = enter_cwd(p->cwd, false, &again, err);
	if (r < 0)
		return r;
	r = drop_bounding(c.bounding, known);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "drop bounding capabilities");
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return sm_err_sys(err, errno, "%s", "keep capabilities");
	r = set_user(p, err);
	if (r < 0)
		return r;
	r = again ? enter_cwd(p->cwd, true, &again, err) : 0;
	if (r < 0)
		return r;
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	umask(p->umask & 0777);
	r = set_caps(c.effective, c.permitted | kept_for_seccomp(p), c.inheritable);
	if (r == 0)
		r = set_ambient(c.ambient);
	return r < 0 ? sm_err_sys(err, r, "%s", "unable to apply caps") : 0;
}

static int install_filter(const Supermachine__Agent__V1__Seccomp *s)
{
	struct sock_fprog prog = {
		.len = (unsigned short)(s->bpf.len / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)s->bpf.data,
	};

	if (s->bpf.len % sizeof(struct sock_filter) || !s->bpf.len ||
	    s->bpf.len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EINVAL;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->flags, &prog) < 0 ? -errno : 0;
}

int sm_process_seal(const process *p, struct sm_err *err)
{
	uint64_t kept = kept_for_seccomp(p);
	caps c = known_only(p, ~UINT64_C(0));
	int r;

	if (!p->seccomp)
		return 0;
	if (kept) {
		c = known_only(p, known_caps());
		r = set_caps(c.effective | kept, c.permitted | kept, c.inheritable);
		if (r < 0)
			return sm_err_sys(err, r, "%s", "raise capabilities for seccomp");
	}
	r = install_filter(p->seccomp);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "install the seccomp filter");
	r = kept ? set_caps(c.effective, c.permitted, c.inheritable) : 0;
	return r < 0 ? sm_err_sys(err, r, "%s", "unable to apply caps") : 0;
}
