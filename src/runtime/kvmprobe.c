/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/kvmprobe.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "runtime/jsonout.h"
#include "runtime/kept.h"
#include "runtime/program.h"
#include "spec/json.h"

#define OUTPUT_MAX 65536
#define KEPT_MAX 4096
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define DEVICE "/dev/kvm"

/* sm-vmm's words (hv/kvm/probe.c), which are also those of the file. */
static const struct sm_word reason_words[] = {
	{ "works", SM_KVMPROBE_WORKS },
	{ "absent", SM_KVMPROBE_ABSENT },
	{ "denied", SM_KVMPROBE_DENIED },
	{ "busy", SM_KVMPROBE_BUSY },
	{ "api", SM_KVMPROBE_API },
	{ "extension", SM_KVMPROBE_EXTENSION },
	{ "broken", SM_KVMPROBE_BROKEN },
	{ "slow", SM_KVMPROBE_SLOW },
	{ "unknown", SM_KVMPROBE_UNKNOWN },
	{ NULL, 0 },
};
_Static_assert(SM_ARRAY_SIZE(reason_words) == SM_KVMPROBE_REASON_NUM + 1, "a word for each reason");

static const char *const remedies[] = {
	[SM_KVMPROBE_WORKS] = NULL,
	[SM_KVMPROBE_ABSENT] = "load kvm_intel or kvm_amd; turn on virtualization in the firmware "
			       "or, inside a VM, nested virtualization at its host",
	[SM_KVMPROBE_DENIED] = "run as root, or add the user to the group of /dev/kvm (usermod -aG "
			       "kvm USER); in a container, pass /dev/kvm to it",
	[SM_KVMPROBE_BUSY] = "end the other hypervisor (VirtualBox, VMware) that holds the CPU's "
			     "virtualization",
	[SM_KVMPROBE_API] = "run a kernel of Linux 5.10 or newer with its own KVM modules",
	[SM_KVMPROBE_EXTENSION] = "run a kernel of Linux 5.10 or newer with all of KVM built",
	[SM_KVMPROBE_BROKEN] = "see the kernel's log (dmesg) for what KVM says",
	[SM_KVMPROBE_SLOW] = "use a host whose KVM has the CPU's virtualization: bare metal, or a "
			     "VM with nested virtualization",
	[SM_KVMPROBE_UNKNOWN] = "install supermachine whole, or name sm-vmm as \"vmm\" in the "
				"settings",
};
_Static_assert(SM_ARRAY_SIZE(remedies) == SM_KVMPROBE_REASON_NUM, "a remedy for each reason");

const char *sm_kvmprobe_remedy(const struct sm_kvmprobe *answer)
{
	return remedies[answer->reason];
}

/* ---- as JSON, from sm-vmm and in the file ---------------------------------------------------- */

struct doc {
	const char *key;	/* in the file only */
	struct sm_u64 reason, mips;
	const char *text;
};

static const struct sm_field doc_fields[] = {
	{ "key", SM_FIELD_STRING, offsetof(struct doc, key) },
	{ "reason", SM_FIELD_WORD, offsetof(struct doc, reason), .words = reason_words },
	{ "mips", SM_FIELD_U64, offsetof(struct doc, mips) },
	{ "text", SM_FIELD_STRING, offsetof(struct doc, text) },
	{ NULL },
};
static const struct sm_schema doc_schema = { NULL, sizeof(struct doc), doc_fields };

static int read_answer(const struct sm_buf *b, struct sm_arena *arena, struct doc *d,
		       struct sm_kvmprobe *answer)
{
	int r = sm_json_read(arena, "answer", b->data ? (const char *)b->data : "", b->len,
			     &doc_schema, d, NULL);

	if (r == 0 && (!d->reason.set || !d->text))
		r = -EINVAL;
	if (r == 0)
		*answer = (struct sm_kvmprobe){
			.usable = d->reason.v == SM_KVMPROBE_WORKS,
			.reason = (enum sm_kvmprobe_reason)d->reason.v,
			.mips = d->mips.v,
			.text = d->text,
		};
	return r;
}

static const char *first_line(struct sm_arena *arena, const struct sm_buf *b)
{
	const char *text = b->data ? (const char *)b->data : "";

	return sm_arena_strndup(arena, text, strcspn(text, "\n"));
}

void sm_kvmprobe_run(const char *vmm, struct sm_arena *arena, struct sm_kvmprobe *answer)
{
	const char *const argv[] = { vmm, "--probe", NULL };
	sm_auto_buf struct sm_buf out = SM_BUF_INIT(OUTPUT_MAX);
	int r = sm_program_output(argv, &out);
	struct doc d = { 0 };
	const char *why;

	if (read_answer(&out, arena, &d, answer) == 0)
		return;
	why = r < 0 ? strerror(-r) : r == 127 ? "cannot be run" : first_line(arena, &out);
	why = sm_arena_strf(arena, "KVM cannot be probed: %s --probe: %s", vmm, why ? why : "?");
	*answer = (struct sm_kvmprobe){
		.reason = SM_KVMPROBE_UNKNOWN,
		.text = why ? why : "KVM cannot be probed",
	};
}

/* ---- the file -------------------------------------------------------------------------------- */

/* One file as it is now. A replaced program, a module loaded again, a changed mode: each is seen. */
static int identify(char *out, size_t size, const char *what, const struct stat *st)
{
	int n = snprintf(out, size, " %s=%u:%u/%llu/%llu/%lld.%09ld", what, major(st->st_dev),
			 minor(st->st_dev), (unsigned long long)st->st_ino,
			 S_ISCHR(st->st_mode) ? (unsigned long long)st->st_rdev :
						(unsigned long long)st->st_size,
			 (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : n;
}

/* /dev/kvm, opened: only that tells what permissions, device cgroups and modules make of it. */
static int identify_device(char *out, size_t size, const char *device)
{
	sm_auto_close int fd = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int n;

	if (fd >= 0 && fstat(fd, &st) == 0)
		return identify(out, size, "kvm", &st);
	n = snprintf(out, size, " kvm=error %d", errno);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : n;
}

int sm_kvmprobe_key(const char *boot_id_file, const char *device, const char *vmm,
		    char key[SM_KVMPROBE_KEY_MAX])
{
	sm_auto_buf struct sm_buf boot = SM_BUF_INIT(128);
	struct stat st;
	size_t len;
	int r = sm_read_file_at(AT_FDCWD, boot_id_file, &boot);

	if (r < 0)
		return r;
	if (stat(vmm, &st) < 0)
		return -errno;
	len = boot.data ? strcspn((const char *)boot.data, "\n") : 0;
	if (!len)
		return -ENODATA;
	snprintf(key, SM_KVMPROBE_KEY_MAX, "uid=%u boot=%.*s", (unsigned int)geteuid(), (int)len,
		 (const char *)boot.data);
	len = strlen(key);
	r = identify(key + len, SM_KVMPROBE_KEY_MAX - len, "vmm", &st);
	if (r < 0)
		return r;
	len += (size_t)r;
	r = identify_device(key + len, SM_KVMPROBE_KEY_MAX - len, device);
	return r < 0 ? r : 0;
}

int sm_kvmprobe_load(const char *dir, const char *key, struct sm_arena *arena,
		     struct sm_kvmprobe *answer)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(KEPT_MAX);
	struct sm_kvmprobe kept;
	struct doc d = { 0 };
	int r = sm_kept_read(dir, SM_KVMPROBE_FILE, &text);

	if (r == 0)
		r = read_answer(&text, arena, &d, &kept);
	if (r < 0)
		return r;
	if (!d.key || strcmp(d.key, key) != 0)
		return -ESTALE;
	*answer = kept;
	answer->kept = true;
	return 0;
}

int sm_kvmprobe_save(const char *dir, const char *key, const struct sm_kvmprobe *answer)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;
	int r;

	sm_jsonout_open(j);
	sm_jsonout_string(j, "key", key);
	sm_jsonout_string(j, "reason", sm_word_name(reason_words, answer->reason));
	sm_jsonout_number(j, "mips", (long long)answer->mips);
	sm_jsonout_string(j, "text", answer->text);
	sm_jsonout_close(j);
	r = sm_jsonout_text(j, &text, &len);
	return r < 0 ? r : sm_kept_write(dir, SM_KVMPROBE_FILE, text, len);
}

/* What may be otherwise in a moment, without anything in the key being so. */
static bool lasts(enum sm_kvmprobe_reason reason)
{
	return reason != SM_KVMPROBE_UNKNOWN && reason != SM_KVMPROBE_BUSY &&
	       reason != SM_KVMPROBE_BROKEN;
}

void sm_kvmprobe(const char *vmm, bool fresh, struct sm_arena *arena, struct sm_kvmprobe *answer)
{
	sm_auto_free char *dir = sm_kept_dir();
	char key[SM_KVMPROBE_KEY_MAX];
	bool keyed = dir && sm_kvmprobe_key(BOOT_ID, DEVICE, vmm, key) == 0;
	int r;

	if (keyed && !fresh && sm_kvmprobe_load(dir, key, arena, answer) == 0)
		return;
	sm_kvmprobe_run(vmm, arena, answer);
	if (!keyed || !lasts(answer->reason))
		return;
	r = sm_kvmprobe_save(dir, key, answer);
	if (r < 0)
		sm_debug("%s/" SM_KVMPROBE_FILE ": %s: each start of a container probes KVM", dir,
			 strerror(-r));
}
