/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "runtime/ocistate.h"
#include "runtime/runtime.h"
#include "runtime/store.h"

static int show(const struct sm_state *state, struct sm_err *err)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new("  ");
	const char *text;
	size_t len;
	int r;

	sm_ocistate_show(j, state, "");
	r = sm_jsonout_text(j, &text, &len);
	if (r < 0)
		return sm_err_sys(err, r, "state");
	fwrite(text, 1, len, stdout);
	return 0;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const struct sm_opt opts[] = { { NULL } };
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_find(rt->root, args.v[0], &s, &state, err);
	return r < 0 ? r : show(state, err);
}

const struct sm_command sm_cmd_state = {
	.name = "state",
	.args = "<container-id>",
	.summary = "print the state of a container",
	.text = "   Prints the state of a container as JSON.\n",
	.min = 1,
	.max = 1,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
