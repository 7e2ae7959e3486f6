/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the bridge that writes anything, and a guest that answers or does not: pieces of
 *
 *	byte 0: bits 0-5 how many bytes of the client follow; bit 6: a descriptor comes along; bit
 *7: the guest looks at what came for it, and answers by the first byte of the piece
 */
#include "config.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "unit/vsock_guest.h"
#include "vsock/bridge.h"

#define KEY 0x40000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* The kernel chooses a name that is in no file system. */
static int listen_somewhere(struct sockaddr_un *sa, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	check(bind(fd, (struct sockaddr *)sa, sizeof(sa->sun_family)) == 0);
	*len = sizeof(*sa);
	check(getsockname(fd, (struct sockaddr *)sa, len) == 0 && listen(fd, 4) == 0);
	return fd;
}

static void control(struct vg *v, uint32_t op, const void *body, uint32_t len)
{
	struct sm_vsock_hdr h = vg_hdr(v, SM_VSOCK_OP_RW, KEY, op);

	h.type = SM_VSOCK_DGRAM;
	h.len = len;
	vg_send(v, h, body);
}

/* HELLO, CREATE, LISTEN: at a port of the kernel's choice. */
static void listen_in_guest(struct vg *v)
{
	static const uint8_t hello[8] = { 1 };
	static const uint8_t create[16] = { 0, 0, 0, 0x40, 2, 0, 1 };
	static const uint8_t listener[8] = { 0, 0, 0, 0x40, 8 };

	control(v, 1040, hello, sizeof(hello));
	control(v, 1024, create, sizeof(create));
	control(v, 1029, listener, sizeof(listener));
}

static void answer(struct vg *v, uint8_t how)
{
	struct sm_vsock_hdr h;

	while (vg_recv(v, &h, NULL)) {
		vg_give_rx(v, 1);
		if (h.type != SM_VSOCK_STREAM)
			continue;
		vg_op(v,
		      h.op == SM_VSOCK_OP_REQUEST && !(how & 1) ? SM_VSOCK_OP_RESPONSE
								: SM_VSOCK_OP_RST,
		      h.dst_port, h.src_port);
	}
}

static void write_piece(int fd, const uint8_t *data, size_t len, bool with)
{
	int sv[2];

	if (!with) {
		send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		return;
	}
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	sm_send_fds(fd, data, len, sv, 1);
	close(sv[0]);
	close(sv[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct sm_vsock_tsi tsi = { 0 };
	struct sm_bridge *bridge;
	struct sockaddr_un sa;
	socklen_t len;
	struct vg v;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	vg_init(&v);
	check(sm_vsock_enable_tsi(v.vs, &tsi, NULL) == 0);
	check(sm_bridge_new(v.loop, v.vs, listen_somewhere(&sa, &len), 0, &bridge) == 0);
	vg_give_rx(&v, RING);
	listen_in_guest(&v);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(connect(fd, (struct sockaddr *)&sa, len) == 0);
	while (size) {
		uint8_t what = *data++;
		size_t n = what & 0x3f;

		size--;
		if (n > size)
			n = size;
		if (n)
			write_piece(fd, data, n, what & 0x40);
		vg_spin(&v);
		if (what & 0x80)
			answer(&v, n ? data[0] : 0);
		data += n;
		size -= n;
	}
	close(fd);
	vg_spin(&v);
	sm_bridge_free(bridge);
	vg_fini(&v);
	return 0;
}
