/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/fs in the guest: init of a tiny initramfs. Mounts the share, runs each measurement and
 * prints "BEGIN name" and "END name amount" around it. The clock is the host's, who reads them: an
 * emulated guest's own is not to be relied on when the host is busy.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)
#define BIG_MIB 256
#define SMALL_WRITES 4096
#define RANDOM_READS 8000
#define NEW_FILES 1000
#define OPEN_FILES 2000

static char block[MIB];
static unsigned int files;

static void die(const char *what)
{
	perror(what);
	reboot(RB_AUTOBOOT);
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	sync();
	if (fd < 0 || write(fd, "3", 1) != 1)
		die("drop_caches");
	close(fd);
}

static void expire(void)
{
	struct timespec ts = { 1, 300000000 };

	nanosleep(&ts, NULL);
}

static void seq_write(const char *path, size_t size, unsigned int n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	for (unsigned int i = 0; i < n; i++) {
		if (write(fd, block, size) != (ssize_t)size)
			die("write");
	}
	close(fd);
}

static void write_big(void)
{
	seq_write("big", MIB, BIG_MIB);
}

static void write_small(void)
{
	seq_write("small", 4096, SMALL_WRITES);
}

static void read_big(void)
{
	int fd = open("big", O_RDONLY);

	while (read(fd, block, MIB) > 0)
		;
	close(fd);
}

static void read_random(void)
{
	int fd = open("big", O_RDONLY);

	srandom(1);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (int i = 0; i < RANDOM_READS; i++) {
		off_t at = (off_t)(random() % (BIG_MIB * 256)) * 4096;

		if (pread(fd, block, 4096, at) != 4096)
			die("pread");
	}
	close(fd);
}

/* Visits all names below dir; with `attr` each file's attributes, too. */
static void walk(int at, const char *name, int attr)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY);
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!dir)
		die(name);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		files++;
		if (attr && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			die(e->d_name);
		if (e->d_type == DT_DIR)
			walk(fd, e->d_name, attr);
	}
	closedir(dir);
}

static void find_names(void)
{
	walk(AT_FDCWD, "tree", 0);
}

static void find_stat(void)
{
	walk(AT_FDCWD, "tree", 1);
}

static void stat_paths(void)
{
	struct stat st;
	char path[64];

	for (int i = 0; i < OPEN_FILES; i++) {
		snprintf(path, sizeof(path), "tree/d%d/f%d", i % 100, i / 100);
		if (stat(path, &st) < 0)
			die(path);
	}
}

static void open_read(void)
{
	char path[64];

	for (int i = 0; i < OPEN_FILES; i++) {
		int fd;

		snprintf(path, sizeof(path), "tree/d%d/f%d", i % 100, i / 100);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, block, sizeof(block)) < 0)
			die(path);
		close(fd);
	}
}

static void create_unlink(void)
{
	char path[64];

	mkdir("new", 0755);
	for (int i = 0; i < NEW_FILES; i++) {
		snprintf(path, sizeof(path), "new/f%d", i);
		seq_write(path, 2000, 1);
	}
	for (int i = 0; i < NEW_FILES; i++) {
		snprintf(path, sizeof(path), "new/f%d", i);
		if (unlink(path) < 0)
			die(path);
	}
	rmdir("new");
}

static void git_status(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/git", "git", "-C", "repo", "status", "--porcelain", NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0 || status)
		die("git status");
}

enum prepare { AS_IS, COLD, EXPIRED };

static const struct test {
	const char *name;
	void (*run)(void);
	enum prepare prepare;
	unsigned int amount;
} tests[] = {
	{ "write-seq-1M", write_big, COLD, BIG_MIB },
	{ "write-seq-4K", write_small, AS_IS, SMALL_WRITES },
	{ "read-seq", read_big, COLD, BIG_MIB },
	{ "read-again", read_big, AS_IS, BIG_MIB },
	{ "read-random-4K", read_random, COLD, RANDOM_READS },
	{ "find-names", find_names, COLD, 0 },
	{ "find-stat", find_stat, COLD, 0 },
	{ "find-stat-expired", find_stat, EXPIRED, 0 },
	{ "stat-path", stat_paths, COLD, OPEN_FILES },
	{ "open-read", open_read, COLD, OPEN_FILES },
	{ "open-read-again", open_read, EXPIRED, OPEN_FILES },
	{ "create-unlink", create_unlink, AS_IS, NEW_FILES },
	{ "git-status-cold", git_status, COLD, 1 },
	{ "git-status-expired", git_status, EXPIRED, 1 },
	{ "git-status-again", git_status, AS_IS, 1 },
};

int main(int argc, char **argv)
{
	mkdir("/proc", 0755);
	mkdir("/mnt", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	if (mount("sm", "/mnt", "virtiofs", 0, NULL) < 0 || chdir("/mnt/share") < 0)
		die("mount");
	setenv("HOME", "/", 1);
	setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		const struct test *t = &tests[i];

		if (t->prepare == COLD)
			drop_caches();
		else if (t->prepare == EXPIRED)
			expire();
		files = 0;
		printf("BEGIN %s\n", t->name);
		fflush(stdout);
		t->run();
		printf("END %s %u\n", t->name, t->amount > 0 ? t->amount : files);
		fflush(stdout);
	}
	unlink("big");
	unlink("small");
	sync();
	reboot(RB_AUTOBOOT);
}
