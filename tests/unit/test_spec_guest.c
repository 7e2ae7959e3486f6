/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clean.h"
#include "base/io.h"
#include "spec/cgroup.h"
#include "spec/guest.h"

/* A config against a bundle on disk, to the agent's message. */

struct bundle {
	char dir[32];
	struct sm_config *config;
	struct sm_guest_container *c;
	struct sm_err err;
	bool readonly_root, notify;
};

static int setup(void **state)
{
	static const char *const dirs[] = { "/rootfs/proc", "/rootfs/dev", "/rootfs/data", "/vol" };
	struct bundle *b = calloc(1, sizeof(*b));
	sm_auto_free char *file = NULL;

	assert_non_null(b);
	strcpy(b->dir, "/tmp/test_spec.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	for (size_t i = 0; i < SM_ARRAY_SIZE(dirs); i++) {
		sm_auto_free char *path = sm_strf("%s%s", b->dir, dirs[i]);

		assert_int_equal(sm_mkdir_p(path, 0755), 0);
	}
	file = sm_strf("%s/hosts", b->dir);
	assert_int_equal(sm_write_file_at(AT_FDCWD, file, "x", 1, 0644, 0), 0);
	*state = b;
	return 0;
}

static void drop(struct bundle *b)
{
	sm_guest_container_free(b->c);
	sm_config_free(b->config);
	sm_err_clear(&b->err);
	b->c = NULL;
	b->config = NULL;
}

static int teardown(void **state)
{
	struct bundle *b = *state;

	drop(b);
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, b->dir), 0);
	free(b);
	return 0;
}

static int try_build(struct bundle *b, const char *process, const char *top, bool ids_mapped)
{
	sm_auto_free char *json = sm_strf(
		"{\"ociVersion\":\"1.2.1\",\"root\":{\"path\":\"rootfs/\",\"readonly\":%s},"
		"\"process\":{\"args\":[\"sh\",\"-c\",\"x\"],\"cwd\":\"/data\"%s}%s}",
		b->readonly_root ? "true" : "false", process, top);
	struct sm_guest_inputs in = {
		.id = "web", .bundle = b->dir, .hook_state = "{}", .new_session_keyring = true,
		.ids_mapped = ids_mapped, .notify = b->notify,
	};

	drop(b);
	if (sm_config_parse("config.json", json, strlen(json), &b->config, &b->err))
		fail_msg("%s", sm_err_text(&b->err));
	return sm_spec_container(b->config, &in, &b->c, &b->err);
}

static Supermachine__Agent__V1__Container *build(struct bundle *b, const char *process,
						 const char *top)
{
	if (try_build(b, process, top, false))
		fail_msg("%s", sm_err_text(&b->err));
	return b->c->msg;
}

/* ---- root ------------------------------------------------------------------------------------ */

static void test_defaults(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Container *m = build(b, "", "");
	char host[65];
	sm_auto_free char *root = sm_strf("%s/rootfs", b->dir);

	assert_string_equal(m->id, "web");
	assert_string_equal(m->root_export, "rootfs");
	assert_false(m->root_readonly);
	assert_int_equal(b->c->nexports, 1);
	assert_string_equal(b->c->exports[0].path, root);
	assert_true(m->namespaces == (CLONE_NEWNS | CLONE_NEWUTS));
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_string_equal(m->hostname, host);
	assert_true(m->default_devices);
	assert_int_equal(m->process->n_args, 3);
	assert_string_equal(m->process->cwd, "/data");
	assert_int_equal(m->process->umask, 0022);
	assert_null(m->process->capabilities);
	assert_null(m->process->oom_score_adj);
	assert_null(m->process->seccomp);
	assert_true(m->process->new_session_keyring);
	assert_int_equal(m->hook_state.len, 2);
	assert_true(protobuf_c_message_check(&m->base));
}

/* The export is read-only only where nothing has to be made in the root. */
static void test_readonly_root(void **state)
{
	static const struct {
		const char *mounts;
		bool readonly;
	} rows[] = {
		{ "", false },	/* device nodes go into /dev */
		{ ",\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"}]", true },
		{ ",\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"},"
		  "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\"}]", true },
		{ ",\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"},"
		  "{\"destination\":\"/missing\",\"type\":\"tmpfs\"}]", false },
	};
	struct bundle *b = *state;

	b->readonly_root = true;
	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		assert_true(build(b, "", rows[i].mounts)->root_readonly);
		assert_int_equal(b->c->exports[0].readonly, rows[i].readonly);
	}
}

static void test_bad_root(void **state)
{
	struct bundle *b = *state;
	sm_auto_free char *root = sm_strf("%s/rootfs", b->dir);
	sm_auto_free char *moved = sm_strf("%s/moved", b->dir);
	sm_auto_free char *gone = sm_strf("config.json: root.path: invalid rootfs: stat %s: "
					  "no such file or directory", root);
	sm_auto_free char *link = sm_strf("config.json: root.path: invalid rootfs: not an absolute "
					  "path, or a symlink: %s", root);

	assert_int_equal(rename(root, moved), 0);
	assert_int_equal(try_build(b, "", "", false), -ENOENT);
	assert_string_equal(sm_err_text(&b->err), gone);
	assert_int_equal(symlink(moved, root), 0);
	assert_int_equal(try_build(b, "", "", false), -EINVAL);
	assert_string_equal(sm_err_text(&b->err), link);
}

/* ---- mounts ---------------------------------------------------------------------------------- */

static void test_mounts(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Container *m = build(b, "",
		",\"mounts\":["
		"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
		"{\"destination\":\"tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\","
		"\"size=1m\",\"noatime\",\"atime\",\"mode=755\",\"tmpcopyup\",\"rprivate\",\"slave\"]},"
		"{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"vol\",\"options\":[\"rbind\",\"ro\"]},"
		"{\"destination\":\"/b\",\"source\":\"vol\",\"options\":[\"bind\",\"rw\"]},"
		"{\"destination\":\"/c\",\"type\":\"none\",\"source\":\"hosts\",\"options\":[\"bind\",\"rro\"]}"
		"]");
	sm_auto_free char *vol = sm_strf("%s/vol", b->dir);
	sm_auto_free char *hosts = sm_strf("%s/hosts", b->dir);

	assert_int_equal(m->n_mounts, 5);
	assert_string_equal(m->mounts[0]->type, "proc");
	assert_string_equal(m->mounts[1]->destination, "/tmp");
	assert_true(m->mounts[1]->flags == MS_NOSUID);
	assert_true(m->mounts[1]->clear_flags == MS_NOATIME);
	assert_string_equal(m->mounts[1]->data, "size=1m,mode=755");
	assert_true(m->mounts[1]->copy_up);
	assert_int_equal(m->mounts[1]->n_propagation, 2);
	assert_true(m->mounts[1]->propagation[0] == (MS_PRIVATE | MS_REC));
	assert_true(m->mounts[1]->propagation[1] == MS_SLAVE);
	assert_true(m->mounts[2]->flags == (MS_BIND | MS_REC | MS_RDONLY));
	assert_string_equal(m->mounts[2]->export, "m0");
	assert_string_equal(m->mounts[3]->type, "bind");
	assert_string_equal(m->mounts[3]->export, "m0");
	assert_string_equal(m->mounts[4]->type, "bind");
	assert_string_equal(m->mounts[4]->export, "m1");
	assert_true(m->mounts[4]->is_file);
	assert_true(m->mounts[4]->rec_set == MOUNT_ATTR_RDONLY);

	assert_int_equal(b->c->nexports, 3);
	assert_string_equal(b->c->exports[1].name, "m0");
	assert_string_equal(b->c->exports[1].path, vol);
	assert_false(b->c->exports[1].readonly);	/* one of its mounts may write */
	assert_true(b->c->exports[1].recursive);	/* … and one wants what is mounted below */
	assert_true(b->c->exports[0].recursive);
	assert_false(b->c->exports[2].recursive);
	assert_string_equal(b->c->exports[2].path, hosts);
	assert_true(b->c->exports[2].readonly);
	assert_true(b->c->exports[2].is_file);
}

/* clang-format off */
/* Mounts of one source share an export if they show owners alike. */
static void test_idmaps(void **state)
{
#define IDMAP(host) "\"uidMappings\":[{\"containerID\":0,\"hostID\":" host ",\"size\":9}]," \
		    "\"gidMappings\":[{\"containerID\":1,\"hostID\":" host ",\"size\":9}]"
#define BIND(options) "{\"destination\":\"/a\",\"source\":\"/usr\",\"options\":[" options "]"
	struct bundle *b = *state;
	const struct sm_guest_export *e;
	const struct sm_idmap *map;

	build(b, "",
	      ",\"mounts\":[" BIND("\"bind\"") "}," BIND("\"bind\"") "," IDMAP("5") "},"
	      BIND("\"bind\",\"idmap\"") "," IDMAP("5") "}," BIND("\"bind\"") "," IDMAP("6") "},"
	      BIND("\"rbind\",\"ridmap\"") "," IDMAP("5") "}," BIND("\"bind\",\"idmap\"") "}],"
	      "\"linux\":{\"namespaces\":[{\"type\":\"user\"}]," IDMAP("7") "}");
	/* clang-format on */
	assert_int_equal(b->c->nexports, 6);
	e = b->c->exports + 1;
	assert_null(e[0].idmap);
	map = e[1].idmap;
	assert_int_equal(map->uids.v[0].host_id.v, 5);
	assert_int_equal(map->gids.v[0].container_id.v, 1);
	assert_false(map->recursive);
	assert_int_equal(e[2].idmap->uids.v[0].host_id.v, 6);
	assert_int_equal(e[3].idmap->uids.v[0].host_id.v, 5);
	assert_true(e[3].idmap->recursive);
	assert_int_equal(e[4].idmap->gids.v[0].host_id.v, 7);
	assert_string_equal(b->c->msg->mounts[1]->export, b->c->msg->mounts[2]->export);
}

static void test_guest_sources(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Container *m = build(b, "",
		",\"mounts\":["
		"{\"destination\":\"/s\",\"source\":\"/sys\",\"options\":[\"rbind\"]},"
		"{\"destination\":\"/p\",\"source\":\"/proc/sys\",\"options\":[\"bind\"]},"
		"{\"destination\":\"/n\",\"source\":\"/dev/null\",\"options\":[\"bind\"]},"
		"{\"destination\":\"/d\",\"source\":\"/dev\",\"options\":[\"rbind\"]}]");

	assert_string_equal(m->mounts[0]->guest_source, "/sys");
	assert_string_equal(m->mounts[1]->guest_source, "/proc/sys");
	assert_string_equal(m->mounts[2]->guest_source, "/dev/null");
	assert_true(m->mounts[2]->is_file);
	assert_string_equal(m->mounts[3]->guest_source, "/dev");
	assert_int_equal(b->c->nexports, 1);
}

static void test_notify(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Container *m = build(b, ",\"env\":[\"A=b\"]", "");
	size_t n = m->n_mounts;

	assert_string_equal(m->notify_dir, "");
	b->notify = true;
	m = build(b, ",\"env\":[\"A=b\"]", "");
	assert_int_equal(m->n_mounts, n + 1);
	assert_string_equal(m->notify_dir, "/run/notify/web");
	assert_string_equal(m->mounts[n]->guest_source, "/run/notify/web");
	assert_string_equal(m->mounts[n]->destination, "/run/notify");
	assert_true(m->mounts[n]->flags & MS_RDONLY);
	assert_int_equal(m->process->n_env, 2);
	assert_string_equal(m->process->env[1], "NOTIFY_SOCKET=/run/notify/notify.sock");
	/* a read-only root has to have the mount point, or be shared writable */
	b->readonly_root = true;
	build(b, "", ",\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"}]");
	assert_false(b->c->exports[0].readonly);
	b->notify = false;
	build(b, "", ",\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"}]");
	assert_true(b->c->exports[0].readonly);
	b->notify = true;
	build(b, "",
	      ",\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"},{\"destination\":\"/data\","
	      "\"type\":\"tmpfs\"}]");
	assert_false(b->c->exports[0].readonly);
}

static void test_bad_sources(void **state)
{
	struct bundle *b = *state;
	sm_auto_free char *fifo = sm_strf("%s/fifo", b->dir);
	sm_auto_free char *sock = sm_strf("%s/sock", b->dir);
	sm_auto_free char *no_fifo = sm_strf("config.json: mounts[0].source: %s is a fifo of the host, "
					     "whose other end is outside of the VM", fifo);
	sm_auto_free char *no_sock = sm_strf("config.json: mounts[0].source: %s is a socket of the "
					     "host, to which a VM cannot connect", sock);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	sm_auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", sock);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(try_build(b, "", ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\","
				   "\"source\":\"fifo\"}]", false), -EOPNOTSUPP);
	assert_string_equal(sm_err_text(&b->err), no_fifo);
	assert_int_equal(try_build(b, "", ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\","
				   "\"source\":\"sock\"}]", false), -EOPNOTSUPP);
	assert_string_equal(sm_err_text(&b->err), no_sock);
	assert_int_equal(try_build(b, "", ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\","
				   "\"source\":\"/no/such\"}]", false), -ENOENT);
	assert_string_equal(sm_err_text(&b->err), "config.json: mounts[0].source: stat /no/such: "
						  "no such file or directory");
}

struct option_row {
	const char *words[4];
	uint64_t flags, clear, rec_set, rec_clear;
};

static const struct option_row option_rows[] = {
	{ { "defaults" }, 0, 0, 0, 0 },
	{ { "ro", "rw" }, 0, MS_RDONLY, 0, 0 },
	{ { "rw", "ro" }, MS_RDONLY, 0, 0, 0 },
	{ { "nosuid", "nodev", "noexec" }, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, 0, 0 },
	{ { "suid", "dev", "exec" }, 0, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, 0 },
	{ { "sync", "dirsync", "mand" }, MS_SYNCHRONOUS | MS_DIRSYNC | MS_MANDLOCK, 0, 0, 0 },
	{ { "async", "nomand" }, 0, MS_SYNCHRONOUS | MS_MANDLOCK, 0, 0 },
	{ { "noatime", "nodiratime" }, MS_NOATIME | MS_NODIRATIME, 0, 0, 0 },
	{ { "atime", "diratime" }, 0, MS_NOATIME | MS_NODIRATIME, 0, 0 },
	{ { "relatime", "strictatime" }, MS_RELATIME | MS_STRICTATIME, 0, 0, 0 },
	{ { "norelatime", "nostrictatime" }, 0, MS_RELATIME | MS_STRICTATIME, 0, 0 },
	{ { "lazytime", "iversion" }, MS_LAZYTIME | MS_I_VERSION, 0, 0, 0 },
	{ { "nolazytime", "noiversion" }, 0, MS_LAZYTIME | MS_I_VERSION, 0, 0 },
	{ { "silent", "nosymfollow" }, MS_SILENT | 256, 0, 0, 0 },
	{ { "loud", "symfollow" }, 0, MS_SILENT | 256, 0, 0 },
	{ { "remount", "bind" }, MS_REMOUNT | MS_BIND, 0, 0, 0 },
	{ { "rro", "rnosuid", "rnodev" }, 0, 0,
	  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0 },
	{ { "rrw", "rsuid", "rdev" }, 0, 0, 0,
	  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV },
	{ { "rnoexec", "rnodiratime", "rnosymfollow" }, 0, 0,
	  MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW, 0 },
	{ { "rexec", "rdiratime", "rsymfollow" }, 0, 0, 0,
	  MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW },
	{ { "rnoatime" }, 0, 0, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
	{ { "rstrictatime" }, 0, 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
	{ { "rnoatime", "rstrictatime" }, 0, 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
	{ { "rnoatime", "rrelatime" }, 0, 0, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
	{ { "ratime" }, 0, 0, 0, MOUNT_ATTR__ATIME },
	{ { "rnostrictatime", "rnorelatime" }, 0, 0, 0, MOUNT_ATTR__ATIME },
	{ { "rro", "rrw" }, 0, 0, 0, MOUNT_ATTR_RDONLY },
};

static void test_options(void **state)
{
	struct sm_arena *arena = sm_arena_new(1 << 20);

	for (size_t i = 0; i < SM_ARRAY_SIZE(option_rows); i++) {
		const struct option_row *r = &option_rows[i];
		struct sm_strs words = { r->words, 0 };
		struct sm_mount_options o;

		while (words.n < 4 && r->words[words.n])
			words.n++;
		assert_int_equal(sm_mount_options_parse(arena, &words, &o), 0);
		if (o.flags != r->flags || o.clear_flags != r->clear || o.rec_set != r->rec_set ||
		    o.rec_clear != r->rec_clear)
			fail_msg("row %zu, %s: %lx %lx %lx %lx", i, r->words[0], (long)o.flags,
				 (long)o.clear_flags, (long)o.rec_set, (long)o.rec_clear);
		assert_null(o.data);
	}
	sm_arena_free(arena);
}

static void test_option_names(void **state)
{
	size_t n = 1;

	for (; sm_mount_option_name(n); n++)
		assert_true(strcmp(sm_mount_option_name(n - 1), sm_mount_option_name(n)) < 0);
	assert_int_equal(n, 62);
}

static void test_too_many_propagations(void **state)
{
	static const char *const v[] = { "private", "private", "private", "private", "private",
					 "private", "private", "private", "private" };
	const struct sm_strs words = { v, SM_ARRAY_SIZE(v) };
	struct sm_mount_options o;

	assert_int_equal(sm_mount_options_parse(NULL, &words, &o), -E2BIG);
}

/* ---- process --------------------------------------------------------------------------------- */

static void test_process(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Process *p = build(b,
		",\"env\":[\"A=1\",\"B=2\",\"A=3\",\"AB=4\"],"
		"\"user\":{\"uid\":1,\"gid\":2,\"umask\":63,\"additionalGids\":[4,3,4]},"
		"\"noNewPrivileges\":true,\"oomScoreAdj\":-5,"
		"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":10,\"hard\":20}],"
		"\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\",\"CAP_CHOWN\"],"
		"\"inheritable\":[\"CAP_KILL\"],\"ambient\":[\"CAP_KILL\",\"CAP_CHOWN\"]},"
		"\"scheduler\":{\"policy\":\"SCHED_BATCH\",\"nice\":-3,"
		"\"flags\":[\"SCHED_FLAG_RESET_ON_FORK\"]},"
		"\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":6},"
		"\"execCPUAffinity\":{\"final\":\"0-1\"}", "")->process;

	assert_int_equal(p->n_env, 3);
	assert_string_equal(p->env[0], "B=2");
	assert_string_equal(p->env[1], "A=3");
	assert_string_equal(p->env[2], "AB=4");
	assert_int_equal(p->uid, 1);
	assert_int_equal(p->gid, 2);
	assert_int_equal(p->umask, 63);
	assert_int_equal(p->n_additional_gids, 2);
	assert_int_equal(p->additional_gids[1], 4);
	assert_true(p->no_new_privileges);
	assert_int_equal(p->oom_score_adj->value, -5);
	assert_int_equal(p->n_rlimits, RLIM_NLIMITS);
	assert_int_equal(p->rlimits[0]->resource, RLIMIT_NOFILE);
	assert_int_equal(p->rlimits[0]->hard, 20);
	assert_true(p->capabilities->bounding == 1 << 5);
	assert_true(p->capabilities->permitted == (1 << 5 | 1));
	assert_true(p->capabilities->ambient == 1 << 5);	/* CAP_CHOWN is not inheritable */
	assert_int_equal(p->scheduler->policy, SCHED_BATCH);
	assert_int_equal(p->scheduler->nice, -3);
	assert_true(p->scheduler->flags == 1);
	assert_int_equal(p->io_priority, 2 << 13 | 6);
	assert_int_equal(p->n_cpu_affinity, 0);	/* for exec only */
}

static void test_exec(void **state)
{
	const char *json = "{\"args\":[\"id\"],\"cwd\":\"/\","
			   "\"execCPUAffinity\":{\"initial\":\"0\",\"final\":\"1-3,2,7\"}}";
	struct sm_arena *arena = sm_arena_new(1 << 20);
	Supermachine__Agent__V1__Process *p;
	struct sm_config *c;

	assert_int_equal(sm_process_parse("p", json, strlen(json), &c, NULL), 0);
	assert_int_equal(sm_spec_process(&(struct sm_guest_process_inputs){ .process = c->process,
									    .exec = true },
					 arena, &p, NULL), 0);
	assert_int_equal(p->n_cpu_affinity, 4);
	assert_int_equal(p->cpu_affinity[3], 7);
	assert_false(p->new_session_keyring);
	sm_config_free(c);
	sm_arena_free(arena);
}

/* ---- linux ----------------------------------------------------------------------------------- */

static void test_namespaces(void **state)
{
	struct bundle *b = *state;
	const char *top = ",\"hostname\":\"h\",\"domainname\":\"d\",\"linux\":{\"namespaces\":["
			  "{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/x\"},{\"type\":\"uts\"},"
			  "{\"type\":\"user\"},{\"type\":\"time\"}],"
			  "\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":5}],"
			  "\"gidMappings\":[{\"containerID\":1,\"hostID\":2000,\"size\":6}],"
			  "\"timeOffsets\":{\"monotonic\":{\"secs\":-3,\"nanosecs\":7}}}";
	Supermachine__Agent__V1__Container *m = build(b, "", top);

	assert_true(m->namespaces ==
		    (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWUSER | CLONE_NEWTIME));
	assert_string_equal(m->hostname, "h");
	assert_string_equal(m->domainname, "d");
	assert_int_equal(m->uid_mappings[0]->host_id, 1000);
	assert_int_equal(m->gid_mappings[0]->container_id, 1);
	assert_int_equal(m->gid_mappings[0]->size, 6);
	assert_string_equal(m->time_offsets[0]->key, "monotonic");
	assert_string_equal(m->time_offsets[0]->value, "-3 7");
	assert_int_equal(try_build(b, "", top, true), 0);
	assert_int_equal(b->c->msg->uid_mappings[0]->host_id, 0);
	assert_int_equal(b->c->msg->gid_mappings[0]->host_id, 1);
}

static void test_devices(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Container *m = build(b, "",
		",\"annotations\":{\"supermachine.io/devices\":\"skip\"},\"linux\":{\"devices\":["
		"{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0},"
		"{\"path\":\"/dev/null\",\"type\":\"c\",\"major\":1,\"minor\":3,\"fileMode\":8624,"
		"\"uid\":5,\"gid\":6},"
		"{\"path\":\"/dev/fuse\",\"type\":\"u\",\"major\":10,\"minor\":229},"
		"{\"path\":\"/run/p\",\"type\":\"p\"}],"
		"\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
		"{\"allow\":true,\"type\":\"c\",\"major\":10,\"minor\":229,\"access\":\"rw\"}]}}");

	assert_int_equal(m->n_devices, 3);
	assert_int_equal(m->devices[0]->mode, 0660);	/* 8624 is S_IFCHR | 0660 */
	assert_int_equal(m->devices[0]->uid, 5);
	assert_int_equal(m->devices[1]->type, S_IFCHR);
	assert_int_equal(m->devices[1]->mode, 0666);
	assert_int_equal(m->devices[2]->type, S_IFIFO);

	/* deny all, the two listed, the defaults but for /dev/null */
	assert_int_equal(m->n_device_rules, 1 + 2 + 10);
	assert_false(m->device_rules[0]->allow);
	assert_int_equal(m->device_rules[0]->type, 0);
	assert_int_equal(m->device_rules[0]->major, -1);
	assert_int_equal(m->device_rules[0]->access, 7);
	assert_false(m->device_rules[1]->allow);
	assert_true(m->device_rules[2]->allow);
	assert_int_equal(m->device_rules[2]->type, S_IFCHR);
	assert_int_equal(m->device_rules[2]->minor, 229);
	assert_int_equal(m->device_rules[2]->access, 6);
	for (size_t i = 3; i < m->n_device_rules; i++)
		assert_false(m->device_rules[i]->major == 1 && m->device_rules[i]->minor == 3);
}

static void test_rest(void **state)
{
	struct bundle *b = *state;
	Supermachine__Agent__V1__Container *m = build(b, "",
		",\"hooks\":{\"startContainer\":[{\"path\":\"/h\",\"args\":[\"h\",\"1\"],\"env\":[\"A=b\"],"
		"\"timeout\":5}],\"poststop\":[{\"path\":\"/p\"}]},\"linux\":{"
		"\"maskedPaths\":[\"/proc/kcore\"],\"readonlyPaths\":[\"/proc/sys\",\"/proc/bus\"],"
		"\"sysctl\":{\"net.core.somaxconn\":\"9\"},\"rootfsPropagation\":\"rslave\","
		"\"personality\":{\"domain\":\"LINUX32\"},"
		"\"resources\":{\"memory\":{\"limit\":1000000},\"pids\":{\"limit\":7},"
		"\"cpu\":{\"shares\":512}},\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"}}");

	assert_int_equal(m->n_start_container_hooks, 1);
	assert_string_equal(m->start_container_hooks[0]->args[1], "1");
	assert_int_equal(m->start_container_hooks[0]->timeout, 5);
	assert_int_equal(m->n_masked_paths, 1);
	assert_string_equal(m->readonly_paths[1], "/proc/bus");
	assert_string_equal(m->sysctl[0]->key, "net.core.somaxconn");
	assert_true(m->root_propagation == (MS_SLAVE | MS_REC));
	assert_true(m->personality == PER_LINUX32);
	assert_int_equal(m->n_cgroup, 2);
	assert_string_equal(m->cgroup[0]->key, "memory.max");
	assert_string_equal(m->cgroup[0]->value, "1000000");
	assert_string_equal(m->cgroup[1]->key, "pids.max");
	assert_non_null(m->process->seccomp);
	assert_true(m->process->seccomp->bpf.len >= 8);
}

/* ---- cgroups --------------------------------------------------------------------------------- */

struct cgroup_row {
	const char *json;
	const char *guest;	/* "file=value;…" */
	const char *host;	/* with an overhead of 1000 bytes */
};

static const struct cgroup_row cgroup_rows[] = {
	{ "{}", "", "" },
	{ "{\"memory\":{\"limit\":5000,\"reservation\":3000,\"swap\":8000}}",
	  "memory.max=5000;memory.low=3000;",
	  "memory.swap.max=3000;memory.max=6000;memory.low=3000;" },
	{ "{\"memory\":{\"limit\":5000,\"swap\":5000}}", "memory.max=5000;",
	  "memory.swap.max=0;memory.max=6000;" },
	{ "{\"memory\":{\"limit\":-1}}", "memory.max=max;", "memory.swap.max=max;memory.max=max;" },
	{ "{\"memory\":{\"limit\":5000,\"swap\":-1}}", "memory.max=5000;",
	  "memory.swap.max=max;memory.max=6000;" },
	{ "{\"pids\":{\"limit\":9}}", "pids.max=9;", "" },
	{ "{\"pids\":{\"limit\":-1}}", "pids.max=max;", "" },
	{ "{\"pids\":{\"limit\":0}}", "", "" },
	{ "{\"cpu\":{\"shares\":1024,\"quota\":50000,\"period\":100000}}", "",
	  "cpu.weight=39;cpu.max=50000 100000;" },
	{ "{\"cpu\":{\"quota\":50000,\"burst\":100}}", "", "cpu.max=50000 100000;cpu.max.burst=100;" },
	{ "{\"cpu\":{\"quota\":-1}}", "", "cpu.max=max 100000;" },
	{ "{\"cpu\":{\"period\":50000}}", "", "cpu.max=max 50000;" },
	{ "{\"cpu\":{\"idle\":1,\"shares\":5,\"cpus\":\"0-1\",\"mems\":\"0\"}}", "",
	  "cpu.idle=1;cpuset.cpus=0-1;cpuset.mems=0;" },
	{ "{\"blockIO\":{\"weight\":500,\"weightDevice\":[{\"major\":8,\"minor\":0,\"weight\":10}],"
	  "\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":0,\"rate\":5}],"
	  "\"throttleWriteBpsDevice\":[{\"major\":8,\"minor\":0,\"rate\":6}],"
	  "\"throttleReadIOPSDevice\":[{\"major\":8,\"minor\":0,\"rate\":7}],"
	  "\"throttleWriteIOPSDevice\":[{\"major\":8,\"minor\":0,\"rate\":0}]}}", "",
	  "io.weight=default 4950;io.weight=8:0 1;io.max=8:0 rbps=5;io.max=8:0 wbps=6;"
	  "io.max=8:0 riops=7;io.max=8:0 wiops=max;" },
	{ "{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":0}],"
	  "\"rdma\":{\"mlx\":{\"hcaHandles\":3}}}", "",
	  "hugetlb.2MB.max=0;rdma.max=mlx hca_handle=3 hca_object=max;" },
	{ "{\"unified\":{\"memory.high\":\"7\",\"cpu.weight\":\"5\",\"pids.max\":\"2\"}}",
	  "memory.high=7;pids.max=2;", "cpu.weight=5;" },
};

static void expect_files(const struct sm_resources *r, enum sm_cgroup_side side, const char *want)
{
	struct sm_arena *arena = sm_arena_new(1 << 20);
	struct sm_pairs files;
	char got[512] = "";

	assert_int_equal(sm_cgroup_files(r, side, 1000, arena, &files, NULL), 0);
	for (size_t i = 0; i < files.n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s=%s;", files.v[i].key,
			 files.v[i].value);
	assert_string_equal(got, want);
	sm_arena_free(arena);
}

static void test_cgroup(void **state)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(cgroup_rows); i++) {
		const struct cgroup_row *row = &cgroup_rows[i];
		sm_auto_free char *json = sm_strf(
			"{\"ociVersion\":\"1.2.1\",\"root\":{\"path\":\"r\"},"
			"\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"},\"linux\":{\"resources\":%s}}",
			row->json);
		struct sm_config *c;

		assert_int_equal(sm_config_parse("r", json, strlen(json), &c, NULL), 0);
		expect_files(c->resources, SM_CGROUP_GUEST, row->guest);
		expect_files(c->resources, SM_CGROUP_HOST, row->host);
		sm_config_free(c);
	}
	assert_int_equal(sm_cgroup_cpu_weight(0), 0);
	assert_int_equal(sm_cgroup_cpu_weight(1), 1);
	assert_int_equal(sm_cgroup_cpu_weight(2), 1);
	assert_int_equal(sm_cgroup_cpu_weight(262144), 10000);
	assert_int_equal(sm_cgroup_cpu_weight(UINT64_MAX), 10000);
	assert_int_equal(sm_cgroup_io_weight(1000), 10000);
}

/* ---- the default config ---------------------------------------------------------------------- */

/* It is a good one, quietly, in each of its forms. */
static void test_default(void **state)
{
	for (int form = 0; form < 4; form++) {
		const struct sm_spec_default o = { .rootless = form & 1, .cgroup_ns = form & 2,
						   .uid = 1000, .gid = 100 };
		sm_auto_err struct sm_err err = SM_ERR_INIT;
		sm_auto_free char *text = NULL;
		struct sm_config *c;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		assert_non_null(f);
		assert_int_equal(sm_spec_default(&o, f), 0);
		assert_int_equal(fclose(f), 0);
		assert_memory_equal(text, "{\n\t\"ociVersion\": \"1.", 19);
		assert_int_equal(text[len - 1], '}');
		if (sm_config_parse("config.json", text, len, &c, &err))
			fail_msg("%s", sm_err_text(&err));
		assert_int_equal(c->warnings.n, 0);
		assert_int_equal(sm_config_has_namespace(c, CLONE_NEWNET), !o.rootless);
		assert_int_equal(sm_config_has_namespace(c, CLONE_NEWCGROUP), o.cgroup_ns);
		assert_int_equal(c->uid_mappings.n, o.rootless);
		if (o.rootless)
			assert_int_equal(c->uid_mappings.v[0].host_id.v, 1000);
		sm_config_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readonly_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idmaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_sources, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_sources, setup, teardown),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_option_names),
		cmocka_unit_test(test_too_many_propagations),
		cmocka_unit_test_setup_teardown(test_process, setup, teardown),
		cmocka_unit_test(test_exec),
		cmocka_unit_test_setup_teardown(test_namespaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_devices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rest, setup, teardown),
		cmocka_unit_test(test_cgroup),
		cmocka_unit_test(test_default),
	};

	return cmocka_run_group_tests_name("spec/guest", tests, NULL, NULL);
}
