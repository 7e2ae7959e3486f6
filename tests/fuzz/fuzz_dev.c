/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does what it likes with one of the small devices:
 *
 *	byte 0: bits 0-1 console, rng, balloon (twice); bit 2 event index, bit 3 indirect,
 *		bits 4-6 log2 of the queue size; bit 7: the console's text goes to a pipe
 *	steps of 8 bytes: what and queue, then what it takes (step())
 *
 * Memory is 64 pages. The rings of queue i lie in page i: table, at 0x800 what is available, at
 * 0xc00 what is used.
 */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "dev/balloon.h"
#include "dev/console.h"
#include "dev/rng.h"
#include "unit/dev_guest.h"

#define PAGE      4096u
#define MEM       (64 * PAGE)
#define STEPS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);

struct guest {
	struct dg d;
	struct sm_vcon *vcon;
	struct sm_rng *rng;
	struct sm_balloon *balloon;
	int reader; /* of the console's text */
	int starts;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Random, but each time the same. */
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(i * 37 + (i >> 8));
	return (ssize_t)len;
}

static int text_writer(struct guest *g, bool through_pipe)
{
	int fd[2];

	if (through_pipe)
		check(pipe2(fd, O_CLOEXEC | O_NONBLOCK) == 0);
	else
		check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
	g->reader = fd[0];
	return fd[1];
}

static struct sm_vdev *make_device(struct guest *g, uint8_t what)
{
	switch (what & 3) {
	case 0:
		check(sm_vcon_new(g->d.loop, text_writer(g, what & 0x80), &g->vcon) == 0);
		return sm_vcon_vdev(g->vcon);
	case 1:
		check(sm_rng_new(g->d.loop, &g->rng) == 0);
		return sm_rng_vdev(g->rng);
	default:
		check(sm_balloon_new(g->d.loop, &g->balloon) == 0);
		return sm_balloon_vdev(g->balloon);
	}
}

static void place_ring(struct guest *g, uint32_t i, uint16_t size)
{
	struct fake_ring *r = &g->d.ring[i];

	*r = (struct fake_ring){ .size = size,
				 .desc_gpa = FAKE_GPA + i * PAGE,
				 .avail_gpa = FAKE_GPA + i * PAGE + 0x800,
				 .used_gpa = FAKE_GPA + i * PAGE + 0xc00 };
	r->desc = fake_ptr(&g->d.g, r->desc_gpa);
	r->avail = fake_ptr(&g->d.g, r->avail_gpa);
	r->used = fake_ptr(&g->d.g, r->used_gpa);
}

static void init(struct guest *g, uint8_t what)
{
	struct dg *d = &g->d;

	memset(g, 0, sizeof(*g));
	g->reader = -1;
	dg_init(d);
	d->dev = make_device(g, what);
	d->dev->broken = dg_broken;
	d->dev->config_changed = dg_changed;
	d->dev->config_changed_arg = d;
	d->dev->broken_arg = d;
	fake_guest_init(&d->g, MEM);
	for (uint32_t i = 0; i < d->dev->ops->nqueues; i++) {
		place_ring(g, i, (uint16_t)(1u << (what >> 4 & 7)));
		fake_ring_attach(&d->ring[i], &d->g, &d->dev->vq[i]);
		d->dev->vq[i].event_idx = what & 4;
		d->dev->vq[i].indirect = what & 8;
		dg_start(d, i, 0);
		g->starts++;
	}
}

static void fini(struct guest *g)
{
	dg_detach(&g->d);
	sm_vcon_free(g->vcon);
	sm_rng_free(g->rng);
	sm_balloon_free(g->balloon);
	dg_fini(&g->d);
	if (g->reader >= 0)
		close(g->reader);
}

/* A descriptor, of a page and an offset in it, with a length that may be of many pages; the same
 * p[6] times over, one after the other. */
static void write_desc(struct fake_ring *r, const uint8_t *p)
{
	for (int n = 0; n <= p[6] % 128; n++) {
		struct vring_desc *d = &r->desc[(p[0] + n) % 128];

		d->addr = FAKE_GPA + (uint64_t)p[1] * PAGE + p[2];
		d->len = (uint32_t)p[3] << (p[4] >> 4);
		d->flags = p[4] & 7;
		d->next = p[6] ? (uint16_t)((p[0] + n + 1) % 128) : p[5] % 128;
	}
}

static void restart(struct guest *g, uint32_t i, const uint8_t *p)
{
	uint16_t base = dg_stop(&g->d, i);

	if (p[0] & 1)
		g->d.dev->ops->reset(g->d.dev);
	dg_start(&g->d, i, p[0] & 2 ? base : p[1]);
	g->starts++;
}

static void configure(struct guest *g, const uint8_t *p)
{
	const struct sm_vdev_ops *ops = g->d.dev->ops;
	uint8_t config[8];
	size_t off = p[0] % 8, len = p[1] % (9 - off);

	if (!ops->config_size)
		return;
	ops->config_write(g->d.dev, off, p, len < 6 ? len : 6);
	ops->config_read(g->d.dev, off, config, len);
	sm_balloon_set_target(g->balloon, p[2]);
}

static void read_text(struct guest *g)
{
	static uint8_t text[65536];

	if (g->reader >= 0 && read(g->reader, text, sizeof(text)) < 0)
		return;
}

static void step(struct guest *g, const uint8_t *p)
{
	uint32_t i = (p[0] & 15) % g->d.dev->ops->nqueues;
	struct fake_ring *r = &g->d.ring[i];
	uint8_t *mem = g->d.g.mem;

	switch (p[0] >> 4 & 7) {
	case 0:
	case 1:
		write_desc(r, p + 1);
		break;
	case 2: /* some heads */
		for (int n = 0; n < 6; n++)
			r->avail->ring[(p[1] + n) % r->size] = p[2 + n];
		break;
	case 3: /* new chains, as many as there are or far too many */
		r->avail->idx = (uint16_t)(r->avail->idx + p[1] + (p[2] << 8));
		break;
	case 4: /* any bytes anywhere */
		memcpy(mem + p[1] % 64 * PAGE + p[2] * 16u, p + 3, 5);
		break;
	case 5: /* page numbers, mostly good ones */
		for (uint32_t n = 0; n < 64; n++) {
			uint32_t pfn = (FAKE_GPA >> 12) + (p[2] + n * p[3]) % (p[4] | 1);

			memcpy(mem + p[1] % 64 * PAGE + 4 * n, &pfn, sizeof(pfn));
		}
		break;
	case 6:
		restart(g, i, p + 1);
		break;
	default:
		configure(g, p + 1);
		read_text(g);
	}
	fake_kick(&g->d.dev->vq[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest g;

	if (!size)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	init(&g, data[0]);
	data++;
	size--;
	for (int i = 0; i < STEPS_MAX && size >= 8; i++, data += 8, size -= 8) {
		step(&g, data);
		dg_spin(&g.d, 3);
	}
	check(g.d.broken <= g.starts); /* at most once for each start */
	fini(&g);
	return 0;
}
