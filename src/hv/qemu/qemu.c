/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The qemu backend: QEMU's `microvm` machine under TCG, for hosts where KVM is absent or only pretends
 * to work. QEMU emulates CPU, memory, interrupt controller and virtio-mmio transports; each device
 * behind those is ours, reached by vhost-user over an inherited socketpair, so no path exists that
 * anybody could connect to.
 *
 *	sm-vmm ──fork──► QEMU          PR_SET_PDEATHSIG: it never outlives us
 *	   ▲  ▲───pidfd────┘           its end is ours: ended()
 *	   └──socketpair per device, one for the console
 *
 * QEMU opens its files after we have let go of it, so its jail is less than ours (sm_jail_program());
 * it changes its root to an empty directory itself, before the guest runs.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "hv/hv.h"
#include "hv/jail.h"
#include "hv/tsc.h"
#include "virtio/vhost_user.h"

#define DEVICES_MAX 4
#define ARGS_MAX 80

struct slot {
	struct sm_vdev *dev;
	int qemu_fd;			/* QEMU's end, -1 once it has it */
	struct sm_vhost_user *vu;
};

struct sm_hv {
	struct sm_loop *loop;
	struct sm_hv_config config;
	sm_hv_ended_fn *ended;
	void *arg;
	struct slot slots[DEVICES_MAX];
	size_t nslots;
	struct sm_tsc tsc;
	int root;			/* for QEMU; -1: it keeps ours */
	pid_t pid;			/* 0 until boot, again 0 once reaped */
	int pidfd;
	struct sm_io *pid_io;
};

/* argv of QEMU under construction; every string is heap memory of ours. */
struct args {
	char *v[ARGS_MAX + 1];
	size_t n;
	int err;
};

static void __attribute__((format(printf, 2, 3))) arg(struct args *a, const char *fmt, ...)
{
	va_list ap;

	if (a->err)
		return;
	if (a->n == ARGS_MAX) {
		a->err = -E2BIG;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&a->v[a->n], fmt, ap) < 0) {
		a->v[a->n] = NULL;
		a->err = -ENOMEM;
	} else {
		a->n++;
	}
	va_end(ap);
}

static void args_free(struct args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
}

/* QEMU's front end for each virtio device ID that we serve. */
static const char *front_end(uint32_t virtio_id)
{
	switch (virtio_id) {
	case 19:
		return "vhost-user-vsock-device,chardev=c%zu";
	case 26:
		return "vhost-user-fs-device,chardev=c%zu,tag=sm,queue-size=1024";
	}
	return NULL;
}

static void machine_args(struct args *a, const struct sm_hv_config *c, unsigned long tsc_khz)
{
	arg(a, "%s", c->qemu);
	/* With ACPI on, QEMU would leave the virtio_mmio.device= arguments out. */
	arg(a, "-M");
	arg(a, "microvm,acpi=off,memory-backend=mem,isa-serial=off%s",
	    tsc_khz ? ",pit=off,pic=off" : "");
	arg(a, "-object");
	arg(a, "memory-backend-memfd,id=mem,size=%uM,share=on", c->memory_mib);
	arg(a, "-m");
	arg(a, "%uM", c->memory_mib);
	arg(a, "-global");
	arg(a, "virtio-mmio.force-legacy=false");
	arg(a, "-accel");
	arg(a, "tcg");
	arg(a, "-cpu");
	arg(a, "max");
	/* For a machine that can have only one CPU, TCG leaves the guest's memory barriers out; but the
	 * other side of each ring is a thread of ours, and without them kicks and interrupts get lost. */
	arg(a, "-smp");
	arg(a, "%u,maxcpus=%u", c->vcpus, c->vcpus > 2 ? c->vcpus : 2);
	arg(a, "-nodefaults");
	arg(a, "-no-user-config");
	arg(a, "-no-reboot");
	arg(a, "-display");
	arg(a, "none");
	arg(a, "-sandbox");
	arg(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

/* The words of the kernel command line are explained in guest/kernel/README.md. */
static void boot_args(struct args *a, const struct sm_hv_config *c, unsigned long tsc_khz)
{
	char tsc[48] = "";


	arg(a, "-chardev");
	arg(a, "socket,id=con,fd=%d", c->console_fd);
	arg(a, "-device");
	arg(a, "virtio-serial-device,max_ports=1");	/* one more port and hvc0 comes late */
	arg(a, "-device");
	arg(a, "virtconsole,chardev=con");
	arg(a, "-kernel");
	arg(a, "%s", c->kernel);
	arg(a, "-initrd");
	arg(a, "%s", c->initrd);
	arg(a, "-append");
	if (tsc_khz)
		snprintf(tsc, sizeof(tsc), " tsc_early_khz=%lu", tsc_khz);
	arg(a, "console=hvc0 quiet noreplace-smp maxcpus=1 8250.nr_uarts=0%s%s%s", tsc,
	    c->cmdline && *c->cmdline ? " " : "", c->cmdline ? c->cmdline : "");
}

static void jail_args(struct args *a, const struct sm_hv *hv)
{
	if (hv->root < 0)
		return;
	arg(a, "-chroot");
	arg(a, "/proc/self/fd/%d", hv->root);
}

static void device_args(struct args *a, const struct sm_hv *hv)
{
	for (size_t i = 0; i < hv->nslots; i++) {
		const char *fmt = front_end(hv->slots[i].dev->ops->id);

		arg(a, "-chardev");
		arg(a, "socket,id=c%zu,fd=%d", i, hv->slots[i].qemu_fd);
		arg(a, "-device");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		arg(a, fmt, i);
#pragma GCC diagnostic pop
	}
}

/* In the child: only async-signal-safe calls. */
static void become_qemu(struct sm_hv *hv, pid_t parent, char **argv)
{
	sigset_t none;
	int null;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	setpgid(0, 0);	/* the terminal's signals are not for it */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		_exit(127);
	for (size_t i = 0; i < hv->nslots; i++)
		fcntl(hv->slots[i].qemu_fd, F_SETFD, 0);
	fcntl(hv->config.console_fd, F_SETFD, 0);
	fcntl(hv->root, F_SETFD, 0);
	sm_jail_program(hv->root >= 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	dprintf(2, "sm-vmm: exec %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* #syscalls:loop pidfd_send_signal */
static int signal_qemu(struct sm_hv *hv, int signo)
{
	if (!hv->pid)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, hv->pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}


static void qemu_stop(struct sm_hv *hv)
{
	signal_qemu(hv, SIGKILL);
}

/* QEMU has ended and was reaped. */
static void reaped(struct sm_hv *hv, int status)
{
	char why[128];

	hv->pid = 0;
	sm_loop_remove(hv->loop, hv->pid_io);
	hv->pid_io = NULL;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		snprintf(why, sizeof(why), "the guest ended the VM");
	else if (WIFEXITED(status))
		snprintf(why, sizeof(why), "QEMU exited with status %d", WEXITSTATUS(status));
	else
		snprintf(why, sizeof(why), "QEMU was killed by signal %d", WTERMSIG(status));
	hv->ended(hv->arg, why);
}

/* #syscalls:loop wait4 */
static void on_exit_of_qemu(void *p, uint32_t events)
{
	struct sm_hv *hv = p;
	int status;

	(void)events;
	if (waitpid(hv->pid, &status, WNOHANG) == hv->pid)
		reaped(hv, status);
}

/*
 * By signals, not by QMP's stop and cont: those would have QEMU take the rings from our devices and hand
 * them out again, would stop the guest's monotonic clock (what a freezer does not), and need a parser
 * of ours for QEMU's words. A stopped QEMU changes nothing for the devices: they serve what is in the
 * rings, their interrupts wait in eventfds.
 */
static int qemu_pause(struct sm_hv *hv)
{
	int r = signal_qemu(hv, SIGSTOP);
	int status;
	pid_t got;

	if (r < 0)
		return r;
	do
		got = waitpid(hv->pid, &status, WUNTRACED);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (WIFSTOPPED(status))
		return 0;
	reaped(hv, status);
	return -ESRCH;
}

static int qemu_resume(struct sm_hv *hv)
{
	return signal_qemu(hv, SIGCONT);
}

/* QEMU hung up or spoke nonsense on a device's connection. Its exit follows in the first case; in the
 * second the device is lost and with it the machine. */
static void on_front_end_gone(void *p, int err)
{
	struct sm_hv *hv = p;

	if (!err)
		return;
	sm_error("vhost-user: %s: stopping the machine", strerror(-err));
	qemu_stop(hv);
}

static int qemu_create(struct sm_loop *loop, const struct sm_hv_config *config,
		       sm_hv_ended_fn *ended, void *arg_, struct sm_hv **out, struct sm_err *err)
{
	struct sm_hv *hv = calloc(1, sizeof(*hv));

	if (!hv)
		return sm_err_sys(err, -ENOMEM, "qemu");
	hv->loop = loop;
	hv->config = *config;
	hv->ended = ended;
	hv->arg = arg_;
	hv->pidfd = -1;
	hv->root = sm_jail_make_empty_dir();
	if (hv->root < 0)
		sm_info("qemu: no root of its own: %s", strerror(-hv->root));
	sm_tsc_begin(&hv->tsc);
	*out = hv;
	return 0;
}

static int qemu_add_device(struct sm_hv *hv, struct sm_vdev *dev, struct sm_err *err)
{
	struct slot *s = &hv->slots[hv->nslots];
	int sv[2], r;

	if (hv->nslots == DEVICES_MAX || !front_end(dev->ops->id))
		return sm_err_set(err, -ENOTSUP, "qemu: no front end for device %s",
				  dev->ops->name);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return sm_err_sys(err, -errno, "qemu: socketpair");
	r = sm_vhost_user_new(hv->loop, sv[0], dev, on_front_end_gone, hv, &s->vu);
	if (r < 0) {
		close(sv[0]);
		close(sv[1]);
		return sm_err_sys(err, r, "qemu: device %s", dev->ops->name);
	}
	s->dev = dev;
	s->qemu_fd = sv[1];
	hv->nslots++;
	return 0;
}

static void close_qemu_ends(struct sm_hv *hv)
{
	for (size_t i = 0; i < hv->nslots; i++)
		sm_close(&hv->slots[i].qemu_fd);
	sm_close(&hv->config.console_fd);
	sm_close(&hv->root);
}

static int qemu_load(struct sm_hv *hv, struct sm_err *err)
{
	struct args a = { .n = 0 };
	pid_t parent = getpid();
	unsigned long tsc_khz;
	int r;

	tsc_khz = sm_tsc_khz(&hv->tsc);
	machine_args(&a, &hv->config, tsc_khz);
	jail_args(&a, hv);
	device_args(&a, hv);
	boot_args(&a, &hv->config, tsc_khz);
	if (a.err) {
		args_free(&a);
		return sm_err_sys(err, a.err, "qemu: command line");
	}
	a.v[a.n] = NULL;
	hv->pid = fork();
	if (hv->pid == 0)
		become_qemu(hv, parent, a.v);
	r = hv->pid < 0 ? -errno : 0;
	args_free(&a);
	close_qemu_ends(hv);
	if (r < 0) {
		hv->pid = 0;
		return sm_err_sys(err, r, "qemu: fork");
	}
	hv->pidfd = (int)syscall(SYS_pidfd_open, hv->pid, 0);
	if (hv->pidfd >= 0)
		return 0;
	r = sm_err_sys(err, -errno, "qemu: pidfd_open");
	kill(hv->pid, SIGKILL);
	return r;
}

/* The guest runs since load(): QEMU needs files to start. */
static int qemu_boot(struct sm_hv *hv, struct sm_err *err)
{
	int r = sm_loop_add(hv->loop, hv->pidfd, EPOLLIN, on_exit_of_qemu, hv, &hv->pid_io);

	return r < 0 ? sm_err_sys(err, r, "qemu: watch") : 0;
}

static void qemu_free(struct sm_hv *hv)
{
	if (!hv)
		return;
	if (hv->pid) {
		qemu_stop(hv);
		while (waitpid(hv->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	sm_loop_remove(hv->loop, hv->pid_io);
	sm_close(&hv->pidfd);
	for (size_t i = 0; i < hv->nslots; i++)
		sm_vhost_user_free(hv->slots[i].vu);
	close_qemu_ends(hv);
	free(hv);
}

const struct sm_hv_ops sm_hv_qemu = {
	.name = "qemu",
	.create = qemu_create,
	.add_device = qemu_add_device,
	.load = qemu_load,
	.boot = qemu_boot,
	.pause = qemu_pause,
	.resume = qemu_resume,
	.stop = qemu_stop,
	.free = qemu_free,
};
