/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paged cache, the rotary table and the scratch of attention.
 */
#include "kernels/cuda/internal.h"

#include <math.h>

#define MAX_HEAD_DIM 256

size_t
cuda_kv_block_bytes(const struct kv_config *cfg)
{
    return (size_t)cfg->num_layers * 2 * (size_t)cfg->num_kv_heads * KV_BLOCK_SIZE
           * (size_t)cfg->head_dim * sizeof(bf16_bits);
}

static int
check_shape(const struct kv_config *cfg, struct error *err)
{
    if (cfg->dtype != DTYPE_BF16)
        return error_set(err, ERR_UNSUPPORTED, "on a GPU the kv cache is bfloat16");
    if (cfg->head_dim % 16 != 0 || cfg->head_dim <= 0 || cfg->head_dim > MAX_HEAD_DIM)
        return error_set(err, ERR_UNSUPPORTED,
                         "head_dim %d: on a GPU it must be a multiple of 16 up to %d",
                         cfg->head_dim, MAX_HEAD_DIM);
    return 0;
}

/* A sequence is split into parts of DECODE_SPLIT_KEYS keys or more, so all the
 * cache's keys make no more than these. */
static int
most_partials(const struct device *dev)
{
    int64_t by_keys = (int64_t)dev->kv.num_blocks * KV_BLOCK_SIZE / DECODE_SPLIT_KEYS
                      + dev->options.max_seqs;
    return (int)MIN(by_keys, (int64_t)dev->options.max_seqs * DECODE_MAX_SPLITS);
}

/* Split sequences: as many parts as the cache's keys make, at most. */
static int
alloc_partials(struct device *dev, struct error *err)
{
    const struct kv_config *kv = &dev->kv;
    const struct attention_shape shape = {
        .num_heads = kv->num_heads > 0 ? kv->num_heads : kv->num_kv_heads,
        .num_kv_heads = kv->num_kv_heads,
        .head_dim = kv->head_dim,
    };
    dev->fast_attention = cuda_attention_is_fast(&shape);
    dev->tile_rows = dev->fast_attention ? cuda_prefill_tile_rows(&shape) : PREFILL_TILE_ROWS;
    size_t slots = (size_t)(dev->num_partials = most_partials(dev));
    if (!dev->fast_attention)
        return 0;
    int rc = cuda_alloc_own(dev, slots * cuda_attention_partial_bytes(&shape),
                            "the parts of split sequences", &dev->partials, err);
    if (rc != 0)
        return rc;
    size_t counters = (size_t)dev->options.max_seqs * (size_t)kv->num_kv_heads;
    return cuda_alloc_own(dev, counters * sizeof *dev->counters, "counters",
                          (void **)&dev->counters, err);
}

int
cuda_kv_init(struct device *dev, const struct kv_config *cfg, struct error *err)
{
    ASSERT(dev->cache == NULL);
    int rc = check_shape(cfg, err);
    if (rc != 0)
        return rc;
    size_t bytes;
    if (mul_overflow(cuda_kv_block_bytes(cfg), (size_t)cfg->num_blocks, &bytes))
        return error_set(err, ERR_RANGE, "a kv cache of %d blocks is too large", cfg->num_blocks);
    size_t workspace = dev->workspace_bytes;
    rc = cuda_alloc_own(dev, bytes, "the kv cache", (void **)&dev->cache, err);
    if (rc != 0)
        return rc;
    dev->workspace_bytes = workspace; /* the cache is the caller's to count */
    dev->kv = *cfg;
    return alloc_partials(dev, err);
}

struct kv_layer
cuda_kv_layer(const struct device *dev, int layer)
{
    const struct kv_config *kv = &dev->kv;
    size_t half = (size_t)kv->num_blocks * (size_t)kv->num_kv_heads * KV_BLOCK_SIZE
                  * (size_t)kv->head_dim;
    bf16_bits *k = dev->cache + 2 * half * (size_t)layer;
    return (struct kv_layer){.k = k, .v = k + half};
}

int
cuda_rope_init(struct device *dev, const struct rope_config *cfg, struct error *err)
{
    size_t half = (size_t)cfg->head_dim / 2;
    size_t bytes = (size_t)cfg->max_position * half * 2 * sizeof(float);
    float *table = malloc(bytes);
    if (table == NULL)
        return error_set(err, ERR_NOMEM, "cannot compute the rotary table: out of memory");
    for (int p = 0; p < cfg->max_position; p++) {
        for (size_t i = 0; i < half; i++) {
            float angle = (float)p * cfg->inv_freq[i];
            float *pair = table + 2 * ((size_t)p * half + i);
            pair[0] = (float)(cos((double)angle) * (double)cfg->attention_factor);
            pair[1] = (float)(sin((double)angle) * (double)cfg->attention_factor);
        }
    }
    int rc = cuda_alloc_own(dev, bytes, "the rotary table", (void **)&dev->rope, err);
    if (rc == 0 && (rc = cuda_stage(dev, dev->rope, table, bytes)) != 0)
        error_set(err, rc, "%s", dev->failure.text);
    free(table);
    if (rc == 0)
        dev->rope_max_position = cfg->max_position;
    return rc;
}
