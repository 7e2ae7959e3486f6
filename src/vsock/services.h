/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_SERVICES_H
#define SM_VSOCK_SERVICES_H

#include "vsock/vsock.h"

/*
 * What the guest finds at ports of the host: (CID 2, port). The descriptors were opened by who
 * started us, so that they lead out of the jail to this and nothing else.
 */
#define SM_ENVIRONMENT_PORT 1026u
#define SM_SERVICES_MAX     32u

struct sm_services;

int sm_services_new(struct sm_vsock *vs, struct sm_services **services);

/* After sm_vsock_free(). NULL allowed. */
void sm_services_free(struct sm_services *services);

/* A connect of the guest to `port` is one to the unix socket that fd, opened with O_PATH, is. fd is
 * owned from 0 on. -EADDRINUSE, -ENOTSOCK (it is none), -ENOSPC, -ENOMEM. */
int sm_services_map(struct sm_services *services, uint32_t port, int fd);

/* A list of them, "PORT=DESCRIPTOR,…". */
int sm_services_map_list(struct sm_services *services, const char *list, struct sm_err *err);

/* The first connect of the guest to SM_ENVIRONMENT_PORT is answered with the rest of the file fd,
 * and no other ever: it may hold secrets. fd is owned from 0 on. */
int sm_services_environment(struct sm_services *services, int fd);

#endif
