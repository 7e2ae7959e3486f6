/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/backend.h"
#include "runtime/cgroup.h"
#include "runtime/program.h"
#include "runtime/runtime.h"
#include "runtime/settings.h"
#include "spec/config.h"

#define OUTPUT_MAX 65536
#define KERNEL_READ 65536
#define VMM_OVERHEAD_MIB 200

enum verdict { OK, WARN, FAIL, VERDICTS };

static const char *const verdict_names[] = { "ok", "warn", "FAIL" };
_Static_assert(SM_ARRAY_SIZE(verdict_names) == VERDICTS, "a name for each verdict");

struct doctor {
	const struct sm_runtime *rt;
	const struct sm_settings *settings;
	struct sm_arena *arena;
	struct sm_backend backend;	/* from check_kvm() on */
	bool failed;
};

__attribute__((format(printf, 5, 6))) static void tell(struct doctor *d, enum verdict verdict,
							 const char *check, const char *remedy,
							 const char *fmt, ...)
{
	va_list ap;

	printf("%-4s  %-14s  ", verdict_names[verdict], check);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (verdict != OK && remedy)
		printf("%22s%s\n", "", remedy);
	d->failed |= verdict == FAIL;
}

static const char *first_line(struct doctor *d, const struct sm_buf *b)
{
	const char *text = b->data ? (const char *)b->data : "";

	return sm_arena_strndup(d->arena, text, strcspn(text, "\n"));
}

/* ---- checks --------------------------------------------------------------------------------- */

/* A fresh probe, which also renews what is kept for creates. */
static void check_kvm(struct doctor *d)
{
	struct sm_kvmprobe *p = &d->backend.probe;

	sm_kvmprobe(d->settings->vmm, true, d->arena, p);
	d->backend.probed = true;
	tell(d, p->usable ? OK : WARN, "kvm", sm_kvmprobe_remedy(p), "%s", p->text);
}

static void check_backend(struct doctor *d)
{
	enum sm_hypervisor hypervisor = d->settings->hypervisor;
	const struct sm_backend_wish wish = { hypervisor, false };
	const char *word = sm_word_name(sm_hypervisor_words, hypervisor);
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	bool automatic = hypervisor == SM_HYPERVISOR_AUTO;

	d->backend.probed = hypervisor != SM_HYPERVISOR_QEMU;
	if (sm_backend_decide(d->settings, &wish, &d->backend, &err) < 0)
		tell(d, FAIL, "backend",
		     hypervisor == SM_HYPERVISOR_KVM ?
			     "set \"hypervisor\" to \"auto\" or \"qemu\" in the settings" :
			     "see qemu below",
		     "none for hypervisor \"%s\" in %s", word, d->settings->file);
	else
		tell(d, OK, "backend", NULL, "%s%s (hypervisor \"%s\" in %s)", d->backend.name,
		     automatic && !d->backend.kvm ? ": emulation, correct but slower" : "", word,
		     d->settings->file);
}

/* It fails only who needs it. */
static void check_qemu(struct doctor *d)
{
	const char *const argv[] = { d->settings->qemu, "--version", NULL };
	bool needed = !d->backend.kvm && d->settings->hypervisor != SM_HYPERVISOR_KVM;
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(OUTPUT_MAX);
	int r = sm_program_output(argv, &out);

	tell(d, r == 0 || !needed ? OK : FAIL, "qemu",
	     "install it (Debian: apt-get install qemu-system-x86) or name it as \"qemu\" in the "
	     "settings",
	     "%s: %s%s", d->settings->qemu, r == 127 ? "cannot be run" : first_line(d, &out),
	     needed ? "" : " (the kvm backend does not need it)");
}

static void check_vmm(struct doctor *d)
{
	const char *const argv[] = { d->settings->vmm, "--version", NULL };
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(OUTPUT_MAX);
	int r = sm_program_output(argv, &out);

	tell(d, r == 0 ? OK : FAIL, "sm-vmm",
	     "install supermachine whole, or name it as \"vmm\" in the settings", "%s: %s",
	     d->settings->vmm, r == 127 ? "cannot be run" : first_line(d, &out));
}

/* The banner of an uncompressed kernel: "Linux version 6.1.0 (…) …". It stands within the first
 * tens of megabytes; how far depends on the configuration. */
static const char *kernel_banner(struct doctor *d, int fd)
{
	static const char mark[] = "Linux version ";
	sm_auto_free char *chunk = malloc(KERNEL_READ + 1);
	off_t at = 0;
	ssize_t n;

	while (chunk && (n = pread(fd, chunk, KERNEL_READ, at)) > (ssize_t)sizeof(mark)) {
		char *p = chunk, *hit;

		chunk[n] = '\0';
		while ((hit = memmem(p, (size_t)(chunk + n - p), mark, sizeof(mark) - 1))) {
			p = hit + sizeof(mark) - 1;
			if (*p >= '0' && *p <= '9' && chunk + n - p > 64)
				return sm_arena_strndup(d->arena, hit,
							sizeof(mark) - 1 + strcspn(p, " \n"));
		}
		at += n > 256 ? n - 256 : n;
		if (n < KERNEL_READ)
			break;
	}
	return NULL;
}

/* A bzImage says where its version is (x86/boot.rst: kernel_version, relative to 0x200). */
static const char *bzimage_version(struct doctor *d, int fd)
{
	unsigned char header[0x210];
	char text[128];
	ssize_t n;

	if (pread(fd, header, sizeof(header), 0) != sizeof(header) ||
	    memcmp(header + 0x202, "HdrS", 4) != 0)
		return NULL;
	n = pread(fd, text, sizeof(text) - 1, 0x200 + (header[0x20e] | header[0x20f] << 8));
	text[n > 0 ? n : 0] = '\0';
	return sm_arena_strf(d->arena, "bzImage of Linux version %.*s", (int)strcspn(text, " \n"),
			     text);
}

/* What there is to say about a file; NULL: nothing. */
typedef const char *describe_fn(struct doctor *d, int fd);

static const char *describe_kernel(struct doctor *d, int fd)
{
	const char *text;

	if (sm_backend_is_library(d->settings->kernel))
		return "libkrunfw";
	text = bzimage_version(d, fd);
	return text ? text : kernel_banner(d, fd);
}

static void check_file(struct doctor *d, const char *check, const char *path, describe_fn *describe,
		       const char *remedy)
{
	sm_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *text;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		tell(d, FAIL, check, remedy, "%s: %s", path, strerror(errno));
		return;
	}
	text = describe ? describe(d, fd) : NULL;
	tell(d, OK, check, remedy, "%s (%.1f MiB)%s%s", path, (double)st.st_size / (1 << 20),
	     text ? ": " : "", text ? text : "");
}

static void check_kernel(struct doctor *d)
{
	const char *path = d->settings->kernel;

	if (!d->backend.kvm && sm_backend_is_library(path))
		tell(d, FAIL, "guest kernel",
		     "name a vmlinux as \"kernel\" in the settings, or leave it out",
		     "%s: only the kvm backend can boot a libkrunfw kernel", path);
	else if (sm_backend_is_soname(path))
		tell(d, OK, "guest kernel", NULL, "%s: libkrunfw, found by the dynamic linker",
		     path);
	else
		check_file(d, "guest kernel", path, describe_kernel,
			   "build it with guest/kernel/build, or name one as \"kernel\" in the "
			   "settings");
}

static void check_host_kernel(struct doctor *d)
{
	struct utsname u;
	int major = 0, minor = 0;
	bool old;

	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	old = major < 5 || (major == 5 && minor < 10);
	tell(d, old ? FAIL : OK, "host kernel", "Linux 5.10 or newer is needed", "Linux %s (%s)",
	     u.release, u.machine);
}

static void check_cgroups(struct doctor *d)
{
	struct sm_cgroups cg = { NULL, 0 };
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	const char *v2 = NULL;
	size_t v1 = 0;

	if (sm_cgroup_plan(d->arena, "", &cg, &err) < 0 || !cg.n) {
		tell(d, WARN, "cgroups",
		     "mount cgroup2 on /sys/fs/cgroup: without it no limits hold on the host", "%s",
		     err.code ? sm_err_text(&err) : "none are mounted");
		return;
	}
	for (size_t i = 0; i < cg.n; i++) {
		if (cg.v[i].version == SM_CGROUP_V1)
			v1++;
		else
			v2 = cg.v[i].controllers;
	}
	if (v1)
		tell(d, OK, "cgroups", NULL, "version 1, %zu hierarchies%s%s%s", v1,
		     v2 ? ", hybrid with version 2 (" : "", v2 ? v2 : "", v2 ? ")" : "");
	else
		tell(d, OK, "cgroups", NULL, "version 2 (%s)", v2);
}

static void check_root(struct doctor *d)
{
	int r = sm_mkdir_p(d->rt->root, 0700);

	if (r == 0 && access(d->rt->root, W_OK) < 0)
		r = -errno;
	if (r < 0)
		tell(d, FAIL, "state", "choose a directory that can be written with --root",
		     "%s: %s", d->rt->root, strerror(-r));
	else
		tell(d, OK, "state", NULL, "%s can be written", d->rt->root);
	tell(d, geteuid() == 0 ? OK : WARN, "privileges",
	     "run as root: network namespaces and cgroups of containers need it", "uid %u",
	     (unsigned int)geteuid());
}

static void check_memory(struct doctor *d)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(OUTPUT_MAX);
	const char *at = NULL;
	unsigned long long free_mib, need = d->settings->vm.size.memory_mib + VMM_OVERHEAD_MIB;

	if (sm_read_file_at(AT_FDCWD, "/proc/meminfo", &text) == 0 && text.data)
		at = strstr((const char *)text.data, "MemAvailable:");
	if (!at) {
		tell(d, WARN, "memory", NULL, "/proc/meminfo does not tell what is available");
		return;
	}
	free_mib = strtoull(at + 13, NULL, 10) / 1024;
	tell(d, free_mib < need ? WARN : OK, "memory",
	     "set a smaller \"memory\" in the settings, or a memory limit for the container",
	     "%llu MiB available, a container without a limit may use %llu", free_mib, need);
}

static int diagnose(struct doctor *d)
{
	check_host_kernel(d);
	check_kvm(d);
	check_backend(d);
	check_vmm(d);
	check_qemu(d);
	check_kernel(d);
	check_file(d, "initramfs", d->settings->initrd, NULL,
		   "install supermachine whole, or name one as \"initrd\" in the settings");
	check_cgroups(d);
	check_root(d);
	check_memory(d);
	printf("\n%s\n", d->failed ? "Containers cannot run here: see FAIL above." :
				     "Containers can run here.");
	return d->failed;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const struct sm_opt opts[] = { { NULL } };
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_settings struct sm_settings *settings = NULL;
	struct doctor d = { .rt = rt };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_settings_load(&settings, err);
	if (r < 0)
		return r;
	d.settings = settings;
	d.arena = settings->arena;
	fflush(stdout);
	return diagnose(&d);
}

const struct sm_command sm_cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "check whether this host can run containers",
	.text = "   Prints a line for each thing that containers need, what was found, and\n"
		"   what to do about it. The exit code is 0 if containers can run.\n",
	.min = 0,
	.max = 0,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
};
