/* SPDX-License-Identifier: Apache-2.0 */

/*
 * vCPU threads. Each alternates between the guest and a look at the flags:
 *
 *	      ┌──────────────────────────────────────────────┐
 *	      ▼                                              │
 *	stopping? ─yes─► end        KVM_RUN ──► exit table ──┤ handled
 *	paused?   ─yes─► park ──►┘                           └ the machine is over ─► sm_kvm_end(), end
 *
 * Kicking one: the flag first, then immediate_exit, then a signal. A thread that is about to enter the
 * guest returns at once because of the former, one that is in it because of the latter.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/log.h"
#include "hv/kvm/machine.h"

#define STACK_SIZE (128u << 10)
#define KICK_SIGNAL SIGRTMIN	/* none of those that are passed on to the container */

void sm_kvm_end(struct sm_hv *hv, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&hv->lock);
	if (!*hv->why) {
		va_start(ap, fmt);
		vsnprintf(hv->why, sizeof(hv->why), fmt, ap);
		va_end(ap);
	}
	/* A pause waits for this thread, which will not come to rest. */
	pthread_cond_broadcast(&hv->changed);
	pthread_mutex_unlock(&hv->lock);
	eventfd_write(hv->end_fd, 1);
}

/* ---- exits: false when the machine is over ------------------------------------------------------- */

static bool on_io(struct sm_kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (!sm_kvm_bus_port(v->hv, run->io.port, data, run->io.size,
				     run->io.direction == KVM_EXIT_IO_OUT)) {
			sm_kvm_end(v->hv, "the guest ended the VM");
			return false;
		}
	}
	return true;
}

static bool on_mmio(struct sm_kvm_vcpu *v)
{
	struct kvm_run *run = v->run;

	sm_kvm_bus_mmio(v->hv, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			run->mmio.is_write);
	return true;
}

/* A triple fault, by which our guest kernel asks for a reset. */
static bool on_shutdown(struct sm_kvm_vcpu *v)
{
	sm_kvm_end(v->hv, "the guest ended the VM");
	return false;
}

static bool on_system_event(struct sm_kvm_vcpu *v)
{
	if (v->run->system_event.type == KVM_SYSTEM_EVENT_CRASH)
		sm_kvm_end(v->hv, "the guest kernel reported a crash");
	else
		sm_kvm_end(v->hv, "the guest ended the VM");
	return false;
}

static bool on_fail_entry(struct sm_kvm_vcpu *v)
{
	sm_kvm_arch_dump(v);
	sm_kvm_end(v->hv, "CPU %u cannot enter the guest: hardware reason %#llx", v->index,
		   (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
	return false;
}

static bool on_internal_error(struct sm_kvm_vcpu *v)
{
	static const char *const names[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction that cannot be emulated",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "two exceptions at once",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while an event was delivered",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an unexpected exit",
	};
	uint32_t sub = v->run->internal.suberror;

	sm_kvm_arch_dump(v);
	sm_kvm_end(v->hv, "KVM gave up on CPU %u: %s (internal error %u)", v->index,
		   sub < SM_ARRAY_SIZE(names) && names[sub] ? names[sub] : "unknown reason", sub);
	return false;
}

static bool on_nothing(struct sm_kvm_vcpu *v)
{
	(void)v;
	return true;
}

static bool (*const exits[])(struct sm_kvm_vcpu *) = {
	[KVM_EXIT_IO] = on_io,
	[KVM_EXIT_MMIO] = on_mmio,
	[KVM_EXIT_IRQ_WINDOW_OPEN] = on_nothing,
	[KVM_EXIT_SHUTDOWN] = on_shutdown,
	[KVM_EXIT_FAIL_ENTRY] = on_fail_entry,
	[KVM_EXIT_INTR] = on_nothing,
	[KVM_EXIT_INTERNAL_ERROR] = on_internal_error,
	[KVM_EXIT_SYSTEM_EVENT] = on_system_event,
};

static void drain(struct sm_kvm_vcpu *v)
{
	pthread_mutex_lock(&v->hv->ring_lock);
	sm_kvm_bus_drain(v->hv, v->ring);
	pthread_mutex_unlock(&v->hv->ring_lock);
}

static bool dispatch(struct sm_kvm_vcpu *v)
{
	uint32_t reason = v->run->exit_reason;

	if (v->ring && v->ring->first != __atomic_load_n(&v->ring->last, __ATOMIC_ACQUIRE))
		drain(v);
	if (reason < SM_ARRAY_SIZE(exits) && exits[reason])
		return exits[reason](v);
	sm_kvm_arch_dump(v);
	sm_kvm_end(v->hv, "CPU %u left the guest for reason %u, which this monitor does not know",
		   v->index, reason);
	return false;
}

/* ---- threads ------------------------------------------------------------------------------------- */

static void park(struct sm_hv *hv)
{
	pthread_mutex_lock(&hv->lock);
	hv->resting++;
	pthread_cond_broadcast(&hv->changed);
	while (atomic_load(&hv->paused) && !atomic_load(&hv->stopping))
		pthread_cond_wait(&hv->changed, &hv->lock);
	hv->resting--;
	pthread_mutex_unlock(&hv->lock);
}

static bool enter(struct sm_kvm_vcpu *v)
{
	/* KVM_RUN: */
	/* #syscalls:vcpu ioctl(1=0xae80) */
	if (ioctl(v->fd, KVM_RUN, 0) == 0)
		return dispatch(v);
	if (errno == EINTR || errno == EAGAIN) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		return true;
	}
	sm_kvm_end(v->hv, "KVM_RUN of CPU %u: %s", v->index, strerror(errno));
	return false;
}

/* When it returns, glibc gives the stack back. */
/* #syscalls:vcpu rt_sigprocmask madvise exit */
static void *run(void *arg)
{
	struct sm_kvm_vcpu *v = arg;
	struct sm_hv *hv = v->hv;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->index);
	prctl(PR_SET_NAME, name);
	if (hv->config.thread_started && hv->config.thread_started(hv->config.thread_arg) < 0) {
		sm_kvm_end(hv, "CPU %u cannot be locked up", v->index);
		return NULL;
	}
	do {
		if (atomic_load(&hv->paused)) {
			park(hv);
			sm_kvm_arch_resumed(v);
		}
	} while (!atomic_load(&hv->stopping) && enter(v));
	return NULL;
}

static void on_kick(int signo)
{
	(void)signo;	/* only to leave KVM_RUN */
	/* #syscalls:vcpu rt_sigreturn */
}

static int start(struct sm_kvm_vcpu *v)
{
	pthread_attr_t attr;
	sigset_t set, old;
	int r;

	sigfillset(&set);
	sigdelset(&set, KICK_SIGNAL);
	sigdelset(&set, SIGSYS);	/* the record of a forbidden call */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	r = -pthread_create(&v->thread, &attr, run, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	v->started = r == 0;
	return r;
}

int sm_kvm_vcpus_start(struct sm_hv *hv, struct sm_err *err)
{
	struct sigaction act = { .sa_handler = on_kick };
	sigset_t kick;

	/* One from outside goes to a vCPU, where it does no harm. */
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, NULL);
	sigaction(KICK_SIGNAL, &act, NULL);
	for (unsigned int i = 0; i < hv->config.vcpus; i++) {
		int r = start(&hv->vcpu[i]);

		if (r < 0)
			return sm_err_sys(err, r, "kvm: thread of CPU %u", i);
	}
	return 0;
}

/* glibc blocks signals while it sends one. */
/* #syscalls:loop rt_sigprocmask getpid tgkill */
void sm_kvm_vcpus_kick(struct sm_hv *hv)
{
	for (unsigned int i = 0; i < hv->config.vcpus; i++) {
		if (!hv->vcpu[i].started)
			continue;
		__atomic_store_n(&hv->vcpu[i].run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(hv->vcpu[i].thread, KICK_SIGNAL);
	}
}

void sm_kvm_vcpus_join(struct sm_hv *hv)
{
	pthread_mutex_lock(&hv->lock);
	sm_kvm_calls_drop(hv);
	pthread_mutex_unlock(&hv->lock);
	sm_kvm_vcpus_kick(hv);
	for (unsigned int i = 0; i < hv->config.vcpus; i++) {
		if (hv->vcpu[i].started)
			pthread_join(hv->vcpu[i].thread, NULL);
		hv->vcpu[i].started = false;
	}
}

/* ---- making them --------------------------------------------------------------------------------- */

static int make(struct sm_hv *hv, struct sm_kvm_vcpu *v, struct sm_err *err)
{
	int size = ioctl(hv->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	size_t ring;
	void *run_;

	v->fd = ioctl(hv->vm, KVM_CREATE_VCPU, v->index);
	if (v->fd < 0)
		return sm_err_sys(err, errno, "KVM_CREATE_VCPU %u of %u", v->index,
				  hv->config.vcpus);
	if (size < (int)sizeof(*v->run))
		return sm_err_set(err, -EINVAL, "KVM_GET_VCPU_MMAP_SIZE: %d", size);
	run_ = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run_ == MAP_FAILED)
		return sm_err_sys(err, errno, "CPU %u: mmap", v->index);
	v->run = run_;
	v->run_size = (size_t)size;
	ring = (size_t)hv->ring_page * (size_t)sysconf(_SC_PAGESIZE);
	if (ring && ring < v->run_size)
		v->ring = (void *)((uint8_t *)run_ + ring);
	return sm_kvm_arch_vcpu(hv, v, err);
}

int sm_kvm_vcpus_new(struct sm_hv *hv, struct sm_err *err)
{
	int r = 0;

	hv->vcpu = calloc(hv->config.vcpus, sizeof(*hv->vcpu));
	if (!hv->vcpu)
		return sm_err_sys(err, -ENOMEM, "kvm: CPUs");
	for (unsigned int i = 0; i < hv->config.vcpus; i++)
		hv->vcpu[i] = (struct sm_kvm_vcpu){ .hv = hv, .index = i, .fd = -1 };
	for (unsigned int i = 0; r == 0 && i < hv->config.vcpus; i++)
		r = make(hv, &hv->vcpu[i], err);
	return r;
}

void sm_kvm_vcpus_free(struct sm_hv *hv)
{
	for (unsigned int i = 0; hv->vcpu && i < hv->config.vcpus; i++) {
		if (hv->vcpu[i].run)
			munmap(hv->vcpu[i].run, hv->vcpu[i].run_size);
		sm_close(&hv->vcpu[i].fd);
	}
	free(hv->vcpu);
	hv->vcpu = NULL;
}
