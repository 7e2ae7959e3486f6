/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_KEPT_H
#define SM_RUNTIME_KEPT_H

#include <stddef.h>

struct sm_buf;

/*
 * Small files that commands leave for later ones, so that what was found out or made once need not
 * be again. They are in the default state root whatever --root says, under names with a colon,
 * which no id of a container has, and are gone with the next boot. Whoever reads one checks what it
 * was made for.
 */

/* Where. To be freed; NULL: nowhere. */
char *sm_kept_dir(void);

/* -EPERM: somebody else could have written it. -EINVAL: longer than text->max. */
int sm_kept_read(const char *dir, const char *name, struct sm_buf *text);
int sm_kept_write(const char *dir, const char *name, const void *data, size_t len);

#endif
