/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/actions.h"
#include "loadgen/benchmark.h"
#include "loadgen/compare.h"
#include "loadgen/find_rate.h"
#include "loadgen/reference.h"
#include "loadgen/self_test.h"
#include "loadgen/sweep.h"
#include "util/decimal.h"

#include <math.h>

static void
print(struct buf *text)
{
    fwrite(buf_bytes(text), 1, buf_len(text), stdout);
    fflush(stdout);
    buf_release(text);
}

/* Whether enough requests succeeded. */
static bool
is_good(const struct config *c, const struct metrics *m)
{
    size_t num = m->num_succeeded + m->num_failed;
    return m->num_succeeded > 0 && (double)m->num_failed <= c->max_fail_rate * (double)num;
}

/* ---- without a server ---- */

int
action_print_schedule(struct config *c, bool *ret_good, struct error *err)
{
    struct schedule s;
    struct buf text = {0};
    int e = benchmark_schedule(c, &s, err);
    *ret_good = e == 0;
    if (e < 0)
        return e;
    buf_putc(&text, '[');
    for (size_t i = 0; i < s.len; i++) {
        buf_puts(&text, i > 0 ? ", " : "");
        decimal_print(s.times_s[i], true, &text);
    }
    buf_puts(&text, "]\n");
    print(&text);
    schedule_release(&s);
    return 0;
}

int
action_self_test(struct config *c, bool *ret_good, struct error *err)
{
    struct self_test_args args = self_test_default;
    struct buf table = {0};
    args.threads = c->threads;
    int e = self_test(&args, &table, ret_good, err);
    print(&table);
    return e;
}

int
action_compare(struct config *c, bool *ret_good, struct error *err)
{
    struct result_set a = {0}, b = {0};
    struct buf text = {0};
    bool regressed = false;
    int e = result_set_read(&a, c->compare.items[0], err);
    if (e == 0)
        e = result_set_read(&b, c->compare.items[1], err);
    if (e == 0)
        e = compare_print(&a, &b, c->format == FORMAT_MARKDOWN, &text, err);
    if (e == 0 && !isnan(c->max_regression))
        e = compare_regressed(&a, &b, c->max_regression, &regressed, &text, err);
    print(&text);
    *ret_good = e == 0 && !regressed;
    result_set_release(&a);
    result_set_release(&b);
    return e;
}

int
action_reference(struct config *c, bool *ret_good, struct error *err)
{
    struct buf text = {0};
    int e = 0;
    struct result_set *sets = calloc(c->num_files, sizeof *sets);
    if (sets == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < c->num_files && e == 0; i++)
        e = result_set_read(&sets[i], c->files[i], err);
    if (e == 0)
        reference_print(sets, c->num_files, &text);
    for (size_t i = 0; i < c->num_files; i++)
        result_set_release(&sets[i]);
    free(sets);
    print(&text);
    *ret_good = e == 0;
    return e;
}

/* ---- with one ---- */

static int
run_and_keep(struct benchmark *b, const struct config *c, struct result_set *results,
             bool *ret_good, struct error *err)
{
    struct metrics m = {0};
    struct buf json = {0};
    int e = benchmark_run(b, &m, &json, err);
    if (e == 0 || e == ERR_CANCELLED) {
        json_t *run = json_loadb(buf_bytes(&json), buf_len(&json), JSON_ALLOW_NUL, NULL);
        if (run == NULL || result_set_add(results, run) < 0)
            e = error_set(err, ERR_NOMEM, "out of memory");
    }
    *ret_good = *ret_good && is_good(c, &m);
    metrics_release(&m);
    buf_release(&json);
    return e;
}

int
action_run(struct config *c, bool *ret_good, struct error *err)
{
    struct benchmark *b = NULL;
    struct result_set result = {0};
    struct buf text = {0};
    *ret_good = true;
    int e = benchmark_new(c, &b, err);
    if (e == 0)
        e = run_and_keep(b, c, &result, ret_good, err);
    if (result.len > 0 && c->format == FORMAT_REFERENCE) {
        reference_print(&result, 1, &text);
        print(&text);
    }
    result_set_release(&result);
    benchmark_free(b);
    return e;
}

int
action_runs(struct config *c, bool *ret_good, struct error *err)
{
    struct benchmark *b = NULL;
    struct result_set results = {.name = "runs"};
    struct buf text = {0};
    *ret_good = true;
    int e = benchmark_new(c, &b, err);
    for (int64_t i = 0; i < c->num_runs && e == 0; i++) {
        printf("\nRun %lld of %lld\n", (long long)i + 1, (long long)c->num_runs);
        e = run_and_keep(b, c, &results, ret_good, err);
    }
    if (results.len > 0) {
        buf_puts(&text, "\nAll runs: mean and half the width of its 95 % confidence interval\n");
        int printed = compare_print(&results, NULL, c->format == FORMAT_MARKDOWN, &text, err);
        e = e == 0 ? printed : e;
        print(&text);
    }
    result_set_release(&results);
    benchmark_free(b);
    return e;
}

int
action_sweep(struct config *c, bool *ret_good, struct error *err)
{
    struct benchmark *b = NULL;
    struct buf table = {0};
    double *rates = NULL;
    size_t num = 0;
    bool markdown = c->format == FORMAT_MARKDOWN;
    *ret_good = true;
    int e = sweep_parse(c->sweep, &rates, &num, err);
    if (e == 0)
        e = benchmark_new(c, &b, err);
    sweep_print_head(markdown, &table);
    for (size_t i = 0; i < num && e == 0; i++) {
        struct metrics m = {0};
        c->request_rate = rates[i];
        e = benchmark_run(b, &m, NULL, err);
        if (e == 0)
            sweep_print_row(markdown, rates[i], &m, &table);
        *ret_good = *ret_good && is_good(c, &m);
        metrics_release(&m);
    }
    putchar('\n');
    print(&table);
    free(rates);
    benchmark_free(b);
    return e;
}

/* One try of the search. */
static int
try_rate(struct benchmark *b, struct config *c, const struct slo *slo, struct find_rate *f,
         struct buf *ret_log, struct error *err)
{
    struct metrics m = {0};
    struct buf why = {0};
    c->request_rate = f->rate;
    int e = benchmark_run(b, &m, NULL, err);
    if (e == 0) {
        bool kept = slo_check(slo, f->rate, &m, &why);
        buf_printf(ret_log, "%10.3f req/s  %s%s\n", f->rate, kept ? "kept" : "broken:",
                   buf_bytes(&why));
        find_rate_report(f, kept);
    }
    metrics_release(&m);
    buf_release(&why);
    return e;
}

int
action_find_rate(struct config *c, bool *ret_good, struct error *err)
{
    struct benchmark *b = NULL;
    struct buf log = {0};
    struct find_rate f;
    struct slo slo;
    find_rate_init(&f);
    int e = slo_parse(&slo, c->find_rate, err);
    if (e == 0)
        e = benchmark_new(c, &b, err);
    while (e == 0 && !f.done)
        e = try_rate(b, c, &slo, &f, &log, err);
    if (f.done && f.low == 0)
        buf_puts(&log, "\nNo rate keeps these limits.\n");
    else if (f.done && isinf(f.low))
        buf_puts(&log, "\nEvery rate keeps these limits: --num-prompts is too small to tell.\n");
    else if (f.done)
        buf_printf(&log, "\nHighest rate that keeps %s: %.3f requests per second (%.3f does not)\n",
                   c->find_rate, f.low, f.high);
    putchar('\n');
    print(&log);
    *ret_good = f.done && f.low > 0;
    benchmark_free(b);
    return e;
}
