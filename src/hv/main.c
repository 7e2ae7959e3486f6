/* SPDX-License-Identifier: Apache-2.0 */

/*
 * sm-vmm: one process for each VM. It is started by sm-runtime (or the shim), is the container's pid on
 * the host and exits with the container's status. main() is a checklist; every later line has less to
 * lose than the one before.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "base/opt.h"
#include "config.h"
#include "fs/fs.h"
#include "hv/boot/boot.h"
#include "hv/console.h"
#include "hv/hv.h"
#include "hv/jail.h"
#include "hv/kvm/probe.h"
#include "hv/oomhost.h"
#include "hv/sandbox.h"
#include "vsock/bridge.h"
#include "vsock/services.h"
#include "vsock/vsock.h"

#define FAILED 255
#define GUEST_CID 3
#define RESERVED_FDS 256u
#define WANTED_FDS (4 * SM_VSOCK_TSI_FLOWS_MAX)
#define INODES_PER_MIB 1280u	/* a kernel takes 1 KiB and more for each file that it knows of */
#define KILL_TICK_NS 1000000000ull
#define BOOT_TIMEOUT_NS (120ull * 1000000000)

struct options {
	const char *id, *state_dir, *hypervisor, *kernel, *initrd, *cmdline, *qemu;
	const char *network, *network_policy, *ports, *vsock_ports;
	int bridge_fd, environment_fd;
	int control_fd, listen_fd, memory_cgroup_fd, vcpus, memory;
	bool binds_privileged, hugepages, serial, core_dumps, print_seccomp, debug, probe, version, help;
};

struct vmm {
	struct options o;
	uint64_t started_ns;
	struct sm_loop *loop;
	struct sm_console *console;
	struct sm_vsock *vs;
	struct sm_services *services;
	struct sm_bridge *bridge;
	struct sm_fs *fs;
	uint32_t max_flows, max_files;	/* descriptors for them */
	const struct sm_hv_ops *ops;
	struct sm_hv *hv;
	struct sm_sandbox *sb;
	int paused;			/* the file by which others see that we are */
	char *cmdline;			/* all of it, for the backend */
	struct sm_oomhost *oom;
	bool oom_killed;		/* the container ended, and the guest had killed */
	int status;
};

static const struct sm_hv_ops *const backends[] = { &sm_hv_kvm, &sm_hv_qemu };

static int parse(struct options *o, int argc, char **argv, struct sm_err *err)
{
	const struct sm_opt table[] = {
		{ "id", 0, SM_OPT_STRING, &o->id, "ID", "the container's id, for messages" },
		{ "state-dir", 0, SM_OPT_STRING, &o->state_dir, "DIR",
		  "where console.log and paused go" },
		{ "control-fd", 0, SM_OPT_INT, &o->control_fd, "N",
		  "connected socket of the launcher" },
		{ "listen-fd", 0, SM_OPT_INT, &o->listen_fd, "N",
		  "listening socket for later clients" },
		{ "memory-cgroup-fd", 0, SM_OPT_INT, &o->memory_cgroup_fd, "N",
		  "directory of our memory cgroup, to repeat the guest's kills there" },
		{ "bridge-fd", 0, SM_OPT_INT, &o->bridge_fd, "N",
		  "listening socket whose clients get to ports of the guest" },
		{ "vsock-ports", 0, SM_OPT_STRING, &o->vsock_ports, "LIST",
		  "PORT=N, ...: O_PATH descriptors of the sockets at which the guest's connects to "
		  "us end" },
		{ "environment-fd", 0, SM_OPT_INT, &o->environment_fd, "N",
		  "file with which the guest's first connect to port 1026 is answered" },
		{ "hypervisor", 0, SM_OPT_STRING, &o->hypervisor, "NAME", "backend: kvm or qemu" },
		{ "kernel", 0, SM_OPT_STRING, &o->kernel, "FILE",
		  "guest kernel: vmlinux, with kvm also a bzImage or libkrunfw.so.5" },
		{ "initrd", 0, SM_OPT_STRING, &o->initrd, "FILE", "initramfs with the agent" },
		{ "cmdline", 0, SM_OPT_STRING, &o->cmdline, "TEXT", "more kernel parameters" },
		{ "qemu", 0, SM_OPT_STRING, &o->qemu, "FILE", "QEMU program (qemu-system-x86_64)" },
		{ "network", 0, SM_OPT_STRING, &o->network, "MODE",
		  "tsi: the guest's sockets are ours, in this network namespace; or none" },
		{ "network-policy", 0, SM_OPT_STRING, &o->network_policy, "RULES",
		  "whom the guest may talk to, such as \"deny 10.0.0.0/8, default allow\"" },
		{ "ports", 0, SM_OPT_STRING, &o->ports, "LIST",
		  "HOST:GUEST[/tcp|udp], ...: other ports than those that the guest binds" },
		{ "bind-privileged", 0, SM_OPT_BOOL, &o->binds_privileged, NULL,
		  "keep the capability to bind ports below 1024, for the guest" },
		{ "vcpus", 0, SM_OPT_INT, &o->vcpus, "N", "virtual CPUs" },
		{ "memory", 0, SM_OPT_INT, &o->memory, "MIB", "guest memory" },
		{ "hugepages", 0, SM_OPT_BOOL, &o->hugepages, NULL,
		  "kvm: guest memory from the host's pool of 2 MiB pages" },
		{ "serial", 0, SM_OPT_BOOL, &o->serial, NULL,
		  "kvm: an 8250 for the kernel's first messages" },
		{ "core-dumps", 0, SM_OPT_BOOL, &o->core_dumps, NULL,
		  "may dump core and be traced" },
		{ "print-seccomp", 0, SM_OPT_BOOL, &o->print_seccomp, NULL,
		  "print the system calls that each kind of thread may make" },
		{ "debug", 0, SM_OPT_BOOL, &o->debug, NULL, "debug messages" },
		{ "probe", 0, SM_OPT_BOOL, &o->probe, NULL,
		  "print whether KVM works here, as JSON" },
		{ "version", 'v', SM_OPT_BOOL, &o->version, NULL, "print the version" },
		{ "help", 'h', SM_OPT_BOOL, &o->help, NULL, "print this text" },
		{ NULL },
	};
	int r = sm_opt_parse_only(table, argc, argv, err);

	if (r < 0)
		return r;
	if (o->help) {
		printf("usage: sm-vmm [options]\n\nRuns one microVM; started by sm-runtime.\n\n");
		sm_opt_help(table, stdout);
	}
	return 0;
}

static int check(struct options *o, const struct sm_hv_ops **ops, struct sm_err *err)
{
	if (!o->state_dir || !o->kernel || !o->initrd)
		return sm_err_set(err, -EINVAL,
				  "--state-dir, --kernel and --initrd must be given (see --help)");
	if (o->vcpus < 1 || o->vcpus > 64)
		return sm_err_set(err, -EINVAL, "--vcpus %d: must be 1 to 64", o->vcpus);
	if (o->memory < 32)
		return sm_err_set(err, -EINVAL, "--memory %d: must be 32 MiB at least", o->memory);
	if (o->control_fd < 0 && o->listen_fd < 0)
		return sm_err_set(err, -EINVAL, "--control-fd or --listen-fd must be given");
	if (strcmp(o->network, "tsi") != 0 && strcmp(o->network, "none") != 0)
		return sm_err_set(err, -EINVAL, "--network %s: must be tsi or none", o->network);
	for (size_t i = 0; i < SM_ARRAY_SIZE(backends); i++)
		if (strcmp(o->hypervisor, backends[i]->name) == 0)
			*ops = backends[i];
	if (!*ops)
		return sm_err_set(err, -ENOTSUP, "--hypervisor %s: no such backend", o->hypervisor);
	if (!sm_boot_is_krunfw(o->kernel) && access(o->kernel, R_OK) < 0)
		return sm_err_sys(err, errno, "--kernel %s", o->kernel);
	if (access(o->initrd, R_OK) < 0)
		return sm_err_sys(err, errno, "--initrd %s", o->initrd);
	return 0;
}

static void on_signal(void *arg, int signo)
{
	struct vmm *v = arg;

	sm_sandbox_signal(v->sb, signo);
}

static void on_finished(void *arg, int status)
{
	struct vmm *v = arg;

	v->status = status;
	v->oom_killed = sm_sandbox_oom_killed(v->sb);
	sm_loop_stop(v->loop);
}

/* The file has a byte while the guest stands still: who asks for the state of many containers can
 * read that, but cannot call each of us. It is right whoever is killed when, for without us the
 * container has stopped. #syscalls:loop ftruncate */
static int on_freeze(void *arg, bool frozen)
{
	struct vmm *v = arg;
	int r;

	if (!frozen) {
		r = ftruncate(v->paused, 0) < 0 ? -errno : v->ops->resume(v->hv);
		return r;
	}
	r = v->ops->pause(v->hv);
	if (r == 0 && ftruncate(v->paused, 1) < 0) {
		r = -errno;
		v->ops->resume(v->hv);
	}
	return r;
}

static void on_machine_ended(void *arg, const char *why)
{
	struct vmm *v = arg;

	sm_sandbox_machine_ended(v->sb, why);
}

static int on_fs_thread(void *arg)
{
	return sm_jail_thread(SM_JAIL_FS, false);
}

static int on_vcpu_thread(void *arg)
{
	return sm_jail_thread(SM_JAIL_VCPU, false);
}

/* The first child, while there is little memory to share with it. */
static int setup_oom(struct vmm *v, struct sm_err *err)
{
	sm_auto_close int dirfd = sm_steal_fd(&v->o.memory_cgroup_fd);

	return dirfd < 0 ? 0 : sm_oomhost_new(dirfd, &v->oom, err);
}

static int setup_loop(struct vmm *v, struct sm_err *err)
{
	static const int forwarded[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
					 SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH };
	sigset_t set;
	int r;

	sigemptyset(&set);
	for (size_t i = 0; i < SM_ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	signal(SIGPIPE, SIG_IGN);
	v->loop = sm_loop_new();
	if (!v->loop)
		return sm_err_sys(err, -ENOMEM, "event loop");
	r = sm_loop_signals(v->loop, &set, on_signal, v);
	return r < 0 ? sm_err_sys(err, r, "signals") : 0;
}

/* Each socket of the guest is a descriptor of ours, and so is each file that it has open. Sockets
 * get the greater part of what there is: an inode that the guest only knows of gives its descriptor
 * up for another one. */
static void share_fds(struct vmm *v)
{
	const struct rlimit wanted = { WANTED_FDS, WANTED_FDS };
	struct rlimit lim = { 2 * RESERVED_FDS, 2 * RESERVED_FDS };
	uint32_t n, reserved;

	/* Past the hard limit with CAP_SYS_RESOURCE only: the jail is yet to come. */
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_max < WANTED_FDS &&
	    setrlimit(RLIMIT_NOFILE, &wanted) == 0)
		lim = wanted;
	if (lim.rlim_cur < lim.rlim_max &&
	    setrlimit(RLIMIT_NOFILE, &(struct rlimit){ lim.rlim_max, lim.rlim_max }) == 0)
		lim.rlim_cur = lim.rlim_max;
	n = lim.rlim_cur < UINT32_MAX / 8 ? (uint32_t)lim.rlim_cur : UINT32_MAX / 8;
	reserved = n > 4 * RESERVED_FDS ? RESERVED_FDS : n / 4;
	n -= reserved;
	v->max_flows = n / 8 * 5 < SM_VSOCK_TSI_FLOWS_MAX ? n / 8 * 5 : SM_VSOCK_TSI_FLOWS_MAX;
	v->max_files = n - v->max_flows < n / 2 ? n - v->max_flows : n / 2;
}

static int setup_devices(struct vmm *v, struct sm_err *err)
{
	struct sm_fs_options fs = SM_FS_OPTIONS_DEFAULT;
	int r = sm_vsock_new(v->loop, GUEST_CID, &v->vs);

	if (r < 0)
		return sm_err_sys(err, r, "vsock device");
	share_fds(v);
	fs.max_fds = v->max_files;
	fs.max_inodes = (uint32_t)v->o.memory < UINT32_MAX / INODES_PER_MIB ?
				(uint32_t)v->o.memory * INODES_PER_MIB : 0;
	fs.thread_started = on_fs_thread;
	r = sm_fs_new(v->loop, &fs, &v->fs);
	return r < 0 ? sm_err_sys(err, r, "fs device") : 0;
}

static int setup_network(struct vmm *v, struct sm_err *err)
{
	const struct sm_vsock_tsi c = {
		.policy = v->o.network_policy,
		.ports = v->o.ports,
		.flows_max = v->max_flows,
	};
	bool on = strcmp(v->o.network, "tsi") == 0;
	const char *more = v->o.cmdline ? v->o.cmdline : "";
	/* The word that makes the guest's driver speak to us: ours, or that of libkrunfw's kernels. */
	const char *word = sm_boot_is_krunfw(v->o.kernel) ? "tsi_hijack" : "tsi=1";

	if (asprintf(&v->cmdline, "%s%s%s", on ? word : "", on && *more ? " " : "", more) < 0)
		return sm_err_sys(err, -ENOMEM, "kernel parameters");
	if (on && sm_vsock_enable_tsi(v->vs, &c, err) < 0)
		return sm_err_wrap(err, "network");
	return 0;
}

/* Ways between programs of the host and the guest: vsock/bridge.h, vsock/services.h. */
static int setup_services(struct vmm *v, struct sm_err *err)
{
	int r = sm_services_new(v->vs, &v->services);

	if (r == 0 && v->o.bridge_fd >= 0) {
		r = sm_bridge_new(v->loop, v->vs, v->o.bridge_fd, 0, &v->bridge);
		if (r < 0)
			return sm_err_sys(err, r, "--bridge-fd %d", v->o.bridge_fd);
	}
	if (r == 0 && v->o.environment_fd >= 0)
		r = sm_services_environment(v->services, v->o.environment_fd);
	if (r < 0)
		return sm_err_sys(err, r, "services for the guest");
	r = v->o.vsock_ports ? sm_services_map_list(v->services, v->o.vsock_ports, err) : 0;
	return r < 0 ? sm_err_wrap(err, "--vsock-ports") : 0;
}

/* The directory itself is not kept: a descriptor of it would lead out of the jail. */
static int setup_files(struct vmm *v, int *guest_fd, struct sm_err *err)
{
	sm_auto_close int dirfd = open(v->o.state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dirfd < 0)
		return sm_err_sys(err, errno, "--state-dir %s", v->o.state_dir);
	v->paused = openat(dirfd, "paused", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
			   0600);
	if (v->paused < 0)
		return sm_err_sys(err, errno, "%s/paused", v->o.state_dir);
	r = sm_console_new(v->loop, dirfd, "console.log", guest_fd, &v->console);
	return r < 0 ? sm_err_sys(err, r, "%s/console.log", v->o.state_dir) : 0;
}

static int setup_machine(struct vmm *v, struct sm_err *err)
{
	struct sm_hv_config c = {
		.kernel = v->o.kernel,
		.initrd = v->o.initrd,
		.cmdline = v->cmdline,
		.qemu = v->o.qemu,
		.vcpus = (unsigned int)v->o.vcpus,
		.memory_mib = (unsigned int)v->o.memory,
		.hugepages = v->o.hugepages,
		.serial = v->o.serial,
		.thread_started = on_vcpu_thread,
	};
	int r = setup_files(v, &c.console_fd, err);

	if (r < 0)
		return r;
	r = v->ops->create(v->loop, &c, on_machine_ended, v, &v->hv, err);
	if (r < 0) {
		close(c.console_fd);
		return r;
	}
	r = v->ops->add_device(v->hv, sm_vsock_vdev(v->vs), err);
	return r < 0 ? r : v->ops->add_device(v->hv, sm_fs_vdev(v->fs), err);
}

static int setup_sandbox(struct vmm *v, struct sm_err *err)
{
	struct sm_sandbox_config c = {
		.loop = v->loop,
		.vs = v->vs,
		.fs = v->fs,
		.console = v->console,
		.backend = v->ops->name,
		.started_ns = v->started_ns,
		.control_fd = v->o.control_fd,
		.listen_fd = v->o.listen_fd,
		.boot_timeout_ns = BOOT_TIMEOUT_NS,
		.kill_tick_ns = KILL_TICK_NS,
		.freeze = on_freeze,
		.finished = on_finished,
		.arg = v,
	};
	int r = sm_sandbox_new(&c, &v->sb);

	return r < 0 ? sm_err_sys(err, r, "control socket") : 0;
}

/* From here on only what the jail leaves. */
static int enter_jail(struct vmm *v, struct sm_err *err)
{
	const struct sm_jail_config c = { .id = v->o.id,
					  .core_dumps = v->o.core_dumps,
					  .binds_privileged = v->o.binds_privileged };
	int r = sm_jail_enter(&c, err);

	if (r < 0)
		return r;
	r = v->ops->boot(v->hv, err);
	if (r < 0)
		return r;
	sm_sandbox_reached(v->sb, SM_STEP_BOOT);
	/* The guest has a long way to its first request. */
	r = sm_fs_start_threads(v->fs);
	if (r < 0)
		return sm_err_sys(err, r, "fs device: threads");
	r = v->o.vsock_ports ? 0 : sm_jail_forbid_unix();
	if (r == 0)
		r = sm_jail_thread(SM_JAIL_LOOP, v->o.binds_privileged);
	return r < 0 ? sm_err_sys(err, r, "jail: loop thread") : 0;
}

static int run(struct vmm *v, struct sm_err *err)
{
	int r;

	if ((r = check(&v->o, &v->ops, err)) < 0 || (r = setup_oom(v, err)) < 0 ||
	    (r = setup_loop(v, err)) < 0 || (r = setup_devices(v, err)) < 0 ||
	    (r = setup_network(v, err)) < 0 || (r = setup_services(v, err)) < 0 ||
	    (r = setup_machine(v, err)) < 0 || (r = setup_sandbox(v, err)) < 0)
		return r;
	sm_sandbox_reached(v->sb, SM_STEP_MACHINE);
	if ((r = v->ops->load(v->hv, err)) < 0 || (r = enter_jail(v, err)) < 0)
		return r;
	r = sm_loop_run(v->loop);
	return r < 0 ? sm_err_sys(err, r, "event loop") : 0;
}

static void release(struct vmm *v)
{
	if (v->ops)
		v->ops->free(v->hv);
	sm_sandbox_free(v->sb);
	sm_fs_free(v->fs);
	sm_bridge_free(v->bridge);
	sm_vsock_free(v->vs);
	sm_services_free(v->services);
	sm_console_free(v->console);
	free(v->cmdline);
	sm_close(&v->paused);
	sm_loop_free(v->loop);
	/* Last, when little is left that the kernel could take for too much. */
	if (v->oom_killed)
		sm_oomhost_tell(v->oom);
	sm_oomhost_free(v->oom);
}

int main(int argc, char **argv)
{
	struct vmm v = {
		.started_ns = sm_now_ns(),
		.status = FAILED,
		.paused = -1,
		.o = { .hypervisor = "qemu",
		       .network = "none",
		       .qemu = "qemu-system-x86_64",
		       .control_fd = -1,
		       .listen_fd = -1,
		       .bridge_fd = -1,
		       .environment_fd = -1,
		       .memory_cgroup_fd = -1,
		       .vcpus = 1,
		       .memory = 512,
		       .id = "-" },
	};
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int r;

	sm_fix_stdio();
	r = parse(&v.o, argc, argv, &err);
	if (r == 0 && v.o.help)
		return 0;
	if (r == 0 && v.o.version) {
		printf("sm-vmm version %s\n", PACKAGE_VERSION);
		return 0;
	}
	if (r == 0 && v.o.print_seccomp) {
		sm_jail_print(stdout);
		return 0;
	}
	if (r == 0 && v.o.probe) {
		struct sm_kvm_probe probe;

		sm_kvm_probe(&probe);
		sm_kvm_probe_print(&probe, stdout);
		return 0;
	}
	if (v.o.debug)
		sm_log_setup(2, SM_LOG_TEXT, SM_LOG_DEBUG);
	if (v.o.control_fd >= 0)
		sm_set_cloexec(v.o.control_fd, 1);
	if (v.o.listen_fd >= 0)
		sm_set_cloexec(v.o.listen_fd, 1);
	if (v.o.bridge_fd >= 0)
		sm_set_cloexec(v.o.bridge_fd, 1);
	if (v.o.environment_fd >= 0)
		sm_set_cloexec(v.o.environment_fd, 1);
	if (r == 0)
		r = run(&v, &err);
	release(&v);
	if (r < 0) {
		sm_error("sm-vmm: %s: %s", v.o.id, sm_err_text(&err));
		return FAILED;
	}
	return v.status;
}
