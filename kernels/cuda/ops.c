/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The op table of the module: each op checks its shapes and enqueues its
 * kernels. A launch that fails is noted and told by step_end.
 */
#include "kernels/cuda/internal.h"
#include "kernels/cuda/nvtx.h"

#include <string.h>

static const bf16_bits *
matrix_of(const struct weight *w)
{
    return ((const struct cuda_weight *)w->impl)->data;
}

static const float *
vector_of(const struct weight *w)
{
    return ((const struct cuda_weight *)w->impl)->data;
}

static const bf16_bits *
bias_of(const struct weight *w)
{
    return w != NULL ? ((const struct cuda_weight *)w->impl)->bf16 : NULL;
}

static bool
holds(const struct buffer *b, int64_t rows, int64_t cols)
{
    return (size_t)(rows * cols) * sizeof(bf16_bits) <= b->bytes;
}

static void
embed(struct device *dev, struct buffer *out, const struct weight *table, float scale)
{
    NVTX_BEGIN("embed");
    ASSERT(dev->slot != NULL && holds(out, dev->num_rows, table->cols));
    cuda_check(dev, cuda_embed(&dev->ctx, out->data, matrix_of(table), &dev->ints, dev->num_rows,
                               (int)table->cols, scale),
               "embed");
    NVTX_END();
}

static void
rmsnorm(struct device *dev, struct buffer *out, const struct buffer *x, const struct weight *w,
        int rows, float eps, float weight_offset)
{
    NVTX_BEGIN("rmsnorm");
    ASSERT(holds(out, rows, w->cols) && holds(x, rows, w->cols));
    cuda_check(dev, cuda_rmsnorm(&dev->ctx, out->data, x->data, vector_of(w), rows, (int)w->cols,
                                 eps, weight_offset),
               "rmsnorm");
    NVTX_END();
}

static void
add_rmsnorm(struct device *dev, struct buffer *out, struct buffer *residual,
            const struct buffer *x, const struct weight *w, int rows, float eps,
            float weight_offset)
{
    NVTX_BEGIN("add_rmsnorm");
    ASSERT(holds(out, rows, w->cols) && holds(x, rows, w->cols));
    ASSERT(holds(residual, rows, w->cols));
    cuda_check(dev, cuda_add_rmsnorm(&dev->ctx, out->data, residual->data, x->data, vector_of(w),
                                     rows, (int)w->cols, eps, weight_offset),
               "add_rmsnorm");
    NVTX_END();
}

static void
run_gemm(struct device *dev, struct buffer *out, const struct buffer *x, const struct weight *w,
         const struct weight *bias, int rows, bool f32)
{
    ASSERT(holds(x, rows, w->cols) && holds(out, rows, w->rows * (f32 ? 2 : 1)));
    const struct gemm_args args = {
        .out = out->data,
        .x = x->data,
        .w = matrix_of(w),
        .bias = bias_of(bias),
        .M = rows,
        .N = (int)w->rows,
        .K = (int)w->cols,
        .out_f32 = f32,
    };
    struct error err = {0};
    if (gemm_run(dev->plans, &dev->ctx, &args, &err) != 0 && dev->failure.code == 0)
        dev->failure = err;
}

static void
gemm(struct device *dev, struct buffer *out, const struct buffer *x, const struct weight *w,
     const struct weight *bias, int rows)
{
    NVTX_BEGIN("gemm");
    run_gemm(dev, out, x, w, bias, rows, false);
    NVTX_END();
}

static void
gemm_logits(struct device *dev, struct buffer *out, const struct buffer *x,
            const struct weight *w, int rows)
{
    NVTX_BEGIN("gemm_logits");
    run_gemm(dev, out, x, w, NULL, rows, true);
    NVTX_END();
}

/* Inputs like those of a step: numbers of ordinary size. */
#define TUNING_SEED 1

static int
tune_product(struct device *dev, const struct gemm_product *p, struct error *err)
{
    const bf16_bits **weights = malloc((size_t)p->num_weights * sizeof *weights);
    if (weights == NULL)
        return error_set(err, ERR_NOMEM, "cannot time matrix products: out of memory");
    for (int i = 0; i < p->num_weights; i++)
        weights[i] = matrix_of(p->weights[i]);
    int N = (int)p->weights[0]->rows, K = (int)p->weights[0]->cols;
    const struct gemm_tuned_product product = {
        .weights = weights,
        .num_weights = p->num_weights,
        .bias = bias_of(p->bias),
        .N = N,
        .K = K,
        .out_f32 = p->logits,
        .max_rows = p->max_rows,
    };
    const struct gemm_tuning tuning = {
        .products = &product, .num_products = 1, .x = p->x->data, .out = p->out->data};
    ASSERT(holds(p->x, p->max_rows, K) && holds(p->out, p->max_rows, N * (p->logits ? 2 : 1)));
    cudaError_t cuda_rc = cuda_random(&dev->ctx, p->x->data, (int64_t)p->max_rows * K, 1.0f,
                                      TUNING_SEED, 0);
    int rc = cuda_rc != cudaSuccess ? cuda_fail(err, cuda_rc, "cannot time matrix products")
                                    : gemm_plans_tune(dev->plans, &dev->ctx, &tuning, err);
    free(weights);
    return rc;
}

static int
tune(struct device *dev, const struct gemm_product *products, int num_products,
     struct error *err)
{
    int rc = 0;
    for (int i = 0; i < num_products && rc == 0; i++)
        rc = tune_product(dev, &products[i], err);
    return rc;
}

static struct attention_shape
shape_of(const struct device *dev, const struct attention_args *a)
{
    ASSERT(dev->slot != NULL && dev->cache != NULL);
    ASSERT(a->head_dim == dev->kv.head_dim && a->num_kv_heads == dev->kv.num_kv_heads);
    ASSERT(a->num_heads % a->num_kv_heads == 0 && a->layer >= 0 && a->layer < dev->kv.num_layers);
    ASSERT(a->window == 0 || a->window == dev->kv.window);
    return (struct attention_shape){
        .num_heads = a->num_heads,
        .num_kv_heads = a->num_kv_heads,
        .head_dim = a->head_dim,
        .scale = a->scale,
        .softcap = a->softcap,
        .window = a->window,
    };
}

static void
rope_kv_write(struct device *dev, struct buffer *qkv, const struct attention_args *a)
{
    NVTX_BEGIN("rope_kv_write");
    struct attention_shape shape = shape_of(dev, a);
    struct kv_layer kv = cuda_kv_layer(dev, a->layer);
    ASSERT(holds(qkv, dev->num_rows, (int64_t)(a->num_heads + 2 * a->num_kv_heads) * a->head_dim));
    cuda_check(dev, cuda_rope_kv_write(&dev->ctx, qkv->data, &kv, dev->rope, &dev->ints,
                                       dev->num_rows, &shape),
               "rope_kv_write");
    NVTX_END();
}

static void
run_attention(struct device *dev, struct buffer *out, const struct buffer *qkv,
              const struct attention_args *a)
{
    struct attention_shape shape = shape_of(dev, a);
    struct kv_layer kv = cuda_kv_layer(dev, a->layer);
    const struct step_ints *ints = a->window > 0 ? &dev->window_ints : &dev->ints;
    ASSERT(holds(out, dev->num_rows, (int64_t)a->num_heads * a->head_dim));
    if (!dev->fast_attention) {
        if (dev->has_decodes)
            cuda_check(dev, cuda_attention_general(&dev->ctx, out->data, qkv->data, &kv, ints, 0,
                                                   &shape),
                       "attention");
        if (dev->num_tiles > 0)
            cuda_check(dev, cuda_attention_general(&dev->ctx, out->data, qkv->data, &kv, ints,
                                                   dev->num_tiles, &shape),
                       "attention");
        return;
    }
    if (dev->has_decodes)
        cuda_check(dev, cuda_attention_decode(&dev->ctx, out->data, qkv->data, &kv, ints, &shape,
                                              dev->partials, dev->counters),
                   "attention");
    if (dev->num_tiles > 0)
        cuda_check(dev, cuda_attention_prefill(&dev->ctx, out->data, qkv->data, &kv, ints,
                                               dev->num_tiles, &shape),
                   "attention");
}

static void
attention(struct device *dev, struct buffer *out, const struct buffer *qkv,
          const struct attention_args *a)
{
    NVTX_BEGIN("attention");
    run_attention(dev, out, qkv, a);
    NVTX_END();
}

static void
act_mul(struct device *dev, struct buffer *out, const struct buffer *gate_up, int rows,
        int64_t intermediate_size, enum activation act)
{
    NVTX_BEGIN("act_mul");
    ASSERT(holds(gate_up, rows, 2 * intermediate_size) && holds(out, rows, intermediate_size));
    cuda_check(dev, cuda_act_mul(&dev->ctx, out->data, gate_up->data, rows, intermediate_size,
                                 act == ACT_GELU_TANH),
               "act_mul");
    NVTX_END();
}

static void
gather_rows(struct device *dev, struct buffer *out, const struct buffer *x,
            const int32_t *row_ids, int num_rows, int64_t hidden_size)
{
    const int32_t *device_ids;
    size_t bytes = (size_t)num_rows * sizeof *row_ids;
    ASSERT(dev->slot != NULL && holds(out, num_rows, hidden_size));
    void *ids = cuda_step_take(dev, bytes, &device_ids);
    if (ids == NULL && dev->failure.code != 0)
        return;
    if (ids == NULL) {
        error_set(&dev->failure, ERR_DEVICE, "a step gathers too many rows");
        return;
    }
    memcpy(ids, row_ids, bytes);
    if (cuda_arena_send(dev, &dev->slot->arena) == 0)
        cuda_check(dev, cuda_gather_rows(&dev->ctx, out->data, x->data, device_ids, num_rows,
                                         (int)hidden_size),
                   "gather_rows");
}

static void
softcap(struct device *dev, struct buffer *logits, int rows, int64_t vocab_size, float cap)
{
    NVTX_BEGIN("softcap");
    cuda_check(dev, cuda_softcap(&dev->ctx, logits->data, rows * vocab_size, cap), "softcap");
    NVTX_END();
}

static int
sample(struct device *dev, struct buffer *logits, const struct sample_row *rows, int num_rows,
       int64_t vocab_size, const struct sample_output *ret)
{
    NVTX_BEGIN("sample");
    int rc = cuda_op_sample(dev, logits, rows, num_rows, vocab_size, ret);
    NVTX_END();
    return rc;
}

static int
logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets, int num_rows,
         int64_t vocab_size, int num_logprobs, const struct sample_output *ret)
{
    NVTX_BEGIN("logprobs");
    int rc = cuda_op_logprobs(dev, logits, targets, num_rows, vocab_size, num_logprobs, ret);
    NVTX_END();
    return rc;
}

extern const struct ops llmd_cuda_ops; /* found by name, in kernels/backend.c */
const struct ops llmd_cuda_ops = {
    .abi = OPS_ABI,
    .name = "cuda",
    .device_open = cuda_device_open,
    .device_close = cuda_device_close,
    .device_info = cuda_device_info,
    .buffer_alloc = cuda_buffer_alloc,
    .buffer_free = cuda_buffer_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .weight_load = cuda_weight_load,
    .weight_random = cuda_weight_random,
    .kv_init = cuda_kv_init,
    .kv_block_bytes = cuda_kv_block_bytes,
    .rope_init = cuda_rope_init,
    .tune = tune,
    .step_begin = cuda_step_begin,
    .forward_end = cuda_forward_end,
    .step_end = cuda_step_end,
    .step_wait = cuda_step_wait,
    .failure = cuda_failure,
    .embed = embed,
    .rmsnorm = rmsnorm,
    .add_rmsnorm = add_rmsnorm,
    .gemm = gemm,
    .gemm_logits = gemm_logits,
    .rope_kv_write = rope_kv_write,
    .attention = attention,
    .act_mul = act_mul,
    .gather_rows = gather_rows,
    .softcap = softcap,
    .sample = sample,
    .logprobs = logprobs,
};
