/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The caller's descriptors are shared with other processes, so they stay blocking and are touched
 * when epoll says so; the master is ours and does not block. A chunk of input is held until the
 * master has taken all of it, and no more is read meanwhile, so neither direction can stop the
 * other: the guest may write while it does not read.
 */
#include "runtime/relay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/io.h"

#define CHUNK 4096

struct sm_relay {
	struct sm_loop *loop;
	int master;
	struct sm_io *in, *out;
	bool in_is_file;	/* epoll does not take it: always readable */
	bool in_ended, out_ended;
	char held[CHUNK];	/* of the input */
	size_t start, end;
};

static void arm(struct sm_relay *r)
{
	bool holding = r->start < r->end;

	if (r->in)
		sm_loop_mod(r->loop, r->in, holding ? 0 : EPOLLIN);
	if (r->out)
		sm_loop_mod(r->loop, r->out, holding || (r->in_is_file && !r->in_ended) ?
						     EPOLLIN | EPOLLOUT :
						     EPOLLIN);
}

static void stop_input(struct sm_relay *r)
{
	sm_loop_remove(r->loop, r->in);
	r->in = NULL;
	r->in_ended = true;
	r->start = r->end;
}

static void read_input(struct sm_relay *r)
{
	ssize_t n;

	if (r->start < r->end || r->in_ended)
		return;
	n = read(STDIN_FILENO, r->held, sizeof(r->held));
	if (n > 0) {
		r->start = 0;
		r->end = (size_t)n;
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		stop_input(r);
	}
}

static void write_input(struct sm_relay *r)
{
	ssize_t n;

	if (r->start == r->end)
		return;
	n = write(r->master, r->held + r->start, r->end - r->start);
	if (n > 0)
		r->start += (size_t)n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		stop_input(r);
}

/* false: nothing there (yet). */
static bool copy_output(struct sm_relay *r)
{
	char chunk[CHUNK];
	ssize_t n;

	if (r->out_ended)
		return false;
	n = read(r->master, chunk, sizeof(chunk));
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN)
		return false;
	/* EIO: no slave is open any more */
	if (n <= 0 || sm_write_full(STDOUT_FILENO, chunk, (size_t)n) < 0) {
		sm_loop_remove(r->loop, r->out);
		r->out = NULL;
		r->out_ended = true;
		stop_input(r);
		return false;
	}
	return true;
}

static void on_input(void *arg, uint32_t events)
{
	struct sm_relay *r = arg;

	(void)events;
	read_input(r);
	write_input(r);
	arm(r);
}

static void on_master(void *arg, uint32_t events)
{
	struct sm_relay *r = arg;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		copy_output(r);
	if (events & EPOLLOUT) {
		if (r->in_is_file)
			read_input(r);
		write_input(r);
	}
	arm(r);
}

int sm_relay_new(struct sm_loop *loop, int master, struct sm_relay **relay)
{
	struct sm_relay *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	r->master = master;
	ret = sm_set_nonblock(master);
	if (ret == 0)
		ret = sm_loop_add(loop, master, EPOLLIN, on_master, r, &r->out);
	if (ret < 0) {
		free(r);
		return ret;
	}
	ret = sm_loop_add(loop, STDIN_FILENO, EPOLLIN, on_input, r, &r->in);
	if (ret < 0) {
		r->in = NULL;
		r->in_is_file = true;
		arm(r);
	}
	*relay = r;
	return 0;
}

void sm_relay_free(struct sm_relay *r)
{
	if (!r)
		return;
	while (copy_output(r))
		;
	sm_loop_remove(r->loop, r->in);
	sm_loop_remove(r->loop, r->out);
	free(r);
}
