/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paged key/value cache and the rotary table. Pages of one block lie
 * [layer][block][kv head][key page, value page]; their inside is layout.h's.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <sys/mman.h>

/* Bytes of a key or of a value page: value rows are padded to whole panels. */
static size_t
page_bytes(const struct kv_config *cfg)
{
    return (size_t)KV_BLOCK_SIZE * ROUND_UP(cfg->head_dim, PANEL) * dtype_bytes(cfg->dtype);
}

size_t
cpu_kv_block_bytes(const struct kv_config *cfg)
{
    return 2 * page_bytes(cfg) * (size_t)cfg->num_layers * (size_t)cfg->num_kv_heads;
}

void
cpu_kv_release(struct device *dev)
{
    if (dev->kv_data != NULL)
        munmap(dev->kv_data, dev->kv_map_bytes);
    free(dev->attention_scratch);
    dev->kv_data = NULL;
    dev->attention_scratch = NULL;
}

/* One allocation, laid out for every thread. */
static int
attention_scratch_init(struct device *dev, int head_dim, int kv_dim)
{
    size_t q = (size_t)ATTENTION_ROWS * head_dim, acc = (size_t)ATTENTION_ROWS * kv_dim;
    size_t scores = ATTENTION_ROWS * ATTENTION_KEYS, sum = ATTENTION_ROWS * 8;
    size_t floats = ROUND_UP(q + acc + scores + sum + ATTENTION_ROWS, CACHE_LINE);
    int num_threads = pool_num_threads(dev->pool);
    float *at = aligned_alloc(CACHE_LINE, floats * (size_t)num_threads * sizeof *at);
    if (at == NULL)
        return ERR_NOMEM;
    dev->attention_scratch = at;
    for (int i = 0; i < num_threads; i++, at += floats) {
        dev->scratch[i].attention = (struct attention_scratch){
            .q = at,
            .acc = at + q,
            .scores = at + q + acc,
            .sum = at + q + acc + scores,
            .max = at + q + acc + scores + sum,
        };
    }
    return 0;
}

int
cpu_kv_init(struct device *dev, const struct kv_config *cfg, struct error *err)
{
    if (cfg->num_layers <= 0 || cfg->num_kv_heads <= 0 || cfg->num_blocks <= 0)
        return error_set(err, ERR_INVALID, "a KV cache of %d layers, %d heads and %d blocks",
                         cfg->num_layers, cfg->num_kv_heads, cfg->num_blocks);
    if (cfg->head_dim <= 0 || cfg->head_dim % 8 != 0)
        return error_set(err, ERR_UNSUPPORTED, "head_dim %d is not a multiple of 8",
                         cfg->head_dim);
    cpu_kv_release(dev);
    size_t bytes, map_bytes;
    if (mul_overflow(cpu_kv_block_bytes(cfg), (size_t)cfg->num_blocks, &bytes))
        return error_set(err, ERR_RANGE, "a KV cache of %d blocks is too large", cfg->num_blocks);
    char *data = map_reserve(bytes, &map_bytes);
    if (data == NULL)
        return error_set(err, ERR_NOMEM, "cannot reserve %zu MiB for the KV cache", bytes >> 20);
    dev->kv = *cfg;
    dev->kv_data = data;
    dev->kv_map_bytes = map_bytes;
    dev->kv_dim = ROUND_UP(cfg->head_dim, PANEL);
    dev->kv_page_bytes = page_bytes(cfg);
    if (attention_scratch_init(dev, cfg->head_dim, dev->kv_dim) != 0) {
        cpu_kv_release(dev);
        return error_set(err, ERR_NOMEM, "cannot allocate the scratch of attention");
    }
    return 0;
}

#define ROPE_TASK_POSITIONS 64

struct rope_job {
    struct device *dev;
    const struct rope_config *cfg;
};

static void
rope_table_task(void *arg, int task, int thread)
{
    (void)thread;
    const struct rope_job *job = arg;
    int half = job->cfg->head_dim / 2;
    int begin = task * ROPE_TASK_POSITIONS;
    int end = MIN(begin + ROPE_TASK_POSITIONS, job->cfg->max_position);
    for (int p = begin; p < end; p++) {
        float *row = job->dev->rope + (size_t)p * 2 * half;
        for (int i = 0; i < half; i++) {
            float angle = (float)p * job->cfg->inv_freq[i];
            row[i] = cosf(angle) * job->cfg->attention_factor;
            row[half + i] = sinf(angle) * job->cfg->attention_factor;
        }
    }
}

int
cpu_rope_init(struct device *dev, const struct rope_config *cfg, struct error *err)
{
    if (cfg->head_dim <= 0 || cfg->head_dim % 2 != 0 || cfg->max_position <= 0)
        return error_set(err, ERR_INVALID, "a rotary table of head_dim %d for %d positions",
                         cfg->head_dim, cfg->max_position);
    size_t bytes = (size_t)cfg->max_position * (size_t)cfg->head_dim * sizeof(float);
    float *rope = aligned_alloc(CACHE_LINE, ROUND_UP(bytes, CACHE_LINE));
    if (rope == NULL)
        return error_set(err, ERR_NOMEM, "cannot allocate %zu MiB for the rotary table",
                         bytes >> 20);
    free(dev->rope);
    dev->rope = rope;
    dev->rope_dim = cfg->head_dim;
    dev->rope_max_position = cfg->max_position;
    struct rope_job job = {.dev = dev, .cfg = cfg};
    pool_run(dev->pool, CEIL_DIV(cfg->max_position, ROPE_TASK_POSITIONS), rope_table_task, &job);
    return 0;
}

/* x[D]: the first half turns with the second. */
static void
rotate(float *x, const float *row, int head_dim)
{
    int half = head_dim / 2;
    const float *cos_row = row, *sin_row = row + half;
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cos_row[i] - b * sin_row[i];
        x[half + i] = b * cos_row[i] + a * sin_row[i];
    }
}

struct rope_write_job {
    struct device *dev;
    float *qkv;
    const struct attention_args *args;
    int tokens_per_task;
};

static void
write_key(const struct device *dev, char *page, int offset, const float *k)
{
    enum dtype dtype = dev->kv.dtype;
    int slot = lane_slot(dtype, offset);
    for (int d = 0; d < dev->kv.head_dim; d++)
        element_set(dtype, page, (int64_t)d * PANEL + slot, k[d]);
}

static void
write_value(const struct device *dev, char *page, int offset, const float *v)
{
    enum dtype dtype = dev->kv.dtype;
    for (int d = 0; d < dev->kv_dim; d++) {
        int64_t at = ((int64_t)(d / PANEL) * KV_BLOCK_SIZE + offset) * PANEL;
        float value = d < dev->kv.head_dim ? v[d] : 0.0f;
        element_set(dtype, page, at + lane_slot(dtype, d % PANEL), value);
    }
}

static void
rope_write_token(const struct rope_write_job *job, int token)
{
    struct device *dev = job->dev;
    const struct attention_args *a = job->args;
    int D = a->head_dim, Q = a->num_heads, K = a->num_kv_heads;
    float *row = job->qkv + (size_t)token * (size_t)(Q + 2 * K) * D;
    const float *angles = dev->rope + (size_t)dev->batch->positions[token] * dev->rope_dim;
    for (int h = 0; h < Q + K; h++)
        rotate(row + (size_t)h * D, angles, D);
    int32_t slot = dev->batch->slot_mapping[token];
    for (int h = 0; h < K; h++) {
        char *page = kv_page(dev, a->layer, slot / KV_BLOCK_SIZE, h);
        write_key(dev, page, slot % KV_BLOCK_SIZE, row + (size_t)(Q + h) * D);
        write_value(dev, page + dev->kv_page_bytes, slot % KV_BLOCK_SIZE,
                    row + (size_t)(Q + K + h) * D);
    }
}

static void
rope_write_task(void *arg, int task, int thread)
{
    (void)thread;
    const struct rope_write_job *job = arg;
    int begin = task * job->tokens_per_task;
    int end = MIN(begin + job->tokens_per_task, job->dev->batch->num_tokens);
    for (int token = begin; token < end; token++)
        rope_write_token(job, token);
}

void
cpu_rope_kv_write(struct device *dev, struct buffer *qkv, const struct attention_args *a)
{
    ASSERT(dev->batch != NULL && dev->kv_data != NULL && dev->rope != NULL);
    ASSERT(a->head_dim == dev->kv.head_dim && a->num_kv_heads == dev->kv.num_kv_heads);
    ASSERT(a->head_dim == dev->rope_dim && a->layer >= 0 && a->layer < dev->kv.num_layers);
    int width = (a->num_heads + 2 * a->num_kv_heads) * a->head_dim;
    struct rope_write_job job = {
        .dev = dev,
        .qkv = qkv->data,
        .args = a,
        .tokens_per_task = MAX(1, TASK_ELEMENTS / width),
    };
    ASSERT((size_t)dev->batch->num_tokens * width * sizeof(float) <= qkv->bytes);
    pool_run(dev->pool, CEIL_DIV(dev->batch->num_tokens, job.tokens_per_task), rope_write_task,
             &job);
}
