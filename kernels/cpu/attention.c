/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts attention into items: some query tokens of one sequence, times one kv
 * head. Items go out in falling order of cost, so that the last ones to run
 * are short.
 */
#include "kernels/cpu/cpu.h"

#define COST_CLASSES 40

struct attention_job {
    struct device *dev;
    const struct attention_args *args;
    const float *qkv;
    float *out;
    int heads_per_item, head_splits;  /* a group with too many heads goes in parts */
};

/* Query tokens per item: as many rows as fit the tile. Large heads get fewer,
 * so that the tile stays in L1 and L2. */
static int
tokens_per_item(int heads_per_item, int head_dim)
{
    int rows = head_dim <= 128 ? ATTENTION_ROWS : ATTENTION_ROWS / 2;
    return MAX(1, rows / heads_per_item);
}

static int
cost_class(int64_t cost)
{
    return 63 - __builtin_clzll((unsigned long long)cost | 1);
}

/* Fills `items` of the step, costly ones first, by a counting sort on the
 * logarithm of the cost. */
static void
make_items(struct device *dev, int tile_tokens)
{
    const struct batch *b = dev->batch;
    int starts[COST_CLASSES + 1] = {0};
    int num_items = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int s = 0; s < b->num_seqs; s++) {
            int q_len = b->cu_seqlens_q[s + 1] - b->cu_seqlens_q[s];
            int first_position = b->seq_lens[s] - q_len;
            for (int i = 0; i < q_len; i += tile_tokens) {
                int n = MIN(tile_tokens, q_len - i);
                int64_t cost = (int64_t)n * (first_position + i + n);
                int bucket = COST_CLASSES - 1 - MIN(COST_CLASSES - 1, cost_class(cost));
                if (pass == 0) {
                    starts[bucket + 1]++;
                    num_items++;
                } else {
                    dev->items[starts[bucket]++] =
                        (struct attention_item){.seq = s, .first = i, .num_tokens = n};
                }
            }
        }
        for (int c = 0; pass == 0 && c < COST_CLASSES; c++)
            starts[c + 1] += starts[c];
    }
    dev->num_items = num_items;
    dev->items_tile = tile_tokens;
}

static void
attention_task(void *arg, int task, int thread)
{
    const struct attention_job *job = arg;
    struct device *dev = job->dev;
    const struct attention_args *a = job->args;
    const struct batch *b = dev->batch;
    int per_item = a->num_kv_heads * job->head_splits;
    const struct attention_item *item = &dev->items[task / per_item];
    int kv_head = task % per_item / job->head_splits;
    int group = a->num_heads / a->num_kv_heads;
    int head_in_group = task % job->head_splits * job->heads_per_item;
    int q_len = b->cu_seqlens_q[item->seq + 1] - b->cu_seqlens_q[item->seq];
    size_t row = (size_t)b->cu_seqlens_q[item->seq] + item->first;
    size_t column = (size_t)(kv_head * group + head_in_group) * a->head_dim;
    size_t q_stride = (size_t)(a->num_heads + 2 * a->num_kv_heads) * a->head_dim;
    size_t out_stride = (size_t)a->num_heads * a->head_dim;
    struct attention_tile tile = {
        .q = job->qkv + row * q_stride + column,
        .out = job->out + row * out_stride + column,
        .q_stride = q_stride,
        .out_stride = out_stride,
        .num_tokens = item->num_tokens,
        .num_heads = MIN(job->heads_per_item, group - head_in_group),
        .head_dim = a->head_dim,
        .kv_dim = dev->kv_dim,
        .first_position = b->seq_lens[item->seq] - q_len + item->first,
        .scale = a->scale,
        .softcap = a->softcap,
        .window = a->window,
        .dtype = dev->kv.dtype,
        .pages = kv_page(dev, a->layer, 0, kv_head),
        .block_stride = 2 * dev->kv_page_bytes * (size_t)dev->kv.num_kv_heads,
        .page_bytes = dev->kv_page_bytes,
        .block_table = b->block_tables + (size_t)item->seq * b->max_blocks_per_seq,
        .num_blocks = dev->kv.num_blocks,
    };
    dev->kernels->attention(&tile, &dev->scratch[thread].attention);
}

void
cpu_attention(struct device *dev, struct buffer *out, const struct buffer *qkv,
              const struct attention_args *a)
{
    ASSERT(dev->batch != NULL && dev->kv_data != NULL);
    ASSERT(a->head_dim == dev->kv.head_dim && a->num_kv_heads == dev->kv.num_kv_heads);
    ASSERT(a->num_heads % a->num_kv_heads == 0 && a->layer >= 0 && a->layer < dev->kv.num_layers);
    size_t T = (size_t)dev->batch->num_tokens;
    ASSERT(T * (a->num_heads + 2 * a->num_kv_heads) * a->head_dim * sizeof(float) <= qkv->bytes);
    ASSERT(T * a->num_heads * a->head_dim * sizeof(float) <= out->bytes);
    int group = a->num_heads / a->num_kv_heads;
    struct attention_job job = {
        .dev = dev,
        .args = a,
        .qkv = qkv->data,
        .out = out->data,
        .head_splits = CEIL_DIV(group, ATTENTION_ROWS),
    };
    job.heads_per_item = CEIL_DIV(group, job.head_splits);
    int tile_tokens = tokens_per_item(job.heads_per_item, a->head_dim);
    if (dev->items_tile != tile_tokens)
        make_items(dev, tile_tokens);
    pool_run(dev->pool, dev->num_items * a->num_kv_heads * job.head_splits, attention_task, &job);
}
