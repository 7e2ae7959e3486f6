/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock and fs devices once behind virtio-mmio: one packet, one request, reset. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "fs_guest.h"
#include "mmio_guest.h"
#include "vsock/packet.h"
#include "vsock/vsock.h"

#define SIZE 32
#define CID 3

static void stop_loop(void *arg)
{
	sm_loop_stop(arg);
}

static void spin(struct sm_loop *loop)
{
	for (int i = 0; i < 4; i++) {
		sm_loop_post(loop, stop_loop, loop);
		assert_int_equal(sm_loop_run(loop), 0);
	}
}

/* A guest that nobody expects connects, and is refused. */
static void refused(struct mg *d, struct sm_loop *loop)
{
	struct sm_vsock_hdr h = { .src_cid = CID, .dst_cid = SM_VSOCK_HOST_CID, .src_port = 7,
				  .dst_port = 1234, .type = SM_VSOCK_STREAM,
				  .op = SM_VSOCK_OP_REQUEST };
	struct fake_buf rx = { fake_alloc(d->g, 4096), 4096, true };
	struct fake_buf tx = { fake_alloc(d->g, SM_VSOCK_HDR_SIZE), SM_VSOCK_HDR_SIZE, false };
	uint32_t id, len;

	sm_vsock_hdr_encode(&h, fake_ptr(d->g, tx.gpa));
	fake_chain(&d->ring[0], &rx, 1);
	mg_notify(d, 0);
	fake_chain(&d->ring[1], &tx, 1);
	mg_notify(d, 1);
	spin(loop);
	assert_true(fake_used(&d->ring[1], &id, &len));
	assert_true(fake_used(&d->ring[0], &id, &len));
	assert_int_equal(len, SM_VSOCK_HDR_SIZE);
	sm_vsock_hdr_decode(&h, fake_ptr(d->g, rx.gpa));
	assert_int_equal(h.op, SM_VSOCK_OP_RST);
	assert_int_equal(h.dst_port, 7);
	assert_true(mg_irq(d));
	assert_true(mg_read(d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING);
}

static void test_vsock(void **state)
{
	struct sm_loop *loop = sm_loop_new();
	struct sm_vsock *vs;
	struct fake_guest g;
	struct mg d;
	uint64_t cid;

	fake_guest_init(&g, 1 << 20);
	assert_int_equal(sm_vsock_new(loop, CID, &vs), 0);
	mg_init(&d, &g, sm_vsock_vdev(vs), mg_call, NULL);
	assert_int_equal(mg_read(&d, VIRTIO_MMIO_DEVICE_ID), 19);
	assert_int_equal(mg_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), 256);
	sm_mmio_access(d.m, VIRTIO_MMIO_CONFIG, &cid, 8, false);
	assert_int_equal(cid, CID);
	for (int i = 0; i < 3; i++) {
		assert_true(mg_boot(&d, SIZE));
		refused(&d, loop);
	}
	/* A packet in a hole. */
	fake_chain(&d.ring[1], &(struct fake_buf){ 0, 16, false }, 1);
	mg_notify(&d, 1);
	spin(loop);
	assert_int_equal(mg_status(&d), S_RUNS | S_NEEDS_RESET);
	assert_true(mg_boot(&d, SIZE));
	refused(&d, loop);
	mg_fini(&d);
	sm_vsock_free(vs);
	sm_loop_free(loop);
	fake_guest_fini(&g);
}

static void test_fs(void **state)
{
	struct fuse_in_header in = { .len = 40 + sizeof(struct fuse_init_in), .opcode = FUSE_INIT,
				     .unique = 77 };
	struct fuse_init_in init = { .major = 7, .minor = 38, .flags = ~0u };
	struct fuse_out_header out;
	struct fake_guest g;
	struct fake_buf b[3];
	struct sm_fs *fs;
	struct mg d;
	char tag[8];

	fake_guest_init(&g, 1 << 20);
	assert_int_equal(sm_fs_new(NULL, NULL, &fs), 0);
	mg_init(&d, &g, sm_fs_vdev(fs), mg_call, NULL);
	assert_int_equal(mg_read(&d, VIRTIO_MMIO_DEVICE_ID), 26);
	assert_int_equal(mg_read(&d, VIRTIO_MMIO_QUEUE_NUM_MAX), 1024);
	sm_mmio_access(d.m, VIRTIO_MMIO_CONFIG, tag, sizeof(tag), false);
	assert_string_equal(tag, SM_FS_TAG);
	assert_int_equal(mg_read(&d, VIRTIO_MMIO_CONFIG + 36), 1);
	b[0] = (struct fake_buf){ fake_put(&g, &in, sizeof(in)), sizeof(in), false };
	b[1] = (struct fake_buf){ fake_put(&g, &init, sizeof(init)), sizeof(init), false };
	b[2] = (struct fake_buf){ fake_alloc(&g, 256), 256, true };
	for (int i = 0; i < 3; i++) {
		struct pollfd p = { d.irq_fd, POLLIN, 0 };
		uint32_t id, len;

		assert_true(mg_boot(&d, SIZE));
		fake_chain(&d.ring[1], b, 3);
		mg_notify(&d, 1);
		while (!fake_used(&d.ring[1], &id, &len)) {
			assert_int_equal(poll(&p, 1, 10000), 1);
			mg_irq(&d);
		}
		memcpy(&out, fake_ptr(&g, b[2].gpa), sizeof(out));
		assert_int_equal(out.unique, 77);
		assert_int_equal(out.error, 0);
	}
	mg_fini(&d);
	sm_fs_free(fs);
	fake_guest_fini(&g);
}

/* Its own thread tells the transport of a broken ring. */
static void test_fs_broken(void **state)
{
	struct fake_guest g;
	struct sm_fs *fs;
	struct mg d;
	struct pollfd p;

	fake_guest_init(&g, 1 << 20);
	assert_int_equal(sm_fs_new(NULL, NULL, &fs), 0);
	mg_init(&d, &g, sm_fs_vdev(fs), mg_call, NULL);
	for (int i = 0; i < 3; i++) {
		assert_true(mg_boot(&d, SIZE));
		fake_chain(&d.ring[1], &(struct fake_buf){ 0, 16, false }, 1);
		mg_notify(&d, 1);
		p = (struct pollfd){ d.irq_fd, POLLIN, 0 };
		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(mg_status(&d), S_RUNS | S_NEEDS_RESET);
		mg_reset(&d);
		mg_irq(&d);
		assert_int_equal(mg_status(&d), 0);
	}
	mg_fini(&d);
	sm_fs_free(fs);
	fake_guest_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vsock),
		cmocka_unit_test(test_fs),
		cmocka_unit_test(test_fs_broken),
	};

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
