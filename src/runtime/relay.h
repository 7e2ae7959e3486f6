/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_RELAY_H
#define SM_RUNTIME_RELAY_H

#include "base/loop.h"

/* Copies standard input to a pty's master and the master to standard output. */
struct sm_relay;

int sm_relay_new(struct sm_loop *loop, int master, struct sm_relay **relay);

/* Writes out what the master still has, and ends. NULL allowed. */
void sm_relay_free(struct sm_relay *relay);

#endif
