/* SPDX-License-Identifier: Apache-2.0 */
#include "util/hist.h"

#include "util/decimal.h"
#include "util/error.h"

#include <inttypes.h>
#include <math.h>

int
hist_init(struct hist *h, const double *bounds, size_t num_bounds)
{
    for (size_t i = 1; i < num_bounds; i++)
        ASSERT(bounds[i - 1] < bounds[i]);
    *h = (struct hist){.bounds = bounds, .num_bounds = num_bounds};
    h->counts = calloc(num_bounds + 1, sizeof *h->counts);
    return h->counts != NULL ? 0 : ERR_NOMEM;
}

void
hist_release(struct hist *h)
{
    free(h->counts);
    *h = (struct hist){0};
}

/* The first bucket whose bound is not below the value. */
static size_t
bucket_of(const struct hist *h, double value)
{
    size_t low = 0, high = h->num_bounds;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (h->bounds[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void
hist_record_n(struct hist *h, double value, uint64_t times)
{
    if (!isfinite(value))
        return;
    h->counts[bucket_of(h, value)] += times;
    h->count += times;
    h->sum += value * (double)times;
}

void
hist_record(struct hist *h, double value)
{
    hist_record_n(h, value, 1);
}

uint64_t
hist_cumulative(const struct hist *h, size_t i)
{
    ASSERT(i <= h->num_bounds);
    uint64_t total = 0;
    for (size_t j = 0; j <= i; j++)
        total += h->counts[j];
    return total;
}

double
hist_quantile(const struct hist *h, double q)
{
    if (h->count == 0 || h->num_bounds == 0)
        return NAN;
    double rank = MIN(MAX(q, 0.0), 1.0) * (double)h->count;
    double below = 0;
    for (size_t i = 0; i < h->num_bounds; i++) {
        double here = (double)h->counts[i];
        if (here > 0 && below + here >= rank) {
            double upper = h->bounds[i];
            double lower = i > 0 ? h->bounds[i - 1] : MIN(0.0, upper);
            return lower + (upper - lower) * (rank - below) / here;
        }
        below += here;
    }
    return h->bounds[h->num_bounds - 1];
}

void
hist_print(const struct hist *h, const char *name, const char *labels, struct buf *ret)
{
    const char *comma = *labels != '\0' ? "," : "";
    uint64_t total = 0;
    for (size_t i = 0; i <= h->num_bounds; i++) {
        total += h->counts[i];
        buf_printf(ret, "%s_bucket{%s%sle=\"", name, labels, comma);
        if (i < h->num_bounds)
            decimal_print(h->bounds[i], true, ret);
        else
            buf_puts(ret, "+Inf");
        buf_printf(ret, "\"} %" PRIu64 "\n", total);
    }
    bool bare = *labels == '\0';
    buf_printf(ret, "%s_sum%s%s%s ", name, bare ? "" : "{", labels, bare ? "" : "}");
    decimal_print(h->sum, true, ret);
    buf_printf(ret, "\n%s_count%s%s%s %" PRIu64 "\n", name, bare ? "" : "{", labels,
               bare ? "" : "}", h->count);
}
