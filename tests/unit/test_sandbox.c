/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"
#include "hv/agent.h"
#include "hv/proc.h"
#include "hv/sandbox.h"
#include "proto/sandbox.pb-c.h"
#include "rpc/ttrpc.h"

/*
 * The containers of a VM, between a launcher and an agent that does not do as it should. There is
 * no VM: the agent's stream is a socket pair, of the devices there are the calls that follow.
 */
#define ID       "box"
#define WAITS    1000
#define TICK_NS  1000000ull
#define LIMIT_NS (60ull * 1000000000)

struct world {
	struct sm_loop *loop;
	struct sm_console *console;
	struct sm_sandbox *sb;
	struct sm_rpc *launcher, *agent;
	struct sm_rpc_call *waiting; /* Wait, at the agent */
	int guest_fd;                /* of the console */
	bool finished;
	int status;
	unsigned int answers, failures; /* that the launcher got */
};

/* ---- devices ---- */

static sm_vsock_accept_fn *accept_agent;
static void *accept_arg;
static uint64_t tx_bytes; /* what the guest has said so far … */
static bool talks;        /* … and it goes on */

int sm_vsock_listen(struct sm_vsock *vs, uint32_t port, sm_vsock_accept_fn *fn, void *arg)
{
	assert_int_equal(port, SM_AGENT_PORT);
	accept_agent = fn;
	accept_arg = arg;
	return 0;
}

void sm_vsock_counters(const struct sm_vsock *vs, struct sm_vsock_counters *out)
{
	tx_bytes += talks;
	*out = (struct sm_vsock_counters){ .tx_bytes = tx_bytes };
}

uint32_t sm_vsock_port(struct sm_vsock *vs)
{
	return 1u << 20;
}

int sm_vsock_expect(struct sm_vsock *vs, uint32_t port, const struct sm_vsock_stream *s)
{
	return -ENOSPC;
}

int sm_vsock_abort(struct sm_vsock *vs, uint32_t port)
{
	return -ENOENT;
}

int sm_vsock_drain(struct sm_vsock *vs, uint32_t port, sm_vsock_drained_fn *fn, void *arg)
{
	return -ENOENT;
}

void sm_vsock_ports(struct sm_vsock *vs, sm_vsock_port_fn *fn, void *arg)
{
}

int sm_fs_add_export(struct sm_fs *fs, const char *name, int fd, bool readonly)
{
	return -ENOSPC;
}

int sm_fs_remove_export(struct sm_fs *fs, const char *name)
{
	return -ENOENT;
}

/* ---- the agent ---- */

static void hello(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	Supermachine__Agent__V1__HelloResponse rsp = SUPERMACHINE__AGENT__V1__HELLO_RESPONSE__INIT;

	sm_rpc_reply(call, &rsp.base);
}

static void agree(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	Supermachine__Agent__V1__Empty rsp = SUPERMACHINE__AGENT__V1__EMPTY__INIT;

	sm_rpc_reply(call, &rsp.base);
}

static void hold(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	((struct world *)arg)->waiting = call;
}

static void refuse(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	sm_rpc_fail(call, SM_RPC_UNIMPLEMENTED, "no");
}

static const struct sm_rpc_method methods[] = {
	{ "Hello", &supermachine__agent__v1__hello_request__descriptor, hello },
	{ "CreateContainer", &supermachine__agent__v1__create_container_request__descriptor,
	  agree },
	{ "Signal", &supermachine__agent__v1__signal_request__descriptor, agree },
	{ "Wait", &supermachine__agent__v1__process_request__descriptor, hold },
	{ "WaitOom", &supermachine__agent__v1__wait_oom_request__descriptor, refuse },
};

static const struct sm_rpc_service agent_service = { SM_AGENT_SERVICE, methods,
						     SM_ARRAY_SIZE(methods) };

/* Its end of a stream to sm-vmm, which has taken the other. */
static int connect_agent(void)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	accept_agent(accept_arg, sv[1]);
	return sv[0];
}

static void start_agent(struct world *w)
{
	assert_int_equal(
		sm_rpc_new(w->loop, connect_agent(), &agent_service, w, NULL, NULL, &w->agent), 0);
}

static void lose_agent(struct world *w)
{
	sm_rpc_free(w->agent);
	w->agent = NULL;
}

/* ---- the launcher ---- */

static void on_answer(void *arg, enum sm_rpc_code code, const char *text,
		      const ProtobufCMessage *rsp)
{
	struct world *w = arg;

	w->answers++;
	w->failures += code != SM_RPC_OK;
}

static void ask(struct world *w, const char *method, const ProtobufCMessage *req,
		const ProtobufCMessageDescriptor *out)
{
	assert_int_equal(sm_rpc_send(w->launcher, "supermachine.sandbox.v1.Sandbox", method, req,
				     NULL, 0, out, on_answer, w),
			 0);
}

static void ask_wait(struct world *w)
{
	Supermachine__Agent__V1__ProcessRequest req =
		SUPERMACHINE__AGENT__V1__PROCESS_REQUEST__INIT;

	req.id = (char *)ID;
	ask(w, "Wait", &req.base, &supermachine__agent__v1__wait_response__descriptor);
}

static void ask_kill(struct world *w)
{
	Supermachine__Agent__V1__SignalRequest req = SUPERMACHINE__AGENT__V1__SIGNAL_REQUEST__INIT;

	req.id = (char *)ID;
	req.signal = SIGKILL;
	ask(w, "Signal", &req.base, &supermachine__agent__v1__empty__descriptor);
}

static void stop(void *arg)
{
	sm_loop_stop(arg);
}

static void turn(struct world *w)
{
	assert_int_equal(sm_loop_post(w->loop, stop, w->loop), 0);
	assert_int_equal(sm_loop_run(w->loop), 0);
}

static void until(struct world *w, const unsigned int *n, unsigned int value)
{
	uint64_t limit = sm_now_ns() + LIMIT_NS;

	while (*n < value) {
		assert_true(sm_now_ns() < limit);
		turn(w);
	}
}

static void on_finished(void *arg, int status)
{
	struct world *w = arg;

	w->finished = true;
	w->status = status;
	sm_loop_stop(w->loop);
}

static void until_finished(struct world *w)
{
	uint64_t limit = sm_now_ns() + LIMIT_NS;

	while (!w->finished) {
		assert_true(sm_now_ns() < limit);
		turn(w);
	}
}

static int freeze(void *arg, bool frozen)
{
	return 0;
}

/* ---- */

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sm_sandbox_config c = { .backend = "none",
				       .listen_fd = -1,
				       .arg = w,
				       .boot_timeout_ns = LIMIT_NS,
				       .kill_tick_ns = TICK_NS,
				       .freeze = freeze,
				       .finished = on_finished };
	int sv[2];

	w->loop = sm_loop_new();
	assert_int_equal(sm_console_new(w->loop, AT_FDCWD, "/dev/null", &w->guest_fd, &w->console),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	c.loop = w->loop;
	c.console = w->console;
	c.control_fd = sv[1];
	assert_int_equal(sm_rpc_new(w->loop, sv[0], NULL, NULL, NULL, NULL, &w->launcher), 0);
	tx_bytes = 0;
	talks = false;
	assert_int_equal(sm_sandbox_new(&c, &w->sb), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sm_sandbox_free(w->sb);
	if (w->waiting)
		sm_rpc_fail(w->waiting, SM_RPC_CANCELLED, "over");
	sm_rpc_free(w->agent);
	sm_rpc_free(w->launcher);
	sm_console_free(w->console);
	close(w->guest_fd);
	sm_loop_free(w->loop);
	free(w);
	return 0;
}

/* A container that runs, and has a request for its end at the agent. */
static void make_container(struct world *w)
{
	Supermachine__Agent__V1__Container container = SUPERMACHINE__AGENT__V1__CONTAINER__INIT;
	Supermachine__Sandbox__V1__CreateRequest req =
		SUPERMACHINE__SANDBOX__V1__CREATE_REQUEST__INIT;

	start_agent(w);
	container.id = (char *)ID;
	req.container = &container;
	ask(w, "Create", &req.base, &supermachine__agent__v1__empty__descriptor);
	until(w, &w->answers, 1);
	assert_int_equal(w->failures, 0);
	while (!w->waiting)
		turn(w);
}

static void end_container(struct world *w, uint32_t status)
{
	Supermachine__Agent__V1__WaitResponse rsp = SUPERMACHINE__AGENT__V1__WAIT_RESPONSE__INIT;

	rsp.status = status;
	sm_rpc_reply(w->waiting, &rsp.base);
	w->waiting = NULL;
}

static void test_many_who_wait(void **state)
{
	struct world *w = *state;

	make_container(w);
	for (int i = 0; i < WAITS; i++)
		ask_wait(w);
	turn(w);
	end_container(w, 5 << 8);
	until_finished(w);
	assert_int_equal(w->status, 5);
	until(w, &w->answers, 1 + WAITS);
	assert_int_equal(w->failures, 0);
}

/* What was asked of it is lost with it: it does not come again, and who waits is told. */
static void test_agent_that_hangs_up(void **state)
{
	struct world *w = *state;
	char byte;
	int fd;

	/* before Hello it may */
	fd = connect_agent();
	turn(w);
	close(fd);
	turn(w);
	make_container(w);
	ask_wait(w);
	turn(w);
	lose_agent(w);
	for (int i = 0; i < 10; i++)
		turn(w);
	fd = connect_agent();
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
	until_finished(w);
	assert_int_equal(w->status, 255);
	until(w, &w->answers, 2);
	assert_int_equal(w->failures, 1);
}

/* It takes SIGKILL and does nothing; while it says something it gets more time, but not for ever.
 */
static void test_guest_that_does_not_end(void **state)
{
	struct world *w = *state;

	make_container(w);
	ask_kill(w);
	until_finished(w);
	assert_int_equal(w->status, 128 + SIGKILL);
}

static void test_guest_that_talks_on(void **state)
{
	struct world *w = *state;

	make_container(w);
	talks = true;
	ask_kill(w);
	until_finished(w);
	assert_int_equal(w->status, 128 + SIGKILL);
	assert_true(tx_bytes > 20); /* it had its time */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_many_who_wait),
		T(test_agent_that_hangs_up),
		T(test_guest_that_does_not_end),
		T(test_guest_that_talks_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
