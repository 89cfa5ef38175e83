/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results as Markdown, a table of the offline runs and one of the online ones
 * with a column for each, in the layout in which published comparisons of vLLM on
 * one GPU stand: processor and memory, GPU, requests per second, duration, tokens
 * per second.
 */
#ifndef LOADGEN_REFERENCE_H
#define LOADGEN_REFERENCE_H

#include "loadgen/result_set.h"

/* Of loadgen's results, vLLM's, and those of llmd-bench; "n/a" stands for what
 * a result does not hold. */
void reference_print(const struct result_set *sets, size_t num_sets, struct buf *ret);

#endif
