/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_TREE_H
#define SM_SPEC_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "spec/arena.h"

/* A JSON document as it was written: what src/spec/bind.c reads from. Inside src/spec only. */

enum sm_node_type {
	SM_NODE_NULL,
	SM_NODE_BOOL,
	SM_NODE_NUMBER,
	SM_NODE_STRING,
	SM_NODE_ARRAY,
	SM_NODE_OBJECT,
	SM_NODE_NUM
};

struct sm_node {
	enum sm_node_type type;
	bool boolean;
	size_t n;		/* items, members */
	const char *key;	/* of a member of an object */
	const char *text;	/* STRING: no NUL within; NUMBER: as written */
	struct sm_node *first;	/* item, member */
	struct sm_node *last;
	struct sm_node *next;
};

/* The limits are those of spec/json.h. */
int sm_tree_parse(struct sm_arena *arena, const char *name, const char *text, size_t len,
		  struct sm_node **root, struct sm_err *err);

#endif
