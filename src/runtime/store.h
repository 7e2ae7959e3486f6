/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_STORE_H
#define SM_RUNTIME_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "spec/config.h"

/*
 * The state of containers: one directory ROOT/ID for each, made by create, removed by delete.
 *
 *	lock		flock: who changes the container (create, start, delete) holds it
 *	state.json	struct sm_state, replaced as a whole
 *	config.json	the bundle's as create read it: what is edited later must not matter
 *	vmm.sock	sm-vmm serves its requests here
 *	paused		made by sm-vmm: not empty while the guest stands still
 *	vmm.log		sm-vmm's messages
 *	console.log	the guest's console
 */
#define SM_STORE_VERSION 1
#define SM_STORE_ID_MAX 255	/* bytes: it names a directory */

enum sm_status {
	SM_STATUS_CREATING,
	SM_STATUS_CREATED,
	SM_STATUS_RUNNING,
	SM_STATUS_PAUSED,
	SM_STATUS_STOPPED,
	SM_STATUS_NUM
};

/* A process, for good: pids come back, start times do not. */
struct sm_proc_id {
	pid_t pid;		/* 0: none */
	uint64_t start;		/* as sm_proc_start_time() gives it */
};

struct sm_state {
	struct sm_arena *arena;		/* holds all that follows */
	const char *id;
	const char *bundle;		/* absolute */
	const char *rootfs;		/* absolute */
	const char *created;		/* RFC 3339, UTC, nanoseconds */
	enum sm_status status;		/* as last written: see sm_state_status() */
	struct sm_proc_id vmm;
	struct sm_proc_id creator;	/* who is at creating or starting it; pid 0: nobody */
	struct sm_pairs annotations;
	struct sm_strs cgroups;		/* directories, absolute, that delete removes */
	bool paused;			/* not in state.json: sm-vmm says that its guest stands still */
	uint32_t memory_mib;		/* of the VM */
	const struct sm_resources *updated;	/* over config.json's; NULL: never */
	uid_t owner;			/* not in the file: who owns the directory */
};

struct sm_store {		/* an open ROOT/ID */
	const char *root;	/* borrowed */
	char *id;
	int dirfd;
	int lock;		/* -1: not held */
};

#define SM_STORE_INIT { NULL, NULL, -1, -1 }
#define sm_auto_store __attribute__((cleanup(sm_store_close)))
#define sm_auto_state __attribute__((cleanup(sm_state_free)))

/* runc's rule and texts. Nothing may touch a path before this said 0. */
int sm_store_check_id(const char *id, struct sm_err *err);

/* Makes ROOT/ID, locked. -EEXIST: runc's `container with given ID already exists`. */
int sm_store_create(const char *root, const char *id, struct sm_store *s, struct sm_err *err);

/* -ENOENT: runc's `container does not exist`. */
int sm_store_open(const char *root, const char *id, struct sm_store *s, struct sm_err *err);

/* Waits for the lock. -ENOENT if the container was deleted meanwhile. */
int sm_store_lock(struct sm_store *s, struct sm_err *err);

/* Removes the directory, which must be locked. */
int sm_store_remove(struct sm_store *s, struct sm_err *err);
void sm_store_close(struct sm_store *s);

int sm_store_save(const struct sm_store *s, const struct sm_state *state, struct sm_err *err);

/* -ENOENT: there is no state.json (yet): `container does not exist`. -EINVAL: it is damaged. Where a
 * start was killed, this asks sm-vmm how far it came, for a second at most. */
int sm_store_load(const struct sm_store *s, struct sm_state **state, struct sm_err *err);
void sm_state_free(struct sm_state **state);

/* sm_store_open() and sm_store_load(). */
int sm_store_find(const char *root, const char *id, struct sm_store *s, struct sm_state **state,
		  struct sm_err *err);

/* The status now: what was written, corrected by who is alive. Asks nobody but /proc. */
enum sm_status sm_state_status(const struct sm_state *state);
const char *sm_status_name(enum sm_status status);

bool sm_proc_alive(const struct sm_proc_id *proc);

/* A pidfd of the process if it is alive, else -ESRCH. */
int sm_proc_open(const struct sm_proc_id *proc);

/* Waits for the end of the process behind a pidfd. 0, or -ETIMEDOUT. timeout_ms < 0: for ever. */
int sm_proc_wait_end(int pidfd, int timeout_ms);

/* The calling process. */
int sm_proc_self(struct sm_proc_id *proc);

#endif
