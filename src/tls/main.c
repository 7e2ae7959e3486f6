/* SPDX-License-Identifier: Apache-2.0 */
/* sm-tls: see tls.h. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clean.h"
#include "base/io.h"
#include "base/log.h"
#include "tls/tls.h"

#define CONNECTIONS  1024
#define HANDSHAKE_NS 10000000000ll

struct options {
	struct sm_opt_list listen, certificates, keys;
	const char *socket, *port;
	int connections;
	int64_t handshake_ns, idle_ns;
	bool debug, print_seccomp, version, help;
};

struct tls {
	struct options o;
	struct sm_tls_front front;
};

static int parse(struct options *o, int argc, char **argv, struct sm_err *err)
{
	const struct sm_opt table[] = {
		{ "listen", 'l', SM_OPT_LIST, &o->listen, "ADDRESS:PORT",
		  "where to listen; may be given again" },
		{ "certificate", 'c', SM_OPT_LIST, &o->certificates, "FILE",
		  "certificate chain, PEM; may be given again, for other names" },
		{ "key", 'k', SM_OPT_LIST, &o->keys, "FILE", "its private key, in the same order" },
		{ "socket", 's', SM_OPT_STRING, &o->socket, "FILE",
		  "vsock.sock in the container's state directory" },
		{ "port", 'p', SM_OPT_STRING, &o->port, "PORT",
		  "at which the container listens; * (default): its first TCP listener" },
		{ "connections", 0, SM_OPT_INT, &o->connections, "N",
		  "clients at a time (default 1024); others wait" },
		{ "handshake-timeout", 0, SM_OPT_DURATION, &o->handshake_ns, "TIME",
		  "from a client's first byte to the container's answer (default 10s)" },
		{ "idle-timeout", 0, SM_OPT_DURATION, &o->idle_ns, "TIME",
		  "ends connections on which nothing moves (default 0: never)" },
		{ "debug", 0, SM_OPT_BOOL, &o->debug, NULL, "debug messages" },
		{ "print-seccomp", 0, SM_OPT_BOOL, &o->print_seccomp, NULL,
		  "print the system calls that it may make once it has begun" },
		{ "version", 'v', SM_OPT_BOOL, &o->version, NULL, "print the version" },
		{ "help", 'h', SM_OPT_BOOL, &o->help, NULL, "print this text" },
		{ NULL },
	};
	int r = sm_opt_parse_only(table, argc, argv, err);

	if (r < 0)
		return r;
	if (o->help) {
		printf("usage: sm-tls [options]\n\nEnds TLS in front of a container.\n\n");
		sm_opt_help(table, stdout);
	}
	return 0;
}

static int check(const struct options *o, struct sm_err *err)
{
	char *end;
	long port = strtol(o->port, &end, 10);

	if (!o->listen.n || !o->certificates.n || !o->socket)
		return sm_err_set(err, -EINVAL,
				  "--listen, --certificate, --key and --socket must be given (see "
				  "--help)");
	if (o->certificates.n != o->keys.n)
		return sm_err_set(err, -EINVAL, "there must be a --key for each --certificate");
	if (strcmp(o->port, "*") != 0 && (*end || port < 1 || port > 65535))
		return sm_err_set(err, -EINVAL, "--port %s: must be 1 to 65535, or *", o->port);
	if (o->connections < 1 || o->connections > 1000000)
		return sm_err_set(err, -EINVAL, "--connections %d: must be 1 to 1000000",
				  o->connections);
	if (o->handshake_ns <= 0 || o->idle_ns < 0)
		return sm_err_set(err, -EINVAL,
				  "a timeout must not be negative, and that of "
				  "handshakes not 0");
	return 0;
}

static void on_signal(void *arg, int signo)
{
	struct tls *t = arg;
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	struct sm_tls_certs *fresh;

	if (signo != SIGHUP) {
		sm_loop_stop(t->front.loop);
		return;
	}
	if (sm_tls_certs_load(&t->o.certificates, &t->o.keys, &fresh, &err) < 0) {
		sm_error("sm-tls: reload: %s: going on with the old certificates",
			 sm_err_text(&err));
		return;
	}
	sm_tls_certs_release(t->front.certs);
	t->front.certs = fresh;
	sm_info("certificates reloaded");
}

static int setup_loop(struct tls *t, struct sm_err *err)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	t->front.loop = sm_loop_new();
	if (!t->front.loop)
		return sm_err_sys(err, -ENOMEM, "event loop");
	r = sm_loop_signals(t->front.loop, &set, on_signal, t);
	return r < 0 ? sm_err_sys(err, r, "signals") : 0;
}

/* Each client has three descriptors at most at a time. */
static void raise_fds(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

static int run(struct tls *t, struct sm_err *err)
{
	int r = check(&t->o, err);

	t->front.socket = t->o.socket;
	t->front.port = t->o.port;
	t->front.max = (uint32_t)t->o.connections;
	t->front.handshake_ns = (uint64_t)t->o.handshake_ns;
	t->front.idle_ns = (uint64_t)t->o.idle_ns;
	if (r < 0 || (r = setup_loop(t, err)) < 0)
		return r;
	raise_fds();
	for (size_t i = 0; r == 0 && i < t->o.listen.n; i++)
		r = sm_tls_front_listen(&t->front, t->o.listen.v[i], err);
	/* As a reload will read them: without privileges. */
	if (r < 0 || (r = sm_tls_jail_drop(err)) < 0 ||
	    (r = sm_tls_certs_load(&t->o.certificates, &t->o.keys, &t->front.certs, err)) < 0 ||
	    (r = sm_tls_jail_filter(err)) < 0)
		return r;
	sm_tls_front_start(&t->front);
	r = sm_loop_run(t->front.loop);
	return r < 0 ? sm_err_sys(err, r, "event loop") : 0;
}

static void release(struct tls *t)
{
	sm_tls_front_end(&t->front);
	sm_tls_certs_release(t->front.certs);
	sm_loop_free(t->front.loop);
	sm_opt_list_free(&t->o.listen);
	sm_opt_list_free(&t->o.certificates);
	sm_opt_list_free(&t->o.keys);
}

int main(int argc, char **argv)
{
	struct tls t = {
		.o = { .port = "*", .connections = CONNECTIONS, .handshake_ns = HANDSHAKE_NS }
	};
	sm_auto_err struct sm_err err = SM_ERR_INIT;
	int r;

	sm_fix_stdio();
	r = parse(&t.o, argc, argv, &err);
	if (r == 0 && t.o.version)
		printf("sm-tls version %s\n", PACKAGE_VERSION);
	if (t.o.debug)
		sm_log_setup(2, SM_LOG_TEXT, SM_LOG_DEBUG);
	if (r == 0 && t.o.print_seccomp)
		sm_tls_jail_print(stdout);
	if (r == 0 && !t.o.help && !t.o.version && !t.o.print_seccomp)
		r = run(&t, &err);
	release(&t);
	if (r < 0)
		sm_error("sm-tls: %s", sm_err_text(&err));
	return r < 0 ? 1 : 0;
}
