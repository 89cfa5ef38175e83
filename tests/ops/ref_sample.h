/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sampling by the book: the whole row sorted, in doubles. Beside the op it
 * gives the distribution a row is drawn from, for tests of sets and of
 * frequencies.
 */
#ifndef TESTS_OPS_REF_SAMPLE_H
#define TESTS_OPS_REF_SAMPLE_H

#include "kernels/ops.h"

/* p[V]: the probability of each token after all processing (0: cannot be
 * drawn). Of a greedy row: 1 for its token. */
void ref_distribution(const struct sample_row *row, const float *logits, int64_t vocab_size,
                      double *p);

int ref_sample(struct device *dev, struct buffer *logits, const struct sample_row *rows,
               int num_rows, int64_t vocab_size, const struct sample_output *ret);
int ref_logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets,
                 int num_rows, int64_t vocab_size, int num_logprobs,
                 const struct sample_output *ret);

#endif
