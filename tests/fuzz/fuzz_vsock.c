/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that sends any packets in any order, to a device whose host side uses it: steps of
 *
 *	byte 0: what (below), byte 1: how much
 */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "unit/vsock_guest.h"

#define PORTS 4u
#define FIRST_PORT 100u
#define STEPS_MAX 100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct host {
	struct vg v;
	int peer[PORTS];	/* our end of what the stream of each port is joined to, -1: none */
	int done[PORTS];	/* callbacks still to come */
	int drained;
	uint32_t rx_out;	/* buffers that the guest has given */
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void on_done(void *arg, int err)
{
	check(--*(int *)arg == 0);
}

static void on_drained(void *arg)
{
	check(++*(int *)arg <= STEPS_MAX);
}

static void on_accept(void *arg, int fd)
{
	close(fd);
}

static void expect(struct host *h, uint32_t i, bool connect)
{
	struct sm_vsock_stream s = { .done = on_done, .arg = &h->done[i] };
	int sv[2], r;

	if (h->peer[i] >= 0 || h->done[i])
		return;
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
	s.source = i & 1 ? -1 : sv[0];
	s.sink = i & 2 ? -1 : sv[0];
	r = connect ? sm_vsock_connect(h->v.vs, FIRST_PORT + i, &s, NULL) :
		      sm_vsock_expect(h->v.vs, FIRST_PORT + i, &s);
	if (r < 0 || (s.source < 0 && s.sink < 0))
		close(sv[0]);
	if (r == 0)
		h->done[i] = 1;
	h->peer[i] = sv[1];
}

static void let_work(struct host *h)
{
	struct sm_vsock_hdr hdr;
	uint32_t id, len;

	for (int i = 0; i < 3; i++) {
		sm_loop_post(h->v.loop, vg_stop_loop, h->v.loop);
		sm_loop_run(h->v.loop);
	}
	while (fake_used(&h->v.ring[TX], &id, &len))
		;
	while (vg_recv(&h->v, &hdr, NULL)) {
		check(hdr.src_cid == SM_VSOCK_HOST_CID || hdr.op == SM_VSOCK_OP_RST);
		check(hdr.op >= SM_VSOCK_OP_REQUEST && hdr.op <= SM_VSOCK_OP_CREDIT_REQUEST);
		check(hdr.len == 0 || hdr.op == SM_VSOCK_OP_RW);
		h->rx_out--;
	}
}

/* A header of fuzzed fields, the ports and addresses mostly such that they hit. */
static void guest_packet(struct host *h, const uint8_t *p, uint32_t len)
{
	struct sm_vsock_hdr hdr = vg_hdr(&h->v, p[0] & 15, FIRST_PORT + (p[1] & 3),
					 FIRST_PORT + (p[1] >> 2 & 7));

	if (p[1] & 0x80)
		hdr.dst_port = (1u << 20) + 1 + (p[1] >> 2 & 7); /* what connect() made */
	hdr.type = (p[0] & 0x70) == 0x70 ? p[2] : SM_VSOCK_STREAM;
	hdr.flags = p[2];
	hdr.fwd_cnt = (uint32_t)p[3] << (p[2] & 15);
	hdr.buf_alloc = (uint32_t)p[3] << (p[2] >> 4);
	if (p[0] & 0x80)
		hdr.src_cid = p[2];
	hdr.len = len;
	if (h->v.ring[TX].avail_idx - h->v.ring[TX].seen_used + 2u > RING)
		return; /* stands still because its refusals have no buffers */
	vg_put(&h->v, &hdr, NULL);
	fake_kick(&h->v.dev->vq[TX]);
}

static void step(struct host *h, const uint8_t *p)
{
	static uint8_t bytes[65536];
	uint32_t i = p[1] & 3, n = p[1] & 15;

	switch (p[0] >> 5) {
	case 0:
	case 1:
		guest_packet(h, p + 1, p[0] & 16 ? (p[0] & 15u) << 12 : p[0] & 15);
		break;
	case 2:
		if (h->rx_out + n <= RING) {
			h->rx_out += n;
			vg_give_rx(&h->v, n);
		}
		break;
	case 3:
		expect(h, i, p[1] & 16);
		break;
	case 4:
		if (h->peer[i] >= 0 && send(h->peer[i], bytes, (size_t)p[2] << 8, MSG_NOSIGNAL) < 0)
			break;
		break;
	case 5:
		if (h->peer[i] >= 0 && recv(h->peer[i], bytes, sizeof(bytes), 0) < 0)
			break;
		break;
	case 6:
		if (p[1] & 16 && sm_vsock_abort(h->v.vs, FIRST_PORT + i) == 0)
			h->done[i] = 0;
		else if (!(p[1] & 16))
			sm_vsock_drain(h->v.vs, FIRST_PORT + i, on_drained, &h->drained);
		break;
	default:
		if (h->peer[i] >= 0)
			close(h->peer[i]);
		h->peer[i] = -1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct host *h = calloc(1, sizeof(*h));

	check(h);
	signal(SIGPIPE, SIG_IGN);
	vg_init(&h->v);
	sm_vsock_listen(h->v.vs, FIRST_PORT + PORTS, on_accept, NULL);
	for (uint32_t i = 0; i < PORTS; i++)
		h->peer[i] = -1;
	for (int i = 0; i < STEPS_MAX && size >= 6; i++, data += 6, size -= 6) {
		step(h, data);
		let_work(h);
	}
	check(h->v.broken == 0);
	for (uint32_t i = 0; i < PORTS; i++) {
		if (h->peer[i] >= 0)
			close(h->peer[i]);
	}
	vg_fini(&h->v);
	for (uint32_t i = 0; i < PORTS; i++)
		check(h->done[i] == 0); /* each stream has ended, once */
	free(h);
	return 0;
}
