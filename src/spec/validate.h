/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_VALIDATE_H
#define SM_SPEC_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "spec/config.h"

/* What values mean, after bind.c has seen to their types. Inside src/spec only.
 * 0, or -EINVAL with a message; warnings are added to the config. */
int sm_validate_config(const char *name, struct sm_config *config, struct sm_err *err);
int sm_validate_process(const char *name, struct sm_config *config, struct sm_err *err);

/* One run over a document. */
struct sm_check {
	const char *name;
	const char *top;		/* where the part being checked stands: "process." or "" */
	struct sm_config *config;
	struct sm_err *err;
	char path[128];			/* of sm_check_at() */
};

/* Formats a path behind check->top; good until the next call. */
const char *sm_check_at(struct sm_check *check, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Refuses: sets the error, returns -EINVAL. */
int sm_check_bad(struct sm_check *check, const char *path, const char *section, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));

/* Tolerates: adds a warning. 0 or -ENOMEM. */
int sm_check_warn(struct sm_check *check, const char *path, const char *section, const char *fmt,
		  ...) __attribute__((format(printf, 4, 5)));

/* A row of a table of simple rules: what must not be, and the words for it. */
struct sm_rule {
	const char *path;
	const char *section;
	bool (*broken)(const struct sm_config *config);
	const char *text;
};
int sm_check_rules(struct sm_check *check, const struct sm_rule *rules); /* ends: path NULL */

/* A list of numbers and ranges as cpusets write it, "0-2,7". Their count, or 0 for a bad one. */
uint32_t sm_check_cpu_list(const char *list, uint32_t max, void (*each)(uint32_t cpu, void *arg),
			   void *arg);

/* Mappings of ids; field is the name of the list. */
int sm_check_map(struct sm_check *check, const char *field, const sm_id_map_list *map);

int sm_check_process(struct sm_check *check);
int sm_check_linux(struct sm_check *check);
int sm_check_resources(struct sm_check *check);
int sm_check_seccomp(struct sm_check *check);

#endif
