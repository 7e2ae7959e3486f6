/* SPDX-License-Identifier: Apache-2.0 */
/* src/base/io: whole transfers, whole files, trees, descriptors over sockets, processes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"

/* A fresh directory, the working directory of each test. */
struct place {
	char path[64];
	int fd, old;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	strcpy(p->path, "/tmp/sm-test-io-XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->old = open(".", O_PATH | O_CLOEXEC);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->old >= 0 && p->fd >= 0);
	assert_int_equal(fchdir(p->fd), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	assert_int_equal(fchdir(p->old), 0);
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, p->path), 0);
	close(p->fd);
	close(p->old);
	free(p);
	return 0;
}

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void write_file(const char *path, const char *text)
{
	assert_int_equal(sm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600, 0), 0);
}

static void assert_file(const char *path, const char *text)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(4096);

	assert_int_equal(sm_read_file_at(AT_FDCWD, path, &b), 0);
	assert_string_equal(b.data, text);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* ---- transfers ---- */

static void *write_slowly(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 10; i++) {
		assert_int_equal(sm_write_full(fd, &"0123456789"[i], 1), 0);
		sched_yield();
	}
	close(fd);
	return NULL;
}

static void test_read_full(void **state)
{
	pthread_t thread;
	char buf[11] = "";
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&thread, NULL, write_slowly, &p[1]), 0);
	assert_int_equal(sm_read_full(p[0], buf, 10), 0);
	assert_string_equal(buf, "0123456789");
	assert_int_equal(sm_read_full(p[0], buf, 1), -ENODATA);
	assert_int_equal(sm_read_full(p[0], buf, 0), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(p[0]);
	assert_int_equal(sm_read_full(-1, buf, 1), -EBADF);
	assert_int_equal(sm_write_full(-1, buf, 1), -EBADF);
}

/* ---- files ---- */

static void test_read_file_bounds(void **state)
{
	struct sm_buf b = SM_BUF_INIT(5);

	write_file("five", "12345");
	write_file("six", "123456");
	write_file("none", "");
	assert_int_equal(sm_read_file_at(AT_FDCWD, "five", &b), 0);
	assert_string_equal(b.data, "12345");
	/* an error leaves what was there before */
	assert_int_equal(sm_read_file_at(AT_FDCWD, "five", &b), -EFBIG);
	assert_string_equal(b.data, "12345");
	sm_buf_free(&b);
	assert_int_equal(sm_read_file_at(AT_FDCWD, "six", &b), -EFBIG);
	assert_int_equal(b.len, 0);
	assert_int_equal(sm_read_file_at(AT_FDCWD, "none", &b), 0);
	assert_string_equal(b.data, "");
	assert_int_equal(sm_read_file_at(AT_FDCWD, "missing", &b), -ENOENT);
	assert_int_equal(sm_read_file_at(AT_FDCWD, ".", &b), -EISDIR);
	sm_buf_free(&b);
}

static void test_read_file_large(void **state)
{
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	sm_auto_free char *data = malloc(3000001);

	assert_non_null(data);
	for (int i = 0; i < 3000000; i++)
		data[i] = (char)('a' + i % 26);
	data[3000000] = 0;
	write_file("large", data);
	assert_int_equal(sm_read_file_at(AT_FDCWD, "large", &b), 0);
	assert_int_equal(b.len, 3000000);
	assert_memory_equal(b.data, data, 3000001);
	/* a file that does not know its size */
	b.len = 0;
	assert_int_equal(sm_read_file_at(AT_FDCWD, "/proc/self/status", &b), 0);
	assert_int_equal(strncmp((char *)b.data, "Name:", 5), 0);
}

static void test_write_file(void **state)
{
	struct place *p = *state;
	struct stat st;

	umask(077);
	assert_int_equal(sm_write_file_at(p->fd, "f", "one", 3, 0644, 1), 0);
	umask(022);
	assert_file("f", "one");
	assert_int_equal(stat("f", &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(sm_write_file_at(p->fd, "f", "2", 1, 0600, 0), 0);
	assert_file("f", "2");
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(sm_write_file_at(p->fd, "d/g", "", 0, 0600, 0), 0);
	assert_file("d/g", "");
	assert_int_equal(count_entries("."), 2);
}

/* Nothing is left of what did not work, and the old file stays. */
static void test_write_file_errors(void **state)
{
	assert_int_equal(mkdir("d", 0755), 0);
	assert_int_equal(mkdir("d/in", 0755), 0);
	assert_int_equal(sm_write_file_at(AT_FDCWD, "d", "x", 1, 0600, 0), -EISDIR);
	assert_int_equal(sm_write_file_at(AT_FDCWD, "no/f", "x", 1, 0600, 0), -ENOENT);
	assert_int_equal(sm_write_file_at(AT_FDCWD, "d/", "x", 1, 0600, 0), -ENOTDIR);
	assert_int_equal(count_entries("."), 1);
	assert_int_equal(count_entries("d"), 1);
	/* a symlink is replaced, not followed */
	write_file("target", "old");
	assert_int_equal(symlink("target", "link"), 0);
	write_file("link", "new");
	assert_file("target", "old");
	assert_file("link", "new");
}

static void test_write_existing(void **state)
{
	assert_int_equal(sm_write_existing_at(AT_FDCWD, "f", "x"), -ENOENT);
	assert_false(exists("f"));
	write_file("f", "");
	assert_int_equal(sm_write_existing_at(AT_FDCWD, "f", "+memory"), 0);
	assert_file("f", "+memory");
	assert_int_equal(sm_write_existing_at(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
}

static void test_mkdir_p(void **state)
{
	struct place *p = *state;
	sm_auto_free char *absolute = sm_strf("%s//x/y/", p->path);

	assert_int_equal(sm_mkdir_p("a/b//c/", 0700), 0);
	assert_true(exists("a/b/c"));
	assert_int_equal(sm_mkdir_p("a/b/c", 0700), 0);
	assert_int_equal(sm_mkdir_p("a/./b/../d", 0700), 0);
	assert_true(exists("a/d"));
	assert_int_equal(sm_mkdir_p(absolute, 0700), 0);
	assert_true(exists("x/y"));
	assert_int_equal(sm_mkdir_p("/", 0700), 0);
	assert_int_equal(sm_mkdir_p("", 0700), -ENOENT);
	write_file("file", "");
	assert_int_equal(sm_mkdir_p("file", 0700), -ENOTDIR);
	assert_int_equal(sm_mkdir_p("file/a", 0700), -ENOTDIR);
	assert_int_equal(sm_mkdir_p("/proc/none", 0700), -ENOENT);
}

/* ---- trees ---- */

static void test_remove_tree(void **state)
{
	struct place *p = *state;

	assert_int_equal(sm_mkdir_p("t/a/b/c", 0700), 0);
	assert_int_equal(sm_mkdir_p("t/d", 0700), 0);
	write_file("t/f", "");
	write_file("t/a/f", "");
	write_file("t/a/b/c/f", "");
	assert_int_equal(mkfifo("t/a/fifo", 0600), 0);
	write_file("outside", "kept");
	assert_int_equal(sm_mkdir_p("dir", 0700), 0);
	write_file("dir/kept", "kept");
	assert_int_equal(symlink("../outside", "t/link"), 0);
	assert_int_equal(symlink("../../dir", "t/a/dirlink"), 0);
	assert_int_equal(sm_remove_tree_at(p->fd, "t"), 0);
	assert_false(exists("t"));
	assert_file("outside", "kept");
	assert_file("dir/kept", "kept");
	assert_int_equal(sm_remove_tree_at(p->fd, "t"), 0);
	assert_int_equal(sm_remove_tree_at(p->fd, "no/t"), 0);
}

static void test_remove_tree_that_is_none(void **state)
{
	struct place *p = *state;

	write_file("f", "");
	assert_int_equal(sm_mkdir_p("dir/kept", 0700), 0);
	assert_int_equal(symlink("dir", "link"), 0);
	assert_int_equal(sm_remove_tree_at(p->fd, "f"), 0);
	assert_int_equal(sm_remove_tree_at(p->fd, "link"), 0);
	assert_false(exists("f"));
	assert_false(exists("link"));
	assert_true(exists("dir/kept"));
	/* a symlink on the way */
	assert_int_equal(symlink("dir", "link"), 0);
	assert_int_equal(sm_remove_tree_at(p->fd, "link/kept"), -ENOTDIR);
	assert_true(exists("dir/kept"));
	assert_int_equal(sm_remove_tree_at(p->fd, "dir/kept"), 0);
	assert_false(exists("dir/kept"));
}

static void test_remove_tree_refuses(void **state)
{
	static const char *const paths[] = { "",       ".",    "..",   "/",           "dir/.",
					     "dir/..", "../x", "dir/", "dir/../dir/x" };
	struct place *p = *state;

	assert_int_equal(sm_mkdir_p("dir/kept", 0700), 0);
	for (size_t i = 0; i < SM_ARRAY_SIZE(paths); i++)
		assert_int_equal(sm_remove_tree_at(p->fd, paths[i]), -EINVAL);
	assert_true(exists("dir/kept"));
}

/* Deeper than there are descriptors, and than PATH_MAX. */
static void test_remove_tree_deep(void **state)
{
	struct place *p = *state;
	int fd = dup(p->fd);

	for (int i = 0; i < 1500; i++) {
		int next;

		assert_int_equal(mkdirat(fd, "deep", 0700), 0);
		next = openat(fd, "deep", O_PATH | O_CLOEXEC);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(sm_remove_tree_at(p->fd, "deep"), 0);
	assert_false(exists("deep"));
}

static void test_remove_tree_wide(void **state)
{
	struct place *p = *state;

	for (int i = 0; i < 500; i++) {
		sm_auto_free char *dir = sm_strf("t/d%d/e", i);
		sm_auto_free char *file = sm_strf("t/d%d/e/f", i);

		assert_int_equal(sm_mkdir_p(dir, 0700), 0);
		write_file(file, "");
	}
	assert_int_equal(sm_remove_tree_at(p->fd, "t"), 0);
	assert_false(exists("t"));
}

/* In a child with mounts of its own (the working directory is in them, a descriptor from before
 * would not be): 0 if a bind mount of the same filesystem stops the removal. */
static int remove_with_mount(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		return errno == EPERM ? 77 : 1;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("src", "t/mnt", NULL, MS_BIND, NULL) < 0)
		return 2;
	if (sm_remove_tree_at(AT_FDCWD, "t") != -EXDEV)
		return 3;
	if (!exists("t/mnt/kept") || !exists("src/kept"))
		return 4;
	if (umount2("t/mnt", MNT_DETACH) < 0)
		return 5;
	return sm_remove_tree_at(AT_FDCWD, "t") == 0 ? 0 : 6;
}

static void test_remove_tree_with_mount(void **state)
{
	int status;
	pid_t pid;

	assert_int_equal(sm_mkdir_p("t/mnt", 0700), 0);
	assert_int_equal(sm_mkdir_p("src/kept", 0700), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(remove_with_mount());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	/* who may not mount has no mount to stop at */
	assert_int_equal(WEXITSTATUS(status), geteuid() == 0 ? 0 : 77);
	assert_true(exists("src/kept"));
}

/* ---- descriptors ---- */

static size_t count_fds(void)
{
	return count_entries("/proc/self/fd");
}

static void test_fds(void **state)
{
	int sv[2], got[4], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fds[3] = { null, null, null };
	size_t n = 4, before;
	char buf[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	before = count_fds();
	assert_int_equal(sm_send_fds(sv[0], "abc", 3, fds, 3), 3);
	assert_int_equal(sm_recv_fds(sv[1], buf, sizeof(buf), got, &n), 3);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		close(got[i]);
	}
	/* none */
	assert_int_equal(sm_send_fds(sv[0], "x", 1, NULL, 0), 1);
	n = 4;
	assert_int_equal(sm_recv_fds(sv[1], buf, sizeof(buf), got, &n), 1);
	assert_int_equal(n, 0);
	/* more than there is room for */
	assert_int_equal(sm_send_fds(sv[0], "x", 1, fds, 3), 1);
	n = 2;
	assert_int_equal(sm_recv_fds(sv[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(count_fds(), before);
	assert_int_equal(sm_send_fds(sv[0], "x", 1, fds, SM_IO_FDS_MAX + 1), -EINVAL);
	assert_int_equal(sm_set_nonblock(sv[1]), 0);
	n = 2;
	assert_int_equal(sm_recv_fds(sv[1], buf, sizeof(buf), got, &n), -EAGAIN);
	close(sv[0]);
	n = 2;
	assert_int_equal(sm_recv_fds(sv[1], buf, sizeof(buf), got, &n), 0);
	assert_int_equal(sm_send_fds(sv[1], "x", 1, NULL, 0), -EPIPE);
	close(sv[1]);
	close(null);
}

static void test_fd_flags(void **state)
{
	int p[2];

	assert_int_equal(pipe2(p, 0), 0);
	assert_int_equal(sm_set_cloexec(p[0], 1), 0);
	assert_int_equal(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(sm_set_cloexec(p[0], 0), 0);
	assert_int_equal(fcntl(p[0], F_GETFD), 0);
	assert_int_equal(sm_set_nonblock(p[0]), 0);
	assert_true(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	sm_close(&p[0]);
	assert_int_equal(p[0], -1);
	errno = EDOM;
	sm_close(&p[0]);
	sm_close(&p[1]);
	assert_int_equal(errno, EDOM);
	assert_int_equal(sm_set_cloexec(-1, 1), -EBADF);
	assert_int_equal(sm_set_nonblock(-1), -EBADF);
}

/* In a child: 0 if 0 and 2 were filled and 1 left alone. */
static int fix_stdio_without(void)
{
	struct stat st, null;

	if (stat("/dev/null", &null) < 0 || dup2(open("/dev/full", O_WRONLY), 1) != 1)
		return 1;
	close(0);
	close(2);
	if (sm_fix_stdio() != 0)
		return 2;
	if (fstat(0, &st) < 0 || st.st_rdev != null.st_rdev)
		return 3;
	if (fstat(2, &st) < 0 || st.st_rdev != null.st_rdev)
		return 4;
	if (fstat(1, &st) < 0 || st.st_rdev == null.st_rdev)
		return 5;
	return fcntl(0, F_GETFD) == 0 ? 0 : 6;
}

static void test_fix_stdio(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fix_stdio_without());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- processes ---- */

static void test_proc_start_time(void **state)
{
	uint64_t own, again, parent;
	siginfo_t info;
	pid_t pid;

	assert_int_equal(sm_proc_start_time(getpid(), &own), 0);
	assert_int_equal(sm_proc_start_time(getpid(), &again), 0);
	assert_true(own > 0);
	assert_int_equal(own, again);
	assert_int_equal(sm_proc_start_time(getppid(), &parent), 0);
	assert_true(parent <= own);
	/* a name made to mislead */
	assert_int_equal(prctl(PR_SET_NAME, "a) Z 1 (2 3"), 0);
	assert_int_equal(sm_proc_start_time(getpid(), &again), 0);
	assert_int_equal(own, again);
	/* dead, not reaped; then gone */
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(sm_proc_start_time(pid, &own), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(sm_proc_start_time(pid, &own), -ESRCH);
	assert_int_equal(sm_proc_start_time(0, &own), -ESRCH);
	assert_int_equal(sm_proc_start_time(-1, &own), -ESRCH);
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* Whether the first thread of a process has ended. */
static bool leader_is_gone(pid_t pid)
{
	char path[32], text[512];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return strstr(text, ") Z ");
}

static void test_proc_without_its_first_thread(void **state)
{
	siginfo_t info;
	pthread_t thread;
	uint64_t start;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (pthread_create(&thread, NULL, wait_for_ever, NULL))
			_exit(1);
		syscall(SYS_exit, 0);	/* this thread alone */
	}
	while (!leader_is_gone(pid))
		sched_yield();
	assert_int_equal(sm_proc_start_time(pid, &start), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(sm_proc_start_time(pid, &start), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_steal(void **state)
{
	char *text = sm_strf("%d-%s", 7, "x");
	char *copy = sm_steal_ptr(text);
	int fd = 5;

	assert_null(text);
	assert_string_equal(copy, "7-x");
	free(copy);
	assert_int_equal(sm_steal_fd(&fd), 5);
	assert_int_equal(fd, -1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_read_full),
		CASE(test_read_file_bounds),
		CASE(test_read_file_large),
		CASE(test_write_file),
		CASE(test_write_file_errors),
		CASE(test_write_existing),
		CASE(test_mkdir_p),
		CASE(test_remove_tree),
		CASE(test_remove_tree_that_is_none),
		CASE(test_remove_tree_refuses),
		CASE(test_remove_tree_deep),
		CASE(test_remove_tree_wide),
		CASE(test_remove_tree_with_mount),
		CASE(test_fds),
		CASE(test_fd_flags),
		CASE(test_fix_stdio),
		CASE(test_proc_start_time),
		CASE(test_proc_without_its_first_thread),
		CASE(test_steal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
