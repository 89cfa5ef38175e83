/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kv_cache.h"

#include <string.h>

int
kv_cache_init(struct kv_cache *kv, int32_t num_blocks, int32_t num_slots, int32_t max_model_len)
{
    *kv = (struct kv_cache){
        .num_blocks = num_blocks,
        .num_free = num_blocks,
        .max_blocks = kv_blocks_for(max_model_len),
        .num_slots = num_slots,
        .num_free_slots = num_slots,
    };
    kv->free_blocks = malloc((size_t)num_blocks * sizeof *kv->free_blocks);
    kv->free_slots = malloc((size_t)num_slots * sizeof *kv->free_slots);
    kv->tables = malloc((size_t)num_slots * (size_t)kv->max_blocks * sizeof *kv->tables);
    if (kv->free_blocks == NULL || kv->free_slots == NULL || kv->tables == NULL) {
        kv_cache_release(kv);
        return ERR_NOMEM;
    }
    /* Low ids on top: a lightly used cache stays compact in memory. */
    for (int32_t i = 0; i < num_blocks; i++)
        kv->free_blocks[i] = num_blocks - 1 - i;
    for (int32_t i = 0; i < num_slots; i++)
        kv->free_slots[i] = num_slots - 1 - i;
    return 0;
}

void
kv_cache_release(struct kv_cache *kv)
{
    free(kv->free_blocks);
    free(kv->free_slots);
    free(kv->tables);
    *kv = (struct kv_cache){0};
}

void
kv_cache_open(struct kv_cache *kv, struct request *r)
{
    ASSERT(r->slot < 0 && kv->num_free_slots > 0);
    r->slot = kv->free_slots[--kv->num_free_slots];
    r->block_table = kv->tables + (size_t)r->slot * (size_t)kv->max_blocks;
    r->num_blocks = 0;
}

bool
kv_cache_grow(struct kv_cache *kv, struct request *r, int32_t num_tokens)
{
    int32_t want = kv_blocks_for(num_tokens);
    ASSERT(r->slot >= 0 && want <= kv->max_blocks);
    if (want - r->num_blocks > kv->num_free)
        return false;
    while (r->num_blocks < want)
        r->block_table[r->num_blocks++] = kv->free_blocks[--kv->num_free];
    return true;
}

void
kv_cache_close(struct kv_cache *kv, struct request *r)
{
    if (r->slot < 0)
        return;
    while (r->num_blocks > 0)
        kv->free_blocks[kv->num_free++] = r->block_table[--r->num_blocks];
    ASSERT(kv->num_free <= kv->num_blocks);
    kv->free_slots[kv->num_free_slots++] = r->slot;
    r->slot = -1;
    r->block_table = NULL;
}

void
kv_cache_check(const struct kv_cache *kv, const struct list *running)
{
    unsigned char *seen = calloc((size_t)kv->num_blocks, 1);
    if (seen == NULL)
        return;
    int32_t used = 0, rows = 0;
    list_for_each(pos, running) {
        const struct request *r = container_of(pos, struct request, link);
        ASSERT(r->slot >= 0 && r->slot < kv->num_slots);
        rows++;
        for (int32_t i = 0; i < r->num_blocks; i++, used++) {
            ASSERT(r->block_table[i] >= 0 && r->block_table[i] < kv->num_blocks);
            ASSERT(!seen[r->block_table[i]]);
            seen[r->block_table[i]] = 1;
        }
    }
    for (int32_t i = 0; i < kv->num_free; i++) {
        ASSERT(!seen[kv->free_blocks[i]]);
        seen[kv->free_blocks[i]] = 1;
    }
    ASSERT(used + kv->num_free == kv->num_blocks);
    ASSERT(rows + kv->num_free_slots == kv->num_slots);
    free(seen);
}
