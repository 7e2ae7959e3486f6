/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "guest/agent/process.h"

enum { MAPS_MAX = 340, MAP_TEXT_MAX = 4096 };

typedef Supermachine__Agent__V1__IdMap idmap;

/*
 * Two namespaces are entered at birth only: for the time of the clone the agent's children are born
 * into the one that is wanted. The agent itself never is in it.
 */
struct birth {
	int pid_ns, time_ns;	/* the agent's own, to come back to; -1: nothing to undo */
};

static int own_ns(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int begin_pid_ns(struct birth *b, int init)
{
	b->pid_ns = own_ns("pid");
	if (b->pid_ns < 0)
		return b->pid_ns;
	return setns(init, CLONE_NEWPID) < 0 ? -errno : 0;
}

static int begin_time_ns(struct birth *b, const Supermachine__Agent__V1__Container *c)
{
	b->time_ns = own_ns("time");
	if (b->time_ns < 0)
		return b->time_ns;
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	for (size_t i = 0; i < c->n_time_offsets; i++) {
		sm_auto_free char *text = sm_strf("%s %s\n", c->time_offsets[i]->key,
						  c->time_offsets[i]->value);
		int r = text ? sm_write_existing_at(AT_FDCWD, "/proc/self/timens_offsets", text) :
			       -ENOMEM;

		if (r < 0)
			return r;
	}
	return 0;
}

static int begin(struct birth *b, const struct sm_child *ch, struct sm_err *err)
{
	int r = 0;

	if (!ch->container && (ch->namespaces & CLONE_NEWPID))
		r = begin_pid_ns(b, ch->init);
	if (r < 0)
		return sm_err_sys(err, r, "%s", "enter the pid namespace");
	if (ch->container && (ch->namespaces & CLONE_NEWTIME))
		r = begin_time_ns(b, ch->container);
	return r < 0 ? sm_err_sys(err, r, "%s", "make a time namespace") : 0;
}

static void end(struct birth *b)
{
	if (b->pid_ns >= 0)
		setns(b->pid_ns, CLONE_NEWPID);
	if (b->time_ns >= 0)
		setns(b->time_ns, CLONE_NEWTIME);
	sm_close(&b->pid_ns);
	sm_close(&b->time_ns);
}

static int clone_child(const struct sm_child *ch, int cgroup, struct sm_spawned *out)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD,
		.pidfd = (uintptr_t)&out->pidfd,
		.exit_signal = SIGCHLD,
	};

	if (ch->container) {
		/* the cgroup namespace is made inside, where the cgroup is the container's */
		args.flags |= ch->namespaces & ~(uint64_t)(CLONE_NEWCGROUP | CLONE_NEWTIME);
		args.flags |= CLONE_NEWNS;
	}
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	out->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	return out->pid < 0 ? -errno : 0;
}

static int write_map(pid_t pid, const char *file, idmap *const *maps, size_t n)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(MAP_TEXT_MAX * 4);
	char path[64];

	if (!n || n > MAPS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int r = sm_buf_printf(&text, "%u %u %u\n", maps[i]->container_id, maps[i]->host_id,
				      maps[i]->size);

		if (r < 0)
			return r;
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return sm_write_existing_at(AT_FDCWD, path, (const char *)text.data);
}

static int write_maps(pid_t pid, const Supermachine__Agent__V1__Container *c, struct sm_err *err)
{
	int r = write_map(pid, "uid_map", c->uid_mappings, c->n_uid_mappings);

	if (r < 0)
		return sm_err_sys(err, r, "%s", "write uid_map");
	r = write_map(pid, "gid_map", c->gid_mappings, c->n_gid_mappings);
	return r < 0 ? sm_err_sys(err, r, "%s", "write gid_map") : 0;
}

/* What is done to the child from outside before it may go on. */
static int prepare(const struct sm_child *ch, const struct sm_spawned *s, struct sm_err *err)
{
	const char go = SM_SYNC_GO;
	int r = 0;

	if (ch->container && (ch->namespaces & CLONE_NEWUSER))
		r = write_maps(s->pid, ch->container, err);
	if (r == 0)
		r = sm_process_tune(s->pid, ch->process, err);
	if (r == 0 && send(s->sync, &go, 1, MSG_NOSIGNAL) != 1)
		r = sm_err_sys(err, errno, "%s", "talk to the new process");
	return r;
}

static void discard(struct sm_spawned *s)
{
	syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
	sm_close(&s->pidfd);
	sm_close(&s->sync);
}

int sm_spawn(const struct sm_child *ch, int cgroup, struct sm_spawned *out, struct sm_err *err)
{
	struct birth b = { -1, -1 };
	struct sm_child child = *ch;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return sm_err_sys(err, errno, "%s", "make a socket pair");
	r = begin(&b, ch, err);
	if (r == 0) {
		r = clone_child(ch, cgroup, out);
		if (r == 0 && out->pid == 0) {
			child.sync = pair[1];
			sm_child_run(&child);
		}
		if (r < 0)
			sm_err_sys(err, r, "%s", "clone");
	}
	end(&b);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	out->sync = pair[0];
	sm_set_nonblock(out->sync);
	r = prepare(ch, out, err);
	if (r < 0)
		discard(out);
	return r;
}
