/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking client: one request, then its response, on a socket of its own. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "rpc/frame.h"
#include "rpc/ttrpc.h"

#define NEVER UINT64_MAX

static const struct {
	enum sm_rpc_code code;
	int err;
} codes[] = {
	{ SM_RPC_INVALID_ARGUMENT, -EINVAL },   { SM_RPC_DEADLINE_EXCEEDED, -ETIMEDOUT },
	{ SM_RPC_NOT_FOUND, -ENOENT },          { SM_RPC_ALREADY_EXISTS, -EEXIST },
	{ SM_RPC_PERMISSION_DENIED, -EACCES },  { SM_RPC_RESOURCE_EXHAUSTED, -ENOSPC },
	{ SM_RPC_FAILED_PRECONDITION, -EBUSY }, { SM_RPC_UNIMPLEMENTED, -ENOSYS },
	{ SM_RPC_UNAVAILABLE, -ECONNRESET },
};

static int code_to_errno(enum sm_rpc_code code)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(codes); i++) {
		if (codes[i].code == code)
			return codes[i].err;
	}
	return -EIO;
}

/* Waits until the socket is ready; signals do not end the wait. */
static int wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd pfd = { fd, events, 0 };

	for (;;) {
		uint64_t now = sm_now_ns();
		int ms = -1;
		int r;

		if (deadline != NEVER && now >= deadline)
			return -ETIMEDOUT;
		if (deadline != NEVER) {
			uint64_t left = (deadline - now + 999999) / 1000000;

			ms = left > INT_MAX ? INT_MAX : (int)left;
		}
		r = poll(&pfd, 1, ms);
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_frame(int fd, const struct sm_buf *frame, const int *fds, size_t nfds,
		      uint64_t deadline)
{
	size_t done = 0;

	while (done < frame->len) {
		ssize_t n = sm_send_fds(fd, frame->data + done, frame->len - done, fds, nfds);
		int r = n < 0 ? (int)n : 0;

		if (n > 0) {
			done += (size_t)n;
			nfds = 0;
		}
		if (r == -EAGAIN)
			r = wait_for(fd, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Reads one frame. Descriptors that a peer may send along are dropped by recv(2). */
static int read_frame(int fd, struct rpc_reader *reader, uint64_t deadline)
{
	for (;;) {
		size_t len;
		uint8_t *p = rpc_reader_room(reader, &len);
		ssize_t n;
		int r;

		if (!p)
			return -ENOMEM;
		n = recv(fd, p, len, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n > 0) {
			if (rpc_reader_add(reader, (size_t)n))
				return 0;
			continue;
		}
		r = errno == EAGAIN ? wait_for(fd, POLLIN, deadline) : -errno;
		if (r < 0 && r != -EINTR)
			return r;
	}
}

/* Reads until the response to `stream` is there; what else comes is left of earlier calls. */
static int read_response(int fd, struct rpc_reader *reader, uint32_t stream, uint64_t deadline)
{
	for (;;) {
		int r = read_frame(fd, reader, deadline);

		if (r < 0)
			return r;
		if (reader->header.type == RPC_RESPONSE && reader->header.stream == stream)
			return 0;
		rpc_reader_next(reader);
	}
}

static int set_flags(int fd, int flags)
{
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

/* The exchange on a non-blocking socket. *clean: the next call would find the stream at the start
 * of a frame. */
static int exchange(int fd, uint32_t stream, const struct sm_buf *frame, const int *fds,
		    size_t nfds, uint64_t deadline, struct rpc_reader *reader, bool *clean)
{
	int r = send_frame(fd, frame, fds, nfds, deadline);

	*clean = false;
	if (r < 0)
		return r;
	r = read_response(fd, reader, stream, deadline);
	*clean = r == 0 || (r == -ETIMEDOUT && reader->have == 0);
	return r;
}

static int finish(const struct rpc_reader *reader, const ProtobufCMessageDescriptor *out,
		  ProtobufCMessage **rsp, struct sm_err *err)
{
	struct rpc_response response;
	int r = 0;

	rpc_response_open(&response, reader, out);
	if (response.code == SM_RPC_OK)
		*rsp = sm_steal_ptr(response.rsp);
	else
		r = sm_err_set(err, code_to_errno(response.code), "%s", response.text);
	rpc_response_free(&response);
	return r;
}

int sm_rpc_call(int fd, uint32_t *stream, const char *service, const char *method,
		const ProtobufCMessage *req, const int *fds, size_t nfds,
		const ProtobufCMessageDescriptor *out, int timeout_ms, ProtobufCMessage **rsp,
		struct sm_err *err)
{
	sm_auto_buf struct sm_buf frame = SM_BUF_INIT(SM_RPC_FRAME_MAX + RPC_HEADER_LEN);
	uint64_t deadline = NEVER;
	struct rpc_reader reader;
	int flags = fcntl(fd, F_GETFL);
	bool clean;
	int r;

	if (flags < 0)
		return sm_err_sys(err, errno, "%s", method);
	if (timeout_ms >= 0)
		deadline = sm_now_ns() + (uint64_t)timeout_ms * 1000000u;
	*stream = *stream ? *stream + 2 : 1;
	r = rpc_frame_request(&frame, *stream, service, method, req);
	if (!r)
		r = set_flags(fd, flags | O_NONBLOCK);
	if (r < 0)
		return sm_err_sys(err, r, "%s", method);
	rpc_reader_init(&reader);
	r = exchange(fd, *stream, &frame, fds, nfds, deadline, &reader, &clean);
	set_flags(fd, flags);
	if (!clean)
		shutdown(fd, SHUT_RDWR);
	if (r == -EPIPE)
		r = -ECONNRESET;
	if (r < 0)
		r = sm_err_sys(err, r, "%s", method);
	else
		r = finish(&reader, out, rsp, err);
	rpc_reader_free(&reader);
	return r;
}
