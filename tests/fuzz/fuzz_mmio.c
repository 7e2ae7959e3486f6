/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest with two virtio-mmio windows in one memory: the first is driven as the input says, the
 * second, a neighbour, must go on serving. Steps of
 *
 *	byte 0: what (below) and a few bits	bytes 1-7: how
 *
 * The first device echoes, holds what it popped, or refuses to start. After each step the transport
 * must say what is true of the device; at the end a well-behaved driver finds both devices working.
 */
#include "config.h"

#include "base/log.h"
#include "unit/mmio_guest.h"

#define SIZE 8
#define MEM (64u << 10)
#define STEPS_MAX 200
#define STEP 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct guest {
	struct fake_guest g;
	struct echo e, neighbour_e;
	struct mg d, neighbour;
	size_t scratch;		/* g.next: what is allocated above it is given back */
};

enum { WRITE, READ, BOOT, POKE, CHAIN, SERVE, DEVICE, QUEUE, STEP_NUM };

static void check(bool ok)
{
	if (!ok)
		abort();
}

static uint32_t word(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint16_t half(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

/* A register mostly, by its number; any offset and width otherwise. */
static void access_window(struct guest *g, const uint8_t *p, bool write)
{
	uint8_t data[16 + 1];
	bool plain = p[0] & 0x80;
	uint64_t off = plain ? (p[1] & 0x3fu) * 4 : half(p + 1);
	size_t len = plain ? 4 : p[3] & 15;

	memset(data, 0xaa, sizeof(data));
	memcpy(data, p + 4, 4);
	if (p[0] & 0x40 && !plain)
		off = 0 - off;
	if (p[0] & 0x20) /* small numbers */
		memset(data + 1, 0, 3);
	sm_mmio_access(g->d.m, off, data, len, write);
	for (size_t i = len < 4 ? 4 : len; i < sizeof(data); i++)
		check(data[i] == 0xaa);
}

static void boot(struct guest *g, const uint8_t *p)
{
	mg_negotiate(&g->d, p[1] & 1 ? (uint64_t)word(p + 2) << (p[1] >> 2) : mg_offered(&g->d));
	if (p[1] & 2)
		g->d.ring[0].size = g->d.ring[1].size = 0;
	for (uint32_t i = 0; i < ECHO_QUEUES; i++) {
		if (!g->d.ring[i].size)
			g->g.next = g->scratch + i * 1024;
		if (!(p[0] >> i & 0x20))
			mg_place_ring(&g->d, i, SIZE);
	}
	mg_add_status(&g->d, S_DRIVER_OK);
}

/* Rings anywhere in memory, and a bit outside. */
static void place(struct guest *g, const uint8_t *p)
{
	gpa_t at = FAKE_GPA + half(p + 2);

	mg_place(&g->d, p[1] & 3, 1u << (p[1] >> 2 & 7), at, at + 16 * (p[4] & 31), at + 16 * p[5]);
	if (p[0] & 0x80)
		mg_write(&g->d, VIRTIO_MMIO_QUEUE_READY, p[0] >> 5 & 1);
}

static void poke(struct guest *g, const uint8_t *p)
{
	uint32_t at = half(p + 1);

	/* Where the rings of a boot lie, more often than not. */
	if (p[0] & 0x80)
		at = (uint32_t)g->scratch + at % 2048;
	for (uint32_t i = 0; i < 4 && at + i >= g->scratch && at + i < MEM; i++)
		g->g.mem[at + i] = p[3 + i];
}

/* One descriptor as it comes and one in memory, published on a ring as boot() places it. */
static void chain(struct guest *g, const uint8_t *p)
{
	struct fake_ring *r = &g->d.ring[p[0] >> 5 & 1];
	struct fake_buf b[2] = { { FAKE_GPA + half(p + 1), half(p + 3), p[0] & 0x40 },
				 { FAKE_GPA + MEM / 2 + p[5], 64, true } };
	uint16_t head;

	if (!r->size)
		return;
	head = fake_describe(r, b, 2);
	r->desc[head].flags ^= p[6] & 7;
	if (p[0] & 0x80)
		r->desc[head].next = p[7];
	fake_publish(r, head);
	mg_notify(&g->d, p[0] >> 5 & 1);
}

static void device(struct guest *g, const uint8_t *p)
{
	g->e.hold = p[0] & 0x20;
	g->e.start_err = p[0] & 0x40 ? -5 : 0;
	if (p[0] & 0x80)
		sm_vdev_config_changed(&g->e.vdev);
}

static void step(struct guest *g, const uint8_t *p)
{
	switch (p[0] % STEP_NUM) {
	case WRITE:
	case READ:
		access_window(g, p, p[0] % STEP_NUM == WRITE);
		break;
	case BOOT:
		boot(g, p);
		break;
	case POKE:
		poke(g, p);
		break;
	case CHAIN:
		chain(g, p);
		break;
	case SERVE:
		echo_serve(&g->e);
		break;
	case DEVICE:
		device(g, p);
		break;
	default:
		place(g, p);
	}
}

static bool neighbour_works(struct guest *g)
{
	size_t next = g->g.next;
	bool ok;

	g->g.next = MEM - 64;
	ok = echo_works(&g->neighbour_e, &g->neighbour, 0) &&
	     mg_status(&g->neighbour) == S_RUNS;
	g->g.next = next;
	return ok;
}

static void check_state(struct guest *g)
{
	uint32_t status = mg_status(&g->d);
	uint32_t irq = mg_read(&g->d, VIRTIO_MMIO_INTERRUPT_STATUS);

	check(mg_read(&g->d, VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
	check(!(status & ~(S_RUNS | S_FAILED | S_NEEDS_RESET)));
	check(!(irq & ~3u) && !!(irq & VIRTIO_MMIO_INT_VRING) == !!(status & S_DRIVER_OK));
	for (uint32_t i = 0; i < ECHO_QUEUES; i++) {
		const struct sm_vq *vq = &g->e.vdev.vq[i];

		check(g->e.q[i].running == vq->started);
		check(!vq->started || ((status & S_RUNS) == S_RUNS && !(status & S_FAILED)));
		check(!vq->started || vq->size <= 64);
		/* A broken one was told of. */
		check(!vq->started || !vq->broken || (status & S_NEEDS_RESET));
	}
	check(!(status & S_FEATURES_OK) || !(g->e.features & ~(F_ECHO | SM_VQ_FEATURES)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest *g = calloc(1, sizeof(*g));

	check(g);
	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	fake_guest_init(&g->g, MEM);
	echo_init(&g->neighbour_e);
	mg_init(&g->neighbour, &g->g, &g->neighbour_e.vdev, mg_call, NULL);
	check(mg_boot(&g->neighbour, SIZE));
	g->scratch = g->g.next;
	echo_init(&g->e);
	mg_init(&g->d, &g->g, &g->e.vdev, mg_call, NULL);
	for (int i = 0; i < STEPS_MAX && size >= STEP; i++, data += STEP, size -= STEP) {
		step(g, data);
		check_state(g);
	}
	/* Whatever the first did to guest memory, the second's transport is as it was. */
	check(mg_status(&g->neighbour) == S_RUNS);
	check(mg_boot(&g->neighbour, SIZE) && neighbour_works(g));
	g->e.hold = false;
	g->e.start_err = 0;
	g->d.ring[0].size = g->d.ring[1].size = 0;
	g->g.next = g->scratch;
	check(mg_boot(&g->d, SIZE) && echo_works(&g->e, &g->d, 1));
	mg_fini(&g->d);
	mg_fini(&g->neighbour);
	fake_guest_fini(&g->g);
	free(g);
	return 0;
}
