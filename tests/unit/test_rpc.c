/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/rpc: a connection against a peer that the test plays by hand, byte by byte, on the other end
 * of a socket pair; the blocking client; the server.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "proto/ttrpc.pb-c.h"
#include "rpc/frame.h"
#include "rpc/ttrpc.h"

#define SERVICE "test.v1.Test"
#define WAIT_MS 20000 /* a test that waits that long has failed */

/* ---- a service, whose messages are ttrpc's KeyValue for want of simpler ones ---- */

struct fixture {
	struct sm_loop *loop;
	struct sm_rpc *rpc;
	int peer; /* our end of the pair: blocking */
	struct sm_rpc_call *held[SM_RPC_INFLIGHT_MAX + 1];
	size_t nheld;
	int served;
	bool free_in_handler;
	int passed[SM_RPC_FDS_MAX];
	size_t npassed;
	bool closed;
	int closed_err;
	bool free_in_closed;

	int done;
	enum sm_rpc_code code;
	char text[256];
	char value[256];
	bool free_in_done;
};

static void reply_value(struct sm_rpc_call *call, const char *key, const char *value)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;

	kv.key = (char *)key;
	kv.value = (char *)value;
	sm_rpc_reply(call, &kv.base);
}

static void do_echo(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	const Ttrpc__KeyValue *kv = (const Ttrpc__KeyValue *)req;
	struct fixture *f = arg;

	f->served++;
	assert_ptr_equal(sm_rpc_call_conn(call), f->rpc);
	if (f->free_in_handler) {
		sm_rpc_free(f->rpc);
		f->rpc = NULL;
		assert_null(sm_rpc_call_conn(call));
	}
	reply_value(call, kv->key, kv->value);
}

static void do_fail(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	sm_rpc_fail(call, SM_RPC_NOT_FOUND, "no \"%s\": \xff", ((const Ttrpc__KeyValue *)req)->key);
}

static void do_hold(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	struct fixture *f = arg;

	f->held[f->nheld++] = call;
}

/* Takes the first descriptor of those that came and leaves the others. */
static void do_take(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	struct fixture *f = arg;
	char text[32];

	f->npassed = sm_rpc_call_nfds(call);
	f->passed[0] = sm_rpc_call_fd(call, 0);
	assert_int_equal(sm_rpc_call_fd(call, 0), -1);
	assert_int_equal(sm_rpc_call_fd(call, f->npassed), -1);
	snprintf(text, sizeof(text), "%zu", f->npassed);
	reply_value(call, "nfds", text);
}

/* Answers with far more than fits a frame. */
static void do_flood(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	size_t len = strtoul(((const Ttrpc__KeyValue *)req)->value, NULL, 10);
	sm_auto_free char *value = malloc(len + 1);

	assert_non_null(value);
	memset(value, 'x', len);
	value[len] = 0;
	reply_value(call, "flood", value);
}

static const struct sm_rpc_method methods[] = {
	{ "Echo", &ttrpc__key_value__descriptor, do_echo },
	{ "Fail", &ttrpc__key_value__descriptor, do_fail },
	{ "Hold", &ttrpc__key_value__descriptor, do_hold },
	{ "Take", &ttrpc__key_value__descriptor, do_take },
	{ "Flood", &ttrpc__key_value__descriptor, do_flood },
};

static const struct sm_rpc_service service = { SERVICE, methods, SM_ARRAY_SIZE(methods) };

/* ---- running the loop until something is so ---- */

struct watch {
	struct sm_loop *loop;
	bool late;
	bool ready;
};

static void on_late(void *arg)
{
	struct watch *w = arg;

	w->late = true;
	sm_loop_stop(w->loop);
}

static void on_ready(void *arg, uint32_t events)
{
	struct watch *w = arg;

	w->ready = true;
	sm_loop_stop(w->loop);
}

static void stop(void *arg)
{
	sm_loop_stop(arg);
}

/* One turn: what is ready now is handled. */
static void turn(struct fixture *f)
{
	assert_int_equal(sm_loop_post(f->loop, stop, f->loop), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
}

/* Runs until the peer's end has something to read. */
static void run_until_readable(struct fixture *f)
{
	struct watch w = { f->loop };
	struct sm_timer *timer;
	struct sm_io *io;

	assert_int_equal(sm_timer_add(f->loop, WAIT_MS * 1000000ull, on_late, &w, &timer), 0);
	assert_int_equal(sm_loop_add(f->loop, f->peer, EPOLLIN, on_ready, &w, &io), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
	sm_loop_remove(f->loop, io);
	sm_timer_remove(f->loop, timer);
	assert_false(w.late);
}

static void run_until(struct fixture *f, const bool *flag)
{
	uint64_t limit = sm_now_ns() + WAIT_MS * 1000000ull;

	while (!*flag) {
		assert_true(sm_now_ns() < limit);
		turn(f);
	}
}

/* ---- the peer's hand ---- */

static void put_frame(struct sm_buf *b, uint32_t len, uint32_t stream, uint8_t type,
		      const void *body, size_t n)
{
	uint32_t head[2] = { htobe32(len), htobe32(stream) };
	uint8_t tail[2] = { type, 0 };

	assert_int_equal(sm_buf_put(b, head, sizeof(head)), 0);
	assert_int_equal(sm_buf_put(b, tail, sizeof(tail)), 0);
	assert_int_equal(sm_buf_put(b, body, n), 0);
}

static void put_request(struct sm_buf *b, uint32_t stream, const char *service_name,
			const char *method, const char *key, const char *value)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SIZE_MAX);

	kv.key = (char *)key;
	kv.value = (char *)value;
	assert_int_equal(rpc_frame_request(&frame, stream, service_name, method, &kv.base), 0);
	assert_int_equal(sm_buf_put(b, frame.data, frame.len), 0);
}

static void peer_write(struct fixture *f, const struct sm_buf *b)
{
	assert_int_equal(sm_write_full(f->peer, b->data, b->len), 0);
}

static void request(struct fixture *f, uint32_t stream, const char *method, const char *key,
		    const char *value)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	put_request(&b, stream, SERVICE, method, key, value);
	peer_write(f, &b);
}

/* The peer reads a frame. To be freed by ttrpc__response__free_unpacked(). */
static Ttrpc__Response *read_response(struct fixture *f, uint32_t *stream)
{
	uint8_t head[RPC_HEADER_LEN];
	sm_auto_free uint8_t *body = NULL;
	Ttrpc__Response *rsp;
	uint32_t v[2];

	run_until_readable(f);
	assert_int_equal(sm_read_full(f->peer, head, sizeof(head)), 0);
	memcpy(v, head, sizeof(v));
	assert_int_equal(head[8], RPC_RESPONSE);
	assert_int_equal(head[9], 0);
	*stream = be32toh(v[1]);
	body = malloc(be32toh(v[0]) + 1);
	assert_non_null(body);
	assert_int_equal(sm_read_full(f->peer, body, be32toh(v[0])), 0);
	rsp = ttrpc__response__unpack(NULL, be32toh(v[0]), body);
	assert_non_null(rsp);
	return rsp;
}

static void want_value(struct fixture *f, uint32_t stream, const char *value)
{
	uint32_t got;
	Ttrpc__Response *rsp = read_response(f, &got);
	Ttrpc__KeyValue *kv;

	assert_int_equal(got, stream);
	assert_null(rsp->status);
	kv = ttrpc__key_value__unpack(NULL, rsp->payload.len, rsp->payload.data);
	assert_non_null(kv);
	assert_string_equal(kv->value, value);
	ttrpc__key_value__free_unpacked(kv, NULL);
	ttrpc__response__free_unpacked(rsp, NULL);
}

static void want_status(struct fixture *f, uint32_t stream, enum sm_rpc_code code,
			  const char *text)
{
	uint32_t got;
	Ttrpc__Response *rsp = read_response(f, &got);

	assert_int_equal(got, stream);
	assert_non_null(rsp->status);
	assert_int_equal(rsp->status->code, code);
	if (text)
		assert_string_equal(rsp->status->message, text);
	ttrpc__response__free_unpacked(rsp, NULL);
}

/* ---- the fixture ---- */

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct fixture *f = arg;

	assert_false(f->closed);
	f->closed = true;
	f->closed_err = err;
	if (f->free_in_closed) {
		sm_rpc_free(rpc);
		f->rpc = NULL;
	}
}

static void on_done(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	struct fixture *f = arg;

	assert_false(f->closed);
	f->done++;
	f->code = code;
	snprintf(f->text, sizeof(f->text), "%s", text);
	assert_int_equal(rsp != NULL, code == SM_RPC_OK);
	if (rsp)
		snprintf(f->value, sizeof(f->value), "%s", ((const Ttrpc__KeyValue *)rsp)->value);
	if (f->free_in_done) {
		sm_rpc_free(f->rpc);
		f->rpc = NULL;
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int sv[2];

	assert_non_null(f);
	f->loop = sm_loop_new();
	assert_non_null(f->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	f->peer = sv[1];
	assert_int_equal(sm_rpc_new(f->loop, sv[0], &service, f, on_closed, f, &f->rpc), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sm_rpc_free(f->rpc);
	for (size_t i = 0; i < f->nheld; i++)
		sm_rpc_fail(f->held[i], SM_RPC_CANCELLED, "the test ends");
	sm_loop_free(f->loop);
	sm_close(&f->peer);
	free(f);
	return 0;
}

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void send_echo(struct fixture *f, const char *value)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;

	kv.value = (char *)value;
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Echo", &kv.base, NULL, 0,
				     &ttrpc__key_value__descriptor, on_done, f),
			 0);
}

/* ---- serving ---- */

static void test_echo(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Echo", "k", "hello");
	want_value(f, 1, "hello");
	request(f, 3, "Echo", "k", "");
	want_value(f, 3, "");
}

static void test_split_at_every_byte(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	uint32_t stream = 1;
	size_t len = 1;

	for (size_t cut = 0; cut < len; cut++, stream += 2) {
		b.len = 0;
		put_request(&b, stream, SERVICE, "Echo", "k", "split");
		len = b.len;
		assert_int_equal(sm_write_full(f->peer, b.data, cut), 0);
		turn(f);
		assert_int_equal(f->served, (stream - 1) / 2);
		assert_int_equal(sm_write_full(f->peer, b.data + cut, b.len - cut), 0);
		want_value(f, stream, "split");
	}
}

static void test_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	put_request(&b, 1, SERVICE, "Echo", "k", "slow");
	for (size_t i = 0; i < b.len; i++) {
		assert_int_equal(f->served, 0);
		assert_int_equal(sm_write_full(f->peer, b.data + i, 1), 0);
		turn(f);
	}
	want_value(f, 1, "slow");
}

static void test_two_in_one_write(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	put_request(&b, 1, SERVICE, "Echo", "k", "one");
	put_request(&b, 3, SERVICE, "Echo", "k", "two");
	peer_write(f, &b);
	want_value(f, 1, "one");
	want_value(f, 3, "two");
}

static void test_late_replies_in_any_order(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Hold", "", "");
	request(f, 3, "Hold", "", "");
	request(f, 5, "Echo", "", "between");
	want_value(f, 5, "between");
	assert_int_equal(f->nheld, 2);
	reply_value(f->held[1], "", "second");
	reply_value(f->held[0], "", "first");
	f->nheld = 0;
	want_value(f, 3, "second");
	want_value(f, 1, "first");
}

static void test_unimplemented(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	put_request(&b, 1, "other.v1.Other", "Echo", "", "");
	put_request(&b, 3, SERVICE, "Nothing", "", "");
	peer_write(f, &b);
	want_status(f, 1, SM_RPC_UNIMPLEMENTED, "unknown service \"other.v1.Other\"");
	want_status(f, 3, SM_RPC_UNIMPLEMENTED, "unknown method \"Nothing\" of " SERVICE);
	assert_int_equal(f->served, 0);
}

static void test_failure_text_is_utf8(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Fail", "web1", "");
	want_status(f, 1, SM_RPC_NOT_FOUND, "no \"web1\": \xef\xbf\xbd");
}

static void test_bad_stream_ids(void **state)
{
	struct fixture *f = *state;

	request(f, 2, "Echo", "", "");
	want_status(f, 2, SM_RPC_INVALID_ARGUMENT, NULL);
	request(f, 0, "Echo", "", "");
	want_status(f, 0, SM_RPC_INVALID_ARGUMENT, NULL);
	request(f, 7, "Echo", "", "ok");
	want_value(f, 7, "ok");
	request(f, 7, "Echo", "", "");
	want_status(f, 7, SM_RPC_INVALID_ARGUMENT, NULL);
	request(f, 5, "Echo", "", "");
	want_status(f, 5, SM_RPC_INVALID_ARGUMENT, NULL);
	request(f, 0xffffffff, "Echo", "", "last");
	want_value(f, 0xffffffff, "last");
	assert_int_equal(f->served, 2);
}

static void test_bad_requests(void **state)
{
	static const uint8_t torn[] = { 0x0a, 0x7f, 'x' };
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	Ttrpc__Request envelope = TTRPC__REQUEST__INIT;
	uint8_t body[128];
	size_t len;

	put_frame(&b, 0, 1, RPC_REQUEST, "", 0);
	put_frame(&b, sizeof(torn), 3, RPC_REQUEST, torn, sizeof(torn));
	envelope.service = (char *)SERVICE;
	envelope.method = (char *)"Echo";
	envelope.payload.data = (uint8_t *)torn;
	envelope.payload.len = sizeof(torn);
	len = ttrpc__request__pack(&envelope, body);
	put_frame(&b, (uint32_t)len, 5, RPC_REQUEST, body, len);
	peer_write(f, &b);
	want_status(f, 1, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	want_status(f, 3, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	want_status(f, 5, SM_RPC_INVALID_ARGUMENT, "the request is no ttrpc.KeyValue");
	assert_int_equal(f->served, 0);
}

/* Two bytes on the wire can stand for a hundred in memory. */
static void test_memory_bomb(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t len = 2u << 20;
	sm_auto_free uint8_t *body = malloc(len);

	assert_non_null(body);
	for (size_t i = 0; i < len; i += 2) {
		body[i] = 0x2a; /* metadata = 5, a KeyValue … */
		body[i + 1] = 0; /* … with nothing in it */
	}
	put_frame(&b, (uint32_t)len, 1, RPC_REQUEST, body, len);
	assert_null(rpc_unpack(&ttrpc__request__descriptor, body, len));
	assert_int_equal(sm_set_nonblock(f->peer), 0);
	for (size_t done = 0; done < b.len;) {
		ssize_t n = write(f->peer, b.data + done, b.len - done);

		if (n > 0)
			done += (size_t)n;
		turn(f);
	}
	assert_int_equal(fcntl(f->peer, F_SETFL, 0), 0);
	want_status(f, 1, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
}

static void test_unknown_frame_types(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	put_frame(&b, 3, 1, 3, "abc", 3);
	put_frame(&b, 0, 1, 0, "", 0);
	put_frame(&b, 5, 9, 0xff, "abcde", 5);
	put_frame(&b, 2, 1, RPC_RESPONSE, "\x12\x00", 2); /* nobody waits for it */
	put_request(&b, 1, SERVICE, "Echo", "", "still there");
	peer_write(f, &b);
	want_value(f, 1, "still there");
}

/* Frames of len zero bytes are fed while the loop turns, so that no socket buffer limits them. */
static void feed(struct fixture *f, uint32_t len, uint32_t stream, uint8_t type)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	static const uint8_t zeros[1 << 16];
	size_t left = len;

	put_frame(&b, len, stream, type, "", 0);
	peer_write(f, &b);
	while (left) {
		size_t n = left < sizeof(zeros) ? left : sizeof(zeros);

		assert_int_equal(sm_write_full(f->peer, zeros, n), 0);
		left -= n;
		for (size_t i = 0; i < n; i += 4096)
			turn(f);
	}
}

static void test_oversized(void **state)
{
	struct fixture *f = *state;

	feed(f, SM_RPC_FRAME_MAX + 1, 1, RPC_REQUEST);
	want_status(f, 1, SM_RPC_RESOURCE_EXHAUSTED, NULL);
	feed(f, SM_RPC_FRAME_MAX + 1, 2, RPC_REQUEST);
	want_status(f, 2, SM_RPC_INVALID_ARGUMENT, NULL);
	feed(f, SM_RPC_FRAME_MAX, 3, RPC_REQUEST);
	want_status(f, 3, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	request(f, 5, "Echo", "", "after");
	want_value(f, 5, "after");
}

static void test_response_too_long(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Flood", "", "4194304");
	want_status(f, 1, SM_RPC_RESOURCE_EXHAUSTED, "the response is too long");
}

static void test_large_response(void **state)
{
	struct fixture *f = *state;
	static char value[(1 << 20) + 1];
	uint8_t head[RPC_HEADER_LEN];
	size_t want, got = 0;
	uint32_t len;

	memset(value, 'x', sizeof(value) - 1);
	request(f, 1, "Flood", "", "1048576");
	run_until_readable(f);
	assert_int_equal(sm_read_full(f->peer, head, sizeof(head)), 0);
	memcpy(&len, head, sizeof(len));
	want = be32toh(len);
	assert_true(want > sizeof(value));
	while (got < want) {
		ssize_t n;

		run_until_readable(f);
		n = read(f->peer, value, sizeof(value));
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(got, want);
	request(f, 3, "Echo", "", "after");
	want_value(f, 3, "after");
}

static void test_peer_that_does_not_read(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 12 && !f->closed; i++) {
		request(f, 2 * i + 1, "Flood", "", "1000000");
		turn(f);
		turn(f);
	}
	assert_true(f->closed);
	assert_int_equal(f->closed_err, -ENOBUFS);
}

static void test_in_flight_limit(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < SM_RPC_INFLIGHT_MAX; i++) {
		request(f, 2 * i + 1, "Hold", "", "");
		turn(f);
		turn(f);
	}
	assert_int_equal(f->nheld, SM_RPC_INFLIGHT_MAX);
	assert_false(f->closed);
	/* a reply makes room for one */
	reply_value(f->held[--f->nheld], "", "done");
	want_value(f, 2 * SM_RPC_INFLIGHT_MAX - 1, "done");
	request(f, 2 * SM_RPC_INFLIGHT_MAX + 1, "Hold", "", "");
	request(f, 2 * SM_RPC_INFLIGHT_MAX + 3, "Hold", "", "");
	run_until(f, &f->closed);
	assert_int_equal(f->nheld, SM_RPC_INFLIGHT_MAX);
	assert_int_equal(f->closed_err, -EDQUOT);
}

static void test_reply_after_peer_went(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Hold", "", "");
	request(f, 3, "Hold", "", "");
	sm_close(&f->peer);
	run_until(f, &f->closed);
	assert_int_equal(f->closed_err, 0);
	assert_int_equal(f->nheld, 2);
	assert_null(sm_rpc_call_conn(f->held[0]));
	reply_value(f->held[0], "", "nobody hears this");
	sm_rpc_fail(f->held[1], SM_RPC_INTERNAL, "nor this");
	f->nheld = 0;
}

static void test_reply_after_free(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Hold", "", "");
	turn(f);
	turn(f);
	assert_int_equal(f->nheld, 1);
	sm_rpc_free(f->rpc);
	f->rpc = NULL;
	assert_null(sm_rpc_call_conn(f->held[0]));
	reply_value(f->held[0], "", "nobody hears this");
	f->nheld = 0;
	assert_false(f->closed);
}

/* A reply finds the peer gone before the loop does: closed() must not run inside the reply. */
static void test_reply_breaks_the_connection(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Hold", "", "");
	turn(f);
	turn(f);
	sm_close(&f->peer);
	reply_value(f->held[0], "", "nobody hears this");
	f->nheld = 0;
	assert_false(f->closed);
	run_until(f, &f->closed);
	assert_int_equal(f->closed_err, -EPIPE);
}

static void test_free_in_handler(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	char c;

	f->free_in_handler = true;
	put_request(&b, 1, SERVICE, "Echo", "", "");
	put_request(&b, 3, SERVICE, "Echo", "", "");
	peer_write(f, &b);
	run_until_readable(f);
	assert_int_equal(f->served, 1);
	assert_true(read(f->peer, &c, 1) <= 0);
	assert_false(f->closed);
}

static void test_free_in_closed(void **state)
{
	struct fixture *f = *state;

	f->free_in_closed = true;
	sm_close(&f->peer);
	run_until(f, &f->closed);
	assert_null(f->rpc);
}

/* ---- descriptors ---- */

static void send_with_fds(struct fixture *f, const struct sm_buf *b, size_t nfds)
{
	int fds[SM_IO_FDS_MAX];

	for (size_t i = 0; i < nfds; i++) {
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
	assert_int_equal(sm_send_fds(f->peer, b->data, b->len, fds, nfds), b->len);
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
}

static void test_fds_passed_and_surplus_closed(void **state)
{
	struct fixture *f = *state;
	size_t before = count_fds();
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	put_request(&b, 1, SERVICE, "Take", "", "");
	send_with_fds(f, &b, 3);
	want_value(f, 1, "3");
	assert_true(f->passed[0] >= 0);
	assert_int_equal(fcntl(f->passed[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(count_fds(), before + 1);
	close(f->passed[0]);
}

/* Descriptors belong to the frame whose first byte they came with, whatever is glued to it. */
static void test_fds_among_other_frames(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t before = count_fds();

	request(f, 1, "Take", "", "");
	put_request(&b, 3, SERVICE, "Take", "", "");
	put_request(&b, 5, SERVICE, "Take", "", "");
	send_with_fds(f, &b, 2);
	request(f, 7, "Take", "", "");
	want_value(f, 1, "0");
	want_value(f, 3, "2");
	want_value(f, 5, "0");
	want_value(f, 7, "0");
	assert_int_equal(f->passed[0], -1);
	/* the handler took one of stream 3 and lost its number */
	assert_int_equal(count_fds(), before + 1);
}

static void test_fds_of_frames_that_take_none(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t before = count_fds();

	put_frame(&b, 2, 1, RPC_RESPONSE, "\x12\x00", 2);
	send_with_fds(f, &b, 2);
	b.len = 0;
	put_request(&b, 1, "other", "Take", "", "");
	send_with_fds(f, &b, 2);
	want_status(f, 1, SM_RPC_UNIMPLEMENTED, NULL);
	/* in the middle of a frame */
	b.len = 0;
	put_request(&b, 3, SERVICE, "Take", "", "");
	assert_int_equal(sm_write_full(f->peer, b.data, 5), 0);
	turn(f);
	sm_buf_consume(&b, 5);
	send_with_fds(f, &b, 2);
	want_value(f, 3, "0");
	assert_int_equal(count_fds(), before);
}

static void test_too_many_fds(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t before = count_fds();

	put_request(&b, 1, SERVICE, "Take", "", "");
	send_with_fds(f, &b, SM_RPC_FDS_MAX);
	want_value(f, 1, "250");
	close(f->passed[0]);
	assert_int_equal(count_fds(), before);
	b.len = 0;
	put_request(&b, 3, SERVICE, "Take", "", "");
	send_with_fds(f, &b, SM_RPC_FDS_MAX + 1);
	run_until(f, &f->closed);
	assert_int_equal(f->closed_err, -EMSGSIZE);
	assert_int_equal(count_fds(), before - 1); /* the connection's own */
}

/* ---- calling ---- */

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
	turn(f);
	turn(f);
	assert_int_equal(f->done, 1);
	assert_int_equal(f->code, SM_RPC_OK);
	assert_string_equal(f->value, "second");
	b.len = 0;
	assert_int_equal(rpc_frame_status(&b, one, SM_RPC_NOT_FOUND, "not here"), 0);
	peer_write(f, &b);
	turn(f);
	turn(f);
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
	put_frame(&b, 2, 1, RPC_RESPONSE, "\x12\x7f", 2);
	put_frame(&b, 4, 3, RPC_RESPONSE, "\x12\x02\x0a\x7f", 4);
	peer_write(f, &b);
	turn(f);
	turn(f);
	assert_int_equal(f->done, 2);
	assert_int_equal(f->code, SM_RPC_INTERNAL);
	assert_string_equal(f->text, "the response is no ttrpc.KeyValue");
	feed(f, SM_RPC_FRAME_MAX + 1, 5, RPC_RESPONSE);
	assert_int_equal(f->done, 3);
	assert_int_equal(f->code, SM_RPC_RESOURCE_EXHAUSTED);
	assert_false(f->closed);
}

/* Calls pending on both sides when the peer vanishes. */
static void test_peer_vanishes(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "Hold", "", "");
	send_echo(f, "a");
	send_echo(f, "b");
	turn(f);
	turn(f);
	assert_int_equal(f->nheld, 1);
	sm_close(&f->peer);
	run_until(f, &f->closed);
	assert_int_equal(f->done, 2);
	assert_int_equal(f->code, SM_RPC_UNAVAILABLE);
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Echo",
				     &(Ttrpc__KeyValue)TTRPC__KEY_VALUE__INIT.base, NULL, 0,
				     &ttrpc__key_value__descriptor, on_done, f),
			 -EPIPE);
}

static void test_free_in_done(void **state)
{
	struct fixture *f = *state;

	f->free_in_done = true;
	send_echo(f, "a");
	sm_close(&f->peer);
	for (int i = 0; i < 3; i++)
		turn(f);
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
				     &ttrpc__key_value__descriptor, on_done, f),
			 0);
	assert_int_equal(read_request(f, "Take", 2), 1);
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Take", &kv.base, fds, SM_RPC_FDS_MAX + 1,
				     &ttrpc__key_value__descriptor, on_done, f),
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
				     &ttrpc__key_value__descriptor, on_done, f),
			 0);
	assert_int_equal(sm_rpc_send(f->rpc, SERVICE, "Take", &kv.base, &fd, 1,
				     &ttrpc__key_value__descriptor, on_done, f),
			 0);
	close(fd);
	while (nfds == 0) {
		ssize_t n;

		run_until_readable(f);
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
	assert_int_equal(sm_loop_post(f->loop, stop, f->loop), 0);
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

/* ---- the server ---- */

struct server {
	struct fixture f;
	struct sm_rpc_server *server;
	struct sockaddr_un addr;
	int gone;
};

static void on_gone(void *arg, struct sm_rpc *rpc)
{
	struct server *s = arg;

	assert_non_null(rpc);
	s->gone++;
}

static int server_setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(s->addr);

	assert_non_null(s);
	s->f.peer = -1;
	s->f.loop = sm_loop_new();
	assert_non_null(s->f.loop);
	s->addr.sun_family = AF_UNIX;
	/* autobind: a fresh abstract name, unix(7) */
	assert_int_equal(bind(fd, (struct sockaddr *)&s->addr, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&s->addr, &len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(sm_rpc_server_new(s->f.loop, fd, &service, s, 2, on_gone, &s->server), 0);
	*state = s;
	return 0;
}

static int server_teardown(void **state)
{
	struct server *s = *state;

	sm_rpc_server_free(s->server);
	sm_loop_free(s->f.loop);
	free(s);
	return 0;
}

static int dial(const struct server *s)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* an autobound name is 5 hex digits after the zero byte */
	assert_int_equal(connect(fd, (const struct sockaddr *)&s->addr, sizeof(sa_family_t) + 6), 0);
	return fd;
}

static void test_server(void **state)
{
	struct server *s = *state;
	int one = dial(s), two = dial(s), three;
	char c;

	turn(&s->f);
	turn(&s->f);
	/* the third is over the limit */
	three = dial(s);
	s->f.peer = three;
	run_until_readable(&s->f);
	assert_int_equal(read(three, &c, 1), 0);
	s->f.peer = one;
	request(&s->f, 1, "Fail", "one", "");
	want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	close(one);
	for (int i = 0; i < 3; i++)
		turn(&s->f);
	assert_int_equal(s->gone, 1);
	close(three);
	/* there is room again */
	three = dial(s);
	s->f.peer = three;
	request(&s->f, 1, "Fail", "three", "");
	want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	close(three);
	close(two);
}

static void test_server_other_user(void **state)
{
	struct server *s = *state;
	uid_t uid = geteuid();
	char c;

	/* As another user than root we cannot become a third one: then the peer is let in. */
	if (uid == 0)
		assert_int_equal(seteuid(65534), 0);
	s->f.peer = dial(s);
	assert_int_equal(seteuid(uid), 0);
	if (uid == 0) {
		run_until_readable(&s->f);
		assert_int_equal(read(s->f.peer, &c, 1), 0);
	} else {
		request(&s->f, 1, "Fail", "me", "");
		want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	}
	sm_close(&s->f.peer);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SERVER_CASE(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_echo),
		CASE(test_split_at_every_byte),
		CASE(test_byte_by_byte),
		CASE(test_two_in_one_write),
		CASE(test_late_replies_in_any_order),
		CASE(test_unimplemented),
		CASE(test_failure_text_is_utf8),
		CASE(test_bad_stream_ids),
		CASE(test_bad_requests),
		CASE(test_memory_bomb),
		CASE(test_unknown_frame_types),
		CASE(test_oversized),
		CASE(test_response_too_long),
		CASE(test_large_response),
		CASE(test_peer_that_does_not_read),
		CASE(test_in_flight_limit),
		CASE(test_reply_after_peer_went),
		CASE(test_reply_after_free),
		CASE(test_reply_breaks_the_connection),
		CASE(test_free_in_handler),
		CASE(test_free_in_closed),
		CASE(test_fds_passed_and_surplus_closed),
		CASE(test_fds_among_other_frames),
		CASE(test_fds_of_frames_that_take_none),
		CASE(test_too_many_fds),
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
		SERVER_CASE(test_server),
		SERVER_CASE(test_server_other_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
