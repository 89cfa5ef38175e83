/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/metrics.h"

#include <math.h>

#define SLIP_LIMIT_S 0.005
#define BUSY_LIMIT 0.9

/* Within all limits that were given; a limit that was not is NAN. */
static bool
is_good(const struct goodput *g, double ttft_s, double tpot_s, double latency_s)
{
    return !(ttft_s > g->ttft_ms / 1000) && !(tpot_s > g->tpot_ms / 1000) &&
           !(latency_s > g->e2el_ms / 1000);
}

static void
add_success(struct metrics *m, const struct reply *r, const struct goodput *limits)
{
    double ttft_s = reply_ttft_s(r), latency_s = reply_latency_s(r), queue_s = reply_queue_s(r);
    double tpot_s = 0; /* of one token: for goodput alone */
    m->num_succeeded++;
    m->input_tokens += r->input_len;
    m->output_tokens += r->output_len;
    samples_record(&m->values_s[METRIC_TTFT], ttft_s);
    if (r->output_len > 1) {
        tpot_s = (latency_s - ttft_s) / (double)(r->output_len - 1);
        samples_record(&m->values_s[METRIC_TPOT], tpot_s);
    }
    for (size_t i = 0; i < r->itls_s.len; i++)
        samples_record(&m->values_s[METRIC_ITL], r->itls_s.values[i]);
    samples_record(&m->values_s[METRIC_E2EL], latency_s);
    samples_record(&m->values_s[METRIC_QUEUE], queue_s);
    samples_record(&m->values_s[METRIC_E2EL_QUEUE], latency_s + queue_s);
    samples_record(&m->values_s[METRIC_TTFT_QUEUE], ttft_s + queue_s);
    m->num_good += is_good(limits, ttft_s, tpot_s, latency_s);
}

/* Of any that was sent, whatever came of it. */
static void
add_sent(struct metrics *m, const struct reply *r)
{
    if (r->start_ns == 0)
        return;
    samples_record(&m->values_s[METRIC_SLIP], (double)(r->start_ns - r->ready_ns) / 1e9);
    if (m->first_start_ns == 0 || r->start_ns < m->first_start_ns)
        m->first_start_ns = r->start_ns;
    m->last_token_ns = MAX(m->last_token_ns, r->last_ns);
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

/* Sums in the order of vLLM, so that a moment on the border of two seconds
 * falls into the same. */
static void
add_to_seconds(const struct seconds *s, const struct reply *r)
{
    double start_s = (double)r->start_ns / 1e9;
    double at_s = start_s + reply_ttft_s(r);
    for (size_t i = 0; i <= r->itls_s.len; i++) {
        if (i > 0)
            at_s += r->itls_s.values[i - 1];
        if (second_of(at_s - s->origin_s) < s->len)
            s->messages[second_of(at_s - s->origin_s)]++;
    }
    size_t last = second_of(start_s + reply_latency_s(r) - s->origin_s);
    for (size_t i = second_of(start_s - s->origin_s); i <= last && i < s->len; i++)
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
    struct seconds s = {.origin_s = (double)first_ns / 1e9};
    s.len = (size_t)ceil((double)(last_ns - first_ns) / 1e9) + 1;
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

static void
set_rates(struct metrics *m)
{
    double duration_s = m->duration_s;
    if (duration_s <= 0)
        return;
    m->requests_per_s = (double)m->num_succeeded / duration_s;
    m->good_requests_per_s = (double)m->num_good / duration_s;
    m->output_tokens_per_s = (double)m->output_tokens / duration_s;
    m->total_tokens_per_s = (double)(m->input_tokens + m->output_tokens) / duration_s;
}

/* Whether the client kept up. Where all requests are due at once, it can only
 * send them one after another, so there slip is no sign. */
static void
judge_client(struct metrics *m, const struct metrics_args *args)
{
    const struct client_outcome *o = args->outcome;
    bool has_rate = !isinf(args->config->request_rate) ||
                    args->config->ramp_up_strategy != RAMP_UP_NONE;
    double slip_s = samples_percentile(&m->values_s[METRIC_SLIP], 99);
    if (o->duration_s > 0)
        m->client_cpu_percent = o->cpu_s / o->duration_s * 100;
    m->client_limited = (has_rate && slip_s > SLIP_LIMIT_S) || o->busiest_share > BUSY_LIMIT;
}

void
metrics_init(struct metrics *m, const struct metrics_args *args)
{
    *m = (struct metrics){.duration_s = args->outcome->duration_s};
    for (size_t i = 0; i < args->num_replies; i++) {
        const struct reply *r = &args->replies[i];
        add_sent(m, r);
        switch (r->status) {
        case REPLY_SUCCEEDED: add_success(m, r, &args->config->goodput_limits); break;
        case REPLY_FAILED: m->num_failed++; break;
        case REPLY_PENDING:
        case REPLY_CANCELLED: m->num_cancelled++; break;
        }
    }
    set_rates(m);
    find_peaks(m, args->replies, args->num_replies);
    judge_client(m, args);
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
