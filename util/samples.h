/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every value of a measurement, kept, with the statistics numpy gives for
 * them, to the last bit: pairwise sums, population standard deviation, linear
 * percentiles. An empty store gives 0 for all. One thread at a time.
 */
#ifndef UTIL_SAMPLES_H
#define UTIL_SAMPLES_H

#include "util/base.h"

struct samples {
    double *values;  /* owned, in the order recorded */
    double *sorted;  /* owned; NULL until a percentile is asked for */
    size_t len, cap;
    bool failed;     /* an allocation failed: values are missing */
};

void samples_release(struct samples *s);
void samples_record(struct samples *s, double value);
double samples_sum(const struct samples *s);
double samples_mean(const struct samples *s);
/* The population standard deviation. */
double samples_std(struct samples *s);
double samples_median(struct samples *s);
/* `percent` in [0, 100], interpolated between the two nearest values. */
double samples_percentile(struct samples *s, double percent);

#endif
