/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns which block of the paged KV cache. A block holds KV_BLOCK_SIZE
 * tokens of all layers; a running request owns a row of block ids, its block
 * table. Bookkeeping only: the memory is the device's. Worker thread.
 *
 * Invariants (asserted by kv_cache_check)
 *  1. Every block is either on the free stack or in exactly one block table.
 *  2. A request has a row (slot) exactly while it is RUNNING.
 *  3. num_free + blocks in tables == num_blocks.
 */
#ifndef ENGINE_KV_CACHE_H
#define ENGINE_KV_CACHE_H

#include "engine/request.h"
#include "kernels/ops.h"
#include "util/base.h"

struct kv_cache {
    int32_t num_blocks;
    int32_t num_free;
    int32_t *free_blocks;    /* owned [num_blocks], a stack */
    int32_t max_blocks;      /* of one request: row length of the tables */
    int32_t num_slots;       /* rows: max_num_seqs */
    int32_t *tables;         /* owned [num_slots, max_blocks] */
    int32_t num_free_slots;
    int32_t *free_slots;     /* owned [num_slots], a stack */
};

/* 0 or ERR_NOMEM. */
int kv_cache_init(struct kv_cache *kv, int32_t num_blocks, int32_t num_slots,
                  int32_t max_model_len);
void kv_cache_release(struct kv_cache *kv);

static inline int32_t
kv_blocks_for(int32_t num_tokens)
{
    return CEIL_DIV(num_tokens, KV_BLOCK_SIZE);
}

/* Gives `r` a row without blocks. There must be a free one. */
void kv_cache_open(struct kv_cache *kv, struct request *r);
/* Grows the table of `r` to hold num_tokens tokens; false, with nothing
 * changed, when there are not enough free blocks. */
bool kv_cache_grow(struct kv_cache *kv, struct request *r, int32_t num_tokens);
/* Takes back row and blocks. Harmless when `r` has none. */
void kv_cache_close(struct kv_cache *kv, struct request *r);
/* Asserts the invariants; `running` is the list of RUNNING requests. */
void kv_cache_check(const struct kv_cache *kv, const struct list *running);

#endif
