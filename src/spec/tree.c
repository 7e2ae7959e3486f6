/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "spec/json.h"
#include "spec/tree.h"

/*
 * yajl's events into a tree. yajl's own yajl_tree is not used because it loses what follows a NUL
 * in a string, has no limit on depth and frees by recursion.
 *
 * yajl keeps no stack of C frames, and a callback that returns 0 ends the parse: that is how limits
 * hold. `why` then says what happened.
 */
struct builder {
	struct sm_arena *arena;
	struct sm_node *open[SM_JSON_DEPTH_MAX]; /* the arrays and objects around */
	size_t depth;
	struct sm_node *root;
	const char *key; /* of the member whose value comes next */
	size_t values;
	const char *why; /* NULL: no memory */
};

static int stop(struct builder *b, const char *why)
{
	b->why = why;
	return 0;
}

static struct sm_node *add(struct builder *b, enum sm_node_type type)
{
	struct sm_node *node;
	struct sm_node *up;

	if (++b->values > SM_JSON_VALUES_MAX) {
		stop(b, "too many values");
		return NULL;
	}
	node = sm_arena_alloc(b->arena, sizeof(*node));
	if (!node)
		return NULL;
	node->type = type;
	if (!b->depth) {
		b->root = node;
		return node;
	}
	up = b->open[b->depth - 1];
	node->key = up->type == SM_NODE_OBJECT ? b->key : NULL;
	if (up->last)
		up->last->next = node;
	else
		up->first = node;
	up->last = node;
	up->n++;
	return node;
}

static int add_text(struct builder *b, enum sm_node_type type, const char *text, size_t len)
{
	struct sm_node *node;

	if (memchr(text, 0, len))
		return stop(b, "a string holds a NUL character");
	node = add(b, type);
	if (!node)
		return 0;
	node->text = sm_arena_strndup(b->arena, text, len);
	return node->text != NULL;
}

static int open_node(struct builder *b, enum sm_node_type type)
{
	struct sm_node *node;

	if (b->depth == SM_JSON_DEPTH_MAX)
		return stop(b, "nested too deeply");
	node = add(b, type);
	if (!node)
		return 0;
	b->open[b->depth++] = node;
	return 1;
}

static int on_null(void *ctx)
{
	return add(ctx, SM_NODE_NULL) != NULL;
}

static int on_boolean(void *ctx, int value)
{
	struct sm_node *node = add(ctx, SM_NODE_BOOL);

	if (node)
		node->boolean = value;
	return node != NULL;
}

static int on_number(void *ctx, const char *text, size_t len)
{
	return add_text(ctx, SM_NODE_NUMBER, text, len);
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
	return add_text(ctx, SM_NODE_STRING, (const char *)text, len);
}

static int on_key(void *ctx, const unsigned char *text, size_t len)
{
	struct builder *b = ctx;

	if (memchr(text, 0, len))
		return stop(b, "a string holds a NUL character");
	b->key = sm_arena_strndup(b->arena, (const char *)text, len);
	return b->key != NULL;
}

static int on_open_object(void *ctx)
{
	return open_node(ctx, SM_NODE_OBJECT);
}

static int on_open_array(void *ctx)
{
	return open_node(ctx, SM_NODE_ARRAY);
}

static int on_close(void *ctx)
{
	struct builder *b = ctx;

	b->depth--;
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_open_object,
	.yajl_map_key = on_key,
	.yajl_end_map = on_close,
	.yajl_start_array = on_open_array,
	.yajl_end_array = on_close,
};

/* yajl's own word for what is wrong, without its newline and its drawing of the place. */
static int syntax_error(yajl_handle handle, const char *name, const char *text, size_t len,
			struct sm_err *err)
{
	unsigned char *said = yajl_get_error(handle, 0, NULL, 0);
	size_t at = yajl_get_bytes_consumed(handle);
	size_t line = 1;
	size_t column = 1;
	int rc;

	for (size_t i = 0; i < at && i < len; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	rc = sm_err_set(err, -EINVAL, "%s: line %zu, column %zu: %.*s", name, line, column,
			said ? (int)strcspn((char *)said, "\n") : 0, said ? (char *)said : "");
	if (said)
		yajl_free_error(handle, said);
	return rc;
}

int sm_tree_parse(struct sm_arena *arena, const char *name, const char *text, size_t len,
		  struct sm_node **root, struct sm_err *err)
{
	struct builder b = { .arena = arena };
	yajl_handle handle;
	yajl_status status;
	int rc = 0;

	if (len > SM_JSON_LEN_MAX)
		return sm_err_set(err, -EFBIG, "%s: bigger than %u MiB", name,
				  SM_JSON_LEN_MAX >> 20);
	handle = yajl_alloc(&callbacks, NULL, &b);
	if (!handle)
		return sm_err_sys(err, -ENOMEM, "%s", name);
	status = yajl_parse(handle, (const unsigned char *)text, len);
	if (status == yajl_status_ok)
		status = yajl_complete_parse(handle);
	if (status == yajl_status_client_canceled)
		rc = b.why ? sm_err_set(err, -EINVAL, "%s: %s", name, b.why)
			   : sm_err_sys(err, -ENOMEM, "%s", name);
	else if (status != yajl_status_ok)
		rc = syntax_error(handle, name, text, len, err);
	else if (!b.root)
		rc = sm_err_set(err, -EINVAL, "%s: empty", name);
	yajl_free(handle);
	*root = b.root;
	return rc;
}
