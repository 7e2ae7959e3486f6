/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "spec/config.h"
#include "spec/seccomp.h"
#include "spec/validate.h"

/*
 * The fields of config.json, a row each: what runtime-spec 1.0 to 1.2 define for Linux and for VMs,
 * and of 1.3 what has to be refused. Names that no row has are skipped, as the spec's extensibility
 * section wants. What values mean together is validate.c's business.
 */

#define CONFIG_MAX (64u << 20)	/* bytes of a config in memory */

/* clang-format off */
/* ---- words ----------------------------------------------------------------------------------- */

const struct sm_word sm_namespace_words[] = {
	{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC }, { "mount", CLONE_NEWNS },
	{ "network", CLONE_NEWNET },   { "pid", CLONE_NEWPID }, { "time", CLONE_NEWTIME },
	{ "user", CLONE_NEWUSER },     { "uts", CLONE_NEWUTS }, { NULL }
};

const struct sm_word sm_rlimit_words[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
	{ NULL }
};

#define CAP(name) { #name, name }
const struct sm_word sm_capability_words[] = {
	CAP(CAP_AUDIT_CONTROL),	  CAP(CAP_AUDIT_READ),	     CAP(CAP_AUDIT_WRITE),
	CAP(CAP_BLOCK_SUSPEND),	  CAP(CAP_BPF),		     CAP(CAP_CHECKPOINT_RESTORE),
	CAP(CAP_CHOWN),		  CAP(CAP_DAC_OVERRIDE),     CAP(CAP_DAC_READ_SEARCH),
	CAP(CAP_FOWNER),	  CAP(CAP_FSETID),	     CAP(CAP_IPC_LOCK),
	CAP(CAP_IPC_OWNER),	  CAP(CAP_KILL),	     CAP(CAP_LEASE),
	CAP(CAP_LINUX_IMMUTABLE), CAP(CAP_MAC_ADMIN),	     CAP(CAP_MAC_OVERRIDE),
	CAP(CAP_MKNOD),		  CAP(CAP_NET_ADMIN),	     CAP(CAP_NET_BIND_SERVICE),
	CAP(CAP_NET_BROADCAST),	  CAP(CAP_NET_RAW),	     CAP(CAP_PERFMON),
	CAP(CAP_SETFCAP),	  CAP(CAP_SETGID),	     CAP(CAP_SETPCAP),
	CAP(CAP_SETUID),	  CAP(CAP_SYSLOG),	     CAP(CAP_SYS_ADMIN),
	CAP(CAP_SYS_BOOT),	  CAP(CAP_SYS_CHROOT),	     CAP(CAP_SYS_MODULE),
	CAP(CAP_SYS_NICE),	  CAP(CAP_SYS_PACCT),	     CAP(CAP_SYS_PTRACE),
	CAP(CAP_SYS_RAWIO),	  CAP(CAP_SYS_RESOURCE),     CAP(CAP_SYS_TIME),
	CAP(CAP_SYS_TTY_CONFIG),  CAP(CAP_WAKE_ALARM),	     { NULL }
};
#undef CAP
_Static_assert(SM_ARRAY_SIZE(sm_capability_words) == CAP_LAST_CAP + 2, "every capability");

/* SCHED_ISO is reserved and in no kernel; it is a word of the schema, so it gets an answer of its
 * own from validate_process.c. */
static const struct sm_word scheduler_policies[] = {
	{ "SCHED_OTHER", 0 }, { "SCHED_FIFO", 1 }, { "SCHED_RR", 2 },	   { "SCHED_BATCH", 3 },
	{ "SCHED_ISO", 4 },   { "SCHED_IDLE", 5 }, { "SCHED_DEADLINE", 6 }, { NULL }
};

static const struct sm_word scheduler_flags[] = {
	{ "SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK },
	{ "SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM },
	{ "SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN },
	{ "SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY },
	{ "SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS },
	{ "SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN },
	{ "SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX },
	{ NULL }
};

static const struct sm_word io_priority_classes[] = {
	{ "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
	{ "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
	{ "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
	{ NULL }
};

static const struct sm_word personality_domains[] = {
	{ "LINUX", PER_LINUX }, { "LINUX32", PER_LINUX32 }, { NULL }
};

/* ---- rows ------------------------------------------------------------------------------------ */

#define ROW(owner, name, kind, member) { name, SM_FIELD_##kind, offsetof(struct owner, member) }
#define SUB(owner, name, kind, member, sub) \
	{ name, SM_FIELD_##kind, offsetof(struct owner, member), &(sub) }
#define WORD(owner, name, kind, member, words, note) \
	{ name, SM_FIELD_##kind, offsetof(struct owner, member), NULL, words, note }
#define IGNORED(name, why) { name, SM_FIELD_IGNORED, 0, NULL, NULL, why }
#define REFUSED(name, why) { name, SM_FIELD_REFUSED, 0, NULL, NULL, why }

#define SCHEMA(var, section, owner, ...)                                            \
	static const struct sm_field var##_fields[] = { __VA_ARGS__, { NULL } };    \
	static const struct sm_schema var = { section, sizeof(struct owner), var##_fields }

SCHEMA(root_schema, "config.md#root", sm_root,
	ROW(sm_root, "path", STRING, path),
	ROW(sm_root, "readonly", BOOL, readonly));

SCHEMA(box_schema, "config.md#process", sm_box,
	ROW(sm_box, "height", U16, height),
	ROW(sm_box, "width", U16, width));

SCHEMA(user_schema, "config.md#posix-platform-user", sm_user,
	ROW(sm_user, "uid", U32, uid),
	ROW(sm_user, "gid", U32, gid),
	ROW(sm_user, "umask", U32, umask),
	ROW(sm_user, "additionalGids", U32S, additional_gids),
	IGNORED("username", "for Windows"));

SCHEMA(caps_schema, "config.md#linux-process", sm_caps,
	ROW(sm_caps, "bounding", STRINGS, bounding),
	ROW(sm_caps, "effective", STRINGS, effective),
	ROW(sm_caps, "inheritable", STRINGS, inheritable),
	ROW(sm_caps, "permitted", STRINGS, permitted),
	ROW(sm_caps, "ambient", STRINGS, ambient));

SCHEMA(rlimit_schema, "config.md#posix-process", sm_rlimit,
	WORD(sm_rlimit, "type", WORD, type, sm_rlimit_words, "wrong rlimit value"),
	ROW(sm_rlimit, "soft", U64, soft),
	ROW(sm_rlimit, "hard", U64, hard));

SCHEMA(scheduler_schema, "config.md#linux-process", sm_scheduler,
	WORD(sm_scheduler, "policy", WORD, policy, scheduler_policies, NULL),
	ROW(sm_scheduler, "nice", I32, nice),
	ROW(sm_scheduler, "priority", I32, priority),
	WORD(sm_scheduler, "flags", WORDS, flags, scheduler_flags, NULL),
	ROW(sm_scheduler, "runtime", U64, runtime),
	ROW(sm_scheduler, "deadline", U64, deadline),
	ROW(sm_scheduler, "period", U64, period));

SCHEMA(io_priority_schema, "config.md#linux-process", sm_io_priority,
	WORD(sm_io_priority, "class", WORD, class, io_priority_classes, NULL),
	ROW(sm_io_priority, "priority", I32, priority));

SCHEMA(cpu_affinity_schema, "config.md#linux-process", sm_cpu_affinity,
	ROW(sm_cpu_affinity, "initial", STRING, initial),
	ROW(sm_cpu_affinity, "final", STRING, final));

static const struct sm_field process_fields[] = {
	ROW(sm_process, "terminal", BOOL, terminal),
	SUB(sm_process, "consoleSize", OBJECT, console_size, box_schema),
	SUB(sm_process, "user", INLINE, user, user_schema),
	ROW(sm_process, "args", STRINGS, args),
	IGNORED("commandLine", "for Windows"),
	ROW(sm_process, "env", STRINGS, env),
	ROW(sm_process, "cwd", STRING, cwd),
	SUB(sm_process, "capabilities", OBJECT, capabilities, caps_schema),
	SUB(sm_process, "rlimits", ARRAY, rlimits, rlimit_schema),
	ROW(sm_process, "noNewPrivileges", BOOL, no_new_privileges),
	ROW(sm_process, "apparmorProfile", STRING, apparmor_profile),
	ROW(sm_process, "oomScoreAdj", I32, oom_score_adj),
	SUB(sm_process, "scheduler", OBJECT, scheduler, scheduler_schema),
	ROW(sm_process, "selinuxLabel", STRING, selinux_label),
	SUB(sm_process, "ioPriority", OBJECT, io_priority, io_priority_schema),
	SUB(sm_process, "execCPUAffinity", OBJECT, exec_cpu_affinity, cpu_affinity_schema),
	{ NULL }
};
static const struct sm_schema process_schema = { "config.md#process", sizeof(struct sm_process),
						 process_fields };

SCHEMA(id_mapping_schema, "config-linux.md#user-namespace-mappings", sm_id_mapping,
	ROW(sm_id_mapping, "containerID", U32, container_id),
	ROW(sm_id_mapping, "hostID", U32, host_id),
	ROW(sm_id_mapping, "size", U32, size));

SCHEMA(mount_schema, "config.md#mounts", sm_mount,
	ROW(sm_mount, "destination", STRING, destination),
	ROW(sm_mount, "type", STRING, type),
	ROW(sm_mount, "source", STRING, source),
	ROW(sm_mount, "options", STRINGS, option_words),
	SUB(sm_mount, "uidMappings", ARRAY, uid_mappings, id_mapping_schema),
	SUB(sm_mount, "gidMappings", ARRAY, gid_mappings, id_mapping_schema));

SCHEMA(hook_schema, "config.md#posix-platform-hooks", sm_hook,
	ROW(sm_hook, "path", STRING, path),
	ROW(sm_hook, "args", STRINGS, args),
	ROW(sm_hook, "env", STRINGS, env),
	ROW(sm_hook, "timeout", I32, timeout));

SCHEMA(hooks_schema, "config.md#posix-platform-hooks", sm_hooks,
	SUB(sm_hooks, "prestart", ARRAY, prestart, hook_schema),
	SUB(sm_hooks, "createRuntime", ARRAY, create_runtime, hook_schema),
	SUB(sm_hooks, "createContainer", ARRAY, create_container, hook_schema),
	SUB(sm_hooks, "startContainer", ARRAY, start_container, hook_schema),
	SUB(sm_hooks, "poststart", ARRAY, poststart, hook_schema),
	SUB(sm_hooks, "poststop", ARRAY, poststop, hook_schema));

SCHEMA(namespace_schema, "config-linux.md#namespaces", sm_namespace,
	WORD(sm_namespace, "type", WORD, type, sm_namespace_words, NULL),
	ROW(sm_namespace, "path", STRING, path));

SCHEMA(time_offset_schema, "config-linux.md#offset-for-time-namespace", sm_time_offset,
	ROW(sm_time_offset, "secs", I64, secs),
	ROW(sm_time_offset, "nanosecs", U32, nanosecs));

SCHEMA(device_schema, "config-linux.md#devices", sm_device,
	ROW(sm_device, "path", STRING, path),
	ROW(sm_device, "type", STRING, type),
	ROW(sm_device, "major", I64, major),
	ROW(sm_device, "minor", I64, minor),
	ROW(sm_device, "fileMode", U32, file_mode),
	ROW(sm_device, "uid", U32, uid),
	ROW(sm_device, "gid", U32, gid));

SCHEMA(device_rule_schema, "config-linux.md#allowed-device-list", sm_device_rule,
	ROW(sm_device_rule, "allow", BOOL, allow),
	ROW(sm_device_rule, "type", STRING, type),
	ROW(sm_device_rule, "major", I64, major),
	ROW(sm_device_rule, "minor", I64, minor),
	ROW(sm_device_rule, "access", STRING, access));

SCHEMA(memory_schema, "config-linux.md#memory", sm_memory,
	ROW(sm_memory, "limit", I64, limit),
	ROW(sm_memory, "reservation", I64, reservation),
	ROW(sm_memory, "swap", I64, swap),
	ROW(sm_memory, "kernel", I64, kernel),
	ROW(sm_memory, "kernelTCP", I64, kernel_tcp),
	ROW(sm_memory, "swappiness", U64, swappiness),
	ROW(sm_memory, "disableOOMKiller", BOOL, disable_oom_killer),
	IGNORED("useHierarchy", "cgroup v2 is always hierarchical"),
	ROW(sm_memory, "checkBeforeUpdate", BOOL, check_before_update));

SCHEMA(cpu_schema, "config-linux.md#cpu", sm_cpu,
	ROW(sm_cpu, "shares", U64, shares),
	ROW(sm_cpu, "quota", I64, quota),
	ROW(sm_cpu, "burst", U64, burst),
	ROW(sm_cpu, "period", U64, period),
	ROW(sm_cpu, "realtimeRuntime", I64, realtime_runtime),
	ROW(sm_cpu, "realtimePeriod", U64, realtime_period),
	ROW(sm_cpu, "cpus", STRING, cpus),
	ROW(sm_cpu, "mems", STRING, mems),
	ROW(sm_cpu, "idle", I64, idle));

SCHEMA(pids_schema, "config-linux.md#pids", sm_pids,
	ROW(sm_pids, "limit", I64, limit));

SCHEMA(weight_device_schema, "config-linux.md#block-io", sm_weight_device,
	ROW(sm_weight_device, "major", I64, major),
	ROW(sm_weight_device, "minor", I64, minor),
	ROW(sm_weight_device, "weight", U16, weight),
	ROW(sm_weight_device, "leafWeight", U16, leaf_weight));

SCHEMA(throttle_schema, "config-linux.md#block-io", sm_throttle_device,
	ROW(sm_throttle_device, "major", I64, major),
	ROW(sm_throttle_device, "minor", I64, minor),
	ROW(sm_throttle_device, "rate", U64, rate));

SCHEMA(block_io_schema, "config-linux.md#block-io", sm_block_io,
	ROW(sm_block_io, "weight", U16, weight),
	ROW(sm_block_io, "leafWeight", U16, leaf_weight),
	SUB(sm_block_io, "weightDevice", ARRAY, weight_device, weight_device_schema),
	SUB(sm_block_io, "throttleReadBpsDevice", ARRAY, read_bps, throttle_schema),
	SUB(sm_block_io, "throttleWriteBpsDevice", ARRAY, write_bps, throttle_schema),
	SUB(sm_block_io, "throttleReadIOPSDevice", ARRAY, read_iops, throttle_schema),
	SUB(sm_block_io, "throttleWriteIOPSDevice", ARRAY, write_iops, throttle_schema));

SCHEMA(hugepage_schema, "config-linux.md#huge-page-limits", sm_hugepage_limit,
	ROW(sm_hugepage_limit, "pageSize", STRING, page_size),
	ROW(sm_hugepage_limit, "limit", U64, limit));

SCHEMA(rdma_schema, "config-linux.md#rdma", sm_rdma,
	ROW(sm_rdma, "hcaHandles", U32, hca_handles),
	ROW(sm_rdma, "hcaObjects", U32, hca_objects));

static const struct sm_field resources_fields[] = {
	SUB(sm_resources, "devices", ARRAY, devices, device_rule_schema),
	SUB(sm_resources, "memory", OBJECT, memory, memory_schema),
	SUB(sm_resources, "cpu", OBJECT, cpu, cpu_schema),
	SUB(sm_resources, "pids", OBJECT, pids, pids_schema),
	SUB(sm_resources, "blockIO", OBJECT, block_io, block_io_schema),
	SUB(sm_resources, "hugepageLimits", ARRAY, hugepage_limits, hugepage_schema),
	REFUSED("network", "network classes and priorities are not supported: "
		"they need the net_cls and net_prio controllers of cgroup v1"),
	SUB(sm_resources, "rdma", MAP, rdma, rdma_schema),
	ROW(sm_resources, "unified", PAIRS, unified),
	{ NULL }
};
const struct sm_schema sm_resources_schema = { "config-linux.md#control-groups",
					       sizeof(struct sm_resources), resources_fields };

SCHEMA(seccomp_arg_schema, "config-linux.md#seccomp", sm_seccomp_arg,
	ROW(sm_seccomp_arg, "index", U32, index),
	ROW(sm_seccomp_arg, "value", U64, value),
	ROW(sm_seccomp_arg, "valueTwo", U64, value_two),
	WORD(sm_seccomp_arg, "op", WORD, op, sm_seccomp_op_words, NULL));

SCHEMA(seccomp_syscall_schema, "config-linux.md#seccomp", sm_seccomp_syscall,
	ROW(sm_seccomp_syscall, "names", STRINGS, names),
	WORD(sm_seccomp_syscall, "action", WORD, action, sm_seccomp_action_words, NULL),
	ROW(sm_seccomp_syscall, "errnoRet", U32, errno_ret),
	SUB(sm_seccomp_syscall, "args", ARRAY, args, seccomp_arg_schema));

#define NO_LISTENER "seccomp notification is not supported: its descriptor cannot leave the VM"

SCHEMA(seccomp_schema, "config-linux.md#seccomp", sm_seccomp,
	WORD(sm_seccomp, "defaultAction", WORD, default_action, sm_seccomp_action_words, NULL),
	ROW(sm_seccomp, "defaultErrnoRet", U32, default_errno_ret),
	ROW(sm_seccomp, "architectures", STRINGS, architectures),
	WORD(sm_seccomp, "flags", WORDS, flags, sm_seccomp_flag_words, NULL),
	REFUSED("listenerPath", NO_LISTENER),
	REFUSED("listenerMetadata", NO_LISTENER),
	SUB(sm_seccomp, "syscalls", ARRAY, syscalls, seccomp_syscall_schema));

SCHEMA(personality_schema, "config-linux.md#personality", sm_personality,
	WORD(sm_personality, "domain", WORD, domain, personality_domains, NULL),
	REFUSED("flags", "no flags are defined"));

SCHEMA(linux_schema, "config-linux.md", sm_config,
	SUB(sm_config, "namespaces", ARRAY, namespaces, namespace_schema),
	SUB(sm_config, "uidMappings", ARRAY, uid_mappings, id_mapping_schema),
	SUB(sm_config, "gidMappings", ARRAY, gid_mappings, id_mapping_schema),
	SUB(sm_config, "timeOffsets", MAP, time_offsets, time_offset_schema),
	SUB(sm_config, "devices", ARRAY, devices, device_schema),
	REFUSED("netDevices", "network devices of the host cannot be moved into a VM"),
	ROW(sm_config, "cgroupsPath", STRING, cgroups_path),
	SUB(sm_config, "resources", OBJECT, resources, sm_resources_schema),
	REFUSED("intelRdt", "Intel RDT is not supported: leave it out"),
	REFUSED("memoryPolicy", "NUMA policies are not supported: the VM has one memory node"),
	ROW(sm_config, "sysctl", PAIRS, sysctl),
	SUB(sm_config, "seccomp", OBJECT, seccomp, seccomp_schema),
	WORD(sm_config, "rootfsPropagation", WORD, rootfs_propagation,
	     sm_mount_propagation_words, NULL),
	ROW(sm_config, "maskedPaths", STRINGS, masked_paths),
	ROW(sm_config, "readonlyPaths", STRINGS, readonly_paths),
	ROW(sm_config, "mountLabel", STRING, mount_label),
	SUB(sm_config, "personality", OBJECT, personality, personality_schema));

SCHEMA(vm_kernel_schema, "config-vm.md#kernel-object", sm_vm_kernel,
	ROW(sm_vm_kernel, "path", STRING, path),
	ROW(sm_vm_kernel, "parameters", STRINGS, parameters),
	ROW(sm_vm_kernel, "initrd", STRING, initrd));

#define NO_HW "devices of the host cannot be given to the VM"

SCHEMA(vm_hw_schema, "config-vm.md#hwconfig-object", sm_vm_hw,
	ROW(sm_vm_hw, "vcpus", U32, vcpus),
	ROW(sm_vm_hw, "memory", U64, memory),
	REFUSED("deviceTree", "an x86 VM has no device tree"),
	REFUSED("dtdevs", NO_HW),
	REFUSED("iomems", NO_HW),
	REFUSED("irqs", NO_HW));

/* The spec's text says hwConfig, its Go binding writes hwconfig. */
SCHEMA(vm_schema, "config-vm.md#virtual-machine-specific-container-configuration", sm_vm,
	REFUSED("hypervisor", "the hypervisor cannot be chosen: this runtime brings its own"),
	SUB(sm_vm, "kernel", OBJECT, kernel, vm_kernel_schema),
	REFUSED("image", "a root image for the VM is not supported: "
		"the guest runs from its initramfs, the container from root.path"),
	SUB(sm_vm, "hwConfig", OBJECT, hw, vm_hw_schema),
	SUB(sm_vm, "hwconfig", OBJECT, hw, vm_hw_schema));

static const struct sm_field config_fields[] = {
	ROW(sm_config, "ociVersion", STRING, oci_version),
	SUB(sm_config, "root", OBJECT, root, root_schema),
	SUB(sm_config, "process", OBJECT, process, process_schema),
	ROW(sm_config, "hostname", STRING, hostname),
	ROW(sm_config, "domainname", STRING, domainname),
	SUB(sm_config, "mounts", ARRAY, mounts, mount_schema),
	SUB(sm_config, "hooks", INLINE, hooks, hooks_schema),
	ROW(sm_config, "annotations", PAIRS, annotations),
	SUB(sm_config, "linux", INLINE, arena, linux_schema),
	SUB(sm_config, "vm", OBJECT, vm, vm_schema),
	IGNORED("solaris", "for another platform"),
	IGNORED("windows", "for another platform"),
	IGNORED("zos", "for another platform"),
	{ NULL }
};
/* clang-format on */

/* `linux` is flattened: its rows' offsets are those in struct sm_config itself. */
_Static_assert(offsetof(struct sm_config, arena) == 0,
	       "the address of linux is that of the config");
const struct sm_schema sm_config_schema = { "config.md", sizeof(struct sm_config), config_fields };

/* ---- reading --------------------------------------------------------------------------------- */

static struct sm_config *config_new(void)
{
	struct sm_arena *arena = sm_arena_new(CONFIG_MAX);
	struct sm_config *config = arena ? sm_arena_alloc(arena, sizeof(*config)) : NULL;

	if (config)
		config->arena = arena;
	else
		sm_arena_free(arena);
	return config;
}

void sm_config_free(struct sm_config *config)
{
	if (config)
		sm_arena_free(config->arena);
}

/* What is known only after the whole of a mount was read: bind or not, and what its words mean. */
static int finish_mounts(struct sm_config *config)
{
	for (size_t i = 0; i < config->mounts.n; i++) {
		struct sm_mount *m = (struct sm_mount *)&config->mounts.v[i];
		int rc = sm_mount_options_parse(config->arena, &m->option_words, &m->options);

		if (rc)
			return rc;
		if (m->options.flags & MS_BIND)
			m->type = "bind";
		else if (m->type && !strcmp(m->type, "bind"))
			m->options.flags |= MS_BIND;
	}
	return 0;
}

static int finish(struct sm_config *config)
{
	if (!config->oci_version)
		config->oci_version = "";
	if (!config->resources)
		config->resources = sm_arena_alloc(config->arena, sizeof(*config->resources));
	return config->resources ? finish_mounts(config) : -ENOMEM;
}

/* The two documents: the whole, and a process. */
struct document {
	const struct sm_schema *schema;
	int (*validate)(const char *name, struct sm_config *config, struct sm_err *err);
};

/* Where the document's members go. */
static void *target(struct sm_config *config, const struct sm_schema *schema)
{
	if (schema == &sm_config_schema)
		return config;
	config->process = sm_arena_alloc(config->arena, schema->size);
	return (void *)config->process;
}

static int parse(const struct document *doc, const char *name, const char *text, size_t len,
		 struct sm_config **out, struct sm_err *err)
{
	struct sm_config *config = config_new();
	void *part = config ? target(config, doc->schema) : NULL;
	int rc = part ? 0 : sm_err_sys(err, -ENOMEM, "%s", name);

	if (!rc)
		rc = sm_json_read(config->arena, name, text, len, doc->schema, part, err);
	if (!rc) {
		rc = finish(config);
		if (rc)
			sm_err_sys(err, rc, "%s", name);
	}
	if (!rc)
		rc = doc->validate(name, config, err);
	if (rc) {
		sm_config_free(config);
		return rc;
	}
	*out = config;
	return 0;
}

int sm_config_parse(const char *name, const char *text, size_t len, struct sm_config **config,
		    struct sm_err *err)
{
	static const struct document doc = { &sm_config_schema, sm_validate_config };

	return parse(&doc, name, text, len, config, err);
}

int sm_process_parse(const char *name, const char *text, size_t len, struct sm_config **config,
		     struct sm_err *err)
{
	static const struct document doc = { &process_schema, sm_validate_process };

	return parse(&doc, name, text, len, config, err);
}

int sm_resources_parse(const char *name, const char *text, size_t len, struct sm_arena *arena,
		       struct sm_resources *resources, struct sm_err *err)
{
	return sm_json_read(arena, name, text, len, &sm_resources_schema, resources, err);
}

int sm_config_load(int dirfd, struct sm_buf *text, struct sm_config **config, struct sm_err *err)
{
	int rc = sm_read_file_at(dirfd, "config.json", text);

	if (rc == -ENOENT)
		return sm_err_set(err, rc, "JSON specification file config.json not found");
	if (rc == -EFBIG)
		return sm_err_set(err, rc, "config.json: bigger than %u MiB",
				  SM_JSON_LEN_MAX >> 20);
	if (rc)
		return sm_err_sys(err, rc, "config.json");
	return sm_config_parse("config.json", text->data ? (char *)text->data : "", text->len,
			       config, err);
}
