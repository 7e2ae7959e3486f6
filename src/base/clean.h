/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_CLEAN_H
#define SM_BASE_CLEAN_H

/* Ownership of locals: the cleanup attribute releases them, sm_steal_*() hands them over. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void sm_clean_free(void *p)
{
	free(*(void **)p);
}

static inline void sm_clean_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void sm_clean_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void sm_clean_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define sm_auto_free __attribute__((cleanup(sm_clean_free)))
#define sm_auto_close __attribute__((cleanup(sm_clean_close)))
#define sm_auto_file __attribute__((cleanup(sm_clean_file)))
#define sm_auto_dir __attribute__((cleanup(sm_clean_dir)))

static inline int sm_steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

#define sm_steal_ptr(p)               \
	({                            \
		__typeof__(p) stolen_ = (p); \
		(p) = NULL;           \
		stolen_;              \
	})

#define SM_MAPPED ((size_t)136 << 10)	/* from 128 KiB malloc() makes a mapping of its own */

/* Zeroes, for tables that are mostly empty: what is not touched is no memory. For free(). */
static inline void *sm_calloc_sparse(size_t size)
{
	return calloc(1, size > SM_MAPPED ? size : SM_MAPPED);
}

/* Closes *fd if open and marks it closed; errno is kept. */
void sm_close(int *fd);

#define SM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
