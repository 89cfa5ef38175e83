/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of rope.cu, random.cu and copy.cu, and all of the memory-bound
 * kernels one behind the other: what is copied has the same bits, what is
 * rotated is the reference's double rounded once.
 */
#include "kernels/backend.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/ref_ops.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

/* What f32 adds to a rotation: in spacings of bf16, and where it cancels. */
#define SLACK_ROPE 0.001
#define CANCELLED 1e-6

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
    float inv_freq[128], *table = host_new((size_t)MAX_POSITION * head_dim * sizeof *table);
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
    struct step_shape shape;
    ck_assert_int_eq(ref_ops.step_begin(ref, b, &shape), 0);
    ref_ops.rope_kv_write(ref, &want, &args);
    place_rows(k, v, qkv, b, s);
    float *got = device_read_bf16(device_qkv, n);
    for (int t = 0; t < b->num_tokens; t++)
        assert_rounded("rotated q", got + (size_t)t * width, qkv + (size_t)t * width, q_width,
                       SLACK_ROPE, CANCELLED);
    assert_device_rounded("keys in the cache", kv.k, k, cache_n, SLACK_ROPE, CANCELLED);
    assert_device_bits("values in the cache", kv.v, v, cache_n);
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
    int32_t *ids = host_new((size_t)rows * sizeof *ids);
    for (int i = 0; i < rows; i++)
        ids[i] = i;
    f.batch.token_ids = ids;
    struct step_shape shape;
    ck_assert_int_eq(cpu_ops.step_begin(cpu, &f.batch, &shape), 0);
    cpu_ops.embed(cpu, &out, &w, 1);
    ck_assert_int_eq(cpu_ops.step_end(cpu), 0);
    float *x = host_new(bytes);
    ck_assert_int_eq(cpu_ops.download(cpu, x, &out, 0, bytes), 0);
    cpu_ops.buffer_free(cpu, &out);
    cpu_ops.device_close(cpu);
    batch_close(&f);
    free(ids);
    return x;
}

static const int random_shapes[][2] = {{1, 1}, {1, 7}, {3, 8}, {5, 409}, {49, 576}};

START_TEST(test_random_has_bits_of_cpu_backend)
{
    int64_t rows = random_shapes[_i][0], cols = random_shapes[_i][1], n = rows * cols;
    uint64_t seed = 0x123456789abcdef0u + (uint64_t)_i;
    float scale = 0.0371f;
    bf16_bits *narrow = device_new((size_t)n * sizeof *narrow);
    float *wide = device_new((size_t)n * sizeof *wide), *got = host_new((size_t)n * sizeof *got);
    CUDA_OK(cuda_random(&ctx, narrow, n, scale, rng_mix64(seed), 0));
    CUDA_OK(cuda_random(&ctx, wide, n, scale, rng_mix64(seed), 1));
    float *want = cpu_random(rows, cols, DTYPE_BF16, scale, seed);
    assert_device_bits("random bf16", narrow, want, n);
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

/* Llama's, Gemma 9B's, SmolLM2's and the smallest */
static const int block_elements[] = {8 * 16 * 128, 8 * 16 * 256, 3 * 16 * 64, 16 * 8};

START_TEST(test_copy_blocks_copies_all_layers)
{
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
    assert_device_bits("copy_blocks", device, cache, n);
    device_free(device);
    device_free(device_pairs);
    free(cache);
}
END_TEST

/* ---- one behind the other --------------------------------------------------- */

#define CHAIN_ROWS 8       /* for five tokens */
#define CHAIN_CACHE (2 * 4 * 16 * 4 * 16)   /* four pages of keys, then four of values */
#define CHAIN_HIDDEN 192   /* as wide as qkv of its shape: 4 + 2 * 4 heads of 16 */
static const struct attention_shape chain_shape = {
    .num_heads = 4, .num_kv_heads = 4, .head_dim = 16,
};

/* Every op on what the kernel right before it wrote: nothing waits but they. */
struct chain {
    struct step_fixture step;
    struct kv_layer kv;
    bf16_bits *table, *x, *residual, *normed, *qkv, *gathered;
    float *w, *logits, *rope;
    int32_t *pairs;
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
    CUDA_OK(cuda_gather_rows(on, c->gathered, c->normed, c->step.row_ids, 2, H / 2));
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
        .table = device_new(100 * H * sizeof(bf16_bits)),
        .x = device_new(T * H * sizeof(bf16_bits)),
        .residual = device_new(T * H * sizeof(bf16_bits)),
        .qkv = device_new(T * H * sizeof(bf16_bits)),
        .normed = device_new(T * H / 2 * sizeof(bf16_bits)),
        .w = device_copy(w, H * sizeof *w),
        .rope = rope_table(chain_shape.head_dim),
        .pairs = device_copy(pair, sizeof pair),
        .kv = {.k = device_bf16(zeros, CACHE)},
        .logits = device_new(H / 2 * sizeof(float)),
    };
    c.kv.v = c.kv.k + CACHE / 2;
    /* two bf16 as one float: a number like any other */
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
rope_suite(void)
{
    Suite *suite = suite_create("cuda rope");
    TCase *t = tcase_create("rope");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_rope_kv_write_matches_reference, 0, ARRAY_SIZE(rope_shapes));
    tcase_add_loop_test(t, test_random_has_bits_of_cpu_backend, 0, ARRAY_SIZE(random_shapes));
    tcase_add_loop_test(t, test_copy_blocks_copies_all_layers, 0, ARRAY_SIZE(block_elements));
    tcase_add_test(t, test_chain_with_programmatic_launch_and_in_a_graph_has_same_bits);
    tcase_add_test(t, test_no_rows_is_no_error);
    suite_add_tcase(suite, t);
    return suite;
}

TEST_MAIN(rope_suite)
