/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RPC_FRAME_H
#define SM_RPC_FRAME_H

/* ttrpc frames as bytes, for the files of this module only: no I/O in here. */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "rpc/ttrpc.h"

#define RPC_HEADER_LEN 10

enum rpc_type { RPC_REQUEST = 1, RPC_RESPONSE = 2 };

struct rpc_header {
	uint32_t len;
	uint32_t stream;
	uint8_t type;
	uint8_t flags;
};

/*
 * Takes frames out of a byte stream, never a byte past the end of the current one, so that
 * descriptors received with a frame's first byte cannot be taken for another's.
 *
 *	p = rpc_reader_room(r, &len); n = recv(p, len); if (rpc_reader_add(r, n)) use, rpc_reader_next(r)
 */
struct rpc_reader {
	uint8_t head[RPC_HEADER_LEN];
	size_t have;		/* bytes of the frame so far, header included */
	struct rpc_header header; /* once have >= RPC_HEADER_LEN */
	struct sm_buf body;	/* stays empty if the frame is too long: it is read and dropped */
};

void rpc_reader_init(struct rpc_reader *r);
void rpc_reader_free(struct rpc_reader *r);

/* Where the next bytes belong and how many are wanted, at least one. NULL: out of memory. */
uint8_t *rpc_reader_room(struct rpc_reader *r, size_t *len);

/* n bytes were put there. True when the frame is complete. */
bool rpc_reader_add(struct rpc_reader *r, size_t n);
bool rpc_reader_oversized(const struct rpc_reader *r);
void rpc_reader_next(struct rpc_reader *r);

/* Make a whole frame in the empty `out`. 0, -ENOMEM, -EMSGSIZE over SM_RPC_FRAME_MAX. */
int rpc_frame_request(struct sm_buf *out, uint32_t stream, const char *service, const char *method,
		      const ProtobufCMessage *req);
int rpc_frame_reply(struct sm_buf *out, uint32_t stream, const ProtobufCMessage *rsp);
int rpc_frame_status(struct sm_buf *out, uint32_t stream, enum sm_rpc_code code, const char *text);

/* Unpacks foreign bytes, with a limit on the memory they may take, which protobuf's encoding alone
 * does not set: two bytes can stand for a whole submessage. NULL if they are malformed or ask for
 * too much. To be freed with protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *desc, const uint8_t *data,
			     size_t len);

/* An opened response: rsp with SM_RPC_OK, else NULL and text says why. */
struct rpc_response {
	enum sm_rpc_code code;
	const char *text; /* never NULL */
	ProtobufCMessage *rsp;
	struct Ttrpc__Response *envelope;
	char local[160];
};

/* `out` is what the payload must be. Release with rpc_response_free(); rsp may be stolen. */
void rpc_response_open(struct rpc_response *o, const struct rpc_reader *r,
		       const ProtobufCMessageDescriptor *out);
void rpc_response_free(struct rpc_response *o);

#endif
