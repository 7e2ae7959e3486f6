/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_SPEC_DEVICE_H
#define SM_SPEC_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "spec/config.h"

/* Which device nodes mean something in a VM. Inside src/spec only. */

/* With this annotation set to "skip", linux.devices that a VM cannot have are left out instead of
 * refused: for privileged containers, whose configs list every device of the host. */
#define SM_ANNOTATION_DEVICES "supermachine.io/devices"

/* Is this a device that the guest's kernel has itself, under the same numbers? type: S_IFCHR… */
bool sm_device_in_guest(mode_t type, int64_t major, int64_t minor);

/* The path of that device in the guest, or NULL. */
const char *sm_device_guest_path(mode_t type, int64_t major, int64_t minor);

/* S_IFCHR, S_IFBLK, S_IFIFO for "c" and "u", "b", "p"; 0 for others. */
mode_t sm_device_type(const char *type);

/* runc's rules that come after those of the config: what every container may use. */
struct sm_device_default {
	const char *path;	/* not for this one if linux.devices has that path; NULL: always */
	mode_t type;		/* 0: any */
	int64_t major, minor;	/* -1: any */
	uint32_t access;	/* 1 mknod, 2 read, 4 write */
};
const struct sm_device_default *sm_device_defaults(size_t *n);

/* The bits of an access string of "rwm"; an empty one: all; 0 for a bad one. */
uint32_t sm_device_access(const char *access);

#endif
