/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "rpc_peer.h"

/* ---- the service, whose messages are ttrpc's KeyValue for want of simpler ones ---- */

void peer_reply_value(struct sm_rpc_call *call, const char *key, const char *value)
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
	peer_reply_value(call, kv->key, kv->value);
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
	peer_reply_value(call, "nfds", text);
}

/* Answers with far more than fits a frame. */
static void do_flood(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	size_t len = strtoul(((const Ttrpc__KeyValue *)req)->value, NULL, 10);
	sm_auto_free char *value = malloc(len + 1);

	assert_non_null(value);
	memset(value, 'x', len);
	value[len] = 0;
	peer_reply_value(call, "flood", value);
}

static const struct sm_rpc_method methods[] = {
	{ "Echo", &ttrpc__key_value__descriptor, do_echo },
	{ "Fail", &ttrpc__key_value__descriptor, do_fail },
	{ "Hold", &ttrpc__key_value__descriptor, do_hold },
	{ "Take", &ttrpc__key_value__descriptor, do_take },
	{ "Flood", &ttrpc__key_value__descriptor, do_flood },
};

const struct sm_rpc_service peer_service = { SERVICE, methods, SM_ARRAY_SIZE(methods) };

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

void peer_stop(void *arg)
{
	sm_loop_stop(arg);
}

void peer_turn(struct fixture *f)
{
	assert_int_equal(sm_loop_post(f->loop, peer_stop, f->loop), 0);
	assert_int_equal(sm_loop_run(f->loop), 0);
}

void peer_run_until_readable(struct fixture *f)
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

void peer_run_until(struct fixture *f, const bool *flag)
{
	uint64_t limit = sm_now_ns() + WAIT_MS * 1000000ull;

	while (!*flag) {
		assert_true(sm_now_ns() < limit);
		peer_turn(f);
	}
}

/* ---- the peer's hand ---- */

void peer_put_frame(struct sm_buf *b, uint32_t len, uint32_t stream, uint8_t type, const void *body,
		    size_t n)
{
	uint32_t head[2] = { htobe32(len), htobe32(stream) };
	uint8_t tail[2] = { type, 0 };

	assert_int_equal(sm_buf_put(b, head, sizeof(head)), 0);
	assert_int_equal(sm_buf_put(b, tail, sizeof(tail)), 0);
	assert_int_equal(sm_buf_put(b, body, n), 0);
}

void peer_put_request(struct sm_buf *b, uint32_t stream, const char *service_name,
		      const char *method, const char *key, const char *value)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SIZE_MAX);

	kv.key = (char *)key;
	kv.value = (char *)value;
	assert_int_equal(rpc_frame_request(&frame, stream, service_name, method, &kv.base), 0);
	assert_int_equal(sm_buf_put(b, frame.data, frame.len), 0);
}

void peer_write(struct fixture *f, const struct sm_buf *b)
{
	assert_int_equal(sm_write_full(f->peer, b->data, b->len), 0);
}

void peer_request(struct fixture *f, uint32_t stream, const char *method, const char *key,
		  const char *value)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	peer_put_request(&b, stream, SERVICE, method, key, value);
	peer_write(f, &b);
}

/* The peer reads a frame. To be freed by ttrpc__response__free_unpacked(). */
static Ttrpc__Response *read_response(struct fixture *f, uint32_t *stream)
{
	uint8_t head[RPC_HEADER_LEN];
	sm_auto_free uint8_t *body = NULL;
	Ttrpc__Response *rsp;
	uint32_t v[2];

	peer_run_until_readable(f);
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

void peer_want_value(struct fixture *f, uint32_t stream, const char *value)
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

void peer_want_status(struct fixture *f, uint32_t stream, enum sm_rpc_code code, const char *text)
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

void peer_feed(struct fixture *f, uint32_t len, uint32_t stream, uint8_t type)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	static const uint8_t zeros[1 << 16];
	size_t left = len;

	peer_put_frame(&b, len, stream, type, "", 0);
	peer_write(f, &b);
	while (left) {
		size_t n = left < sizeof(zeros) ? left : sizeof(zeros);

		assert_int_equal(sm_write_full(f->peer, zeros, n), 0);
		left -= n;
		for (size_t i = 0; i < n; i += 4096)
			peer_turn(f);
	}
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

void peer_on_done(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
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

int peer_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int sv[2];

	assert_non_null(f);
	f->loop = sm_loop_new();
	assert_non_null(f->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	f->peer = sv[1];
	assert_int_equal(sm_rpc_new(f->loop, sv[0], &peer_service, f, on_closed, f, &f->rpc), 0);
	*state = f;
	return 0;
}

int peer_teardown(void **state)
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
