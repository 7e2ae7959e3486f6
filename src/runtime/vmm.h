/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_VMM_H
#define SM_RUNTIME_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/sandbox.pb-c.h"
#include "spec/json.h"

/* Blocking requests to a container's sm-vmm. */

#define SM_VMM_SERVICE "supermachine.sandbox.v1.Sandbox"
#define SM_VMM_SOCKET "vmm.sock"

struct sm_vmm {
	int fd;
	uint32_t stream;
	int timeout_ms;		/* of each request; < 0: none */
};

#define SM_VMM_INIT { -1, 0, -1 }
#define sm_auto_vmm __attribute__((cleanup(sm_vmm_close)))

/* Connects to dirfd/vmm.sock, waiting no longer than timeout_ms. */
int sm_vmm_connect(int dirfd, int timeout_ms, struct sm_vmm *vmm, struct sm_err *err);
void sm_vmm_close(struct sm_vmm *vmm);

/* A socket bound to dirfd/name that listens, for its owner alone, close-on-exec; or -errno. */
int sm_vmm_listen(int dirfd, const char *name);

int sm_vmm_start(struct sm_vmm *vmm, const char *id, struct sm_err *err);
/* Returns when the container has said READY=1. -EBUSY, -ECONNRESET: it ended without; -ENOENT: it
 * was not asked to. */
int sm_vmm_wait_ready(struct sm_vmm *vmm, const char *id, struct sm_err *err);
int sm_vmm_pause(struct sm_vmm *vmm, const char *id, struct sm_err *err);
int sm_vmm_resume(struct sm_vmm *vmm, const char *id, struct sm_err *err);
int sm_vmm_update(struct sm_vmm *vmm, const char *id, const struct sm_pairs *files,
		  struct sm_err *err);
/* *stats: to be freed with protobuf_c_message_free_unpacked(). */
int sm_vmm_stats(struct sm_vmm *vmm, const char *id,
		 Supermachine__Agent__V1__StatsResponse **stats, struct sm_err *err);
int sm_vmm_signal(struct sm_vmm *vmm, const char *id, int signo, bool all, struct sm_err *err);

/* On 0 *list is the caller's, to be freed with protobuf's free_unpacked(). */
int sm_vmm_ports(struct sm_vmm *vmm, Supermachine__Sandbox__V1__PortsResponse **list,
		 struct sm_err *err);

/* On 0 *list is the caller's, to be freed with protobuf's free_unpacked(). */
int sm_vmm_processes(struct sm_vmm *vmm, const char *id,
		     Supermachine__Agent__V1__ProcessesResponse **list, struct sm_err *err);

/* Whether the first process of its first container runs, or did. */
int sm_vmm_started(struct sm_vmm *vmm, bool *started, struct sm_err *err);

/* Waits for sm-vmm to hang up, which it does when it ends. No request may be open. 0 or -ETIMEDOUT. */
int sm_vmm_wait_end(struct sm_vmm *vmm, int timeout_ms);

#endif
