/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable bytes. Zero-initialised is a valid empty buffer. An allocation
 * failure is sticky: the buffer keeps what it had, `failed` is set, further
 * appends do nothing, so that a writer checks once at the end. One thread at
 * a time.
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include "util/base.h"

#include <stdarg.h>
#include <string.h>

struct buf {
    char *data;     /* owned; NUL-terminated whenever not NULL */
    size_t len;     /* bytes in use, without the NUL */
    size_t cap;     /* bytes allocated */
    size_t start;   /* bytes already consumed from the front */
    bool failed;    /* an allocation failed: contents are incomplete */
};

void buf_release(struct buf *b);
/* Empties without freeing. */
void buf_clear(struct buf *b);
/* Makes room for `extra` more bytes; false when out of memory. */
bool buf_reserve(struct buf *b, size_t extra);
void buf_append(struct buf *b, const void *bytes, size_t len);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list args);
/* The bytes not yet consumed. */
static inline const char *
buf_bytes(const struct buf *b)
{
    return b->data == NULL ? "" : b->data + b->start;
}
static inline size_t
buf_len(const struct buf *b)
{
    return b->len - b->start;
}
/* Drops `len` bytes from the front in O(1) amortised. */
void buf_consume(struct buf *b, size_t len);
/* Moves the (unconsumed) bytes out as a malloc'd NUL-terminated string; NULL
 * when the buffer failed. The buffer is empty afterwards. */
char *buf_take(struct buf *b, size_t *ret_len);

#endif
