/* SPDX-License-Identifier: Apache-2.0 */
/* What only loadgen says: of itself, of the server's machine, of failures. */
#include "loadgen/report_private.h"
#include "util/json.h"

#include <string.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

#define EXAMPLE_BYTES_MAX 300

/* ---- failures ---- */

void
report_plain(struct buf *ret, const char *text, size_t max_bytes)
{
    for (size_t i = 0; text[i] != '\0' && i < max_bytes; i++) {
        bool is_control = (unsigned char)text[i] < 0x20 || text[i] == 0x7f;
        buf_putc(ret, is_control ? ' ' : text[i]);
    }
}

static const char *
reason_of(const struct reply *r)
{
    return r->reason != NULL ? r->reason : "out of memory";
}

static struct failure *
find_failure(struct failure *failures, size_t num, const char *reason)
{
    for (size_t i = 0; i < num; i++) {
        if (strcmp(failures[i].reason, reason) == 0)
            return &failures[i];
    }
    return NULL;
}

size_t
report_failures(const struct report *r, struct failure **ret)
{
    struct failure *failures = NULL;
    size_t num = 0;
    for (size_t i = 0; i < r->num_replies; i++) {
        const struct reply *reply = &r->replies[i];
        if (reply->status != REPLY_FAILED)
            continue;
        struct failure *f = find_failure(failures, num, reason_of(reply));
        if (f == NULL) {
            struct failure *more = reallocarray(failures, num + 1, sizeof *failures);
            if (more == NULL)
                break;
            failures = more;
            f = &failures[num++];
            *f = (struct failure){.reason = reason_of(reply), .example = reply};
        }
        f->count++;
    }
    *ret = failures;
    return num;
}

static void
print_failures(const struct report *r, struct buf *ret)
{
    struct failure *failures;
    size_t num = report_failures(r, &failures);
    for (size_t i = 0; i < num; i++) {
        const struct failure *f = &failures[i];
        buf_printf(ret, "%zu failed: %s", f->count, f->reason);
        if (f->example->error != NULL && strcmp(f->example->error, f->reason) != 0) {
            buf_printf(ret, "; for example request %zu: ", (size_t)(f->example - r->replies));
            report_plain(ret, f->example->error, EXAMPLE_BYTES_MAX);
        }
        buf_putc(ret, '\n');
    }
    free(failures);
}

/* ---- the rows ---- */

void
report_own_table(const struct report *r, struct buf *ret)
{
    struct metrics *m = r->metrics;
    struct samples *slip_s = &m->values_s[METRIC_SLIP];
    struct samples *ttft_s = &m->values_s[METRIC_TTFT_QUEUE];
    report_title(ret, "Client and Server", '-');
    report_figure(ret, "Median schedule slip (ms):", samples_median(slip_s) * 1000);
    report_figure(ret, "P99 schedule slip (ms):", samples_percentile(slip_s, 99) * 1000);
    report_figure(ret, "Mean TTFT from intended time (ms):", samples_mean(ttft_s) * 1000);
    report_figure(ret, "P99 TTFT from intended time (ms):",
                  samples_percentile(ttft_s, 99) * 1000);
    report_figure(ret, "Client CPU (% of one processor):", m->client_cpu_percent);
    if (r->resource_rows != NULL)
        buf_append(ret, buf_bytes(r->resource_rows), buf_len(r->resource_rows));
    report_title(ret, "", '=');
}

void
report_warnings(const struct report *r, struct buf *ret)
{
    if (r->metrics->client_limited)
        buf_puts(ret, "CLIENT LIMITED: loadgen did not keep up; these figures describe it, not "
                      "the server. Give it more processors or --threads.\n");
    print_failures(r, ret);
}

/* ---- the object ---- */

static void
write_ms(struct buf *b, const char *key, double value_s)
{
    buf_printf(b, "\"%s\": ", key);
    json_write_double(b, value_s * 1000);
}

static void
write_slip(struct buf *b, struct samples *slip_s)
{
    buf_puts(b, "\"schedule_slip_ms\": {");
    write_ms(b, "mean", samples_mean(slip_s));
    buf_puts(b, ", ");
    write_ms(b, "p50", samples_median(slip_s));
    buf_puts(b, ", ");
    write_ms(b, "p99", samples_percentile(slip_s, 99));
    buf_puts(b, ", ");
    write_ms(b, "max", samples_percentile(slip_s, 100));
    buf_putc(b, '}');
}

static void
write_from_intended(struct buf *b, struct metrics *m)
{
    static const struct {
        enum metric metric;
        const char *name;
    } rows[] = {{METRIC_TTFT_QUEUE, "ttft"}, {METRIC_E2EL_QUEUE, "e2el"}};
    buf_puts(b, "\"from_intended\": {");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct samples *values_s = &m->values_s[rows[i].metric];
        char key[32];
        buf_puts(b, i > 0 ? ", " : "");
        snprintf(key, sizeof key, "mean_%s_ms", rows[i].name);
        write_ms(b, key, samples_mean(values_s));
        buf_puts(b, ", ");
        snprintf(key, sizeof key, "median_%s_ms", rows[i].name);
        write_ms(b, key, samples_median(values_s));
        buf_puts(b, ", ");
        snprintf(key, sizeof key, "p99_%s_ms", rows[i].name);
        write_ms(b, key, samples_percentile(values_s, 99));
    }
    buf_putc(b, '}');
}

static void
write_failures(const struct report *r, struct buf *b)
{
    struct failure *failures;
    size_t num = report_failures(r, &failures);
    buf_puts(b, "\"failures\": [");
    for (size_t i = 0; i < num; i++) {
        const struct failure *f = &failures[i];
        const char *error = f->example->error != NULL ? f->example->error : "";
        buf_puts(b, i > 0 ? ", {\"reason\": " : "{\"reason\": ");
        json_write_string(b, f->reason, strlen(f->reason));
        buf_printf(b, ", \"count\": %zu, \"request\": %zu, \"example\": ", f->count,
                   (size_t)(f->example - r->replies));
        json_write_string(b, error, strlen(error));
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
    free(failures);
}

void
report_own_json(const struct report *r, struct buf *b)
{
    buf_printf(b, "{\"version\": \"%s\", \"verdict\": \"%s\", \"cancelled\": %zu, ",
               PACKAGE_VERSION, r->metrics->client_limited ? "client limited" : "ok",
               r->metrics->num_cancelled);
    write_slip(b, &r->metrics->values_s[METRIC_SLIP]);
    buf_puts(b, ", \"client_cpu_percent\": ");
    json_write_double(b, r->metrics->client_cpu_percent);
    buf_puts(b, ", ");
    write_from_intended(b, r->metrics);
    buf_puts(b, ", ");
    write_failures(r, b);
    buf_puts(b, ", \"resources\": ");
    if (r->resource_json != NULL)
        buf_append(b, buf_bytes(r->resource_json), buf_len(r->resource_json));
    else
        buf_puts(b, "null");
    buf_putc(b, '}');
}
