/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/rpc and src/base/loop when memory runs out: the n-th allocation fails, for each n. Whatever
 * comes of it must be a reply, an error or a closed connection; every callback that was promised
 * runs, and nothing leaks or is used after it was freed (the sanitizer build sees that).
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "proto/ttrpc.pb-c.h"
#include "rpc/ttrpc.h"

#define CALLS      3
#define ROUNDS_MAX 2000

/* The linker gives us the allocations of the code under test (--wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

static int countdown; /* 0: nothing fails */

static int fails(void)
{
	return countdown && --countdown == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

struct world {
	struct sm_loop *loop;
	struct sm_rpc *client, *server;
	struct sm_timer *limit;
	int sent, done, ok;
	bool late;
};

static void check_end(struct world *w)
{
	if (w->done == w->sent)
		sm_loop_stop(w->loop);
}

static void on_limit(void *arg)
{
	struct world *w = arg;

	w->late = true;
	sm_loop_stop(w->loop);
}

static void do_echo(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	sm_rpc_reply(call, req);
}

static const struct sm_rpc_method methods[] = { { "Echo", &ttrpc__key_value__descriptor,
						  do_echo } };
static const struct sm_rpc_service service = { "s", methods, SM_ARRAY_SIZE(methods) };

static void on_done(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	struct world *w = arg;

	assert_true(code == SM_RPC_OK || text[0]);
	w->done++;
	w->ok += code == SM_RPC_OK;
	check_end(w);
}

static void on_server_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct world *w = arg;

	sm_rpc_free(rpc);
	w->server = NULL;
}

static void send_calls(struct world *w)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;

	kv.key = (char *)"key";
	kv.value = (char *)"value";
	for (int i = 0; i < CALLS; i++) {
		int r = sm_rpc_send(w->client, "s", "Echo", &kv.base, &(int){ 0 }, 1,
				    &ttrpc__key_value__descriptor, on_done, w);

		assert_true(r == 0 || r == -ENOMEM || r == -EPIPE);
		w->sent += r == 0;
	}
}

/* One life of a client, a server and their loop. */
static void live(struct world *w, int sv[2])
{
	w->loop = sm_loop_new();
	if (!w->loop)
		return;
	if (sm_timer_add(w->loop, 20000000000u, on_limit, w, &w->limit) == 0 &&
	    sm_rpc_new(w->loop, sm_steal_fd(&sv[0]), &service, w, on_server_closed, w,
		       &w->server) == 0 &&
	    sm_rpc_new(w->loop, sm_steal_fd(&sv[1]), NULL, NULL, NULL, NULL, &w->client) == 0) {
		send_calls(w);
		if (w->sent)
			assert_int_equal(sm_loop_run(w->loop), 0);
	}
	sm_rpc_free(w->client);
	sm_rpc_free(w->server);
	sm_loop_free(w->loop);
	assert_false(w->late);
	assert_int_equal(w->done, w->sent);
}

static void test_each_allocation_fails(void **state)
{
	bool failed = true;
	int n;

	for (n = 1; failed && n < ROUNDS_MAX; n++) {
		struct world w = { 0 };
		int sv[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
		countdown = n;
		live(&w, sv);
		failed = countdown == 0;
		countdown = 0;
		sm_close(&sv[0]);
		sm_close(&sv[1]);
		if (!failed)
			assert_int_equal(w.ok, CALLS);
	}
	assert_false(failed);
	/* it did go through many of them */
	assert_true(n > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_allocation_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
