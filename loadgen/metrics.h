/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures of a run, over its successful requests, as `vllm bench serve`
 * defines them, and a few of our own. All times in seconds; reports show
 * milliseconds.
 */
#ifndef LOADGEN_METRICS_H
#define LOADGEN_METRICS_H

#include "loadgen/client.h"
#include "loadgen/config.h"
#include "loadgen/reply.h"
#include "util/samples.h"

enum metric {
    METRIC_TTFT,
    METRIC_TPOT, /* (E2EL - TTFT) / (output tokens - 1), of more than one token */
    METRIC_ITL,  /* the gaps of all requests, pooled */
    METRIC_E2EL,
    METRIC_QUEUE,      /* from due to sent */
    METRIC_E2EL_QUEUE, /* E2EL + the wait before it: E2EL from the intended time */
    METRIC_TTFT_QUEUE, /* TTFT + the wait before it; ours, as the next */
    METRIC_SLIP,       /* from when it could be sent until it was; of all that were sent */
    NUM_METRICS,
};

struct metrics {
    size_t num_succeeded, num_failed, num_cancelled, num_good;
    int64_t input_tokens, output_tokens;
    double duration_s;
    double requests_per_s, good_requests_per_s, output_tokens_per_s, total_tokens_per_s;
    /* Per whole second since the first successful request was sent: stream
     * messages that came, and requests in flight at any moment of it. */
    double max_output_tokens_per_s;
    int64_t max_concurrent_requests;
    uint64_t first_start_ns, last_token_ns; /* of all that were sent; 0: none */
    double client_cpu_percent;              /* of one processor */
    bool client_limited;                    /* the figures describe loadgen */
    struct samples values_s[NUM_METRICS];
    bool failed; /* an allocation failed: figures are missing */
};

struct metrics_args {
    const struct reply *replies;
    size_t num_replies;
    const struct client_outcome *outcome;
    const struct config *config; /* goodput, rate */
};

void metrics_init(struct metrics *m, const struct metrics_args *args);
void metrics_release(struct metrics *m);

#endif
