/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/sse.h"

#include "util/error.h"

void
sse_release(struct sse *s)
{
    buf_release(&s->line);
    buf_release(&s->data);
    *s = (struct sse){0};
}

/* Ends the event: hands it over if it has data. */
static void
end_event(struct sse *s, sse_event_fn *event, void *arg)
{
    if (s->has_data)
        event(arg, buf_bytes(&s->data), buf_len(&s->data));
    buf_clear(&s->data);
    s->has_data = false;
}

static int
take_data(struct sse *s, const char *value, size_t len)
{
    if (buf_len(&s->data) + len >= SSE_EVENT_BYTES_MAX)
        return ERR_RANGE;
    if (s->has_data)
        buf_putc(&s->data, '\n');
    s->has_data = true;
    buf_append(&s->data, value, len);
    return s->data.failed ? ERR_NOMEM : 0;
}

/* One line without its end. */
static int
take_line(struct sse *s, const char *line, size_t len, sse_event_fn *event, void *arg)
{
    if (len == 0) {
        end_event(s, event, arg);
        return 0;
    }
    if (len < 4 || memcmp(line, "data", 4) != 0 || (len > 4 && line[4] != ':'))
        return 0;
    size_t start = len > 4 ? 5 : 4;
    if (start < len && line[start] == ' ')
        start++;
    return take_data(s, line + start, len - start);
}

/* The line that ends here, of which earlier pieces may be stored. */
static int
end_line(struct sse *s, const char *piece, size_t len, sse_event_fn *event, void *arg)
{
    if (buf_len(&s->line) == 0)
        return take_line(s, piece, len, event, arg);
    buf_append(&s->line, piece, len);
    if (s->line.failed)
        return ERR_NOMEM;
    int r = take_line(s, buf_bytes(&s->line), buf_len(&s->line), event, arg);
    buf_clear(&s->line);
    return r;
}

static size_t
line_length(const char *bytes, size_t len)
{
    const char *lf = memchr(bytes, '\n', len);
    size_t n = lf != NULL ? (size_t)(lf - bytes) : len;
    const char *cr = memchr(bytes, '\r', n);
    return cr != NULL ? (size_t)(cr - bytes) : n;
}

int
sse_feed(struct sse *s, const char *bytes, size_t len, sse_event_fn *event, void *arg)
{
    while (len > 0) {
        if (s->after_cr && *bytes == '\n') {
            s->after_cr = false;
            bytes++;
            len--;
            continue;
        }
        s->after_cr = false;
        size_t n = line_length(bytes, len);
        if (n == len) {
            if (buf_len(&s->line) + n >= SSE_EVENT_BYTES_MAX)
                return ERR_RANGE;
            buf_append(&s->line, bytes, n);
            return s->line.failed ? ERR_NOMEM : 0;
        }
        s->after_cr = bytes[n] == '\r';
        int r = end_line(s, bytes, n, event, arg);
        if (r < 0)
            return r;
        bytes += n + 1;
        len -= n + 1;
    }
    return 0;
}

int
sse_finish(struct sse *s, sse_event_fn *event, void *arg)
{
    int r = 0;
    if (buf_len(&s->line) > 0)
        r = end_line(s, "", 0, event, arg);
    if (r == 0)
        end_event(s, event, arg);
    return r;
}
