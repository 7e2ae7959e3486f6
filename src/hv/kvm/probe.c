/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/kvm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define API_VERSION 12
#define GUEST_ADDRESS 0x1000
#define GUEST_SIZE 0x1000
#define ITERATIONS 1000000ull
#define INSTRUCTIONS (2 * ITERATIONS + 2)
#define SECONDS_MAX 2

/* 16-bit code: a million times two instructions, then a halt. */
static const unsigned char guest_code[] = {
	0x66, 0xb9, ITERATIONS & 0xff, ITERATIONS >> 8 & 0xff, ITERATIONS >> 16 & 0xff,
	ITERATIONS >> 24 & 0xff,	/* mov $ITERATIONS, %ecx */
	0x66, 0x49,			/* 1: dec %ecx */
	0x75, 0xfc,			/* jnz 1b */
	0xf4,				/* hlt */
};

static const struct {
	int cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

struct machine {
	int kvm, vm, vcpu;
	unsigned char *memory;
	struct kvm_run *run;
	size_t run_size;
};

__attribute__((format(printf, 2, 3))) static int say(struct sm_kvm_probe *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->text, sizeof(out->text), fmt, ap);
	va_end(ap);
	return -1;
}

static int open_kvm(struct machine *m, struct sm_kvm_probe *out)
{
	int api;

	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	out->present = m->kvm >= 0 || (errno != ENOENT && errno != ENXIO && errno != ENODEV);
	if (m->kvm < 0)
		return say(out, "/dev/kvm: %s", strerror(errno));
	api = ioctl(m->kvm, KVM_GET_API_VERSION, 0);
	if (api != API_VERSION)
		return say(out, "/dev/kvm: API version %d, must be %d", api, API_VERSION);
	for (size_t i = 0; i < SM_ARRAY_SIZE(needed); i++)
		if (ioctl(m->kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return say(out, "/dev/kvm: this kernel lacks %s", needed[i].name);
	return 0;
}

static int make_vm(struct machine *m, struct sm_kvm_probe *out)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = GUEST_ADDRESS,
		.memory_size = GUEST_SIZE,
	};

	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		return say(out, "/dev/kvm: cannot make a VM: %s", strerror(errno));
	m->memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	if (m->memory == MAP_FAILED)
		return say(out, "memory of the probe: %s", strerror(errno));
	memcpy(m->memory, guest_code, sizeof(guest_code));
	region.userspace_addr = (uintptr_t)m->memory;
	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return say(out, "/dev/kvm: cannot give a VM memory: %s", strerror(errno));
	return 0;
}

static int make_vcpu(struct machine *m, struct sm_kvm_probe *out)
{
	struct kvm_regs regs = { .rip = GUEST_ADDRESS, .rflags = 2 };
	struct kvm_sregs sregs;
	int size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0 || size < (int)sizeof(*m->run))
		return say(out, "/dev/kvm: cannot make a CPU: %s", strerror(errno));
	m->run_size = (size_t)size;
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->run == MAP_FAILED)
		return say(out, "/dev/kvm: cannot map a CPU: %s", strerror(errno));
	if (ioctl(m->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return say(out, "/dev/kvm: cannot read a CPU: %s", strerror(errno));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(m->vcpu, KVM_SET_REGS, &regs) < 0)
		return say(out, "/dev/kvm: cannot set up a CPU: %s", strerror(errno));
	return 0;
}

static void on_alarm(int signo)
{
	(void)signo;	/* only to interrupt the ioctl */
}

static int run_guest(struct machine *m, struct sm_kvm_probe *out)
{
	const struct itimerval limit = { .it_value.tv_sec = SECONDS_MAX }, off = { 0 };
	struct sigaction act = { .sa_handler = on_alarm }, old;
	uint64_t start, ns;
	int r, code;

	sigaction(SIGALRM, &act, &old);
	setitimer(ITIMER_REAL, &limit, NULL);
	start = sm_now_ns();
	r = ioctl(m->vcpu, KVM_RUN, 0);
	code = errno;
	ns = sm_now_ns() - start;
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	if (r < 0 && code == EINTR)
		return say(out,
			   "/dev/kvm runs guests too slowly: two million instructions take more "
			   "than %d s",
			   SECONDS_MAX);
	if (r < 0)
		return say(out, "/dev/kvm: cannot run a guest: %s", strerror(code));
	if (m->run->exit_reason != KVM_EXIT_HLT)
		return say(out, "/dev/kvm: a trivial guest ended with exit reason %u",
			   m->run->exit_reason);
	out->mips = INSTRUCTIONS * 1000 / (ns ? ns : 1);
	if (out->mips < SM_KVM_MIPS_MIN)
		return say(out,
			   "/dev/kvm runs guests at %llu million instructions a second, %d are "
			   "needed%s",
			   (unsigned long long)out->mips, SM_KVM_MIPS_MIN,
			   access("/sys/module/kvm_pvm", F_OK) == 0
				   ? " (kvm_pvm: guests are emulated instruction by instruction)"
				   : "");
	return 0;
}

static void release(struct machine *m)
{
	if (m->run != MAP_FAILED)
		munmap(m->run, m->run_size);
	if (m->memory != MAP_FAILED)
		munmap(m->memory, GUEST_SIZE);
	sm_close(&m->vcpu);
	sm_close(&m->vm);
	sm_close(&m->kvm);
}

void sm_kvm_probe(struct sm_kvm_probe *out)
{
	struct machine m = { -1, -1, -1, MAP_FAILED, MAP_FAILED, 0 };

	*out = (struct sm_kvm_probe){ 0 };
	if (open_kvm(&m, out) == 0 && make_vm(&m, out) == 0 && make_vcpu(&m, out) == 0 &&
	    run_guest(&m, out) == 0) {
		out->usable = true;
		say(out, "/dev/kvm: API %d, runs guests at %llu million instructions a second",
		    API_VERSION, (unsigned long long)out->mips);
	}
	release(&m);
}

/* The text has nothing in it that JSON would escape. */
void sm_kvm_probe_print(const struct sm_kvm_probe *p, FILE *out)
{
	fprintf(out, "{\"present\":%s,\"usable\":%s,\"mips\":%llu,\"text\":\"%s\"}\n",
		p->present ? "true" : "false", p->usable ? "true" : "false",
		(unsigned long long)p->mips, p->text);
}
