/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "fakedrv.h"
#include "virtio/vhost_user.h"
#include "virtio/vhost_user_proto.h"

/* A front end on one end of a socket pair, a device of two queues that notes what it is told. */

#define MEM_SIZE (64u << 10)
#define GPA 0x40000000u
#define UADDR UINT64_C(0x7f0000000000)
#define F_DEVICE (1ull << 5)
#define FEATURES (1ull << SM_VIRTIO_F_VERSION_1 | 1ull << SM_VIRTIO_F_EVENT_IDX | F_DEVICE)

struct bench {
	struct sm_vdev dev; /* first */
	struct sm_loop *loop;
	struct sm_vhost_user *vu;
	int fe;		/* the front end's end of the connection */
	int memfd;
	bool gone;
	int gone_err;
	char log[256];	/* what the device was told */
	int start_err;
};

static void note(struct bench *b, const char *what, int n)
{
	size_t len = strlen(b->log);

	snprintf(b->log + len, sizeof(b->log) - len, "%s%d ", what, n);
}

static void config_read(struct sm_vdev *dev, size_t off, void *data, size_t len)
{
	memcpy(data, &"ABCDEFGH"[off], len);
}

static void negotiated(struct sm_vdev *dev, uint64_t features)
{
	note((struct bench *)dev, features & F_DEVICE ? "features" : "no-features",
	     (int)(features >> SM_VHU_F_PROTOCOL_FEATURES & 1));
}

static int start(struct sm_vdev *dev, uint32_t index)
{
	note((struct bench *)dev, "start", (int)index);
	return ((struct bench *)dev)->start_err;
}

static void stop(struct sm_vdev *dev, uint32_t index)
{
	note((struct bench *)dev, "stop", (int)index);
}

static void reset(struct sm_vdev *dev)
{
	note((struct bench *)dev, "reset", 0);
}

static const struct sm_vdev_ops ops = {
	.name = "test",
	.id = 99,
	.nqueues = 2,
	.features = F_DEVICE,
	.config_size = 8,
	.config_read = config_read,
	.negotiated = negotiated,
	.start = start,
	.stop = stop,
	.reset = reset,
};

static void gone(void *arg, int err)
{
	struct bench *b = arg;

	assert_false(b->gone);
	b->gone = true;
	b->gone_err = err;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	int sv[2];

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_DEBUG);
	b->dev.ops = &ops;
	b->loop = sm_loop_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	b->fe = sv[1];
	b->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(b->memfd, MEM_SIZE), 0);
	assert_int_equal(sm_vhost_user_new(b->loop, sv[0], &b->dev, gone, b, &b->vu), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	sm_vhost_user_free(b->vu);
	sm_loop_free(b->loop);
	sm_close(&b->fe);
	close(b->memfd);
	free(b);
	return 0;
}

static void stop_loop(void *arg)
{
	sm_loop_stop(arg);
}

static void spin(struct bench *b)
{
	for (int i = 0; i < 3; i++) {
		sm_loop_post(b->loop, stop_loop, b->loop);
		assert_int_equal(sm_loop_run(b->loop), 0);
	}
}

static void send_raw(struct bench *b, const void *data, size_t len, const int *fds, size_t n)
{
	assert_int_equal(sm_send_fds(b->fe, data, len, fds, n), len);
	spin(b);
}

static void send_msg(struct bench *b, uint32_t request, uint32_t flags, const void *payload,
		     uint32_t size, const int *fds, size_t nfds)
{
	struct sm_vhu_header h = { request, SM_VHU_VERSION | flags, size };
	uint8_t wire[512];

	memcpy(wire, &h, sizeof(h));
	if (size)
		memcpy(wire + sizeof(h), payload, size);
	send_raw(b, wire, sizeof(h) + size, fds, nfds);
}

/* The payload of the reply that is there; its size. */
static uint32_t recv_reply(struct bench *b, uint32_t request, void *payload, size_t room)
{
	struct sm_vhu_header h;

	assert_int_equal(recv(b->fe, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.request, request);
	assert_int_equal(h.flags, SM_VHU_VERSION | SM_VHU_REPLY);
	assert_true(h.size <= room);
	if (h.size)
		assert_int_equal(recv(b->fe, payload, h.size, MSG_DONTWAIT), h.size);
	return h.size;
}

static bool has_reply(struct bench *b)
{
	struct pollfd p = { .fd = b->fe, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) && !b->gone;
}

static uint64_t get_u64(struct bench *b, uint32_t request)
{
	uint64_t v;

	send_msg(b, request, 0, NULL, 0, NULL, 0);
	assert_int_equal(recv_reply(b, request, &v, sizeof(v)), sizeof(v));
	return v;
}

static void set_u64(struct bench *b, uint32_t request, uint64_t v)
{
	send_msg(b, request, 0, &v, sizeof(v), NULL, 0);
}

static void set_state(struct bench *b, uint32_t request, uint32_t index, uint32_t num)
{
	struct sm_vhu_vring_state s = { index, num };

	send_msg(b, request, 0, &s, sizeof(s), NULL, 0);
}

static void set_fd(struct bench *b, uint32_t request, uint64_t v, int fd)
{
	send_msg(b, request, 0, &v, sizeof(v), &fd, fd >= 0);
}

/* With an acknowledgement: what it says. */
static uint64_t acked(struct bench *b, uint32_t request, const void *payload, uint32_t size,
		      const int *fds, size_t nfds)
{
	uint64_t v;

	send_msg(b, request, SM_VHU_NEED_REPLY, payload, size, fds, nfds);
	assert_int_equal(recv_reply(b, request, &v, sizeof(v)), sizeof(v));
	return v;
}

static uint64_t acked_state(struct bench *b, uint32_t request, uint32_t index, uint32_t num)
{
	struct sm_vhu_vring_state s = { index, num };

	return acked(b, request, &s, sizeof(s), NULL, 0);
}

static void expect_log(struct bench *b, const char *want)
{
	assert_string_equal(b->log, want);
	b->log[0] = 0;
}

static void negotiate(struct bench *b, bool protocol)
{
	uint64_t f = FEATURES | (protocol ? 1ull << SM_VHU_F_PROTOCOL_FEATURES : 0);

	set_u64(b, SM_VHU_SET_PROTOCOL_FEATURES,
		1u << SM_VHU_PROTOCOL_F_REPLY_ACK | 1u << SM_VHU_PROTOCOL_F_CONFIG);
	send_msg(b, SM_VHU_SET_OWNER, 0, NULL, 0, NULL, 0);
	set_u64(b, SM_VHU_SET_FEATURES, f);
	b->log[0] = 0;
}

static struct sm_vhu_memory one_region(void)
{
	return (struct sm_vhu_memory){
		.n = 1,
		.region[0] = { .gpa = GPA, .size = MEM_SIZE, .uaddr = UADDR, .offset = 0 },
	};
}

#define TABLE_SIZE(n) (8u + (n) * (uint32_t)sizeof(struct sm_vhu_region))

static void set_memory(struct bench *b)
{
	struct sm_vhu_memory m = one_region();

	send_msg(b, SM_VHU_SET_MEM_TABLE, 0, &m, TABLE_SIZE(1), &b->memfd, 1);
}

static struct sm_vhu_vring_addr addr_of(uint32_t index)
{
	uint64_t at = UADDR + index * 0x1000;

	return (struct sm_vhu_vring_addr){
		.index = index, .desc = at, .avail = at + 0x400, .used = at + 0x800
	};
}

/* All that a ring needs but the kick. */
static void describe_ring(struct bench *b, uint32_t index, uint16_t base)
{
	struct sm_vhu_vring_addr a = addr_of(index);

	set_state(b, SM_VHU_SET_VRING_NUM, index, 16);
	set_state(b, SM_VHU_SET_VRING_BASE, index, base);
	send_msg(b, SM_VHU_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
}

static void kick(struct bench *b, uint32_t index)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	set_fd(b, SM_VHU_SET_VRING_KICK, index, fd);
	close(fd);
}

static void start_ring(struct bench *b, uint32_t index, uint16_t base)
{
	describe_ring(b, index, base);
	kick(b, index);
}

static uint32_t get_base(struct bench *b, uint32_t index)
{
	struct sm_vhu_vring_state s = { index, 0 };

	send_msg(b, SM_VHU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_int_equal(recv_reply(b, SM_VHU_GET_VRING_BASE, &s, sizeof(s)), sizeof(s));
	assert_int_equal(s.index, index);
	return s.num;
}

/* ---- as QEMU does it ---- */

static void test_handshake(void **state)
{
	struct bench *b = *state;

	assert_int_equal(get_u64(b, SM_VHU_GET_FEATURES),
			 FEATURES | 1ull << SM_VIRTIO_F_INDIRECT_DESC |
				 1ull << SM_VHU_F_PROTOCOL_FEATURES);
	assert_int_equal(get_u64(b, SM_VHU_GET_PROTOCOL_FEATURES),
			 1u << SM_VHU_PROTOCOL_F_MQ | 1u << SM_VHU_PROTOCOL_F_REPLY_ACK |
				 1u << SM_VHU_PROTOCOL_F_CONFIG);
	assert_int_equal(get_u64(b, SM_VHU_GET_QUEUE_NUM), 2);
	set_u64(b, SM_VHU_SET_FEATURES, FEATURES | 1ull << SM_VHU_F_PROTOCOL_FEATURES);
	expect_log(b, "features0 ");
	assert_true(b->dev.vq[1].event_idx);
	assert_false(b->dev.vq[1].indirect);
}

static void test_rings_start_disabled(void **state)
{
	struct bench *b = *state;

	negotiate(b, true);
	set_memory(b);
	start_ring(b, 0, 0);
	expect_log(b, "");
	set_state(b, SM_VHU_SET_VRING_ENABLE, 0, 1);
	expect_log(b, "start0 ");
	set_state(b, SM_VHU_SET_VRING_ENABLE, 0, 0);
	expect_log(b, "stop0 ");
}

static void test_rings_start_enabled_without_protocol_features(void **state)
{
	struct bench *b = *state;

	negotiate(b, false);
	set_memory(b);
	start_ring(b, 1, 0);
	expect_log(b, "start1 ");
}

static void test_kick_before_addr(void **state)
{
	struct bench *b = *state;

	negotiate(b, false);
	kick(b, 0);
	set_memory(b);
	expect_log(b, "");
	describe_ring(b, 0, 0);
	expect_log(b, "start0 ");
}

static void test_ring_works(void **state)
{
	struct bench *b = *state;
	uint8_t *mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->memfd, 0);
	struct vring_desc *desc = (void *)mem;
	struct vring_avail *avail = (void *)(mem + 0x400);
	struct vring_used *used = (void *)(mem + 0x800);
	int call = eventfd(0, EFD_NONBLOCK);
	struct iovec iov[SM_CHAIN_IOV_MAX];
	struct sm_chain c;
	eventfd_t v;

	negotiate(b, false);
	set_memory(b);
	set_fd(b, SM_VHU_SET_VRING_CALL, 0, call);
	start_ring(b, 0, 0);
	desc[3] = (struct vring_desc){ .addr = GPA + 0x8000, .len = 5 };
	memcpy(mem + 0x8000, "hello", 5);
	avail->ring[0] = 3;
	avail->idx = 1;
	assert_int_equal(sm_vq_pop(&b->dev.vq[0], &c, iov, SM_CHAIN_IOV_MAX), 1);
	assert_int_equal(c.out_len, 5);
	assert_memory_equal(iov[0].iov_base, "hello", 5);
	sm_vq_push(&b->dev.vq[0], c.head, 0);
	sm_vq_notify(&b->dev.vq[0]);
	assert_int_equal(used->idx, 1);
	assert_int_equal(eventfd_read(call, &v), 0);
	assert_int_equal(get_base(b, 0), 1);
	expect_log(b, "start0 stop0 ");
	assert_int_equal(b->dev.vq[0].kick_fd, -1);
	munmap(mem, MEM_SIZE);
	close(call);
}

static void test_config(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_config c = { .offset = 2, .size = 4 };

	send_msg(b, SM_VHU_GET_CONFIG, 0, &c, 16, NULL, 0);
	assert_int_equal(recv_reply(b, SM_VHU_GET_CONFIG, &c, sizeof(c)), 16);
	assert_memory_equal(c.data, "CDEF", 4);
	for (uint32_t off = 5; off < 12; off += 4) {
		c = (struct sm_vhu_config){ .offset = off, .size = 4 };
		send_msg(b, SM_VHU_GET_CONFIG, 0, &c, 16, NULL, 0);
		assert_int_equal(recv_reply(b, SM_VHU_GET_CONFIG, &c, sizeof(c)), 0);
	}
	c = (struct sm_vhu_config){ .offset = 0, .size = 8 }; /* says more than it carries */
	send_msg(b, SM_VHU_GET_CONFIG, 0, &c, 16, NULL, 0);
	assert_int_equal(recv_reply(b, SM_VHU_GET_CONFIG, &c, sizeof(c)), 0);
}

static void test_table_replaced_while_running(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_memory m = one_region();
	int fresh = memfd_create("guest2", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fresh, MEM_SIZE), 0);
	negotiate(b, false);
	set_memory(b);
	start_ring(b, 0, 0);
	start_ring(b, 1, 7);
	expect_log(b, "start0 start1 ");
	m.region[0].gpa += 0x1000000;
	assert_int_equal(acked(b, SM_VHU_SET_MEM_TABLE, &m, TABLE_SIZE(1), &fresh, 1), 0);
	expect_log(b, "stop0 stop1 start0 start1 ");
	assert_int_equal(b->dev.vq[1].desc_gpa, GPA + 0x1001000);
	assert_int_equal(get_base(b, 1), 7);
	/* A table without the rings of those that run is the end of the connection. */
	m.region[0].uaddr += UINT64_C(1) << 40;
	send_msg(b, SM_VHU_SET_MEM_TABLE, 0, &m, TABLE_SIZE(1), &fresh, 1);
	assert_true(b->gone);
	assert_int_equal(b->gone_err, -EFAULT);
	close(fresh);
}

static void test_pause_is_no_reset(void **state)
{
	struct bench *b = *state;

	negotiate(b, false);
	set_memory(b);
	start_ring(b, 0, 5);
	assert_int_equal(get_base(b, 0), 5);
	start_ring(b, 0, 5);
	expect_log(b, "start0 stop0 start0 ");
	assert_int_equal(get_base(b, 0), 5);
	start_ring(b, 0, 0);
	expect_log(b, "stop0 reset0 start0 ");
}

static void test_call_changes_while_running(void **state)
{
	struct bench *b = *state;
	int call[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
	eventfd_t v;
	int fd;

	negotiate(b, false);
	set_memory(b);
	set_fd(b, SM_VHU_SET_VRING_CALL, 0, call[0]);
	start_ring(b, 0, 0);
	fd = b->dev.vq[0].call_fd;
	set_fd(b, SM_VHU_SET_VRING_CALL, 0, call[1]);
	expect_log(b, "start0 "); /* the device does not see it */
	assert_int_equal(b->dev.vq[0].call_fd, fd);
	assert_int_equal(eventfd_read(call[1], &v), 0);
	eventfd_write(fd, 1);
	assert_int_equal(eventfd_read(call[1], &v), 0);
	assert_int_equal(eventfd_read(call[0], &v), -1);
	set_fd(b, SM_VHU_SET_VRING_CALL, SM_VHU_VRING_NOFD, -1);
	assert_int_equal(b->dev.vq[0].call_fd, -1);
	expect_log(b, "stop0 start0 ");
	close(call[0]);
	close(call[1]);
}

static void test_broken_queue_signals_err(void **state)
{
	struct bench *b = *state;
	int err = eventfd(0, EFD_NONBLOCK);
	eventfd_t v;

	negotiate(b, false);
	set_memory(b);
	set_fd(b, SM_VHU_SET_VRING_ERR, 0, err);
	start_ring(b, 0, 0);
	sm_vq_break(&b->dev.vq[0]);
	sm_vdev_broken(&b->dev);
	spin(b);
	assert_int_equal(eventfd_read(err, &v), 0);
	assert_false(b->gone);
	close(err);
}

static void test_hang_up(void **state)
{
	struct bench *b = *state;

	negotiate(b, false);
	set_memory(b);
	start_ring(b, 0, 0);
	sm_close(&b->fe);
	spin(b);
	assert_true(b->gone);
	assert_int_equal(b->gone_err, 0);
	expect_log(b, "start0 stop0 reset0 ");
}

static void test_message_in_pieces(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_header h = { SM_VHU_SET_MEM_TABLE, SM_VHU_VERSION | SM_VHU_NEED_REPLY,
				   TABLE_SIZE(1) };
	struct sm_vhu_memory m = one_region();
	uint64_t v;

	negotiate(b, false);
	send_raw(b, &h, 5, &b->memfd, 1);
	send_raw(b, (char *)&h + 5, sizeof(h) - 5, NULL, 0);
	send_raw(b, &m, 11, NULL, 0);
	assert_false(has_reply(b));
	send_raw(b, (char *)&m + 11, TABLE_SIZE(1) - 11, NULL, 0);
	assert_int_equal(recv_reply(b, SM_VHU_SET_MEM_TABLE, &v, sizeof(v)), 8);
	assert_int_equal(v, 0);
	sm_close(&b->fe);
	spin(b);
	assert_int_equal(b->gone_err, 0);
}

/* ---- nonsense ---- */

static void test_hang_up_within_message(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_header h = { SM_VHU_SET_MEM_TABLE, SM_VHU_VERSION, TABLE_SIZE(1) };

	send_raw(b, &h, sizeof(h), &b->memfd, 1);
	sm_close(&b->fe);
	spin(b);
	assert_int_equal(b->gone_err, -EPROTO);
}

static void test_wrong_version(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_header h = { SM_VHU_GET_FEATURES, 2, 0 };

	send_raw(b, &h, sizeof(h), NULL, 0);
	assert_int_equal(b->gone_err, -EPROTO);
}

static void test_endless_payload(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_header h = { SM_VHU_SET_MEM_TABLE, SM_VHU_VERSION, UINT32_MAX };

	send_raw(b, &h, sizeof(h), NULL, 0);
	assert_int_equal(b->gone_err, -EPROTO);
}

static void test_without_reply_ack_errors_end_it(void **state)
{
	struct bench *b = *state;

	set_u64(b, SM_VHU_SET_FEATURES, UINT64_MAX);
	assert_true(b->gone);
	assert_int_equal(b->gone_err, -EINVAL);
}

static void test_errors_are_answered(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_vring_addr a = addr_of(2);
	uint64_t v = UINT64_MAX;

	negotiate(b, false);
	set_memory(b);
	assert_int_equal(acked(b, SM_VHU_SET_FEATURES, &v, 8, NULL, 0), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_PROTOCOL_FEATURES, &v, 8, NULL, 0), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_FEATURES, &v, 4, NULL, 0), EINVAL);   /* short */
	assert_int_equal(acked(b, SM_VHU_SET_VRING_NUM, &a, 40, NULL, 0), EINVAL); /* long */
	assert_int_equal(acked(b, 6 /* SET_LOG_BASE */, &a, 16, NULL, 0), EOPNOTSUPP);
	assert_int_equal(acked(b, 4711, NULL, 0, NULL, 0), EOPNOTSUPP);
	assert_int_equal(acked(b, 0, NULL, 0, NULL, 0), EOPNOTSUPP);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), EINVAL);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_NUM, 2, 16), EINVAL);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_NUM, 0, 0), EINVAL);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_NUM, 0, 17), EINVAL);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_NUM, 0, 65536), EINVAL);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_BASE, 0, 65536), EINVAL);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_ENABLE, 0, 2), EINVAL);
	assert_false(b->gone);
	expect_log(b, "");
}

static void test_descriptors_missing_or_too_many(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_memory m = one_region();
	int two[2] = { b->memfd, b->memfd };
	uint64_t nofd = SM_VHU_VRING_NOFD, zero = 0, third = 2, flag = 1u << 9;

	negotiate(b, false);
	assert_int_equal(acked(b, SM_VHU_SET_MEM_TABLE, &m, TABLE_SIZE(1), NULL, 0), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_MEM_TABLE, &m, TABLE_SIZE(1), two, 2), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_MEM_TABLE, &m, TABLE_SIZE(1) - 1, two, 1), EINVAL);
	m.n = SM_VHU_REGIONS_MAX + 1;
	assert_int_equal(acked(b, SM_VHU_SET_MEM_TABLE, &m, TABLE_SIZE(1), two, 1), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_KICK, &zero, 8, NULL, 0), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_KICK, &zero, 8, two, 2), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_KICK, &nofd, 8, NULL, 0), EOPNOTSUPP);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_KICK, &nofd, 8, two, 1), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_CALL, &third, 8, two, 1), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ERR, &flag, 8, two, 1), EINVAL);
	assert_int_equal(acked(b, SM_VHU_SET_OWNER, NULL, 0, two, 1), EINVAL);
	assert_false(b->gone);
}

static void test_bad_regions(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_memory m;

	negotiate(b, false);
#define EXPECT(change, err)                                                                    \
	do {                                                                                   \
		m = one_region();                                                              \
		change;                                                                        \
		assert_int_equal(acked(b, SM_VHU_SET_MEM_TABLE, &m, TABLE_SIZE(1), &b->memfd, 1), \
				 err);                                                         \
	} while (0)
	EXPECT(m.region[0].size = 0, EINVAL);
	EXPECT(m.region[0].size = MEM_SIZE + 1, EINVAL);
	EXPECT(m.region[0].offset = 1, EINVAL);
	EXPECT(m.region[0].offset = UINT64_MAX, EINVAL);
	EXPECT(m.region[0].gpa = UINT64_MAX, EINVAL);
	EXPECT(m.region[0].uaddr = UINT64_MAX, EINVAL);
	EXPECT((void)0, 0);
#undef EXPECT
}

static void test_ring_outside_memory(void **state)
{
	struct bench *b = *state;
	struct sm_vhu_vring_addr a = addr_of(0);

	negotiate(b, false);
	set_memory(b);
	kick(b, 0);
	set_state(b, SM_VHU_SET_VRING_NUM, 0, 16);
	a.used = UADDR + MEM_SIZE - 8;
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), EFAULT);
	a.used = 0;
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), EFAULT);
	a = addr_of(0);
	a.desc += 4;
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), EINVAL);
	expect_log(b, "");
	a = addr_of(0);
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	expect_log(b, "start0 ");
	assert_int_equal(acked(b, SM_VHU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), EBUSY);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_NUM, 0, 8), EBUSY);
	assert_int_equal(acked_state(b, SM_VHU_SET_VRING_BASE, 0, 8), EBUSY);
}

static void test_device_refuses_to_start(void **state)
{
	struct bench *b = *state;

	negotiate(b, false);
	set_memory(b);
	b->start_err = -ENOMEM;
	start_ring(b, 0, 0);
	assert_int_equal(b->gone_err, -ENOMEM);
	expect_log(b, "start0 ");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_handshake),
		TEST(test_rings_start_disabled),
		TEST(test_rings_start_enabled_without_protocol_features),
		TEST(test_kick_before_addr),
		TEST(test_ring_works),
		TEST(test_config),
		TEST(test_table_replaced_while_running),
		TEST(test_pause_is_no_reset),
		TEST(test_call_changes_while_running),
		TEST(test_broken_queue_signals_err),
		TEST(test_hang_up),
		TEST(test_message_in_pieces),
		TEST(test_hang_up_within_message),
		TEST(test_wrong_version),
		TEST(test_endless_payload),
		TEST(test_without_reply_ack_errors_end_it),
		TEST(test_errors_are_answered),
		TEST(test_descriptors_missing_or_too_many),
		TEST(test_bad_regions),
		TEST(test_ring_outside_memory),
		TEST(test_device_refuses_to_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
