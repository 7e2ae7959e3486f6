/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_OPT_H
#define SM_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/*
 * Command-line tables. The table is the source of parsing, --help and the man page check.
 * Shape as urfave/cli's, which runc's callers rely on: one or two dashes, `--flag value` or
 * `--flag=value`, `--bool` or `--bool=false`, `--` ends flags.
 */
enum sm_opt_type {
	SM_OPT_BOOL,	/* bool * */
	SM_OPT_STRING,	/* const char **, the last one wins */
	SM_OPT_LIST,	/* struct sm_opt_list *, each use appends */
	SM_OPT_INT,	/* int * */
	SM_OPT_DURATION, /* int64_t *, nanoseconds; as Go writes them: 500ms, 1m30s, -1.5h, 0 */
	SM_OPT_NUM
};

struct sm_opt_list {
	const char **v; /* heap array of borrowed strings; free with sm_opt_list_free() */
	size_t n;
};

struct sm_opt {
	const char *name;	/* "bundle" */
	char letter;		/* 'b' or 0 */
	enum sm_opt_type type;
	void *value;
	const char *arg;	/* what help shows: "DIR"; NULL for booleans */
	const char *help;	/* NULL: accepted, not shown */
};

/* Parses argv[1..argc-1] in place. `stop_at`: flags end after this many positionals (runc's exec: 1);
 * SIZE_MAX: flags may follow positionals. On 0 *npos positionals stand in pos[] (borrowed from argv,
 * pos has room for argc). An unknown flag: -EINVAL with runc's text
 * `flag provided but not defined: -bogus`. opts ends with a row whose name is NULL. */
int sm_opt_parse(const struct sm_opt *opts, int argc, char **argv, size_t stop_at, char **pos,
		 size_t *npos, struct sm_err *err);

/* The same for a program that takes options alone: a positional is -EINVAL. */
int sm_opt_parse_only(const struct sm_opt *opts, int argc, char **argv, struct sm_err *err);

/* The OPTIONS block of a help page. */
void sm_opt_help(const struct sm_opt *opts, FILE *out);

void sm_opt_list_free(struct sm_opt_list *list);

#endif
