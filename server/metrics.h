/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and histograms of the server, and the text of GET /metrics
 * (Prometheus 0.0.4): vLLM's names, labels and at least its buckets, then
 * what only llmd has (llmd:*), http_*, process_*, and the machine's. Loop thread;
 * the engine's own numbers are read from its atomics, so a scrape never waits.
 *
 *   metrics.c       counting
 *   metrics_text.c  the text
 *   metrics_host.c  the text of the process and its machine
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "engine/engine.h"
#include "util/hist.h"

struct app;

/* Labels of vllm:request_success_total, in its order. */
enum metrics_reason {
    METRICS_STOP,
    METRICS_LENGTH,
    METRICS_ABORT,
    METRICS_ERROR,
    METRICS_REPETITION, /* never; dashboards expect the series */
    METRICS_NUM_REASONS,
};

enum metrics_rejection {
    METRICS_MAX_NUM_QUEUED_REQS,
    METRICS_MAX_NUM_QUEUED_TOKENS,
    METRICS_NUM_REJECTIONS,
};

#define METRICS_MAX_HANDLERS 24
#define METRICS_NUM_METHODS 6 /* GET, POST, HEAD, OPTIONS, DELETE, other */

/* What one engine request adds when it has come back. */
struct metrics_request {
    enum metrics_reason reason;
    int64_t num_prompt_tokens, num_output_tokens;
    int64_t max_tokens, n, num_preemptions;
    uint64_t arrival_ns;                /* of the client's request */
    uint64_t submitted_ns, scheduled_ns, first_token_ns, finished_ns; /* 0: never */
};

struct metrics_http {
    uint64_t counts[METRICS_NUM_METHODS][6]; /* by status / 100 */
    double request_bytes, response_bytes;
    uint64_t num_requests;
    struct hist duration_s[METRICS_NUM_METHODS]; /* allocated on first use */
};

struct metrics {
    uint64_t success[METRICS_NUM_REASONS];
    uint64_t rejections[METRICS_NUM_REJECTIONS];
    uint64_t aborted_before_first_token;
    uint64_t client_retries;            /* x-stainless-retry-count above 0 */
    uint64_t sse_events, sse_bytes;
    uint64_t keep_alive_comments;
    uint64_t refused_connections;       /* by the transport's guard */

    struct hist ttft_s, itl_s, tpot_s;
    struct hist e2e_s, queue_s, inference_s, prefill_s, decode_s;
    struct hist prompt_tokens, output_tokens, max_output_tokens, params_max_tokens;
    struct hist prefill_kv_tokens, params_n, num_preemptions;
    struct hist http_duration_s;        /* "highr" */
    struct hist drain_events;           /* engine events taken in one wake-up */

    struct metrics_http http[METRICS_MAX_HANDLERS]; /* by route index; the last: none */
};

/* 0 or ERR_NOMEM. */
int metrics_init(struct metrics *m);
void metrics_release(struct metrics *m);
void metrics_count_request(struct metrics *m, const struct metrics_request *r);
/* `handler` is a route's index, or -1. */
void metrics_count_http(struct metrics *m, int handler, const char *method, int status,
                        uint64_t request_bytes, uint64_t response_bytes, double seconds);
/* The whole page. */
void metrics_write(const struct app *a, struct buf *ret);

/* ---- between the metrics*.c files ---------------------------------------- */

extern const char *const metrics_methods[METRICS_NUM_METHODS];

#endif
