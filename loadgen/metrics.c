/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/metrics.h"

#include <math.h>

static void
add_success(struct metrics *m, const struct reply *r)
{
    double ttft_s = reply_ttft_s(r), latency_s = reply_latency_s(r), queue_s = reply_queue_s(r);
    m->num_succeeded++;
    m->input_tokens += r->input_len;
    m->output_tokens += r->output_len;
    samples_record(&m->values_s[METRIC_TTFT], ttft_s);
    if (r->output_len > 1)
        samples_record(&m->values_s[METRIC_TPOT],
                       (latency_s - ttft_s) / (double)(r->output_len - 1));
    for (size_t i = 0; i < r->itls_s.len; i++)
        samples_record(&m->values_s[METRIC_ITL], r->itls_s.values[i]);
    samples_record(&m->values_s[METRIC_E2EL], latency_s);
    samples_record(&m->values_s[METRIC_QUEUE], queue_s);
    samples_record(&m->values_s[METRIC_E2EL_QUEUE], latency_s + queue_s);
}

/* The bucket of a moment. */
static size_t
second_of(double s)
{
    return s > 0 ? (size_t)s : 0;
}

struct seconds {
    int64_t *messages, *requests; /* owned, by second */
    size_t len;
    double origin_s;
};

static void
add_to_seconds(const struct seconds *s, const struct reply *r)
{
    double start_s = (double)r->start_ns * 1e-9 - s->origin_s;
    double at_s = start_s + reply_ttft_s(r);
    for (size_t i = 0; i <= r->itls_s.len; i++) {
        if (i > 0)
            at_s += r->itls_s.values[i - 1];
        if (second_of(at_s) < s->len)
            s->messages[second_of(at_s)]++;
    }
    size_t last = second_of(start_s + reply_latency_s(r));
    for (size_t i = second_of(start_s); i <= last && i < s->len; i++)
        s->requests[i]++;
}

static void
find_peaks(struct metrics *m, const struct reply *replies, size_t num_replies)
{
    uint64_t first_ns = UINT64_MAX, last_ns = 0;
    for (size_t i = 0; i < num_replies; i++) {
        if (replies[i].status == REPLY_SUCCEEDED) {
            first_ns = MIN(first_ns, replies[i].start_ns);
            last_ns = MAX(last_ns, replies[i].last_ns);
        }
    }
    if (first_ns >= last_ns)
        return;
    struct seconds s = {.origin_s = (double)first_ns * 1e-9};
    s.len = (size_t)ceil((double)(last_ns - first_ns) * 1e-9) + 1;
    s.messages = calloc(s.len, sizeof *s.messages);
    s.requests = calloc(s.len, sizeof *s.requests);
    if (s.messages == NULL || s.requests == NULL) {
        m->failed = true;
        goto out;
    }
    for (size_t i = 0; i < num_replies; i++) {
        if (replies[i].status == REPLY_SUCCEEDED)
            add_to_seconds(&s, &replies[i]);
    }
    for (size_t i = 0; i < s.len; i++) {
        m->max_output_tokens_per_s = MAX(m->max_output_tokens_per_s, (double)s.messages[i]);
        m->max_concurrent_requests = MAX(m->max_concurrent_requests, s.requests[i]);
    }
out:
    free(s.messages);
    free(s.requests);
}

void
metrics_init(struct metrics *m, const struct reply *replies, size_t num_replies,
             double duration_s)
{
    *m = (struct metrics){.duration_s = duration_s};
    for (size_t i = 0; i < num_replies; i++) {
        switch (replies[i].status) {
        case REPLY_SUCCEEDED: add_success(m, &replies[i]); break;
        case REPLY_FAILED: m->num_failed++; break;
        case REPLY_PENDING:
        case REPLY_CANCELLED: m->num_cancelled++; break;
        }
    }
    if (duration_s > 0) {
        m->requests_per_s = (double)m->num_succeeded / duration_s;
        m->output_tokens_per_s = (double)m->output_tokens / duration_s;
        m->total_tokens_per_s = (double)(m->input_tokens + m->output_tokens) / duration_s;
    }
    find_peaks(m, replies, num_replies);
    for (size_t i = 0; i < NUM_METRICS; i++)
        m->failed = m->failed || m->values_s[i].failed;
}

void
metrics_release(struct metrics *m)
{
    for (size_t i = 0; i < NUM_METRICS; i++)
        samples_release(&m->values_s[i]);
    *m = (struct metrics){0};
}
