/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * mkdir(ROOT/ID) decides who creates a container: it succeeds once. From then on the status is
 *
 *	creating ──► created ──► running	created, running ⇄ paused
 *	    └───────────┴───────────┴──────────────────────┴──► stopped
 *
 * Only creating, created and running are ever written. A container is stopped as soon as its sm-vmm
 * is gone, however that came about; one that is being created also when its creator is gone. It is
 * paused when sm-vmm says so, by the length of the file `paused`, which is its own to write. Because a
 * process is named by pid, start time and boot, no other process is ever taken for it; nor is a cgroup
 * after a reboot.
 *
 * start names itself in state.json before it asks sm-vmm, and writes "running" after. Who reads "created"
 * with a starter that is dead cannot know which of the two it is, and asks sm-vmm.
 *
 * The lock file is held by who changes the container. Readers take no lock: state.json is replaced
 * by rename. delete unlinks the directory while it holds the lock, so whoever got the lock
 * afterwards looks whether its directory is still there.
 */
#include "runtime/store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/jsonout.h"
#include "runtime/resources.h"
#include "runtime/vmm.h"

#define STATE_MAX (16u << 20)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define ASK_MS 1000

static const char *const status_names[] = { "creating", "created", "running", "paused", "stopped" };
_Static_assert(SM_ARRAY_SIZE(status_names) == SM_STATUS_NUM, "a name for each status");

static const struct sm_word status_words[] = {
	{ "creating", SM_STATUS_CREATING }, { "created", SM_STATUS_CREATED },
	{ "running", SM_STATUS_RUNNING },   { NULL, 0 },
};

/* state.json as it is read */
struct doc {
	struct sm_u64 version;
	const char *id, *bundle, *rootfs, *created, *boot;
	struct sm_u64 status;
	struct sm_u64 pid, start, creator_pid, creator_start;
	struct sm_pairs annotations;
	struct sm_strs cgroups;
	struct sm_u64 memory;
	const struct sm_resources *updated;
};

static const struct sm_field doc_fields[] = {
	{ "version", SM_FIELD_U32, offsetof(struct doc, version) },
	{ "id", SM_FIELD_STRING, offsetof(struct doc, id) },
	{ "bundle", SM_FIELD_STRING, offsetof(struct doc, bundle) },
	{ "rootfs", SM_FIELD_STRING, offsetof(struct doc, rootfs) },
	{ "created", SM_FIELD_STRING, offsetof(struct doc, created) },
	{ "bootId", SM_FIELD_STRING, offsetof(struct doc, boot) },
	{ "status", SM_FIELD_WORD, offsetof(struct doc, status), .words = status_words },
	{ "pid", SM_FIELD_U32, offsetof(struct doc, pid) },
	{ "startTime", SM_FIELD_U64, offsetof(struct doc, start) },
	{ "creatorPid", SM_FIELD_U32, offsetof(struct doc, creator_pid) },
	{ "creatorStartTime", SM_FIELD_U64, offsetof(struct doc, creator_start) },
	{ "annotations", SM_FIELD_PAIRS, offsetof(struct doc, annotations) },
	{ "cgroups", SM_FIELD_STRINGS, offsetof(struct doc, cgroups) },
	{ "memory", SM_FIELD_U32, offsetof(struct doc, memory) },
	{ "updated", SM_FIELD_OBJECT, offsetof(struct doc, updated),
	  .schema = &sm_resources_schema },
	{ NULL },
};
static const struct sm_schema doc_schema = { NULL, sizeof(struct doc), doc_fields };

int sm_store_check_id(const char *id, struct sm_err *err)
{
	size_t n = strlen(id);

	if (!n)
		return sm_err_set(err, -EINVAL, "container id cannot be empty");
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("_+-.", id[i]))
			return sm_err_set(err, -EINVAL, "invalid container ID format");
	if (!strcmp(id, ".") || !strcmp(id, "..") || n > SM_STORE_ID_MAX)
		return sm_err_set(err, -EINVAL, "invalid container ID format");
	return 0;
}

static int open_dir(struct sm_store *s, const char *root, const char *id, int *rootfd)
{
	s->root = root;
	s->id = strdup(id);
	if (!s->id)
		return -ENOMEM;
	*rootfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *rootfd < 0 ? -errno : 0;
}

int sm_store_create(const char *root, const char *id, struct sm_store *s, struct sm_err *err)
{
	sm_auto_close int rootfd = -1;
	int r = sm_store_check_id(id, err);

	if (r < 0)
		return r;
	r = sm_mkdir_p(root, 0700);
	if (r == 0)
		r = open_dir(s, root, id, &rootfd);
	if (r < 0)
		return sm_err_sys(err, r, "state directory %s", root);
	if (mkdirat(rootfd, id, 0711) < 0)
		return errno == EEXIST ?
			       sm_err_set(err, -EEXIST, "container with given ID already exists") :
			       sm_err_sys(err, errno, "mkdir %s/%s", root, id);
	s->dirfd = openat(rootfd, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->dirfd < 0) {
		r = sm_err_sys(err, errno, "%s/%s", root, id);
		unlinkat(rootfd, id, AT_REMOVEDIR);
		return r;
	}
	return sm_store_lock(s, err);
}

int sm_store_open(const char *root, const char *id, struct sm_store *s, struct sm_err *err)
{
	sm_auto_close int rootfd = -1;
	int r = sm_store_check_id(id, err);

	if (r < 0)
		return r;
	r = open_dir(s, root, id, &rootfd);
	if (r == 0) {
		s->dirfd = openat(rootfd, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = s->dirfd < 0 ? -errno : 0;
	}
	if (r == -ENOENT || r == -ENOTDIR)
		return sm_err_set(err, -ENOENT, "container does not exist");
	return r < 0 ? sm_err_sys(err, r, "%s/%s", root, id) : 0;
}

static bool still_there(const struct sm_store *s)
{
	sm_auto_close int rootfd = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat there, mine;

	return rootfd >= 0 && fstat(s->dirfd, &mine) == 0 &&
	       fstatat(rootfd, s->id, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       there.st_dev == mine.st_dev && there.st_ino == mine.st_ino;
}

int sm_store_lock(struct sm_store *s, struct sm_err *err)
{
	int r;

	if (s->lock >= 0)
		return 0;
	s->lock = openat(s->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0) {
		r = errno == ENOENT ? sm_err_set(err, -ENOENT, "container does not exist") :
				      sm_err_sys(err, errno, "%s/%s/lock", s->root, s->id);
		return r;
	}
	do {
		r = flock(s->lock, LOCK_EX) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r < 0)
		sm_err_sys(err, r, "%s/%s/lock", s->root, s->id);
	else if (!still_there(s))
		r = sm_err_set(err, -ENOENT, "container does not exist");
	if (r < 0)
		sm_close(&s->lock);
	return r;
}

int sm_store_remove(struct sm_store *s, struct sm_err *err)
{
	sm_auto_close int rootfd = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = rootfd < 0 ? -errno : sm_remove_tree_at(rootfd, s->id);

	return r < 0 ? sm_err_sys(err, r, "remove %s/%s", s->root, s->id) : 0;
}

void sm_store_close(struct sm_store *s)
{
	sm_close(&s->lock);
	sm_close(&s->dirfd);
	free(s->id);
	s->id = NULL;
}

/* "" where it cannot be told. */
static const char *boot_id(struct sm_buf *text)
{
	if (sm_read_file_at(AT_FDCWD, BOOT_ID, text) < 0 || !text->data)
		return "";
	text->data[strcspn((char *)text->data, "\n")] = '\0';
	return (const char *)text->data;
}

int sm_store_save(const struct sm_store *s, const struct sm_state *state, struct sm_err *err)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new("\t");
	sm_auto_buf struct sm_buf boot = SM_BUF_INIT(128);
	const char *text;
	size_t len;
	int r;

	sm_jsonout_open(j);
	sm_jsonout_number(j, "version", SM_STORE_VERSION);
	sm_jsonout_string(j, "id", state->id);
	sm_jsonout_string(j, "status", sm_status_name(state->status));
	sm_jsonout_string(j, "bootId", boot_id(&boot));
	sm_jsonout_number(j, "pid", state->vmm.pid);
	sm_jsonout_number(j, "startTime", (long long)state->vmm.start);
	sm_jsonout_number(j, "creatorPid", state->creator.pid);
	sm_jsonout_number(j, "creatorStartTime", (long long)state->creator.start);
	sm_jsonout_string(j, "bundle", state->bundle);
	sm_jsonout_string(j, "rootfs", state->rootfs);
	sm_jsonout_string(j, "created", state->created);
	sm_jsonout_strings(j, "cgroups", state->cgroups.v, state->cgroups.n);
	sm_jsonout_pairs(j, "annotations", &state->annotations);
	sm_jsonout_number(j, "memory", state->memory_mib);
	if (state->updated) {
		sm_jsonout_key(j, "updated");
		sm_resources_show(j, state->updated);
	}
	sm_jsonout_close(j);
	r = sm_jsonout_text(j, &text, &len);
	if (r == 0)
		r = sm_write_file_at(s->dirfd, "state.json", text, len, 0600, 0);
	return r < 0 ? sm_err_sys(err, r, "%s/%s/state.json", s->root, s->id) : 0;
}

static int state_from_doc(const struct sm_store *s, const struct doc *d, struct sm_state *out,
			  struct sm_err *err)
{
	if (d->version.v != SM_STORE_VERSION)
		return sm_err_set(err, -EINVAL, "%s/%s/state.json: version %llu: must be %d",
				  s->root, s->id, (unsigned long long)d->version.v,
				  SM_STORE_VERSION);
	if (!d->id || strcmp(d->id, s->id) != 0 || !d->bundle || !d->rootfs || !d->created ||
	    !d->status.set)
		return sm_err_set(err, -EINVAL, "%s/%s/state.json: is not complete", s->root,
				  s->id);
	out->id = d->id;
	out->bundle = d->bundle;
	out->rootfs = d->rootfs;
	out->created = d->created;
	out->status = (enum sm_status)d->status.v;
	out->vmm = (struct sm_proc_id){ (pid_t)d->pid.v, d->start.v };
	out->creator = (struct sm_proc_id){ (pid_t)d->creator_pid.v, d->creator_start.v };
	out->annotations = d->annotations;
	out->cgroups = d->cgroups;
	out->memory_mib = (uint32_t)d->memory.v;
	out->updated = d->updated;
	return 0;
}

/* Of what another boot left only files remain: its pids and cgroups are other people's now. */
static void forget_other_boot(const struct doc *d, struct sm_state *state)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(128);
	const char *now = boot_id(&text);

	if (!d->boot || !*d->boot || !*now || !strcmp(d->boot, now))
		return;
	state->vmm = state->creator = (struct sm_proc_id){ 0, 0 };
	state->cgroups.n = 0;
}

static void settle_start(const struct sm_store *s, struct sm_state *state)
{
	sm_auto_vmm struct sm_vmm vmm = SM_VMM_INIT;
	bool started = false;

	if (state->status != SM_STATUS_CREATED || !state->creator.pid ||
	    sm_proc_alive(&state->creator) || !sm_proc_alive(&state->vmm))
		return;
	if (sm_vmm_connect(s->dirfd, ASK_MS, &vmm, NULL) == 0 &&
	    sm_vmm_started(&vmm, &started, NULL) == 0 && started)
		state->status = SM_STATUS_RUNNING;
}

int sm_store_load(const struct sm_store *s, struct sm_state **state, struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(STATE_MAX);
	struct sm_arena *arena;
	struct doc d = { 0 };
	struct stat st, paused;
	int r = sm_read_file_at(s->dirfd, "state.json", &text);

	if (r == -ENOENT)
		return sm_err_set(err, -ENOENT, "container does not exist");
	if (r < 0 || fstat(s->dirfd, &st) < 0)
		return sm_err_sys(err, r < 0 ? r : -errno, "%s/%s/state.json", s->root, s->id);
	arena = sm_arena_new(4 * STATE_MAX);
	*state = arena ? sm_arena_alloc(arena, sizeof(**state)) : NULL;
	if (!*state) {
		sm_arena_free(arena);
		return sm_err_sys(err, -ENOMEM, "%s/%s/state.json", s->root, s->id);
	}
	(*state)->arena = arena;
	(*state)->owner = st.st_uid;
	(*state)->paused = fstatat(s->dirfd, "paused", &paused, AT_SYMLINK_NOFOLLOW) == 0 &&
			   paused.st_size > 0;
	r = sm_json_read(arena, "state.json", text.data ? (const char *)text.data : "", text.len,
			 &doc_schema, &d, err);
	if (r < 0)
		sm_err_wrap(err, "%s/%s", s->root, s->id);
	else
		r = state_from_doc(s, &d, *state, err);
	if (r < 0) {
		sm_state_free(state);
		return r;
	}
	forget_other_boot(&d, *state);
	settle_start(s, *state);
	return 0;
}

void sm_state_free(struct sm_state **state)
{
	if (*state)
		sm_arena_free((*state)->arena);
	*state = NULL;
}

int sm_store_find(const char *root, const char *id, struct sm_store *s, struct sm_state **state,
		  struct sm_err *err)
{
	int r = sm_store_open(root, id, s, err);

	return r < 0 ? r : sm_store_load(s, state, err);
}

/* ---- processes ------------------------------------------------------------------------------ */

bool sm_proc_alive(const struct sm_proc_id *proc)
{
	uint64_t start;

	return proc->pid > 0 && sm_proc_start_time(proc->pid, &start) == 0 && start == proc->start;
}

int sm_proc_open(const struct sm_proc_id *proc)
{
	int fd;

	if (proc->pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, proc->pid, 0);
	if (fd < 0)
		return -errno;
	/* Asked after the pidfd was opened, so that it can't be another process's. */
	if (!sm_proc_alive(proc)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

int sm_proc_wait_end(int pidfd, int timeout_ms)
{
	uint64_t end = sm_now_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000;
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	for (;;) {
		uint64_t now = sm_now_ns();
		int left = timeout_ms < 0 ? -1 :
			   now < end	  ? (int)((end - now + 999999) / 1000000) :
					    0;
		int n = poll(&p, 1, left);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int sm_proc_self(struct sm_proc_id *proc)
{
	proc->pid = getpid();
	return sm_proc_start_time(proc->pid, &proc->start);
}

enum sm_status sm_state_status(const struct sm_state *state)
{
	if (state->status == SM_STATUS_CREATING)
		return sm_proc_alive(&state->creator) ? SM_STATUS_CREATING : SM_STATUS_STOPPED;
	if (!sm_proc_alive(&state->vmm))
		return SM_STATUS_STOPPED;
	return state->paused ? SM_STATUS_PAUSED : state->status;
}

const char *sm_status_name(enum sm_status status)
{
	return status_names[status];
}
