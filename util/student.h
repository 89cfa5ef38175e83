/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Student's t distribution, for means of a few runs. `dof`: degrees of freedom,
 * > 0, not necessarily whole. Any thread; no state.
 */
#ifndef UTIL_STUDENT_H
#define UTIL_STUDENT_H

#include "util/base.h"

/* The probability that |T| is at least |t|. */
double student_two_sided(double t, double dof);
/* The t that |T| stays below with this probability, in (0, 1). */
double student_quantile(double probability, double dof);

/* Mean and sample standard deviation (n - 1) of `n` values. */
struct student_mean {
    double mean, std; /* std NAN for n < 2 */
    size_t n;
};
struct student_mean student_mean(const double *values, size_t n);
/* Half the width of the 95 % confidence interval of a mean; NAN for n < 2. */
double student_half_width(const struct student_mean *m);
/* Welch's test: the probability of such a difference between equal means; 1 if
 * one of the two has n < 2. */
double student_welch(const struct student_mean *a, const struct student_mean *b);

#endif
