/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_PSTABLE_H
#define SM_RUNTIME_PSTABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "proto/agent.pb-c.h"

/*
 * ps(1)'s tables, of processes that the guest told of. Those are the container's: options that choose
 * among the processes of a system mean nothing here (-e, a, x), or are refused. Users and groups
 * are numbers: the names are in the container's files. What is not text is shown as "?".
 */
#define SM_PS_COLUMNS_MAX 32

struct sm_ps_column;

struct sm_ps_format {
	const struct sm_ps_column *column[SM_PS_COLUMNS_MAX];
	char *head[SM_PS_COLUMNS_MAX];	/* NULL: the column's own */
	size_t n;
	bool no_heads;
};

#define SM_PS_FORMAT_INIT { .n = 0 }
#define sm_auto_ps_format __attribute__((cleanup(sm_ps_format_free)))

/* The columns that options of ps(1) ask for; without any those of -ef. */
int sm_ps_format_parse(struct sm_ps_format *f, char *const *args, size_t n, struct sm_err *err);
void sm_ps_format_free(struct sm_ps_format *f);

/* The table, lines and all; free(3) it. NULL: no memory. */
char *sm_ps_table(const struct sm_ps_format *f,
		  const Supermachine__Agent__V1__ProcessesResponse *r);

#endif
