/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/cgroup.h"
#include "runtime/runtime.h"
#include "runtime/settings.h"
#include "spec/config.h"

#define OUTPUT_MAX 65536
#define PROGRAM_NS (10ull * 1000000000)
#define KERNEL_READ 65536
#define VMM_OVERHEAD_MIB 200

enum verdict { OK, WARN, FAIL, VERDICTS };

static const char *const verdict_names[] = { "ok", "warn", "FAIL" };
_Static_assert(SM_ARRAY_SIZE(verdict_names) == VERDICTS, "a name for each verdict");

struct doctor {
	const struct sm_runtime *rt;
	const struct sm_settings *settings;
	struct sm_arena *arena;
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

/* ---- running the parts that can tell about themselves ---------------------------------------- */

static void run_child(const char *const argv[], int out)
{
	int null = open("/dev/null", O_RDWR);

	signal(SIGPIPE, SIG_DFL);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* All that a program says, within PROGRAM_NS. Its exit code, or -errno. */
static int run_program(const char *const argv[], struct sm_buf *out)
{
	uint64_t deadline = sm_now_ns() + PROGRAM_NS;
	int p[2], status;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run_child(argv, p[1]);
	close(p[1]);
	for (;;) {
		struct pollfd pfd = { .fd = p[0], .events = POLLIN };
		uint64_t now = sm_now_ns();
		char chunk[4096];
		ssize_t n;

		if (now >= deadline ||
		    poll(&pfd, 1, (int)((deadline - now) / 1000000) + 1) <= 0)
			break;
		n = read(p[0], chunk, sizeof(chunk));
		if (n <= 0)
			break;
		sm_buf_put(out, chunk, (size_t)n);
	}
	close(p[0]);
	if (pid < 0)
		return -EAGAIN;
	if (sm_now_ns() >= deadline)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static const char *first_line(struct doctor *d, const struct sm_buf *b)
{
	const char *text = b->data ? (const char *)b->data : "";

	return sm_arena_strndup(d->arena, text, strcspn(text, "\n"));
}

/* ---- checks --------------------------------------------------------------------------------- */

/* What `sm-vmm --probe` says of KVM on this host. */
struct probe {
	bool present, usable;
	const char *text;
	struct sm_u64 mips;
};

static const struct sm_field probe_fields[] = {
	{ "present", SM_FIELD_BOOL, offsetof(struct probe, present) },
	{ "usable", SM_FIELD_BOOL, offsetof(struct probe, usable) },
	{ "text", SM_FIELD_STRING, offsetof(struct probe, text) },
	{ "mips", SM_FIELD_U64, offsetof(struct probe, mips) },
	{ NULL },
};
static const struct sm_schema probe_schema = { NULL, sizeof(struct probe), probe_fields };

static void check_kvm(struct doctor *d)
{
	const char *const argv[] = { d->settings->vmm, "--probe", NULL };
	const char *remedy = "containers run under QEMU's emulation instead: correct, but slower";
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(OUTPUT_MAX);
	struct probe p = { 0 };
	int r = run_program(argv, &out);

	if (r != 0 || sm_json_read(d->arena, "probe", out.data ? (const char *)out.data : "",
				   out.len, &probe_schema, &p, NULL) < 0) {
		tell(d, WARN, "kvm", remedy, "cannot be probed: %s --probe: %s", d->settings->vmm,
		     r < 0 ? strerror(-r) : first_line(d, &out));
		return;
	}
	tell(d, p.usable ? OK : WARN, "kvm", remedy, "%s", p.text ? p.text : "?");
}

static void check_backend(struct doctor *d)
{
	const char *backend = sm_settings_backend(d->settings);

	tell(d, !strcmp(backend, "qemu") ? OK : FAIL, "backend",
	     "set \"hypervisor\" to \"qemu\" or \"auto\": this build has no other backend",
	     "%s (hypervisor \"%s\" in %s)", backend, d->settings->hypervisor, d->settings->file);
}

static void check_qemu(struct doctor *d)
{
	const char *const argv[] = { d->settings->qemu, "--version", NULL };
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(OUTPUT_MAX);
	int r = run_program(argv, &out);

	tell(d, r == 0 ? OK : FAIL, "qemu",
	     "install it (Debian: apt-get install qemu-system-x86) or name it as \"qemu\" in the "
	     "settings",
	     "%s: %s", d->settings->qemu, r == 127 ? "cannot be run" : first_line(d, &out));
}

static void check_vmm(struct doctor *d)
{
	const char *const argv[] = { d->settings->vmm, "--version", NULL };
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(OUTPUT_MAX);
	int r = run_program(argv, &out);

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

static void check_file(struct doctor *d, const char *check, const char *path, bool kernel,
		       const char *remedy)
{
	sm_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *banner;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		tell(d, FAIL, check, remedy, "%s: %s", path, strerror(errno));
		return;
	}
	banner = kernel ? kernel_banner(d, fd) : NULL;
	tell(d, OK, check, remedy, "%s (%.1f MiB)%s%s", path, (double)st.st_size / (1 << 20),
	     banner ? ": " : "", banner ? banner : "");
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
	if (!strcmp(sm_settings_backend(d->settings), "qemu"))
		check_qemu(d);
	check_file(d, "guest kernel", d->settings->kernel, true,
		   "build it with guest/kernel/build, or name one as \"kernel\" in the settings");
	check_file(d, "initramfs", d->settings->initrd, false,
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
