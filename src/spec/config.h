/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_CONFIG_H
#define SM_SPEC_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "spec/json.h"
#include "spec/mount.h"

/*
 * config.json of an OCI bundle (runtime-spec 1.0 to 1.2), read, checked and not to be changed.
 * Names follow the document; `linux` is flattened into the config. What is missing in the document
 * is NULL, empty or .set == false here. docs/config.md says of every field where it is applied.
 */

struct sm_root {
	const char *path;
	bool readonly;
};

struct sm_box {
	struct sm_u64 height, width;	/* characters */
};

struct sm_user {
	struct sm_u64 uid, gid;
	struct sm_u64 umask;
	struct sm_u32s additional_gids;
};

struct sm_caps {	/* names as written; sm_caps_mask() turns them into bits */
	struct sm_strs bounding, effective, inheritable, permitted, ambient;
};

struct sm_rlimit {
	struct sm_u64 type;	/* RLIMIT_* */
	struct sm_u64 soft, hard;
};

struct sm_scheduler {
	struct sm_u64 policy;	/* SCHED_* */
	struct sm_i64 nice, priority;
	struct sm_u64 flags;	/* SCHED_FLAG_* */
	struct sm_u64 runtime, deadline, period;	/* nanoseconds */
};

struct sm_io_priority {
	struct sm_u64 class;	/* IOPRIO_CLASS_* */
	struct sm_i64 priority;
};

struct sm_cpu_affinity {	/* lists of guest CPU numbers, "0-2,4" */
	const char *initial, *final;
};

struct sm_process {
	bool terminal;
	const struct sm_box *console_size;
	struct sm_user user;
	struct sm_strs args;
	struct sm_strs env;
	const char *cwd;
	const struct sm_caps *capabilities;
	SM_LIST(struct sm_rlimit) rlimits;
	bool no_new_privileges;
	struct sm_i64 oom_score_adj;
	const struct sm_scheduler *scheduler;
	const struct sm_io_priority *io_priority;
	const struct sm_cpu_affinity *exec_cpu_affinity;
	const char *apparmor_profile;	/* of the host: sm_config_check_host() */
	const char *selinux_label;
};

struct sm_id_mapping {
	struct sm_u64 container_id, host_id, size;
};
typedef SM_LIST(struct sm_id_mapping) sm_id_map_list;

struct sm_mount {
	const char *destination;
	const char *type;	/* "bind" also where only the options say so */
	const char *source;
	struct sm_strs option_words;
	struct sm_mount_options options;
	sm_id_map_list uid_mappings, gid_mappings;
};

struct sm_hook {
	const char *path;
	struct sm_strs args;	/* argv, argv[0] included; empty: the path alone */
	struct sm_strs env;	/* v is NULL: not in the document */
	struct sm_i64 timeout;	/* seconds, > 0 */
};

typedef SM_LIST(struct sm_hook) sm_hook_list;

struct sm_hooks {
	sm_hook_list prestart, create_runtime, create_container, start_container, poststart,
		poststop;
};

struct sm_namespace {
	struct sm_u64 type;	/* CLONE_NEW* */
	const char *path;	/* only ever the network namespace's */
};

struct sm_time_offset {
	const char *clock;	/* "boottime" or "monotonic" */
	struct sm_i64 secs;
	struct sm_u64 nanosecs;
};

struct sm_device {
	const char *path;
	const char *type;	/* "c", "b", "u" (as c) or "p" */
	struct sm_i64 major, minor;
	struct sm_u64 file_mode;
	struct sm_u64 uid, gid;
};

struct sm_device_rule {
	bool allow;
	const char *type;	/* "a", "b", "c"; NULL: "a" */
	struct sm_i64 major, minor;	/* not set or -1: any */
	const char *access;	/* of "rwm"; NULL or "": all */
};

struct sm_memory {	/* bytes; -1: no limit */
	struct sm_i64 limit, reservation, swap, kernel, kernel_tcp;
	struct sm_u64 swappiness;
	bool disable_oom_killer;
	bool check_before_update;
};

struct sm_cpu {
	struct sm_u64 shares;
	struct sm_i64 quota;	/* µs; <= 0: no limit */
	struct sm_u64 burst, period;	/* µs */
	struct sm_i64 realtime_runtime;
	struct sm_u64 realtime_period;
	const char *cpus, *mems;	/* of the host */
	struct sm_i64 idle;
};

struct sm_pids {
	struct sm_i64 limit;	/* <= 0: no limit */
};

struct sm_weight_device {
	struct sm_i64 major, minor;
	struct sm_u64 weight, leaf_weight;
};

struct sm_throttle_device {
	struct sm_i64 major, minor;
	struct sm_u64 rate;
};

typedef SM_LIST(struct sm_throttle_device) sm_throttle_list;

struct sm_block_io {
	struct sm_u64 weight, leaf_weight;
	SM_LIST(struct sm_weight_device) weight_device;
	sm_throttle_list read_bps, write_bps, read_iops, write_iops;
};

struct sm_hugepage_limit {
	const char *page_size;	/* "2MB" */
	struct sm_u64 limit;
};

struct sm_rdma {
	const char *device;
	struct sm_u64 hca_handles, hca_objects;
};

struct sm_resources {	/* every pointer may be NULL */
	SM_LIST(struct sm_device_rule) devices;
	const struct sm_memory *memory;
	const struct sm_cpu *cpu;
	const struct sm_pids *pids;
	const struct sm_block_io *block_io;
	SM_LIST(struct sm_hugepage_limit) hugepage_limits;
	SM_LIST(struct sm_rdma) rdma;
	struct sm_pairs unified;
};

struct sm_seccomp_arg {
	struct sm_u64 index, value, value_two;
	struct sm_u64 op;	/* enum scmp_compare */
};

struct sm_seccomp_syscall {
	struct sm_strs names;
	struct sm_u64 action;	/* SCMP_ACT_*, without data */
	struct sm_u64 errno_ret;
	SM_LIST(struct sm_seccomp_arg) args;
};

struct sm_seccomp {
	struct sm_u64 default_action;
	struct sm_u64 default_errno_ret;
	struct sm_strs architectures;
	struct sm_u64 flags;	/* SECCOMP_FILTER_FLAG_* */
	SM_LIST(struct sm_seccomp_syscall) syscalls;
};

struct sm_vm_kernel {
	const char *path;
	struct sm_strs parameters;
	const char *initrd;
};

struct sm_vm_hw {
	struct sm_u64 vcpus;
	struct sm_u64 memory;	/* bytes */
};

struct sm_vm {
	const struct sm_vm_kernel *kernel;
	const struct sm_vm_hw *hw;
};

struct sm_personality {
	struct sm_u64 domain;	/* PER_* */
};

struct sm_config {
	struct sm_arena *arena;
	const char *oci_version;	/* "" if missing */
	const struct sm_root *root;	/* never NULL */
	const struct sm_process *process;	/* never NULL */
	const char *hostname, *domainname;
	SM_LIST(struct sm_mount) mounts;
	struct sm_hooks hooks;
	struct sm_pairs annotations;
	const struct sm_vm *vm;

	/* linux */
	SM_LIST(struct sm_namespace) namespaces;
	sm_id_map_list uid_mappings, gid_mappings;
	SM_LIST(struct sm_time_offset) time_offsets;
	SM_LIST(struct sm_device) devices;
	struct sm_pairs sysctl;
	const char *cgroups_path;
	const struct sm_resources *resources;	/* never NULL */
	const struct sm_seccomp *seccomp;
	struct sm_u64 rootfs_propagation;	/* MS_* */
	struct sm_strs masked_paths, readonly_paths;
	const struct sm_personality *personality;
	const char *mount_label;

	struct sm_strs warnings;	/* what was tolerated, a line each: "config.json: …" */
};

/* Reads and checks a config. `name` is how messages call it ("config.json"). On 0 *config is the
 * caller's: sm_config_free(). -EINVAL and others with a message that names field, rule and section;
 * where callers of runc match on its words, they are in the message. */
int sm_config_parse(const char *name, const char *text, size_t len, struct sm_config **config,
		    struct sm_err *err);

/* config.json of the bundle that dirfd is (AT_FDCWD: the working directory). What was read is left
 * in *text, which the caller brings (empty, its max at least SM_JSON_LEN_MAX) and frees. */
int sm_config_load(int dirfd, struct sm_buf *text, struct sm_config **config, struct sm_err *err);

/* A process object alone (exec --process). Only .process and .warnings of *config are there. */
int sm_process_parse(const char *name, const char *text, size_t len, struct sm_config **config,
		     struct sm_err *err);

/* linux.resources alone, its types only; strings are in the arena. And what its values mean, with
 * messages that begin with `name`. */
extern const struct sm_schema sm_resources_schema;
int sm_resources_parse(const char *name, const char *text, size_t len, struct sm_arena *arena,
		       struct sm_resources *resources, struct sm_err *err);
int sm_resources_check(const char *name, const struct sm_resources *resources,
		       struct sm_arena *arena, struct sm_err *err);

void sm_config_free(struct sm_config *config);

/* What the host has of what a config may ask for. */
struct sm_host_lsm {
	bool apparmor, selinux;
};
void sm_host_lsm_probe(struct sm_host_lsm *lsm);

/* A profile or label where the host has no such thing: -EINVAL with runc's words. Where it has,
 * they can be for the host's side of the container only, sm-vmm: the guest's kernel has neither.
 * Not part of sm_config_parse() and sm_config_load(), which know no host. */
int sm_config_check_host(const struct sm_config *config, const struct sm_host_lsm *lsm,
			 struct sm_err *err);

/* The network namespace that the VM's sockets belong to. */
enum sm_netns { SM_NETNS_HOST, SM_NETNS_NEW, SM_NETNS_PATH };
/* *path is set for SM_NETNS_PATH (borrowed). */
enum sm_netns sm_config_netns(const struct sm_config *config, const char **path);

/* Is a namespace of this kind (CLONE_NEW*) listed? */
bool sm_config_has_namespace(const struct sm_config *config, uint64_t type);

/* The namespace of a type that is to be joined; NULL: none is. */
const char *sm_config_namespace_path(const struct sm_config *config, uint64_t type);

/* NULL if there is none. */
const char *sm_config_annotation(const struct sm_config *config, const char *key);

#define SM_ANNOTATION_KERNEL_PARAMS "supermachine.io/kernel_params"
#define SM_ANNOTATION_NETWORK "supermachine.io/network"	/* tsi or none */
#define SM_ANNOTATION_NETWORK_POLICY "supermachine.io/network-policy"
#define SM_ANNOTATION_PORTS "supermachine.io/ports"
#define SM_ANNOTATION_VCPUS "supermachine.io/vcpus"
#define SM_ANNOTATION_MEMORY "supermachine.io/memory"	/* MiB */

struct sm_vm_size {
	uint32_t vcpus;
	uint32_t memory_mib;
};

struct sm_vm_defaults {
	struct sm_vm_size size;	/* where nothing asks for more or less */
	uint32_t vcpus_max;	/* a CPU quota gets no more than this */
};

#define SM_VM_VCPUS_MAX 64
#define SM_VM_MEMORY_MIN_MIB 64
#define SM_VM_MEMORY_MAX_MIB (1u << 20)

/* How big the VM has to be: annotations, else vm.hwConfig, else what resources allow (quota over
 * period rounded up; the memory limit plus room for the guest kernel), else `defaults`, which must
 * be filled. -EINVAL with a message for a bad annotation. */
int sm_config_vm_size(const struct sm_config *config, const struct sm_vm_defaults *defaults,
		      struct sm_vm_size *size, struct sm_err *err);

/* The bits of a list of capability names. Names that are unknown are skipped and counted in
 * *unknown (may be NULL). */
uint64_t sm_caps_mask(const struct sm_strs *names, size_t *unknown);

/* Tables for `features`, ended by a row without name. */
extern const struct sm_word sm_namespace_words[];
extern const struct sm_word sm_capability_words[];	/* value: number of the capability */
extern const struct sm_word sm_rlimit_words[];

/* The schema, for whoever has to list every field. */
extern const struct sm_schema sm_config_schema;

/* Writes the config.json that `spec` gives, runc's shape: tabs, no newline at the end. rootless:
 * user namespace with the two ids mapped to root. cgroup_ns: with a cgroup namespace. */
struct sm_spec_default {
	bool rootless;
	bool cgroup_ns;
	uid_t uid;
	gid_t gid;
};
int sm_spec_default(const struct sm_spec_default *options, FILE *out);

#endif
