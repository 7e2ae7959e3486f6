/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "hv/boot/boot.h"

/* libkrunfw's only call that we need: the kernel's bytes, where they belong and where they begin. */
typedef char *krunfw_get_kernel_fn(size_t *load_addr, size_t *entry_addr, size_t *size);

int sm_boot_is_krunfw(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *so = strstr(name ? name : path, ".so");

	return so && (so[3] == '\0' || (so[3] == '.' && so[4 + strspn(so + 4, "0123456789.")] == '\0'));
}

int sm_boot_load_krunfw(const struct sm_gmem *gm, const char *path, struct sm_boot_kernel *k,
			struct sm_err *err)
{
	krunfw_get_kernel_fn *get_kernel = NULL;
	size_t load = 0, entry = 0, size = 0;
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol, *to;
	const char *image;
	int r = -ENOEXEC;

	if (!lib)
		return sm_err_set(err, -ENOENT, "kernel %s: %s", path, dlerror());
	symbol = dlsym(lib, "krunfw_get_kernel");
	memcpy(&get_kernel, &symbol, sizeof(symbol));	/* C has no cast from object to function */
	image = get_kernel ? get_kernel(&load, &entry, &size) : NULL;
	if (!image || entry < load || entry - load >= size) {
		sm_err_set(err, r, "kernel %s: a library without a kernel in it "
			   "(krunfw_get_kernel)", path);
		goto out;
	}
	to = sm_boot_place(gm, load, size, path, "image", err);
	r = to ? 0 : -ENOMEM;
	if (!to)
		goto out;
	memcpy(to, image, size);
	k->protocol = SM_BOOT_LINUX64;
	k->entry = entry;
	k->end = load + size;
out:
	dlclose(lib);
	return r;
}
