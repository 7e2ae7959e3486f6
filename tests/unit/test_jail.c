/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"
#include "hv/jail.h"
#include "runtime/export.h"

/*
 * The walls, tried from inside: a child goes to jail as sm-vmm does, as a thread of one kind, and
 * then does what it must not.
 */
#define KILLED     1000 /* expected of a try: the record, and exit status 159 */
#define RECORD_MAX 1024

struct cell {       /* what a try has at hand */
	int rw, ro; /* exports */
	char *page; /* readable and writable memory */
};

typedef long try_fn(const struct cell *c);

struct attempt {
	const char *call; /* as the record names it */
	try_fn *fn;
	int expect; /* KILLED, an errno, or 0: allowed */
};

/* ---- tries: a system call's result ---- */

static long try_execve(const struct cell *c)
{
	char *const argv[] = { (char *)"sh", NULL };

	return execve("/bin/sh", argv, NULL);
}

static long try_passwd(const struct cell *c)
{
	return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static long try_above(const struct cell *c)
{
	return syscall(SYS_openat, c->rw, "../../etc/passwd", O_RDONLY);
}

static long try_beside(const struct cell *c)
{
	return syscall(SYS_openat, c->rw, "../outside", O_RDONLY);
}

static long try_inside(const struct cell *c)
{
	return syscall(SYS_openat, c->rw, "inside", O_RDONLY);
}

static long try_symlink(const struct cell *c)
{
	return syscall(SYS_openat, c->rw, "link", O_RDONLY);
}

static long try_readonly(const struct cell *c)
{
	return syscall(SYS_openat, c->ro, "inside", O_WRONLY);
}

static long try_device(const struct cell *c)
{
	return syscall(SYS_openat, c->rw, "device", O_RDONLY);
}

/* The root that another process has: ours is the first of its namespace. */
static long try_proc_root(const struct cell *c)
{
	return syscall(SYS_openat, AT_FDCWD, "/proc/1/root/etc/passwd", O_RDONLY);
}

static long try_sysctl(const struct cell *c)
{
	return syscall(SYS_openat, AT_FDCWD, "/proc/sys/kernel/core_pattern", O_RDONLY);
}

static long try_create(const struct cell *c)
{
	return syscall(SYS_openat, AT_FDCWD, "/file", O_WRONLY | O_CREAT, 0600);
}

static long try_handle(const struct cell *c)
{
	return syscall(SYS_open_by_handle_at, c->rw, c->page, O_RDONLY);
}

static long try_socket(const struct cell *c)
{
	return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static long try_other_socket(const struct cell *c)
{
	return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
}

static long try_unix_socket(const struct cell *c)
{
	return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static long try_mapped_socket(const struct cell *c)
{
	return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static long try_ptrace(const struct cell *c)
{
	return syscall(SYS_ptrace, 16, 1, 0, 0);
}

static long try_mmap_exec(const struct cell *c)
{
	return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
}

static long try_mmap(const struct cell *c)
{
	return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
}

static long try_mprotect_exec(const struct cell *c)
{
	return syscall(SYS_mprotect, c->page, 4096, PROT_READ | PROT_EXEC);
}

static long try_setns(const struct cell *c)
{
	return syscall(SYS_setns, c->rw, 0);
}

static long try_unshare(const struct cell *c)
{
	return syscall(SYS_unshare, CLONE_NEWUSER);
}

static long try_mount(const struct cell *c)
{
	return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

static long try_kill(const struct cell *c)
{
	return syscall(SYS_kill, 1, SIGTERM);
}

static long try_fork(const struct cell *c)
{
	return syscall(SYS_fork);
}

static long try_clone(const struct cell *c)
{
	return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static long try_clone3(const struct cell *c)
{
	return syscall(SYS_clone3, NULL, 0);
}

static long try_module(const struct cell *c)
{
	return syscall(SYS_init_module, c->page, 4096, "");
}

static long try_bpf(const struct cell *c)
{
	return syscall(SYS_bpf, 0, c->page, 0);
}

static long try_prctl(const struct cell *c)
{
	return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* What the loop may ask of a terminal does not include typing into it. */
static long try_tiocsti(const struct cell *c)
{
	return syscall(SYS_ioctl, 0, TIOCSTI, "x");
}

static long try_winsize(const struct cell *c)
{
	return syscall(SYS_ioctl, 0, TIOCGWINSZ, c->page);
}

static long try_write(const struct cell *c)
{
	return syscall(SYS_write, 1, "", 0);
}

static const struct attempt loop_tries[] = {
	{ "execve", try_execve, KILLED },
	{ "openat", try_passwd, ENOENT },
	{ "openat", try_above, ENOENT },
	{ "openat", try_beside, ENOENT },
	{ "openat", try_proc_root, ENOENT },
	{ "openat", try_sysctl, ENOENT },
	{ "openat", try_create, EROFS },
	{ "socket", try_socket, 0 }, /* the guest's */
	{ "socket", try_other_socket, KILLED },
	{ "socket", try_unix_socket, KILLED },
	{ "socket", try_mapped_socket, 0 }, /* where a port is one */
	{ "ptrace", try_ptrace, KILLED },
	{ "mmap", try_mmap_exec, KILLED },
	{ "mmap", try_mmap, 0 },
	{ "mprotect", try_mprotect_exec, KILLED },
	{ "setns", try_setns, KILLED },
	{ "unshare", try_unshare, KILLED },
	{ "mount", try_mount, KILLED },
	{ "kill", try_kill, KILLED },
	{ "fork", try_fork, KILLED },
	{ "clone", try_clone, KILLED },
	{ "clone3", try_clone3, KILLED },
	{ "init_module", try_module, KILLED },
	{ "bpf", try_bpf, KILLED },
	{ "prctl", try_prctl, KILLED },
	{ "ioctl", try_tiocsti, KILLED },
	{ "ioctl", try_winsize, ENOTTY },
	{ "open_by_handle_at", try_handle, KILLED },
	{ "write", try_write, 0 },
};

static const struct attempt vcpu_tries[] = {
	{ "execve", try_execve, KILLED },  { "openat", try_passwd, KILLED },
	{ "openat", try_inside, KILLED },  { "socket", try_socket, KILLED },
	{ "mmap", try_mmap_exec, KILLED }, { "mprotect", try_mprotect_exec, KILLED },
	{ "clone", try_clone, KILLED },    { "kill", try_kill, KILLED },
	{ "ptrace", try_ptrace, KILLED },  { "write", try_write, 0 },
};

static const struct attempt fs_tries[] = {
	{ "execve", try_execve, KILLED },
	{ "openat", try_inside, 0 },
	{ "openat", try_passwd, ENOENT },
	{ "openat", try_above, ENOENT },
	{ "openat", try_beside, ENOENT },
	{ "openat", try_symlink, ELOOP },
	{ "openat", try_readonly, EROFS },
	{ "openat", try_device, EACCES },
	{ "openat", try_proc_root, ENOENT },
	{ "openat", try_sysctl, ENOENT },
	{ "openat", try_create, EROFS },
	{ "socket", try_socket, KILLED },
	{ "ptrace", try_ptrace, KILLED },
	{ "mmap", try_mmap_exec, KILLED },
	{ "mprotect", try_mprotect_exec, KILLED },
	{ "setns", try_setns, KILLED },
	{ "mount", try_mount, KILLED },
	{ "kill", try_kill, KILLED },
	{ "clone", try_clone, KILLED },
	{ "init_module", try_module, KILLED },
	{ "ioctl", try_winsize, KILLED },
	{ "open_by_handle_at", try_handle, KILLED },
	{ "write", try_write, 0 },
};

/* ---- the cell ---- */

/* DIR/outside, and the export DIR/export with a file, a symlink and a device node. */
static char dir[] = "/dev/shm/sm-test-jail.XXXXXX";

static int make_host(void **state)
{
	sm_auto_close int top = -1, fd = -1, out = -1;

	if (!mkdtemp(dir))
		return -1;
	top = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	out = openat(top, "outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (top < 0 || out < 0 || mkdirat(top, "export", 0755) < 0)
		return -1;
	fd = openat(top, "export/inside", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || symlinkat("/etc/passwd", top, "export/link") < 0)
		return -1;
	return geteuid() == 0 && mknodat(top, "export/device", S_IFCHR | 0666, makedev(1, 3)) < 0
		       ? -1
		       : 0;
}

static int remove_host(void **state)
{
	return sm_remove_tree_at(AT_FDCWD, dir);
}

static int open_export(bool readonly)
{
	char path[sizeof(dir) + 8];
	const struct sm_guest_export e = { .name = "e", .path = path, .readonly = readonly };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int fd;

	snprintf(path, sizeof(path), "%s/export", dir);
	return sm_export_open(&e, 1, NULL, &fd, &err) < 0 ? -1 : fd;
}

static void go_to_jail(struct cell *c, uid_t uid)
{
	const struct sm_jail_config config = { .id = "unit", .binds_privileged = true };
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	c->rw = open_export(false);
	c->ro = open_export(true);
	c->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->rw < 0 || c->ro < 0 || c->page == MAP_FAILED || setresuid(uid, uid, uid) < 0)
		_exit(101);
	if (sm_jail_enter(&config, &err) < 0) {
		dprintf(2, "%s\n", sm_err_text(&err));
		_exit(102);
	}
}

/* The first process of a pid namespace, as sm-vmm. */
static pid_t fork_namespace(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* Runs the try; *text is what the child wrote to its standard error. Its wait status. */
static int run_try(enum sm_jail_thread kind, try_fn *fn, char *text)
{
	int p[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork_namespace();
	if (pid == 0) {
		struct cell c;
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(p[1], 2);
		go_to_jail(&c, 0);
		if (kind == SM_JAIL_LOOP && fn != try_mapped_socket && sm_jail_forbid_unix() < 0)
			_exit(103);
		if (sm_jail_thread(kind, false) < 0)
			_exit(103);
		_exit(fn(&c) < 0 ? errno : 0);
	}
	assert_true(pid > 0);
	close(p[1]);
	while ((n = read(p[0], text + len, RECORD_MAX - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(p[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void check_try(enum sm_jail_thread kind, const char *kind_name, const struct attempt *a)
{
	char text[RECORD_MAX], want[128], end[64];
	int status = run_try(kind, a->fn, text);

	assert_true(WIFEXITED(status));
	if (a->expect != KILLED) {
		if (WEXITSTATUS(status) != a->expect)
			print_error("%s: %s: %s", kind_name, a->call, text);
		assert_int_equal(WEXITSTATUS(status), a->expect);
		return;
	}
	if (WEXITSTATUS(status) != 128 + SIGSYS)
		print_error("%s: %s: status %d: %s", kind_name, a->call, status, text);
	assert_int_equal(WEXITSTATUS(status), 128 + SIGSYS);
	snprintf(want, sizeof(want), "sm-vmm: unit: %s thread: forbidden system call ", kind_name);
	snprintf(end, sizeof(end), " (%s): ending the VM\"\n", a->call);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(text, end));
}

/* Whether the walls can be tried here; why not, for who reads the log. */
static bool can_try(void)
{
#ifdef SM_SANITIZE
	fprintf(stderr, "# the sizes of the filters alone: a build with sanitizers has none of them\n");
	return false;
#endif
	if (geteuid() == 0)
		return true;
	fprintf(stderr, "# the sizes of the filters alone: the walls need root\n");
	return false;
}

static void test_loop(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(loop_tries); i++)
		check_try(SM_JAIL_LOOP, "loop", &loop_tries[i]);
}

static void test_vcpu(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(vcpu_tries); i++)
		check_try(SM_JAIL_VCPU, "vcpu", &vcpu_tries[i]);
}

static void test_fs(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(fs_tries); i++)
		check_try(SM_JAIL_FS, "fs", &fs_tries[i]);
}

/* The other ways to number system calls end the process without a word. */
static long try_x32(const struct cell *c)
{
	return syscall(0x40000000 | SYS_write, 1, "", 0);
}

static long try_i386(const struct cell *c)
{
	long r = 20; /* getpid */

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory");
	return r;
}

static void test_other_tables(void **state)
{
	try_fn *const tries[] = { try_x32, try_i386 };
	char text[RECORD_MAX];

	for (size_t i = 0; i < SM_ARRAY_SIZE(tries); i++) {
		int status = run_try(SM_JAIL_LOOP, tries[i], text);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

/* What /proc/self/status says, in a child that goes on to the end of its life. */
static void expect_status(const char *text, const char *line)
{
	if (!strstr(text, line))
		print_error("no \"%s\" in:\n%s", line, text);
	assert_non_null(strstr(text, line));
}

static void run_status(enum sm_jail_thread kind, bool binds, uid_t uid, char *text)
{
	int p[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork_namespace();
	if (pid == 0) {
		char buf[4096];
		struct cell c;
		int fd;

		dup2(open("/dev/null", O_RDWR), 2);
		go_to_jail(&c, uid);
		fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || sm_jail_thread(kind, binds) < 0)
			_exit(103);
		while ((n = pread(fd, buf, sizeof(buf), (off_t)len)) > 0 &&
		       write(p[1], buf, (size_t)n) == n)
			len += (size_t)n;
		_exit(n < 0 ? errno : 0);
	}
	assert_true(pid > 0);
	close(p[1]);
	while ((n = read(p[0], text + len, 8191 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(p[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_capabilities(void **state)
{
	char text[8192];

	run_status(SM_JAIL_LOOP, false, 0, text);
	expect_status(text, "CapEff:\t0000000000000000");
	expect_status(text, "CapPrm:\t0000000000000000");
	expect_status(text, "CapBnd:\t0000000000000000");
	expect_status(text, "CapAmb:\t0000000000000000");
	expect_status(text, "NoNewPrivs:\t1");
	expect_status(text, "Seccomp:\t2");
	run_status(SM_JAIL_LOOP, true, 0, text);
	expect_status(text, "CapEff:\t0000000000000400"); /* CAP_NET_BIND_SERVICE */
	expect_status(text, "CapPrm:\t0000000000000400");
}

/* Who has no privileges stays where he is, behind the filter all the same. */
static void test_unprivileged(void **state)
{
	char text[8192];

	run_status(SM_JAIL_LOOP, false, 65534, text);
	expect_status(text, "CapEff:\t0000000000000000");
	expect_status(text, "NoNewPrivs:\t1");
	expect_status(text, "Seccomp:\t2");
}

/* Lists grow by themselves, since they are made of annotations: not beyond what was promised. */
static void test_sizes(void **state)
{
	static const unsigned int max[] = {
		[SM_JAIL_LOOP] = 45, [SM_JAIL_VCPU] = 20, [SM_JAIL_FS] = 45
	};
	unsigned int n[SM_JAIL_THREAD_NUM] = { 0 };
	sm_auto_free char *text = NULL;
	char last[64] = "", *line, *save = NULL;
	int kind = -1;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	sm_jail_print(f);
	fclose(f);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t name = strcspn(line, "(");

		if (*line != ' ') {
			kind++;
			last[0] = '\0';
			continue;
		}
		assert_true(strncmp(last, line, name) < 0 || last[name] == '\0');
		if (strncmp(last, line, name) != 0 || last[name])
			n[kind]++;
		snprintf(last, sizeof(last), "%.*s", (int)name, line);
	}
	assert_int_equal(kind, SM_JAIL_THREAD_NUM - 1);
	for (int i = 0; i < SM_JAIL_THREAD_NUM; i++)
		assert_in_range(n[i], 1, max[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop),         cmocka_unit_test(test_vcpu),
		cmocka_unit_test(test_fs),           cmocka_unit_test(test_other_tables),
		cmocka_unit_test(test_capabilities), cmocka_unit_test(test_unprivileged),
		cmocka_unit_test(test_sizes),
	};
	const struct CMUnitTest anywhere[] = { cmocka_unit_test(test_sizes) };

	return can_try() ? cmocka_run_group_tests(tests, make_host, remove_host) :
			   cmocka_run_group_tests(anywhere, NULL, NULL);
}
