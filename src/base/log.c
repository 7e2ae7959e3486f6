/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/log.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clean.h"
#include "base/utf8.h"

#define LINE_MAX_BYTES (1u << 20)

/* logrus's names */
static const char *const level_names[] = { "error", "warning", "info", "debug" };
static_assert(SM_ARRAY_SIZE(level_names) == SM_LOG_NUM, "a name for each level");

/* The log sink; written by sm_log_setup() only, before threads start. */
static struct {
	int fd;
	enum sm_log_format format;
	enum sm_log_level max;
} sink = { STDERR_FILENO, SM_LOG_TEXT, SM_LOG_INFO };

void sm_log_setup(int fd, enum sm_log_format format, enum sm_log_level max)
{
	sink.fd = fd;
	sink.format = format;
	sink.max = max;
}

/* The letter after the backslash, 0 if the character has no such escape. */
static char short_escape(uint32_t cp, enum sm_log_format format)
{
	switch (cp) {
	case '"':
	case '\\':
		return (char)cp;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	case '\a':
		return format == SM_LOG_TEXT ? 'a' : 0;
	case '\v':
		return format == SM_LOG_TEXT ? 'v' : 0;
	default:
		return 0;
	}
}

/* One character of a quoted message; returns how many bytes of s it took. */
static size_t put_char(struct sm_buf *b, const char *s, enum sm_log_format format)
{
	uint32_t cp = 0;
	size_t len = sm_utf8_decode(s, &cp);
	char letter;

	if (!len) {
		if (format == SM_LOG_JSON)
			sm_buf_put(b, "\xef\xbf\xbd", 3); /* U+FFFD */
		else
			sm_buf_printf(b, "\\x%02x", (unsigned char)s[0]);
		return 1;
	}
	letter = short_escape(cp, format);
	if (letter)
		sm_buf_printf(b, "\\%c", letter);
	else if (format == SM_LOG_TEXT && (cp < 0x20 || cp == 0x7f))
		sm_buf_printf(b, "\\x%02x", cp);
	else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
		sm_buf_printf(b, "\\u%04x", cp);
	else
		sm_buf_put(b, s, len);
	return len;
}

static void put_quoted(struct sm_buf *b, const char *s, enum sm_log_format format)
{
	sm_buf_put(b, "\"", 1);
	/* 8: the longest escape and what closes the line still fit */
	while (*s && b->len + 8 < b->max)
		s += put_char(b, s, format);
	sm_buf_put(b, "\"", 1);
}

/* Years are counted from March, so that leap days come last. */
void sm_log_time(char when[static SM_LOG_TIME_LEN], uint64_t now)
{
	unsigned int day = (unsigned int)(now / 86400) + 719468;
	unsigned int second = (unsigned int)(now % 86400);
	unsigned int era = day / 146097, of_era = day % 146097;
	unsigned int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned int of_year = of_era - (365 * year + year / 4 - year / 100);
	unsigned int month = (5 * of_year + 2) / 153;

	snprintf(when, SM_LOG_TIME_LEN, "%04u-%02u-%02uT%02u:%02u:%02uZ",
		 (era * 400 + year + (month >= 10)) % 10000,
		 (month < 10 ? month + 3 : month - 9) % 100,
		 (of_year - (153 * month + 2) / 5 + 1) % 100, second / 3600, second / 60 % 60,
		 second % 60);
}

static void put_line(struct sm_buf *line, enum sm_log_level level, const char *msg)
{
	char when[SM_LOG_TIME_LEN];

	sm_log_time(when, (uint64_t)time(NULL));
	if (sink.format == SM_LOG_JSON) {
		sm_buf_printf(line, "{\"level\":\"%s\",\"msg\":", level_names[level]);
		put_quoted(line, msg, SM_LOG_JSON);
		line->max += 64;
		sm_buf_printf(line, ",\"time\":\"%s\"}\n", when);
	} else {
		sm_buf_printf(line, "time=\"%s\" level=%s msg=", when, level_names[level]);
		put_quoted(line, msg, SM_LOG_TEXT);
		line->max += 64;
		sm_buf_put(line, "\n", 1);
	}
}

void sm_log(enum sm_log_level level, const char *fmt, ...)
{
	sm_auto_buf struct sm_buf line = SM_BUF_INIT(LINE_MAX_BYTES);
	sm_auto_free char *msg = NULL;
	va_list ap;
	int n;

	if (sink.fd < 0 || level > sink.max || level >= SM_LOG_NUM)
		return;
	va_start(ap, fmt);
	n = vasprintf(&msg, fmt, ap);
	va_end(ap);
	if (n < 0)
		msg = NULL;
	put_line(&line, level, msg ? msg : "out of memory");
	/* Where the log cannot be written there is nobody left to tell. #syscalls:all write */
	if (line.len && write(sink.fd, line.data, line.len) < 0)
		return;
}
