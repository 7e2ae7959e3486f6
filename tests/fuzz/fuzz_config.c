/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"
#include "spec/cgroup.h"
#include "spec/config.h"
#include "spec/guest.h"
#include "spec/seccomp.h"

/* Any bytes as either of the documents; what is accepted goes through the translations that do not
 * look at the host. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void translate(const struct sm_config *c)
{
	struct sm_arena *arena = sm_arena_new(16u << 20);
	const struct sm_vm_defaults defaults = { { 4, 2048 }, 4 };
	Supermachine__Agent__V1__Process *process;
	struct sm_vm_size size;
	struct sm_pairs files;
	const char *path;

	if (!arena)
		abort();
	sm_config_netns(c, &path);
	if (c->resources) {
		sm_config_vm_size(c, &defaults, &size, NULL);
		sm_cgroup_files(c->resources, SM_CGROUP_GUEST, 0, arena, &files, NULL);
		sm_cgroup_files(c->resources, SM_CGROUP_HOST, 1 << 20, arena, &files, NULL);
	}
	if (c->process) {
		const struct sm_guest_process_inputs in = { .process = c->process,
							    .seccomp = c->seccomp,
							    .exec = true };

		if (!sm_spec_process(&in, arena, &process, NULL) &&
		    !protobuf_c_message_check(&process->base))
			abort();
	}
	sm_arena_free(arena);
}

typedef int parse_fn(const char *name, const char *text, size_t len, struct sm_config **config,
		     struct sm_err *err);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static parse_fn *const parsers[] = { sm_config_parse, sm_process_parse };

	for (size_t i = 0; i < sizeof(parsers) / sizeof(*parsers); i++) {
		struct sm_err err = SM_ERR_INIT;
		struct sm_config *c;

		if (!parsers[i]("config.json", (const char *)data, len, &c, &err)) {
			translate(c);
			sm_config_free(c);
		} else if (!err.code || !err.msg) {
			abort();	/* refused without a reason */
		}
		sm_err_clear(&err);
	}
	return 0;
}
