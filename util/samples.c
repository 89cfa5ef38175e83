/* SPDX-License-Identifier: Apache-2.0 */
#include "util/samples.h"

#include <math.h>
#include <string.h>

#define PAIRWISE_BLOCK 128

void
samples_release(struct samples *s)
{
    free(s->values);
    free(s->sorted);
    *s = (struct samples){0};
}

void
samples_record(struct samples *s, double value)
{
    if (s->len == s->cap) {
        size_t cap = MAX(s->cap * 2, (size_t)64);
        double *values = reallocarray(s->values, cap, sizeof *values);
        if (values == NULL) {
            s->failed = true;
            return;
        }
        s->values = values;
        s->cap = cap;
    }
    s->values[s->len++] = value;
    free(s->sorted);
    s->sorted = NULL;
}

/* The order of additions of numpy's sum over a contiguous array. */
static double
pairwise_sum(const double *v, size_t n)
{
    if (n < 8) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += v[i];
        return sum;
    }
    if (n <= PAIRWISE_BLOCK) {
        double r[8];
        size_t i;
        memcpy(r, v, sizeof r);
        for (i = 8; i < n - n % 8; i += 8) {
            for (size_t j = 0; j < 8; j++)
                r[j] += v[i + j];
        }
        double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        for (; i < n; i++)
            sum += v[i];
        return sum;
    }
    size_t half = n / 2;
    half -= half % 8;
    return pairwise_sum(v, half) + pairwise_sum(v + half, n - half);
}

double
samples_sum(const struct samples *s)
{
    return pairwise_sum(s->values, s->len);
}

double
samples_mean(const struct samples *s)
{
    return s->len == 0 ? 0 : samples_sum(s) / (double)s->len;
}

double
samples_std(struct samples *s)
{
    if (s->len == 0)
        return 0;
    double mean = samples_mean(s);
    double *squares = reallocarray(NULL, s->len, sizeof *squares);
    if (squares == NULL) {
        s->failed = true;
        return 0;
    }
    for (size_t i = 0; i < s->len; i++)
        squares[i] = (s->values[i] - mean) * (s->values[i] - mean);
    double sum = pairwise_sum(squares, s->len);
    free(squares);
    return sqrt(sum / (double)s->len);
}

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool
sort_values(struct samples *s)
{
    if (s->len == 0)
        return false;
    if (s->sorted != NULL)
        return true;
    s->sorted = reallocarray(NULL, s->len, sizeof *s->sorted);
    if (s->sorted == NULL) {
        s->failed = true;
        return false;
    }
    memcpy(s->sorted, s->values, s->len * sizeof *s->sorted);
    qsort(s->sorted, s->len, sizeof *s->sorted, compare_doubles);
    return true;
}

double
samples_median(struct samples *s)
{
    if (!sort_values(s))
        return 0;
    const double *middle = &s->sorted[s->len / 2];
    return s->len % 2 == 1 ? middle[0] : (middle[-1] + middle[0]) / 2;
}

double
samples_percentile(struct samples *s, double percent)
{
    if (!sort_values(s))
        return 0;
    double at = (double)(s->len - 1) * (percent / 100);
    size_t below = (size_t)MAX(floor(at), 0.0);
    if (below >= s->len - 1)
        return s->sorted[s->len - 1];
    double t = at - (double)below;
    double a = s->sorted[below], b = s->sorted[below + 1];
    /* From the nearer end, as numpy does. */
    return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
}
