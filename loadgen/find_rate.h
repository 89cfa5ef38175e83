/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The highest request rate that keeps limits of latency: first doubled until
 * one is broken, then halved between the two. A machine that does not know of
 * runs: it names a rate, and is told what came of it.
 */
#ifndef LOADGEN_FIND_RATE_H
#define LOADGEN_FIND_RATE_H

#include "loadgen/metrics.h"

#define SLO_LIMITS_MAX 16

/* One limit: a statistic of a metric, in ms. */
struct slo_limit {
    enum metric metric;
    double percent; /* a percentile; NAN: the mean */
    double limit_ms;
};

struct slo {
    struct slo_limit limits[SLO_LIMITS_MAX];
    size_t len;
};

/* Reads "ttft:200@p99,tpot:50@mean,itl:30@median"; without @ it is p99. The
 * error names --find-rate. */
int slo_parse(struct slo *s, const char *text, struct error *err);
/* Whether a run at `rate` kept all limits, had no failure and kept up with the
 * rate; if not, appends why. */
bool slo_check(const struct slo *s, double rate, struct metrics *m, struct buf *ret_why);

struct find_rate {
    double low, high;   /* kept and broken; 0 and INFINITY: not known yet */
    double rate;        /* the one to try */
    bool tried_again;   /* it broke once already, which may have been chance */
    size_t num_runs;
    bool done;
};

/* Starts at 1 request per second. */
void find_rate_init(struct find_rate *f);
/* What came of the run at f->rate. Then f->rate is the next one, unless f->done:
 * then f->low is the answer, 0 if even the lowest rate is too much, and INFINITY
 * if none was found that is. */
void find_rate_report(struct find_rate *f, bool kept);

#endif
