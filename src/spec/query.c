/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "spec/config.h"
#include "spec/validate.h"

/* Answers that a config gives about itself. */

static const struct sm_namespace *namespace_of(const struct sm_config *config, uint64_t type)
{
	for (size_t i = 0; i < config->namespaces.n; i++)
		if (config->namespaces.v[i].type.v == type)
			return &config->namespaces.v[i];
	return NULL;
}

bool sm_config_has_namespace(const struct sm_config *config, uint64_t type)
{
	return namespace_of(config, type);
}

const char *sm_config_namespace_path(const struct sm_config *config, uint64_t type)
{
	const struct sm_namespace *ns = namespace_of(config, type);

	return ns && ns->path && ns->path[0] ? ns->path : NULL;
}

enum sm_netns sm_config_netns(const struct sm_config *config, const char **path)
{
	const struct sm_namespace *ns = namespace_of(config, CLONE_NEWNET);

	if (!ns)
		return SM_NETNS_HOST;
	if (!ns->path || !ns->path[0])
		return SM_NETNS_NEW;
	*path = ns->path;
	return SM_NETNS_PATH;
}

const char *sm_config_annotation(const struct sm_config *config, const char *key)
{
	for (size_t i = 0; i < config->annotations.n; i++)
		if (!strcmp(config->annotations.v[i].key, key))
			return config->annotations.v[i].value;
	return NULL;
}

uint64_t sm_caps_mask(const struct sm_strs *names, size_t *unknown)
{
	uint64_t mask = 0;
	uint64_t bit;

	for (size_t i = 0; i < names->n; i++) {
		if (!sm_word_value(sm_capability_words, names->v[i], &bit))
			mask |= 1ull << bit;
		else if (unknown)
			(*unknown)++;
	}
	return mask;
}

/* ---- how big the VM is ----------------------------------------------------------------------- */

/* What the guest's kernel, the agent and the struct pages of the memory itself take, beside the
 * container's limit: a fixed part and one part in 32. */
#define KERNEL_ROOM_MIB 96
#define DEFAULT_PERIOD  100000

static uint32_t clamp(uint64_t v, uint32_t low, uint32_t high)
{
	return v < low ? low : v > high ? high : (uint32_t)v;
}

static int annotation_number(const struct sm_config *config, const char *key, uint32_t low,
			     uint32_t high, uint32_t *value, struct sm_err *err)
{
	const char *text = sm_config_annotation(config, key);
	unsigned long v;
	char *end;

	if (!text)
		return 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || v < low || v > high)
		return sm_err_set(err, -EINVAL,
				  "config.json: annotations: %s: \"%.40s\" is not a number from "
				  "%" PRIu32 " to %" PRIu32,
				  key, text, low, high);
	*value = (uint32_t)v;
	return 0;
}

static uint32_t cpus_from_resources(const struct sm_resources *r, const struct sm_vm_defaults *defaults)
{
	uint32_t max = clamp(defaults->vcpus_max, 1, SM_VM_VCPUS_MAX);
	uint32_t vcpus = clamp(defaults->size.vcpus, 1, SM_VM_VCPUS_MAX);
	const struct sm_cpu *cpu = r->cpu;
	uint64_t period;

	if (!cpu)
		return vcpus;
	if (cpu->cpus && cpu->cpus[0])
		max = clamp(sm_check_cpu_list(cpu->cpus, UINT16_MAX, NULL, NULL), 1, max);
	if (vcpus > max)
		vcpus = max;
	if (cpu->quota.v <= 0)
		return vcpus;
	period = cpu->period.v ? cpu->period.v : DEFAULT_PERIOD;
	return clamp(((uint64_t)cpu->quota.v - 1) / period + 1, 1, max);
}

static uint32_t memory_from_resources(const struct sm_resources *r, uint32_t memory_mib)
{
	uint64_t limit;

	if (!r->memory || r->memory->limit.v <= 0)
		return memory_mib;
	limit = ((uint64_t)r->memory->limit.v - 1) / (1 << 20) + 1;
	return clamp(limit + limit / 32 + KERNEL_ROOM_MIB, SM_VM_MEMORY_MIN_MIB,
		     SM_VM_MEMORY_MAX_MIB);
}

int sm_config_vm_size(const struct sm_config *config, const struct sm_vm_defaults *defaults,
		      struct sm_vm_size *size, struct sm_err *err)
{
	const struct sm_vm_hw *hw = config->vm ? config->vm->hw : NULL;
	struct sm_vm_size s = {
		cpus_from_resources(config->resources, defaults),
		memory_from_resources(config->resources, defaults->size.memory_mib),
	};
	int rc;

	if (hw && hw->vcpus.set)
		s.vcpus = (uint32_t)hw->vcpus.v;
	if (hw && hw->memory.set)
		s.memory_mib = (uint32_t)(hw->memory.v >> 20);
	rc = annotation_number(config, SM_ANNOTATION_VCPUS, 1, SM_VM_VCPUS_MAX, &s.vcpus, err);
	if (!rc)
		rc = annotation_number(config, SM_ANNOTATION_MEMORY, SM_VM_MEMORY_MIN_MIB,
				       SM_VM_MEMORY_MAX_MIB, &s.memory_mib, err);
	if (!rc)
		*size = s;
	return rc;
}
