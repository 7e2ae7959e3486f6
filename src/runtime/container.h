/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_CONTAINER_H
#define SM_RUNTIME_CONTAINER_H

#include "runtime/backend.h"
#include "runtime/cgroup.h"
#include "runtime/console.h"
#include "runtime/filter.h"
#include "runtime/launch.h"
#include "runtime/mntns.h"
#include "runtime/nspath.h"
#include "runtime/runtime.h"
#include "runtime/session.h"
#include "runtime/settings.h"
#include "runtime/store.h"
#include "spec/config.h"

/*
 * What create and run have in common: making a container, and taking it back as if it never was.
 */
struct sm_make_options {
	const char *bundle;		/* NULL: the working directory */
	const char *console_socket, *pidfd_socket, *pid_file;
	bool detach, keep;
	bool no_pivot, no_subreaper;	/* mean nothing in a VM */
	bool no_new_keyring;
	int preserve_fds;
};

/* Rows of the options that create and run share. */
#define SM_MAKE_OPTIONS(o)                                                                      \
	{ "bundle", 'b', SM_OPT_STRING, &(o)->bundle, "DIR",                                    \
	  "the bundle (default: the working directory)" },                                      \
	{ "console-socket", 0, SM_OPT_STRING, &(o)->console_socket, "PATH",                     \
	  "unix socket that is sent the master of the container's terminal" },                  \
	{ "pidfd-socket", 0, SM_OPT_STRING, &(o)->pidfd_socket, "PATH",                         \
	  "unix socket that is sent a pidfd of the container's process" },                      \
	{ "pid-file", 0, SM_OPT_STRING, &(o)->pid_file, "FILE",                                 \
	  "write the pid of the container's process there" },                                   \
	{ "no-pivot", 0, SM_OPT_BOOL, &(o)->no_pivot, NULL, "taken for runc's sake: no effect" }, \
	{ "no-new-keyring", 0, SM_OPT_BOOL, &(o)->no_new_keyring, NULL,                         \
	  "no session keyring of its own for the container" },                                  \
	{ "preserve-fds", 0, SM_OPT_INT, &(o)->preserve_fds, "N",                               \
	  "refused unless 0: descriptors do not cross into a VM" }

struct sm_container {
	struct sm_runtime *rt;
	struct sm_make_options *o;
	struct sm_settings *settings;
	struct sm_backend backend;
	struct sm_store store;
	struct sm_state *state;
	struct sm_config *config;
	struct sm_seccomp_filter filter;
	struct sm_cgroups cgroups;
	struct sm_launch launch;
	struct sm_session *session;
	struct sm_uts_names uts;	/* of a namespace that is to be joined */
	struct sm_mntns mounts;		/* of createContainer hooks, until the exports are open */
	struct sm_pty pty;		/* the slave is open until sm-vmm has it */
	struct sm_tty tty;		/* the user's, in the foreground */
	bool starts;			/* it is going to be started too */
	bool stored, hooked;		/* what a rollback has to undo */
	char *paths[3];			/* of *o, made absolute */
};

#define SM_CONTAINER_INIT                                                                       \
	{                                                                                       \
		.store = SM_STORE_INIT, .launch = SM_LAUNCH_INIT, .pty = SM_PTY_INIT,           \
		.tty = SM_TTY_INIT, .mounts = SM_MNTNS_INIT                                     \
	}

/* Makes the container; on 0 its status is "created" and it is locked. On failure all is undone;
 * sm_container_free() is still the caller's to call. */
int sm_container_make(struct sm_container *c, const char *id, struct sm_err *err);

/* Starts the program and runs the poststart hooks. */
int sm_container_start(struct sm_container *c, struct sm_err *err);

/* The pid file, as the last act of create and run -d. */
int sm_container_write_pid(const struct sm_container *c, struct sm_err *err);

/* Undoes sm_container_make(), in reverse order. */
void sm_container_undo(struct sm_container *c);

void sm_container_free(struct sm_container *c);

/* Parts that other commands need. */

/* The config that create stored. */
int sm_container_config(const struct sm_store *s, struct sm_config **config, struct sm_err *err);

/* Runs after sm-vmm took a Start: poststart hooks, status "running". A failing hook ends the VM. */
int sm_container_started(const struct sm_store *s, struct sm_state *state,
			 const struct sm_config *config, struct sm_err *err);

/* Removes what a container that has ended left: cgroups, directory. Then poststop hooks, of
 * config if that is not NULL. The store must be locked. state may be NULL (damaged). */
int sm_container_destroy(struct sm_store *s, const struct sm_state *state,
			 const struct sm_config *config, struct sm_err *err);

/* Ends sm-vmm for good and waits for that. */
int sm_container_kill_vmm(const struct sm_state *state, struct sm_err *err);

/* A pid file: a temporary name in the same directory, renamed. */
int sm_pidfile_write(const char *path, pid_t pid, struct sm_err *err);

#endif
