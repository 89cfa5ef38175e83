/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/compare.h"
#include "util/student.h"

#include <math.h>
#include <string.h>

#define CHANCE_MAX 0.05

enum better { HIGHER, LOWER };

static const struct figure {
    const char *key;
    enum better better;
} figures[] = {
    {"duration", LOWER},
    {"completed", HIGHER},
    {"failed", LOWER},
    {"request_throughput", HIGHER},
    {"request_goodput", HIGHER},
    {"output_throughput", HIGHER},
    {"total_token_throughput", HIGHER},
    {"max_output_tokens_per_s", HIGHER},
    /* of llmd-bench and vllm bench throughput and latency */
    {"elapsed_time", LOWER},
    {"requests_per_second", HIGHER},
    {"tokens_per_second", HIGHER},
    {"avg_latency", LOWER},
};

static const char *const settings[] = {"model_id", "num_prompts", "request_rate", "burstiness",
                                       "max_concurrency", "total_input_tokens", "num_requests",
                                       "total_num_tokens"};

/* A figure of both sets; `b` unused when there is but one. */
struct row {
    struct student_mean a, b;
};

/* False where a set lacks the figure. */
static bool
make_row(const struct result_set *a, const struct result_set *b, const char *key, double *scratch,
         struct row *ret)
{
    if (!result_set_values(a, key, scratch))
        return false;
    ret->a = student_mean(scratch, a->len);
    if (b == NULL)
        return true;
    if (!result_set_values(b, key, scratch))
        return false;
    ret->b = student_mean(scratch, b->len);
    return true;
}

static double
change_percent(const struct row *r)
{
    if (r->a.mean == r->b.mean)
        return 0;
    return r->a.mean != 0 ? (r->b.mean - r->a.mean) / fabs(r->a.mean) * 100 : NAN;
}

static const char *
verdict(const struct row *r, enum better better)
{
    if (r->a.n < 2 || r->b.n < 2)
        return "-";
    if (student_welch(&r->a, &r->b) >= CHANCE_MAX)
        return "same";
    return (r->b.mean > r->a.mean) == (better == HIGHER) ? "better" : "worse";
}

/* ---- the table ---- */

struct table {
    bool markdown, has_b;
    struct buf *ret;
};

/* Columns by characters, not bytes: the plus-minus sign has two. */
static void
print_cell(const struct table *t, const char *text, int width)
{
    int len = 0;
    for (const char *p = text; *p != '\0'; p++)
        len += ((unsigned char)*p & 0xc0) != 0x80;
    buf_puts(t->ret, t->markdown ? " " : "");
    buf_puts(t->ret, text);
    for (; len < width && !t->markdown; len++)
        buf_putc(t->ret, ' ');
    buf_puts(t->ret, t->markdown ? " |" : " ");
}

static void
print_cells(const struct table *t, const char *key, const char *a, const char *b,
            const char *change, const char *word)
{
    buf_puts(t->ret, t->markdown ? "|" : "");
    print_cell(t, key, 28);
    print_cell(t, a, 22);
    if (t->has_b) {
        print_cell(t, b, 22);
        print_cell(t, change, 9);
        print_cell(t, word, 0);
    }
    while (t->ret->len > 0 && !t->markdown && t->ret->data[t->ret->len - 1] == ' ')
        t->ret->data[--t->ret->len] = '\0';
    buf_putc(t->ret, '\n');
}

static void
write_mean(const struct student_mean *m, char *ret, size_t ret_bytes)
{
    double half = student_half_width(m);
    if (isnan(half))
        snprintf(ret, ret_bytes, "%.2f", m->mean);
    else
        snprintf(ret, ret_bytes, "%.2f \xc2\xb1 %.2f", m->mean, half);
}

static void
print_row(const struct table *t, const char *key, const struct row *r, enum better better)
{
    char a[64], b[64] = "", change[32] = "";
    write_mean(&r->a, a, sizeof a);
    if (t->has_b) {
        write_mean(&r->b, b, sizeof b);
        snprintf(change, sizeof change, "%+.1f %%", change_percent(r));
    }
    print_cells(t, key, a, b, change, t->has_b ? verdict(r, better) : "");
}

static void
print_head(const struct table *t, const struct result_set *a, const struct result_set *b)
{
    char name_a[80], name_b[80] = "";
    snprintf(name_a, sizeof name_a, "%s (n=%zu)", t->has_b ? "A" : "mean", a->len);
    if (t->has_b) {
        snprintf(name_b, sizeof name_b, "B (n=%zu)", b->len);
        buf_printf(t->ret, "A: %s\nB: %s\n\n", a->name, b->name);
    }
    print_cells(t, "", name_a, name_b, "B to A", "");
    if (t->markdown)
        print_cells(t, "---", "---", "---", "---", "---");
}

/* Latencies end in _ms; less is better. */
static bool
is_latency(const char *key)
{
    size_t len = strlen(key);
    return len > 3 && strcmp(key + len - 3, "_ms") == 0 && strncmp(key, "std_", 4) != 0;
}

static void
print_different_settings(const struct result_set *a, const struct result_set *b, struct buf *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        json_t *x = json_object_get(a->runs[0], settings[i]);
        json_t *y = json_object_get(b->runs[0], settings[i]);
        if (json_equal(x, y) || (x == NULL && y == NULL))
            continue;
        char *in_a = json_dumps(x, JSON_ENCODE_ANY), *in_b = json_dumps(y, JSON_ENCODE_ANY);
        buf_printf(ret, "WARNING: the settings differ: %s is %s in A and %s in B\n", settings[i],
                   in_a != NULL ? in_a : "missing", in_b != NULL ? in_b : "missing");
        free(in_a);
        free(in_b);
    }
}

static double *
alloc_scratch(const struct result_set *a, const struct result_set *b)
{
    return calloc(MAX(a->len, b != NULL ? b->len : 0), sizeof(double));
}

int
compare_print(const struct result_set *a, const struct result_set *b, bool markdown,
              struct buf *ret, struct error *err)
{
    struct table t = {markdown, b != NULL, ret};
    double *scratch = alloc_scratch(a, b);
    struct row row;
    const char *key;
    json_t *value;
    size_t num = 0;
    if (scratch == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    if (b != NULL)
        print_different_settings(a, b, ret);
    print_head(&t, a, b);
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        if (!make_row(a, b, figures[i].key, scratch, &row))
            continue;
        print_row(&t, figures[i].key, &row, figures[i].better);
        num++;
    }
    json_object_foreach(a->runs[0], key, value) {
        if (!is_latency(key) || !make_row(a, b, key, scratch, &row))
            continue;
        print_row(&t, key, &row, LOWER);
        num++;
    }
    free(scratch);
    if (num == 0)
        return error_set(err, ERR_INVALID, "there is no figure to compare: the results are of "
                                           "different kinds, or of none that is known");
    return 0;
}

/* ---- the judgement ---- */

int
compare_regressed(const struct result_set *a, const struct result_set *b, double percent,
                  bool *ret_regressed, struct buf *ret_said, struct error *err)
{
    static const struct figure judged[] = {
        {"output_throughput", HIGHER}, {"median_ttft_ms", LOWER}, {"p99_ttft_ms", LOWER},
        {"median_tpot_ms", LOWER},     {"p99_tpot_ms", LOWER},    {"tokens_per_second", HIGHER},
        {"avg_latency", LOWER},
    };
    double *scratch = alloc_scratch(a, b);
    struct row row;
    *ret_regressed = false;
    if (scratch == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < ARRAY_SIZE(judged); i++) {
        if (!make_row(a, b, judged[i].key, scratch, &row))
            continue;
        double worse = judged[i].better == HIGHER ? -change_percent(&row) : change_percent(&row);
        if (worse > percent) {
            *ret_regressed = true;
            buf_printf(ret_said, "REGRESSION: %s is worse by %.1f %%, more than %g %%\n",
                       judged[i].key, worse, percent);
        }
    }
    free(scratch);
    return 0;
}
