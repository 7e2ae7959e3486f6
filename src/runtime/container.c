/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 *	sm_container_make()			undone by
 *	config read and checked			-
 *	backend chosen				-
 *	ROOT/ID made, locked, "creating"	removed
 *	cgroups made				removed
 *	terminal made, master sent		closed
 *	sm-vmm started				killed, waited for
 *	prestart, createRuntime, createContainer hooks (the guest boots meanwhile)
 *						poststop hooks
 *	exports opened				closed, with the mounts that hooks made
 *	Sandbox.Create answered			(the same kill)
 *	the view attached (runtime/view.h)	(the same kill)
 *	"created"
 *
 * Each row is a function; a failure in one runs sm_container_undo(), which looks at what is there.
 */
#include "runtime/container.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/export.h"
#include "runtime/hooks.h"
#include "runtime/kept.h"
#include "runtime/notify.h"
#include "runtime/ocistate.h"
#include "runtime/request.h"
#include "runtime/view.h"
#include "spec/guest.h"

#define STATE_ARENA_MAX (64u << 20)
#define CONFIG_NAME "config.json"

/* Where our own time went, for --debug. */
static void log_step(const struct sm_container *c, const char *step)
{
	sm_debug("%s after %.1f ms", step, (double)(sm_now_ns() - c->rt->started_ns) / 1e6);
}

/* ---- the config ----------------------------------------------------------------------------- */

static void log_warnings(const struct sm_runtime *rt, const struct sm_config *config)
{
	/* Callers that are programs take what is in their log, or on standard error, for the
	 * error. */
	bool person = !rt->log && rt->format == SM_LOG_TEXT && isatty(STDERR_FILENO);

	for (size_t i = 0; i < config->warnings.n; i++)
		sm_log(person ? SM_LOG_WARN : SM_LOG_DEBUG, "%s", config->warnings.v[i]);
}

/* Reads the bundle's config; *text is what is stored. */
static int load_config(struct sm_container *c, struct sm_buf *text, struct sm_err *err)
{
	int r = sm_read_file_at(AT_FDCWD, CONFIG_NAME, text);

	if (r == -ENOENT)
		return sm_err_set(err, r, "JSON specification file " CONFIG_NAME " not found");
	if (r < 0)
		return sm_err_sys(err, r, CONFIG_NAME);
	r = sm_config_parse(CONFIG_NAME, text->data ? (const char *)text->data : "", text->len,
			    &c->config, err);
	if (r == 0)
		log_warnings(c->rt, c->config);
	log_step(c, "config read");
	return r;
}

int sm_container_config(const struct sm_store *s, struct sm_config **config, struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(SM_JSON_LEN_MAX);
	int r = sm_read_file_at(s->dirfd, CONFIG_NAME, &text);

	if (r < 0)
		return sm_err_sys(err, r, "%s/%s/" CONFIG_NAME, s->root, s->id);
	return sm_config_parse(CONFIG_NAME, text.data ? (const char *)text.data : "", text.len,
			       config, err);
}

/* What the terminal, or its absence, asks of the caller. runc's texts, our name. */
static int check_console(const struct sm_container *c, struct sm_err *err)
{
	bool terminal = c->config->process->terminal;
	bool foreground = !c->o->detach;

	if (terminal && !foreground && !c->o->console_socket)
		return sm_err_set(err, -EINVAL,
				  "cannot allocate tty if " SM_RUNTIME_NAME
				  " will detach without setting console socket");
	if (c->o->console_socket && (foreground || !terminal))
		return sm_err_set(err, -EINVAL,
				  "cannot use console socket if " SM_RUNTIME_NAME
				  " will not detach or allocate tty");
	return 0;
}

/* Profiles and labels of the host's security modules. */
static int check_lsm(const struct sm_container *c, struct sm_err *err)
{
	struct sm_host_lsm lsm;

	sm_host_lsm_probe(&lsm);
	return sm_config_check_host(c->config, &lsm, err);
}

static int check_descriptors(const struct sm_container *c, struct sm_err *err)
{
	const char *pid = getenv("LISTEN_PID");

	if (c->o->preserve_fds)
		return sm_err_set(
			err, -EINVAL,
			"--preserve-fds %d: must be 0: descriptors other than standard input, "
			"output and error do not cross into a VM",
			c->o->preserve_fds);
	if (pid && getenv("LISTEN_FDS") && atol(pid) == getpid())
		return sm_err_set(
			err, -EINVAL,
			"LISTEN_FDS: descriptors of socket activation do not cross into a VM");
	return 0;
}

/* ---- the state ------------------------------------------------------------------------------ */

static const char *now_text(struct sm_arena *arena)
{
	char when[32];
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	return sm_arena_strf(arena, "%s.%09ldZ", when, ts.tv_nsec);
}

static struct sm_pairs copy_pairs(struct sm_arena *arena, const struct sm_pairs *from)
{
	struct sm_pair *v = sm_arena_array(arena, from->n + 1, sizeof(*v));
	struct sm_pairs to = { v, 0 };

	for (size_t i = 0; v && i < from->n; i++) {
		v[i].key = sm_arena_strdup(arena, from->v[i].key);
		v[i].value = sm_arena_strdup(arena, from->v[i].value);
		if (v[i].key && v[i].value)
			to.n++;
	}
	return to;
}

static int fill_state(struct sm_container *c, struct sm_err *err)
{
	struct sm_arena *arena = sm_arena_new(STATE_ARENA_MAX);
	struct sm_state *s = arena ? sm_arena_alloc(arena, sizeof(*s)) : NULL;
	const char *root = c->config->root->path;
	char cwd[PATH_MAX];

	if (!s) {
		sm_arena_free(arena);
		return sm_err_sys(err, -ENOMEM, "state");
	}
	s->arena = arena;
	c->state = s;
	if (!getcwd(cwd, sizeof(cwd)))
		return sm_err_sys(err, errno, "bundle");
	s->id = sm_arena_strdup(arena, c->store.id);
	s->bundle = sm_arena_strdup(arena, cwd);
	s->rootfs = *root == '/' ? sm_arena_strdup(arena, root) :
				   sm_arena_strf(arena, "%s/%s", cwd, root);
	s->created = now_text(arena);
	s->status = SM_STATUS_CREATING;
	s->annotations = copy_pairs(arena, &c->config->annotations);
	if (!s->id || !s->bundle || !s->rootfs || !s->created ||
	    s->annotations.n != c->config->annotations.n)
		return sm_err_sys(err, -ENOMEM, "state");
	return sm_proc_self(&s->creator) < 0 ? sm_err_sys(err, -ESRCH, "/proc/self/stat") : 0;
}

/* What a rollback and delete have to remove. */
static int note_cgroups(struct sm_container *c, struct sm_err *err)
{
	const char **dirs = sm_arena_array(c->state->arena, c->cgroups.n + 1, sizeof(*dirs));

	if (!dirs)
		return sm_err_sys(err, -ENOMEM, "cgroup");
	for (size_t i = 0; i < c->cgroups.n; i++)
		dirs[i] = c->cgroups.v[i].path;
	c->state->cgroups = (struct sm_strs){ dirs, c->cgroups.n };
	return 0;
}

static int plan_cgroups(struct sm_container *c, struct sm_err *err)
{
	struct sm_arena *arena = c->state->arena;
	const char *path;
	int r = sm_cgroup_path(arena, c->config->cgroups_path, c->store.id, c->rt->systemd_cgroup,
			       &path, err);

	if (r == 0)
		r = sm_cgroup_plan(arena, path, &c->cgroups, err);
	if (r == 0)
		r = sm_cgroup_check(&c->cgroups, 0, err);
	return r < 0 ? r : note_cgroups(c, err);
}

/* ROOT/ID with what is known; nothing of the host was changed before it says where to look. */
static int store_container(struct sm_container *c, const char *id, const struct sm_buf *text,
			   struct sm_err *err)
{
	int r = sm_store_create(c->rt->root, id, &c->store, err);

	if (r < 0)
		return r;
	c->stored = true;
	r = fill_state(c, err);
	if (r == 0)
		r = plan_cgroups(c, err);
	if (r == 0)
		r = sm_store_save(&c->store, c->state, err);
	if (r < 0)
		return r;
	r = sm_write_file_at(c->store.dirfd, CONFIG_NAME, text->data, text->len, 0600, 0);
	return r < 0 ? sm_err_sys(err, r, "%s/%s/" CONFIG_NAME, c->rt->root, id) : 0;
}

/* ---- cgroups, terminal, sm-vmm -------------------------------------------------------------- */

static int make_cgroups(struct sm_container *c, const struct sm_vm_size *size, struct sm_err *err)
{
	const struct sm_resources *res = c->config->resources;
	const char *when = c->rt->rootless;
	bool rootless = sm_is_rootless() && (!when || strcmp(when, "false") != 0);
	uint64_t overhead = sm_cgroup_overhead(size->memory_mib, res);
	int r;

	if (when && !strcmp(when, "true"))
		rootless = true;
	r = sm_cgroup_make(&c->cgroups, rootless, err);
	if (r == -EBUSY && note_cgroups(c, NULL) < 0)
		c->state->cgroups.n = 0;
	return r < 0 ? r :
		       sm_cgroup_apply(&c->cgroups, res, overhead, c->state->arena, err);
}

static int make_terminal(struct sm_container *c, struct sm_err *err)
{
	const struct sm_box *box = c->config->process->console_size;
	sm_auto_close int sock = -1;
	int r;

	if (!c->config->process->terminal)
		return 0;
	if (c->o->console_socket)
		r = sm_console_connect(c->o->console_socket, &sock, err);
	else
		r = sm_tty_find(&c->tty, err);
	if (r < 0)
		return r;
	if (box) {
		c->pty.rows = (unsigned int)box->height.v;
		c->pty.cols = (unsigned int)box->width.v;
	} else if (!c->o->console_socket) {
		sm_tty_size(&c->tty, &c->pty.rows, &c->pty.cols);
	}
	r = sm_pty_open(&c->pty, err);
	if (r == 0 && c->o->console_socket)
		r = sm_console_send(sock, c->pty.master, "/dev/ptmx", err);
	return r;
}

static const char *join(struct sm_arena *arena, const char *text, const char *more)
{
	if (!text || !more || !*more)
		return text;
	return sm_arena_strf(arena, "%s%s%s", text, *text ? " " : "", more);
}

/* Of the host's settings, of config.json's vm section, of the annotation. */
static const char *join_parameters(struct sm_container *c)
{
	const struct sm_vm *vm = c->config->vm;
	const struct sm_strs none = { NULL, 0 };
	const struct sm_strs lists[] = { c->settings->kernel_parameters,
					 vm && vm->kernel ? vm->kernel->parameters : none };
	struct sm_arena *arena = c->state->arena;
	const char *text = "";

	for (size_t i = 0; i < SM_ARRAY_SIZE(lists); i++)
		for (size_t k = 0; k < lists[i].n; k++)
			text = join(arena, text, lists[i].v[k]);
	return join(arena, text, sm_config_annotation(c->config, SM_ANNOTATION_KERNEL_PARAMS));
}

/* What only one backend can boot is said before it fails to. */
static int check_kernel(const struct sm_launch_config *l, struct sm_err *err)
{
	if (l->backend->kvm || !sm_backend_is_library(l->kernel))
		return 0;
	return sm_err_set(err, -ENOTSUP,
			  "guest kernel %s: only the kvm backend can boot a libkrunfw kernel, and "
			  "this container's is qemu: name a vmlinux as \"kernel\" in %s",
			  l->kernel, l->settings->file);
}

/* Said in words of our own: callers take errno's for the container's program. */
static int check_parts(const struct sm_launch_config *l, struct sm_err *err)
{
	const struct {
		const char *what, *path;
		int mode;
	} parts[] = {
		{ "sm-vmm", l->settings->vmm, X_OK },
		{ "guest kernel", l->kernel, R_OK },
		{ "initramfs", l->initrd, R_OK },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(parts); i++)
		if (!sm_backend_is_soname(parts[i].path) &&
		    access(parts[i].path, parts[i].mode) < 0)
			return sm_err_set(
				err, -ENOENT,
				"%s %s is missing or cannot be used: run \"" SM_RUNTIME_NAME
				" doctor\" for help",
				parts[i].what, parts[i].path);
	return 0;
}

/* The container's rules come on top of the host's: both must allow. */
static int choose_network(struct sm_container *c, struct sm_launch_config *l, struct sm_err *err)
{
	const char *mode = sm_config_annotation(c->config, SM_ANNOTATION_NETWORK);
	const char *rules = sm_config_annotation(c->config, SM_ANNOTATION_NETWORK_POLICY);
	const char *ports = sm_config_annotation(c->config, SM_ANNOTATION_PORTS);
	uint64_t tsi = c->settings->tsi;

	if (mode && sm_word_value(sm_network_words, mode, &tsi) < 0)
		return sm_err_set(err, -EINVAL,
				  "config.json: annotations: " SM_ANNOTATION_NETWORK
				  " \"%.100s\": must be tsi or none",
				  mode);
	l->tsi = tsi;
	l->sysctl = &c->config->sysctl;
	l->ports = ports ? ports : c->settings->ports;
	l->policy = rules && *rules && *c->settings->network_policy ?
			    sm_arena_strf(c->state->arena, "%s; %s", c->settings->network_policy,
					  rules) :
		    rules ? rules :
			    c->settings->network_policy;
	return l->policy ? 0 : sm_err_sys(err, -ENOMEM, "network policy");
}

static int launch(struct sm_container *c, const struct sm_vm_size *size, struct sm_err *err)
{
	const struct sm_vm_kernel *k = c->config->vm ? c->config->vm->kernel : NULL;
	struct sm_launch_config l = {
		.id = c->store.id,
		.settings = c->settings,
		.backend = &c->backend,
		.kernel = k && k->path ? k->path : c->settings->kernel,
		.initrd = k && k->initrd ? k->initrd : c->settings->initrd,
		.cmdline = join_parameters(c),
		.size = *size,
		.hostname = c->config->hostname ? c->config->hostname : c->uts.host,
		.oom_score_adj = c->config->process->oom_score_adj,
		.debug = c->rt->debug,
	};

	sm_auto_service_fds struct sm_service_fds services = SM_SERVICE_FDS_INIT;
	int r = check_parts(&l, err);

	l.services = &services;
	c->state->memory_mib = size->memory_mib;
	if (r < 0 || (r = check_kernel(&l, err)) < 0 || (r = choose_network(c, &l, err)) < 0 ||
	    (r = sm_service_fds_open(c->config, c->state->arena, &services, err)) < 0)
		return r;
	l.netns = sm_config_netns(c->config, &l.netns_path);
	return sm_launch_start(&l, &c->store, c->state, &c->cgroups, &c->launch, err);
}

/* ---- hooks ---------------------------------------------------------------------------------- */

static int run_hooks(const sm_hook_list *hooks, const struct sm_state *state, enum sm_status status,
		     struct sm_hook_run run, struct sm_err *err)
{
	sm_auto_free char *json = hooks->n ? sm_ocistate_hook(state, status, state->vmm.pid) : NULL;

	run.state = json;
	if (!hooks->n)
		return 0;
	return json ? sm_hooks_run(hooks, &run, err) : sm_err_sys(err, -ENOMEM, "hooks");
}

/* In the container's network namespace and a mount namespace with its root, from which it is
 * shared afterwards, so that the guest sees what they mounted there. */
static int run_container_hooks(struct sm_container *c, struct sm_err *err)
{
	const struct sm_hook_run run = {
		.cwd = c->state->rootfs,
		.abort_fd = c->launch.pidfd,
		.ns_of = c->launch.proc.pid,
		.mounts = &c->mounts,
		.env = &c->config->process->env,
	};
	const sm_hook_list *hooks = &c->config->hooks.create_container;
	int r = hooks->n ? sm_mntns_make(c->state->rootfs, &c->mounts, err) : 0;

	return r < 0 ? r : run_hooks(hooks, c->state, SM_STATUS_CREATING, run, err);
}

static int run_create_hooks(struct sm_container *c, struct sm_err *err)
{
	const struct sm_hooks *h = &c->config->hooks;
	const struct sm_hook_run run = { .cwd = c->state->bundle, .abort_fd = c->launch.pidfd };
	int r;

	c->hooked = true;
	r = run_hooks(&h->prestart, c->state, SM_STATUS_CREATING, run, err);
	if (r == 0)
		r = run_hooks(&h->create_runtime, c->state, SM_STATUS_CREATING, run, err);
	if (r == 0)
		r = run_container_hooks(c, err);
	return r < 0 ? sm_err_wrap(err, "error during container init") : 0;
}

static void run_poststop(const struct sm_state *state, const struct sm_config *config)
{
	sm_auto_free char *json = NULL;
	struct sm_hook_run run = { .cwd = state->bundle, .abort_fd = -1 };

	if (!config->hooks.poststop.n)
		return;
	json = sm_ocistate_hook(state, SM_STATUS_STOPPED, 0);
	run.state = json;
	if (json)
		sm_hooks_run_all(&config->hooks.poststop, &run);
}

/* ---- the request ---------------------------------------------------------------------------- */

/* Where paths are those that the createContainer hooks left. */
static const struct sm_mntns *hook_mounts(const struct sm_container *c)
{
	return c->mounts.ns < 0 ? NULL : &c->mounts;
}

static int open_exports(const struct sm_guest_container *g, Supermachine__Sandbox__V1__Export *msgs,
			const struct sm_mntns *in, struct sm_request_fds *fds, struct sm_err *err)
{
	sm_auto_free int *opened = NULL;
	int r;

	if (g->nexports > SM_REQUEST_FDS_MAX - 3)
		return sm_err_set(err, -E2BIG, CONFIG_NAME ": mounts: at most %d bind sources",
				  SM_REQUEST_FDS_MAX - 4);
	opened = calloc(g->nexports, sizeof(*opened));
	if (!opened)
		return sm_err_sys(err, -ENOMEM, "exports");
	r = sm_export_open(g->exports, g->nexports, in, opened, err);
	for (size_t i = 0; r == 0 && i < g->nexports; i++) {
		supermachine__sandbox__v1__export__init(&msgs[i]);
		msgs[i].name = (char *)g->exports[i].name;
		msgs[i].readonly = g->exports[i].readonly;
		msgs[i].export_fd = (uint32_t)sm_request_put(fds, opened[i]);
	}
	return r;
}

static int send_create(struct sm_container *c, const struct sm_guest_container *g,
		       struct sm_err *err)
{
	Supermachine__Sandbox__V1__CreateRequest req =
		SUPERMACHINE__SANDBOX__V1__CREATE_REQUEST__INIT;
	Supermachine__Sandbox__V1__StdioFds stdio = SUPERMACHINE__SANDBOX__V1__STDIO_FDS__INIT;
	sm_auto_free Supermachine__Sandbox__V1__Export *msgs = calloc(g->nexports, sizeof(*msgs));
	sm_auto_free Supermachine__Sandbox__V1__Export **list = calloc(g->nexports, sizeof(*list));
	sm_auto_request struct sm_request_fds *fds = calloc(1, sizeof(*fds));
	int r;

	if (!msgs || !list || !fds)
		return sm_err_sys(err, -ENOMEM, "request");
	r = open_exports(g, msgs, hook_mounts(c), fds, err);
	if (r == 0) {
		for (size_t i = 0; i < g->nexports; i++)
			list[i] = &msgs[i];
		sm_request_stdio(c->rt, &c->pty, &stdio, fds);
		req.container = g->msg;
		req.exports = list;
		req.n_exports = g->nexports;
		req.stdio = &stdio;
		r = sm_session_call(c->session, "Create", &req.base, fds->fd, fds->n,
				    &supermachine__agent__v1__empty__descriptor, err);
	}
	sm_close(&c->pty.slave);
	return r;
}

/* The message borrows from the config and the state. */
static int guest_container(struct sm_container *c, struct sm_guest_container **g,
			   struct sm_err *err)
{
	sm_auto_free char *json = sm_ocistate_hook(c->state, SM_STATUS_CREATED, c->state->vmm.pid);
	const struct sm_guest_inputs in = {
		.id = c->store.id,
		.bundle = c->state->bundle,
		.hook_state = json ? sm_arena_strdup(c->state->arena, json) : NULL,
		.hostname = c->uts.host,
		.domainname = c->uts.domain,
		.filter = &c->filter,
		.new_session_keyring = !c->o->no_new_keyring,
		.notify = sm_notify_host() != NULL,
	};

	return in.hook_state ? sm_spec_container(c->config, &in, g, err)
			     : sm_err_sys(err, -ENOMEM, "state");
}

static int send_pidfd(const struct sm_container *c, struct sm_err *err)
{
	sm_auto_close int sock = -1;
	int r;

	if (!c->o->pidfd_socket)
		return 0;
	r = sm_console_connect(c->o->pidfd_socket, &sock, err);
	return r < 0 ? r : sm_console_send(sock, c->launch.pidfd, "standard", err);
}

/* ---- make ----------------------------------------------------------------------------------- */

static int talk(struct sm_container *c, struct sm_err *err)
{
	struct sm_guest_container *g = NULL;
	int r = sm_session_new(sm_steal_fd(&c->launch.control), &c->session, err);

	log_step(c, "sm-vmm started");
	if (r == 0)
		r = run_create_hooks(c, err);
	if (r == 0)
		r = guest_container(c, &g, err);
	if (r == 0)
		r = send_create(c, g, err);
	if (r == 0)
		sm_view_attach(g, hook_mounts(c), c->launch.proc.pid);
	sm_mntns_close(&c->mounts);
	if (r == -ECONNRESET)
		sm_launch_explain(&c->launch, &c->store, err);
	sm_guest_container_free(g);
	if (r < 0)
		return sm_err_wrap(err, "unable to start container process");
	log_step(c, "container created");
	if (c->rt->debug)
		sm_session_log_times(c->session, c->launch.launched_ns);
	return send_pidfd(c, err);
}

/* The host must have what the config names before anything is made for it. */
static int check_host(struct sm_container *c, struct sm_err *err)
{
	sm_auto_free char *kept = sm_kept_dir();
	struct sm_guest_container *g = NULL;
	int r = sm_filter_get(kept, c->config->seccomp, &c->filter, err);

	if (r == 0)
		r = guest_container(c, &g, err);
	sm_guest_container_free(g);
	return r;
}

/* The backend and, since that has a say in it, how big the VM is. */
static int choose_backend(struct sm_container *c, struct sm_vm_size *size, struct sm_err *err)
{
	struct sm_backend_wish wish;
	struct sm_vm_defaults defaults;
	int r = sm_backend_wish(c->settings, c->config, &wish, err);

	if (r == 0)
		r = sm_backend_choose(c->settings, &wish, &c->backend, err);
	if (r < 0)
		return r;
	log_step(c, "backend chosen");
	sm_backend_defaults(c->settings, &c->backend, &defaults);
	return sm_config_vm_size(c->config, &defaults, size, err);
}

static int make(struct sm_container *c, const char *id, struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(SM_JSON_LEN_MAX);
	struct sm_vm_size size;
	int r = load_config(c, &text, err);

	if (r < 0 || (r = check_console(c, err)) < 0 || (r = check_descriptors(c, err)) < 0 ||
	    (r = check_lsm(c, err)) < 0 ||
	    (r = sm_nspath_look(c->config, c->rt->root, &c->uts, err)) < 0 ||
	    (r = sm_settings_load(&c->settings, err)) < 0)
		return r;
	if ((r = choose_backend(c, &size, err)) < 0 ||
	    (r = store_container(c, id, &text, err)) < 0 || (r = check_host(c, err)) < 0 ||
	    (r = make_cgroups(c, &size, err)) < 0 || (r = make_terminal(c, err)) < 0 ||
	    (r = launch(c, &size, err)) < 0 || (r = talk(c, err)) < 0)
		return r;
	c->state->status = SM_STATUS_CREATED;
	if (!c->starts)
		c->state->creator = (struct sm_proc_id){ 0, 0 };
	return sm_store_save(&c->store, c->state, err);
}

/* A path from before the working directory became the bundle. */
static int absolute(const char **path, char **owned, struct sm_err *err)
{
	char cwd[PATH_MAX];

	if (!*path || **path == '/')
		return 0;
	if (!getcwd(cwd, sizeof(cwd)))
		return sm_err_sys(err, errno, "working directory");
	*owned = sm_strf("%s/%s", cwd, *path);
	if (!*owned)
		return sm_err_sys(err, -ENOMEM, "%s", *path);
	*path = *owned;
	return 0;
}

int sm_container_make(struct sm_container *c, const char *id, struct sm_err *err)
{
	struct sm_make_options *o = c->o;
	int r = sm_store_check_id(id, err);

	if (r < 0 || (r = absolute(&o->pid_file, &c->paths[0], err)) < 0 ||
	    (r = absolute(&o->console_socket, &c->paths[1], err)) < 0 ||
	    (r = absolute(&o->pidfd_socket, &c->paths[2], err)) < 0)
		return r;
	if (o->bundle && chdir(o->bundle) < 0)
		return sm_err_sys(err, errno, "chdir %s", o->bundle);
	r = make(c, id, err);
	if (r < 0)
		sm_container_undo(c);
	return r;
}

void sm_container_undo(struct sm_container *c)
{
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	sm_session_free(&c->session);
	sm_launch_kill(&c->launch);
	sm_pty_close(&c->pty);
	sm_tty_restore(&c->tty);
	if (!c->stored)
		return;
	if (sm_container_destroy(&c->store, c->state, c->hooked ? c->config : NULL, &err) < 0)
		sm_debug("rollback: %s", sm_err_text(&err));
	c->stored = false;
}

void sm_container_free(struct sm_container *c)
{
	sm_tty_restore(&c->tty);
	sm_session_free(&c->session);
	sm_launch_release(&c->launch);
	sm_mntns_close(&c->mounts);
	sm_pty_close(&c->pty);
	sm_state_free(&c->state);
	free(c->filter.bpf);
	sm_config_free(c->config);
	sm_settings_free(&c->settings);
	sm_store_close(&c->store);
	for (size_t i = 0; i < SM_ARRAY_SIZE(c->paths); i++)
		free(c->paths[i]);
}

/* ---- start ---------------------------------------------------------------------------------- */

int sm_container_started(const struct sm_store *s, struct sm_state *state,
			 const struct sm_config *config, struct sm_err *err)
{
	sm_auto_err struct sm_err ignored = SM_ERR_INIT;
	int r;

	state->status = SM_STATUS_RUNNING;
	state->creator = (struct sm_proc_id){ 0, 0 };
	r = sm_store_save(s, state, err);
	if (r == 0)
		r = run_hooks(&config->hooks.poststart, state, SM_STATUS_RUNNING,
			      (struct sm_hook_run){ .cwd = state->bundle, .abort_fd = -1 }, err);
	if (r < 0)
		sm_container_kill_vmm(state, &ignored);
	return r;
}

int sm_container_start(struct sm_container *c, struct sm_err *err)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;
	int r;

	req.id = c->store.id;
	r = sm_session_call(c->session, "Start", &req.base, NULL, 0,
			    &supermachine__agent__v1__empty__descriptor, err);
	if (r == -ECONNRESET)
		sm_launch_explain(&c->launch, &c->store, err);
	if (r < 0)
		return sm_err_wrap(err, "unable to start container process");
	if (c->rt->debug)
		sm_session_log_times(c->session, c->launch.launched_ns);
	return sm_container_started(&c->store, c->state, c->config, err);
}

int sm_container_write_pid(const struct sm_container *c, struct sm_err *err)
{
	return c->o->pid_file ? sm_pidfile_write(c->o->pid_file, c->launch.proc.pid, err) : 0;
}

/* ---- the end -------------------------------------------------------------------------------- */

#define KILL_MS 10000

int sm_container_kill_vmm(const struct sm_state *state, struct sm_err *err)
{
	sm_auto_close int fd = sm_proc_open(&state->vmm);
	int r;

	if (fd < 0)
		return 0;
	syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	r = sm_proc_wait_end(fd, KILL_MS);
	return r < 0 ? sm_err_sys(err, r, "sm-vmm (pid %d) does not end", (int)state->vmm.pid) : 0;
}

int sm_container_destroy(struct sm_store *s, const struct sm_state *state,
			 const struct sm_config *config, struct sm_err *err)
{
	int r = state ? sm_cgroup_remove(&state->cgroups, s->dirfd, err) : 0;

	if (r == 0)
		r = sm_store_remove(s, err);
	if (r == 0 && state && config)
		run_poststop(state, config);
	return r;
}
