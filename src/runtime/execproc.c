/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/execproc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/container.h"
#include "runtime/filter.h"
#include "runtime/kept.h"
#include "spec/guest.h"

#define ARENA_MAX (16u << 20)
#define START	  "unable to start container process: "

static int refuse(const struct sm_exec_options *o, struct sm_err *err)
{
	const struct {
		bool given;
		const char *option, *why;
	} refused[] = {
		{ o->process_label && *o->process_label, "--process-label",
		  "the guest kernel has no SELinux" },
		{ o->apparmor && *o->apparmor, "--apparmor", "the guest kernel has no AppArmor" },
		{ o->cgroup && *o->cgroup && strcmp(o->cgroup, "/") != 0, "--cgroup",
		  "a container has one cgroup in its VM" },
		{ o->preserve_fds != 0, "--preserve-fds",
		  "must be 0: descriptors other than standard input, output and error do not cross "
		  "into a VM" },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(refused); i++)
		if (refused[i].given)
			return sm_err_set(err, -EINVAL, "%s: %s", refused[i].option,
					  refused[i].why);
	return 0;
}

/* What strconv.Atoi takes, within an id's range. runc's texts. */
static int parse_id(const char *text, size_t len, const char *what, uint64_t *id,
		    struct sm_err *err)
{
	uint64_t v = 0;
	size_t i = 0;

	while (i < len && text[i] >= '0' && text[i] <= '9' && v <= UINT32_MAX)
		v = v * 10 + (uint64_t)(text[i++] - '0');
	if (!len || (i < len && v <= UINT32_MAX))
		return sm_err_set(
			err, -EINVAL,
			"parsing %.*s as int for %s failed: strconv.Atoi: parsing \"%.*s\": "
			"invalid syntax",
			(int)len, text, what, (int)len, text);
	if (v > UINT32_MAX - 1)
		return sm_err_set(
			err, -ERANGE,
			"parsing %.*s as int for %s failed: strconv.Atoi: parsing \"%.*s\": "
			"value out of range",
			(int)len, text, what, (int)len, text);
	*id = v;
	return 0;
}

static int set_user(const char *text, struct sm_user *user, struct sm_err *err)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	int r = 0;

	if (colon)
		r = parse_id(colon + 1, strlen(colon + 1), "gid", &user->gid.v, err);
	if (r == 0)
		r = parse_id(text, len, "uid", &user->uid.v, err);
	user->uid.set = true;
	user->gid.set |= colon != NULL;
	return r;
}

static int set_gids(struct sm_arena *arena, const struct sm_opt_list *list, struct sm_user *user,
		    struct sm_err *err)
{
	uint32_t *v = sm_arena_array(arena, user->additional_gids.n + list->n + 1, sizeof(*v));
	size_t n = user->additional_gids.n;

	if (!v)
		return sm_err_sys(err, -ENOMEM, "--additional-gids");
	if (n)
		memcpy(v, user->additional_gids.v, n * sizeof(*v));
	for (size_t i = 0; i < list->n; i++) {
		uint64_t id = 0;
		int r = parse_id(list->v[i], strlen(list->v[i]), "gid", &id, err);

		if (r < 0)
			return r;
		v[n++] = (uint32_t)id;
	}
	user->additional_gids = (struct sm_u32s){ v, n };
	return 0;
}

/* a and then b */
static int append(struct sm_arena *arena, struct sm_strs *a, const char *const *b, size_t n)
{
	const char **v = sm_arena_array(arena, a->n + n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < a->n; i++)
		v[i] = a->v[i];
	for (size_t i = 0; i < n; i++)
		v[a->n + i] = b[i];
	*a = (struct sm_strs){ v, a->n + n };
	return 0;
}

/* runc adds to bounding, effective and permitted, and to ambient only what can be inherited. */
static int add_caps(struct sm_arena *arena, const struct sm_opt_list *list, struct sm_process *p,
		    struct sm_err *err)
{
	struct sm_caps *caps = sm_arena_alloc(arena, sizeof(*caps));
	int r = caps ? 0 : -ENOMEM;

	if (r == 0 && p->capabilities)
		*caps = *p->capabilities;
	if (r == 0)
		r = append(arena, &caps->bounding, list->v, list->n);
	if (r == 0)
		r = append(arena, &caps->effective, list->v, list->n);
	if (r == 0)
		r = append(arena, &caps->permitted, list->v, list->n);
	if (r == 0 && caps->inheritable.n)
		r = append(arena, &caps->ambient, list->v, list->n);
	p->capabilities = caps;
	return r < 0 ? sm_err_sys(err, r, "--cap") : 0;
}

static int read_process(struct sm_exec_process *p, const struct sm_exec_options *o,
			struct sm_process *process, struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(SM_JSON_LEN_MAX);
	int r = sm_read_file_at(AT_FDCWD, o->process, &text);

	if (r < 0)
		return sm_err_sys(err, r, "open %s", o->process);
	r = sm_process_parse(o->process, text.data ? (const char *)text.data : "", text.len,
			     &p->given, err);
	if (r == 0)
		*process = *p->given->process;
	if (r == 0 && o->tty)	/* conmon says it here and not in the file */
		process->terminal = true;
	return r;
}

/* runc's texts */
static int check_env(const struct sm_opt_list *env, struct sm_err *err)
{
	for (size_t i = 0; i < env->n; i++) {
		const char *equals = strchr(env->v[i], '=');

		if (!equals)
			return sm_err_set(err, -EINVAL, START "invalid environment variable: \"%s\"",
					  env->v[i]);
		if (equals == env->v[i])
			return sm_err_set(err, -EINVAL,
					  START "environment variable name can't be empty: \"%s\"",
					  env->v[i]);
	}
	return 0;
}

/* The container's own process with another command, and what the options change. */
static int derive_process(struct sm_exec_process *p, const struct sm_exec_options *o, char **args,
			  size_t nargs, struct sm_process *process, struct sm_err *err)
{
	struct sm_arena *arena = p->arena;
	int r = 0;

	*process = *p->container->process;
	process->args = (struct sm_strs){ NULL, 0 };
	process->terminal = o->tty;
	process->console_size = NULL;
	if (!nargs)
		return sm_err_set(err, -EINVAL, "process args cannot be empty");
	if (append(arena, &process->args, (const char *const *)args, nargs) < 0 ||
	    append(arena, &process->env, o->env.v, o->env.n) < 0)
		return sm_err_sys(err, -ENOMEM, "process");
	if (o->cwd && *o->cwd)
		process->cwd = o->cwd;
	if (o->no_new_privs)
		process->no_new_privileges = true;
	r = check_env(&o->env, err);
	if (r == 0 && o->user && *o->user)
		r = set_user(o->user, &process->user, err);
	if (r == 0 && o->gids.n)
		r = set_gids(arena, &o->gids, &process->user, err);
	if (r == 0 && o->caps.n)
		r = add_caps(arena, &o->caps, process, err);
	if (r == 0 && process->cwd[0] != '/')
		r = sm_err_set(err, -EINVAL, "Cwd must be an absolute path");
	return r;
}

static int finish(struct sm_exec_process *p, struct sm_guest_process_inputs *in, struct sm_err *err)
{
	sm_auto_free char *kept = sm_kept_dir();
	struct sm_seccomp_filter filter;
	int r = sm_filter_get(kept, p->container->seccomp, &filter, err);

	in->seccomp = p->container->seccomp;
	in->filter = &filter;
	if (r == 0)
		r = sm_spec_process(in, p->arena, &p->msg, err);
	free(filter.bpf);
	return r;
}

static int make(struct sm_exec_process *p, const struct sm_store *s,
		const struct sm_exec_options *o, char **args, size_t nargs, struct sm_err *err)
{
	struct sm_process process;
	struct sm_guest_process_inputs in = { .process = &process, .exec = true };
	int r = refuse(o, err);

	p->arena = sm_arena_new(ARENA_MAX);
	if (r == 0 && !p->arena)
		r = sm_err_sys(err, -ENOMEM, "process");
	if (r == 0)
		r = sm_container_config(s, &p->container, err);
	if (r == 0)
		r = o->process ? read_process(p, o, &process, err) :
				 derive_process(p, o, args, nargs, &process, err);
	if (r < 0)
		return r;
	p->terminal = process.terminal;
	if (process.terminal && process.console_size) {
		p->rows = (unsigned int)process.console_size->height.v;
		p->cols = (unsigned int)process.console_size->width.v;
	}
	return finish(p, &in, err);
}

int sm_exec_process_make(const struct sm_store *s, const struct sm_exec_options *o, char **args,
			 size_t nargs, struct sm_exec_process **out, struct sm_err *err)
{
	struct sm_exec_process *p = calloc(1, sizeof(*p));
	int r = p ? make(p, s, o, args, nargs, err) : sm_err_sys(err, -ENOMEM, "process");

	if (r < 0)
		sm_exec_process_free(&p);
	else
		*out = p;
	return r;
}

void sm_exec_process_free(struct sm_exec_process **p)
{
	if (!*p)
		return;
	sm_arena_free((*p)->arena);
	sm_config_free((*p)->container);
	sm_config_free((*p)->given);
	free(*p);
	*p = NULL;
}
