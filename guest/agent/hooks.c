/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/process.h"

typedef Supermachine__Agent__V1__Container container;
typedef Supermachine__Agent__V1__Hook hook;

enum { OUTPUT_MAX = 1024 };

/* A hook that runs: its state goes in, what it prints comes out. */
struct run {
	pid_t pid;
	int pidfd;
	int in, out;
	size_t sent;
	struct sm_buf text;	/* the beginning of its output */
};

static void __attribute__((noreturn)) be_hook(const container *c, const hook *h, char *const *env,
					      int in, int out)
{
	char **argv = calloc(h->n_args + 2, sizeof(*argv));
	char **envp = calloc(h->n_env + 1, sizeof(*envp));

	if (!argv || !envp || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	argv[0] = h->path;
	for (size_t i = 0; i < h->n_args; i++)
		argv[i] = h->args[i];
	for (size_t i = 0; i < h->n_env; i++)
		envp[i] = h->env[i];
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	if (sm_process_seal(c->process, NULL) == 0)
		execve(h->path, argv, h->n_env ? envp : env);
	dprintf(2, "exec %s: %s", h->path, strerrordesc_np(errno));
	_exit(126);
}

static int start(const container *c, const hook *h, char *const *env, struct run *r)
{
	sm_auto_close int in0 = -1, in1 = -1, out0 = -1, out1 = -1;
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	in0 = in[0];
	in1 = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	out0 = out[0];
	out1 = out[1];
	r->pid = fork();
	if (r->pid < 0)
		return -errno;
	if (r->pid == 0)
		be_hook(c, h, env, in0, out1);
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pidfd < 0)
		return -errno;
	r->in = sm_steal_fd(&in1);
	r->out = sm_steal_fd(&out0);
	sm_set_nonblock(r->in);
	sm_set_nonblock(r->out);
	return 0;
}

static void feed(struct run *r, const ProtobufCBinaryData *state)
{
	ssize_t n = 0;

	if (state->len)		/* else there is no data to point to */
		n = write(r->in, state->data + r->sent, state->len - r->sent);
	if (n > 0)
		r->sent += (size_t)n;
	if ((n < 0 && errno != EAGAIN && errno != EINTR) || r->sent >= state->len)
		sm_close(&r->in);
}

static void collect(struct run *r)
{
	char chunk[512];
	ssize_t n = read(r->out, chunk, sizeof(chunk));

	if (n > 0)
		sm_buf_put(&r->text, chunk, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		sm_close(&r->out);
}

/* Until the hook ends; -ETIMEDOUT when its time is over first. */
static int attend(struct run *r, const ProtobufCBinaryData *state, uint32_t timeout)
{
	uint64_t end = sm_now_ns() + timeout * UINT64_C(1000000000);

	for (;;) {
		struct pollfd p[3] = {
			{ .fd = r->pidfd, .events = POLLIN },
			{ .fd = r->in, .events = POLLOUT },
			{ .fd = r->out, .events = POLLIN },
		};
		uint64_t now = sm_now_ns();
		int ms = -1;

		if (timeout && now >= end)
			return -ETIMEDOUT;
		if (timeout)
			ms = (int)((end - now) / 1000000 + 1);
		if (poll(p, 3, ms) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			feed(r, state);
		if (p[2].revents)
			collect(r);
		if (p[0].revents)
			return 0;
	}
}

static int judge(const struct run *r, int status, struct sm_err *err)
{
	const char *text = r->text.data ? (const char *)r->text.data : "";

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return sm_err_set(err, -ECANCELED, "signal: %d, stdout and stderr: %s",
				  WTERMSIG(status), text);
	return sm_err_set(err, -ECANCELED, "exit status %d, stdout and stderr: %s",
			  WEXITSTATUS(status), text);
}

static int run_one(const container *c, const hook *h, char *const *env, struct sm_err *err)
{
	struct run r = { .pid = -1, .pidfd = -1, .in = -1, .out = -1,
			 .text = SM_BUF_INIT(OUTPUT_MAX) };
	int status = 0, e = start(c, h, env, &r);

	if (e == 0)
		e = attend(&r, &c->hook_state, h->timeout);
	if (e < 0 && r.pid > 0)
		kill(-r.pid, SIGKILL);
	while (r.pid > 0 && waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
		;
	while (e == 0 && r.out >= 0 && poll(&(struct pollfd){ r.out, POLLIN, 0 }, 1, 0) > 0)
		collect(&r);
	if (e == -ETIMEDOUT)
		sm_err_set(err, e, "hook ran past specified timeout of %u.0s", h->timeout);
	else if (e < 0)
		sm_err_sys(err, e, "run %s", h->path);
	else
		e = judge(&r, status, err);
	sm_close(&r.pidfd);
	sm_close(&r.in);
	sm_close(&r.out);
	sm_buf_free(&r.text);
	return e;
}

int sm_hooks_run(const container *c, char *const *env, struct sm_err *err)
{
	for (size_t i = 0; i < c->n_start_container_hooks; i++)
		if (run_one(c, c->start_container_hooks[i], env, err) < 0)
			return sm_err_wrap(err, "error running startContainer hook #%zu", i);
	return 0;
}
