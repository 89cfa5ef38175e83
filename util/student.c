/* SPDX-License-Identifier: Apache-2.0 */
#include "util/student.h"

#include <math.h>

#define TERMS_MAX 500
#define SMALLEST 1e-300

/* The continued fraction of the incomplete beta function, by Lentz's method:
 * DLMF 8.17.22 and 3.10(iii). Converges fast for x < (a + 1) / (a + b + 2). */
static double
beta_fraction(double a, double b, double x)
{
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < SMALLEST ? SMALLEST : d);
    double f = d;
    for (int m = 1; m <= TERMS_MAX; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 1;
        for (int half = 0; half < 2; half++) {
            double term = half == 0 ? even : odd;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < SMALLEST ? SMALLEST : d);
            c = fabs(c) < SMALLEST ? SMALLEST : c;
            step = c * d;
            f *= step;
        }
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return f;
}

/* I_x(a, b): DLMF 8.17.2, 8.17.4. */
static double
regularized_beta(double a, double b, double x)
{
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double
student_two_sided(double t, double dof)
{
    return regularized_beta(dof / 2, 0.5, dof / (dof + t * t));
}

double
student_quantile(double probability, double dof)
{
    double low = 0, high = 1;
    while (student_two_sided(high, dof) > 1 - probability && high < 1e12)
        high *= 2;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (student_two_sided(middle, dof) > 1 - probability)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

struct student_mean
student_mean(const double *values, size_t n)
{
    struct student_mean m = {.std = NAN, .n = n};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    m.mean = n > 0 ? sum / (double)n : 0;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - m.mean) * (values[i] - m.mean);
    if (n >= 2)
        m.std = sqrt(squares / (double)(n - 1));
    return m;
}

double
student_half_width(const struct student_mean *m)
{
    if (m->n < 2)
        return NAN;
    return student_quantile(0.95, (double)(m->n - 1)) * m->std / sqrt((double)m->n);
}

double
student_welch(const struct student_mean *a, const struct student_mean *b)
{
    if (a->n < 2 || b->n < 2)
        return 1;
    double va = a->std * a->std / (double)a->n, vb = b->std * b->std / (double)b->n;
    if (va + vb == 0)
        return a->mean == b->mean ? 1 : 0;
    double dof = (va + vb) * (va + vb) /
                 (va * va / (double)(a->n - 1) + vb * vb / (double)(b->n - 1));
    return student_two_sided((a->mean - b->mean) / sqrt(va + vb), dof);
}
