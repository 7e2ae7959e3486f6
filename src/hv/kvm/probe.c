/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The guest is a loop of two million instructions. It runs in up to SLICES slices of SLICE_MS each;
 * a slice ends by the guest's halt or by an alarm, and its speed is what it really did (the loop's
 * counter tells) over the CPU time of this thread: guest time is charged to the thread that runs
 * the guest, and what else keeps the machine busy is not. The best slice counts, and the first one
 * that is fast enough is the last:
 *
 *	bare KVM		one slice of less than a millisecond
 *	nested in TCG		one slice of 5 ms
 *	emulated		all slices, SLICES * SLICE_MS
 *	in doubt		more of them, SLICES_MAX * SLICE_MS
 */
#include "hv/kvm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"

#define DEVICE "/dev/kvm"
#define API_VERSION 12
#define GUEST_ADDRESS 0x1000
#define GUEST_SIZE 0x1000
#define ITERATIONS 1000000ull
#define SLICES 3
/* After these slices nothing is known yet if they had less CPU time together than two loops need, or
 * if the speed is not so low that it must be emulation: a nested KVM whose host is busy has been seen
 * at 51, and the CPU time that its host takes away does not show here. Then it may take 2 s. */
#define SLICES_MAX 15
#define CPU_NS_MIN 80000000ull
#define MIPS_HOPELESS (SM_KVM_MIPS_MIN / 4)
/* Ten times what the loop takes at SM_KVM_MIPS_MIN, over all slices. */
#define SLICE_MS 130
_Static_assert(SLICES * SLICE_MS * SM_KVM_MIPS_MIN * 1000ull < 10 * 2 * ITERATIONS,
	       "the time of all slices");
#define CPUINFO_SIZE 8192

/* 16-bit code: a million times two instructions, then a halt. */
static const unsigned char guest_code[] = {
	0x66, 0xb9, ITERATIONS & 0xff, ITERATIONS >> 8 & 0xff, ITERATIONS >> 16 & 0xff,
	ITERATIONS >> 24 & 0xff,	/* mov $ITERATIONS, %ecx */
	0x66, 0x49,			/* 1: dec %ecx */
	0x75, 0xfc,			/* jnz 1b */
	0xf4,				/* hlt */
};
#define LOOP_ADDRESS (GUEST_ADDRESS + 6)

static const char *const reason_words[] = {
	[SM_KVM_WORKS] = "works", [SM_KVM_ABSENT] = "absent", [SM_KVM_DENIED] = "denied",
	[SM_KVM_BUSY] = "busy",	  [SM_KVM_API] = "api",	      [SM_KVM_EXTENSION] = "extension",
	[SM_KVM_BROKEN] = "broken", [SM_KVM_SLOW] = "slow",
};
_Static_assert(SM_ARRAY_SIZE(reason_words) == SM_KVM_REASON_NUM, "a word for each reason");

static const struct {
	int cap;
	int min;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, 1, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, 1, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_IRQFD, 1, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, 1, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_IMMEDIATE_EXIT, 1, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_EXT_CPUID, 1, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_NR_MEMSLOTS, 4, "KVM_CAP_NR_MEMSLOTS" },
};

struct machine {
	int kvm, vm, vcpu;
	unsigned char *memory;
	struct kvm_run *run;
	size_t run_size;
};

__attribute__((format(printf, 3, 4))) static int say(struct sm_kvm_probe *out,
						     enum sm_kvm_reason reason, const char *fmt, ...)
{
	va_list ap;

	out->reason = reason;
	va_start(ap, fmt);
	vsnprintf(out->text, sizeof(out->text), fmt, ap);
	va_end(ap);
	return reason == SM_KVM_WORKS ? 0 : -1;
}

/* ---- the device ----------------------------------------------------------------------------- */

/* Whether the CPU, as this system sees it, has VMX or SVM: the first processor's flags tell. */
static bool cpu_can(void)
{
	sm_auto_close int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	char text[CPUINFO_SIZE];
	size_t len = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return strstr(text, " vmx ") || strstr(text, " svm ");
}

static int say_open(struct sm_kvm_probe *out, int code)
{
	struct stat st;

	if (code == ENOENT || code == ENXIO || code == ENODEV) {
		out->present = false;
		return say(out, SM_KVM_ABSENT, DEVICE ": %s (%s)", strerror(code),
			   cpu_can() ? "the CPU has virtualization: is a module loaded?" :
				       "the CPU offers no virtualization to this system");
	}
	if (code == EACCES && stat(DEVICE, &st) == 0)
		return say(out, SM_KVM_DENIED,
			   DEVICE ": %s for uid %u (owner %u, group %u, mode %04o)",
			   strerror(code), (unsigned int)geteuid(), (unsigned int)st.st_uid,
			   (unsigned int)st.st_gid, (unsigned int)st.st_mode & 07777);
	if (code == EPERM)
		return say(out, SM_KVM_DENIED, DEVICE ": %s (a device cgroup does not allow it)",
			   strerror(code));
	return say(out,
		   code == EACCES ? SM_KVM_DENIED :
		   code == EBUSY  ? SM_KVM_BUSY :
				    SM_KVM_BROKEN,
		   DEVICE ": %s", strerror(code));
}

static int open_kvm(struct machine *m, struct sm_kvm_probe *out)
{
	int api, n;

	out->present = true;
	m->kvm = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		return say_open(out, errno);
	api = ioctl(m->kvm, KVM_GET_API_VERSION, 0);
	if (api < 0)
		return say(out, SM_KVM_BROKEN, DEVICE ": is not KVM: %s", strerror(errno));
	if (api != API_VERSION)
		return say(out, SM_KVM_API, DEVICE ": API version %d, must be %d", api,
			   API_VERSION);
	for (size_t i = 0; i < SM_ARRAY_SIZE(needed); i++) {
		n = ioctl(m->kvm, KVM_CHECK_EXTENSION, needed[i].cap);
		if (n <= 0)
			return say(out, SM_KVM_EXTENSION, DEVICE ": this kernel lacks %s",
				   needed[i].name);
		if (n < needed[i].min)
			return say(out, SM_KVM_EXTENSION, DEVICE ": %s is %d, must be %d at least",
				   needed[i].name, n, needed[i].min);
	}
	return 0;
}

/* ---- the machine ---------------------------------------------------------------------------- */

/* What the kernel says when VMX is taken: in KVM_CREATE_VM, or with the first CPU. */
static int say_failed(struct sm_kvm_probe *out, const char *what)
{
	return say(out, errno == EBUSY ? SM_KVM_BUSY : SM_KVM_BROKEN, DEVICE ": cannot %s: %s",
		   what, strerror(errno));
}

static int make_vm(struct machine *m, struct sm_kvm_probe *out)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = GUEST_ADDRESS,
		.memory_size = GUEST_SIZE,
	};

	do
		m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	while (m->vm < 0 && errno == EINTR);
	if (m->vm < 0)
		return say_failed(out, "make a VM");
	m->memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	if (m->memory == MAP_FAILED)
		return say_failed(out, "have memory for a VM");
	memcpy(m->memory, guest_code, sizeof(guest_code));
	region.userspace_addr = (uintptr_t)m->memory;
	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return say_failed(out, "give a VM memory");
	return 0;
}

static int make_vcpu(struct machine *m, struct sm_kvm_probe *out)
{
	struct kvm_sregs sregs;
	int size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size < (int)sizeof(*m->run))
		return say(out, SM_KVM_BROKEN, DEVICE ": the shared part of a CPU has %d bytes",
			   size);
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0)
		return say_failed(out, "make a CPU");
	m->run_size = (size_t)size;
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->run == MAP_FAILED)
		return say_failed(out, "map a CPU");
	if (ioctl(m->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return say_failed(out, "read a CPU");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &sregs) < 0)
		return say_failed(out, "set up a CPU");
	return 0;
}

/* ---- its speed ------------------------------------------------------------------------------ */

static void on_alarm(int signo)
{
	(void)signo;	/* only to interrupt the ioctl */
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* How far an interrupted guest came. */
static uint64_t iterations_done(const struct machine *m)
{
	struct kvm_regs regs;

	if (ioctl(m->vcpu, KVM_GET_REGS, &regs) < 0 || regs.rip < LOOP_ADDRESS ||
	    regs.rcx > ITERATIONS)
		return 0;
	return ITERATIONS - regs.rcx;
}

/* One slice from the loop's start; out->mips becomes its speed if that is the best so far. *spent
 * grows by its CPU time. */
static int run_slice(struct machine *m, uint64_t *spent, struct sm_kvm_probe *out)
{
	struct kvm_regs regs = { .rip = GUEST_ADDRESS, .rflags = 2 };
	uint64_t start, ns, mips;
	int r;

	if (ioctl(m->vcpu, KVM_SET_REGS, &regs) < 0)
		return say_failed(out, "set up a CPU");
	start = cpu_ns();
	r = ioctl(m->vcpu, KVM_RUN, 0);
	ns = cpu_ns() - start;
	if (r < 0 && errno != EINTR)
		return say_failed(out, "run a guest");
	if (r == 0 && m->run->exit_reason != KVM_EXIT_HLT)
		return say(out, SM_KVM_BROKEN, DEVICE ": a trivial guest ended with exit reason %u",
			   m->run->exit_reason);
	*spent += ns;
	ns = ns ? ns : 1;
	mips = (2 * iterations_done(m) * 1000 + ns / 2) / ns;
	if (mips > out->mips)
		out->mips = mips;
	return 0;
}

static bool enough(const struct sm_kvm_probe *out, int slices, uint64_t spent)
{
	if (out->mips >= SM_KVM_MIPS_MIN || slices >= SLICES_MAX)
		return true;
	return slices >= SLICES && spent >= CPU_NS_MIN && out->mips < MIPS_HOPELESS;
}

static int run_slices(struct machine *m, struct sm_kvm_probe *out)
{
	/* again and again: one that comes before the ioctl has begun does not interrupt it */
	const struct timeval slice = { .tv_usec = SLICE_MS * 1000 };
	const struct itimerval limit = { slice, slice }, off = { 0 };
	uint64_t spent = 0;
	int r = 0;

	for (int i = 0; r == 0 && !enough(out, i, spent); i++) {
		setitimer(ITIMER_REAL, &limit, NULL);
		r = run_slice(m, &spent, out);
		setitimer(ITIMER_REAL, &off, NULL);
	}
	return r;
}

static int measure(struct machine *m, struct sm_kvm_probe *out)
{
	struct sigaction act = { .sa_handler = on_alarm }, old_act;
	sigset_t alarm, old_mask;
	int r;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigaction(SIGALRM, &act, &old_act);
	sigprocmask(SIG_UNBLOCK, &alarm, &old_mask);
	r = run_slices(m, out);
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
	sigaction(SIGALRM, &old_act, NULL);
	if (r < 0 || out->mips >= SM_KVM_MIPS_MIN)
		return r;
	return say(out, SM_KVM_SLOW,
		   DEVICE " runs guests at %llu million instructions a second, %d are needed%s",
		   (unsigned long long)out->mips, SM_KVM_MIPS_MIN,
		   access("/sys/module/kvm_pvm", F_OK) == 0 ?
			   " (kvm_pvm: guests are emulated instruction by instruction)" :
			   "");
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
	    measure(&m, out) == 0)
		say(out, SM_KVM_WORKS,
		    DEVICE ": API %d, runs guests at %llu million instructions a second",
		    API_VERSION, (unsigned long long)out->mips);
	out->usable = out->reason == SM_KVM_WORKS;
	release(&m);
}

void sm_kvm_probe_print(const struct sm_kvm_probe *p, FILE *out)
{
	fprintf(out,
		"{\"present\":%s,\"usable\":%s,\"reason\":\"%s\",\"mips\":%llu,\"text\":\"%s\"}\n",
		p->present ? "true" : "false", p->usable ? "true" : "false",
		reason_words[p->reason], (unsigned long long)p->mips, p->text);
}
