/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_UTF8_H
#define SM_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Decodes the character that s, a string, begins with (RFC 3629: shortest form, no surrogates).
 * Returns its length (1 for the zero byte that ends the string), or 0 if there is none. */
size_t sm_utf8_decode(const char *s, uint32_t *cp);

/* A fresh copy of text in which U+FFFD stands for each byte that is no part of UTF-8. NULL if out of
 * memory. */
char *sm_utf8_clean(const char *text);

#endif
