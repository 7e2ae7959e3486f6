/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/jsonout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

struct sm_jsonout {
	yajl_gen gen;
	int failed;
};

struct sm_jsonout *sm_jsonout_new(const char *indent)
{
	struct sm_jsonout *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->gen = yajl_gen_alloc(NULL);
	if (!j->gen) {
		free(j);
		return NULL;
	}
	yajl_gen_config(j->gen, yajl_gen_validate_utf8, 1);
	if (indent) {
		yajl_gen_config(j->gen, yajl_gen_beautify, 1);
		yajl_gen_config(j->gen, yajl_gen_indent_string, indent);
	}
	return j;
}

void sm_jsonout_free(struct sm_jsonout **j)
{
	if (!*j)
		return;
	yajl_gen_free((*j)->gen);
	free(*j);
	*j = NULL;
}

static void note(struct sm_jsonout *j, yajl_gen_status status)
{
	if (status != yajl_gen_status_ok && !j->failed)
		j->failed = status == yajl_gen_invalid_string ? -EINVAL : -ENOMEM;
}

static void put_text(struct sm_jsonout *j, const char *text)
{
	note(j, yajl_gen_string(j->gen, (const unsigned char *)text, strlen(text)));
}

static void put_key(struct sm_jsonout *j, const char *key)
{
	if (key)
		put_text(j, key);
}

void sm_jsonout_open(struct sm_jsonout *j)
{
	if (j)
		note(j, yajl_gen_map_open(j->gen));
}

void sm_jsonout_close(struct sm_jsonout *j)
{
	if (j)
		note(j, yajl_gen_map_close(j->gen));
}

void sm_jsonout_open_array(struct sm_jsonout *j)
{
	if (j)
		note(j, yajl_gen_array_open(j->gen));
}

void sm_jsonout_close_array(struct sm_jsonout *j)
{
	if (j)
		note(j, yajl_gen_array_close(j->gen));
}

void sm_jsonout_key(struct sm_jsonout *j, const char *key)
{
	if (j)
		put_key(j, key);
}

void sm_jsonout_bool(struct sm_jsonout *j, const char *key, bool value)
{
	if (!j)
		return;
	put_key(j, key);
	note(j, yajl_gen_bool(j->gen, value));
}

void sm_jsonout_string(struct sm_jsonout *j, const char *key, const char *value)
{
	if (!j)
		return;
	put_key(j, key);
	put_text(j, value);
}

void sm_jsonout_number(struct sm_jsonout *j, const char *key, long long value)
{
	if (!j)
		return;
	put_key(j, key);
	note(j, yajl_gen_integer(j->gen, value));
}

void sm_jsonout_u64(struct sm_jsonout *j, const char *key, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, value);

	if (!j)
		return;
	put_key(j, key);
	note(j, yajl_gen_number(j->gen, text, (size_t)n));
}

void sm_jsonout_null(struct sm_jsonout *j, const char *key)
{
	if (!j)
		return;
	put_key(j, key);
	note(j, yajl_gen_null(j->gen));
}

void sm_jsonout_strings(struct sm_jsonout *j, const char *key, const char *const *v, size_t n)
{
	if (!j)
		return;
	put_key(j, key);
	sm_jsonout_open_array(j);
	for (size_t i = 0; i < n; i++)
		put_text(j, v[i]);
	sm_jsonout_close_array(j);
}

void sm_jsonout_pairs(struct sm_jsonout *j, const char *key, const struct sm_pairs *pairs)
{
	if (!j)
		return;
	put_key(j, key);
	sm_jsonout_open(j);
	for (size_t i = 0; i < pairs->n; i++)
		sm_jsonout_string(j, pairs->v[i].key, pairs->v[i].value);
	sm_jsonout_close(j);
}

int sm_jsonout_text(struct sm_jsonout *j, const char **text, size_t *len)
{
	const unsigned char *buf;

	if (!j)
		return -ENOMEM;
	if (j->failed)
		return j->failed;
	if (yajl_gen_get_buf(j->gen, &buf, len) != yajl_gen_status_ok)
		return -ENOMEM;
	while (*len && buf[*len - 1] == '\n')
		(*len)--;
	*text = (const char *)buf;
	return 0;
}
