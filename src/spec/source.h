/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_SOURCE_H
#define SM_SPEC_SOURCE_H

#include <stdbool.h>

#include "base/err.h"
#include "spec/arena.h"

/* What stands at the source of a bind mount. Inside src/spec only. */
struct sm_source {
	const char *path;  /* absolute, on the host; in the arena */
	const char *guest; /* not NULL: what is there is the kernel's (/proc, /dev/null…): the
			    * guest takes its own at this path, nothing is exported */
	bool is_file;		/* not a directory */
};

/* -ENOENT and other errors of stat; -EOPNOTSUPP for what cannot be shared with a VM. Messages begin
 * with the reason alone: the caller names the field. */
int sm_source_look(struct sm_arena *arena, const char *bundle, const char *source,
		   struct sm_source *out, struct sm_err *err);

#endif
