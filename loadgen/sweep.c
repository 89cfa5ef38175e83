/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/sweep.h"

#include "util/decimal.h"

#include <math.h>
#include <string.h>

/* ---- the rates ---- */

static int
wrong(const char *text, struct error *err)
{
    return error_set(err, ERR_INVALID, "option '--sweep': '%.100s' is not RATE,RATE,..., "
                     "FROM:TO:STEP or FROM:TO:*FACTOR with rates above 0 (at most %d of them)",
                     text, SWEEP_RATES_MAX);
}

/* "FROM:TO:STEP", "FROM:TO:*FACTOR"; returns how many, 0 if it is wrong. */
static size_t
parse_range(const char *text, double *rates)
{
    char *end;
    double from = strtod(text, &end);
    if (*end != ':')
        return 0;
    double to = strtod(end + 1, &end);
    if (*end != ':')
        return 0;
    bool multiplies = end[1] == '*';
    const char *step_text = end + (multiplies ? 2 : 1);
    double step = strtod(step_text, &end);
    if (end == step_text || *end != '\0' || !(from > 0) || !(to >= from) || isinf(to) ||
        !(step > (multiplies ? 1 : 0)))
        return 0;
    /* An end that rounding missed by a hair is still the end. */
    double limit = to * (1 + 1e-9);
    size_t num = 0;
    for (double rate = from; rate <= limit; num++) {
        if (num == SWEEP_RATES_MAX)
            return 0;
        rates[num] = rate;
        rate = multiplies ? rate * step : from + step * (double)(num + 1);
    }
    return num;
}

static size_t
parse_list(const char *text, double *rates)
{
    size_t num = 0;
    for (const char *p = text;; p++) {
        char *end;
        double rate = strtod(p, &end);
        if (end == p || (*end != ',' && *end != '\0') || !(rate > 0) || num == SWEEP_RATES_MAX)
            return 0;
        rates[num++] = rate;
        if (*end == '\0')
            return num;
        p = end;
    }
}

int
sweep_parse(const char *text, double **ret, size_t *ret_num, struct error *err)
{
    double *rates = calloc(SWEEP_RATES_MAX, sizeof *rates);
    if (rates == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    *ret_num = strchr(text, ':') != NULL ? parse_range(text, rates) : parse_list(text, rates);
    if (*ret_num == 0) {
        free(rates);
        return wrong(text, err);
    }
    *ret = rates;
    return 0;
}

/* ---- the table ---- */

void
sweep_print_head(bool markdown, struct buf *ret)
{
    if (markdown)
        buf_puts(ret, "| rate | req/s | tok/s | TTFT p50 ms | TTFT p99 ms | TPOT p50 ms | TPOT p99 "
                      "ms | E2EL p99 ms | failed | client |\n"
                      "|---|---|---|---|---|---|---|---|---|---|\n");
    else
        buf_printf(ret, "%8s %8s %9s %10s %10s %10s %10s %10s %7s  %s\n", "rate", "req/s", "tok/s",
                   "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "E2EL p99", "failed", "client");
}

void
sweep_print_row(bool markdown, double rate, struct metrics *m, struct buf *ret)
{
    static const char text[] = "%8s %8.2f %9.1f %10.2f %10.2f %10.2f %10.2f %10.2f %7zu  %s\n";
    static const char mark[] =
        "| %s | %.2f | %.1f | %.2f | %.2f | %.2f | %.2f | %.2f | %zu | %s |\n";
    struct samples *v = m->values_s;
    struct buf asked = {0};
    decimal_print(rate, false, &asked);
    buf_printf(ret, markdown ? mark : text, buf_bytes(&asked), m->requests_per_s,
               m->output_tokens_per_s, samples_median(&v[METRIC_TTFT]) * 1000,
               samples_percentile(&v[METRIC_TTFT], 99) * 1000,
               samples_median(&v[METRIC_TPOT]) * 1000,
               samples_percentile(&v[METRIC_TPOT], 99) * 1000,
               samples_percentile(&v[METRIC_E2EL], 99) * 1000, m->num_failed,
               m->client_limited ? "limited" : "ok");
    buf_release(&asked);
}
