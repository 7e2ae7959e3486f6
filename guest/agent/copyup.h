/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_COPYUP_H
#define SM_GUEST_COPYUP_H

/* Copies what the directory `from` holds into the directory `to` (both may be O_PATH
 * descriptors): directories, files, symlinks, special files, with owner, mode and modification
 * time. Does not cross into another filesystem. A `from` that is no directory: nothing. 0 or
 * -errno. */
int sm_copy_up(int from, int to);

#endif
