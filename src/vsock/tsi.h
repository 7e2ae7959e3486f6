/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_TSI_H
#define SM_VSOCK_TSI_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/loop.h"
#include "virtio/queue.h"
#include "vsock/packet.h"
#include "vsock/tsi_policy.h"
#include "vsock/vsock.h"

/*
 * TSI, the guest's sockets in our network namespace: docs/tsi.md is the wire. What stands where:
 *
 *	tsi.c		control packets: decode, check, dispatch, the ring of answers
 *	tsi_sock.c	the sockets: create, bind, connect, listen, accept, release
 *	tsi_dgram.c	datagrams both ways
 *	tsi_hand.c	connections that somebody else accepted, and who listens where
 *	tsi_ports.c	which of the guest's sockets are at which port, where there is a port map
 *	tsi_option.c	which options there are
 *	tsi_base.c	the dialect of libkrunfw's kernels, where it differs
 *	tsi_policy.c	who may talk to whom; the port map
 *
 * A socket lives here until a stream is established on it: then its descriptor moves into a struct
 * sm_stream and it is gone, but for the base dialect, which goes on speaking of it.
 */
#define SM_TSI_PORT 620u
#define SM_TSI_KEY_MIN 0x40000000u
#define SM_TSI_KEY_MAX 0x7fffffffu
#define SM_TSI_ADDR 128u	/* an addr on the wire */
#define SM_TSI_BODY 320u	/* no request but a datagram is longer */
#define SM_TSI_ANSWER 272u	/* … nor an answer */
#define SM_TSI_ANSWERS 64u
#define SM_TSI_LISTENERS_MAX 1024u
#define SM_TSI_BUCKETS 4096u
#define SM_TSI_DATAGRAM_MAX 65507u	/* the longest there is */
#define SM_TSI_SCRATCH 65536u

enum sm_tsi_op {
	SM_TSI_CREATE = 1024,
	SM_TSI_CONNECT,
	SM_TSI_GETNAME,
	SM_TSI_SENDTO_ADDR,
	SM_TSI_SENDTO_DATA,
	SM_TSI_LISTEN,
	SM_TSI_ACCEPT,
	SM_TSI_RELEASE,
	SM_TSI_HELLO = 1040,
	SM_TSI_SETSOCKOPT,
	SM_TSI_GETSOCKOPT,
	SM_TSI_BIND,
	SM_TSI_ACCEPTED = 1045,
	SM_TSI_RECVFROM,
	SM_TSI_SENDTO,
	SM_TSI_ERROR,
};

struct sm_vsock;
struct sm_stream;

union sm_tsi_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

enum sm_tsi_state {
	SM_TSI_FRESH,		/* a stream socket, bound perhaps. Takes: all but datagrams */
	SM_TSI_CONNECTING,	/* connect(2) is under way. Takes: RELEASE, options */
	SM_TSI_CONNECTED,	/* … has ended, and the answer is to be sent: then a stream, or
				 * FRESH again */
	SM_TSI_JOINING,		/* base: answered, the guest's REQUEST is to come */
	SM_TSI_JOINED,		/* base: the descriptor is its stream's */
	SM_TSI_LISTENING,	/* Takes: ACCEPT, LISTEN, RELEASE, options */
	SM_TSI_DATAGRAM,	/* a datagram socket. Takes: all but LISTEN and ACCEPT */
	SM_TSI_STATE_NUM
};

/* A connection on its way to the guest. */
struct sm_tsi_conn {
	int fd;
	union sm_tsi_addr local, peer;
	uint8_t *prefix;	/* on the heap: bytes to be read before those of fd; NULL: none */
	uint32_t prefix_len;
	bool foreign;		/* fd was handed over */
	STAILQ_ENTRY(sm_tsi_conn) link;
};

struct sm_tsi_sock {
	struct sm_tsi *tsi;
	uint32_t key;
	enum sm_tsi_state state;
	enum sm_tsi_proto proto;
	int family;
	int fd;
	struct sm_io *io;
	uint16_t port;		/* of bind(2), 0 if there was none */
	bool readable;		/* no EAGAIN since the last event */
	bool lingers;		/* its SO_LINGER would make close(2) wait */
	int result;		/* CONNECTED: of connect(2) */
	uint32_t events;	/* that epoll told of since it watches: the stream has to know */
	int error;		/* DATAGRAM: an errno, to be told */
	uint32_t guest_alloc;
	uint32_t backlog, announce;	/* LISTENING: connections that may yet be announced */
	uint64_t total;		/* LISTENING: connections given to the guest */
	STAILQ_HEAD(, sm_tsi_conn) handed;	/* LISTENING: to be announced before others */
	uint32_t nhanded;
	uint32_t hint;		/* DATAGRAM: how long the last one was */

	bool queues_errors;	/* DATAGRAM: has had IP_RECVERR */
	uint32_t reply_port;	/* where the answer to a CONNECT, ACCEPT that waits goes */

	/* base */
	bool has_destination;
	uint32_t vm_port;
	uint32_t accepts, accepted;	/* ACCEPTs that wait, connections not told of */
	union sm_tsi_addr peer, to;	/* of CONNECT, SENDTO_ADDR */

	bool is_ready;
	LIST_ENTRY(sm_tsi_sock) by_key, all;
	TAILQ_ENTRY(sm_tsi_sock) ready;
};

struct sm_tsi_answer {
	uint32_t key, buf_alloc;
	uint16_t op, len;
	uint8_t body[SM_TSI_ANSWER];
};

struct sm_tsi_ports;

struct sm_tsi {
	struct sm_vsock *vs;
	struct sm_loop *loop;
	struct sm_tsi_policy *policy;
	struct sm_tsi_ports *ports;	/* NULL without a port map */
	bool extended;		/* the guest said HELLO */
	bool trace;
	bool starved;		/* a listener could not accept: no descriptor, no memory */
	uint32_t flows_max;
	uint64_t full_ns;	/* when a line said that there is no room */
	/* Of denials: up to when lines to be written were given out, how many are left of them, and how
	 * many denials there had been at the last one. */
	uint64_t denial_ns, denials_told;
	uint32_t denial_lines;
	uint32_t nsocks, nlisteners;
	LIST_HEAD(, sm_tsi_sock) all;
	LIST_HEAD(, sm_tsi_sock) by_key[SM_TSI_BUCKETS];
	TAILQ_HEAD(, sm_tsi_sock) ready;
	struct sm_tsi_answer answers[SM_TSI_ANSWERS];	/* a ring */
	uint32_t answer_at, nanswers;
	/* The end of a datagram that is longer than the rx buffers at hand. */
	uint32_t left_key, left_at, left_len;
	uint8_t scratch[SM_TSI_SCRATCH];
};

/* A request of the guest, as copied. */
struct sm_tsi_req {
	const struct sm_vsock_hdr *h;
	const struct sm_chain *chain;
	uint32_t key;
	uint32_t len;			/* of body: not of a datagram */
	uint8_t body[SM_TSI_BODY];
};

/* ---- tsi.c: what the device calls ---- */

void sm_tsi_packet(struct sm_tsi *t, const struct sm_vsock_hdr *h, const struct sm_chain *c);
bool sm_tsi_is_full(const struct sm_tsi *t); /* one more packet might be one answer too many */
bool sm_tsi_send_answers(struct sm_tsi *t);  /* false: there are more, but no rx buffers */
bool sm_tsi_is_ready(const struct sm_tsi *t);
int sm_tsi_serve(struct sm_tsi *t); /* the first ready socket: bytes, or -ENOBUFS */
void sm_tsi_reset(struct sm_tsi *t);
void sm_tsi_free(struct sm_tsi *t);

/* A stream's ERROR: false without an rx buffer. */
bool sm_tsi_tell_error(struct sm_tsi *t, const struct sm_stream *s);

/* ---- tsi.c: for the rest ---- */

void sm_tsi_answer(struct sm_tsi *t, const struct sm_tsi_req *q, const void *body, size_t len);
void sm_tsi_result(struct sm_tsi *t, const struct sm_tsi_req *q, int result);
/* result, and the socket's name as the guest is to see it, if there is a socket (NULL: none): an
 * answer of 136 bytes */
#define SM_TSI_NAMED 136u
void sm_tsi_put_named(const struct sm_tsi *t, const struct sm_tsi_sock *s, int result,
		      uint8_t body[SM_TSI_NAMED]);
void sm_tsi_drop(struct sm_tsi *t, const struct sm_tsi_req *q, const char *why);

/* A control packet at once, into an rx buffer: false if there is none. */
bool sm_tsi_send(struct sm_tsi *t, struct sm_vsock_hdr h, const void *body);

struct sm_vsock_hdr sm_tsi_hdr(const struct sm_tsi *t, uint32_t key, uint16_t op, uint32_t len);

uint32_t sm_tsi_get32(const uint8_t *p);
uint16_t sm_tsi_get16(const uint8_t *p);
void sm_tsi_put32(uint8_t *p, uint32_t v);
void sm_tsi_put16(uint8_t *p, uint16_t v);

/* addr_len at p, the address behind it: 0, -EINVAL or -EAFNOSUPPORT. */
int sm_tsi_get_addr(const uint8_t *p, union sm_tsi_addr *a);
socklen_t sm_tsi_addr_len(const union sm_tsi_addr *a);

void sm_tsi_trace(const struct sm_tsi *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- tsi_sock.c ---- */

struct sm_tsi_sock *sm_tsi_find(struct sm_tsi *t, uint32_t key);
/* The descriptor of (key, host port), a socket's or a stream's: -1 if there is none. */
int sm_tsi_find_fd(struct sm_tsi *t, uint32_t key, uint32_t host_port);
void sm_tsi_ready(struct sm_tsi_sock *s);
void sm_tsi_sock_free(struct sm_tsi_sock *s);
int sm_tsi_sock_serve(struct sm_tsi_sock *s); /* bytes, -ENOBUFS */
void sm_tsi_freed(struct sm_tsi *t); /* a stream or a socket is gone */
bool sm_tsi_has_room(struct sm_tsi *t);
int sm_tsi_make(struct sm_tsi *t, const struct sm_tsi_req *q, int protocol);
int sm_tsi_sock_connect(struct sm_tsi_sock *s, union sm_tsi_addr *a);
int sm_tsi_sock_bind(struct sm_tsi_sock *s, const union sm_tsi_addr *a);
int sm_tsi_sock_listen(struct sm_tsi_sock *s, int32_t backlog);
int sm_tsi_accept_one(struct sm_tsi_sock *s, union sm_tsi_addr *peer); /* a descriptor, -errno */
/* Makes a stream of a connection and tells the guest: there is an rx buffer for that in c. The
 * connection is used up, or -errno. */
int sm_tsi_announce(struct sm_tsi_sock *s, struct sm_tsi_conn *conn, const struct sm_chain *c);
int sm_tsi_watch(struct sm_tsi_sock *s, uint32_t events);

/* Whether the policy lets it: connect and send to `a`, or bind and listen at it. A destination is
 * settled, and where it is a port that the guest itself has, by the map another one of ours, that. */
enum sm_tsi_action { SM_TSI_TO, SM_TSI_AT, SM_TSI_ACTION_NUM };
bool sm_tsi_may(struct sm_tsi_sock *s, enum sm_tsi_action action, union sm_tsi_addr *a);
uint32_t sm_tsi_buf(const struct sm_tsi *t); /* of the next stream */

void sm_tsi_create(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_bind(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_connect(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_listen(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_accept(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_release(struct sm_tsi *t, const struct sm_tsi_req *q);

/* ---- tsi_dgram.c ---- */

void sm_tsi_sendto(struct sm_tsi *t, const struct sm_tsi_req *q);
int sm_tsi_dgram_serve(struct sm_tsi_sock *s); /* bytes, -ENOBUFS */
bool sm_tsi_send_left(struct sm_tsi *t);

/* ---- tsi_hand.c ---- */

/* Announces what was handed over: bytes, -ENOBUFS. */
int sm_tsi_hand_serve(struct sm_tsi_sock *s);
void sm_tsi_hand_drop(struct sm_tsi_sock *s); /* all of it */
/* The local name of a stream that came by a socket without one of its own. */
int sm_tsi_listener_name(struct sm_tsi *t, uint32_t guest_port, uint32_t host_port,
			 union sm_tsi_addr *a);

/* ---- tsi_ports.c ---- */

/* What a socket is at a port of ours that bind(2) gave it. */
enum sm_tsi_role {
	SM_TSI_BOUND,	/* the end of what goes out from there */
	SM_TSI_OPEN,	/* of those, what takes connections or datagrams */
	SM_TSI_ROLE_NUM
};

/* *ports is NULL where there is no map. */
int sm_tsi_ports_new(const struct sm_tsi_policy *p, struct sm_tsi_ports **ports);
/* One more or less, n being 1 or -1. Nothing at port 0, and without a map. */
void sm_tsi_ports_add(struct sm_tsi *t, enum sm_tsi_proto proto, enum sm_tsi_role role,
		      uint16_t port, int n);
/* Makes of a destination the one that it has for us, if it is a port of the guest's … */
void sm_tsi_find_own(const struct sm_tsi_sock *s, union sm_tsi_addr *a);
/* … and of a source the one that it has for the guest. */
void sm_tsi_name_own(const struct sm_tsi_sock *s, union sm_tsi_addr *a);

/* ---- tsi_option.c ---- */

void sm_tsi_setsockopt(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_getsockopt(struct sm_tsi *t, const struct sm_tsi_req *q);

/* ---- tsi_base.c ---- */

void sm_tsi_base_create(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_base_getname(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_base_sendto_addr(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_base_sendto_data(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_base_data(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_base_listen(struct sm_tsi *t, const struct sm_tsi_req *q);
void sm_tsi_base_accept(struct sm_tsi *t, const struct sm_tsi_req *q);
/* The stream that a REQUEST of (key, 620) makes, in state WAITING; NULL: nobody expects it. */
struct sm_stream *sm_tsi_request(struct sm_tsi *t, uint32_t key);
/* The guest answered the REQUEST of a connection. */
void sm_tsi_base_opened(struct sm_tsi *t, const struct sm_stream *st);
int sm_tsi_base_serve_listener(struct sm_tsi_sock *s); /* bytes, -ENOBUFS */
/* A REQUEST for a connection, which is used up; -errno, and it is not. */
int sm_tsi_base_announce(struct sm_tsi_sock *s, struct sm_tsi_conn *conn);

#endif
