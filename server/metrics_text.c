/* SPDX-License-Identifier: Apache-2.0 */
#include "server/app.h"
#include "server/metrics_host.h"
#include "server/routes.h"

#include <inttypes.h>
#include <string.h>

/* A page being written. */
struct page {
    const struct app *app;
    const struct metrics *m;
    const struct engine_stats *stats; /* NULL while loading */
    char labels[512];                 /* engine="0",model_name="..." */
    struct buf *out;
};

/* ---- forms --------------------------------------------------------------- */

static void
print_help(struct page *p, const char *name, const char *type, const char *help)
{
    buf_printf(p->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* `more` is "" or one more label: reason="capacity". */
static void
print_value(struct page *p, const char *name, const char *more, double value)
{
    buf_printf(p->out, "%s{%s%s%s} %.17g\n", name, p->labels, *more == '\0' ? "" : ",", more,
               value);
}

static void
print_one(struct page *p, const char *name, const char *type, const char *help, double value)
{
    print_help(p, name, type, help);
    print_value(p, name, "", value);
}

static void
print_hist(struct page *p, const char *name, const char *help, const struct hist *h)
{
    print_help(p, name, "histogram", help);
    hist_print(h, name, p->labels, p->out);
}

static double
load(const atomic_uint_fast64_t *counter)
{
    return (double)atomic_load_explicit(counter, memory_order_relaxed);
}

#define STAT(p, field) ((p)->stats == NULL ? 0 : load(&(p)->stats->field))

/* Label values: backslash, quote and line end are escaped. */
static void
escape_label(const char *text, char *ret, size_t size)
{
    size_t len = 0;
    for (; *text != '\0' && len + 3 < size; text++) {
        if (*text == '\\' || *text == '"')
            ret[len++] = '\\';
        if (*text == '\n') {
            ret[len++] = '\\';
            ret[len++] = 'n';
            continue;
        }
        ret[len++] = *text;
    }
    ret[len] = '\0';
}

/* ---- the engine ---------------------------------------------------------- */

static void
print_queue(struct page *p)
{
    print_one(p, "vllm:num_requests_running", "gauge", "Requests in the running batch.",
              STAT(p, num_running));
    print_one(p, "vllm:num_requests_waiting", "gauge", "Requests waiting to be scheduled.",
              STAT(p, num_waiting));
    print_help(p, "vllm:num_requests_waiting_by_reason", "gauge",
               "Waiting requests by reason; all wait for capacity here.");
    print_value(p, "vllm:num_requests_waiting_by_reason", "reason=\"capacity\"",
                STAT(p, num_waiting));
    print_value(p, "vllm:num_requests_waiting_by_reason", "reason=\"deferred\"", 0);
    print_one(p, "vllm:num_requests_swapped", "gauge", "Always 0: preemption recomputes.", 0);
    print_help(p, "vllm:engine_sleep_state", "gauge", "The engine never sleeps here.");
    print_value(p, "vllm:engine_sleep_state", "sleep_state=\"awake\"", p->stats != NULL);
    print_value(p, "vllm:engine_sleep_state", "sleep_state=\"weights_offloaded\"", 0);
    print_value(p, "vllm:engine_sleep_state", "sleep_state=\"discard_all\"", 0);
    print_one(p, "vllm:num_preemptions_total", "counter", "Preemptions.",
              STAT(p, num_preemptions));
}

static void
print_cache(struct page *p)
{
    static const char *const zero_counters[] = {
        "vllm:prefix_cache_queries_total",          "vllm:prefix_cache_hits_total",
        "vllm:external_prefix_cache_queries_total", "vllm:external_prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_queries_total",      "vllm:gpu_prefix_cache_hits_total",
        "vllm:mm_cache_queries_total",              "vllm:mm_cache_hits_total",
        "vllm:prompt_tokens_cached_total",
    };
    const struct engine_info *info = p->app->engine == NULL ? NULL : engine_info(p->app->engine);
    double usage = info == NULL || info->num_blocks == 0
                       ? 0
                       : STAT(p, blocks_used) / (double)info->num_blocks;
    print_one(p, "vllm:kv_cache_usage_perc", "gauge", "Used share of the KV cache, 0 to 1.",
              usage);
    print_one(p, "vllm:gpu_cache_usage_perc", "gauge", "Old name of vllm:kv_cache_usage_perc.",
              usage);
    print_one(p, "vllm:cpu_cache_usage_perc", "gauge", "Always 0: nothing is swapped out.", 0);
    for (size_t i = 0; i < ARRAY_SIZE(zero_counters); i++)
        print_one(p, zero_counters[i], "counter", "Tokens; always 0 without a prefix cache.", 0);
    print_help(p, "vllm:cache_config_info", "gauge", "The KV cache, in labels.");
    char more[160];
    snprintf(more, sizeof more,
             "block_size=\"%d\",cache_dtype=\"auto\",enable_prefix_caching=\"False\","
             "num_gpu_blocks=\"%d\",num_cpu_blocks=\"0\"",
             info == NULL ? 0 : info->block_size, info == NULL ? 0 : info->num_blocks);
    print_value(p, "vllm:cache_config_info", more, 1);
}

static void
print_tokens(struct page *p)
{
    print_one(p, "vllm:prompt_tokens_total", "counter", "Prompt tokens computed.",
              STAT(p, prompt_tokens));
    print_help(p, "vllm:prompt_tokens_by_source_total", "counter", "Prompt tokens by source.");
    print_value(p, "vllm:prompt_tokens_by_source_total", "source=\"local_compute\"",
                STAT(p, prompt_tokens));
    print_value(p, "vllm:prompt_tokens_by_source_total", "source=\"local_cache_hit\"", 0);
    print_value(p, "vllm:prompt_tokens_by_source_total", "source=\"external_kv_transfer\"", 0);
    print_one(p, "vllm:generation_tokens_total", "counter", "Tokens generated.",
              STAT(p, generation_tokens));
}

/* From the engine's log2 counters: bucket i counts values <= 2^i. */
static void
print_log2(struct page *p, const char *name, const char *help,
           const atomic_uint_fast64_t *counters, double scale, double sum)
{
    double total = 0;
    print_help(p, name, "histogram", help);
    for (int i = 0; i < ENGINE_STEP_BUCKETS - 1; i++) {
        total += load(&counters[i]);
        buf_printf(p->out, "%s_bucket{%s,le=\"%.9g\"} %.17g\n", name, p->labels,
                   (double)(1 << i) * scale, total);
    }
    total += load(&counters[ENGINE_STEP_BUCKETS - 1]);
    buf_printf(p->out, "%s_bucket{%s,le=\"+Inf\"} %.17g\n", name, p->labels, total);
    buf_printf(p->out, "%s_sum{%s} %.17g\n%s_count{%s} %.17g\n", name, p->labels, sum, name,
               p->labels, total);
}

static void
print_steps(struct page *p)
{
    static const atomic_uint_fast64_t none[ENGINE_STEP_BUCKETS];
    bool up = p->stats != NULL;
    print_log2(p, "vllm:iteration_tokens_total", "Tokens per engine step.",
               up ? p->stats->step_tokens_log2 : none, 1, STAT(p, step_tokens_total));
    print_log2(p, "llmd:engine_step_seconds", "Time per engine step.",
               up ? p->stats->step_us_log2 : none, 1e-6, STAT(p, step_ns_total) / 1e9);
    print_one(p, "llmd:engine_steps_total", "counter", "Engine steps.", STAT(p, num_steps));
}

/* ---- requests ------------------------------------------------------------ */

static void
print_outcomes(struct page *p)
{
    static const char *const reasons[METRICS_NUM_REASONS] = {"stop", "length", "abort", "error",
                                                             "repetition"};
    static const char *const rejections[METRICS_NUM_REJECTIONS] = {"max_num_queued_reqs",
                                                                   "max_num_queued_tokens"};
    char more[64];
    print_help(p, "vllm:request_success_total", "counter", "Finished requests by reason.");
    for (int i = 0; i < METRICS_NUM_REASONS; i++) {
        snprintf(more, sizeof more, "finished_reason=\"%s\"", reasons[i]);
        print_value(p, "vllm:request_success_total", more, (double)p->m->success[i]);
    }
    print_help(p, "vllm:admission_rejections_total", "counter", "Requests refused by a limit.");
    for (int i = 0; i < METRICS_NUM_REJECTIONS; i++) {
        snprintf(more, sizeof more, "reason=\"%s\"", rejections[i]);
        print_value(p, "vllm:admission_rejections_total", more, (double)p->m->rejections[i]);
    }
    print_one(p, "vllm:corrupted_requests_total", "counter", "Always 0.", 0);
}

static void
print_histograms(struct page *p)
{
    const struct metrics *m = p->m;
    print_hist(p, "vllm:time_to_first_token_seconds", "From arrival to the first token.",
               &m->ttft_s);
    print_hist(p, "vllm:inter_token_latency_seconds", "Between tokens of one request.",
               &m->itl_s);
    print_hist(p, "vllm:time_per_output_token_seconds",
               "Old name of vllm:inter_token_latency_seconds.", &m->itl_s);
    print_hist(p, "vllm:request_time_per_output_token_seconds",
               "Mean time per token after the first, of each request.", &m->tpot_s);
    print_hist(p, "vllm:e2e_request_latency_seconds", "From arrival to the last token.",
               &m->e2e_s);
    print_hist(p, "vllm:request_queue_time_seconds", "From submission to the first step.",
               &m->queue_s);
    print_hist(p, "vllm:request_inference_time_seconds", "From the first step to the end.",
               &m->inference_s);
    print_hist(p, "vllm:request_prefill_time_seconds", "From the first step to the first token.",
               &m->prefill_s);
    print_hist(p, "vllm:request_decode_time_seconds", "From the first token to the end.",
               &m->decode_s);
    print_hist(p, "vllm:request_prompt_tokens", "Prompt tokens per request.", &m->prompt_tokens);
    print_hist(p, "vllm:request_generation_tokens", "Output tokens per request.",
               &m->output_tokens);
    print_hist(p, "vllm:request_max_num_generation_tokens", "Most output tokens of a request.",
               &m->max_output_tokens);
    print_hist(p, "vllm:request_params_max_tokens", "max_tokens per request.",
               &m->params_max_tokens);
    print_hist(p, "vllm:request_params_n", "n per request.", &m->params_n);
    print_hist(p, "vllm:request_num_preemptions", "Preemptions per request.",
               &m->num_preemptions);
    print_hist(p, "vllm:request_prefill_kv_computed_tokens", "Prompt tokens computed per request.",
               &m->prefill_kv_tokens);
}

/* ---- what only llmd has -------------------------------------------------- */

static void
print_llmd(struct page *p)
{
    const struct app *a = p->app;
    const struct metrics *m = p->m;
    const struct engine_info *info = a->engine == NULL ? NULL : engine_info(a->engine);
    char version[96], more[128];
    escape_label(a->config.version, version, sizeof version);
    snprintf(more, sizeof more, "version=\"%s\"", version);
    print_help(p, "llmd:build_info", "gauge", "The version, in a label.");
    print_value(p, "llmd:build_info", more, 1);
    print_one(p, "llmd:state", "gauge", "0 loading, 1 ready, 2 draining, 3 failed.", a->state);
    print_one(p, "llmd:completions_active", "gauge", "Client requests whose answer is owed.",
              (double)a->num_completions);
    print_one(p, "llmd:engine_requests", "gauge", "Requests inside the engine.",
              (double)a->num_inside);
    print_one(p, "llmd:prefill_backlog_tokens", "gauge",
              "Prompt tokens of requests without a first token.", (double)a->num_queued_tokens);
    print_one(p, "llmd:kv_blocks_free", "gauge", "Free blocks of the KV cache.",
              info == NULL ? 0 : (double)info->num_blocks - STAT(p, blocks_used));
    print_one(p, "llmd:aborted_before_first_token_total", "counter",
              "Requests whose client left before the first token.",
              (double)m->aborted_before_first_token);
    print_one(p, "llmd:client_retries_total", "counter",
              "Requests that an SDK marked as a retry.", (double)m->client_retries);
    print_one(p, "llmd:sse_events_total", "counter", "Chunks written to streams.",
              (double)m->sse_events);
    print_one(p, "llmd:sse_bytes_total", "counter", "Bytes written to streams.",
              (double)m->sse_bytes);
    print_one(p, "llmd:sse_keep_alive_comments_total", "counter", "Comments to idle streams.",
              (double)m->keep_alive_comments);
    print_one(p, "llmd:connections", "gauge", "Open connections.",
              a->http == NULL ? 0 : http_server_connections(a->http));
    print_one(p, "llmd:refused_requests_total", "counter",
              "Requests refused before they were whole.", (double)m->refused_connections);
    print_hist(p, "llmd:events_per_wakeup", "Engine events taken at once.", &m->drain_events);
}

/* ---- http_* -------------------------------------------------------------- */

static void
print_http_counts(struct page *p)
{
    print_help(p, "http_requests_total", "counter", "Requests by handler, method and status.");
    for (int i = 0; i < METRICS_MAX_HANDLERS; i++) {
        for (int k = 0; k < METRICS_NUM_METHODS; k++) {
            for (int s = 0; s < 6; s++) {
                if (p->m->http[i].counts[k][s] == 0)
                    continue;
                buf_printf(p->out,
                           "http_requests_total{handler=\"%s\",method=\"%s\",status=\"%dxx\"} "
                           "%" PRIu64 "\n",
                           routes_label(i), metrics_methods[k], s, p->m->http[i].counts[k][s]);
            }
        }
    }
}

static void
print_http_sizes(struct page *p, const char *name, const char *help, bool response)
{
    print_help(p, name, "summary", help);
    for (int i = 0; i < METRICS_MAX_HANDLERS; i++) {
        const struct metrics_http *h = &p->m->http[i];
        if (h->num_requests == 0)
            continue;
        buf_printf(p->out, "%s_sum{handler=\"%s\"} %.17g\n%s_count{handler=\"%s\"} %" PRIu64 "\n",
                   name, routes_label(i), response ? h->response_bytes : h->request_bytes, name,
                   routes_label(i), h->num_requests);
    }
}

static void
print_http_durations(struct page *p)
{
    print_help(p, "http_request_duration_highr_seconds", "histogram", "Duration of all requests.");
    hist_print(&p->m->http_duration_s, "http_request_duration_highr_seconds", "", p->out);
    print_help(p, "http_request_duration_seconds", "histogram", "Duration by handler.");
    for (int i = 0; i < METRICS_MAX_HANDLERS; i++) {
        for (int k = 0; k < METRICS_NUM_METHODS; k++) {
            char labels[128];
            if (p->m->http[i].duration_s[k].count == 0)
                continue;
            snprintf(labels, sizeof labels, "handler=\"%s\",method=\"%s\"", routes_label(i),
                     metrics_methods[k]);
            hist_print(&p->m->http[i].duration_s[k], "http_request_duration_seconds", labels,
                       p->out);
        }
    }
}

void
metrics_write(const struct app *a, struct buf *ret)
{
    char name[400];
    struct page p = {
        .app = a,
        .m = &a->metrics,
        .stats = a->engine == NULL ? NULL : engine_stats(a->engine),
        .out = ret,
    };
    escape_label(app_model_name(a), name, sizeof name);
    snprintf(p.labels, sizeof p.labels, "engine=\"0\",model_name=\"%s\"", name);
    print_queue(&p);
    print_cache(&p);
    print_tokens(&p);
    print_outcomes(&p);
    print_histograms(&p);
    print_steps(&p);
    print_llmd(&p);
    print_http_counts(&p);
    print_http_sizes(&p, "http_request_size_bytes", "Bytes of request bodies.", false);
    print_http_sizes(&p, "http_response_size_bytes", "Bytes of answers.", true);
    print_http_durations(&p);
    metrics_host_write_process(a->started_s, ret);
    metrics_host_write(a->host, ret);
}
