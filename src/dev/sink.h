/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_DEV_SINK_H
#define SM_DEV_SINK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Where the text of a console goes: a stream socket or a pipe that somebody else reads, at his own
 * pace. It is never waited for; what does not fit is lost.
 */
struct sm_sink {
	int fd;
	bool socket;
};

/* Takes fd over (not on errors). A socket's file description is left as it is, since the reader may
 * share it; any other one is made non-blocking. 0 or -errno. */
int sm_sink_open(struct sm_sink *s, int fd);
void sm_sink_close(struct sm_sink *s);

/* The number of bytes that were taken, 0 to len. For a pipe the process must ignore SIGPIPE. */
size_t sm_sink_write(const struct sm_sink *s, const void *data, size_t len);

#endif
