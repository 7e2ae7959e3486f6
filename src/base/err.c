/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int negative(int code)
{
	return code > 0 ? -code : code;
}

/* Takes over msg, which is NULL when there was no memory for it. */
static int replace(struct sm_err *err, int code, char *msg)
{
	free(err->msg);
	err->msg = msg;
	err->code = code;
	return code;
}

/* Joins two strings; frees both. */
static char *join(char *head, char *tail)
{
	char *text = NULL;

	if (!head || !tail || asprintf(&text, "%s: %s", head, tail) < 0)
		text = NULL;
	free(head);
	free(tail);
	return text;
}

/* The C library's text in the spelling of Go's syscall package, which runc's callers search for:
 * "no such file or directory", not "No such file or directory". */
static char *describe(int code)
{
	const char *desc = strerrordesc_np(-code);
	char *text = NULL;

	if (!desc) {
		if (asprintf(&text, "errno %d", -code) < 0)
			return NULL;
		return text;
	}
	text = strdup(desc);
	if (text && !isupper((unsigned char)text[1]))
		text[0] = (char)tolower((unsigned char)text[0]);
	return text;
}

static char *__attribute__((format(printf, 1, 0))) vformat(const char *fmt, va_list ap)
{
	char *text;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

int sm_err_set(struct sm_err *err, int code, const char *fmt, ...)
{
	va_list ap;
	char *msg;

	code = negative(code);
	if (!err)
		return code;
	va_start(ap, fmt);
	msg = vformat(fmt, ap);
	va_end(ap);
	return replace(err, code, msg);
}

int sm_err_sys(struct sm_err *err, int code, const char *fmt, ...)
{
	va_list ap;
	char *msg;

	code = negative(code);
	if (!err)
		return code;
	va_start(ap, fmt);
	msg = vformat(fmt, ap);
	va_end(ap);
	return replace(err, code, join(msg, describe(code)));
}

int sm_err_wrap(struct sm_err *err, const char *fmt, ...)
{
	va_list ap;
	char *msg;
	char *inner;

	if (!err)
		return -EIO;
	/* Something failed, or nobody would wrap: success must not come out of here. */
	if (!err->code)
		err->code = -EIO;
	inner = err->msg ? strdup(err->msg) : describe(err->code);
	va_start(ap, fmt);
	msg = vformat(fmt, ap);
	va_end(ap);
	msg = join(msg, inner);
	/* Without memory the inner text is better than none. */
	return msg ? replace(err, err->code, msg) : err->code;
}

const char *sm_err_text(const struct sm_err *err)
{
	const char *desc;

	if (!err)
		return "unknown error";
	if (err->msg)
		return err->msg;
	desc = strerrordesc_np(-err->code);
	return desc ? desc : "unknown error";
}

void sm_err_clear(struct sm_err *err)
{
	if (err)
		replace(err, 0, NULL);
}
