/* SPDX-License-Identifier: Apache-2.0 */

/*
 * sm-vmm's place holder for tests of the command line: takes sm-vmm's options, serves the Sandbox
 * service and runs the processes on the host itself. It is quick and needs neither QEMU nor a
 * guest. The id of the container chooses a misbehaviour:
 *
 *	*die-early*	exits with 7 instead of answering Create, after a line in its log
 *	*never*		never answers Create
 *	*deaf*		never answers Signal
 *	*mute*		starts, but never answers Start
 *
 * What it says to --probe is in the environment variable FAKE_PROBE; without it, KVM works.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/opt.h"
#include "proto/sandbox.pb-c.h"
#include "rpc/ttrpc.h"

#define AGENT(name) Supermachine__Agent__V1__##name
#define PROCS 256

struct proc {
	char *exec_id;
	pid_t pid;
	int go;			/* a byte at Start */
	int result;		/* errno of a failed exec comes here */
	struct sm_rpc *owner;
	struct sm_rpc_call *waiter;
	bool ended;
	int status;
};

struct fake {
	struct sm_loop *loop;
	const char *id, *state_dir, *unused;
	int control_fd, listen_fd, number;
	bool debug, version, probe, flag, created, paused, started;
	struct sm_rpc *control;
	struct sm_rpc_server *server;
	struct proc procs[PROCS];
	size_t nprocs;
	int code;
};

static bool misbehaves(const struct fake *f, const char *how)
{
	return strstr(f->id, how) != NULL;
}

static void reply_empty(struct sm_rpc_call *call)
{
	sm_rpc_reply(call, &(AGENT(Empty))SUPERMACHINE__AGENT__V1__EMPTY__INIT.base);
}

static struct proc *find(struct fake *f, const char *exec_id)
{
	for (size_t i = 0; i < f->nprocs; i++)
		if (!strcmp(f->procs[i].exec_id, exec_id))
			return &f->procs[i];
	return NULL;
}

/* What the agent does at create: runc's texts. */
static bool runnable(const char *arg, struct sm_rpc_call *call)
{
	struct stat st;

	if (strchr(arg, '/')) {
		if (stat(arg, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
			return true;
		sm_rpc_fail(call, SM_RPC_UNKNOWN, "exec: \"%s\": %s%s%s", arg,
			    stat(arg, &st) < 0 ? "stat " : "", stat(arg, &st) < 0 ? arg : "",
			    stat(arg, &st) < 0 ? ": no such file or directory"
					       : "permission denied");
		return false;
	}
	if (strncmp(arg, "nosuch", 6) != 0)
		return true;
	sm_rpc_fail(call, SM_RPC_UNKNOWN, "exec: \"%s\": executable file not found in $PATH", arg);
	return false;
}

static void child(const AGENT(Process) *p, const int fd[3], int go, int result, bool terminal)
{
	char **argv = calloc(p->n_args + 1, sizeof(*argv));
	sigset_t none;
	char byte;
	int r;

	for (size_t i = 0; argv && i < p->n_args; i++)
		argv[i] = p->args[i];
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(fd[i], i);
	if (terminal)
		ioctl(0, TIOCSCTTY, 0);
	if (sm_read_full(go, &byte, 1) < 0)
		_exit(0);	/* the fake is gone */
	for (size_t i = 0; i < p->n_env; i++)
		if (strncmp(p->env[i], "PATH=", 5) != 0)
			putenv(p->env[i]);
	if (argv)
		execvp(argv[0], argv);
	r = errno;
	sm_write_full(result, &r, sizeof(r));
	_exit(127);
}

/* NULL: the call has been failed. */
static struct proc *spawn(struct fake *f, struct sm_rpc_call *call, const char *exec_id,
			  const AGENT(Process) *p,
			  const Supermachine__Sandbox__V1__StdioFds *stdio)
{
	struct proc *proc = &f->procs[f->nprocs];
	const int32_t index[3] = { stdio->stdin_fd, stdio->stdout_fd,
				   stdio->terminal ? stdio->stdout_fd : stdio->stderr_fd };
	int fd[3], go[2], result[2];

	if (f->nprocs == PROCS || !p->n_args || !runnable(p->args[0], call))
		return NULL;
	for (int i = 0; i < 3; i++) {
		if (stdio->terminal && i)
			fd[i] = fcntl(fd[0], F_DUPFD_CLOEXEC, 3);
		else
			fd[i] = index[i] < 0 ? -1 : sm_rpc_call_fd(call, (size_t)index[i]);
		if (fd[i] < 0)
			fd[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
	}
	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(result, O_CLOEXEC) < 0)
		exit(99);
	proc->pid = fork();
	if (proc->pid == 0) {
		close(go[1]);
		child(p, fd, go[0], result[1], stdio->terminal);
	}
	close(go[0]);
	close(result[1]);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	proc->exec_id = strdup(exec_id);
	proc->go = go[1];
	proc->result = result[0];
	f->nprocs++;
	return proc;
}

/* Lets it exec. true: it runs. */
static bool let_go(struct proc *p, struct sm_rpc_call *call)
{
	int r;

	sm_write_full(p->go, "g", 1);
	sm_close(&p->go);
	if (sm_read_full(p->result, &r, sizeof(r)) < 0) {
		sm_close(&p->result);
		return true;
	}
	sm_close(&p->result);
	sm_rpc_fail(call, SM_RPC_UNKNOWN, "exec: %s", strerror(r));
	return false;
}

static void on_create(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const Supermachine__Sandbox__V1__CreateRequest *req =
		(const Supermachine__Sandbox__V1__CreateRequest *)msg;
	struct fake *f = arg;

	if (misbehaves(f, "die-early")) {
		fprintf(stderr, "fake: giving up\n");
		exit(7);
	}
	if (misbehaves(f, "never"))
		return;
	if (spawn(f, call, "", req->container->process, req->stdio)) {
		f->created = true;
		reply_empty(call);
	}
}

static void on_start(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	struct fake *f = arg;
	struct proc *p = find(f, "");

	(void)msg;
	if (!p)
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "container does not exist");
	else if (let_go(p, call)) {
		f->started = true;
		if (!misbehaves(f, "mute"))
			reply_empty(call);
	}
}

static void on_exec(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const Supermachine__Sandbox__V1__ExecRequest *req =
		(const Supermachine__Sandbox__V1__ExecRequest *)msg;
	struct proc *p = spawn(arg, call, req->exec_id, req->process, req->stdio);
	AGENT(ExecResponse) rsp = SUPERMACHINE__AGENT__V1__EXEC_RESPONSE__INIT;

	if (!p || !let_go(p, call))
		return;
	p->owner = sm_rpc_call_conn(call);
	rsp.pid = (uint32_t)p->pid;
	sm_rpc_reply(call, &rsp.base);
}

static void answer(struct proc *p)
{
	AGENT(WaitResponse) rsp = SUPERMACHINE__AGENT__V1__WAIT_RESPONSE__INIT;

	if (!p->waiter || !p->ended)
		return;
	rsp.status = (uint32_t)p->status;
	sm_rpc_reply(p->waiter, &rsp.base);
	p->waiter = NULL;
}

static void on_wait(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	struct proc *p = find(arg, ((const AGENT(ProcessRequest) *)msg)->exec_id);

	if (!p || p->waiter) {
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "process does not exist");
		return;
	}
	p->waiter = call;
	answer(p);
}

static void on_signal_call(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const AGENT(SignalRequest) *req = (const AGENT(SignalRequest) *)msg;
	struct fake *f = arg;
	struct proc *p = find(f, req->exec_id);

	if (misbehaves(f, "deaf"))
		return;
	if (!p || p->ended)
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "process does not exist");
	else if (kill(p->pid, (int)req->signal) < 0)
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "kill: %s", strerror(errno));
	else
		reply_empty(call);
}

/* Says so, but stops nobody. */
static void set_paused(struct fake *f, struct sm_rpc_call *call, bool paused)
{
	sm_auto_free char *path = sm_strf("%s/paused", f->state_dir);
	sm_auto_close int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

	f->paused = paused;
	if (ftruncate(fd, paused) < 0)
		sm_rpc_fail(call, SM_RPC_INTERNAL, "%s: %s", f->state_dir, strerror(errno));
	else
		reply_empty(call);
}

static void on_pause(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	struct fake *f = arg;

	(void)msg;
	if (f->paused)
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not running");
	else
		set_paused(f, call, true);
}

static void on_resume(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	(void)msg;
	set_paused(arg, call, false);
}

static void on_resize(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	(void)arg;
	(void)msg;
	reply_empty(call);
}

static void on_stats(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	AGENT(StatsResponse) rsp = SUPERMACHINE__AGENT__V1__STATS_RESPONSE__INIT;

	(void)arg;
	(void)msg;
	sm_rpc_reply(call, &rsp.base);
}

static void on_update(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	(void)arg;
	(void)msg;
	reply_empty(call);
}

/* Nobody ever is. */
static void on_wait_oom(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	(void)arg;
	(void)call;
	(void)msg;
}

static void on_info(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	Supermachine__Sandbox__V1__InfoResponse rsp =
		SUPERMACHINE__SANDBOX__V1__INFO_RESPONSE__INIT;

	const struct fake *f = arg;

	(void)msg;
	rsp.backend = (char *)"fake";
	rsp.started_ns = f->started;
	sm_rpc_reply(call, &rsp.base);
}

static const struct sm_rpc_method methods[] = {
	{ "Create", &supermachine__sandbox__v1__create_request__descriptor, on_create },
	{ "Start", &supermachine__agent__v1__container_request__descriptor, on_start },
	{ "Exec", &supermachine__sandbox__v1__exec_request__descriptor, on_exec },
	{ "Wait", &supermachine__agent__v1__process_request__descriptor, on_wait },
	{ "Signal", &supermachine__agent__v1__signal_request__descriptor, on_signal_call },
	{ "Resize", &supermachine__agent__v1__resize_request__descriptor, on_resize },
	{ "Pause", &supermachine__agent__v1__container_request__descriptor, on_pause },
	{ "Resume", &supermachine__agent__v1__container_request__descriptor, on_resume },
	{ "Stats", &supermachine__agent__v1__container_request__descriptor, on_stats },
	{ "Update", &supermachine__agent__v1__update_request__descriptor, on_update },
	{ "WaitOom", &supermachine__agent__v1__wait_oom_request__descriptor, on_wait_oom },
	{ "Info", &supermachine__agent__v1__empty__descriptor, on_info },
};

static const struct sm_rpc_service service = {
	.name = "supermachine.sandbox.v1.Sandbox",
	.methods = methods,
	.nmethods = SM_ARRAY_SIZE(methods),
};

static void on_signal(void *arg, int signo)
{
	struct fake *f = arg;
	int status;
	pid_t pid;

	if (signo != SIGCHLD) {
		if (f->nprocs)
			kill(f->procs[0].pid, signo);
		else
			_exit(128 + signo);
		return;
	}
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < f->nprocs; i++) {
			struct proc *p = &f->procs[i];

			if (p->pid != pid || p->ended)
				continue;
			p->ended = true;
			p->status = status;
			answer(p);
			if (i == 0) {
				f->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
								WEXITSTATUS(status);
				sm_loop_stop(f->loop);
			}
		}
	}
}

static void on_gone(void *arg, struct sm_rpc *rpc)
{
	struct fake *f = arg;

	for (size_t i = 0; i < f->nprocs; i++)
		if (f->procs[i].owner == rpc && !f->procs[i].ended)
			kill(f->procs[i].pid, SIGKILL);
}

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct fake *f = arg;

	(void)rpc;
	(void)err;
	if (!f->created)
		_exit(255);
}

static int parse(struct fake *f, int argc, char **argv, struct sm_err *err)
{
	const struct sm_opt opts[] = {
		{ "id", 0, SM_OPT_STRING, &f->id, "", NULL },
		{ "control-fd", 0, SM_OPT_INT, &f->control_fd, "", NULL },
		{ "listen-fd", 0, SM_OPT_INT, &f->listen_fd, "", NULL },
		{ "memory-cgroup-fd", 0, SM_OPT_INT, &f->number, "", NULL },
		{ "vcpus", 0, SM_OPT_INT, &f->number, "", NULL },
		{ "memory", 0, SM_OPT_INT, &f->number, "", NULL },
		{ "state-dir", 0, SM_OPT_STRING, &f->state_dir, "", NULL },
		{ "hypervisor", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "kernel", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "initrd", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "cmdline", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "network", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "network-policy", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "ports", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "bridge-fd", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "vsock-ports", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "environment-fd", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "bind-privileged", 0, SM_OPT_BOOL, &f->flag, NULL, NULL },
		{ "qemu", 0, SM_OPT_STRING, &f->unused, "", NULL },
		{ "debug", 0, SM_OPT_BOOL, &f->debug, NULL, NULL },
		{ "hugepages", 0, SM_OPT_BOOL, &f->flag, NULL, NULL },
		{ "serial", 0, SM_OPT_BOOL, &f->flag, NULL, NULL },
		{ "core-dumps", 0, SM_OPT_BOOL, &f->flag, NULL, NULL },
		{ "probe", 0, SM_OPT_BOOL, &f->probe, NULL, NULL },
		{ "version", 0, SM_OPT_BOOL, &f->version, NULL, NULL },
		{ NULL },
	};
	char *pos[64];
	size_t npos;

	return argc > 64 ? -E2BIG : sm_opt_parse(opts, argc, argv, SIZE_MAX, pos, &npos, err);
}

int main(int argc, char **argv)
{
	static struct fake f = { .id = "", .control_fd = -1, .listen_fd = -1, .code = 255 };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	sigset_t set;

	if (parse(&f, argc, argv, &err) < 0) {
		fprintf(stderr, "fake: %s\n", sm_err_text(&err));
		return 255;
	}
	if (f.version) {
		printf("fake-vmm\n");
		return 0;
	}
	if (f.probe) {
		const char *answer = getenv("FAKE_PROBE");

		puts(answer ? answer : "{\"reason\":\"works\",\"mips\":9999,\"text\":\"it works\"}");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	sm_set_cloexec(f.control_fd, 1);
	sm_set_cloexec(f.listen_fd, 1);
	sigemptyset(&set);
	for (int i = SIGHUP; i <= SIGTERM; i++)
		if (i != SIGKILL && i != SIGPIPE && i != SIGSEGV)
			sigaddset(&set, i);
	sigaddset(&set, SIGCHLD);
	f.loop = sm_loop_new();
	if (!f.loop || sm_loop_signals(f.loop, &set, on_signal, &f) < 0 ||
	    sm_rpc_new(f.loop, f.control_fd, &service, &f, on_closed, &f, &f.control) < 0 ||
	    sm_rpc_server_new(f.loop, f.listen_fd, &service, &f, 256, on_gone, &f.server) < 0)
		return 255;
	sm_loop_run(f.loop);
	for (size_t i = 1; i < f.nprocs; i++)
		if (!f.procs[i].ended)
			kill(f.procs[i].pid, SIGKILL);
	return f.code;
}
