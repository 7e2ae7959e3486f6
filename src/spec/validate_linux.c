/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clean.h"
#include "spec/device.h"
#include "spec/seccomp.h"
#include "spec/validate.h"

/* The rules of linux, but for its resources: validate_resources.c. */

#define NAMESPACES   "config-linux.md#namespaces"
#define MAPPINGS     "config-linux.md#user-namespace-mappings"
#define TIME_OFFSETS "config-linux.md#offset-for-time-namespace"
#define DEVICES      "config-linux.md#devices"
#define SECCOMP      "config-linux.md#seccomp"

static bool set(const char *text)
{
	return text && text[0];
}

static bool hostname_no_uts(const struct sm_config *c)
{
	return set(c->hostname) && !sm_config_has_namespace(c, CLONE_NEWUTS);
}

static bool domainname_no_uts(const struct sm_config *c)
{
	return set(c->domainname) && !sm_config_has_namespace(c, CLONE_NEWUTS);
}

static bool maps_no_user(const struct sm_config *c)
{
	return (c->uid_mappings.n || c->gid_mappings.n) &&
	       !sm_config_has_namespace(c, CLONE_NEWUSER);
}

static bool user_no_maps(const struct sm_config *c)
{
	return sm_config_has_namespace(c, CLONE_NEWUSER) && !c->uid_mappings.n &&
	       !c->gid_mappings.n;
}

static bool offsets_no_time(const struct sm_config *c)
{
	return c->time_offsets.n && !sm_config_has_namespace(c, CLONE_NEWTIME);
}

static bool no_domain(const struct sm_config *c)
{
	return c->personality && !c->personality->domain.set;
}

static const struct sm_rule rules[] = {
	{ "hostname", "config.md#hostname", hostname_no_uts,
	  "unable to set hostname without a private UTS namespace" },
	{ "domainname", "config.md#domainname", domainname_no_uts,
	  "unable to set domainname without a private UTS namespace" },
	{ "linux.uidMappings", MAPPINGS, maps_no_user,
	  "user namespace mappings specified, but user namespace isn't enabled in the config" },
	{ "linux.uidMappings", MAPPINGS, user_no_maps,
	  "user namespaces enabled, but no mappings to apply specified" },
	{ "linux.timeOffsets", TIME_OFFSETS, offsets_no_time,
	  "time namespace offsets specified, but time namespace isn't enabled in the config" },
	{ "linux.personality.domain", "config-linux.md#personality", no_domain,
	  "must not be empty" },
	{ NULL }
};

/* By path: the network on the host; of the others, sm-runtime sees what can be had. */
#define JOINED (CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)

static int check_namespaces(struct sm_check *c)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < c->config->namespaces.n; i++) {
		const struct sm_namespace *ns = &c->config->namespaces.v[i];
		const char *name = sm_word_name(sm_namespace_words, ns->type.v);

		if (!ns->type.set)
			return sm_check_bad(c, sm_check_at(c, "linux.namespaces[%zu].type", i),
					    NAMESPACES, "must not be empty");
		if (seen & ns->type.v)
			return sm_check_bad(c, sm_check_at(c, "linux.namespaces[%zu].type", i),
					    NAMESPACES, "malformed spec file: duplicated ns %s",
					    name);
		seen |= ns->type.v;
		if (!set(ns->path))
			continue;
		if (!(ns->type.v & JOINED))
			return sm_check_bad(c, sm_check_at(c, "linux.namespaces[%zu].path", i),
					    NAMESPACES,
					    "no %s namespace can be joined: the container has a "
					    "kernel of its own; leave the path out",
					    name);
		if (ns->path[0] != '/')
			return sm_check_bad(c, sm_check_at(c, "linux.namespaces[%zu].path", i),
					    NAMESPACES, "must be an absolute path");
	}
	return 0;
}

/* A namespace that is not listed is to be the runtime's: the host's. What that means here. */
static int warn_missing_namespaces(struct sm_check *c)
{
	static const struct {
		uint64_t type;
		const char *text;
	} missing[] = {
		{ CLONE_NEWPID,
		  "no pid namespace: the container sees the VM's processes, not the host's" },
		{ CLONE_NEWIPC,
		  "no ipc namespace: the container shares IPC with its VM, not with the host" },
		{ CLONE_NEWNS, "no mount namespace: the container gets one all the same" },
	};
	int rc = 0;

	if (sm_config_namespace_path(c->config, CLONE_NEWIPC))
		rc = sm_check_warn(
			c, "linux.namespaces", NAMESPACES,
			"an ipc namespace by path: semaphores, message queues and shared "
			"memory are the container's own all the same, as it has a VM of its "
			"own");
	for (size_t i = 0; i < SM_ARRAY_SIZE(missing) && !rc; i++)
		if (!sm_config_has_namespace(c->config, missing[i].type))
			rc = sm_check_warn(c, "linux.namespaces", NAMESPACES, "%s",
					   missing[i].text);
	return rc;
}

int sm_check_map(struct sm_check *c, const char *field, const sm_id_map_list *map)
{
	const struct sm_id_mapping *v = map->v;

	for (size_t i = 0; i < map->n; i++)
		if (!v[i].size.v || v[i].container_id.v + v[i].size.v > UINT32_MAX ||
		    v[i].host_id.v + v[i].size.v > UINT32_MAX)
			return sm_check_bad(c, sm_check_at(c, "%s[%zu].size", field, i), MAPPINGS,
					    "must be at least 1 and not lead past the last id");
	return 0;
}

static int check_maps(struct sm_check *c)
{
	const struct sm_config *config = c->config;
	int rc = sm_check_map(c, "linux.uidMappings", &config->uid_mappings);

	return rc ? rc : sm_check_map(c, "linux.gidMappings", &config->gid_mappings);
}

static int check_time_offsets(struct sm_check *c)
{
	for (size_t i = 0; i < c->config->time_offsets.n; i++) {
		const struct sm_time_offset *o = &c->config->time_offsets.v[i];

		if (strcmp(o->clock, "boottime") && strcmp(o->clock, "monotonic"))
			return sm_check_bad(c, sm_check_at(c, "linux.timeOffsets.%.40s", o->clock),
					    TIME_OFFSETS, "is neither boottime nor monotonic");
		if (o->nanosecs.v >= 1000000000)
			return sm_check_bad(
				c, sm_check_at(c, "linux.timeOffsets.%s.nanosecs", o->clock),
				TIME_OFFSETS, "must be below 1000000000");
	}
	return 0;
}

static bool device_number(const struct sm_i64 *n)
{
	return n->set && n->v >= 0 && n->v <= INT32_MAX;
}

/*
 * Engines say "privileged" by a list of every device node of the host and the leave to use any
 * device. Such a list names none in particular, so what of it is not in the VM can be left out.
 */
static bool any_device_allowed(const struct sm_resources *r)
{
	bool any = false;

	for (size_t i = 0; i < r->devices.n; i++) {
		const struct sm_device_rule *rule = &r->devices.v[i];

		if (!rule->allow)
			any = false;
		else if ((!rule->type || !*rule->type || *rule->type == 'a') &&
			 (!rule->major.set || rule->major.v == -1) &&
			 (!rule->minor.set || rule->minor.v == -1) &&
			 sm_device_access(rule->access) == sm_device_access(NULL))
			any = true;
	}
	return any;
}

static int check_device(struct sm_check *c, size_t i)
{
	const struct sm_device *d = &c->config->devices.v[i];
	const char *skip = sm_config_annotation(c->config, SM_ANNOTATION_DEVICES);
	mode_t type = sm_device_type(d->type);

	if (!d->path || d->path[0] != '/')
		return sm_check_bad(c, sm_check_at(c, "linux.devices[%zu].path", i), DEVICES,
				    "must be an absolute path");
	if (!type)
		return sm_check_bad(c, sm_check_at(c, "linux.devices[%zu].type", i), DEVICES,
				    "invalid device type \"%.20s\": c, b, u or p",
				    d->type ? d->type : "");
	if (type != S_IFIFO && (!device_number(&d->major) || !device_number(&d->minor)))
		return sm_check_bad(c, sm_check_at(c, "linux.devices[%zu]", i), DEVICES,
				    "%.100s needs major and minor numbers", d->path);
	if (d->file_mode.v > 07777 && (d->file_mode.v & ~(uint64_t)S_IFMT) > 07777)
		return sm_check_bad(c, sm_check_at(c, "linux.devices[%zu].fileMode", i), DEVICES,
				    "must be from 0 to 4095 (octal 07777)");
	if (sm_device_in_guest(type, d->major.v, d->minor.v))
		return 0;
	if (skip ? !strcmp(skip, "skip") : any_device_allowed(c->config->resources))
		return sm_check_warn(c, sm_check_at(c, "linux.devices[%zu]", i), DEVICES,
				     "%.100s left out: a device of the host", d->path);
	return sm_check_bad(c, sm_check_at(c, "linux.devices[%zu]", i), DEVICES,
			    "%.100s (%s %" PRId64 ":%" PRId64 ") is a device of the host and not "
			    "in the VM; the annotation " SM_ANNOTATION_DEVICES "=skip leaves such "
			    "devices out",
			    d->path, d->type, d->major.v, d->minor.v);
}

static int check_devices(struct sm_check *c)
{
	int rc = 0;

	for (size_t i = 0; i < c->config->devices.n && !rc; i++)
		rc = check_device(c, i);
	return rc;
}

/* A key names a file below /proc/sys: dots or slashes between components. */
static bool sysctl_key_ok(const char *key)
{
	size_t run = 0;

	for (; *key; key++) {
		if (*key == '.' || *key == '/') {
			if (!run)
				return false;
			run = 0;
			continue;
		}
		if ((unsigned char)*key <= ' ')
			return false;
		run++;
	}
	return run;
}

static int check_sysctl(struct sm_check *c)
{
	for (size_t i = 0; i < c->config->sysctl.n; i++)
		if (!sysctl_key_ok(c->config->sysctl.v[i].key))
			return sm_check_bad(c, "linux.sysctl", "config-linux.md#sysctl",
					    "\"%.100s\" is no name of a sysctl",
					    c->config->sysctl.v[i].key);
	return 0;
}

static int check_propagation(struct sm_check *c)
{
	uint64_t v = c->config->rootfs_propagation.v;

	if (!(v & (MS_SHARED | MS_SLAVE)))
		return 0;
	return sm_check_warn(
		c, "linux.rootfsPropagation", "config-linux.md#rootfs-mount-propagation",
		"%s works within the VM only, mounts do not travel to or from the host",
		sm_word_name(sm_mount_propagation_words, v));
}

/* ---- seccomp --------------------------------------------------------------------------------- */

static int check_action(struct sm_check *c, const char *path, const struct sm_u64 *action,
			const char *errno_path, const struct sm_u64 *errno_ret)
{
	const char *name = sm_word_name(sm_seccomp_action_words, action->v);

	if (!action->set)
		return sm_check_bad(c, path, SECCOMP, "must not be empty");
	if (!strcmp(name, "SCMP_ACT_NOTIFY"))
		return sm_check_bad(c, path, SECCOMP,
				    "SCMP_ACT_NOTIFY is not supported: the descriptor for the "
				    "supervisor cannot leave the VM");
	if (!errno_ret->set)
		return 0;
	if (strcmp(name, "SCMP_ACT_ERRNO") && strcmp(name, "SCMP_ACT_TRACE"))
		return sm_check_bad(c, errno_path, SECCOMP, "%s takes no errno", name);
	if (errno_ret->v > (strcmp(name, "SCMP_ACT_ERRNO") ? UINT16_MAX : 4095))
		return sm_check_bad(c, errno_path, SECCOMP, "%" PRIu64 " is too big for an errno",
				    errno_ret->v);
	return 0;
}

static int check_syscall(struct sm_check *c, size_t i)
{
	const struct sm_seccomp_syscall *call = &c->config->seccomp->syscalls.v[i];
	struct sm_check errno_at = *c;
	int rc = check_action(c, sm_check_at(c, "linux.seccomp.syscalls[%zu].action", i),
			      &call->action,
			      sm_check_at(&errno_at, "linux.seccomp.syscalls[%zu].errnoRet", i),
			      &call->errno_ret);

	if (rc)
		return rc;
	if (!call->names.n)
		return sm_check_bad(c, sm_check_at(c, "linux.seccomp.syscalls[%zu].names", i),
				    SECCOMP, "must not be empty");
	for (size_t k = 0; k < call->names.n; k++)
		if (!call->names.v[k][0])
			return sm_check_bad(c,
					    sm_check_at(c, "linux.seccomp.syscalls[%zu].names", i),
					    SECCOMP, "empty string is not a valid syscall");
	for (size_t k = 0; k < call->args.n; k++) {
		if (call->args.v[k].index.v > 5)
			return sm_check_bad(
				c,
				sm_check_at(c, "linux.seccomp.syscalls[%zu].args[%zu].index", i, k),
				SECCOMP, "syscalls only have up to 6 arguments (%" PRIu64 " given)",
				call->args.v[k].index.v);
		if (!call->args.v[k].op.set)
			return sm_check_bad(
				c, sm_check_at(c, "linux.seccomp.syscalls[%zu].args[%zu].op", i, k),
				SECCOMP, "must not be empty");
	}
	return 0;
}

int sm_check_seccomp(struct sm_check *c)
{
	const struct sm_seccomp *s = c->config->seccomp;
	uint64_t arch;
	int rc;

	if (!s || (!s->default_action.set && !s->syscalls.n))
		return 0;
	rc = check_action(c, "linux.seccomp.defaultAction", &s->default_action,
			  "linux.seccomp.defaultErrnoRet", &s->default_errno_ret);
	for (size_t i = 0; i < s->architectures.n && !rc; i++)
		if (sm_word_value(sm_seccomp_arch_words, s->architectures.v[i], &arch))
			rc = sm_check_bad(c, sm_check_at(c, "linux.seccomp.architectures[%zu]", i),
					  SECCOMP, "string %.40s is not a valid arch for seccomp",
					  s->architectures.v[i]);
	for (size_t i = 0; i < s->syscalls.n && !rc; i++)
		rc = check_syscall(c, i);
	return rc;
}

int sm_check_linux(struct sm_check *check)
{
	static int (*const checks[])(struct sm_check *) = {
		warn_missing_namespaces, check_maps,   check_time_offsets,
		check_devices,           check_sysctl, check_propagation,
	};
	int rc = check_namespaces(check);

	if (!rc)
		rc = sm_check_rules(check, rules);
	for (size_t i = 0; i < SM_ARRAY_SIZE(checks) && !rc; i++)
		rc = checks[i](check);
	return rc;
}
