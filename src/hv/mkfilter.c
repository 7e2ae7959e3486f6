/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A program of the build: makes src/hv/filters.h, the seccomp filters of sm-vmm's threads, and
 * src/tls/filters.h, that of sm-tls, from what syscalls.awk found in the sources. So they
 * neither carry libseccomp nor spend time on compiling the same filters at each start.
 *
 *	mkfilter KIND…		the kinds to make, of the list on standard input
 *
 *	"loop ioctl(1=TIOCGWINSZ)"	that call with this second argument only
 *	"fs mmap(2&PROT_EXEC=0)"	these bits of the third argument are 0
 *	"all write"			in every kind of thread
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clean.h"

#define RULES_MAX 512
#define WORD_MAX  64
#define NAMES_MAX 1024 /* system call numbers that the record can name */
#define CODE_MAX  4096

static const char *const kinds[] = { "loop", "vcpu", "fs", "tls" };

static const struct {
	const char *name;
	uint64_t value;
} constants[] = {
	{ "AF_INET", AF_INET },     { "AF_INET6", AF_INET6 },
	{ "AF_UNIX", AF_UNIX },     { "O_CHANGES", O_ACCMODE | O_CREAT | O_TRUNC },
	{ "PROT_EXEC", PROT_EXEC }, { "TCGETS", TCGETS },
	{ "TIOCGPTN", TIOCGPTN },   { "TIOCGWINSZ", TIOCGWINSZ },
	{ "TIOCSCTTY", TIOCSCTTY },
};

struct rule {
	char kind[WORD_MAX];
	char text[WORD_MAX]; /* as it was written */
	char name[WORD_MAX];
	bool conditional;
	struct scmp_arg_cmp arg;
};

static struct rule rules[RULES_MAX];
static size_t nrules;

static void __attribute__((noreturn)) die(const char *what, const char *text)
{
	fprintf(stderr, "mkfilter: %s: %s\n", text, what);
	exit(1);
}

static uint64_t value_of(const char *text)
{
	uint64_t v;
	char *end;

	for (size_t i = 0; i < SM_ARRAY_SIZE(constants); i++)
		if (strcmp(constants[i].name, text) == 0)
			return constants[i].value;
	v = strtoull(text, &end, 0);
	if (end == text || *end)
		die("no constant that mkfilter knows", text);
	return v;
}

/* "1=TIOCGWINSZ)" or "2&PROT_EXEC=0)" */
static void parse_condition(struct rule *r, char *text)
{
	char *equal = strchr(text, '='), *end = strchr(text, ')'), *mask;
	unsigned int arg;

	if (!equal || !end || end[1] || text[0] < '0' || text[0] > '5')
		die("not ARG=VALUE or ARG&MASK=VALUE", r->text);
	*equal = *end = '\0';
	arg = (unsigned int)(text[0] - '0');
	mask = text[1] == '&' ? text + 2 : NULL;
	if (mask)
		r->arg = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, value_of(mask), value_of(equal + 1));
	else
		r->arg = SCMP_CMP64(arg, SCMP_CMP_EQ, value_of(equal + 1));
	r->conditional = true;
}

static void read_rules(void)
{
	char line[2 * WORD_MAX + 2], *paren;

	while (fgets(line, sizeof(line), stdin)) {
		struct rule *r = &rules[nrules];

		if (nrules == RULES_MAX || sscanf(line, "%63s %63s", r->kind, r->text) != 2)
			die("too many, or not KIND SYSCALL", line);
		strcpy(r->name, r->text);
		paren = strchr(r->name, '(');
		if (paren) {
			*paren = '\0';
			parse_condition(r, paren + 1);
		}
		if (seccomp_syscall_resolve_name(r->name) < 0)
			die("no system call of this machine", r->text);
		nrules++;
	}
}

static bool is_of(const struct rule *r, const char *kind)
{
	bool known = strcmp(r->kind, "all") == 0;

	for (size_t i = 0; i < SM_ARRAY_SIZE(kinds); i++)
		known |= strcmp(r->kind, kinds[i]) == 0;
	if (!known)
		die("no such kind of thread", r->kind);
	return strcmp(r->kind, "all") == 0 || strcmp(r->kind, kind) == 0;
}

/* Anything else traps: the call does not happen, and the handler of SIGSYS writes the record. */
static scmp_filter_ctx compile(const char *kind)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);

	if (!ctx || seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0 ||
	    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0)
		die("libseccomp cannot start a filter", kind);
	for (size_t i = 0; i < nrules; i++) {
		int nr = seccomp_syscall_resolve_name(rules[i].name);
		int r;

		if (!is_of(&rules[i], kind))
			continue;
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, rules[i].conditional,
					   &rules[i].arg);
		if (r < 0 && r != -EEXIST)
			die(strerror(-r), rules[i].text);
	}
	return ctx;
}

static void print_code(const char *kind)
{
	scmp_filter_ctx ctx = compile(kind);
	struct sock_filter code[CODE_MAX];
	FILE *f = tmpfile();
	size_t n;

	if (!f || seccomp_export_bpf(ctx, fileno(f)) < 0)
		die("cannot export the filter", kind);
	rewind(f);
	n = fread(code, sizeof(code[0]), CODE_MAX, f);
	if (n == 0 || n == CODE_MAX)
		die("no filter, or one that is too long", kind);
	fclose(f);
	seccomp_release(ctx);
	printf("static const struct sock_filter filter_%s[] = {\n", kind);
	for (size_t i = 0; i < n; i++)
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", code[i].code, code[i].jt, code[i].jf,
		       code[i].k);
	printf("};\n\n");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct rule *)a)->text, ((const struct rule *)b)->text);
}

static void print_names(const char *kind)
{
	const char *last = "";

	printf("static const char *const names_%s[] = {\n", kind);
	for (size_t i = 0; i < nrules; i++) {
		if (!is_of(&rules[i], kind) || strcmp(last, rules[i].text) == 0)
			continue;
		last = rules[i].text;
		printf("\t\"%s\",\n", last);
	}
	printf("\tNULL,\n};\n\n");
}

static void print_table(void)
{
	printf("static const char *const syscall_names[] = {\n");
	for (int nr = 0; nr < NAMES_MAX; nr++) {
		sm_auto_free char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

		if (name)
			printf("\t[%d] = \"%s\",\n", nr, name);
	}
	printf("};\n");
}

int main(int argc, char **argv)
{
	read_rules();
	qsort(rules, nrules, sizeof(rules[0]), by_text);
	printf("/* Made by mkfilter from the annotations in src/. */\n\n");
	for (int i = 1; i < argc; i++) {
		print_code(argv[i]);
		print_names(argv[i]);
	}
	print_table();
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
