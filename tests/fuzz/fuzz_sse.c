/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event parser: the first byte says in what pieces the rest comes, and the
 * events must be those of the whole. Then the same bytes as a reply.
 */
#include "loadgen/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
on_event(void *arg, const char *data, size_t len)
{
    struct buf *events = arg;
    buf_append(events, data, len);
    buf_putc(events, '\0');
}

static void
parse(const char *text, size_t len, size_t piece, struct buf *ret)
{
    struct sse s = {0};
    for (size_t i = 0; i < len; i += piece)
        ASSERT(sse_feed(&s, text + i, MIN(piece, len - i), on_event, ret) == 0);
    ASSERT(sse_finish(&s, on_event, ret) == 0);
    sse_release(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t piece = 1 + data[0] % 16;
    const char *text = (const char *)data + 1;
    struct buf whole = {0}, pieces = {0};
    size--;
    parse(text, size, size + 1, &whole);
    parse(text, size, piece, &pieces);
    ASSERT(buf_len(&whole) == buf_len(&pieces));
    ASSERT(memcmp(buf_bytes(&whole), buf_bytes(&pieces), buf_len(&whole)) == 0);
    buf_release(&whole);
    buf_release(&pieces);

    struct reply r;
    reply_init(&r, size % 2 != 0 ? REPLY_CHAT : REPLY_COMPLETION, 1);
    reply_start(&r, 1);
    for (size_t i = 0; i < size; i += piece)
        reply_feed(&r, data[0] < 200 ? 200 : 500, text + i, MIN(piece, size - i), 2 + i);
    reply_finish(&r, data[0] < 200 ? 200 : 500, NULL, 3 + size);
    ASSERT(r.status == REPLY_SUCCEEDED || r.status == REPLY_FAILED);
    reply_release(&r);
    return 0;
}
