/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both descriptors are watched edge-triggered for all that can happen to them, so that there is
 * nothing to change as the buffer fills and empties: every event leads to pump(), which moves bytes
 * until one side would block. One turn is bounded; what it leaves is asked for again by arming the
 * watch anew, which reports a state that holds already.
 *
 *	from ──read──► buf[off..len) ──write──► to
 */
#include "guest/agent/relay.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

enum { BUF_SIZE = 64 << 10, TURNS_MAX = 16 };

#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct sm_relay {
	struct sm_loop *loop;
	int from, to;
	struct sm_io *from_io, *to_io;
	bool from_waits, to_waits;	/* for their connection */
	bool to_socket;
	bool eof;
	size_t off, len;
	sm_relay_done_fn *done;
	void *arg;
	sm_relay_mark_fn *mark;	/* NULL: none */
	void *mark_arg;
	size_t mark_left;	/* by then what was in `from` at the mark has been read for sure */
	uint8_t buf[BUF_SIZE];
};

static void close_all(struct sm_relay *r)
{
	sm_loop_remove(r->loop, r->from_io);
	sm_loop_remove(r->loop, r->to_io);
	r->from_io = NULL;
	r->to_io = NULL;
	sm_close(&r->from);
	sm_close(&r->to);
}

static void reach_mark(struct sm_relay *r)
{
	sm_relay_mark_fn *fn = sm_steal_ptr(r->mark);

	if (fn)
		fn(r->mark_arg);
}

static void finish(struct sm_relay *r, bool broken)
{
	if (!broken && r->to_socket)
		shutdown(r->to, SHUT_WR);
	close_all(r);
	reach_mark(r);
	r->done(r->arg, broken);
}

static bool would_block(int err)
{
	return err == EAGAIN || err == EINTR;
}

/* 1: go on, 0: blocked, -1: finished */
static int push(struct sm_relay *r)
{
	ssize_t n = write(r->to, r->buf + r->off, r->len - r->off);

	if (n < 0 && would_block(errno))
		return 0;
	if (n < 0) {
		finish(r, true);
		return -1;
	}
	r->off += (size_t)n;
	r->mark_left -= (size_t)n < r->mark_left ? (size_t)n : r->mark_left;
	if (!r->mark_left)
		reach_mark(r);
	return 1;
}

static int pull(struct sm_relay *r)
{
	ssize_t n = read(r->from, r->buf, sizeof(r->buf));

	if (n < 0 && would_block(errno)) {
		if (errno == EAGAIN)
			reach_mark(r);
		return 0;
	}
	/* an error is an end as well: EIO is how the master of a pty tells that all slaves are
	 * closed */
	if (n <= 0)
		r->eof = true;
	r->off = 0;
	r->len = n > 0 ? (size_t)n : 0;
	return 1;
}

static void pump(struct sm_relay *r)
{
	if (r->from_waits || r->to_waits)
		return;
	for (int turn = 0; turn < TURNS_MAX;) {
		int go;

		if (r->off < r->len) {
			go = push(r);
		} else if (r->eof) {
			finish(r, false);
			return;
		} else {
			go = pull(r);
			turn++;
		}
		if (go <= 0)
			return;
	}
	sm_loop_mod(r->loop, r->from_io, EVENTS);
}

/* Whether fd is connected now; -errno if that failed. */
static int connected(int fd, uint32_t events)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return err ? -err : 1;
}

static void on_from(void *arg, uint32_t events)
{
	struct sm_relay *r = arg;

	if (r->from_waits) {
		int c = connected(r->from, events);

		if (c == 0)
			return;
		r->from_waits = false;
		r->eof = c < 0;
	}
	pump(r);
}

/* A peer that only ended its own direction still takes ours. */
static bool is_gone(const struct sm_relay *r, uint32_t events)
{
	if (events & EPOLLERR)
		return true;
	if (!r->to_socket)
		return false;
	if (events & EPOLLHUP)
		return true;
	return (events & EPOLLRDHUP) && send(r->to, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	       !would_block(errno);
}

static void on_to(void *arg, uint32_t events)
{
	struct sm_relay *r = arg;

	if (r->to_waits) {
		int c = connected(r->to, events);

		if (c == 0)
			return;
		r->to_waits = false;
		if (c < 0) {
			finish(r, true);
			return;
		}
	}
	/* the event that tells of the connection may tell of its end as well */
	if (is_gone(r, events))
		finish(r, true);
	else
		pump(r);
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int sm_relay_new(struct sm_loop *loop, int from, int to, sm_relay_done_fn *done, void *arg,
		 struct sm_relay **relay)
{
	struct sm_relay *r = malloc(sizeof(*r));
	int e;

	if (!r) {
		sm_close(&from);
		sm_close(&to);
		return -ENOMEM;
	}
	r->loop = loop;
	r->from = from;
	r->to = to;
	r->from_io = r->to_io = NULL;
	r->from_waits = is_socket(from);
	r->to_waits = r->to_socket = is_socket(to);
	r->eof = false;
	r->off = r->len = 0;
	r->done = done;
	r->arg = arg;
	r->mark = NULL;
	r->mark_left = 0;
	e = sm_set_nonblock(from);
	if (e == 0)
		e = sm_set_nonblock(to);
	if (e == 0)
		e = sm_loop_add(loop, from, EVENTS, on_from, r, &r->from_io);
	if (e == 0)
		e = sm_loop_add(loop, to, EVENTS, on_to, r, &r->to_io);
	if (e < 0) {
		close_all(r);
		free(r);
		return e;
	}
	*relay = r;
	return 0;
}

void sm_relay_mark(struct sm_relay *r, sm_relay_mark_fn *fn, void *arg)
{
	r->mark = fn;
	r->mark_arg = arg;
	r->mark_left = SM_RELAY_PIPE_MAX + sizeof(r->buf);
	pump(r);
}

void sm_relay_free(struct sm_relay *r)
{
	if (!r)
		return;
	close_all(r);
	free(r);
}
