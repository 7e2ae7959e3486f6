/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A hook is a process group of its own with three pipes. One poll loop writes the state, reads what
 * the hook says (the first OUTPUT_MAX bytes of each stream are kept) and watches its pidfd. The
 * hook is over when its process ended: a daemon that it left with the pipes open is not waited for.
 * Past its timeout the whole group is killed.
 */
#include "runtime/hooks.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"

#define OUTPUT_MAX 4096
#define SECOND_NS 1000000000ull

extern char **environ;

enum { IN, OUT, ERR, PIPES };

struct hook {
	const struct sm_hook *h;
	const struct sm_hook_run *run;
	pid_t pid;
	int pidfd;
	int ours[PIPES];
	int theirs[PIPES];
	int failed[2];		/* the child's errno when it could not exec */
	size_t written;		/* of the state */
	struct sm_buf text[PIPES];
};

/* ---- the child ------------------------------------------------------------------------------ */

static char **vector(const struct sm_strs *strs, const char *first)
{
	size_t n = strs->n ? strs->n : first ? 1 : 0;
	char **v = calloc(n + 1, sizeof(*v));

	for (size_t i = 0; v && i < n; i++)
		v[i] = (char *)(strs->n ? strs->v[i] : first);
	return v;
}

static int enter_network(pid_t pid)
{
	sm_auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 || setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static void child(struct hook *k)
{
	char **argv = vector(&k->h->args, k->h->path);
	const struct sm_strs *env = k->h->env.v ? &k->h->env : k->run->env;
	char **envp = env ? vector(env, NULL) : environ;
	sigset_t none;
	int r = argv && envp ? 0 : -ENOMEM;

	sigemptyset(&none);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	if (r == 0 && k->run->ns_of)
		r = enter_network(k->run->ns_of);
	if (r == 0 && k->run->mounts)
		r = sm_mntns_enter(k->run->mounts);
	if (r == 0)
		r = chdir(k->run->cwd) < 0 ? -errno : 0;
	for (int i = 0; r == 0 && i < PIPES; i++) {
		/* above 2, so that no dup2 hits a pipe that is still to come */
		k->theirs[i] = fcntl(k->theirs[i], F_DUPFD_CLOEXEC, 3);
		r = k->theirs[i] < 0 ? -errno : 0;
	}
	for (int i = 0; r == 0 && i < PIPES; i++)
		r = dup2(k->theirs[i], i) < 0 ? -errno : 0;
	if (r == 0) {
		execve(k->h->path, argv, envp);
		r = -errno;
	}
	sm_write_full(k->failed[1], &r, sizeof(r));
	_exit(127);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static void release(struct hook *k)
{
	for (int i = 0; i < PIPES; i++) {
		sm_close(&k->ours[i]);
		sm_close(&k->theirs[i]);
		sm_buf_free(&k->text[i]);
	}
	sm_close(&k->failed[0]);
	sm_close(&k->failed[1]);
	sm_close(&k->pidfd);
}

static int start(struct hook *k, struct sm_err *err)
{
	int r = 0;

	for (int i = 0; i < PIPES; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return sm_err_sys(err, errno, "pipe");
		k->ours[i] = p[i == IN];
		k->theirs[i] = p[i != IN];
		sm_set_nonblock(k->ours[i]);
	}
	if (pipe2(k->failed, O_CLOEXEC) < 0)
		return sm_err_sys(err, errno, "pipe");
	k->pid = fork();
	if (k->pid == 0)
		child(k);
	if (k->pid < 0)
		return sm_err_sys(err, errno, "fork");
	setpgid(k->pid, k->pid);
	k->pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0);
	for (int i = 0; i < PIPES; i++)
		sm_close(&k->theirs[i]);
	sm_close(&k->failed[1]);
	if (sm_read_full(k->failed[0], &r, sizeof(r)) == 0) {
		waitpid(k->pid, NULL, 0);
		return sm_err_sys(err, r, "fork/exec %s", k->h->path);
	}
	return 0;
}

static void feed(struct hook *k)
{
	size_t left = strlen(k->run->state) - k->written;
	ssize_t n = left ? write(k->ours[IN], k->run->state + k->written, left) : 0;

	if (n > 0)
		k->written += (size_t)n;
	if (n <= 0 ? !(n < 0 && errno == EAGAIN) : (size_t)n == left)
		sm_close(&k->ours[IN]);
}

/* What does not fit is read and forgotten, so that the hook does not block. */
static void collect(struct hook *k, int which)
{
	char chunk[OUTPUT_MAX];
	struct sm_buf *b = &k->text[which];
	ssize_t n;

	while ((n = read(k->ours[which], chunk, sizeof(chunk))) > 0) {
		size_t room = OUTPUT_MAX - b->len;

		sm_buf_put(b, chunk, (size_t)n < room ? (size_t)n : room);
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		sm_close(&k->ours[which]);
}

/* Readable when a signal that asks us to give up waits to be taken: it stays pending, for whoever
 * looks after signals next. */
static int open_interrupts(const struct hook *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	return k->run->abort_fd < 0 ? -1 : signalfd(-1, &set, SFD_CLOEXEC);
}

/* 0: it ended; -ETIMEDOUT; -ECONNRESET: the container is lost; -EINTR: we are to give up. */
static int converse(struct hook *k, uint64_t deadline)
{
	sm_auto_close int interrupts = open_interrupts(k);

	for (;;) {
		struct pollfd p[] = {
			{ k->ours[IN], POLLOUT, 0 },  { k->ours[OUT], POLLIN, 0 },
			{ k->ours[ERR], POLLIN, 0 },  { k->pidfd, POLLIN, 0 },
			{ k->run->abort_fd, POLLIN, 0 }, { interrupts, POLLIN, 0 },
		};
		uint64_t now = sm_now_ns();
		int timeout = -1;

		if (deadline)
			timeout = now < deadline ? (int)((deadline - now + 999999) / 1000000) : 0;
		if (poll(p, SM_ARRAY_SIZE(p), timeout) == 0)
			return -ETIMEDOUT;
		if (p[IN].revents)
			feed(k);
		for (int i = OUT; i <= ERR; i++)
			if (p[i].revents)
				collect(k, i);
		if (p[3].revents)
			return 0;
		if (p[4].revents)
			return -ECONNRESET;
		if (p[5].revents)
			return -EINTR;
	}
}

static const char *said(const struct sm_buf *b)
{
	return b->data ? (const char *)b->data : "";
}

static int judge(struct hook *k, int status, struct sm_err *err)
{
	sm_auto_free char *how = NULL;

	for (int i = OUT; i <= ERR; i++)
		if (k->ours[i] >= 0)
			collect(k, i);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status)) {
		how = sm_strf("signal: %s", sigdescr_np(WTERMSIG(status)));
		if (how)	/* Go writes it small */
			how[8] = (char)tolower((unsigned char)how[8]);
	} else {
		how = sm_strf("exit status %d", WEXITSTATUS(status));
	}
	return sm_err_set(err, -ECANCELED, "error running hook: %s, stdout: %s, stderr: %s",
			  how ? how : "failed", said(&k->text[OUT]), said(&k->text[ERR]));
}

static int run_hook(const struct sm_hook *h, const struct sm_hook_run *run, struct sm_err *err)
{
	uint64_t timeout = h->timeout.set && h->timeout.v > 0 ? (uint64_t)h->timeout.v : 0;
	struct hook k = {
		.h = h,
		.run = run,
		.pidfd = -1,
		.ours = { -1, -1, -1 },
		.theirs = { -1, -1, -1 },
		.failed = { -1, -1 },
		.text = { SM_BUF_INIT(OUTPUT_MAX + 1), SM_BUF_INIT(OUTPUT_MAX + 1),
			  SM_BUF_INIT(OUTPUT_MAX + 1) },
	};
	int status = 0;
	int r = start(&k, err);

	if (r == 0) {
		int end = converse(&k, timeout ? sm_now_ns() + timeout * SECOND_NS : 0);

		if (end < 0)
			kill(-k.pid, SIGKILL);
		while (waitpid(k.pid, &status, 0) < 0 && errno == EINTR)
			;
		if (end == -ETIMEDOUT)
			r = sm_err_set(err, end, "hook ran past specified timeout of %llu.0s",
				       (unsigned long long)timeout);
		else if (end == -EINTR)
			r = sm_err_set(err, end, "interrupted while hook %s ran", h->path);
		else if (end < 0)
			r = sm_err_set(err, end, "the VM ended while hook %s ran", h->path);
		else
			r = judge(&k, status, err);
	}
	release(&k);
	return r;
}

int sm_hooks_run(const sm_hook_list *hooks, const struct sm_hook_run *run, struct sm_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < hooks->n; i++) {
		r = run_hook(&hooks->v[i], run, err);
		if (r < 0)
			sm_err_wrap(err, "error running hook #%zu", i);
	}
	return r;
}

void sm_hooks_run_all(const sm_hook_list *hooks, const struct sm_hook_run *run)
{
	for (size_t i = 0; i < hooks->n; i++) {
		const sm_hook_list one = { &hooks->v[i], 1 };
		sm_auto_err struct sm_err err = SM_ERR_INIT;

		if (sm_hooks_run(&one, run, &err) < 0)
			sm_warn("%s", sm_err_text(&err));
	}
}
