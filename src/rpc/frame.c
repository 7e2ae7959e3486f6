/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "rpc/frame.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "base/utf8.h"
#include "proto/ttrpc.pb-c.h"

/* The body grows with what has arrived, not with what the header promises. */
#define READ_CHUNK (64u << 10)

/* What unpacking may allocate: this much for each byte, and something for the first. */
#define UNPACK_FACTOR 16
#define UNPACK_BASE   (64u << 10)

/* ---- reading ---- */

void rpc_reader_init(struct rpc_reader *r)
{
	*r = (struct rpc_reader){ .body = SM_BUF_INIT(SM_RPC_FRAME_MAX) };
}

void rpc_reader_free(struct rpc_reader *r)
{
	sm_buf_free(&r->body);
}

bool rpc_reader_oversized(const struct rpc_reader *r)
{
	return r->header.len > SM_RPC_FRAME_MAX;
}

uint8_t *rpc_reader_room(struct rpc_reader *r, size_t *len)
{
	size_t left;

	if (r->have < RPC_HEADER_LEN) {
		*len = RPC_HEADER_LEN - r->have;
		return r->head + r->have;
	}
	left = r->header.len - (r->have - RPC_HEADER_LEN);
	*len = left < READ_CHUNK ? left : READ_CHUNK;
	return sm_buf_reserve(&r->body, *len);
}

static void decode_header(struct rpc_reader *r)
{
	uint32_t v;

	memcpy(&v, r->head, sizeof(v));
	r->header.len = be32toh(v);
	memcpy(&v, r->head + 4, sizeof(v));
	r->header.stream = be32toh(v);
	r->header.type = r->head[8];
	r->header.flags = r->head[9];
}

bool rpc_reader_add(struct rpc_reader *r, size_t n)
{
	bool in_head = r->have < RPC_HEADER_LEN;

	r->have += n;
	if (r->have < RPC_HEADER_LEN)
		return false;
	if (in_head)
		decode_header(r);
	else if (!rpc_reader_oversized(r))
		r->body.len += n;
	return r->have - RPC_HEADER_LEN == r->header.len;
}

void rpc_reader_next(struct rpc_reader *r)
{
	r->have = 0;
	r->body.len = 0;
	/* An idle connection keeps little. */
	if (r->body.cap > 2 * READ_CHUNK)
		sm_buf_free(&r->body);
}

/* ---- writing ---- */

/* Puts the frame of msg into out. */
static int put_frame(struct sm_buf *out, uint32_t stream, enum rpc_type type,
		     const ProtobufCMessage *msg)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint32_t be_len = htobe32((uint32_t)len);
	uint32_t be_stream = htobe32(stream);
	uint8_t *p;

	if (len > SM_RPC_FRAME_MAX)
		return -EMSGSIZE;
	p = sm_buf_reserve(out, RPC_HEADER_LEN + len);
	if (!p)
		return -ENOMEM;
	memcpy(p, &be_len, sizeof(be_len));
	memcpy(p + 4, &be_stream, sizeof(be_stream));
	p[8] = type;
	p[9] = 0;
	protobuf_c_message_pack(msg, p + RPC_HEADER_LEN);
	out->len += RPC_HEADER_LEN + len;
	return 0;
}

/* Packs the inner message; *data is to be freed. */
static int pack(const ProtobufCMessage *msg, uint8_t **data, size_t *len)
{
	*len = protobuf_c_message_get_packed_size(msg);
	if (*len > SM_RPC_FRAME_MAX)
		return -EMSGSIZE;
	*data = malloc(*len + 1);
	if (!*data)
		return -ENOMEM;
	protobuf_c_message_pack(msg, *data);
	return 0;
}

int rpc_frame_request(struct sm_buf *out, uint32_t stream, const char *service, const char *method,
		      const ProtobufCMessage *req)
{
	Ttrpc__Request envelope = TTRPC__REQUEST__INIT;
	sm_auto_free uint8_t *data = NULL;
	int r = pack(req, &data, &envelope.payload.len);

	if (r < 0)
		return r;
	envelope.service = (char *)service;
	envelope.method = (char *)method;
	envelope.payload.data = data;
	return put_frame(out, stream, RPC_REQUEST, &envelope.base);
}

int rpc_frame_reply(struct sm_buf *out, uint32_t stream, const ProtobufCMessage *rsp)
{
	Ttrpc__Response envelope = TTRPC__RESPONSE__INIT;
	sm_auto_free uint8_t *data = NULL;
	int r = pack(rsp, &data, &envelope.payload.len);

	if (r < 0)
		return r;
	envelope.payload.data = data;
	return put_frame(out, stream, RPC_RESPONSE, &envelope.base);
}

int rpc_frame_status(struct sm_buf *out, uint32_t stream, enum sm_rpc_code code, const char *text)
{
	Ttrpc__Response envelope = TTRPC__RESPONSE__INIT;
	Ttrpc__Status status = TTRPC__STATUS__INIT;
	sm_auto_free char *clean = sm_utf8_clean(text);

	/* A proto3 string is UTF-8, or Go refuses the whole response. */
	if (!clean)
		return -ENOMEM;
	status.code = (int32_t)code;
	status.message = clean;
	envelope.status = &status;
	return put_frame(out, stream, RPC_RESPONSE, &envelope.base);
}

/* ---- unpacking ---- */

static void *budget_alloc(void *arg, size_t size)
{
	size_t *left = arg;

	/* what malloc(3) adds to small blocks counts too */
	size += 16;
	if (size > *left)
		return NULL;
	*left -= size;
	return malloc(size - 16);
}

static void budget_free(void *arg, void *p)
{
	free(p);
}

ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *desc, const uint8_t *data,
			     size_t len)
{
	size_t left = UNPACK_BASE + UNPACK_FACTOR * len;
	ProtobufCAllocator allocator = { budget_alloc, budget_free, &left };

	return protobuf_c_message_unpack(desc, &allocator, len, data);
}

/* The peer's response is of no use; fmt says how. */
static void __attribute__((format(printf, 3, 4)))
refuse(struct rpc_response *o, enum sm_rpc_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(o->local, sizeof(o->local), fmt, ap);
	va_end(ap);
	o->code = code;
	o->text = o->local;
}

void rpc_response_open(struct rpc_response *o, const struct rpc_reader *r,
		       const ProtobufCMessageDescriptor *out)
{
	const Ttrpc__Status *status;

	*o = (struct rpc_response){ .code = SM_RPC_OK, .text = "" };
	if (rpc_reader_oversized(r)) {
		refuse(o, SM_RPC_RESOURCE_EXHAUSTED, "the response has %u bytes, more than %u",
		       r->header.len, SM_RPC_FRAME_MAX);
		return;
	}
	o->envelope = (Ttrpc__Response *)rpc_unpack(&ttrpc__response__descriptor, r->body.data,
						    r->body.len);
	if (!o->envelope) {
		refuse(o, SM_RPC_INTERNAL, "the response is malformed");
		return;
	}
	status = o->envelope->status;
	if (status && status->code != SM_RPC_OK) {
		o->code = (enum sm_rpc_code)status->code;
		o->text = status->message;
		return;
	}
	o->rsp = rpc_unpack(out, o->envelope->payload.data, o->envelope->payload.len);
	if (!o->rsp)
		refuse(o, SM_RPC_INTERNAL, "the response is no %s", out->name);
}

void rpc_response_free(struct rpc_response *o)
{
	if (o->rsp)
		protobuf_c_message_free_unpacked(o->rsp, NULL);
	if (o->envelope)
		ttrpc__response__free_unpacked(o->envelope, NULL);
	o->rsp = NULL;
	o->envelope = NULL;
}
