/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/vmm.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/io.h"
#include "rpc/ttrpc.h"

#define BACKLOG 128

/* State directories can be deeper than the 108 bytes of a socket's path. */
static void socket_address(int dirfd, const char *name, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
}

int sm_vmm_connect(int dirfd, int timeout_ms, struct sm_vmm *vmm, struct sm_err *err)
{
	struct timeval tv = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	struct sockaddr_un sa;
	int r;

	socket_address(dirfd, SM_VMM_SOCKET, &sa);
	vmm->timeout_ms = timeout_ms;
	vmm->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (vmm->fd < 0)
		return sm_err_sys(err, errno, "sm-vmm: socket");
	/* connect() waits while the backlog is full */
	if (timeout_ms >= 0)
		setsockopt(vmm->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(vmm->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = sm_err_sys(err, errno, "sm-vmm: connect to " SM_VMM_SOCKET);
		sm_close(&vmm->fd);
		return r;
	}
	return 0;
}

void sm_vmm_close(struct sm_vmm *vmm)
{
	sm_close(&vmm->fd);
}

int sm_vmm_listen(int dirfd, const char *name)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa;
	int r;

	socket_address(dirfd, name, &sa);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
	    fchmodat(dirfd, name, 0600, 0) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

int sm_vmm_processes(struct sm_vmm *vmm, const char *id,
		     Supermachine__Agent__V1__ProcessesResponse **list, struct sm_err *err)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;
	ProtobufCMessage *rsp = NULL;
	int r;

	req.id = (char *)id;
	r = sm_rpc_call(vmm->fd, &vmm->stream, SM_VMM_SERVICE, "Processes", &req.base, NULL, 0,
			&supermachine__agent__v1__processes_response__descriptor, vmm->timeout_ms,
			&rsp, err);
	*list = (Supermachine__Agent__V1__ProcessesResponse *)rsp;
	return r;
}

static int ask(struct sm_vmm *vmm, const char *method, const ProtobufCMessage *req,
	       const ProtobufCMessageDescriptor *out, ProtobufCMessage **rsp, struct sm_err *err)
{
	return sm_rpc_call(vmm->fd, &vmm->stream, SM_VMM_SERVICE, method, req, NULL, 0, out,
			   vmm->timeout_ms, rsp, err);
}

int sm_vmm_ports(struct sm_vmm *vmm, Supermachine__Sandbox__V1__PortsResponse **list,
		 struct sm_err *err)
{
	Supermachine__Agent__V1__Empty req = SUPERMACHINE__AGENT__V1__EMPTY__INIT;
	ProtobufCMessage *rsp = NULL;
	int r = ask(vmm, "Ports", &req.base,
		    &supermachine__sandbox__v1__ports_response__descriptor, &rsp, err);

	*list = (Supermachine__Sandbox__V1__PortsResponse *)rsp;
	return r;
}

static int call(struct sm_vmm *vmm, const char *method, const ProtobufCMessage *req,
		struct sm_err *err)
{
	ProtobufCMessage *rsp = NULL;
	int r = ask(vmm, method, req, &supermachine__agent__v1__empty__descriptor, &rsp, err);

	if (r == 0)
		protobuf_c_message_free_unpacked(rsp, NULL);
	return r;
}

static int call_container(struct sm_vmm *vmm, const char *method, const char *id,
			  struct sm_err *err)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;

	req.id = (char *)id;
	return call(vmm, method, &req.base, err);
}

int sm_vmm_start(struct sm_vmm *vmm, const char *id, struct sm_err *err)
{
	return call_container(vmm, "Start", id, err);
}

int sm_vmm_wait_ready(struct sm_vmm *vmm, const char *id, struct sm_err *err)
{
	return call_container(vmm, "WaitReady", id, err);
}

int sm_vmm_pause(struct sm_vmm *vmm, const char *id, struct sm_err *err)
{
	return call_container(vmm, "Pause", id, err);
}

int sm_vmm_resume(struct sm_vmm *vmm, const char *id, struct sm_err *err)
{
	return call_container(vmm, "Resume", id, err);
}

int sm_vmm_signal(struct sm_vmm *vmm, const char *id, int signo, bool all, struct sm_err *err)
{
	Supermachine__Agent__V1__SignalRequest req = SUPERMACHINE__AGENT__V1__SIGNAL_REQUEST__INIT;

	req.id = (char *)id;
	req.signal = (uint32_t)signo;
	req.all = all;
	return call(vmm, "Signal", &req.base, err);
}

int sm_vmm_update(struct sm_vmm *vmm, const char *id, const struct sm_pairs *files,
		  struct sm_err *err)
{
	Supermachine__Agent__V1__UpdateRequest req = SUPERMACHINE__AGENT__V1__UPDATE_REQUEST__INIT;
	sm_auto_free Supermachine__Agent__V1__KeyValue *v = calloc(files->n + 1, sizeof(*v));
	sm_auto_free Supermachine__Agent__V1__KeyValue **list = calloc(files->n + 1, sizeof(*list));

	if (!v || !list)
		return sm_err_sys(err, -ENOMEM, "sm-vmm: Update");
	for (size_t i = 0; i < files->n; i++) {
		supermachine__agent__v1__key_value__init(&v[i]);
		v[i].key = (char *)files->v[i].key;
		v[i].value = (char *)files->v[i].value;
		list[i] = &v[i];
	}
	req.id = (char *)id;
	req.cgroup = list;
	req.n_cgroup = files->n;
	return call(vmm, "Update", &req.base, err);
}

int sm_vmm_stats(struct sm_vmm *vmm, const char *id,
		 Supermachine__Agent__V1__StatsResponse **stats, struct sm_err *err)
{
	Supermachine__Agent__V1__ContainerRequest req =
		SUPERMACHINE__AGENT__V1__CONTAINER_REQUEST__INIT;
	ProtobufCMessage *rsp = NULL;
	int r;

	req.id = (char *)id;
	r = sm_rpc_call(vmm->fd, &vmm->stream, SM_VMM_SERVICE, "Stats", &req.base, NULL, 0,
			&supermachine__agent__v1__stats_response__descriptor, vmm->timeout_ms, &rsp,
			err);
	*stats = (Supermachine__Agent__V1__StatsResponse *)rsp;
	return r;
}

int sm_vmm_started(struct sm_vmm *vmm, bool *started, struct sm_err *err)
{
	Supermachine__Agent__V1__Empty req = SUPERMACHINE__AGENT__V1__EMPTY__INIT;
	ProtobufCMessage *rsp = NULL;
	int r = ask(vmm, "Info", &req.base,
		    &supermachine__sandbox__v1__info_response__descriptor, &rsp, err);

	if (r < 0)
		return r;
	*started = ((Supermachine__Sandbox__V1__InfoResponse *)rsp)->started_ns != 0;
	protobuf_c_message_free_unpacked(rsp, NULL);
	return 0;
}

int sm_vmm_wait_end(struct sm_vmm *vmm, int timeout_ms)
{
	uint64_t end = sm_now_ns() + (uint64_t)timeout_ms * 1000000;
	char byte;

	for (uint64_t now; (now = sm_now_ns()) < end;) {
		struct pollfd p = { .fd = vmm->fd, .events = POLLIN };
		int n = poll(&p, 1, (int)((end - now + 999999) / 1000000));

		if (n > 0 && recv(vmm->fd, &byte, 1, 0) <= 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	return -ETIMEDOUT;
}
