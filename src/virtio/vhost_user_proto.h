/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VIRTIO_VHOST_USER_PROTO_H
#define SM_VIRTIO_VHOST_USER_PROTO_H

#include <stdint.h>

/* The messages of the vhost-user protocol that a back end of ours can meet (QEMU
 * docs/interop/vhost-user.rst, "Message Specification"); host byte order, a local socket. */

enum sm_vhu_request {
	SM_VHU_GET_FEATURES = 1,
	SM_VHU_SET_FEATURES = 2,
	SM_VHU_SET_OWNER = 3,
	SM_VHU_RESET_OWNER = 4,
	SM_VHU_SET_MEM_TABLE = 5,
	SM_VHU_SET_VRING_NUM = 8,
	SM_VHU_SET_VRING_ADDR = 9,
	SM_VHU_SET_VRING_BASE = 10,
	SM_VHU_GET_VRING_BASE = 11,
	SM_VHU_SET_VRING_KICK = 12,
	SM_VHU_SET_VRING_CALL = 13,
	SM_VHU_SET_VRING_ERR = 14,
	SM_VHU_GET_PROTOCOL_FEATURES = 15,
	SM_VHU_SET_PROTOCOL_FEATURES = 16,
	SM_VHU_GET_QUEUE_NUM = 17,
	SM_VHU_SET_VRING_ENABLE = 18,
	SM_VHU_GET_CONFIG = 24,
	SM_VHU_REQUEST_NUM
};

#define SM_VHU_F_PROTOCOL_FEATURES 30	/* in the feature bits */

enum sm_vhu_protocol_feature {
	SM_VHU_PROTOCOL_F_MQ = 0,
	SM_VHU_PROTOCOL_F_REPLY_ACK = 3,
	SM_VHU_PROTOCOL_F_CONFIG = 9,
};

#define SM_VHU_VERSION 1u
#define SM_VHU_VERSION_MASK 3u
#define SM_VHU_REPLY (1u << 2)
#define SM_VHU_NEED_REPLY (1u << 3)

#define SM_VHU_REGIONS_MAX 8	/* without the CONFIGURE_MEM_SLOTS feature */
#define SM_VHU_CONFIG_MAX 256
#define SM_VHU_VRING_INDEX 0xffu	/* in the u64 of KICK, CALL and ERR … */
#define SM_VHU_VRING_NOFD (1u << 8)	/* … beside this flag */

struct sm_vhu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size;		/* of the payload */
};

struct sm_vhu_vring_state {
	uint32_t index;
	uint32_t num;
};

struct sm_vhu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc, used, avail;	/* in the front end's address space */
	uint64_t log;
};

struct sm_vhu_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uaddr;		/* in the front end's address space */
	uint64_t offset;	/* in the file */
};

struct sm_vhu_memory {
	uint32_t n;
	uint32_t padding;
	struct sm_vhu_region region[SM_VHU_REGIONS_MAX];
};

struct sm_vhu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[SM_VHU_CONFIG_MAX];
};

#define SM_VHU_CONFIG_HEADER 12u

union sm_vhu_payload {
	uint64_t u64;
	struct sm_vhu_vring_state state;
	struct sm_vhu_vring_addr addr;
	struct sm_vhu_memory memory;
	struct sm_vhu_config config;
};

#endif
