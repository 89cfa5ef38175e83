/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A histogram over fixed buckets, as Prometheus shows it: bucket i counts the
 * values in (bounds[i - 1], bounds[i]], one more counts the rest. Constant
 * memory, O(log buckets) per value. One thread at a time.
 */
#ifndef UTIL_HIST_H
#define UTIL_HIST_H

#include "util/base.h"
#include "util/buf.h"

struct hist {
    const double *bounds; /* borrowed, ascending upper bounds, without +Inf */
    size_t num_bounds;
    uint64_t *counts;     /* owned, num_bounds + 1, not cumulative */
    uint64_t count;       /* of all values */
    double sum;           /* of all values */
};

/* Returns 0 or ERR_NOMEM; `bounds` must outlive the histogram. */
int hist_init(struct hist *h, const double *bounds, size_t num_bounds);
void hist_release(struct hist *h);
/* A value that is not finite is not recorded. */
void hist_record(struct hist *h, double value);
/* The same `times` times. */
void hist_record_n(struct hist *h, double value, uint64_t times);
/* The number of values <= bounds[i]; i = num_bounds gives all. */
uint64_t hist_cumulative(const struct hist *h, size_t i);
/*
 * The quantile q in [0, 1], linear within its bucket (the first one starts at
 * 0 if its bound is positive); the last bound if it lies above that; NAN when
 * empty.
 */
double hist_quantile(const struct hist *h, double q);
/*
 * Appends the lines name_bucket, name_sum and name_count. `labels` is "" or
 * like `model_name="x"`, and comes before le.
 */
void hist_print(const struct hist *h, const char *name, const char *labels, struct buf *ret);

#endif
