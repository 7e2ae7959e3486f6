/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "base/io.h"
#include "runtime/ocistate.h"
#include "runtime/runtime.h"
#include "runtime/store.h"

#define COLUMNS 6
#define COLUMN_MIN 12
#define COLUMN_GAP 3

struct row {
	struct sm_state *state;
	char *owner;
};

struct rows {
	struct row *v;
	size_t n;
};

static void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		sm_state_free(&rows->v[i].state);
		free(rows->v[i].owner);
	}
	free(rows->v);
}

static char *owner_name(uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	return pw ? strdup(pw->pw_name) : sm_strf("#%u", (unsigned int)uid);
}

/* One that vanishes meanwhile, or is not there yet, is left out. */
static int add(struct rows *rows, const char *root, const char *id)
{
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct row row = { NULL, NULL };
	struct row *v;

	if (sm_store_check_id(id, NULL) < 0)
		return 0;
	if (sm_store_find(root, id, &s, &row.state, &err) < 0) {
		if (err.code != -ENOENT)
			fprintf(stderr, "load container %s: %s\n", id, sm_err_text(&err));
		return 0;
	}
	row.owner = owner_name(row.state->owner);
	v = row.owner ? reallocarray(rows->v, rows->n + 1, sizeof(*v)) : NULL;
	if (!v) {
		sm_state_free(&row.state);
		free(row.owner);
		return -ENOMEM;
	}
	v[rows->n++] = row;
	rows->v = v;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->state->id, ((const struct row *)b)->state->id);
}

static int collect(const struct sm_runtime *rt, struct rows *rows, struct sm_err *err)
{
	sm_auto_dir DIR *dir = opendir(rt->root);
	struct dirent *e;
	int r = 0;

	if (!dir && errno == ENOENT && !rt->root_given)
		return 0;
	if (!dir)
		return sm_err_sys(err, errno, "open %s", rt->root);
	while (r == 0 && (e = readdir(dir)))
		r = add(rows, rt->root, e->d_name);
	if (r < 0)
		return sm_err_sys(err, r, "list");
	if (rows->n)
		qsort(rows->v, rows->n, sizeof(*rows->v), compare);
	return 0;
}

static void measure(size_t width[COLUMNS], const char *const cells[COLUMNS])
{
	for (size_t i = 0; i < COLUMNS; i++) {
		size_t n = strlen(cells[i]) + COLUMN_GAP;

		if (n > width[i])
			width[i] = n;
	}
}

static void print_cells(const size_t width[COLUMNS], const char *const cells[COLUMNS])
{
	for (size_t i = 0; i + 1 < COLUMNS; i++)
		printf("%-*s", (int)width[i], cells[i]);
	printf("%s\n", cells[COLUMNS - 1]);
}

static void fill_cells(const struct row *row, char pid[16], const char *cells[COLUMNS])
{
	enum sm_status status = sm_state_status(row->state);

	snprintf(pid, 16, "%d", status == SM_STATUS_STOPPED ? 0 : (int)row->state->vmm.pid);
	cells[0] = row->state->id;
	cells[1] = pid;
	cells[2] = sm_status_name(status);
	cells[3] = row->state->bundle;
	cells[4] = row->state->created;
	cells[5] = row->owner;
}

static void print_table(const struct rows *rows)
{
	const char *const head[COLUMNS] = { "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER" };
	size_t width[COLUMNS] = { COLUMN_MIN, COLUMN_MIN, COLUMN_MIN,
				  COLUMN_MIN, COLUMN_MIN, COLUMN_MIN };
	const char *cells[COLUMNS];
	char pid[16];

	measure(width, head);
	for (size_t i = 0; i < rows->n; i++) {
		fill_cells(&rows->v[i], pid, cells);
		measure(width, cells);
	}
	print_cells(width, head);
	for (size_t i = 0; i < rows->n; i++) {
		fill_cells(&rows->v[i], pid, cells);
		print_cells(width, cells);
	}
}

static int print_json(const struct rows *rows, struct sm_err *err)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;
	int r;

	if (!rows->n) {		/* what Go makes of an empty slice, and callers know */
		printf("null\n");
		return 0;
	}
	sm_jsonout_open_array(j);
	for (size_t i = 0; i < rows->n; i++)
		sm_ocistate_show(j, rows->v[i].state, rows->v[i].owner);
	sm_jsonout_close_array(j);
	r = sm_jsonout_text(j, &text, &len);
	if (r < 0)
		return sm_err_sys(err, r, "list");
	printf("%.*s\n", (int)len, text);
	return 0;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const char *format = "table";
	bool quiet = false;
	const struct sm_opt opts[] = {
		{ "format", 'f', SM_OPT_STRING, &format, "FORMAT", "table (default) or json" },
		{ "quiet", 'q', SM_OPT_BOOL, &quiet, NULL, "print the ids only" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	struct rows rows = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = collect(rt, &rows, err);
	if (r == 0 && quiet)
		for (size_t i = 0; i < rows.n; i++)
			printf("%s\n", rows.v[i].state->id);
	else if (r == 0 && !strcmp(format, "table"))
		print_table(&rows);
	else if (r == 0 && !strcmp(format, "json"))
		r = print_json(&rows, err);
	else if (r == 0)
		r = sm_err_set(err, -EINVAL, "invalid format option");
	rows_free(&rows);
	return r;
}

const struct sm_command sm_cmd_list = {
	.name = "list",
	.args = "",
	.summary = "list the containers of this root",
	.text = "   Lists the containers whose state is below --root.\n",
	.min = 0,
	.max = 0,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
