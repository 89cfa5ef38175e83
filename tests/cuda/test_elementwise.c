/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of elementwise.cu, norm.cu, rope.cu, random.cu and copy.cu against
 * the reference's doubles, at the row lengths and head shapes of the target
 * models: what is copied has the same bits, what is computed is rounded once.
 */
#include "kernels/backend.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/ref_ops.h"
#include "tests/ops/tol.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

/* In spacings of bf16, beyond the half that rounding takes: what a few f32
 * operations add (2^-24 each, and a spacing is at least 2^-8 of the number). */
#define SLACK_NORM 0.001
/* exp2 of a product as large as 128 */
#define SLACK_ACT 0.008

/* SmolLM2's and the target models' hidden sizes, and the edges of the kernel's
 * choice of vectors a thread. */
static const int hidden_sizes[] = {576, 3584, 4096, 4608, 5120, 8, 2048, 2056, 8192, 8200, 16384};
#define NUM_MODEL_SIZES 5
/* Gemma 9B and Llama, Gemma 27B, Qwen 7B, 14B, 32B; SmolLM2 */
static const int intermediate_sizes[] = {14336, 36864, 18944, 13824, 27648, 1536, 8};
static const int row_counts[] = {1, 2, 7, 33, 300};

static struct cuda_ctx ctx;
static struct device *ref;

static void
setup(void)
{
    ctx = ctx_open();
    struct device_options opt = {0};
    ck_assert_int_eq(ref_ops.device_open(&opt, &ref, NULL), 0);
}

static void
teardown(void)
{
    ref_ops.device_close(ref);
    ctx_close(&ctx);
}

static void *
alloc(size_t bytes)
{
    void *p = malloc(bytes);
    ck_assert_ptr_nonnull(p);
    return p;
}

static struct buffer
host_buffer(const float *data, int64_t n)
{
    return (struct buffer){.data = (void *)(uintptr_t)data, .bytes = (size_t)n * sizeof *data};
}

static struct weight
ref_weight(const float *data, int64_t rows, int64_t cols)
{
    struct weight w;
    struct host_tensor part = {.data = data, .dtype = DTYPE_F32, .rows = rows, .cols = cols};
    ck_assert_int_eq(ref_ops.weight_load(ref, &part, 1, WEIGHT_EMBEDDING, true, &w, NULL), 0);
    return w;
}

/* Device bf16 against floats: the same numbers after rounding. */
static void
assert_bf16_bits(const char *what, const bf16_bits *device, const float *want, int64_t n)
{
    bf16_bits *got = alloc((size_t)n * sizeof *got), bits;
    device_read(got, device, (size_t)n * sizeof *got);
    for (int64_t i = 0; i < n; i++) {
        ref_set(DTYPE_BF16, &bits, 0, want[i]);
        if (got[i] != bits)
            ck_abort_msg("%s: element %lld is %.9g (%04x), not %.9g", what, (long long)i,
                         (double)ref_get(DTYPE_BF16, got, i), (unsigned)got[i], (double)want[i]);
    }
    free(got);
}

static void
assert_bf16_rounded(const char *what, const bf16_bits *device, const float *want, int64_t n,
                    double slack, double floor)
{
    float *got = device_read_bf16(device, n);
    assert_rounded(what, got, want, n, slack, floor);
    free(got);
}

/* ---- embed, gather ------------------------------------------------------- */

static void
check_embed(int hidden_size, int rows, float scale)
{
    enum { VOCAB = 40, DRAWN = 5 };
    int lens[300];
    for (int i = 0; i < rows; i++)
        lens[i] = 1 + i % 3;
    struct batch_fixture f;
    batch_open(&f, 1, lens, lens, rows, rows, VOCAB);
    int T = f.batch.num_tokens;
    int32_t *ids = alloc((size_t)T * sizeof *ids), last_tokens[DRAWN] = {7, 39, 0, 2, 21};
    struct batch given = f.batch;
    given.token_ids = ids;
    for (int t = 0; t < T; t++)   /* every third was drawn in the step before */
        ids[t] = t % 3 == 0 ? -1 - t % DRAWN : f.batch.token_ids[t];
    struct step_fixture step;
    step_open(&step, &given, T + 3, true, NULL, 0, last_tokens, DRAWN);
    float *table = random_bf16(2, (int64_t)VOCAB * hidden_size, 1);
    bf16_bits *device_table = device_bf16(table, (int64_t)VOCAB * hidden_size);
    bf16_bits *out = device_new((size_t)(T + 3) * hidden_size * sizeof *out);
    CUDA_OK(cuda_embed(&ctx, out, device_table, &step.ints, T + 3, hidden_size, scale));

    for (int t = 0; t < T; t += 3)
        ids[t] = last_tokens[t % DRAWN];
    struct weight w = ref_weight(table, VOCAB, hidden_size);
    float *want = alloc((size_t)T * hidden_size * sizeof *want);
    struct buffer want_buffer = host_buffer(want, (int64_t)T * hidden_size);
    ref_ops.step_begin(ref, &given);
    ref_ops.embed(ref, &want_buffer, &w, scale == 1 ? 1 : ref_round(DTYPE_BF16, scale));
    assert_bf16_bits("embed", out, want, (int64_t)T * hidden_size);
    free(want);
    free(table);
    free(ids);
    device_free(out);
    device_free(device_table);
    step_close(&step);
    batch_close(&f);
}

START_TEST(test_embed_rows_are_table_rows_times_scale)
{
    int H = hidden_sizes[_i];
    for (size_t r = 0; r < ARRAY_SIZE(row_counts); r++) {
        check_embed(H, row_counts[r], 1);
        check_embed(H, row_counts[r], sqrtf((float)H));
    }
}
END_TEST

START_TEST(test_gather_rows_copies_listed_rows)
{
    int H = hidden_sizes[_i];
    enum { ROWS = 9, LISTED = 12 };
    int32_t ids[LISTED] = {8, 0, 3, 3, 1, 8, 2, 7, 6, 5, 4, 0};
    float *x = random_bf16(3, (int64_t)ROWS * H, 1);
    bf16_bits *device_x = device_bf16(x, (int64_t)ROWS * H);
    bf16_bits *out = device_new((size_t)LISTED * H * sizeof *out);
    int32_t *device_ids = device_copy(ids, sizeof ids);
    CUDA_OK(cuda_gather_rows(&ctx, out, device_x, device_ids, LISTED, H));
    float *want = alloc((size_t)LISTED * H * sizeof *want);
    struct buffer want_buffer = host_buffer(want, (int64_t)LISTED * H);
    struct buffer x_buffer = host_buffer(x, (int64_t)ROWS * H);
    ref_ops.gather_rows(ref, &want_buffer, &x_buffer, ids, LISTED, H);
    assert_bf16_bits("gather_rows", out, want, (int64_t)LISTED * H);
    free(want);
    free(x);
    device_free(device_ids);
    device_free(out);
    device_free(device_x);
}
END_TEST

/* ---- norms ---------------------------------------------------------------- */

struct norm_case {
    int hidden_size, rows;
    float eps, offset, scale;
    bool add, in_place;
};

static void
check_norm(const struct norm_case *c)
{
    int64_t n = (int64_t)c->rows * c->hidden_size;
    char what[96];
    snprintf(what, sizeof what, "%srmsnorm of %d rows of %d", c->add ? "add_" : "", c->rows,
             c->hidden_size);
    float *x = random_bf16(4, n, c->scale), *residual = random_bf16(5, n, c->scale);
    float *w = random_bf16(6, c->hidden_size, 1);
    bf16_bits *device_x = device_bf16(x, n), *device_residual = device_bf16(residual, n);
    float *device_w = device_copy(w, (size_t)c->hidden_size * sizeof *w);
    bf16_bits *out = c->in_place ? device_x : device_new((size_t)n * sizeof *out);
    if (c->add)
        CUDA_OK(cuda_add_rmsnorm(&ctx, out, device_residual, device_x, device_w, c->rows,
                                 c->hidden_size, c->eps, c->offset));
    else
        CUDA_OK(cuda_rmsnorm(&ctx, out, device_x, device_w, c->rows, c->hidden_size, c->eps,
                             c->offset));
    if (c->add) {
        for (int64_t i = 0; i < n; i++)
            x[i] = ref_round(DTYPE_BF16, x[i] + residual[i]);
        assert_bf16_bits(what, device_residual, x, n);
    }
    struct weight weight = ref_weight(w, 1, c->hidden_size);
    struct buffer x_buffer = host_buffer(x, n);
    ref_ops.rmsnorm(ref, &x_buffer, &x_buffer, &weight, c->rows, c->eps, c->offset);
    assert_bf16_rounded(what, out, x, n, SLACK_NORM, 0);
    if (!c->in_place)
        device_free(out);
    device_free(device_x);
    device_free(device_residual);
    device_free(device_w);
    free(x);
    free(residual);
    free(w);
}

START_TEST(test_norm_rows_match_reference)
{
    for (size_t r = 0; r < ARRAY_SIZE(row_counts); r++) {
        if (_i >= NUM_MODEL_SIZES && row_counts[r] > 7)
            break;
        for (int add = 0; add < 2; add++) {
            struct norm_case c = {
                .hidden_size = hidden_sizes[_i],
                .rows = row_counts[r],
                .eps = r % 2 == 0 ? 1e-6f : 1e-5f,
                .offset = (float)((r + (size_t)add) % 2),
                .scale = r % 2 == 0 ? 1 : 60,
                .add = add,
                .in_place = r / 2 % 2,
            };
            check_norm(&c);
        }
    }
}
END_TEST

/* All of a row is zero: eps alone keeps the division finite. */
START_TEST(test_norm_zero_row_is_zero)
{
    for (int add = 0; add < 2; add++) {
        struct norm_case c = {.hidden_size = 4096, .rows = 2, .eps = 1e-6f, .add = add};
        check_norm(&c);
    }
}
END_TEST

/* A row's bits are the same alone and among 300. */
START_TEST(test_norm_row_in_batch_has_bits_of_row_alone)
{
    enum { ROWS = 300, H = 1600 };
    float *x = random_bf16(7, (int64_t)ROWS * H, 1), *w = random_bf16(8, H, 1);
    bf16_bits *device_x = device_bf16(x, (int64_t)ROWS * H);
    float *device_w = device_copy(w, H * sizeof *w);
    bf16_bits *batch = device_new((size_t)ROWS * H * sizeof *batch);
    bf16_bits *alone = device_new((size_t)H * sizeof *alone), got[2][H];
    CUDA_OK(cuda_rmsnorm(&ctx, batch, device_x, device_w, ROWS, H, 1e-6f, 0));
    for (int row = 0; row < ROWS; row += 23) {
        CUDA_OK(cuda_rmsnorm(&ctx, alone, device_x + (size_t)row * H, device_w, 1, H, 1e-6f, 0));
        device_read(got[0], alone, sizeof got[0]);
        device_read(got[1], batch + (size_t)row * H, sizeof got[1]);
        ck_assert_mem_eq(got[0], got[1], sizeof got[0]);
    }
    device_free(device_x);
    device_free(device_w);
    device_free(batch);
    device_free(alone);
    free(x);
    free(w);
}
END_TEST

/* ---- activation, soft cap -------------------------------------------------- */

static void
check_act(int rows, int64_t intermediate_size, const float *gate_up, int gelu_tanh)
{
    int64_t n = rows * intermediate_size;
    char what[96];
    snprintf(what, sizeof what, "%s of %d rows of %lld", gelu_tanh ? "gelu" : "silu", rows,
             (long long)intermediate_size);
    bf16_bits *device_in = device_bf16(gate_up, 2 * n);
    bf16_bits *out = device_new((size_t)n * sizeof *out);
    CUDA_OK(cuda_act_mul(&ctx, out, device_in, rows, intermediate_size, gelu_tanh));
    float *want = alloc((size_t)n * sizeof *want);
    struct buffer want_buffer = host_buffer(want, n), in_buffer = host_buffer(gate_up, 2 * n);
    ref_ops.act_mul(ref, &want_buffer, &in_buffer, rows, intermediate_size,
                    gelu_tanh ? ACT_GELU_TANH : ACT_SILU);
    /* the reference's 1 + tanh cancels in gelu's tail */
    assert_bf16_rounded(what, out, want, n, SLACK_ACT, gelu_tanh ? 1e-13 : 1e-36);
    free(want);
    device_free(device_in);
    device_free(out);
}

START_TEST(test_act_mul_rows_match_reference)
{
    int64_t I = intermediate_sizes[_i];
    for (size_t r = 0; r < ARRAY_SIZE(row_counts); r++) {
        if (row_counts[r] * I > 1500000)
            break;
        float *gate_up = random_bf16(9, 2 * row_counts[r] * I, r % 2 == 0 ? 4 : 12);
        check_act(row_counts[r], I, gate_up, 0);
        check_act(row_counts[r], I, gate_up, 1);
        free(gate_up);
    }
}
END_TEST

/* Zeros, tiny and huge numbers, and where exp leaves f32's range. */
START_TEST(test_act_mul_edges_match_reference)
{
    static const float edges[] = {
        0, -0.0f, 1e-30f, -1e-30f, 1e-3f, -1e-3f, 5, -5, 20, -20, 80, -80, 87.5f, -87.5f,
        88.5f, -88.5f, 100, -100, 1e4f, -1e4f, 1e18f, -1e18f, 3e38f, -3e38f,
    };
    enum { N = ARRAY_SIZE(edges) };
    float gate_up[2 * N];
    for (int i = 0; i < N; i++) {
        gate_up[i] = ref_round(DTYPE_BF16, edges[i]);
        gate_up[N + i] = 1;
    }
    ck_assert_int_eq(N % 8, 0);
    check_act(1, N, gate_up, 0);
    bf16_bits *in = device_bf16(gate_up, 2 * N), *out = device_new(N * sizeof *out);
    CUDA_OK(cuda_act_mul(&ctx, out, in, 1, N, 1));
    float *got = device_read_bf16(out, N), want[N];
    for (int i = 0; i < N; i++) {
        double x = (double)gate_up[i], u = 2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
        want[i] = (float)(x / (1 + exp(-u)));
    }
    assert_rounded("gelu at the edges", got, want, N, SLACK_ACT, 1e-36);
    free(got);
    device_free(in);
    device_free(out);
}
END_TEST

static void
check_softcap(int64_t n, float cap, float scale)
{
    float *x = random_bf16(10, n, scale);
    const float edges[] = {0, -0.0f, 1e-20f, 1e-4f, -1e-4f, INFINITY, -INFINITY, 3e38f};
    for (size_t i = 0; i < ARRAY_SIZE(edges) && (int64_t)i < n; i++)
        x[n - 1 - (int64_t)i] = edges[i];
    float *logits = device_copy(x, (size_t)n * sizeof *x);
    float *got = alloc((size_t)n * sizeof *got);
    CUDA_OK(cuda_softcap(&ctx, logits, n, cap));
    device_read(got, logits, (size_t)n * sizeof *got);
    struct buffer want = host_buffer(x, n);
    ref_ops.softcap(ref, &want, 1, n, cap);
    for (int64_t i = 0; i < n; i++) {
        double limit = TOL_ELEMENTWISE.abs * 1e-12 + TOL_ELEMENTWISE.rel * fabs((double)x[i]);
        double off = fabs((double)got[i] - (double)x[i]);
        if (!(off <= limit) && got[i] != x[i])
            ck_abort_msg("softcap: element %lld of %lld is %.9g, not %.9g", (long long)i,
                         (long long)n, (double)got[i], (double)x[i]);
    }
    device_free(logits);
    free(got);
    free(x);
}

START_TEST(test_softcap_any_length_matches_reference)
{
    static const int64_t lengths[] = {1, 3, 4, 7, 1024, 1025, 2047, 2048, 2050, 256000};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
        check_softcap(lengths[i], i % 2 == 0 ? 30 : 50, i % 3 == 0 ? 200 : 20);
}
END_TEST

/* ---- rope ------------------------------------------------------------------ */

#define MAX_POSITION 512

/* The six models', SmolLM2's, and head_dims that leave threads over. */
static const struct attention_shape rope_shapes[] = {
    {.num_heads = 16, .num_kv_heads = 8, .head_dim = 256},
    {.num_heads = 32, .num_kv_heads = 16, .head_dim = 128},
    {.num_heads = 32, .num_kv_heads = 8, .head_dim = 128},
    {.num_heads = 28, .num_kv_heads = 4, .head_dim = 128},
    {.num_heads = 40, .num_kv_heads = 8, .head_dim = 128},
    {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
    {.num_heads = 6, .num_kv_heads = 1, .head_dim = 32},
    {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16},
    {.num_heads = 3, .num_kv_heads = 3, .head_dim = 96},
    {.num_heads = 150, .num_kv_heads = 75, .head_dim = 16},
};

/* The reference's table, and the device's. */
static float *
rope_table(int head_dim)
{
    int half = head_dim / 2;
    float inv_freq[128], *table = alloc((size_t)MAX_POSITION * head_dim * sizeof *table);
    for (int i = 0; i < half; i++)
        inv_freq[i] = (float)pow(1e4, -(double)i / half);
    struct rope_config cfg = {
        .head_dim = head_dim,
        .max_position = MAX_POSITION,
        .inv_freq = inv_freq,
        .attention_factor = 1.25f,
    };
    ck_assert_int_eq(ref_ops.rope_init(ref, &cfg, NULL), 0);
    for (int p = 0; p < MAX_POSITION; p++) {
        for (int i = 0; i < half; i++) {
            double angle = (double)((float)p * inv_freq[i]);
            table[(p * half + i) * 2] = (float)(cos(angle) * 1.25);
            table[(p * half + i) * 2 + 1] = (float)(sin(angle) * 1.25);
        }
    }
    float *device = device_copy(table, (size_t)MAX_POSITION * head_dim * sizeof *table);
    free(table);
    return device;
}

/* What the cache must hold: `before`, but for the rows of the batch, whose keys
 * and values are in the reference's qkv. */
static void
place_rows(float *k, float *v, const float *qkv, const struct batch *b,
           const struct attention_shape *s)
{
    int D = s->head_dim, K = s->num_kv_heads;
    for (int t = 0; t < b->num_tokens; t++) {
        const float *key = qkv + ((size_t)t * (s->num_heads + 2 * K) + s->num_heads) * D;
        int page = b->slot_mapping[t] / KV_BLOCK_SIZE, offset = b->slot_mapping[t] % KV_BLOCK_SIZE;
        for (int h = 0; h < K; h++) {
            size_t at = (((size_t)page * K + h) * KV_BLOCK_SIZE + offset) * D;
            memcpy(k + at, key + h * D, (size_t)D * sizeof *k);
            memcpy(v + at, key + (K + h) * D, (size_t)D * sizeof *v);
        }
    }
}

static void
check_rope(const struct attention_shape *s, const int *q_lens, const int *seq_lens, int num_seqs,
           int num_blocks)
{
    enum { PADDING = 3 };
    struct batch_fixture f;
    batch_open(&f, 11, q_lens, seq_lens, num_seqs, num_blocks, 100);
    const struct batch *b = &f.batch;
    struct step_fixture step;
    step_open(&step, b, b->num_tokens + PADDING, true, NULL, 0, NULL, 0);
    int width = (s->num_heads + 2 * s->num_kv_heads) * s->head_dim;
    int q_width = s->num_heads * s->head_dim;
    int64_t n = (int64_t)b->num_tokens * width;
    int64_t cache_n = (int64_t)num_blocks * KV_BLOCK_SIZE * s->num_kv_heads * s->head_dim;
    float *qkv = random_bf16(12, n, 2), *k = random_bf16(13, cache_n, 2);
    float *v = random_bf16(14, cache_n, 2), *rope = rope_table(s->head_dim);
    struct kv_layer kv = {device_bf16(k, cache_n), device_bf16(v, cache_n)};
    /* the padding rows are never written: the kernel must not read them */
    bf16_bits *device_qkv =
        device_new((size_t)(b->num_tokens + PADDING) * width * sizeof *device_qkv);
    bf16_bits *rounded = device_bf16(qkv, n);
    CUDA_OK(cudaMemcpy(device_qkv, rounded, (size_t)n * sizeof *rounded,
                       cudaMemcpyDeviceToDevice));
    CUDA_OK(cuda_rope_kv_write(&ctx, device_qkv, &kv, rope, &step.ints, step.rows, s));

    struct kv_config cfg = {
        .num_layers = 1, .num_kv_heads = s->num_kv_heads, .head_dim = s->head_dim,
        .num_blocks = num_blocks,
    };
    struct attention_args args = {
        .num_heads = s->num_heads, .num_kv_heads = s->num_kv_heads, .head_dim = s->head_dim,
    };
    struct buffer want = host_buffer(qkv, n);
    ck_assert_int_eq(ref_ops.kv_init(ref, &cfg, NULL), 0);
    ref_ops.step_begin(ref, b);
    ref_ops.rope_kv_write(ref, &want, &args);
    place_rows(k, v, qkv, b, s);
    float *got = device_read_bf16(device_qkv, n);
    for (int t = 0; t < b->num_tokens; t++)
        assert_rounded("rotated q", got + (size_t)t * width, qkv + (size_t)t * width, q_width,
                       SLACK_NORM, 1e-6);
    assert_bf16_rounded("keys in the cache", kv.k, k, cache_n, SLACK_NORM, 1e-6);
    assert_bf16_bits("values in the cache", kv.v, v, cache_n);
    free(got);
    free(qkv);
    free(k);
    free(v);
    device_free(kv.k);
    device_free(kv.v);
    device_free(rope);
    device_free(rounded);
    device_free(device_qkv);
    step_close(&step);
    batch_close(&f);
}

START_TEST(test_rope_kv_write_matches_reference)
{
    const struct attention_shape *s = &rope_shapes[_i];
    check_rope(s, (int[]){1}, (int[]){1}, 1, 2);
    check_rope(s, (int[]){1, 1}, (int[]){MAX_POSITION, 17}, 2, 40);
    check_rope(s, (int[]){1, 16, 2, 1, 13}, (int[]){33, 16, 2, 1, 45}, 5, 12);
}
END_TEST

/* ---- random, copy ---------------------------------------------------------- */

/* The CPU backend's random weight, read through its embedding. */
static float *
cpu_random(int64_t rows, int64_t cols, enum dtype dtype, float scale, uint64_t seed)
{
    struct device_options opt = {.threads = 1, .max_tokens = (int)rows, .max_seqs = 1,
                                 .vocab_size = (int)rows};
    struct device *cpu;
    struct weight w;
    struct buffer out;
    ck_assert_int_eq(cpu_ops.device_open(&opt, &cpu, NULL), 0);
    ck_assert_int_eq(cpu_ops.weight_random(cpu, rows, cols, WEIGHT_EMBEDDING, dtype, scale, seed,
                                           &w, NULL), 0);
    size_t bytes = (size_t)(rows * cols) * sizeof(float);
    ck_assert_int_eq(cpu_ops.buffer_alloc(cpu, bytes, &out, NULL), 0);
    int lens[] = {(int)rows};
    struct batch_fixture f;
    batch_open(&f, 1, lens, lens, 1, (int)CEIL_DIV(rows, KV_BLOCK_SIZE), 1);
    int32_t *ids = alloc((size_t)rows * sizeof *ids);
    for (int i = 0; i < rows; i++)
        ids[i] = i;
    f.batch.token_ids = ids;
    ck_assert_int_eq(cpu_ops.step_begin(cpu, &f.batch), 0);
    cpu_ops.embed(cpu, &out, &w, 1);
    ck_assert_int_eq(cpu_ops.step_end(cpu), 0);
    float *x = alloc(bytes);
    ck_assert_int_eq(cpu_ops.download(cpu, x, &out, 0, bytes), 0);
    cpu_ops.buffer_free(cpu, &out);
    cpu_ops.device_close(cpu);
    batch_close(&f);
    free(ids);
    return x;
}

START_TEST(test_random_has_bits_of_cpu_backend)
{
    static const int shapes[][2] = {{1, 1}, {1, 7}, {3, 8}, {5, 409}, {49, 576}};
    int64_t rows = shapes[_i][0], cols = shapes[_i][1], n = rows * cols;
    uint64_t seed = 0x123456789abcdef0u + (uint64_t)_i;
    float scale = 0.0371f;
    bf16_bits *narrow = device_new((size_t)n * sizeof *narrow);
    float *wide = device_new((size_t)n * sizeof *wide), *got = alloc((size_t)n * sizeof *got);
    CUDA_OK(cuda_random(&ctx, narrow, n, scale, rng_mix64(seed), 0));
    CUDA_OK(cuda_random(&ctx, wide, n, scale, rng_mix64(seed), 1));
    float *want = cpu_random(rows, cols, DTYPE_BF16, scale, seed);
    assert_bf16_bits("random bf16", narrow, want, n);
    free(want);
    want = cpu_random(rows, cols, DTYPE_F32, scale, seed);
    device_read(got, wide, (size_t)n * sizeof *got);
    ck_assert_mem_eq(got, want, (size_t)n * sizeof *got);
    free(want);
    free(got);
    device_free(narrow);
    device_free(wide);
}
END_TEST

START_TEST(test_copy_blocks_copies_all_layers)
{
    /* Llama's, Gemma 9B's, SmolLM2's and the smallest */
    static const int block_elements[] = {8 * 16 * 128, 8 * 16 * 256, 3 * 16 * 64, 16 * 8};
    enum { LAYERS = 2, BLOCKS = 9, PAIRS = 4 };
    static const int32_t pairs[PAIRS][2] = {{0, 5}, {0, 8}, {7, 1}, {6, 2}};
    int64_t block = block_elements[_i], n = 2 * LAYERS * BLOCKS * block;
    float *cache = random_bf16(15, n, 1);
    bf16_bits *device = device_bf16(cache, n);
    int32_t *device_pairs = device_copy(pairs, sizeof pairs);
    CUDA_OK(cuda_copy_blocks(&ctx, device, device_pairs, PAIRS, LAYERS, BLOCKS, block));
    for (int run = 0; run < 2 * LAYERS; run++) {
        float *base = cache + run * BLOCKS * block;
        for (int i = 0; i < PAIRS; i++)
            memcpy(base + pairs[i][1] * block, base + pairs[i][0] * block,
                   (size_t)block * sizeof *cache);
    }
    assert_bf16_bits("copy_blocks", device, cache, n);
    device_free(device);
    device_free(device_pairs);
    free(cache);
}
END_TEST

/* ---- one behind the other --------------------------------------------------- */

/* Every op on what the kernel right before it wrote: nothing waits but they. */
struct chain {
    struct step_fixture step;
    struct kv_layer kv;
    bf16_bits *table, *x, *residual, *normed, *qkv, *gathered;
    float *w, *logits, *rope;
    int32_t *pairs;
};

#define CHAIN_ROWS 8       /* for five tokens */
#define CHAIN_CACHE (2 * 4 * 16 * 4 * 16)   /* four pages of keys, then four of values */
#define CHAIN_HIDDEN 192   /* as wide as qkv of its shape: 4 + 2 * 4 heads of 16 */
static const struct attention_shape chain_shape = {
    .num_heads = 4, .num_kv_heads = 4, .head_dim = 16,
};

static void
chain_enqueue(const struct chain *c, const struct cuda_ctx *on)
{
    enum { T = CHAIN_ROWS, H = CHAIN_HIDDEN };
    CUDA_OK(cuda_random(on, c->table, 100 * H, 0.5f, 5, 0));
    CUDA_OK(cuda_embed(on, c->residual, c->table, &c->step.ints, T, H, 3));
    CUDA_OK(cuda_rmsnorm(on, c->x, c->residual, c->w, T, H, 1e-6f, 0));
    CUDA_OK(cuda_add_rmsnorm(on, c->qkv, c->residual, c->x, c->w, T, H, 1e-6f, 1));
    CUDA_OK(cuda_rope_kv_write(on, c->qkv, &c->kv, c->rope, &c->step.ints, T, &chain_shape));
    CUDA_OK(cuda_act_mul(on, c->normed, c->qkv, T, H / 2, 1));
    CUDA_OK(cuda_gather_rows(on, c->gathered, c->normed, c->step.ints.row_ids, 2, H / 2));
    CUDA_OK(cuda_softcap(on, c->logits, H / 2, 30));
    CUDA_OK(cuda_rope_kv_write(on, c->qkv, &c->kv, c->rope, &c->step.ints, T, &chain_shape));
    CUDA_OK(cuda_copy_blocks(on, c->kv.k, c->pairs, 1, 1, 4, 16 * 4 * 16));
}

static struct chain
chain_open(void)
{
    enum { T = CHAIN_ROWS, H = CHAIN_HIDDEN, CACHE = CHAIN_CACHE };
    struct batch_fixture f;
    int32_t row_ids[] = {2, 4}, pair[] = {0, 3};
    batch_open(&f, 16, (int[]){4, 1}, (int[]){4, 9}, 2, 2, 100);
    float *w = random_bf16(17, H, 1), *zeros = calloc(CACHE, sizeof *zeros);
    ck_assert_ptr_nonnull(zeros);
    struct chain c = {
        .table = device_new(100 * H * 2), .x = device_new(T * H * 2),
        .residual = device_new(T * H * 2), .normed = device_new(T * H), .qkv = device_new(T * H * 2),
        .w = device_copy(w, H * sizeof *w), .rope = rope_table(chain_shape.head_dim),
        .pairs = device_copy(pair, sizeof pair),
        .kv = {.k = device_bf16(zeros, CACHE)},
    };
    c.kv.v = c.kv.k + CACHE / 2;
    /* two bf16 as one float: a number like any other */
    c.logits = device_new(H * 2);
    c.gathered = (bf16_bits *)c.logits;
    step_open(&c.step, &f.batch, T, true, row_ids, 2, NULL, 0);
    batch_close(&f);
    free(w);
    free(zeros);
    return c;
}

static void
chain_close(struct chain *c)
{
    const void *all[] = {c->table, c->x, c->residual, c->normed, c->qkv, c->w, c->rope, c->pairs,
                         c->kv.k, c->logits};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        device_free(all[i]);
    step_close(&c->step);
}

struct chain_result {
    float logits[CHAIN_HIDDEN / 2];
    bf16_bits cache[CHAIN_CACHE];
};

static void
chain_read(const struct chain *c, struct chain_result *ret)
{
    device_read(ret->logits, c->logits, sizeof ret->logits);
    device_read(ret->cache, c->kv.k, sizeof ret->cache);
    CUDA_OK(cudaMemset(c->logits, 0, sizeof ret->logits));
    CUDA_OK(cudaMemset(c->kv.k, 0, sizeof ret->cache));
    CUDA_OK(cudaDeviceSynchronize());   /* the context's stream does not wait for these */
}

START_TEST(test_chain_with_programmatic_launch_and_in_a_graph_has_same_bits)
{
    struct chain c = chain_open();
    struct chain_result plain, early, replayed;
    struct cuda_ctx serial = ctx;
    serial.pdl = 0;
    chain_enqueue(&c, &serial);
    chain_read(&c, &plain);
    chain_enqueue(&c, &ctx);
    chain_read(&c, &early);
    ck_assert_mem_eq(&early, &plain, sizeof plain);

    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA_OK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal));
    chain_enqueue(&c, &ctx);
    CUDA_OK(cudaStreamEndCapture(ctx.stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 2; i++) {
        CUDA_OK(cudaGraphLaunch(exec, ctx.stream));
        chain_read(&c, &replayed);
        ck_assert_mem_eq(&replayed, &plain, sizeof plain);
    }
    CUDA_OK(cudaGraphExecDestroy(exec));
    CUDA_OK(cudaGraphDestroy(graph));
    chain_close(&c);
}
END_TEST

START_TEST(test_no_rows_is_no_error)
{
    CUDA_OK(cuda_gather_rows(&ctx, NULL, NULL, NULL, 0, 4096));
    CUDA_OK(cuda_copy_blocks(&ctx, NULL, NULL, 0, 32, 100, 16384));
    CUDA_OK(cuda_softcap(&ctx, NULL, 0, 30));
    CUDA_OK(cudaDeviceSynchronize());
}
END_TEST

static Suite *
elementwise_suite(void)
{
    Suite *suite = suite_create("cuda elementwise");
    TCase *t = tcase_create("elementwise");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_embed_rows_are_table_rows_times_scale, 0,
                        NUM_MODEL_SIZES + 1);
    tcase_add_loop_test(t, test_gather_rows_copies_listed_rows, 0, NUM_MODEL_SIZES + 1);
    tcase_add_loop_test(t, test_norm_rows_match_reference, 0, ARRAY_SIZE(hidden_sizes));
    tcase_add_test(t, test_norm_zero_row_is_zero);
    tcase_add_test(t, test_norm_row_in_batch_has_bits_of_row_alone);
    tcase_add_loop_test(t, test_act_mul_rows_match_reference, 0, ARRAY_SIZE(intermediate_sizes));
    tcase_add_test(t, test_act_mul_edges_match_reference);
    tcase_add_test(t, test_softcap_any_length_matches_reference);
    tcase_add_loop_test(t, test_rope_kv_write_matches_reference, 0, ARRAY_SIZE(rope_shapes));
    tcase_add_loop_test(t, test_random_has_bits_of_cpu_backend, 0, 5);
    tcase_add_loop_test(t, test_copy_blocks_copies_all_layers, 0, 4);
    tcase_add_test(t, test_chain_with_programmatic_launch_and_in_a_graph_has_same_bits);
    tcase_add_test(t, test_no_rows_is_no_error);
    suite_add_tcase(suite, t);
    return suite;
}

TEST_MAIN(elementwise_suite)
