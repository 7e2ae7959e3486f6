/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clean.h"
#include "spec/message.h"

int sm_spec_vsay(struct sm_err *err, const char *name, const char *path, const char *section,
		 const char *fmt, va_list ap)
{
	sm_auto_free char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		return sm_err_sys(err, -ENOMEM, "%s", name);
	}
	return sm_err_set(err, -EINVAL, "%s: %s%s%s%s%s%s", name, path, *path ? ": " : "", text,
			  section ? " (runtime-spec " : "", section ? section : "",
			  section ? ")" : "");
}
