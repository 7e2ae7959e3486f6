/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

int sm_pty_open(struct sm_pty *pty, struct sm_err *err)
{
	struct winsize ws = { .ws_row = (unsigned short)pty->rows,
			      .ws_col = (unsigned short)pty->cols };
	struct termios t;

	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->master < 0 || unlockpt(pty->master) < 0)
		return sm_err_sys(err, errno, "open /dev/ptmx");
	pty->slave = ioctl(pty->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->slave < 0 || tcgetattr(pty->slave, &t) < 0)
		return sm_err_sys(err, errno, "terminal slave");
	cfmakeraw(&t);
	if (tcsetattr(pty->slave, TCSANOW, &t) < 0)
		return sm_err_sys(err, errno, "terminal modes");
	if ((pty->rows || pty->cols) && ioctl(pty->slave, TIOCSWINSZ, &ws) < 0)
		return sm_err_sys(err, errno, "terminal size");
	return 0;
}

void sm_pty_close(struct sm_pty *pty)
{
	sm_close(&pty->master);
	sm_close(&pty->slave);
}

int sm_console_connect(const char *path, int *sock, struct sm_err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int r = 0;

	if (strlen(path) >= sizeof(sa.sun_path))
		return sm_err_set(err, -ENAMETOOLONG, "dial unix %s: connect: invalid argument",
				  path);
	strcpy(sa.sun_path, path);
	*sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*sock < 0 || connect(*sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		r = sm_err_sys(err, errno, "dial unix %s: connect", path);
	return r;
}

int sm_console_send(int sock, int fd, const char *name, struct sm_err *err)
{
	ssize_t n = sm_send_fds(sock, name, strlen(name), &fd, 1);

	return n < 0 ? sm_err_sys(err, (int)n, "console socket: send %s", name) : 0;
}

int sm_tty_find(struct sm_tty *tty, struct sm_err *err)
{
	static const int order[] = { STDERR_FILENO, STDOUT_FILENO, STDIN_FILENO };
	int found = -1;

	for (size_t i = 0; found < 0 && i < SM_ARRAY_SIZE(order); i++)
		if (isatty(order[i]))
			found = order[i];
	if (found < 0) {
		found = tty->owned = open("/dev/tty", O_RDWR | O_CLOEXEC);
		if (found < 0)
			return sm_err_sys(err, errno, "open /dev/tty");
	}
	tty->in = isatty(STDIN_FILENO) ? STDIN_FILENO : found;
	tty->out = isatty(STDOUT_FILENO) ? STDOUT_FILENO : found;
	return 0;
}

int sm_tty_size(const struct sm_tty *tty, unsigned int *rows, unsigned int *cols)
{
	struct winsize ws;

	if (ioctl(tty->out, TIOCGWINSZ, &ws) < 0)
		return -errno;
	*rows = ws.ws_row;
	*cols = ws.ws_col;
	return 0;
}

int sm_tty_raw(struct sm_tty *tty, struct sm_err *err)
{
	struct termios t;

	if (tcgetattr(tty->in, &tty->saved) < 0)
		return sm_err_sys(err, errno, "terminal modes");
	t = tty->saved;
	cfmakeraw(&t);
	if (tcsetattr(tty->in, TCSANOW, &t) < 0)
		return sm_err_sys(err, errno, "terminal modes");
	tty->raw = 1;
	return 0;
}

void sm_tty_restore(struct sm_tty *tty)
{
	if (tty->raw)
		tcsetattr(tty->in, TCSANOW, &tty->saved);
	tty->raw = 0;
	sm_close(&tty->owned);
}
