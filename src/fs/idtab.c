/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/idtab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fs_slot {
	void *p;
	uint32_t gen;
	uint32_t next; /* while free: the next free slot plus one */
};

static struct fs_slot *slot_at(const struct fs_idtab *t, uint32_t index)
{
	return &t->chunk[index / FS_IDTAB_CHUNK][index % FS_IDTAB_CHUNK];
}

void fs_idtab_init(struct fs_idtab *t, uint32_t max)
{
	memset(t, 0, sizeof(*t));
	t->max = max < FS_IDTAB_MAX ? max : FS_IDTAB_MAX;
}

void fs_idtab_clear(struct fs_idtab *t)
{
	for (int i = 0; i < FS_IDTAB_CHUNKS; i++)
		free(t->chunk[i]);
	fs_idtab_init(t, t->max);
}

static int grow(struct fs_idtab *t)
{
	struct fs_slot **chunk = &t->chunk[t->top / FS_IDTAB_CHUNK];

	if (t->top >= t->max)
		return -ENFILE;
	if (!*chunk)
		*chunk = calloc(FS_IDTAB_CHUNK, sizeof(**chunk));
	return *chunk ? 0 : -ENOMEM;
}

int fs_idtab_add(struct fs_idtab *t, void *p, uint64_t *id)
{
	struct fs_slot *slot;
	uint32_t index;
	int ret;

	if (t->free) {
		index = t->free - 1;
		slot = slot_at(t, index);
		t->free = slot->next;
	} else {
		ret = grow(t);
		if (ret < 0)
			return ret;
		index = t->top++;
		slot = slot_at(t, index);
	}
	slot->p = p;
	slot->gen++;
	if (slot->gen == 0) /* name 0 << 32 | 1 would be the root */
		slot->gen = 1;
	t->used++;
	*id = (uint64_t)slot->gen << 32 | (index + 1);
	return 0;
}

static struct fs_slot *slot_find(const struct fs_idtab *t, uint64_t id)
{
	uint32_t index = (uint32_t)id - 1;
	struct fs_slot *slot;

	if (index >= t->top)
		return NULL;
	slot = slot_at(t, index);
	return slot->p && slot->gen == id >> 32 ? slot : NULL;
}

void *fs_idtab_find(const struct fs_idtab *t, uint64_t id)
{
	struct fs_slot *slot = slot_find(t, id);

	return slot ? slot->p : NULL;
}

void fs_idtab_remove(struct fs_idtab *t, uint64_t id)
{
	struct fs_slot *slot = slot_find(t, id);

	if (!slot)
		return;
	slot->p = NULL;
	slot->next = t->free;
	t->free = (uint32_t)id;
	t->used--;
}

void *fs_idtab_next(const struct fs_idtab *t, uint32_t *pos)
{
	while (*pos < t->top) {
		void *p = slot_at(t, (*pos)++)->p;

		if (p)
			return p;
	}
	return NULL;
}
