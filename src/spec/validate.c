/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "spec/message.h"
#include "spec/validate.h"

/*
 * The rules of the platform-neutral part of config.json. Where callers of runc look for words of
 * runc's in an error, those words are the text of the rule.
 */

const char *sm_check_at(struct sm_check *check, const char *fmt, ...)
{
	size_t len = strlen(check->top);
	va_list ap;

	memcpy(check->path, check->top, len + 1);
	va_start(ap, fmt);
	vsnprintf(check->path + len, sizeof(check->path) - len, fmt, ap);
	va_end(ap);
	return check->path;
}

int sm_check_bad(struct sm_check *check, const char *path, const char *section, const char *fmt,
		 ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = sm_spec_vsay(check->err, check->name, path, section, fmt, ap);
	va_end(ap);
	return rc;
}

int sm_check_warn(struct sm_check *check, const char *path, const char *section, const char *fmt,
		  ...)
{
	struct sm_strs *list = &check->config->warnings;
	struct sm_arena *arena = check->config->arena;
	sm_auto_err struct sm_err text = SM_ERR_INIT;
	const char **v = (const char **)list->v;
	va_list ap;

	va_start(ap, fmt);
	sm_spec_vsay(&text, check->name, path, section, fmt, ap);
	va_end(ap);
	if (!(list->n & (list->n - 1))) { /* full whenever the count is a power of two */
		v = sm_arena_array(arena, list->n ? 2 * list->n : 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		if (list->n)
			memcpy(v, list->v, list->n * sizeof(*v));
		list->v = v;
	}
	v[list->n] = sm_arena_strdup(arena, sm_err_text(&text));
	if (!v[list->n])
		return -ENOMEM;
	list->n++;
	return 0;
}

int sm_check_rules(struct sm_check *check, const struct sm_rule *rules)
{
	for (; rules->path; rules++)
		if (rules->broken(check->config))
			return sm_check_bad(check, sm_check_at(check, "%s", rules->path),
					    rules->section, "%s", rules->text);
	return 0;
}

uint32_t sm_check_cpu_list(const char *list, uint32_t max, void (*each)(uint32_t cpu, void *arg),
			   void *arg)
{
	uint32_t count = 0;

	while (*list) {
		char *end;
		unsigned long first = strtoul(list, &end, 10);
		unsigned long last = first;

		if (*list < '0' || *list > '9' || first >= max)
			return 0;
		if (*end == '-') {
			list = end + 1;
			last = strtoul(list, &end, 10);
			if (*list < '0' || *list > '9' || last < first || last >= max)
				return 0;
		}
		count += last - first + 1;
		for (; each && first <= last; first++)
			each(first, arg);
		if (*end != ',')
			return *end ? 0 : count;
		list = end + 1;
	}
	return 0;
}

/* ---- rules of one line ----------------------------------------------------------------------- */

static bool no_root(const struct sm_config *c)
{
	return !c->root;
}

static bool no_root_path(const struct sm_config *c)
{
	return !c->root->path || !c->root->path[0];
}

static bool vm_kernel_no_path(const struct sm_config *c)
{
	const struct sm_vm_kernel *k = c->vm ? c->vm->kernel : NULL;

	return k && (!k->path || k->path[0] != '/');
}

static bool vm_initrd_relative(const struct sm_config *c)
{
	const struct sm_vm_kernel *k = c->vm ? c->vm->kernel : NULL;

	return k && k->initrd && k->initrd[0] != '/';
}

static bool vm_no_cpus(const struct sm_config *c)
{
	const struct sm_vm_hw *hw = c->vm ? c->vm->hw : NULL;

	return hw && hw->vcpus.set && (!hw->vcpus.v || hw->vcpus.v > SM_VM_VCPUS_MAX);
}

static bool vm_bad_memory(const struct sm_config *c)
{
	const struct sm_vm_hw *hw = c->vm ? c->vm->hw : NULL;

	return hw && hw->memory.set &&
	       (hw->memory.v >> 20 < SM_VM_MEMORY_MIN_MIB ||
		hw->memory.v >> 20 > SM_VM_MEMORY_MAX_MIB);
}

#define STR_(x) #x
#define STR(x)  STR_(x)

static const struct sm_rule top_rules[] = {
	{ "root", "config.md#root", no_root, "root must be specified" },
	{ "root.path", "config.md#root", no_root_path, "must not be empty" },
	{ "vm.kernel.path", "config-vm.md#kernel-object", vm_kernel_no_path,
	  "must be an absolute path" },
	{ "vm.kernel.initrd", "config-vm.md#kernel-object", vm_initrd_relative,
	  "must be an absolute path" },
	{ "vm.hwConfig.vcpus", NULL, vm_no_cpus, "must be from 1 to " STR(SM_VM_VCPUS_MAX) },
	{ "vm.hwConfig.memory", NULL, vm_bad_memory,
	  "must be from " STR(SM_VM_MEMORY_MIN_MIB) " MiB to 1 TiB, in bytes" },
	{ NULL }
};

/* ---- rules that walk lists ------------------------------------------------------------------- */

static int check_version(struct sm_check *c)
{
	const char *section = "config.md#specification-version";
	const char *v = c->config->oci_version;

	if (!v[0])
		return sm_check_warn(c, "ociVersion", section, "is missing, taken for 1.0");
	if (strncmp(v, "1.", 2) || v[2] < '0' || v[2] > '9')
		return sm_check_bad(c, "ociVersion", section,
				    "\"%.40s\" is not supported: this runtime knows 1.x", v);
	return 0;
}

#define MOUNTS "config.md#mounts"

static int check_idmap(struct sm_check *c, size_t i)
{
	const struct sm_mount *m = &c->config->mounts.v[i];
	size_t uids = m->uid_mappings.n, gids = m->gid_mappings.n;
	char field[64];
	int rc;

	if (!m->options.idmap && !uids && !gids)
		return 0;
	if (strcmp(m->type, "bind"))
		return sm_check_bad(
			c, sm_check_at(c, "mounts[%zu]", i), MOUNTS,
			"only bind mounts can be id-mapped: leave the mappings and idmap "
			"out");
	if (!uids != !gids)
		return sm_check_bad(
			c, sm_check_at(c, "mounts[%zu].%sMappings", i, uids ? "gid" : "uid"),
			MOUNTS, "must be given together with %sMappings", uids ? "uid" : "gid");
	if (!uids && !c->config->uid_mappings.n)
		return sm_check_bad(c, sm_check_at(c, "mounts[%zu].options", i), MOUNTS,
				    "%s without mappings needs a user namespace: give the mount "
				    "uidMappings and gidMappings",
				    m->options.idmap_recursive ? "ridmap" : "idmap");
	snprintf(field, sizeof(field), "mounts[%zu].uidMappings", i);
	rc = sm_check_map(c, field, &m->uid_mappings);
	snprintf(field, sizeof(field), "mounts[%zu].gidMappings", i);
	return rc ? rc : sm_check_map(c, field, &m->gid_mappings);
}

static int check_mount(struct sm_check *c, size_t i)
{
	const struct sm_mount *m = &c->config->mounts.v[i];
	bool bind = m->type && !strcmp(m->type, "bind");

	if (!m->destination || !m->destination[0])
		return sm_check_bad(c, sm_check_at(c, "mounts[%zu].destination", i), MOUNTS,
				    "must not be empty");
	if (!m->type || !m->type[0])
		return sm_check_bad(c, sm_check_at(c, "mounts[%zu].type", i), MOUNTS,
				    "must not be empty unless the options have bind or rbind");
	if (bind && (!m->source || !m->source[0]))
		return sm_check_bad(c, sm_check_at(c, "mounts[%zu].source", i), MOUNTS,
				    "must not be empty for a bind mount");
	if (bind && m->options.data)
		return sm_check_bad(c, sm_check_at(c, "mounts[%zu].options", i), MOUNTS,
				    "bind mounts cannot have any filesystem-specific options "
				    "applied: %.100s",
				    m->options.data);
	if (m->destination[0] != '/')
		return sm_check_warn(c, sm_check_at(c, "mounts[%zu].destination", i), MOUNTS,
				     "%.100s is not absolute, taken as relative to /",
				     m->destination);
	return 0;
}

static int check_mounts(struct sm_check *c)
{
	int rc = 0;

	for (size_t i = 0; i < c->config->mounts.n && !rc; i++) {
		rc = check_mount(c, i);
		if (!rc)
			rc = check_idmap(c, i);
	}
	return rc;
}

#define HOOKS "config.md#posix-platform-hooks"

static int check_hook_list(struct sm_check *c, const char *kind, const sm_hook_list *hooks)
{
	for (size_t i = 0; i < hooks->n; i++) {
		const struct sm_hook *h = &hooks->v[i];

		if (!h->path || h->path[0] != '/')
			return sm_check_bad(c, sm_check_at(c, "hooks.%s[%zu].path", kind, i), HOOKS,
					    "must be an absolute path");
		if (h->timeout.set && h->timeout.v <= 0)
			return sm_check_bad(c, sm_check_at(c, "hooks.%s[%zu].timeout", kind, i),
					    HOOKS, "must be greater than zero");
	}
	return 0;
}

static int check_hooks(struct sm_check *c)
{
	const struct sm_hooks *h = &c->config->hooks;
	const struct {
		const char *kind;
		const sm_hook_list *list;
	} kinds[] = {
		{ "prestart", &h->prestart },
		{ "createRuntime", &h->create_runtime },
		{ "createContainer", &h->create_container },
		{ "startContainer", &h->start_container },
		{ "poststart", &h->poststart },
		{ "poststop", &h->poststop },
	};
	int rc = 0;

	for (size_t i = 0; i < SM_ARRAY_SIZE(kinds) && !rc; i++)
		rc = check_hook_list(c, kinds[i].kind, kinds[i].list);
	return rc;
}

static int check_annotations(struct sm_check *c)
{
	for (size_t i = 0; i < c->config->annotations.n; i++)
		if (!c->config->annotations.v[i].key[0])
			return sm_check_bad(c, "annotations", "config.md#annotations",
					    "a key must not be an empty string");
	return 0;
}

typedef int check_fn(struct sm_check *check);

static int run(struct sm_check *c, check_fn *const *checks, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++)
		rc = checks[i](c);
	if (rc == -ENOMEM)
		sm_err_sys(c->err, rc, "%s", c->name);
	return rc;
}

static int check_process_part(struct sm_check *c)
{
	int rc;

	if (!c->config->process)
		return sm_check_bad(c, "process", "config.md#process",
				    "process property must not be empty");
	c->top = "process.";
	rc = sm_check_process(c);
	c->top = "";
	return rc;
}

static int check_top(struct sm_check *c)
{
	return sm_check_rules(c, top_rules);
}

static int check_resources_part(struct sm_check *c)
{
	int rc;

	c->top = "linux.resources.";
	rc = sm_check_resources(c);
	c->top = "";
	return rc;
}

/* runc's order, so that of two mistakes the same one is told. */
int sm_validate_config(const char *name, struct sm_config *config, struct sm_err *err)
{
	static check_fn *const checks[] = {
		check_version,    check_process_part, check_top,
		check_mounts,     sm_check_linux,     check_resources_part,
		sm_check_seccomp, check_hooks,        check_annotations,
	};
	struct sm_check c = { .name = name, .top = "", .config = config, .err = err };

	return run(&c, checks, SM_ARRAY_SIZE(checks));
}

int sm_validate_process(const char *name, struct sm_config *config, struct sm_err *err)
{
	static check_fn *const checks[] = { sm_check_process };
	struct sm_check c = { .name = name, .top = "", .config = config, .err = err };

	return run(&c, checks, SM_ARRAY_SIZE(checks));
}

/* ---- what the host has ----------------------------------------------------------------------- */

void sm_host_lsm_probe(struct sm_host_lsm *lsm)
{
	lsm->apparmor = !access("/sys/kernel/security/apparmor", F_OK);
	lsm->selinux = !access("/sys/fs/selinux/enforce", F_OK);
}

int sm_config_check_host(const struct sm_config *config, const struct sm_host_lsm *lsm,
			 struct sm_err *err)
{
	const struct sm_process *p = config->process;

	if (p && p->apparmor_profile && p->apparmor_profile[0] && !lsm->apparmor)
		return sm_err_set(err, -EINVAL,
				  "config.json: process.apparmorProfile: %.100s is specified in "
				  "config, but apparmor is disabled or not supported "
				  "(runtime-spec config.md#linux-process)",
				  p->apparmor_profile);
	if (p && p->selinux_label && p->selinux_label[0] && !lsm->selinux)
		return sm_err_set(err, -EINVAL,
				  "config.json: process.selinuxLabel: selinux label is specified "
				  "in config, but selinux is disabled or not supported "
				  "(runtime-spec config.md#linux-process)");
	if (config->mount_label && config->mount_label[0] && !lsm->selinux)
		return sm_err_set(err, -EINVAL,
				  "config.json: linux.mountLabel: selinux label is specified in "
				  "config, but selinux is disabled or not supported "
				  "(runtime-spec config-linux.md#mount-label)");
	return 0;
}
