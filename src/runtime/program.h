/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_PROGRAM_H
#define SM_RUNTIME_PROGRAM_H

#include <stdbool.h>

#include "base/buf.h"

/* Programs that tell about themselves. */

/* Runs argv[0] (looked for in PATH) without input and takes all that it says on both streams,
 * within 10 s. Its exit code, or -errno; -EINTR if a signal ended it, or its time was over. 127: it
 * cannot be run. */
int sm_program_output(const char *const argv[], struct sm_buf *out);

/* Whether execvp(3) would find it. */
bool sm_program_exists(const char *name);

#endif
