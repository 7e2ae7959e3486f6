/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "vsock/packet.h"

#include <assert.h>
#include <endian.h>
#include <linux/virtio_vsock.h>
#include <string.h>

#include "vsock/vsock.h"

static_assert(sizeof(struct virtio_vsock_hdr) == SM_VSOCK_HDR_SIZE, "the wire format");

void sm_vsock_hdr_decode(struct sm_vsock_hdr *h, const uint8_t wire[SM_VSOCK_HDR_SIZE])
{
	struct virtio_vsock_hdr w;

	memcpy(&w, wire, sizeof(w));
	*h = (struct sm_vsock_hdr){
		.src_cid = le64toh(w.src_cid),
		.dst_cid = le64toh(w.dst_cid),
		.src_port = le32toh(w.src_port),
		.dst_port = le32toh(w.dst_port),
		.len = le32toh(w.len),
		.type = le16toh(w.type),
		.op = le16toh(w.op),
		.flags = le32toh(w.flags),
		.buf_alloc = le32toh(w.buf_alloc),
		.fwd_cnt = le32toh(w.fwd_cnt),
	};
}

void sm_vsock_hdr_encode(const struct sm_vsock_hdr *h, uint8_t wire[SM_VSOCK_HDR_SIZE])
{
	struct virtio_vsock_hdr w = {
		.src_cid = htole64(h->src_cid),
		.dst_cid = htole64(h->dst_cid),
		.src_port = htole32(h->src_port),
		.dst_port = htole32(h->dst_port),
		.len = htole32(h->len),
		.type = htole16(h->type),
		.op = htole16(h->op),
		.flags = htole32(h->flags),
		.buf_alloc = htole32(h->buf_alloc),
		.fwd_cnt = htole32(h->fwd_cnt),
	};

	memcpy(wire, &w, sizeof(w));
}

enum sm_vsock_verdict sm_vsock_hdr_check(const struct sm_vsock_hdr *h, uint64_t guest_cid,
					 uint64_t have)
{
	if (h->src_cid != guest_cid || h->len > have)
		return SM_VSOCK_DROP;
	if (h->type == SM_VSOCK_STREAM && h->dst_cid == SM_VSOCK_HOST_CID)
		return SM_VSOCK_TAKE;
	if (h->type == SM_VSOCK_DGRAM && h->op == SM_VSOCK_OP_RW &&
	    h->dst_cid == SM_VSOCK_HOST_CID)
		return SM_VSOCK_TAKE_DGRAM;
	/* A reset is never answered, and datagrams have no connection to reset. */
	if (h->op == SM_VSOCK_OP_RST || h->type == SM_VSOCK_DGRAM)
		return SM_VSOCK_DROP;
	return SM_VSOCK_REFUSE;
}

struct sm_vsock_hdr sm_vsock_hdr_refusal(const struct sm_vsock_hdr *h)
{
	return (struct sm_vsock_hdr){
		.src_cid = h->dst_cid,
		.dst_cid = h->src_cid,
		.src_port = h->dst_port,
		.dst_port = h->src_port,
		.type = h->type,
		.op = SM_VSOCK_OP_RST,
	};
}
