/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process:
 *
 *	SETUP ──READY──► CREATED ──Start──► STARTING ──execve──► RUNNING ──reaped──► ENDED
 *	  │  (an exec goes from SETUP to STARTING by itself)                           ▲
 *	  └── it failed, or was killed, anywhere ──────────────────────────────────────┘
 *
 * A container is its first process, the execs, and what they leave running:
 *
 *	first process ENDED ─► the rest is killed ─► cgroup empty, output handed over ─► helper syncs the
 *	filesystems ─► gone: Wait is answered
 *
 * Delete does the same by force: streams are cut, everything is killed; when the cgroup is empty all of
 * it is removed and Delete is answered. A create that fails ends in the same way before it is answered.
 *
 * Each of these conditions comes as an event of the loop (SIGCHLD, the sync socket, a relay's end,
 * cgroup.events); every one of them leads to advance(), which looks how far the container has got.
 */
#include "guest/agent/container.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "guest/agent/cgroup.h"
#include "guest/agent/mount.h"
#include "guest/agent/process.h"
#include "guest/agent/spawn.h"
#include "guest/agent/stdio.h"
#include "guest/agent/vm.h"

enum { NAME_LEN_MAX = 255, ENDED_EXECS_MAX = 4096 };

typedef Supermachine__Agent__V1__Process process_msg;

enum proc_state { SETUP, CREATED, STARTING, RUNNING, ENDED, PROC_STATE_NUM };

struct waiter {
	struct waiter *next;
	struct sm_rpc_call *call;
};

struct proc {
	struct proc *next;
	struct sm_container *c;
	char *exec_id;			/* "": the first process */
	enum proc_state state;
	struct sm_spawned sp;
	struct sm_io *sync_io;
	struct sm_stdio *io;
	const process_msg *msg;		/* in SETUP: part of the request in `call` */
	struct sm_rpc_call *call;	/* create, start or exec, not answered yet */
	int status;			/* in ENDED */
	bool flushed;			/* in ENDED: what it wrote is handed over */
	bool failed;			/* an exec that was answered with an error: nobody knows of it */
	int killed_as;			/* the signal that a SIGKILL stands for */
	struct waiter *waiters;
};

struct sm_container {
	struct sm_container *next;
	struct sm_guest *g;
	char *id;
	uint64_t namespaces;
	char **exports;
	size_t nexports;
	struct sm_cgroup cgroup;
	struct sm_io *cgroup_io;
	struct proc *procs;		/* the first process is the last of the list */
	struct proc *first;
	size_t nended;			/* execs in ENDED */
	pid_t sync_pid;			/* helper; 0: not begun, -1: done */
	bool gone;			/* Wait may be answered */
	bool deleting;
	struct sm_rpc_call *delete_call;
	struct sm_rpc_call *failed_call; /* the create that failed with */
	struct sm_err failure;
};

static void advance(struct sm_container *c);

static void reply_empty(struct sm_rpc_call *call)
{
	static const Supermachine__Agent__V1__Empty empty = SUPERMACHINE__AGENT__V1__EMPTY__INIT;

	sm_rpc_reply(call, &empty.base);
}

static void reply_status(struct sm_rpc_call *call, int status)
{
	Supermachine__Agent__V1__WaitResponse rsp = SUPERMACHINE__AGENT__V1__WAIT_RESPONSE__INIT;

	rsp.status = (uint32_t)status;
	sm_rpc_reply(call, &rsp.base);
}

static struct sm_container *find(struct sm_guest *g, const char *id)
{
	struct sm_container *c = g->containers;

	while (c && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

static struct proc *find_proc(const struct sm_container *c, const char *exec_id)
{
	struct proc *p = c->procs;

	while (p && (p->failed || strcmp(p->exec_id, exec_id) != 0))
		p = p->next;
	return p;
}

/* The container of a request, or the request is answered. */
static struct sm_container *get(struct sm_guest *g, struct sm_rpc_call *call, const char *id)
{
	struct sm_container *c = find(g, id);

	if (!c || c->deleting) {
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "container does not exist");
		return NULL;
	}
	return c;
}

static struct proc *get_proc(struct sm_guest *g, struct sm_rpc_call *call, const char *id,
			     const char *exec_id)
{
	struct sm_container *c = get(g, call, id);
	struct proc *p = c ? find_proc(c, exec_id) : NULL;

	if (c && !p)
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "process \"%s\" does not exist", exec_id);
	return p;
}

/* ---- processes --------------------------------------------------------------------------------- */

static void on_stdio(void *arg)
{
	struct proc *p = arg;

	if (p == p->c->first) {
		advance(p->c);
	} else if (p->flushed && sm_stdio_drained(p->io)) {
		sm_stdio_free(p->io);
		p->io = NULL;
	}
}

static struct proc *new_proc(struct sm_container *c, const char *exec_id)
{
	struct proc *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->exec_id = strdup(exec_id);
	if (!p->exec_id) {
		free(p);
		return NULL;
	}
	p->c = c;
	p->sp = (struct sm_spawned){ -1, -1, -1 };
	p->next = c->procs;
	c->procs = p;
	return p;
}

static void close_sync(struct proc *p)
{
	sm_loop_remove(p->c->g->loop, p->sync_io);
	p->sync_io = NULL;
	sm_close(&p->sp.sync);
}

static void answer_waiters(struct proc *p)
{
	while (p->waiters) {
		struct waiter *w = p->waiters;

		p->waiters = w->next;
		reply_status(w->call, p->status);
		free(w);
	}
}

static void free_proc(struct proc *p)
{
	struct proc **at = &p->c->procs;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	close_sync(p);
	sm_stdio_free(p->io);
	sm_close(&p->sp.pidfd);
	answer_waiters(p);
	free(p->exec_id);
	free(p);
}

/* A call that can no longer succeed. A failed create is answered when all of it is undone. */
static void fail(struct proc *p, enum sm_rpc_code code, const char *text)
{
	struct sm_rpc_call *call = sm_steal_ptr(p->call);
	struct sm_container *c = p->c;

	p->msg = NULL;
	if (p->state == SETUP && p == c->first) {
		c->failed_call = call;
		c->deleting = true;
		sm_err_set(&c->failure, -EIO, "%s", text);
		return;
	}
	p->failed = p != c->first;
	if (call)
		sm_rpc_fail(call, code, "%s", text);
}

static void kill_proc(const struct proc *p, int signo)
{
	if (p->state != ENDED && p->sp.pidfd >= 0)
		syscall(SYS_pidfd_send_signal, p->sp.pidfd, signo, NULL, 0);
}

static void say(struct proc *p, enum sm_sync word)
{
	const char c = (char)word;

	/* if it is gone, the end of its socket tells */
	if (send(p->sp.sync, &c, 1, MSG_NOSIGNAL) != 1)
		return;
}

static void on_ready(struct proc *p)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	if (p->state != SETUP || !p->call)
		return;
	if (sm_process_limit(p->sp.pid, p->msg, &err) < 0) {
		fail(p, SM_RPC_UNKNOWN, sm_err_text(&err));
		kill_proc(p, SIGKILL);
		return;
	}
	p->msg = NULL;
	if (p == p->c->first) {
		p->state = CREATED;
		reply_empty(sm_steal_ptr(p->call));
	} else {
		p->state = STARTING;
		say(p, SM_SYNC_START);
	}
}

/* The socket closed: at execve, or because the process ended. */
static void on_sync_end(struct proc *p)
{
	Supermachine__Agent__V1__ExecResponse rsp = SUPERMACHINE__AGENT__V1__EXEC_RESPONSE__INIT;

	close_sync(p);
	if (p->state == SETUP && p->call)
		fail(p, SM_RPC_UNKNOWN, "the process ended while it was set up");
	if (p->state != STARTING)
		return;
	p->state = RUNNING;
	if (!p->call)
		return;
	if (p == p->c->first) {
		reply_empty(sm_steal_ptr(p->call));
	} else {
		rsp.pid = (uint32_t)p->sp.pid;
		sm_rpc_reply(sm_steal_ptr(p->call), &rsp.base);
	}
}

static void on_tty(struct proc *p, int fd)
{
	int r = p->io && fd >= 0 ? sm_stdio_terminal(p->io, fd) : -EBADF;

	if (r < 0) {
		fail(p, SM_RPC_UNKNOWN, "cannot pass the terminal on");
		kill_proc(p, SIGKILL);
	}
}

/* One message of the child, or the end of them. False: no more for now. */
static bool read_sync(struct proc *p)
{
	char msg[SM_SYNC_MAX + 1];
	size_t nfds = 1;
	int fd = -1;
	ssize_t n = sm_recv_fds(p->sp.sync, msg, sizeof(msg) - 1, &fd, &nfds);

	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n <= 0) {
		on_sync_end(p);
		return false;
	}
	msg[n] = '\0';
	switch (msg[0]) {
	case SM_SYNC_TTY:
		on_tty(p, nfds ? fd : -1);
		break;
	case SM_SYNC_READY:
		on_ready(p);
		break;
	case SM_SYNC_ERROR:
		fail(p, SM_RPC_UNKNOWN, msg + 1);
		break;
	default:
		break;
	}
	return true;
}

static void on_sync(void *arg, uint32_t events)
{
	struct proc *p = arg;
	struct sm_container *c = p->c;

	(void)events;
	while (p->sp.sync >= 0 && read_sync(p))
		;
	advance(c);
}

/* Makes the process of p; `ch` lacks what depends on p. */
static int launch(struct proc *p, struct sm_child *ch, const Supermachine__Agent__V1__Stdio *stdio,
		  struct sm_err *err)
{
	static const Supermachine__Agent__V1__Stdio no_stdio = SUPERMACHINE__AGENT__V1__STDIO__INIT;
	struct sm_container *c = p->c;
	int r;

	ch->stdio = stdio ? stdio : &no_stdio;
	ch->host = c->g->host;
	ch->cgroup = c->cgroup.path;
	ch->id = c->id;
	ch->namespaces = c->namespaces;
	r = sm_stdio_new(c->g->loop, &c->g->link, ch->stdio, on_stdio, p, ch->fd, &p->io);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "connect the standard streams");
	r = sm_spawn(ch, c->cgroup.fd, &p->sp, err);
	for (int i = 0; i < 3; i++)
		sm_close(&ch->fd[i]);
	if (r < 0)
		return r;
	r = sm_loop_add(c->g->loop, p->sp.sync, EPOLLIN, on_sync, p, &p->sync_io);
	if (r < 0) {
		kill_proc(p, SIGKILL);
		return sm_err_sys(err, r, "%s", "watch the new process");
	}
	return 0;
}

/* ---- containers -------------------------------------------------------------------------------- */

static void free_container(struct sm_container *c)
{
	struct sm_container **at = &c->g->containers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	while (c->procs)
		free_proc(c->procs);
	sm_loop_remove(c->g->loop, c->cgroup_io);
	for (size_t i = 0; i < c->nexports; i++)
		free(c->exports[i]);
	free(c->exports);
	free(c->id);
	sm_err_clear(&c->failure);
	free(c);
}

static bool export_used(const struct sm_guest *g, const char *name)
{
	for (const struct sm_container *c = g->containers; c; c = c->next)
		for (size_t i = 0; i < c->nexports; i++)
			if (!strcmp(c->exports[i], name))
				return true;
	return false;
}

/* The automounts of the exports; the host may use their names for others now. */
static void drop_exports(struct sm_container *c)
{
	while (c->nexports) {
		sm_auto_free char *name = c->exports[--c->nexports];
		char path[PATH_MAX];

		if (c->g->vm && !export_used(c->g, name) &&
		    sm_mount_export_path(c->g->host, name, path, sizeof(path)) == 0)
			umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
}

/* Notes an export and has the kernel mount it now, in the VM's namespace: containers get clones. */
static int add_export(struct sm_container *c, const char *name)
{
	char path[PATH_MAX];
	int r = sm_mount_export_path(c->g->host, name, path, sizeof(path));
	sm_auto_close int fd = r < 0 ? -1 : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (r < 0)
		return r;
	c->exports[c->nexports] = strdup(name);
	if (!c->exports[c->nexports])
		return -ENOMEM;
	c->nexports++;
	return 0;
}

static int add_exports(struct sm_container *c, const Supermachine__Agent__V1__Container *msg,
		       struct sm_err *err)
{
	int r;

	c->exports = calloc(msg->n_mounts + 1, sizeof(*c->exports));
	if (!c->exports)
		return sm_err_sys(err, -ENOMEM, "%s", "exports");
	r = add_export(c, msg->root_export);
	for (size_t i = 0; i < msg->n_mounts && r == 0; i++)
		if (*msg->mounts[i]->export)
			r = add_export(c, msg->mounts[i]->export);
	return r < 0 ? sm_err_sys(err, r, "%s", "name of an export") : 0;
}

/* In a process of its own, because the host may take its time. */
static void begin_sync(struct sm_container *c)
{
	c->sync_pid = c->nexports ? fork() : -1;
	if (c->sync_pid != 0)
		return;
	close_range(3, ~0u, 0);
	for (size_t i = 0; i < c->nexports; i++) {
		char path[PATH_MAX];
		sm_auto_close int fd = -1;

		if (sm_mount_export_path(c->g->host, c->exports[i], path, sizeof(path)) < 0)
			continue;
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0)
			syncfs(fd);
	}
	_exit(0);
}

static bool any_alive(const struct sm_container *c)
{
	for (const struct proc *p = c->procs; p; p = p->next)
		if (p->state != ENDED && p->sp.pid > 0)
			return true;
	return sm_cgroup_populated(&c->cgroup);
}

static void remove_container(struct sm_container *c)
{
	struct sm_rpc_call *done = c->delete_call, *failed = c->failed_call;
	sm_auto_err struct sm_err err = c->failure;

	c->failure = (struct sm_err)SM_ERR_INIT;
	sm_loop_remove(c->g->loop, c->cgroup_io);
	c->cgroup_io = NULL;
	if (sm_cgroup_remove(&c->cgroup) < 0)
		sm_warn("cannot remove the cgroup of %s", c->id);
	drop_exports(c);
	free_container(c);
	if (done)
		reply_empty(done);
	if (failed)
		sm_rpc_fail(failed, SM_RPC_UNKNOWN, "%s", sm_err_text(&err));
}

static void advance(struct sm_container *c)
{
	struct proc *first = c->first;

	if (c->deleting) {
		for (struct proc *p = c->procs; p; p = p->next)
			kill_proc(p, SIGKILL);
		if (!any_alive(c) && c->sync_pid <= 0)
			remove_container(c);
		else
			sm_cgroup_kill(&c->cgroup);
		return;
	}
	if (first->state != ENDED || c->gone)
		return;
	if (any_alive(c)) {
		sm_cgroup_kill(&c->cgroup);
		return;
	}
	if (first->io && !sm_stdio_drained(first->io))
		return;
	sm_stdio_free(sm_steal_ptr(first->io));
	if (c->sync_pid == 0)
		begin_sync(c);
	if (c->sync_pid > 0)
		return;
	c->gone = true;
	answer_waiters(first);
}

static void on_cgroup(void *arg, uint32_t events)
{
	(void)events;
	advance(arg);
}

static bool valid_id(const char *id)
{
	size_t len = strlen(id);

	return len && len <= NAME_LEN_MAX && id[0] != '.' &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-") ==
		       len;
}

static const char *invalid(const process_msg *p)
{
	if (!p)
		return "process property must not be empty";
	if (!p->n_args)
		return "args must not be empty";
	return *p->cwd == '/' ? NULL : "Cwd must be an absolute path";
}

static struct sm_container *new_container(struct sm_guest *g,
					  const Supermachine__Agent__V1__Container *msg)
{
	struct sm_container *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->g = g;
	c->cgroup = (struct sm_cgroup)SM_CGROUP_INIT;
	c->namespaces = msg->namespaces | CLONE_NEWNS;
	c->id = strdup(msg->id);
	c->next = g->containers;
	g->containers = c;
	c->first = c->id ? new_proc(c, "") : NULL;
	if (!c->first) {
		free_container(c);
		return NULL;
	}
	return c;
}

static int build(struct sm_container *c, const Supermachine__Agent__V1__CreateContainerRequest *req,
		 struct sm_err *err)
{
	const Supermachine__Agent__V1__Container *msg = req->container;
	struct sm_child ch = {
		.container = msg, .process = msg->process, .init = -1, .fd = { -1, -1, -1 },
	};
	int r = sm_vm_prepare(c->g, err);

	if (r == 0)
		r = add_exports(c, msg, err);
	if (r == 0 && c->g->cgroup_root)
		r = sm_cgroup_make(&c->cgroup, c->g->cgroup_root, msg, err);
	if (r == 0 && c->cgroup.events >= 0)
		sm_loop_add(c->g->loop, c->cgroup.events, EPOLLPRI | EPOLLET, on_cgroup, c,
			    &c->cgroup_io);
	if (r == 0)
		r = launch(c->first, &ch, req->stdio, err);
	if (r < 0)
		return r;
	/* the new process is busy with its mounts: what it does not need for them is done meanwhile */
	sm_vm_raise_loopback(c->g);
	return sm_cgroup_guard_devices(&c->cgroup, msg, err);
}

void sm_container_create(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__CreateContainerRequest *req)
{
	const Supermachine__Agent__V1__Container *msg = req->container;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_container *c;
	const char *why;

	if (!msg || !valid_id(msg->id)) {
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "invalid container ID format");
		return;
	}
	why = invalid(msg->process);
	if (!why && (msg->namespaces & ~SM_NAMESPACES))
		why = "a namespace that the VM cannot give";
	if (why) {
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "%s", why);
		return;
	}
	if (find(g, msg->id)) {
		sm_rpc_fail(call, SM_RPC_ALREADY_EXISTS, "container with given ID already exists");
		return;
	}
	c = new_container(g, msg);
	if (!c) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
		return;
	}
	c->first->call = call;
	c->first->msg = msg->process;
	if (build(c, req, &err) < 0) {
		fail(c->first, SM_RPC_UNKNOWN, sm_err_text(&err));
		advance(c);
	}
}

void sm_container_start(struct sm_guest *g, struct sm_rpc_call *call,
			const Supermachine__Agent__V1__ContainerRequest *req)
{
	static const char *const texts[PROC_STATE_NUM] = {
		[SETUP] = "cannot start a container that is being created",
		[STARTING] = "cannot start an already running container",
		[RUNNING] = "cannot start an already running container",
		[ENDED] = "cannot start a container that has stopped",
	};
	struct sm_container *c = get(g, call, req->id);

	if (!c)
		return;
	if (c->first->state != CREATED) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "%s", texts[c->first->state]);
		return;
	}
	c->first->call = call;
	c->first->state = STARTING;
	say(c->first, SM_SYNC_START);
}

/* Ended execs are remembered for Wait, but not without bound. */
static void forget_oldest(struct sm_container *c)
{
	struct proc *oldest = NULL;

	for (struct proc *p = c->procs; p; p = p->next)
		if (p->state == ENDED && p != c->first)
			oldest = p;
	if (oldest) {
		c->nended--;
		free_proc(oldest);
	}
}

static const char *exec_refused(struct sm_container *c,
				const Supermachine__Agent__V1__ExecRequest *req,
				enum sm_rpc_code *code)
{
	struct proc *old = find_proc(c, req->exec_id);
	const char *why = invalid(req->process);

	*code = SM_RPC_INVALID_ARGUMENT;
	if (why)
		return why;
	if (!*req->exec_id || strlen(req->exec_id) > NAME_LEN_MAX)
		return "invalid exec ID";
	*code = SM_RPC_FAILED_PRECONDITION;
	if (c->first->state == ENDED)
		return "cannot exec in a stopped container";
	if (c->first->state == SETUP)
		return "cannot exec in a container that is being created";
	if (!old)
		return NULL;
	*code = SM_RPC_ALREADY_EXISTS;
	if (old->state != ENDED)
		return "exec with given ID already exists";
	c->nended--;
	free_proc(old);
	return NULL;
}

void sm_container_exec(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ExecRequest *req)
{
	struct sm_child ch = { .process = req->process, .fd = { -1, -1, -1 } };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_container *c = get(g, call, req->id);
	enum sm_rpc_code code;
	struct proc *p;
	const char *why;

	if (!c)
		return;
	why = exec_refused(c, req, &code);
	if (why) {
		sm_rpc_fail(call, code, "%s", why);
		return;
	}
	p = new_proc(c, req->exec_id);
	if (!p) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
		return;
	}
	p->call = call;
	p->msg = req->process;
	ch.init = c->first->sp.pidfd;
	if (launch(p, &ch, req->stdio, &err) < 0) {
		fail(p, SM_RPC_UNKNOWN, sm_err_text(&err));
		free_proc(p);
	}
	if (c->nended > ENDED_EXECS_MAX)
		forget_oldest(c);
}

void sm_container_wait(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ProcessRequest *req)
{
	struct proc *p = get_proc(g, call, req->id, req->exec_id);
	struct waiter *w;

	if (!p)
		return;
	if (p == p->c->first ? p->c->gone : p->flushed) {
		reply_status(call, p->status);
		return;
	}
	w = malloc(sizeof(*w));
	if (!w) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
		return;
	}
	w->call = call;
	w->next = p->waiters;
	p->waiters = w;
}

/* Whether a process with default dispositions ends by it. */
static bool is_fatal(int signo)
{
	switch (signo) {
	case 0:
	case SIGCHLD:
	case SIGURG:
	case SIGWINCH:
	case SIGCONT:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return false;
	default:
		return true;
	}
}

static int send_signal(struct proc *p, int signo)
{
	/* Before its execve the first process is still the agent's code, and as the first of its pid
	 * namespace it would not see what it does not handle: the signal does what it does to a program. */
	if (p->state < RUNNING && signo != SIGKILL && is_fatal(signo)) {
		p->killed_as = signo;
		signo = SIGKILL;
	}
	return syscall(SYS_pidfd_send_signal, p->sp.pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

static int signal_all(struct sm_container *c, int signo)
{
	if (signo == SIGKILL) {
		sm_cgroup_kill(&c->cgroup);
		return 0;
	}
	return sm_cgroup_signal(&c->cgroup, signo);
}

void sm_container_signal(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__SignalRequest *req)
{
	struct proc *p = get_proc(g, call, req->id, req->exec_id);
	int r;

	if (!p)
		return;
	if (req->signal > (uint32_t)SIGRTMAX) {
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "unable to signal init: invalid argument");
		return;
	}
	if (p->state == ENDED && !req->all) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "%s",
			    p == p->c->first ? "container not running" :
					       "os: process already finished");
		return;
	}
	r = req->all && p->state >= RUNNING && p->c->cgroup.fd >= 0 ?
		    signal_all(p->c, (int)req->signal) :
		    send_signal(p, (int)req->signal);
	if (r == -ESRCH)
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "os: process already finished");
	else if (r < 0)
		sm_rpc_fail(call, SM_RPC_UNKNOWN, "unable to signal init: %s", strerrordesc_np(-r));
	else
		reply_empty(call);
}

void sm_container_resize(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ResizeRequest *req)
{
	struct proc *p = get_proc(g, call, req->id, req->exec_id);
	int r;

	if (!p)
		return;
	r = p->io ? sm_stdio_resize(p->io, req->rows, req->cols) : -ENOTTY;
	if (r < 0)
		sm_rpc_fail(call, r == -EINVAL ? SM_RPC_INVALID_ARGUMENT : SM_RPC_FAILED_PRECONDITION,
			    "cannot resize: %s", r == -ENOTTY ? "no terminal" : strerrordesc_np(-r));
	else
		reply_empty(call);
}

void sm_container_delete(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ContainerRequest *req)
{
	struct sm_container *c = get(g, call, req->id);

	if (!c)
		return;
	c->deleting = true;
	c->delete_call = call;
	for (struct proc *p = c->procs; p; p = p->next) {
		sm_stdio_free(sm_steal_ptr(p->io));
		if (p->call)
			fail(p, SM_RPC_CANCELLED, "the container is being deleted");
	}
	advance(c);
}

static void on_flushed(void *arg)
{
	struct proc *p = arg;

	p->flushed = true;
	answer_waiters(p);
}

static void ended(struct proc *p, int status)
{
	struct sm_container *c = p->c;

	/* its last words, and the end of them, come before its death */
	while (p->sp.sync >= 0 && read_sync(p))
		;
	if (p->sp.sync >= 0)
		on_sync_end(p);
	if (p->killed_as && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		status = p->killed_as;
	p->status = status;
	sm_close(&p->sp.pidfd);
	if (p->failed) {
		free_proc(p);
		advance(c);
		return;
	}
	p->state = ENDED;
	if (p != c->first) {
		c->nended++;
		/* its streams may live on: what it left running has them */
		if (p->io)
			sm_stdio_flush(p->io, on_flushed, p);
		else
			on_flushed(p);
		if (p->io && sm_stdio_drained(p->io))
			sm_stdio_free(sm_steal_ptr(p->io));
	}
	advance(c);
}

static void reaped(struct sm_guest *g, pid_t pid, int status)
{
	for (struct sm_container *c = g->containers; c; c = c->next) {
		if (c->sync_pid == pid) {
			c->sync_pid = -1;
			advance(c);
			return;
		}
		for (struct proc *p = c->procs; p; p = p->next) {
			if (p->state != ENDED && p->sp.pid == pid) {
				ended(p, status);
				return;
			}
		}
	}
}

void sm_container_reap(struct sm_guest *g)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		reaped(g, pid, status);
}
