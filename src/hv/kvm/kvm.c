/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kvm backend: our own small monitor.
 *
 *	create      /dev/kvm; the VM, by a thread that ends when it is there
 *	add_device  a virtio-mmio window for each
 *	load        kernel, initramfs and tables into memory, while the VM is made; memory slots, then
 *	            interrupt chips, then CPUs, then eventfds (the order matters: arch_x86_64.c)
 *	boot        a thread for each CPU
 *
 * The end has one door: whoever finds out writes the reason (sm_kvm_end()) and rings end_fd; the loop's
 * thread then ends the vCPU threads and says ended().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "hv/kvm/machine.h"

/* The last console= is /dev/console. */
#define EARLY_CONSOLE "console=ttyS0 earlyprintk=ttyS0 "
#define NO_SERIAL "8250.nr_uarts=0 "
#define MAKER_STACK_SIZE (128u << 10)

static void on_call(void *arg, uint32_t events)
{
	struct sm_hv *hv = arg;
	eventfd_t n;

	(void)events;
	eventfd_read(hv->call_fd, &n);
	pthread_mutex_lock(&hv->lock);
	sm_kvm_calls_serve(hv);
	pthread_mutex_unlock(&hv->lock);
}

static void on_end(void *arg, uint32_t events)
{
	struct sm_hv *hv = arg;

	(void)events;
	sm_loop_remove(hv->loop, hv->end_io);
	hv->end_io = NULL;
	atomic_store(&hv->stopping, true);
	sm_kvm_vcpus_join(hv);
	hv->ended(hv->arg, hv->why);
}

static int watch(struct sm_hv *hv, int *fd, sm_io_fn *fn, struct sm_io **io)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : sm_loop_add(hv->loop, *fd, EPOLLIN, fn, hv, io);
}

/* ---- create ------------------------------------------------------------------------------------- */

static int open_kvm(struct sm_hv *hv, struct sm_err *err)
{
	hv->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (hv->kvm < 0)
		return sm_err_sys(err, errno, "/dev/kvm");
	if (ioctl(hv->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return sm_err_set(err, -ENOTSUP, "/dev/kvm: its API version is not %d",
				  KVM_API_VERSION);
	return 0;
}

static void *make_vm(void *arg)
{
	struct sm_hv *hv = arg;

	do
		hv->vm = ioctl(hv->kvm, KVM_CREATE_VM, 0);
	while (hv->vm < 0 && errno == EINTR);
	hv->make_error = hv->vm < 0 ? errno : 0;
	return NULL;
}

/* Most of it is waiting, for a thread of the kernel and for grace periods: there is a kernel to
 * read meanwhile. */
static void begin_vm(struct sm_hv *hv)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, MAKER_STACK_SIZE);
	hv->making = pthread_create(&hv->maker, &attr, make_vm, hv) == 0;
	pthread_attr_destroy(&attr);
	if (!hv->making)
		make_vm(hv);
}

static void await_vm(struct sm_hv *hv)
{
	if (hv->making)
		pthread_join(hv->maker, NULL);
	hv->making = false;
}

static int end_vm(struct sm_hv *hv, struct sm_err *err)
{
	await_vm(hv);
	if (hv->vm < 0)
		return sm_err_sys(err, hv->make_error, "KVM_CREATE_VM");
	hv->ring_page = ioctl(hv->vm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	if (hv->ring_page < 0)
		hv->ring_page = 0;
	return 0;
}

static int make_serial(struct sm_hv *hv)
{
	int copy = fcntl(hv->config.console_fd, F_DUPFD_CLOEXEC, 0);
	int r = copy < 0 ? -errno : sm_serial_new(copy, &hv->serial);

	if (r < 0)
		sm_close(&copy);
	return r;
}

/* The console takes the descriptor over, so it comes last: a create() that failed has taken nothing. */
static int make_small_devices(struct sm_hv *hv, struct sm_err *err)
{
	int r = sm_rng_new(hv->loop, &hv->rng);

	if (r < 0)
		return sm_err_sys(err, r, "rng device");
	r = sm_balloon_new(hv->loop, &hv->balloon);
	if (r < 0)
		return sm_err_sys(err, r, "balloon device");
	r = hv->config.serial ? make_serial(hv) : 0;
	if (r < 0)
		return sm_err_sys(err, r, "serial device");
	r = sm_vcon_new(hv->loop, hv->config.console_fd, &hv->console);
	return r < 0 ? sm_err_sys(err, r, "console device") : 0;
}

static void kvm_free(struct sm_hv *hv);

static int kvm_create(struct sm_loop *loop, const struct sm_hv_config *config,
		      sm_hv_ended_fn *ended, void *arg, struct sm_hv **out, struct sm_err *err)
{
	struct sm_hv *hv = calloc(1, sizeof(*hv));
	int r;

	if (!hv)
		return sm_err_sys(err, -ENOMEM, "kvm");
	hv->loop = loop;
	hv->config = *config;
	hv->ended = ended;
	hv->arg = arg;
	hv->kvm = hv->vm = hv->end_fd = hv->call_fd = -1;
	hv->calls_end = &hv->calls;
	pthread_mutex_init(&hv->lock, NULL);
	pthread_mutex_init(&hv->ring_lock, NULL);
	pthread_cond_init(&hv->changed, NULL);
	r = open_kvm(hv, err);
	if (r == 0 && ((r = watch(hv, &hv->call_fd, on_call, &hv->call_io)) < 0 ||
		       (r = watch(hv, &hv->end_fd, on_end, &hv->end_io)) < 0))
		sm_err_sys(err, r, "kvm: eventfd");
	if (r == 0)
		r = make_small_devices(hv, err);
	if (r == 0)
		begin_vm(hv);
	if (r < 0)
		kvm_free(hv);
	else
		*out = hv;
	return r;
}

/* ---- load --------------------------------------------------------------------------------------- */

static int load_kernel(struct sm_hv *hv, struct sm_err *err)
{
	sm_auto_free char *devices = sm_kvm_bus_cmdline(hv);
	sm_auto_free char *words = NULL;
	struct sm_boot_config c = {
		.kernel = hv->config.kernel,
		.initrd = hv->config.initrd,
		.vcpus = hv->config.vcpus,
		.irqs = sm_kvm_bus_irqs(hv),
	};

	/* The words are explained in guest/kernel/README.md. */
	if (devices)
		words = sm_strf("%sconsole=hvc0 quiet noreplace-smp maxcpus=1 sm.no8259 sm.edges%s%s%s",
				hv->serial ? EARLY_CONSOLE : NO_SERIAL, devices,
				hv->config.cmdline && *hv->config.cmdline ? " " : "",
				hv->config.cmdline ? hv->config.cmdline : "");
	if (!words)
		return sm_err_sys(err, -ENOMEM, "kernel command line");
	c.cmdline = words;
	return sm_boot_load(&hv->mem, &c, &hv->start, err);
}

static int kvm_load(struct sm_hv *hv, struct sm_err *err)
{
	struct sm_vdev *const small[] = {
		sm_vcon_vdev(hv->console),
		sm_rng_vdev(hv->rng),
		sm_balloon_vdev(hv->balloon),
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < SM_ARRAY_SIZE(small); i++)
		r = sm_kvm_bus_add(hv, small[i], err);
	if (r < 0 || (r = sm_kvm_memory_new(hv, err)) < 0 || (r = load_kernel(hv, err)) < 0 ||
	    (r = end_vm(hv, err)) < 0 || (r = sm_kvm_memory_set(hv, err)) < 0 ||
	    (r = sm_kvm_arch_vm(hv, err)) < 0 || (r = sm_kvm_vcpus_new(hv, err)) < 0 ||
	    (r = sm_kvm_bus_wire(hv, err)) < 0)
		return r;
	return sm_kvm_arch_reset(hv, &hv->vcpu[0], err);
}

/* ---- the machine runs --------------------------------------------------------------------------- */

static int kvm_boot(struct sm_hv *hv, struct sm_err *err)
{
	return sm_kvm_vcpus_start(hv, err);
}

static int kvm_pause(struct sm_hv *hv)
{
	atomic_store(&hv->paused, true);
	sm_kvm_vcpus_kick(hv);
	pthread_mutex_lock(&hv->lock);
	/* One that has called, or waits for a lock of one that has, comes to rest when it was served. */
	while (hv->resting < hv->config.vcpus && !*hv->why) {
		if (hv->calls)
			sm_kvm_calls_serve(hv);
		else
			pthread_cond_wait(&hv->changed, &hv->lock);
	}
	pthread_mutex_unlock(&hv->lock);
	return 0;
}

static int kvm_resume(struct sm_hv *hv)
{
	pthread_mutex_lock(&hv->lock);
	atomic_store(&hv->paused, false);
	pthread_cond_broadcast(&hv->changed);
	pthread_mutex_unlock(&hv->lock);
	return 0;
}

static void kvm_stop(struct sm_hv *hv)
{
	sm_kvm_end(hv, "it was stopped");
}

static void kvm_free(struct sm_hv *hv)
{
	if (!hv)
		return;
	atomic_store(&hv->stopping, true);
	await_vm(hv);
	if (hv->vcpu)
		sm_kvm_vcpus_join(hv);
	sm_loop_remove(hv->loop, hv->call_io);
	sm_loop_remove(hv->loop, hv->end_io);
	sm_kvm_bus_free(hv);
	sm_balloon_free(hv->balloon);
	sm_rng_free(hv->rng);
	sm_vcon_free(hv->console);
	sm_serial_free(hv->serial);
	sm_kvm_vcpus_free(hv);
	sm_close(&hv->vm);
	sm_close(&hv->kvm);
	sm_kvm_memory_free(hv);
	sm_close(&hv->call_fd);
	sm_close(&hv->end_fd);
	pthread_cond_destroy(&hv->changed);
	pthread_mutex_destroy(&hv->lock);
	pthread_mutex_destroy(&hv->ring_lock);
	free(hv);
}

const struct sm_hv_ops sm_hv_kvm = {
	.name = "kvm",
	.create = kvm_create,
	.add_device = sm_kvm_bus_add,
	.load = kvm_load,
	.boot = kvm_boot,
	.pause = kvm_pause,
	.resume = kvm_resume,
	.stop = kvm_stop,
	.free = kvm_free,
};
