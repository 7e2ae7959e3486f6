/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_JSONOUT_H
#define SM_RUNTIME_JSONOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/json.h"

/*
 * JSON texts. A failure on the way (memory) is remembered and told by sm_jsonout_text(); NULL may
 * be given for the object. A key is NULL for an element of an array.
 */
struct sm_jsonout;

/* indent: for each level; NULL: all in one line. */
struct sm_jsonout *sm_jsonout_new(const char *indent);
void sm_jsonout_free(struct sm_jsonout **j);
#define sm_auto_json __attribute__((cleanup(sm_jsonout_free)))

void sm_jsonout_open(struct sm_jsonout *j);	/* { */
void sm_jsonout_close(struct sm_jsonout *j);	/* } */
void sm_jsonout_open_array(struct sm_jsonout *j);
/* A key whose value is what is opened next. */
void sm_jsonout_key(struct sm_jsonout *j, const char *key);
void sm_jsonout_close_array(struct sm_jsonout *j);
void sm_jsonout_bool(struct sm_jsonout *j, const char *key, bool value);
void sm_jsonout_string(struct sm_jsonout *j, const char *key, const char *value);
void sm_jsonout_number(struct sm_jsonout *j, const char *key, long long value);
void sm_jsonout_u64(struct sm_jsonout *j, const char *key, uint64_t value);
void sm_jsonout_null(struct sm_jsonout *j, const char *key);
void sm_jsonout_strings(struct sm_jsonout *j, const char *key, const char *const *v, size_t n);
void sm_jsonout_pairs(struct sm_jsonout *j, const char *key, const struct sm_pairs *pairs);

/* The text, without a newline at its end, as long as the object lives. 0, -ENOMEM, or -EINVAL for a
 * string that is not UTF-8. */
int sm_jsonout_text(struct sm_jsonout *j, const char **text, size_t *len);

#endif
