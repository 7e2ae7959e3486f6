/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_VSOCK_FLOW_H
#define SM_VSOCK_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "vsock/packet.h"

/*
 * One stream of virtio-vsock without its descriptors: events in, updates out; no I/O, no time, no
 * memory of its own. "in" is the way guest → sink, "out" the way source → guest.
 *
 *	  WAITING ──REQUEST────────────────► OPEN ──both ways ended───────────────► CLOSING
 *	                                      │ │                                     │
 *	  CONNECTING ──RESPONSE───────────────┘ │ both ended, and the guest told so   │ RST or
 *	      │                                 ▼                                     │ SHUTDOWN(3)
 *	      └──RST──► OVER(-ECONNREFUSED)    OVER(0), RST to the guest ◄────────────┘
 *
 *	  any ──reset or broken rule──► OVER(-ECONNRESET, -EPROTO …)
 *
 * A *plain* flow is a stream of TSI's extension (docs/tsi.md), opened by control packets: it is born
 * OPEN, is told of our ends only that we send no more, and stays CLOSING until the guest closes,
 * which is answered with RST only if the guest asks for it.
 */
enum sm_flow_state {
	SM_FLOW_WAITING,	/* for the guest to connect. Nothing is sent. Takes: REQUEST */
	SM_FLOW_CONNECTING,	/* REQUEST is sent or will be. Takes: RESPONSE, RST */
	SM_FLOW_OPEN,		/* data both ways until each is ended. Takes: RW while the guest has
				 * not ended `in`, SHUTDOWN, RST, credit */
	SM_FLOW_CLOSING,	/* we ended both ways and told the guest. Takes what was on its way
				 * (RW is thrown away) until RST, or SHUTDOWN of both */
	SM_FLOW_OVER,		/* nothing is taken; at most one RST is still to be sent */
	SM_FLOW_STATE_NUM
};

/* What a packet asks of the owner of the descriptors; bits. */
#define SM_FLOW_OPENED (1u << 0)	/* begin to read the source and to write the sink */
#define SM_FLOW_DATA (1u << 1)		/* write the payload, then sm_flow_forwarded() */
#define SM_FLOW_STOP_SOURCE (1u << 2)	/* the guest reads no more: close the source,
					 * then sm_flow_source_ended() */
#define SM_FLOW_FINISH_SINK (1u << 3)	/* the guest writes no more: once all is written
					 * close the sink, then sm_flow_sink_ended() */
#define SM_FLOW_ENDED (1u << 4)		/* the state is OVER now, see err and sm_flow_complete() */

struct sm_flow {
	enum sm_flow_state state;
	int err;			/* OVER: how it ended */
	uint32_t pending;		/* control packets to send, bits by operation */
	uint8_t guest_shut;		/* SM_VSOCK_SHUT_*: what the guest ended */
	uint8_t host_shut;		/* what we ended */
	uint8_t told_shut;		/* what the guest was told of it */
	bool plain;
	bool guest_waits;		/* plain: for the RST after its SHUTDOWN of both */
	uint32_t buf;			/* bytes of the guest that we hold at most */
	uint32_t in_cnt;		/* bytes taken from the guest */
	uint32_t fwd_cnt;		/* of which left for the sink */
	uint32_t fwd_told;		/* what the guest knows of that */
	uint32_t out_cnt;		/* bytes sent to the guest */
	uint32_t guest_alloc, guest_fwd;
};

void sm_flow_wait(struct sm_flow *f);
void sm_flow_connect(struct sm_flow *f);

/* A plain flow; guest_alloc 0: nothing is sent before the guest's first packet. */
void sm_flow_open(struct sm_flow *f, uint32_t guest_alloc, uint32_t buf);

/* A packet of this stream: SM_FLOW_* bits. */
uint32_t sm_flow_packet(struct sm_flow *f, const struct sm_vsock_hdr *h);

/* n bytes left for the sink (or were thrown away with it). */
void sm_flow_forwarded(struct sm_flow *f, uint32_t n);

void sm_flow_source_ended(struct sm_flow *f);
void sm_flow_sink_ended(struct sm_flow *f);

/* Ends the stream from our side: OVER(err), the guest gets RST if it knows of the stream. */
void sm_flow_reset(struct sm_flow *f, int err);

/* The device is gone: OVER(err), or OVER(0) if both ways had ended; nothing is sent. */
void sm_flow_abandon(struct sm_flow *f, int err);

/* Bytes that may be sent to the guest now. */
uint32_t sm_flow_credit(const struct sm_flow *f);

/* Bytes taken from the guest that have not left for the sink. */
uint32_t sm_flow_held(const struct sm_flow *f);

/* OVER, but the guest had ended its way before: what is held is still to be written to the sink. */
bool sm_flow_complete(const struct sm_flow *f);

/* REQUEST or RESPONSE is still to be sent: before any data. */
bool sm_flow_shakes_hands(const struct sm_flow *f);

/* The next control packet: op, flags, credit, len 0; false if none. To be sent in any case. */
bool sm_flow_next(struct sm_flow *f, struct sm_vsock_hdr *h);

/* The header of n data bytes, n <= sm_flow_credit(). To be sent in any case. */
void sm_flow_data(struct sm_flow *f, uint32_t n, struct sm_vsock_hdr *h);

#endif
