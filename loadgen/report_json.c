/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON result: keys, order and types of `vllm bench serve --save-result`,
 * then one object of our own. Its members are kept until all are there, since
 * --metadata may name one that comes later: a dict of Python then keeps the
 * first place and the last value, and so do we.
 */
#include "loadgen/report_private.h"
#include "util/decimal.h"
#include "util/json.h"

#include <math.h>
#include <string.h>

struct member {
    char *key; /* owned, as the value */
    struct buf value;
};

struct object {
    struct member *members; /* owned */
    size_t len;
    bool failed;
};

/* Where the value of a key is to be written; NULL when memory is out. */
static struct buf *
value_of(struct object *o, const char *key)
{
    for (size_t i = 0; i < o->len; i++) {
        if (strcmp(o->members[i].key, key) == 0) {
            buf_clear(&o->members[i].value);
            return &o->members[i].value;
        }
    }
    struct member *members = reallocarray(o->members, o->len + 1, sizeof *members);
    char *copy = strdup(key);
    if (members != NULL)
        o->members = members;
    if (members == NULL || copy == NULL) {
        o->failed = true;
        free(copy);
        return NULL;
    }
    o->members[o->len++] = (struct member){.key = copy};
    return &o->members[o->len - 1].value;
}

static void
put_text(struct object *o, const char *key, const char *text)
{
    struct buf *b = value_of(o, key);
    if (b == NULL)
        return;
    if (text != NULL)
        json_write_string(b, text, strlen(text));
    else
        buf_puts(b, "null");
}

static void
put_int(struct object *o, const char *key, int64_t value)
{
    struct buf *b = value_of(o, key);
    if (b != NULL)
        json_write_int(b, value);
}

static void
put_double(struct object *o, const char *key, double value)
{
    struct buf *b = value_of(o, key);
    if (b == NULL)
        return;
    /* As vLLM writes a rate; JSON has no infinity. */
    if (isinf(value))
        buf_puts(b, "\"inf\"");
    else
        json_write_double(b, value);
}

/* ---- lists with one item per request ---- */

typedef void item_fn(struct buf *b, const struct reply *r);

static void
put_list(struct object *o, const char *key, const struct report *r, item_fn *item)
{
    struct buf *b = value_of(o, key);
    if (b == NULL)
        return;
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
    json_write_double(b, (double)r->start_ns / 1e9);
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

static void
item_server_queue(struct buf *b, const struct reply *r)
{
    json_write_double(b, r->server_queue_s); /* NAN is null */
}

static void
item_server_ttft(struct buf *b, const struct reply *r)
{
    json_write_double(b, r->server_ttft_s);
}

/* ---- the parts, in order ---- */

static void
put_metadata(struct object *o, const struct config *c)
{
    for (size_t i = 0; i < c->metadata.len; i++) {
        char *pair = strdup(c->metadata.items[i]);
        if (pair == NULL) {
            o->failed = true;
            return;
        }
        char *value = strchr(pair, '=');
        *value++ = '\0';
        value += strspn(value, " ");
        for (size_t n = strlen(value); n > 0 && value[n - 1] == ' '; n--)
            value[n - 1] = '\0';
        char *key = pair + strspn(pair, " ");
        for (size_t n = strlen(key); n > 0 && key[n - 1] == ' '; n--)
            key[n - 1] = '\0';
        put_text(o, key, value);
        free(pair);
    }
}

static void
put_settings(struct object *o, const struct report *r)
{
    const struct config *c = r->config;
    char date[32];
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &r->date);
    put_text(o, "date", date);
    put_text(o, "endpoint_type", config_backend_name(c));
    put_text(o, "backend", config_backend_name(c));
    put_text(o, "label", c->label);
    put_text(o, "model_id", r->model);
    put_text(o, "tokenizer_id", r->tokenizer);
    put_int(o, "num_prompts", c->num_prompts);
    put_metadata(o, c);
    put_double(o, "request_rate", c->request_rate);
    put_double(o, "burstiness", c->burstiness);
    if (c->max_concurrency > 0)
        put_int(o, "max_concurrency", c->max_concurrency);
    else
        put_text(o, "max_concurrency", NULL);
    if (c->ramp_up_strategy != RAMP_UP_NONE) {
        put_text(o, "ramp_up_strategy", config_ramp_up_name(c));
        put_int(o, "ramp_up_start_rps", c->ramp_up_start_rps);
        put_int(o, "ramp_up_end_rps", c->ramp_up_end_rps);
    }
}

static void
put_totals(struct object *o, const struct report *r)
{
    const struct metrics *m = r->metrics;
    put_double(o, "duration", m->duration_s);
    put_int(o, "completed", (int64_t)m->num_succeeded);
    put_int(o, "failed", (int64_t)m->num_failed);
    put_int(o, "total_input_tokens", m->input_tokens);
    put_int(o, "total_output_tokens", m->output_tokens);
    put_double(o, "request_throughput", m->requests_per_s);
    if (r->config->has_goodput)
        put_double(o, "request_goodput", m->good_requests_per_s);
    else
        put_text(o, "request_goodput", NULL);
    put_double(o, "output_throughput", m->output_tokens_per_s);
    put_double(o, "total_token_throughput", m->total_tokens_per_s);
}

static void
put_requests(struct object *o, const struct report *r, bool detailed)
{
    if (detailed) {
        put_list(o, "input_lens", r, item_input_len);
        put_list(o, "output_lens", r, item_output_len);
        put_list(o, "ttfts", r, item_ttft);
        put_list(o, "itls", r, item_itls);
    }
    put_list(o, "latencies", r, item_latency);
    if (detailed)
        put_list(o, "start_times", r, item_start);
    put_list(o, "queue_times", r, item_queue);
    if (detailed) {
        put_list(o, "generated_texts", r, item_text);
        put_list(o, "errors", r, item_error);
    }
}

/* What the server measured, if it said so for any request. */
static void
put_server_times(struct object *o, const struct report *r)
{
    for (size_t i = 0; i < r->num_replies; i++) {
        if (!isnan(r->replies[i].server_queue_s) || !isnan(r->replies[i].server_ttft_s)) {
            put_list(o, "server_queue_times", r, item_server_queue);
            put_list(o, "server_ttfts", r, item_server_ttft);
            return;
        }
    }
}

static void
put_probes(struct object *o, const struct report *r)
{
    struct samples *latencies_s = &r->outcome->probe_latencies_s;
    if (latencies_s->len == 0)
        return;
    put_int(o, "probe_completed", (int64_t)latencies_s->len);
    put_int(o, "probe_failed", (int64_t)r->outcome->num_probes_failed);
    put_double(o, "probe_median_e2el_ms", samples_median(latencies_s) * 1000);
    put_double(o, "probe_p99_e2el_ms", samples_percentile(latencies_s, 99) * 1000);
    put_double(o, "probe_max_e2el_ms", samples_percentile(latencies_s, 100) * 1000);
}

/* A moment as Python's datetime.isoformat() of local time. */
static void
write_local_time(struct buf *b, int64_t realtime_ns)
{
    time_t s = (time_t)(realtime_ns / 1000000000);
    int us = (int)(realtime_ns % 1000000000 / 1000);
    struct tm local;
    char text[32];
    localtime_r(&s, &local);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &local);
    buf_puts(b, text);
    if (us != 0)
        buf_printf(b, ".%06d", us);
}

static void
write_rate_change(struct buf *b, const struct report *r, int64_t rate, uint64_t at_ns)
{
    buf_printf(b, "{\"rps\": %lld, \"timestamp\": \"", (long long)rate);
    write_local_time(b, r->realtime_ns + (int64_t)at_ns);
    buf_puts(b, "\"}");
}

/* Each whole rate that a ramp-up passed, and when. */
static void
put_rate_changes(struct object *o, const struct report *r)
{
    if (r->config->ramp_up_strategy == RAMP_UP_NONE)
        return;
    struct buf *b = value_of(o, "rps_change_events");
    int64_t last = r->config->ramp_up_start_rps;
    if (b == NULL)
        return;
    buf_putc(b, '[');
    write_rate_change(b, r, last, r->outcome->start_ns);
    for (size_t i = 0; i < r->num_replies; i++) {
        while (last < (int64_t)schedule_rate(r->schedule, i)) {
            buf_puts(b, ", ");
            write_rate_change(b, r, ++last, r->replies[i].due_ns);
        }
    }
    buf_putc(b, ']');
}

/* mean_ttft_ms, median_, std_, p99_, ... */
static void
put_metric(struct object *o, const struct report *r, enum metric metric)
{
    const char *name = report_metric_names[metric].key;
    struct samples *values_s = &r->metrics->values_s[metric];
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num = 0;
    char key[96];
    snprintf(key, sizeof key, "mean_%s_ms", name);
    put_double(o, key, samples_mean(values_s) * 1000);
    snprintf(key, sizeof key, "median_%s_ms", name);
    put_double(o, key, samples_median(values_s) * 1000);
    snprintf(key, sizeof key, "std_%s_ms", name);
    put_double(o, key, samples_std(values_s) * 1000);
    config_percentiles(r->config, percents, &num, NULL);
    for (size_t i = 0; i < num; i++) {
        struct buf percent = {0};
        decimal_print(percents[i], false, &percent);
        snprintf(key, sizeof key, "p%s_%s_ms", buf_bytes(&percent), name);
        buf_release(&percent);
        put_double(o, key, samples_percentile(values_s, percents[i]) * 1000);
    }
}

/* ---- the whole ---- */

static void
write_object(struct object *o, struct buf *ret)
{
    buf_putc(ret, '{');
    for (size_t i = 0; i < o->len; i++) {
        struct member *m = &o->members[i];
        buf_puts(ret, i > 0 ? ", " : "");
        json_write_string(ret, m->key, strlen(m->key));
        buf_puts(ret, ": ");
        buf_append(ret, buf_bytes(&m->value), buf_len(&m->value));
        ret->failed = ret->failed || m->value.failed || o->failed;
    }
    buf_putc(ret, '}');
}

void
report_json(const struct report *r, bool detailed, struct buf *ret)
{
    struct object o = {0};
    put_settings(&o, r);
    put_totals(&o, r);
    put_requests(&o, r, detailed);
    put_double(&o, "max_output_tokens_per_s", r->metrics->max_output_tokens_per_s);
    put_int(&o, "max_concurrent_requests", r->metrics->max_concurrent_requests);
    put_double(&o, "rtfx", 0);
    if (detailed)
        put_server_times(&o, r);
    put_probes(&o, r);
    put_rate_changes(&o, r);
    for (enum metric metric = 0; metric < NUM_NAMED_METRICS; metric++) {
        if (report_shows(r->config, metric))
            put_metric(&o, r, metric);
    }
    struct buf *own = value_of(&o, "loadgen");
    if (own != NULL)
        report_own_json(r, own);
    write_object(&o, ret);
    for (size_t i = 0; i < o.len; i++) {
        free(o.members[i].key);
        buf_release(&o.members[i].value);
    }
    free(o.members);
}
