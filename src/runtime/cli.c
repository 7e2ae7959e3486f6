/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

void sm_args_free(struct sm_args *args)
{
	free(args->v);
	args->v = NULL;
	args->n = 0;
}

bool sm_is_rootless(void)
{
	sm_auto_buf struct sm_buf map = SM_BUF_INIT(4096);
	unsigned int inside, outside, size;

	if (geteuid() != 0)
		return true;
	/* a kernel without user namespaces has no such file */
	if (sm_read_file_at(AT_FDCWD, "/proc/self/uid_map", &map) < 0 ||
	    sm_buf_put(&map, "", 1) < 0 ||
	    sscanf((const char *)map.data, "%u %u %u", &inside, &outside, &size) != 3)
		return false;
	return inside != 0 || outside != 0 || size != UINT32_MAX;
}

static void print_help(const struct sm_command *cmd, const struct sm_opt *opts, FILE *out)
{
	bool any = false;

	for (const struct sm_opt *o = opts; o->name; o++)
		any |= o->help != NULL;
	fprintf(out, "NAME:\n   %s %s - %s\n\n", SM_RUNTIME_NAME, cmd->name, cmd->summary);
	fprintf(out, "USAGE:\n   %s %s%s %s\n\n", SM_RUNTIME_NAME, cmd->name,
		any ? " [command options]" : "", cmd->args);
	if (cmd->text)
		fprintf(out, "DESCRIPTION:\n%s\n", cmd->text);
	if (any)
		sm_opt_help(opts, out);
}

/* runc's texts */
static int check_count(const struct sm_command *cmd, size_t n, struct sm_err *err)
{
	if (cmd->min == cmd->max && n != cmd->min)
		return sm_err_set(err, -EINVAL, "%s: \"%s\" requires exactly %zu argument(s)",
				  SM_RUNTIME_NAME, cmd->name, cmd->min);
	if (n < cmd->min)
		return sm_err_set(err, -EINVAL, "%s: \"%s\" requires a minimum of %zu argument(s)",
				  SM_RUNTIME_NAME, cmd->name, cmd->min);
	if (n > cmd->max)
		return sm_err_set(err, -EINVAL, "%s: \"%s\" requires a maximum of %zu argument(s)",
				  SM_RUNTIME_NAME, cmd->name, cmd->max);
	return 0;
}

/* The table with --help in front. NULL: no memory. */
static struct sm_opt *with_help(const struct sm_opt *opts, bool *help)
{
	size_t n = 0;
	struct sm_opt *all;

	while (opts[n].name)
		n++;
	all = calloc(n + 2, sizeof(*all));
	if (!all)
		return NULL;
	all[0] = (struct sm_opt){
		.name = "help", .letter = 'h', .type = SM_OPT_BOOL, .value = help
	};
	for (size_t i = 0; i < n; i++)
		all[i + 1] = opts[i];
	return all;
}

int sm_cli_parse(struct sm_runtime *rt, const struct sm_command *cmd, const struct sm_opt *opts,
		 int argc, char **argv, struct sm_args *args, struct sm_err *err)
{
	bool help = false;
	sm_auto_free struct sm_opt *all = with_help(opts, &help);
	int r;

	args->v = calloc((size_t)argc + 1, sizeof(*args->v));
	if (!args->v || !all)
		return sm_err_sys(err, -ENOMEM, "command line");
	r = sm_opt_parse(all, argc, argv, cmd->stop_at, args->v, &args->n, err);
	if (r < 0)
		printf("Incorrect Usage: %s\n\n", sm_err_text(err));
	if (r == 0 && !help) {
		r = check_count(cmd, args->n, err);
		if (r == 0)
			return 0;
		printf("Incorrect Usage.\n\n");
	}
	rt->usage = r < 0;
	print_help(cmd, opts, stdout);
	return r < 0 ? r : SM_CLI_HELPED;
}
