/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls (vsock.h): who may connect where, and what a stream is joined to. */
#include "config.h"

#include "vsock/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vsock/device.h"
#include "vsock/tsi.h"

#define FIRST_OWN_PORT (1u << 20)

struct sm_vdev *sm_vsock_vdev(struct sm_vsock *vs)
{
	return &vs->vdev;
}

void sm_vsock_counters(const struct sm_vsock *vs, struct sm_vsock_counters *out)
{
	*out = vs->counters;
	out->flows = vs->nstreams + (vs->tsi ? vs->tsi->nsocks : 0);
	out->listeners = vs->tsi ? vs->tsi->nlisteners : 0;
}

static bool in_use(struct sm_vsock *vs, uint32_t port)
{
	return sm_vsock_find_owner(vs, port) || sm_vsock_find_listener(vs, port);
}

uint32_t sm_vsock_port(struct sm_vsock *vs)
{
	do {
		if (vs->next_port < FIRST_OWN_PORT || vs->next_port == UINT32_MAX)
			vs->next_port = FIRST_OWN_PORT;
		vs->next_port++;
	} while (in_use(vs, vs->next_port));
	return vs->next_port;
}

static void describe(struct sm_stream *s, const struct sm_vsock_stream *d)
{
	s->answer = d->answer && d->sink < 0;
	s->opened = d->opened;
	s->done = d->done;
	s->arg = d->arg;
}

/* A stream of these descriptors that owns its port, in state WAITING. */
static int new_stream(struct sm_vsock *vs, uint32_t port, const struct sm_vsock_stream *d,
		      struct sm_stream **out)
{
	struct sm_stream *s;
	int r;

	if (vs->nstreams - vs->ntsi == SM_VSOCK_FLOWS_MAX)
		return -ENOSPC;
	s = sm_vsock_stream_new(vs, false);
	if (!s)
		return -ENOMEM;
	r = sm_stream_adopt(s, d->source, d->sink);
	if (r < 0) {
		sm_vsock_stream_free(s);
		return r;
	}
	describe(s, d);
	s->host_port = port;
	sm_vsock_own(s);
	*out = s;
	return 0;
}

int sm_vsock_expect(struct sm_vsock *vs, uint32_t port, const struct sm_vsock_stream *d)
{
	struct sm_stream *s;

	return in_use(vs, port) ? -EADDRINUSE : new_stream(vs, port, d, &s);
}

int sm_vsock_connect(struct sm_vsock *vs, uint32_t guest_port, const struct sm_vsock_stream *d,
		     uint32_t *port)
{
	struct sm_stream *s;
	int r = new_stream(vs, sm_vsock_port(vs), d, &s);

	if (r < 0)
		return r;
	s->guest_port = guest_port;
	sm_vsock_hash(s);
	sm_flow_connect(&s->flow);
	sm_vsock_touch(s);
	sm_vsock_wake(vs);
	if (port)
		*port = s->host_port;
	return 0;
}

int sm_vsock_abort(struct sm_vsock *vs, uint32_t port)
{
	struct sm_stream *s = sm_vsock_find_owner(vs, port);

	if (!s)
		return -ENOENT;
	s->opened = NULL;
	s->done = NULL;
	s->drained = NULL;
	sm_vsock_disown(s);
	sm_flow_reset(&s->flow, -ECONNABORTED);
	sm_stream_close(s);
	sm_vsock_touch(s);
	sm_vsock_wake(vs);
	return 0;
}

int sm_vsock_drain(struct sm_vsock *vs, uint32_t port, sm_vsock_drained_fn *fn, void *arg)
{
	struct sm_stream *s = sm_vsock_find_owner(vs, port);

	if (!s)
		return -ENOENT;
	if (s->drained)
		return -EBUSY;
	if (!sm_flow_held(&s->flow)) {
		fn(arg);
		return 0;
	}
	s->drained = fn;
	s->drained_arg = arg;
	s->drain_at = s->flow.in_cnt;
	return 0;
}

static int listen_on(struct sm_vsock *vs, const struct sm_vsock_listener *as)
{
	struct sm_vsock_listener *l;

	if (in_use(vs, as->port))
		return -EADDRINUSE;
	l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	*l = *as;
	LIST_INSERT_HEAD(&vs->listeners, l, link);
	return 0;
}

int sm_vsock_serve(struct sm_vsock *vs, uint32_t port, sm_vsock_serve_fn *fn, void *arg)
{
	const struct sm_vsock_listener l = { .port = port, .serve = fn, .arg = arg };

	return listen_on(vs, &l);
}

int sm_vsock_listen(struct sm_vsock *vs, uint32_t port, sm_vsock_accept_fn *fn, void *arg)
{
	const struct sm_vsock_listener fresh = { .port = port, .fn = fn, .arg = arg };
	struct sm_vsock_listener *l = fn ? NULL : sm_vsock_find_listener(vs, port);

	if (fn)
		return listen_on(vs, &fresh);
	if (!l)
		return -ENOENT;
	LIST_REMOVE(l, link);
	free(l);
	return 0;
}

/* What a listener's next stream is joined to; *other is then the owner's, or -1.
 * #syscalls:loop socketpair(0=AF_UNIX) close */
static int open_for(const struct sm_vsock_listener *l, struct sm_vsock_stream *d, int *other)
{
	int sv[2];

	*d = (struct sm_vsock_stream){ .source = -1, .sink = -1 };
	if (l->serve)
		return l->serve(l->arg, d);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	d->source = d->sink = sv[0];
	*other = sv[1];
	return 0;
}

static void close_all(const struct sm_vsock_stream *d, int other)
{
	if (d->source >= 0)
		close(d->source);
	if (d->sink >= 0 && d->sink != d->source)
		close(d->sink);
	if (other >= 0)
		close(other);
}

static struct sm_stream *accept_on(struct sm_vsock *vs, const struct sm_vsock_listener *l)
{
	struct sm_vsock_stream d;
	struct sm_stream *s;
	int other = -1;

	if (vs->naccepted == SM_VSOCK_ACCEPTED_MAX || open_for(l, &d, &other) < 0)
		return NULL;
	s = sm_vsock_stream_new(vs, false);
	if (!s || sm_stream_adopt(s, d.source, d.sink) < 0) {
		if (s)
			sm_vsock_stream_free(s);
		close_all(&d, other);
		return NULL;
	}
	describe(s, &d);
	s->host_port = l->port;
	s->accepted = true;
	vs->naccepted++;
	if (l->fn)
		l->fn(l->arg, other); /* may end the listener */
	return s;
}

struct sm_stream *sm_vsock_accept(struct sm_vsock *vs, uint32_t host_port)
{
	struct sm_stream *s = sm_vsock_find_owner(vs, host_port);
	const struct sm_vsock_listener *l;

	if (s)
		return s->flow.state == SM_FLOW_WAITING ? s : NULL;
	l = sm_vsock_find_listener(vs, host_port);
	return l ? accept_on(vs, l) : NULL;
}
