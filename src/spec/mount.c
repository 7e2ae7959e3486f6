/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/mount.h>
#include <string.h>

#include "base/clean.h"
#include "spec/mount.h"

/* <sys/mount.h> and <linux/mount.h> do not go together before glibc 2.37. */
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum kind { SET, CLEAR, PROPAGATION, REC_SET, REC_CLEAR, COPY_UP, IDMAP };

struct option {
	const char *name;
	enum kind kind;
	uint64_t value;
};

/* Sorted by name: `features` lists them. */
static const struct option options[] = {
	{ "async", CLEAR, MS_SYNCHRONOUS },
	{ "atime", CLEAR, MS_NOATIME },
	{ "bind", SET, MS_BIND },
	{ "defaults", SET, 0 },
	{ "dev", CLEAR, MS_NODEV },
	{ "diratime", CLEAR, MS_NODIRATIME },
	{ "dirsync", SET, MS_DIRSYNC },
	{ "exec", CLEAR, MS_NOEXEC },
	{ "idmap", IDMAP, false },
	{ "iversion", SET, MS_I_VERSION },
	{ "lazytime", SET, MS_LAZYTIME },
	{ "loud", CLEAR, MS_SILENT },
	{ "mand", SET, MS_MANDLOCK },
	{ "noatime", SET, MS_NOATIME },
	{ "nodev", SET, MS_NODEV },
	{ "nodiratime", SET, MS_NODIRATIME },
	{ "noexec", SET, MS_NOEXEC },
	{ "noiversion", CLEAR, MS_I_VERSION },
	{ "nolazytime", CLEAR, MS_LAZYTIME },
	{ "nomand", CLEAR, MS_MANDLOCK },
	{ "norelatime", CLEAR, MS_RELATIME },
	{ "nostrictatime", CLEAR, MS_STRICTATIME },
	{ "nosuid", SET, MS_NOSUID },
	{ "nosymfollow", SET, MS_NOSYMFOLLOW },
	{ "private", PROPAGATION, MS_PRIVATE },
	{ "ratime", REC_CLEAR, MOUNT_ATTR_NOATIME },
	{ "rbind", SET, MS_BIND | MS_REC },
	{ "rdev", REC_CLEAR, MOUNT_ATTR_NODEV },
	{ "rdiratime", REC_CLEAR, MOUNT_ATTR_NODIRATIME },
	{ "relatime", SET, MS_RELATIME },
	{ "remount", SET, MS_REMOUNT },
	{ "rexec", REC_CLEAR, MOUNT_ATTR_NOEXEC },
	{ "ridmap", IDMAP, true },
	{ "rnoatime", REC_SET, MOUNT_ATTR_NOATIME },
	{ "rnodev", REC_SET, MOUNT_ATTR_NODEV },
	{ "rnodiratime", REC_SET, MOUNT_ATTR_NODIRATIME },
	{ "rnoexec", REC_SET, MOUNT_ATTR_NOEXEC },
	{ "rnorelatime", REC_CLEAR, MOUNT_ATTR_RELATIME },
	{ "rnostrictatime", REC_CLEAR, MOUNT_ATTR_STRICTATIME },
	{ "rnosuid", REC_SET, MOUNT_ATTR_NOSUID },
	{ "rnosymfollow", REC_SET, MOUNT_ATTR_NOSYMFOLLOW },
	{ "ro", SET, MS_RDONLY },
	{ "rprivate", PROPAGATION, MS_PRIVATE | MS_REC },
	{ "rrelatime", REC_SET, MOUNT_ATTR_RELATIME },
	{ "rro", REC_SET, MOUNT_ATTR_RDONLY },
	{ "rrw", REC_CLEAR, MOUNT_ATTR_RDONLY },
	{ "rshared", PROPAGATION, MS_SHARED | MS_REC },
	{ "rslave", PROPAGATION, MS_SLAVE | MS_REC },
	{ "rstrictatime", REC_SET, MOUNT_ATTR_STRICTATIME },
	{ "rsuid", REC_CLEAR, MOUNT_ATTR_NOSUID },
	{ "rsymfollow", REC_CLEAR, MOUNT_ATTR_NOSYMFOLLOW },
	{ "runbindable", PROPAGATION, MS_UNBINDABLE | MS_REC },
	{ "rw", CLEAR, MS_RDONLY },
	{ "shared", PROPAGATION, MS_SHARED },
	{ "silent", SET, MS_SILENT },
	{ "slave", PROPAGATION, MS_SLAVE },
	{ "strictatime", SET, MS_STRICTATIME },
	{ "suid", CLEAR, MS_NOSUID },
	{ "symfollow", CLEAR, MS_NOSYMFOLLOW },
	{ "sync", SET, MS_SYNCHRONOUS },
	{ "tmpcopyup", COPY_UP, 0 },
	{ "unbindable", PROPAGATION, MS_UNBINDABLE },
};

const struct sm_word sm_mount_propagation_words[] = {
	{ "private", MS_PRIVATE },
	{ "rprivate", MS_PRIVATE | MS_REC },
	{ "rshared", MS_SHARED | MS_REC },
	{ "rslave", MS_SLAVE | MS_REC },
	{ "runbindable", MS_UNBINDABLE | MS_REC },
	{ "shared", MS_SHARED },
	{ "slave", MS_SLAVE },
	{ "unbindable", MS_UNBINDABLE },
	{ NULL }
};

static const struct option *find(const char *name)
{
	for (size_t i = 0; i < SM_ARRAY_SIZE(options); i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

/* mount_setattr(2): the three ways of keeping access times are one field, and a change of it has to
 * clear the whole field. (MOUNT_ATTR_RELATIME is that field's zero.) */
static uint64_t rec_field(const struct option *o)
{
	bool atime = o->value == MOUNT_ATTR_RELATIME || (o->value & MOUNT_ATTR__ATIME);

	return atime ? MOUNT_ATTR__ATIME : o->value;
}

/* The last word about a flag counts. */
static int apply(struct sm_mount_options *out, const struct option *o)
{
	switch (o->kind) {
	case SET:
		out->flags |= o->value;
		out->clear_flags &= ~o->value;
		break;
	case CLEAR:
		out->flags &= ~o->value;
		out->clear_flags |= o->value;
		break;
	case PROPAGATION:
		if (out->npropagation == SM_MOUNT_PROPAGATION_MAX)
			return -E2BIG;
		out->propagation[out->npropagation++] = o->value;
		break;
	case REC_SET:
		out->rec_set &= ~rec_field(o);
		out->rec_set |= o->value;
		if (rec_field(o) == MOUNT_ATTR__ATIME)
			out->rec_clear |= MOUNT_ATTR__ATIME;
		else
			out->rec_clear &= ~o->value;
		break;
	case REC_CLEAR:
		out->rec_set &= ~o->value;
		out->rec_clear |= rec_field(o);
		break;
	case COPY_UP:
		out->copy_up = true;
		break;
	case IDMAP:
		out->idmap = true;
		out->idmap_recursive = o->value;
		break;
	}
	return 0;
}

static const char *join(struct sm_arena *arena, const struct sm_strs *words)
{
	size_t len = 0;
	char *data;

	for (size_t i = 0; i < words->n; i++)
		if (!find(words->v[i]))
			len += strlen(words->v[i]) + 1;
	data = sm_arena_alloc(arena, len + 1);
	if (!data)
		return NULL;
	for (size_t i = 0, at = 0; i < words->n; i++) {
		size_t n = strlen(words->v[i]);

		if (find(words->v[i]))
			continue;
		if (at)
			data[at++] = ',';
		memcpy(data + at, words->v[i], n);
		at += n;
	}
	return data;
}

int sm_mount_options_parse(struct sm_arena *arena, const struct sm_strs *words,
			   struct sm_mount_options *out)
{
	bool data = false;

	*out = (struct sm_mount_options){ 0 };
	for (size_t i = 0; i < words->n; i++) {
		const struct option *o = find(words->v[i]);
		int rc = o ? apply(out, o) : 0;

		if (rc)
			return rc;
		data |= !o && words->v[i][0];
	}
	if (!data)
		return 0;
	out->data = join(arena, words);
	return out->data ? 0 : -ENOMEM;
}

const char *sm_mount_option_name(size_t i)
{
	return i < SM_ARRAY_SIZE(options) ? options[i].name : NULL;
}
