/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation (that of a single process is in proc.h)
 *
 * The first container made is `main`: when its end was told, the sandbox is finished and sm-vmm exits
 * with its status.
 *
 * Create may come before the guest is up: it waits in `pending` for the agent's Hello.
 *
 * SIGKILL must end a container whatever its surroundings do: a reader that stopped reading loses its
 * streams after a tick without progress, and a guest that does not react loses its machine after
 * KILL_TICKS_MAX of them, or of KILL_TICKS_ALL whatever it still says.
 *
 * While the guest is paused, requests to it wait in the connection. Nobody is kept waiting for what the
 * kernel would do at once to a frozen process (Signal, Resize); SIGKILL thaws.
 */
#include "hv/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "hv/agent.h"
#include "hv/ports.h"
#include "hv/proc.h"
#include "hv/resources.h"
#include "proto/sandbox.pb-c.h"
#include "rpc/ttrpc.h"

#define AGENT(name) Supermachine__Agent__V1__##name
#define SANDBOX(name) Supermachine__Sandbox__V1__##name

#define SECOND_NS 1000000000ull
#define KILL_TICKS_MAX 10
#define KILL_TICKS_ALL 120
#define LOST_GRACE_NS (3 * SECOND_NS)
#define TAIL_MAX 1500
#define STDIO "connect standard input, output and error"

static const char *const step_names[] = {
	[SM_STEP_DEVICES] = "setting up the devices",
	[SM_STEP_MACHINE] = "starting the machine",
	[SM_STEP_BOOT] = "booting the guest kernel and its agent",
	[SM_STEP_HELLO] = "greeting the agent",
	[SM_STEP_CREATE] = "creating the container",
	[SM_STEP_START] = "starting the container",
	[SM_STEP_RUN] = "running the container",
};
_Static_assert(SM_ARRAY_SIZE(step_names) == SM_STEP_NUM, "a name for each step");

/* A request passed on to the agent as it is. */
struct forward {
	struct sm_sandbox *sb;
	struct sm_rpc_call *call;	/* NULL: answered before */
	bool start;
	bool stats;
};

struct pending {
	struct pending *next;
	struct sm_rpc_call *call;
	const SANDBOX(CreateRequest) *req;
};

struct sm_sandbox {
	struct sm_sandbox_config c;
	struct sm_rpc *control;
	struct sm_rpc_server *server;
	struct sm_timer *boot_timer;	/* also used once the agent is lost */
	struct sm_timer *kill_timer;
	unsigned int kill_ticks, kill_ticks_all;
	uint64_t kill_bytes;
	struct sm_procs procs;
	struct sm_proc *main;
	struct pending *pending;
	enum sm_step step;
	uint64_t step_ns[SM_STEP_NUM];	/* since c.started_ns */
	bool up;			/* the agent answered Hello */
	bool paused;
	bool over;			/* finished() has run */
	char *kernel;
	char *agent_version;
};

/* ---- launch steps --------------------------------------------------------------------------- */

void sm_sandbox_reached(struct sm_sandbox *sb, enum sm_step step)
{
	if (step < sb->step)
		return;
	sb->step = step;
	if (!sb->step_ns[step])
		sb->step_ns[step] = sm_now_ns() - sb->c.started_ns;
}

static void finish(struct sm_sandbox *sb, int status)
{
	if (sb->over)
		return;
	sb->over = true;
	sb->c.finished(sb->c.arg, status);
}

/* The text for a launch that failed for a reason outside the container. */
static void fail_launch(struct sm_sandbox *sb, struct sm_rpc_call *call, const char *why)
{
	char tail[TAIL_MAX];
	size_t n = sm_console_tail(sb->c.console, tail, sizeof(tail));

	while (n && tail[n - 1] == '\n')
		tail[--n] = '\0';
	sm_rpc_fail(call, SM_RPC_UNAVAILABLE, "VM lost while %s: %s%s%s", step_names[sb->step], why,
		    n ? "; console: " : "; the console is empty", tail);
}

static void reply_empty(struct sm_rpc_call *call)
{
	sm_rpc_reply(call, &(AGENT(Empty))SUPERMACHINE__AGENT__V1__EMPTY__INIT.base);
}

static int exit_status(uint32_t wait_status)
{
	int s = (int)wait_status;

	return WIFSIGNALED(s) ? 128 + WTERMSIG(s) : WEXITSTATUS(s);
}

static void on_told(void *arg, struct sm_proc *p)
{
	struct sm_sandbox *sb = arg;

	if (p == sb->main)
		finish(sb, exit_status(p->status));
}

/* ---- Create --------------------------------------------------------------------------------- */

static void on_created(void *arg, enum sm_rpc_code code, const char *text,
		       const ProtobufCMessage *rsp)
{
	struct sm_proc *p = arg;
	struct sm_sandbox *sb = p->table->arg;
	struct sm_rpc_call *call = p->maker;

	p->maker = NULL;
	if (code != SM_RPC_OK) {
		if (code == SM_RPC_UNAVAILABLE)
			fail_launch(sb, call, text);
		else
			sm_rpc_fail(call, code, "%s", text);
		sm_proc_free(p);
		return;
	}
	sm_sandbox_reached(sb, SM_STEP_START);
	if (!sb->main)
		sb->main = p;
	p->oom = sm_oom_new(p->table->agent, p->id);
	sm_proc_alive(p);
	reply_empty(call);
}

static int add_exports(struct sm_proc *p, const SANDBOX(CreateRequest) *req)
{
	p->exports = calloc(req->n_exports ? req->n_exports : 1, sizeof(*p->exports));
	if (!p->exports)
		return -ENOMEM;
	for (size_t i = 0; i < req->n_exports; i++) {
		const SANDBOX(Export) *e = req->exports[i];
		int fd = sm_rpc_call_fd(p->maker, e->export_fd);
		char *name = strdup(e->name);
		int r = fd < 0 ? -EBADF : name ? 0 : -ENOMEM;

		if (r == 0)
			r = sm_fs_add_export(p->table->fs, name, fd, e->readonly);
		if (r < 0) {
			sm_close(&fd);
			free(name);
			return r;
		}
		p->exports[p->nexports++] = name;
	}
	return 0;
}

static void create(struct sm_sandbox *sb, struct sm_rpc_call *call,
		   const SANDBOX(CreateRequest) *req)
{
	AGENT(CreateContainerRequest) out = SUPERMACHINE__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;
	AGENT(Stdio) stdio = SUPERMACHINE__AGENT__V1__STDIO__INIT;
	struct sm_proc *p = sm_proc_new(&sb->procs, call, req->container->id, "");
	const char *what = STDIO;
	int r;

	if (!p)
		return;
	r = add_exports(p, req);
	if (r < 0)
		what = "share the container's files";
	if (r == 0)
		r = sm_stdio_attach(&p->io, sb->c.vs, call, req->stdio, &stdio, sm_proc_stdio_changed,
				    p);
	if (r == 0) {
		/* The first container's terminal is ours: its resizes come as SIGWINCH.
		 * #syscalls:loop ioctl(1=TIOCSCTTY) */
		if (p->io.tty >= 0 && !sb->main)
			ioctl(p->io.tty, TIOCSCTTY, 0);
		out.container = req->container;
		out.stdio = &stdio;
		r = sm_agent_call(sb->procs.agent, "CreateContainer", &out.base,
				  &supermachine__agent__v1__empty__descriptor, on_created, p);
	}
	if (r < 0) {
		sm_rpc_fail(call, SM_RPC_INTERNAL, "%s: %s", what, strerror(-r));
		sm_proc_free(p);
		return;
	}
	sm_sandbox_reached(sb, SM_STEP_CREATE);
}

static void on_create(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const SANDBOX(CreateRequest) *req = (const SANDBOX(CreateRequest) *)msg;
	struct sm_sandbox *sb = arg;
	struct pending *pending, **at = &sb->pending;

	if (!req->container || !*req->container->id) {
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "container id cannot be empty");
		return;
	}
	if (sb->up) {
		create(sb, call, req);
		return;
	}
	pending = calloc(1, sizeof(*pending));
	if (!pending) {
		sm_rpc_fail(call, SM_RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	pending->call = call;
	pending->req = req;
	while (*at)
		at = &(*at)->next;
	*at = pending;
}

/* ---- Exec ----------------------------------------------------------------------------------- */

static void ignore(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
}

static void kill_exec(struct sm_proc *p)
{
	AGENT(SignalRequest) req = SUPERMACHINE__AGENT__V1__SIGNAL_REQUEST__INIT;

	req.id = p->id;
	req.exec_id = p->exec_id;
	req.signal = SIGKILL;
	sm_agent_call(p->table->agent, "Signal", &req.base,
		      &supermachine__agent__v1__empty__descriptor, ignore, NULL);
}

static void on_execed(void *arg, enum sm_rpc_code code, const char *text,
		      const ProtobufCMessage *rsp)
{
	struct sm_proc *p = arg;
	struct sm_rpc_call *call = p->maker;

	p->maker = NULL;
	if (code != SM_RPC_OK) {
		sm_rpc_fail(call, code, "%s", text);
		sm_proc_free(p);
		return;
	}
	p->owner = sm_rpc_call_conn(call);
	sm_proc_alive(p);
	if (!p->owner)
		kill_exec(p);
	sm_rpc_reply(call, rsp);
}

static void on_exec(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const SANDBOX(ExecRequest) *req = (const SANDBOX(ExecRequest) *)msg;
	AGENT(ExecRequest) out = SUPERMACHINE__AGENT__V1__EXEC_REQUEST__INIT;
	AGENT(Stdio) stdio = SUPERMACHINE__AGENT__V1__STDIO__INIT;
	struct sm_sandbox *sb = arg;
	struct sm_proc *p;
	int r;

	if (!*req->exec_id || !req->process) {
		sm_rpc_fail(call, SM_RPC_INVALID_ARGUMENT, "exec without an id or a process");
		return;
	}
	p = sm_proc_new(&sb->procs, call, req->id, req->exec_id);
	if (!p)
		return;
	r = sm_stdio_attach(&p->io, sb->c.vs, call, req->stdio, &stdio, sm_proc_stdio_changed, p);
	if (r == 0) {
		out.id = req->id;
		out.exec_id = req->exec_id;
		out.process = req->process;
		out.stdio = &stdio;
		r = sm_agent_call(sb->procs.agent, "Exec", &out.base,
				  &supermachine__agent__v1__exec_response__descriptor, on_execed,
				  p);
	}
	if (r < 0) {
		sm_rpc_fail(call, SM_RPC_UNAVAILABLE, STDIO ": %s", strerror(-r));
		sm_proc_free(p);
	}
}

/* ---- Start, Signal, Resize, Processes: passed on -------------------------------------------- */

static void on_forwarded(void *arg, enum sm_rpc_code code, const char *text,
			 const ProtobufCMessage *rsp)
{
	struct forward *f = arg;

	if (code == SM_RPC_OK && f->start)
		sm_sandbox_reached(f->sb, SM_STEP_RUN);
	if (!f->call)
		sm_debug("after the pause: %s", code == SM_RPC_OK ? "done" : text);
	else if (code == SM_RPC_OK && f->stats &&
		 !sm_stats_valid((const AGENT(StatsResponse) *)rsp))
		sm_rpc_fail(f->call, SM_RPC_INTERNAL, "the guest's numbers make no sense");
	else if (code == SM_RPC_OK)
		sm_rpc_reply(f->call, rsp);
	else
		sm_rpc_fail(f->call, code, "%s", text);
	free(f);
}

static void forward_as(struct forward as, const char *method, const ProtobufCMessage *req,
		       const ProtobufCMessageDescriptor *out)
{
	struct forward *f = malloc(sizeof(*f));
	int r = f ? 0 : -ENOMEM;

	if (f) {
		*f = as;
		r = sm_agent_call(as.sb->procs.agent, method, req, out, on_forwarded, f);
	}
	if (r < 0) {
		free(f);
		if (as.call)
			sm_rpc_fail(as.call, SM_RPC_UNAVAILABLE, "%s: %s", method, strerror(-r));
	}
}

/* What a paused guest does when it goes on, and nobody is to wait for. */
static void forward(struct sm_sandbox *sb, struct sm_rpc_call *call, const char *method,
		    const ProtobufCMessage *req)
{
	struct forward as = { .sb = sb, .call = sb->paused ? NULL : call };

	forward_as(as, method, req, &supermachine__agent__v1__empty__descriptor);
	if (sb->paused)
		reply_empty(call);
}

static void on_start(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	struct sm_sandbox *sb = arg;
	struct forward as = { .sb = sb, .call = call, .start = true };

	if (sb->paused)
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION,
			    "cannot start a container in the paused state");
	else
		forward_as(as, "StartContainer", req, &supermachine__agent__v1__empty__descriptor);
}

/* What a guest that stands still cannot tell. */
static void ask(struct sm_sandbox *sb, struct sm_rpc_call *call, const char *method,
		const ProtobufCMessage *req, const ProtobufCMessageDescriptor *out, bool stats)
{
	struct forward as = { .sb = sb, .call = call, .stats = stats };

	if (sb->paused)
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "the container is paused");
	else
		forward_as(as, method, req, out);
}

static void on_processes(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	ask(arg, call, "Processes", req, &supermachine__agent__v1__processes_response__descriptor,
	    false);
}

/* Stands while the guest is paused. */
static void on_wait_ready(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	struct forward as = { .sb = arg, .call = call };

	forward_as(as, "WaitReady", req, &supermachine__agent__v1__empty__descriptor);
}

static void on_resize(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	forward(arg, call, "Resize", req);
}

/* ---- Pause, Resume -------------------------------------------------------------------------- */

static int thaw(struct sm_sandbox *sb)
{
	int r = sb->c.freeze(sb->c.arg, false);

	if (r < 0)
		return r;
	sb->paused = false;
	sm_agent_set_clock(sb->procs.agent);
	return 0;
}

static void on_pause(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const AGENT(ContainerRequest) *req = (const AGENT(ContainerRequest) *)msg;
	struct sm_sandbox *sb = arg;
	struct sm_proc *p = sm_proc_find(&sb->procs, req->id, "");
	int r;

	if (!p || p->state != SM_PROC_ALIVE || sb->paused) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not running");
		return;
	}
	r = sb->c.freeze(sb->c.arg, true);
	if (r < 0) {
		sm_rpc_fail(call, SM_RPC_INTERNAL, "pause the VM: %s", strerror(-r));
		return;
	}
	sb->paused = true;
	reply_empty(call);
}

static void on_resume(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	struct sm_sandbox *sb = arg;
	int r;

	if (!sb->paused) {
		sm_rpc_fail(call, SM_RPC_FAILED_PRECONDITION, "container not paused");
		return;
	}
	r = thaw(sb);
	if (r < 0)
		sm_rpc_fail(call, SM_RPC_INTERNAL, "resume the VM: %s", strerror(-r));
	else
		reply_empty(call);
}

/* ---- Signal --------------------------------------------------------------------------------- */

static void on_kill_tick(void *arg)
{
	struct sm_sandbox *sb = arg;
	struct sm_vsock_counters now;

	if (++sb->kill_ticks > KILL_TICKS_MAX || ++sb->kill_ticks_all > KILL_TICKS_ALL) {
		sm_warn("the guest did not end after SIGKILL: stopping the machine");
		finish(sb, 128 + SIGKILL);
		return;
	}
	sm_vsock_counters(sb->c.vs, &now);
	if (now.tx_bytes == sb->kill_bytes)
		sm_proc_drop_output(sb->main);
	else
		sb->kill_ticks = 0;
	sb->kill_bytes = now.tx_bytes;
	sm_timer_set(sb->c.loop, sb->kill_timer, sb->c.kill_tick_ns);
}

static void watch_kill(struct sm_sandbox *sb)
{
	struct sm_vsock_counters now;

	if (sb->kill_timer || !sb->main)
		return;
	sm_vsock_counters(sb->c.vs, &now);
	sb->kill_bytes = now.tx_bytes;
	if (sm_timer_add(sb->c.loop, sb->c.kill_tick_ns, on_kill_tick, sb, &sb->kill_timer) < 0)
		sb->kill_timer = NULL;
}

static void on_signal(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const AGENT(SignalRequest) *req = (const AGENT(SignalRequest) *)msg;
	struct sm_sandbox *sb = arg;

	if (req->signal == SIGKILL && !*req->exec_id) {
		if (sb->paused)
			thaw(sb);
		if (sb->main && strcmp(req->id, sb->main->id) == 0)
			watch_kill(sb);
	}
	forward(sb, call, "Signal", msg);
}

/* ---- Stats, Update, WaitOom ----------------------------------------------------------------- */

static void on_stats(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	ask(arg, call, "Stats", req, &supermachine__agent__v1__stats_response__descriptor, true);
}

static void on_update(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	forward(arg, call, "Update", req);
}

static void on_wait_oom(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const AGENT(WaitOomRequest) *req = (const AGENT(WaitOomRequest) *)msg;
	struct sm_sandbox *sb = arg;
	struct sm_proc *p = sm_proc_find(&sb->procs, req->id, "");

	if (p && p->oom)
		sm_oom_wait(p->oom, call, req->seen);
	else
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "container does not exist");
}

/* ---- Wait, Info ----------------------------------------------------------------------------- */

static void on_wait(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *msg)
{
	const AGENT(ProcessRequest) *req = (const AGENT(ProcessRequest) *)msg;
	struct sm_sandbox *sb = arg;
	struct sm_proc *p = sm_proc_find(&sb->procs, req->id, req->exec_id);

	if (p)
		sm_proc_wait(p, call);
	else
		sm_rpc_fail(call, SM_RPC_NOT_FOUND, "process does not exist");
}

static void on_info(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	SANDBOX(InfoResponse) rsp = SUPERMACHINE__SANDBOX__V1__INFO_RESPONSE__INIT;
	struct sm_sandbox *sb = arg;
	struct sm_vsock_counters vs;

	sm_vsock_counters(sb->c.vs, &vs);
	rsp.backend = (char *)sb->c.backend;
	rsp.vmm_started_ns = sb->c.started_ns;
	rsp.machine_ns = sb->step_ns[SM_STEP_BOOT];
	rsp.agent_ns = sb->step_ns[SM_STEP_HELLO];
	rsp.created_ns = sb->step_ns[SM_STEP_START];
	rsp.started_ns = sb->step_ns[SM_STEP_RUN];
	rsp.kernel = sb->kernel ? sb->kernel : rsp.kernel;
	rsp.agent_version = sb->agent_version ? sb->agent_version : rsp.agent_version;
	rsp.vsock_flows = vs.flows;
	rsp.vsock_rx_bytes = vs.rx_bytes;
	rsp.vsock_tx_bytes = vs.tx_bytes;
	rsp.vsock_drops = vs.drops;
	rsp.vsock_credit_stalls = vs.credit_stalls;
	rsp.tsi_rx_bytes = vs.tsi_rx_bytes;
	rsp.tsi_tx_bytes = vs.tsi_tx_bytes;
	rsp.tsi_listeners = vs.listeners;
	rsp.tsi_datagrams = vs.datagrams;
	rsp.tsi_denials = vs.denials;
	sm_rpc_reply(call, &rsp.base);
}

static void on_ports(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	sm_ports_reply(((struct sm_sandbox *)arg)->c.vs, call);
}

static const struct sm_rpc_method methods[] = {
	{ "Create", &supermachine__sandbox__v1__create_request__descriptor, on_create },
	{ "Start", &supermachine__agent__v1__container_request__descriptor, on_start },
	{ "Exec", &supermachine__sandbox__v1__exec_request__descriptor, on_exec },
	{ "Wait", &supermachine__agent__v1__process_request__descriptor, on_wait },
	{ "Signal", &supermachine__agent__v1__signal_request__descriptor, on_signal },
	{ "Resize", &supermachine__agent__v1__resize_request__descriptor, on_resize },
	{ "Pause", &supermachine__agent__v1__container_request__descriptor, on_pause },
	{ "Resume", &supermachine__agent__v1__container_request__descriptor, on_resume },
	{ "Processes", &supermachine__agent__v1__container_request__descriptor, on_processes },
	{ "Stats", &supermachine__agent__v1__container_request__descriptor, on_stats },
	{ "Update", &supermachine__agent__v1__update_request__descriptor, on_update },
	{ "WaitOom", &supermachine__agent__v1__wait_oom_request__descriptor, on_wait_oom },
	{ "WaitReady", &supermachine__agent__v1__container_request__descriptor, on_wait_ready },
	{ "Ports", &supermachine__agent__v1__empty__descriptor, on_ports },
	{ "Info", &supermachine__agent__v1__empty__descriptor, on_info },
};

static const struct sm_rpc_service service = {
	.name = "supermachine.sandbox.v1.Sandbox",
	.methods = methods,
	.nmethods = SM_ARRAY_SIZE(methods),
};

/* ---- the agent comes and goes --------------------------------------------------------------- */

static void on_agent_connected(void *arg)
{
	struct sm_sandbox *sb = arg;
	bool first = !sb->step_ns[SM_STEP_HELLO];

	sm_sandbox_reached(sb, SM_STEP_HELLO);
	if (first)
		sm_debug("sm-vmm: agent connected: ns from %llu: machine %llu agent %llu",
			 (unsigned long long)sb->c.started_ns,
			 (unsigned long long)sb->step_ns[SM_STEP_BOOT],
			 (unsigned long long)sb->step_ns[SM_STEP_HELLO]);
}

static void on_agent_ready(void *arg, const AGENT(HelloResponse) *hello)
{
	struct sm_sandbox *sb = arg;
	struct pending *p;

	sb->up = true;
	sm_timer_remove(sb->c.loop, sb->boot_timer);
	sb->boot_timer = NULL;
	free(sb->kernel);
	free(sb->agent_version);
	sb->kernel = strdup(hello->kernel);
	sb->agent_version = strdup(hello->version);
	while ((p = sb->pending)) {
		sb->pending = p->next;
		create(sb, p->call, p->req);
		free(p);
	}
}

static void fail_everything(struct sm_sandbox *sb, const char *why)
{
	struct pending *p;
	char lost[128];

	snprintf(lost, sizeof(lost), "VM lost while %s", step_names[sb->step]);
	sb->up = false;
	while ((p = sb->pending)) {
		sb->pending = p->next;
		fail_launch(sb, p->call, why);
		free(p);
	}
	for (struct sm_proc *q = sb->procs.first; q; q = q->next)
		sm_proc_lost(q, lost);
}

static int lost_status(const struct sm_sandbox *sb)
{
	return sb->kill_timer ? 128 + SIGKILL : 255;
}

static void on_boot_timeout(void *arg)
{
	struct sm_sandbox *sb = arg;

	fail_everything(sb, "no answer in time");
	finish(sb, lost_status(sb));
}

/* The machine's end follows, with a better reason; if it does not, this was it. */
static void on_agent_lost(void *arg, const char *why)
{
	struct sm_sandbox *sb = arg;

	if (sb->over)
		return;
	sm_error("agent lost: %s", why);
	sb->up = false;
	sm_timer_remove(sb->c.loop, sb->boot_timer);
	if (sm_timer_add(sb->c.loop, LOST_GRACE_NS, on_boot_timeout, sb, &sb->boot_timer) < 0) {
		sb->boot_timer = NULL;
		on_boot_timeout(sb);
	}
}

void sm_sandbox_machine_ended(struct sm_sandbox *sb, const char *why)
{
	if (sb->over)
		return;
	sm_error("VM lost while %s: %s", step_names[sb->step], why);
	fail_everything(sb, why);
	finish(sb, lost_status(sb));
}

/* ---- clients come and go -------------------------------------------------------------------- */

static void on_client_gone(void *arg, struct sm_rpc *rpc)
{
	struct sm_sandbox *sb = arg;
	struct sm_proc *next;

	for (struct sm_proc *p = sb->procs.first; p; p = next) {
		next = p->next;
		sm_oom_client_gone(p->oom, rpc);
		sm_proc_client_gone(p);
		if (p->owner != rpc)
			continue;
		p->owner = NULL;
		if (p->state == SM_PROC_ALIVE)
			kill_exec(p);
		sm_proc_reap(p);
	}
}

/* The launcher is gone: before its container exists there is nothing to live for. */
static void on_control_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct sm_sandbox *sb = arg;

	on_client_gone(sb, rpc);
	sm_rpc_free(rpc);
	sb->control = NULL;
	if (!sb->main)
		finish(sb, 255);
}

/* #syscalls:loop ioctl(1=TIOCGWINSZ) */
void sm_sandbox_signal(struct sm_sandbox *sb, int signo)
{
	AGENT(SignalRequest) sig = SUPERMACHINE__AGENT__V1__SIGNAL_REQUEST__INIT;
	AGENT(ResizeRequest) size = SUPERMACHINE__AGENT__V1__RESIZE_REQUEST__INIT;
	const ProtobufCMessageDescriptor *out = &supermachine__agent__v1__empty__descriptor;
	struct winsize ws;

	if (!sb->main) {
		if (signo != SIGWINCH)
			finish(sb, 128 + signo);
		return;
	}
	if (signo != SIGWINCH) {
		sig.id = sb->main->id;
		sig.signal = (uint32_t)signo;
		sm_agent_call(sb->procs.agent, "Signal", &sig.base, out, ignore, NULL);
	} else if (sb->main->io.tty >= 0 && ioctl(sb->main->io.tty, TIOCGWINSZ, &ws) == 0) {
		size.id = sb->main->id;
		size.rows = ws.ws_row;
		size.cols = ws.ws_col;
		sm_agent_call(sb->procs.agent, "Resize", &size.base, out, ignore, NULL);
	}
}

bool sm_sandbox_oom_killed(const struct sm_sandbox *sb)
{
	return sb->main && sm_oom_kills(sb->main->oom);
}

/* ---- life ----------------------------------------------------------------------------------- */

int sm_sandbox_new(const struct sm_sandbox_config *config, struct sm_sandbox **out)
{
	static const struct sm_agent_events events = {
		.connected = on_agent_connected,
		.ready = on_agent_ready,
		.lost = on_agent_lost,
	};
	struct sm_sandbox *sb = calloc(1, sizeof(*sb));
	int r;

	if (!sb)
		return -ENOMEM;
	sb->c = *config;
	sb->procs = (struct sm_procs){ .vs = sb->c.vs, .fs = sb->c.fs, .told = on_told, .arg = sb,
				       .max = sm_procs_limit() };
	r = sm_agent_new(sb->c.loop, sb->c.vs, &events, sb, &sb->procs.agent);
	if (r == 0)
		r = sm_timer_add(sb->c.loop, sb->c.boot_timeout_ns, on_boot_timeout, sb,
				 &sb->boot_timer);
	if (r == 0 && sb->c.control_fd >= 0)
		r = sm_rpc_new(sb->c.loop, sb->c.control_fd, &service, sb, on_control_closed, sb,
			       &sb->control);
	if (r == 0 && sb->c.listen_fd >= 0)
		r = sm_rpc_server_new(sb->c.loop, sb->c.listen_fd, &service, sb, SM_CLIENTS_MAX,
				      on_client_gone, &sb->server);
	if (r == 0 && sb->control)
		sm_rpc_set_inflight(sb->control, SM_CALLS_MAX);
	if (r == 0 && sb->server)
		sm_rpc_server_set_inflight(sb->server, SM_CALLS_MAX);
	if (r < 0) {
		sm_sandbox_free(sb);
		return r;
	}
	*out = sb;
	return 0;
}

void sm_sandbox_free(struct sm_sandbox *sb)
{
	struct sm_proc *p;

	if (!sb)
		return;
	sb->over = true;
	fail_everything(sb, "sm-vmm is ending");
	sm_agent_free(sb->procs.agent);	/* fails what still waits for the guest */
	sm_rpc_server_free(sb->server);
	sm_rpc_free(sb->control);
	while ((p = sb->procs.first))
		sm_proc_free(p);
	sm_timer_remove(sb->c.loop, sb->boot_timer);
	sm_timer_remove(sb->c.loop, sb->kill_timer);
	free(sb->kernel);
	free(sb->agent_version);
	free(sb);
}
