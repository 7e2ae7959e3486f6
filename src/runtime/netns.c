/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clean.h"
#include "base/io.h"

bool sm_netns_is_ours(int fd)
{
	struct stat ours, other;

	return stat("/proc/self/ns/net", &ours) == 0 && fstat(fd, &other) == 0 &&
	       ours.st_dev == other.st_dev && ours.st_ino == other.st_ino;
}

static int bring_up_loopback(void)
{
	sm_auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

int sm_netns_make(bool *looped)
{
	*looped = false;
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	*looped = true;
	return bring_up_loopback();
}

/* As sysctl(8) has it: what separates first separates always, "net.ipv4.conf.eth0/1.forwarding". */
static bool to_path(const char *key, char *path, size_t size)
{
	size_t at = strcspn(key, "./");
	bool swap = key[at] == '.';
	int n = snprintf(path, size, "/proc/sys/%s", key);

	if (n < 0 || (size_t)n >= size || strncmp(key, "net", at) != 0 || at != strlen("net"))
		return false;
	for (char *p = path + strlen("/proc/sys/"); swap && *p; p++)
		*p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
	return !strstr(path, "/../");
}

static void set(const char *path, const char *value, int log)
{
	int r = sm_write_existing_at(AT_FDCWD, path, value);

	if (r < 0)
		dprintf(log, "level=warning msg=\"the container's network namespace: %s: %s\"\n",
			path, strerror(-r));
}

void sm_netns_prepare(const struct sm_pairs *sysctl, int log)
{
	char path[PATH_MAX];

	set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0", log);
	for (size_t i = 0; i < sysctl->n; i++) {
		if (!to_path(sysctl->v[i].key, path, sizeof(path)))
			continue;
		/* That is the guest kernel's to enforce. */
		if (strcmp(path, "/proc/sys/net/ipv4/ip_unprivileged_port_start") != 0)
			set(path, sysctl->v[i].value, log);
	}
}
