/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_NETNS_H
#define SM_RUNTIME_NETNS_H

#include <stdbool.h>

#include "spec/config.h"

/* Whether fd is the network namespace that we are in. */
bool sm_netns_is_ours(int fd);

/* A fresh network namespace for the caller, with its loopback interface up. *looped tells whether it
 * came that far when it failed. 0 or -errno. */
int sm_netns_make(bool *looped);

/*
 * Makes the caller's network namespace, which is not the host's, one for a guest whose sockets are
 * sm-vmm's: any port can be bound without privilege, as sm-vmm has none and the guest's kernel asks
 * its users for it; and the sysctls of config.json below net hold there too, if they are known
 * there. What cannot be set is told on the descriptor `log`, a line each, and is no error: the guest
 * has its own.
 */
void sm_netns_prepare(const struct sm_pairs *sysctl, int log);

#endif
