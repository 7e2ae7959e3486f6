/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/backend.h"

#include <errno.h>
#include <string.h>

#include "base/clean.h"
#include "base/log.h"
#include "runtime/program.h"

int sm_backend_wish(const struct sm_settings *settings, const struct sm_config *config,
		    struct sm_backend_wish *wish, struct sm_err *err)
{
	const char *text = config ? sm_config_annotation(config, SM_ANNOTATION_HYPERVISOR) : NULL;

	uint64_t v = settings->hypervisor;

	if (text && sm_word_value(sm_hypervisor_words, text, &v) < 0)
		return sm_err_set(err, -EINVAL,
				  "config.json: annotations: " SM_ANNOTATION_HYPERVISOR
				  ": \"%.40s\" is none of auto, kvm and qemu",
				  text);
	*wish = (struct sm_backend_wish){ (enum sm_hypervisor)v, text != NULL };
	return 0;
}

static int refuse_kvm(const struct sm_settings *settings, const struct sm_backend_wish *wish,
		      const struct sm_backend *b, struct sm_err *err)
{
	if (wish->annotated)
		return sm_err_set(err, -ENOTSUP,
				  "annotation " SM_ANNOTATION_HYPERVISOR " \"kvm\": %s; set it to "
				  "\"auto\" or \"qemu\", or see \"sm-runtime doctor\"",
				  b->probe.text);
	return sm_err_set(err, -ENOTSUP,
			  "hypervisor \"kvm\": %s; set \"hypervisor\" to \"auto\" or \"qemu\" in %s",
			  b->probe.text, settings->file);
}

static int refuse_qemu(const struct sm_settings *settings, const struct sm_backend_wish *wish,
		       const struct sm_backend *b, struct sm_err *err)
{
	return sm_err_set(err, -ENOTSUP,
			  "hypervisor \"%s\": %s%sQEMU is not installed (%s): "
			  "run \"sm-runtime doctor\" for help",
			  sm_word_name(sm_hypervisor_words, wish->hypervisor),
			  b->probed ? b->probe.text : "", b->probed ? ", and " : "",
			  settings->qemu);
}

int sm_backend_decide(const struct sm_settings *settings, const struct sm_backend_wish *wish,
		      struct sm_backend *b, struct sm_err *err)
{
	b->kvm = b->probed && b->probe.usable;
	b->name = b->kvm ? "kvm" : "qemu";
	if (b->kvm)
		return 0;
	if (wish->hypervisor == SM_HYPERVISOR_KVM)
		return refuse_kvm(settings, wish, b, err);
	return sm_program_exists(settings->qemu) ? 0 : refuse_qemu(settings, wish, b, err);
}

int sm_backend_choose(const struct sm_settings *settings, const struct sm_backend_wish *wish,
		      struct sm_backend *b, struct sm_err *err)
{
	int r;

	*b = (struct sm_backend){ .probed = wish->hypervisor != SM_HYPERVISOR_QEMU };
	if (b->probed)
		sm_kvmprobe(settings->vmm, false, settings->arena, &b->probe);
	r = sm_backend_decide(settings, wish, b, err);
	if (r < 0 && b->probed && b->probe.kept) {
		sm_kvmprobe(settings->vmm, true, settings->arena, &b->probe);
		r = sm_backend_decide(settings, wish, b, err);
	}
	if (r == 0)
		sm_debug("backend %s: %s%s", b->name,
			 b->probed ? b->probe.text : "asked for by name",
			 b->probed && b->probe.kept ? " (as found before)" : "");
	return r;
}

void sm_backend_defaults(const struct sm_settings *settings, const struct sm_backend *backend,
			 struct sm_vm_defaults *defaults)
{
	*defaults = settings->vm;
	if (backend->kvm && !settings->vcpus_given)
		defaults->size.vcpus = defaults->vcpus_max;
}

/* ---- kernels --------------------------------------------------------------------------------- */

bool sm_backend_is_library(const char *kernel)
{
	const char *slash = strrchr(kernel, '/');
	const char *so = strstr(slash ? slash : kernel, ".so");

	if (!so)
		return false;
	so += 3;
	return !*so || (*so == '.' && so[1] && strspn(so + 1, "0123456789.") == strlen(so + 1));
}

bool sm_backend_is_soname(const char *kernel)
{
	return !strchr(kernel, '/') && sm_backend_is_library(kernel);
}
