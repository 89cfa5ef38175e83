/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ops/ref_ops.h"

#include "tests/ops/ref_sample.h"

#include <math.h>
#include <string.h>

struct ref_weight {
    struct ref_weight *next;
    double values[];   /* [rows, cols] */
};

struct device {
    struct ref_weight *weights;
    struct kv_config kv;
    double *keys, *values;   /* [L][slot][K][D] */
    double *cos, *sin;       /* [position][D/2] */
    int rope_dim;
    const struct batch *batch;
};

static uint32_t
bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float
of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float
ref_get(enum dtype dtype, const void *data, int64_t i)
{
    if (dtype == DTYPE_F32) {
        float f;
        memcpy(&f, (const char *)data + 4 * i, 4);
        return f;
    }
    uint16_t h;
    memcpy(&h, (const char *)data + 2 * i, 2);
    if (dtype == DTYPE_BF16)
        return of_bits((uint32_t)h << 16);
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 0    ? ldexp(mantissa, -24)
               : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                : ldexp(1024 + mantissa, exponent - 25);
    return (float)(h & 0x8000 ? -v : v);
}

void
ref_set(enum dtype dtype, void *data, int64_t i, float f)
{
    if (dtype == DTYPE_F32) {
        memcpy((char *)data + 4 * i, &f, 4);
        return;
    }
    uint16_t h;
    if (dtype == DTYPE_BF16) {
        uint32_t u = bits_of(f), odd = u >> 16 & 1;
        h = (uint16_t)((u + 0x7fff + odd) >> 16);
    } else {
        double a = fabs(f);
        int e;
        frexp(a, &e);
        double unit = ldexp(1, MAX(e - 11, -24));   /* spacing of halves around a */
        double r = nearbyint(a / unit) * unit;
        frexp(r, &e);
        h = r >= 65520 ? 0x7c00
            : r < ldexp(1, -14)
                ? (uint16_t)ldexp(r, 24)
                : (uint16_t)((e + 14) << 10 | ((int)ldexp(r, 11 - e) & 1023));
        h |= signbit(f) ? 0x8000 : 0;
    }
    memcpy((char *)data + 2 * i, &h, 2);
}

float
ref_round(enum dtype dtype, float f)
{
    float r = 0;
    ref_set(dtype, &r, 0, f);
    return ref_get(dtype, &r, 0);
}

static int
ref_open(const struct device_options *opt, struct device **ret, struct error *err)
{
    (void)opt;
    (void)err;
    *ret = calloc(1, sizeof **ret);
    return *ret != NULL ? 0 : ERR_NOMEM;
}

static void
ref_close(struct device *dev)
{
    while (dev->weights != NULL) {
        struct ref_weight *w = dev->weights;
        dev->weights = w->next;
        free(w);
    }
    free(dev->keys);
    free(dev->values);
    free(dev->cos);
    free(dev->sin);
    free(dev);
}

static void
ref_info(const struct device *dev, struct device_info *ret)
{
    (void)dev;
    *ret = (struct device_info){.name = "reference", .act_dtype = DTYPE_F32};
}

static int
ref_buffer_alloc(struct device *dev, size_t bytes, struct buffer *ret, struct error *err)
{
    (void)dev;
    (void)err;
    *ret = (struct buffer){.data = calloc(1, MAX(bytes, 1)), .bytes = bytes};
    return ret->data != NULL ? 0 : ERR_NOMEM;
}

static void
ref_buffer_free(struct device *dev, struct buffer *b)
{
    (void)dev;
    free(b->data);
}

static int
ref_upload(struct device *dev, struct buffer *dst, size_t offset, const void *src, size_t bytes)
{
    (void)dev;
    memcpy((char *)dst->data + offset, src, bytes);
    return 0;
}

static int
ref_download(struct device *dev, void *dst, const struct buffer *src, size_t offset, size_t bytes)
{
    (void)dev;
    memcpy(dst, (const char *)src->data + offset, bytes);
    return 0;
}

static int
ref_weight_load(struct device *dev, const struct host_tensor *parts, int num_parts,
                enum weight_use use, bool f32_weights, struct weight *ret, struct error *err)
{
    (void)err;
    (void)f32_weights;
    int64_t n = 0, rows = 0;
    for (int i = 0; i < num_parts; i++) {
        n += parts[i].rows * parts[i].cols;
        rows += parts[i].rows;
    }
    struct ref_weight *w = malloc(sizeof *w + (size_t)n * sizeof w->values[0]);
    if (w == NULL)
        return ERR_NOMEM;
    w->next = dev->weights;
    dev->weights = w;
    double *at = w->values;
    for (int i = 0; i < num_parts; i++) {
        for (int64_t j = 0; j < parts[i].rows * parts[i].cols; j++)
            *at++ = ref_get(parts[i].dtype, parts[i].data, j);
    }
    *ret = (struct weight){.impl = w->values,
                           .rows = use == WEIGHT_VECTOR ? 1 : rows,
                           .cols = use == WEIGHT_VECTOR ? n : parts[0].cols,
                           .dtype = DTYPE_F32};
    return 0;
}

static int
ref_weight_random(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
                  enum dtype dtype, float scale, uint64_t seed, struct weight *ret,
                  struct error *err)
{
    (void)dev, (void)rows, (void)cols, (void)use, (void)dtype, (void)scale, (void)seed, (void)ret;
    return error_set(err, ERR_UNSUPPORTED, "the reference has no random weights");
}

static size_t
ref_kv_block_bytes(const struct kv_config *cfg)
{
    return (size_t)2 * cfg->num_layers * KV_BLOCK_SIZE * cfg->num_kv_heads * cfg->head_dim *
           dtype_bytes(cfg->dtype);
}

static int
ref_kv_init(struct device *dev, const struct kv_config *cfg, struct error *err)
{
    (void)err;
    size_t n = (size_t)cfg->num_layers * cfg->num_blocks * KV_BLOCK_SIZE * cfg->num_kv_heads *
               cfg->head_dim;
    free(dev->keys);
    free(dev->values);
    dev->kv = *cfg;
    dev->keys = calloc(n, sizeof *dev->keys);
    dev->values = calloc(n, sizeof *dev->values);
    return dev->keys != NULL && dev->values != NULL ? 0 : ERR_NOMEM;
}

static int
ref_rope_init(struct device *dev, const struct rope_config *cfg, struct error *err)
{
    (void)err;
    int half = cfg->head_dim / 2;
    free(dev->cos);
    free(dev->sin);
    dev->rope_dim = cfg->head_dim;
    dev->cos = malloc((size_t)cfg->max_position * half * sizeof *dev->cos);
    dev->sin = malloc((size_t)cfg->max_position * half * sizeof *dev->sin);
    if (dev->cos == NULL || dev->sin == NULL)
        return ERR_NOMEM;
    for (int p = 0; p < cfg->max_position; p++) {
        for (int i = 0; i < half; i++) {
            float angle = (float)p * cfg->inv_freq[i];
            dev->cos[(size_t)p * half + i] = cos(angle) * cfg->attention_factor;
            dev->sin[(size_t)p * half + i] = sin(angle) * cfg->attention_factor;
        }
    }
    return 0;
}

static int
ref_step_begin(struct device *dev, const struct batch *batch, struct step_shape *ret)
{
    dev->batch = batch;
    *ret = (struct step_shape){.num_rows = batch->num_tokens};
    return 0;
}

static int
ref_nothing(struct device *dev)
{
    (void)dev;
    return 0;
}

static int
ref_step_end(struct device *dev)
{
    dev->batch = NULL;
    return 0;
}

static void
ref_embed(struct device *dev, struct buffer *out, const struct weight *table, float scale)
{
    const double *values = table->impl;
    float *o = out->data;
    for (int t = 0; t < dev->batch->num_tokens; t++) {
        for (int64_t h = 0; h < table->cols; h++)
            *o++ = (float)(values[dev->batch->token_ids[t] * table->cols + h] * scale);
    }
}

static void
ref_rmsnorm(struct device *dev, struct buffer *out, const struct buffer *x,
            const struct weight *w, int rows, float eps, float weight_offset)
{
    (void)dev;
    const double *weight = w->impl;
    int64_t H = w->cols;
    for (int r = 0; r < rows; r++) {
        const float *in = (const float *)x->data + r * H;
        float *o = (float *)out->data + r * H;
        double sum = 0;
        for (int64_t h = 0; h < H; h++)
            sum += (double)in[h] * in[h];
        double scale = 1 / sqrt(sum / (double)H + (double)eps);
        for (int64_t h = 0; h < H; h++)
            o[h] = (float)(in[h] * scale * (weight[h] + (double)weight_offset));
    }
}

static void
ref_add_rmsnorm(struct device *dev, struct buffer *out, struct buffer *residual,
                const struct buffer *x, const struct weight *w, int rows, float eps,
                float weight_offset)
{
    for (int64_t i = 0; i < rows * w->cols; i++)
        ((float *)residual->data)[i] += ((const float *)x->data)[i];
    ref_rmsnorm(dev, out, residual, w, rows, eps, weight_offset);
}

static void
ref_gemm(struct device *dev, struct buffer *out, const struct buffer *x, const struct weight *w,
         const struct weight *bias, int rows)
{
    (void)dev;
    const double *weight = w->impl;
    for (int64_t r = 0; r < rows; r++) {
        const float *in = (const float *)x->data + r * w->cols;
        for (int64_t n = 0; n < w->rows; n++) {
            double sum = 0;
            for (int64_t k = 0; k < w->cols; k++)
                sum += in[k] * weight[n * w->cols + k];
            if (bias != NULL)
                sum += ((const double *)bias->impl)[n];
            ((float *)out->data)[r * w->rows + n] = (float)sum;
        }
    }
}

static void
ref_gemm_logits(struct device *dev, struct buffer *out, const struct buffer *x,
                const struct weight *w, int rows)
{
    ref_gemm(dev, out, x, w, NULL, rows);
}

static double *
cache_row(double *cache, const struct kv_config *kv, int layer, int64_t slot, int head)
{
    int64_t num_slots = (int64_t)kv->num_blocks * KV_BLOCK_SIZE;
    return cache + ((layer * num_slots + slot) * kv->num_kv_heads + head) * kv->head_dim;
}

static void
ref_rope_kv_write(struct device *dev, struct buffer *qkv, const struct attention_args *a)
{
    int D = a->head_dim, half = D / 2, heads = a->num_heads + a->num_kv_heads;
    int width = (heads + a->num_kv_heads) * D;
    for (int t = 0; t < dev->batch->num_tokens; t++) {
        float *row = (float *)qkv->data + (size_t)t * width;
        size_t at = (size_t)dev->batch->positions[t] * half;
        for (int h = 0; h < heads; h++) {
            for (int i = 0; i < half; i++) {
                double x = row[h * D + i], y = row[h * D + half + i];
                double c = dev->cos[at + i], s = dev->sin[at + i];
                row[h * D + i] = (float)(x * c - y * s);
                row[h * D + half + i] = (float)(y * c + x * s);
            }
        }
        int32_t slot = dev->batch->slot_mapping[t];
        for (int h = 0; h < a->num_kv_heads; h++) {
            double *k = cache_row(dev->keys, &dev->kv, a->layer, slot, h);
            double *v = cache_row(dev->values, &dev->kv, a->layer, slot, h);
            for (int d = 0; d < D; d++) {
                k[d] = ref_round(dev->kv.dtype, row[(a->num_heads + h) * D + d]);
                v[d] = ref_round(dev->kv.dtype, row[(heads + h) * D + d]);
            }
        }
    }
}

/* One query row: scores of all its keys, then their softmax, then the values. */
static void
attend(struct device *dev, const struct attention_args *a, int seq, int position, int head,
       const float *q, float *out)
{
    const int32_t *table = dev->batch->block_tables + (size_t)seq * dev->batch->max_blocks_per_seq;
    int kv_head = head / (a->num_heads / a->num_kv_heads);
    int first = a->window > 0 ? MAX(0, position - a->window + 1) : 0, n = position + 1 - first;
    double *p = malloc((size_t)n * sizeof *p), max = -INFINITY, sum = 0;
    ASSERT(p != NULL);
    for (int i = 0; i < n; i++) {
        int key = first + i;
        int64_t slot = (int64_t)table[key / KV_BLOCK_SIZE] * KV_BLOCK_SIZE + key % KV_BLOCK_SIZE;
        const double *k = cache_row(dev->keys, &dev->kv, a->layer, slot, kv_head);
        double s = 0;
        for (int d = 0; d < a->head_dim; d++)
            s += q[d] * k[d];
        s *= (double)a->scale;
        if (a->softcap > 0)
            s = (double)a->softcap * tanh(s / (double)a->softcap);
        p[i] = s;
        max = MAX(max, s);
    }
    for (int i = 0; i < n; i++)
        sum += p[i] = exp(p[i] - max);
    for (int d = 0; d < a->head_dim; d++) {
        double v = 0;
        for (int i = 0; i < n; i++) {
            int key = first + i;
            int64_t slot =
                (int64_t)table[key / KV_BLOCK_SIZE] * KV_BLOCK_SIZE + key % KV_BLOCK_SIZE;
            v += p[i] * cache_row(dev->values, &dev->kv, a->layer, slot, kv_head)[d];
        }
        out[d] = (float)(v / sum);
    }
    free(p);
}

static void
ref_attention(struct device *dev, struct buffer *out, const struct buffer *qkv,
              const struct attention_args *a)
{
    const struct batch *b = dev->batch;
    int D = a->head_dim, width = (a->num_heads + 2 * a->num_kv_heads) * D;
    for (int s = 0; s < b->num_seqs; s++) {
        for (int row = b->cu_seqlens_q[s]; row < b->cu_seqlens_q[s + 1]; row++) {
            int position = b->seq_lens[s] - (b->cu_seqlens_q[s + 1] - row);
            for (int h = 0; h < a->num_heads; h++)
                attend(dev, a, s, position, h,
                       (const float *)qkv->data + (size_t)row * width + h * D,
                       (float *)out->data + ((size_t)row * a->num_heads + h) * D);
        }
    }
}

static void
ref_act_mul(struct device *dev, struct buffer *out, const struct buffer *gate_up, int rows,
            int64_t intermediate_size, enum activation act)
{
    (void)dev;
    for (int64_t i = 0; i < rows * intermediate_size; i++) {
        int64_t row = i / intermediate_size;
        const float *in = (const float *)gate_up->data + row * intermediate_size + i;
        double x = in[0], up = in[intermediate_size];
        double y = act == ACT_SILU
                       ? x / (1 + exp(-x))
                       : 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
        ((float *)out->data)[i] = (float)(y * up);
    }
}

static void
ref_gather_rows(struct device *dev, struct buffer *out, const struct buffer *x,
                const int32_t *row_ids, int num_rows, int64_t hidden_size)
{
    (void)dev;
    for (int i = 0; i < num_rows; i++)
        memcpy((float *)out->data + i * hidden_size,
               (const float *)x->data + row_ids[i] * hidden_size, (size_t)hidden_size * 4);
}

static void
ref_softcap(struct device *dev, struct buffer *logits, int rows, int64_t vocab_size, float cap)
{
    (void)dev;
    float *x = logits->data;
    for (int64_t i = 0; i < rows * vocab_size; i++)
        x[i] = (float)((double)cap * tanh((double)x[i] / (double)cap));
}

const struct ops ref_ops = {
    .abi = OPS_ABI,
    .name = "reference",
    .device_open = ref_open,
    .device_close = ref_close,
    .device_info = ref_info,
    .buffer_alloc = ref_buffer_alloc,
    .buffer_free = ref_buffer_free,
    .upload = ref_upload,
    .download = ref_download,
    .weight_load = ref_weight_load,
    .weight_random = ref_weight_random,
    .kv_init = ref_kv_init,
    .kv_block_bytes = ref_kv_block_bytes,
    .rope_init = ref_rope_init,
    .tune = NULL, /* there is one way to do a product */
    .step_begin = ref_step_begin,
    .forward_end = ref_nothing,
    .step_wait = ref_nothing,
    .step_end = ref_step_end,
    .embed = ref_embed,
    .rmsnorm = ref_rmsnorm,
    .add_rmsnorm = ref_add_rmsnorm,
    .gemm = ref_gemm,
    .gemm_logits = ref_gemm_logits,
    .rope_kv_write = ref_rope_kv_write,
    .attention = ref_attention,
    .act_mul = ref_act_mul,
    .gather_rows = ref_gather_rows,
    .softcap = ref_softcap,
    .sample = ref_sample,
    .logprobs = ref_logprobs,
};
