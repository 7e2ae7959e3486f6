/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_SANDBOX_H
#define SM_HV_SANDBOX_H

#include <stdbool.h>

#include "base/loop.h"
#include "fs/fs.h"
#include "hv/console.h"
#include "vsock/vsock.h"

/*
 * The containers of one VM and the service by which they are run (proto/sandbox.proto). It stands
 * between sm-runtime, which is trusted, and the agent, which is not: answers of the agent are believed
 * about the guest only.
 *
 * finished() runs once, when the VM is no longer needed: `status` is what sm-vmm exits with. After it
 * the owner stops the machine and frees the sandbox.
 */
enum sm_step {			/* of a launch, in order; names in sandbox.c */
	SM_STEP_DEVICES,
	SM_STEP_MACHINE,
	SM_STEP_BOOT,
	SM_STEP_HELLO,
	SM_STEP_CREATE,
	SM_STEP_START,
	SM_STEP_RUN,
	SM_STEP_NUM
};

struct sm_sandbox;

struct sm_sandbox_config {
	struct sm_loop *loop;
	struct sm_vsock *vs;
	struct sm_fs *fs;
	struct sm_console *console;
	const char *backend;		/* name, borrowed */
	uint64_t started_ns;		/* CLOCK_MONOTONIC at main() */
	int control_fd;			/* connected socket of the launcher, owned */
	int listen_fd;			/* owned */
	uint64_t boot_timeout_ns;
	uint64_t kill_tick_ns;		/* between looks at what a SIGKILL has done */
	/* Stops the machine, or lets it go on. 0 or -errno. */
	int (*freeze)(void *arg, bool frozen);
	void (*finished)(void *arg, int status);
	void *arg;
};

int sm_sandbox_new(const struct sm_sandbox_config *config, struct sm_sandbox **sb);
void sm_sandbox_free(struct sm_sandbox *sb); /* NULL allowed */

/* The launch has come to `step`. */
void sm_sandbox_reached(struct sm_sandbox *sb, enum sm_step step);

/* The machine is over, expectedly or not. Every open request is answered. */
void sm_sandbox_machine_ended(struct sm_sandbox *sb, const char *why);

/* Whether processes of the first container were killed in the guest for want of memory. */
bool sm_sandbox_oom_killed(const struct sm_sandbox *sb);

/* A signal that sm-vmm got, meant for the first container's first process; SIGWINCH: its terminal
 * has a new size. */
void sm_sandbox_signal(struct sm_sandbox *sb, int signo);

#endif
