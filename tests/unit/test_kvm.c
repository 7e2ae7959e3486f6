/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kvm backend with guests of a few instructions: how a machine ends, pauses and is stopped, and what
 * the guest finds at addresses that are not memory. They run wherever /dev/kvm makes a VM, however
 * slowly.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "hv/kvm/machine.h"

#define KERNEL_AT 0x200000u
#define MARK_AT 0x300000u	/* where guests leave a word for us, and the counters of counting ones */
#define LIMIT_NS (60ull * 1000000000)

/* ---- guests: position independent, entered in 64-bit mode (the last one in 32-bit) --------------- */

#define GUEST(name, text)                                                                          \
	extern const char guest_##name[], guest_##name##_end[];                                    \
	asm(".pushsection .rodata\n.code64\nguest_" #name ":\n" text "\nguest_" #name "_end:\n"    \
	    ".popsection\n.code64\n")

/* Maps the fourth GiB, where the devices are: a page directory at 0xc000, behind the boot code's own. */
#define DEVICES                                                                                    \
	"mov $0xc0000083, %eax\nmov $0xc000, %edi\n"                                               \
	"9: mov %rax, (%rdi)\nadd $0x200000, %rax\nadd $8, %edi\ncmp $0xd000, %edi\njb 9b\n"        \
	"movq $0xc003, 0xa018\n"
#define RESET "mov $0xfe, %al\nout %al, $0x64\n1: hlt\njmp 1b\n"

GUEST(reset, RESET);
GUEST(triple_fault, "push $0\npush $0\nlidt (%rsp)\nud2\n");
GUEST(halt, "1: hlt\njmp 1b\n");
GUEST(count, "1: incq 0x300000\njmp 1b\n");
/* jumps to where neither memory nor a device is */
GUEST(nowhere, DEVICES "mov $0xe0000000, %eax\njmp *%rax\n");

/* Every width at every offset of the first half KiB of a window, aligned or not, read and written. The
 * ones that it wrote to Status do not start anything: the order is wrong. */
GUEST(every_width, DEVICES "mov $0xd0000000, %ebx\n"
		   "1: mov (%rbx), %al\nmov (%rbx), %ax\nmov (%rbx), %eax\nmov (%rbx), %rax\n"
		   "mov %bl, (%rbx)\nmov %bx, (%rbx)\nmov %ebx, (%rbx)\nmov %rbx, (%rbx)\n"
		   "inc %ebx\ncmp $0xd0000200, %ebx\njb 1b\n" RESET);
/* The last bytes of a window, across into the next, and beyond all windows: all ones there. */
GUEST(beyond, DEVICES "mov $0xd0000ffd, %ebx\nmov (%rbx), %rax\nmov %rax, (%rbx)\n"
	      "mov $0xdeadb000, %ebx\nmov %ebx, (%rbx)\nmov (%rbx), %eax\nmov %eax, 0x300000\n"
	      "mov $0xfeb00000, %ebx\nmov (%rbx), %rax\nmov %rax, 0x300008\n" RESET);
/* MagicValue, DeviceID of the first window */
GUEST(magic, DEVICES "mov $0xd0000000, %ebx\nmov (%rbx), %eax\nmov %eax, 0x300000\n"
	     "mov 8(%rbx), %eax\nmov %eax, 0x300004\n" RESET);
/* 0x64 is left out; 251 ports apart, with every width */
GUEST(ports, "xor %ebx, %ebx\n"
	     "1: mov %ebx, %edx\ncmp $0x61, %edx\njb 2f\ncmp $0x67, %edx\njbe 3f\n"
	     "2: in %dx, %al\nout %al, %dx\nin %dx, %ax\nout %ax, %dx\nin %dx, %eax\nout %eax, %dx\n"
	     "3: add $251, %ebx\ncmp $0x10000, %ebx\njb 1b\n"
	     "mov $0x500, %dx\nin %dx, %eax\nmov %eax, 0x300000\n"
	     "in $0x64, %al\nmovzx %al, %eax\nmov %eax, 0x300004\n" RESET);
/* QueueNotify, 3,000 times the right queue, and wrong ones, and by a byte */
GUEST(storm, DEVICES "mov $0xd0000050, %ebx\nmov $3000, %ecx\n"
	     "1: movl $0, (%rbx)\nmovl $7, (%rbx)\nmovl $0xffffffff, (%rbx)\nmovb $0, (%rbx)\n"
	     "dec %ecx\njnz 1b\n" RESET);
/* For ever: VERSION_1, acknowledge, driver, features ok (which is the loop's work), reset */
GUEST(restart, DEVICES "mov $0xd0000000, %ebx\n"
	       "1: movl $1, 0x24(%rbx)\nmovl $1, 0x20(%rbx)\nmovl $3, 0x70(%rbx)\n"
	       "movl $11, 0x70(%rbx)\nmovl $0, 0x70(%rbx)\njmp 1b\n");
GUEST(hello, "mov $0x3f8, %dx\nmov $'h', %al\nout %al, %dx\nmov $'i', %al\nout %al, %dx\n"
	     "mov $'\\n', %al\nout %al, %dx\n" RESET);
/* INIT and start-up IPI to the other CPU, to 0x8000 in real mode: movw $0x1234, 0x7000; reset; hlt */
GUEST(second_cpu, DEVICES "movabs $0xfeb01234700006c7, %rax\nmov %rax, 0x8000\n"
		  "movl $0x00f464e6, 0x8008\n"
		  "mov $0xfee00000, %ebx\nmovl $0x1ff, 0xf0(%rbx)\n"
		  "movl $0x01000000, 0x310(%rbx)\nmovl $0x4500, 0x300(%rbx)\n"
		  "movl $0x01000000, 0x310(%rbx)\nmovl $0x4608, 0x300(%rbx)\n1: hlt\njmp 1b\n");
/* Topology: APIC ID and count by leaf 1, level 1 of leaf 0xb, timing leaf, signature */
GUEST(cpuid, "mov $1, %eax\ncpuid\nmov %ebx, 0x300000\nmov %ecx, 0x300004\n"
	     "mov $0xb, %eax\nmov $1, %ecx\ncpuid\nmov %ebx, 0x300008\n"
	     "mov $0x40000010, %eax\ncpuid\nmov %eax, 0x30000c\n"
	     "mov $0x40000000, %eax\ncpuid\nmov %ebx, 0x300010\n" RESET);
GUEST(pvh, ".code32\nmov (%ebx), %eax\nmov %eax, 0x300000\n" RESET);

/* ---- a machine ----------------------------------------------------------------------------------- */

struct machine {
	struct sm_vdev dev;	/* first */
	struct sm_loop *loop;
	struct sm_hv *hv;
	struct sm_timer *limit;
	int console[2], kernel;
	char path[64];
	char why[SM_KVM_WHY_MAX];
	unsigned int ended;
	unsigned int started, negotiated;
	struct sm_hv_config config;
};

static int dev_start(struct sm_vdev *dev, uint32_t index)
{
	(void)index;
	((struct machine *)dev)->started++;
	return 0;
}

static void dev_stop(struct sm_vdev *dev, uint32_t index)
{
	(void)dev;
	(void)index;
}

static void dev_negotiated(struct sm_vdev *dev, uint64_t features)
{
	(void)features;
	((struct machine *)dev)->negotiated++;
}

static void dev_reset(struct sm_vdev *dev)
{
	(void)dev;
}

static const struct sm_vdev_ops dev_ops = {
	.name = "null",
	.id = 42,
	.nqueues = 1,
	.negotiated = dev_negotiated,
	.start = dev_start,
	.stop = dev_stop,
	.reset = dev_reset,
};

static void on_ended(void *arg, const char *why)
{
	struct machine *m = arg;

	m->ended++;
	snprintf(m->why, sizeof(m->why), "%s", why);
	sm_loop_stop(m->loop);
}

static void on_limit(void *arg)
{
	(void)arg;
	fail_msg("the guest did not end in time");
}

static void write_kernel(struct machine *m, const char *text, size_t len, bool pvh)
{
	static const uint32_t note[] = { 4, 4, 18, 0x6e6558, KERNEL_AT };
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[2];
	} k = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC, .e_machine = EM_X86_64,
			.e_entry = pvh ? UINT64_MAX : KERNEL_AT, .e_phoff = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 },
		.ph = { { .p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = KERNEL_AT,
			  .p_filesz = len, .p_memsz = len },
			{ .p_type = PT_NOTE, .p_offset = 0x800, .p_filesz = sizeof(note) } },
	};

	assert_int_equal(pwrite(m->kernel, &k, sizeof(k), 0), sizeof(k));
	assert_int_equal(pwrite(m->kernel, note, sizeof(note), 0x800), sizeof(note));
	assert_int_equal(pwrite(m->kernel, text, len, 0x1000), (ssize_t)len);
}

static int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->loop = sm_loop_new();
	m->kernel = memfd_create("kernel", MFD_CLOEXEC);
	m->dev.ops = &dev_ops;
	snprintf(m->path, sizeof(m->path), "/proc/self/fd/%d", m->kernel);
	m->config = (struct sm_hv_config){ .kernel = m->path, .vcpus = 1, .memory_mib = 32 };
	*state = m;
	if (!m->loop || m->kernel < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->console) < 0)
		return -1;
	return sm_timer_add(m->loop, LIMIT_NS, on_limit, NULL, &m->limit);
}

static int teardown(void **state)
{
	struct machine *m = *state;

	sm_hv_kvm.free(m->hv);
	sm_loop_free(m->loop);
	close(m->kernel);
	close(m->console[0]);
	free(m);
	return 0;
}

static void prepare(struct machine *m, const char *text, const char *end)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	write_kernel(m, text, (size_t)(end - text), text == guest_pvh);
	m->config.console_fd = m->console[1];
	if (sm_hv_kvm.create(m->loop, &m->config, on_ended, m, &m->hv, &err) < 0 ||
	    sm_hv_kvm.add_device(m->hv, &m->dev, &err) < 0 || sm_hv_kvm.load(m->hv, &err) < 0)
		fail_msg("%s", sm_err_text(&err));
}

static void boot(struct machine *m)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	if (sm_hv_kvm.boot(m->hv, &err) < 0)
		fail_msg("%s", sm_err_text(&err));
}

static void until_end(struct machine *m, const char *why)
{
	assert_int_equal(sm_loop_run(m->loop), 0);
	assert_int_equal(m->ended, 1);
	if (!strstr(m->why, why))
		fail_msg("it ended because \"%s\", not \"%s\"", m->why, why);
}

static uint32_t word(struct machine *m, gpa_t gpa)
{
	return *(volatile uint32_t *)sm_gmem_ptr(&m->hv->mem, gpa, 4);
}

static uint32_t mark(struct machine *m, unsigned int off)
{
	return word(m, MARK_AT + off);
}

#define RUN(m, name, why)                                                                          \
	do {                                                                                       \
		prepare(m, guest_##name, guest_##name##_end);                                      \
		boot(m);                                                                           \
		until_end(m, why);                                                                 \
	} while (0)

/* ---- tests --------------------------------------------------------------------------------------- */

static void the_keyboard_controller_ends_the_vm(void **state)
{
	RUN((struct machine *)*state, reset, "the guest ended the VM");
}

static void a_triple_fault_ends_the_vm(void **state)
{
	RUN((struct machine *)*state, triple_fault, "the guest ended the VM");
}

static void an_instruction_from_nowhere_is_reported(void **state)
{
	RUN((struct machine *)*state, nowhere, "KVM gave up on CPU 0");
}

static void on_stop(void *arg)
{
	struct machine *m = arg;

	sm_hv_kvm.stop(m->hv);
}

static void a_guest_that_sleeps_can_be_stopped(void **state)
{
	struct machine *m = *state;

	prepare(m, guest_halt, guest_halt_end);
	boot(m);
	assert_int_equal(sm_loop_post(m->loop, on_stop, m), 0);
	until_end(m, "it was stopped");
}

/* Once as soon as it runs, and once after it counted a little. */
static void a_guest_that_never_rests_can_be_stopped(void **state)
{
	struct machine *m = *state;

	prepare(m, guest_count, guest_count_end);
	boot(m);
	while (mark(m, 0) < 1000)
		;
	on_stop(m);
	on_stop(m);
	until_end(m, "it was stopped");
}

static void free_ends_what_runs(void **state)
{
	struct machine *m = *state;

	prepare(m, guest_count, guest_count_end);
	boot(m);
	sm_hv_kvm.free(m->hv);
	m->hv = NULL;
	assert_int_equal(m->ended, 0);
}

static void a_paused_guest_stands_still(void **state)
{
	struct machine *m = *state;
	uint32_t before;

	prepare(m, guest_count, guest_count_end);
	boot(m);
	for (int i = 0; i < 20; i++) {
		before = mark(m, 0);
		while (mark(m, 0) == before)
			;
		assert_int_equal(sm_hv_kvm.pause(m->hv), 0);
		before = mark(m, 0);
		for (int j = 0; j < 100000; j++)
			assert_int_equal(mark(m, 0), before);
		assert_int_equal(sm_hv_kvm.resume(m->hv), 0);
	}
	assert_int_equal(sm_hv_kvm.pause(m->hv), 0);
	on_stop(m);
	until_end(m, "it was stopped");
}

/* Ends the machine when somebody waits for this CPU to come to rest. */
static int refuse_in_pause(void *arg)
{
	struct machine *m = arg;

	while (!atomic_load(&m->hv->paused))
		;
	usleep(100000);
	return -EPERM;
}

static void a_guest_that_ends_while_it_is_paused(void **state)
{
	struct machine *m = *state;

	m->config.thread_started = refuse_in_pause;
	m->config.thread_arg = m;
	prepare(m, guest_count, guest_count_end);
	boot(m);
	alarm(LIMIT_NS / 1000000000);	/* the loop's timer has no chance */
	assert_int_equal(sm_hv_kvm.pause(m->hv), 0);
	alarm(0);
	until_end(m, "CPU 0 cannot be locked up");
}

static void the_window_of_a_device(void **state)
{
	struct machine *m = *state;

	RUN(m, magic, "the guest ended the VM");
	assert_int_equal(mark(m, 0), 0x74726976);	/* "virt" */
	assert_int_equal(mark(m, 4), 42);
}

static void every_width_and_alignment_is_answered(void **state)
{
	struct machine *m = *state;

	RUN(m, every_width, "the guest ended the VM");
	assert_int_equal(m->started, 0);
}

static void beyond_the_windows_there_is_nothing(void **state)
{
	struct machine *m = *state;

	RUN(m, beyond, "the guest ended the VM");
	assert_int_equal(mark(m, 0), UINT32_MAX);
	assert_int_equal(mark(m, 8), UINT32_MAX);
	assert_int_equal(mark(m, 12), UINT32_MAX);
}

static void ports_that_are_not_there(void **state)
{
	struct machine *m = *state;

	RUN(m, ports, "the guest ended the VM");
	assert_int_equal(mark(m, 0), UINT32_MAX);
	assert_int_equal(mark(m, 4), 0);	/* the keyboard controller is ready */
}

static void a_storm_of_notifications_does_nothing(void **state)
{
	struct machine *m = *state;

	RUN(m, storm, "the guest ended the VM");
	assert_int_equal(m->started, 0);
}

static void on_look(void *arg)
{
	struct machine *m = arg;

	if (m->negotiated >= 200)
		on_stop(m);
	else
		assert_int_equal(sm_loop_post(m->loop, on_look, m), 0);
}

static void on_turn(void *arg)
{
	sm_loop_stop(((struct machine *)arg)->loop);
}

static void a_guest_in_a_call_can_be_stopped(void **state)
{
	struct machine *m = *state;

	prepare(m, guest_restart, guest_restart_end);
	boot(m);
	on_look(m);
	until_end(m, "it was stopped");
}

static void a_guest_in_a_call_can_be_paused(void **state)
{
	struct machine *m = *state;
	unsigned int before;

	prepare(m, guest_restart, guest_restart_end);
	boot(m);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(sm_hv_kvm.pause(m->hv), 0);
		before = m->negotiated;
		assert_int_equal(sm_loop_post(m->loop, on_turn, m), 0);
		assert_int_equal(sm_loop_run(m->loop), 0);
		assert_int_equal(m->negotiated, before);
		assert_int_equal(sm_hv_kvm.resume(m->hv), 0);
	}
	on_look(m);
	until_end(m, "it was stopped");
}

static void early_messages(void **state)
{
	struct machine *m = *state;
	char text[16] = "";

	m->config.serial = true;
	RUN(m, hello, "the guest ended the VM");
	assert_int_equal(recv(m->console[0], text, sizeof(text) - 1, MSG_DONTWAIT), 3);
	assert_string_equal(text, "hi\n");
}

static void a_second_cpu_starts(void **state)
{
	struct machine *m = *state;

	m->config.vcpus = 2;
	RUN(m, second_cpu, "the guest ended the VM");
	assert_int_equal(word(m, 0x7000) & 0xffff, 0x1234);
}

static void cpuid_agrees_with_the_machine(void **state)
{
	struct machine *m = *state;

	m->config.vcpus = 4;
	RUN(m, cpuid, "the guest ended the VM");
	assert_int_equal(mark(m, 0) >> 24, 0);
	assert_int_equal(mark(m, 0) >> 16 & 0xff, 4);
	assert_int_equal(mark(m, 4) >> 31, 1);		/* runs on a hypervisor */
	assert_int_equal(mark(m, 4) >> 5 & 1, 0);	/* is none itself */
	assert_int_equal(mark(m, 8) & 0xffff, 4);
	assert_int_not_equal(mark(m, 12), 0);
	assert_int_equal(mark(m, 16), 0x4b4d564b);	/* "KVMK" */
}

static void a_kernel_that_has_only_pvh(void **state)
{
	struct machine *m = *state;

	RUN(m, pvh, "the guest ended the VM");
	assert_int_equal(mark(m, 0), 0x336ec578);
}

static int refuse(void *arg)
{
	(*(unsigned int *)arg)++;
	return -EPERM;
}

static void a_thread_that_cannot_be_locked_up_does_not_run(void **state)
{
	struct machine *m = *state;
	unsigned int asked = 0;

	m->config.thread_started = refuse;
	m->config.thread_arg = &asked;
	prepare(m, guest_count, guest_count_end);
	boot(m);
	until_end(m, "CPU 0 cannot be locked up");
	assert_int_equal(asked, 1);
	assert_int_equal(mark(m, 0), 0);
}

static void huge_pages_that_are_not_there(void **state)
{
	struct machine *m = *state;
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	m->config.hugepages = true;
	m->config.memory_mib = 1u << 20;
	m->config.console_fd = m->console[1];
	write_kernel(m, guest_reset, 4, false);
	assert_int_equal(sm_hv_kvm.create(m->loop, &m->config, on_ended, m, &m->hv, &err), 0);
	assert_int_equal(sm_hv_kvm.load(m->hv, &err), -ENOMEM);
	assert_non_null(strstr(sm_err_text(&err), "of 2 MiB pages (see /proc/sys/vm/nr_hugepages)"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(the_keyboard_controller_ends_the_vm),
		T(a_triple_fault_ends_the_vm),
		T(an_instruction_from_nowhere_is_reported),
		T(a_guest_that_sleeps_can_be_stopped),
		T(a_guest_that_never_rests_can_be_stopped),
		T(free_ends_what_runs),
		T(a_paused_guest_stands_still),
		T(a_guest_that_ends_while_it_is_paused),
		T(the_window_of_a_device),
		T(every_width_and_alignment_is_answered),
		T(beyond_the_windows_there_is_nothing),
		T(ports_that_are_not_there),
		T(a_storm_of_notifications_does_nothing),
		T(a_guest_in_a_call_can_be_stopped),
		T(a_guest_in_a_call_can_be_paused),
		T(early_messages),
		T(a_second_cpu_starts),
		T(cpuid_agrees_with_the_machine),
		T(a_kernel_that_has_only_pvh),
		T(a_thread_that_cannot_be_locked_up_does_not_run),
		T(huge_pages_that_are_not_there),
	};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("1..0 # SKIP /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
