/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one request gave: its times, its tokens, or why it failed. Fed with the
 * bytes of the answer and the moment each piece came. Definitions are those of
 * `vllm bench serve`: a token event is a message with non-empty `choices`; the
 * first one ends TTFT, the last one ends E2EL, gaps between them are ITL.
 * Unlike there, an error inside the stream is a failure.
 */
#ifndef LOADGEN_REPLY_H
#define LOADGEN_REPLY_H

#include "loadgen/sse.h"
#include "util/samples.h"

enum reply_status {
    REPLY_PENDING,   /* not sent, or not ended */
    REPLY_SUCCEEDED,
    REPLY_FAILED,
    REPLY_CANCELLED, /* the run ended before it did */
};

struct reply {
    enum reply_status status;
    uint64_t due_ns;   /* when it was to be sent */
    uint64_t start_ns; /* when it was sent; CLOCK_MONOTONIC, as all */
    uint64_t first_ns, last_ns; /* token events; 0: none yet */
    struct samples itls_s;
    int64_t input_len;     /* of the data set, or as usage says */
    int64_t output_len;    /* as usage says, else the number of token events */
    int64_t usage_output_len; /* -1: no usage yet */
    size_t num_events;     /* token events */
    struct buf text;       /* all answer text; only with keep_text */
    bool keep_text;
    bool failed;           /* known before the answer has ended */
    char *reason;          /* owned; why, without particulars: "HTTP 503"; may be NULL */
    char *error;           /* owned; with particulars; may be NULL */
    struct sse sse;
    struct buf body;       /* the start of an answer that is no stream */
};

void reply_init(struct reply *r, int64_t input_len, bool keep_text);
void reply_release(struct reply *r);
/* The request goes out now. */
void reply_start(struct reply *r, uint64_t now_ns);
/* Bytes of the answer's body, which came with this HTTP status. */
void reply_feed(struct reply *r, int http_status, const char *bytes, size_t len,
                uint64_t now_ns);
/* The answer ended; `transport_error` is NULL if the connection was in order. */
void reply_finish(struct reply *r, int http_status, const char *transport_error,
                  uint64_t now_ns);

static inline double
reply_ttft_s(const struct reply *r)
{
    return r->first_ns == 0 ? 0 : (double)(r->first_ns - r->start_ns) * 1e-9;
}
static inline double
reply_latency_s(const struct reply *r)
{
    return r->status == REPLY_SUCCEEDED ? (double)(r->last_ns - r->start_ns) * 1e-9 : 0;
}
static inline double
reply_queue_s(const struct reply *r)
{
    return r->start_ns == 0 ? 0 : (double)(r->start_ns - r->due_ns) * 1e-9;
}

#endif
