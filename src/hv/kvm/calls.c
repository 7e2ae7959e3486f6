/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A register that starts or resets a device is written by a vCPU and acted upon by the loop's thread,
 * which owns the devices:
 *
 *	vCPU: link its call, ring call_fd, wait ──► loop: unlink, run, done, wake
 *
 * The wait is over as well when the machine stops: the loop's thread may then be waiting for the vCPU.
 */
#include <sys/eventfd.h>

#include "hv/kvm/machine.h"

void sm_kvm_call(void *p, void (*fn)(void *arg), void *arg)
{
	struct sm_kvm_call call = { .fn = fn, .arg = arg };
	struct sm_hv *hv = p;

	pthread_mutex_lock(&hv->lock);
	*hv->calls_end = &call;
	hv->calls_end = &call.next;
	pthread_cond_broadcast(&hv->changed);
	/* #syscalls:vcpu write futex */
	eventfd_write(hv->call_fd, 1);
	/* Under the lock, so that a call is either on the list when it is dropped or sees the flag. */
	if (atomic_load(&hv->stopping))
		sm_kvm_calls_drop(hv);
	while (!call.done)
		pthread_cond_wait(&hv->changed, &hv->lock);
	pthread_mutex_unlock(&hv->lock);
}

static struct sm_kvm_call *take(struct sm_hv *hv)
{
	struct sm_kvm_call *call = hv->calls;

	if (!call)
		return NULL;
	hv->calls = call->next;
	if (!hv->calls)
		hv->calls_end = &hv->calls;
	return call;
}

void sm_kvm_calls_serve(struct sm_hv *hv)
{
	struct sm_kvm_call *call;

	while ((call = take(hv))) {
		pthread_mutex_unlock(&hv->lock);
		call->fn(call->arg);
		pthread_mutex_lock(&hv->lock);
		call->done = true;
		pthread_cond_broadcast(&hv->changed);
	}
}

void sm_kvm_calls_drop(struct sm_hv *hv)
{
	struct sm_kvm_call *call;

	while ((call = take(hv)))
		call->done = true;
	pthread_cond_broadcast(&hv->changed);
}
