/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_PATH_H
#define SM_GUEST_PATH_H

#include <sys/types.h>

/*
 * Paths of a container, resolved inside its root only: absolute symlinks start there, ".." stops
 * there and magic links (/proc/self/fd/3) are not followed. `root` is any descriptor of the root
 * directory.
 */

/* openat2(2) with O_CLOEXEC. A descriptor or -errno. */
int sm_path_open(int root, const char *path, int flags);

/* Opens path with O_PATH; what is missing of it is made first: directories (mode 0755), and for
 * sm_path_make_file() an empty file (mode 0644) as the last component. Dangling symlinks are
 * followed. Something else of that name is left as it is and opened. A descriptor or -errno. */
int sm_path_make_dir(int root, const char *path);
int sm_path_make_file(int root, const char *path);

/* Opens the directory that path is in, made if missing; *name is path's last component. */
int sm_path_make_parent(int root, const char *path, const char **name);

#endif
