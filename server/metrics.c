/* SPDX-License-Identifier: Apache-2.0 */
#include "server/metrics.h"

#include "server/routes.h"

#include <string.h>

/* vLLM's buckets, and finer ones where a fast engine would fall into the first. */
static const double ttft_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06,
                                     0.08,   0.1,   0.25,   0.5,   0.75, 1,    2.5,  5,
                                     7.5,    10,    20,     40,    80,   160,  640,  2560};
static const double itl_bounds[] = {0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075,
                                    0.01,   0.015, 0.02,   0.025, 0.05,  0.075, 0.1,   0.15,
                                    0.2,    0.3,   0.4,    0.5,   0.75,  1,     2.5,   5,
                                    7.5,    10,    20,     40,    80};
static const double latency_bounds[] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5,
                                        0.8,   1,     1.5,  2,     2.5,  5,   10,  15,  20,
                                        30,    40,    50,   60,    120,  240, 480, 960, 1920,
                                        7680};
static const double token_bounds[] = {1,    2,    5,     10,    20,    50,     100,
                                      200,  500,  1000,  2000,  5000,  10000,  20000,
                                      50000, 100000, 200000, 500000, 1000000};
static const double n_bounds[] = {1, 2, 5, 10, 20, 50, 100};
static const double preemption_bounds[] = {1, 2, 3, 4, 5, 10, 20};
static const double highr_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                      0.25,  0.5,    0.75,  1,    1.5,   2,    2.5,   3,
                                      3.5,   4,      4.5,   5,    7.5,   10,   30,    60};
static const double lowr_bounds[] = {0.01, 0.1, 0.5, 1, 5, 30};
static const double event_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};

const char *const metrics_methods[METRICS_NUM_METHODS] = {"GET",     "POST",   "HEAD",
                                                          "OPTIONS", "DELETE", "other"};

static int
init_all(struct metrics *m)
{
    const struct {
        struct hist *hist;
        const double *bounds;
        size_t num;
    } all[] = {
        {&m->ttft_s, ttft_bounds, ARRAY_SIZE(ttft_bounds)},
        {&m->itl_s, itl_bounds, ARRAY_SIZE(itl_bounds)},
        {&m->tpot_s, itl_bounds, ARRAY_SIZE(itl_bounds)},
        {&m->e2e_s, latency_bounds, ARRAY_SIZE(latency_bounds)},
        {&m->queue_s, latency_bounds, ARRAY_SIZE(latency_bounds)},
        {&m->inference_s, latency_bounds, ARRAY_SIZE(latency_bounds)},
        {&m->prefill_s, latency_bounds, ARRAY_SIZE(latency_bounds)},
        {&m->decode_s, latency_bounds, ARRAY_SIZE(latency_bounds)},
        {&m->prompt_tokens, token_bounds, ARRAY_SIZE(token_bounds)},
        {&m->output_tokens, token_bounds, ARRAY_SIZE(token_bounds)},
        {&m->max_output_tokens, token_bounds, ARRAY_SIZE(token_bounds)},
        {&m->params_max_tokens, token_bounds, ARRAY_SIZE(token_bounds)},
        {&m->prefill_kv_tokens, token_bounds, ARRAY_SIZE(token_bounds)},
        {&m->params_n, n_bounds, ARRAY_SIZE(n_bounds)},
        {&m->num_preemptions, preemption_bounds, ARRAY_SIZE(preemption_bounds)},
        {&m->http_duration_s, highr_bounds, ARRAY_SIZE(highr_bounds)},
        {&m->drain_events, event_bounds, ARRAY_SIZE(event_bounds)},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_SIZE(all) && rc == 0; i++)
        rc = hist_init(all[i].hist, all[i].bounds, all[i].num);
    return rc;
}

int
metrics_init(struct metrics *m)
{
    *m = (struct metrics){0};
    int rc = init_all(m);
    if (rc < 0)
        metrics_release(m);
    return rc;
}

void
metrics_release(struct metrics *m)
{
    struct hist *all[] = {
        &m->ttft_s,          &m->itl_s,          &m->tpot_s,           &m->e2e_s,
        &m->queue_s,         &m->inference_s,    &m->prefill_s,        &m->decode_s,
        &m->prompt_tokens,   &m->output_tokens,  &m->max_output_tokens, &m->params_max_tokens,
        &m->prefill_kv_tokens, &m->params_n,     &m->num_preemptions,  &m->http_duration_s,
        &m->drain_events,
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        hist_release(all[i]);
    for (size_t i = 0; i < METRICS_MAX_HANDLERS; i++) {
        for (size_t k = 0; k < METRICS_NUM_METHODS; k++)
            hist_release(&m->http[i].duration_s[k]);
    }
}

static void
record_span(struct hist *h, uint64_t from_ns, uint64_t to_ns)
{
    if (from_ns != 0 && to_ns >= from_ns)
        hist_record(h, (double)(to_ns - from_ns) / 1e9);
}

void
metrics_count_request(struct metrics *m, const struct metrics_request *r)
{
    m->success[r->reason]++;
    if (r->reason == METRICS_ABORT && r->first_token_ns == 0)
        m->aborted_before_first_token++;
    hist_record(&m->prompt_tokens, (double)r->num_prompt_tokens);
    hist_record(&m->output_tokens, (double)r->num_output_tokens);
    hist_record(&m->max_output_tokens, (double)r->num_output_tokens);
    hist_record(&m->params_max_tokens, (double)r->max_tokens);
    hist_record(&m->params_n, (double)r->n);
    hist_record(&m->num_preemptions, (double)r->num_preemptions);
    if (r->scheduled_ns != 0)
        hist_record(&m->prefill_kv_tokens, (double)r->num_prompt_tokens);
    record_span(&m->e2e_s, r->arrival_ns, r->finished_ns);
    record_span(&m->queue_s, r->scheduled_ns == 0 ? 0 : r->submitted_ns, r->scheduled_ns);
    record_span(&m->inference_s, r->scheduled_ns, r->finished_ns);
    if (r->first_token_ns == 0)
        return;
    record_span(&m->prefill_s, r->scheduled_ns, r->first_token_ns);
    record_span(&m->decode_s, r->first_token_ns, r->finished_ns);
    if (r->num_output_tokens > 1 && r->finished_ns >= r->first_token_ns)
        hist_record(&m->tpot_s, (double)(r->finished_ns - r->first_token_ns) / 1e9
                                    / (double)(r->num_output_tokens - 1));
}

static int
method_index(const char *method)
{
    int i = 0;
    while (i < METRICS_NUM_METHODS - 1 && strcmp(metrics_methods[i], method) != 0)
        i++;
    return i;
}

void
metrics_count_http(struct metrics *m, int handler, const char *method, int status,
                   uint64_t request_bytes, uint64_t response_bytes, double seconds)
{
    struct metrics_http *h = &m->http[handler < 0 ? METRICS_MAX_HANDLERS - 1 : handler];
    int k = method_index(method);
    h->counts[k][MIN(MAX(status / 100, 0), 5)]++;
    h->num_requests++;
    h->request_bytes += (double)request_bytes;
    h->response_bytes += (double)response_bytes;
    if (h->duration_s[k].counts == NULL
        && hist_init(&h->duration_s[k], lowr_bounds, ARRAY_SIZE(lowr_bounds)) < 0)
        return;
    hist_record(&h->duration_s[k], seconds);
    hist_record(&m->http_duration_s, seconds);
}
