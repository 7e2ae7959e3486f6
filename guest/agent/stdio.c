/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clean.h"
#include "guest/agent/relay.h"
#include "guest/agent/tty.h"

enum { IN, OUT, ERR, STREAMS_NUM };

struct stream {
	struct sm_stdio *io;
	struct sm_relay *relay;
	int sock;	/* before the relay has it */
	bool open;
};

struct sm_stdio {
	struct sm_loop *loop;
	struct stream stream[STREAMS_NUM];
	bool terminal;
	int master;
	sm_stdio_changed_fn *changed;
	void *arg;
	unsigned int flushing;		/* streams that are, and one for sm_stdio_flush() itself */
	sm_stdio_flushed_fn *flushed;
	void *flushed_arg;
};

static void end_stream(struct stream *s)
{
	sm_relay_free(s->relay);
	s->relay = NULL;
	sm_close(&s->sock);
	s->open = false;
}

static void on_done(void *arg, bool broken)
{
	struct stream *s = arg;
	struct sm_stdio *io = s->io;
	bool input = s == &io->stream[IN];

	end_stream(s);
	if (input)
		return;
	if (io->terminal) {
		/* no slave is open any more, or nobody looks: the terminal hangs up */
		end_stream(&io->stream[IN]);
		sm_close(&io->master);
	}
	io->changed(io->arg);
}

/* Takes over fd, the agent's end. */
static int join(struct sm_stdio *io, int which, int fd)
{
	struct stream *s = &io->stream[which];
	int sock = sm_steal_fd(&s->sock);
	int r = sm_relay_new(io->loop, which == IN ? sock : fd, which == IN ? fd : sock, on_done, s,
			     &s->relay);

	s->open = r == 0;
	return r;
}

/* *child is the process's end. */
static int make_pipe(struct sm_stdio *io, int which, int *child)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fcntl(fds[0], F_SETPIPE_SZ, SM_RELAY_PIPE_MAX);
	*child = fds[which == IN ? 0 : 1];
	r = join(io, which, fds[which == IN ? 1 : 0]);
	if (r < 0)
		sm_close(child);
	return r;
}

static int set_up(struct sm_stdio *io, const struct sm_link *link, const uint32_t *ports,
		  int *child)
{
	for (int i = 0; i < STREAMS_NUM; i++) {
		if (!ports[i])
			continue;
		io->stream[i].sock = sm_link_connect(link, ports[i]);
		if (io->stream[i].sock < 0)
			return io->stream[i].sock;
		io->stream[i].open = true;
		if (!io->terminal) {
			int r = make_pipe(io, i, &child[i]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int sm_stdio_new(struct sm_loop *loop, const struct sm_link *link,
		 const Supermachine__Agent__V1__Stdio *msg, sm_stdio_changed_fn *changed, void *arg,
		 int child[3], struct sm_stdio **out)
{
	const uint32_t ports[STREAMS_NUM] = { msg->stdin_port, msg->stdout_port, msg->stderr_port };
	struct sm_stdio *io = calloc(1, sizeof(*io));
	int r;

	child[IN] = child[OUT] = child[ERR] = -1;
	if (!io)
		return -ENOMEM;
	io->loop = loop;
	io->terminal = msg->terminal;
	io->master = -1;
	io->changed = changed;
	io->arg = arg;
	for (int i = 0; i < STREAMS_NUM; i++)
		io->stream[i] = (struct stream){ .io = io, .sock = -1 };
	r = set_up(io, link, ports, child);
	if (r < 0) {
		for (int i = 0; i < STREAMS_NUM; i++)
			sm_close(&child[i]);
		sm_stdio_free(io);
		return r;
	}
	*out = io;
	return 0;
}

int sm_stdio_terminal(struct sm_stdio *io, int master)
{
	sm_close(&io->master);
	io->master = master;
	for (int i = IN; i <= OUT; i++) {
		int fd, r;

		if (io->stream[i].sock < 0)
			continue;
		fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
		r = join(io, i, fd);
		if (r < 0)
			return r;
	}
	return 0;
}

bool sm_stdio_drained(const struct sm_stdio *io)
{
	return !io->stream[OUT].open && !io->stream[ERR].open;
}

static void on_mark(void *arg)
{
	struct sm_stdio *io = arg;

	if (--io->flushing == 0)
		io->flushed(io->flushed_arg);
}

void sm_stdio_flush(struct sm_stdio *io, sm_stdio_flushed_fn *fn, void *arg)
{
	io->flushed = fn;
	io->flushed_arg = arg;
	io->flushing = 1;
	for (int i = OUT; i <= ERR; i++) {
		if (!io->stream[i].relay)
			continue;
		io->flushing++;
		sm_relay_mark(io->stream[i].relay, on_mark, io);
	}
	on_mark(io);
}

int sm_stdio_resize(struct sm_stdio *io, uint32_t rows, uint32_t cols)
{
	return io->master < 0 ? -ENOTTY : sm_tty_resize(io->master, rows, cols);
}

void sm_stdio_free(struct sm_stdio *io)
{
	if (!io)
		return;
	for (int i = 0; i < STREAMS_NUM; i++)
		end_stream(&io->stream[i]);
	sm_close(&io->master);
	free(io);
}
