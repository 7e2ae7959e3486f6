/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sm-agent, PID 1 of the VM. Everything on the way to the first container costs time that somebody
 * waits for: to connect to the host is the first thing done, and all is set up while that is made.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/log.h"
#include "base/opt.h"
#include "guest/agent/container.h"
#include "guest/agent/guest.h"
#include "guest/agent/vm.h"

#define RETRY_NS UINT64_C(50000000)

static void connect_host(void *arg);

static void on_closed(void *arg, struct sm_rpc *rpc, int err)
{
	struct sm_guest *g = arg;

	sm_debug("the connection to the host ended: %s", err ? strerrordesc_np(-err) : "closed");
	sm_rpc_free(rpc);
	g->rpc = NULL;
	if (g->ending || !g->vm)
		sm_vm_end(g);
	connect_host(g);
}

/* fd: of sm_link_connect() */
static void meet_host(struct sm_guest *g, int fd)
{
	int r = fd;

	sm_vm_settle(g);
	if (r >= 0)
		r = sm_link_wait(fd);
	if (r == 0)
		r = sm_rpc_new(g->loop, sm_steal_fd(&fd), &sm_guest_service, g, on_closed, g,
			       &g->rpc);
	if (r == 0) {
		/* A Wait stands for each process. How many there are is sm-vmm's to bound, whose
		 * machine this is. */
		sm_rpc_set_inflight(g->rpc, SIZE_MAX);
		return;
	}
	sm_close(&fd);
	sm_debug("cannot connect to the host: %s", strerrordesc_np(-r));
	if (g->retry)
		sm_timer_set(g->loop, g->retry, RETRY_NS);
	else if (sm_timer_add(g->loop, RETRY_NS, connect_host, g, &g->retry) < 0)
		sm_vm_end(g);
}

static void connect_host(void *arg)
{
	struct sm_guest *g = arg;

	meet_host(g, sm_link_connect(&g->link, SM_AGENT_PORT));
}

static void on_signal(void *arg, int signo)
{
	if (signo == SIGCHLD)
		sm_container_reap(arg);
}

/* Tests run the agent as an ordinary program. */
static int parse(struct sm_guest *g, int argc, char **argv)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	const char *link = NULL;
	const struct sm_opt opts[] = {
		{ "connect", 0, SM_OPT_STRING, &link, "unix:PATH", "where the host listens" },
		{ "host", 0, SM_OPT_STRING, &g->host, "DIR", "directory of the exports" },
		{ "cgroup", 0, SM_OPT_STRING, &g->cgroup_root, "DIR", "cgroup of the containers" },
		{ NULL, 0, SM_OPT_BOOL, NULL, NULL, NULL },
	};
	char *pos[8];
	size_t npos = 0;

	g->cgroup_root = NULL;
	if (argc > 8 || sm_opt_parse(opts, argc, argv, SIZE_MAX, pos, &npos, &err) < 0 || npos ||
	    !link || strncmp(link, "unix:", 5) != 0) {
		sm_error("sm-agent: usage: sm-agent --connect unix:PATH --host DIR [--cgroup DIR] "
			 "%s",
			 err.msg ? err.msg : "");
		return -EINVAL;
	}
	g->link.unix_path = link + 5;
	return 0;
}

static int set_up(struct sm_guest *g)
{
	sigset_t set;

	g->loop = sm_loop_new();
	if (!g->loop)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	return sm_loop_signals(g->loop, &set, on_signal, g);
}

int main(int argc, char **argv)
{
	struct sm_guest g = { .host = "/run/host", .cgroup_root = "/sys/fs/cgroup" };
	struct timespec began;
	int r, fd;

	clock_gettime(CLOCK_BOOTTIME, &began);
	g.began_ns = (uint64_t)began.tv_sec * 1000000000u + (uint64_t)began.tv_nsec;
	g.vm = getpid() == 1;
	sm_log_setup(2, SM_LOG_TEXT, SM_LOG_WARN);
	if (!g.vm && parse(&g, argc, argv) < 0)
		return 2;
	fd = sm_link_connect(&g.link, SM_AGENT_PORT);
	r = set_up(&g);
	if (r == 0) {
		meet_host(&g, fd);
		r = sm_loop_run(g.loop);
	}
	sm_error("sm-agent: the event loop ended: %s", strerrordesc_np(-r));
	sm_vm_end(&g);
}
