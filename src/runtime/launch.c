/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 *	sm-runtime					child
 *	fork ───────────────────────────────────────►	waits for `go`
 *	its pid and start time into state.json
 *	its pid into the cgroups
 *	go ─────────────────────────────────────────►	session, netns, descriptors, exec
 *	reads `status` to its end  ◄─────────────────	struct report: the time of the exec; then closed
 *							by it, or another: what failed
 *
 * If sm-runtime is killed before `go`, the child reads the end of the pipe and is gone; after it,
 * the container can be found by state.json, and sm-vmm gives up by itself when its control socket
 * closes before the container was made.
 *
 * The child is the first process of a pid namespace, so that QEMU and whatever else it may start
 * ends with it, by the kernel's hand. There is no double fork: who adopts sm-runtime's children
 * (conmon, containerd's shim) has to be able to wait for sm-vmm.
 */
#include "runtime/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/netns.h"

#define LOG_NAME "vmm.log"
#define CONSOLE_NAME "console.log"
#define TAIL 2000
#define DEATH_MS 2000

/* Where sm-vmm finds its descriptors */
enum {
	FD_CONTROL = 3,
	FD_LISTEN,
	FD_STATUS,
	FD_MEMORY,
	FD_BRIDGE,
	FD_ENVIRONMENT,
	FD_SOCKETS,
	FD_FREE = FD_SOCKETS + SM_SERVICE_SOCKETS_MAX
};

enum step { STEP_SESSION, STEP_NETNS, STEP_LOOPBACK, STEP_FDS, STEP_EXEC, STEP_NUM };

static const char *const step_names[] = {
	[STEP_SESSION] = "make a session",
	[STEP_NETNS] = "enter the network namespace",
	[STEP_LOOPBACK] = "bring up the loopback interface",
	[STEP_FDS] = "arrange descriptors",
	[STEP_EXEC] = "run it",
};
_Static_assert(SM_ARRAY_SIZE(step_names) == STEP_NUM, "a name for each step");

struct report {
	uint64_t ns;
	enum step step;
	int code;	/* 0: not failed so far */
};

struct fds {		/* -1 where not open */
	int control[2];	/* ours, the child's */
	int go[2], status[2];	/* read, write */
	int listen, log, null, netns, memory, bridge;
	struct sm_service_fds services; /* borrowed; of the child once it arranged them */
	bool own_netns;		/* not the one that sm-runtime is in */
};

/* ---- the child ------------------------------------------------------------------------------ */

static int enter_netns(const struct sm_launch_config *c, const struct fds *f, enum step *step)
{
	bool looped = false;
	int r = 0;

	if (c->netns == SM_NETNS_PATH)
		r = setns(f->netns, CLONE_NEWNET) < 0 ? -errno : 0;
	else if (c->netns == SM_NETNS_NEW)
		r = sm_netns_make(&looped);
	*step = looped ? STEP_LOOPBACK : STEP_NETNS;
	if (r == 0 && c->tsi && f->own_netns)
		sm_netns_prepare(c->sysctl, f->log);
	return r;
}

/* Out of the way of the numbers that they will get. */
static int lift(int *fd)
{
	*fd = fcntl(*fd, F_DUPFD_CLOEXEC, 64);
	return *fd < 0 ? -errno : 0;
}

/* Where one is missing, nothing else may stand. */
static int place(int fd, int number)
{
	if (fd < 0)
		close(number);
	return fd >= 0 && dup2(fd, number) < 0 ? -errno : 0;
}

static int arrange_services(struct fds *f)
{
	int r = place(f->bridge, FD_BRIDGE);

	if (r == 0)
		r = place(f->services.environment, FD_ENVIRONMENT);
	for (int i = 0; r == 0 && i < SM_SERVICE_SOCKETS_MAX; i++)
		r = place((size_t)i < f->services.n ? f->services.sockets[i].fd : -1,
			  FD_SOCKETS + i);
	return r;
}

static int arrange_fds(struct fds *f)
{
	int *const all[] = { &f->control[1], &f->listen, &f->status[1], &f->log,
			     &f->null,       &f->memory, &f->bridge,    &f->services.environment };
	int r = 0;

	for (size_t i = 0; r == 0 && i < SM_ARRAY_SIZE(all); i++)
		if (*all[i] >= 0)
			r = lift(all[i]);
	for (size_t i = 0; r == 0 && i < f->services.n; i++)
		r = lift(&f->services.sockets[i].fd);
	if (r < 0)
		return r;
	if (dup2(f->null, 0) < 0 || dup2(f->null, 1) < 0 || dup2(f->log, 2) < 0 ||
	    dup2(f->control[1], FD_CONTROL) < 0 || dup2(f->listen, FD_LISTEN) < 0 ||
	    dup3(f->status[1], FD_STATUS, O_CLOEXEC) < 0)
		return -errno;
	f->status[1] = FD_STATUS;
	r = place(f->memory, FD_MEMORY);
	if (r == 0)
		r = arrange_services(f);
	if (r < 0)
		return r;
	return syscall(SYS_close_range, FD_FREE, ~0u, 0) < 0 ? -errno : 0;
}

/* The first process of a pid namespace does not get signals for which it has no handler. Those that a
 * caller may send wait until sm-vmm has set up its own way to receive them. */
static void hold_signals(void)
{
	static const int held[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < SM_ARRAY_SIZE(held); i++)
		sigaddset(&set, held[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
}

/* The name is the container's to whoever looks at its pid: the uts namespace can be named to others
 * of its pod. What helps but may be refused. */
static void take_name(const struct sm_launch_config *c)
{
	if (*c->hostname && unshare(CLONE_NEWUTS) == 0 &&
	    sethostname(c->hostname, strlen(c->hostname)) < 0)
		sm_debug("hostname \"%s\": %s", c->hostname, strerror(errno));
}

/* What helps but may be refused. */
static void adjust_limits(const struct sm_launch_config *c)
{
	char text[32];
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	if (c->oom_score_adj.set) {
		snprintf(text, sizeof(text), "%lld", (long long)c->oom_score_adj.v);
		sm_write_existing_at(AT_FDCWD, "/proc/self/oom_score_adj", text);
	}
}

/* A fork that makes a pid namespace, if it may. The pid is the caller's name for the child. */
static pid_t fork_namespace(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);

	return pid < 0 && errno == EPERM ? fork() : (pid_t)pid;
}

static void exec_vmm(const struct sm_launch_config *c, char **argv, struct fds *f)
{
	struct report report;
	char go;
	int r;

	hold_signals();
	close(f->go[1]);
	if (read(f->go[0], &go, 1) != 1)
		_exit(0);
	report = (struct report){ .step = STEP_SESSION };
	r = setsid() < 0 ? -errno : 0;
	if (r == 0)
		r = enter_netns(c, f, &report.step);
	if (r == 0) {
		adjust_limits(c);
		take_name(c);
		report.step = STEP_FDS;
		r = chdir("/") < 0 ? -errno : arrange_fds(f);
	}
	if (r == 0) {
		report.step = STEP_EXEC;
		report.ns = sm_now_ns();
		sm_write_full(f->status[1], &report, sizeof(report));
		execv(c->settings->vmm, argv);
		r = -errno;
	}
	report.code = r;
	sm_write_full(f->status[1], &report, sizeof(report));
	_exit(255);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static void close_fds(struct fds *f)
{
	int *const all[] = { &f->control[0], &f->control[1], &f->go[0],  &f->go[1],
			     &f->status[0],  &f->status[1],  &f->listen, &f->log,
			     &f->null,       &f->netns,      &f->memory, &f->bridge };

	for (size_t i = 0; i < SM_ARRAY_SIZE(all); i++)
		sm_close(all[i]);
}

static int open_fds(const struct sm_launch_config *c, const struct sm_store *s,
		    const struct sm_cgroups *cg, struct fds *f, struct sm_err *err)
{
	const char *memory;

	if (c->netns == SM_NETNS_PATH) {
		f->netns = open(c->netns_path, O_RDONLY | O_CLOEXEC);
		if (f->netns < 0)
			return sm_err_sys(err, errno, "network namespace \"%s\"", c->netns_path);
	}
	f->own_netns = c->netns == SM_NETNS_NEW ||
		       (c->netns == SM_NETNS_PATH && !sm_netns_is_ours(f->netns));
	f->log = openat(s->dirfd, LOG_NAME, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			0600);
	if (f->log < 0)
		return sm_err_sys(err, errno, "%s/%s/" LOG_NAME, s->root, s->id);
	memory = sm_cgroup_v1_dir(cg, "memory");
	if (!memory)
		memory = sm_cgroup_v2_dir(cg, "memory");
	if (memory)
		f->memory = open(memory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	f->services = *c->services;
	f->listen = sm_vmm_listen(s->dirfd, SM_VMM_SOCKET);
	if (f->listen < 0)
		return sm_err_sys(err, f->listen, "%s/%s/" SM_VMM_SOCKET, s->root, s->id);
	f->bridge = sm_vmm_listen(s->dirfd, SM_VSOCK_SOCKET);
	if (f->bridge < 0)
		return sm_err_sys(err, f->bridge, "%s/%s/" SM_VSOCK_SOCKET, s->root, s->id);
	f->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (f->null < 0)
		return sm_err_sys(err, errno, "/dev/null");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->control) < 0 ||
	    pipe2(f->go, O_CLOEXEC) < 0 || pipe2(f->status, O_CLOEXEC) < 0)
		return sm_err_sys(err, errno, "sockets and pipes for sm-vmm");
	return 0;
}

#define ARGS_MAX 48

/* "PORT=DESCRIPTOR,…", "" for none. */
static const char *list_sockets(const struct sm_service_fds *fds, struct sm_arena *arena)
{
	const char *text = "";

	for (size_t i = 0; text && i < fds->n; i++)
		text = sm_arena_strf(arena, "%s%s%u=%d", text, i ? "," : "", fds->sockets[i].port,
				     FD_SOCKETS + (int)i);
	return text;
}

static int build_args(const struct sm_launch_config *c, const struct sm_store *s,
		      const struct fds *f, struct sm_arena *arena, char **argv)
{
	const char *const args[] = {
		"sm-vmm",
		"--id",
		c->id,
		"--state-dir",
		sm_arena_strf(arena, "%s/%s", s->root, s->id),
		"--control-fd",
		sm_arena_strf(arena, "%d", FD_CONTROL),
		"--listen-fd",
		sm_arena_strf(arena, "%d", FD_LISTEN),
		"--hypervisor",
		c->backend->name,
		"--kernel",
		c->kernel,
		"--initrd",
		c->initrd,
		"--vcpus",
		sm_arena_strf(arena, "%u", c->size.vcpus),
		"--memory",
		sm_arena_strf(arena, "%u", c->size.memory_mib),
		"--qemu",
		c->settings->qemu,
		"--network",
		c->tsi ? "tsi" : "none",
		"--bridge-fd",
		sm_arena_strf(arena, "%d", FD_BRIDGE),
	};
	const char *sockets = list_sockets(&f->services, arena);
	const struct {
		const char *name, *value;
	} more[] = {
		{ "--cmdline", c->cmdline },
		{ "--network-policy", c->policy },
		{ "--ports", c->ports },
		{ "--vsock-ports", sockets },
		{ "--environment-fd",
		  f->services.environment < 0 ? NULL : sm_arena_strf(arena, "%d", FD_ENVIRONMENT) },
	};
	const struct {
		bool set;
		const char *name;
	} flags[] = {
		{ c->backend->kvm && c->settings->hugepages, "--hugepages" },
		{ c->backend->kvm && c->settings->early_console, "--serial" },
		{ c->settings->core_dumps, "--core-dumps" },
		{ c->tsi && !f->own_netns, "--bind-privileged" },
		{ c->debug, "--debug" },
	};
	size_t n = SM_ARRAY_SIZE(args);

	_Static_assert(SM_ARRAY_SIZE(args) + 2 * SM_ARRAY_SIZE(more) + 2 + SM_ARRAY_SIZE(flags) <=
			       ARGS_MAX,
		       "room for all arguments");
	if (!sockets)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!args[i])
			return -ENOMEM;
		argv[i] = (char *)args[i];
	}
	for (size_t i = 0; i < SM_ARRAY_SIZE(more); i++) {
		if (!more[i].value || !*more[i].value)
			continue;
		argv[n++] = (char *)more[i].name;
		argv[n++] = (char *)more[i].value;
	}
	if (f->memory >= 0) {
		argv[n++] = (char *)"--memory-cgroup-fd";
		argv[n] = (char *)sm_arena_strf(arena, "%d", FD_MEMORY);
		if (!argv[n++])
			return -ENOMEM;
	}
	for (size_t i = 0; i < SM_ARRAY_SIZE(flags); i++)
		if (flags[i].set)
			argv[n++] = (char *)flags[i].name;
	argv[n] = NULL;
	return 0;
}

/* Until the exec, or the child's report of what failed. */
static int read_status(const struct sm_launch_config *c, int fd, uint64_t *launched_ns,
		       struct sm_err *err)
{
	struct report report;
	int r;

	while ((r = sm_read_full(fd, &report, sizeof(report))) == 0 && !report.code)
		*launched_ns = report.ns;
	if (r == -ENODATA)
		return 0;
	if (r < 0)
		return sm_err_sys(err, r, "start sm-vmm");
	return sm_err_sys(err, report.code, "start sm-vmm (%s): %s",
			  report.step == STEP_NETNS && c->netns_path ? c->netns_path :
								       c->settings->vmm,
			  report.step < STEP_NUM ? step_names[report.step] : "?");
}

static int follow_child(const struct sm_launch_config *c, const struct sm_store *s,
			struct sm_state *state, const struct sm_cgroups *cg, struct sm_launch *l,
			struct fds *f, struct sm_err *err)
{
	int r;

	l->pidfd = (int)syscall(SYS_pidfd_open, l->proc.pid, 0);
	if (l->pidfd < 0)
		return sm_err_sys(err, errno, "sm-vmm: pidfd");
	r = sm_proc_start_time(l->proc.pid, &l->proc.start);
	if (r < 0)
		return sm_err_sys(err, r, "sm-vmm: start time");
	state->vmm = l->proc;
	r = sm_store_save(s, state, err);
	if (r == 0)
		r = sm_cgroup_join(cg, l->proc.pid, err);
	if (r == 0)
		r = sm_cgroup_check(cg, l->proc.pid, err);
	if (r < 0)
		return r;
	sm_close(&f->control[1]);
	sm_close(&f->status[1]);
	sm_close(&f->go[0]);
	r = sm_write_full(f->go[1], "g", 1);
	if (r == -EPIPE)
		return sm_err_set(err, -ECONNRESET, "start sm-vmm: it was killed");
	if (r < 0)
		return sm_err_sys(err, r, "start sm-vmm");
	return read_status(c, f->status[0], &l->launched_ns, err);
}

int sm_launch_start(const struct sm_launch_config *c, const struct sm_store *s,
		    struct sm_state *state, const struct sm_cgroups *cg, struct sm_launch *l,
		    struct sm_err *err)
{
	struct fds f = { { -1, -1 }, { -1, -1 }, { -1, -1 },          -1,   -1, -1, -1,
			 -1,         -1,         SM_SERVICE_FDS_INIT, false };
	char *argv[ARGS_MAX + 1];
	int r = open_fds(c, s, cg, &f, err);

	if (r == 0 && build_args(c, s, &f, state->arena, argv) < 0)
		r = sm_err_sys(err, -ENOMEM, "start sm-vmm");
	if (r == 0) {
		l->proc.pid = fork_namespace();
		if (l->proc.pid == 0)
			exec_vmm(c, argv, &f);
		r = l->proc.pid < 0 ? sm_err_sys(err, errno, "start sm-vmm: fork") :
				      follow_child(c, s, state, cg, l, &f, err);
	}
	if (r == 0) {
		l->control = sm_steal_fd(&f.control[0]);
	} else {
		sm_close(&f.go[1]);
		sm_launch_kill(l);
	}
	close_fds(&f);
	return r;
}

void sm_launch_kill(struct sm_launch *l)
{
	if (l->proc.pid > 0) {
		kill(l->proc.pid, SIGKILL);	/* our child: the pid is nobody else's */
		while (waitpid(l->proc.pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	l->proc.pid = 0;
	sm_launch_release(l);
}

void sm_launch_release(struct sm_launch *l)
{
	sm_close(&l->control);
	sm_close(&l->pidfd);
}

/* ---- what it left ---------------------------------------------------------------------------- */

/* The last whole lines of a file of the state directory; NULL if there are none. */
static char *tail(const struct sm_store *s, const char *name)
{
	sm_auto_close int fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	off_t start = end > TAIL ? end - TAIL : 0;
	char *text = end > 0 ? calloc(1, TAIL + 1) : NULL;
	ssize_t n = text ? pread(fd, text, TAIL, start) : 0;
	char *nl;

	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	nl = n > 0 && start ? strchr(text, '\n') : NULL;
	if (nl)
		memmove(text, nl + 1, strlen(nl + 1) + 1);
	if (n > 0)
		return text;
	free(text);
	return NULL;
}

static char *describe_end(struct sm_launch *l)
{
	int status;

	if (sm_proc_wait_end(l->pidfd, DEATH_MS) < 0)
		return sm_strf("sm-vmm (pid %d) closed its control socket", (int)l->proc.pid);
	if (waitpid(l->proc.pid, &status, 0) != l->proc.pid)
		return sm_strf("sm-vmm ended");
	l->proc.pid = 0;
	if (WIFSIGNALED(status))
		return sm_strf("sm-vmm was killed by signal %d", WTERMSIG(status));
	return sm_strf("sm-vmm exited with status %d", WEXITSTATUS(status));
}

void sm_launch_explain(struct sm_launch *l, const struct sm_store *s, struct sm_err *err)
{
	sm_auto_free char *end = describe_end(l);
	sm_auto_free char *log = tail(s, LOG_NAME);
	/* sm-vmm's own words have the console in them */
	bool told = !strncmp(sm_err_text(err), "VM lost", 7);
	sm_auto_free char *console = told ? NULL : tail(s, CONSOLE_NAME);
	sm_auto_free char *first = strdup(sm_err_text(err));

	sm_err_set(err, -ECONNRESET, "%s; %s%s%s%s%s", first ? first : "connection lost",
		   end ? end : "sm-vmm ended", log ? "; its log: " : "", log ? log : "",
		   console ? "; guest console: " : "", console ? console : "");
}
