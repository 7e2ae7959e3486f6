/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_GUEST_LOOKUP_H
#define SM_GUEST_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The program of a process, found as Go's os/exec and so runc finds it, with the same texts:
 *
 *	exec: "x": executable file not found in $PATH
 *	exec: "/x": stat /x: no such file or directory
 *	exec: "/x": permission denied
 *
 * Call with the process's root, working directory and user in effect. 0 and *path (heap), or
 * -errno.
 */
int sm_lookup_program(const char *name, char *const *env, char **path, struct sm_err *err);

/* The value of a variable, NULL if it is not set. */
const char *sm_env_get(char *const *env, const char *name);

/* A copy of env (n strings) in which each name is there once, at its first place with its last
 * value, and HOME is set to `home` if it was missing or empty. NULL terminated; NULL: out of
 * memory. The strings are borrowed, but the array and its HOME are never freed: the process is
 * about to execve. */
char **sm_env_make(char *const *env, size_t n, const char *home);

/* The home directory of uid in /etc/passwd below root; "/" if there is none. */
void sm_lookup_home(int root, uint32_t uid, char *home, size_t size);

/* The same in the text of such a file. */
void sm_passwd_home(const char *text, size_t len, uint32_t uid, char *home, size_t size);

#endif
