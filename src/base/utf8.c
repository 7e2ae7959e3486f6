/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static size_t length(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return 2;
	if (first >= 0xe0 && first <= 0xef)
		return 3;
	return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

size_t sm_utf8_decode(const char *s, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)s;
	size_t len = length(u[0]);
	uint32_t c;

	if (len < 2) {
		*cp = u[0];
		return len;
	}
	c = u[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (u[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*cp = c;
	return len;
}

char *sm_utf8_clean(const char *text)
{
	char *clean = malloc(3 * strlen(text) + 1);
	char *p = clean;

	if (!clean)
		return NULL;
	while (*text) {
		uint32_t cp;
		size_t len = sm_utf8_decode(text, &cp);

		if (len) {
			p = mempcpy(p, text, len);
			text += len;
		} else {
			p = mempcpy(p, "\xef\xbf\xbd", 3);
			text++;
		}
	}
	*p = 0;
	return clean;
}
