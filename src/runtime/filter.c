/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/filter.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/log.h"
#include "runtime/kept.h"

#define KEY_MAX   (1u << 20)
#define FILE_MAX  (KEY_MAX + (1u << 20))
#define NAME_SIZE 16

/* ---- the key --------------------------------------------------------------------------------- */

static int put_number(struct sm_buf *key, const struct sm_u64 *v)
{
	const uint64_t words[] = { v->set, v->v };

	return sm_buf_put(key, words, sizeof(words));
}

static int put_strings(struct sm_buf *key, const struct sm_strs *list)
{
	const uint64_t n = list->n;
	int r = sm_buf_put(key, &n, sizeof(n));

	for (size_t i = 0; r == 0 && i < list->n; i++)
		r = sm_buf_put(key, list->v[i], strlen(list->v[i]) + 1);
	return r;
}

static int put_call(struct sm_buf *key, const struct sm_seccomp_syscall *call)
{
	const uint64_t n = call->args.n;
	int r = put_strings(key, &call->names);

	if (r == 0)
		r = put_number(key, &call->action);
	if (r == 0)
		r = put_number(key, &call->errno_ret);
	if (r == 0)
		r = sm_buf_put(key, &n, sizeof(n));
	for (size_t i = 0; r == 0 && i < call->args.n; i++) {
		const struct sm_seccomp_arg *a = &call->args.v[i];
		const uint64_t words[] = { a->index.v, a->op.v, a->value.v, a->value_two.v };

		r = sm_buf_put(key, words, sizeof(words));
	}
	return r;
}

/* Another build makes other programs. */
static int put_makers(struct sm_buf *key)
{
	const struct scmp_version *lib = seccomp_version();
	struct stat st;

	if (!lib || stat("/proc/self/exe", &st) < 0)
		return -ENOENT;
	return sm_buf_printf(key, "libseccomp %u.%u.%u exe %llu/%llu/%llu/%lld.%09ld", lib->major,
			     lib->minor, lib->micro, (unsigned long long)st.st_dev,
			     (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
			     (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static int make_key(const struct sm_seccomp *profile, struct sm_buf *key)
{
	int r = put_makers(key);

	if (r == 0)
		r = put_number(key, &profile->default_action);
	if (r == 0)
		r = put_number(key, &profile->default_errno_ret);
	if (r == 0)
		r = put_number(key, &profile->flags);
	if (r == 0)
		r = put_strings(key, &profile->architectures);
	for (size_t i = 0; r == 0 && i < profile->syscalls.n; i++)
		r = put_call(key, &profile->syscalls.v[i]);
	return r;
}

/* FNV-1a */
static void choose_name(const struct sm_buf *key, char name[NAME_SIZE])
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < key->len; i++)
		hash = (hash ^ key->data[i]) * 0x100000001b3u;
	snprintf(name, NAME_SIZE, "seccomp:%x", (unsigned int)((hash >> 32) % SM_FILTER_FILES));
}

/* ---- the file -------------------------------------------------------------------------------- */

struct head {
	uint64_t key, program;	/* lengths */
};

/* -ESTALE: of another key. -EINVAL: not sound. */
static int load(const char *dir, const char *name, const struct sm_buf *key,
		struct sm_seccomp_filter *filter)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(FILE_MAX);
	int r = sm_kept_read(dir, name, &text);
	struct head head;
	size_t start = sizeof(head) + key->len;

	if (r < 0)
		return r;
	if (text.len < sizeof(head))
		return -EINVAL;
	memcpy(&head, text.data, sizeof(head));
	if (head.key != key->len || text.len < start ||
	    memcmp(text.data + sizeof(head), key->data, key->len) != 0)
		return -ESTALE;
	if (text.len == start || text.len - start != head.program)
		return -EINVAL;
	filter->bpf = malloc(head.program);
	if (!filter->bpf)
		return -ENOMEM;
	filter->len = head.program;
	memcpy(filter->bpf, text.data + start, filter->len);
	return 0;
}

static int save(const char *dir, const char *name, const struct sm_buf *key,
		const struct sm_seccomp_filter *filter)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(FILE_MAX);
	const struct head head = { key->len, filter->len };
	int r = sm_buf_put(&text, &head, sizeof(head));

	if (r == 0)
		r = sm_buf_put(&text, key->data, key->len);
	if (r == 0)
		r = sm_buf_put(&text, filter->bpf, filter->len);
	return r < 0 ? r : sm_kept_write(dir, name, text.data, text.len);
}

int sm_filter_get(const char *dir, const struct sm_seccomp *profile,
		  struct sm_seccomp_filter *filter, struct sm_err *err)
{
	sm_auto_buf struct sm_buf key = SM_BUF_INIT(KEY_MAX);
	char name[NAME_SIZE];
	bool keyed = dir && profile && profile->default_action.set && make_key(profile, &key) == 0;
	int r;

	*filter = (struct sm_seccomp_filter){ NULL };
	if (keyed) {
		choose_name(&key, name);
		filter->flags = sm_seccomp_flags(profile);
		if (load(dir, name, &key, filter) == 0)
			return 0;
	}
	r = sm_seccomp_compile(profile, filter, err);
	if (r < 0 || !keyed || !filter->bpf)
		return r;
	r = save(dir, name, &key, filter);
	if (r < 0)
		sm_debug("%s/%s: %s: the next command compiles the seccomp profile again", dir,
			 name, strerror(-r));
	return 0;
}
