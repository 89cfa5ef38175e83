/* SPDX-License-Identifier: Apache-2.0 */
/* Two sets of results side by side, or one by itself. */
#ifndef LOADGEN_COMPARE_H
#define LOADGEN_COMPARE_H

#include "loadgen/result_set.h"

/*
 * A table: a row for each figure, with its mean and, of several runs, half the
 * width of its 95 % confidence interval. With `b` also the difference in
 * percent and a word: better or worse where both have several runs and Welch's
 * test finds less than 5 % chance, else "-". Says when the settings differ.
 * ERR_INVALID: no figure is in both.
 */
int compare_print(const struct result_set *a, const struct result_set *b, bool markdown,
                  struct buf *ret, struct error *err);

/* Whether `b` is worse than `a` by more than `percent` in output throughput, or
 * in the median or 99th percentile of TTFT or TPOT; says which. */
int compare_regressed(const struct result_set *a, const struct result_set *b, double percent,
                      bool *ret_regressed, struct buf *ret_said, struct error *err);

#endif
