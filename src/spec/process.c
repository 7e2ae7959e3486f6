/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/ioprio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "spec/guest.h"
#include "spec/seccomp.h"
#include "spec/validate.h"

/* The process object as the agent's message. Strings are borrowed from the config. */

#define DEFAULT_UMASK  0022
#define GUEST_CPUS_MAX 1024
#define GUEST_NR_OPEN  (1 << 20) /* the guest kernel's fs.nr_open */

/* ---- environment: of equal names the last one counts ----------------------------------------- */

struct variable {
	const char *text;
	size_t name_len;
	size_t index;
};

static int by_name(const void *a_, const void *b_)
{
	const struct variable *a = a_;
	const struct variable *b = b_;
	size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = memcmp(a->text, b->text, len);

	if (!order && a->name_len != b->name_len)
		order = a->name_len < b->name_len ? -1 : 1;
	if (!order)
		order = a->index < b->index ? -1 : 1;
	return order;
}

static bool same_name(const struct variable *a, const struct variable *b)
{
	return a->name_len == b->name_len && !memcmp(a->text, b->text, a->name_len);
}

static int put_env(struct sm_arena *arena, const struct sm_strs *env,
		   Supermachine__Agent__V1__Process *msg)
{
	struct variable *v = sm_arena_array(arena, env->n + 1, sizeof(*v));
	bool *drop = sm_arena_array(arena, env->n + 1, sizeof(*drop));

	msg->env = sm_arena_array(arena, env->n + 1, sizeof(*msg->env));
	if (!v || !drop || !msg->env)
		return -ENOMEM;
	for (size_t i = 0; i < env->n; i++)
		v[i] = (struct variable){ env->v[i], strcspn(env->v[i], "="), i };
	qsort(v, env->n, sizeof(*v), by_name);
	for (size_t i = 0; i + 1 < env->n; i++)
		drop[v[i].index] = same_name(&v[i], &v[i + 1]);
	for (size_t i = 0; i < env->n; i++)
		if (!drop[i])
			msg->env[msg->n_env++] = (char *)env->v[i];
	return 0;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int put_user(struct sm_arena *arena, const struct sm_user *user,
		    Supermachine__Agent__V1__Process *msg)
{
	const struct sm_u32s *gids = &user->additional_gids;
	size_t n = 0;

	msg->uid = (uint32_t)user->uid.v;
	msg->gid = (uint32_t)user->gid.v;
	msg->umask = user->umask.set ? (uint32_t)user->umask.v : DEFAULT_UMASK;
	msg->additional_gids = sm_arena_array(arena, gids->n + 1, sizeof(*msg->additional_gids));
	if (!msg->additional_gids)
		return -ENOMEM;
	if (gids->n) {
		memcpy(msg->additional_gids, gids->v, gids->n * sizeof(*gids->v));
		qsort(msg->additional_gids, gids->n, sizeof(*gids->v), by_value);
	}
	for (size_t i = 0; i < gids->n; i++) /* each once, as runc does */
		if (i == 0 || msg->additional_gids[i] != msg->additional_gids[n - 1])
			msg->additional_gids[n++] = msg->additional_gids[i];
	msg->n_additional_gids = n;
	return 0;
}

/* The kernel raises an ambient capability only if it is permitted and inheritable; runc drops the
 * others without a word, and its own default config has such. */
static int put_caps(struct sm_arena *arena, const struct sm_caps *caps,
		    Supermachine__Agent__V1__Process *msg)
{
	Supermachine__Agent__V1__Capabilities *out;

	if (!caps)
		return 0;
	out = sm_arena_alloc(arena, sizeof(*out));
	if (!out)
		return -ENOMEM;
	supermachine__agent__v1__capabilities__init(out);
	out->bounding = sm_caps_mask(&caps->bounding, NULL);
	out->effective = sm_caps_mask(&caps->effective, NULL);
	out->inheritable = sm_caps_mask(&caps->inheritable, NULL);
	out->permitted = sm_caps_mask(&caps->permitted, NULL);
	out->ambient = sm_caps_mask(&caps->ambient, NULL) & out->permitted & out->inheritable;
	msg->capabilities = out;
	return 0;
}

static bool has_rlimit(const struct sm_process *p, unsigned int resource)
{
	for (size_t i = 0; i < p->rlimits.n; i++)
		if (p->rlimits.v[i].type.v == resource)
			return true;
	return false;
}

/* Those that the process does not name are the caller's, as with runc, where they are inherited: of
 * these the guest kernel takes no more open files than its fs.nr_open. */
static void inherit_rlimits(const struct sm_process *p, Supermachine__Agent__V1__Rlimit *v,
			    Supermachine__Agent__V1__Process *msg)
{
	for (unsigned int i = 0; i < RLIM_NLIMITS; i++) {
		Supermachine__Agent__V1__Rlimit *l = &v[msg->n_rlimits];
		struct rlimit lim;

		if (has_rlimit(p, i) || getrlimit((enum __rlimit_resource)i, &lim) < 0)
			continue;
		supermachine__agent__v1__rlimit__init(l);
		l->resource = i;
		l->soft = lim.rlim_cur;
		l->hard = lim.rlim_max;
		if (i == RLIMIT_NOFILE && l->hard > GUEST_NR_OPEN)
			l->hard = GUEST_NR_OPEN;
		if (l->soft > l->hard)
			l->soft = l->hard;
		msg->rlimits[msg->n_rlimits++] = l;
	}
}

static int put_rlimits(struct sm_arena *arena, const struct sm_process *p,
		       Supermachine__Agent__V1__Process *msg)
{
	size_t n = p->rlimits.n + RLIM_NLIMITS;
	Supermachine__Agent__V1__Rlimit *v = sm_arena_array(arena, n, sizeof(*v));

	msg->rlimits = sm_arena_array(arena, n, sizeof(*msg->rlimits));
	if (!v || !msg->rlimits)
		return -ENOMEM;
	for (size_t i = 0; i < p->rlimits.n; i++) {
		supermachine__agent__v1__rlimit__init(&v[i]);
		v[i].resource = (uint32_t)p->rlimits.v[i].type.v;
		v[i].soft = p->rlimits.v[i].soft.v;
		v[i].hard = p->rlimits.v[i].hard.v;
		msg->rlimits[i] = &v[i];
	}
	msg->n_rlimits = p->rlimits.n;
	inherit_rlimits(p, v, msg);
	return 0;
}

static int put_oom(struct sm_arena *arena, const struct sm_i64 *adj,
		   Supermachine__Agent__V1__Process *msg)
{
	if (!adj->set)
		return 0;
	msg->oom_score_adj = sm_arena_alloc(arena, sizeof(*msg->oom_score_adj));
	if (!msg->oom_score_adj)
		return -ENOMEM;
	supermachine__agent__v1__oom_score_adj__init(msg->oom_score_adj);
	msg->oom_score_adj->value = (int32_t)adj->v;
	return 0;
}

static int put_scheduler(struct sm_arena *arena, const struct sm_scheduler *s,
			 Supermachine__Agent__V1__Process *msg)
{
	Supermachine__Agent__V1__Scheduler *out;

	if (!s)
		return 0;
	out = sm_arena_alloc(arena, sizeof(*out));
	if (!out)
		return -ENOMEM;
	supermachine__agent__v1__scheduler__init(out);
	out->policy = (uint32_t)s->policy.v;
	out->nice = (int32_t)s->nice.v;
	out->priority = (uint32_t)s->priority.v;
	out->flags = s->flags.v;
	out->runtime = s->runtime.v;
	out->deadline = s->deadline.v;
	out->period = s->period.v;
	msg->scheduler = out;
	return 0;
}

static int put_filter(struct sm_arena *arena, const struct sm_seccomp_filter *filter,
		      Supermachine__Agent__V1__Process *msg)
{
	if (!filter->bpf)
		return 0;
	msg->seccomp = sm_arena_alloc(arena, sizeof(*msg->seccomp));
	if (msg->seccomp) {
		supermachine__agent__v1__seccomp__init(msg->seccomp);
		msg->seccomp->bpf.data =
			(uint8_t *)sm_arena_strndup(arena, (char *)filter->bpf, filter->len);
		msg->seccomp->bpf.len = filter->len;
		msg->seccomp->flags = filter->flags;
	}
	return msg->seccomp && msg->seccomp->bpf.data ? 0 : -ENOMEM;
}

static int put_seccomp(struct sm_arena *arena, const struct sm_guest_process_inputs *in,
		       Supermachine__Agent__V1__Process *msg, struct sm_err *err)
{
	struct sm_seccomp_filter made = { NULL };
	int rc = in->filter ? 0 : sm_seccomp_compile(in->seccomp, &made, err);

	if (!rc)
		rc = put_filter(arena, in->filter ? in->filter : &made, msg);
	free(made.bpf);
	return rc;
}

static void add_cpu(uint32_t cpu, void *arg)
{
	Supermachine__Agent__V1__Process *msg = arg;

	for (size_t i = 0; i < msg->n_cpu_affinity; i++)
		if (msg->cpu_affinity[i] == cpu)
			return;
	msg->cpu_affinity[msg->n_cpu_affinity++] = cpu;
}

/* `initial` is about the time before the process enters its cgroup, of which there is none here: it
 * counts where `final` is not given. */
static int put_affinity(struct sm_arena *arena, const struct sm_cpu_affinity *a,
			Supermachine__Agent__V1__Process *msg)
{
	const char *list = a ? a->final : NULL;

	if (a && (!list || !list[0]))
		list = a->initial;
	if (!list || !list[0])
		return 0;
	msg->cpu_affinity = sm_arena_array(arena, GUEST_CPUS_MAX, sizeof(uint32_t));
	if (!msg->cpu_affinity)
		return -ENOMEM;
	sm_check_cpu_list(list, GUEST_CPUS_MAX, add_cpu, msg);
	return 0;
}

static int put_process(const struct sm_guest_process_inputs *in, struct sm_arena *arena,
		       Supermachine__Agent__V1__Process *msg)
{
	const struct sm_process *p = in->process;
	int rc;

	msg->args = (char **)p->args.v;
	msg->n_args = p->args.n;
	msg->cwd = (char *)p->cwd;
	msg->no_new_privileges = p->no_new_privileges;
	msg->new_session_keyring = in->new_session_keyring;
	if (p->io_priority)
		msg->io_priority = (uint32_t)IOPRIO_PRIO_VALUE(p->io_priority->class.v,
							       p->io_priority->priority.v);
	rc = put_user(arena, &p->user, msg);
	if (!rc)
		rc = put_env(arena, &p->env, msg);
	if (!rc)
		rc = put_caps(arena, p->capabilities, msg);
	if (!rc)
		rc = put_rlimits(arena, p, msg);
	if (!rc)
		rc = put_oom(arena, &p->oom_score_adj, msg);
	if (!rc)
		rc = put_scheduler(arena, p->scheduler, msg);
	if (!rc && in->exec)
		rc = put_affinity(arena, p->exec_cpu_affinity, msg);
	return rc;
}

int sm_spec_process(const struct sm_guest_process_inputs *in, struct sm_arena *arena,
		    Supermachine__Agent__V1__Process **out, struct sm_err *err)
{
	Supermachine__Agent__V1__Process *msg = sm_arena_alloc(arena, sizeof(*msg));
	int rc = msg ? 0 : -ENOMEM;

	if (!rc) {
		supermachine__agent__v1__process__init(msg);
		rc = put_process(in, arena, msg);
	}
	if (rc)
		return sm_err_sys(err, rc, "process");
	rc = put_seccomp(arena, in, msg, err);
	if (rc)
		return rc == -ENOMEM ? sm_err_sys(err, rc, "linux.seccomp") : rc;
	*out = msg;
	return 0;
}
