/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/tsc.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "base/buf.h"
#include "base/io.h"

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define APART_NS 1000000u
#define TRIES 5

/* The host's kernel has tried the counter: it uses it for its own clock, or its flags say that it could. */
static bool steady(void)
{
	sm_auto_buf struct sm_buf text = SM_BUF_INIT(4u << 20);

	if (sm_read_file_at(AT_FDCWD, CLOCKSOURCE, &text) == 0 &&
	    strncmp((const char *)text.data, "tsc\n", 4) == 0)
		return true;
	sm_buf_free(&text);
	if (sm_read_file_at(AT_FDCWD, "/proc/cpuinfo", &text) < 0 || !text.data)
		return false;
	return strstr((const char *)text.data, " constant_tsc ") &&
	       strstr((const char *)text.data, " nonstop_tsc ");
}

/* One reading: the closest pair of several, since an interrupt may come between the two halves. */
static void read_both(struct sm_tsc *t)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		struct timespec ts;
		uint64_t before = __rdtsc(), after;

		clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
		after = __rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		t->ticks = before + best / 2;
		t->ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	}
}

void sm_tsc_begin(struct sm_tsc *t)
{
	read_both(t);
}

unsigned long sm_tsc_khz(const struct sm_tsc *t)
{
	struct sm_tsc now;

	if (!steady())
		return 0;
	do {
		read_both(&now);
	} while (now.ns - t->ns < APART_NS);
	return (unsigned long)((unsigned __int128)(now.ticks - t->ticks) * 1000000u /
			       (now.ns - t->ns));
}
