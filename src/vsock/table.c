/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>

#include "vsock/device.h"
#include "vsock/tsi.h"

/* The guest chooses its numbers: without a secret it could have all of them in one bucket, and each
 * of its packets looked for along the whole list. */
uint32_t sm_vsock_mix(const struct sm_vsock *vs, uint32_t a, uint32_t b)
{
	uint64_t h = ((uint64_t)a << 32 | b) ^ vs->secret[0];

	h = h * 0x9e3779b97f4a7c15u + vs->secret[1];
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
	return (uint32_t)(h >> 32);
}

static uint32_t bucket(const struct sm_vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	return sm_vsock_mix(vs, guest_port, host_port) % SM_VSOCK_BUCKETS;
}

struct sm_stream *sm_vsock_stream_new(struct sm_vsock *vs, bool tsi)
{
	struct sm_stream *s;

	if (!tsi && vs->nstreams - vs->ntsi == SM_VSOCK_FLOWS_MAX)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->vs = vs;
	s->source.fd = s->sink.fd = s->fd = -1;
	s->bite = SM_STREAM_BITE_MAX;
	sm_flow_wait(&s->flow);
	LIST_INSERT_HEAD(&vs->all, s, all);
	vs->nstreams++;
	s->tsi = tsi;
	vs->ntsi += tsi;
	return s;
}

void sm_vsock_stream_free(struct sm_stream *s)
{
	struct sm_vsock *vs = s->vs;

	sm_stream_close(s);
	sm_vsock_unhash(s);
	sm_vsock_disown(s);
	if (s->is_ready)
		TAILQ_REMOVE(&vs->ready, s, ready);
	if (s->is_due)
		TAILQ_REMOVE(&vs->due, s, due);
	LIST_REMOVE(s, all);
	vs->nstreams--;
	vs->ntsi -= s->tsi;
	if (s->tsi) {
		sm_tsi_ports_add(vs->tsi, SM_TSI_TCP, SM_TSI_BOUND, s->bound, -1);
		sm_tsi_freed(vs->tsi);
	}
	if (s->accepted)
		vs->naccepted--;
	free(s);
}

void sm_vsock_hash(struct sm_stream *s)
{
	LIST_INSERT_HEAD(&s->vs->by_ports[bucket(s->vs, s->guest_port, s->host_port)], s, by_ports);
	s->hashed = true;
}

void sm_vsock_unhash(struct sm_stream *s)
{
	if (s->hashed)
		LIST_REMOVE(s, by_ports);
	s->hashed = false;
}

void sm_vsock_own(struct sm_stream *s)
{
	LIST_INSERT_HEAD(&s->vs->by_host_port[bucket(s->vs, 0, s->host_port)], s, by_host_port);
	s->owned = true;
}

void sm_vsock_disown(struct sm_stream *s)
{
	if (s->owned)
		LIST_REMOVE(s, by_host_port);
	s->owned = false;
}

struct sm_stream *sm_vsock_find(struct sm_vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	struct sm_stream *s;

	LIST_FOREACH(s, &vs->by_ports[bucket(vs, guest_port, host_port)], by_ports) {
		if (s->guest_port == guest_port && s->host_port == host_port)
			return s;
	}
	return NULL;
}

struct sm_stream *sm_vsock_find_owner(struct sm_vsock *vs, uint32_t host_port)
{
	struct sm_stream *s;

	LIST_FOREACH(s, &vs->by_host_port[bucket(vs, 0, host_port)], by_host_port) {
		if (s->host_port == host_port)
			return s;
	}
	return NULL;
}

struct sm_vsock_listener *sm_vsock_find_listener(struct sm_vsock *vs, uint32_t port)
{
	struct sm_vsock_listener *l;

	LIST_FOREACH(l, &vs->listeners, link) {
		if (l->port == port)
			return l;
	}
	return NULL;
}
