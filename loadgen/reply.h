/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one request gave: its times, its tokens, or why it failed. Fed with the
 * bytes of the answer and the moment each piece came. Definitions are those of
 * `vllm bench serve`: the first token event ends TTFT, the last one ends E2EL,
 * gaps between them are ITL. Unlike there, an error inside the stream is a
 * failure, and usage is read wherever it stands. One thread at a time.
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

enum reply_api {
    REPLY_COMPLETION, /* any message with `choices` is a token event */
    REPLY_CHAT,       /* one whose delta brings something of the answer */
};

struct reply {
    enum reply_status status;
    enum reply_api api;
    uint64_t due_ns;   /* when it was to be sent; CLOCK_MONOTONIC, as all */
    uint64_t ready_ns; /* when it could be: due, or the end of the one it waited for */
    uint64_t start_ns; /* when it was sent */
    uint64_t first_ns, last_ns; /* token events; 0: none yet */
    uint64_t end_ns;            /* of the answer */
    struct samples itls_s;
    int64_t input_len;     /* of the data set, or as usage says */
    int64_t output_len;    /* as usage says, else the number of token events */
    int64_t usage_output_len; /* -1: no usage yet */
    size_t num_events;     /* token events */
    /* From the server's own `metrics`; NAN: it sent none. */
    double server_queue_s, server_ttft_s;
    struct buf text;       /* all answer text */
    bool failed;           /* known before the answer has ended */
    char *reason;          /* owned; why, without particulars: "HTTP 503"; may be NULL */
    char *error;           /* owned; the particulars, or the reason again; may be NULL */
    struct sse sse;
    struct buf body;       /* the start of an answer that is no stream */
};

void reply_init(struct reply *r, enum reply_api api, int64_t input_len);
void reply_release(struct reply *r);
/* The request goes out now. */
void reply_start(struct reply *r, uint64_t now_ns);
/* Bytes of the answer's body, which came with this HTTP status. */
void reply_feed(struct reply *r, int http_status, const char *bytes, size_t len,
                uint64_t now_ns);
/* The answer ended; `transport_error` is NULL if the connection was in order. */
void reply_finish(struct reply *r, int http_status, const char *transport_error,
                  uint64_t now_ns);
/* The same, when nobody waits for it any more. */
void reply_cancel(struct reply *r, uint64_t now_ns);

static inline double
reply_ttft_s(const struct reply *r)
{
    return r->first_ns == 0 ? 0 : (double)(r->first_ns - r->start_ns) / 1e9;
}
static inline double
reply_latency_s(const struct reply *r)
{
    return r->status == REPLY_SUCCEEDED ? (double)(r->last_ns - r->start_ns) / 1e9 : 0;
}
static inline double
reply_queue_s(const struct reply *r)
{
    return r->start_ns == 0 ? 0 : (double)(r->start_ns - r->due_ns) / 1e9;
}

#endif
