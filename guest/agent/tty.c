/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clean.h"
#include "guest/agent/mount.h"
#include "guest/agent/path.h"

int sm_tty_resize(int master, uint32_t rows, uint32_t cols)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

	if (rows > UINT16_MAX || cols > UINT16_MAX)
		return -EINVAL;
	return ioctl(master, TIOCSWINSZ, &ws) < 0 ? -errno : 0;
}

/* The container may have put anything at that path: only a devpts gives real ptys. */
static int open_master(int root)
{
	sm_auto_close int fd = sm_path_open(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (fs.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
		return -ENODEV;
	return sm_steal_fd(&fd);
}

static int bind_console(int root, int slave)
{
	sm_auto_close int mnt = sm_mount_clone(slave, "", 0);
	sm_auto_close int to = -1;

	if (mnt < 0)
		return mnt;
	to = sm_path_make_file(root, "/dev/console");
	return to < 0 ? to : sm_mount_attach(mnt, to);
}

int sm_tty_open(int root, uint32_t rows, uint32_t cols, uint32_t uid, bool console,
		struct sm_tty *tty, struct sm_err *err)
{
	sm_auto_close int master = open_master(root);
	sm_auto_close int slave = -1;
	int unlock = 0, r;

	if (master < 0)
		return sm_err_sys(err, master, "%s", "open /dev/pts/ptmx");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return sm_err_sys(err, errno, "%s", "unlock the terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return sm_err_sys(err, errno, "%s", "open the terminal");
	r = sm_tty_resize(master, rows, cols);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "set the terminal's size");
	if (fchown(slave, uid, (gid_t)-1) < 0)
		return sm_err_sys(err, errno, "give the terminal to user %u", uid);
	r = console ? bind_console(root, slave) : 0;
	if (r < 0)
		return sm_err_sys(err, r, "%s", "make /dev/console");
	tty->master = sm_steal_fd(&master);
	tty->slave = sm_steal_fd(&slave);
	return 0;
}
