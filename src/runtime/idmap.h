/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_IDMAP_H
#define SM_RUNTIME_IDMAP_H

#include "spec/guest.h"

/* Makes a detached mount show its files' owners by another mapping (mount_setattr(2),
 * "ID-mapped mounts"). path is for messages. */
int sm_idmap_apply(int mnt, const char *path, const struct sm_idmap *map, struct sm_err *err);

#endif
