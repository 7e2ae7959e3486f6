/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_FILTER_H
#define SM_RUNTIME_FILTER_H

#include "spec/seccomp.h"

/*
 * linux.seccomp compiled, by libseccomp or from a file in which a command before kept it. Profiles
 * are few, Docker's and Podman's mostly, and compiling one takes more than all else that create does.
 *
 *	"seccomp:" 0 … f	lengths of key and program (u64), key, program
 *
 * The key is what the program depends on, in full: this sm-runtime, the libseccomp it runs with, the
 * profile. The key's hash only chooses one of the files, so that there are never more.
 */
#define SM_FILTER_FILES 16

/* As sm_seccomp_compile(). dir: as sm_kept_dir() has it; NULL: nothing is kept. */
int sm_filter_get(const char *dir, const struct sm_seccomp *profile,
		  struct sm_seccomp_filter *filter, struct sm_err *err);

#endif
