/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_PROC_H
#define SM_HV_PROC_H

#include <stddef.h>
#include <stdint.h>

#include "fs/fs.h"
#include "hv/agent.h"
#include "hv/stdio.h"
#include "proto/agent.pb-c.h"
#include "rpc/ttrpc.h"
#include "vsock/vsock.h"

/*
 * The processes that sm-vmm knows of: the first one of each container and the execs. A struct sm_proc
 * lives from the request that asked for it until its end was told to everybody who waits:
 *
 *	           agent: Create/Exec ok            agent: Wait ok           output written out
 *	  MAKING ─────────────────────► ALIVE ───────────────────► ENDED ───────────────────► told()
 *	     │ failed: request fails, sm_proc_free()
 *
 *	state    operations on it
 *	MAKING   none (its id is taken)
 *	ALIVE    Start (containers), Signal, Resize, Wait
 *	ENDED    Wait
 *
 * The agent answers Wait after it has handed over all output of the process; since vsock keeps the
 * order of what it hands over, "drained" on our side then means that the output is with the reader.
 *
 * An exec belongs to the connection that asked for it (owner). Its struct stays until that is gone and
 * the output streams end as well, for what it left running may still write.
 */
enum sm_proc_state { SM_PROC_MAKING, SM_PROC_ALIVE, SM_PROC_ENDED };

struct sm_waiter;
struct sm_oom;

struct sm_proc {
	struct sm_proc *next;
	struct sm_procs *table;
	char *id;
	char *exec_id;			/* "" for the first process of a container */
	enum sm_proc_state state;
	struct sm_rpc_call *maker;	/* the request that is answered when MAKING ends */
	struct sm_rpc *owner;		/* of an exec; NULL once it is gone */
	char **exports;			/* names added for this container */
	size_t nexports;
	struct sm_stdio io;
	unsigned int draining;		/* output streams that still have bytes for their sink */
	uint32_t status;		/* wait status, when ENDED */
	struct sm_waiter *waiters;
	struct sm_oom *oom;		/* of the first process of a container; may be NULL */
};

struct sm_procs {
	struct sm_vsock *vs;
	struct sm_fs *fs;
	struct sm_agent *agent;
	struct sm_proc *first;
	size_t n, max;
	/* The process has ended and all it wrote is with its readers; its waiters have been answered. */
	void (*told)(void *arg, struct sm_proc *p);
	void *arg;
};

/* How many processes there can be: SM_PROCS_MAX, or what the limit of descriptors leaves. */
#define SM_PROCS_MAX 4096
#define SM_CLIENTS_MAX (SM_PROCS_MAX + 256) /* each exec is one; others want to be heard too */
/* How many requests of one client may stand: Wait and WaitOom for each process, and some that do
 * not. */
#define SM_CALLS_MAX (2 * SM_PROCS_MAX + 256)
size_t sm_procs_limit(void);

/* NULL if there is none. */
struct sm_proc *sm_proc_find(struct sm_procs *t, const char *id, const char *exec_id);

/* A process in MAKING, asked for by `call`; NULL: the call has been failed. */
struct sm_proc *sm_proc_new(struct sm_procs *t, struct sm_rpc_call *call, const char *id,
			    const char *exec_id);
void sm_proc_free(struct sm_proc *p);

/* MAKING → ALIVE: watches for its end from here on. */
void sm_proc_alive(struct sm_proc *p);

/* Answers the call when the process has ended, at once if that was before. */
void sm_proc_wait(struct sm_proc *p, struct sm_rpc_call *call);

/* Ends its streams, whatever is still on its way; one that had only its output left is told now. */
void sm_proc_drop_output(struct sm_proc *p);

/* Forgets those who waited on a connection that is closed. */
void sm_proc_client_gone(struct sm_proc *p);

/* Fails those who wait: the VM is lost. */
void sm_proc_lost(struct sm_proc *p, const char *why);

/* Frees an exec that is over in every respect. For when owner or streams changed; the second is for
 * sm_stdio_attach(). */
void sm_proc_reap(struct sm_proc *p);
void sm_proc_stdio_changed(void *arg);

#endif
