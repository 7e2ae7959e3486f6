/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer may write to a ttrpc connection. The first byte says in pieces of which size the rest
 * arrives, and whether it goes to a connection that serves and has calls pending, or to the
 * blocking client.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "proto/ttrpc.pb-c.h"
#include "rpc/ttrpc.h"

#define CALLS     3
#define INPUT_MAX (64u << 10) /* fits a socket's buffer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side {
	struct sm_loop *loop;
	struct sm_rpc_call *held[SM_RPC_INFLIGHT_MAX + 1];
	size_t nheld;
	int done;
	bool closed;
};

static void do_now(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	sm_rpc_reply(call, req);
}

static void do_later(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req)
{
	struct side *s = arg;

	assert(s->nheld < SM_RPC_INFLIGHT_MAX);
	s->held[s->nheld++] = call;
}

static const struct sm_rpc_method methods[] = {
	{ "Now", &ttrpc__response__descriptor, do_now },
	{ "Later", &ttrpc__key_value__descriptor, do_later },
};

static const struct sm_rpc_service service = { "s", methods, SM_ARRAY_SIZE(methods) };

static void on_done(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	struct side *s = arg;

	assert((code == SM_RPC_OK) == (rsp != NULL));
	assert(text);
	s->done++;
}

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct side *s = arg;

	assert(!s->closed && s->done == CALLS);
	s->closed = true;
	sm_loop_stop(s->loop);
}

static void stop(void *arg)
{
	sm_loop_stop(arg);
}

static void drain(int fd)
{
	uint8_t sink[4096];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

/* Writes a piece at a time, and lets the loop see each. */
static void play(struct side *s, int peer, const uint8_t *data, size_t size, size_t piece)
{
	while (size && !s->closed) {
		size_t n = size < piece ? size : piece;

		if (sm_send_fds(peer, data, n, NULL, 0) < 0)
			break;
		data += n;
		size -= n;
		if (sm_loop_post(s->loop, stop, s->loop) < 0 || sm_loop_run(s->loop) < 0)
			abort();
		drain(peer);
	}
	shutdown(peer, SHUT_WR);
	while (!s->closed) {
		if (sm_loop_run(s->loop) < 0)
			abort();
		drain(peer);
	}
}

static void fuzz_connection(int sv[2], const uint8_t *data, size_t size, size_t piece)
{
	struct side s = { .loop = sm_loop_new() };
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	struct sm_rpc *rpc;
	int r;

	if (!s.loop ||
	    sm_rpc_new(s.loop, sm_steal_fd(&sv[0]), &service, &s, on_closed, &s, &rpc) < 0)
		abort();
	for (int i = 0; i < CALLS; i++) {
		r = sm_rpc_send(rpc, "s", "m", &kv.base, NULL, 0,
				i ? &ttrpc__key_value__descriptor : &ttrpc__request__descriptor,
				on_done, &s);
		assert(r == 0);
	}
	play(&s, sv[1], data, size, piece);
	while (s.nheld)
		sm_rpc_reply(s.held[--s.nheld], &kv.base);
	sm_rpc_free(rpc);
	sm_loop_free(s.loop);
}

static void fuzz_client(int sv[2], const uint8_t *data, size_t size)
{
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	ProtobufCMessage *rsp = NULL;
	uint32_t stream = 0;
	int r;

	if (sm_send_fds(sv[1], data, size, NULL, 0) < 0)
		return;
	shutdown(sv[1], SHUT_WR);
	do {
		r = sm_rpc_call(sv[0], &stream, "s", "m", &kv.base, NULL, 0,
				&ttrpc__key_value__descriptor, -1, &rsp, &err);
		if (r == 0)
			protobuf_c_message_free_unpacked(rsp, NULL);
		drain(sv[1]);
		/* each response read brings the end of the input nearer; a lost one is the end */
	} while (stream < 9 && r != -ECONNRESET);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int sv[2];

	if (size < 2 || size > INPUT_MAX)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	if (data[0] & 1)
		fuzz_client(sv, data + 1, size - 1);
	else
		fuzz_connection(sv, data + 1, size - 1, data[0] < 64 ? data[0] + 1u : size);
	sm_close(&sv[0]);
	sm_close(&sv[1]);
	return 0;
}
