/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/batch.h"

#include <string.h>

int
batch_builder_init(struct batch_builder *b, int32_t max_tokens, int32_t max_seqs,
                   int32_t max_blocks_per_seq)
{
    size_t t = (size_t)max_tokens, s = (size_t)max_seqs;
    *b = (struct batch_builder){
        .max_tokens = max_tokens,
        .max_seqs = max_seqs,
        .max_blocks_per_seq = max_blocks_per_seq,
        .token_ids = malloc(t * sizeof *b->token_ids),
        .positions = malloc(t * sizeof *b->positions),
        .slot_mapping = malloc(t * sizeof *b->slot_mapping),
        .cu_seqlens_q = malloc((s + 1) * sizeof *b->cu_seqlens_q),
        .seq_lens = malloc(s * sizeof *b->seq_lens),
        .block_tables = malloc(s * (size_t)max_blocks_per_seq * sizeof *b->block_tables),
        .logit_rows = malloc((t + s) * sizeof *b->logit_rows),
        .sample_rows = malloc(s * sizeof *b->sample_rows),
    };
    if (b->token_ids && b->positions && b->slot_mapping && b->cu_seqlens_q && b->seq_lens
        && b->block_tables && b->logit_rows && b->sample_rows)
        return 0;
    batch_builder_release(b);
    return ERR_NOMEM;
}

void
batch_builder_release(struct batch_builder *b)
{
    free(b->token_ids);
    free(b->positions);
    free(b->slot_mapping);
    free(b->cu_seqlens_q);
    free(b->seq_lens);
    free(b->block_tables);
    free(b->logit_rows);
    free(b->sample_rows);
    *b = (struct batch_builder){0};
}

static void
add_tokens(struct batch_builder *b, const struct request *r)
{
    int32_t row = b->batch.num_tokens;
    for (int32_t i = 0; i < r->num_scheduled_tokens; i++, row++) {
        int32_t pos = r->num_computed_tokens + i;
        b->token_ids[row] = request_token(r, pos);
        b->positions[row] = pos;
        b->slot_mapping[row] =
            r->block_table[pos / KV_BLOCK_SIZE] * KV_BLOCK_SIZE + pos % KV_BLOCK_SIZE;
    }
    b->batch.num_tokens = row;
}

/* Prompt rows whose successor's log-probability was asked for and not yet
 * given, and the last row when it ends at the newest token. */
static void
add_logit_rows(struct batch_builder *b, struct request *r, int32_t first_row)
{
    int32_t end = r->num_computed_tokens + r->num_scheduled_tokens;
    if (r->sampling.num_prompt_logprobs >= 0) {
        int32_t pos = MAX(r->num_computed_tokens, r->num_prompt_logprob_rows);
        for (; pos < end && pos + 1 < r->num_prompt_tokens; pos++) {
            b->logit_rows[b->num_logit_rows++] = (struct logit_row){
                .request = r,
                .token_row = first_row + pos - r->num_computed_tokens,
                .prompt_row = pos + 1,
            };
        }
        r->num_prompt_logprob_rows = MAX(r->num_prompt_logprob_rows, pos);
    }
    if (end == request_num_tokens(r)) {
        b->logit_rows[b->num_logit_rows++] = (struct logit_row){
            .request = r,
            .token_row = first_row + r->num_scheduled_tokens - 1,
            .prompt_row = -1,
        };
    }
}

void
batch_build(struct batch_builder *b, struct request *const *scheduled, int32_t num_scheduled)
{
    int32_t stride = 1;
    for (int32_t i = 0; i < num_scheduled; i++)
        stride = MAX(stride, scheduled[i]->num_blocks);
    ASSERT(num_scheduled <= b->max_seqs && stride <= b->max_blocks_per_seq);
    b->batch = (struct batch){
        .num_seqs = num_scheduled,
        .max_blocks_per_seq = stride,
        .token_ids = b->token_ids,
        .positions = b->positions,
        .slot_mapping = b->slot_mapping,
        .cu_seqlens_q = b->cu_seqlens_q,
        .seq_lens = b->seq_lens,
        .block_tables = b->block_tables,
    };
    b->num_logit_rows = 0;
    b->cu_seqlens_q[0] = 0;
    for (int32_t i = 0; i < num_scheduled; i++) {
        struct request *r = scheduled[i];
        int32_t first_row = b->batch.num_tokens;
        ASSERT(first_row + r->num_scheduled_tokens <= b->max_tokens);
        add_tokens(b, r);
        add_logit_rows(b, r, first_row);
        b->cu_seqlens_q[i + 1] = b->batch.num_tokens;
        b->seq_lens[i] = r->num_computed_tokens + r->num_scheduled_tokens;
        int32_t *table = b->block_tables + (size_t)i * (size_t)stride;
        memcpy(table, r->block_table, (size_t)r->num_blocks * sizeof *table);
        memset(table + r->num_blocks, 0, (size_t)(stride - r->num_blocks) * sizeof *table);
    }
}
