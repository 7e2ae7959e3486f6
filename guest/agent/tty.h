/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_TTY_H
#define SM_GUEST_TTY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct sm_tty {
	int master, slave;
};

/* A new pty of the container's own devpts, of that size and owned by uid; with `console`, bound on
 * /dev/console too. */
int sm_tty_open(int root, uint32_t rows, uint32_t cols, uint32_t uid, bool console,
		struct sm_tty *tty, struct sm_err *err);

int sm_tty_resize(int master, uint32_t rows, uint32_t cols);

#endif
