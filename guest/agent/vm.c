/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "guest/agent/cgroup.h"

/*
 * The kernel's first root, the initramfs, has no parent and so cannot be pivoted away from. A tmpfs
 * is put over it and becomes the root of all: containers pivot from there.
 */
#define NEW_ROOT "/r"

#define CLOCK_TOLERANCE_NS UINT64_C(100000000)

static const struct {
	const char *type, *path;
	unsigned long flags;
	const char *data;
} mounts[] = {
	{ "tmpfs", NEW_ROOT, MS_NODEV | MS_NOSUID, "mode=755" },
	{ "devtmpfs", NEW_ROOT "/dev", MS_NOSUID, "mode=755" },
	{ "proc", NEW_ROOT "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
	{ "sysfs", NEW_ROOT "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
	{ "cgroup2", NEW_ROOT "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
};

static const char *const dirs[] = {
	NEW_ROOT "/dev", NEW_ROOT "/proc", NEW_ROOT "/sys", NEW_ROOT "/run", NEW_ROOT "/run/host",
};

static const struct {
	int resource;
	rlim_t value;
} limits[] = {
	{ RLIMIT_NOFILE, 1 << 20 },
	{ RLIMIT_NPROC, RLIM_INFINITY },
	{ RLIMIT_SIGPENDING, RLIM_INFINITY },
	{ RLIMIT_CORE, RLIM_INFINITY },
};

/* For a kernel without devtmpfs */
static void make_nodes(void)
{
	static const struct {
		const char *path;
		unsigned int major, minor;
	} nodes[] = {
		{ NEW_ROOT "/dev/null", 1, 3 },   { NEW_ROOT "/dev/zero", 1, 5 },
		{ NEW_ROOT "/dev/full", 1, 7 },   { NEW_ROOT "/dev/random", 1, 8 },
		{ NEW_ROOT "/dev/urandom", 1, 9 }, { NEW_ROOT "/dev/tty", 5, 0 },
	};

	if (mount("tmpfs", NEW_ROOT "/dev", "tmpfs", MS_NOSUID, "mode=755") < 0)
		return;
	for (size_t i = 0; i < SM_ARRAY_SIZE(nodes); i++)
		mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor));
}

static void mount_all(void)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(mounts); i++) {
		int r = mount(mounts[i].type, mounts[i].path, mounts[i].type, mounts[i].flags,
			      mounts[i].data);

		if (r < 0 && !strcmp(mounts[i].type, "devtmpfs"))
			make_nodes();
		else if (r < 0)
			sm_error("mount %s: %s", mounts[i].type, strerrordesc_np(errno));
		for (size_t j = 0; i == 0 && j < SM_ARRAY_SIZE(dirs); j++)
			mkdir(dirs[j], 0755);
	}
}

void sm_vm_raise_loopback(struct sm_guest *g)
{
	sm_auto_close int fd = -1;
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (!g->vm || g->loopback)
		return;
	g->loopback = true;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		sm_warn("raise the loopback interface: %s", strerrordesc_np(errno));
}

static void raise_limits(void)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(limits); i++) {
		struct rlimit lim = { limits[i].value, limits[i].value };

		setrlimit((__rlimit_resource_t)limits[i].resource, &lim);
	}
}

/* Our words on the kernel's command line begin with "sm." */
static void read_cmdline(void)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(4096);
	char *save = NULL;

	if (sm_read_file_at(AT_FDCWD, "/proc/cmdline", &text) < 0 || !text.data)
		return;
	for (char *w = strtok_r((char *)text.data, " \n", &save); w;
	     w = strtok_r(NULL, " \n", &save))
		if (!strcmp(w, "sm.debug"))
			sm_log_setup(2, SM_LOG_TEXT, SM_LOG_DEBUG);
}

void sm_vm_settle(struct sm_guest *g)
{
	if (!g->vm || g->settled)
		return;
	g->settled = true;
	umask(0);
	mount_all();
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		sm_error("change to the new root: %s", strerrordesc_np(errno));
	umask(022);
	read_cmdline();
	sm_cgroup_enable_controllers(g->cgroup_root);
	raise_limits();
}

/* The kernel may have been told (maxcpus=) to leave the other CPUs to us: under emulation each
 * takes longer to start than all the rest of the way to the first message. */
static void start_cpus(void)
{
	char path[64];
	int n = 1;

	do {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", n++);
	} while (sm_write_existing_at(AT_FDCWD, path, "1") != -ENOENT);
}

int sm_vm_prepare(struct sm_guest *g, struct sm_err *err)
{
	if (!g->vm)
		return 0;
	sm_vm_settle(g);
	if (!g->shares)
		start_cpus();
	if (!g->shares && mount("sm", g->host, "virtiofs", MS_NOATIME, NULL) < 0)
		return sm_err_sys(err, errno, "%s", "mount the shares (virtiofs, tag sm)");
	g->shares = true;
	return 0;
}

void sm_vm_set_clock(const struct sm_guest *g, uint64_t realtime_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(realtime_ns / 1000000000),
		.tv_nsec = (long)(realtime_ns % 1000000000),
	};

	if (g->vm && realtime_ns && clock_settime(CLOCK_REALTIME, &ts) < 0)
		sm_warn("set the clock: %s", strerrordesc_np(errno));
}

void sm_vm_correct_clock(const struct sm_guest *g, uint64_t realtime_ns)
{
	struct timespec ts;
	uint64_t now, off;

	clock_gettime(CLOCK_REALTIME, &ts);
	now = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
	off = now > realtime_ns ? now - realtime_ns : realtime_ns - now;
	if (off > CLOCK_TOLERANCE_NS)
		sm_vm_set_clock(g, realtime_ns);
}

void sm_vm_end(const struct sm_guest *g)
{
	if (g->vm) {
		sync();
		reboot(RB_AUTOBOOT);
	}
	_exit(g->vm ? 1 : 0);
}
