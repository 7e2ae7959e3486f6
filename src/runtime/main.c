/* SPDX-License-Identifier: Apache-2.0 */

/*
 * sm-runtime: the command line of an OCI runtime, runc's in every respect that a caller can see
 * (oci-cli: exit codes, the one line of a failure, what goes to which stream).
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "commit.h"
#include "config.h"
#include "spec/seccomp.h"

#define FAILED 1
#define NO_SUCH_COMMAND 3

const struct sm_command *const sm_commands[] = {
	&sm_cmd_checkpoint, &sm_cmd_create,   &sm_cmd_delete,  &sm_cmd_doctor, &sm_cmd_events,
	&sm_cmd_exec,       &sm_cmd_features, &sm_cmd_kill,    &sm_cmd_list,   &sm_cmd_pause,
	&sm_cmd_ports,      &sm_cmd_ps,       &sm_cmd_restore, &sm_cmd_resume, &sm_cmd_run,
	&sm_cmd_spec,       &sm_cmd_start,    &sm_cmd_state,   &sm_cmd_update, NULL,
};

/* dockerd takes the last line with "version" in it for the first; go-runc reads commit and spec too, but
 * only of what says that it is runc, which this is not. */
static void print_version(FILE *out)
{
	char seccomp[32];

	sm_seccomp_library(seccomp, sizeof(seccomp));
	fprintf(out, "%s version %s\n", SM_RUNTIME_NAME, PACKAGE_VERSION);
	if (*SM_COMMIT)
		fprintf(out, "commit: %s\n", SM_COMMIT);
	fprintf(out, "spec: %s\nlibseccomp: %s\n", SM_OCI_VERSION, seccomp);
}

static void print_help(const struct sm_opt *opts, FILE *out)
{
	fprintf(out,
		"NAME:\n   %s - run OCI containers as microVMs\n\n"
		"USAGE:\n   %s [global options] command [command options] [arguments...]\n\n"
		"VERSION:\n   %s\n\n"
		"COMMANDS:\n",
		SM_RUNTIME_NAME, SM_RUNTIME_NAME, PACKAGE_VERSION);
	for (size_t i = 0; sm_commands[i]; i++)
		fprintf(out, "   %-10s  %s\n", sm_commands[i]->name, sm_commands[i]->summary);
	fprintf(out, "   %-10s  %s\n\nGLOBAL ", "help, h", "show the commands, or help for one");
	sm_opt_help(opts, out);
}

static const struct sm_command *find_command(const char *name)
{
	for (size_t i = 0; sm_commands[i]; i++)
		if (!strcmp(sm_commands[i]->name, name))
			return sm_commands[i];
	return NULL;
}

static int setup_log(struct sm_runtime *rt, int *log_fd, struct sm_err *err)
{
	enum sm_log_level level = rt->debug ? SM_LOG_DEBUG : SM_LOG_INFO;

	if (rt->log && *rt->log) {
		*log_fd = open(rt->log, O_WRONLY | O_CREAT | O_APPEND | O_SYNC | O_CLOEXEC, 0644);
		if (*log_fd < 0) {
			int r = sm_err_sys(err, errno, "open %s", rt->log);

			rt->log = NULL;	/* there is none: the line goes to standard error */
			return r;
		}
	} else {
		rt->log = NULL;
	}
	if (!strcmp(rt->log_format, "json"))
		rt->format = SM_LOG_JSON;
	else if (strcmp(rt->log_format, "text") != 0)
		return sm_err_set(err, -EINVAL, "invalid log-format: %s", rt->log_format);
	sm_log_setup(rt->log ? *log_fd : STDERR_FILENO, rt->format, level);
	return 0;
}

/* Root of a user namespace has /run to itself only where it says that it is root: in a container,
 * not in `podman unshare`. */
static bool is_root(void)
{
	const char *user = getenv("USER");

	return !sm_is_rootless() || (geteuid() == 0 && user && !strcmp(user, "root"));
}

/* The default for who is not root is in XDG_RUNTIME_DIR; the sticky bit keeps it from being
 * swept. */
static int default_root(struct sm_runtime *rt, struct sm_err *err)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (!xdg || !*xdg || is_root()) {
		rt->root = "/run/supermachine";
		return 0;
	}
	rt->root_buf = sm_strf("%s/supermachine", xdg);
	if (!rt->root_buf)
		return sm_err_sys(err, -ENOMEM, "--root");
	rt->root = rt->root_buf;
	if (mkdir(rt->root, 0700) < 0 && errno != EEXIST)
		return sm_err_sys(err, errno, "the root directory (%s) is invalid", rt->root);
	if (chmod(rt->root, 0700 | S_ISVTX) < 0)
		return sm_err_sys(err, errno, "the root directory (%s)", rt->root);
	return 0;
}

static int setup_root(struct sm_runtime *rt, struct sm_err *err)
{
	char cwd[PATH_MAX];

	rt->root_given = rt->root != NULL;
	if (!rt->root)
		return default_root(rt, err);
	if (!*rt->root || !strcmp(rt->root, "/"))
		return sm_err_set(err, -EINVAL, "--root \"%s\": must be a directory of its own",
				  rt->root);
	if (*rt->root == '/')
		return 0;
	if (!getcwd(cwd, sizeof(cwd)))
		return sm_err_sys(err, errno, "--root %s: working directory", rt->root);
	rt->root_buf = sm_strf("%s/%s", cwd, rt->root);
	if (!rt->root_buf)
		return sm_err_sys(err, -ENOMEM, "--root");
	rt->root = rt->root_buf;
	return 0;
}

/* The one line of a failure: in the log, and with --log in plain on standard error too. */
static void report(const struct sm_runtime *rt, const struct sm_err *err)
{
	sm_error("%s", sm_err_text(err));
	if (rt->log)
		fprintf(stderr, "%s\n", sm_err_text(err));
}

static int run_command(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		       struct sm_err *err)
{
	int r = cmd->run(rt, cmd, argc, argv, err);

	if (r >= 0)
		return r;
	report(rt, err);
	return rt->usage ? FAILED : cmd->failed;
}

/* `help [COMMAND]` is `COMMAND --help`. */
static int run_help(struct sm_runtime *rt, const struct sm_opt *opts, int argc, char **argv,
		    struct sm_err *err)
{
	const struct sm_command *cmd = argc > 1 ? find_command(argv[1]) : NULL;
	char *args[] = { argc > 1 ? argv[1] : NULL, (char[]){ "--help" }, NULL };

	if (cmd)
		return run_command(rt, cmd, 2, args, err);
	if (argc > 1) {
		sm_err_set(err, -EINVAL, "No help topic for '%s'", argv[1]);
		report(rt, err);
		return NO_SUCH_COMMAND;
	}
	print_help(opts, stdout);
	return 0;
}

static int dispatch(struct sm_runtime *rt, const struct sm_opt *opts, int argc, char **argv,
		    struct sm_err *err)
{
	const struct sm_command *cmd;

	if (!strcmp(argv[0], "help") || !strcmp(argv[0], "h"))
		return run_help(rt, opts, argc, argv, err);
	cmd = find_command(argv[0]);
	if (cmd)
		return run_command(rt, cmd, argc, argv, err);
	sm_err_set(err, -EINVAL, "No help topic for '%s'", argv[0]);
	report(rt, err);
	return NO_SUCH_COMMAND;
}

static int run(struct sm_runtime *rt, int argc, char **argv, int *log_fd, struct sm_err *err)
{
	const struct sm_opt opts[] = {
		{ "debug", 0, SM_OPT_BOOL, &rt->debug, NULL, "log debug messages" },
		{ "log", 0, SM_OPT_STRING, &rt->log, "FILE",
		  "append log lines to FILE instead of standard error" },
		{ "log-format", 0, SM_OPT_STRING, &rt->log_format, "FORMAT",
		  "shape of log lines: text (default) or json" },
		{ "root", 0, SM_OPT_STRING, &rt->root, "DIR",
		  "where the state of containers is (default /run/supermachine)" },
		{ "criu", 0, SM_OPT_STRING, &rt->criu, "PATH", NULL },
		{ "systemd-cgroup", 0, SM_OPT_BOOL, &rt->systemd_cgroup, NULL,
		  "cgroupsPath is of the form slice:prefix:name" },
		{ "rootless", 0, SM_OPT_STRING, &rt->rootless, "WHEN",
		  "ignore cgroup permission errors: true, false or auto (default)" },
		{ "help", 'h', SM_OPT_BOOL, &rt->help, NULL, "show help" },
		{ "version", 'v', SM_OPT_BOOL, &rt->version, NULL, "print the version" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { calloc((size_t)argc + 1, sizeof(char *)), 0 };
	const struct sm_command *cmd;
	int r;

	if (!args.v)
		r = sm_err_sys(err, -ENOMEM, "command line");
	else
		r = sm_opt_parse(opts, argc, argv, 1, args.v, &args.n, err);
	if (r < 0) {
		printf("Incorrect Usage. %s\n\n", sm_err_text(err));
		print_help(opts, stdout);
	}
	if (r == 0 && rt->version) {
		print_version(stdout);
		return 0;
	}
	if (r == 0 && (rt->help || !args.n)) {
		print_help(opts, stdout);
		return 0;
	}
	if (r == 0)
		r = setup_log(rt, log_fd, err);
	cmd = r == 0 ? find_command(args.v[0]) : NULL;
	if (r == 0 && !(cmd && cmd->stateless))
		r = setup_root(rt, err);
	if (r == 0)
		return dispatch(rt, opts, (int)args.n, args.v, err);
	report(rt, err);
	return FAILED;
}

int main(int argc, char **argv)
{
	struct sm_runtime rt = { .log_format = "text", .started_ns = sm_now_ns() };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int log_fd = -1;
	int code;

	for (int i = 0; i < 3; i++)
		rt.stdio_closed[i] = fcntl(i, F_GETFD) < 0;
	sm_fix_stdio();
	/* Who hangs up on us is an error to deal with, and to clean up after. */
	signal(SIGPIPE, SIG_IGN);
	code = run(&rt, argc, argv, &log_fd, &err);
	if (fflush(stdout) != 0 && code == 0)
		code = FAILED;
	sm_close(&log_fd);
	free(rt.root_buf);
	return code;
}
