/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_host.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"

static int listen_at(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void make_rootfs(const char *dir)
{
	sm_auto_free char *cmd = sm_strf(
		"set -e; mkdir -p %1$s/host/rootfs %1$s/host/data; cd %1$s/host/rootfs;"
		"mkdir -p bin etc dev proc sys tmp root work; chmod 1777 tmp; cp /bin/busybox "
		"bin/busybox;"
		"for a in sh cat echo id ls mount hostname sleep stty env readlink stat dd wc kill "
		"grep "
		"true false nproc touch head tty; do ln -s busybox bin/$a; done;"
		"printf 'root:x:0:0::/root:/bin/sh\\nuser:x:1000:1000::/work:/bin/sh\\n' > "
		"etc/passwd;"
		"echo notexec > etc/plain; printf '\\001\\002' > bin/badelf; chmod 755 bin/badelf;"
		"echo hi > %1$s/host/data/file; mkdir %1$s/host/locked; chmod 711 %1$s",
		dir);

	assert_non_null(cmd);
	assert_int_equal(system(cmd), 0);
}

/* A cgroup v2 directory of the test's own; or the end of it. */
static char *make_cgroup(const char *dir, bool make)
{
	sm_auto_free char *mnt = sm_strf("%s/cgroup", dir);
	char *path = sm_strf("%s%s", mnt, strrchr(dir, '/'));

	if (make) {
		assert_int_equal(mkdir(mnt, 0755), 0);
		assert_int_equal(mount("cgroup2", mnt, "cgroup2", 0, NULL), 0);
		assert_int_equal(mkdir(path, 0755), 0);
	} else {
		/* the agent leaves it empty */
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(umount(mnt), 0);
	}
	return path;
}

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct agent_host *h = arg;

	(void)rpc;
	(void)err;
	h->done = true;
	h->code = SM_RPC_UNAVAILABLE;
	sm_loop_stop(h->loop);
}

void agent_host_start(struct agent_host *h)
{
	sm_auto_free char *sock = NULL, *arg = NULL, *host = NULL, *cgroup = NULL;
	int listener;

	*h = (struct agent_host){ .dir = "/tmp/sm-agent-test.XXXXXX", .port = 5000 };
	assert_non_null(mkdtemp(h->dir));
	make_rootfs(h->dir);
	sock = sm_strf("%s/sock", h->dir);
	arg = sm_strf("unix:%s", sock);
	host = sm_strf("%s/host", h->dir);
	cgroup = make_cgroup(h->dir, true);
	listener = listen_at(sock);
	h->pid = fork();
	assert_true(h->pid >= 0);
	if (h->pid == 0) {
		const char *const argv[] = { "sm-agent", "--connect", arg,	 "--host",
					     host,	 "--cgroup", cgroup, NULL };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		execv("./sm-agent", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	h->loop = sm_loop_new();
	assert_non_null(h->loop);
	assert_int_equal(sm_rpc_new(h->loop, accept4(listener, NULL, NULL, SOCK_CLOEXEC), NULL,
				    NULL, on_closed, h, &h->rpc),
			 0);
	close(listener);
}

void agent_host_stop(struct agent_host *h)
{
	sm_auto_free char *cmd = sm_strf("rm -rf --one-file-system %s", h->dir);
	int status;

	sm_rpc_free(h->rpc);
	sm_loop_free(h->loop);
	if (h->rsp)
		protobuf_c_message_free_unpacked(h->rsp, NULL);
	assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
	assert_int_equal(status, 0);
	free(make_cgroup(h->dir, false));
	assert_int_equal(system(cmd), 0);
}

static void on_done(void *arg, enum sm_rpc_code code, const char *text, const ProtobufCMessage *rsp)
{
	struct agent_host *h = arg;

	h->done = true;
	h->code = code;
	snprintf(h->text, sizeof(h->text), "%s", text ? text : "");
	if (rsp) {
		sm_auto_free uint8_t *packed = malloc(protobuf_c_message_get_packed_size(rsp) + 1);
		size_t n = protobuf_c_message_pack(rsp, packed);

		h->rsp = protobuf_c_message_unpack(rsp->descriptor, NULL, n, packed);
	}
	sm_loop_stop(h->loop);
}

enum sm_rpc_code agent_call(struct agent_host *h, const char *method, const ProtobufCMessage *req,
			    const ProtobufCMessageDescriptor *out)
{
	if (h->rsp)
		protobuf_c_message_free_unpacked(h->rsp, NULL);
	h->rsp = NULL;
	h->done = false;
	if (!out)
		out = &supermachine__agent__v1__empty__descriptor;
	assert_int_equal(sm_rpc_send(h->rpc, "supermachine.agent.v1.Agent", method, req, NULL, 0,
				     out, on_done, h),
			 0);
	while (!h->done)
		assert_int_equal(sm_loop_run(h->loop), 0);
	return h->code;
}

void agent_stream_listen(struct agent_host *h, struct agent_stream *s)
{
	sm_auto_free char *path = NULL;

	s->port = ++h->port;
	path = sm_strf("%s/sock_%u", h->dir, s->port);
	s->listen = listen_at(path);
	s->fd = -1;
}

void agent_stream_accept(struct agent_stream *s)
{
	s->fd = accept4(s->listen, NULL, NULL, SOCK_CLOEXEC);
	assert_true(s->fd >= 0);
	sm_close(&s->listen);
}

void agent_stream_read(struct agent_stream *s, struct sm_buf *text)
{
	char chunk[65536];
	ssize_t n;

	while ((n = read(s->fd, chunk, sizeof(chunk))) > 0)
		assert_int_equal(sm_buf_put(text, chunk, (size_t)n), 0);
	sm_close(&s->fd);
}
