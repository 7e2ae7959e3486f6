/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_HV_TSC_H
#define SM_HV_TSC_H

#include <stdint.h>

/*
 * The frequency of the host's time stamp counter, for a guest that would spend 150 ms to measure it:
 * two readings of counter and clock, as far apart as the caller's own work between begin and the
 * question (1 ms at least: the rest is waited for).
 */
struct sm_tsc {
	uint64_t ns;
	uint64_t ticks;
};

void sm_tsc_begin(struct sm_tsc *t);

/* kHz; 0 where the counter does not run steadily on all CPUs, so that nobody may rely on it. */
unsigned long sm_tsc_khz(const struct sm_tsc *t);

#endif
