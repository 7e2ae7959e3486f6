/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_CHILD_H
#define SM_GUEST_CHILD_H

#include <stdint.h>

#include "proto/agent.pb-c.h"

/*
 * A process between clone and execve. It speaks with the agent over a SOCK_SEQPACKET pair that
 * closes at execve:
 *
 *	agent                          child
 *	(maps, scheduling)
 *	GO ──────────────────────────►
 *	                               (namespaces, mounts, …)
 *	  ◄───────────────── TTY + fd  with a terminal
 *	  ◄───────────────────── READY the program is found, the user is the final one
 *	(limits)
 *	START ───────────────────────►
 *	                               (hooks, seccomp)
 *	  ◄─────────────────────── end of file: execve
 *
 * At any time the child may say ERROR with a text instead, and end.
 */
enum sm_sync { SM_SYNC_GO = 'g', SM_SYNC_START = 's', SM_SYNC_TTY = 't', SM_SYNC_READY = 'r',
	       SM_SYNC_ERROR = 'e' };

enum { SM_SYNC_MAX = 4096 };	/* bytes of a message, the first tells its kind */

struct sm_child {
	const char *host;		/* directory of the exports */
	const char *cgroup;		/* the container's cgroup directory, NULL: none */
	const char *id;
	const Supermachine__Agent__V1__Container *container; /* NULL: exec */
	const Supermachine__Agent__V1__Process *process;
	const Supermachine__Agent__V1__Stdio *stdio;
	uint64_t namespaces;		/* of the container */
	int init;			/* exec: pidfd of the container's first process */
	int sync;
	int fd[3];			/* its streams; -1: /dev/null */
};

void sm_child_run(struct sm_child *ch) __attribute__((noreturn));

#endif
