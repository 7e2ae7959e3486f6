/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_RUNTIME_BACKEND_H
#define SM_RUNTIME_BACKEND_H

#include <stdbool.h>

#include "base/err.h"
#include "runtime/kvmprobe.h"
#include "runtime/settings.h"
#include "spec/config.h"

/*
 * How the backend of a container is chosen:
 *
 *	asked for	KVM works		KVM does not work
 *	auto		kvm			qemu, refused if that is not installed
 *	kvm		kvm			refused
 *	qemu		qemu, without a probe; refused if that is not installed
 */
#define SM_ANNOTATION_HYPERVISOR "supermachine.io/hypervisor"

struct sm_backend {
	const char *name;		/* "kvm" or "qemu" */
	bool kvm;			/* which of the two */
	bool probed;
	struct sm_kvmprobe probe;	/* if probed */
};

/* What is asked for: the container's annotation, else the settings. */
struct sm_backend_wish {
	enum sm_hypervisor hypervisor;
	bool annotated;
};

/* config may be NULL. -EINVAL for an annotation that is no hypervisor. */
int sm_backend_wish(const struct sm_settings *settings, const struct sm_config *config,
		    struct sm_backend_wish *wish, struct sm_err *err);

/* Decides; logs (debug) what and why. The texts are in the settings' arena. A refusal (-ENOTSUP)
 * never comes from a kept probe: whatever the user changed has effect. */
int sm_backend_choose(const struct sm_settings *settings, const struct sm_backend_wish *wish,
		      struct sm_backend *backend, struct sm_err *err);

/* The same once more from a probe that was made; b->probe is set by the caller. */
int sm_backend_decide(const struct sm_settings *settings, const struct sm_backend_wish *wish,
		      struct sm_backend *b, struct sm_err *err);

/* How big a VM is where its container does not say. KVM's can have all CPUs; under emulation a
 * second one makes fork and exec five times slower (guest/kernel/README.md): who wants it says so. */
void sm_backend_defaults(const struct sm_settings *settings, const struct sm_backend *backend,
			 struct sm_vm_defaults *defaults);

/* Whether a guest kernel is a libkrunfw library ("libkrunfw.so.5"), and whether that is a name for
 * the dynamic linker to look for rather than a path. */
bool sm_backend_is_library(const char *kernel);
bool sm_backend_is_soname(const char *kernel);

#endif
