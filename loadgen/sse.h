/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-sent events out of bytes that come in any pieces: lines end in LF, CR
 * or CR LF, `data` lines of one event are joined by LF, comments and other
 * fields are skipped. One thread at a time.
 */
#ifndef LOADGEN_SSE_H
#define LOADGEN_SSE_H

#include "util/base.h"
#include "util/buf.h"

#define SSE_EVENT_BYTES_MAX (16u << 20)

struct sse {
    struct buf line;  /* of a line not yet ended */
    struct buf data;  /* of an event not yet ended */
    bool has_data;    /* the event has a data line, perhaps an empty one */
    bool after_cr;    /* a LF that comes next belongs to the line before */
};

/* `data` is borrowed until the call returns. */
typedef void sse_event_fn(void *arg, const char *data, size_t len);

void sse_release(struct sse *s);
/* Calls `event` for each event that ends in these bytes. Returns 0, ERR_RANGE
 * (an event above SSE_EVENT_BYTES_MAX) or ERR_NOMEM. */
int sse_feed(struct sse *s, const char *bytes, size_t len, sse_event_fn *event, void *arg);
/* At the end of the stream: an event that lacks only its blank line counts. */
int sse_finish(struct sse *s, sse_event_fn *event, void *arg);

#endif
