/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/container.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "guest/agent/mount.h"
#include "guest/agent/reply.h"
#include "guest/agent/resources.h"
#include "guest/agent/vm.h"

struct sm_container *sm_container_find(struct sm_guest *g, const char *id)
{
	struct sm_container *c = g->containers;

	while (c && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

static void free_container(struct sm_container *c)
{
	struct sm_container **at = &c->g->containers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	while (c->procs)
		sm_proc_free(c->procs);
	sm_loop_remove(c->g->loop, c->cgroup_io);
	sm_oom_end(c);
	for (size_t i = 0; i < c->nexports; i++)
		free(c->exports[i]);
	free(c->exports);
	free(c->id);
	sm_err_clear(&c->failure);
	free(c);
}

static bool export_used(const struct sm_guest *g, const char *name)
{
	for (const struct sm_container *c = g->containers; c; c = c->next)
		for (size_t i = 0; i < c->nexports; i++)
			if (!strcmp(c->exports[i], name))
				return true;
	return false;
}

/* The automounts of the exports; the host may use their names for others now. */
static void drop_exports(struct sm_container *c)
{
	while (c->nexports) {
		sm_auto_free char *name = c->exports[--c->nexports];
		char path[PATH_MAX];

		if (c->g->vm && !export_used(c->g, name) &&
		    sm_mount_export_path(c->g->host, name, path, sizeof(path)) == 0)
			umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
}

/* Notes an export and has the kernel mount it now, in the VM's namespace: containers get clones. */
static int add_export(struct sm_container *c, const char *name)
{
	char path[PATH_MAX];
	int r = sm_mount_export_path(c->g->host, name, path, sizeof(path));
	int fd;

	if (r < 0)
		return r;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	sm_close(&fd);
	c->exports[c->nexports] = strdup(name);
	if (!c->exports[c->nexports])
		return -ENOMEM;
	c->nexports++;
	return 0;
}

static int add_exports(struct sm_container *c, const Supermachine__Agent__V1__Container *msg,
		       struct sm_err *err)
{
	int r;

	c->exports = calloc(msg->n_mounts + 1, sizeof(*c->exports));
	if (!c->exports)
		return sm_err_sys(err, -ENOMEM, "%s", "exports");
	r = add_export(c, msg->root_export);
	for (size_t i = 0; i < msg->n_mounts && r == 0; i++)
		if (*msg->mounts[i]->export)
			r = add_export(c, msg->mounts[i]->export);
	return r < 0 ? sm_err_sys(err, r, "%s", "name of an export") : 0;
}

/* In a process of its own, because the host may take its time. */
static void begin_sync(struct sm_container *c)
{
	c->sync_pid = c->nexports ? fork() : -1;
	if (c->sync_pid != 0)
		return;
	close_range(3, ~0u, 0);
	for (size_t i = 0; i < c->nexports; i++) {
		char path[PATH_MAX];
		sm_auto_close int fd = -1;

		if (sm_mount_export_path(c->g->host, c->exports[i], path, sizeof(path)) < 0)
			continue;
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0)
			syncfs(fd);
	}
	_exit(0);
}

static bool any_alive(const struct sm_container *c)
{
	for (const struct sm_proc *p = c->procs; p; p = p->next)
		if (p->state != SM_PROC_ENDED && p->sp.pid > 0)
			return true;
	return sm_cgroup_populated(&c->cgroup);
}

static void remove_container(struct sm_container *c)
{
	struct sm_rpc_call *done = c->delete_call, *failed = c->failed_call;
	sm_auto_err struct sm_err err = c->failure;

	c->failure = (struct sm_err)SM_ERR_INIT;
	sm_loop_remove(c->g->loop, c->cgroup_io);
	c->cgroup_io = NULL;
	sm_oom_end(c);
	sm_notify_end(c);
	if (sm_cgroup_remove(&c->cgroup) < 0)
		sm_warn("cannot remove the cgroup of %s", c->id);
	drop_exports(c);
	free_container(c);
	if (done)
		sm_reply_empty(done);
	if (failed)
		sm_rpc_fail(failed, SM_RPC_UNKNOWN, "%s", sm_err_text(&err));
}

void sm_container_advance(struct sm_container *c)
{
	struct sm_proc *first = c->first;

	if (c->deleting) {
		for (struct sm_proc *p = c->procs; p; p = p->next)
			sm_proc_kill(p, SIGKILL);
		if (!any_alive(c) && c->sync_pid <= 0)
			remove_container(c);
		else
			sm_cgroup_kill(&c->cgroup);
		return;
	}
	if (first->state != SM_PROC_ENDED || c->gone)
		return;
	if (any_alive(c)) {
		sm_cgroup_kill(&c->cgroup);
		return;
	}
	if (first->io && !sm_stdio_drained(first->io))
		return;
	sm_stdio_free(sm_steal_ptr(first->io));
	if (c->sync_pid == 0)
		begin_sync(c);
	if (c->sync_pid > 0)
		return;
	/* who waits for these is told before who waits for the end */
	sm_oom_end(c);
	sm_notify_end(c);
	c->gone = true;
	sm_proc_answer(first);
}

static void on_cgroup(void *arg, uint32_t events)
{
	(void)events;
	sm_container_advance(arg);
}

struct sm_container *sm_container_new(struct sm_guest *g,
				      const Supermachine__Agent__V1__Container *msg)
{
	struct sm_container *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->g = g;
	c->cgroup = (struct sm_cgroup)SM_CGROUP_INIT;
	c->oom.fd = -1;
	c->notify = (struct sm_notify)SM_NOTIFY_INIT;
	c->namespaces = msg->namespaces | CLONE_NEWNS;
	c->id = strdup(msg->id);
	c->next = g->containers;
	g->containers = c;
	c->first = c->id ? sm_proc_new(c, "") : NULL;
	if (!c->first) {
		free_container(c);
		return NULL;
	}
	return c;
}

int sm_container_build(struct sm_container *c,
		       const Supermachine__Agent__V1__CreateContainerRequest *req,
		       struct sm_err *err)
{
	const Supermachine__Agent__V1__Container *msg = req->container;
	struct sm_child ch = {
		.container = msg, .process = msg->process, .init = -1, .fd = { -1, -1, -1 },
	};
	int r = sm_vm_prepare(c->g, err);

	if (r == 0)
		r = add_exports(c, msg, err);
	if (r == 0 && c->g->cgroup_root)
		r = sm_cgroup_make(&c->cgroup, c->g->cgroup_root, msg, err);
	if (r == 0 && c->cgroup.events >= 0)
		sm_loop_add(c->g->loop, c->cgroup.events, EPOLLPRI | EPOLLET, on_cgroup, c,
			    &c->cgroup_io);
	if (r == 0 && c->cgroup.fd >= 0)
		sm_oom_watch(c);
	if (r == 0 && *msg->notify_dir)
		r = sm_notify_open(c, msg->notify_dir, err);
	if (r == 0)
		r = sm_proc_launch(c->first, &ch, req->stdio, err);
	if (r < 0)
		return r;
	/* the new process is busy with its mounts, for which it does not need this */
	return sm_cgroup_guard_devices(&c->cgroup, msg, err);
}

static void reaped(struct sm_guest *g, pid_t pid, int status)
{
	for (struct sm_container *c = g->containers; c; c = c->next) {
		if (c->sync_pid == pid) {
			c->sync_pid = -1;
			sm_container_advance(c);
			return;
		}
		for (struct sm_proc *p = c->procs; p; p = p->next) {
			if (p->state != SM_PROC_ENDED && p->sp.pid == pid) {
				sm_proc_ended(p, status);
				return;
			}
		}
	}
}

void sm_container_reap(struct sm_guest *g)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		reaped(g, pid, status);
}
