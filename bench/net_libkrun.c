/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_libkrun LIBKRUN LIBKRUNFW ROOTFS PORTS PROGRAM [ARG…]: a program in a VM of libkrun's, for
 * bench/net.
 *
 * 1 CPU, 512 MiB, the directory ROOTFS as its root, its sockets the host's by TSI. PORTS are those
 * that it listens at, as HOST:GUEST, with commas. LIBKRUNFW is loaded first, so that libkrun's own
 * dlopen() by its soname takes that one, wherever it lies; what the program prints and the kernel's
 * messages go to standard output.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CPUS      1
#define MEMORY    512 /* MiB */
#define FILES     65536
#define PORTS_MAX 8

static void *library;

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "net_libkrun: %s: %s\n", what, why);
	exit(1);
}

static void *load(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);

	if (!handle)
		die("dlopen", dlerror());
	return handle;
}

static void *function(const char *name)
{
	void *f = dlsym(library, name);

	if (!f)
		die("dlsym", dlerror());
	return f;
}

static int check(const char *name, int r)
{
	if (r < 0)
		die(name, strerror(-r));
	return r;
}

#define CALL(name, types, ...) check(#name, ((int(*) types)function(#name))(__VA_ARGS__))

static void share_ports(uint32_t ctx, char *ports)
{
	const char *map[PORTS_MAX + 1] = { NULL };
	char *rest = NULL, *port = strtok_r(ports, ",", &rest);

	for (int n = 0; port && n < PORTS_MAX; port = strtok_r(NULL, ",", &rest))
		map[n++] = port;
	CALL(krun_set_port_map, (uint32_t, const char *const *), ctx, map);
}

static void limit_files(uint32_t ctx)
{
	struct rlimit files = { FILES, FILES };
	const char *limits[] = { "7=65536:65536", NULL };

	_Static_assert(RLIMIT_NOFILE == 7 && FILES == 65536, "the guest's is the host's");
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		die("setrlimit", "RLIMIT_NOFILE");
	CALL(krun_set_rlimits, (uint32_t, const char *const *), ctx, limits);
}

int main(int argc, char **argv)
{
	static const char *const environment[] = { NULL };
	uint32_t ctx;

	if (argc < 6) {
		fprintf(stderr,
			"usage: net_libkrun LIBKRUN LIBKRUNFW ROOTFS PORTS PROGRAM [ARG…]\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	load(argv[2]);
	library = load(argv[1]);
	CALL(krun_set_log_level, (uint32_t), 1);
	ctx = (uint32_t)CALL(krun_create_ctx, (void));
	CALL(krun_set_vm_config, (uint32_t, uint8_t, uint32_t), ctx, CPUS, MEMORY);
	CALL(krun_set_root, (uint32_t, const char *), ctx, argv[3]);
	share_ports(ctx, argv[4]);
	limit_files(ctx);
	CALL(krun_set_exec, (uint32_t, const char *, char *const *, const char *const *), ctx,
	     argv[5], argv + 6, environment);
	CALL(krun_start_enter, (uint32_t), ctx);
	return 0;
}
