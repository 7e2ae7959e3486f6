/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_TESTS_RPC_PEER_H
#define SM_TESTS_RPC_PEER_H

/*
 * For the tests of src/rpc: a connection that serves test.v1.Test, and its peer, played by hand,
 * byte by byte, on the other end of a socket pair.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/ttrpc.pb-c.h"
#include "rpc/frame.h"
#include "rpc/ttrpc.h"

#define SERVICE "test.v1.Test"
#define HELD_MAX 600   /* calls that Hold keeps */
#define WAIT_MS 20000 /* a test that waits that long has failed */

struct fixture {
	struct sm_loop *loop;
	struct sm_rpc *rpc;
	int peer; /* our end of the pair: blocking */
	struct sm_rpc_call *held[HELD_MAX];
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

/* Methods Echo, Fail, Hold (no reply before the test says so), Take (the first descriptor), Flood
 * (as many bytes as asked for); the argument is the fixture. */
extern const struct sm_rpc_service peer_service;

/* Ends a call with a KeyValue. */
void peer_reply_value(struct sm_rpc_call *call, const char *key, const char *value);

/* For sm_loop_post(); arg is the loop. */
void peer_stop(void *arg);

/* One turn of the loop: what is ready now is handled. */
void peer_turn(struct fixture *f);

/* Runs the loop until the peer's end has something to read. */
void peer_run_until_readable(struct fixture *f);
void peer_run_until(struct fixture *f, const bool *flag);

/* Append a frame, a request of the service with a KeyValue. `len` may lie about n. */
void peer_put_frame(struct sm_buf *b, uint32_t len, uint32_t stream, uint8_t type, const void *body,
		    size_t n);
void peer_put_request(struct sm_buf *b, uint32_t stream, const char *service_name,
		      const char *method, const char *key, const char *value);

/* The peer writes what is in b; a request. */
void peer_write(struct fixture *f, const struct sm_buf *b);
void peer_request(struct fixture *f, uint32_t stream, const char *method, const char *key,
		  const char *value);

/* The next frame for the peer must be this response. text may be NULL. */
void peer_want_value(struct fixture *f, uint32_t stream, const char *value);
void peer_want_status(struct fixture *f, uint32_t stream, enum sm_rpc_code code, const char *text);

/* The peer writes a frame of len zero bytes, while the loop turns: no socket buffer limits it. */
void peer_feed(struct fixture *f, uint32_t len, uint32_t stream, uint8_t type);

/* A sm_rpc_done_fn that takes the result down; arg is the fixture. */
void peer_on_done(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp);

/* cmocka's; *state is the fixture. */
int peer_setup(void **state);
int peer_teardown(void **state);

#endif
