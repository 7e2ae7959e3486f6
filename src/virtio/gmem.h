/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VIRTIO_GMEM_H
#define SM_VIRTIO_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Guest memory: a few regions of guest-physical space, each mapped somewhere in this process. The
 * one place where a guest address becomes a pointer; whoever reads guest memory comes through here.
 *
 * The table is built while no queue runs and does not change while one does (a transport stops the
 * queues, swaps the table and starts them again), so lookups take no lock.
 */
typedef uint64_t gpa_t;

#define SM_GMEM_REGIONS_MAX 32

struct sm_gmem_region {
	gpa_t gpa;
	uint64_t size;
	uint8_t *host;		/* start of the region in this process */
	void *map;		/* what munmap() takes; NULL if the memory is somebody else's */
	size_t map_size;
	bool shared;		/* a shared mapping: its pages live in a file */
};

struct sm_gmem {
	size_t n;
	struct sm_gmem_region region[SM_GMEM_REGIONS_MAX]; /* by rising gpa, never overlapping */
};

/* Adds memory that the caller owns and keeps; to be discarded it must be private and anonymous.
 * 0, -EINVAL (empty, wraps, overlaps), -ENOSPC. */
int sm_gmem_add(struct sm_gmem *gm, gpa_t gpa, uint64_t size, void *host);

/* Maps size bytes of fd at offset (shared, read-write) and adds them. The fd stays the caller's.
 * offset need not be page aligned. 0 or -errno; a size past the end of the file: -EINVAL. */
int sm_gmem_map(struct sm_gmem *gm, gpa_t gpa, uint64_t size, int fd, uint64_t offset);

/* Unmaps what sm_gmem_map() mapped and empties the table. */
void sm_gmem_clear(struct sm_gmem *gm);

/* The bytes [gpa, gpa + len) as one run in this process; NULL if any of them is not guest memory or
 * they cross regions. len 0 is NULL. Never overflows. */
void *sm_gmem_ptr(const struct sm_gmem *gm, gpa_t gpa, uint64_t len);

/* The same bytes as iovecs, one for each region they cross: the count (<= max), or -EFAULT. */
int sm_gmem_iov(const struct sm_gmem *gm, gpa_t gpa, uint64_t len, struct iovec *iov, int max);

/* Gives the host back the whole pages within [gpa, gpa + len): they read as zeros afterwards, and
 * what lies on pages that the range covers in part stays. Safe beside a running guest and running
 * queues. 0, -EFAULT (not all of it is guest memory: nothing was done), or what madvise(2) says. */
int sm_gmem_discard(const struct sm_gmem *gm, gpa_t gpa, uint64_t len);

/* The same for bytes that sm_gmem_ptr(), sm_gmem_iov() or a chain gave. */
int sm_gmem_discard_ptr(const struct sm_gmem *gm, void *ptr, size_t len);

#endif
