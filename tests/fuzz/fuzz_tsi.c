/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that speaks TSI in any order, with a network that the input plays: the socket calls are
 * wrapped (by the linker) such that each socket is one end of a pair. Steps of
 *
 *	byte 0: what (below), then a number of bytes for it
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/log.h"
#include "unit/vsock_guest.h"

#define KEYS      4u
#define FIRST_KEY 0x40000000u
#define OUT       620u
#define STEPS_MAX 200
#define PEERS     64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The network: what its calls answer, and the other ends. One input at a time. */
static struct {
	int peers[PEERS];
	uint32_t npeers;
	uint8_t mood;    /* which calls fail, and how */
	int connections; /* that listeners have */
} net;

static void check(bool ok)
{
	if (!ok)
		abort();
}

static int fails(uint8_t bit, int error)
{
	if (!(net.mood & bit))
		return 0;
	errno = error;
	return -1;
}

static int pair(int type)
{
	int sv[2];

	if (net.npeers == PEERS ||
	    socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv)) {
		errno = EMFILE;
		return -1;
	}
	net.peers[net.npeers++] = sv[1];
	return sv[0];
}

int __wrap_socket(int family, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *a, socklen_t len);
int __wrap_listen(int fd, int n);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags);
int __wrap_getsockname(int fd, struct sockaddr *a, socklen_t *len);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);

int __wrap_socket(int family, int type, int protocol)
{
	check(family == AF_INET || family == AF_INET6);
	return fails(1, EACCES) ? -1 : pair(type & SOCK_DGRAM ? SOCK_DGRAM : SOCK_STREAM);
}

int __wrap_connect(int fd, const struct sockaddr *a, socklen_t len)
{
	check(len == (a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					       : sizeof(struct sockaddr_in)));
	return fails(2, EINPROGRESS) ? -1 : fails(4, ECONNREFUSED);
}

int __wrap_bind(int fd, const struct sockaddr *a, socklen_t len)
{
	return fails(8, EADDRINUSE);
}

int __wrap_listen(int fd, int n)
{
	return fails(16, EOPNOTSUPP);
}

static void loopback(struct sockaddr *a, socklen_t *len)
{
	const struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(80) };

	memcpy(a, &in, sizeof(in));
	*len = sizeof(in);
}

int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
	if (!net.connections || fails(32, ECONNABORTED)) {
		errno = net.connections ? errno : EAGAIN;
		return -1;
	}
	net.connections--;
	loopback(a, len);
	return pair(SOCK_STREAM);
}

int __wrap_getsockname(int fd, struct sockaddr *a, socklen_t *len)
{
	loopback(a, len);
	return fails(64, ENOBUFS);
}

/* The pairs have no addresses. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct msghdr copy = *m;

	copy.msg_name = copy.msg_control = NULL;
	copy.msg_namelen = 0;
	copy.msg_controllen = 0;
	return __real_sendmsg(fd, &copy, flags);
}

struct guest {
	struct vg v;
	uint32_t rx_out;    /* buffers that it has given */
	uint32_t host_port; /* of the last connection */
};

static void let_work(struct guest *g)
{
	const uint8_t *data;
	struct sm_vsock_hdr h;
	uint32_t id, len;

	for (int i = 0; i < 3; i++) {
		sm_loop_post(g->v.loop, vg_stop_loop, g->v.loop);
		sm_loop_run(g->v.loop);
	}
	while (fake_used(&g->v.ring[TX], &id, &len))
		;
	while (vg_recv(&g->v, &h, &data)) {
		check(h.op >= SM_VSOCK_OP_REQUEST && h.op <= SM_VSOCK_OP_CREDIT_REQUEST);
		check(h.type == SM_VSOCK_DGRAM || h.len == 0 || h.op == SM_VSOCK_OP_RW);
		if (h.type == SM_VSOCK_DGRAM && h.src_port == 1045) {
			check(h.len == 272);
			memcpy(&g->host_port, data, 4);
		}
		g->rx_out--;
	}
}

static void put(struct guest *g, struct sm_vsock_hdr h, const void *body)
{
	if (g->v.ring[TX].avail_idx - g->v.ring[TX].seen_used + 2u > RING)
		return; /* it stands still, for want of rx buffers */
	vg_put(&g->v, &h, body);
	fake_kick(&g->v.dev->vq[TX]);
}

/* Bodies are made such that most of them mean something: a key, a length, an address. */
static void control(struct guest *g, const uint8_t *p)
{
	static const uint16_t ops[] = { 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031,
					1040, 1041, 1042, 1043, 1045, 1046, 1047, 1048 };
	uint32_t key = FIRST_KEY + (p[1] & 3), len = p[2] & 0x80 ? p[3] * 4u : 320;
	struct sm_vsock_hdr h = vg_hdr(&g->v, SM_VSOCK_OP_RW, key, ops[p[0] & 15]);
	uint8_t body[1024] = { 0 };
	uint32_t at;

	memcpy(body, &key, 4);
	memcpy(body + 4,
	       p[2] & 1   ? &(uint32_t){ 16 }
	       : p[2] & 2 ? &g->host_port
			  : &(uint32_t){ OUT },
	       4);
	body[8] = p[2] & 4 ? 10 : 2;
	if (h.dst_port == 1024) {
		body[4] = p[2] & 4 ? 10 : 2;
		body[5] = 0;
		body[6] = p[2] & 8 ? 2 : 1;
		body[7] = 0;
		body[12] = p[2] >> 4 & 1;
	}
	if (h.dst_port == 1040)
		memcpy(body, &(uint32_t){ 1 }, 4);
	if (h.dst_port == 1047)
		memset(body, 0, 4);
	for (int i = 4; i < 8; i += 2) {
		at = p[i];
		body[at < 64 ? at : 0] ^= at < 64 ? p[i + 1] : 0;
	}
	h.type = SM_VSOCK_DGRAM;
	h.len = len;
	h.buf_alloc = (uint32_t)p[3] << (p[2] & 15);
	put(g, h, body);
}

static void stream(struct guest *g, const uint8_t *p)
{
	static uint8_t bytes[65536];
	struct sm_vsock_hdr h =
		vg_hdr(&g->v, p[0] & 7, FIRST_KEY + (p[1] & 3), p[1] & 4 ? g->host_port : OUT);

	h.flags = p[2];
	h.fwd_cnt = (uint32_t)p[3] << (p[2] & 15);
	h.buf_alloc = (uint32_t)p[4] << (p[5] & 31);
	h.len = p[0] & 8 ? (uint32_t)p[6] << 8 : p[6];
	put(g, h, bytes);
}

static void peer(const uint8_t *p)
{
	static uint8_t bytes[65536];
	int *fd = net.npeers ? &net.peers[p[1] % net.npeers] : NULL;

	if (!fd || *fd < 0)
		return;
	if (p[0] & 1 &&
	    __real_sendmsg(*fd,
			   &(struct msghdr){ .msg_iov = &(struct iovec){ bytes, (size_t)p[2] << 8 },
					     .msg_iovlen = 1 },
			   MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
	if (p[0] & 2 && recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
		return;
	if (p[0] & 4)
		shutdown(*fd, p[2] % 3);
	if (p[0] & 8) {
		close(*fd);
		*fd = -1;
	}
}

static void step(struct guest *g, const uint8_t *p)
{
	uint32_t n = p[1] & 15;

	switch (p[0] & 7) {
	case 0:
	case 1:
	case 2:
		control(g, p + 1);
		break;
	case 3:
	case 4:
		stream(g, p + 1);
		break;
	case 5:
		if (g->rx_out + n <= RING) {
			g->rx_out += n;
			vg_give_rx(&g->v, n);
		}
		break;
	case 6:
		peer(p + 1);
		break;
	default:
		net.mood = p[1];
		net.connections = p[2] & 7;
		/* Somebody connects: the listeners' sockets become readable. */
		for (uint32_t i = 0; net.connections && i < net.npeers; i++)
			if (net.peers[i] >= 0 &&
			    send(net.peers[i], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
				continue;
	}
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct sm_vsock_tsi config = { .policy = "deny 10.0.0.0/8",
					     .ports = "80:81",
					     .flows_max = 12 };
	struct guest *g = calloc(1, sizeof(*g));
	struct sm_vsock_counters c;
	int before = count_fds();

	check(g);
	memset(&net, 0, sizeof(net));
	signal(SIGPIPE, SIG_IGN);
	sm_log_setup(-1, SM_LOG_TEXT, SM_LOG_ERROR);
	vg_init(&g->v);
	check(sm_vsock_enable_tsi(g->v.vs, &config, NULL) == 0);
	for (int i = 0; i < STEPS_MAX && size >= 9; i++, data += 9, size -= 9) {
		step(g, data);
		let_work(g);
		sm_vsock_counters(g->v.vs, &c);
		check(c.flows <= config.flows_max + 1 && c.listeners <= c.flows);
	}
	check(g->v.broken == 0);
	vg_fini(&g->v);
	for (uint32_t i = 0; i < net.npeers; i++)
		if (net.peers[i] >= 0)
			close(net.peers[i]);
	check(count_fds() == before);
	free(g);
	return 0;
}
