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
#include "runtime/hoststats.h"
#include "runtime/resources.h"
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
		const char *path; /* NULL: refused */
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

	assert_int_equal(sm_cgroup_remove(&strs, -1, NULL), 0);
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
		const char *error; /* NULL: it succeeds */
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

/* ---- resources ------------------------------------------------------------------------------ */

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes; /* -1: refused */
	} rows[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "100M", 104857600 },
		{ "100m", 104857600 },
		{ "1g", 1073741824 },
		{ "1.5g", 1610612736 },
		{ "1 GiB", 1073741824 },
		{ "1kB", 1024 },
		{ "2T", INT64_C(2199023255552) },
		{ "1p", INT64_C(1125899906842624) },
		{ "7b", 7 },
		{ "", -1 },
		{ "m", -1 },
		{ "-1", -1 },
		{ "1x", -1 },
		{ "1.g", -1 },
		{ "1mx", -1 },
		{ "1ib", -1 },
		{ " 1", -1 },
		{ "0x10", -1 },
		{ "9999999999g", -1 },
		{ "99999999999999999999", -1 },
	};

	(void)state;
	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		int64_t bytes = -1;
		int r = sm_size_parse(rows[i].text, &bytes);

		assert_int_equal(r, rows[i].bytes < 0 ? -EINVAL : 0);
		assert_int_equal(bytes, rows[i].bytes);
	}
}

/* The members that are not there are not written out here. */
static void check_shown(const struct sm_resources *r, const char *expected)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;

	sm_resources_show(j, r);
	assert_int_equal(sm_jsonout_text(j, &text, &len), 0);
	assert_int_equal(len, strlen(expected));
	assert_memory_equal(text, expected, len);
}

static const struct {
	const char *base, *change, *merged, *apply;
} merges[] = {
	/* nothing */
	{ "{}", "{}", "{\"memory\":{},\"cpu\":{},\"pids\":{},\"blockIO\":{},\"unified\":{}}",
	  "{\"memory\":{},\"cpu\":{},\"pids\":{},\"blockIO\":{},\"unified\":{}}" },
	/* quota alone goes with the period; 0 is nothing */
	{ "{\"cpu\":{\"period\":40000,\"quota\":5},\"pids\":{\"limit\":9}}",
	  "{\"cpu\":{\"quota\":7,\"shares\":0,\"cpus\":\"\"},\"pids\":{\"limit\":0}}",
	  "{\"memory\":{},\"cpu\":{\"quota\":7,\"period\":40000},\"pids\":{\"limit\":9},"
	  "\"blockIO\":{},\"unified\":{}}",
	  "{\"memory\":{},\"cpu\":{\"quota\":7,\"period\":40000},\"pids\":{},\"blockIO\":{},"
	  "\"unified\":{}}" },
	/* no limit lifts swap */
	{ "{\"memory\":{\"limit\":100,\"swap\":200,\"reservation\":5}}",
	  "{\"memory\":{\"limit\":-1}}",
	  "{\"memory\":{\"limit\":-1,\"reservation\":5,\"swap\":-1},\"cpu\":{},\"pids\":{},"
	  "\"blockIO\":{},\"unified\":{}}",
	  "{\"memory\":{\"limit\":-1,\"swap\":-1},\"cpu\":{},\"pids\":{},\"blockIO\":{},"
	  "\"unified\":{}}" },
	/* the limit goes with swap */
	{ "{\"memory\":{\"limit\":100}}", "{\"memory\":{\"swap\":300}}",
	  "{\"memory\":{\"limit\":100,\"swap\":300},\"cpu\":{},\"pids\":{},\"blockIO\":{},"
	  "\"unified\":{}}",
	  "{\"memory\":{\"limit\":100,\"swap\":300},\"cpu\":{},\"pids\":{},\"blockIO\":{},"
	  "\"unified\":{}}" },
	/* unified files replace those of the same name */
	{ "{\"unified\":{\"a.x\":\"1\",\"b.y\":\"2\"}}",
	  "{\"unified\":{\"a.x\":\"3\"},\"blockIO\":{\"weight\":10},\"cpu\":{\"idle\":0}}",
	  "{\"memory\":{},\"cpu\":{\"idle\":0},\"pids\":{},\"blockIO\":{\"weight\":10},"
	  "\"unified\":{\"b.y\":\"2\",\"a.x\":\"3\"}}",
	  "{\"memory\":{},\"cpu\":{\"idle\":0},\"pids\":{},\"blockIO\":{\"weight\":10},"
	  "\"unified\":{\"a.x\":\"3\"}}" },
};

static void test_merge(void **state)
{
	(void)state;
	for (size_t i = 0; i < SM_ARRAY_SIZE(merges); i++) {
		struct sm_arena *arena = sm_arena_new(1 << 20);
		struct sm_resources a = { 0 }, b = { 0 };
		struct sm_resources *merged, *apply;

		assert_int_equal(sm_resources_parse("a", merges[i].base, strlen(merges[i].base),
						    arena, &a, NULL),
				 0);
		assert_int_equal(sm_resources_parse("b", merges[i].change, strlen(merges[i].change),
						    arena, &b, NULL),
				 0);
		assert_int_equal(sm_resources_merge(arena, &a, &b, &merged, &apply), 0);
		check_shown(merged, merges[i].merged);
		check_shown(apply, merges[i].apply);
		sm_arena_free(arena);
	}
}

static void put_file(const char *dir, const char *name, const char *text)
{
	sm_auto_free char *path = sm_strf("%s/%s", dir, name);

	assert_int_equal(sm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, 0), 0);
}

/* Ordinary files keep what a shorter text does not cover. */
static void check_file(const char *dir, const char *name, const char *expected)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(4096);
	sm_auto_free char *path = sm_strf("%s/%s", dir, name);

	assert_int_equal(sm_read_file_at(AT_FDCWD, path, &text), 0);
	assert_memory_equal(text.data, expected, strlen(expected));
}

/* A change that fails on the way, and what it can be taken back with. */
static void test_take_back(void **state)
{
	static const char change[] = "{\"cpu\":{\"quota\":70000,\"period\":50000},"
				     "\"memory\":{\"limit\":1000,\"swap\":9000},"
				     "\"blockIO\":{\"weight\":500}}";
	struct sm_arena *arena = sm_arena_new(1 << 20);
	char *dir = make_dir();
	struct sm_cgroup_dir d = { dir, dir, "cpu,memory,blkio", SM_CGROUP_V1, false };
	const struct sm_cgroups cg = { &d, 1 };
	struct sm_resources r = { 0 };
	struct sm_cgroup_undo undo;
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	(void)state;
	put_file(dir, "cpu.cfs_quota_us", "11111\n");
	put_file(dir, "cpu.cfs_period_us", "22222\n");
	put_file(dir, "memory.limit_in_bytes", "3333\n");
	put_file(dir, "memory.memsw.limit_in_bytes", "4444\n");
	assert_int_equal(sm_resources_parse("c", change, strlen(change), arena, &r, NULL), 0);
	assert_int_equal(sm_cgroup_change(&cg, &r, 100, arena, &undo, &err), -ENOENT);
	check_file(dir, "cpu.cfs_quota_us", "70000");
	check_file(dir, "memory.limit_in_bytes", "1100");
	assert_int_equal(undo.n, 4);
	assert_non_null(strstr(undo.v[2].key, "memsw")); /* it rises: it was first */
	sm_cgroup_take_back(&undo);
	check_file(dir, "cpu.cfs_quota_us", "11111");
	check_file(dir, "cpu.cfs_period_us", "22222");
	check_file(dir, "memory.limit_in_bytes", "3333");
	check_file(dir, "memory.memsw.limit_in_bytes", "4444");
	drop_dir(dir);
	sm_arena_free(arena);
}

static const char numbers[] =
	"{\"type\":\"stats\",\"id\":\"web\",\"data\":{"
	"\"cpu\":{\"usage\":{\"total\":9000,\"kernel\":5000,\"user\":4000},"
	"\"throttling\":{\"periods\":3,\"throttledPeriods\":2,\"throttledTime\":1000}},"
	"\"cpuset\":{\"cpus\":[0,1,4],\"cpu_exclusive\":0,\"mems\":[0],\"mem_hardwall\":0,"
	"\"mem_exclusive\":0,\"memory_migrate\":0,\"memory_spread_page\":0,"
	"\"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":1,"
	"\"sched_relax_domain_level\":-1},"
	"\"memory\":{\"usage\":{\"limit\":18446744073709551615,\"usage\":7,\"failcnt\":0},"
	"\"swap\":{\"limit\":18446744073709551615,\"usage\":7,\"failcnt\":0},"
	"\"kernel\":{\"limit\":0,\"failcnt\":0},\"kernelTCP\":{\"limit\":0,\"failcnt\":0}},"
	"\"pids\":{\"current\":2},"
	"\"blkio\":{\"ioServiceBytesRecursive\":[{\"major\":8,\"op\":\"Read\",\"value\":1},"
	"{\"major\":8,\"op\":\"Write\"}],"
	"\"ioServicedRecursive\":[{\"major\":8,\"op\":\"Read\",\"value\":3},"
	"{\"major\":8,\"op\":\"Write\",\"value\":4}]},"
	"\"hugetlb\":{},\"intel_rdt\":{},\"network_interfaces\":null,"
	"\"tsi\":{\"flows\":1,\"listeners\":2,\"rxBytes\":3,\"txBytes\":4,\"datagrams\":5,"
	"\"drops\":6,\"creditStalls\":7,\"policyDenials\":0}}}";

/* runc's line, with the host's numbers of cgroup version 2. */
static void test_host_numbers(void **state)
{
	static struct sm_hoststats h;
	char *dir = make_dir();
	struct sm_cgroup_dir d = { dir, dir, "cpuset cpu io memory pids", SM_CGROUP_V2, false };
	const struct sm_cgroups cg = { &d, 1 };
	Supermachine__Agent__V1__StatsResponse guest =
		SUPERMACHINE__AGENT__V1__STATS_RESPONSE__INIT;
	Supermachine__Sandbox__V1__InfoResponse vm = SUPERMACHINE__SANDBOX__V1__INFO_RESPONSE__INIT;
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;

	(void)state;
	put_file(dir, "cpu.stat",
		 "usage_usec 9\nuser_usec 4\nsystem_usec 5\nnr_periods 3\n"
		 "nr_throttled 2\nthrottled_usec 1\n");
	put_file(dir, "cpuset.cpus.effective", "0-1,4\n");
	put_file(dir, "cpuset.mems.effective", "0\n");
	put_file(dir, "io.stat", "8:0 rbytes=1 wbytes=0 rios=3 wios=4 dbytes=0 dios=0\n7:1 \n");
	sm_hoststats_read(&cg, &h);
	guest.memory_usage = 7;
	guest.memory_limit = UINT64_MAX;
	guest.pids_current = 2;
	guest.pids_limit = UINT64_MAX;
	vm.vsock_flows = 1;
	vm.tsi_listeners = 2;
	vm.tsi_rx_bytes = 3;
	vm.tsi_tx_bytes = 4;
	vm.tsi_datagrams = 5;
	vm.vsock_drops = 6;
	vm.vsock_credit_stalls = 7;
	sm_hoststats_show(j, "web", &h, &guest, &vm);
	assert_int_equal(sm_jsonout_text(j, &text, &len), 0);
	assert_int_equal(len, strlen(numbers));
	assert_memory_equal(text, numbers, len);
	drop_dir(dir);
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
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_take_back),
		cmocka_unit_test(test_host_numbers),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
