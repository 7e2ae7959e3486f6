/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_ARENA_H
#define SM_SPEC_ARENA_H

#include <stddef.h>

/*
 * Memory that is freed all at once: what was read out of one document, with all its strings.
 * It has a ceiling, so that a document can't grow the process.
 */
struct sm_arena;

struct sm_arena *sm_arena_new(size_t max);
void sm_arena_free(struct sm_arena *arena);

/* Zeroed, aligned for any type. NULL: out of memory, or past the ceiling. */
void *sm_arena_alloc(struct sm_arena *arena, size_t size);
void *sm_arena_array(struct sm_arena *arena, size_t n, size_t size);

/* len bytes and a terminating zero. */
char *sm_arena_strndup(struct sm_arena *arena, const char *s, size_t len);
char *sm_arena_strdup(struct sm_arena *arena, const char *s);
char *sm_arena_strf(struct sm_arena *arena, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
