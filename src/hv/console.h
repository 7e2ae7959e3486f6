/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_CONSOLE_H
#define SM_HV_CONSOLE_H

#include <stddef.h>

#include "base/loop.h"

/*
 * The guest's console, kept in a file of bounded size: the newest SM_CONSOLE_MAX / 2 bytes at least,
 * SM_CONSOLE_MAX at most, whatever the guest prints.
 */
#define SM_CONSOLE_MAX (64u << 10)

struct sm_console;

/* Makes (truncates) the file `name` in dirfd. *guest_fd is the end for the backend, the caller's. */
int sm_console_new(struct sm_loop *loop, int dirfd, const char *name, int *guest_fd,
		   struct sm_console **con);
void sm_console_free(struct sm_console *con); /* NULL allowed */

/* Takes in what is still in the pipe, then copies the last bytes, NUL-terminated, to buf: at most
 * size - 1 of them, from the start of a line where there is one. Returns the length. */
size_t sm_console_tail(struct sm_console *con, char *buf, size_t size);

#endif
