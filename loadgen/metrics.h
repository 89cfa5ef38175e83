/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures of a run, over its successful requests, as `vllm bench serve`
 * defines them. All times in seconds; reports show milliseconds.
 */
#ifndef LOADGEN_METRICS_H
#define LOADGEN_METRICS_H

#include "loadgen/reply.h"
#include "util/samples.h"

enum metric {
    METRIC_TTFT,
    METRIC_TPOT, /* (E2EL - TTFT) / (output tokens - 1), of more than one token */
    METRIC_ITL,  /* the gaps of all requests, pooled */
    METRIC_E2EL,
    METRIC_QUEUE,      /* from due to sent */
    METRIC_E2EL_QUEUE, /* E2EL + the wait before it */
    NUM_METRICS,
};

struct metrics {
    size_t num_succeeded, num_failed, num_cancelled;
    int64_t input_tokens, output_tokens;
    double duration_s;
    double requests_per_s, output_tokens_per_s, total_tokens_per_s;
    /* Per whole second since the first successful request was sent: stream
     * messages that came, and requests in flight at any moment of it. */
    double max_output_tokens_per_s;
    int64_t max_concurrent_requests;
    struct samples values_s[NUM_METRICS];
    bool failed; /* an allocation failed: figures are missing */
};

void metrics_init(struct metrics *m, const struct reply *replies, size_t num_replies,
                  double duration_s);
void metrics_release(struct metrics *m);

#endif
