/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_PACKET_H
#define SM_VSOCK_PACKET_H

#include <stdbool.h>
#include <stdint.h>

/* The header of a virtio-vsock packet (virtio 1.2, 5.10.6): 44 bytes, little endian, no padding. */
#define SM_VSOCK_HDR_SIZE 44u

#define SM_VSOCK_F_DGRAM 3 /* the feature bit of libkrunfw's kernels */

enum sm_vsock_type { SM_VSOCK_STREAM = 1, SM_VSOCK_SEQPACKET = 2, SM_VSOCK_DGRAM = 3 };

enum sm_vsock_op {
	SM_VSOCK_OP_REQUEST = 1,
	SM_VSOCK_OP_RESPONSE = 2,
	SM_VSOCK_OP_RST = 3,
	SM_VSOCK_OP_SHUTDOWN = 4,
	SM_VSOCK_OP_RW = 5,
	SM_VSOCK_OP_CREDIT_UPDATE = 6,
	SM_VSOCK_OP_CREDIT_REQUEST = 7,
	SM_VSOCK_OP_NUM
};

/* Flags of SHUTDOWN: what its sender will do no more. */
#define SM_VSOCK_SHUT_RCV 1u
#define SM_VSOCK_SHUT_SEND 2u
#define SM_VSOCK_SHUT_BOTH 3u
#define SM_VSOCK_SHUT_ANSWER 4u	/* docs/tsi.md: RST when it is closed */

struct sm_vsock_hdr {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len;		/* of the payload */
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
};

void sm_vsock_hdr_decode(struct sm_vsock_hdr *h, const uint8_t wire[SM_VSOCK_HDR_SIZE]);
void sm_vsock_hdr_encode(const struct sm_vsock_hdr *h, uint8_t wire[SM_VSOCK_HDR_SIZE]);

/* What to do with a packet that came from the guest, before any stream is looked at. */
enum sm_vsock_verdict {
	SM_VSOCK_TAKE,		/* a stream packet for the host, its payload whole */
	SM_VSOCK_TAKE_DGRAM,	/* a datagram for the host, whole: TSI's */
	SM_VSOCK_REFUSE,	/* answer with RST: another type of socket, another host */
	SM_VSOCK_DROP,		/* not from this guest, payload short, nothing to answer to */
	SM_VSOCK_VERDICT_NUM
};

/* have: payload bytes that the chain carries. */
enum sm_vsock_verdict sm_vsock_hdr_check(const struct sm_vsock_hdr *h, uint64_t guest_cid,
					 uint64_t have);

/* The RST that answers h. */
struct sm_vsock_hdr sm_vsock_hdr_refusal(const struct sm_vsock_hdr *h);

#endif
