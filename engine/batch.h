/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The integers of one step, laid out from what the scheduler planned. All
 * memory is sized at start; nothing is allocated per step. Worker thread.
 */
#ifndef ENGINE_BATCH_H
#define ENGINE_BATCH_H

#include "engine/request.h"
#include "kernels/ops.h"

/* A row of the step whose logits are wanted. */
struct logit_row {
    struct request *request;
    int32_t token_row;    /* row of the batch */
    int32_t prompt_row;   /* row of prompt_logprobs to fill, or -1: sample a token */
};

struct batch_builder {
    struct batch batch;             /* points into the arrays below */
    int32_t max_tokens, max_seqs, max_blocks_per_seq;
    int32_t *token_ids, *positions, *slot_mapping;   /* owned [max_tokens] */
    int32_t *cu_seqlens_q, *seq_lens;                /* owned [max_seqs + 1], [max_seqs] */
    int32_t *block_tables;                           /* owned [max_seqs * max_blocks_per_seq] */
    struct logit_row *logit_rows;                    /* owned [max_tokens + max_seqs] */
    struct logit_row *sample_rows;                   /* owned [max_seqs], for sorting */
    int32_t num_logit_rows;
};

/* 0 or ERR_NOMEM. */
int batch_builder_init(struct batch_builder *b, int32_t max_tokens, int32_t max_seqs,
                       int32_t max_blocks_per_seq);
void batch_builder_release(struct batch_builder *b);
/* Lays out the planned requests; b->batch and b->logit_rows are valid until the
 * next call. */
void batch_build(struct batch_builder *b, struct request *const *scheduled, int32_t num_scheduled);

#endif
