/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON result: keys, order and types of `vllm bench serve --save-result`. */
#include "loadgen/report_private.h"
#include "util/decimal.h"
#include "util/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static void
write_key(struct buf *b, const char *key)
{
    buf_printf(b, "%s\"%s\": ", b->data != NULL && b->data[b->len - 1] == '{' ? "" : ", ", key);
}

static void
write_text(struct buf *b, const char *key, const char *text)
{
    write_key(b, key);
    if (text != NULL)
        json_write_string(b, text, strlen(text));
    else
        buf_puts(b, "null");
}

static void
write_int(struct buf *b, const char *key, int64_t value)
{
    write_key(b, key);
    json_write_int(b, value);
}

static void
write_double(struct buf *b, const char *key, double value)
{
    write_key(b, key);
    json_write_double(b, value);
}

/* ---- lists with one item per request ---- */

typedef void item_fn(struct buf *b, const struct reply *r);

static void
write_list(struct buf *b, const char *key, const struct report *r, item_fn *item)
{
    write_key(b, key);
    buf_putc(b, '[');
    for (size_t i = 0; i < r->num_replies; i++) {
        if (i > 0)
            buf_puts(b, ", ");
        item(b, &r->replies[i]);
    }
    buf_putc(b, ']');
}

static void
item_input_len(struct buf *b, const struct reply *r)
{
    json_write_int(b, r->input_len);
}

static void
item_output_len(struct buf *b, const struct reply *r)
{
    json_write_int(b, r->output_len);
}

static void
item_ttft(struct buf *b, const struct reply *r)
{
    json_write_double(b, reply_ttft_s(r));
}

static void
item_itls(struct buf *b, const struct reply *r)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < r->itls_s.len; i++) {
        if (i > 0)
            buf_puts(b, ", ");
        json_write_double(b, r->itls_s.values[i]);
    }
    buf_putc(b, ']');
}

static void
item_latency(struct buf *b, const struct reply *r)
{
    json_write_double(b, reply_latency_s(r));
}

static void
item_start(struct buf *b, const struct reply *r)
{
    json_write_double(b, (double)r->start_ns * 1e-9);
}

static void
item_queue(struct buf *b, const struct reply *r)
{
    json_write_double(b, reply_queue_s(r));
}

static void
item_text(struct buf *b, const struct reply *r)
{
    json_write_string(b, buf_bytes(&r->text), buf_len(&r->text));
}

static void
item_error(struct buf *b, const struct reply *r)
{
    const char *error = r->error != NULL ? r->error : "";
    json_write_string(b, error, strlen(error));
}

/* ---- the object ---- */

static void
write_settings(struct buf *b, const struct report *r)
{
    const struct config *c = r->config;
    char date[32];
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &r->date);
    write_text(b, "date", date);
    write_text(b, "endpoint_type", config_backend_name(c));
    write_text(b, "backend", config_backend_name(c));
    write_text(b, "label", c->label);
    write_text(b, "model_id", r->model);
    write_text(b, "tokenizer_id", c->tokenizer);
    write_int(b, "num_prompts", c->num_prompts);
    if (isinf(c->request_rate))
        write_text(b, "request_rate", "inf");
    else
        write_double(b, "request_rate", c->request_rate);
    write_double(b, "burstiness", c->burstiness);
    if (c->max_concurrency > 0)
        write_int(b, "max_concurrency", c->max_concurrency);
    else
        write_text(b, "max_concurrency", NULL);
}

static void
write_totals(struct buf *b, const struct metrics *m)
{
    write_double(b, "duration", m->duration_s);
    write_int(b, "completed", (int64_t)m->num_succeeded);
    write_int(b, "failed", (int64_t)m->num_failed);
    write_int(b, "total_input_tokens", m->input_tokens);
    write_int(b, "total_output_tokens", m->output_tokens);
    write_double(b, "request_throughput", m->requests_per_s);
    write_text(b, "request_goodput", NULL);
    write_double(b, "output_throughput", m->output_tokens_per_s);
    write_double(b, "total_token_throughput", m->total_tokens_per_s);
}

static void
write_requests(struct buf *b, const struct report *r)
{
    bool detailed = r->config->save_detailed;
    if (detailed) {
        write_list(b, "input_lens", r, item_input_len);
        write_list(b, "output_lens", r, item_output_len);
        write_list(b, "ttfts", r, item_ttft);
        write_list(b, "itls", r, item_itls);
    }
    write_list(b, "latencies", r, item_latency);
    if (detailed)
        write_list(b, "start_times", r, item_start);
    write_list(b, "queue_times", r, item_queue);
    if (detailed) {
        write_list(b, "generated_texts", r, item_text);
        write_list(b, "errors", r, item_error);
    }
}

/* mean_ttft_ms, median_, std_, p99_, ... */
static void
write_metric(struct buf *b, const struct report *r, enum metric metric)
{
    const char *name = report_metric_names[metric].key;
    struct samples *values_s = &r->metrics->values_s[metric];
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num = 0;
    char key[96];
    snprintf(key, sizeof key, "mean_%s_ms", name);
    write_double(b, key, samples_mean(values_s) * 1000);
    snprintf(key, sizeof key, "median_%s_ms", name);
    write_double(b, key, samples_median(values_s) * 1000);
    snprintf(key, sizeof key, "std_%s_ms", name);
    write_double(b, key, samples_std(values_s) * 1000);
    config_percentiles(r->config, percents, &num, NULL);
    for (size_t i = 0; i < num; i++) {
        struct buf percent = {0};
        decimal_print(percents[i], false, &percent);
        snprintf(key, sizeof key, "p%s_%s_ms", buf_bytes(&percent), name);
        buf_release(&percent);
        write_double(b, key, samples_percentile(values_s, percents[i]) * 1000);
    }
}

void
report_json(const struct report *r, struct buf *ret)
{
    buf_putc(ret, '{');
    write_settings(ret, r);
    write_totals(ret, r->metrics);
    write_requests(ret, r);
    write_double(ret, "max_output_tokens_per_s", r->metrics->max_output_tokens_per_s);
    write_int(ret, "max_concurrent_requests", r->metrics->max_concurrent_requests);
    write_double(ret, "rtfx", 0);
    for (enum metric metric = 0; metric < NUM_METRICS; metric++) {
        if (report_shows(r->config, metric))
            write_metric(ret, r, metric);
    }
    buf_putc(ret, '}');
}

int
report_save(const struct report *r, const char *path, struct error *err)
{
    struct buf text = {0};
    int e = 0;
    report_json(r, &text);
    FILE *file = text.failed ? NULL : fopen(path, "we");
    if (text.failed)
        e = error_set(err, ERR_NOMEM, "cannot write '%s': out of memory", path);
    else if (file == NULL)
        e = error_set(err, ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    if (file != NULL) {
        bool ok = fwrite(buf_bytes(&text), 1, buf_len(&text), file) == buf_len(&text);
        if (fclose(file) != 0 || !ok)
            e = error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    buf_release(&text);
    return e;
}
