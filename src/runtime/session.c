/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One loop, one connection. sm_session_call() sends a request and runs the loop until its answer is
 * there; sm_session_follow() runs it until a process has ended. What a signal means depends on
 * which of the two runs:
 *
 *		INT TERM HUP QUIT	other signals		WINCH
 *	call	the call is given up	kept for follow		-
 *	follow	sent to the process	sent to the process	the new size is passed on
 *	wait	-			-			-
 *
 * The wait is sm_session_wait_ready(): the container runs already, and a caller that takes our end
 * for its readiness must not be told of it by a signal. runc is as deaf there.
 *
 * CHLD and URG never mean anything (Go programs send themselves URG all the time).
 */
#include "runtime/session.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "rpc/ttrpc.h"
#include "runtime/relay.h"
#include "runtime/vmm.h"

#define SIGNALS_KEPT 64

struct sm_session {
	struct sm_loop *loop;
	struct sm_rpc *rpc;
	const struct sm_follow *follow;		/* NULL: a call runs */
	bool lost;				/* the connection */
	bool deaf;				/* signals mean nothing now */
	int kept[SIGNALS_KEPT];
	size_t nkept;

	/* the call, or Wait of the process that is followed */
	bool answered;
	enum sm_rpc_code code;
	char *text;
	uint32_t status;
	uint64_t launched_ns;			/* for on_info() */
	int interrupted;			/* by this signal */
	bool ended;				/* pidfd said so */

	void (*ready)(void *arg); /* sm_session_when_ready() */
	void *ready_arg;
};

static const ProtobufCMessageDescriptor *const empty = &supermachine__agent__v1__empty__descriptor;

static void ignore(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	(void)arg;
	if (code != SM_RPC_OK)
		sm_debug("sm-vmm: %s", text);
	(void)rsp;
}

static void on_answer(void *arg, enum sm_rpc_code code, const char *text,
		      const ProtobufCMessage *rsp)
{
	struct sm_session *s = arg;

	s->answered = true;
	s->code = code;
	free(s->text);
	s->text = code == SM_RPC_OK ? NULL : sm_strf("%s", text);
	if (rsp && rsp->descriptor == &supermachine__agent__v1__wait_response__descriptor)
		s->status = ((const Supermachine__Agent__V1__WaitResponse *)rsp)->status;
	sm_loop_stop(s->loop);
}

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct sm_session *s = arg;

	(void)rpc;
	(void)err;
	s->lost = true;
	if (!s->follow || s->follow->pidfd < 0)
		sm_loop_stop(s->loop);
}

/* ---- signals -------------------------------------------------------------------------------- */

static void forward(struct sm_session *s, int signo)
{
	Supermachine__Agent__V1__SignalRequest req = SUPERMACHINE__AGENT__V1__SIGNAL_REQUEST__INIT;

	req.id = (char *)s->follow->id;
	req.exec_id = (char *)s->follow->exec_id;
	req.signal = (uint32_t)signo;
	if (!s->lost)
		sm_rpc_send(s->rpc, SM_VMM_SERVICE, "Signal", &req.base, NULL, 0, empty, ignore, s);
}

static void pass_size(struct sm_session *s)
{
	Supermachine__Agent__V1__ResizeRequest req = SUPERMACHINE__AGENT__V1__RESIZE_REQUEST__INIT;
	const struct sm_follow *f = s->follow;
	struct winsize ws;

	if (f->winsize_from < 0 || ioctl(f->winsize_from, TIOCGWINSZ, &ws) < 0)
		return;
	if (f->master >= 0)
		ioctl(f->master, TIOCSWINSZ, &ws);
	if (!f->resize || s->lost)
		return;
	req.id = (char *)f->id;
	req.exec_id = (char *)f->exec_id;
	req.rows = ws.ws_row;
	req.cols = ws.ws_col;
	sm_rpc_send(s->rpc, SM_VMM_SERVICE, "Resize", &req.base, NULL, 0, empty, ignore, s);
}

static bool gives_up(int signo)
{
	return signo == SIGINT || signo == SIGTERM || signo == SIGHUP || signo == SIGQUIT;
}

static void on_signal(void *arg, int signo)
{
	struct sm_session *s = arg;

	if (s->deaf)
		return;
	if (s->follow && signo == SIGWINCH) {
		pass_size(s);
	} else if (s->follow) {
		forward(s, signo);
	} else if (gives_up(signo)) {
		s->interrupted = signo;
		sm_loop_stop(s->loop);
	} else if (signo != SIGWINCH && s->nkept < SIGNALS_KEPT) {
		s->kept[s->nkept++] = signo;
	}
}

/* Faults are our own business, and what job control needs to stop or wake us is never caught. */
static void forwarded_signals(sigset_t *set)
{
	static const int not_these[] = { SIGKILL, SIGSTOP, SIGCHLD, SIGURG, SIGSEGV, SIGBUS,
					 SIGFPE,  SIGILL,  SIGTRAP, SIGABRT, SIGSYS, SIGPIPE };

	sigfillset(set);
	for (size_t i = 0; i < SM_ARRAY_SIZE(not_these); i++)
		sigdelset(set, not_these[i]);
}

/* ---- life ----------------------------------------------------------------------------------- */

int sm_session_new(int fd, struct sm_session **out, struct sm_err *err)
{
	struct sm_session *s = calloc(1, sizeof(*s));
	sigset_t set;
	int r = -ENOMEM;

	forwarded_signals(&set);
	if (s)
		s->loop = sm_loop_new();
	if (s && s->loop)
		r = sm_loop_signals(s->loop, &set, on_signal, s);
	if (r == 0)
		r = sm_rpc_new(s->loop, fd, NULL, NULL, on_closed, s, &s->rpc);
	else
		sm_close(&fd);
	if (r < 0) {
		sm_session_free(&s);
		return sm_err_sys(err, r, "connection to sm-vmm");
	}
	*out = s;
	return 0;
}

void sm_session_free(struct sm_session **out)
{
	struct sm_session *s = *out;

	*out = NULL;
	if (!s)
		return;
	sm_rpc_free(s->rpc);
	if (s->loop)
		sm_loop_free(s->loop);
	free(s->text);
	free(s);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int send_request(struct sm_session *s, const char *method, const ProtobufCMessage *req,
			const int *fds, size_t nfds, const ProtobufCMessageDescriptor *out,
			struct sm_err *err)
{
	int r = s->lost ? -ECONNRESET
			: sm_rpc_send(s->rpc, SM_VMM_SERVICE, method, req, fds, nfds, out,
				      on_answer, s);

	s->answered = false;
	if (r == -EPIPE)	/* it went, and the loop has not seen it yet */
		r = -ECONNRESET;
	if (r == -ECONNRESET)
		return sm_err_set(err, r, "the connection to sm-vmm was lost");
	return r < 0 ? sm_err_sys(err, r, "sm-vmm: %s", method) : 0;
}

/* What became of the request that was sent last. */
static int result(const struct sm_session *s, struct sm_err *err)
{
	int code = s->code == SM_RPC_UNAVAILABLE ? -ECONNRESET :
		   s->code == SM_RPC_NOT_FOUND	 ? -ENOENT :
						   -EIO;

	if (s->interrupted)
		return sm_err_set(err, -EINTR, "interrupted by signal %d", s->interrupted);
	if (!s->answered)
		return sm_err_set(err, -ECONNRESET, "the connection to sm-vmm was lost");
	if (s->code == SM_RPC_OK)
		return 0;
	return sm_err_set(err, code, "%s", s->text ? s->text : "sm-vmm refused");
}

int sm_session_call(struct sm_session *s, const char *method, const ProtobufCMessage *req,
		    const int *fds, size_t nfds, const ProtobufCMessageDescriptor *out,
		    struct sm_err *err)
{
	int r = send_request(s, method, req, fds, nfds, out, err);

	if (r < 0)
		return r;
	while (!s->answered && !s->lost && !s->interrupted) {
		r = sm_loop_run(s->loop);
		if (r < 0)
			return sm_err_sys(err, r, "event loop");
	}
	return result(s, err);
}

/* ms from the exec of sm-vmm, whose own times count from its main() */
static double since_launch(const struct sm_session *s,
			   const Supermachine__Sandbox__V1__InfoResponse *i, uint64_t ns)
{
	uint64_t main_ns = i->vmm_started_ns;

	if (s->launched_ns && s->launched_ns < main_ns)
		ns += main_ns - s->launched_ns;
	return (double)ns / 1e6;
}

static void on_info(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	const Supermachine__Sandbox__V1__InfoResponse *i =
		(const Supermachine__Sandbox__V1__InfoResponse *)rsp;
	const struct sm_session *s = arg;

	if (code == SM_RPC_OK)
		sm_debug("sm-vmm: %s, ms since its start: main %.1f machine %.1f agent %.1f "
			 "created %.1f started %.1f (guest kernel %s)",
			 i->backend, since_launch(s, i, 0), since_launch(s, i, i->machine_ns),
			 since_launch(s, i, i->agent_ns), since_launch(s, i, i->created_ns),
			 since_launch(s, i, i->started_ns), i->kernel);
	on_answer(arg, code, text, NULL);
}

void sm_session_log_times(struct sm_session *s, uint64_t launched_ns)
{
	Supermachine__Agent__V1__Empty req = SUPERMACHINE__AGENT__V1__EMPTY__INIT;

	s->launched_ns = launched_ns;
	s->answered = false;
	if (s->lost || sm_rpc_send(s->rpc, SM_VMM_SERVICE, "Info", &req.base, NULL, 0,
				   &supermachine__sandbox__v1__info_response__descriptor, on_info,
				   s) < 0)
		return;
	while (!s->answered && !s->lost && !s->interrupted && sm_loop_run(s->loop) == 0)
		;
}

/* ---- readiness ------------------------------------------------------------------------------ */

static void on_ready(void *arg, enum sm_rpc_code code, const char *text,
		     const ProtobufCMessage *rsp)
{
	struct sm_session *s = arg;

	(void)rsp;
	if (code == SM_RPC_OK)
		s->ready(s->ready_arg);
	else
		sm_debug("WaitReady: %s", text);
}

void sm_session_when_ready(struct sm_session *s, const char *id, void (*fn)(void *arg), void *arg)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;

	req.id = (char *)id;
	s->ready = fn;
	s->ready_arg = arg;
	if (!s->lost)
		sm_rpc_send(s->rpc, SM_VMM_SERVICE, "WaitReady", &req.base, NULL, 0, empty,
			    on_ready, s);
}

int sm_session_wait_ready(struct sm_session *s, const char *id, struct sm_err *err)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;
	int r;

	req.id = (char *)id;
	s->deaf = true;
	s->interrupted = 0;
	r = sm_session_call(s, "WaitReady", &req.base, NULL, 0, empty, err);
	s->deaf = false;
	return r;
}

/* ---- following a process -------------------------------------------------------------------- */

static void on_pidfd(void *arg, uint32_t events)
{
	struct sm_session *s = arg;

	(void)events;
	s->ended = true;
	sm_loop_stop(s->loop);
}

static int ask_for_end(struct sm_session *s, struct sm_err *err)
{
	Supermachine__Agent__V1__ProcessRequest req =
		SUPERMACHINE__AGENT__V1__PROCESS_REQUEST__INIT;

	req.id = (char *)s->follow->id;
	req.exec_id = (char *)s->follow->exec_id;
	return send_request(s, "Wait", &req.base, NULL, 0,
			    &supermachine__agent__v1__wait_response__descriptor, err);
}

static bool over(const struct sm_session *s)
{
	return s->follow->pidfd >= 0 ? s->ended : s->answered || s->lost;
}

static int run_until_end(struct sm_session *s, struct sm_err *err)
{
	int r = 0;

	pass_size(s);	/* it may have changed since the process got its size */
	for (size_t i = 0; i < s->nkept; i++)
		forward(s, s->kept[i]);
	s->nkept = 0;
	while (r == 0 && !over(s))
		r = sm_loop_run(s->loop);
	return r < 0 ? sm_err_sys(err, r, "event loop") : 0;
}

int sm_session_follow(struct sm_session *s, const struct sm_follow *follow, uint32_t *status,
		      struct sm_err *err)
{
	struct sm_relay *relay = NULL;
	struct sm_io *io = NULL;
	int r = 0;

	s->follow = follow;
	s->interrupted = 0;
	if (follow->master >= 0)
		r = sm_relay_new(s->loop, follow->master, &relay);
	if (r == 0 && follow->pidfd >= 0)
		r = sm_loop_add(s->loop, follow->pidfd, EPOLLIN, on_pidfd, s, &io);
	if (r < 0)
		sm_err_sys(err, r, "event loop");
	else if (follow->pidfd < 0)
		r = ask_for_end(s, err);
	if (r == 0)
		r = run_until_end(s, err);
	if (r == 0 && follow->pidfd < 0) {
		r = result(s, err);
		*status = s->status;
	}
	sm_loop_remove(s->loop, io);
	sm_relay_free(relay);
	s->follow = NULL;
	return r;
}
