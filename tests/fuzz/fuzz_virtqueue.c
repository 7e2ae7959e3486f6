/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory as it likes: the input is the image of 4 KiB in which rings, tables and buffers
 * lie, all of it served by one queue.
 *
 *	byte 0: bit 0 event index, bit 1 indirect, bits 4-7 log2 of the queue size
 *	byte 1: ring index to start at
 *	rest:	0 descriptors, 0x800 available ring, 0xc00 used ring
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/gmem.h"
#include "virtio/queue.h"

#define IMAGE 4096u
#define HALF (IMAGE / 2)
#define GPA 0x10000u
#define CHAINS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Every buffer lies in the image, and the sums are what the buffers are. */
static void check_chain(const struct sm_chain *c, const uint8_t *mem)
{
	uint64_t sum[2] = { 0, 0 };

	for (int i = 0; i < c->nout + c->nin; i++) {
		const uint8_t *p = c->iov[i].iov_base;

		check(c->iov[i].iov_len && p >= mem && p + c->iov[i].iov_len <= mem + IMAGE);
		sum[i >= c->nout] += c->iov[i].iov_len;
	}
	check(sum[0] == c->out_len && sum[1] == c->in_len);
}

static void use_chain(const struct sm_chain *c)
{
	struct iovec iov[SM_CHAIN_IOV_MAX];
	uint8_t bytes[64];

	check(sm_chain_read(c, 7, bytes, sizeof(bytes)) <= sizeof(bytes));
	check(sm_chain_out_iov(c, 3, c->out_len, iov, SM_CHAIN_IOV_MAX) >= 0);
	check(sm_chain_in_iov(c, c->in_len / 2, 100, iov, SM_CHAIN_IOV_MAX) >= 0);
	check(sm_chain_write(c, 1, bytes, sizeof(bytes)) <= sizeof(bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct iovec none;
	struct iovec iov[SM_CHAIN_IOV_MAX] = { none };
	struct sm_gmem gm = { .n = 0 };
	struct sm_chain c;
	struct sm_vq vq;
	uint8_t *mem;

	if (size < 2)
		return 0;
	mem = aligned_alloc(4096, IMAGE);
	if (!mem)
		return 0;
	memset(mem, 0, IMAGE);
	memcpy(mem, data + 2, size - 2 < IMAGE ? size - 2 : IMAGE);
	vq = (struct sm_vq){
		.mem = &gm,
		.size = (uint16_t)(1u << (data[0] >> 4)),
		.desc_gpa = GPA,
		.avail_gpa = GPA + 0x800,
		.used_gpa = GPA + 0xc00,
		.event_idx = data[0] & 1,
		.indirect = data[0] & 2,
		.kick_fd = -1,
		.call_fd = -1,
	};
	/* Two regions side by side, so that buffers can cross. */
	check(sm_gmem_add(&gm, GPA + HALF, HALF, mem + HALF) == 0);
	check(sm_gmem_add(&gm, GPA, HALF, mem) == 0);
	if (sm_vq_start(&vq, data[1]) == 0) {
		for (int i = 0; i < CHAINS_MAX; i++) {
			if (sm_vq_pop(&vq, &c, iov, SM_CHAIN_IOV_MAX) <= 0)
				break;
			check_chain(&c, mem);
			use_chain(&c);
			sm_vq_push(&vq, c.head, c.in_len);
			sm_vq_notify(&vq);
			sm_vq_enable_kicks(&vq);
		}
		sm_vq_stop(&vq);
	}
	free(mem);
	return 0;
}
