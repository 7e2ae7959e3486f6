/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_REQUEST_H
#define SM_RUNTIME_REQUEST_H

#include "proto/sandbox.pb-c.h"
#include "runtime/console.h"
#include "runtime/runtime.h"

/* Descriptors on their way to sm-vmm. */
#define SM_REQUEST_FDS_MAX 250

struct sm_request_fds {
	int fd[SM_REQUEST_FDS_MAX];
	bool borrowed[SM_REQUEST_FDS_MAX];
	size_t n;
};

/* The index of fd, which is closed with the request. There is room: the caller counts. */
int32_t sm_request_put(struct sm_request_fds *fds, int fd);

/* Closes what was put in. */
void sm_request_free(struct sm_request_fds **fds);
#define sm_auto_request __attribute__((cleanup(sm_request_free)))

/* Fills the message: the pty's slave with a terminal, else the caller's own 0 to 2. A descriptor
 * that the caller had closed, and a standard input that is /dev/null, is none (the guest has its
 * own). */
void sm_request_stdio(const struct sm_runtime *rt, const struct sm_pty *pty,
		      Supermachine__Sandbox__V1__StdioFds *stdio, struct sm_request_fds *fds);

#endif
