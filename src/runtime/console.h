/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_CONSOLE_H
#define SM_RUNTIME_CONSOLE_H

#include <stdint.h>
#include <termios.h>

#include "base/err.h"

/*
 * Terminals. The line discipline that users talk to is the guest's; the pty here on the host only
 * carries bytes, so its slave is raw before anybody else sees it.
 */
struct sm_pty {
	int master, slave;
	unsigned int rows, cols;
};

#define SM_PTY_INIT { -1, -1, 0, 0 }
#define sm_auto_pty __attribute__((cleanup(sm_pty_close)))

/* rows and cols of *pty are its size; 0: none. */
int sm_pty_open(struct sm_pty *pty, struct sm_err *err);
void sm_pty_close(struct sm_pty *pty);

/* Connects to the caller's console socket. */
int sm_console_connect(const char *path, int *sock, struct sm_err *err);

/* Sends one descriptor and its name, as runc's callers expect it. */
int sm_console_send(int sock, int fd, const char *name, struct sm_err *err);

/* The user's terminal: the first of standard error, output and input that is one, else /dev/tty
 * (*owned then is the fd to close). runc's text where there is none. */
struct sm_tty {
	int in, out;		/* where the user types and reads */
	int owned;
	int raw;		/* saved is to be put back */
	struct termios saved;
};

#define SM_TTY_INIT { .in = -1, .out = -1, .owned = -1 }

int sm_tty_find(struct sm_tty *tty, struct sm_err *err);
int sm_tty_size(const struct sm_tty *tty, unsigned int *rows, unsigned int *cols);
int sm_tty_raw(struct sm_tty *tty, struct sm_err *err);

/* Puts the modes back; at any time, also twice. */
void sm_tty_restore(struct sm_tty *tty);

#endif
