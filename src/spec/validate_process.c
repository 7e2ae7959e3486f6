/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <string.h>

#include "base/clean.h"
#include "spec/validate.h"

/* The rules of the process object, of config.json or alone. */

#define PROCESS       "config.md#process"
#define LINUX_PROCESS "config.md#linux-process"
#define POSIX_PROCESS "config.md#posix-process"
#define USER          "config.md#posix-platform-user"

#define GUEST_CPUS_MAX 1024

static bool cwd_empty(const struct sm_config *c)
{
	return !c->process->cwd || !c->process->cwd[0];
}

static bool cwd_relative(const struct sm_config *c)
{
	return c->process->cwd[0] != '/';
}

static bool args_empty(const struct sm_config *c)
{
	return !c->process->args.n;
}

static bool uid_none(const struct sm_config *c)
{
	return c->process->user.uid.v == UINT32_MAX;
}

static bool gid_none(const struct sm_config *c)
{
	return c->process->user.gid.v == UINT32_MAX;
}

static bool umask_big(const struct sm_config *c)
{
	return c->process->user.umask.v > 0777;
}

static bool oom_range(const struct sm_config *c)
{
	int64_t v = c->process->oom_score_adj.v;

	return v < -1000 || v > 1000;
}

static bool affinity_bad(const char *list)
{
	return list && list[0] && !sm_check_cpu_list(list, GUEST_CPUS_MAX, NULL, NULL);
}

static bool affinity_initial(const struct sm_config *c)
{
	return c->process->exec_cpu_affinity &&
	       affinity_bad(c->process->exec_cpu_affinity->initial);
}

static bool affinity_final(const struct sm_config *c)
{
	return c->process->exec_cpu_affinity && affinity_bad(c->process->exec_cpu_affinity->final);
}

static const struct sm_io_priority *io_priority(const struct sm_config *c)
{
	return c->process->io_priority;
}

static bool io_no_class(const struct sm_config *c)
{
	return io_priority(c) && !io_priority(c)->class.set;
}

static bool io_range(const struct sm_config *c)
{
	return io_priority(c) && (io_priority(c)->priority.v < 0 || io_priority(c)->priority.v > 7);
}

static const struct sm_scheduler *scheduler(const struct sm_config *c)
{
	return c->process->scheduler;
}

static bool scheduler_is(const struct sm_config *c, uint64_t a, uint64_t b)
{
	return scheduler(c)->policy.v == a || scheduler(c)->policy.v == b;
}

static bool no_policy(const struct sm_config *c)
{
	return scheduler(c) && !scheduler(c)->policy.set;
}

static bool policy_iso(const struct sm_config *c)
{
	return scheduler(c) && scheduler_is(c, 4, 4);
}

static bool nice_range(const struct sm_config *c)
{
	return scheduler(c) && scheduler_is(c, SCHED_OTHER, SCHED_BATCH) &&
	       (scheduler(c)->nice.v < -20 || scheduler(c)->nice.v > 19);
}

static bool priority_misplaced(const struct sm_config *c)
{
	return scheduler(c) && scheduler(c)->priority.v && !scheduler_is(c, SCHED_FIFO, SCHED_RR);
}

static bool priority_range(const struct sm_config *c)
{
	return scheduler(c) && scheduler_is(c, SCHED_FIFO, SCHED_RR) &&
	       (scheduler(c)->priority.v < 1 || scheduler(c)->priority.v > 99);
}

static bool deadline_misplaced(const struct sm_config *c)
{
	const struct sm_scheduler *s = scheduler(c);

	return s && !scheduler_is(c, 6, 6) && (s->runtime.v || s->deadline.v || s->period.v);
}

static const struct sm_rule rules[] = {
	{ "cwd", PROCESS, cwd_empty, "Cwd property must not be empty" },
	{ "cwd", PROCESS, cwd_relative, "Cwd must be an absolute path" },
	{ "args", PROCESS, args_empty, "args must not be empty" },
	{ "user.uid", USER, uid_none, "4294967295 is no user: it means \"unchanged\"" },
	{ "user.gid", USER, gid_none, "4294967295 is no group: it means \"unchanged\"" },
	{ "user.umask", USER, umask_big, "must be from 0 to 511 (octal 0777)" },
	{ "oomScoreAdj", LINUX_PROCESS, oom_range, "must be from -1000 to 1000" },
	{ "execCPUAffinity.initial", LINUX_PROCESS, affinity_initial,
	  "must be a list of CPU numbers and ranges, like 0-2,4" },
	{ "execCPUAffinity.final", LINUX_PROCESS, affinity_final,
	  "must be a list of CPU numbers and ranges, like 0-2,4" },
	{ "ioPriority.class", LINUX_PROCESS, io_no_class, "must not be empty" },
	{ "ioPriority.priority", LINUX_PROCESS, io_range, "must be from 0 to 7" },
	{ "scheduler.policy", LINUX_PROCESS, no_policy, "scheduler policy is required" },
	{ "scheduler.policy", LINUX_PROCESS, policy_iso, "SCHED_ISO is in no kernel" },
	{ "scheduler.nice", LINUX_PROCESS, nice_range, "must be from -20 to 19" },
	{ "scheduler.priority", LINUX_PROCESS, priority_misplaced,
	  "can only be specified for SCHED_FIFO or SCHED_RR" },
	{ "scheduler.priority", LINUX_PROCESS, priority_range,
	  "must be from 1 to 99 for SCHED_FIFO and SCHED_RR" },
	{ "scheduler", LINUX_PROCESS, deadline_misplaced,
	  "runtime, deadline and period can only be specified for SCHED_DEADLINE" },
	{ NULL }
};

static int check_env(struct sm_check *c)
{
	const struct sm_strs *env = &c->config->process->env;

	for (size_t i = 0; i < env->n; i++) {
		const char *equals = strchr(env->v[i], '=');

		if (!equals)
			return sm_check_bad(
				c, sm_check_at(c, "env[%zu]", i), PROCESS,
				"invalid environment variable: \"%.100s\" has no =", env->v[i]);
		if (equals == env->v[i])
			return sm_check_bad(c, sm_check_at(c, "env[%zu]", i), PROCESS,
					    "environment variable name can't be empty: \"%.100s\"",
					    env->v[i]);
	}
	return 0;
}

static int check_rlimits(struct sm_check *c)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < c->config->process->rlimits.n; i++) {
		const struct sm_rlimit *r = &c->config->process->rlimits.v[i];

		if (!r->type.set)
			return sm_check_bad(c, sm_check_at(c, "rlimits[%zu].type", i),
					    POSIX_PROCESS, "must not be empty");
		if (seen & 1ull << r->type.v)
			return sm_check_bad(c, sm_check_at(c, "rlimits[%zu].type", i),
					    POSIX_PROCESS, "%s is listed twice",
					    sm_word_name(sm_rlimit_words, r->type.v));
		if (r->soft.v > r->hard.v)
			return sm_check_bad(c, sm_check_at(c, "rlimits[%zu].soft", i),
					    POSIX_PROCESS, "must not be above hard");
		seen |= 1ull << r->type.v;
	}
	return 0;
}

static int check_cap_set(struct sm_check *c, const char *set, const struct sm_strs *names)
{
	uint64_t bit;
	int rc = 0;

	for (size_t i = 0; i < names->n && !rc; i++)
		if (sm_word_value(sm_capability_words, names->v[i], &bit))
			rc = sm_check_warn(c, sm_check_at(c, "capabilities.%s[%zu]", set, i),
					   LINUX_PROCESS, "unknown capability \"%.40s\", left out",
					   names->v[i]);
	return rc;
}

/* "Any value which cannot be mapped to a relevant kernel interface [...] MUST be logged as a
 * warning": so these are no errors. */
static int check_caps(struct sm_check *c)
{
	const struct sm_caps *caps = c->config->process->capabilities;
	int rc;

	if (!caps)
		return 0;
	rc = check_cap_set(c, "bounding", &caps->bounding);
	if (!rc)
		rc = check_cap_set(c, "effective", &caps->effective);
	if (!rc)
		rc = check_cap_set(c, "inheritable", &caps->inheritable);
	if (!rc)
		rc = check_cap_set(c, "permitted", &caps->permitted);
	return rc ? rc : check_cap_set(c, "ambient", &caps->ambient);
}

int sm_check_process(struct sm_check *check)
{
	int rc = sm_check_rules(check, rules);

	if (!rc)
		rc = check_env(check);
	if (!rc)
		rc = check_rlimits(check);
	return rc ? rc : check_caps(check);
}
