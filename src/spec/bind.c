/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clean.h"
#include "spec/json.h"
#include "spec/message.h"
#include "spec/tree.h"

/*
 * Tables to structs. read_object() walks the members of an object, finds each one's row and calls
 * the reader of the row's type with the address that the row's offset gives. Depth of the recursion
 * is that of the schema, which is finite, not that of the document.
 */

#define TREE_MAX     (SM_JSON_VALUES_MAX * sizeof(struct sm_node) + 2 * SM_JSON_LEN_MAX)
#define PATH_MAX_LEN 1024

struct reader {
	struct sm_arena *arena;
	const char *name;
	struct sm_err *err;
};

/* Where we are: a chain of the callers' frames. */
struct place {
	const struct place *up;
	const char *key; /* NULL: an index */
	size_t index;
	const char *section;
};

typedef int read_fn(const struct reader *r, const struct place *at, const struct sm_field *row,
		    const struct sm_node *node, void *out);

static read_fn *const readers[];

static const char *const type_names[] = {
	[SM_NODE_NULL] = "null",       [SM_NODE_BOOL] = "true or false",
	[SM_NODE_NUMBER] = "a number", [SM_NODE_STRING] = "a string",
	[SM_NODE_ARRAY] = "an array",  [SM_NODE_OBJECT] = "an object",
};
_Static_assert(SM_ARRAY_SIZE(type_names) == SM_NODE_NUM, "a name for each type");

static void put_path(struct sm_buf *path, const struct place *at)
{
	if (!at->up)
		return;
	put_path(path, at->up);
	if (at->key)
		sm_buf_printf(path, "%s%s", path->len ? "." : "", at->key);
	else
		sm_buf_printf(path, "[%zu]", at->index);
}

__attribute__((format(printf, 3, 4))) static int
refuse(const struct reader *r, const struct place *at, const char *fmt, ...)
{
	sm_auto_buf struct sm_buf path = SM_BUF_INIT(PATH_MAX_LEN);
	va_list ap;
	int rc;

	put_path(&path, at);
	va_start(ap, fmt);
	rc = sm_spec_vsay(r->err, r->name, path.data ? (char *)path.data : "", at->section, fmt,
			  ap);
	va_end(ap);
	return rc;
}

static int no_memory(const struct reader *r)
{
	return sm_err_sys(r->err, -ENOMEM, "%s", r->name);
}

static int expect(const struct reader *r, const struct place *at, const struct sm_node *node,
		  enum sm_node_type type)
{
	if (node->type == type)
		return 0;
	return refuse(r, at, "must be %s, not %s", type_names[type], type_names[node->type]);
}

static int read_string(const struct reader *r, const struct place *at, const struct sm_field *row,
		       const struct sm_node *node, void *out)
{
	int rc = expect(r, at, node, SM_NODE_STRING);

	if (rc)
		return rc;
	*(const char **)out = sm_arena_strdup(r->arena, node->text);
	return *(const char **)out ? 0 : no_memory(r);
}

static int read_bool(const struct reader *r, const struct place *at, const struct sm_field *row,
		     const struct sm_node *node, void *out)
{
	int rc = expect(r, at, node, SM_NODE_BOOL);

	if (!rc)
		*(bool *)out = node->boolean;
	return rc;
}

static int read_signed(const struct reader *r, const struct place *at, const struct sm_field *row,
		       const struct sm_node *node, void *out)
{
	int64_t min = row->type == SM_FIELD_I32 ? INT32_MIN : INT64_MIN;
	int64_t max = row->type == SM_FIELD_I32 ? INT32_MAX : INT64_MAX;
	struct sm_i64 *number = out;
	long long v;
	char *end;
	int rc = expect(r, at, node, SM_NODE_NUMBER);

	if (rc)
		return rc;
	errno = 0;
	v = strtoll(node->text, &end, 10);
	if (errno || *end || v < min || v > max)
		return refuse(r, at, "%.40s is not a whole number from %" PRId64 " to %" PRId64,
			      node->text, min, max);
	*number = (struct sm_i64){ true, v };
	return 0;
}

static uint64_t unsigned_max(enum sm_field_type type)
{
	switch (type) {
	case SM_FIELD_U16:
		return UINT16_MAX;
	case SM_FIELD_U32:
	case SM_FIELD_U32S:
		return UINT32_MAX;
	default:
		return UINT64_MAX;
	}
}

static int read_unsigned(const struct reader *r, const struct place *at, const struct sm_field *row,
			 const struct sm_node *node, void *out)
{
	uint64_t max = unsigned_max(row->type);
	struct sm_u64 *number = out;
	unsigned long long v;
	char *end;
	int rc = expect(r, at, node, SM_NODE_NUMBER);

	if (rc)
		return rc;
	errno = 0;
	v = strtoull(node->text, &end, 10);
	if (errno || *end || node->text[0] == '-' || v > max)
		return refuse(r, at, "%.40s is not a whole number from 0 to %" PRIu64, node->text,
			      max);
	*number = (struct sm_u64){ true, v };
	return 0;
}

static int unknown_word(const struct reader *r, const struct place *at, const struct sm_field *row,
			const char *text)
{
	sm_auto_buf struct sm_buf known = SM_BUF_INIT(PATH_MAX_LEN);

	if (row->note)
		return refuse(r, at, "%s: %.100s", row->note, text);
	for (const struct sm_word *word = row->words; word->name; word++)
		sm_buf_printf(&known, "%s%s", known.len ? ", " : "", word->name);
	return refuse(r, at, "\"%.100s\" is not one of %s", text, (char *)known.data);
}

static int read_word(const struct reader *r, const struct place *at, const struct sm_field *row,
		     const struct sm_node *node, void *out)
{
	struct sm_u64 *number = out;
	int rc = expect(r, at, node, SM_NODE_STRING);

	if (rc || !node->text[0])
		return rc;
	if (sm_word_value(row->words, node->text, &number->v))
		return unknown_word(r, at, row, node->text);
	number->set = true;
	return 0;
}

/* Calls read_item for each item of an array with the address of its element. */
static int read_items(const struct reader *r, const struct place *at, const struct sm_field *row,
		      const struct sm_node *node, read_fn *read_item, size_t size, void **items)
{
	struct place here = { at, NULL, 0, at->section };
	uint8_t *v;
	int rc = expect(r, at, node, SM_NODE_ARRAY);

	if (rc)
		return rc;
	v = sm_arena_array(r->arena, node->n ? node->n : 1, size);
	if (!v)
		return no_memory(r);
	for (const struct sm_node *item = node->first; item; item = item->next) {
		rc = read_item(r, &here, row, item, v + here.index * size);
		if (rc)
			return rc;
		here.index++;
	}
	*items = v;
	return 0;
}

static int read_words(const struct reader *r, const struct place *at, const struct sm_field *row,
		      const struct sm_node *node, void *out)
{
	struct sm_u64 *sum = out;
	struct sm_u64 *words;
	void *v;
	int rc = read_items(r, at, row, node, read_word, sizeof(struct sm_u64), &v);

	if (rc)
		return rc;
	words = v;
	*sum = (struct sm_u64){ true, 0 };
	for (size_t i = 0; i < node->n; i++)
		sum->v |= words[i].v;
	return 0;
}

static int read_strings(const struct reader *r, const struct place *at, const struct sm_field *row,
			const struct sm_node *node, void *out)
{
	struct sm_strs *strs = out;
	void *v;
	int rc = read_items(r, at, row, node, read_string, sizeof(char *), &v);

	if (!rc)
		*strs = (struct sm_strs){ v, node->n };
	return rc;
}

static int read_u32(const struct reader *r, const struct place *at, const struct sm_field *row,
		    const struct sm_node *node, void *out)
{
	struct sm_u64 number;
	int rc = read_unsigned(r, at, row, node, &number);

	if (!rc)
		*(uint32_t *)out = (uint32_t)number.v;
	return rc;
}

static int read_u32s(const struct reader *r, const struct place *at, const struct sm_field *row,
		     const struct sm_node *node, void *out)
{
	struct sm_u32s *numbers = out;
	void *v;
	int rc = read_items(r, at, row, node, read_u32, sizeof(uint32_t), &v);

	if (!rc)
		*numbers = (struct sm_u32s){ v, node->n };
	return rc;
}

/* Calls read_item for each member of an object; elements begin with the member's name. The value
 * goes `skip` bytes behind the element's start. A later member of the same name takes the earlier
 * one's element; the search for it is why the number is limited. */
static int read_members(const struct reader *r, const struct place *at, const struct sm_field *row,
			const struct sm_node *node, read_fn *read_item, size_t size, size_t skip,
			struct sm_strs *list)
{
	uint8_t *v;
	int rc = expect(r, at, node, SM_NODE_OBJECT);

	if (rc)
		return rc;
	if (node->n > SM_JSON_MEMBERS_MAX)
		return refuse(r, at, "more than %d members", SM_JSON_MEMBERS_MAX);
	v = sm_arena_array(r->arena, node->n ? node->n : 1, size);
	if (!v)
		return no_memory(r);
	*list = (struct sm_strs){ (void *)v, 0 };
	for (const struct sm_node *m = node->first; m; m = m->next) {
		struct place here = { at, m->key, 0, at->section };
		size_t i = 0;

		while (i < list->n && strcmp(*(const char **)(v + i * size), m->key))
			i++;
		if (m->type == SM_NODE_NULL)
			continue;
		memset(v + i * size, 0, size);
		*(const char **)(v + i * size) = sm_arena_strdup(r->arena, m->key);
		if (!*(const char **)(v + i * size))
			return no_memory(r);
		rc = read_item(r, &here, row, m, v + i * size + skip);
		if (rc)
			return rc;
		list->n += i == list->n;
	}
	return 0;
}

static int read_pairs(const struct reader *r, const struct place *at, const struct sm_field *row,
		      const struct sm_node *node, void *out)
{
	struct sm_pairs *pairs = out;
	struct sm_strs list;
	int rc = read_members(r, at, row, node, read_string, sizeof(struct sm_pair),
			      offsetof(struct sm_pair, value), &list);

	if (!rc)
		*pairs = (struct sm_pairs){ (const void *)list.v, list.n };
	return rc;
}

static const struct sm_field *find_row(const struct sm_schema *schema, const char *name)
{
	for (const struct sm_field *row = schema->fields; row->name; row++)
		if (!strcmp(row->name, name))
			return row;
	return NULL;
}

static int read_object(const struct reader *r, const struct place *at,
		       const struct sm_schema *schema, const struct sm_node *node, void *out)
{
	struct place self = *at;
	int rc;

	self.section = schema->section;
	rc = expect(r, &self, node, SM_NODE_OBJECT);
	for (const struct sm_node *m = node->first; m && !rc; m = m->next) {
		const struct sm_field *row = find_row(schema, m->key);
		struct place here = { &self, m->key, 0, schema->section };

		if (row && m->type != SM_NODE_NULL)
			rc = readers[row->type](r, &here, row, m, (uint8_t *)out + row->offset);
	}
	return rc;
}

static int read_inline(const struct reader *r, const struct place *at, const struct sm_field *row,
		       const struct sm_node *node, void *out)
{
	return read_object(r, at, row->schema, node, out);
}

static int read_pointer(const struct reader *r, const struct place *at, const struct sm_field *row,
			const struct sm_node *node, void *out)
{
	void *object = sm_arena_alloc(r->arena, row->schema->size);

	if (!object)
		return no_memory(r);
	*(void **)out = object;
	return read_object(r, at, row->schema, node, object);
}

typedef SM_LIST(void) any_list;

static int read_array(const struct reader *r, const struct place *at, const struct sm_field *row,
		      const struct sm_node *node, void *out)
{
	void *v;
	int rc = read_items(r, at, row, node, read_inline, row->schema->size, &v);

	if (!rc)
		*(any_list *)out = (any_list){ v, node->n };
	return rc;
}

static int read_map(const struct reader *r, const struct place *at, const struct sm_field *row,
		    const struct sm_node *node, void *out)
{
	struct sm_strs list;
	int rc = read_members(r, at, row, node, read_inline, row->schema->size, 0, &list);

	if (!rc)
		*(any_list *)out = (any_list){ list.v, list.n };
	return rc;
}

static int read_ignored(const struct reader *r, const struct place *at, const struct sm_field *row,
			const struct sm_node *node, void *out)
{
	return 0;
}

static int read_refused(const struct reader *r, const struct place *at, const struct sm_field *row,
			const struct sm_node *node, void *out)
{
	bool empty = (node->type == SM_NODE_BOOL && !node->boolean) ||
		     (node->type == SM_NODE_STRING && !node->text[0]) ||
		     ((node->type == SM_NODE_ARRAY || node->type == SM_NODE_OBJECT) && !node->n);

	return empty ? 0 : refuse(r, at, "%s", row->note);
}

static read_fn *const readers[] = {
	[SM_FIELD_STRING] = read_string,   [SM_FIELD_BOOL] = read_bool,
	[SM_FIELD_I32] = read_signed,      [SM_FIELD_I64] = read_signed,
	[SM_FIELD_U16] = read_unsigned,    [SM_FIELD_U32] = read_unsigned,
	[SM_FIELD_U64] = read_unsigned,    [SM_FIELD_WORD] = read_word,
	[SM_FIELD_WORDS] = read_words,     [SM_FIELD_STRINGS] = read_strings,
	[SM_FIELD_U32S] = read_u32s,       [SM_FIELD_PAIRS] = read_pairs,
	[SM_FIELD_OBJECT] = read_pointer,  [SM_FIELD_INLINE] = read_inline,
	[SM_FIELD_ARRAY] = read_array,     [SM_FIELD_MAP] = read_map,
	[SM_FIELD_IGNORED] = read_ignored, [SM_FIELD_REFUSED] = read_refused,
};
_Static_assert(SM_ARRAY_SIZE(readers) == SM_FIELD_NUM, "a reader for each type");

int sm_json_read(struct sm_arena *arena, const char *name, const char *text, size_t len,
		 const struct sm_schema *schema, void *out, struct sm_err *err)
{
	struct reader r = { arena, name, err };
	struct place top = { NULL };
	struct sm_arena *scratch = sm_arena_new(TREE_MAX);
	struct sm_node *root;
	int rc;

	if (!scratch)
		return no_memory(&r);
	rc = sm_tree_parse(scratch, name, text, len, &root, err);
	if (!rc && root->type == SM_NODE_NULL)
		rc = sm_err_set(err, -EINVAL, "%s cannot be null", name);
	if (!rc)
		rc = read_object(&r, &top, schema, root, out);
	sm_arena_free(scratch);
	return rc;
}

int sm_json_read_pairs(struct sm_arena *arena, const char *name, const char *text, size_t len,
		       struct sm_pairs *pairs, struct sm_err *err)
{
	static const struct sm_field row = { NULL };
	struct reader r = { arena, name, err };
	struct place top = { NULL };
	struct sm_arena *scratch = sm_arena_new(TREE_MAX);
	struct sm_node *root;
	int rc;

	if (!scratch)
		return no_memory(&r);
	rc = sm_tree_parse(scratch, name, text, len, &root, err);
	if (!rc)
		rc = read_pairs(&r, &top, &row, root, pairs);
	sm_arena_free(scratch);
	return rc;
}

int sm_word_value(const struct sm_word *words, const char *name, uint64_t *value)
{
	for (; words->name; words++) {
		if (strcmp(words->name, name))
			continue;
		*value = words->value;
		return 0;
	}
	return -ENOENT;
}

const char *sm_word_name(const struct sm_word *words, uint64_t value)
{
	for (; words->name; words++)
		if (words->value == value)
			return words->name;
	return NULL;
}
