/* SPDX-License-Identifier: Apache-2.0 */
/* One run at each of several request rates, and what they gave as a table. */
#ifndef LOADGEN_SWEEP_H
#define LOADGEN_SWEEP_H

#include "loadgen/metrics.h"

#define SWEEP_RATES_MAX 1000

/* Reads "1,2,5,inf", "FROM:TO:STEP" or "FROM:TO:*FACTOR" (ends included) into
 * *ret, which is the caller's. The error names --sweep. */
int sweep_parse(const char *text, double **ret, size_t *ret_num, struct error *err);

/* The heading of the table, and a row for a run. */
void sweep_print_head(bool markdown, struct buf *ret);
void sweep_print_row(bool markdown, double rate, struct metrics *m, struct buf *ret);

#endif
