/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_IO_H
#define SM_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sm_buf;

#define SM_IO_FDS_MAX 253 /* SCM_MAX_FD */

/* Whole transfers on blocking fds, EINTR retried. 0 or -errno; reading less than len: -ENODATA. */
int sm_read_full(int fd, void *data, size_t len);
int sm_write_full(int fd, const void *data, size_t len);

/* Reads all of a file into b (bounded by b->max: -EFBIG). path is relative to dirfd. */
int sm_read_file_at(int dirfd, const char *path, struct sm_buf *b);

/* Replaces a file as a whole: temporary name in the same directory, then rename. With `sync`,
 * fsync before the rename. On error the old file is untouched and no temporary file is left. */
int sm_write_file_at(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
		     int sync);

/* Writes to an existing file (sysfs, cgroupfs, procfs style: one write(2), no create). */
int sm_write_existing_at(int dirfd, const char *path, const char *text);

/* mkdir -p. 0 if it is there at the end. */
int sm_mkdir_p(const char *path, mode_t mode);

/* rm -rf of a directory tree below dirfd; never follows symlinks (but in the parent of an absolute
 * path), never crosses a mount: -EXDEV at one inside. A path that is not there: 0. One that ends in
 * "." or "..", or has ".." on the way: -EINVAL. */
int sm_remove_tree_at(int dirfd, const char *path);

/* One sendmsg/recvmsg with file descriptors. Received ones are close-on-exec; *nfds is the capacity
 * on entry and the count on return; if more come, all are closed and -EMSGSIZE returned. Return: bytes or
 * -errno (so -EAGAIN on a non-blocking socket). */
ssize_t sm_send_fds(int sock, const void *data, size_t len, const int *fds, size_t nfds);
ssize_t sm_recv_fds(int sock, void *data, size_t len, int *fds, size_t *nfds);

/* Formats into a fresh string; NULL if out of memory. */
char *sm_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int sm_set_nonblock(int fd);
int sm_set_cloexec(int fd, int on);

/* Opens /dev/null on those of 0, 1, 2 that are closed, so that no later open lands there. */
int sm_fix_stdio(void);

/* Start time of a process in clock ticks since boot (/proc/PID/stat field 22): with the pid it names
 * a process for good. -ESRCH if there is none or it is a zombie, all of its threads gone. */
int sm_proc_start_time(pid_t pid, uint64_t *start);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t sm_now_ns(void);

#endif
