/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_KVMPROBE_H
#define SM_RUNTIME_KVMPROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "spec/arena.h"

/*
 * Whether KVM can be used here, as `sm-vmm --probe` says, and the memory of that.
 *
 * A probe takes up to 0.4 s where the answer is no, so the answer is kept until the next boot: one
 * small file for all state roots (SM_KVMPROBE_FILE in the default one). It is used only if
 * everything that it depends on is what it was (the boot, /dev/kvm and whether it may be opened,
 * sm-vmm), and if nobody but root or the caller can have written it. Whatever is wrong with the file
 * only means that the host is probed again.
 */
#define SM_KVMPROBE_FILE "kvm:verdict"	/* no id of a container has a colon */
#define SM_KVMPROBE_KEY_MAX 512

enum sm_kvmprobe_reason {
	SM_KVMPROBE_WORKS,
	SM_KVMPROBE_ABSENT,
	SM_KVMPROBE_DENIED,
	SM_KVMPROBE_BUSY,
	SM_KVMPROBE_API,
	SM_KVMPROBE_EXTENSION,
	SM_KVMPROBE_BROKEN,
	SM_KVMPROBE_SLOW,
	SM_KVMPROBE_UNKNOWN,	/* sm-vmm could not be asked */
	SM_KVMPROBE_REASON_NUM
};

struct sm_kvmprobe {
	bool usable;		/* reason == SM_KVMPROBE_WORKS */
	enum sm_kvmprobe_reason reason;
	uint64_t mips;		/* 0: no guest ran */
	const char *text;	/* what was found, for people; in the arena */
	bool kept;		/* not found out just now */
};

/* Asks; `fresh`: in any case, never from the file. What goes wrong is an answer too, so this never
 * fails; without memory it is SM_KVMPROBE_UNKNOWN. */
void sm_kvmprobe(const char *vmm, bool fresh, struct sm_arena *arena, struct sm_kvmprobe *answer);

/* What to do about it: text for people, NULL for SM_KVMPROBE_WORKS. */
const char *sm_kvmprobe_remedy(const struct sm_kvmprobe *answer);

/* The parts, for tests. */

/* Runs sm-vmm. */
void sm_kvmprobe_run(const char *vmm, struct sm_arena *arena, struct sm_kvmprobe *answer);

/* What an answer depends on. -errno if that cannot be told. */
int sm_kvmprobe_key(const char *boot_id_file, const char *device, const char *vmm,
		    char key[SM_KVMPROBE_KEY_MAX]);

/* dir/SM_KVMPROBE_FILE. -ESTALE: of another key. -EPERM: not to be trusted. -EINVAL: not sound. */
int sm_kvmprobe_load(const char *dir, const char *key, struct sm_arena *arena,
		     struct sm_kvmprobe *answer);
int sm_kvmprobe_save(const char *dir, const char *key, const struct sm_kvmprobe *answer);

#endif
