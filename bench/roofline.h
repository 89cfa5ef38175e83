/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least time that a machine leaves for a piece of work: for each step the
 * greater of reading all weights and multiplying by them, and then reading the
 * keys and values of all contexts (Williams, Waterman, Patterson 2009, with the
 * two kinds of traffic one after another, as they are in a step). Nothing else
 * is counted: no activations, no sampling, no launch. Pure functions.
 */
#ifndef BENCH_ROOFLINE_H
#define BENCH_ROOFLINE_H

#include "bench/machine.h"
#include "engine/model.h"

/* What a model costs. */
struct roofline_model {
    double weight_bytes;       /* read in a step: all but an embedding that is only gathered */
    double flops_per_token;    /* 2 for each weight of the layers */
    double head_flops;         /* 2 for each weight of the head; for rows that are sampled */
    double kv_bytes_per_token; /* keys and values of all layers */
    double attention_flops_per_key; /* 4 * heads * head_dim * layers, for each query and key */
};

/* Weights stored as `dtype`; DTYPE_F32 also makes the cache f32. */
void roofline_model_init(struct roofline_model *r, const struct model_config *c,
                         enum dtype dtype);

struct roofline_sequence {
    int64_t input_len, output_len; /* tokens, at least 1 each */
};

/*
 * Seconds for all sequences, of which at most max_seqs run at once, in the order
 * given: one that ends makes room for the next, whose prompt is computed in that
 * step. There is room in the cache for all that run.
 */
double roofline_s(const struct roofline_model *r, const struct machine_limits *limits,
                  const struct roofline_sequence *sequences, size_t num, size_t max_seqs);

#endif
