/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load of bench/net, one static program for the host and the guest:
 *
 *	net_load guest ADDR CONTROL	a server at ADDR, and an agent at CONTROL that runs loads
 *when told net_load serve ADDR…		the server alone net_load ask CONTROL LOAD	has
 *an agent run a load, once net_load measure LOAD SECONDS CONTROL ADDR [PID…]	"LOAD amount
 *microseconds cpu-microseconds"
 *
 * As PID 1 it is `guest`, on a machine with a virtio-net device (NET_ADDRESS, NET_GATEWAY).
 *
 * ADDR is tcp:IP:PORT (of UDP too), unix:PATH, vsock:CID:PORT or bridge:PATH:PORT (a unix socket
 *that takes "CONNECT PORT"). LOAD is DIRECTION,KIND,STREAMS,AMOUNT,ADDR: `out` is run by the agent,
 *`in` here. The amount is such that it takes about as long as asked; the clock is always the
 *host's, as that of an emulated guest is not to be relied on.
 *
 *	up, down	bytes from, to the side that connects
 *	rr		request and answer
 *	connect		a connection for each request, closed by the server
 *	udp		datagrams of 64 bytes, WINDOW at most without an acknowledgement
 *	hold		connections that stay open as long as `ask` runs, until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <net/route.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK       (128 << 10)
#define EVENTS      64
#define WINDOW      64u
#define ACK_EVERY   16u
#define DATAGRAM    64
#define LOST_MS     100
#define STREAMS_MAX 1024

enum kind { UP, DOWN, RR, CONNECT, UDP, HOLD, KIND_NUM };

static const struct {
	const char *name;
	uint64_t first; /* the amount to begin with */
} kinds[] = {
	[UP] = { "up", 4 << 20 },      [DOWN] = { "down", 4 << 20 }, [RR] = { "rr", 64 },
	[CONNECT] = { "connect", 16 }, [UDP] = { "udp", 512 },       [HOLD] = { "hold", 1 },
};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == KIND_NUM, "a row for each kind");

/* What a client says first. */
struct head {
	uint32_t kind, request, answer, unused;
	uint64_t bytes;
};

/* One end of a connection: first `out` bytes go out (after the head), then `in` come in. */
struct end {
	int fd;
	bool server, started;
	struct head head;
	uint32_t head_left;
	uint64_t in, out;
	uint64_t rounds; /* of a client: that are left */
};

struct load {
	bool out;
	enum kind kind;
	uint32_t streams;
	uint64_t amount;
	char addr[128];
};

struct address {
	int family;
	socklen_t len;
	unsigned int bridge; /* the port to ask for */
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_un un;
		struct sockaddr_vm vm;
	};
};

static uint8_t block[BLOCK];
static struct end listener_end, udp_end;
static struct end ends[STREAMS_MAX]; /* of the load that runs */

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "net_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t us(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- addresses ---- */

static bool parse_address(const char *text, struct address *a)
{
	char *copy = strdup(text), *host = strchr(copy, ':'),
	     *port = host ? strrchr(host + 1, ':') : NULL;
	bool ok = host && (port || !strncmp(text, "unix:", 5));

	memset(a, 0, sizeof(*a));
	if (ok) {
		*host++ = '\0';
		if (port && strcmp(copy, "unix") != 0)
			*port++ = '\0';
	}
	if (!ok) {
	} else if (!strcmp(copy, "tcp")) {
		a->family = a->in.sin_family = AF_INET;
		a->in.sin_port = htons((uint16_t)atoi(port));
		a->len = sizeof(a->in);
		ok = inet_pton(AF_INET, host, &a->in.sin_addr) == 1;
	} else if (!strcmp(copy, "vsock")) {
		a->family = a->vm.svm_family = AF_VSOCK;
		a->vm.svm_cid = (unsigned int)strtoul(host, NULL, 0);
		a->vm.svm_port = (unsigned int)strtoul(port, NULL, 0);
		a->len = sizeof(a->vm);
	} else {
		a->family = a->un.sun_family = AF_UNIX;
		a->bridge = !strcmp(copy, "bridge") ? (unsigned int)atoi(port) : 0;
		a->len = sizeof(a->un);
		ok = snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%s", host) <
		     (int)sizeof(a->un.sun_path);
	}
	free(copy);
	return ok;
}

static bool cross_bridge(int fd, unsigned int port)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", port);

	if (write(fd, line, (size_t)n) != n)
		return false;
	for (n = 0; n < (int)sizeof(line) && read(fd, line + n, 1) == 1; n++)
		if (line[n] == '\n')
			return !strncmp(line, "OK ", 3);
	return false;
}

static int dial(const struct address *a, int type)
{
	int fd = socket(a->family, type | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &a->sa, a->len) == 0 &&
	    (!a->bridge || cross_bridge(fd, a->bridge)))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int listen_at(const char *text)
{
	struct address a;
	int fd, one = 1;

	if (!parse_address(text, &a)) {
		errno = EINVAL;
		die(text);
	}
	fd = socket(a.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, &a.sa, a.len) < 0 || listen(fd, 1024) < 0)
		die(text);
	return fd;
}

static int udp_at(const char *text)
{
	struct address a;
	int fd;

	if (!parse_address(text, &a) || a.family != AF_INET)
		return -1;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, &a.sa, a.len) < 0)
		die(text);
	return fd;
}

static void watch(int epoll, struct end *e, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = e };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, e->fd, &ev) < 0)
		die("epoll_ctl");
}

static void set_nonblocking(int fd)
{
	int one = 1;

	if (ioctl(fd, FIONBIO, &one) < 0)
		die("FIONBIO");
}

/* ---- both ends ---- */

static ssize_t put(struct end *e)
{
	struct iovec iov[2] = {
		{ (uint8_t *)&e->head + sizeof(e->head) - e->head_left, e->head_left },
		{ block, e->out < BLOCK ? e->out : BLOCK },
	};
	ssize_t n = e->head_left ? writev(e->fd, iov, 2) : write(e->fd, block, iov[1].iov_len);
	size_t head = n > 0 ? e->head_left : 0;

	if (n <= 0)
		return n;
	if (head > (size_t)n)
		head = (size_t)n;
	e->head_left -= (uint32_t)head;
	e->out -= (size_t)n - head;
	return n;
}

/* 1 when all went out and came in, 0 when it has to wait, -1 when the other side ended it. */
static int step(struct end *e)
{
	ssize_t n = 1;

	while (n > 0 && (e->out || (e->head_left && !e->server)))
		n = put(e);
	while (n > 0 && e->in) {
		n = read(e->fd, block, e->in < BLOCK ? e->in : BLOCK);
		e->in -= n > 0 ? (uint64_t)n : 0;
	}
	if (n > 0)
		return 1;
	return n < 0 && errno == EAGAIN ? 0 : -1;
}

/* ---- the server ---- */

/* After the head, and again after each round: false at the end. */
static bool next_of_server(struct end *e)
{
	bool first = !e->started;

	e->started = true;
	switch (e->head.kind) {
	case UP:
		e->in = first ? e->head.bytes : 0;
		e->out = !first;
		return e->in || (e->out && e->rounds++ == 0);
	case DOWN:
		e->out = first ? e->head.bytes : 0;
		return first;
	case RR:
		e->out = first ? 0 : e->head.answer;
		e->in = e->head.request;
		return true;
	default:
		if (!first)
			return false;
		e->out = 1;
		return true;
	}
}

static bool read_head(struct end *e)
{
	while (e->head_left) {
		uint8_t *at = (uint8_t *)&e->head + sizeof(e->head) - e->head_left;
		ssize_t n = read(e->fd, at, e->head_left);

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		e->head_left -= (uint32_t)n;
	}
	return e->started || next_of_server(e);
}

static void serve_end(struct end *e)
{
	int r = read_head(e) ? 1 : -1;

	while (r > 0 && !e->head_left) {
		r = step(e);
		/* A connection of UP ends with its client, after the answer. */
		if (r > 0 && !next_of_server(e)) {
			if (e->head.kind != UP)
				r = -1;
			e->in = 1;
		}
	}
	if (r < 0) {
		close(e->fd);
		free(e);
	}
}

static void accept_all(int epoll, int listener)
{
	struct end *e;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		e = calloc(1, sizeof(*e));
		if (!e)
			die("calloc");
		*e = (struct end){ .fd = fd, .server = true, .head_left = sizeof(e->head) };
		watch(epoll, e, EPOLLIN | EPOLLOUT | EPOLLET);
	}
}

static void acknowledge(int fd)
{
	uint32_t buf[DATAGRAM / 4];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);

	while (recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &len) >= 8) {
		if (buf[1] % ACK_EVERY == ACK_EVERY - 1)
			sendto(fd, buf, 8, MSG_DONTWAIT, (struct sockaddr *)&from, len);
		len = sizeof(from);
	}
}

static _Noreturn void serve(char **addrs)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[EVENTS];
	int listeners[8], n = 0;

	for (; *addrs && n < 8; addrs++, n++) {
		listeners[n] = listen_at(*addrs);
		set_nonblocking(listeners[n]);
		listener_end.fd = listeners[n];
		watch(epoll, &listener_end, EPOLLIN);
		udp_end.fd = udp_end.fd > 0 ? udp_end.fd : udp_at(*addrs);
	}
	if (udp_end.fd > 0)
		watch(epoll, &udp_end, EPOLLIN);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			struct end *e = events[i].data.ptr;

			if (e == &udp_end)
				acknowledge(e->fd);
			else if (e != &listener_end)
				serve_end(e);
			for (int l = 0; e == &listener_end && l < n; l++)
				accept_all(epoll, listeners[l]);
		}
	}
}

/* ---- the loads ---- */

static void new_client(struct end *e, const struct load *l, const struct address *a)
{
	*e = (struct end){ .fd = dial(a, SOCK_STREAM), .head_left = sizeof(e->head) };
	if (e->fd < 0)
		die(l->addr);
	e->head = (struct head){ .kind = l->kind, .request = 64, .answer = 64 };
	e->head.bytes = l->amount / l->streams;
	e->rounds = 1;
	if (l->kind == RR) {
		if (l->streams > 1) { /* as a small page over HTTP */
			e->head.request = 128;
			e->head.answer = 1024;
		}
		e->rounds = l->amount / l->streams;
		e->out = e->head.request;
		e->in = e->head.answer;
	} else {
		e->out = l->kind == UP ? e->head.bytes : 0;
		e->in = l->kind == DOWN ? e->head.bytes : 1;
	}
}

/* Whether it has come to its end. */
static bool run_client(struct end *e)
{
	for (;;) {
		int r = step(e);

		if (r < 0)
			die("stream");
		if (r == 0)
			return false;
		if (--e->rounds == 0)
			return true;
		e->out = e->head.request;
		e->in = e->head.answer;
	}
}

static void connect_streams(const struct load *l, const struct address *a)
{
	for (uint32_t i = 0; i < l->streams; i++) {
		new_client(&ends[i], l, a);
		set_nonblocking(ends[i].fd);
	}
}

static void run_streams(const struct load *l)
{
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint32_t left = l->streams;

	for (uint32_t i = 0; i < l->streams; i++)
		watch(epoll, &ends[i], EPOLLIN | EPOLLOUT | EPOLLET);
	while (left) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct end *e = events[i].data.ptr;

			if (e->fd < 0 || !run_client(e))
				continue;
			close(e->fd);
			e->fd = -1;
			left--;
		}
	}
	close(epoll);
}

/* A connection that is lost before its answer costs time and does not count. */
static void run_connects(const struct load *l, const struct address *a)
{
	uint64_t lost = 0;

	for (uint64_t i = 0; i < l->amount;) {
		struct end e;

		new_client(&e, l, a);
		if (step(&e) > 0) {
			i++;
			while (read(e.fd, block, 1) > 0)
				;
		} else if (++lost > l->amount) {
			die("connection");
		}
		close(e.fd);
	}
}

/* With a window, so that what is counted did arrive. */
static void run_udp(const struct load *l, const struct address *a)
{
	uint32_t buf[DATAGRAM / 4] = { (uint32_t)getpid() ^ (uint32_t)l->amount }, ack[2];
	uint32_t n = (uint32_t)(l->amount + ACK_EVERY - 1) / ACK_EVERY * ACK_EVERY, sent = 0,
		 acked = 0;
	struct timeval lost = { .tv_usec = LOST_MS * 1000 };
	int fd = dial(a, SOCK_DGRAM);

	if (fd < 0)
		die(l->addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &lost, sizeof(lost));
	while (acked < n) {
		for (; sent < n && sent - acked < WINDOW; sent++) {
			buf[1] = sent;
			if (write(fd, buf, sizeof(buf)) < 0)
				die("datagram");
		}
		if (read(fd, ack, sizeof(ack)) < 0)
			sent = acked; /* lost: all of them again */
		else if (ack[0] == buf[0] && (int32_t)(ack[1] + 1 - acked) > 0)
			acked = ack[1] + 1;
	}
	close(fd);
}

static void run_hold(const struct load *l, const struct address *a)
{
	for (uint64_t i = 0; i < l->amount; i++)
		if (dial(a, SOCK_STREAM) < 0)
			die(l->addr);
}

/* What is not to be timed. */
static void prepare(const struct load *l, struct address *a)
{
	if (!parse_address(l->addr, a)) {
		errno = EINVAL;
		die(l->addr);
	}
	if (l->kind == UP || l->kind == DOWN || l->kind == RR)
		connect_streams(l, a);
}

static void run_load(const struct load *l, const struct address *a)
{
	if (l->kind == CONNECT)
		run_connects(l, a);
	else if (l->kind == UDP)
		run_udp(l, a);
	else if (l->kind == HOLD)
		run_hold(l, a);
	else
		run_streams(l);
}

static bool parse_load(const char *text, struct load *l)
{
	char direction[8], kind[16];
	unsigned long amount;

	if (sscanf(text, "%7[^,],%15[^,],%u,%lu,%127[^\n]", direction, kind, &l->streams, &amount,
		   l->addr) != 5 ||
	    !l->streams || l->streams > STREAMS_MAX)
		return false;
	l->amount = amount;
	l->out = !strcmp(direction, "out");
	for (l->kind = 0; l->kind < KIND_NUM; l->kind++)
		if (!strcmp(kind, kinds[l->kind].name))
			return true;
	return false;
}

/* ---- the agent, and who asks it ---- */

/* A child that does not outlive its parent. */
static pid_t fork_bound(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* Asked: LOAD, any byte. Answered: "ready", "done." and the CPU time it took here. */
static void answer_commands(int fd)
{
	char line[256], go, done[5 + sizeof(uint64_t)] = "done.";
	struct address a;
	struct load l;
	uint64_t cpu;
	size_t n = 0;

	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1) {
		if (line[n++] != '\n')
			continue;
		line[n] = '\0';
		n = 0;
		if (!parse_load(line, &l))
			break;
		prepare(&l, &a);
		if (write(fd, "ready", 5) != 5 || recv(fd, &go, 1, 0) != 1)
			break;
		cpu = us(CLOCK_PROCESS_CPUTIME_ID);
		run_load(&l, &a);
		cpu = us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		/* At once: TCP would hold back what comes second for 40 ms, and that would be
		 * measured. */
		memcpy(done + 5, &cpu, sizeof(cpu));
		if (write(fd, done, sizeof(done)) != sizeof(done))
			break;
	}
	close(fd);
}

/* A process for each that asks, whose end is that of its connections. */
static _Noreturn void be_agent(const char *control)
{
	int listener = listen_at(control);

	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0 && fork_bound() == 0) {
			answer_commands(fd);
			exit(0);
		}
		close(fd);
	}
}

static bool has_said(int fd, const char word[5])
{
	char said[5];

	return recv(fd, said, sizeof(said), MSG_WAITALL) == sizeof(said) && !memcmp(said, word, 5);
}

static bool command(int fd, const struct load *l)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "out,%s,%u,%lu,%s\n", kinds[l->kind].name, l->streams,
			 (unsigned long)l->amount, l->addr);

	return write(fd, line, (size_t)n) == n && has_said(fd, "ready");
}

/* *cpu: the agent's own, in microseconds. */
static bool go(int fd, uint64_t *cpu)
{
	return write(fd, "!", 1) == 1 && has_said(fd, "done.") &&
	       recv(fd, cpu, sizeof(*cpu), MSG_WAITALL) == sizeof(*cpu);
}

/* A proxy takes connections before its guest is there, and closes them. */
static int wait_agent(const struct address *control, const struct load *l)
{
	for (int i = 0; i < 600; i++) {
		int fd = dial(control, SOCK_STREAM);
		uint64_t cpu;

		if (fd >= 0 && command(fd, l) && go(fd, &cpu))
			return fd;
		if (fd >= 0)
			close(fd);
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	die("agent");
}

static int ask(char **argv)
{
	struct address control;
	struct load l;

	if (!argv[0] || !argv[1] || !parse_address(argv[0], &control) || !parse_load(argv[1], &l))
		return 2;
	wait_agent(&control, &l);
	if (l.kind != HOLD)
		return 0;
	printf("held\n");
	fflush(stdout);
	pause();
	return 0;
}

static uint64_t cpu_of(char **pids)
{
	clockid_t clock;
	uint64_t sum = 0;

	for (; *pids; pids++)
		if (clock_getcpuclockid(atoi(*pids), &clock) == 0)
			sum += us(clock);
	return sum;
}

/* Once, with the amount that it has: how long it took. */
static uint64_t time_load(const struct load *l, int fd, char **pids, uint64_t *cpu)
{
	uint64_t begin, agent = 0;
	struct address a;

	if (!l->out)
		prepare(l, &a);
	else if (!command(fd, l))
		die("agent");
	*cpu = cpu_of(pids);
	begin = us(CLOCK_MONOTONIC);
	if (!l->out)
		run_load(l, &a);
	else if (!go(fd, &agent))
		die("agent");
	begin = us(CLOCK_MONOTONIC) - begin;
	*cpu = cpu_of(pids) - *cpu;
	if (*pids && !strcmp(*pids, "agent"))
		*cpu += agent;
	return begin;
}

static int measure(char **argv, int argc)
{
	uint64_t cpu, took, wanted, amount;
	struct address control;
	struct load l;
	int fd;

	if (argc < 3 || !parse_load(argv[0], &l) || !parse_address(argv[2], &control))
		return 2;
	wanted = (uint64_t)(atof(argv[1]) * 1e6);
	fd = l.out ? dial(&control, SOCK_STREAM) : -1;
	if (l.out && fd < 0)
		die(argv[2]);
	for (l.amount = l.amount ?: kinds[l.kind].first;; l.amount = amount) {
		took = time_load(&l, fd, argv + 3, &cpu);
		if (took >= wanted / 2)
			break;
		amount = (uint64_t)((double)l.amount * (double)wanted / (double)(took + 1));
		if (amount > l.amount * 16)
			amount = l.amount * 16;
	}
	printf("%s,%s,%u %lu %lu %lu\n", l.out ? "out" : "in", kinds[l.kind].name, l.streams,
	       (unsigned long)l.amount, (unsigned long)took, (unsigned long)cpu);
	return 0;
}

/* ---- a guest ---- */

static void up(int fd, const char *name, const char *address, int mtu)
{
	struct ifreq r = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (address) {
		r.ifr_mtu = mtu;
		if (ioctl(fd, SIOCSIFMTU, &r) < 0)
			perror("SIOCSIFMTU");
		in->sin_family = AF_INET;
		in->sin_port = 0;
		inet_pton(AF_INET, address, &in->sin_addr);
		if (ioctl(fd, SIOCSIFADDR, &r) < 0)
			perror("SIOCSIFADDR");
		inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
		ioctl(fd, SIOCSIFNETMASK, &r);
	}
	ioctl(fd, SIOCGIFFLAGS, &r);
	r.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		perror(name);
}

/* Of virtio-net, with the MTU that passt offers. */
static void bring_up(void)
{
	const char *address = getenv("NET_ADDRESS"), *gateway = getenv("NET_GATEWAY");
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct sockaddr_in *in = (struct sockaddr_in *)&route.rt_gateway;

	up(fd, "lo", NULL, 0);
	up(fd, "eth0", address, 65520);
	in->sin_family = AF_INET;
	inet_pton(AF_INET, gateway ?: "", &in->sin_addr);
	route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
	if (ioctl(fd, SIOCADDRT, &route) < 0)
		perror("SIOCADDRT");
	close(fd);
}

static int be_guest(char **argv)
{
	char *addrs[] = { argv[0], NULL };
	pid_t agent, server;

	if (getpid() == 1 && getenv("NET_ADDRESS"))
		bring_up();
	server = fork_bound();
	if (server == 0)
		serve(addrs);
	agent = fork_bound();
	if (agent == 0)
		be_agent(argv[1]);
	printf("%d %d\n", server, agent);
	fflush(stdout);
	for (;;)
		if (waitpid(-1, NULL, 0) < 0)
			return 1;
}

int main(int argc, char **argv)
{
	static char *guest[] = { "tcp:0.0.0.0:5100", "tcp:0.0.0.0:5101" };
	struct rlimit files = { 65536, 65536 };

	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc > 3 && !strcmp(argv[1], "guest"))
		return be_guest(argv + 2);
	if (argc > 2 && !strcmp(argv[1], "serve"))
		serve(argv + 2);
	if (argc > 3 && !strcmp(argv[1], "ask"))
		return ask(argv + 2);
	if (argc > 4 && !strcmp(argv[1], "measure"))
		return measure(argv + 2, argc - 2);
	if (getpid() == 1)
		return be_guest(guest);
	fprintf(stderr, "usage: net_load guest|serve|ask|measure …: see the source\n");
	return 2;
}
