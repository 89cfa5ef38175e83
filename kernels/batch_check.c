/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/batch_check.h"

static bool
tokens_are_valid(const struct batch *b, const struct batch_limits *l)
{
    int64_t num_slots = (int64_t)l->num_blocks * KV_BLOCK_SIZE;
    for (int t = 0; t < b->num_tokens; t++) {
        if (b->token_ids[t] < -l->num_drawn || b->token_ids[t] >= l->vocab_size)
            return false;
        if (b->positions[t] < 0 || (l->max_position > 0 && b->positions[t] >= l->max_position))
            return false;
        if (l->num_blocks > 0 && (b->slot_mapping[t] < 0 || b->slot_mapping[t] >= num_slots))
            return false;
    }
    return true;
}

static bool
tables_are_valid(const struct batch *b, const struct batch_limits *l)
{
    for (int s = 0; s < b->num_seqs; s++) {
        int64_t q_len = (int64_t)b->cu_seqlens_q[s + 1] - b->cu_seqlens_q[s];
        int num_blocks = CEIL_DIV(b->seq_lens[s], KV_BLOCK_SIZE);
        if (q_len < 0 || b->seq_lens[s] < q_len || num_blocks > b->max_blocks_per_seq)
            return false;
        const int32_t *table = b->block_tables + (size_t)s * (size_t)b->max_blocks_per_seq;
        for (int i = 0; l->num_blocks > 0 && i < num_blocks; i++) {
            if (table[i] >= l->num_blocks) /* below 0: left behind by every window */
                return false;
        }
    }
    return true;
}

bool
batch_is_valid(const struct batch *b, const struct batch_limits *l)
{
    if (b->num_tokens < 0 || b->num_tokens > l->max_tokens || b->num_seqs < 0 ||
        b->num_seqs > l->max_seqs)
        return false;
    if (b->num_seqs > 0 &&
        (b->cu_seqlens_q[0] != 0 || b->cu_seqlens_q[b->num_seqs] != b->num_tokens))
        return false;
    return tokens_are_valid(b, l) && tables_are_valid(b, l);
}
