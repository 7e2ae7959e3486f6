/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of a stream. They may be shared with other processes, so O_NONBLOCK is never set on
 * what we were given; each kind of file has its own way to be non-blocking:
 *
 *	pipe, FIFO, tty, device	opened anew through /proc/self/fd, with O_NONBLOCK
 *	socket			MSG_DONTWAIT with each call
 *	pty master		as it is, if non-blocking already (opening it makes another pty)
 *	file			as it is
 *	eventfd and its like	as it is, if non-blocking already: a read of one could stop the loop
 *
 * They are watched edge-triggered: an end is ready from its event until EAGAIN, so neither a full
 * ring nor missing credit needs a system call to pause it. What epoll refuses (files) is always
 * ready.
 */
#include "config.h"

#include "vsock/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"

#define ORPHAN_MS (180 * 1000)

/* ---- taking descriptors ---- */

/* #syscalls:loop openat fcntl */
static int reopen(int fd, int mode)
{
	char path[32];
	int fresh, flags;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fresh = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fresh >= 0)
		return fresh;
	flags = fcntl(fd, F_GETFL);
	return flags >= 0 && (flags & O_NONBLOCK) ? fd : -EINVAL;
}

/* The descriptor to use for fd, which may be fd itself; *socket is set.
 * #syscalls:loop fstat newfstatat ioctl(1=TIOCGPTN) ioctl(1=TCGETS) */
static int prepare(int fd, int mode, bool *socket)
{
	unsigned int pty;
	struct stat st;
	int flags, fresh;

	if (fstat(fd, &st) < 0)
		return -errno;
	*socket = S_ISSOCK(st.st_mode);
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) || *socket)
		return fd;
	if (!(st.st_mode & S_IFMT) || (S_ISCHR(st.st_mode) && ioctl(fd, TIOCGPTN, &pty) == 0)) {
		flags = fcntl(fd, F_GETFL);
		return flags & O_NONBLOCK ? fd : -EINVAL;
	}
	fresh = reopen(fd, mode);
	/* /dev/null and its like never block. */
	return fresh < 0 && S_ISCHR(st.st_mode) && !isatty(fd) ? fd : fresh;
}

static void drop(int fd, int given)
{
	if (fd >= 0 && fd != given)
		close(fd);
}

int sm_stream_adopt(struct sm_stream *s, int source, int sink)
{
	bool shared = source >= 0 && source == sink;
	int in = -1, out = -1;

	s->source = s->sink = (struct sm_end){ .fd = -1 };
	if (source >= 0) {
		in = prepare(source, shared ? O_RDWR : O_RDONLY, &s->source.socket);
		if (in < 0)
			return in;
	}
	if (shared) {
		out = in;
		s->sink.socket = s->source.socket;
	} else if (sink >= 0) {
		out = prepare(sink, O_WRONLY, &s->sink.socket);
		if (out < 0) {
			drop(in, source);
			return out;
		}
	}
	/* From here on nothing fails: the originals that were opened anew are not needed. */
	drop(source, in);
	if (!shared)
		drop(sink, out);
	s->source.fd = in;
	s->sink.fd = out;
	s->shared = shared;
	return 0;
}

/* ---- ending ---- */

static void close_end(struct sm_stream *s, struct sm_end *e)
{
	sm_loop_remove(s->loop, e->io);
	e->io = NULL;
	e->ready = false;
	sm_close(&e->fd);
}

/* One way of a shared descriptor: the other half goes on if it still can. #syscalls:loop shutdown */
static void end_half(struct sm_stream *s, struct sm_end *e, const struct sm_end *other, int how)
{
	if (other->fd < 0) {
		e->fd = -1;
		return;
	}
	if (e->socket)
		shutdown(e->fd, how);
	e->fd = -1;
	e->ready = false;
}

static void close_shared(struct sm_stream *s, int fd)
{
	sm_loop_remove(s->loop, s->source.io);
	s->source.io = NULL;
	close(fd);
}

/* The socket of a plain flow outlives both ways, as that of the guest's program does: its options
 * can be asked for. A way that the peer ended needs no shutdown(2), and neither does close(2). */
static void end_plain(struct sm_stream *s, struct sm_end *e)
{
	if (e == &s->sink && !s->error && s->flow.state != SM_FLOW_OVER &&
	    s->flow.guest_shut != SM_VSOCK_SHUT_BOTH)
		shutdown(e->fd, SHUT_WR);
	e->fd = -1;
	e->ready = false;
}

/* #syscalls:loop setsockopt */
static void close_plain(struct sm_stream *s)
{
	const struct linger linger = { .l_onoff = s->abort };

	if (s->fd < 0)
		return;
	if (s->abort || s->lingers)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	/* What others have open too stays in the epoll: its events would be for what is freed. */
	if (s->foreign)
		sm_loop_remove(s->loop, s->source.io);
	else
		sm_loop_forget(s->loop, s->source.io);
	s->source.io = NULL;
	sm_close(&s->fd);
}

static void end(struct sm_stream *s, struct sm_end *e, const struct sm_end *other, int how)
{
	int fd = e->fd;

	if (fd < 0)
		return;
	if (s->flow.plain) {
		end_plain(s, e);
		return;
	}
	if (!s->shared) {
		close_end(s, e);
		return;
	}
	end_half(s, e, other, how);
	if (other->fd < 0)
		close_shared(s, fd);
}

static void drop_held(struct sm_stream *s)
{
	free(s->held);
	s->held = NULL;
	s->held_at = s->held_len = 0;
}

static void drop_prefix(struct sm_stream *s)
{
	free(s->prefix);
	s->prefix = NULL;
	s->prefix_at = s->prefix_len = 0;
}

/* What arrived before the socket failed is still to be read, and then reading says how it failed:
 * unless it was read to its end already, or that comes before the failure.
 * #syscalls:loop getsockopt */
static void plain_gone(struct sm_stream *s)
{
	socklen_t len = sizeof(int);
	int e = 0;

	if (s->source.fd >= 0 || s->fd < 0 || s->error)
		return;
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		e = errno;
	s->error = e || s->sink.fd < 0 ? e : EPIPE;
}

void sm_stream_end_source(struct sm_stream *s)
{
	end(s, &s->source, &s->sink, SHUT_RD);
	sm_flow_source_ended(&s->flow);
	if (s->failed)
		plain_gone(s);
}

void sm_stream_end_sink(struct sm_stream *s)
{
	uint32_t lost = s->held_len;

	end(s, &s->sink, &s->source, SHUT_WR);
	drop_held(s);
	sm_flow_forwarded(&s->flow, lost);
	sm_flow_sink_ended(&s->flow);
}

void sm_stream_close(struct sm_stream *s)
{
	end(s, &s->sink, &s->source, SHUT_WR);
	end(s, &s->source, &s->sink, SHUT_RD);
	close_plain(s);
	drop_held(s);
	drop_prefix(s);
}

void sm_stream_finish(struct sm_stream *s)
{
	if (!s->held_len)
		sm_stream_end_sink(s);
}

/* Linux gives up a closed connection whose peer takes nothing after some minutes, but ours is not
 * closed as long as we hold bytes for it. A limit that the guest has set is the better one.
 * #syscalls:loop getsockopt setsockopt */
void sm_stream_orphan(struct sm_stream *s)
{
	int ms = 0, limit = ORPHAN_MS;
	socklen_t len = sizeof(ms);

	if (s->orphan || s->fd < 0)
		return;
	s->orphan = true;
	if (getsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &len) == 0 && !ms)
		setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
}

/* ---- source ---- */

void sm_stream_precede(struct sm_stream *s, uint8_t *bytes, uint32_t len)
{
	s->prefix = bytes;
	s->prefix_len = len;
	s->source.ready |= bytes != NULL;
}

static ssize_t read_prefix(struct sm_stream *s, const struct iovec *iov, int n)
{
	size_t done = 0;

	for (int i = 0; i < n && s->prefix_at < s->prefix_len; i++) {
		size_t left = s->prefix_len - s->prefix_at;
		size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

		memcpy(iov[i].iov_base, s->prefix + s->prefix_at, part);
		s->prefix_at += (uint32_t)part;
		done += part;
	}
	if (s->prefix_at == s->prefix_len)
		drop_prefix(s);
	return (ssize_t)done;
}

static size_t total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* A TCP socket that gives less than there was room for has no more, and an event comes with what
 * does: the call that would only say EAGAIN is spared. Not so at an end or urgent data, of which there
 * was an event that may have been for both, nor at what a unix socket stops for. */
static bool is_emptied(const struct sm_stream *s, const struct msghdr *m, size_t read)
{
	return s->flow.plain && !s->source.ends && !m->msg_flags &&
	       read < total(m->msg_iov, (int)m->msg_iovlen);
}

/* #syscalls:loop recvmsg readv */
ssize_t sm_stream_read(struct sm_stream *s, const struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
	ssize_t r;

	if (s->prefix)
		return read_prefix(s, iov, n);
	do
		r = s->source.socket ? recvmsg(s->source.fd, &m, MSG_DONTWAIT) :
				       readv(s->source.fd, iov, n);
	while (r < 0 && errno == EINTR);
	if (r > 0 && is_emptied(s, &m, (size_t)r))
		s->source.ready = false;
	if (r >= 0)
		return r;
	if (errno == EAGAIN) {
		s->source.ready = false;
		return s->source.always ? -EIO : -EAGAIN; /* no event would ever end that */
	}
	if (s->flow.plain && !s->error)
		s->error = errno;
	/* A tty whose other side hung up has no end of file but this. */
	return errno == EIO ? 0 : -errno;
}

/* ---- sink ---- */

/* Drops n bytes from the front. */
static void advance(struct iovec **iov, int *n, size_t bytes)
{
	while (*n && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
}

/* #syscalls:loop sendmsg writev */
static ssize_t write_once(struct sm_stream *s, struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	ssize_t r;

	do
		r = s->sink.socket ? sendmsg(s->sink.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) :
				     writev(s->sink.fd, iov, n);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* Writes as much as the sink takes, and drops that from iov: 0 or -errno of a failed sink. */
static int write_some(struct sm_stream *s, struct iovec **iov, int *n)
{
	while (*n && s->sink.ready) {
		ssize_t r = write_once(s, *iov, *n < IOV_MAX ? *n : IOV_MAX);

		if (r == -EAGAIN && !s->sink.always) {
			s->sink.ready = false;
			return 0;
		}
		if (r <= 0)
			return r < 0 ? (int)r : -EIO;
		s->written += (size_t)r;
		sm_flow_forwarded(&s->flow, (uint32_t)r);
		advance(iov, n, (size_t)r);
	}
	return 0;
}

static int hold(struct sm_stream *s, const struct iovec *iov, int n)
{
	if (!n)
		return 0;
	if (!s->held)
		s->held = malloc(s->flow.buf);
	if (!s->held)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		uint32_t at = (s->held_at + s->held_len) % s->flow.buf;
		uint32_t len = (uint32_t)iov[i].iov_len;
		uint32_t first = len < s->flow.buf - at ? len : s->flow.buf - at;

		memcpy(s->held + at, iov[i].iov_base, first);
		memcpy(s->held, (const uint8_t *)iov[i].iov_base + first, len - first);
		s->held_len += len;
	}
	return 0;
}

static void fail_sink(struct sm_stream *s, int err)
{
	if (s->flow.plain && !s->error)
		s->error = -err;
	sm_stream_end_sink(s);
}

int sm_stream_write(struct sm_stream *s, struct iovec *iov, int n)
{
	int r = s->held_len ? 0 : write_some(s, &iov, &n);

	if (r < 0) {
		for (; n; n--, iov++)
			sm_flow_forwarded(&s->flow, (uint32_t)iov->iov_len);
		fail_sink(s, r);
		return 0;
	}
	return hold(s, iov, n);
}

static void flush(struct sm_stream *s)
{
	uint32_t first = s->flow.buf - s->held_at;
	struct iovec ring[2], *iov = ring;
	uint64_t before = s->written;
	int n = 1, r;

	if (first > s->held_len)
		first = s->held_len;
	ring[0] = (struct iovec){ s->held + s->held_at, first };
	if (first < s->held_len)
		ring[n++] = (struct iovec){ s->held, s->held_len - first };
	r = write_some(s, &iov, &n);
	s->held_len -= (uint32_t)(s->written - before);
	s->held_at = (uint32_t)((s->held_at + (s->written - before)) % s->flow.buf);
	if (r < 0) {
		fail_sink(s, r);
		return;
	}
	if (s->held_len)
		return;
	drop_held(s);
	if (s->flow.guest_shut & SM_VSOCK_SHUT_SEND)
		sm_stream_end_sink(s);
}

/* ---- events ---- */

static void source_event(struct sm_stream *s, uint32_t events)
{
	if (s->source.fd >= 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)))
		s->source.ready = true;
	if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		s->source.ends = true;
}

static void sink_event(struct sm_stream *s, uint32_t events)
{
	bool gone = events & (EPOLLERR | EPOLLHUP);

	/* A reset is both; an error alone may be one that the connection survives. */
	s->failed |= s->flow.plain && (events & EPOLLERR) && (events & EPOLLHUP);
	if (s->flow.plain && gone)
		plain_gone(s);
	if (s->sink.fd < 0 || !(gone || (events & EPOLLOUT)))
		return;
	s->sink.ready = true;
	if (s->held_len)
		flush(s);
	else if (gone && !s->flow.plain) /* no need to wait for the guest to write in vain */
		sm_stream_end_sink(s);
}

static void on_source(void *arg, uint32_t events)
{
	struct sm_stream *s = arg;

	source_event(s, events);
	s->changed(s);
}

static void on_sink(void *arg, uint32_t events)
{
	struct sm_stream *s = arg;

	sink_event(s, events);
	s->changed(s);
}

static void on_shared(void *arg, uint32_t events)
{
	struct sm_stream *s = arg;

	source_event(s, events);
	sink_event(s, events);
	s->changed(s);
}

void sm_stream_join(struct sm_stream *s, int fd, struct sm_io *io, uint32_t events,
		    struct sm_loop *loop, sm_stream_changed_fn *changed)
{
	s->source = s->sink = (struct sm_end){ .fd = fd, .socket = true };
	s->source.io = io;
	source_event(s, events);
	s->sink.ready = true;
	s->fd = fd;
	s->shared = true;
	s->loop = loop;
	s->changed = changed;
	sm_io_set(io, on_shared, s);
}

static int watch(struct sm_stream *s, struct sm_end *e, uint32_t events, sm_io_fn *fn)
{
	int r = sm_loop_add(s->loop, e->fd, events | EPOLLET, fn, s, &e->io);

	if (r != -EPERM)
		return r;
	e->always = true;
	return 0;
}

int sm_stream_watch(struct sm_stream *s, struct sm_loop *loop, sm_stream_changed_fn *changed)
{
	int r = 0;

	s->loop = loop;
	s->changed = changed;
	s->source.ready = s->sink.ready = true;
	if (s->shared) {
		r = watch(s, &s->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP, on_shared);
		s->sink.always = s->source.always;
		return r;
	}
	if (s->source.fd >= 0)
		r = watch(s, &s->source, EPOLLIN | EPOLLRDHUP, on_source);
	if (r == 0 && s->sink.fd >= 0)
		r = watch(s, &s->sink, EPOLLOUT, on_sink);
	return r;
}
