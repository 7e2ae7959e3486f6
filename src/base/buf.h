/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SM_BASE_BUF_H
#define SM_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

/*
 * A growable run of bytes with a ceiling: foreign input never grows one past `max`.
 * Zero-initialised with SM_BUF_INIT(max); released by sm_buf_free() or sm_auto_buf.
 * data[len] is always a zero byte once something was put in, so that text can be used as a string.
 */
struct sm_buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
};

#define SM_BUF_INIT(max_) { NULL, 0, 0, (max_) }
#define sm_auto_buf __attribute__((cleanup(sm_buf_free)))

/* 0, -ENOMEM, or -EMSGSIZE past max: then nothing was added. */
int sm_buf_put(struct sm_buf *b, const void *data, size_t len);
int sm_buf_printf(struct sm_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes room for len more bytes and returns where they start (len is not added to b->len yet:
 * do that when they are filled), or NULL. */
uint8_t *sm_buf_reserve(struct sm_buf *b, size_t len);

/* Drops the first len bytes. */
void sm_buf_consume(struct sm_buf *b, size_t len);
void sm_buf_free(struct sm_buf *b);

#endif
