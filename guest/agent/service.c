/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clean.h"
#include "guest/agent/guest.h"
#include "guest/agent/notify.h"
#include "guest/agent/requests.h"
#include "guest/agent/reply.h"
#include "guest/agent/resources.h"
#include "guest/agent/vm.h"
#include "proto/agent.pb-c.h"

/* The host has this long to hang up after Shutdown was answered. */
#define BYE_NS UINT64_C(200000000)

static void hello(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	const Supermachine__Agent__V1__HelloRequest *h = (const void *)req;
	Supermachine__Agent__V1__HelloResponse rsp = SUPERMACHINE__AGENT__V1__HELLO_RESPONSE__INIT;
	char version[] = PACKAGE_VERSION;
	struct sm_guest *g = arg;
	struct utsname uts;

	uname(&uts);
	sm_vm_set_clock(g, h->realtime_ns);
	rsp.version = version;
	rsp.kernel = uts.release;
	rsp.uptime_ns = g->began_ns;
	sm_rpc_reply(call, &rsp.base);
}

static void on_set_clock(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	const Supermachine__Agent__V1__ClockRequest *c = (const void *)req;

	sm_vm_correct_clock(arg, c->realtime_ns);
	sm_reply_empty(call);
}

static void bye(void *arg)
{
	sm_vm_end(arg);
}

static void on_shutdown(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	struct sm_guest *g = arg;

	(void)req;
	sync();
	sm_reply_empty(call);
	g->ending = true;
	if (sm_timer_add(g->loop, BYE_NS, bye, g, &g->bye) < 0)
		bye(g);
}

/* A handler that passes the decoded request on as the type that the table says it is. */
#define HANDLER(name)                                                                       \
	static void on_##name(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req) \
	{                                                                                   \
		sm_request_##name(arg, call, (const void *)req);                          \
	}

HANDLER(create)
HANDLER(start)
HANDLER(exec)
HANDLER(wait)
HANDLER(signal)
HANDLER(resize)
HANDLER(stats)
HANDLER(update)
HANDLER(wait_oom)
HANDLER(wait_ready)
HANDLER(delete)
HANDLER(processes)

static const struct sm_rpc_method methods[] = {
	{ "Hello", &supermachine__agent__v1__hello_request__descriptor, hello },
	{ "CreateContainer", &supermachine__agent__v1__create_container_request__descriptor,
	  on_create },
	{ "StartContainer", &supermachine__agent__v1__container_request__descriptor, on_start },
	{ "Exec", &supermachine__agent__v1__exec_request__descriptor, on_exec },
	{ "Wait", &supermachine__agent__v1__process_request__descriptor, on_wait },
	{ "Signal", &supermachine__agent__v1__signal_request__descriptor, on_signal },
	{ "Resize", &supermachine__agent__v1__resize_request__descriptor, on_resize },
	{ "Stats", &supermachine__agent__v1__container_request__descriptor, on_stats },
	{ "Update", &supermachine__agent__v1__update_request__descriptor, on_update },
	{ "WaitOom", &supermachine__agent__v1__wait_oom_request__descriptor, on_wait_oom },
	{ "WaitReady", &supermachine__agent__v1__container_request__descriptor, on_wait_ready },
	{ "DeleteContainer", &supermachine__agent__v1__container_request__descriptor, on_delete },
	{ "Processes", &supermachine__agent__v1__container_request__descriptor, on_processes },
	{ "SetClock", &supermachine__agent__v1__clock_request__descriptor, on_set_clock },
	{ "Shutdown", &supermachine__agent__v1__empty__descriptor, on_shutdown },
};

const struct sm_rpc_service sm_guest_service = {
	.name = "supermachine.agent.v1.Agent",
	.methods = methods,
	.nmethods = SM_ARRAY_SIZE(methods),
};
