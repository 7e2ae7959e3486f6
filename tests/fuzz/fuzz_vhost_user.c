/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a front end may write to a vhost-user connection, in pieces:
 *
 *	byte 0: bits 0-1 number of descriptors, bit 2 eventfds instead of memory
 *	byte 1: length of the piece
 *	then the piece
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "virtio/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct device {
	struct sm_vdev dev; /* first */
	bool running[2];
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void config_read(struct sm_vdev *dev, size_t off, void *data, size_t len)
{
	check(off <= 8 && len <= 8 - off);
	memset(data, 1, len);
}

static int start(struct sm_vdev *dev, uint32_t index)
{
	struct device *d = (struct device *)dev;

	check(index < 2 && !d->running[index] && dev->vq[index].kick_fd >= 0);
	d->running[index] = true;
	return 0;
}

static void stop(struct sm_vdev *dev, uint32_t index)
{
	struct device *d = (struct device *)dev;

	check(index < 2 && d->running[index]);
	d->running[index] = false;
}

static void reset(struct sm_vdev *dev)
{
	struct device *d = (struct device *)dev;

	check(!d->running[0] && !d->running[1]);
}

static const struct sm_vdev_ops ops = {
	.name = "fuzz",
	.id = 99,
	.nqueues = 2,
	.config_size = 8,
	.config_read = config_read,
	.start = start,
	.stop = stop,
	.reset = reset,
};

static void gone(void *arg, int err)
{
	*(bool *)arg = true;
}

static void stop_loop(void *arg)
{
	sm_loop_stop(arg);
}

/* What a device would do with the rings it has. */
static void serve(struct device *d)
{
	struct iovec iov[SM_CHAIN_IOV_MAX];
	struct sm_chain c;

	for (int i = 0; i < 2; i++) {
		if (!d->running[i] || sm_vq_pop(&d->dev.vq[i], &c, iov, SM_CHAIN_IOV_MAX) <= 0)
			continue;
		sm_chain_write(&c, 0, "x", 1);
		sm_vq_push(&d->dev.vq[i], c.head, 1);
		sm_vq_notify(&d->dev.vq[i]);
	}
}

static void feed(struct sm_loop *loop, struct device *d, int fe, const uint8_t *data, size_t size,
		 const bool *over)
{
	int mem = memfd_create("fuzz", MFD_CLOEXEC), ev = eventfd(0, EFD_CLOEXEC);
	uint8_t sinkhole[4096];

	check(mem >= 0 && ev >= 0 && ftruncate(mem, 1 << 16) == 0);
	while (size > 2 && !*over) {
		size_t nfds = data[0] & 3, len = data[1];
		int fd = data[0] & 4 ? ev : mem;
		int fds[3] = { fd, fd, fd };

		if (len > size - 2)
			len = size - 2;
		if (len)
			sm_send_fds(fe, data + 2, len, fds, nfds);
		data += 2 + len;
		size -= 2 + len;
		for (int i = 0; i < 2; i++) {
			sm_loop_post(loop, stop_loop, loop);
			sm_loop_run(loop);
		}
		serve(d);
		recv(fe, sinkhole, sizeof(sinkhole), MSG_DONTWAIT);
	}
	close(mem);
	close(ev);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct device d = { .dev.ops = &ops };
	struct sm_loop *loop = sm_loop_new();
	struct sm_vhost_user *vu;
	bool over = false;
	int sv[2];

	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	check(loop && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	check(sm_vhost_user_new(loop, sv[0], &d.dev, gone, &over, &vu) == 0);
	feed(loop, &d, sv[1], data, size, &over);
	sm_vhost_user_free(vu);
	check(!d.running[0] && !d.running[1]);
	close(sv[1]);
	sm_loop_free(loop);
	return 0;
}
