/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/services.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/io.h"
#include "runtime/jsonout.h"

#define AGENT_PORT       1025
#define ENVIRONMENT_PORT 1026
#define TSI_PORT         620
#define PORT_MAX         ((1u << 20) - 1) /* above are sm-vmm's own */
#define SECRETS_MAX      (1u << 20)

/* ---- sockets -------------------------------------------------------------------------------- */

static int refuse_ports(struct sm_err *err, const char *text, const char *why)
{
	return sm_err_set(err, -EINVAL,
			  "config.json: annotations: " SM_ANNOTATION_VSOCK_PORTS ": \"%.100s\": %s",
			  text, why);
}

/* sm-vmm is the same user, but without root's power over files. */
static bool may_connect(const struct stat *st)
{
	if (st->st_uid == geteuid())
		return st->st_mode & S_IWUSR;
	if (st->st_gid == getegid() || group_member(st->st_gid))
		return st->st_mode & S_IWGRP;
	return st->st_mode & S_IWOTH;
}

static int open_socket(const char *path, struct sm_err *err)
{
	sm_auto_close int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return sm_err_sys(err, errno, "annotation " SM_ANNOTATION_VSOCK_PORTS ": %s", path);
	if (!S_ISSOCK(st.st_mode))
		return sm_err_set(err, -ENOTSOCK,
				  "annotation " SM_ANNOTATION_VSOCK_PORTS ": %s: is not a socket",
				  path);
	if (!may_connect(&st))
		return sm_err_set(err, -EACCES,
				  "annotation " SM_ANNOTATION_VSOCK_PORTS
				  ": %s: must be writable for uid %u, as which sm-vmm runs "
				  "without privileges: change its owner, group or mode",
				  path, (unsigned int)geteuid());
	return sm_steal_fd(&fd);
}

/* One "PORT=PATH"; it is changed. */
static int add_socket(char *item, struct sm_service_fds *fds, struct sm_err *err)
{
	char *end;
	unsigned long port = strtoul(item, &end, 10);
	int fd;

	if (end == item || *end != '=' || item[0] < '0' || item[0] > '9')
		return refuse_ports(err, item, "must be PORT=SOCKET");
	if (!port || port > PORT_MAX)
		return refuse_ports(err, item, "the port must be 1 to 1048575");
	if (port == AGENT_PORT || port == ENVIRONMENT_PORT || port == TSI_PORT)
		return refuse_ports(err, item, "620, 1025 and 1026 are taken");
	if (end[1] != '/')
		return refuse_ports(err, item, "the path of the socket must be absolute");
	for (size_t i = 0; i < fds->n; i++)
		if (fds->sockets[i].port == port)
			return refuse_ports(err, item, "the port is there twice");
	if (fds->n == SM_SERVICE_SOCKETS_MAX)
		return refuse_ports(err, item, "there can be 32 at most");
	fd = open_socket(end + 1, err);
	if (fd < 0)
		return fd;
	fds->sockets[fds->n].port = (uint32_t)port;
	fds->sockets[fds->n++].fd = fd;
	return 0;
}

static int open_sockets(const char *list, struct sm_service_fds *fds, struct sm_err *err)
{
	sm_auto_free char *copy = strdup(list);
	char *save = NULL;
	int r = copy ? 0 : sm_err_sys(err, -ENOMEM, "annotations");

	for (char *item = copy ? strtok_r(copy, ", \n", &save) : NULL; item && r == 0;
	     item = strtok_r(NULL, ", \n", &save))
		r = add_socket(item, fds, err);
	return r;
}

/* ---- environment ---------------------------------------------------------------------------- */

/* Nothing of the text gets into a message. */
static int refuse_secrets(struct sm_err *err, const char *path, const char *why)
{
	return sm_err_set(err, -EINVAL, "annotation " SM_ANNOTATION_SECRETS_FILE ": %s: %s", path,
			  why);
}

static int check_secrets(int fd, const char *path, struct sm_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return sm_err_sys(err, errno, "annotation " SM_ANNOTATION_SECRETS_FILE ": %s",
				  path);
	if (!S_ISREG(st.st_mode))
		return refuse_secrets(err, path, "is not a regular file");
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return refuse_secrets(err, path,
				      "must belong to who runs this, and be closed to all others "
				      "(chmod 600)");
	return 0;
}

static int read_secrets(const char *path, struct sm_arena *arena, struct sm_pairs *out,
			struct sm_err *err)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(SECRETS_MAX);
	sm_auto_err struct sm_err hidden = SM_ERR_INIT;
	char self[32];
	sm_auto_close int fd =
		*path == '/' ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
	int r;

	if (*path != '/')
		return refuse_secrets(err, path, "must be an absolute path");
	if (fd < 0)
		return sm_err_sys(err, errno, "annotation " SM_ANNOTATION_SECRETS_FILE ": %s",
				  path);
	r = check_secrets(fd, path, err);
	if (r < 0)
		return r;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	r = sm_read_file_at(AT_FDCWD, self, &text);
	if (r < 0)
		return sm_err_sys(err, r, "annotation " SM_ANNOTATION_SECRETS_FILE ": %s", path);
	r = sm_json_read_pairs(arena, path, text.data ? (const char *)text.data : "", text.len, out,
			       &hidden);
	return r < 0 ? refuse_secrets(err, path, "must be a JSON object of strings") : 0;
}

/* Sealed: what sm-vmm gets cannot be changed by it, nor by who else may have it. */
static int keep(const char *text, size_t len)
{
	sm_auto_close int fd = memfd_create("environment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = sm_write_full(fd, text, len);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return sm_steal_fd(&fd);
}

static int write_environment(const struct sm_pairs *env, const struct sm_pairs *secrets)
{
	sm_auto_json struct sm_jsonout *j = sm_jsonout_new(NULL);
	const char *text;
	size_t len;
	int r;

	sm_jsonout_open(j);
	sm_jsonout_key(j, "env");
	sm_jsonout_open(j);
	for (size_t i = 0; i < env->n; i++)
		sm_jsonout_string(j, env->v[i].key, env->v[i].value);
	sm_jsonout_close(j);
	sm_jsonout_key(j, "secrets");
	sm_jsonout_open(j);
	for (size_t i = 0; i < secrets->n; i++)
		sm_jsonout_string(j, secrets->v[i].key, secrets->v[i].value);
	sm_jsonout_close(j);
	sm_jsonout_close(j);
	r = sm_jsonout_text(j, &text, &len);
	return r < 0 ? r : keep(text, len);
}

static int open_environment(const char *env, const char *file, struct sm_arena *arena,
			    struct sm_service_fds *fds, struct sm_err *err)
{
	struct sm_pairs pairs = { NULL, 0 }, secrets = { NULL, 0 };
	int r = 0;

	if (env)
		r = sm_json_read_pairs(arena, "annotation " SM_ANNOTATION_ENVIRONMENT, env,
				       strlen(env), &pairs, err);
	if (r == 0 && file)
		r = read_secrets(file, arena, &secrets, err);
	if (r < 0)
		return r;
	fds->environment = write_environment(&pairs, &secrets);
	return fds->environment < 0 ? sm_err_sys(err, fds->environment, "environment of the guest")
				    : 0;
}

/* ---- both ----------------------------------------------------------------------------------- */

int sm_service_fds_open(const struct sm_config *config, struct sm_arena *arena,
			struct sm_service_fds *fds, struct sm_err *err)
{
	const char *ports = sm_config_annotation(config, SM_ANNOTATION_VSOCK_PORTS);
	const char *env = sm_config_annotation(config, SM_ANNOTATION_ENVIRONMENT);
	const char *file = sm_config_annotation(config, SM_ANNOTATION_SECRETS_FILE);
	int r = ports ? open_sockets(ports, fds, err) : 0;

	if (r == 0 && (env || file))
		r = open_environment(env, file, arena, fds, err);
	if (r < 0)
		sm_service_fds_close(fds);
	return r;
}

void sm_service_fds_close(struct sm_service_fds *fds)
{
	sm_close(&fds->environment);
	for (size_t i = 0; i < fds->n; i++)
		sm_close(&fds->sockets[i].fd);
	fds->n = 0;
}
