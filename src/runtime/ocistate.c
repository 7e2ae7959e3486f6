/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ocistate.h"

#include <string.h>

#include "runtime/runtime.h"

void sm_ocistate_show(struct sm_jsonout *j, const struct sm_state *state, const char *owner)
{
	enum sm_status status = sm_state_status(state);

	sm_jsonout_open(j);
	sm_jsonout_string(j, "ociVersion", SM_OCI_VERSION);
	sm_jsonout_string(j, "id", state->id);
	sm_jsonout_number(j, "pid", status == SM_STATUS_STOPPED ? 0 : state->vmm.pid);
	sm_jsonout_string(j, "status", sm_status_name(status));
	sm_jsonout_string(j, "bundle", state->bundle);
	sm_jsonout_string(j, "rootfs", state->rootfs);
	sm_jsonout_string(j, "created", state->created);
	if (state->annotations.n)
		sm_jsonout_pairs(j, "annotations", &state->annotations);
	sm_jsonout_string(j, "owner", owner);
	sm_jsonout_close(j);
}

char *sm_ocistate_hook(const struct sm_state *state, enum sm_status status, pid_t pid)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;

	sm_jsonout_open(j);
	sm_jsonout_string(j, "ociVersion", SM_OCI_VERSION);
	sm_jsonout_string(j, "id", state->id);
	sm_jsonout_string(j, "status", sm_status_name(status));
	if (pid)
		sm_jsonout_number(j, "pid", pid);
	sm_jsonout_string(j, "bundle", state->bundle);
	if (state->annotations.n)
		sm_jsonout_pairs(j, "annotations", &state->annotations);
	sm_jsonout_close(j);
	return sm_jsonout_text(j, &text, &len) < 0 ? NULL : strndup(text, len);
}
