/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/memory_plan.h"

#include <math.h>

#define DEFAULT_CPU_SEQS 256
#define DEFAULT_CPU_BATCHED_TOKENS 256
#define DEFAULT_GPU_SEQS 512
#define DEFAULT_GPU_BATCHED_TOKENS 8192
#define LEAST_GPU_BATCHED_TOKENS 2048 /* the default of a GPU with less than: */
#define LARGE_GPU_BYTES ((size_t)70 << 30)
/* Activations beyond this part of the cache cost more sequences than they gain. */
#define CACHE_PER_ACTIVATIONS 32
/* More sequences than have so many blocks each would only preempt each other. */
#define BLOCKS_PER_DEFAULT_SEQ 8

/* A GPU's own workspaces, while there is none to ask: cuBLASLt's and sampling's. */
#define CUBLASLT_BYTES ((size_t)64 << 20)
#define SAMPLING_BYTES ((size_t)32 << 20)
/* Attention splits a long sequence into parts of so many keys or more. */
#define KEYS_PER_PART 256
#define MOST_PARTS 32 /* of one sequence */

static double
gib(size_t bytes)
{
    return (double)bytes / 1073741824.0;
}

static double
mib(size_t bytes)
{
    return (double)bytes / 1048576.0;
}

static int64_t
blocks_for(int64_t num_tokens)
{
    return CEIL_DIV(num_tokens, KV_BLOCK_SIZE);
}

/* What all sequences could use at full length. */
static int64_t
most_blocks(const struct memory_plan *p)
{
    return blocks_for(p->max_model_len) * p->max_num_seqs;
}

/* ---- the limits of a step ---- */

static int
settle_model_len(const struct memory_plan_args *a, struct memory_plan *p, struct error *err)
{
    int64_t most = a->model->max_position_embeddings;
    int64_t len = a->max_model_len > 0 ? a->max_model_len : most;
    if (len > most)
        return error_set(err, ERR_RANGE,
                         "option '--max-model-len': %lld exceeds the model's "
                         "max_position_embeddings %lld",
                         (long long)len, (long long)most);
    p->max_model_len = (int32_t)len;
    return 0;
}

static int64_t
default_batched_tokens(const struct memory_plan_args *a)
{
    if (!a->gpu)
        return DEFAULT_CPU_BATCHED_TOKENS;
    bool small = a->memory_total > 0 && a->memory_total < LARGE_GPU_BYTES;
    return small ? LEAST_GPU_BATCHED_TOKENS : DEFAULT_GPU_BATCHED_TOKENS;
}

static int
settle_step(const struct memory_plan_args *a, struct memory_plan *p, struct error *err)
{
    int64_t seqs = a->max_num_seqs, tokens = a->max_num_batched_tokens;
    if (seqs == 0)
        seqs = a->gpu ? DEFAULT_GPU_SEQS : DEFAULT_CPU_SEQS;
    if (a->max_num_seqs == 0 && tokens > 0)
        seqs = MIN(seqs, tokens);
    if (tokens == 0)
        tokens = MAX(default_batched_tokens(a), seqs);
    if (tokens < seqs)
        return error_set(err, ERR_RANGE,
                         "option '--max-num-batched-tokens': %lld is less than "
                         "--max-num-seqs %lld",
                         (long long)tokens, (long long)seqs);
    p->max_num_seqs = (int32_t)seqs;
    p->max_num_batched_tokens = (int32_t)tokens;
    return 0;
}

/* ---- the shares ---- */

/* What an open device has for itself: workspaces, and the block tables of a step. */
static size_t
open_workspace(const struct memory_plan *p)
{
    size_t tables =
        (size_t)p->max_num_seqs * (size_t)blocks_for(p->max_model_len) * sizeof(int32_t);
    return CUBLASLT_BYTES + SAMPLING_BYTES + tables;
}

/*
 * What a GPU takes when it learns of the model: cos and sin of each position, and
 * in f32 what the parts of split sequences give, of as many keys as the memory
 * beside the weights would hold.
 */
static size_t
model_workspace(const struct model_config *c, const struct memory_plan *p)
{
    size_t rope = (size_t)p->max_model_len * (size_t)c->head_dim * sizeof(float);
    size_t part = (size_t)c->num_heads * ((size_t)c->head_dim + 4) * sizeof(float);
    size_t room = p->usable_bytes > p->weight_bytes ? p->usable_bytes - p->weight_bytes : 0;
    size_t blocks = MIN(room / p->kv_block_bytes, (size_t)most_blocks(p));
    size_t seqs = (size_t)p->max_num_seqs;
    size_t parts = blocks * KV_BLOCK_SIZE / KEYS_PER_PART + seqs;
    return rope + MIN(parts, seqs * MOST_PARTS) * part;
}

static size_t
kv_block_bytes(const struct memory_plan_args *a)
{
    const struct model_config *c = a->model;
    if (a->kv_block_bytes > 0)
        return a->kv_block_bytes;
    return 2 * (size_t)c->num_layers * (size_t)c->num_kv_heads * (size_t)c->head_dim *
           KV_BLOCK_SIZE * dtype_bytes(a->kv_dtype);
}

static void
share_fixed(const struct memory_plan_args *a, struct memory_plan *p)
{
    struct model_scratch s;
    int64_t rows = p->max_num_seqs;
    if (a->max_logit_rows > 0)
        rows = MIN(rows, a->max_logit_rows);
    model_config_scratch(a->model, a->act_dtype, (size_t)p->max_num_batched_tokens, (size_t)rows,
                         &s);
    p->weight_bytes = model_config_weight_bytes(a->model, a->weight_dtype);
    p->activation_bytes = s.residual + s.hidden + s.wide + s.mid;
    p->logit_bytes = s.rows + s.logits;
    p->reserve_bytes = a->reserve_bytes;
    p->workspace_bytes = a->workspace_bytes;
    if (a->gpu && a->workspace_bytes == 0)
        p->workspace_bytes = open_workspace(p);
    if (a->gpu)
        p->workspace_bytes += model_workspace(a->model, p);
}

static size_t
usable(const struct memory_plan_args *a, const struct memory_plan *p)
{
    if (!a->gpu || p->kv_given)
        return a->memory_free;
    return (size_t)((double)a->memory_total * p->gpu_memory_utilization);
}

/* The cache: as told, or what is left, but never more than can be used. */
static void
share_kv(const struct memory_plan_args *a, struct memory_plan *p)
{
    size_t fixed = memory_plan_fixed_bytes(p), room = 0;
    if (a->kv_cache_memory_bytes > 0)
        room = (size_t)a->kv_cache_memory_bytes;
    else if (p->usable_bytes > fixed)
        room = (p->usable_bytes - fixed) / (a->gpu ? 1 : 2);
    int64_t blocks = (int64_t)(room / p->kv_block_bytes);
    blocks = MIN(blocks, most_blocks(p));
    if (a->num_gpu_blocks_override > 0)
        blocks = a->num_gpu_blocks_override;
    p->num_blocks = (int32_t)MIN(blocks, INT32_MAX / KV_BLOCK_SIZE);
    p->kv_cache_bytes = (size_t)p->num_blocks * p->kv_block_bytes;
}

static void
share(const struct memory_plan_args *a, struct memory_plan *p)
{
    share_fixed(a, p);
    share_kv(a, p);
}

/* Less than the defaults of a GPU where they leave too little to the cache, or the
 * cache too little to them. False when all is well. */
static bool
lower_defaults(const struct memory_plan_args *a, struct memory_plan *p)
{
    int32_t least = MAX(LEAST_GPU_BATCHED_TOKENS, p->max_num_seqs);
    int32_t seqs = p->num_blocks / BLOCKS_PER_DEFAULT_SEQ;
    if (p->num_blocks >= most_blocks(p))
        return false;
    if (a->max_num_batched_tokens == 0 && !p->kv_given && p->max_num_batched_tokens > least &&
        p->activation_bytes > p->kv_cache_bytes / CACHE_PER_ACTIVATIONS) {
        p->max_num_batched_tokens = MAX(least, p->max_num_batched_tokens / 2);
        return true;
    }
    if (a->max_num_seqs == 0 && seqs > 0 && seqs < p->max_num_seqs) {
        p->max_num_seqs = seqs;
        return true;
    }
    return false;
}

void
memory_plan_args_init(struct memory_plan_args *a, const struct engine_config *cfg,
                      const struct model_config *model)
{
    enum dtype dtype = cfg->dtype == MODEL_DTYPE_FLOAT32 ? DTYPE_F32 : DTYPE_BF16;
    *a = (struct memory_plan_args){
        .model = model,
        .weight_dtype = dtype,
        .kv_dtype = dtype,
        .act_dtype = dtype,
        .gpu_memory_utilization = cfg->gpu_memory_utilization,
        .max_model_len = cfg->max_model_len,
        .max_num_seqs = cfg->max_num_seqs,
        .max_num_batched_tokens = cfg->max_num_batched_tokens,
        .num_gpu_blocks_override = cfg->num_gpu_blocks_override,
        .kv_cache_memory_bytes = cfg->kv_cache_memory_bytes,
    };
}

int
memory_plan_make(const struct memory_plan_args *a, struct memory_plan *ret, struct error *err)
{
    struct memory_plan p = {
        .gpu = a->gpu,
        .kv_given = a->num_gpu_blocks_override > 0 || a->kv_cache_memory_bytes > 0,
        .gpu_memory_utilization = a->gpu_memory_utilization > 0 ? a->gpu_memory_utilization
                                                                : MEMORY_PLAN_GPU_UTILIZATION,
        .memory_total = a->memory_total,
        .memory_free = a->memory_free,
        .kv_block_bytes = kv_block_bytes(a),
    };
    int rc = settle_model_len(a, &p, err);
    if (rc == 0)
        rc = settle_step(a, &p, err);
    if (rc < 0)
        return rc;
    p.usable_bytes = usable(a, &p);
    do
        share(a, &p);
    while (a->gpu && a->memory_total > 0 && lower_defaults(a, &p));
    *ret = p;
    return 0;
}

/* ---- questions ---- */

size_t
memory_plan_fixed_bytes(const struct memory_plan *p)
{
    return p->weight_bytes + p->activation_bytes + p->logit_bytes + p->workspace_bytes +
           p->reserve_bytes;
}

int64_t
memory_plan_num_tokens(const struct memory_plan *p)
{
    return (int64_t)p->num_blocks * KV_BLOCK_SIZE;
}

int64_t
memory_plan_num_seqs(const struct memory_plan *p, int64_t num_tokens)
{
    return p->num_blocks / blocks_for(num_tokens);
}

/* Others hold what this one would use. */
static int
refuse_taken(const struct memory_plan *p, struct error *err)
{
    return error_set(err, ERR_NOMEM,
                     "option '--gpu-memory-utilization': %.2f of the GPU's %.2f GiB is %.2f GiB, "
                     "but only %.2f GiB are free; lower it to %.2f, or end what else uses the GPU",
                     p->gpu_memory_utilization, gib(p->memory_total), gib(p->usable_bytes),
                     gib(p->memory_free),
                     floor(100 * (double)p->memory_free / (double)p->memory_total) / 100);
}

/* The device is too small. */
static int
refuse_needs(const struct memory_plan *p, struct error *err)
{
    const char *remedy = "raise it, or lower --max-num-batched-tokens or --max-num-seqs";
    char cache[64] = "", has[100];
    size_t needs = memory_plan_fixed_bytes(p);
    snprintf(has, sizeof has, "--gpu-memory-utilization %.2f of the GPU's %.2f GiB is %.2f",
             p->gpu_memory_utilization, gib(p->memory_total), gib(p->usable_bytes));
    if (p->kv_given) {
        needs += p->kv_cache_bytes;
        remedy = "lower --kv-cache-memory-bytes or --num-gpu-blocks-override";
        snprintf(cache, sizeof cache, ", kv cache %.2f", gib(p->kv_cache_bytes));
        snprintf(has, sizeof has, "%.2f of the GPU's %.2f GiB are free", gib(p->usable_bytes),
                 gib(p->memory_total));
    }
    if (p->weight_bytes >= p->memory_total)
        remedy = "the weights alone are more than that GPU has";
    return error_set(err, ERR_NOMEM,
                     "the model needs %.2f GiB (weights %.2f, activations %.2f, logits %.2f, "
                     "workspace %.2f, reserve %.2f%s), but %s; %s",
                     gib(needs), gib(p->weight_bytes), gib(p->activation_bytes),
                     gib(p->logit_bytes), gib(p->workspace_bytes), gib(p->reserve_bytes), cache,
                     has, remedy);
}

/* No room for one request. */
static int
refuse_length(const struct memory_plan *p, struct error *err)
{
    bool raise_share = p->gpu && !p->kv_given;
    size_t needs = (size_t)blocks_for(p->max_model_len) * p->kv_block_bytes;
    char remedy[64] = "";
    if (p->num_blocks > 0)
        snprintf(remedy, sizeof remedy, "lower --max-model-len to %lld, or ",
                 (long long)memory_plan_num_tokens(p));
    return error_set(err, ERR_RANGE,
                     "the kv cache holds %lld tokens in %d blocks (%.1f MiB), but one request of "
                     "--max-model-len %d tokens needs %lld blocks (%.1f MiB); %sraise %s",
                     (long long)memory_plan_num_tokens(p), p->num_blocks, mib(p->kv_cache_bytes),
                     p->max_model_len, (long long)blocks_for(p->max_model_len), mib(needs), remedy,
                     raise_share ? "--gpu-memory-utilization"
                                 : "--kv-cache-memory-bytes or --num-gpu-blocks-override");
}

int
memory_plan_check(const struct memory_plan *p, struct error *err)
{
    size_t needs = memory_plan_fixed_bytes(p) + (p->kv_given ? p->kv_cache_bytes : 0);
    if (p->gpu && needs > p->usable_bytes)
        return refuse_needs(p, err);
    if (p->gpu && p->usable_bytes > p->memory_free)
        return refuse_taken(p, err);
    if (p->num_blocks < blocks_for(p->max_model_len))
        return refuse_length(p, err);
    return 0;
}

void
memory_plan_line(const struct memory_plan *p, char *ret, size_t size)
{
    int len = snprintf(ret, size,
                       "weights %.1f MiB, kv cache %.1f MiB (%d blocks of %d tokens = %lld "
                       "tokens), activations and logits %.1f MiB",
                       mib(p->weight_bytes), mib(p->kv_cache_bytes), p->num_blocks,
                       KV_BLOCK_SIZE, (long long)memory_plan_num_tokens(p),
                       mib(p->activation_bytes + p->logit_bytes));
    if (p->gpu && len > 0 && (size_t)len < size)
        snprintf(ret + len, size - (size_t)len,
                 ", workspace %.1f MiB, reserve %.1f MiB, of %.1f MiB", mib(p->workspace_bytes),
                 mib(p->reserve_bytes), mib(p->memory_total));
}
