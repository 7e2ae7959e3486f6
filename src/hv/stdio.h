/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_STDIO_H
#define SM_HV_STDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/agent.pb-c.h"
#include "proto/sandbox.pb-c.h"
#include "rpc/ttrpc.h"
#include "vsock/vsock.h"

/*
 * The standard streams of one process: descriptors that came with a request, each joined to a vsock
 * stream of its own that the agent opens to the port it is told.
 */
struct sm_stdio;

/* One of the output streams is finished, all its bytes are written out. */
typedef void sm_stdio_changed_fn(void *arg);

struct sm_stdio_stream {
	struct sm_stdio *set;
	uint32_t port;		/* 0: none */
	bool open;
};

struct sm_stdio {
	struct sm_vsock *vs;
	struct sm_stdio_stream stream[3];
	int tty;		/* the pty's slave, for its size; -1 if there is none */
	sm_stdio_changed_fn *changed;
	void *arg;
};

/* Takes the descriptors out of the call and fills `out` for the agent. 0, or -errno with nothing left
 * joined. fds NULL: no streams at all. */
int sm_stdio_attach(struct sm_stdio *set, struct sm_vsock *vs, struct sm_rpc_call *call,
		    const Supermachine__Sandbox__V1__StdioFds *fds,
		    Supermachine__Agent__V1__Stdio *out, sm_stdio_changed_fn *changed, void *arg);

/* True when no output is on its way any more. */
bool sm_stdio_drained(const struct sm_stdio *set);

/* Ends the streams that still are. changed() does not run. */
void sm_stdio_detach(struct sm_stdio *set);

#endif
