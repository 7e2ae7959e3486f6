/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "vsock/services.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"

struct mapping {
	uint32_t port;
	int fd;
	bool told; /* that it cannot be reached */
};

struct sm_services {
	struct sm_vsock *vs;
	int environment; /* -1: none, or served */
	struct mapping map[SM_SERVICES_MAX];
	uint32_t n;
};

int sm_services_new(struct sm_vsock *vs, struct sm_services **out)
{
	struct sm_services *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->vs = vs;
	s->environment = -1;
	*out = s;
	return 0;
}

void sm_services_free(struct sm_services *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		close(s->map[i].fd);
	sm_close(&s->environment);
	free(s);
}

/* ---- unix sockets of the host ---- */

/* By its descriptor: there are no other names in the jail. A server whose queue is full is as good
 * as none, as the loop waits for nobody. #syscalls:loop socket(0=AF_UNIX) connect close */
static int connect_to(int target)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", target);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int serve_mapping(void *arg, struct sm_vsock_stream *d)
{
	struct mapping *m = arg;
	int fd = connect_to(m->fd);

	if (fd < 0) {
		if (!m->told)
			sm_warn("vsock port %u: the socket of the host: %s", m->port,
				strerror(-fd));
		m->told = true;
		return fd;
	}
	m->told = false;
	d->source = d->sink = fd;
	return 0;
}

int sm_services_map(struct sm_services *s, uint32_t port, int fd)
{
	struct mapping *m = &s->map[s->n];
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	sm_set_cloexec(fd, 1);
	if (s->n == SM_SERVICES_MAX)
		return -ENOSPC;
	*m = (struct mapping){ .port = port, .fd = fd };
	r = sm_vsock_serve(s->vs, port, serve_mapping, m);
	if (r == 0)
		s->n++;
	return r;
}

int sm_services_map_list(struct sm_services *s, const char *list, struct sm_err *err)
{
	const char *at = list;

	while (*at) {
		unsigned int port, fd;
		int n = 0, r;

		if (sscanf(at, "%9u=%9u%n", &port, &fd, &n) != 2 || (at[n] && at[n] != ','))
			return sm_err_set(err, -EINVAL, "%s: must be PORT=DESCRIPTOR,...", list);
		r = sm_services_map(s, port, (int)fd);
		if (r < 0)
			return sm_err_sys(err, r, "port %u: descriptor %u", port, fd);
		at += n + (at[n] == ',');
	}
	return 0;
}

/* ---- the environment ---- */

static int serve_environment(void *arg, struct sm_vsock_stream *d)
{
	struct sm_services *s = arg;

	if (s->environment < 0)
		return -ENOENT;
	d->source = sm_steal_fd(&s->environment);
	d->answer = true;
	return 0;
}

int sm_services_environment(struct sm_services *s, int fd)
{
	int r = sm_vsock_serve(s->vs, SM_ENVIRONMENT_PORT, serve_environment, s);

	if (r == 0)
		s->environment = fd;
	return r;
}
