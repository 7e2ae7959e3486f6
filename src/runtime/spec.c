/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/statfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "base/clean.h"
#include "runtime/runtime.h"
#include "spec/config.h"

#define CONFIG_NAME "config.json"

static int write_config(bool rootless, struct sm_err *err)
{
	struct statfs fs;
	struct sm_spec_default def = {
		.rootless = rootless,
		.cgroup_ns = statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC,
		.uid = geteuid(),
		.gid = getegid(),
	};
	sm_auto_file FILE *out = NULL;
	int fd = open(CONFIG_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int r;

	if (fd < 0 && errno == EEXIST)
		return sm_err_set(err, -EEXIST, "File " CONFIG_NAME " exists. Remove it first");
	if (fd < 0)
		return sm_err_sys(err, errno, "open " CONFIG_NAME);
	out = fdopen(fd, "w");
	r = out ? sm_spec_default(&def, out) : -ENOMEM;
	if (r == 0 && fflush(out) != 0)
		r = -errno;
	return r < 0 ? sm_err_sys(err, r, "write " CONFIG_NAME) : 0;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const char *bundle = NULL;
	bool rootless = false;
	const struct sm_opt opts[] = {
		{ "bundle", 'b', SM_OPT_STRING, &bundle, "DIR",
		  "where to write it (default: the working directory)" },
		{ "rootless", 0, SM_OPT_BOOL, &rootless, NULL, "for a user who is not root" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	if (bundle && chdir(bundle) < 0)
		return sm_err_sys(err, errno, "chdir %s", bundle);
	return write_config(rootless, err);
}

const struct sm_command sm_cmd_spec = {
	.name = "spec",
	.args = "",
	.summary = "write a config.json to start from",
	.text = "   Writes a config.json for a shell on a terminal, to be edited. The root\n"
		"   filesystem is expected in the directory rootfs beside it.\n",
	.min = 0,
	.max = 0,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
