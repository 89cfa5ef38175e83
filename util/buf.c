/* SPDX-License-Identifier: Apache-2.0 */
#include "util/buf.h"

void
buf_release(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void
buf_clear(struct buf *b)
{
    b->len = b->start = 0;
    b->failed = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

bool
buf_reserve(struct buf *b, size_t extra)
{
    size_t need;
    if (b->failed || add_overflow(b->len, extra, &need) || add_overflow(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need) {
        if (mul_overflow(cap, 2, &cap)) {
            cap = need;
            break;
        }
    }
    char *data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void
buf_append(struct buf *b, const void *bytes, size_t len)
{
    if (!buf_reserve(b, len))
        return;
    if (len > 0)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void
buf_puts(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void
buf_putc(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n >= 0 && buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vprintf(b, fmt, args);
    va_end(args);
}

void
buf_consume(struct buf *b, size_t len)
{
    ASSERT(len <= buf_len(b));
    b->start += len;
    if (b->start == b->len) {
        b->start = b->len = 0;
    } else if (b->start > 4096 && b->start > b->len / 2) {
        memmove(b->data, b->data + b->start, b->len - b->start + 1);
        b->len -= b->start;
        b->start = 0;
    }
}

char *
buf_take(struct buf *b, size_t *ret_len)
{
    if (b->failed || !buf_reserve(b, 0))
        return NULL;
    if (b->start > 0)
        memmove(b->data, b->data + b->start, b->len - b->start);
    size_t len = b->len - b->start;
    char *data = b->data;
    data[len] = '\0';
    *b = (struct buf){0};
    if (ret_len != NULL)
        *ret_len = len;
    return data;
}
