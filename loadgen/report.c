/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/report_private.h"
#include "util/decimal.h"

#include <math.h>
#include <string.h>

#define TABLE_COLUMNS 50
#define EXAMPLE_BYTES_MAX 300 /* of an error */

const struct metric_name report_metric_names[NUM_METRICS] = {
    [METRIC_TTFT] = {"ttft", "TTFT", "Time to First Token"},
    [METRIC_TPOT] = {"tpot", "TPOT", "Time per Output Token (excl. 1st token)"},
    [METRIC_ITL] = {"itl", "ITL", "Inter-token Latency"},
    [METRIC_E2EL] = {"e2el", "E2EL", "End-to-end Latency"},
    [METRIC_QUEUE] = {"client_queue_time", "Client Queue Time", "Client-side Queueing"},
    [METRIC_E2EL_QUEUE] = {"e2el_including_client_queue", "E2EL incl. Client Queue",
                           "Queue-inclusive End-to-end Latency"},
};

bool
report_shows(const struct config *c, enum metric metric)
{
    const char *key = report_metric_names[metric].key;
    size_t len = strlen(key);
    bool queued = metric == METRIC_QUEUE || metric == METRIC_E2EL_QUEUE;
    if ((queued && c->max_concurrency == 0) ||
        (metric == METRIC_E2EL_QUEUE && isinf(c->request_rate)))
        return false;
    for (const char *p = c->percentile_metrics; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, key, len) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

/* ---- the table ---- */

/* A title in the middle of a line of `fill`; an odd rest goes right. */
static void
print_title(struct buf *ret, const char *title, char fill)
{
    size_t len = strlen(title), rest = len < TABLE_COLUMNS ? TABLE_COLUMNS - len : 0;
    for (size_t i = 0; i < rest / 2; i++)
        buf_putc(ret, fill);
    buf_puts(ret, title);
    for (size_t i = rest / 2; i < rest; i++)
        buf_putc(ret, fill);
    buf_putc(ret, '\n');
}

static void
print_count(struct buf *ret, const char *label, int64_t value)
{
    buf_printf(ret, "%-40s %-10lld\n", label, (long long)value);
}

static void
print_figure(struct buf *ret, const char *label, double value)
{
    buf_printf(ret, "%-40s %-10.2f\n", label, value);
}

/* The block of one metric: mean, median, percentiles in ms. */
static void
print_metric(const struct report *r, enum metric metric, struct buf *ret)
{
    const struct metric_name *name = &report_metric_names[metric];
    struct samples *values_s = &r->metrics->values_s[metric];
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num = 0;
    char label[80];
    print_title(ret, name->title, '-');
    snprintf(label, sizeof label, "Mean %s (ms):", name->label);
    print_figure(ret, label, samples_mean(values_s) * 1000);
    snprintf(label, sizeof label, "Median %s (ms):", name->label);
    print_figure(ret, label, samples_median(values_s) * 1000);
    config_percentiles(r->config, percents, &num, NULL);
    for (size_t i = 0; i < num; i++) {
        struct buf percent = {0};
        decimal_print(percents[i], false, &percent);
        snprintf(label, sizeof label, "P%s %s (ms):", buf_bytes(&percent), name->label);
        buf_release(&percent);
        print_figure(ret, label, samples_percentile(values_s, percents[i]) * 1000);
    }
}

void
report_table(const struct report *r, struct buf *ret)
{
    const struct metrics *m = r->metrics;
    const struct config *c = r->config;
    print_title(ret, " Serving Benchmark Result ", '=');
    print_count(ret, "Successful requests:", (int64_t)m->num_succeeded);
    print_count(ret, "Failed requests:", (int64_t)m->num_failed);
    if (m->num_cancelled > 0) /* ours: the run was interrupted */
        print_count(ret, "Cancelled requests:", (int64_t)m->num_cancelled);
    if (c->max_concurrency > 0)
        print_count(ret, "Maximum request concurrency:", c->max_concurrency);
    if (!isinf(c->request_rate))
        print_figure(ret, "Request rate configured (RPS):", c->request_rate);
    print_figure(ret, "Benchmark duration (s):", m->duration_s);
    print_count(ret, "Total input tokens:", m->input_tokens);
    print_count(ret, "Total generated tokens:", m->output_tokens);
    print_figure(ret, "Request throughput (req/s):", m->requests_per_s);
    print_figure(ret, "Output token throughput (tok/s):", m->output_tokens_per_s);
    print_figure(ret, "Peak output token throughput (tok/s):", m->max_output_tokens_per_s);
    print_figure(ret, "Peak concurrent requests:", (double)m->max_concurrent_requests);
    print_figure(ret, "Total token throughput (tok/s):", m->total_tokens_per_s);
    for (enum metric metric = 0; metric < NUM_METRICS; metric++) {
        if (report_shows(c, metric))
            print_metric(r, metric, ret);
    }
    print_title(ret, "", '=');
}

/* ---- around it ---- */

void
report_preamble(const struct config *c, struct buf *ret)
{
    buf_puts(ret, "Starting main benchmark run...\nTraffic request rate: ");
    decimal_print(c->request_rate, true, ret);
    buf_puts(ret, "\nBurstiness factor: ");
    decimal_print(c->burstiness, true, ret);
    buf_printf(ret, " (%s)\nMaximum request concurrency: ",
               c->burstiness == 1 ? "Poisson process" : "Gamma distribution");
    if (c->max_concurrency > 0)
        buf_printf(ret, "%lld\n", (long long)c->max_concurrency);
    else
        buf_puts(ret, "None\n");
}

static const char *
reason_of(const struct reply *r)
{
    return r->reason != NULL ? r->reason : "out of memory";
}

/* The first failure with the same reason. */
static const struct reply *
first_like(const struct report *r, const struct reply *failed)
{
    const struct reply *p = r->replies;
    while (p->status != REPLY_FAILED || strcmp(reason_of(p), reason_of(failed)) != 0)
        p++;
    return p;
}

/* Text of a server on one line that moves no cursor. */
static void
print_plain(struct buf *ret, const char *text)
{
    for (size_t i = 0; text[i] != '\0' && i < EXAMPLE_BYTES_MAX; i++) {
        bool is_control = (unsigned char)text[i] < 0x20 || text[i] == 0x7f;
        buf_putc(ret, is_control ? ' ' : text[i]);
    }
}

void
report_failures(const struct report *r, struct buf *ret)
{
    for (size_t i = 0; i < r->num_replies; i++) {
        const struct reply *example = &r->replies[i];
        if (example->status != REPLY_FAILED || first_like(r, example) != example)
            continue;
        size_t count = 0;
        for (size_t j = i; j < r->num_replies; j++)
            count += r->replies[j].status == REPLY_FAILED &&
                     strcmp(reason_of(&r->replies[j]), reason_of(example)) == 0;
        buf_printf(ret, "%zu failed: %s", count, reason_of(example));
        if (example->error != NULL && *example->error != '\0') {
            buf_printf(ret, "; for example request %zu: ", i);
            print_plain(ret, example->error);
        }
        buf_putc(ret, '\n');
    }
}

static const char *
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

void
report_file_name(const struct report *r, struct buf *ret)
{
    const struct config *c = r->config;
    if (c->result_dir != NULL)
        buf_printf(ret, "%s/", c->result_dir);
    if (c->result_filename != NULL) {
        buf_puts(ret, c->result_filename);
        return;
    }
    char date[32];
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &r->date);
    buf_printf(ret, "%s-", c->label != NULL ? c->label : config_backend_name(c));
    decimal_print(c->request_rate, true, ret);
    buf_puts(ret, "qps");
    if (c->max_concurrency > 0)
        buf_printf(ret, "-concurrency%lld", (long long)c->max_concurrency);
    buf_printf(ret, "-%s-%s.json", base_name(r->model), date);
}
