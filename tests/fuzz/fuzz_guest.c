/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest/agent/devbpf.h"
#include "guest/agent/lookup.h"
#include "guest/agent/rootfs.h"

/* What the agent parses of a container's own bytes, and what it makes of the host's rules: an
 * /etc/passwd, the name of a sysctl, device rules. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void home(const char *text, size_t len)
{
	char dir[32];

	sm_passwd_home(text, len, 1000, dir, sizeof(dir));
	if (!*dir || !memchr(dir, '\0', sizeof(dir)))
		abort();
}

static void sysctl(const char *text, size_t len)
{
	char *key = strndup(text, len), path[64];

	if (!key)
		abort();
	/* nothing leads out of /proc/sys */
	if (sm_sysctl_path(key, path, sizeof(path)) == 0 &&
	    (*path == '/' || strstr(path, "/../") || !strncmp(path, "../", 3) ||
	     (strlen(path) >= 3 && !strcmp(path + strlen(path) - 3, "/.."))))
		abort();
	free(key);
}

static void rules(const uint8_t *data, size_t len)
{
	static const Supermachine__Agent__V1__DeviceRule init =
		SUPERMACHINE__AGENT__V1__DEVICE_RULE__INIT;
	Supermachine__Agent__V1__DeviceRule rule[SM_DEVBPF_RULES_MAX], *list[SM_DEVBPF_RULES_MAX];
	struct bpf_insn insns[SM_DEVBPF_INSNS_MAX];
	size_t n = 0;
	int r;

	for (; len >= 5 && n < SM_DEVBPF_RULES_MAX; n++, data += 5, len -= 5) {
		rule[n] = init;
		rule[n].allow = data[0] & 1;
		rule[n].type = (uint32_t)(data[1] & 0xf0) << 8;
		rule[n].major = (int8_t)data[2];
		rule[n].minor = (int8_t)data[3];
		rule[n].access = data[4];
		list[n] = &rule[n];
	}
	r = sm_devbpf_generate(list, n, insns);
	if (r > SM_DEVBPF_INSNS_MAX)
		abort();
	/* no jump leaves the program */
	for (int i = 0; i < r; i++)
		if (BPF_CLASS(insns[i].code) == BPF_JMP && i + 1 + insns[i].off >= r &&
		    BPF_OP(insns[i].code) != BPF_EXIT)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	home((const char *)data, len);
	sysctl((const char *)data, len);
	rules(data, len);
	return 0;
}
