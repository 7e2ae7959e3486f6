/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Each exec has a process of its own on the host, its proxy: signals that it gets go to the process
 * in the guest, and its exit code is that process's. Callers (containerd, conmon) know nothing else
 * of an exec. In the foreground the proxy is the command itself; with --detach it is a child that
 * the caller adopts:
 *
 *	command ──fork──► proxy
 *	   │  report          Exec to sm-vmm, with the caller's descriptors
 *	   │ ◄────────────    it runs, or why not; fds 0 to 2 are /dev/null now
 *	pid file, exit 0      Wait … exit with the code
 *
 * A proxy that is killed closes its connection, and sm-vmm kills the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "runtime/container.h"
#include "runtime/execproc.h"
#include "runtime/request.h"
#include "runtime/vmm.h"

#define FAILED 255
#define CONNECT_MS 30000
#define REPORT_MAX 65536

struct exec {
	struct sm_runtime *rt;
	const struct sm_exec_options *o;
	struct sm_store store;
	struct sm_state *state;
	struct sm_exec_process *proc;
	struct sm_pty pty;
	struct sm_tty tty;
	struct sm_session *session;
	char *exec_id;
};

/* ---- before the fork ------------------------------------------------------------------------ */

static int check_status(const struct exec *x, struct sm_err *err)
{
	switch (sm_state_status(x->state)) {
	case SM_STATUS_CREATED:
	case SM_STATUS_RUNNING:
		return 0;
	case SM_STATUS_PAUSED:
		if (x->o->ignore_paused)
			return 0;
		return sm_err_set(err, -EBUSY,
				  "cannot exec in a paused container "
				  "(use --ignore-paused to override)");
	case SM_STATUS_CREATING:
		return sm_err_set(err, -EBUSY, "cannot exec in a container that is being created");
	default:
		return sm_err_set(err, -ESRCH, "cannot exec in a stopped container");
	}
}

static int check_console(const struct exec *x, struct sm_err *err)
{
	bool terminal = x->proc->terminal;

	if (terminal && x->o->detach && !x->o->console_socket)
		return sm_err_set(err, -EINVAL,
				  "cannot allocate tty if " SM_RUNTIME_NAME
				  " will detach without setting console socket");
	if (x->o->console_socket && (!x->o->detach || !terminal))
		return sm_err_set(err, -EINVAL,
				  "cannot use console socket if " SM_RUNTIME_NAME
				  " will not detach or allocate tty");
	return 0;
}

static int make_terminal(struct exec *x, struct sm_err *err)
{
	sm_auto_close int sock = -1;
	int r;

	if (!x->proc->terminal)
		return 0;
	if (x->o->console_socket)
		r = sm_console_connect(x->o->console_socket, &sock, err);
	else
		r = sm_tty_find(&x->tty, err);
	if (r < 0)
		return r;
	x->pty.rows = x->proc->rows;
	x->pty.cols = x->proc->cols;
	if (!x->o->console_socket && !x->pty.rows && !x->pty.cols)
		sm_tty_size(&x->tty, &x->pty.rows, &x->pty.cols);
	r = sm_pty_open(&x->pty, err);
	if (r == 0 && x->o->console_socket) {
		r = sm_console_send(sock, x->pty.master, "/dev/ptmx", err);
		sm_close(&x->pty.master);
	}
	return r;
}

static int prepare(struct exec *x, const struct sm_args *args, struct sm_err *err)
{
	int r = sm_store_find(x->rt->root, args->v[0], &x->store, &x->state, err);

	if (r == 0)
		r = check_status(x, err);
	if (r == 0)
		r = sm_exec_process_make(&x->store, x->o, args->v + 1, args->n - 1, &x->proc, err);
	if (r == 0)
		r = check_console(x, err);
	return r;
}

/* ---- the proxy ------------------------------------------------------------------------------ */

static int send_pidfd(const struct exec *x, struct sm_err *err)
{
	sm_auto_close int sock = -1, fd = -1;
	struct sm_proc_id self;
	int r;

	if (!x->o->pidfd_socket)
		return 0;
	r = sm_console_connect(x->o->pidfd_socket, &sock, err);
	if (r < 0)
		return r;
	fd = sm_proc_self(&self) < 0 ? -ESRCH : sm_proc_open(&self);
	return fd < 0 ? sm_err_sys(err, fd, "pidfd") : sm_console_send(sock, fd, "setns", err);
}

/* Asks for the process. On 0 it runs. */
static int begin(struct exec *x, struct sm_err *err)
{
	Supermachine__Sandbox__V1__ExecRequest req = SUPERMACHINE__SANDBOX__V1__EXEC_REQUEST__INIT;
	Supermachine__Sandbox__V1__StdioFds stdio = SUPERMACHINE__SANDBOX__V1__STDIO_FDS__INIT;
	sm_auto_request struct sm_request_fds *fds = calloc(1, sizeof(*fds));
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	int r;

	x->exec_id = sm_strf("exec-%d-%llx", (int)getpid(), (unsigned long long)sm_now_ns());
	if (!fds || !x->exec_id)
		return sm_err_sys(err, -ENOMEM, "exec");
	r = sm_vmm_connect(x->store.dirfd, CONNECT_MS, &vmm, err);
	if (r == 0)
		r = sm_session_new(sm_steal_fd(&vmm.fd), &x->session, err);
	if (r < 0)
		return r;
	sm_request_stdio(x->rt, &x->pty, &stdio, fds);
	req.id = x->store.id;
	req.exec_id = x->exec_id;
	req.process = x->proc->msg;
	req.stdio = &stdio;
	r = sm_session_call(x->session, "Exec", &req.base, fds->fd, fds->n,
			    &supermachine__agent__v1__exec_response__descriptor, err);
	if (r < 0)
		return sm_err_wrap(err, "unable to start container process");
	return send_pidfd(x, err);
}

/* Follows the process to its end. The exit code, or -errno. */
static int finish(struct exec *x, struct sm_err *err)
{
	struct sm_follow f = {
		.id = x->store.id,
		.exec_id = x->exec_id,
		.master = x->pty.master,
		.winsize_from = x->pty.master >= 0 ? x->tty.out : x->pty.slave,
		.resize = true,
		.pidfd = -1,
	};
	uint32_t status;
	int r = sm_session_follow(x->session, &f, &status, err);

	/* A VM that went has taken its processes with it. */
	if (r == -ECONNRESET)
		return 128 + SIGKILL;
	if (r < 0)
		return r;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_foreground(struct exec *x, struct sm_err *err)
{
	int r = make_terminal(x, err);

	if (r == 0)
		r = begin(x, err);
	sm_close(&x->pty.slave);
	if (r == 0 && x->o->pid_file)
		r = sm_pidfile_write(x->o->pid_file, getpid(), err);
	if (r == 0 && x->proc->terminal)
		r = sm_tty_raw(&x->tty, err);
	if (r == 0)
		r = finish(x, err);
	sm_tty_restore(&x->tty);
	return r;
}

/* ---- detached ------------------------------------------------------------------------------- */

static void drop_stdio(void)
{
	sm_auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++)
		if (null >= 0 && null != i)
			dup2(null, i);
}

/* The size of a terminal is set on its master, which the caller has: only the session that the
 * slave belongs to hears of it. */
static void take_terminal(const struct exec *x)
{
	setsid();
	if (x->pty.slave >= 0)
		ioctl(x->pty.slave, TIOCSCTTY, 0);
}

/* A session leader that ends with a terminal hangs it up, and what is still on its way to the
 * reader would be lost: give it up first. */
static void leave_terminal(const struct exec *x)
{
	signal(SIGHUP, SIG_IGN);
	if (x->pty.slave >= 0)
		ioctl(x->pty.slave, TIOCNOTTY);
}

static void proxy(struct exec *x, int report)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int code;
	int r;

	take_terminal(x);
	r = begin(x, &err);
	drop_stdio();
	if (r < 0) {
		sm_write_full(report, sm_err_text(&err), strlen(sm_err_text(&err)));
		_exit(FAILED);
	}
	sm_cgroup_join_dirs(&x->state->cgroups, getpid());
	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	sm_write_full(report, "", 1);
	close(report);
	code = finish(x, &err);
	leave_terminal(x);
	_exit(code < 0 ? FAILED : code);
}

/* What the proxy says: one zero byte when the process runs, else a text. */
static int read_report(int fd, struct sm_err *err)
{
	sm_auto_free char *text = calloc(1, REPORT_MAX + 1);
	size_t n = 0;
	ssize_t got;

	if (!text)
		return sm_err_sys(err, -ENOMEM, "exec");
	while (n < REPORT_MAX && ((got = read(fd, text + n, REPORT_MAX - n)) > 0 ||
				  (got < 0 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	if (n == 1 && !*text)
		return 0;
	return n ? sm_err_set(err, -EIO, "%s", text) :
		   sm_err_set(err, -EIO, "the exec's process on the host was killed");
}

static int run_detached(struct exec *x, struct sm_err *err)
{
	int report[2];
	pid_t pid;
	int r = make_terminal(x, err);

	if (r < 0)
		return r;
	if (pipe2(report, O_CLOEXEC) < 0)
		return sm_err_sys(err, errno, "pipe");
	pid = fork();
	if (pid == 0) {
		close(report[0]);
		proxy(x, report[1]);
	}
	close(report[1]);
	r = pid < 0 ? sm_err_sys(err, errno, "fork") : read_report(report[0], err);
	close(report[0]);
	if (r == 0 && x->o->pid_file)
		r = sm_pidfile_write(x->o->pid_file, pid, err);
	if (r < 0 && pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return r;
}

/* ---- the command ---------------------------------------------------------------------------- */

static void release(struct exec *x)
{
	sm_session_free(&x->session);
	sm_pty_close(&x->pty);
	sm_tty_restore(&x->tty);
	sm_exec_process_free(&x->proc);
	sm_state_free(&x->state);
	sm_store_close(&x->store);
	free(x->exec_id);
}

static int exec(struct sm_runtime *rt, const struct sm_exec_options *o, const struct sm_args *args,
		struct sm_err *err)
{
	struct exec x = {
		.rt = rt, .o = o, .store = SM_STORE_INIT, .pty = SM_PTY_INIT, .tty = SM_TTY_INIT,
	};
	int r = prepare(&x, args, err);

	if (r == 0)
		r = o->detach ? run_detached(&x, err) : run_foreground(&x, err);
	release(&x);
	return r < 0 ? sm_err_wrap(err, "exec failed") : r;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	struct sm_exec_options o = { 0 };
	const struct sm_opt opts[] = {
		{ "console-socket", 0, SM_OPT_STRING, &o.console_socket, "PATH",
		  "unix socket that is sent the master of the terminal" },
		{ "pidfd-socket", 0, SM_OPT_STRING, &o.pidfd_socket, "PATH",
		  "unix socket that is sent a pidfd of the process" },
		{ "cwd", 0, SM_OPT_STRING, &o.cwd, "DIR", "working directory in the container" },
		{ "env", 'e', SM_OPT_LIST, &o.env, "NAME=VALUE", "add to the environment" },
		{ "tty", 't', SM_OPT_BOOL, &o.tty, NULL, "allocate a terminal" },
		{ "user", 'u', SM_OPT_STRING, &o.user, "UID[:GID]", "who runs it" },
		{ "additional-gids", 'g', SM_OPT_LIST, &o.gids, "GID", "additional groups" },
		{ "process", 'p', SM_OPT_STRING, &o.process, "FILE",
		  "take the process from a file of JSON" },
		{ "detach", 'd', SM_OPT_BOOL, &o.detach, NULL, "do not wait for its end" },
		{ "pid-file", 0, SM_OPT_STRING, &o.pid_file, "FILE",
		  "write the pid of the process's proxy on the host there" },
		{ "process-label", 0, SM_OPT_STRING, &o.process_label, "LABEL",
		  "refused: no SELinux in the VM" },
		{ "apparmor", 0, SM_OPT_STRING, &o.apparmor, "PROFILE",
		  "refused: no AppArmor in the VM" },
		{ "no-new-privs", 0, SM_OPT_BOOL, &o.no_new_privs, NULL, "set no_new_privs" },
		{ "cap", 'c', SM_OPT_LIST, &o.caps, "CAP", "add a capability" },
		{ "preserve-fds", 0, SM_OPT_INT, &o.preserve_fds, "N",
		  "refused unless 0: descriptors do not cross into a VM" },
		{ "cgroup", 0, SM_OPT_STRING, &o.cgroup, "PATH",
		  "refused: the container has one cgroup in the VM" },
		{ "ignore-paused", 0, SM_OPT_BOOL, &o.ignore_paused, NULL,
		  "also in a paused container" },
		{ "no-subreaper", 0, SM_OPT_BOOL, &o.no_subreaper, NULL, NULL },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r == 0)
		r = exec(rt, &o, &args, err);
	else if (r == SM_CLI_HELPED)
		r = 0;
	sm_opt_list_free(&o.env);
	sm_opt_list_free(&o.gids);
	sm_opt_list_free(&o.caps);
	return r;
}

const struct sm_command sm_cmd_exec = {
	.name = "exec",
	.args = "<container-id> <command> [arguments...] | --process FILE <container-id>",
	.summary = "run a further process in a container",
	.text = "   Runs a process in a container that was created. The exit code is the\n"
		"   process's, 255 when it could not be run.\n",
	.min = 1,
	.max = SIZE_MAX,
	.stop_at = 1,
	.failed = FAILED,
	.run = run,
};
