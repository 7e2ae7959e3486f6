/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "spec/config.h"

#define FILE_MAX (1u << 20)
#define ARENA_MAX (4u << 20)
#define DEFAULT_MEMORY_MIB 1024
#define DEFAULT_VCPUS 1

struct doc {
	struct sm_u64 hypervisor;
	const char *vmm, *kernel, *initrd, *qemu;
	struct sm_strs kernel_parameters;
	struct sm_u64 vcpus, memory;
	bool hugepages, early_console, core_dumps;
	struct sm_u64 network;
	struct sm_strs network_policy, ports;
};

const struct sm_word sm_hypervisor_words[] = {
	{ "auto", SM_HYPERVISOR_AUTO },
	{ "kvm", SM_HYPERVISOR_KVM },
	{ "qemu", SM_HYPERVISOR_QEMU },
	{ NULL, 0 },
};
_Static_assert(SM_ARRAY_SIZE(sm_hypervisor_words) == SM_HYPERVISOR_NUM + 1,
	       "a word for each hypervisor");

const struct sm_word sm_network_words[] = {
	{ "tsi", true },
	{ "none", false },
	{ NULL, 0 },
};

static const struct sm_field doc_fields[] = {
	{ "hypervisor", SM_FIELD_WORD, offsetof(struct doc, hypervisor),
	  .words = sm_hypervisor_words },
	{ "vmm", SM_FIELD_STRING, offsetof(struct doc, vmm) },
	{ "kernel", SM_FIELD_STRING, offsetof(struct doc, kernel) },
	{ "initrd", SM_FIELD_STRING, offsetof(struct doc, initrd) },
	{ "qemu", SM_FIELD_STRING, offsetof(struct doc, qemu) },
	{ "kernelParameters", SM_FIELD_STRINGS, offsetof(struct doc, kernel_parameters) },
	{ "vcpus", SM_FIELD_U32, offsetof(struct doc, vcpus) },
	{ "memory", SM_FIELD_U32, offsetof(struct doc, memory) },
	{ "hugepages", SM_FIELD_BOOL, offsetof(struct doc, hugepages) },
	{ "earlyConsole", SM_FIELD_BOOL, offsetof(struct doc, early_console) },
	{ "coreDumps", SM_FIELD_BOOL, offsetof(struct doc, core_dumps) },
	{ "network", SM_FIELD_WORD, offsetof(struct doc, network), .words = sm_network_words },
	{ "networkPolicy", SM_FIELD_STRINGS, offsetof(struct doc, network_policy) },
	{ "ports", SM_FIELD_STRINGS, offsetof(struct doc, ports) },
	{ NULL },
};
static const struct sm_schema doc_schema = { NULL, sizeof(struct doc), doc_fields };

static uint32_t usable_cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : (uint32_t)n;
}

/* A part that was not named: beside the program, else where it is installed. */
static const char *find_part(struct sm_arena *arena, const char *name, const char *installed_dir)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash, *path;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		path = sm_arena_strf(arena, "%.*s/%s", (int)(slash ? slash - self : 0), self, name);
		if (path && access(path, R_OK) == 0)
			return path;
	}
	return sm_arena_strf(arena, "%s/%s", installed_dir, name);
}

static int read_file(struct sm_settings *s, struct doc *d, struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(FILE_MAX);
	int r = sm_read_file_at(AT_FDCWD, s->file, &text);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return sm_err_sys(err, r, "%s", s->file);
	return sm_json_read(s->arena, s->file, text.data ? (const char *)text.data : "", text.len,
			    &doc_schema, d, err);
}

/* "a, b" */
static const char *join(struct sm_arena *arena, const struct sm_strs *list)
{
	const char *text = "";

	for (size_t i = 0; text && i < list->n; i++)
		text = sm_arena_strf(arena, "%s%s%s", text, i ? ", " : "", list->v[i]);
	return text;
}

static int fill(struct sm_settings *s, const struct doc *d, struct sm_err *err)
{
	s->hypervisor = (enum sm_hypervisor)d->hypervisor.v;
	s->vmm = d->vmm ? d->vmm : find_part(s->arena, "sm-vmm", SM_LIBEXECDIR);
	s->kernel = d->kernel ? d->kernel : find_part(s->arena, "vmlinux", SM_DATADIR);
	s->initrd = d->initrd ? d->initrd : find_part(s->arena, "initramfs.cpio", SM_DATADIR);
	s->qemu = d->qemu ? d->qemu : "qemu-system-x86_64";
	s->kernel_parameters = d->kernel_parameters;
	s->hugepages = d->hugepages;
	s->early_console = d->early_console;
	s->core_dumps = d->core_dumps;
	s->tsi = !d->network.set || d->network.v;
	s->network_policy = join(s->arena, &d->network_policy);
	s->ports = join(s->arena, &d->ports);
	s->vm.vcpus_max = usable_cpus();
	s->vcpus_given = d->vcpus.set;
	s->vm.size.vcpus = d->vcpus.set ? (uint32_t)d->vcpus.v : DEFAULT_VCPUS;
	s->vm.size.memory_mib = d->memory.set ? (uint32_t)d->memory.v : DEFAULT_MEMORY_MIB;
	if (!s->vmm || !s->kernel || !s->initrd || !s->network_policy || !s->ports)
		return sm_err_sys(err, -ENOMEM, "settings");
	if (s->vm.size.vcpus < 1 || s->vm.size.vcpus > SM_VM_VCPUS_MAX)
		return sm_err_set(err, -EINVAL, "%s: vcpus: must be 1 to %d", s->file,
				  SM_VM_VCPUS_MAX);
	if (s->vm.size.memory_mib < SM_VM_MEMORY_MIN_MIB ||
	    s->vm.size.memory_mib > SM_VM_MEMORY_MAX_MIB)
		return sm_err_set(err, -EINVAL, "%s: memory: must be %d to %u (MiB)", s->file,
				  SM_VM_MEMORY_MIN_MIB, SM_VM_MEMORY_MAX_MIB);
	return 0;
}

int sm_settings_load(struct sm_settings **settings, struct sm_err *err)
{
	const char *file = getenv("SUPERMACHINE_CONFIG");
	struct sm_arena *arena = sm_arena_new(ARENA_MAX);
	struct sm_settings *s = arena ? sm_arena_alloc(arena, sizeof(*s)) : NULL;
	struct doc d = { 0 };
	int r;

	if (!s) {
		sm_arena_free(arena);
		return sm_err_sys(err, -ENOMEM, "settings");
	}
	s->arena = arena;
	s->file = file && *file ? file : SM_SYSCONFDIR "/config.json";
	r = read_file(s, &d, err);
	if (r == 0)
		r = fill(s, &d, err);
	if (r < 0)
		sm_settings_free(&s);
	else
		*settings = s;
	return r;
}

void sm_settings_free(struct sm_settings **settings)
{
	if (*settings)
		sm_arena_free((*settings)->arena);
	*settings = NULL;
}
