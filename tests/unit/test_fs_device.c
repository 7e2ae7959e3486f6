/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fakedrv.h"
#include "fs_guest.h"

/* The device as its transport sees it: rings, threads, start and stop. */

struct dev {
	struct fg fg;
	struct fake_guest mem;
	struct fake_ring ring[2];
	struct sm_vdev *vdev;
	atomic_int broken;
	int broken_fd;
};

static void on_broken(struct sm_vdev *vdev, void *arg)
{
	struct dev *d = arg;

	d->broken++;
	eventfd_write(d->broken_fd, 1);
}

static void start(struct dev *d)
{
	for (uint32_t i = 0; i < 2; i++) {
		fake_ring_init(&d->mem, &d->ring[i], 64);
		fake_ring_attach(&d->ring[i], &d->mem, &d->vdev->vq[i]);
		assert_int_equal(sm_vq_start(&d->vdev->vq[i], 0), 0);
		assert_int_equal(d->vdev->ops->start(d->vdev, i), 0);
	}
}

static void stop(struct dev *d)
{
	for (uint32_t i = 0; i < 2; i++) {
		d->vdev->ops->stop(d->vdev, i);
		sm_vq_stop(&d->vdev->vq[i]);
		fake_ring_detach(&d->vdev->vq[i]);
	}
}

static int setup(void **state)
{
	struct dev *d = malloc(sizeof(*d));

	fg_start(&d->fg, NULL);
	d->vdev = sm_fs_vdev(d->fg.fs);
	d->broken = 0;
	d->broken_fd = eventfd(0, EFD_CLOEXEC);
	d->vdev->broken = on_broken;
	d->vdev->broken_arg = d;
	fake_guest_init(&d->mem, 4 << 20);
	start(d);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dev *d = *state;

	stop(d);
	fake_guest_fini(&d->mem);
	close(d->broken_fd);
	fg_end(&d->fg);
	free(d);
	return 0;
}

static void wait_fd(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
}

/* Waits for n replies on a queue. */
static void await(struct dev *d, uint32_t q, unsigned int n)
{
	uint32_t id, len;

	while (n > 0) {
		if (fake_used(&d->ring[q], &id, &len))
			n--;
		else
			wait_fd(d->vdev->vq[q].call_fd);
	}
}

static gpa_t request(struct dev *d, uint32_t q, uint32_t opcode, uint64_t nodeid, const void *arg,
		     uint32_t len, uint32_t room)
{
	struct fuse_in_header in = { .len = 40 + len, .opcode = opcode, .unique = 77,
				     .nodeid = nodeid };
	struct fake_buf b[3] = {
		{ fake_put(&d->mem, &in, sizeof(in)), sizeof(in), false },
		{ fake_put(&d->mem, arg, len ? len : 1), len, false },
		{ fake_alloc(&d->mem, room + 1), room, true },
	};
	uint16_t n = 2;

	if (len == 0)
		b[1] = b[2];
	else
		n = 3;
	if (room == 0)
		n--;
	fake_chain(&d->ring[q], b, n);
	return b[n - 1].gpa;
}

static int reply_error(struct dev *d, gpa_t at)
{
	struct fuse_out_header head;

	memcpy(&head, fake_ptr(&d->mem, at), sizeof(head));
	assert_int_equal(head.unique, 77);
	return head.error;
}

static void test_config(void **state)
{
	struct dev *d = *state;
	uint8_t config[40];

	assert_int_equal(d->vdev->ops->id, 26);
	assert_int_equal(d->vdev->ops->config_size, sizeof(config));
	d->vdev->ops->config_read(d->vdev, 0, config, sizeof(config));
	assert_string_equal((char *)config, "sm");
	assert_int_equal(config[36], 1);
	d->vdev->ops->config_read(d->vdev, 36, config, 4);
	assert_int_equal(config[0], 1);
}

static void test_one_request(void **state)
{
	struct dev *d = *state;
	struct fuse_getattr_in in = { 0 };
	gpa_t at = request(d, 1, FUSE_GETATTR, d->fg.rw, &in, sizeof(in), 200);

	fake_kick(&d->vdev->vq[1]);
	await(d, 1, 1);
	assert_int_equal(reply_error(d, at), 0);
}

/* Many at once, of which some take long, by all threads. */
static void test_burst(void **state)
{
	struct dev *d = *state;
	struct fuse_getattr_in getattr = { 0 };
	struct fuse_fsync_in fsync_in = { 0 };
	uint64_t f = fg_lookup(&d->fg, fg_lookup(&d->fg, d->fg.rw, "ro"), "file");
	gpa_t at[20];

	assert_int_equal(fg_open(&d->fg, f, O_RDWR, &fsync_in.fh), 0);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 20; i++) {
			if (i % 3 == 0)
				at[i] = request(d, 1, FUSE_FSYNC, f, &fsync_in, sizeof(fsync_in), 16);
			else
				at[i] = request(d, 1, FUSE_GETATTR, f, &getattr, sizeof(getattr), 200);
			if (i % 7 == 0)
				fake_kick(&d->vdev->vq[1]);
		}
		fake_kick(&d->vdev->vq[1]);
		await(d, 1, 20);
		for (int i = 0; i < 20; i++)
			assert_int_equal(reply_error(d, at[i]), 0);
	}
}

static void test_forget_on_hiprio(void **state)
{
	struct dev *d = *state;
	struct fuse_forget_in in = { 1 };
	uint64_t f = fg_lookup(&d->fg, d->fg.rw, "ro");
	struct fuse_attr attr;

	request(d, 0, FUSE_FORGET, f, &in, sizeof(in), 0);
	fake_kick(&d->vdev->vq[0]);
	await(d, 0, 1);
	assert_int_equal(fg_getattr(&d->fg, f, &attr), -ESTALE);
}

static void test_stop_and_start(void **state)
{
	struct dev *d = *state;
	struct fuse_getattr_in in = { 0 };
	gpa_t at;

	for (int i = 0; i < 20; i++) {
		at = request(d, 1, FUSE_GETATTR, d->fg.rw, &in, sizeof(in), 200);
		fake_kick(&d->vdev->vq[1]);
		await(d, 1, 1);
		assert_int_equal(reply_error(d, at), 0);
		stop(d);
		start(d);
	}
	d->vdev->ops->reset(d->vdev);
	at = request(d, 1, FUSE_GETATTR, d->fg.rw, &in, sizeof(in), 200);
	fake_kick(&d->vdev->vq[1]);
	await(d, 1, 1);
	assert_int_equal(reply_error(d, at), -EIO); /* a new session begins with INIT */
}

/* A buffer outside of guest memory: told to the transport once, and the threads still stop. */
static void test_broken_ring(void **state)
{
	struct dev *d = *state;
	struct fake_buf b = { 0x10, 100, false };

	fake_chain(&d->ring[1], &b, 1);
	fake_kick(&d->vdev->vq[1]);
	wait_fd(d->broken_fd);
	fake_kick(&d->vdev->vq[1]);
	stop(d);
	assert_int_equal(d->broken, 1);
	start(d);
	test_one_request(state);
}

static void test_useless_chains(void **state)
{
	struct dev *d = *state;
	gpa_t at = fake_alloc(&d->mem, 4096);
	struct fake_buf in = { at, 4096, true }, out = { at, 30, false };

	fake_chain(&d->ring[1], &in, 1);
	fake_chain(&d->ring[1], &out, 1);
	fake_kick(&d->vdev->vq[1]);
	await(d, 1, 2);
	assert_int_equal(d->broken, 0);
}

/* Three threads open directories, begin to read them and close them; together they have about as many
 * of them open as there are buffers, so that each takes those that the others are about to give
 * up. */
#define READERS 3
#define OPEN_EACH (FS_DIRBUFS / READERS + 1)
#define ROUNDS 3000

static void *read_directories(void *arg)
{
	struct fg *g = arg;
	uint64_t fh[OPEN_EACH] = { 0 };
	int bad = fs_worker_init(g->worker, g->fs);

	for (int i = 0; i < ROUNDS && bad == 0; i++) {
		uint64_t *h = &fh[i % OPEN_EACH];

		if (*h)
			bad |= fg_release(g, FUSE_RELEASEDIR, g->rw, *h);
		bad |= fg_opendir(g, g->rw, h);
		bad |= fg_read(g, FUSE_READDIR, g->rw, *h, 0, 64);
	}
	return bad ? g : NULL;
}

static void test_directories_side_by_side(void **state)
{
	struct dev *d = *state;
	struct fg *g = calloc(READERS, sizeof(*g));
	pthread_t id[READERS];
	void *bad;

	for (int i = 0; i < READERS; i++) {
		g[i].fs = d->fg.fs;
		g[i].rw = d->fg.rw;
		g[i].worker = calloc(1, sizeof(*g->worker));
		assert_int_equal(pthread_create(&id[i], NULL, read_directories, &g[i]), 0);
	}
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(id[i], &bad), 0);
		assert_null(bad);
		free(g[i].worker);
	}
	free(g);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_config),
		T(test_one_request),
		T(test_burst),
		T(test_forget_on_hiprio),
		T(test_stop_and_start),
		T(test_broken_ring),
		T(test_useless_chains),
		T(test_directories_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
