/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/stat and status as the agent reads them: a process chooses its name, which is in both.
 * The first byte is the level of the pid namespace; a zero byte divides the two files.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "guest/agent/ps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	Supermachine__Agent__V1__ProcessInfo p = SUPERMACHINE__AGENT__V1__PROCESS_INFO__INIT;
	const char *none = p.comm;
	sm_auto_free char *stat = NULL;
	const char *status;
	int r;

	if (!len)
		return 0;
	stat = calloc(1, len + 1);
	if (!stat)
		abort();
	memcpy(stat, data + 1, len - 1);
	status = strlen(stat) < len - 1 ? stat + strlen(stat) + 1 : stat + len - 1;
	r = sm_ps_parse(stat, status, data[0], &p);
	if (r == 0 && (p.comm == none || strlen(p.comm) >= len || p.state == 0))
		abort();
	if (p.comm != none)
		free(p.comm);
	return 0;
}
