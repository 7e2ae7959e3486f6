/* SPDX-License-Identifier: Apache-2.0 */
/* src/rpc: calls on a loop, and the blocking client. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "rpc_peer.h"

/* ---- on a loop ---- */

static void send_echo(struct fixture *f, const char *value)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;

	kv.value = (char *)value;
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Echo", &kv.base, NULL, 0,
				     &ttrpc__key_value__descriptor, peer_on_done, f),
			 0);
}

/* The peer reads one request; returns its stream. */
static uint32_t read_request(struct fixture *f, const char *method, size_t nfds)
{
	uint8_t buf[4096];
	int fds[SM_RPC_FDS_MAX];
	size_t n = SM_RPC_FDS_MAX;
	Ttrpc__Request *req;
	uint32_t v[2];
	ssize_t got = sm_recv_fds(f->peer, buf, sizeof(buf), fds, &n);

	assert_true(got > RPC_HEADER_LEN);
	assert_int_equal(n, nfds);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	memcpy(v, buf, sizeof(v));
	assert_int_equal(be32toh(v[0]), got - RPC_HEADER_LEN);
	assert_int_equal(buf[8], RPC_REQUEST);
	req = ttrpc__request__unpack(NULL, be32toh(v[0]), buf + RPC_HEADER_LEN);
	assert_non_null(req);
	assert_string_equal(req->service, SERVICE);
	assert_string_equal(req->method, method);
	ttrpc__request__free_unpacked(req, NULL);
	return be32toh(v[1]);
}

static void put_value(struct sm_buf *b, uint32_t stream, const char *value)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SIZE_MAX);

	kv.value = (char *)value;
	assert_int_equal(rpc_frame_reply(&frame, stream, &kv.base), 0);
	assert_int_equal(sm_buf_put(b, frame.data, frame.len), 0);
}

static void test_call(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	uint32_t one, two;

	send_echo(f, "a");
	one = read_request(f, "Echo", 0);
	send_echo(f, "b");
	two = read_request(f, "Echo", 0);
	assert_int_equal(one, 1);
	assert_int_equal(two, 3);
	put_value(&b, two, "second");
	peer_write(f, &b);
	peer_turn(f);
	peer_turn(f);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->code, SM_RPC_OK);
	assert_string_equal(f->value, "second");
	b.len = 0;
	assert_int_equal(rpc_frame_status(&b, one, SM_RPC_NOT_FOUND, "not here"), 0);
	peer_write(f, &b);
	peer_turn(f);
	peer_turn(f);
	assert_int_equal(f->done, 2);
	assert_int_equal(f->code, SM_RPC_NOT_FOUND);
	assert_string_equal(f->text, "not here");
}

static void test_bad_responses(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	for (int i = 0; i < 3; i++) {
		send_echo(f, "x");
		read_request(f, "Echo", 0);
	}
	peer_put_frame(&b, 2, 1, RPC_RESPONSE, "\x12\x7f", 2);
	peer_put_frame(&b, 4, 3, RPC_RESPONSE, "\x12\x02\x0a\x7f", 4);
	peer_write(f, &b);
	peer_turn(f);
	peer_turn(f);
	assert_int_equal(f->done, 2);
	assert_int_equal(f->code, SM_RPC_INTERNAL);
	assert_string_equal(f->text, "the response is no ttrpc.KeyValue");
	peer_feed(f, SM_RPC_FRAME_MAX + 1, 5, RPC_RESPONSE);
	assert_int_equal(f->done, 3);
	assert_int_equal(f->code, SM_RPC_RESOURCE_EXHAUSTED);
	assert_false(f->closed);
}

/* Calls pending on both sides when the peer vanishes. */
static void test_peer_vanishes(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Hold", "", "");
	send_echo(f, "a");
	send_echo(f, "b");
	peer_turn(f);
	peer_turn(f);
	assert_int_equal(f->nheld, 1);
	sm_close(&f->peer);
	peer_run_until(f, &f->closed);
	assert_int_equal(f->done, 2);
	assert_int_equal(f->code, SM_RPC_UNAVAILABLE);
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Echo",
				     &(Ttrpc__KeyValue)TTRPC__KEY_VALUE__INIT.base, NULL, 0,
				     &ttrpc__key_value__descriptor, peer_on_done, f),
			 -EPIPE);
}

static void test_free_in_done(void **state)
{
	struct fixture *f = *state;

	f->free_in_done = true;
	send_echo(f, "a");
	sm_close(&f->peer);
	for (int i = 0; i < 3; i++)
		peer_turn(f);
	assert_int_equal(f->done, 1);
	assert_null(f->rpc);
	assert_false(f->closed);
}

static void test_free_ends_calls(void **state)
{
	struct fixture *f = *state;

	send_echo(f, "a");
	send_echo(f, "b");
	sm_rpc_free(f->rpc);
	f->rpc = NULL;
	assert_int_equal(f->done, 2);
	assert_int_equal(f->code, SM_RPC_CANCELLED);
	assert_false(f->closed);
}

static void test_call_with_fds(void **state)
{
	struct fixture *f = *state;
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	int fds[2] = { f->peer, f->peer };

	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Take", &kv.base, fds, 2,
				     &ttrpc__key_value__descriptor, peer_on_done, f),
			 0);
	assert_int_equal(read_request(f, "Take", 2), 1);
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Take", &kv.base, fds, SM_RPC_FDS_MAX + 1,
				     &ttrpc__key_value__descriptor, peer_on_done, f),
			 -EINVAL);
}

/* Descriptors of a request that has to wait for room are duplicated at once. */
static void test_call_with_fds_queued(void **state)
{
	struct fixture *f = *state;
	static char value[1 << 20];
	static uint8_t sink[1 << 16];
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	int fds[SM_RPC_FDS_MAX];
	size_t total = 0, nfds = 0;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	memset(value, 'v', sizeof(value) - 1);
	kv.value = value;
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Echo", &kv.base, NULL, 0,
				     &ttrpc__key_value__descriptor, peer_on_done, f),
			 0);
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Take", &kv.base, &fd, 1,
				     &ttrpc__key_value__descriptor, peer_on_done, f),
			 0);
	close(fd);
	while (nfds == 0) {
		ssize_t n;

		peer_run_until_readable(f);
		nfds = SM_ARRAY_SIZE(fds);
		n = sm_recv_fds(f->peer, sink, sizeof(sink), fds, &nfds);
		assert_true(n > 0);
		total += (size_t)n;
	}
	assert_true(total > sizeof(value));
	assert_int_equal(nfds, 1);
	assert_true(fcntl(fds[0], F_GETFD) >= 0);
	close(fds[0]);
}

/* ---- the blocking client ---- */

static void *run_loop(void *arg)
{
	struct fixture *f = arg;

	return (void *)(intptr_t)sm_loop_run(f->loop);
}

/* The fixture's connection serves in a thread of its own while the test calls from this one. */
static pthread_t serve(struct fixture *f)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_loop, f), 0);
	return thread;
}

static void end_serving(struct fixture *f, pthread_t thread)
{
	assert_int_equal(sm_loop_post(f->loop, peer_stop, f->loop), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static int call(int fd, uint32_t *stream, const char *method, const char *key, int timeout_ms,
		Ttrpc__KeyValue **rsp, struct sm_err *err)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	ProtobufCMessage *msg = NULL;
	int r;

	kv.key = (char *)key;
	kv.value = (char *)key;
	r = sm_rpc_call(fd, stream, SERVICE, method, &kv.base, NULL, 0,
			&ttrpc__key_value__descriptor, timeout_ms, &msg, err);
	*rsp = (Ttrpc__KeyValue *)msg;
	return r;
}

static void test_sync(void **state)
{
	struct fixture *f = *state;
	pthread_t thread = serve(f);
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	Ttrpc__KeyValue *rsp = NULL;
	uint32_t stream = 0;

	assert_int_equal(call(f->peer, &stream, "Echo", "hello", -1, &rsp, &err), 0);
	assert_string_equal(rsp->value, "hello");
	ttrpc__key_value__free_unpacked(rsp, NULL);
	assert_int_equal(call(f->peer, &stream, "Fail", "web1", WAIT_MS, &rsp, &err), -ENOENT);
	assert_string_equal(sm_err_text(&err), "no \"web1\": \xef\xbf\xbd");
	assert_int_equal(call(f->peer, &stream, "None", "", WAIT_MS, &rsp, NULL), -ENOSYS);
	assert_int_equal(call(f->peer, &stream, "Flood", "1048576", WAIT_MS, &rsp, &err), 0);
	assert_int_equal(strlen(rsp->value), 1048576);
	ttrpc__key_value__free_unpacked(rsp, NULL);
	assert_int_equal(stream, 7);
	assert_int_equal(fcntl(f->peer, F_GETFL) & O_NONBLOCK, 0);
	end_serving(f, thread);
}

static void test_sync_timeout(void **state)
{
	struct fixture *f = *state;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	Ttrpc__KeyValue *rsp = NULL;
	uint64_t begin = sm_now_ns();
	uint32_t stream = 0;
	pthread_t thread;

	/* nobody runs the loop */
	assert_int_equal(call(f->peer, &stream, "Echo", "late", 30, &rsp, &err), -ETIMEDOUT);
	assert_true(sm_now_ns() - begin >= 30000000u);
	assert_string_equal(sm_err_text(&err), "Echo: connection timed out");
	/* the first response still comes, and is not taken for the second */
	thread = serve(f);
	assert_int_equal(call(f->peer, &stream, "Echo", "next", WAIT_MS, &rsp, &err), 0);
	assert_string_equal(rsp->value, "next");
	ttrpc__key_value__free_unpacked(rsp, NULL);
	end_serving(f, thread);
}

static void test_sync_torn_response(void **state)
{
	struct fixture *f = *state;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	Ttrpc__KeyValue *rsp = NULL;
	uint32_t stream = 0;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(sm_write_full(sv[1], "\0\0\0\4\0\0", 6), 0);
	assert_int_equal(call(sv[0], &stream, "Echo", "", 20, &rsp, &err), -ETIMEDOUT);
	/* in the middle of a frame there is no way on */
	assert_int_equal(call(sv[0], &stream, "Echo", "", WAIT_MS, &rsp, &err), -ECONNRESET);
	assert_false(f->closed);
	close(sv[0]);
	close(sv[1]);
}

static void test_sync_peer_gone(void **state)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	Ttrpc__KeyValue *rsp = NULL;
	uint32_t stream = 0;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(shutdown(sv[1], SHUT_WR), 0);
	assert_int_equal(call(sv[0], &stream, "Echo", "", WAIT_MS, &rsp, &err), -ECONNRESET);
	assert_string_equal(sm_err_text(&err), "Echo: connection reset by peer");
	close(sv[1]);
	assert_int_equal(call(sv[0], &stream, "Echo", "", WAIT_MS, &rsp, &err), -ECONNRESET);
	close(sv[0]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_call),
		CASE(test_bad_responses),
		CASE(test_peer_vanishes),
		CASE(test_free_in_done),
		CASE(test_free_ends_calls),
		CASE(test_call_with_fds),
		CASE(test_call_with_fds_queued),
		CASE(test_sync),
		CASE(test_sync_timeout),
		CASE(test_sync_torn_response),
		CASE(test_sync_peer_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
