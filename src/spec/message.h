/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_MESSAGE_H
#define SM_SPEC_MESSAGE_H

#include <stdarg.h>

#include "base/err.h"

/* The shape of what is said about a document; inside src/spec only.
 *	NAME: PATH: TEXT (runtime-spec SECTION)
 * An empty path and a NULL section are left out. Returns -EINVAL. */
int sm_spec_vsay(struct sm_err *err, const char *name, const char *path, const char *section,
		 const char *fmt, va_list ap) __attribute__((format(printf, 5, 0)));

#endif
