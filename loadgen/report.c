/* SPDX-License-Identifier: Apache-2.0 */
/* What `vllm bench serve` prints. */
#include "loadgen/report_private.h"
#include "loadgen/dataset.h"
#include "util/decimal.h"

#include <math.h>
#include <string.h>

#define TABLE_COLUMNS 50
#define ERRORS_MAX 10
#define ERROR_BYTES_MAX 1000

const struct metric_name report_metric_names[NUM_NAMED_METRICS] = {
    [METRIC_TTFT] = {"ttft", "TTFT", "Time to First Token"},
    [METRIC_TPOT] = {"tpot", "TPOT", "Time per Output Token (excl. 1st token)"},
    [METRIC_ITL] = {"itl", "ITL", "Inter-token Latency"},
    [METRIC_E2EL] = {"e2el", "E2EL", "End-to-end Latency"},
    [METRIC_QUEUE] = {"client_queue_time", "Client Queue Time", "Client-side Queueing"},
    [METRIC_E2EL_QUEUE] = {"e2el_including_client_queue", "E2EL incl. Client Queue",
                           "Queue-inclusive End-to-end Latency"},
};

static bool
is_listed(const char *list, const char *key)
{
    size_t len = strlen(key);
    for (const char *p = list; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, key, len) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

bool
report_shows(const struct config *c, enum metric metric)
{
    bool of_tokens = metric == METRIC_TTFT || metric == METRIC_TPOT || metric == METRIC_ITL;
    bool queued = metric == METRIC_QUEUE || metric == METRIC_E2EL_QUEUE;
    if ((queued && c->max_concurrency == 0) || (of_tokens && c->skip_tokenizer_init) ||
        (metric == METRIC_E2EL_QUEUE && isinf(c->request_rate)))
        return false;
    return is_listed(c->percentile_metrics, report_metric_names[metric].key);
}

/* ---- lines ---- */

void
report_title(struct buf *ret, const char *title, char fill)
{
    size_t len = strlen(title), rest = len < TABLE_COLUMNS ? TABLE_COLUMNS - len : 0;
    for (size_t i = 0; i < rest / 2; i++)
        buf_putc(ret, fill);
    buf_puts(ret, title);
    for (size_t i = rest / 2; i < rest; i++)
        buf_putc(ret, fill);
    buf_putc(ret, '\n');
}

void
report_count(struct buf *ret, const char *label, int64_t value)
{
    buf_printf(ret, "%-40s %-10lld\n", label, (long long)value);
}

void
report_figure(struct buf *ret, const char *label, double value)
{
    buf_printf(ret, "%-40s %-10.2f\n", label, value);
}

/* ---- the table ---- */

/* The block of one metric: mean, median, percentiles in ms. */
static void
print_metric(const struct report *r, enum metric metric, struct buf *ret)
{
    const struct metric_name *name = &report_metric_names[metric];
    struct samples *values_s = &r->metrics->values_s[metric];
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num = 0;
    char label[80];
    report_title(ret, name->title, '-');
    snprintf(label, sizeof label, "Mean %s (ms):", name->label);
    report_figure(ret, label, samples_mean(values_s) * 1000);
    snprintf(label, sizeof label, "Median %s (ms):", name->label);
    report_figure(ret, label, samples_median(values_s) * 1000);
    config_percentiles(r->config, percents, &num, NULL);
    for (size_t i = 0; i < num; i++) {
        struct buf percent = {0};
        decimal_print(percents[i], false, &percent);
        snprintf(label, sizeof label, "P%s %s (ms):", buf_bytes(&percent), name->label);
        buf_release(&percent);
        report_figure(ret, label, samples_percentile(values_s, percents[i]) * 1000);
    }
}

/* vLLM 0.8 had fewer rows, and another spelling of the last. */
static bool
is_old(const struct config *c)
{
    return c->format == FORMAT_VLLM_0_8;
}

static void
print_requests(const struct report *r, struct buf *ret)
{
    const struct metrics *m = r->metrics;
    const struct config *c = r->config;
    report_count(ret, "Successful requests:", (int64_t)m->num_succeeded);
    if (is_old(c))
        return;
    report_count(ret, "Failed requests:", (int64_t)m->num_failed);
    if (m->num_cancelled > 0) /* ours: the run was interrupted */
        report_count(ret, "Cancelled requests:", (int64_t)m->num_cancelled);
    if (c->max_concurrency > 0)
        report_count(ret, "Maximum request concurrency:", c->max_concurrency);
    if (!isinf(c->request_rate))
        report_figure(ret, "Request rate configured (RPS):", c->request_rate);
}

static void
print_throughput(const struct report *r, struct buf *ret)
{
    const struct metrics *m = r->metrics;
    const struct config *c = r->config;
    bool of_tokens = !c->skip_tokenizer_init;
    report_figure(ret, "Benchmark duration (s):", m->duration_s);
    report_count(ret, "Total input tokens:", m->input_tokens);
    if (of_tokens)
        report_count(ret, "Total generated tokens:", m->output_tokens);
    report_figure(ret, "Request throughput (req/s):", m->requests_per_s);
    if (c->has_goodput)
        report_figure(ret, "Request goodput (req/s):", m->good_requests_per_s);
    if (of_tokens) {
        report_figure(ret, "Output token throughput (tok/s):", m->output_tokens_per_s);
        if (!is_old(c))
            report_figure(ret, "Peak output token throughput (tok/s):",
                          m->max_output_tokens_per_s);
    }
    if (!is_old(c))
        report_figure(ret, "Peak concurrent requests:", (double)m->max_concurrent_requests);
    if (of_tokens)
        report_figure(ret, is_old(c) ? "Total Token throughput (tok/s):"
                                     : "Total token throughput (tok/s):", m->total_tokens_per_s);
}

static void
print_probes(const struct report *r, struct buf *ret)
{
    struct samples *latencies_s = &r->outcome->probe_latencies_s;
    if (latencies_s->len == 0)
        return;
    report_title(ret, "Probe Requests", '-');
    report_count(ret, "Probe requests completed:", (int64_t)latencies_s->len);
    report_count(ret, "Probe requests failed:", (int64_t)r->outcome->num_probes_failed);
    report_figure(ret, "Median probe E2EL (ms):", samples_median(latencies_s) * 1000);
    report_figure(ret, "P99 probe E2EL (ms):", samples_percentile(latencies_s, 99) * 1000);
    report_figure(ret, "Max probe E2EL (ms):", samples_percentile(latencies_s, 100) * 1000);
}

void
report_table(const struct report *r, struct buf *ret)
{
    report_title(ret, " Serving Benchmark Result ", '=');
    print_requests(r, ret);
    print_throughput(r, ret);
    print_probes(r, ret);
    for (enum metric metric = 0; metric < NUM_NAMED_METRICS; metric++) {
        if (report_shows(r->config, metric))
            print_metric(r, metric, ret);
    }
    report_title(ret, "", '=');
}

/* ---- around it ---- */

void
report_preamble(const struct config *c, struct buf *ret)
{
    buf_puts(ret, "Starting main benchmark run...\n");
    if (c->dataset_name == DATASET_TIMED_TRACE && c->self_timed) {
        buf_puts(ret, "Self timing is set, using the timestamps from the trace file.\n");
    } else {
        if (c->ramp_up_strategy != RAMP_UP_NONE) {
            buf_printf(ret, "Traffic ramp-up strategy: %s.\nWill increase RPS from %lld to %lld "
                       "RPS over the duration of the benchmark.\n",
                       config_ramp_up_name(c), (long long)c->ramp_up_start_rps,
                       (long long)c->ramp_up_end_rps);
        } else {
            buf_puts(ret, "Traffic request rate: ");
            decimal_print(c->request_rate, true, ret);
            buf_putc(ret, '\n');
        }
        buf_puts(ret, "Burstiness factor: ");
        decimal_print(c->burstiness, true, ret);
        buf_printf(ret, " (%s)\nMaximum request concurrency: ",
                   c->burstiness == 1 ? "Poisson process" : "Gamma distribution");
        if (c->max_concurrency > 0)
            buf_printf(ret, "%lld\n", (long long)c->max_concurrency);
        else
            buf_puts(ret, "None\n");
    }
    if (c->probe_request_rate > 0) {
        buf_puts(ret, "Probe request rate: ");
        decimal_print(c->probe_request_rate, true, ret);
        buf_puts(ret, " req/s\n");
    }
}

void
report_errors(const struct report *r, struct buf *ret)
{
    size_t num = 0;
    for (size_t i = 0; i < r->num_replies && num < ERRORS_MAX; i++) {
        const struct reply *reply = &r->replies[i];
        if (reply->status != REPLY_FAILED)
            continue;
        if (num == 0)
            buf_printf(ret, "Failed requests during benchmark run detected (capping to %d):\n",
                       ERRORS_MAX);
        buf_printf(ret, "Error %zu: ", num++);
        report_plain(ret, reply->error != NULL ? reply->error : "", ERROR_BYTES_MAX);
        buf_putc(ret, '\n');
    }
}
