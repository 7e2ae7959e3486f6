/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/err.h"
#include "base/io.h"
#include "guest/agent/hooks.h"
#include "guest/agent/lookup.h"
#include "guest/agent/path.h"
#include "guest/agent/process.h"
#include "guest/agent/rootfs.h"
#include "guest/agent/tty.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* What the child has made so far. */
struct state {
	struct sm_child *ch;
	struct sm_mounts mounts;
	struct sm_tty tty;
	int null;		/* the VM's /dev/null, for a container without one */
	char **env;
	char *program;
};

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* The agent's descriptors are close-on-exec, but a container that waits for its start must not hold
 * other containers' streams open either. */
static void close_others(const struct sm_child *ch)
{
	int keep[] = { 2, ch->sync, ch->init, ch->fd[0], ch->fd[1], ch->fd[2] };
	const size_t n = SM_ARRAY_SIZE(keep);

	qsort(keep, n, sizeof(keep[0]), compare_fds);
	for (size_t i = 0; i < n; i++) {
		unsigned int first = (unsigned int)(keep[i] + 1);
		unsigned int last = i + 1 < n ? (unsigned int)(keep[i + 1] - 1) : ~0u;

		if (keep[i] >= 2 && (i + 1 == n || keep[i + 1] > keep[i] + 1))
			close_range(first, last, 0);
	}
}

static void tell(const struct sm_child *ch, enum sm_sync kind, const char *text, int fd)
{
	char msg[SM_SYNC_MAX];
	int len = snprintf(msg, sizeof(msg), "%c%s", kind, text);

	if (len >= (int)sizeof(msg))
		len = sizeof(msg) - 1;
	sm_send_fds(ch->sync, msg, (size_t)len, &fd, fd >= 0);
}

/* Waits for a word of the agent. If that is gone there is nobody to run for. */
static void await(const struct sm_child *ch, enum sm_sync kind)
{
	char c;
	ssize_t n;

	do {
		n = recv(ch->sync, &c, 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n != 1 || c != (char)kind)
		_exit(1);
}

static void __attribute__((noreturn)) give_up(const struct sm_child *ch, struct sm_err *err)
{
	tell(ch, SM_SYNC_ERROR, sm_err_text(err), -1);
	_exit(1);
}

static void reset_signals(void)
{
	/* The kernel's struct: all zero is SIG_DFL. By the system call itself, because glibc
	 * keeps signals 32 and 33 for its own use and touches them for nobody, though they may
	 * come ignored. */
	static const unsigned long dfl[4];
	sigset_t none;

	for (int signo = 1; signo < _NSIG; signo++)
		syscall(SYS_rt_sigaction, signo, dfl, NULL, sizeof(dfl[0]));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);	/* until it is sealed */
}

/* Who came by a user namespace is nobody in it until it takes an id that is mapped. */
static int become_root(const struct sm_child *ch, struct sm_err *err)
{
	if (!(ch->namespaces & CLONE_NEWUSER))
		return 0;
	if (setresgid(0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresuid(0, 0, 0) < 0)
		return sm_err_sys(err, errno, "%s", "become root of the user namespace");
	return 0;
}

static int join_namespaces(const struct sm_child *ch, struct sm_err *err)
{
	/* the pid namespace came with the clone */
	uint64_t flags = (ch->namespaces & ~(uint64_t)CLONE_NEWPID) | CLONE_NEWNS;

	if (setns(ch->init, (int)flags) < 0)
		return sm_err_sys(err, errno, "%s", "join the container's namespaces");
	close(ch->init);
	return become_root(ch, err);
}

static int set_names(const Supermachine__Agent__V1__Container *c, struct sm_err *err)
{
	if (*c->hostname && sethostname(c->hostname, strlen(c->hostname)) < 0)
		return sm_err_sys(err, errno, "set hostname \"%s\"", c->hostname);
	if (*c->domainname && setdomainname(c->domainname, strlen(c->domainname)) < 0)
		return sm_err_sys(err, errno, "set domainname \"%s\"", c->domainname);
	return 0;
}

static int open_terminal(struct state *s, int root, struct sm_err *err)
{
	const struct sm_child *ch = s->ch;
	const Supermachine__Agent__V1__Stdio *io = ch->stdio;
	int r;

	if (!io->terminal)
		return 0;
	r = sm_tty_open(root, io->rows, io->cols, ch->process->uid, ch->container != NULL, &s->tty,
			err);
	if (r < 0)
		return r;
	tell(ch, SM_SYNC_TTY, "", s->tty.master);
	sm_close(&s->tty.master);
	return 0;
}

/* The container's own /dev/null where it has one. */
static int open_null(const struct state *s, int root)
{
	sm_auto_close int fd = sm_path_open(root, "/dev/null", O_RDWR | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return s->null;
	return fcntl(fd, F_SETFL, O_RDWR) < 0 ? s->null : sm_steal_fd(&fd);
}

static int set_stdio(struct state *s, int root, struct sm_err *err)
{
	int null = open_null(s, root);

	for (int i = 0; i < 3; i++) {
		int from = s->tty.slave >= 0 ? s->tty.slave : s->ch->fd[i];

		if (dup2(from >= 0 ? from : null, i) < 0)
			return sm_err_sys(err, errno, "set up stream %d", i);
	}
	if (s->tty.slave >= 0 && ioctl(0, TIOCSCTTY, 0) < 0)
		return sm_err_sys(err, errno, "%s", "set the controlling terminal");
	sm_close(&s->tty.slave);
	return 0;
}

static int make_container(struct state *s, struct sm_err *err)
{
	const struct sm_child *ch = s->ch;
	const Supermachine__Agent__V1__Container *c = ch->container;
	int r = sm_sysctl_set(c, err);

	if (r == 0)
		r = become_root(ch, err);
	if (r == 0 && (ch->namespaces & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0)
		r = sm_err_sys(err, errno, "%s", "make a cgroup namespace");
	if (r == 0)
		r = sm_rootfs_make(&s->mounts, c, err);
	if (r == 0)
		r = open_terminal(s, s->mounts.root, err);
	if (r == 0)
		r = set_stdio(s, s->mounts.root, err);
	if (r == 0)
		r = set_names(c, err);
	if (r == 0)
		r = sm_rootfs_finish(&s->mounts, c, err);
	if (r == 0 && c->personality && personality((unsigned long)c->personality) < 0)
		r = sm_err_sys(err, errno, "%s", "set the personality");
	return r;
}

static int join_container(struct state *s, struct sm_err *err)
{
	sm_auto_close int root = -1;
	int r = join_namespaces(s->ch, err);

	if (r < 0)
		return r;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return sm_err_sys(err, errno, "%s", "open the root");
	r = open_terminal(s, root, err);
	return r < 0 ? r : set_stdio(s, root, err);
}

/* All that create, or exec before its execve, can fail of. */
static int set_up(struct state *s, struct sm_err *err)
{
	const Supermachine__Agent__V1__Process *p = s->ch->process;
	char home[PATH_MAX];
	int r;

	if (setsid() < 0)
		return sm_err_sys(err, errno, "%s", "setsid");
	r = s->ch->container ? make_container(s, err) : join_container(s, err);
	if (r == 0 && p->new_session_keyring)
		r = sm_process_keyring(s->ch->id, err);
	if (r < 0)
		return r;
	sm_lookup_home(AT_FDCWD, p->uid, home, sizeof(home));
	s->env = sm_env_make(p->env, p->n_env, home);
	if (!s->env)
		return sm_err_sys(err, -ENOMEM, "%s", "environment");
	r = sm_process_become(p, err);
	return r < 0 ? r : sm_lookup_program(p->args[0], s->env, &s->program, err);
}

/* What cannot be executed is told as runc does: one line on the container's stderr, status 1. */
static void __attribute__((noreturn)) run_program(const struct state *s, char *const *argv)
{
	struct sm_err err = SM_ERR_INIT;

	execve(s->program, argv, s->env);
	sm_err_sys(&err, errno, "exec %s", s->program);
	dprintf(2, "%s\n", sm_err_text(&err));
	_exit(1);
}

void sm_child_run(struct sm_child *ch)
{
	struct sm_err err = SM_ERR_INIT;
	struct state s = {
		.ch = ch,
		.mounts = { .root = -1, .host = ch->host, .cgroup = ch->cgroup,
			    .namespaces = ch->namespaces },
		.tty = { -1, -1 },
	};
	char **argv;

	reset_signals();
	close_others(ch);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	umask(0);
	await(ch, SM_SYNC_GO);
	s.null = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);
	argv = calloc(ch->process->n_args + 1, sizeof(*argv));
	if (!argv) {
		sm_err_sys(&err, -ENOMEM, "%s", "arguments");
		give_up(ch, &err);
	}
	memcpy(argv, ch->process->args, ch->process->n_args * sizeof(*argv));
	if (set_up(&s, &err) < 0)
		give_up(ch, &err);
	tell(ch, SM_SYNC_READY, "", -1);
	await(ch, SM_SYNC_START);
	if (ch->container && sm_hooks_run(ch->container, s.env, &err) < 0)
		give_up(ch, &err);
	signal(SIGPIPE, SIG_DFL);
	if (sm_process_seal(ch->process, &err) < 0)
		give_up(ch, &err);
	run_program(&s, argv);
}
