/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "tls/tls.h"

struct sm_tls_certs {
	unsigned int users; /* clients choose from it in their handshakes, after a reload too */
	size_t n;
	SSL_CTX *ctx[];
};

/* The first thing that went wrong, in OpenSSL's words. */
static int fail(struct sm_err *err, const char *file)
{
	unsigned long code = ERR_peek_error();
	const char *why = ERR_reason_error_string(code);
	int sys = ERR_SYSTEM_ERROR(code) ? ERR_GET_REASON(code) : 0;

	ERR_clear_error();
	if (sys)
		return sm_err_sys(err, sys, "%s", file);
	return sm_err_set(err, -EINVAL, "%s: %s", file, why ? why : "cannot be used");
}

/* HTTP/1.1 is what the containers speak. Who offers others only is told so (RFC 7301, 3.2). */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *outlen,
			   const unsigned char *in, unsigned int inlen, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, outlen, ours, sizeof(ours) - 1, in, inlen) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
	const struct sm_tls_certs *certs = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	for (size_t i = 0; name && i < certs->n; i++) {
		X509 *x = SSL_CTX_get0_certificate(certs->ctx[i]);

		if (x && X509_check_host(x, name, 0, 0, NULL) == 1) {
			SSL_set_SSL_CTX(ssl, certs->ctx[i]);
			break;
		}
	}
	return SSL_TLSEXT_ERR_OK;
}

/* A key with a passphrase is an error: there is nobody to ask. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static void warn_of_mode(const char *key)
{
	struct stat st;

	if (stat(key, &st) == 0 && (st.st_mode & 077))
		sm_warn("%s: others may read this key (chmod 600)", key);
}

static SSL_CTX *make(struct sm_tls_certs *certs, const char *file, const char *key,
		     struct sm_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx) {
		sm_err_sys(err, -ENOMEM, "%s", file);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* Clients resume by tickets, which are theirs to keep. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
	SSL_CTX_set_tlsext_servername_arg(ctx, certs);
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, file) != 1)
		fail(err, file);
	else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
		 SSL_CTX_check_private_key(ctx) != 1)
		fail(err, key);
	else
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* #syscalls:tls openat(2&O_CHANGES=0) newfstatat fstat read lseek close */
int sm_tls_certs_load(const struct sm_opt_list *files, const struct sm_opt_list *keys,
		      struct sm_tls_certs **out, struct sm_err *err)
{
	struct sm_tls_certs *certs = calloc(1, sizeof(*certs) + files->n * sizeof(SSL_CTX *));

	if (!certs)
		return sm_err_sys(err, -ENOMEM, "certificates");
	certs->users = 1;
	for (size_t i = 0; i < files->n; i++) {
		warn_of_mode(keys->v[i]);
		certs->ctx[i] = make(certs, files->v[i], keys->v[i], err);
		if (!certs->ctx[i]) {
			sm_tls_certs_release(certs);
			return -EINVAL;
		}
		certs->n++;
	}
	*out = certs;
	return 0;
}

void sm_tls_certs_release(struct sm_tls_certs *certs)
{
	if (!certs || --certs->users)
		return;
	for (size_t i = 0; i < certs->n; i++)
		SSL_CTX_free(certs->ctx[i]);
	free(certs);
}

struct sm_tls_certs *sm_tls_certs_use(struct sm_tls_certs *certs)
{
	certs->users++;
	return certs;
}

SSL *sm_tls_certs_client(const struct sm_tls_certs *certs)
{
	return SSL_new(certs->ctx[0]);
}
