/* SPDX-License-Identifier: Apache-2.0 */
/* src/runtime: cgroup paths, hooks, pid files, settings, terminals, arguments of commands. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/cgroup.h"
#include "runtime/console.h"
#include "runtime/container.h"
#include "runtime/hooks.h"
#include "runtime/settings.h"

static char *make_dir(void)
{
	char *dir = strdup("/tmp/sm-parts-XXXXXX");

	assert_non_null(dir);
	assert_non_null(mkdtemp(dir));
	return dir;
}

static void drop_dir(char *dir)
{
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, dir), 0);
	free(dir);
}

/* ---- cgroup paths --------------------------------------------------------------------------- */

static void test_cgroup_paths(void **state)
{
	static const struct {
		const char *given;
		bool systemd;
		const char *path;	/* NULL: refused */
	} rows[] = {
		{ NULL, false, "/web" },
		{ "", false, "/web" },
		{ "/a/b", false, "/a/b" },
		{ "a/b", false, "/a/b" },
		{ "//a/./b//", false, "/a/b" },
		{ "/a/../b", false, "/b" },
		{ "../../../etc", false, "/etc" },
		{ "/a/b/../../../c", false, "/c" },
		{ "/a/..b/c..", false, "/a/..b/c.." },
		{ "/", false, NULL },
		{ "..", false, NULL },
		{ NULL, true, "/system.slice/web.scope" },
		{ "user.slice:docker:web", true, "/user.slice/docker-web.scope" },
		{ ":docker:web", true, "/system.slice/docker-web.scope" },
		{ "a-b-c.slice:p:n", true, "/a.slice/a-b.slice/a-b-c.slice/p-n.scope" },
		{ "-.slice:p:n", true, "/p-n.scope" },
		{ "user.slice::n", true, "/user.slice/n.scope" },
		{ "/a/b", true, NULL },
		{ "a:b", true, NULL },
		{ "a.slice:b:c:d", true, NULL },
		{ "a:b:c", true, NULL },
		{ "../x.slice:b:c", true, NULL },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		struct sm_arena *arena = sm_arena_new(1 << 16);
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		const char *path = NULL;
		int r = sm_cgroup_path(arena, rows[i].given, "web", rows[i].systemd, &path, &err);

		if (rows[i].path) {
			assert_int_equal(r, 0);
			assert_string_equal(path, rows[i].path);
		} else {
			assert_int_equal(r, -EINVAL);
		}
		sm_arena_free(arena);
	}
}

static void test_no_cgroups_left_to_remove(void **state)
{
	static const char *const dirs[] = { "/no/such/cgroup", "/sys/fs/cgroup/no-such-cgroup" };
	const struct sm_strs strs = { dirs, SM_ARRAY_SIZE(dirs) };

	assert_int_equal(sm_cgroup_remove(&strs, NULL), 0);
}

/* ---- hooks ---------------------------------------------------------------------------------- */

static int run_shell(const char *text, int64_t timeout, int abort_fd, struct sm_err *err)
{
	const char *const args[] = { "sh", "-c", text };
	const struct sm_hook hook = {
		.path = "/bin/sh",
		.args = { args, 3 },
		.timeout = { timeout != 0, timeout },
	};
	const sm_hook_list list = { &hook, 1 };
	const struct sm_hook_run run = { .state = "{\"id\":\"x\"}",
					 .cwd = "/",
					 .abort_fd = abort_fd };

	return sm_hooks_run(&list, &run, err);
}

static void test_hooks(void **state)
{
	static const struct {
		const char *text;
		int64_t timeout;
		const char *error;	/* NULL: it succeeds */
	} rows[] = {
		{ "exit 0", 0, NULL },
		{ "test \"$(cat)\" = '{\"id\":\"x\"}' && test \"$(pwd)\" = /", 0, NULL },
		{ "exec 0<&-", 0, NULL },
		{ "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2", 10, NULL },
		{ "echo out; echo err >&2; exit 3", 0,
		  "error running hook #0: error running hook: exit status 3, stdout: out\n, "
		  "stderr: err\n" },
		{ "kill -KILL $$", 0,
		  "error running hook #0: error running hook: signal: killed, stdout: , stderr: " },
		{ "sleep 100", 1,
		  "error running hook #0: hook ran past specified timeout of 1.0s" },
		{ "sleep 5 & exit 0", 0, NULL },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		int r = run_shell(rows[i].text, rows[i].timeout, -1, &err);

		if (rows[i].error) {
			assert_true(r < 0);
			assert_string_equal(sm_err_text(&err), rows[i].error);
		} else {
			assert_string_equal(r < 0 ? sm_err_text(&err) : "", "");
		}
	}
}

static void test_hook_that_is_not_there(void **state)
{
	const struct sm_hook hook = { .path = "/no/such/hook" };
	const sm_hook_list list = { &hook, 1 };
	const struct sm_hook_run run = { .state = "{}", .cwd = "/", .abort_fd = -1 };
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	assert_int_equal(sm_hooks_run(&list, &run, &err), -ENOENT);
	assert_string_equal(sm_err_text(&err),
			    "error running hook #0: fork/exec /no/such/hook: no such "
			    "file or directory");
}

static void test_hook_when_the_vm_goes(void **state)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int p[2];

	assert_int_equal(pipe(p), 0);
	close(p[1]);
	assert_int_equal(run_shell("sleep 100", 0, p[0], &err), -ECONNRESET);
	close(p[0]);
}

/* ---- pid files ------------------------------------------------------------------------------ */

static void test_pid_file(void **state)
{
	char *dir = make_dir();
	sm_auto_free char *path = sm_strf("%s/pid", dir);
	sm_auto_free char *tmp = sm_strf("%s/.pid", dir);
	sm_auto_free char *missing = sm_strf("%s/no/pid", dir);
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(100);
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	assert_int_equal(sm_pidfile_write(path, 12345, NULL), 0);
	assert_int_equal(sm_pidfile_write(path, 7, NULL), 0);
	assert_int_equal(sm_read_file_at(AT_FDCWD, path, &text), 0);
	assert_string_equal((char *)text.data, "7");
	assert_int_equal(access(tmp, F_OK), -1);
	assert_int_equal(sm_pidfile_write(missing, 7, &err), -ENOENT);
	assert_non_null(strstr(sm_err_text(&err), "/no/.pid: no such file or directory"));
	/* somebody else's temporary file is neither used nor removed */
	close(open(tmp, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(sm_pidfile_write(path, 8, NULL), -EEXIST);
	assert_int_equal(access(tmp, F_OK), 0);
	drop_dir(dir);
}

/* ---- settings ------------------------------------------------------------------------------- */

static int load_settings(const char *text, struct sm_settings **s, struct sm_err *err)
{
	char *dir = make_dir();
	sm_auto_free char *path = sm_strf("%s/config.json", dir);
	int r;

	if (text)
		assert_int_equal(sm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, 0), 0);
	setenv("SUPERMACHINE_CONFIG", path, 1);
	r = sm_settings_load(s, err);
	unsetenv("SUPERMACHINE_CONFIG");
	drop_dir(dir);
	return r;
}

static void test_settings(void **state)
{
	static const char *const bad[] = {
		"garbage",
		"[]",
		"{\"vcpus\":0}",
		"{\"vcpus\":65}",
		"{\"memory\":1}",
		"{\"memory\":\"1g\"}",
		"{\"hypervisor\":\"xen\"}",
		"{\"kernelParameters\":\"quiet\"}",
		"{\"hugepages\":1}",
		"{\"earlyConsole\":\"yes\"}",
		"{\"coreDumps\":[]}",
		"{\"network\":\"tap\"}",
		"{\"networkPolicy\":\"deny any\"}",
	};
	sm_auto_settings struct sm_settings *none = NULL, *all = NULL;

	assert_int_equal(load_settings(NULL, &none, NULL), 0);
	assert_int_equal(none->hypervisor, SM_HYPERVISOR_AUTO);
	assert_false(none->hugepages || none->early_console || none->core_dumps);
	assert_false(none->vcpus_given);
	assert_int_equal(none->vm.size.memory_mib, 1024);
	assert_int_equal(none->vm.size.vcpus, 1);
	assert_true(none->vm.vcpus_max >= 1);
	assert_int_equal(load_settings("{\"hypervisor\":\"kvm\",\"vcpus\":3,\"memory\":256,"
				       "\"kernel\":\"/k\",\"initrd\":\"/i\",\"vmm\":\"/v\","
				       "\"qemu\":\"/q\",\"kernelParameters\":[\"a\",\"b\"],"
				       "\"hugepages\":true,\"earlyConsole\":true,"
				       "\"coreDumps\":true,\"network\":\"none\","
				       "\"networkPolicy\":[\"deny any\",\"default deny\"],"
				       "\"ports\":[\"80:81\"],\"unknown\":{}}",
				       &all, NULL),
			 0);
	assert_int_equal(all->hypervisor, SM_HYPERVISOR_KVM);
	assert_true(all->hugepages && all->early_console && all->core_dumps);
	assert_true(all->vcpus_given);
	assert_int_equal(all->vm.size.vcpus, 3);
	assert_int_equal(all->vm.size.memory_mib, 256);
	assert_string_equal(all->kernel, "/k");
	assert_string_equal(all->initrd, "/i");
	assert_string_equal(all->vmm, "/v");
	assert_string_equal(all->qemu, "/q");
	assert_int_equal(all->kernel_parameters.n, 2);
	assert_false(all->tsi);
	assert_string_equal(all->network_policy, "deny any, default deny");
	assert_string_equal(all->ports, "80:81");
	assert_true(none->tsi);
	assert_string_equal(none->network_policy, "");
	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		struct sm_settings *s = NULL;

		assert_int_equal(load_settings(bad[i], &s, NULL), -EINVAL);
		assert_null(s);
	}
}

/* ---- terminals ------------------------------------------------------------------------------ */

static void test_pty(void **state)
{
	sm_auto_pty struct sm_pty pty = SM_PTY_INIT;
	struct winsize ws;
	struct termios t;
	char buf[8];

	pty.rows = 33;
	pty.cols = 99;
	assert_int_equal(sm_pty_open(&pty, NULL), 0);
	assert_int_equal(ioctl(pty.master, TIOCGWINSZ, &ws), 0);
	assert_int_equal(ws.ws_row, 33);
	assert_int_equal(ws.ws_col, 99);
	assert_int_equal(tcgetattr(pty.slave, &t), 0);
	assert_int_equal(t.c_lflag & (ECHO | ICANON | ISIG), 0);
	assert_int_equal(t.c_oflag & OPOST, 0);
	/* bytes cross unchanged, and at once */
	assert_int_equal(write(pty.slave, "a\nb", 3), 3);
	assert_int_equal(read(pty.master, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "a\nb", 3);
	assert_int_equal(write(pty.master, "\x03\r", 2), 2);
	assert_int_equal(read(pty.slave, buf, sizeof(buf)), 2);
	assert_memory_equal(buf, "\x03\r", 2);
}

static void test_console_socket(void **state)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int fds[2], sv[2];
	size_t n = 2;
	char name[16] = "";
	int sock = -1;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(sm_console_send(sv[0], 0, "/dev/ptmx", NULL), 0);
	assert_int_equal(sm_recv_fds(sv[1], name, sizeof(name), fds, &n), 9);
	assert_int_equal(n, 1);
	assert_string_equal(name, "/dev/ptmx");
	close(fds[0]);
	close(sv[1]);
	assert_int_equal(sm_console_send(sv[0], 0, "/dev/ptmx", NULL), -EPIPE);
	close(sv[0]);
	assert_int_equal(sm_console_connect("/no/such/socket", &sock, &err), -ENOENT);
	assert_string_equal(sm_err_text(&err),
			    "dial unix /no/such/socket: connect: no such file or directory");
	sm_close(&sock);
}

/* ---- arguments ------------------------------------------------------------------------------ */

static int no_run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
		  struct sm_err *err)
{
	(void)rt, (void)cmd, (void)argc, (void)argv, (void)err;
	return 0;
}

static void test_argument_counts(void **state)
{
	static const struct {
		size_t min, max;
		int given;
		const char *error;
	} rows[] = {
		{ 1, 1, 1, NULL },
		{ 1, 1, 0, "sm-runtime: \"x\" requires exactly 1 argument(s)" },
		{ 1, 1, 2, "sm-runtime: \"x\" requires exactly 1 argument(s)" },
		{ 1, 2, 0, "sm-runtime: \"x\" requires a minimum of 1 argument(s)" },
		{ 1, 2, 2, NULL },
		{ 1, 2, 3, "sm-runtime: \"x\" requires a maximum of 2 argument(s)" },
		{ 1, SIZE_MAX, 3, NULL },
	};
	const struct sm_opt opts[] = { { NULL } };
	char word[] = "word", *argv[] = { word, word, word, word, NULL };

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		const struct sm_command cmd = { "x",         "",       "test", NULL,  rows[i].min,
						rows[i].max, SIZE_MAX, 1,      no_run };
		struct sm_runtime rt = { 0 };
		sm_auto_args struct sm_args args = { NULL, 0 };
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		int r = sm_cli_parse(&rt, &cmd, opts, rows[i].given + 1, argv, &args, &err);

		assert_int_equal(rt.usage, rows[i].error != NULL);
		if (rows[i].error)
			assert_string_equal(sm_err_text(&err), rows[i].error);
		else
			assert_int_equal(r, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cgroup_paths),
		cmocka_unit_test(test_no_cgroups_left_to_remove),
		cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_hook_that_is_not_there),
		cmocka_unit_test(test_hook_when_the_vm_goes),
		cmocka_unit_test(test_pid_file),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_pty),
		cmocka_unit_test(test_console_socket),
		cmocka_unit_test(test_argument_counts),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
