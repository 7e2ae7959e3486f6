/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_SERVICES_H
#define SM_RUNTIME_SERVICES_H

#include "runtime/settings.h"
#include "spec/config.h"

/*
 * What the guest finds at AF_VSOCK ports of the host, as annotations say it:
 *
 *	vsock-ports	PORT=SOCKET, …: unix sockets of the host
 *	environment	a JSON object of strings; these are at port 1026
 *	secrets-file	… with those of this file, which nobody but its owner may read
 *
 * All of it is opened here, for sm-vmm has no file system. Secrets are in no argument, environment,
 * message or file but theirs; sm-vmm has them in an unnamed one in memory, which is gone once the
 * guest has read it.
 */
#define SM_ANNOTATION_VSOCK_PORTS  "supermachine.io/vsock-ports"
#define SM_ANNOTATION_ENVIRONMENT  "supermachine.io/environment"
#define SM_ANNOTATION_SECRETS_FILE "supermachine.io/secrets-file"
#define SM_VSOCK_SOCKET            "vsock.sock" /* in the state directory: ways into the guest */
#define SM_SERVICE_SOCKETS_MAX     32

struct sm_service_fds {
	int environment; /* -1: none */
	struct {
		uint32_t port;
		int fd;
	} sockets[SM_SERVICE_SOCKETS_MAX];
	size_t n;
};

#define SM_SERVICE_FDS_INIT                                                                        \
	{                                                                                          \
		.environment = -1                                                                  \
	}

/* 0, or -errno and nothing is open. */
int sm_service_fds_open(const struct sm_config *config, struct sm_arena *arena,
			struct sm_service_fds *fds, struct sm_err *err);
void sm_service_fds_close(struct sm_service_fds *fds);
#define sm_auto_service_fds __attribute__((cleanup(sm_service_fds_close)))

#endif
