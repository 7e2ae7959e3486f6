/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/stat.h>

#include "base/clean.h"
#include "spec/device.h"

enum { MKNOD = 1, READ = 2, WRITE = 4, ALL = 7 };

struct device {
	const char *path;
	int64_t major, minor;
};

/* All are character devices of the kernel's own making: fixed numbers, nothing of the host's behind
 * them. */
static const struct device guest_devices[] = {
	{ "/dev/null", 1, 3 },	   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
	{ "/dev/random", 1, 8 },   { "/dev/urandom", 1, 9 }, { "/dev/kmsg", 1, 11 },
	{ "/dev/tty", 5, 0 },	   { "/dev/console", 5, 1 }, { "/dev/ptmx", 5, 2 },
	{ "/dev/net/tun", 10, 200 }, { "/dev/fuse", 10, 229 },
};

const char *sm_device_guest_path(mode_t type, int64_t major, int64_t minor)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(guest_devices) && type == S_IFCHR; i++)
		if (guest_devices[i].major == major && guest_devices[i].minor == minor)
			return guest_devices[i].path;
	return NULL;
}

bool sm_device_in_guest(mode_t type, int64_t major, int64_t minor)
{
	return type == S_IFIFO || sm_device_guest_path(type, major, minor);
}

mode_t sm_device_type(const char *type)
{
	static const struct sm_word types[] = {
		{ "c", S_IFCHR }, { "u", S_IFCHR }, { "b", S_IFBLK }, { "p", S_IFIFO }, { NULL }
	};
	uint64_t value;

	return type && !sm_word_value(types, type, &value) ? (mode_t)value : 0;
}

const struct sm_device_default *sm_device_defaults(size_t *n)
{
	static const struct sm_device_default defaults[] = {
		{ NULL, S_IFCHR, -1, -1, MKNOD },
		{ NULL, S_IFBLK, -1, -1, MKNOD },
		{ "/dev/null", S_IFCHR, 1, 3, ALL },
		{ "/dev/random", S_IFCHR, 1, 8, ALL },
		{ "/dev/full", S_IFCHR, 1, 7, ALL },
		{ "/dev/tty", S_IFCHR, 5, 0, ALL },
		{ "/dev/zero", S_IFCHR, 1, 5, ALL },
		{ "/dev/urandom", S_IFCHR, 1, 9, ALL },
		{ NULL, S_IFCHR, 136, -1, ALL },
		{ NULL, S_IFCHR, 5, 2, ALL },
		{ NULL, S_IFCHR, 10, 200, ALL },
	};

	*n = SM_ARRAY_SIZE(defaults);
	return defaults;
}

uint32_t sm_device_access(const char *access)
{
	uint32_t bits = 0;

	if (!access || !access[0])
		return ALL;
	for (; *access; access++) {
		if (*access != 'r' && *access != 'w' && *access != 'm')
			return 0;
		bits |= *access == 'r' ? READ : *access == 'w' ? WRITE : MKNOD;
	}
	return bits;
}
