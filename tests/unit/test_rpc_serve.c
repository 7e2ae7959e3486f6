/* SPDX-License-Identifier: Apache-2.0 */
/* src/rpc: what a connection and the server do with what a peer writes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "rpc_peer.h"

/* ---- serving ---- */

static void test_echo(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Echo", "k", "hello");
	peer_want_value(f, 1, "hello");
	peer_request(f, 3, "Echo", "k", "");
	peer_want_value(f, 3, "");
}

static void test_split_at_every_byte(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	uint32_t stream = 1;
	size_t len = 1;

	for (size_t cut = 0; cut < len; cut++, stream += 2) {
		b.len = 0;
		peer_put_request(&b, stream, SERVICE, "Echo", "k", "split");
		len = b.len;
		assert_int_equal(sm_write_full(f->peer, b.data, cut), 0);
		peer_turn(f);
		assert_int_equal(f->served, (stream - 1) / 2);
		assert_int_equal(sm_write_full(f->peer, b.data + cut, b.len - cut), 0);
		peer_want_value(f, stream, "split");
	}
}

static void test_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	peer_put_request(&b, 1, SERVICE, "Echo", "k", "slow");
	for (size_t i = 0; i < b.len; i++) {
		assert_int_equal(f->served, 0);
		assert_int_equal(sm_write_full(f->peer, b.data + i, 1), 0);
		peer_turn(f);
	}
	peer_want_value(f, 1, "slow");
}

static void test_two_in_one_write(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	peer_put_request(&b, 1, SERVICE, "Echo", "k", "one");
	peer_put_request(&b, 3, SERVICE, "Echo", "k", "two");
	peer_write(f, &b);
	peer_want_value(f, 1, "one");
	peer_want_value(f, 3, "two");
}

static void test_late_replies_in_any_order(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Hold", "", "");
	peer_request(f, 3, "Hold", "", "");
	peer_request(f, 5, "Echo", "", "between");
	peer_want_value(f, 5, "between");
	assert_int_equal(f->nheld, 2);
	peer_reply_value(f->held[1], "", "second");
	peer_reply_value(f->held[0], "", "first");
	f->nheld = 0;
	peer_want_value(f, 3, "second");
	peer_want_value(f, 1, "first");
}

static void test_unimplemented(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	peer_put_request(&b, 1, "other.v1.Other", "Echo", "", "");
	peer_put_request(&b, 3, SERVICE, "Nothing", "", "");
	peer_write(f, &b);
	peer_want_status(f, 1, SM_RPC_UNIMPLEMENTED, "unknown service \"other.v1.Other\"");
	peer_want_status(f, 3, SM_RPC_UNIMPLEMENTED, "unknown method \"Nothing\" of " SERVICE);
	assert_int_equal(f->served, 0);
}

static void test_failure_text_is_utf8(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Fail", "web1", "");
	peer_want_status(f, 1, SM_RPC_NOT_FOUND, "no \"web1\": \xef\xbf\xbd");
}

static void test_bad_stream_ids(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 2, "Echo", "", "");
	peer_want_status(f, 2, SM_RPC_INVALID_ARGUMENT, NULL);
	peer_request(f, 0, "Echo", "", "");
	peer_want_status(f, 0, SM_RPC_INVALID_ARGUMENT, NULL);
	peer_request(f, 7, "Echo", "", "ok");
	peer_want_value(f, 7, "ok");
	peer_request(f, 7, "Echo", "", "");
	peer_want_status(f, 7, SM_RPC_INVALID_ARGUMENT, NULL);
	peer_request(f, 5, "Echo", "", "");
	peer_want_status(f, 5, SM_RPC_INVALID_ARGUMENT, NULL);
	peer_request(f, 0xffffffff, "Echo", "", "last");
	peer_want_value(f, 0xffffffff, "last");
	assert_int_equal(f->served, 2);
}

static void test_bad_requests(void **state)
{
	static const uint8_t torn[] = { 0x0a, 0x7f, 'x' };
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	Ttrpc__Request envelope = TTRPC__REQUEST__INIT;
	uint8_t body[128];
	size_t len;

	peer_put_frame(&b, 0, 1, RPC_REQUEST, "", 0);
	peer_put_frame(&b, sizeof(torn), 3, RPC_REQUEST, torn, sizeof(torn));
	envelope.service = (char *)SERVICE;
	envelope.method = (char *)"Echo";
	envelope.payload.data = (uint8_t *)torn;
	envelope.payload.len = sizeof(torn);
	len = ttrpc__request__pack(&envelope, body);
	peer_put_frame(&b, (uint32_t)len, 5, RPC_REQUEST, body, len);
	peer_write(f, &b);
	peer_want_status(f, 1, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	peer_want_status(f, 3, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	peer_want_status(f, 5, SM_RPC_INVALID_ARGUMENT, "the request is no ttrpc.KeyValue");
	assert_int_equal(f->served, 0);
}

/* Two bytes on the wire can stand for a hundred in memory. */
static void test_memory_bomb(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t len = 2u << 20;
	sm_auto_free uint8_t *body = malloc(len);

	assert_non_null(body);
	for (size_t i = 0; i < len; i += 2) {
		body[i] = 0x2a;  /* metadata = 5, a KeyValue … */
		body[i + 1] = 0; /* … with nothing in it */
	}
	peer_put_frame(&b, (uint32_t)len, 1, RPC_REQUEST, body, len);
	assert_null(rpc_unpack(&ttrpc__request__descriptor, body, len));
	assert_int_equal(sm_set_nonblock(f->peer), 0);
	for (size_t done = 0; done < b.len;) {
		ssize_t n = write(f->peer, b.data + done, b.len - done);

		if (n > 0)
			done += (size_t)n;
		peer_turn(f);
	}
	assert_int_equal(fcntl(f->peer, F_SETFL, 0), 0);
	peer_want_status(f, 1, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
}

static void test_unknown_frame_types(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	peer_put_frame(&b, 3, 1, 3, "abc", 3);
	peer_put_frame(&b, 0, 1, 0, "", 0);
	peer_put_frame(&b, 5, 9, 0xff, "abcde", 5);
	peer_put_frame(&b, 2, 1, RPC_RESPONSE, "\x12\x00", 2); /* nobody waits for it */
	peer_put_request(&b, 1, SERVICE, "Echo", "", "still there");
	peer_write(f, &b);
	peer_want_value(f, 1, "still there");
}

static void test_oversized(void **state)
{
	struct fixture *f = *state;

	peer_feed(f, SM_RPC_FRAME_MAX + 1, 1, RPC_REQUEST);
	peer_want_status(f, 1, SM_RPC_RESOURCE_EXHAUSTED, NULL);
	peer_feed(f, SM_RPC_FRAME_MAX + 1, 2, RPC_REQUEST);
	peer_want_status(f, 2, SM_RPC_INVALID_ARGUMENT, NULL);
	peer_feed(f, SM_RPC_FRAME_MAX, 3, RPC_REQUEST);
	peer_want_status(f, 3, SM_RPC_INVALID_ARGUMENT, "the request is malformed");
	peer_request(f, 5, "Echo", "", "after");
	peer_want_value(f, 5, "after");
}

static void test_response_too_long(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Flood", "", "4194304");
	peer_want_status(f, 1, SM_RPC_RESOURCE_EXHAUSTED, "the response is too long");
}

static void test_large_response(void **state)
{
	struct fixture *f = *state;
	static char value[(1 << 20) + 1];
	uint8_t head[RPC_HEADER_LEN];
	size_t want, got = 0;
	uint32_t len;

	memset(value, 'x', sizeof(value) - 1);
	peer_request(f, 1, "Flood", "", "1048576");
	peer_run_until_readable(f);
	assert_int_equal(sm_read_full(f->peer, head, sizeof(head)), 0);
	memcpy(&len, head, sizeof(len));
	want = be32toh(len);
	assert_true(want > sizeof(value));
	while (got < want) {
		ssize_t n;

		peer_run_until_readable(f);
		n = read(f->peer, value, sizeof(value));
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(got, want);
	peer_request(f, 3, "Echo", "", "after");
	peer_want_value(f, 3, "after");
}

static void test_peer_that_does_not_read(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 12 && !f->closed; i++) {
		peer_request(f, 2 * i + 1, "Flood", "", "1000000");
		peer_turn(f);
		peer_turn(f);
	}
	assert_true(f->closed);
	assert_int_equal(f->closed_err, -ENOBUFS);
}

static void test_in_flight_limit(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < SM_RPC_INFLIGHT_MAX; i++) {
		peer_request(f, 2 * i + 1, "Hold", "", "");
		peer_turn(f);
		peer_turn(f);
	}
	assert_int_equal(f->nheld, SM_RPC_INFLIGHT_MAX);
	assert_false(f->closed);
	/* a reply makes room for one */
	peer_reply_value(f->held[--f->nheld], "", "done");
	peer_want_value(f, 2 * SM_RPC_INFLIGHT_MAX - 1, "done");
	peer_request(f, 2 * SM_RPC_INFLIGHT_MAX + 1, "Hold", "", "");
	peer_request(f, 2 * SM_RPC_INFLIGHT_MAX + 3, "Hold", "", "");
	peer_run_until(f, &f->closed);
	assert_int_equal(f->nheld, SM_RPC_INFLIGHT_MAX);
	assert_int_equal(f->closed_err, -EDQUOT);
}

/* As the agent has it, at which a request stands for each process. */
static void test_no_in_flight_limit(void **state)
{
	struct fixture *f = *state;

	sm_rpc_set_inflight(f->rpc, SIZE_MAX);
	for (uint32_t i = 0; i < HELD_MAX; i++) {
		peer_request(f, 2 * i + 1, "Hold", "", "");
		peer_turn(f);
		peer_turn(f);
	}
	assert_int_equal(f->nheld, HELD_MAX);
	assert_false(f->closed);
	peer_request(f, 2 * HELD_MAX + 1, "Echo", "", "still there");
	peer_want_value(f, 2 * HELD_MAX + 1, "still there");
	while (f->nheld) {
		f->nheld--;
		peer_reply_value(f->held[f->nheld], "", "done");
		peer_want_value(f, 2 * (uint32_t)f->nheld + 1, "done");
	}
	/* and one that is bounded later */
	sm_rpc_set_inflight(f->rpc, 1);
	peer_request(f, 2 * HELD_MAX + 3, "Hold", "", "");
	peer_request(f, 2 * HELD_MAX + 5, "Hold", "", "");
	peer_run_until(f, &f->closed);
	assert_int_equal(f->closed_err, -EDQUOT);
}

static void test_reply_after_peer_went(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Hold", "", "");
	peer_request(f, 3, "Hold", "", "");
	sm_close(&f->peer);
	peer_run_until(f, &f->closed);
	assert_int_equal(f->closed_err, 0);
	assert_int_equal(f->nheld, 2);
	assert_null(sm_rpc_call_conn(f->held[0]));
	peer_reply_value(f->held[0], "", "nobody hears this");
	sm_rpc_fail(f->held[1], SM_RPC_INTERNAL, "nor this");
	f->nheld = 0;
}

static void test_reply_after_free(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Hold", "", "");
	peer_turn(f);
	peer_turn(f);
	assert_int_equal(f->nheld, 1);
	sm_rpc_free(f->rpc);
	f->rpc = NULL;
	assert_null(sm_rpc_call_conn(f->held[0]));
	peer_reply_value(f->held[0], "", "nobody hears this");
	f->nheld = 0;
	assert_false(f->closed);
}

/* A reply finds the peer gone before the loop does: closed() must not run inside the reply. */
static void test_reply_breaks_the_connection(void **state)
{
	struct fixture *f = *state;

	peer_request(f, 1, "Hold", "", "");
	peer_turn(f);
	peer_turn(f);
	sm_close(&f->peer);
	peer_reply_value(f->held[0], "", "nobody hears this");
	f->nheld = 0;
	assert_false(f->closed);
	peer_run_until(f, &f->closed);
	assert_int_equal(f->closed_err, -EPIPE);
}

static void test_free_in_handler(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	char c;

	f->free_in_handler = true;
	peer_put_request(&b, 1, SERVICE, "Echo", "", "");
	peer_put_request(&b, 3, SERVICE, "Echo", "", "");
	peer_write(f, &b);
	peer_run_until_readable(f);
	assert_int_equal(f->served, 1);
	assert_true(read(f->peer, &c, 1) <= 0);
	assert_false(f->closed);
}

static void test_free_in_closed(void **state)
{
	struct fixture *f = *state;

	f->free_in_closed = true;
	sm_close(&f->peer);
	peer_run_until(f, &f->closed);
	assert_null(f->rpc);
}

/* ---- descriptors ---- */

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void send_with_fds(struct fixture *f, const struct sm_buf *b, size_t nfds)
{
	int fds[SM_IO_FDS_MAX];

	for (size_t i = 0; i < nfds; i++) {
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
	assert_int_equal(sm_send_fds(f->peer, b->data, b->len, fds, nfds), b->len);
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
}

static void test_fds_passed_and_surplus_closed(void **state)
{
	struct fixture *f = *state;
	size_t before = count_fds();
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	peer_put_request(&b, 1, SERVICE, "Take", "", "");
	send_with_fds(f, &b, 3);
	peer_want_value(f, 1, "3");
	assert_true(f->passed[0] >= 0);
	assert_int_equal(fcntl(f->passed[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(count_fds(), before + 1);
	close(f->passed[0]);
}

/* Descriptors belong to the frame whose first byte they came with, whatever is glued to it. */
static void test_fds_among_other_frames(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t before = count_fds();

	peer_request(f, 1, "Take", "", "");
	peer_put_request(&b, 3, SERVICE, "Take", "", "");
	peer_put_request(&b, 5, SERVICE, "Take", "", "");
	send_with_fds(f, &b, 2);
	peer_request(f, 7, "Take", "", "");
	peer_want_value(f, 1, "0");
	peer_want_value(f, 3, "2");
	peer_want_value(f, 5, "0");
	peer_want_value(f, 7, "0");
	assert_int_equal(f->passed[0], -1);
	/* the handler took one of stream 3 and lost its number */
	assert_int_equal(count_fds(), before + 1);
}

static void test_fds_of_frames_that_take_none(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t before = count_fds();

	peer_put_frame(&b, 2, 1, RPC_RESPONSE, "\x12\x00", 2);
	send_with_fds(f, &b, 2);
	b.len = 0;
	peer_put_request(&b, 1, "other", "Take", "", "");
	send_with_fds(f, &b, 2);
	peer_want_status(f, 1, SM_RPC_UNIMPLEMENTED, NULL);
	/* in the middle of a frame */
	b.len = 0;
	peer_put_request(&b, 3, SERVICE, "Take", "", "");
	assert_int_equal(sm_write_full(f->peer, b.data, 5), 0);
	peer_turn(f);
	sm_buf_consume(&b, 5);
	send_with_fds(f, &b, 2);
	peer_want_value(f, 3, "0");
	assert_int_equal(count_fds(), before);
}

static void test_too_many_fds(void **state)
{
	struct fixture *f = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);
	size_t before = count_fds();

	peer_put_request(&b, 1, SERVICE, "Take", "", "");
	send_with_fds(f, &b, SM_RPC_FDS_MAX);
	peer_want_value(f, 1, "250");
	close(f->passed[0]);
	assert_int_equal(count_fds(), before);
	b.len = 0;
	peer_put_request(&b, 3, SERVICE, "Take", "", "");
	send_with_fds(f, &b, SM_RPC_FDS_MAX + 1);
	peer_run_until(f, &f->closed);
	assert_int_equal(f->closed_err, -EMSGSIZE);
	assert_int_equal(count_fds(), before - 1); /* the connection's own */
}

/* ---- the server ---- */

struct server {
	struct fixture f;
	struct sm_rpc_server *server;
	struct sockaddr_un addr;
	int gone;
};

static void on_gone(void *arg, struct sm_rpc *rpc)
{
	struct server *s = arg;

	assert_non_null(rpc);
	s->gone++;
}

static int server_setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(s->addr);

	assert_non_null(s);
	s->f.peer = -1;
	s->f.loop = sm_loop_new();
	assert_non_null(s->f.loop);
	s->addr.sun_family = AF_UNIX;
	/* autobind: a fresh abstract name, unix(7) */
	assert_int_equal(bind(fd, (struct sockaddr *)&s->addr, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&s->addr, &len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(sm_rpc_server_new(s->f.loop, fd, &peer_service, s, 2, on_gone, &s->server),
			 0);
	*state = s;
	return 0;
}

static int server_teardown(void **state)
{
	struct server *s = *state;

	sm_rpc_server_free(s->server);
	sm_loop_free(s->f.loop);
	free(s);
	return 0;
}

static int dial(const struct server *s)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* an autobound name is 5 hex digits after the zero byte */
	assert_int_equal(connect(fd, (const struct sockaddr *)&s->addr, sizeof(sa_family_t) + 6),
			 0);
	return fd;
}

static void test_server(void **state)
{
	struct server *s = *state;
	int one = dial(s), two = dial(s), three;
	char c;

	peer_turn(&s->f);
	peer_turn(&s->f);
	/* the third is over the limit */
	three = dial(s);
	s->f.peer = three;
	peer_run_until_readable(&s->f);
	assert_int_equal(read(three, &c, 1), 0);
	s->f.peer = one;
	peer_request(&s->f, 1, "Fail", "one", "");
	peer_want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	close(one);
	for (int i = 0; i < 3; i++)
		peer_turn(&s->f);
	assert_int_equal(s->gone, 1);
	close(three);
	/* there is room again */
	three = dial(s);
	s->f.peer = three;
	peer_request(&s->f, 1, "Fail", "three", "");
	peer_want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	close(three);
	close(two);
}

static void test_server_other_user(void **state)
{
	struct server *s = *state;
	uid_t uid = geteuid();
	char c;

	/* As another user than root we cannot become a third one: then the peer is let in. */
	if (uid == 0)
		assert_int_equal(seteuid(65534), 0);
	s->f.peer = dial(s);
	assert_int_equal(seteuid(uid), 0);
	if (uid == 0) {
		peer_run_until_readable(&s->f);
		assert_int_equal(read(s->f.peer, &c, 1), 0);
	} else {
		peer_request(&s->f, 1, "Fail", "me", "");
		peer_want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	}
	sm_close(&s->f.peer);
}

/* Without descriptors the server waits, neither spinning nor deaf for ever. */
static void test_server_out_of_descriptors(void **state)
{
	struct server *s = *state;
	struct rlimit old, tight;
	int lowest, one = dial(s);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	lowest = dup(one);
	assert_true(lowest >= 0);
	close(lowest);
	tight = (struct rlimit){ (rlim_t)lowest, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	peer_turn(&s->f);
	peer_turn(&s->f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	s->f.peer = one;
	peer_request(&s->f, 1, "Fail", "one", "");
	peer_want_status(&s->f, 1, SM_RPC_NOT_FOUND, NULL);
	close(one);
}

/* The second request that waits ends this connection, as the server was told. */
static void test_server_in_flight_limit(void **state)
{
	struct server *s = *state;
	sm_auto_buf struct sm_buf b = SM_BUF_INIT(SIZE_MAX);

	sm_rpc_server_set_inflight(s->server, 1);
	s->f.peer = dial(s);
	peer_put_request(&b, 1, SERVICE, "Hold", "", "");
	peer_put_request(&b, 3, SERVICE, "Hold", "", "");
	peer_write(&s->f, &b);
	while (s->gone == 0)
		peer_turn(&s->f);
	assert_int_equal(s->f.nheld, 1);
	sm_rpc_fail(s->f.held[0], SM_RPC_CANCELLED, "gone");
	sm_close(&s->f.peer);
}

static void test_server_freed_with_connections(void **state)
{
	struct server *s = *state;
	int one = dial(s), two = dial(s);
	char c;

	peer_turn(&s->f);
	peer_turn(&s->f);
	sm_rpc_server_free(s->server);
	s->server = NULL;
	assert_int_equal(s->gone, 0);
	assert_int_equal(read(one, &c, 1), 0);
	assert_int_equal(read(two, &c, 1), 0);
	close(one);
	close(two);
}

/* A socket that carries no descriptors and knows no credentials, as vsock: frames go as ever, but
 * the server lets nobody in. */
static int tcp_listen(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET };
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void test_tcp(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in addr;
	int listener = tcp_listen(&addr);
	struct sm_rpc_server *server;
	struct sm_rpc *rpc;
	char c;

	sm_rpc_free(f->rpc);
	sm_close(&f->peer);
	f->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(f->peer, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(sm_rpc_new(f->loop, accept(listener, NULL, NULL), &peer_service, f, NULL,
				    NULL, &rpc),
			 0);
	f->rpc = rpc;
	peer_request(f, 1, "Echo", "", "by tcp");
	peer_want_value(f, 1, "by tcp");

	assert_int_equal(sm_rpc_server_new(f->loop, listener, &peer_service, f, 8, NULL, &server),
			 0);
	sm_close(&f->peer);
	f->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(f->peer, (struct sockaddr *)&addr, sizeof(addr)), 0);
	peer_run_until_readable(f);
	assert_int_equal(read(f->peer, &c, 1), 0);
	sm_rpc_server_free(server);
}

#define CASE(name)        cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)
#define SERVER_CASE(name) cmocka_unit_test_setup_teardown(name, server_setup, server_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_echo),
		CASE(test_split_at_every_byte),
		CASE(test_byte_by_byte),
		CASE(test_two_in_one_write),
		CASE(test_late_replies_in_any_order),
		CASE(test_unimplemented),
		CASE(test_failure_text_is_utf8),
		CASE(test_bad_stream_ids),
		CASE(test_bad_requests),
		CASE(test_memory_bomb),
		CASE(test_unknown_frame_types),
		CASE(test_oversized),
		CASE(test_response_too_long),
		CASE(test_large_response),
		CASE(test_peer_that_does_not_read),
		CASE(test_in_flight_limit),
		CASE(test_no_in_flight_limit),
		CASE(test_reply_after_peer_went),
		CASE(test_reply_after_free),
		CASE(test_reply_breaks_the_connection),
		CASE(test_free_in_handler),
		CASE(test_free_in_closed),
		CASE(test_fds_passed_and_surplus_closed),
		CASE(test_fds_among_other_frames),
		CASE(test_fds_of_frames_that_take_none),
		CASE(test_too_many_fds),
		SERVER_CASE(test_server),
		SERVER_CASE(test_server_other_user),
		SERVER_CASE(test_server_out_of_descriptors),
		SERVER_CASE(test_server_in_flight_limit),
		SERVER_CASE(test_server_freed_with_connections),
		CASE(test_tcp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
