/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_LOG_H
#define SM_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The log sink, the one piece of process-wide mutable state. Lines have runc's two shapes, because
 * containerd and Podman parse them:
 *
 *	text	time="2026-11-23T10:48:25Z" level=error msg="…"
 *	json	{"level":"error","msg":"…","time":"2026-11-23T10:48:25Z"}
 *
 * Each line is written by one write(2). Safe to call from any thread.
 */
enum sm_log_level { SM_LOG_ERROR, SM_LOG_WARN, SM_LOG_INFO, SM_LOG_DEBUG, SM_LOG_NUM };
enum sm_log_format { SM_LOG_TEXT, SM_LOG_JSON, SM_LOG_FORMAT_NUM };

/* Where lines go (fd stays the caller's; -1: nowhere), in which shape and up to which level.
 * Default: fd 2, text, info. Call before threads start. */
void sm_log_setup(int fd, enum sm_log_format format, enum sm_log_level max);

void sm_log(enum sm_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Seconds since 1970 as the lines have them, in UTC. gmtime() and strftime() would read the time zone's file
 * first, which sm-vmm in its jail has not. */
#define SM_LOG_TIME_LEN 21
void sm_log_time(char when[static SM_LOG_TIME_LEN], uint64_t now);

#define sm_error(...) sm_log(SM_LOG_ERROR, __VA_ARGS__)
#define sm_warn(...) sm_log(SM_LOG_WARN, __VA_ARGS__)
#define sm_info(...) sm_log(SM_LOG_INFO, __VA_ARGS__)
#define sm_debug(...) sm_log(SM_LOG_DEBUG, __VA_ARGS__)

#endif
