/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define SEND_S     5
#define BARRIER_MS 30000 /* runc's */

const char *sm_notify_host(void)
{
	const char *host = getenv("NOTIFY_SOCKET");

	return host && *host ? host : NULL;
}

/* A path, or @NAME of an abstract socket. */
static int address(const char *host, struct sockaddr_un *sa, socklen_t *len)
{
	size_t n = strlen(host);

	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (*host != '/' && *host != '@')
		return -EAFNOSUPPORT;
	if (n >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memcpy(sa->sun_path, host, n);
	if (*host == '@')
		sa->sun_path[0] = '\0';
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*host == '/'));
	return 0;
}

static int connect_host(const char *host)
{
	const struct timeval patience = { SEND_S, 0 };
	sm_auto_close int fd = -1;
	struct sockaddr_un sa;
	socklen_t len;
	int r = address(host, &sa, &len);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	return sm_steal_fd(&fd);
}

static int say(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Whoever reads BARRIER=1 closes the end of a pipe that came with it. */
static int wait_taken(int fd)
{
	static const char word[] = "BARRIER=1";
	sm_auto_close int ours = -1, theirs = -1;
	struct pollfd p;
	int ends[2], n;
	ssize_t r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];
	r = sm_send_fds(fd, word, sizeof(word) - 1, &theirs, 1);
	if (r < 0)
		return (int)r;
	sm_close(&theirs);
	p = (struct pollfd){ .fd = ours, .events = POLLIN };
	do
		n = poll(&p, 1, BARRIER_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : n < 0 ? -errno : -ETIMEDOUT;
}

int sm_notify_tell(const char *host, pid_t pid, bool barrier, struct sm_err *err)
{
	sm_auto_free char *main_pid = sm_strf("MAINPID=%d\n", (int)pid);
	sm_auto_close int fd = main_pid ? connect_host(host) : -ENOMEM;
	int r = fd < 0 ? fd : say(fd, "READY=1\n");

	if (r == 0)
		r = say(fd, main_pid);
	if (r == 0 && barrier)
		r = wait_taken(fd);
	return r < 0 ? sm_err_sys(err, r, "NOTIFY_SOCKET \"%s\"", host) : 0;
}
