/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/log.h"
#include "runtime/runtime.h"
#include "runtime/store.h"
#include "runtime/vmm.h"

#define ANSWER_MS 5000
#define SIGNAL_MAX 64

/* A number is not looked at any further here: who gets the signal says what is wrong with it. */
static int parse_signal(const char *text, int *signo, struct sm_err *err)
{
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (*text && !*end && !isspace((unsigned char)*text)) {
		*signo = errno || n < 0 || n > SIGNAL_MAX ? -1 : (int)n;
		return 0;
	}
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *known = sigabbrev_np(i);

		if (known && !strcasecmp(known, name)) {
			*signo = i;
			return 0;
		}
	}
	return sm_err_set(err, -EINVAL, "unknown signal \"%s\"", text);
}

static int not_running(struct sm_err *err)
{
	return sm_err_set(err, -ESRCH, "container not running");
}

/* What the VM would not do, the host does: SIGKILL always ends a container. */
static int kill_vmm(const struct sm_state *state, struct sm_err *err)
{
	sm_auto_close int fd = sm_proc_open(&state->vmm);

	if (fd < 0)
		return not_running(err);
	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0)
		return sm_err_sys(err, errno, "unable to signal init");
	return 0;
}

static int send_signal(const struct sm_store *s, const struct sm_state *state, int signo, bool all,
		       struct sm_err *err)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	int r;

	if (signo < 0)
		return sm_err_set(err, -EINVAL, "unable to signal init: invalid argument");
	if (signo == 0)
		return 0;
	r = sm_vmm_connect(s->dirfd, ANSWER_MS, &vmm, err);
	if (r == 0)
		r = sm_vmm_signal(&vmm, s->id, signo, all, err);
	if (r == 0)
		return 0;
	if (!sm_proc_alive(&state->vmm) || r == -ENOENT)
		return not_running(err);
	if (signo == SIGKILL) {
		sm_debug("kill: the VM did not take SIGKILL (%s): ending sm-vmm", sm_err_text(err));
		return kill_vmm(state, err);
	}
	return sm_err_wrap(err, "unable to signal init");
}

static int run(struct sm_runtime *rt, const struct sm_command *cmd, int argc, char **argv,
	       struct sm_err *err)
{
	bool all = false;
	const struct sm_opt opts[] = {
		{ "all", 'a', SM_OPT_BOOL, &all, NULL, "signal every process of the container" },
		{ NULL },
	};
	sm_auto_args struct sm_args args = { NULL, 0 };
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_state struct sm_state *state = NULL;
	enum sm_status status;
	int signo = SIGTERM;
	int r = sm_cli_parse(rt, cmd, opts, argc, argv, &args, err);

	if (r)
		return r < 0 ? r : 0;
	r = sm_store_find(rt->root, args.v[0], &s, &state, err);
	if (r == 0 && args.n > 1 && *args.v[1])
		r = parse_signal(args.v[1], &signo, err);
	if (r < 0)
		return r;
	status = sm_state_status(state);
	if (status == SM_STATUS_STOPPED || status == SM_STATUS_CREATING)
		return all && status == SM_STATUS_STOPPED ? 0 : not_running(err);
	r = send_signal(&s, state, signo, all, err);
	return r == -ESRCH && all ? 0 : r;
}

const struct sm_command sm_cmd_kill = {
	.name = "kill",
	.args = "<container-id> [signal]",
	.summary = "send a signal (default: SIGTERM) to the container's first process",
	.text = "   The signal is a number or a name, with or without SIG. SIGKILL ends the\n"
		"   container even if its VM does not answer any more.\n",
	.min = 1,
	.max = 2,
	.stop_at = 1,
	.failed = 1,
	.run = run,
};
