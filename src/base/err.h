/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_ERR_H
#define SM_BASE_ERR_H

#include <stdarg.h>

/*
 * An error on its way to a person. The layer that detects a failure sets it; each layer it passes
 * wraps it with what that layer was doing, so that the text reads from the outside in:
 *
 *	sm-runtime: create web1: config.json: process.cwd: must be absolute (…)
 *
 * Layers that speak to people take a `struct sm_err *err` as their last parameter and return
 * -errno. A NULL err is allowed everywhere: only the code is returned then.
 * Start from SM_ERR_INIT, end with sm_err_clear() or the sm_auto_err attribute.
 */
struct sm_err {
	int code;	/* negative errno, 0 while nothing went wrong */
	char *msg;	/* heap, NULL if there was no memory for it: see sm_err_text() */
};

#define SM_ERR_INIT { 0, (char *)0 }
#define sm_auto_err __attribute__((cleanup(sm_err_clear)))

/* Sets the message and the code (negative errno, or a positive one, which is negated). Returns the
 * negative code, so that `return sm_err_set(err, -EINVAL, "…")` is the common form. An earlier
 * message is replaced. */
int sm_err_set(struct sm_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, with ": " and the code's text appended, spelled as Go does ("no such file or directory"):
 * runc's callers search for it. */
int sm_err_sys(struct sm_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "fmt…: " in front of the message that is there. Returns err->code; -EIO if that says nothing
 * (0, or a NULL err): a failure never turns into success here. */
int sm_err_wrap(struct sm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Never NULL. */
const char *sm_err_text(const struct sm_err *err);

void sm_err_clear(struct sm_err *err);

#endif
