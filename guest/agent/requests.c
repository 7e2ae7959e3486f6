/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/requests.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "guest/agent/container.h"
#include "guest/agent/ps.h"
#include "guest/agent/reply.h"

enum { NAME_LEN_MAX = 255, ENDED_EXECS_MAX = 4096 };

typedef Supermachine__Agent__V1__Process process_msg;

/* The container of a request, or the request is answered. */
static struct sm_container *get(struct sm_guest *g, struct sm_rpc_call *call, const char *id)
{
	struct sm_container *c = sm_container_find(g, id);

	if (!c || c->deleting) {
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "container does not exist");
		return NULL;
	}
	return c;
}

static struct sm_proc *get_proc(struct sm_guest *g, struct sm_rpc_call *call, const char *id,
			     const char *exec_id)
{
	struct sm_container *c = get(g, call, id);
	struct sm_proc *p = c ? sm_proc_find(c, exec_id) : NULL;

	if (c && !p)
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "process \"%s\" does not exist", exec_id);
	return p;
}

static bool valid_id(const char *id)
{
	size_t len = strlen(id);

	return len && len <= NAME_LEN_MAX && strcmp(id, ".") != 0 && strcmp(id, "..") != 0 &&
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

void sm_request_create(struct sm_guest *g, struct sm_rpc_call *call,
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
	if (sm_container_find(g, msg->id)) {
		sm_rpc_fail(call, SM_RPC_ALREADY_EXISTS, "container with given ID already exists");
		return;
	}
	c = sm_container_new(g, msg);
	if (!c) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
		return;
	}
	c->first->call = call;
	c->first->msg = msg->process;
	if (sm_container_build(c, req, &err) < 0) {
		sm_proc_fail(c->first, SM_RPC_UNKNOWN, sm_err_text(&err));
		sm_container_advance(c);
	}
}

void sm_request_start(struct sm_guest *g, struct sm_rpc_call *call,
			const Supermachine__Agent__V1__ContainerRequest *req)
{
	static const char *const texts[SM_PROC_NUM] = {
		[SM_PROC_SETUP] = "cannot start a container that is being created",
		[SM_PROC_STARTING] = "cannot start an already running container",
		[SM_PROC_RUNNING] = "cannot start an already running container",
		[SM_PROC_ENDED] = "cannot start a container that has stopped",
	};
	struct sm_container *c = get(g, call, req->id);

	if (!c)
		return;
	if (c->first->state != SM_PROC_CREATED) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "%s", texts[c->first->state]);
		return;
	}
	sm_proc_start(c->first, call);
}

/* Ended execs are remembered for Wait, but not without bound. */
static void forget_oldest(struct sm_container *c)
{
	struct sm_proc *oldest = NULL;

	for (struct sm_proc *p = c->procs; p; p = p->next)
		if (p->state == SM_PROC_ENDED && p != c->first)
			oldest = p;
	if (oldest) {
		c->nended--;
		sm_proc_free(oldest);
	}
}

static const char *exec_refused(struct sm_container *c,
				const Supermachine__Agent__V1__ExecRequest *req,
				enum sm_rpc_code *code)
{
	struct sm_proc *old = sm_proc_find(c, req->exec_id);
	const char *why = invalid(req->process);

	*code = SM_RPC_INVALID_ARGUMENT;
	if (why)
		return why;
	if (!*req->exec_id || strlen(req->exec_id) > NAME_LEN_MAX)
		return "invalid exec ID";
	*code = SM_RPC_FAILED_PRECONDITION;
	if (c->first->state == SM_PROC_ENDED)
		return "cannot exec in a stopped container";
	if (c->first->state == SM_PROC_SETUP)
		return "cannot exec in a container that is being created";
	if (!old)
		return NULL;
	*code = SM_RPC_ALREADY_EXISTS;
	if (old->state != SM_PROC_ENDED)
		return "exec with given ID already exists";
	c->nended--;
	sm_proc_free(old);
	return NULL;
}

void sm_request_exec(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ExecRequest *req)
{
	struct sm_child ch = { .process = req->process, .fd = { -1, -1, -1 } };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_container *c = get(g, call, req->id);
	enum sm_rpc_code code;
	struct sm_proc *p;
	const char *why;

	if (!c)
		return;
	why = exec_refused(c, req, &code);
	if (why) {
		sm_rpc_fail(call, code, "%s", why);
		return;
	}
	p = sm_proc_new(c, req->exec_id);
	if (!p) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
		return;
	}
	p->call = call;
	p->msg = req->process;
	ch.init = c->first->sp.pidfd;
	if (sm_proc_launch(p, &ch, req->stdio, &err) < 0) {
		sm_proc_fail(p, SM_RPC_UNKNOWN, sm_err_text(&err));
		sm_proc_free(p);
	}
	if (c->nended > ENDED_EXECS_MAX)
		forget_oldest(c);
}

void sm_request_wait(struct sm_guest *g, struct sm_rpc_call *call,
		       const Supermachine__Agent__V1__ProcessRequest *req)
{
	struct sm_proc *p = get_proc(g, call, req->id, req->exec_id);
	struct sm_waiter *w;

	if (!p)
		return;
	if (p == p->c->first ? p->c->gone : p->flushed) {
		sm_reply_status(call, p->status);
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

static int send_signal(struct sm_proc *p, int signo)
{
	/* Before its execve the first process is still the agent's code, and as the first of its
	 * pid namespace it would not see what it does not handle: the signal does what it does
	 * to a program. */
	if (p->state < SM_PROC_RUNNING && signo != SIGKILL && is_fatal(signo)) {
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

void sm_request_signal(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__SignalRequest *req)
{
	struct sm_proc *p = get_proc(g, call, req->id, req->exec_id);
	int r;

	if (!p)
		return;
	if (req->signal > (uint32_t)SIGRTMAX) {
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT,
			    "unable to signal init: invalid argument");
		return;
	}
	if (p->state == SM_PROC_ENDED && !req->all) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "%s",
			    p == p->c->first ? "container not running" :
					       "os: process already finished");
		return;
	}
	r = req->all && p->state >= SM_PROC_RUNNING && p->c->cgroup.fd >= 0 ?
		    signal_all(p->c, (int)req->signal) :
		    send_signal(p, (int)req->signal);
	if (r == -ESRCH)
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "os: process already finished");
	else if (r < 0)
		sm_rpc_fail(call, SM_RPC_UNKNOWN, "unable to signal init: %s", strerrordesc_np(-r));
	else
		sm_reply_empty(call);
}

void sm_request_resize(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ResizeRequest *req)
{
	struct sm_proc *p = get_proc(g, call, req->id, req->exec_id);
	int r;

	if (!p)
		return;
	r = p->io ? sm_stdio_resize(p->io, req->rows, req->cols) : -ENOTTY;
	if (r < 0)
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "cannot resize: %s",
			    r == -ENOTTY ? "no terminal" : strerrordesc_np(-r));
	else
		sm_reply_empty(call);
}

void sm_request_delete(struct sm_guest *g, struct sm_rpc_call *call,
			 const Supermachine__Agent__V1__ContainerRequest *req)
{
	struct sm_container *c = get(g, call, req->id);

	if (!c)
		return;
	c->deleting = true;
	c->delete_call = call;
	for (struct sm_proc *p = c->procs; p; p = p->next) {
		sm_stdio_free(sm_steal_ptr(p->io));
		if (p->call)
			sm_proc_fail(p, SM_RPC_CANCELLED, "the container is being deleted");
	}
	sm_container_advance(c);
}

void sm_request_processes(struct sm_guest *g, struct sm_rpc_call *call,
			    const Supermachine__Agent__V1__ContainerRequest *req)
{
	Supermachine__Agent__V1__ProcessesResponse rsp;
	struct sm_container *c = get(g, call, req->id);

	if (!c)
		return;
	if (sm_ps_list(&c->cgroup, c->namespaces & CLONE_NEWPID ? 1 : 0, &rsp) < 0)
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "cannot allocate memory");
	else
		sm_rpc_reply(call, &rsp.base);
	sm_ps_free(&rsp);
}
