/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/agent.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

struct sm_agent {
	struct sm_loop *loop;
	struct sm_vsock *vs;
	const struct sm_agent_events *events;
	void *arg;
	struct sm_rpc *rpc;
	bool ready;
	bool over;	/* lost() has run */
};

static void lose(struct sm_agent *a, const char *why)
{
	a->ready = false;
	a->over = true;
	sm_rpc_free(a->rpc);
	a->rpc = NULL;
	a->events->lost(a->arg, why);
}

/* Before it has greeted us nothing is lost: on a slow host it gives a connection up and comes
 * again. */
static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct sm_agent *a = arg;

	if (!a->ready) {
		sm_debug("the agent closed its connection before Hello");
		a->rpc = NULL;
		sm_rpc_free(rpc);
		return;
	}
	lose(arg, err ? strerror(err < 0 ? -err : err) : "the agent closed its connection");
}

static void on_hello(void *arg, enum sm_rpc_code code, const char *text,
		     const ProtobufCMessage *rsp)
{
	struct sm_agent *a = arg;

	if (code == SM_RPC_UNAVAILABLE || code == SM_RPC_CANCELLED)
		return;	/* on_closed() tells, or we are being freed */
	if (code != SM_RPC_OK) {
		lose(a, text);
		return;
	}
	a->ready = true;
	a->events->ready(a->arg, (const Supermachine__Agent__V1__HelloResponse *)rsp);
}

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_connect(void *arg, int fd)
{
	Supermachine__Agent__V1__HelloRequest req = SUPERMACHINE__AGENT__V1__HELLO_REQUEST__INIT;
	struct sm_agent *a = arg;

	if (a->rpc || a->over) {
		close(fd);
		return;
	}
	if (sm_rpc_new(a->loop, fd, NULL, NULL, on_closed, a, &a->rpc) < 0)
		return;
	a->events->connected(a->arg);
	req.realtime_ns = realtime_ns();
	if (sm_rpc_send(a->rpc, SM_AGENT_SERVICE, "Hello", &req.base, NULL, 0,
			&supermachine__agent__v1__hello_response__descriptor, on_hello, a) < 0)
		lose(a, "cannot send Hello");
}

int sm_agent_new(struct sm_loop *loop, struct sm_vsock *vs, const struct sm_agent_events *events,
		 void *arg, struct sm_agent **out)
{
	struct sm_agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->loop = loop;
	a->vs = vs;
	a->events = events;
	a->arg = arg;
	r = sm_vsock_listen(vs, SM_AGENT_PORT, on_connect, a);
	if (r < 0) {
		free(a);
		return r;
	}
	*out = a;
	return 0;
}

void sm_agent_free(struct sm_agent *a)
{
	if (!a)
		return;
	sm_vsock_listen(a->vs, SM_AGENT_PORT, NULL, NULL);
	sm_rpc_free(a->rpc);
	free(a);
}

int sm_agent_call(struct sm_agent *a, const char *method, const ProtobufCMessage *req,
		  const ProtobufCMessageDescriptor *out, sm_rpc_done_fn *done, void *arg)
{
	if (!a->ready)
		return -ENOTCONN;
	return sm_rpc_send(a->rpc, SM_AGENT_SERVICE, method, req, NULL, 0, out, done, arg);
}

static void on_clock_set(void *arg, enum sm_rpc_code code, const char *text,
			 const ProtobufCMessage *rsp)
{
	(void)arg;
	(void)rsp;
	if (code != SM_RPC_OK)
		sm_warn("the guest's clock was not set: %s", text);
}

void sm_agent_set_clock(struct sm_agent *a)
{
	Supermachine__Agent__V1__ClockRequest req = SUPERMACHINE__AGENT__V1__CLOCK_REQUEST__INIT;

	req.realtime_ns = realtime_ns();
	sm_agent_call(a, "SetClock", &req.base, &supermachine__agent__v1__empty__descriptor,
		      on_clock_set, NULL);
}
