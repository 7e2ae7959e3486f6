/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_FS_IDTAB_H
#define SM_FS_IDTAB_H

#include <stdint.h>

/*
 * Names for objects that a guest holds: a slot's index and its generation in one 64-bit number.
 * A stale or invented name finds nothing, because each reuse of a slot has a new generation. Names
 * are never 0 or 1. The caller locks.
 */
#define FS_IDTAB_CHUNK 4096
#define FS_IDTAB_CHUNKS 1024
#define FS_IDTAB_MAX (FS_IDTAB_CHUNK * FS_IDTAB_CHUNKS)

struct fs_slot;

struct fs_idtab {
	struct fs_slot *chunk[FS_IDTAB_CHUNKS];
	uint32_t used;		/* slots that hold an object */
	uint32_t top;		/* slots ever used */
	uint32_t max;		/* <= FS_IDTAB_MAX */
	uint32_t free;		/* first free slot below top, plus one; 0: none */
};

void fs_idtab_init(struct fs_idtab *t, uint32_t max);
void fs_idtab_clear(struct fs_idtab *t);

/* Names p in *id: 0, -ENFILE or -ENOMEM. */
int fs_idtab_add(struct fs_idtab *t, void *p, uint64_t *id);

/* NULL for a name that names nothing. */
void *fs_idtab_find(const struct fs_idtab *t, uint64_t id);
void fs_idtab_remove(struct fs_idtab *t, uint64_t id);

/* Walks the objects: start with *pos = 0; NULL at the end. Removing while walking is fine. */
void *fs_idtab_next(const struct fs_idtab *t, uint32_t *pos);

#endif
