/* SPDX-License-Identifier: Apache-2.0 */
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/arena.h"

/* Blocks in a list, the newest first; only that one has room. What is too big for a block gets one
 * of its own, behind the newest, so that the room there is not lost. */

#define BLOCK_SIZE 16384

struct block {
	struct block *next;
	size_t used;
	size_t size;
	alignas(max_align_t) uint8_t data[];
};

struct sm_arena {
	struct block *blocks;
	size_t total;
	size_t max;
};

struct sm_arena *sm_arena_new(size_t max)
{
	struct sm_arena *arena = calloc(1, sizeof(*arena));

	if (arena)
		arena->max = max;
	return arena;
}

void sm_arena_free(struct sm_arena *arena)
{
	if (!arena)
		return;
	while (arena->blocks) {
		struct block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	free(arena);
}

static struct block *add_block(struct sm_arena *arena, size_t size)
{
	struct block *block;

	if (size > arena->max - arena->total)
		return NULL;
	block = calloc(1, sizeof(*block) + size);
	if (!block)
		return NULL;
	arena->total += size;
	block->size = size;
	return block;
}

void *sm_arena_alloc(struct sm_arena *arena, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct block *block = arena->blocks;

	if (size > arena->max)
		return NULL;
	size = (size + align - 1) / align * align;
	if (block && size <= block->size - block->used) {
		block->used += size;
		return block->data + block->used - size;
	}
	if (block && size > BLOCK_SIZE / 4) {
		struct block *own = add_block(arena, size);

		if (!own)
			return NULL;
		own->used = size;
		own->next = block->next;
		block->next = own;
		return own->data;
	}
	block = add_block(arena, size > BLOCK_SIZE ? size : BLOCK_SIZE);
	if (!block)
		return NULL;
	block->used = size;
	block->next = arena->blocks;
	arena->blocks = block;
	return block->data;
}

void *sm_arena_array(struct sm_arena *arena, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return sm_arena_alloc(arena, bytes);
}

char *sm_arena_strndup(struct sm_arena *arena, const char *s, size_t len)
{
	char *copy = sm_arena_alloc(arena, len + 1);

	if (copy && len)
		memcpy(copy, s, len);
	return copy;
}

char *sm_arena_strdup(struct sm_arena *arena, const char *s)
{
	return sm_arena_strndup(arena, s, strlen(s));
}

char *sm_arena_strf(struct sm_arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	text = len < 0 ? NULL : sm_arena_alloc(arena, (size_t)len + 1);
	if (!text)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(text, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return text;
}
