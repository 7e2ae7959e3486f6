/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/log.h"
#include "runtime/container.h"
#include "runtime/notify.h"

#define LOST 255

/* sm-vmm shares the caller's descriptors and may leave them non-blocking; a shell would not like
 * it. */
static void save_flags(int flags[3])
{
	for (int i = 0; i < 3; i++)
		flags[i] = fcntl(i, F_GETFL);
}

static void restore_flags(const int flags[3])
{
	for (int i = 0; i < 3; i++)
		if (flags[i] >= 0)
			fcntl(i, F_SETFL, flags[i]);
}

static int exit_code(pid_t pid)
{
	int status;
	pid_t got;

	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return LOST;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- readiness, for the caller's NOTIFY_SOCKET ---- */

static void tell_ready(const struct sm_container *c, pid_t pid, bool barrier)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	if (sm_notify_tell(sm_notify_host(), pid, barrier, &err) < 0)
		sm_warn("%s: is ready, but nobody could be told: %s", c->store.id,
			sm_err_text(&err));
}

/* In the foreground the caller's process is us, and we stay: no barrier. */
static void on_ready(void *arg)
{
	tell_ready(arg, getpid(), false);
}

/* Detached: waits for it, or the container's end, as runc does, and whatever signals come. */
static void relay_ready(struct sm_container *c)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	sm_close(&c->store.lock); /* others may kill and delete it meanwhile */
	if (sm_session_wait_ready(c->session, c->store.id, &err) == 0)
		tell_ready(c, c->launch.proc.pid, true);
	else
		sm_debug("NOTIFY_SOCKET: %s", sm_err_text(&err));
}

/* Waits for the end and removes the container. The exit code, or -errno. */
static int follow(struct sm_container *c, struct sm_err *err)
{
	const struct sm_follow f = {
		.id = c->store.id,
		.exec_id = "",
		.master = c->pty.master,
		.winsize_from = c->pty.master >= 0 ? c->tty.out : -1,
		.pidfd = c->launch.pidfd,
	};
	uint32_t status;
	int r, code;

	if (sm_notify_host())
		sm_session_when_ready(c->session, c->store.id, on_ready, c);
	if (c->pty.master >= 0 && (r = sm_tty_raw(&c->tty, err)) < 0)
		return r;
	sm_close(&c->store.lock);	/* others may kill and delete it meanwhile */
	r = sm_session_follow(c->session, &f, &status, err);
	sm_tty_restore(&c->tty);
	if (r < 0)
		return r;
	code = exit_code(c->launch.proc.pid);
	c->launch.proc.pid = 0;
	if (c->o->keep)
		return code;
	r = sm_store_lock(&c->store, err);
	if (r == 0)
		r = sm_container_destroy(&c->store, c->state, c->config, err);
	c->stored = false;
	/* somebody else deleted it */
	return r < 0 && r != -ENOENT ? r : code;
}

static int run_container(struct sm_container *c, const char *id, struct sm_err *err)
{
	int flags[3];
	int r;

	save_flags(flags);
	r = sm_container_make(c, id, err);
	if (r < 0)
		return r;
	r = sm_container_write_pid(c, err);
	if (r == 0)
		r = sm_container_start(c, err);
	if (r == 0 && !c->o->detach) {
		r = follow(c, err);
		restore_flags(flags);
	}
	if (r < 0)
		sm_container_undo(c);
	else if (c->o->detach && sm_notify_host())
		relay_ready(c);
	return r;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	struct sm_make_options o = { 0 };
	const struct sm_opt opts[] = {
		SM_MAKE_OPTIONS(&o),
		{ "detach", 'd', SM_OPT_BOOL, &o.detach, NULL,
		  "do not wait for the container's end" },
		{ "keep", 0, SM_OPT_BOOL, &o.keep, NULL,
		  "do not delete the container after its end" },
		{ "no-subreaper", 0, SM_OPT_BOOL, &o.no_subreaper, NULL,
		  "taken for runc's sake: no effect" },
		{ NULL },
	};
	struct sm_container c = SM_CONTAINER_INIT;
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	c.rt = rt;
	c.o = &o;
	c.starts = true;
	r = run_container(&c, args.v[0], err);
	sm_container_free(&c);
	return r < 0 ? sm_err_wrap(err, SM_RUNTIME_NAME " run failed") : r;
}

const struct sm_command sm_cmd_run = {
	.name = "run",
	.args = "<container-id>",
	.summary = "create and run a container",
	.text = "   Creates a container as \"create\" does and starts it. Without --detach\n"
		"   it then waits: signals are passed on, the exit code is the container's\n"
		"   (128 + n if signal n ended it), and the container is deleted.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
