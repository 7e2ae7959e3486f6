/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_JSON_H
#define SM_SPEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "spec/arena.h"

/*
 * JSON into C structs by tables. A struct is described by a schema, one row per member name:
 *
 *	struct box { struct sm_u64 height, width; };
 *	static const struct sm_field box_fields[] = {
 *		{ "height", SM_FIELD_U32, offsetof(struct box, height) },
 *		{ "width", SM_FIELD_U32, offsetof(struct box, width) },
 *		{ NULL }
 *	};
 *	const struct sm_schema box_schema = { "config.md#process", sizeof(struct box), box_fields };
 *
 * Reading follows Go's encoding/json, because that is what wrote nearly every document that comes
 * here: unknown members are skipped, null means absent, of two equal members the last wins, integers
 * have no fraction and no exponent. Unlike Go: names are case sensitive, and neither a string with a
 * NUL in it nor invalid UTF-8 is taken.
 *
 * Errors name the place and the section of the spec:
 *	config.json: process.rlimits[2].soft: must be a number, not a string (runtime-spec config.md#posix-process)
 */
#define SM_JSON_LEN_MAX (10u << 20)	/* bytes of a document: -EFBIG */
#define SM_JSON_DEPTH_MAX 64		/* objects and arrays inside each other */
#define SM_JSON_VALUES_MAX 500000	/* values in a document */
#define SM_JSON_MEMBERS_MAX 4096	/* members of an object whose names are free */

enum sm_field_type {	/*	  JSON			  C at the offset */
	SM_FIELD_STRING,	/* string		  const char *, NULL if absent */
	SM_FIELD_BOOL,		/* true, false		  bool */
	SM_FIELD_I32,		/* number		  struct sm_i64 */
	SM_FIELD_I64,		/* number		  struct sm_i64 */
	SM_FIELD_U16,		/* number		  struct sm_u64 */
	SM_FIELD_U32,		/* number		  struct sm_u64 */
	SM_FIELD_U64,		/* number		  struct sm_u64 */
	SM_FIELD_WORD,		/* one of `words`	  struct sm_u64 with the word's value */
	SM_FIELD_WORDS,		/* array of those	  struct sm_u64, the values or'ed */
	SM_FIELD_STRINGS,	/* array of strings	  struct sm_strs */
	SM_FIELD_U32S,		/* array of numbers	  struct sm_u32s */
	SM_FIELD_PAIRS,		/* object of strings	  struct sm_pairs */
	SM_FIELD_OBJECT,	/* object of `schema`	  const struct X *, NULL if absent */
	SM_FIELD_INLINE,	/* object of `schema`	  struct X; its own members' offsets are added */
	SM_FIELD_ARRAY,		/* array of `schema`	  SM_LIST(struct X) */
	SM_FIELD_MAP,		/* object of `schema`	  SM_LIST(struct X), X starting with
				 *			  const char *: the member's name */
	SM_FIELD_IGNORED,	/* anything		  nothing; `note` says why that's right */
	SM_FIELD_REFUSED,	/* null, "", [], {}, false; anything else is an error: `note` */
	SM_FIELD_NUM
};

struct sm_i64 {
	bool set;
	int64_t v;
};

struct sm_u64 {
	bool set;
	uint64_t v;
};

#define SM_LIST(type)            \
	struct {                 \
		const type *v;   \
		size_t n;        \
	}

struct sm_strs {	/* v is NULL if the member is absent, not if it is [] */
	const char *const *v;
	size_t n;
};

struct sm_u32s {
	const uint32_t *v;
	size_t n;
};

struct sm_pair {
	const char *key;
	const char *value;
};

struct sm_pairs {
	const struct sm_pair *v;
	size_t n;
};

struct sm_word {	/* the last row has no name */
	const char *name;
	uint64_t value;
};

struct sm_schema;

struct sm_field {	/* the last row has no name */
	const char *name;
	enum sm_field_type type;
	size_t offset;
	const struct sm_schema *schema;
	const struct sm_word *words;
	const char *note;	/* IGNORED and REFUSED: why. WORD: how the error for an unknown word
				 * begins, before ": word"; NULL for a list of the known ones. */
};

struct sm_schema {
	const char *section;	/* of the runtime-spec, "config.md#process"; NULL: not from there */
	size_t size;
	const struct sm_field *fields;
};

/* Reads `text` into *out (schema->size bytes, zeroed by the caller). Everything that *out points to
 * is in the arena. `name` is how errors call the document. -EINVAL for a bad document, -EFBIG for
 * a big one, -ENOMEM. A document that is null: -EINVAL, "NAME cannot be null". */
int sm_json_read(struct sm_arena *arena, const char *name, const char *text, size_t len,
		 const struct sm_schema *schema, void *out, struct sm_err *err);

/* A document that is an object of strings. */
int sm_json_read_pairs(struct sm_arena *arena, const char *name, const char *text, size_t len,
		       struct sm_pairs *pairs, struct sm_err *err);

/* The value of a word; 0 or -ENOENT. And back: NULL if there is none. */
int sm_word_value(const struct sm_word *words, const char *name, uint64_t *value);
const char *sm_word_name(const struct sm_word *words, uint64_t value);

#endif
