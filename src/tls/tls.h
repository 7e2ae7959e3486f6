/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_TLS_TLS_H
#define SM_TLS_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/opt.h"

/*
 * sm-tls ends TLS in front of a container: a process of its own, so that neither the keys nor
 * OpenSSL are in one address space with what a guest can say to sm-vmm.
 *
 *	main.c		options, signals
 *	jail.c		what is given up before the first client
 *	certs.c		certificates: which one for which name, what is negotiated
 *	front.c		the listening sockets, how many clients there can be
 *	conn.c		one client: handshake, a socket pair whose one end the guest gets, bytes
 *both ways
 */

/* ---- jail.c ---- */

/* Capabilities, core dumps, new privileges. 0 or -errno and err. */
int sm_tls_jail_drop(struct sm_err *err);

/* From here on other system calls than those that events need write a record and end the process
 * with 128 + SIGSYS. After sm_tls_jail_drop(), and when OpenSSL has been used once. 0 or -errno and
 * err. */
int sm_tls_jail_filter(struct sm_err *err);

/* Those calls, sorted. */
void sm_tls_jail_print(FILE *out);

/* ---- certs.c ---- */

struct sm_tls_certs;

/* Reads certificates and keys, the i-th of each belong together; the first is for clients that name
 * no host, or one that none of the others is for. 0 or -errno and err. */
int sm_tls_certs_load(const struct sm_opt_list *files, const struct sm_opt_list *keys,
		      struct sm_tls_certs **certs, struct sm_err *err);
/* Freed when all who use them have released them. NULL allowed. */
void sm_tls_certs_release(struct sm_tls_certs *certs);
struct sm_tls_certs *sm_tls_certs_use(struct sm_tls_certs *certs);
/* For a new client, who uses them; NULL: out of memory. */
SSL *sm_tls_certs_client(const struct sm_tls_certs *certs);

/* ---- front.c ---- */

struct sm_tls_conn;

struct sm_tls_front {
	struct sm_loop *loop;
	struct sm_tls_certs *certs;
	const char *socket; /* a container's vsock.sock */
	const char *port;   /* "80", "*" */
	uint32_t max;
	uint64_t handshake_ns, idle_ns; /* idle 0: no limit */
	uint32_t nconns;
	LIST_HEAD(, sm_tls_conn) conns;
	LIST_HEAD(, sm_tls_listener) listeners;
	struct sm_timer *retry;
	uint64_t warned_ns; /* when a failure was logged last */
};

/* "192.0.2.1:443", "[::]:443" (IPv4 too), ":443" (the same): listens from sm_tls_front_start() on.
 */
int sm_tls_front_listen(struct sm_tls_front *f, const char *where, struct sm_err *err);
void sm_tls_front_start(struct sm_tls_front *f);
void sm_tls_front_end(struct sm_tls_front *f); /* of all clients too */

/* A client has left. */
void sm_tls_front_left(struct sm_tls_front *f);

/* A line for what clients or the container do wrong, one a second at most. */
void sm_tls_front_warn(struct sm_tls_front *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- conn.c ---- */

/* fd, non-blocking, is the connection's in any case. 0 or -errno. */
int sm_tls_conn_new(struct sm_tls_front *f, int fd, const struct sockaddr_storage *peer);
void sm_tls_conn_end_all(struct sm_tls_front *f);

#endif
