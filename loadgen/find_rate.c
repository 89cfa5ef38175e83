/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/find_rate.h"

#include <math.h>
#include <string.h>

#define PRECISION 0.05        /* between the two, relative */
#define RATE_MIN (1.0 / 1024) /* requests per second */
#define RATE_MAX 1048576.0
#define KEEPS_UP 0.9 /* of the rate is answered */

/* ---- limits ---- */

static const struct {
    const char *name;
    enum metric metric;
} metric_names[] = {
    {"ttft", METRIC_TTFT}, {"tpot", METRIC_TPOT}, {"itl", METRIC_ITL}, {"e2el", METRIC_E2EL},
};

static bool
parse_statistic(const char *text, size_t len, double *ret_percent)
{
    char *end;
    if (len == 4 && memcmp(text, "mean", 4) == 0) {
        *ret_percent = NAN;
        return true;
    }
    if (len == 6 && memcmp(text, "median", 6) == 0) {
        *ret_percent = 50;
        return true;
    }
    if (len < 2 || text[0] != 'p')
        return false;
    *ret_percent = strtod(text + 1, &end);
    return end == text + len && *ret_percent >= 0 && *ret_percent <= 100;
}

/* "ttft:200@p99" */
static bool
parse_limit(const char *text, size_t len, struct slo_limit *ret)
{
    const char *colon = memchr(text, ':', len), *at = memchr(text, '@', len);
    char *end;
    if (colon == NULL)
        return false;
    bool known = false;
    for (size_t i = 0; i < ARRAY_SIZE(metric_names); i++) {
        if (strlen(metric_names[i].name) == (size_t)(colon - text) &&
            memcmp(text, metric_names[i].name, (size_t)(colon - text)) == 0) {
            ret->metric = metric_names[i].metric;
            known = true;
        }
    }
    const char *number_end = at != NULL ? at : text + len;
    ret->limit_ms = strtod(colon + 1, &end);
    ret->percent = 99;
    return known && end > colon + 1 && end == number_end && ret->limit_ms > 0 &&
           (at == NULL || parse_statistic(at + 1, (size_t)(text + len - at - 1), &ret->percent));
}

int
slo_parse(struct slo *s, const char *text, struct error *err)
{
    *s = (struct slo){0};
    for (const char *p = text;;) {
        size_t len = strcspn(p, ",");
        if (s->len == SLO_LIMITS_MAX || !parse_limit(p, len, &s->limits[s->len]))
            return error_set(err, ERR_INVALID, "option '--find-rate': '%.*s' is not METRIC:MS or "
                             "METRIC:MS@STATISTIC with ttft, tpot, itl or e2el, and pNN, mean or "
                             "median (at most %d of them)", (int)MIN(len, (size_t)100), p,
                             SLO_LIMITS_MAX);
        s->len++;
        if (p[len] == '\0')
            return 0;
        p += len + 1;
    }
}

bool
slo_check(const struct slo *s, double rate, struct metrics *m, struct buf *ret_why)
{
    size_t before = buf_len(ret_why);
    for (size_t i = 0; i < s->len; i++) {
        const struct slo_limit *l = &s->limits[i];
        struct samples *v = &m->values_s[l->metric];
        double ms =
            1000 * (isnan(l->percent) ? samples_mean(v) : samples_percentile(v, l->percent));
        if (ms > l->limit_ms)
            buf_printf(ret_why, " %s is %.2f ms, above %g;", metric_names[l->metric].name, ms,
                       l->limit_ms);
    }
    if (m->num_failed > 0)
        buf_printf(ret_why, " %zu requests failed;", m->num_failed);
    /* An answer that comes after the last request was sent is no lag; a queue
     * that has grown until then is. */
    double sending_s = (double)(m->num_succeeded + m->num_failed) / rate;
    if ((m->duration_s - samples_mean(&m->values_s[METRIC_E2EL])) * KEEPS_UP > sending_s)
        buf_printf(ret_why, " only %.2f requests per second were answered;", m->requests_per_s);
    return buf_len(ret_why) == before;
}

/* ---- the search ---- */

void
find_rate_init(struct find_rate *f)
{
    *f = (struct find_rate){.high = INFINITY, .rate = 1};
}

static void
choose_next(struct find_rate *f)
{
    if (isinf(f->high))
        f->rate = f->low * 2;
    else if (f->low == 0)
        f->rate = f->high / 2;
    else
        f->rate = sqrt(f->low * f->high);
    bool close = f->low > 0 && f->high / f->low <= 1 + PRECISION;
    if (close || f->rate < RATE_MIN || f->rate > RATE_MAX)
        f->done = true;
    if (f->rate > RATE_MAX)
        f->low = INFINITY;
}

void
find_rate_report(struct find_rate *f, bool kept)
{
    f->num_runs++;
    if (!kept && !f->tried_again) {
        f->tried_again = true;
        return;
    }
    f->tried_again = false;
    if (kept)
        f->low = f->rate;
    else
        f->high = f->rate;
    choose_next(f);
}
