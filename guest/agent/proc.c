/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/container.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/process.h"
#include "guest/agent/reply.h"
#include "guest/agent/vm.h"

struct sm_proc *sm_proc_find(const struct sm_container *c, const char *exec_id)
{
	struct sm_proc *p = c->procs;

	while (p && (p->failed || strcmp(p->exec_id, exec_id) != 0))
		p = p->next;
	return p;
}

static void on_stdio(void *arg)
{
	struct sm_proc *p = arg;

	if (p == p->c->first) {
		sm_container_advance(p->c);
	} else if (p->flushed && sm_stdio_drained(p->io)) {
		sm_stdio_free(p->io);
		p->io = NULL;
	}
}

struct sm_proc *sm_proc_new(struct sm_container *c, const char *exec_id)
{
	struct sm_proc *p = calloc(1, sizeof(*p));

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

static void close_sync(struct sm_proc *p)
{
	sm_loop_remove(p->c->g->loop, p->sync_io);
	p->sync_io = NULL;
	sm_close(&p->sp.sync);
}

void sm_proc_answer(struct sm_proc *p)
{
	while (p->waiters) {
		struct sm_waiter *w = p->waiters;

		p->waiters = w->next;
		sm_reply_status(w->call, p->status);
		free(w);
	}
}

void sm_proc_free(struct sm_proc *p)
{
	struct sm_proc **at = &p->c->procs;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	close_sync(p);
	sm_stdio_free(p->io);
	sm_close(&p->sp.pidfd);
	sm_proc_answer(p);
	free(p->exec_id);
	free(p);
}

void sm_proc_fail(struct sm_proc *p, enum sm_rpc_code code, const char *text)
{
	struct sm_rpc_call *call = sm_steal_ptr(p->call);
	struct sm_container *c = p->c;

	p->msg = NULL;
	if (p->state == SM_PROC_SETUP && p == c->first) {
		c->failed_call = call;
		c->deleting = true;
		sm_err_set(&c->failure, -EIO, "%s", text);
		return;
	}
	p->failed = p != c->first;
	if (call)
		sm_rpc_fail(call, code, "%s", text);
}

void sm_proc_kill(const struct sm_proc *p, int signo)
{
	if (p->state != SM_PROC_ENDED && p->sp.pidfd >= 0)
		syscall(SYS_pidfd_send_signal, p->sp.pidfd, signo, NULL, 0);
}

static void say(struct sm_proc *p, enum sm_sync word)
{
	const char c = (char)word;

	/* if it is gone, the end of its socket tells */
	if (send(p->sp.sync, &c, 1, MSG_NOSIGNAL) != 1)
		return;
}

void sm_proc_start(struct sm_proc *p, struct sm_rpc_call *call)
{
	p->call = call;
	p->state = SM_PROC_STARTING;
	say(p, SM_SYNC_START);
}

static void on_ready(struct sm_proc *p)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	if (p->state != SM_PROC_SETUP || !p->call)
		return;
	if (sm_process_limit(p->sp.pid, p->msg, &err) < 0) {
		sm_proc_fail(p, SM_RPC_UNKNOWN, sm_err_text(&err));
		sm_proc_kill(p, SIGKILL);
		return;
	}
	p->msg = NULL;
	if (p == p->c->first) {
		p->state = SM_PROC_CREATED;
		sm_reply_empty(sm_steal_ptr(p->call));
		sm_vm_raise_loopback(p->c->g);
	} else {
		p->state = SM_PROC_STARTING;
		say(p, SM_SYNC_START);
	}
}

/* The socket closed: at execve, or because the process ended. */
static void on_sync_end(struct sm_proc *p)
{
	Supermachine__Agent__V1__ExecResponse rsp = SUPERMACHINE__AGENT__V1__EXEC_RESPONSE__INIT;

	close_sync(p);
	if (p->state == SM_PROC_SETUP && p->call)
		sm_proc_fail(p, SM_RPC_UNKNOWN, "the process ended while it was set up");
	if (p->state != SM_PROC_STARTING)
		return;
	p->state = SM_PROC_RUNNING;
	if (!p->call)
		return;
	if (p == p->c->first) {
		sm_reply_empty(sm_steal_ptr(p->call));
	} else {
		rsp.pid = (uint32_t)p->sp.pid;
		sm_rpc_reply(sm_steal_ptr(p->call), &rsp.base);
	}
}

static void on_tty(struct sm_proc *p, int fd)
{
	int r = p->io && fd >= 0 ? sm_stdio_terminal(p->io, fd) : -EBADF;

	if (r < 0) {
		sm_proc_fail(p, SM_RPC_UNKNOWN, "cannot pass the terminal on");
		sm_proc_kill(p, SIGKILL);
	}
}

/* One message of the child, or the end of them. False: no more for now. */
static bool read_sync(struct sm_proc *p)
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
		sm_proc_fail(p, SM_RPC_UNKNOWN, msg + 1);
		break;
	default:
		break;
	}
	return true;
}

static void on_sync(void *arg, uint32_t events)
{
	struct sm_proc *p = arg;
	struct sm_container *c = p->c;

	(void)events;
	while (p->sp.sync >= 0 && read_sync(p))
		;
	sm_container_advance(c);
}

/* A cgroup that has handed controllers to those below it takes no processes: the container is a
 * manager of cgroups itself, like systemd. The exec goes where the first process is, as with
 * runc. */
static int spawn_beside_first(struct sm_proc *p, const struct sm_child *ch, struct sm_err *err)
{
	const struct sm_container *c = p->c;
	sm_auto_close int fd = sm_cgroup_open_of(c->g->cgroup_root, c->first->sp.pid);

	return fd < 0 ? sm_err_sys(err, fd, "%s", "find the container's cgroup") :
			sm_spawn(ch, fd, &p->sp, err);
}

int sm_proc_launch(struct sm_proc *p, struct sm_child *ch,
		   const Supermachine__Agent__V1__Stdio *stdio, struct sm_err *err)
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
	if (r == -EBUSY && p != c->first)
		r = spawn_beside_first(p, ch, err);
	for (int i = 0; i < 3; i++)
		sm_close(&ch->fd[i]);
	if (r < 0)
		return r;
	r = sm_loop_add(c->g->loop, p->sp.sync, EPOLLIN, on_sync, p, &p->sync_io);
	if (r < 0) {
		sm_proc_kill(p, SIGKILL);
		return sm_err_sys(err, r, "%s", "watch the new process");
	}
	return 0;
}

static void on_flushed(void *arg)
{
	struct sm_proc *p = arg;

	p->flushed = true;
	sm_proc_answer(p);
}

void sm_proc_ended(struct sm_proc *p, int status)
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
		sm_proc_free(p);
		sm_container_advance(c);
		return;
	}
	p->state = SM_PROC_ENDED;
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
	sm_container_advance(c);
}
