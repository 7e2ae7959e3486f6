/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tsi_guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/io.h"
#include "vsock/bridge.h"
#include "vsock/services.h"

/* The ways between the guest and programs of the host: the bridge, sockets at ports, the
 * environment, connections that are handed over. */

struct world {
	struct vg v;
	struct sm_bridge *bridge;
	struct sm_services *services;
	char dir[64], path[96];
};

static int listen_at(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 2048), 0);
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static int setup_with(void **state, uint64_t line_ns)
{
	struct world *w = calloc(1, sizeof(*w));

	tg_init(&w->v, NULL, "8080:80", 0);
	assert_int_equal(tg_hello(&w->v), 0);
	snprintf(w->dir, sizeof(w->dir), "/tmp/sm-services-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/vsock.sock", w->dir);
	assert_int_equal(sm_bridge_new(w->v.loop, w->v.vs, listen_at(w->path), line_ns, &w->bridge),
			 0);
	assert_int_equal(sm_services_new(w->v.vs, &w->services), 0);
	*state = w;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, 0);
}

static int setup_hasty(void **state)
{
	return setup_with(state, 50000000);
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

static int teardown(void **state)
{
	struct world *w = *state;

	sm_bridge_free(w->bridge);
	vg_fini(&w->v);
	sm_services_free(w->services);
	unlink(w->path);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* What comes to a client of the host while the device works; "" at the end. */
static void hear(struct world *w, int fd, char *text, size_t size)
{
	size_t n = 0;

	for (int i = 0; i < 2000 && n + 1 < size; i++) {
		ssize_t r = recv(fd, text + n, 1, MSG_DONTWAIT);

		if (r == 0)
			break;
		if (r > 0 && text[n++] == '\n')
			break;
		if (r > 0)
			continue;
		if (errno == ECONNRESET) /* it did not read all that we sent */
			break;
		assert_int_equal(errno, EAGAIN);
		vg_spin(&w->v);
		if (i > 10)
			usleep(1000);
	}
	text[n] = '\0';
}

static void expect_line(struct world *w, int fd, const char *want)
{
	char text[256];

	hear(w, fd, text, sizeof(text));
	assert_string_equal(text, want);
}

static void tell(struct world *w, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	vg_spin(&w->v);
}

static void expect_refusal(struct world *w, const char *line, const char *want)
{
	int fd = connect_to(w->path);

	tell(w, fd, line);
	expect_line(w, fd, want);
	expect_line(w, fd, "");
	close(fd);
}

/* ---- CONNECT ---- */

static void test_connect(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int fd = connect_to(w->path);
	char want[32], buf[16];
	struct msg m;

	tell(w, fd, "CONN");
	tell(w, fd, "ECT 5000\nfirst");
	assert_true(tg_recv(v, &m));
	assert_int_equal(m.h.op, SM_VSOCK_OP_REQUEST);
	assert_int_equal(m.h.dst_port, 5000);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	vg_op(v, SM_VSOCK_OP_RESPONSE, 5000, m.h.src_port);
	snprintf(want, sizeof(want), "OK %u\n", m.h.src_port);
	expect_line(w, fd, want);
	tg_stream(v, SM_VSOCK_OP_RW, 5000, m.h.src_port, &m);
	assert_int_equal(m.h.len, 5);
	assert_memory_equal(m.b, "first", 5);
	vg_data(v, 5000, m.h.src_port, "reply\n", 6);
	expect_line(w, fd, "reply\n");
	vg_op(v, SM_VSOCK_OP_RST, 5000, m.h.src_port);
	expect_line(w, fd, "");
	close(fd);
}

static void test_connect_refused(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w->path);
	struct msg m;

	tell(w, fd, "CONNECT 4294967295\r\n");
	assert_true(tg_recv(&w->v, &m));
	assert_int_equal(m.h.dst_port, UINT32_MAX);
	vg_op(&w->v, SM_VSOCK_OP_RST, UINT32_MAX, m.h.src_port);
	expect_line(w, fd, "");
	close(fd);
}

static void test_bad_lines(void **state)
{
	struct world *w = *state;
	char line[200];

	expect_refusal(w, "GET / HTTP/1.1\n", "ERROR must be CONNECT or ACCEPT\n");
	expect_refusal(w, "\n", "ERROR must be CONNECT or ACCEPT\n");
	expect_refusal(w, "CONNECT \n", "ERROR CONNECT: must be followed by a port\n");
	expect_refusal(w, "CONNECT -1\n", "ERROR CONNECT: must be followed by a port\n");
	expect_refusal(w, "CONNECT 4294967296\n", "ERROR CONNECT: must be followed by a port\n");
	expect_refusal(w, "CONNECT 12x\n", "ERROR CONNECT: must be followed by a port\n");
	expect_refusal(w, "CONNECT 1 2\n", "ERROR CONNECT: must be followed by a port\n");
	memset(line, 'A', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	expect_refusal(w, line, "ERROR the line is too long\n");
	assert_true(tg_quiet(&w->v));
}

static void test_bad_accepts(void **state)
{
	static const char *const bad[] = {
		"ACCEPT \n",
		"ACCEPT 0\n",
		"ACCEPT 65536\n",
		"ACCEPT 80 16385\n",
		"ACCEPT 80 0 1.2.3.4\n",
		"ACCEPT 80 0 1.2.3:4\n",
		"ACCEPT 80 0 1.2.3.4:65536\n",
		"ACCEPT 80 0 [::1]\n",
		"ACCEPT 80 0 [::1:4\n",
		"ACCEPT 80 0 ::1:4\n",
		"ACCEPT *x\n",
		"ACCEPT 80 0 1.2.3.4:5 6\n",
		"ACCEPT 80 0 :\n",
		"ACCEPT 80 0 [:]:1\n",
		"ACCEPT 80 0 ]:1\n",
	};
	struct world *w = *state;

	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++)
		expect_refusal(w, bad[i],
			       "ERROR ACCEPT: must be followed by PORT or *, LENGTH, "
			       "ADDRESS:PORT\n");
	expect_refusal(w, "ACCEPT 80\n", "ERROR no descriptor came along\n");
}

/* One that says nothing, one whose guest does not answer. */
static void test_time(void **state)
{
	struct world *w = *state;
	int before = count_fds();
	int idle = connect_to(w->path), asking = connect_to(w->path);
	struct msg m;

	tell(w, asking, "CONNECT 1\n");
	assert_true(tg_recv(&w->v, &m));
	expect_line(w, idle, "");
	expect_line(w, asking, "");
	tg_stream(&w->v, SM_VSOCK_OP_RST, 1, m.h.src_port, &m);
	close(idle);
	close(asking);
	assert_int_equal(count_fds(), before);
}

/* More than there may be: the rest waits, and has its turn when one leaves. */
static void test_many(void **state)
{
	struct world *w = *state;
	static int fd[SM_BRIDGE_CLIENTS_MAX + 2];
	uint32_t n = SM_BRIDGE_CLIENTS_MAX + 2;
	char c;

	if (sysconf(_SC_OPEN_MAX) < 2 * (long)n + 64)
		n = (uint32_t)(sysconf(_SC_OPEN_MAX) - 64) / 2;
	for (uint32_t i = 0; i < n; i++)
		fd[i] = connect_to(w->path);
	for (uint32_t i = 0; i < n / 4; i++)
		vg_spin(&w->v);
	send(fd[n - 1], "?\n", 2, MSG_NOSIGNAL);
	vg_spin(&w->v);
	if (n > SM_BRIDGE_CLIENTS_MAX)
		assert_int_equal(recv(fd[n - 1], &c, 1, MSG_DONTWAIT), -1);
	for (uint32_t i = 0; i + 1 < n; i++)
		close(fd[i]);
	expect_line(w, fd[n - 1], "ERROR must be CONNECT or ACCEPT\n");
	close(fd[n - 1]);
}

/* ---- ports that are sockets ---- */

static void test_mapped(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	char path[96];
	int listener, at, fd;
	struct msg m;

	snprintf(path, sizeof(path), "%s/server", w->dir);
	listener = listen_at(path);
	at = open(path, O_PATH | O_CLOEXEC);
	assert_int_equal(sm_services_map(w->services, 9000, at), 0);
	unlink(path); /* the descriptor is enough */
	vg_op(v, SM_VSOCK_OP_REQUEST, 7, 9000);
	tg_stream(v, SM_VSOCK_OP_RESPONSE, 7, 9000, &m);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	vg_data(v, 7, 9000, "hello\n", 6);
	expect_line(w, fd, "hello\n");
	tell(w, fd, "there");
	tg_stream(v, SM_VSOCK_OP_RW, 7, 9000, &m);
	assert_memory_equal(m.b, "there", 5);
	close(fd);
	/* nobody listens any more */
	close(listener);
	vg_op(v, SM_VSOCK_OP_REQUEST, 8, 9000);
	do
		assert_true(tg_recv(v, &m));
	while (m.h.dst_port != 8);
	assert_int_equal(m.h.op, SM_VSOCK_OP_RST);
}

static void test_map_refusals(void **state)
{
	struct world *w = *state;
	int file = open("/dev/null", O_PATH | O_CLOEXEC), at = open(w->path, O_PATH | O_CLOEXEC);

	assert_int_equal(sm_services_map(w->services, 1, file), -ENOTSOCK);
	assert_int_equal(sm_services_map(w->services, 1, -1), -EBADF);
	assert_int_equal(sm_services_map(w->services, 1, dup(at)), 0);
	assert_int_equal(sm_services_map(w->services, 1, at), -EADDRINUSE);
	for (uint32_t i = 1; i < SM_SERVICES_MAX; i++)
		assert_int_equal(sm_services_map(w->services, 1 + i, dup(at)), 0);
	assert_int_equal(sm_services_map(w->services, 100, at), -ENOSPC);
	close(file);
	close(at);
}

static void test_map_lists(void **state)
{
	static const char *const bad[] = { "1", "1=", "=3", "1=x", "1=3x", "1=3;2=4", "1=3,,2=4",
					   "a=3", "1=-1", "1=99999" };
	struct world *w = *state;
	int at = open(w->path, O_PATH | O_CLOEXEC), other = dup(at);
	char list[64];

	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		sm_auto_err struct sm_err err = SM_ERR_INIT;

		assert_true(sm_services_map_list(w->services, bad[i], &err) < 0);
	}
	snprintf(list, sizeof(list), "2000=%d,2001=%d", at, other);
	assert_int_equal(sm_services_map_list(w->services, list, NULL), 0);
	assert_int_equal(sm_services_map_list(w->services, "", NULL), 0);
	assert_int_equal(fcntl(at, F_GETFD), FD_CLOEXEC);
	assert_int_equal(sm_services_map(w->services, 2001, at), -EADDRINUSE);
}

/* ---- the environment ---- */

static void test_environment(void **state)
{
	static const char text[] = "{\"env\":{\"A\":\"b\"},\"secrets\":{}}";
	struct world *w = *state;
	struct vg *v = &w->v;
	int fd = memfd_create("environment", MFD_CLOEXEC);
	struct msg m;

	assert_int_equal(sm_write_full(fd, text, strlen(text)), 0);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(sm_services_environment(w->services, fd), 0);
	vg_op(v, SM_VSOCK_OP_REQUEST, 7, SM_ENVIRONMENT_PORT);
	tg_stream(v, SM_VSOCK_OP_RESPONSE, 7, SM_ENVIRONMENT_PORT, &m);
	tg_stream(v, SM_VSOCK_OP_RW, 7, SM_ENVIRONMENT_PORT, &m);
	assert_int_equal(m.h.len, strlen(text));
	assert_memory_equal(m.b, text, strlen(text));
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, 7, SM_ENVIRONMENT_PORT, &m);
	assert_int_equal(m.h.flags, SM_VSOCK_SHUT_BOTH);
	vg_op(v, SM_VSOCK_OP_RST, 7, SM_ENVIRONMENT_PORT);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it is gone from memory */
	vg_op(v, SM_VSOCK_OP_REQUEST, 8, SM_ENVIRONMENT_PORT);
	tg_stream(v, SM_VSOCK_OP_RST, 8, SM_ENVIRONMENT_PORT, &m);
}

/* A guest that writes there is told that nobody reads it, and still gets the answer. */
static void test_environment_written_to(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int fd = memfd_create("environment", MFD_CLOEXEC);
	bool answered = false, shut = false;
	struct msg m;

	assert_int_equal(sm_write_full(fd, "{}", 2), 0);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(sm_services_environment(w->services, fd), 0);
	vg_op(v, SM_VSOCK_OP_REQUEST, 7, SM_ENVIRONMENT_PORT);
	tg_stream(v, SM_VSOCK_OP_RESPONSE, 7, SM_ENVIRONMENT_PORT, &m);
	vg_data(v, 7, SM_ENVIRONMENT_PORT, "?", 1);
	while (!shut) {
		assert_true(tg_recv(v, &m));
		answered |= m.h.op == SM_VSOCK_OP_RW;
		shut = m.h.op == SM_VSOCK_OP_SHUTDOWN && m.h.flags == SM_VSOCK_SHUT_BOTH;
	}
	assert_true(answered);
}

/* ---- ACCEPT ---- */

/* A listener of the guest at a port of the kernel's choice: that port. */
static uint16_t guest_listens(struct vg *v, uint32_t key, int family, struct sockaddr_in6 *name)
{
	struct sockaddr_in6 a;
	socklen_t len = loopback(family, 0, &a);

	assert_int_equal(tg_create(v, key, family, 1, 0), 0);
	assert_int_equal(tg_addr(v, BIND, key, &a, len, NULL), 0);
	assert_int_equal(tg_listen(v, key, 2, name), 0);
	return ntohs(name->sin6_port);
}

static void hand(struct world *w, int client, const char *line, int fd)
{
	assert_int_equal(sm_send_fds(client, line, strlen(line), &fd, 1), (ssize_t)strlen(line));
	close(fd);
	vg_spin(&w->v);
}

static void test_accept(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int client = connect_to(w->path), sv[2];
	struct sockaddr_in6 name, peer;
	uint16_t port = guest_listens(v, KEY, AF_INET, &name);
	char line[64];
	struct msg m;
	uint32_t host_port;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	tell(w, sv[1], "the rest");
	snprintf(line, sizeof(line), "ACCEPT %u 5 192.0.2.1:4711\nGET", port);
	hand(w, client, line, sv[0]);
	tell(w, client, " /not for us");
	expect_line(w, client, "OK\n");
	tg_gets(v, ACCEPTED, KEY, &m);
	host_port = get32(m.b);
	assert_int_equal(get32(m.b + 8), 16);
	assert_int_equal(get32(m.b + 12), 16);
	assert_memory_equal(m.b + 16, &name, 8);
	memset(&peer, 0, sizeof(peer));
	peer.sin6_family = AF_INET;
	peer.sin6_port = htons(4711);
	((struct sockaddr_in *)&peer)->sin_addr.s_addr = inet_addr("192.0.2.1");
	assert_memory_equal(m.b + 144, &peer, 16);
	tg_stream(v, SM_VSOCK_OP_RW, KEY, host_port, &m);
	assert_int_equal(m.h.len, 5);
	assert_memory_equal(m.b, "GET /", 5);
	tg_stream(v, SM_VSOCK_OP_RW, KEY, host_port, &m);
	assert_memory_equal(m.b, "the rest", 8);
	vg_data(v, KEY, host_port, "answer\n", 7);
	expect_line(w, sv[1], "answer\n");
	close(client);
	close(sv[1]);
}

/* Options of TCP that a unix socket does not have are no error for the guest's program. */
static void test_accept_options(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int client = connect_to(w->path), sv[2];
	uint8_t body[24] = { 0 };
	struct sockaddr_in6 name;
	struct msg m;

	guest_listens(v, KEY, AF_INET, &name);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	hand(w, client, "ACCEPT *\n", sv[0]);
	tg_gets(v, ACCEPTED, KEY, &m);
	put32(body, KEY);
	put32(body + 4, get32(m.b));
	put32(body + 8, IPPROTO_TCP);
	put32(body + 12, 1); /* TCP_NODELAY */
	put32(body + 16, 4);
	body[20] = 1;
	tg_send(v, SETSOCKOPT, KEY, body, 24);
	assert_int_equal(tg_result(v, SETSOCKOPT, KEY), 0);
	tg_send(v, GETSOCKOPT, KEY, body, 20);
	tg_gets(v, GETSOCKOPT, KEY, &m);
	assert_int_equal(get32(m.b), 0);
	assert_int_equal(get32(m.b + 4), 4);
	close(client);
	close(sv[1]);
}

/* "*" is the first listener, of IPv4 if there is one; names are of the listener's family. */
static void test_accept_any(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	struct sockaddr_in6 name;
	uint32_t host_port;
	int sv[2], client;
	struct msg m;

	guest_listens(v, KEY, AF_INET6, &name);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	client = connect_to(w->path);
	hand(w, client, "ACCEPT * 0 192.0.2.1:1\n", sv[0]);
	expect_line(w, client, "OK\n");
	tg_gets(v, ACCEPTED, KEY, &m);
	assert_int_equal(get32(m.b + 12), 28);
	assert_memory_equal(m.b + 144 + 8, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16);
	host_port = get32(m.b);
	close(client);
	close(sv[1]);
	tg_stream(v, SM_VSOCK_OP_SHUTDOWN, KEY, host_port, &m);

	guest_listens(v, KEY + 1, AF_INET, &name);
	guest_listens(v, KEY + 2, AF_INET, &name);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	client = connect_to(w->path);
	hand(w, client, "ACCEPT * 0 [2001:db8::1]:1\n", sv[0]);
	expect_line(w, client, "OK\n");
	tg_gets(v, ACCEPTED, KEY + 1, &m);
	assert_int_equal(get32(m.b + 12), 16);
	close(client);
	close(sv[1]);
}

/* A TCP connection keeps its own names. */
static void test_accept_tcp(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int listener = host_socket(AF_INET, SOCK_STREAM), out, in, client;
	struct sockaddr_in6 name, a;
	socklen_t len = loopback(AF_INET, port_of(listener), &a);
	struct msg m;

	guest_listens(v, KEY, AF_INET, &name);
	out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(out, (struct sockaddr *)&a, len), 0);
	in = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	client = connect_to(w->path);
	hand(w, client, "ACCEPT *\n", in);
	expect_line(w, client, "OK\n");
	tg_gets(v, ACCEPTED, KEY, &m);
	assert_int_equal(get16(m.b + 144), AF_INET);
	assert_int_equal(ntohs(get16(m.b + 146)), port_of(out));
	assert_int_equal(ntohs(get16(m.b + 18)), port_of(listener));
	close(listener);
	close(client);
	close(out);
}

/* What epoll instances of ours watch. */
static int count_watches(void)
{
	DIR *d = opendir("/proc/self/fdinfo");
	struct dirent *e;
	char path[300], line[256];
	int n = 0;

	while ((e = readdir(d))) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", e->d_name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file))
			n += strncmp(line, "tfd:", 4) == 0;
		if (file)
			fclose(file);
	}
	closedir(d);
	return n;
}

/* Who hands a connection over may keep it open: its events are none of ours once the guest is done.
 */
static void test_accept_kept(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int client = connect_to(w->path), kept = -1, sv[2], before;
	struct sockaddr_in6 name;
	struct msg m;

	guest_listens(v, KEY, AF_INET, &name);
	vg_spin(v);
	before = count_watches();
	for (int i = 0; i < 2; i++) {
		uint32_t host_port;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
		kept = fcntl(sv[0], F_DUPFD_CLOEXEC, 0);
		hand(w, client, "ACCEPT *\n", sv[0]);
		expect_line(w, client, "OK\n");
		tg_gets(v, ACCEPTED, KEY, &m);
		host_port = get32(m.b);
		vg_op(v, SM_VSOCK_OP_CREDIT_UPDATE, KEY, host_port);
		if (i)
			tg_two(v, RELEASE, KEY, host_port);
		else
			vg_shutdown(v, KEY, host_port, SM_VSOCK_SHUT_BOTH);
		close(client);
		client = connect_to(w->path);
		vg_spin(v);
		assert_int_equal(count_watches(), before);
		tell(w, sv[1], "for somebody else");
		assert_true(tg_quiet(v));
		close(kept);
		close(sv[1]);
	}
	close(client);
}

static void test_accept_refusals(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	int fds[] = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
		      socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
		      host_socket(AF_INET, SOCK_STREAM), open("/dev/null", O_RDWR | O_CLOEXEC) };
	struct sockaddr_in6 name;
	int client = connect_to(w->path), before = count_fds() - 2;
	char text[128];

	hand(w, client, "ACCEPT 81\n", fds[0]);
	expect_line(w, client, "ERROR the guest does not listen there\n");
	close(client);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	guest_listens(v, KEY, AF_INET, &name);
	for (size_t i = 0; i < SM_ARRAY_SIZE(fds); i++) {
		client = connect_to(w->path);
		hand(w, client, "ACCEPT *\n", fds[i]);
		hear(w, client, text, sizeof(text));
		assert_memory_equal(text, "ERROR ", 6);
		close(client);
	}
	vg_spin(v);
	/* but for the listener of the guest */
	assert_int_equal(count_fds(), before - (int)SM_ARRAY_SIZE(fds) + 2);
	assert_true(tg_quiet(v));
}

/* The guest takes two, the others wait, and are closed with the listener. */
static void test_accept_waits(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	struct sockaddr_in6 name;
	int far[200], before = count_fds(), n = 0;
	char text[128];
	struct msg m;

	guest_listens(v, KEY, AF_INET, &name);
	for (;;) {
		int client = connect_to(w->path), sv[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
		far[n] = sv[1];
		hand(w, client, "ACCEPT * 0\n", sv[0]);
		hear(w, client, text, sizeof(text));
		close(client);
		if (strcmp(text, "OK\n") != 0)
			break;
		n++;
		assert_true(n < 199);
	}
	assert_int_equal(n, 2 + 128);
	close(far[n]);
	tg_gets(v, ACCEPTED, KEY, &m);
	tg_gets(v, ACCEPTED, KEY, &m);
	assert_true(tg_quiet(v));
	tg_two(v, ACCEPT, KEY, 1);
	tg_gets(v, ACCEPTED, KEY, &m);
	tg_two(v, RELEASE, KEY, 0);
	expect_line(w, far[n - 1], "");
	for (int i = 0; i < n; i++)
		close(far[i]);
	assert_int_equal(count_fds(), before + 3);
}

/* ---- ACCEPT, to a libkrunfw kernel ---- */

static int setup_base(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	tg_init(&w->v, NULL, NULL, 0);
	snprintf(w->dir, sizeof(w->dir), "/tmp/sm-services-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/vsock.sock", w->dir);
	assert_int_equal(sm_bridge_new(w->v.loop, w->v.vs, listen_at(w->path), 0, &w->bridge), 0);
	*state = w;
	return 0;
}

#define VM_PORT 2000u

static void base_name(struct vg *v, uint32_t host_port, uint32_t peer, struct sockaddr_in *name)
{
	uint8_t body[12];
	struct msg m;

	put32(body, VM_PORT);
	put32(body + 4, host_port);
	put32(body + 8, peer);
	tg_send(v, GETNAME, 5, body, sizeof(body));
	tg_gets(v, GETNAME, 5, &m);
	assert_int_equal(get32(m.b), 0);
	assert_int_equal(get32(m.b + 4), sizeof(*name));
	memcpy(name, m.b + 8, sizeof(*name));
}

static void test_accept_base(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	uint8_t create[8], listener[144] = { 0 };
	struct sockaddr_in6 a;
	struct sockaddr_in name;
	socklen_t len = loopback(AF_INET, 0, &a);
	int client, sv[2];
	struct msg m;

	put32(create, 7);
	put16(create + 4, AF_INET);
	put16(create + 6, 1);
	tg_send(v, CREATE, 5, create, sizeof(create));
	put32(listener, 7);
	put32(listener + 4, VM_PORT);
	put32(listener + 8, 8);
	put32(listener + 12, len);
	memcpy(listener + 16, &a, len);
	tg_send(v, LISTEN, 5, listener, sizeof(listener));
	assert_int_equal(tg_result(v, LISTEN, 5), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	client = connect_to(w->path);
	hand(w, client, "ACCEPT * 3 192.0.2.1:4711\nGET", sv[0]);
	expect_line(w, client, "OK\n");
	assert_true(tg_recv(v, &m));
	assert_int_equal(m.h.op, SM_VSOCK_OP_REQUEST);
	assert_int_equal(m.h.dst_port, VM_PORT);
	vg_op(v, SM_VSOCK_OP_RESPONSE, VM_PORT, m.h.src_port);
	tg_stream(v, SM_VSOCK_OP_RW, VM_PORT, m.h.src_port, &m);
	assert_int_equal(m.h.len, 3);
	assert_memory_equal(m.b, "GET", 3);
	base_name(v, m.h.src_port, 1, &name);
	assert_int_equal(name.sin_addr.s_addr, inet_addr("192.0.2.1"));
	assert_int_equal(ntohs(name.sin_port), 4711);
	base_name(v, m.h.src_port, 0, &name);
	assert_int_equal(name.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_not_equal(name.sin_port, 0);
	close(client);
	close(sv[1]);
}

/* ---- who listens ---- */

struct seen {
	int n;
	struct sm_vsock_port p[8];
	uint16_t port[8];
};

static void see(void *arg, const struct sm_vsock_port *p)
{
	struct seen *s = arg;

	assert_true(s->n < 8);
	s->p[s->n] = *p;
	s->port[s->n++] = ntohs(((const struct sockaddr_in *)p->addr)->sin_port);
}

static void test_ports(void **state)
{
	struct world *w = *state;
	struct vg *v = &w->v;
	struct sockaddr_in6 name, a;
	socklen_t len = loopback(AF_INET, 0, &a);
	struct seen s = { 0 };
	uint16_t tcp, udp;

	sm_vsock_ports(v->vs, see, &s);
	assert_int_equal(s.n, 0);
	tcp = guest_listens(v, KEY, AF_INET, &name);
	assert_int_equal(tg_create(v, KEY + 1, AF_INET, 2, 0), 0);
	sm_vsock_ports(v->vs, see, &s);
	assert_int_equal(s.n, 1); /* not one without a name */
	assert_int_equal(tg_addr(v, BIND, KEY + 1, &a, len, &name), 0);
	udp = ntohs(name.sin6_port);
	s.n = 0;
	sm_vsock_ports(v->vs, see, &s);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.p[0].proto, "udp");
	assert_int_equal(s.port[0], udp);
	assert_string_equal(s.p[1].proto, "tcp");
	assert_int_equal(s.port[1], tcp);
	assert_int_equal(s.p[1].host_port, tcp);
	assert_int_equal(s.p[1].backlog, 2);
	assert_int_equal(s.p[1].accepted, 0);
	/* nor one with a peer */
	loopback(AF_INET, tcp, &a);
	assert_int_equal(tg_addr(v, CONNECT, KEY + 1, &a, len, NULL), 0);
	s.n = 0;
	sm_vsock_ports(v->vs, see, &s);
	assert_int_equal(s.n, 1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_connect),
		CASE(test_connect_refused),
		CASE(test_bad_lines),
		CASE(test_bad_accepts),
		cmocka_unit_test_setup_teardown(test_time, setup_hasty, teardown),
		CASE(test_many),
		CASE(test_mapped),
		CASE(test_map_refusals),
		CASE(test_map_lists),
		CASE(test_environment),
		CASE(test_environment_written_to),
		CASE(test_accept),
		CASE(test_accept_options),
		CASE(test_accept_any),
		CASE(test_accept_tcp),
		CASE(test_accept_kept),
		CASE(test_accept_refusals),
		CASE(test_accept_waits),
		cmocka_unit_test_setup_teardown(test_accept_base, setup_base, teardown),
		CASE(test_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
