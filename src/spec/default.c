/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <yajl/yajl_gen.h>

#include "base/clean.h"
#include "spec/config.h"

/* The config.json that `spec` writes: runc's, byte for byte, but for the hostname and the version of
 * the spec. yajl remembers the first failed call, so results are looked at once, at the end. */

#define OCI_VERSION "1.2.1"

static void str(yajl_gen g, const char *s)
{
	yajl_gen_string(g, (const unsigned char *)s, strlen(s));
}

static void member(yajl_gen g, const char *key, const char *value)
{
	str(g, key);
	str(g, value);
}

static void number(yajl_gen g, const char *key, long long value)
{
	str(g, key);
	yajl_gen_integer(g, value);
}

static void flag(yajl_gen g, const char *key, bool value)
{
	str(g, key);
	yajl_gen_bool(g, value);
}

static void open_map(yajl_gen g, const char *key)
{
	if (key)
		str(g, key);
	yajl_gen_map_open(g);
}

static void open_array(yajl_gen g, const char *key)
{
	str(g, key);
	yajl_gen_array_open(g);
}

static void strings(yajl_gen g, const char *key, const char *const *v)
{
	open_array(g, key);
	for (; *v; v++)
		str(g, *v);
	yajl_gen_array_close(g);
}

static void put_process(yajl_gen g)
{
	static const char *const args[] = { "sh", NULL };
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm",
		NULL
	};
	static const char *const caps[] = { "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE",
					    NULL };
	static const char *const sets[] = { "bounding", "effective", "permitted", "ambient" };

	open_map(g, "process");
	flag(g, "terminal", true);
	open_map(g, "user");
	number(g, "uid", 0);
	number(g, "gid", 0);
	yajl_gen_map_close(g);
	strings(g, "args", args);
	strings(g, "env", env);
	member(g, "cwd", "/");
	open_map(g, "capabilities");
	for (size_t i = 0; i < SM_ARRAY_SIZE(sets); i++)
		strings(g, sets[i], caps);
	yajl_gen_map_close(g);
	open_array(g, "rlimits");
	open_map(g, NULL);
	member(g, "type", "RLIMIT_NOFILE");
	number(g, "hard", 1024);
	number(g, "soft", 1024);
	yajl_gen_map_close(g);
	yajl_gen_array_close(g);
	flag(g, "noNewPrivileges", true);
	yajl_gen_map_close(g);
}

struct default_mount {
	const char *destination, *type, *source;
	const char *options[8];
};

static void put_mounts(yajl_gen g, bool rootless)
{
	static const struct default_mount mounts[] = {
		{ "/proc", "proc", "proc", { NULL } },
		{ "/dev", "tmpfs", "tmpfs",
		  { "nosuid", "strictatime", "mode=755", "size=65536k" } },
		{ "/dev/pts", "devpts", "devpts",
		  { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
		{ "/dev/shm", "tmpfs", "shm",
		  { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
		{ "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
		{ "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
		{ "/sys/fs/cgroup", "cgroup", "cgroup",
		  { "nosuid", "noexec", "nodev", "relatime", "ro" } },
	};
	/* In a user namespace gid 5 is not mapped, and sysfs wants a network namespace. */
	static const struct default_mount rootless_pts = {
		"/dev/pts", "devpts", "devpts",
		{ "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620" }
	};
	static const struct default_mount rootless_sys = {
		"/sys", "none", "/sys", { "rbind", "nosuid", "noexec", "nodev", "ro" }
	};

	open_array(g, "mounts");
	for (size_t i = 0; i < SM_ARRAY_SIZE(mounts); i++) {
		const struct default_mount *m = &mounts[i];

		if (rootless && !strcmp(m->destination, rootless_pts.destination))
			m = &rootless_pts;
		if (rootless && !strcmp(m->destination, rootless_sys.destination))
			m = &rootless_sys;
		open_map(g, NULL);
		member(g, "destination", m->destination);
		member(g, "type", m->type);
		member(g, "source", m->source);
		if (m->options[0])
			strings(g, "options", m->options);
		yajl_gen_map_close(g);
	}
	yajl_gen_array_close(g);
}

static void put_map(yajl_gen g, const char *key, long long host_id)
{
	open_array(g, key);
	open_map(g, NULL);
	number(g, "containerID", 0);
	number(g, "hostID", host_id);
	number(g, "size", 1);
	yajl_gen_map_close(g);
	yajl_gen_array_close(g);
}

static void put_device_rules(yajl_gen g)
{
	open_map(g, "resources");
	open_array(g, "devices");
	open_map(g, NULL);
	flag(g, "allow", false);
	member(g, "access", "rwm");
	yajl_gen_map_close(g);
	yajl_gen_array_close(g);
	yajl_gen_map_close(g);
}

static void put_namespaces(yajl_gen g, const struct sm_spec_default *o)
{
	const struct {
		const char *type;
		bool listed;
	} types[] = {
		{ "pid", true },   { "network", !o->rootless },  { "ipc", true },
		{ "uts", true },   { "mount", true },	      { "cgroup", o->cgroup_ns },
		{ "user", o->rootless },
	};

	open_array(g, "namespaces");
	for (size_t i = 0; i < SM_ARRAY_SIZE(types); i++) {
		if (!types[i].listed)
			continue;
		open_map(g, NULL);
		member(g, "type", types[i].type);
		yajl_gen_map_close(g);
	}
	yajl_gen_array_close(g);
}

static void put_linux(yajl_gen g, const struct sm_spec_default *o)
{
	static const char *const masked[] = {
		"/proc/acpi",	      "/proc/asound",	  "/proc/kcore",
		"/proc/keys",	      "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
		"/proc/scsi",	      NULL
	};
	static const char *const readonly[] = { "/proc/bus", "/proc/fs",	   "/proc/irq",
						"/proc/sys", "/proc/sysrq-trigger", NULL };

	open_map(g, "linux");
	if (o->rootless) {
		put_map(g, "uidMappings", o->uid);
		put_map(g, "gidMappings", o->gid);
	} else {
		put_device_rules(g);
	}
	put_namespaces(g, o);
	strings(g, "maskedPaths", masked);
	strings(g, "readonlyPaths", readonly);
	yajl_gen_map_close(g);
}

int sm_spec_default(const struct sm_spec_default *options, FILE *out)
{
	const unsigned char *text;
	size_t len;
	yajl_gen g = yajl_gen_alloc(NULL);
	int rc;

	if (!g)
		return -ENOMEM;
	yajl_gen_config(g, yajl_gen_beautify, 1);
	yajl_gen_config(g, yajl_gen_indent_string, "\t");
	open_map(g, NULL);
	member(g, "ociVersion", OCI_VERSION);
	put_process(g);
	open_map(g, "root");
	member(g, "path", "rootfs");
	flag(g, "readonly", true);
	yajl_gen_map_close(g);
	member(g, "hostname", "supermachine");
	put_mounts(g, options->rootless);
	put_linux(g, options);
	rc = yajl_gen_map_close(g) == yajl_gen_status_ok &&
			     yajl_gen_get_buf(g, &text, &len) == yajl_gen_status_ok ?
		     0 :
		     -ENOMEM;
	/* yajl ends with a newline, runc does not. */
	if (!rc && fwrite(text, 1, len - 1, out) != len - 1)
		rc = -EIO;
	yajl_gen_free(g);
	return rc;
}
