/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TSI_WIRE_H
#define TSI_WIRE_H

#include <linux/build_bug.h>
#include <linux/socket.h>
#include <linux/types.h>

/* The extension of docs/tsi.md. */

#define TSI_VERSION    1
#define TSI_HOST_CID   2
#define TSI_HOST_PORT  620 /* the host's end of a socket that the guest created */
#define TSI_KEY_MIN    0x40000000u
#define TSI_KEY_MAX    0x7fffffffu
#define TSI_TYPE_DGRAM 3 /* of virtio_vsock_hdr.type */
#define TSI_OPT_MAX    256
#define TSI_DGRAM_MAX  65507
#define TSI_ADDR_FIELD 128

enum tsi_op {
	TSI_CREATE = 1024,
	TSI_CONNECT = 1025,
	TSI_LISTEN = 1029,
	TSI_ACCEPT = 1030,
	TSI_RELEASE = 1031,
	TSI_HELLO = 1040,
	TSI_SETSOCKOPT = 1041,
	TSI_GETSOCKOPT = 1042,
	TSI_BIND = 1043,
	TSI_ACCEPTED = 1045,
	TSI_RECVFROM = 1046,
	TSI_SENDTO = 1047,
	TSI_ERROR = 1048,
};

struct tsi_wire_hello {
	__le32 version;
	__le32 flags;
} __packed;

#define TSI_CREATE_ANSWER 1u

struct tsi_wire_create {
	__le32 key;
	__le16 family;
	__le16 type; /* 1 stream, 2 datagram */
	__le32 protocol;
	__le32 flags;
} __packed;

/* BIND and CONNECT. */
struct tsi_wire_name {
	__le32 key;
	__le32 addr_len;
	u8 addr[TSI_ADDR_FIELD];
} __packed;

struct tsi_wire_listen {
	__le32 key;
	__le32 backlog;
} __packed;

struct tsi_wire_accept {
	__le32 key;
	__le32 n;
} __packed;

struct tsi_wire_release {
	__le32 key;
	__le32 host_port;
} __packed;

/* SETSOCKOPT, with the value after it, and GETSOCKOPT. */
struct tsi_wire_option {
	__le32 key;
	__le32 host_port;
	__le32 level;
	__le32 name;
	__le32 len;
} __packed;

/* The beginning of every answer; what has no more than a result ends there. */
struct tsi_wire_answer {
	__le32 result;
	__le32 len;
	u8 data[];
} __packed;

struct tsi_wire_accepted {
	__le32 host_port;
	__le32 credit; /* what the host takes for our buf_alloc */
	__le32 local_len;
	__le32 peer_len;
	u8 local[TSI_ADDR_FIELD];
	u8 peer[TSI_ADDR_FIELD];
} __packed;

struct tsi_wire_error {
	__le32 host_port;
	__le32 err;
} __packed;

#define TSI_DGRAM_ANSWER BIT(0)
#define TSI_DGRAM_LOCAL  BIT(1)
#define TSI_DGRAM_TTL    BIT(2)
#define TSI_DGRAM_TOS    BIT(3)
#define TSI_DGRAM_TRUNC  BIT(4)

#define TSI_PIECE_LAST 1u /* of virtio_vsock_hdr.flags */

#define TSI_SHUTDOWN_ANSWER 4u /* of virtio_vsock_hdr.flags, beside those of both ways */

struct tsi_wire_dgram {
	__le16 addr_len;
	__le16 flags;
	__le32 ifindex;
	u8 addr[28];
	u8 local[16];
	__le32 ttl;
	__le32 tos;
	__le32 reserved;
} __packed;

static_assert(sizeof(struct tsi_wire_name) == 136);
static_assert(sizeof(struct tsi_wire_option) == 20);
static_assert(sizeof(struct tsi_wire_accepted) == 272);
static_assert(sizeof(struct tsi_wire_dgram) == 64);

#endif
