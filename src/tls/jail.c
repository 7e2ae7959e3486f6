/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sm-tls takes from itself, in this order:
 *
 *	ports bound ─► drop: capabilities, core dumps, new privileges ─► certificates read, as a
 *reload will read them ─► filter: what events need, and no more ─► the first client
 *
 * What glibc and OpenSSL do by themselves: memory, locks, time, randomness, and a look at whether
 *this is a child. #syscalls:tls brk mmap(2&PROT_EXEC=0) munmap mremap futex exit_group
 * #syscalls:tls gettimeofday getrandom getpid
 */
#include "config.h"

#include <errno.h>
#include <linux/securebits.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clean.h"
#include "base/forbid.h"
#include "tls/filters.h"
#include "tls/tls.h"

/* Without CAP_SETPCAP these stay, and mean nothing to a process that executes no program. */
static int drop_rest(void)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				   SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				   SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	if (cap_reset_ambient() < 0)
		return -errno;
	for (cap_value_t c = 0; c < cap_max_bits(); c++)
		if (cap_drop_bound(c) < 0 && errno != EPERM)
			return -errno;
	return prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 && errno != EPERM ? -errno : 0;
}

int sm_tls_jail_drop(struct sm_err *err)
{
	const struct rlimit none = { 0, 0 };
	cap_t empty = cap_init();
	int r = drop_rest();

	if (r == 0 && (!empty || cap_set_proc(empty) < 0))
		r = -errno;
	cap_free(empty);
	if (r == 0 &&
	    (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	     prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
		r = -errno;
	return r < 0 ? sm_err_sys(err, r, "giving up privileges") : 0;
}

int sm_tls_jail_filter(struct sm_err *err)
{
	int r = sm_forbid_record("sm-tls", "ending", syscall_names, SM_ARRAY_SIZE(syscall_names));

	/* OpenSSL's gmtime() would read the time zone's file at its first certificate. */
	tzset();
	if (r == 0)
		r = sm_forbid_load(filter_tls, SM_ARRAY_SIZE(filter_tls));
	return r < 0 ? sm_err_sys(err, r, "the filter of system calls") : 0;
}

void sm_tls_jail_print(FILE *out)
{
	for (size_t i = 0; names_tls[i]; i++)
		fprintf(out, "%s\n", names_tls[i]);
}
