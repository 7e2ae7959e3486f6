/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/oomhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"

#define ANSWER_S 3
#define PAGE     4096

/* The lowest limit that what is left of sm-vmm fits under is taken; the helper uses more than that.
 */
static const char *const limits[] = { "16777216", "33554432", "67108864" };
#define REGION (UINT64_C(80) << 20)

struct sm_oomhost {
	pid_t pid;
	int sock;
};

/* ---- the helper ----------------------------------------------------------------------------- */

/* Where the helper finds its descriptors */
enum { FD_SOCK = 3, FD_LIMIT, FD_SCORE, FD_FREE };

static void arrange_fds(int sock, int limit, int score)
{
	const int from[] = { fcntl(sock, F_DUPFD, 16), fcntl(limit, F_DUPFD, 16),
			     fcntl(score, F_DUPFD, 16) };

	for (int i = 0; i < FD_FREE - FD_SOCK; i++)
		if (dup2(from[i], FD_SOCK + i) < 0)
			_exit(1);
	syscall(SYS_close_range, FD_FREE, ~0u, 0);
	for (int i = 0; i < FD_SOCK; i++)
		close(i);
}

/* In strict mode: read, write and exit are all there is. */
static void use_too_much(volatile char *region)
{
	static const char first_to_go[] = "1000";
	bool set = false;
	char byte;

	/* Not before: in an OOM of the host's own this process is nothing to gain by. */
	if (read(FD_SOCK, &byte, 1) != 1 || write(FD_SCORE, first_to_go, strlen(first_to_go)) < 0)
		syscall(SYS_exit, 0);
	/* version 1 refuses a limit that it cannot reclaim down to */
	for (size_t i = 0; i < SM_ARRAY_SIZE(limits) && !set; i++)
		set = write(FD_LIMIT, limits[i], strlen(limits[i])) > 0;
	for (size_t at = 0; set && at < REGION; at += PAGE)
		region[at] = 1;
	syscall(SYS_exit, 0);
}

static void run_helper(pid_t parent, int sock, int limit)
{
	char *region = mmap(NULL, REGION, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct rlimit none = { 0, 0 };
	int score;

	if (region == MAP_FAILED || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
	    getppid() != parent)
		_exit(1);
	/* so that it is not swapped out instead of being too much */
	syscall(SYS_mlock2, region, REGION, 1 /* MLOCK_ONFAULT */);
	prctl(PR_SET_NAME, "sm-oom", 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	/* its root is the host's: nobody may get there by /proc/PID/root */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	arrange_fds(sock, limit, score);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0) < 0)
		_exit(1);
	use_too_much(region);
}

/* ---- sm-vmm --------------------------------------------------------------------------------- */

static int open_limit(int dirfd)
{
	int fd = openat(dirfd, "memory.limit_in_bytes", O_WRONLY | O_CLOEXEC);

	return fd < 0 && errno == ENOENT ? openat(dirfd, "memory.max", O_WRONLY | O_CLOEXEC) : fd;
}

int sm_oomhost_new(int dirfd, struct sm_oomhost **out, struct sm_err *err)
{
	const struct timeval patience = { ANSWER_S, 0 };
	sm_auto_close int limit = open_limit(dirfd);
	struct sm_oomhost *o;
	pid_t self = getpid();
	int sock[2];

	*out = NULL;
	if (limit < 0) {
		sm_debug("kills for want of memory stay in the guest: %s", strerror(errno));
		return 0;
	}
	o = calloc(1, sizeof(*o));
	if (!o || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0) {
		free(o);
		return sm_err_sys(err, o ? errno : ENOMEM, "helper for kills");
	}
	o->pid = fork();
	if (o->pid == 0)
		run_helper(self, sock[1], limit);
	close(sock[1]);
	o->sock = sock[0];
	if (o->pid < 0 ||
	    setsockopt(o->sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) {
		sm_oomhost_free(o);
		return sm_err_sys(err, errno, "helper for kills");
	}
	*out = o;
	return 0;
}

/* #syscalls:loop write read */
void sm_oomhost_tell(struct sm_oomhost *o)
{
	char byte = 1;

	if (o && sm_write_full(o->sock, &byte, 1) == 0 && read(o->sock, &byte, 1) < 0)
		sm_warn("the kill in the guest could not be repeated on the host: %s",
			strerror(errno));
}

void sm_oomhost_free(struct sm_oomhost *o)
{
	if (!o)
		return;
	sm_close(&o->sock); /* it ends */
	free(o);
}
