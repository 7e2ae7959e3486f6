/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_CONTAINER_H
#define SM_GUEST_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest/agent/cgroup.h"
#include "guest/agent/guest.h"
#include "guest/agent/notify.h"
#include "guest/agent/spawn.h"
#include "guest/agent/stdio.h"
#include "proto/agent.pb-c.h"

/*
 * The containers of the VM and their processes. A process:
 *
 *	SETUP ──READY──► CREATED ──Start──► STARTING ──execve──► RUNNING ──reaped──► ENDED
 *	  │  (an exec goes from SETUP to STARTING by itself)                           ▲
 *	  └── it failed, or was killed, anywhere ──────────────────────────────────────┘
 *
 * A container is its first process, the execs, and what they leave running:
 *
 *	first process ENDED ─► the rest is killed ─► cgroup empty, output handed over ─►
 *	a helper syncs the filesystems ─► gone: Wait is answered
 *
 * Delete does the same by force: streams are cut, everything is killed; when the cgroup is empty
 * all of it is removed and Delete is answered. A create that fails ends in the same way before it
 * is answered.
 *
 * Each of these conditions comes as an event of the loop (SIGCHLD, the sync socket, a relay's end,
 * cgroup.events); every one of them leads to sm_container_advance(), which looks how far the
 * container has got.
 */
enum sm_proc_state {
	SM_PROC_SETUP,
	SM_PROC_CREATED,
	SM_PROC_STARTING,
	SM_PROC_RUNNING,
	SM_PROC_ENDED,
	SM_PROC_NUM
};

struct sm_waiter {
	struct sm_waiter *next;
	struct sm_rpc_call *call;
};

struct sm_proc {
	struct sm_proc *next;
	struct sm_container *c;
	char *exec_id;			/* "": the first process */
	enum sm_proc_state state;
	struct sm_spawned sp;
	struct sm_io *sync_io;
	struct sm_stdio *io;
	/* in SM_PROC_SETUP: part of the request in `call` */
	const Supermachine__Agent__V1__Process *msg;
	struct sm_rpc_call *call;	/* create, start or exec, not answered yet */
	int status;			/* in SM_PROC_ENDED */
	bool flushed;			/* in SM_PROC_ENDED: what it wrote is handed over */
	bool failed;			/* an exec that was answered with an error */
	int killed_as;			/* the signal that a SIGKILL stands for */
	struct sm_waiter *waiters;
};

/* The processes that the kernel killed for want of memory, and who waits for more (resources.c). */
struct sm_oom {
	int fd;				/* memory.events: EPOLLPRI when it changes */
	struct sm_io *io;
	uint64_t kills;
	struct sm_oom_waiter *waiters;
	size_t nwaiters;
};

struct sm_container {
	struct sm_container *next;
	struct sm_guest *g;
	char *id;
	uint64_t namespaces;
	char **exports;
	size_t nexports;
	struct sm_cgroup cgroup;
	struct sm_io *cgroup_io;
	struct sm_oom oom;
	struct sm_notify notify;
	struct sm_proc *procs;		/* the first process is the last of the list */
	struct sm_proc *first;
	size_t nended;			/* execs in SM_PROC_ENDED */
	pid_t sync_pid;			/* helper; 0: not begun, -1: done */
	bool gone;			/* Wait may be answered */
	bool deleting;
	struct sm_rpc_call *delete_call;
	struct sm_rpc_call *failed_call; /* the create that failed with */
	struct sm_err failure;
};

/* ---- proc.c ------------------------------------------------------------------------------------ */

/* A process that is not made yet; NULL: out of memory. */
struct sm_proc *sm_proc_new(struct sm_container *c, const char *exec_id);
void sm_proc_free(struct sm_proc *p);
struct sm_proc *sm_proc_find(const struct sm_container *c, const char *exec_id);

/* Makes it, for p->call and p->msg; `ch` says how, but for what the container tells. On an error
 * a child may be there, killed, to be reaped. */
int sm_proc_launch(struct sm_proc *p, struct sm_child *ch,
		   const Supermachine__Agent__V1__Stdio *stdio, struct sm_err *err);

/* Lets a created one go on to its execve, to answer `call`. */
void sm_proc_start(struct sm_proc *p, struct sm_rpc_call *call);

/* Answers p->call with an error. A failed create is answered when all of it is undone. */
void sm_proc_fail(struct sm_proc *p, enum sm_rpc_code code, const char *text);
void sm_proc_kill(const struct sm_proc *p, int signo);

/* It was reaped. */
void sm_proc_ended(struct sm_proc *p, int status);

/* Answers those who wait for it. */
void sm_proc_answer(struct sm_proc *p);

/* ---- container.c ------------------------------------------------------------------------------- */

/* A container with a first process that is not made yet, in g's list; NULL: out of memory. */
struct sm_container *sm_container_new(struct sm_guest *g,
				      const Supermachine__Agent__V1__Container *msg);
struct sm_container *sm_container_find(struct sm_guest *g, const char *id);

/* Makes what the request asks for; READY of its first process answers it. */
int sm_container_build(struct sm_container *c,
		       const Supermachine__Agent__V1__CreateContainerRequest *req,
		       struct sm_err *err);

/* Something has happened: goes as far as it now can. c may be gone afterwards. */
void sm_container_advance(struct sm_container *c);

/* Reaps all children that have ended. */
void sm_container_reap(struct sm_guest *g);

#endif
