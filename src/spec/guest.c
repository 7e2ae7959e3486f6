/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "spec/cgroup.h"
#include "spec/device.h"
#include "spec/guest.h"
#include "spec/source.h"

/*
 * A config as the agent's Container message. One function per part of the message; each allocates
 * in the arena of the result and borrows its strings from the config.
 */

#define EXPORTS_MAX 1024 /* SM_FS_EXPORTS_MAX */

/* Where runc has it */
#define NOTIFY_DIR "/run/notify"

typedef Supermachine__Agent__V1__Container Msg;

struct build {
	const struct sm_config *config;
	const struct sm_guest_inputs *in;
	struct sm_guest_container *c;
	struct sm_arena *arena;
	Msg *msg;
	struct sm_err *err;
};

/* n messages of a kind in one array, and the array of pointers to them that protobuf-c wants. */
#define NEW_ITEMS(b, n, items, list)                                                               \
	({                                                                                         \
		(items) = sm_arena_array((b)->arena, (n) + 1, sizeof(*(items)));                   \
		(list) = sm_arena_array((b)->arena, (n) + 1, sizeof(*(list)));                     \
		(items) && (list) ? 0 : -ENOMEM;                                                   \
	})

/* ---- root and exports ------------------------------------------------------------------------ */

static int add_export(struct build *b, struct sm_guest_export e)
{
	struct sm_guest_container *c = b->c;

	if (c->nexports == EXPORTS_MAX)
		return sm_err_set(b->err, -E2BIG,
				  "config.json: mounts: more than %d host directories",
				  EXPORTS_MAX);
	if (!e.name)
		return -ENOMEM;
	c->exports[c->nexports++] = e;
	return 0;
}

/* Is `path` there inside the root? Symlinks are resolved as in the container. */
static bool in_root(int rootfd, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));

	if (fd >= 0)
		close((int)fd);
	return fd >= 0;
}

/* Does one of the first n mounts cover `path`? */
static bool covered(const struct sm_config *config, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++) {
		const char *at = config->mounts.v[i].destination;
		size_t len = strlen(at);

		while (len > 1 && at[len - 1] == '/')
			len--;
		if (!strncmp(at, path, len) && (path[len] == '/' || !path[len]))
			return true;
	}
	return false;
}

/* A read-only root is exported read-only as well, so that not even the guest's kernel can write to
 * it, if nothing has to be made in it first: mount points, device nodes, the working directory. */
static bool root_complete(const struct build *b, const char *path)
{
	sm_auto_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct sm_config *config = b->config;
	size_t n = config->mounts.n;

	if (fd < 0 || !covered(config, n, "/dev") || !in_root(fd, "/dev"))
		return false;
	for (size_t i = 0; i < n; i++) {
		const char *at = config->mounts.v[i].destination;

		if (!in_root(fd, at) && !covered(config, i, at))
			return false;
	}
	if (b->in->notify && !in_root(fd, NOTIFY_DIR) && !covered(config, n, NOTIFY_DIR))
		return false;
	return in_root(fd, config->process->cwd) || covered(config, n, config->process->cwd);
}

static int put_root(struct build *b)
{
	const struct sm_root *root = b->config->root;
	char *path = root->path[0] == '/'
			     ? sm_arena_strdup(b->arena, root->path)
			     : sm_arena_strf(b->arena, "%s/%s", b->in->bundle, root->path);
	struct stat st;
	size_t len;

	if (!path)
		return -ENOMEM;
	for (len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	if (lstat(path, &st))
		return sm_err_sys(b->err, -errno, "config.json: root.path: invalid rootfs: stat %s",
				  path);
	if (S_ISLNK(st.st_mode))
		return sm_err_set(b->err, -EINVAL,
				  "config.json: root.path: invalid rootfs: not an "
				  "absolute path, or a symlink: %s",
				  path);
	if (!S_ISDIR(st.st_mode))
		return sm_err_sys(b->err, -ENOTDIR, "config.json: root.path: invalid rootfs: %s",
				  path);
	b->msg->root_export = (char *)"rootfs";
	b->msg->root_readonly = root->readonly;
	b->msg->root_propagation = b->config->rootfs_propagation.v;
	return add_export(b, (struct sm_guest_export){
				     .name = "rootfs",
				     .path = path,
				     .readonly = root->readonly && root_complete(b, path),
				     .recursive = true,
			     });
}

/* ---- mounts ---------------------------------------------------------------------------------- */

static bool readonly(const struct sm_mount_options *o)
{
	return (o->flags & MS_RDONLY) || (o->rec_set & 1 /* MOUNT_ATTR_RDONLY */);
}

/* What an id-mapped mount asks for, by default the container's user namespace; NULL: none is. */
static int find_idmap(struct build *b, const struct sm_mount *m, const struct sm_idmap **out)
{
	const struct sm_config *config = b->config;
	bool own = m->uid_mappings.n;
	struct sm_idmap *map;

	*out = NULL;
	if (!own && !m->options.idmap)
		return 0;
	map = sm_arena_alloc(b->arena, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->uids = own ? m->uid_mappings : config->uid_mappings;
	map->gids = own ? m->gid_mappings : config->gid_mappings;
	map->recursive = m->options.idmap_recursive;
	*out = map;
	return 0;
}

static bool same_ids(const sm_id_map_list *a, const sm_id_map_list *b)
{
	for (size_t i = 0; i < a->n && a->n == b->n; i++)
		if (a->v[i].container_id.v != b->v[i].container_id.v ||
		    a->v[i].host_id.v != b->v[i].host_id.v || a->v[i].size.v != b->v[i].size.v)
			return false;
	return a->n == b->n;
}

static bool same_idmap(const struct sm_idmap *a, const struct sm_idmap *b)
{
	if (!a || !b)
		return a == b;
	return a->recursive == b->recursive && same_ids(&a->uids, &b->uids) &&
	       same_ids(&a->gids, &b->gids);
}

/* The name of the export of a source: of an earlier mount if there is one. */
static int export_source(struct build *b, const struct sm_mount *m, const struct sm_source *source,
			 char **name)
{
	struct sm_guest_export *e = b->c->exports + 1;
	const struct sm_idmap *idmap;
	bool recursive = m->options.flags & MS_REC;
	size_t n = b->c->nexports - 1;

	if (find_idmap(b, m, &idmap))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(e[i].path, source->path) || !same_idmap(e[i].idmap, idmap))
			continue;
		e[i].recursive |= recursive;
		e[i].readonly = e[i].readonly && readonly(&m->options);
		*name = (char *)e[i].name;
		return 0;
	}
	*name = sm_arena_strf(b->arena, "m%zu", n);
	return add_export(b, (struct sm_guest_export){
				     .name = *name,
				     .path = source->path,
				     .readonly = readonly(&m->options),
				     .is_file = source->is_file,
				     .recursive = recursive,
				     .idmap = idmap,
			     });
}

static int put_bind(struct build *b, size_t i, Supermachine__Agent__V1__Mount *out)
{
	const struct sm_mount *m = &b->config->mounts.v[i];
	struct sm_source source;
	int rc = sm_source_look(b->arena, b->in->bundle, m->source, &source, b->err);

	if (rc) {
		sm_err_wrap(b->err, "config.json: mounts[%zu].source", i);
		return rc;
	}
	out->is_file = source.is_file;
	if (source.guest && (m->options.idmap || m->uid_mappings.n))
		return sm_err_set(b->err, -EOPNOTSUPP,
				  "config.json: mounts[%zu]: %s is the guest's own and cannot be "
				  "id-mapped: leave the mappings and idmap out",
				  i, source.path);
	if (source.guest)
		out->guest_source = (char *)source.guest;
	else
		rc = export_source(b, m, &source, &out->export);
	return rc;
}

static int put_mount(struct build *b, size_t i, Supermachine__Agent__V1__Mount *out)
{
	const struct sm_mount *m = &b->config->mounts.v[i];
	const struct sm_mount_options *o = &m->options;

	out->destination = m->destination[0] == '/'
				   ? (char *)m->destination
				   : sm_arena_strf(b->arena, "/%s", m->destination);
	if (!out->destination)
		return -ENOMEM;
	out->type = (char *)m->type;
	out->flags = o->flags;
	out->clear_flags = o->clear_flags;
	out->propagation = (uint64_t *)o->propagation;
	out->n_propagation = o->npropagation;
	out->rec_set = o->rec_set;
	out->rec_clear = o->rec_clear;
	out->copy_up = o->copy_up;
	if (o->data)
		out->data = (char *)o->data;
	if (o->flags & MS_BIND)
		return put_bind(b, i, out);
	if (m->source)
		out->source = (char *)m->source;
	return 0;
}

/* The directory with the socket is the VM's, and the last of the mounts, as with runc. */
static int put_notify(struct build *b, Supermachine__Agent__V1__Mount *m)
{
	b->msg->notify_dir = sm_arena_strf(b->arena, NOTIFY_DIR "/%s", b->in->id);
	if (!b->msg->notify_dir)
		return -ENOMEM;
	supermachine__agent__v1__mount__init(m);
	m->destination = (char *)NOTIFY_DIR;
	m->type = (char *)"bind";
	m->guest_source = b->msg->notify_dir;
	m->flags = MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	b->msg->mounts[b->msg->n_mounts++] = m;
	return 0;
}

static int put_mounts(struct build *b)
{
	Supermachine__Agent__V1__Mount *items;
	size_t n = b->config->mounts.n;
	int rc = NEW_ITEMS(b, n + 1, items, b->msg->mounts);

	for (size_t i = 0; i < n && !rc; i++) {
		supermachine__agent__v1__mount__init(&items[i]);
		b->msg->mounts[i] = &items[i];
		rc = put_mount(b, i, &items[i]);
	}
	b->msg->n_mounts = n;
	return rc || !b->in->notify ? rc : put_notify(b, &items[n]);
}

/* ---- namespaces ------------------------------------------------------------------------------ */

static char *pick(const char *first, const char *second, char *third)
{
	return first ? (char *)first : second && *second ? (char *)second : third;
}

/* Without a name, or without a uts namespace, the container has the host's name: it gets a
 * namespace of its own, as a mount namespace, in any case. */
static int put_namespaces(struct build *b)
{
	const struct sm_config *config = b->config;

	b->msg->namespaces = CLONE_NEWNS;
	for (size_t i = 0; i < config->namespaces.n; i++)
		b->msg->namespaces |= config->namespaces.v[i].type.v;
	b->msg->namespaces &= ~(uint64_t)CLONE_NEWNET;
	b->msg->domainname = pick(config->domainname, b->in->domainname, b->msg->domainname);
	b->msg->hostname = pick(config->hostname, b->in->hostname, b->msg->hostname);
	if ((b->msg->namespaces & CLONE_NEWUTS) && *b->msg->hostname)
		return 0;
	b->msg->namespaces |= CLONE_NEWUTS;
	b->msg->hostname = sm_arena_alloc(b->arena, 65);
	return b->msg->hostname ? (gethostname(b->msg->hostname, 64) ? -errno : 0) : -ENOMEM;
}

static int put_map(struct build *b, const struct sm_id_mapping *v, size_t n,
		   Supermachine__Agent__V1__IdMap ***list, size_t *count)
{
	Supermachine__Agent__V1__IdMap *items;

	if (NEW_ITEMS(b, n, items, *list))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		supermachine__agent__v1__id_map__init(&items[i]);
		items[i].container_id = (uint32_t)v[i].container_id.v;
		items[i].host_id =
			(uint32_t)(b->in->ids_mapped ? v[i].container_id.v : v[i].host_id.v);
		items[i].size = (uint32_t)v[i].size.v;
		(*list)[i] = &items[i];
	}
	*count = n;
	return 0;
}

static int put_maps(struct build *b)
{
	const struct sm_config *config = b->config;
	int rc = put_map(b, config->uid_mappings.v, config->uid_mappings.n, &b->msg->uid_mappings,
			 &b->msg->n_uid_mappings);

	if (rc)
		return rc;
	return put_map(b, config->gid_mappings.v, config->gid_mappings.n, &b->msg->gid_mappings,
		       &b->msg->n_gid_mappings);
}

/* ---- lists of names and values --------------------------------------------------------------- */

static int put_pairs(struct build *b, const struct sm_pairs *pairs,
		     Supermachine__Agent__V1__KeyValue ***list, size_t *count)
{
	Supermachine__Agent__V1__KeyValue *items;

	if (NEW_ITEMS(b, pairs->n, items, *list))
		return -ENOMEM;
	for (size_t i = 0; i < pairs->n; i++) {
		supermachine__agent__v1__key_value__init(&items[i]);
		items[i].key = (char *)pairs->v[i].key;
		items[i].value = (char *)pairs->v[i].value;
		(*list)[i] = &items[i];
	}
	*count = pairs->n;
	return 0;
}

static int put_time_offsets(struct build *b)
{
	size_t n = b->config->time_offsets.n;
	struct sm_pair *v = sm_arena_array(b->arena, n + 1, sizeof(*v));
	struct sm_pairs pairs = { v, n };

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct sm_time_offset *o = &b->config->time_offsets.v[i];

		v[i].key = o->clock;
		v[i].value =
			sm_arena_strf(b->arena, "%" PRId64 " %" PRIu64, o->secs.v, o->nanosecs.v);
		if (!v[i].value)
			return -ENOMEM;
	}
	return put_pairs(b, &pairs, &b->msg->time_offsets, &b->msg->n_time_offsets);
}

static int put_names(struct build *b)
{
	const struct sm_config *config = b->config;
	struct sm_pairs files;
	int rc = sm_cgroup_files(config->resources, SM_CGROUP_GUEST, 0, b->arena, &files, b->err);

	b->msg->masked_paths = (char **)config->masked_paths.v;
	b->msg->n_masked_paths = config->masked_paths.n;
	b->msg->readonly_paths = (char **)config->readonly_paths.v;
	b->msg->n_readonly_paths = config->readonly_paths.n;
	if (config->personality)
		b->msg->personality = config->personality->domain.v;
	if (!rc)
		rc = put_pairs(b, &files, &b->msg->cgroup, &b->msg->n_cgroup);
	if (!rc)
		rc = put_pairs(b, &config->sysctl, &b->msg->sysctl, &b->msg->n_sysctl);
	return rc ? rc : put_time_offsets(b);
}

/* ---- devices --------------------------------------------------------------------------------- */

static int put_devices(struct build *b)
{
	Supermachine__Agent__V1__Device *items;
	size_t n = b->config->devices.n;

	if (NEW_ITEMS(b, n, items, b->msg->devices))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct sm_device *d = &b->config->devices.v[i];
		mode_t type = sm_device_type(d->type);
		Supermachine__Agent__V1__Device *out = &items[b->msg->n_devices];

		if (!sm_device_in_guest(type, d->major.v, d->minor.v))
			continue;
		supermachine__agent__v1__device__init(out);
		out->path = (char *)d->path;
		out->type = type;
		out->major = (uint32_t)d->major.v;
		out->minor = (uint32_t)d->minor.v;
		out->mode = d->file_mode.set ? (uint32_t)d->file_mode.v & 07777 : 0666;
		out->uid = (uint32_t)d->uid.v;
		out->gid = (uint32_t)d->gid.v;
		b->msg->devices[b->msg->n_devices++] = out;
	}
	b->msg->default_devices = true;
	return 0;
}

static void add_rule(Msg *msg, Supermachine__Agent__V1__DeviceRule *items, bool allow,
		     const struct sm_device_default *rule)
{
	Supermachine__Agent__V1__DeviceRule *out = &items[msg->n_device_rules];

	supermachine__agent__v1__device_rule__init(out);
	out->allow = allow;
	out->type = rule->type;
	out->major = rule->major;
	out->minor = rule->minor;
	out->access = rule->access;
	msg->device_rules[msg->n_device_rules++] = out;
}

static bool listed(const struct sm_config *config, const char *path)
{
	for (size_t i = 0; path && i < config->devices.n; i++)
		if (!strcmp(config->devices.v[i].path, path))
			return true;
	return false;
}

/* runc's order: deny everything, then the config's rules, then what every container may use, less
 * the devices that the config lists itself. */
static int put_device_rules(struct build *b)
{
	static const struct sm_device_default everything = { NULL, 0, -1, -1, 7 };
	const struct sm_resources *r = b->config->resources;
	Supermachine__Agent__V1__DeviceRule *items;
	const struct sm_device_default *defaults;
	size_t ndefaults;

	defaults = sm_device_defaults(&ndefaults);
	if (NEW_ITEMS(b, 1 + r->devices.n + ndefaults, items, b->msg->device_rules))
		return -ENOMEM;
	add_rule(b->msg, items, false, &everything);
	for (size_t i = 0; i < r->devices.n; i++) {
		const struct sm_device_rule *d = &r->devices.v[i];
		struct sm_device_default rule = {
			.type = sm_device_type(d->type),
			.major = d->major.set ? d->major.v : -1,
			.minor = d->minor.set ? d->minor.v : -1,
			.access = sm_device_access(d->access),
		};

		add_rule(b->msg, items, d->allow, &rule);
	}
	for (size_t i = 0; i < ndefaults; i++)
		if (!listed(b->config, defaults[i].path))
			add_rule(b->msg, items, true, &defaults[i]);
	return 0;
}

/* ---- hooks and process ----------------------------------------------------------------------- */

static int put_hooks(struct build *b)
{
	const sm_hook_list *hooks = &b->config->hooks.start_container;
	Supermachine__Agent__V1__Hook *items;

	if (NEW_ITEMS(b, hooks->n, items, b->msg->start_container_hooks))
		return -ENOMEM;
	for (size_t i = 0; i < hooks->n; i++) {
		const struct sm_hook *h = &hooks->v[i];

		supermachine__agent__v1__hook__init(&items[i]);
		items[i].path = (char *)h->path;
		items[i].args = (char **)h->args.v;
		items[i].n_args = h->args.n;
		items[i].env = (char **)h->env.v;
		items[i].n_env = h->env.n;
		items[i].timeout = (uint32_t)h->timeout.v;
		b->msg->start_container_hooks[i] = &items[i];
	}
	b->msg->n_start_container_hooks = hooks->n;
	if (b->in->hook_state) {
		b->msg->hook_state.data = (uint8_t *)b->in->hook_state;
		b->msg->hook_state.len = strlen(b->in->hook_state);
	}
	return 0;
}

static int put_process(struct build *b)
{
	const struct sm_guest_process_inputs in = {
		.process = b->config->process,
		.seccomp = b->config->seccomp,
		.filter = b->in->filter,
		.new_session_keyring = b->in->new_session_keyring,
	};

	int r = sm_spec_process(&in, b->arena, &b->msg->process, b->err);
	Supermachine__Agent__V1__Process *p = b->msg->process;
	char **env;

	if (r < 0 || !b->in->notify)
		return r;
	env = sm_arena_array(b->arena, p->n_env + 1, sizeof(*env));
	if (!env)
		return -ENOMEM;
	if (p->n_env)
		memcpy(env, p->env, p->n_env * sizeof(*env));
	env[p->n_env++] = (char *)"NOTIFY_SOCKET=" NOTIFY_DIR "/notify.sock";
	p->env = env;
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------- */

#define ARENA_MAX (128u << 20)

static struct sm_guest_container *container_new(void)
{
	struct sm_arena *arena = sm_arena_new(ARENA_MAX);
	struct sm_guest_container *c = arena ? sm_arena_alloc(arena, sizeof(*c)) : NULL;

	if (c) {
		c->arena = arena;
		c->msg = sm_arena_alloc(arena, sizeof(*c->msg));
		c->exports = sm_arena_array(arena, EXPORTS_MAX, sizeof(*c->exports));
	}
	if (c && c->msg && c->exports)
		return c;
	sm_arena_free(arena);
	return NULL;
}

int sm_spec_container(const struct sm_config *config, const struct sm_guest_inputs *in,
		      struct sm_guest_container **out, struct sm_err *err)
{
	static int (*const parts[])(struct build *) = {
		put_root,    put_mounts,       put_namespaces, put_maps,    put_names,
		put_devices, put_device_rules, put_hooks,      put_process,
	};
	struct build b = { .config = config, .in = in, .c = container_new(), .err = err };
	sm_auto_err struct sm_err none = SM_ERR_INIT;
	int rc = 0;

	if (!b.err)
		b.err = &none;
	if (!b.c)
		return sm_err_sys(err, -ENOMEM, "config.json");
	b.arena = b.c->arena;
	b.msg = b.c->msg;
	supermachine__agent__v1__container__init(b.msg);
	b.msg->id = (char *)in->id;
	for (size_t i = 0; i < SM_ARRAY_SIZE(parts) && !rc; i++)
		rc = parts[i](&b);
	if (rc) {
		if (!b.err->code)
			sm_err_sys(b.err, rc, "config.json");
		sm_guest_container_free(b.c);
		return rc;
	}
	*out = b.c;
	return 0;
}

void sm_guest_container_free(struct sm_guest_container *c)
{
	if (c)
		sm_arena_free(c->arena);
}
