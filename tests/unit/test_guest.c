/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the agent that decide without a container: lookups, paths, the device program,
 * relays. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/devbpf.h"
#include "guest/agent/lookup.h"
#include "guest/agent/path.h"
#include "guest/agent/relay.h"
#include "guest/agent/resources.h"
#include "guest/agent/rootfs.h"

/* ---- /etc/passwd ------------------------------------------------------------------------------- */

static void check_home(const char *text, uint32_t uid, const char *expected)
{
	char home[64];

	sm_passwd_home(text, strlen(text), uid, home, sizeof(home));
	assert_string_equal(home, expected);
}

static void test_passwd(void **state)
{
	static const char usual[] = "root:x:0:0:root:/root:/bin/sh\n"
				    "user:x:1000:1000:,,,:/home/user:/bin/sh\n"
				    "other:x:1000:1000::/second:/bin/sh";

	(void)state;
	check_home(usual, 0, "/root");
	check_home(usual, 1000, "/home/user");
	check_home(usual, 1, "/");
	check_home("", 0, "/");
	check_home("a:b:5:5::/no/newline", 5, "/no/newline");
	check_home("a:b:5:5::/x:", 5, "/x");
	check_home("short:x:5\nx:x:5:5::/right:\n", 5, "/right");
	check_home("x:x:+5:5::/sign:\nx:x:0x5:5::/hex:\nx:x::5::/none:\n", 5, "/");
	check_home("x:x:4294967295:5::/max:\n", UINT32_MAX, "/max");
	check_home("x:x:99999999999999:5::/huge:\n", 0, "/");
	check_home("x:x:5:5:::\n", 5, "/");
	check_home("x:x:5:5::/0123456789012345678901234567890123456789012345678901234567890123456789:\n",
		   5, "/");
	check_home("x:x:5:5:a:b:c:d:e\n", 5, "b");
	check_home("::::::::\n\n\n:\n", 0, "/");
}

static void test_passwd_with_zero_bytes(void **state)
{
	static const char text[] = "x:x:5:5::/a\0b:\ny:y:6:6::/ok:\n";
	char home[64];

	(void)state;
	sm_passwd_home(text, sizeof(text) - 1, 5, home, sizeof(home));
	assert_string_equal(home, "/");
	sm_passwd_home(text, sizeof(text) - 1, 6, home, sizeof(home));
	assert_string_equal(home, "/ok");
}

/* ---- environment ------------------------------------------------------------------------------- */

static void check_env(char *const *env, size_t n, const char *const *expected)
{
	char **made = sm_env_make(env, n, "/h");
	size_t i;

	assert_non_null(made);
	for (i = 0; expected[i]; i++) {
		assert_non_null(made[i]);
		assert_string_equal(made[i], expected[i]);
	}
	assert_null(made[i]);
	/* what sm_env_make() added is its own */
	for (i = 0; made[i]; i++)
		if (!strcmp(made[i], "HOME=/h"))
			free(made[i]);
	free(made);
}

#define STRS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_env(void **state)
{
	char a1[] = "A=1", a2[] = "A=2", b[] = "B=x=y", home[] = "HOME=", odd[] = "NOVALUE";

	(void)state;
	check_env(NULL, 0, STRS("HOME=/h"));
	check_env((char *[]){ a1, b, a2 }, 3, STRS("A=2", "B=x=y", "HOME=/h"));
	check_env((char *[]){ home, a1 }, 2, STRS("HOME=/h", "A=1"));
	check_env((char *[]){ odd, a1 }, 2, STRS("NOVALUE", "A=1", "HOME=/h"));
}

/* ---- programs ---------------------------------------------------------------------------------- */

struct tree {
	char dir[64];
	int fd;
};

static int make_tree(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	strcpy(t->dir, "/tmp/sm-guest-test.XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	t->fd = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->fd >= 0);
	*state = t;
	return 0;
}

static int drop_tree(void **state)
{
	struct tree *t = *state;

	close(t->fd);
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}

static void put_file(const struct tree *t, const char *path, mode_t mode)
{
	assert_int_equal(sm_write_file_at(t->fd, path, "", 0, mode, 0), 0);
	assert_int_equal(fchmodat(t->fd, path, mode, 0), 0);
}

static void check_lookup(const char *name, const char *path, int code, const char *result)
{
	sm_auto_free char *var = sm_strf("PATH=%s", path);
	char *env[] = { var, NULL };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	sm_auto_free char *found = NULL;

	assert_int_equal(sm_lookup_program(name, env, &found, &err), code);
	assert_string_equal(code ? sm_err_text(&err) : found, result);
}

static void test_lookup(void **state)
{
	const struct tree *t = *state;
	sm_auto_free char *path = NULL, *prog = NULL, *plain = NULL, *text = NULL, *dir_text = NULL;

	assert_int_equal(mkdirat(t->fd, "a", 0755), 0);
	assert_int_equal(mkdirat(t->fd, "b", 0755), 0);
	assert_int_equal(mkdirat(t->fd, "a/prog", 0755), 0);
	put_file(t, "b/prog", 0755);
	put_file(t, "a/plain", 0644);
	path = sm_strf("/nosuch:%s/a:%s/b", t->dir, t->dir);
	prog = sm_strf("%s/b/prog", t->dir);
	plain = sm_strf("%s/a/plain", t->dir);
	text = sm_strf("exec: \"%s\": permission denied", plain);
	dir_text = sm_strf("exec: \"%s/a\": is a directory: permission denied", t->dir);
	/* a directory of that name is passed over, as is a file that cannot be executed */
	check_lookup("prog", path, 0, prog);
	check_lookup(prog, "", 0, prog);
	check_lookup("plain", path, -ENOENT,
		     "exec: \"plain\": executable file not found in $PATH");
	check_lookup("prog", "", -ENOENT, "exec: \"prog\": executable file not found in $PATH");
	check_lookup("", path, -ENOENT, "exec: \"\": executable file not found in $PATH");
	check_lookup(plain, path, -EACCES, text);
	*strrchr(plain, '/') = '\0';
	check_lookup(plain, path, -EISDIR, dir_text);
	check_lookup("/no/such", path, -ENOENT,
		     "exec: \"/no/such\": stat /no/such: no such file or directory");
	assert_int_equal(fchdir(t->fd), 0);
	check_lookup("prog", "b", -EACCES,
		     "exec: \"prog\": cannot run executable found relative to current directory");
	check_lookup("b/prog", "", 0, "b/prog");
	assert_int_equal(chdir("/"), 0);
}

/* ---- paths ------------------------------------------------------------------------------------- */

static bool is_at(const struct tree *t, int fd, const char *path)
{
	struct stat a, b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstatat(t->fd, path, &b, AT_SYMLINK_NOFOLLOW), 0);
	close(fd);
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void test_make_path(void **state)
{
	const struct tree *t = *state;
	const char *name;

	assert_true(is_at(t, sm_path_make_dir(t->fd, "/x/y/z"), "x/y/z"));
	assert_true(is_at(t, sm_path_make_dir(t->fd, "x/y/z/"), "x/y/z"));
	assert_true(is_at(t, sm_path_make_file(t->fd, "/x/f"), "x/f"));
	assert_true(is_at(t, sm_path_make_dir(t->fd, "/"), "."));
	assert_true(is_at(t, sm_path_make_dir(t->fd, ""), "."));
	assert_true(is_at(t, sm_path_make_dir(t->fd, "../../up/./here/.."), "up"));
	assert_int_equal(sm_path_make_dir(t->fd, "/x/f/below"), -ENOTDIR);
	assert_true(is_at(t, sm_path_make_parent(t->fd, "/new/dir/leaf", &name), "new/dir"));
	assert_string_equal(name, "leaf");
	assert_int_equal(sm_path_make_parent(t->fd, "/new/..", &name), -EINVAL);
	assert_int_equal(sm_path_make_parent(t->fd, "/new/", &name), -EINVAL);
}

static void test_path_through_links(void **state)
{
	const struct tree *t = *state;

	assert_int_equal(mkdirat(t->fd, "var", 0755), 0);
	assert_int_equal(symlinkat("/run", t->fd, "var/run"), 0);
	assert_int_equal(symlinkat("../../../../../..", t->fd, "var/out"), 0);
	assert_int_equal(symlinkat("loop", t->fd, "loop"), 0);
	assert_int_equal(symlinkat("b", t->fd, "a"), 0);
	assert_int_equal(symlinkat("a/x", t->fd, "b"), 0);
	/* dangling, absolute, out of the root: all end inside */
	assert_true(is_at(t, sm_path_make_dir(t->fd, "/var/run/secrets"), "run/secrets"));
	assert_true(is_at(t, sm_path_make_dir(t->fd, "/var/out/etc-of-ours"), "etc-of-ours"));
	assert_int_equal(sm_path_make_dir(t->fd, "/loop/x"), -ELOOP);
	assert_int_equal(sm_path_make_dir(t->fd, "/a/y"), -ELOOP);
}

static void test_magic_links_are_refused(void **state)
{
	sm_auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(sm_path_open(root, "/proc/self/root", O_PATH), -ELOOP);
	assert_int_equal(sm_path_open(root, "/proc/self/exe", O_RDONLY), -ELOOP);
}

static void test_path_lengths(void **state)
{
	const struct tree *t = *state;
	char name[300];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(sm_path_make_dir(t->fd, name), -ENAMETOOLONG);
}

static void check_sysctl(const char *key, int code, const char *expected)
{
	char path[64];

	assert_int_equal(sm_sysctl_path(key, path, sizeof(path)), code);
	if (code == 0)
		assert_string_equal(path, expected);
}

static void test_sysctl_path(void **state)
{
	(void)state;
	check_sysctl("net.ipv4.ip_forward", 0, "net/ipv4/ip_forward");
	check_sysctl("net/ipv4/ip_forward", 0, "net/ipv4/ip_forward");
	check_sysctl("net.ipv4.conf.eth0/1.rp_filter", 0, "net/ipv4/conf/eth0.1/rp_filter");
	check_sysctl("net/ipv4/conf/eth0.1/rp_filter", 0, "net/ipv4/conf/eth0.1/rp_filter");
	check_sysctl("../../etc/passwd", -EINVAL, NULL);
	check_sysctl("kernel.//.x", -EINVAL, NULL);
	check_sysctl("kernel/../../x", -EINVAL, NULL);
	check_sysctl("kernel..x", -EINVAL, NULL);
	check_sysctl(".kernel", -EINVAL, NULL);
	check_sysctl("/kernel", -EINVAL, NULL);
	check_sysctl("plain", -EINVAL, NULL);
	check_sysctl("", -EINVAL, NULL);
	check_sysctl("a.0123456789012345678901234567890123456789012345678901234567890123456789", -EINVAL,
		     NULL);
}

/* ---- device program ---------------------------------------------------------------------------- */

typedef Supermachine__Agent__V1__DeviceRule rule;

/* The few instructions that the program is made of. */
static int run_bpf(const struct bpf_insn *insns, int n, uint32_t type, uint32_t access, uint32_t major,
		   uint32_t minor)
{
	const struct bpf_cgroup_dev_ctx ctx = { access << 16 | type, major, minor };
	uint64_t reg[11] = { 0 };

	for (int pc = 0; pc >= 0 && pc < n; pc++) {
		const struct bpf_insn *i = &insns[pc];

		switch (i->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			assert_int_equal(i->src_reg, 1);
			memcpy(&reg[i->dst_reg], (const char *)&ctx + i->off, 4);
			break;
		case BPF_ALU | BPF_MOV | BPF_X:
			reg[i->dst_reg] = (uint32_t)reg[i->src_reg];
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			reg[i->dst_reg] = (uint32_t)reg[i->dst_reg] & (uint32_t)i->imm;
			break;
		case BPF_ALU | BPF_RSH | BPF_K:
			reg[i->dst_reg] = (uint32_t)reg[i->dst_reg] >> i->imm;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			reg[i->dst_reg] = (uint64_t)(int64_t)i->imm;
			break;
		case BPF_JMP | BPF_JNE | BPF_K:
			pc += reg[i->dst_reg] != (uint64_t)(int64_t)i->imm ? i->off : 0;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += reg[i->dst_reg] == (uint64_t)(int64_t)i->imm ? i->off : 0;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)reg[0];
		default:
			fail_msg("instruction 0x%x", i->code);
		}
	}
	fail_msg("ran off the program");
	return -1;
}

enum { M = BPF_DEVCG_ACC_MKNOD, R = BPF_DEVCG_ACC_READ, W = BPF_DEVCG_ACC_WRITE };
enum { CHR = BPF_DEVCG_DEV_CHAR, BLK = BPF_DEVCG_DEV_BLOCK };

static rule make_rule(bool allow, uint32_t type, int64_t major, int64_t minor, uint32_t access)
{
	rule r = SUPERMACHINE__AGENT__V1__DEVICE_RULE__INIT;

	r.allow = allow;
	r.type = type;
	r.major = major;
	r.minor = minor;
	r.access = access;
	return r;
}

static void test_device_program(void **state)
{
	rule all[] = {
		make_rule(false, 0, -1, -1, R | W | M), make_rule(true, S_IFCHR, -1, -1, M),
		make_rule(true, S_IFCHR, 1, 3, R | W),	make_rule(true, S_IFCHR, 136, -1, R),
		make_rule(true, S_IFCHR, 136, -1, W),	make_rule(false, S_IFCHR, 136, 5, W),
		make_rule(true, 0, -1, 99, R),
	};
	rule *rules[SM_ARRAY_SIZE(all)];
	struct bpf_insn insns[SM_DEVBPF_INSNS_MAX];
	int n;

	(void)state;
	for (size_t i = 0; i < SM_ARRAY_SIZE(all); i++)
		rules[i] = &all[i];
	n = sm_devbpf_generate(rules, SM_ARRAY_SIZE(all), insns);
	assert_true(n > 0);
	assert_int_equal(run_bpf(insns, n, CHR, R | W, 1, 3), 1);
	assert_int_equal(run_bpf(insns, n, CHR, R | W | M, 1, 3), 1);
	assert_int_equal(run_bpf(insns, n, BLK, R, 1, 3), 0);
	assert_int_equal(run_bpf(insns, n, CHR, R, 1, 1), 0);
	assert_int_equal(run_bpf(insns, n, CHR, M, 1, 1), 1);
	assert_int_equal(run_bpf(insns, n, BLK, M, 8, 0), 0);
	/* two rules add up; the last that names an access decides it */
	assert_int_equal(run_bpf(insns, n, CHR, R | W, 136, 4), 1);
	assert_int_equal(run_bpf(insns, n, CHR, R, 136, 5), 1);
	assert_int_equal(run_bpf(insns, n, CHR, R | W, 136, 5), 0);
	assert_int_equal(run_bpf(insns, n, BLK, R, 7, 99), 1);
	assert_int_equal(run_bpf(insns, n, BLK, R | W, 7, 99), 0);
}

static void test_device_program_limits(void **state)
{
	rule one = make_rule(true, 0, -1, -1, R | W | M);
	rule bad[] = {
		make_rule(true, S_IFIFO, 1, 1, R),
		make_rule(true, 0, -2, 1, R),
		make_rule(true, 0, 1, INT64_C(1) << 40, R),
		make_rule(true, 0, 1, 1, 8),
	};
	rule *rules[SM_DEVBPF_RULES_MAX + 1];
	struct bpf_insn insns[SM_DEVBPF_INSNS_MAX];
	int n = sm_devbpf_generate(NULL, 0, insns);

	(void)state;
	assert_int_equal(run_bpf(insns, n, CHR, R, 1, 3), 0);
	for (size_t i = 0; i < SM_ARRAY_SIZE(rules); i++)
		rules[i] = &one;
	n = sm_devbpf_generate(rules, SM_DEVBPF_RULES_MAX, insns);
	assert_in_range(n, 1, SM_DEVBPF_INSNS_MAX);
	assert_int_equal(run_bpf(insns, n, CHR, R | W, 4, 4), 1);
	assert_int_equal(sm_devbpf_generate(rules, SM_DEVBPF_RULES_MAX + 1, insns), -EINVAL);
	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		rules[0] = &bad[i];
		assert_int_equal(sm_devbpf_generate(rules, 1, insns), -EINVAL);
	}
}

/* ---- relays ------------------------------------------------------------------------------------ */

/* A relay between a pipe and a socket, with the other end of each. */
struct relay_test {
	struct sm_loop *loop;
	struct sm_relay *relay;
	int near, far;
	int done;	/* -1: not yet, else `broken` */
	bool marked;
};

static void on_done(void *arg, bool broken)
{
	struct relay_test *t = arg;

	t->done = broken;
	sm_relay_free(t->relay);
	t->relay = NULL;
	sm_loop_stop(t->loop);
}

static void on_mark(void *arg)
{
	struct relay_test *t = arg;

	t->marked = true;
	sm_loop_stop(t->loop);
}

static int make_relay(void **state)
{
	struct relay_test *t = calloc(1, sizeof(*t));
	int p[2], s[2];

	t->loop = sm_loop_new();
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	t->near = p[1];
	t->far = s[1];
	t->done = -1;
	sm_set_nonblock(t->near);
	assert_int_equal(sm_relay_new(t->loop, p[0], s[0], on_done, t, &t->relay), 0);
	*state = t;
	return 0;
}

static int drop_relay(void **state)
{
	struct relay_test *t = *state;

	sm_relay_free(t->relay);
	sm_close(&t->near);
	sm_close(&t->far);
	sm_loop_free(t->loop);
	free(t);
	return 0;
}

static void test_relay_hands_over_before_the_end(void **state)
{
	struct relay_test *t = *state;
	char text[16];

	assert_int_equal(write(t->near, "hello", 5), 5);
	sm_close(&t->near);
	assert_int_equal(sm_loop_run(t->loop), 0);
	assert_int_equal(t->done, 0);
	assert_int_equal(read(t->far, text, sizeof(text)), 5);
	assert_int_equal(read(t->far, text, sizeof(text)), 0);
}

static void test_relay_tells_the_writer_that_the_reader_is_gone(void **state)
{
	struct relay_test *t = *state;

	sm_close(&t->far);
	assert_int_equal(sm_loop_run(t->loop), 0);
	assert_int_equal(t->done, 1);
	assert_int_equal(write(t->near, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
}

static void test_relay_goes_on_when_the_reader_only_stops_sending(void **state)
{
	struct relay_test *t = *state;
	char text[16];

	shutdown(t->far, SHUT_WR);
	assert_int_equal(write(t->near, "on", 2), 2);
	sm_relay_mark(t->relay, on_mark, t);
	while (!t->marked)
		assert_int_equal(sm_loop_run(t->loop), 0);
	assert_int_equal(t->done, -1);
	assert_int_equal(read(t->far, text, sizeof(text)), 2);
}

/* Nobody reads at the far end: the writer comes to a stop. How much it has written */
static size_t fill(struct relay_test *t)
{
	char chunk[4096] = { 0 };
	size_t total = 0;

	for (int idle = 0; idle < 3;) {
		ssize_t n = write(t->near, chunk, sizeof(chunk));

		idle = n > 0 ? 0 : idle + 1;
		total += n > 0 ? (size_t)n : 0;
		sm_loop_post(t->loop, on_mark, t);
		assert_int_equal(sm_loop_run(t->loop), 0);
	}
	t->marked = false;
	return total;
}

static void test_relay_is_bounded(void **state)
{
	struct relay_test *t = *state;
	char chunk[4096];
	size_t total = fill(t), got = 0;
	ssize_t n;

	assert_in_range(total, 1, 1 << 20);
	/* and nothing of it is lost */
	sm_close(&t->near);
	sm_set_nonblock(t->far);
	while (t->done < 0 || got < total) {
		n = read(t->far, chunk, sizeof(chunk));
		got += n > 0 ? (size_t)n : 0;
		if (n < 0 && t->done < 0) {
			sm_loop_post(t->loop, on_mark, t);
			assert_int_equal(sm_loop_run(t->loop), 0);
		}
	}
	assert_int_equal(got, total);
	assert_int_equal(t->done, 0);
}

static void test_relay_mark_waits_for_the_reader(void **state)
{
	struct relay_test *t = *state;
	char chunk[4096];
	size_t total = fill(t);
	ssize_t n;

	sm_relay_mark(t->relay, on_mark, t);
	assert_false(t->marked);
	sm_set_nonblock(t->far);
	while (!t->marked) {
		while ((n = read(t->far, chunk, sizeof(chunk))) > 0)
			total -= (size_t)n;
		assert_int_equal(sm_loop_run(t->loop), 0);
	}
	while ((n = read(t->far, chunk, sizeof(chunk))) > 0)
		total -= (size_t)n;
	assert_int_equal(total, 0);
}

#define IN_TREE(fn) cmocka_unit_test_setup_teardown(fn, make_tree, drop_tree)
#define RELAY(fn) cmocka_unit_test_setup_teardown(fn, make_relay, drop_relay)

/* ---- resources --------------------------------------------------------------------------------- */

static void put_cgroup_file(int dirfd, const char *name, const char *text)
{
	assert_int_equal(sm_write_file_at(dirfd, name, text, strlen(text), 0600, 0), 0);
}

static int make_cgroup_dir(char *dir)
{
	int fd;

	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void test_stats(void **state)
{
	char dir[] = "/tmp/sm-stats-XXXXXX";
	sm_auto_close int fd = make_cgroup_dir(dir);
	Supermachine__Agent__V1__StatsResponse m;

	(void)state;
	put_cgroup_file(fd, "cpu.stat", "usage_usec 3\nuser_usec 1\nsystem_usec 2\nother 9\n");
	put_cgroup_file(fd, "memory.current", "4096\n");
	put_cgroup_file(fd, "memory.max", "max\n");
	put_cgroup_file(fd, "memory.events", "low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\n");
	put_cgroup_file(fd, "memory.stat", "anon 11\nfile 12\nnonsense\n");
	put_cgroup_file(fd, "pids.max", "77\n");
	assert_int_equal(sm_stats_read(fd, &m), 0);
	assert_int_equal(m.cpu_usage_ns, 3000);
	assert_int_equal(m.cpu_user_ns, 1000);
	assert_int_equal(m.cpu_system_ns, 2000);
	assert_int_equal(m.memory_usage, 4096);
	assert_true(m.memory_limit == UINT64_MAX);
	assert_int_equal(m.memory_peak, 0);
	assert_int_equal(m.memory_failures, 5);
	assert_int_equal(m.oom_kills, 1);
	assert_int_equal(m.n_memory_stat, 2);
	assert_string_equal(m.memory_stat[1]->name, "file");
	assert_int_equal(m.memory_stat[1]->value, 12);
	assert_int_equal(m.pids_current, 0);
	assert_int_equal(m.pids_limit, 77);
	sm_stats_free(&m);
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, dir), 0);
}

/* Both files, one behind the other. */
static void check_two(int fd, const char *expected)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(64);

	assert_int_equal(sm_read_file_at(fd, "memory.max", &text), 0);
	assert_int_equal(sm_read_file_at(fd, "pids.max", &text), 0);
	assert_string_equal((char *)text.data, expected);
}

static void test_update_is_all_or_nothing(void **state)
{
	static char keys[][16] = { "memory.max", "pids.max", "memory.nonsense" };
	static char values[][16] = { "333", "444", "1" };
	Supermachine__Agent__V1__KeyValue kv[3], *list[3];
	char dir[] = "/tmp/sm-update-XXXXXX", escape[] = "../escape";
	sm_auto_close int fd = make_cgroup_dir(dir);
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	(void)state;
	put_cgroup_file(fd, keys[0], "111");
	put_cgroup_file(fd, keys[1], "222");
	for (size_t i = 0; i < 3; i++) {
		supermachine__agent__v1__key_value__init(&kv[i]);
		kv[i].key = keys[i];
		kv[i].value = values[i];
		list[i] = &kv[i];
	}
	assert_int_equal(sm_cgroup_update(fd, list, 3, &err), -ENOENT);
	assert_string_equal(sm_err_text(&err), "write \"1\" to cgroup file memory.nonsense: no "
					       "such file or directory");
	check_two(fd, "111222");
	kv[2].key = escape;
	assert_int_equal(sm_cgroup_update(fd, list, 3, &err), -EINVAL);
	check_two(fd, "111222");
	assert_int_equal(sm_cgroup_update(fd, list, 2, &err), 0);
	check_two(fd, "333444");
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passwd),
		cmocka_unit_test(test_passwd_with_zero_bytes),
		cmocka_unit_test(test_env),
		IN_TREE(test_lookup),
		IN_TREE(test_make_path),
		IN_TREE(test_path_through_links),
		cmocka_unit_test(test_magic_links_are_refused),
		IN_TREE(test_path_lengths),
		cmocka_unit_test(test_sysctl_path),
		cmocka_unit_test(test_device_program),
		cmocka_unit_test(test_device_program_limits),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_update_is_all_or_nothing),
		RELAY(test_relay_hands_over_before_the_end),
		RELAY(test_relay_tells_the_writer_that_the_reader_is_gone),
		RELAY(test_relay_goes_on_when_the_reader_only_stops_sending),
		RELAY(test_relay_is_bounded),
		RELAY(test_relay_mark_waits_for_the_reader),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
