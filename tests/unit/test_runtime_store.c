/* SPDX-License-Identifier: Apache-2.0 */
/* src/runtime/store: ids, who wins, what a state is worth when processes die. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "runtime/store.h"

#define CREATORS 16

static char *make_root(void)
{
	char *root = strdup("/tmp/sm-store-XXXXXX");

	assert_non_null(root);
	assert_non_null(mkdtemp(root));
	return root;
}

static void drop_root(char *root)
{
	assert_int_equal(sm_remove_tree_at(AT_FDCWD, root), 0);
	free(root);
}

static struct sm_state *make_state(const char *id)
{
	struct sm_arena *arena = sm_arena_new(1 << 20);
	struct sm_state *s = sm_arena_alloc(arena, sizeof(*s));
	static const struct sm_pair pairs[] = { { "a", "1" }, { "quote\"", "line\nend" } };
	static const char *const cgroups[] = { "/sys/fs/cgroup/x" };

	assert_non_null(s);
	*s = (struct sm_state){
		.arena = arena,
		.id = sm_arena_strdup(arena, id),
		.bundle = "/bundle",
		.rootfs = "/bundle/rootfs",
		.created = "2026-11-23T10:00:00.000000001Z",
		.status = SM_STATUS_RUNNING,
		.annotations = { pairs, 2 },
		.cgroups = { cgroups, 1 },
	};
	assert_int_equal(sm_proc_self(&s->vmm), 0);
	return s;
}

static void test_ids(void **state)
{
	static const char *const good[] = { "a", "A-b_c+d.e", "0", "...", ".x", "-" };
	static const char *const bad[] = { ".", "..", "a/b", "/", "a b", "a\nb", "ü", "a:b", "*" };
	char longest[SM_STORE_ID_MAX + 2];
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	for (size_t i = 0; i < SM_ARRAY_SIZE(good); i++)
		assert_int_equal(sm_store_check_id(good[i], NULL), 0);
	for (size_t i = 0; i < SM_ARRAY_SIZE(bad); i++) {
		assert_int_equal(sm_store_check_id(bad[i], &err), -EINVAL);
		assert_string_equal(sm_err_text(&err), "invalid container ID format");
	}
	assert_int_equal(sm_store_check_id("", &err), -EINVAL);
	assert_string_equal(sm_err_text(&err), "container id cannot be empty");
	memset(longest, 'x', sizeof(longest));
	longest[SM_STORE_ID_MAX + 1] = '\0';
	assert_int_equal(sm_store_check_id(longest, NULL), -EINVAL);
	longest[SM_STORE_ID_MAX] = '\0';
	assert_int_equal(sm_store_check_id(longest, NULL), 0);
}

static void test_round_trip(void **state)
{
	char *root = make_root();
	sm_auto_store struct sm_store s = SM_STORE_INIT, again = SM_STORE_INIT;
	sm_auto_state struct sm_state *out = make_state("web"), *in = NULL;
	struct stat st;
	sm_auto_free char *dir = sm_strf("%s/web", root);

	assert_int_equal(sm_store_create(root, "web", &s, NULL), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(sm_store_find(root, "web", &again, &in, NULL), -ENOENT);
	sm_store_close(&again);
	assert_int_equal(sm_store_save(&s, out, NULL), 0);
	assert_int_equal(sm_store_find(root, "web", &again, &in, NULL), 0);
	assert_string_equal(in->id, "web");
	assert_string_equal(in->bundle, out->bundle);
	assert_string_equal(in->created, out->created);
	assert_int_equal(in->vmm.pid, getpid());
	assert_int_equal(in->vmm.start, out->vmm.start);
	assert_int_equal(in->annotations.n, 2);
	assert_string_equal(in->annotations.v[1].value, "line\nend");
	assert_int_equal(in->cgroups.n, 1);
	assert_int_equal(sm_state_status(in), SM_STATUS_RUNNING);
	assert_int_equal(sm_store_remove(&s, NULL), 0);
	assert_int_equal(stat(dir, &st), -1);
	drop_root(root);
}

static void test_wrong_ids_touch_nothing(void **state)
{
	char *root = make_root();
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	sm_auto_err struct sm_err err = SM_ERR_INIT;

	assert_int_equal(sm_store_open(root, "..", &s, NULL), -EINVAL);
	assert_int_equal(sm_store_create(root, "../x", &s, NULL), -EINVAL);
	assert_int_equal(sm_store_open(root, "nosuch", &s, &err), -ENOENT);
	assert_string_equal(sm_err_text(&err), "container does not exist");
	sm_store_close(&s);
	assert_int_equal(sm_store_open("/no/such/root", "x", &s, NULL), -ENOENT);
	drop_root(root);
}

/* Of many processes that create one id, one succeeds. */
static void test_one_creator(void **state)
{
	char *root = make_root();
	int won = 0, exists = 0;

	for (int i = 0; i < CREATORS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct sm_store s = SM_STORE_INIT;

			_exit(-sm_store_create(root, "same", &s, NULL));
		}
		assert_true(pid > 0);
	}
	for (int i = 0; i < CREATORS; i++) {
		int status;

		assert_true(wait(&status) > 0);
		won += WEXITSTATUS(status) == 0;
		exists += WEXITSTATUS(status) == EEXIST;
	}
	assert_int_equal(won, 1);
	assert_int_equal(exists, CREATORS - 1);
	drop_root(root);
}

/* Who waited for the lock of a container that was deleted meanwhile does not get it, even when
 * another of the same name is there. */
static void test_lock_after_delete(void **state)
{
	char *root = make_root();
	sm_auto_store struct sm_store first = SM_STORE_INIT, waiter = SM_STORE_INIT,
				      second = SM_STORE_INIT;
	sm_auto_state struct sm_state *out = make_state("x");

	assert_int_equal(sm_store_create(root, "x", &first, NULL), 0);
	assert_int_equal(sm_store_open(root, "x", &waiter, NULL), 0);
	assert_int_equal(sm_store_remove(&first, NULL), 0);
	sm_close(&first.lock);
	assert_int_equal(sm_store_lock(&waiter, NULL), -ENOENT);
	assert_int_equal(sm_store_create(root, "x", &second, NULL), 0);
	assert_int_equal(sm_store_lock(&waiter, NULL), -ENOENT);
	assert_int_equal(sm_store_save(&waiter, out, NULL), -ENOENT);
	drop_root(root);
}

static void test_damaged(void **state)
{
	static const char *const texts[] = {
		"",
		"garbage",
		"null",
		"[]",
		"{}",
		"{\"version\":99}",
		"{\"version\":1,\"id\":\"x\"}",
		("{\"version\":1,\"id\":\"other\",\"bundle\":\"/b\",\"rootfs\":\"/r\","
		 "\"created\":\"c\",\"status\":\"running\"}"),
		("{\"version\":1,\"id\":\"x\",\"bundle\":\"/b\",\"rootfs\":\"/r\","
		 "\"created\":\"c\",\"status\":\"dancing\"}"),
	};
	char *root = make_root();
	sm_auto_store struct sm_store s = SM_STORE_INIT;
	struct sm_state *in = NULL;

	assert_int_equal(sm_store_create(root, "x", &s, NULL), 0);
	for (size_t i = 0; i < SM_ARRAY_SIZE(texts); i++) {
		sm_auto_err struct sm_err err = SM_ERR_INIT;

		assert_int_equal(sm_write_file_at(s.dirfd, "state.json", texts[i], strlen(texts[i]),
						  0600, 0),
				 0);
		assert_int_equal(sm_store_load(&s, &in, &err), -EINVAL);
		assert_null(in);
		assert_non_null(strstr(sm_err_text(&err), "state.json"));
	}
	drop_root(root);
}

/* A child that is over but not waited for: its pid and start time are taken while it lives. */
static struct sm_proc_id dead_process(pid_t *zombie)
{
	struct sm_proc_id id;
	int p[2];
	char byte;

	assert_int_equal(pipe(p), 0);
	id.pid = fork();
	if (id.pid == 0) {
		close(p[1]);
		_exit(read(p[0], &byte, 1) == 0 ? 0 : 1);
	}
	assert_int_equal(sm_proc_start_time(id.pid, &id.start), 0);
	close(p[0]);
	close(p[1]);
	*zombie = id.pid;
	assert_int_equal(waitid(P_PID, (id_t)id.pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	return id;
}

static void test_status(void **state)
{
	sm_auto_state struct sm_state *s = make_state("x");
	pid_t zombie;
	struct sm_proc_id alive = s->vmm, dead = dead_process(&zombie);
	struct sm_proc_id reborn = { alive.pid, alive.start + 1 };
	const struct {
		enum sm_status stored;
		struct sm_proc_id vmm, creator;
		enum sm_status now, paused;
	} rows[] = {
		{ SM_STATUS_CREATING, { 0, 0 }, alive, SM_STATUS_CREATING, SM_STATUS_CREATING },
		{ SM_STATUS_CREATING, alive, dead, SM_STATUS_STOPPED, SM_STATUS_STOPPED },
		{ SM_STATUS_CREATED, alive, dead, SM_STATUS_CREATED, SM_STATUS_PAUSED },
		{ SM_STATUS_CREATED, dead, alive, SM_STATUS_STOPPED, SM_STATUS_STOPPED },
		{ SM_STATUS_RUNNING, alive, dead, SM_STATUS_RUNNING, SM_STATUS_PAUSED },
		{ SM_STATUS_RUNNING, dead, dead, SM_STATUS_STOPPED, SM_STATUS_STOPPED },
		{ SM_STATUS_RUNNING, reborn, dead, SM_STATUS_STOPPED, SM_STATUS_STOPPED },
		{ SM_STATUS_RUNNING, { 0, 0 }, dead, SM_STATUS_STOPPED, SM_STATUS_STOPPED },
	};

	for (size_t i = 0; i < SM_ARRAY_SIZE(rows); i++) {
		s->status = rows[i].stored;
		s->vmm = rows[i].vmm;
		s->creator = rows[i].creator;
		s->paused = false;
		assert_int_equal(sm_state_status(s), rows[i].now);
		s->paused = true;
		assert_int_equal(sm_state_status(s), rows[i].paused);
	}
	assert_int_equal(sm_proc_open(&dead), -ESRCH);
	assert_int_equal(sm_proc_open(&reborn), -ESRCH);
	waitpid(zombie, NULL, 0);
}

static void test_wait_end(void **state)
{
	pid_t zombie = fork();
	struct sm_proc_id id = { zombie, 0 };
	int fd;

	if (zombie == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(sm_proc_start_time(zombie, &id.start), 0);
	fd = sm_proc_open(&id);
	assert_true(fd >= 0);
	assert_int_equal(sm_proc_wait_end(fd, 0), -ETIMEDOUT);
	assert_int_equal(sm_proc_wait_end(fd, 20), -ETIMEDOUT);
	kill(zombie, SIGKILL);
	assert_int_equal(sm_proc_wait_end(fd, -1), 0);
	close(fd);
	waitpid(zombie, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_wrong_ids_touch_nothing),
		cmocka_unit_test(test_one_creator),
		cmocka_unit_test(test_lock_after_delete),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_wait_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
