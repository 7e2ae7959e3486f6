/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clean.h"

enum { IN, OUT, ERR };

static void on_done(void *arg, int err)
{
	struct sm_stdio_stream *s = arg;

	(void)err;
	s->open = false;
	if (s != &s->set->stream[IN])
		s->set->changed(s->set->arg);
}

/* Joins fd (consumed in any case) to a fresh port. */
static int join(struct sm_stdio *set, int which, int fd)
{
	struct sm_stdio_stream *s = &set->stream[which];
	struct sm_vsock_stream stream = {
		.source = which == IN ? fd : -1,
		.sink = which == IN ? -1 : fd,
		.done = on_done,
		.arg = s,
	};
	uint32_t port = sm_vsock_port(set->vs);
	int r = sm_vsock_expect(set->vs, port, &stream);

	if (r < 0) {
		close(fd);
		return r;
	}
	s->port = port;
	s->open = true;
	return 0;
}

/* index: as in the request, -1 for none. */
static int attach_one(struct sm_stdio *set, struct sm_rpc_call *call, int which, int32_t index)
{
	int fd;

	if (index < 0)
		return 0;
	fd = sm_rpc_call_fd(call, (size_t)index);
	return fd < 0 ? -EBADF : join(set, which, fd);
}

/* #syscalls:loop fcntl close */
static int attach_tty(struct sm_stdio *set, struct sm_rpc_call *call, int32_t index)
{
	int fd = index < 0 ? -1 : sm_rpc_call_fd(call, (size_t)index);
	int in, out;

	if (fd < 0)
		return -EBADF;
	set->tty = fd;
	in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (in < 0)
		return -errno;
	out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (out < 0) {
		close(in);
		return -EMFILE;
	}
	if (join(set, IN, in) < 0) {
		close(out);
		return -ENOSPC;
	}
	return join(set, OUT, out);
}

int sm_stdio_attach(struct sm_stdio *set, struct sm_vsock *vs, struct sm_rpc_call *call,
		    const Supermachine__Sandbox__V1__StdioFds *fds,
		    Supermachine__Agent__V1__Stdio *out, sm_stdio_changed_fn *changed, void *arg)
{
	int r = 0;

	*set = (struct sm_stdio){ .vs = vs, .tty = -1, .changed = changed, .arg = arg };
	for (int i = 0; i < 3; i++)
		set->stream[i].set = set;
	if (!fds)
		return 0;
	if (fds->terminal) {
		r = attach_tty(set, call, fds->stdin_fd);
	} else {
		const int32_t index[3] = { fds->stdin_fd, fds->stdout_fd, fds->stderr_fd };

		for (int i = 0; i < 3 && r == 0; i++)
			r = attach_one(set, call, i, index[i]);
	}
	if (r < 0) {
		sm_stdio_detach(set);
		return r;
	}
	out->terminal = fds->terminal;
	out->rows = fds->rows;
	out->cols = fds->cols;
	out->stdin_port = set->stream[IN].port;
	out->stdout_port = set->stream[OUT].port;
	out->stderr_port = set->stream[ERR].port;
	return 0;
}

bool sm_stdio_drained(const struct sm_stdio *set)
{
	return !set->stream[OUT].open && !set->stream[ERR].open;
}

void sm_stdio_detach(struct sm_stdio *set)
{
	for (int i = 0; i < 3; i++) {
		if (set->stream[i].open)
			sm_vsock_abort(set->vs, set->stream[i].port);
		set->stream[i].open = false;
	}
	sm_close(&set->tty);
}
