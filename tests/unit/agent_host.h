/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_TEST_AGENT_HOST_H
#define SM_TEST_AGENT_HOST_H

/*
 * The host's side of the agent, for tests: starts ./sm-agent as an ordinary program, with a
 * directory in place of the shares and AF_UNIX sockets in place of vsock. Its root file system is
 * busybox.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "proto/agent.pb-c.h"
#include "rpc/ttrpc.h"

struct agent_host {
	char dir[64];		/* holds host/ (the exports), sock, sock_<port> */
	struct sm_loop *loop;
	struct sm_rpc *rpc;
	pid_t pid;
	uint32_t port;		/* the last one given out */
	bool done;		/* of the call that is under way */
	enum sm_rpc_code code;
	char text[4096];
	ProtobufCMessage *rsp;
};

/* A stream that the agent is to connect. */
struct agent_stream {
	uint32_t port;
	int listen;
	int fd;
};

void agent_host_start(struct agent_host *h);
void agent_host_stop(struct agent_host *h);

/* One call; its code, with h->text or h->rsp set. `out` NULL: Empty. */
enum sm_rpc_code agent_call(struct agent_host *h, const char *method, const ProtobufCMessage *req,
			    const ProtobufCMessageDescriptor *out);

void agent_stream_listen(struct agent_host *h, struct agent_stream *s);
void agent_stream_accept(struct agent_stream *s);

/* All up to the end of the stream. */
void agent_stream_read(struct agent_stream *s, struct sm_buf *text);

#endif
