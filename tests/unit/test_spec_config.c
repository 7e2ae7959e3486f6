/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "spec/config.h"

#include "spec_fields.h"

/* ---- golden messages ------------------------------------------------------------------------- */

#define HEAD "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"}"
#define GOOD_PROCESS "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"}"

enum kind { RAW, TOP, PROCESS, LINUX, RESOURCES };

static const char *const shapes[] = {
	[RAW] = "%s",
	[TOP] = HEAD "," GOOD_PROCESS ",%s}",
	[PROCESS] = HEAD ",\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\",%s}}",
	[LINUX] = HEAD "," GOOD_PROCESS ",\"linux\":{%s}}",
	[RESOURCES] = HEAD "," GOOD_PROCESS ",\"linux\":{\"resources\":{%s}}}",
};

struct bad {
	enum kind kind;
	const char *text;
	const char *message;
};

#define BAD(kind, text, message) { kind, text, message },
static const struct bad bads[] = {
#include "golden_config.h"
};

static char *shape(enum kind kind, const char *text)
{
	const char *at = strstr(shapes[kind], "%s");
	char *whole = sm_strf("%.*s%s%s", (int)(at - shapes[kind]), shapes[kind], text, at + 2);

	assert_non_null(whole);
	return whole;
}

static int parse(enum kind kind, const char *text, struct sm_config **config, struct sm_err *err)
{
	sm_auto_free char *json = shape(kind, text);

	return sm_config_parse("config.json", json, strlen(json), config, err);
}

static void test_bad(void **state)
{
	const struct bad *b = *state;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_config *config = NULL;

	assert_int_equal(parse(b->kind, b->text, &config, &err), -EINVAL);
	assert_null(config);
	assert_string_equal(sm_err_text(&err), b->message);
	assert_int_equal(parse(b->kind, b->text, &config, NULL), -EINVAL);
}

static struct sm_config *good(enum kind kind, const char *text)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_config *config = NULL;

	if (parse(kind, text, &config, &err))
		fail_msg("%s: %s", text, sm_err_text(&err));
	return config;
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void expect_error(const char *json, size_t len, int rc, const char *message)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_config *config = NULL;

	assert_int_equal(sm_config_parse("config.json", json, len, &config, &err), rc);
	assert_string_equal(sm_err_text(&err), message);
}

static void test_too_big(void **state)
{
	size_t len = SM_JSON_LEN_MAX + 1;
	sm_auto_free char *json = malloc(len);

	assert_non_null(json);
	memset(json, ' ', len);
	expect_error(json, len, -EFBIG, "config.json: bigger than 10 MiB");
}

static void test_too_deep(void **state)
{
	char json[200];

	memset(json, '[', sizeof(json));
	expect_error(json, sizeof(json), -EINVAL, "config.json: nested too deeply");
}

static void test_too_many(void **state)
{
	size_t n = SM_JSON_VALUES_MAX + 1;
	sm_auto_free char *json = malloc(2 * n + 2);

	assert_non_null(json);
	for (size_t i = 0; i < n; i++)
		memcpy(json + 2 * i, i ? ",1" : "[1", 2);
	json[2 * n] = ']';
	expect_error(json, 2 * n + 1, -EINVAL, "config.json: too many values");
}

static void test_too_many_members(void **state)
{
	sm_auto_buf struct sm_buf json = SM_BUF_INIT(1 << 20);

	sm_buf_printf(&json, HEAD "," GOOD_PROCESS ",\"annotations\":{");
	for (int i = 0; i <= SM_JSON_MEMBERS_MAX; i++)
		sm_buf_printf(&json, "%s\"k%d\":\"v\"", i ? "," : "", i);
	sm_buf_printf(&json, "}}");
	expect_error((char *)json.data, json.len, -EINVAL,
		     "config.json: annotations: more than 4096 members (runtime-spec config.md)");
}

/* ---- reading as Go does ---------------------------------------------------------------------- */

static void test_unknown_members(void **state)
{
	struct sm_config *c = good(TOP, "\"x-new\":{\"a\":[1]},\"linux\":{\"brandNew\":7}");

	assert_int_equal(c->namespaces.n, 0);
	sm_config_free(c);
}

static void test_last_wins(void **state)
{
	struct sm_config *c = good(TOP, "\"annotations\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"},"
					"\"linux\":{\"cgroupsPath\":\"/x\"},"
					"\"linux\":{\"cgroupsPath\":\"/y\"}");

	assert_int_equal(c->annotations.n, 2);
	assert_string_equal(sm_config_annotation(c, "a"), "3");
	assert_string_equal(sm_config_annotation(c, "b"), "2");
	assert_null(sm_config_annotation(c, "c"));
	assert_string_equal(c->cgroups_path, "/y");
	sm_config_free(c);
}

static void test_null_is_absent(void **state)
{
	struct sm_config *c = good(TOP, "\"hostname\":null,\"mounts\":null,\"hooks\":null,"
					"\"linux\":null,\"vm\":null,\"annotations\":{\"a\":null}");

	assert_null(c->hostname);
	assert_null(c->vm);
	assert_int_equal(c->mounts.n, 0);
	assert_int_equal(c->annotations.n, 0);
	assert_non_null(c->resources);
	sm_config_free(c);
}

static void test_absent_and_empty_env(void **state)
{
	struct sm_config *c = good(TOP, "\"hooks\":{\"prestart\":[{\"path\":\"/a\"},"
					"{\"path\":\"/b\",\"env\":[],\"args\":[\"b\",\"c\"],"
					"\"timeout\":3}]}");

	assert_int_equal(c->hooks.prestart.n, 2);
	assert_null(c->hooks.prestart.v[0].env.v);
	assert_non_null(c->hooks.prestart.v[1].env.v);
	assert_int_equal(c->hooks.prestart.v[1].env.n, 0);
	assert_string_equal(c->hooks.prestart.v[1].args.v[1], "c");
	assert_int_equal(c->hooks.prestart.v[1].timeout.v, 3);
	sm_config_free(c);
}

static void test_big_numbers(void **state)
{
	struct sm_config *c = good(PROCESS, "\"rlimits\":[{\"type\":\"RLIMIT_CORE\","
					    "\"soft\":18446744073709551615,"
					    "\"hard\":18446744073709551615}]");

	assert_int_equal(c->process->rlimits.v[0].type.v, RLIMIT_CORE);
	assert_true(c->process->rlimits.v[0].soft.v == UINT64_MAX);
	sm_config_free(c);
}

static void test_escapes(void **state)
{
	struct sm_config *c = good(PROCESS, "\"env\":[\"A=\\u00e4\\n\\\"\\/\"]");

	assert_string_equal(c->process->env.v[0], "A=\303\244\n\"/");
	sm_config_free(c);
}

/* ---- what is tolerated ----------------------------------------------------------------------- */

struct warning {
	enum kind kind;
	const char *text;
	const char *warning;
};

#define QUIET "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"mount\"}]"

static const struct warning warnings[] = {
	{ RAW, "{" GOOD_PROCESS ",\"root\":{\"path\":\"r\"},\"linux\":{" QUIET "}}",
	  "config.json: ociVersion: is missing, taken for 1.0 "
	  "(runtime-spec config.md#specification-version)" },
	{ PROCESS, "\"capabilities\":{\"bounding\":[\"CAP_KILL\",\"CAP_FOO\"]}",
	  "config.json: process.capabilities.bounding[1]: unknown capability \"CAP_FOO\", left out "
	  "(runtime-spec config.md#linux-process)" },
	{ TOP, "\"mounts\":[{\"destination\":\"tmp\",\"type\":\"tmpfs\"}]",
	  "config.json: mounts[0].destination: tmp is not absolute, taken as relative to / "
	  "(runtime-spec config.md#mounts)" },
	{ LINUX, "\"namespaces\":[{\"type\":\"ipc\"},{\"type\":\"mount\"}]",
	  "config.json: linux.namespaces: no pid namespace: the container sees the VM's processes, "
	  "not the host's (runtime-spec config-linux.md#namespaces)" },
	{ LINUX, QUIET ",\"rootfsPropagation\":\"rslave\"",
	  "config.json: linux.rootfsPropagation: rslave works within the VM only, mounts do not travel "
	  "to or from the host (runtime-spec config-linux.md#rootfs-mount-propagation)" },
	{ LINUX, QUIET ",\"resources\":{\"memory\":{\"swappiness\":60}}",
	  "config.json: linux.resources.memory.swappiness: not applied: it is of cgroup v1 "
	  "(runtime-spec config-linux.md#memory)" },
	{ TOP, "\"annotations\":{\"supermachine.io/devices\":\"skip\"},\"linux\":{" QUIET ",\"devices\":"
	  "[{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0}]}",
	  "config.json: linux.devices[0]: /dev/sda left out: a device of the host "
	  "(runtime-spec config-linux.md#devices)" },
	{ LINUX, QUIET ",\"devices\":[{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0}],"
	  "\"resources\":{\"devices\":[{\"allow\":false},{\"allow\":true,\"access\":\"rwm\"}]}",
	  "config.json: linux.devices[0]: /dev/sda left out: a device of the host "
	  "(runtime-spec config-linux.md#devices)" },
};

static void test_warning(void **state)
{
	const struct warning *w = *state;
	struct sm_config *c = good(w->kind, w->text);

	assert_true(c->warnings.n >= 1);
	assert_string_equal(c->warnings.v[0], w->warning);
	sm_config_free(c);
}

static void test_no_warning(void **state)
{
	struct sm_config *c = good(LINUX, QUIET);

	assert_int_equal(c->warnings.n, 0);
	sm_config_free(c);
}

static void test_many_warnings(void **state)
{
	struct sm_config *c = good(PROCESS, "\"capabilities\":{\"ambient\":[\"A\",\"B\",\"C\",\"D\",\"E\","
					    "\"F\",\"G\",\"H\",\"I\"]}");

	assert_int_equal(c->warnings.n, 12);	/* 9 and the three missing namespaces */
	assert_non_null(strstr(c->warnings.v[8], "unknown capability \"I\""));
	sm_config_free(c);
}

/* ---- every field of the spec ----------------------------------------------------------------- */

static const struct sm_field *field(const struct sm_schema *schema, const char *name, size_t len)
{
	for (const struct sm_field *f = schema->fields; f->name; f++)
		if (strlen(f->name) == len && !memcmp(f->name, name, len))
			return f;
	return NULL;
}

/* Walks the tables along a path; below a field that is refused or ignored as a whole, everything is
 * settled. */
static void expect_known(const char *path)
{
	const struct sm_schema *schema = &sm_config_schema;
	const char *at = path;

	for (;;) {
		size_t len = strcspn(at, ".");
		const struct sm_field *f = field(schema, at, len);

		if (!f)
			fail_msg("%s: no row for %.*s", path, (int)len, at);
		if (f->type == SM_FIELD_IGNORED || f->type == SM_FIELD_REFUSED) {
			assert_non_null(f->note);
			return;
		}
		at += len;
		if (!*at)
			return;
		at++;
		schema = f->schema;
		if (!schema)
			fail_msg("%s: nothing below %s", path, f->name);
		if (f->type == SM_FIELD_MAP) {
			at += strcspn(at, ".");
			if (!*at)
				return;
			at++;
		}
	}
}

static void test_every_field(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(spec_fields); i++)
		expect_known(spec_fields[i]);
}

/* docs/config.md has a row for every field of the tables, and says "refused" and "ignored" of those,
 * and only those, that are. */
static void check_documented(const char *docs, const struct sm_schema *schema, const char *up)
{
	for (const struct sm_field *f = schema->fields; f->name; f++) {
		const char *items = f->type == SM_FIELD_ARRAY ? "[]" :
				    f->type == SM_FIELD_MAP   ? ".*" :
								"";
		sm_auto_free char *path = sm_strf("%s%s%s", up, *up ? "." : "", f->name);
		sm_auto_free char *row = sm_strf("\n| `%s` | ", path);
		sm_auto_free char *below = sm_strf("%s%s", path, items);
		const char *at = strstr(docs, row);

		if (f->type >= SM_FIELD_OBJECT && f->type <= SM_FIELD_MAP) {
			check_documented(docs, f->schema, below);
			continue;
		}
		if (!at)
			fail_msg("docs/config.md has no row for %s", path);
		at += strlen(row);
		if (!strncmp(at, "refused", 7) != (f->type == SM_FIELD_REFUSED) ||
		    !strncmp(at, "ignored", 7) != (f->type == SM_FIELD_IGNORED))
			fail_msg("docs/config.md is wrong about %s", path);
	}
}

static void test_documented(void **state)
{
	sm_auto_buf struct sm_buf docs = SM_BUF_INIT(1 << 20);
	const char *srcdir = getenv("srcdir");
	sm_auto_free char *path = sm_strf("%s/docs/config.md", srcdir ? srcdir : ".");

	assert_int_equal(sm_read_file_at(AT_FDCWD, path, &docs), 0);
	check_documented((char *)docs.data, &sm_config_schema, "");
}

/* ---- the other documents, loading ------------------------------------------------------------ */

static void test_process_alone(void **state)
{
	const char *json = "{\"args\":[\"id\"],\"cwd\":\"/\",\"user\":{\"uid\":7,\"gid\":8,"
			   "\"additionalGids\":[9,10]},\"terminal\":true,"
			   "\"capabilities\":{\"bounding\":[\"X\"]}}";
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_config *c;

	assert_int_equal(sm_process_parse("p.json", json, strlen(json), &c, &err), 0);
	assert_int_equal(c->process->user.uid.v, 7);
	assert_int_equal(c->process->user.additional_gids.v[1], 10);
	assert_true(c->process->terminal);
	assert_non_null(strstr(c->warnings.v[0], "p.json: capabilities.bounding[0]: unknown"));
	sm_config_free(c);
	json = "{\"args\":[],\"cwd\":\"/\"}";
	assert_int_equal(sm_process_parse("p.json", json, strlen(json), &c, &err), -EINVAL);
	assert_string_equal(sm_err_text(&err), "p.json: args: args must not be empty "
					       "(runtime-spec config.md#process)");
}

static void test_load(void **state)
{
	static const char json[] = HEAD "," GOOD_PROCESS "}";
	char dir[] = "/tmp/test_spec.XXXXXX";
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(SM_JSON_LEN_MAX);
	sm_auto_close int fd = -1;
	struct sm_config *c;

	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(sm_config_load(fd, &text, &c, &err), -ENOENT);
	assert_string_equal(sm_err_text(&err), "JSON specification file config.json not found");
	assert_int_equal(sm_write_file_at(fd, "config.json", json, strlen(json), 0644, 0), 0);
	assert_int_equal(sm_config_load(fd, &text, &c, &err), 0);
	assert_string_equal(c->root->path, "r");
	assert_string_equal((char *)text.data, json);
	sm_config_free(c);
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, dir), 0);
}

static void test_host_lsm(void **state)
{
	static const struct sm_host_lsm none = { false, false };
	static const struct sm_host_lsm both = { true, true };
	static const struct {
		enum kind kind;
		const char *text;
		const char *message;
	} rows[] = {
		{ PROCESS, "\"apparmorProfile\":\"p\"",
		  "config.json: process.apparmorProfile: p is specified in config, but apparmor is "
		  "disabled or not supported (runtime-spec config.md#linux-process)" },
		{ PROCESS, "\"selinuxLabel\":\"l\"",
		  "config.json: process.selinuxLabel: selinux label is specified in config, but "
		  "selinux is disabled or not supported (runtime-spec config.md#linux-process)" },
		{ LINUX, "\"mountLabel\":\"l\"",
		  "config.json: linux.mountLabel: selinux label is specified in config, but "
		  "selinux is disabled or not supported (runtime-spec config-linux.md#mount-label)" },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		struct sm_config *c = good(rows[i].kind, rows[i].text);
		sm_auto_err struct sm_err err = SM_ERR_INIT;

		assert_int_equal(sm_config_check_host(c, &both, &err), 0);
		assert_int_equal(sm_config_check_host(c, &none, &err), -EINVAL);
		assert_string_equal(sm_err_text(&err), rows[i].message);
		sm_config_free(c);
	}
}

/* ---- questions to a config ------------------------------------------------------------------- */

static void test_netns(void **state)
{
	const char *path = NULL;
	struct sm_config *c = good(LINUX, QUIET);

	assert_int_equal(sm_config_netns(c, &path), SM_NETNS_HOST);
	sm_config_free(c);
	c = good(LINUX, "\"namespaces\":[{\"type\":\"network\"}]");
	assert_int_equal(sm_config_netns(c, &path), SM_NETNS_NEW);
	assert_true(sm_config_has_namespace(c, CLONE_NEWNET));
	assert_false(sm_config_has_namespace(c, CLONE_NEWPID));
	sm_config_free(c);
	c = good(LINUX, "\"namespaces\":[{\"type\":\"network\",\"path\":\"/run/netns/a\"}]");
	assert_int_equal(sm_config_netns(c, &path), SM_NETNS_PATH);
	assert_string_equal(path, "/run/netns/a");
	sm_config_free(c);
}

struct size_row {
	enum kind kind;
	const char *text;
	uint32_t vcpus, memory_mib;
};

/* The host has 8 CPUs, the default memory is 2048 MiB. */
static const struct size_row sizes[] = {
	{ LINUX, "", 8, 2048 },
	{ RESOURCES, "\"cpu\":{\"quota\":150000,\"period\":100000}", 2, 2048 },
	{ RESOURCES, "\"cpu\":{\"quota\":50000}", 1, 2048 },
	{ RESOURCES, "\"cpu\":{\"quota\":-1}", 8, 2048 },
	{ RESOURCES, "\"cpu\":{\"quota\":9000000}", 8, 2048 },
	{ RESOURCES, "\"cpu\":{\"cpus\":\"0-2,7\"}", 4, 2048 },
	{ RESOURCES, "\"cpu\":{\"cpus\":\"0-2,7\",\"quota\":200000}", 2, 2048 },
	{ RESOURCES, "\"memory\":{\"limit\":536870912}", 8, 512 + 16 + 96 },
	{ RESOURCES, "\"memory\":{\"limit\":6291456}", 8, 102 },
	{ RESOURCES, "\"memory\":{\"limit\":-1}", 8, 2048 },
	{ RESOURCES, "\"memory\":{\"limit\":9223372036854775807}", 8, 1 << 20 },
	{ TOP, "\"vm\":{\"hwConfig\":{\"vcpus\":3,\"memory\":1073741824}}", 3, 1024 },
	{ TOP, "\"vm\":{\"hwconfig\":{\"vcpus\":3}},\"linux\":{\"resources\":{\"cpu\":{\"quota\":1}}}",
	  3, 2048 },
	{ TOP, "\"vm\":{\"hwConfig\":{\"vcpus\":3}},"
	       "\"annotations\":{\"supermachine.io/vcpus\":\"5\",\"supermachine.io/memory\":\"300\"}",
	  5, 300 },
};

static void test_size(void **state)
{
	const struct size_row *row = *state;
	const struct sm_vm_defaults defaults = { { 8, 2048 }, 8 };
	struct sm_config *c = good(row->kind, row->text);
	struct sm_vm_size size;

	assert_int_equal(sm_config_vm_size(c, &defaults, &size, NULL), 0);
	assert_int_equal(size.vcpus, row->vcpus);
	assert_int_equal(size.memory_mib, row->memory_mib);
	sm_config_free(c);
}

static void test_size_bad(void **state)
{
	static const char *const bad[] = { "", "0", "65", "-1", "2x", "1.5", " 2" };
	const struct sm_vm_defaults defaults = { { 8, 2048 }, 8 };

	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		sm_auto_free char *text = sm_strf("\"annotations\":{\"supermachine.io/vcpus\":\"%s\"}",
						  bad[i]);
		sm_auto_free char *message = sm_strf("config.json: annotations: supermachine.io/vcpus: "
						     "\"%s\" is not a number from 1 to 64", bad[i]);
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		struct sm_config *c = good(TOP, text);
		struct sm_vm_size size;

		assert_int_equal(sm_config_vm_size(c, &defaults, &size, &err), -EINVAL);
		assert_string_equal(sm_err_text(&err), message);
		sm_config_free(c);
	}
}

static void test_caps_mask(void **state)
{
	static const char *const names[] = { "CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "cap_kill", "X" };
	const struct sm_strs list = { names, SM_ARRAY_SIZE(names) };
	size_t unknown = 0;

	assert_true(sm_caps_mask(&list, &unknown) == (1ull << 0 | 1ull << 40));
	assert_int_equal(unknown, 2);
}

/* ---- all ------------------------------------------------------------------------------------- */

static const struct CMUnitTest plain[] = {
	cmocka_unit_test(test_too_big),
	cmocka_unit_test(test_too_deep),
	cmocka_unit_test(test_too_many),
	cmocka_unit_test(test_too_many_members),
	cmocka_unit_test(test_unknown_members),
	cmocka_unit_test(test_last_wins),
	cmocka_unit_test(test_null_is_absent),
	cmocka_unit_test(test_absent_and_empty_env),
	cmocka_unit_test(test_big_numbers),
	cmocka_unit_test(test_escapes),
	cmocka_unit_test(test_no_warning),
	cmocka_unit_test(test_many_warnings),
	cmocka_unit_test(test_every_field),
	cmocka_unit_test(test_documented),
	cmocka_unit_test(test_process_alone),
	cmocka_unit_test(test_load),
	cmocka_unit_test(test_host_lsm),
	cmocka_unit_test(test_netns),
	cmocka_unit_test(test_size_bad),
	cmocka_unit_test(test_caps_mask),
};

#define NPLAIN SM_ARRAY_SIZE(plain)
#define NROWS (SM_ARRAY_SIZE(bads) + SM_ARRAY_SIZE(warnings) + SM_ARRAY_SIZE(sizes))

int main(void)
{
	struct CMUnitTest tests[NPLAIN + NROWS];
	size_t n = NPLAIN;

	memcpy(tests, plain, sizeof(plain));
	for (size_t i = 0; i < SM_ARRAY_SIZE(bads); i++)
		tests[n++] = (struct CMUnitTest){ bads[i].message, test_bad, NULL, NULL,
						  (void *)&bads[i] };
	for (size_t i = 0; i < SM_ARRAY_SIZE(warnings); i++)
		tests[n++] = (struct CMUnitTest){ warnings[i].warning, test_warning, NULL, NULL,
						  (void *)&warnings[i] };
	for (size_t i = 0; i < SM_ARRAY_SIZE(sizes); i++)
		tests[n++] = (struct CMUnitTest){ sizes[i].text, test_size, NULL, NULL,
						  (void *)&sizes[i] };
	return cmocka_run_group_tests_name("spec/config", tests, NULL, NULL);
}
