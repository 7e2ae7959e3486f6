/* SPDX-License-Identifier: Apache-2.0 */
/* src/runtime: how the backend is chosen, what is kept of a probe of KVM, programs that are asked. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "runtime/backend.h"
#include "runtime/kvmprobe.h"
#include "runtime/program.h"

#define ARENA_MAX (1 << 20)
#define NOBODY 65534

struct place {
	char dir[32];
	char vmm[64], boot[64], device[64], kept[64];
	struct sm_arena *arena;
};

static void put(const char *path, const char *text, mode_t mode)
{
	assert_int_equal(sm_write_file_at(AT_FDCWD, path, text, strlen(text), mode, 0), 0);
}

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	strcpy(p->dir, "/tmp/sm-backend-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->vmm, sizeof(p->vmm), "%s/vmm", p->dir);
	snprintf(p->boot, sizeof(p->boot), "%s/boot_id", p->dir);
	snprintf(p->device, sizeof(p->device), "%s/kvm", p->dir);
	snprintf(p->kept, sizeof(p->kept), "%s/" SM_KVMPROBE_FILE, p->dir);
	put(p->boot, "6dcc03ae-ecaf-4c9c-a9cd-ef8141e68f45\n", 0600);
	put(p->vmm, "#!/bin/sh\n", 0700);
	put(p->device, "", 0600);
	p->arena = sm_arena_new(ARENA_MAX);
	assert_non_null(p->arena);
	*state = p;
	return 0;
}

static int drop_place(void **state)
{
	struct place *p = *state;

	sm_arena_free(p->arena);
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, p->dir), 0);
	free(p);
	return 0;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static const struct sm_kvmprobe slow = {
	.reason = SM_KVMPROBE_SLOW,
	.mips = 2,
	.text = "/dev/kvm runs guests at 2 million instructions a second, 50 are needed",
};

static int load(const struct place *p, const char *key)
{
	struct sm_kvmprobe answer;

	return sm_kvmprobe_load(p->dir, key, p->arena, &answer);
}

static void test_kept_and_read_back(void **state)
{
	struct place *p = *state;
	struct sm_kvmprobe answer;
	struct stat st;

	assert_int_equal(load(p, "k"), -ENOENT);
	assert_int_equal(sm_kvmprobe_save(p->dir, "k", &slow), 0);
	assert_int_equal(stat(p->kept, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(sm_kvmprobe_load(p->dir, "k", p->arena, &answer), 0);
	assert_false(answer.usable);
	assert_int_equal(answer.reason, SM_KVMPROBE_SLOW);
	assert_int_equal(answer.mips, 2);
	assert_string_equal(answer.text, slow.text);
	assert_true(answer.kept);
	assert_int_equal(load(p, "another"), -ESTALE);
	assert_int_equal(load(p, ""), -ESTALE);
	/* one that is not of this version any more is replaced */
	assert_int_equal(sm_kvmprobe_save(p->dir, "another", &slow), 0);
	assert_int_equal(load(p, "k"), -ESTALE);
	assert_int_equal(load(p, "another"), 0);
}

static void test_kept_in_a_directory_that_is_made(void **state)
{
	struct place *p = *state;
	sm_auto_free char *dir = sm_strf("%s/a/b", p->dir);
	sm_auto_free char *under_file = sm_strf("%s/dir", p->vmm);
	struct sm_kvmprobe answer;

	assert_int_equal(sm_kvmprobe_save(dir, "k", &slow), 0);
	assert_int_equal(sm_kvmprobe_load(dir, "k", p->arena, &answer), 0);
	assert_true(sm_kvmprobe_save(under_file, "k", &slow) < 0);
}

static void test_kept_garbage(void **state)
{
	static const char *const rows[] = {
		"", "garbage", "[]", "null", "{", "{}", "{\"key\":\"k\"}",
		"{\"key\":\"k\",\"reason\":\"slow\"}",
		"{\"key\":\"k\",\"reason\":\"no such word\",\"text\":\"t\"}",
		"{\"key\":\"k\",\"reason\":7,\"text\":\"t\"}",
		"{\"key\":\"k\",\"reason\":\"slow\",\"text\":\"t\",\"mips\":-1}",
		"{\"key\":\"k\",\"reason\":\"slow\",\"text\":\"t\"",
		"{\"key\":\"k\",\"reason\":\"slow\",\"text\":\"\xff\"}",
	};
	struct place *p = *state;
	sm_auto_free char *big = malloc(8192);

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		put(p->kept, rows[i], 0600);
		assert_int_equal(load(p, "k"), -EINVAL);
	}
	put(p->kept, "{\"reason\":\"works\",\"text\":\"t\"}", 0600);
	assert_int_equal(load(p, "k"), -ESTALE);
	assert_non_null(big);
	memset(big, ' ', 8191);
	big[8191] = '\0';
	put(p->kept, big, 0600);
	assert_int_equal(load(p, "k"), -EINVAL);
	/* and it can be replaced */
	assert_int_equal(sm_kvmprobe_save(p->dir, "k", &slow), 0);
	assert_int_equal(load(p, "k"), 0);
}

static void test_kept_by_whom(void **state)
{
	struct place *p = *state;
	sm_auto_free char *real = sm_strf("%s/real", p->dir);

	assert_int_equal(sm_kvmprobe_save(p->dir, "k", &slow), 0);
	for (mode_t bit = 1; bit <= 0400; bit <<= 1) {
		bool writable = bit == 020 || bit == 02;

		assert_int_equal(chmod(p->kept, 0600 | bit), 0);
		assert_int_equal(load(p, "k"), writable ? -EPERM : 0);
	}
	assert_int_equal(chmod(p->kept, 0600), 0);
	assert_int_equal(rename(p->kept, real), 0);
	assert_int_equal(symlink(real, p->kept), 0);
	assert_int_equal(load(p, "k"), -EPERM);
	assert_int_equal(unlink(p->kept), 0);
	assert_int_equal(mkfifo(p->kept, 0600), 0);
	assert_int_equal(load(p, "k"), -EPERM);
	assert_int_equal(unlink(p->kept), 0);
	assert_int_equal(mkdir(p->kept, 0700), 0);
	assert_int_equal(load(p, "k"), -EPERM);
	assert_int_equal(rmdir(p->kept), 0);
	assert_int_equal(rename(real, p->kept), 0);
	assert_int_equal(load(p, "k"), 0);
	if (geteuid() != 0)
		return;		/* only root can give files away */
	assert_int_equal(chown(p->kept, NOBODY, 0), 0);
	assert_int_equal(load(p, "k"), -EPERM);
}

static void test_key(void **state)
{
	struct place *p = *state;
	char first[SM_KVMPROBE_KEY_MAX], key[SM_KVMPROBE_KEY_MAX];

	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, first), 0);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), 0);
	assert_string_equal(first, key);
	assert_non_null(strstr(key, "boot=6dcc03ae-ecaf-4c9c-a9cd-ef8141e68f45 "));

	put(p->boot, "00000000-ecaf-4c9c-a9cd-ef8141e68f45\n", 0600);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), 0);
	assert_string_not_equal(first, key);
	put(p->boot, "6dcc03ae-ecaf-4c9c-a9cd-ef8141e68f45\n", 0600);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), 0);
	assert_string_equal(first, key);

	put(p->vmm, "#!/bin/sh\n", 0700);	/* the same bytes in another file */
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), 0);
	assert_string_not_equal(first, key);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, first), 0);

	assert_int_equal(unlink(p->device), 0);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), 0);
	assert_string_not_equal(first, key);
	assert_non_null(strstr(key, "kvm=error 2"));
}

static void test_key_that_cannot_be_told(void **state)
{
	struct place *p = *state;
	char key[SM_KVMPROBE_KEY_MAX];

	assert_int_equal(sm_kvmprobe_key("/no/such", p->device, p->vmm, key), -ENOENT);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, "/no/such", key), -ENOENT);
	put(p->boot, "\n", 0600);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), -ENODATA);
	put(p->boot, "", 0600);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, key), -ENODATA);
}

/* Whether the device may be opened is part of the key, whatever its identity says. */
static void test_key_of_who_may_not(void **state)
{
	struct place *p = *state;
	char mine[SM_KVMPROBE_KEY_MAX], other[SM_KVMPROBE_KEY_MAX];
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return;		/* nobody else to become */
	assert_int_equal(chmod(p->dir, 0755), 0);
	assert_int_equal(chmod(p->boot, 0644), 0);
	assert_int_equal(sm_kvmprobe_key(p->boot, p->device, p->vmm, mine), 0);
	pid = fork();
	if (pid == 0) {
		bool ok = setuid(NOBODY) == 0 &&
			  sm_kvmprobe_key(p->boot, p->device, p->vmm, other) == 0 &&
			  strcmp(mine, other) != 0 && strstr(other, "kvm=error 13");

		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- asking sm-vmm --------------------------------------------------------------------------- */

static void test_run(void **state)
{
	static const struct {
		const char *script;
		bool usable;
		enum sm_kvmprobe_reason reason;
		const char *text;	/* NULL: the text has the program's path in it */
	} rows[] = {
		{ "echo '{\"present\":true,\"usable\":true,\"reason\":\"works\",\"mips\":460,"
		  "\"text\":\"fine\"}'",
		  true, SM_KVMPROBE_WORKS, "fine" },
		{ "test \"$1\" = --probe && echo '{\"reason\":\"busy\",\"text\":\"t\"}'", false,
		  SM_KVMPROBE_BUSY, "t" },
		/* how it ends does not matter, only what it said: SIGCHLD may be ignored */
		{ "echo '{\"reason\":\"absent\",\"text\":\"t\"}'; exit 3", false,
		  SM_KVMPROBE_ABSENT, "t" },
		{ "echo '{\"usable\":true}'", false, SM_KVMPROBE_UNKNOWN, NULL },
		{ "echo no such option >&2; exit 255", false, SM_KVMPROBE_UNKNOWN, NULL },
		{ "kill -KILL $$", false, SM_KVMPROBE_UNKNOWN, NULL },
		{ "", false, SM_KVMPROBE_UNKNOWN, NULL },
	};
	struct place *p = *state;

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		sm_auto_free char *script = sm_strf("#!/bin/sh\n%s\n", rows[i].script);
		struct sm_kvmprobe answer;

		put(p->vmm, script, 0700);
		sm_kvmprobe_run(p->vmm, p->arena, &answer);
		assert_int_equal(answer.usable, rows[i].usable);
		assert_int_equal(answer.reason, rows[i].reason);
		assert_false(answer.kept);
		if (rows[i].text)
			assert_string_equal(answer.text, rows[i].text);
		else
			assert_non_null(strstr(answer.text, p->vmm));
	}
}

static void test_run_of_what_is_not_there(void **state)
{
	struct place *p = *state;
	struct sm_kvmprobe answer;

	sm_kvmprobe_run("/no/such/sm-vmm", p->arena, &answer);
	assert_int_equal(answer.reason, SM_KVMPROBE_UNKNOWN);
	assert_string_equal(answer.text,
			    "KVM cannot be probed: /no/such/sm-vmm --probe: cannot be run");
}

static void test_run_while_children_are_ignored(void **state)
{
	struct place *p = *state;
	struct sm_kvmprobe answer;

	put(p->vmm, "#!/bin/sh\necho '{\"reason\":\"works\",\"text\":\"t\"}'\n", 0700);
	signal(SIGCHLD, SIG_IGN);
	sm_kvmprobe_run(p->vmm, p->arena, &answer);
	signal(SIGCHLD, SIG_DFL);
	assert_true(answer.usable);
}

static void test_program_exists(void **state)
{
	struct place *p = *state;
	sm_auto_free char *path = strdup(getenv("PATH"));

	assert_true(sm_program_exists("sh"));
	assert_true(sm_program_exists("/bin/sh"));
	assert_true(sm_program_exists(p->vmm));
	assert_false(sm_program_exists(p->boot));	/* not executable */
	assert_false(sm_program_exists(p->dir));
	assert_false(sm_program_exists(""));
	assert_false(sm_program_exists("no-such-program"));
	setenv("PATH", "/no/such:/bin", 1);
	assert_true(sm_program_exists("sh"));
	setenv("PATH", "/no/such", 1);
	assert_false(sm_program_exists("sh"));
	setenv("PATH", "", 1);
	assert_false(sm_program_exists("no-such-program"));
	unsetenv("PATH");
	assert_true(sm_program_exists("sh"));
	setenv("PATH", path, 1);
}

/* ---- the choice ------------------------------------------------------------------------------ */

static void test_choice(void **state)
{
	static const char here[] = "/bin/sh", missing[] = "/no/such/qemu";
	static const struct sm_kvmprobe works = { true, SM_KVMPROBE_WORKS, 460, "it works", false };
	static const struct sm_kvmprobe fails = { false, SM_KVMPROBE_SLOW, 2, "KVM is slow", false };
	static const struct {
		enum sm_hypervisor wanted;
		bool annotated;
		const struct sm_kvmprobe *probe;
		const char *qemu;
		const char *name;	/* NULL: refused */
		const char *error;
	} rows[] = {
		{ SM_HYPERVISOR_AUTO, false, &works, here, "kvm", NULL },
		{ SM_HYPERVISOR_AUTO, false, &works, missing, "kvm", NULL },
		{ SM_HYPERVISOR_AUTO, false, &fails, here, "qemu", NULL },
		{ SM_HYPERVISOR_AUTO, false, &fails, missing, NULL,
		  "hypervisor \"auto\": KVM is slow, and QEMU is not installed (/no/such/qemu): "
		  "run \"sm-runtime doctor\" for help" },
		{ SM_HYPERVISOR_KVM, false, &works, missing, "kvm", NULL },
		{ SM_HYPERVISOR_KVM, false, &fails, here, NULL,
		  "hypervisor \"kvm\": KVM is slow; set \"hypervisor\" to \"auto\" or \"qemu\" in "
		  "/etc/s.json" },
		{ SM_HYPERVISOR_KVM, true, &fails, here, NULL,
		  "annotation supermachine.io/hypervisor \"kvm\": KVM is slow; set it to \"auto\" or "
		  "\"qemu\", or see \"sm-runtime doctor\"" },
		{ SM_HYPERVISOR_QEMU, false, NULL, here, "qemu", NULL },
		{ SM_HYPERVISOR_QEMU, false, NULL, missing, NULL,
		  "hypervisor \"qemu\": QEMU is not installed (/no/such/qemu): "
		  "run \"sm-runtime doctor\" for help" },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		const struct sm_settings s = { .file = "/etc/s.json", .qemu = rows[i].qemu };
		const struct sm_backend_wish wish = { rows[i].wanted, rows[i].annotated };
		struct sm_backend b = { .probed = rows[i].probe != NULL };
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		int r;

		if (rows[i].probe)
			b.probe = *rows[i].probe;
		r = sm_backend_decide(&s, &wish, &b, &err);
		if (rows[i].name) {
			assert_int_equal(r, 0);
			assert_string_equal(b.name, rows[i].name);
			assert_int_equal(b.kvm, !strcmp(rows[i].name, "kvm"));
		} else {
			assert_int_equal(r, -ENOTSUP);
			assert_string_equal(sm_err_text(&err), rows[i].error);
		}
	}
}

static void test_wish(void **state)
{
	static const struct {
		const char *annotation;	/* NULL: none */
		int result;
		enum sm_hypervisor hypervisor;
	} rows[] = {
		{ NULL, 0, SM_HYPERVISOR_QEMU },
		{ "auto", 0, SM_HYPERVISOR_AUTO },
		{ "kvm", 0, SM_HYPERVISOR_KVM },
		{ "qemu", 0, SM_HYPERVISOR_QEMU },
		{ "", -EINVAL, SM_HYPERVISOR_NUM },
		{ "KVM", -EINVAL, SM_HYPERVISOR_NUM },
		{ "xen", -EINVAL, SM_HYPERVISOR_NUM },
	};
	const struct sm_settings s = { .hypervisor = SM_HYPERVISOR_QEMU };
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		const struct sm_pair pair = { SM_ANNOTATION_HYPERVISOR, rows[i].annotation };
		const struct sm_config c = { .annotations = { &pair, rows[i].annotation ? 1 : 0 } };
		struct sm_backend_wish wish = { 0 };

		assert_int_equal(sm_backend_wish(&s, &c, &wish, &err), rows[i].result);
		if (rows[i].result < 0)
			continue;
		assert_int_equal(wish.hypervisor, rows[i].hypervisor);
		assert_int_equal(wish.annotated, rows[i].annotation != NULL);
	}
	assert_string_equal(sm_err_text(&err), "config.json: annotations: supermachine.io/hypervisor: "
					       "\"xen\" is none of auto, kvm and qemu");
}

static void test_defaults(void **state)
{
	struct sm_settings s = { .vm = { { 1, 1024 }, 8 } };
	const struct sm_backend kvm = { .name = "kvm", .kvm = true };
	const struct sm_backend qemu = { .name = "qemu" };
	struct sm_vm_defaults d;

	sm_backend_defaults(&s, &kvm, &d);
	assert_int_equal(d.size.vcpus, 8);
	assert_int_equal(d.size.memory_mib, 1024);
	sm_backend_defaults(&s, &qemu, &d);
	assert_int_equal(d.size.vcpus, 1);
	s.vcpus_given = true;
	sm_backend_defaults(&s, &kvm, &d);
	assert_int_equal(d.size.vcpus, 1);
}

static void test_remedies(void **state)
{
	for (int i = 0; i < SM_KVMPROBE_REASON_NUM; i++) {
		const struct sm_kvmprobe answer = { .reason = (enum sm_kvmprobe_reason)i };

		assert_int_equal(sm_kvmprobe_remedy(&answer) == NULL, i == SM_KVMPROBE_WORKS);
	}
}

static void test_kernels(void **state)
{
	static const struct {
		const char *kernel;
		bool library, soname;
	} rows[] = {
		{ "libkrunfw.so.5", true, true },
		{ "libkrunfw.so", true, true },
		{ "libkrunfw.so.5.6.1", true, true },
		{ "/usr/lib64/libkrunfw.so.5", true, false },
		{ "./libkrunfw.so.5", true, false },
		{ "libkrunfw.so.", false, false },
		{ "libkrunfw.so.x", false, false },
		{ "libkrunfw.sock", false, false },
		{ "/srv/a.so.5/vmlinux", false, false },
		{ "vmlinux", false, false },
		{ "/usr/share/supermachine/vmlinux", false, false },
		{ "", false, false },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		assert_int_equal(sm_backend_is_library(rows[i].kernel), rows[i].library);
		assert_int_equal(sm_backend_is_soname(rows[i].kernel), rows[i].soname);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kept_and_read_back, make_place, drop_place),
		cmocka_unit_test_setup_teardown(test_kept_in_a_directory_that_is_made, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(test_kept_garbage, make_place, drop_place),
		cmocka_unit_test_setup_teardown(test_kept_by_whom, make_place, drop_place),
		cmocka_unit_test_setup_teardown(test_key, make_place, drop_place),
		cmocka_unit_test_setup_teardown(test_key_that_cannot_be_told, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(test_key_of_who_may_not, make_place, drop_place),
		cmocka_unit_test_setup_teardown(test_run, make_place, drop_place),
		cmocka_unit_test_setup_teardown(test_run_of_what_is_not_there, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(test_run_while_children_are_ignored, make_place,
						drop_place),
		cmocka_unit_test_setup_teardown(test_program_exists, make_place, drop_place),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_wish),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_remedies),
		cmocka_unit_test(test_kernels),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
