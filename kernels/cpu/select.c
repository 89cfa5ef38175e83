/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/select.h"

#include "util/rng.h"

static bool
better(const struct candidate *a, const struct candidate *b)
{
    return a->z > b->z || (a->z == b->z && a->id < b->id);
}

static void
swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;
    *a = *b;
    *b = t;
}

/* Puts the better ones of c[lo, hi) before a pivot drawn from them; returns
 * where the pivot ends up. The draw is a function of the bounds: no run
 * differs from another, and no order of values is a bad one by design. */
static int64_t
partition(struct candidate *c, int64_t lo, int64_t hi)
{
    uint64_t mixed = rng_mix64((uint64_t)lo * 0x10001u + (uint64_t)hi);
    swap(&c[lo + (int64_t)(mixed % (uint64_t)(hi - lo))], &c[hi - 1]);
    int64_t middle = lo;
    for (int64_t i = lo; i < hi - 1; i++) {
        if (better(&c[i], &c[hi - 1]))
            swap(&c[i], &c[middle++]);
    }
    swap(&c[middle], &c[hi - 1]);
    return middle;
}

void
select_count(struct candidate *c, int64_t n, int64_t count)
{
    int64_t lo = 0, hi = n;
    while (lo < hi && count > lo && count < hi) {
        int64_t middle = partition(c, lo, hi);
        if (middle >= count)
            hi = middle;
        else
            lo = middle + 1;
    }
}

int64_t
select_mass(struct candidate *c, int64_t n, double target)
{
    int64_t lo = 0, hi = n;
    double before = 0;   /* mass of c[0, lo) */
    while (lo < hi) {
        int64_t middle = partition(c, lo, hi);
        double mass = before;
        for (int64_t i = lo; i < middle; i++)
            mass += (double)c[i].mass;
        if (middle > lo && mass >= target) {
            hi = middle;
            continue;
        }
        mass += (double)c[middle].mass;
        if (mass >= target)
            return middle;
        before = mass;
        lo = middle + 1;
    }
    return MIN(lo, n - 1);
}

/* Heap with the worst on top. */
static void
sift_down(struct candidate *c, int64_t i, int64_t n)
{
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n)
            return;
        if (child + 1 < n && better(&c[child], &c[child + 1]))
            child++;
        if (!better(&c[i], &c[child]))
            return;
        swap(&c[i], &c[child]);
        i = child;
    }
}

void
select_sort(struct candidate *c, int64_t n)
{
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift_down(c, i, n);
    for (int64_t end = n - 1; end > 0; end--) {
        swap(&c[0], &c[end]);
        sift_down(c, 0, end);
    }
}
