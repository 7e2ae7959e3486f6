/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_NOTIFY_H
#define SM_GUEST_NOTIFY_H

#include "guest/agent/guest.h"
#include "proto/agent.pb-c.h"

/*
 * The socket on which a container says that it is ready, as sd_notify(3) does: a directory of the VM
 * with the socket in it, which is mounted in the container. What it says besides is read and
 * forgotten, and so are descriptors that come with it.
 */
struct sm_waiter;

struct sm_notify {
	int fd;				/* -1: none */
	struct sm_io *io;
	char *dir;			/* NULL: the container was not asked to say it */
	bool ready;
	struct sm_waiter *waiters;	/* for `ready` */
	size_t nwaiters;
};

#define SM_NOTIFY_INIT { .fd = -1 }

/* Makes the directory and the socket. On an error sm_notify_end() removes what is there. */
int sm_notify_open(struct sm_container *c, const char *dir, struct sm_err *err);

/* The container says no more: whoever still waits is told. The directory is removed. */
void sm_notify_end(struct sm_container *c);

void sm_request_wait_ready(struct sm_guest *g, struct sm_rpc_call *call,
			   const Supermachine__Agent__V1__ContainerRequest *req);

#endif
