/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least time that a machine leaves for a piece of work: for each step the
 * greater of reading all weights and multiplying by them, and then the greater
 * of reading the keys and values of all contexts and multiplying by those
 * (Williams, Waterman, Patterson 2009, applied to the two kinds of traffic one
 * after another, as they are in a step). Nothing else is counted: no
 * activations, no sampling, no launch. Pure functions.
 */
#ifndef ENGINE_ROOFLINE_H
#define ENGINE_ROOFLINE_H

#include "engine/model.h"

/* What a machine can do. */
struct roofline_limits {
    double read_bytes_per_s, flops_per_s;
};

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

/*
 * Seconds of a step in which num_seqs sequences, each of `context` tokens with
 * the new one, get a token. *ret_compute_bound, which may be NULL: the machine
 * takes longer to multiply by the weights than to read them.
 */
double roofline_decode_s(const struct roofline_model *r, const struct roofline_limits *limits,
                         int64_t num_seqs, int64_t context, bool *ret_compute_bound);

struct roofline_sequence {
    int64_t input_len, output_len; /* tokens, at least 1 each */
};

/* How the sequences share the steps; 0: without limit. */
struct roofline_batching {
    int64_t max_seqs;           /* that run at once */
    int64_t max_batched_tokens; /* of a step: longer prompts are cut */
    int64_t num_blocks;         /* of KV_BLOCK_SIZE tokens in the cache */
};

/*
 * Seconds for all sequences, in the order given, as engine/scheduler.h has it:
 * one that ends makes room for the next, here in that same step; when blocks run
 * out the youngest is preempted and computed anew. Each sequence alone must fit
 * into the cache. NAN: out of memory.
 */
double roofline_s(const struct roofline_model *r, const struct roofline_limits *limits,
                  const struct roofline_batching *batching,
                  const struct roofline_sequence *sequences, size_t num);

#endif
