/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "runtime/container.h"

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	struct sm_make_options o = { .detach = true };
	const struct sm_opt opts[] = { SM_MAKE_OPTIONS(&o), { NULL } };
	struct sm_container c = SM_CONTAINER_INIT;
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	c.rt = rt;
	c.o = &o;
	r = sm_container_make(&c, args.v[0], err);
	if (r == 0) {
		r = sm_container_write_pid(&c, err);
		if (r < 0)
			sm_container_undo(&c);
	}
	sm_container_free(&c);
	return r < 0 ? sm_err_wrap(err, SM_RUNTIME_NAME " create failed") : 0;
}

const struct sm_command sm_cmd_create = {
	.name = "create",
	.args = "<container-id>",
	.summary = "create a container",
	.text = "   Reads config.json in the bundle, boots a microVM and makes the container\n"
		"   in it, up to but not including the program that it is to run: that is\n"
		"   for \"start\". The id is yours to choose and must be unique on this\n"
		"   host.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
