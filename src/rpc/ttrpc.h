/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RPC_TTRPC_H
#define SM_RPC_TTRPC_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

/*
 * ttrpc (github.com/containerd/ttrpc, PROTOCOL.md) on a stream socket, unary calls.
 *
 *	 0       4          8     9      10
 *	 +-------+----------+-----+------+------------------+
 *	 | len   | stream   | type| flags| len bytes         |	integers big endian
 *	 +-------+----------+-----+------+------------------+
 *	  <=4MiB   odd:client  1 request, 2 response
 *
 * One connection object serves and calls at once. On an AF_UNIX socket a request may carry file
 * descriptors: they travel as SCM_RIGHTS with the frame's first byte, in order; frames without
 * descriptors are plain ttrpc, so foreign clients (containerd) need to know nothing of it.
 */

#define SM_RPC_FRAME_MAX (4u << 20)
#define SM_RPC_FDS_MAX 250
#define SM_RPC_INFLIGHT_MAX 256	/* see sm_rpc_set_inflight() */

/* google.rpc.Code values that we use */
enum sm_rpc_code {
	SM_RPC_OK = 0,
	SM_RPC_CANCELLED = 1,
	SM_RPC_UNKNOWN = 2,
	SM_RPC_INVALID_ARGUMENT = 3,
	SM_RPC_DEADLINE_EXCEEDED = 4,
	SM_RPC_NOT_FOUND = 5,
	SM_RPC_ALREADY_EXISTS = 6,
	SM_RPC_PERMISSION_DENIED = 7,
	SM_RPC_RESOURCE_EXHAUSTED = 8,
	SM_RPC_FAILED_PRECONDITION = 9,
	SM_RPC_UNIMPLEMENTED = 12,
	SM_RPC_INTERNAL = 13,
	SM_RPC_UNAVAILABLE = 14,
};

struct sm_rpc;		/* a connection */
struct sm_rpc_call;	/* a request that waits for our reply */

/* Server side. req is the decoded request, valid until the reply. Exactly one sm_rpc_reply() or
 * sm_rpc_fail() must follow, now or later, from the loop's thread; it frees the call. If the peer
 * goes away first the call stays valid and the reply is dropped. */
typedef void sm_rpc_handler(void *arg, struct sm_rpc_call *call, const ProtobufCMessage *req);

struct sm_rpc_method {
	const char *name;		/* "Create" */
	const ProtobufCMessageDescriptor *in;
	sm_rpc_handler *fn;
};

struct sm_rpc_service {
	const char *name;		/* "supermachine.sandbox.v1.Sandbox" */
	const struct sm_rpc_method *methods;
	size_t nmethods;
};

void sm_rpc_reply(struct sm_rpc_call *call, const ProtobufCMessage *rsp);
void sm_rpc_fail(struct sm_rpc_call *call, enum sm_rpc_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The connection a call came by (NULL once it is closed): to tie what it made to its peer's life. */
struct sm_rpc *sm_rpc_call_conn(const struct sm_rpc_call *call);

/* Takes the i-th descriptor that came with the request (the caller's from now on), -1 if there is
 * none. Those not taken are closed with the call. */
int sm_rpc_call_fd(struct sm_rpc_call *call, size_t i);
size_t sm_rpc_call_nfds(const struct sm_rpc_call *call);

/* A connection on fd (owned from now on, made non-blocking). service may be NULL (pure client).
 * closed() (may be NULL) runs once, from the loop, when the peer is gone or broke the protocol
 * (err tells why, 0 for EOF; -ENOBUFS: it left 8 MiB unread; -EDQUOT: too many requests), after every
 * pending client call has been ended with SM_RPC_UNAVAILABLE; inside it, or at any other time,
 * sm_rpc_free() is the owner's to call, which ends those with SM_RPC_CANCELLED and runs no closed().
 * On an error fd is closed. */
typedef void sm_rpc_closed_fn(void *arg, struct sm_rpc *rpc, int err);
int sm_rpc_new(struct sm_loop *loop, int fd, const struct sm_rpc_service *service, void *service_arg,
	       sm_rpc_closed_fn *closed, void *closed_arg, struct sm_rpc **rpc);
void sm_rpc_free(struct sm_rpc *rpc); /* NULL allowed */

/* How many requests of the peer may wait for our reply; with one more the connection is closed.
 * SM_RPC_INFLIGHT_MAX before the first call; SIZE_MAX: as many as it likes. */
void sm_rpc_set_inflight(struct sm_rpc *rpc, size_t max);

/* Client side, asynchronous. done() runs exactly once: code SM_RPC_OK with the decoded response
 * (valid during the callback; `out` tells its type), else rsp is NULL and text says why. Returns 0,
 * or -errno (-EPIPE: the connection is closed) and then done() will not run. fds (may be NULL/0) stay the caller's: they are duplicated
 * before this returns. */
typedef void sm_rpc_done_fn(void *arg, enum sm_rpc_code code, const char *text,
			    const ProtobufCMessage *rsp);
int sm_rpc_send(struct sm_rpc *rpc, const char *service, const char *method,
		const ProtobufCMessage *req, const int *fds, size_t nfds,
		const ProtobufCMessageDescriptor *out, sm_rpc_done_fn *done, void *arg);

/* Client side, blocking, for command-line programs: one call on a connected blocking socket that
 * nothing else uses. timeout_ms < 0: for ever. On 0 *rsp is the response, to be freed with
 * protobuf_c_message_free_unpacked(). Else -errno: a status from the server is mapped
 * (NOT_FOUND -ENOENT, ALREADY_EXISTS -EEXIST, INVALID_ARGUMENT -EINVAL, PERMISSION_DENIED -EACCES,
 * FAILED_PRECONDITION -EBUSY, UNIMPLEMENTED -ENOSYS, DEADLINE_EXCEEDED -ETIMEDOUT,
 * RESOURCE_EXHAUSTED -ENOSPC, UNAVAILABLE -ECONNRESET, others -EIO) with the server's text as
 * message; the connection lost: -ECONNRESET; no response in time: -ETIMEDOUT, and the connection
 * stays of use unless the time ran out inside a frame. Signals do not end the wait: a program that
 * has to react to them uses sm_rpc_send() on a loop. *stream counts the connection's calls: 0 before
 * the first. */
int sm_rpc_call(int fd, uint32_t *stream, const char *service, const char *method,
		const ProtobufCMessage *req, const int *fds, size_t nfds,
		const ProtobufCMessageDescriptor *out, int timeout_ms, ProtobufCMessage **rsp,
		struct sm_err *err);

/* A server: accepts on listen_fd (owned) and makes a connection for each peer whose uid is ours or
 * root's (SO_PEERCRED; others are closed), at most max_conns at a time. gone() (may be NULL) tells
 * that a connection ended, before it is freed; arg is service_arg. It must not free the server.
 * sm_rpc_server_free() frees what connections are left without gone(). */
struct sm_rpc_server;
typedef void sm_rpc_gone_fn(void *arg, struct sm_rpc *rpc);
int sm_rpc_server_new(struct sm_loop *loop, int listen_fd, const struct sm_rpc_service *service,
		      void *service_arg, size_t max_conns, sm_rpc_gone_fn *gone,
		      struct sm_rpc_server **server);
void sm_rpc_server_free(struct sm_rpc_server *server);

/* sm_rpc_set_inflight() of each connection accepted from now on. */
void sm_rpc_server_set_inflight(struct sm_rpc_server *server, size_t max);

#endif
