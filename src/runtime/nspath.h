/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_NSPATH_H
#define SM_RUNTIME_NSPATH_H

#include "base/err.h"
#include "spec/config.h"

/*
 * uts and ipc namespaces that a config names by path, as those of a pod do. A namespace of the host
 * cannot hold processes of a VM, so:
 *
 *	uts	its names are taken, once
 *	ipc	has to be that of another container of ours (of sm-vmm): the container gets one of its own
 *		in its VM; that the config's caller named any other is an error
 */
struct sm_uts_names {
	char host[65], domain[65];	/* empty: none */
};

/* root: the state directory. Without such paths nothing is looked at. */
int sm_nspath_look(const struct sm_config *config, const char *root, struct sm_uts_names *names,
		   struct sm_err *err);

#endif
