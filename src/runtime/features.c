/* SPDX-License-Identifier: Apache-2.0 */

/*
 * features (runtime-spec features.md): what a config may ask for. The lists are those by which
 * configs are read, so that they cannot say anything else.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clean.h"
#include "commit.h"
#include "config.h"
#include "runtime/backend.h"
#include "runtime/jsonout.h"
#include "runtime/runtime.h"
#include "runtime/services.h"
#include "spec/config.h"
#include "spec/device.h"
#include "spec/mount.h"
#include "spec/seccomp.h"

#define NAMES_MAX 256

struct names {
	const char *v[NAMES_MAX];
	size_t n;
};

static void add(struct names *names, const char *name)
{
	if (names->n < NAMES_MAX)
		names->v[names->n++] = name;
}

static void put_names(struct sm_jsonout *j, const char *key, const struct names *names)
{
	sm_jsonout_strings(j, key, names->v, names->n);
}

static void put_words(struct sm_jsonout *j, const char *key, const struct sm_word *words)
{
	struct names names = { .n = 0 };

	for (; words->name; words++)
		add(&names, words->name);
	put_names(j, key, &names);
}

/* The members that a config's hooks object may have. */
static void put_hooks(struct sm_jsonout *j)
{
	const struct sm_field *f = sm_config_schema.fields;
	struct names names = { .n = 0 };

	while (f->name && strcmp(f->name, "hooks") != 0)
		f++;
	for (f = f->name ? f->schema->fields : f; f->name; f++)
		add(&names, f->name);
	put_names(j, "hooks", &names);
}

/* Returns whether mounts can be id-mapped. */
static bool put_mount_options(struct sm_jsonout *j)
{
	struct names names = { .n = 0 };
	bool idmap = false;
	const char *name;

	for (size_t i = 0; (name = sm_mount_option_name(i)); i++) {
		idmap |= !strcmp(name, "idmap");
		add(&names, name);
	}
	put_names(j, "mountOptions", &names);
	return idmap;
}

/* One that is known only to be refused is no feature. */
static void put_actions(struct sm_jsonout *j)
{
	struct names names = { .n = 0 };

	for (const struct sm_word *w = sm_seccomp_action_words; w->name; w++)
		if (sm_seccomp_action_supported(w->value))
			add(&names, w->name);
	put_names(j, "actions", &names);
}

static void put_seccomp(struct sm_jsonout *j)
{
	sm_jsonout_key(j, "seccomp");
	sm_jsonout_open(j);
	sm_jsonout_bool(j, "enabled", true);
	put_actions(j);
	put_words(j, "operators", sm_seccomp_op_words);
	put_words(j, "archs", sm_seccomp_arch_words);
	put_words(j, "knownFlags", sm_seccomp_flag_words);
	put_words(j, "supportedFlags", sm_seccomp_flag_words);
	sm_jsonout_close(j);
}

static void put_cgroup(struct sm_jsonout *j)
{
	sm_jsonout_key(j, "cgroup");
	sm_jsonout_open(j);
	sm_jsonout_bool(j, "v1", true);
	sm_jsonout_bool(j, "v2", true);
	sm_jsonout_bool(j, "systemd", true);
	sm_jsonout_bool(j, "systemdUser", false);
	sm_jsonout_bool(j, "rdma", true);
	sm_jsonout_close(j);
}

static void put_enabled(struct sm_jsonout *j, const char *key, bool enabled)
{
	sm_jsonout_key(j, key);
	sm_jsonout_open(j);
	sm_jsonout_bool(j, "enabled", enabled);
	sm_jsonout_close(j);
}

/* The guest's kernel has neither AppArmor nor SELinux, and none of the host's hardware. */
static void put_linux(struct sm_jsonout *j, bool idmap)
{
	sm_jsonout_key(j, "linux");
	sm_jsonout_open(j);
	put_words(j, "namespaces", sm_namespace_words);
	put_words(j, "capabilities", sm_capability_words);
	put_cgroup(j);
	put_seccomp(j);
	put_enabled(j, "apparmor", false);
	put_enabled(j, "selinux", false);
	put_enabled(j, "intelRdt", false);
	sm_jsonout_key(j, "mountExtensions");
	sm_jsonout_open(j);
	put_enabled(j, "idmap", idmap);
	sm_jsonout_close(j);
	put_enabled(j, "netDevices", false);
	sm_jsonout_close(j);
}

static void put_annotations(struct sm_jsonout *j)
{
	static const char *const read_here[] = {
		SM_ANNOTATION_DEVICES,        SM_ANNOTATION_ENVIRONMENT, SM_ANNOTATION_HYPERVISOR,
		SM_ANNOTATION_KERNEL_PARAMS,  SM_ANNOTATION_MEMORY,      SM_ANNOTATION_NETWORK,
		SM_ANNOTATION_NETWORK_POLICY, SM_ANNOTATION_PORTS,       SM_ANNOTATION_SECRETS_FILE,
		SM_ANNOTATION_VCPUS,          SM_ANNOTATION_VSOCK_PORTS,
	};
	char seccomp[32];

	sm_seccomp_library(seccomp, sizeof(seccomp));
	sm_jsonout_key(j, "annotations");
	sm_jsonout_open(j);
	sm_jsonout_string(j, "io.github.seccomp.libseccomp.version", seccomp);
	sm_jsonout_string(j, "supermachine.io/checkpoint.enabled", "false");
	if (*SM_COMMIT)
		sm_jsonout_string(j, "supermachine.io/commit", SM_COMMIT);
	sm_jsonout_string(j, "supermachine.io/version", PACKAGE_VERSION);
	sm_jsonout_close(j);
	sm_jsonout_strings(j, "potentiallyUnsafeConfigAnnotations", read_here,
			   SM_ARRAY_SIZE(read_here));
}

static int show(struct sm_err *err)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new("    ");
	const char *text;
	bool idmap;
	size_t len;
	int r;

	sm_jsonout_open(j);
	sm_jsonout_string(j, "ociVersionMin", "1.0.0");
	sm_jsonout_string(j, "ociVersionMax", SM_OCI_VERSION);
	put_hooks(j);
	idmap = put_mount_options(j);
	put_linux(j, idmap);
	put_annotations(j);
	sm_jsonout_close(j);
	r = sm_jsonout_text(j, &text, &len);
	if (r < 0)
		return sm_err_sys(err, r, "features");
	printf("%.*s\n", (int)len, text);
	return 0;
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	const struct sm_opt opts[] = { { NULL } };
	sm_auto_args struct sm_args args = { NULL, 0 };
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	return show(err);
}

const struct sm_command sm_cmd_features = {
	.name = "features",
	.args = "",
	.summary = "print what configs may ask for",
	.text = "   Prints as JSON what is supported (runtime-spec features.md).\n",
	.min = 0,
	.max = 0,
	.stop_at = SIZE_MAX,
	.failed = 1,
	.run = run,
	.stateless = true,
};
