/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_attention_prefill against plain double loops, at the head geometries of
 * the models that llmd is made for and at the edges of what the kernel takes;
 * and the same bits for a row however its sequence was cut into chunks and tiles.
 * Cache slots that hold no key of the sequence so far are NaN, and pages of which
 * nothing is needed have no valid number.
 */
#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/ref_ops.h"
#include "tests/unit/main.h"
#include "util/base.h"

#include <math.h>
#include <string.h>

#define MAX_SEQS 8
#define MAX_KEYS 8192   /* that a row sees */
#define NO_PAGE 0x40000000

/* The rows of one sequence in a launch: positions [position, position + rows). */
struct part {
    int position, rows;
};

struct geometry {
    const char *name;
    struct attention_shape shape;
    float q_scale;   /* queries are in +-q_scale, keys and values in +-2 */
    float common;    /* first element of all queries and keys unless 0: makes scores
                        that are close together and far from 0 */
};

static const struct geometry models[] = {
    {"gemma-2-9b", {16, 8, 256, 1.0f / 16, 50, 0}, 16, 0},
    {"gemma-2-9b, window", {16, 8, 256, 1.0f / 16, 50, 90}, 16, 0},
    {"gemma-2-27b", {32, 16, 128, 1.0f / 12, 50, 0}, 16, 0},
    {"gemma-2-27b, window", {32, 16, 128, 1.0f / 12, 50, 70}, 16, 0},
    {"llama-8b", {32, 8, 128, 0.08838835f, 0, 0}, 2, 0},
    {"qwen-7b", {28, 4, 128, 0.08838835f, 0, 0}, 4, 0},
    {"qwen-14b", {40, 8, 128, 0.08838835f, 0, 0}, 2, 0},
    {"smollm2", {9, 3, 64, 0.125f, 0, 0}, 2, 0},
};

static const struct geometry edges[] = {
    {"no window on 256", {2, 2, 256, 1.0f / 16, 0, 0}, 2, 0},
    {"one kv head", {8, 1, 64, 0.125f, 0, 0}, 2, 0},
    {"a head each", {4, 4, 64, 0.125f, 0, 0}, 2, 0},
    {"a head each, 128", {2, 2, 128, 0.08838835f, 0, 33}, 2, 0},
    {"groups of 16", {16, 1, 128, 0.08838835f, 0, 0}, 2, 0},
    {"groups of 16 on 256", {16, 1, 256, 1.0f / 16, 30, 64}, 4, 0},
    {"window 1", {6, 2, 64, 0.125f, 0, 1}, 2, 0},
    {"window 16, soft cap 5", {6, 2, 64, 0.125f, 5, 16}, 8, 0},
    {"equal scores", {4, 2, 64, 0.125f, 0, 0}, 0, 0},
    {"scores around 288", {4, 2, 64, 0.125f, 0, 0}, 2, 48},
};

/* The real window of Gemma 2, and a long context without one. */
static const struct geometry longest[] = {
    {"window 4096 on 256", {2, 1, 256, 1.0f / 16, 50, 4096}, 16, 0},
    {"window 4096", {4, 2, 128, 1.0f / 12, 50, 4096}, 16, 0},
    {"no window", {4, 1, 128, 0.08838835f, 0, 0}, 2, 0},
};

/* What the tests share about some sequences: inputs by sequence and position. */
struct rig {
    struct attention_shape shape;
    int num_seqs, len[MAX_SEQS];
    float *q[MAX_SEQS], *k[MAX_SEQS], *v[MAX_SEQS];   /* owned; [len, heads, D] */
    int stride, num_pages;
};

/* Sets the first of D elements of all heads. */
static void
set_first(float *x, int64_t n, int D, float value)
{
    for (int64_t i = 0; i < n && value != 0; i += D)
        x[i] = value;
}

static struct rig
rig_open(const struct geometry *g, const int *lens, int num_seqs)
{
    struct rig rig = {.shape = g->shape, .num_seqs = num_seqs};
    const struct attention_shape *s = &g->shape;
    for (int i = 0; i < num_seqs; i++) {
        int64_t n = (int64_t)lens[i] * s->head_dim;
        uint64_t seed = 3 * (uint64_t)i;
        rig.len[i] = lens[i];
        rig.q[i] = random_bf16(seed, n * s->num_heads, g->q_scale);
        rig.k[i] = random_bf16(seed + 1, n * s->num_kv_heads, 2);
        rig.v[i] = random_bf16(seed + 2, n * s->num_kv_heads, 2);
        set_first(rig.q[i], n * s->num_heads, s->head_dim, g->common);
        set_first(rig.k[i], n * s->num_kv_heads, s->head_dim, g->common);
        rig.stride = MAX(rig.stride, CEIL_DIV(lens[i], CUDA_PAGE_TOKENS));
    }
    rig.num_pages = num_seqs * rig.stride;
    rig.num_pages += rig.num_pages % 37 == 0;   /* for page_of */
    return rig;
}

static void
rig_close(struct rig *rig)
{
    for (int i = 0; i < rig->num_seqs; i++) {
        free(rig->q[i]);
        free(rig->k[i]);
        free(rig->v[i]);
    }
}

/* No two pages of a sequence are neighbours. */
static int32_t
page_of(const struct rig *rig, int seq, int index)
{
    return (int32_t)((seq * rig->stride + index) * 37 % rig->num_pages);
}

/* Writes bf16 values of one sequence's tokens [0, len) to a NaN-filled half. */
static void
fill_half(const struct rig *rig, bf16_bits *half, int seq, int len, const float *rows)
{
    int K = rig->shape.num_kv_heads, D = rig->shape.head_dim;
    for (int p = 0; p < len; p++) {
        int64_t page = page_of(rig, seq, p / CUDA_PAGE_TOKENS);
        for (int h = 0; h < K; h++) {
            int64_t at = ((page * K + h) * CUDA_PAGE_TOKENS + p % CUDA_PAGE_TOKENS) * D;
            for (int d = 0; d < D; d++)
                ref_set(DTYPE_BF16, half, at + d, rows[((int64_t)p * K + h) * D + d]);
        }
    }
}

/* The cache once the parts' tokens are written: all later slots are NaN. */
static struct kv_layer
make_cache(const struct rig *rig, const struct part *parts)
{
    size_t bytes = (size_t)rig->num_pages * rig->shape.num_kv_heads * CUDA_PAGE_TOKENS *
                   rig->shape.head_dim * sizeof(bf16_bits);
    bf16_bits *k = malloc(bytes), *v = malloc(bytes);
    ck_assert(k != NULL && v != NULL);
    memset(k, 0xff, bytes);
    memset(v, 0xff, bytes);
    for (int i = 0; i < rig->num_seqs; i++) {
        fill_half(rig, k, i, parts[i].position + parts[i].rows, rig->k[i]);
        fill_half(rig, v, i, parts[i].position + parts[i].rows, rig->v[i]);
    }
    struct kv_layer kv = {device_copy(k, bytes), device_copy(v, bytes)};
    free(k);
    free(v);
    return kv;
}

/* Queries of the parts, in order; what the kernel must not read is NaN. */
static bf16_bits *
make_qkv(const struct rig *rig, const struct part *parts, int num_rows)
{
    int heads = rig->shape.num_heads + 2 * rig->shape.num_kv_heads, D = rig->shape.head_dim;
    int64_t row = 0, q_width = (int64_t)rig->shape.num_heads * D, width = (int64_t)heads * D;
    size_t bytes = (size_t)(num_rows * width) * sizeof(bf16_bits);
    bf16_bits *qkv = malloc(bytes);
    ck_assert_ptr_nonnull(qkv);
    memset(qkv, 0xff, bytes);
    for (int i = 0; i < rig->num_seqs; i++) {
        for (int r = 0; r < parts[i].rows; r++, row++) {
            const float *q = rig->q[i] + (parts[i].position + r) * q_width;
            for (int64_t j = 0; j < q_width; j++)
                ref_set(DTYPE_BF16, qkv, row * width + j, q[j]);
        }
    }
    bf16_bits *p = device_copy(qkv, bytes);
    free(qkv);
    return p;
}

/* Page numbers; those of pages that no row of the parts sees are invalid. */
static const int32_t *
make_tables(const struct rig *rig, const struct part *parts)
{
    size_t bytes = (size_t)(rig->num_seqs * rig->stride) * sizeof(int32_t);
    int32_t *tables = malloc(bytes);
    ck_assert_ptr_nonnull(tables);
    for (int i = 0; i < rig->num_seqs; i++) {
        int window = rig->shape.window, end = parts[i].position + parts[i].rows;
        int first = window > 0 ? MAX(0, parts[i].position - window + 1) : 0;
        for (int j = 0; j < rig->stride; j++) {
            bool seen = parts[i].rows > 0 && j * CUDA_PAGE_TOKENS < end &&
                        (j + 1) * CUDA_PAGE_TOKENS > first;
            tables[i * rig->stride + j] = seen ? page_of(rig, i, j) : NO_PAGE;
        }
    }
    const int32_t *p = device_copy(tables, bytes);
    free(tables);
    return p;
}

static struct step_ints
make_ints(const struct rig *rig, const struct part *parts, int tile_rows, int *ret_num_tiles)
{
    struct prefill_tile tiles[512];
    int n = 0, row = 0;
    for (int i = 0; i < rig->num_seqs; i++) {
        for (int r = 0; r < parts[i].rows; r += tile_rows) {
            ck_assert_int_lt(n, (int)ARRAY_SIZE(tiles));
            tiles[n++] = (struct prefill_tile){
                .row = row + r,
                .num_rows = MIN(tile_rows, parts[i].rows - r),
                .seq = i,
                .position = parts[i].position + r,
            };
        }
        row += parts[i].rows;
    }
    int32_t header[STEP_HEADER_INTS] = {
        [STEP_TABLE_STRIDE] = rig->stride,
    };
    *ret_num_tiles = n;
    return (struct step_ints){
        .header = device_copy(header, sizeof header),
        .block_tables = make_tables(rig, parts),
        .prefill_tiles = device_copy(tiles, (size_t)n * sizeof tiles[0]),
    };
}

/* Records what is enqueued from here on. */
static void
record_begin(const struct cuda_ctx *ctx)
{
    CUDA_OK(cudaStreamBeginCapture(ctx->stream, cudaStreamCaptureModeGlobal));
}

/* Runs the recording. */
static void
record_end(const struct cuda_ctx *ctx)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA_OK(cudaStreamEndCapture(ctx->stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    CUDA_OK(cudaGraphLaunch(exec, ctx->stream));
    CUDA_OK(cudaStreamSynchronize(ctx->stream));
    CUDA_OK(cudaGraphExecDestroy(exec));
    CUDA_OK(cudaGraphDestroy(graph));
}

/* One launch over parts[num_seqs] of the sequences, in tiles of tile_rows. Returns
 * the rows' outputs, [rows, num_heads, D]. */
static float *
run(const struct rig *rig, const struct part *parts, int tile_rows, bool recorded)
{
    int num_rows = 0, num_tiles;
    for (int i = 0; i < rig->num_seqs; i++)
        num_rows += parts[i].rows;
    int64_t n = (int64_t)num_rows * rig->shape.num_heads * rig->shape.head_dim;
    struct cuda_ctx ctx = ctx_open();
    struct kv_layer kv = make_cache(rig, parts);
    bf16_bits *qkv = make_qkv(rig, parts, num_rows);
    bf16_bits *out = device_new((size_t)n * sizeof *out);
    struct step_ints ints = make_ints(rig, parts, tile_rows, &num_tiles);
    if (recorded)
        record_begin(&ctx);
    CUDA_OK(cuda_attention_prefill(&ctx, out, qkv, &kv, &ints, num_tiles, &rig->shape));
    if (recorded)
        record_end(&ctx);
    float *got = device_read_bf16(out, n);
    device_free(ints.header);
    device_free(ints.block_tables);
    device_free(ints.prefill_tiles);
    device_free(out);
    device_free(qkv);
    device_free(kv.k);
    device_free(kv.v);
    ctx_close(&ctx);
    return got;
}

static double
dot(const float *x, const float *y, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/*
 * One row of one head, in doubles. ret_noise: the root of the sum of (p v)^2, which
 * is what independent errors of the products p v, relative to each, add up to.
 */
static void
attend(const struct rig *rig, int seq, int position, int head, double *ret, double *ret_noise)
{
    const struct attention_shape *s = &rig->shape;
    int D = s->head_dim, K = s->num_kv_heads, kv_head = head / (s->num_heads / K);
    int first = s->window > 0 ? MAX(0, position - s->window + 1) : 0;
    const float *q = rig->q[seq] + ((int64_t)position * s->num_heads + head) * D;
    double p[MAX_KEYS], max = -INFINITY, sum = 0;
    ck_assert_int_lt(position - first, (int)ARRAY_SIZE(p));
    for (int key = first; key <= position; key++) {
        double x = dot(q, rig->k[seq] + ((int64_t)key * K + kv_head) * D, D) * (double)s->scale;
        if (s->softcap > 0)
            x = (double)s->softcap * tanh(x / (double)s->softcap);
        p[key - first] = x;
        max = MAX(max, x);
    }
    for (int i = 0; i <= position - first; i++)
        sum += p[i] = exp(p[i] - max);
    memset(ret, 0, (size_t)D * sizeof *ret);
    memset(ret_noise, 0, (size_t)D * sizeof *ret_noise);
    for (int key = first; key <= position; key++) {
        const float *v = rig->v[seq] + ((int64_t)key * K + kv_head) * D;
        double weight = p[key - first] / sum;
        for (int d = 0; d < D; d++) {
            double x = weight * (double)v[d];
            ret[d] += x;
            ret_noise[d] += x * x;
        }
    }
    for (int d = 0; d < D; d++)
        ret_noise[d] = sqrt(ret_noise[d]);
}

/*
 * Errors: the result and each weight are rounded to bf16, at most 2^-8 relatively,
 * the weights' independently: their sum stays below 4 times the noise (of up to
 * 16 keys always, beyond by 7 deviations). Scores in f32 add 1e-4 at most, with
 * soft caps around 50.
 */
static void
assert_attention(const char *name, const struct rig *rig, const struct part *parts,
                 const float *got)
{
    int D = rig->shape.head_dim;
    double want[256], noise[256];
    for (int i = 0; i < rig->num_seqs; i++) {
        for (int r = 0; r < parts[i].rows; r++) {
            for (int h = 0; h < rig->shape.num_heads; h++, got += D) {
                attend(rig, i, parts[i].position + r, h, want, noise);
                for (int d = 0; d < D; d++) {
                    double off = fabs((double)got[d] - want[d]);
                    if (off <= (fabs(want[d]) + 4 * noise[d]) * 0x1p-8 + 1e-4)
                        continue;
                    ck_abort_msg("%s: sequence %d, position %d, head %d, element %d is %.6g, not "
                                 "%.6g (noise %.3g)", name, i, parts[i].position + r, h, d,
                                 (double)got[d], want[d], noise[d]);
                }
            }
        }
    }
}

static void
check_parts(const struct geometry *g, const struct part *parts, int num_seqs, bool recorded)
{
    int tile_rows = cuda_prefill_tile_rows(&g->shape);
    int lens[MAX_SEQS];
    for (int i = 0; i < num_seqs; i++)
        lens[i] = parts[i].position + parts[i].rows;
    struct rig rig = rig_open(g, lens, num_seqs);
    float *got = run(&rig, parts, tile_rows, recorded);
    assert_attention(g->name, &rig, parts, got);
    free(got);
    rig_close(&rig);
}

START_TEST(test_prefill_models_match_reference)
{
    static const struct part parts[] = {{0, 70}, {1, 13}, {15, 1},  {16, 33},
                                        {63, 2}, {100, 40}, {1000, 3}};
    const struct geometry *g = &models[_i];
    check_parts(g, parts, ARRAY_SIZE(parts), false);
}
END_TEST

START_TEST(test_prefill_edges_match_reference)
{
    static const struct part parts[] = {{0, 1}, {0, 17}, {31, 130}, {64, 64}, {127, 2}};
    const struct geometry *g = &edges[_i];
    check_parts(g, parts, ARRAY_SIZE(parts), false);
}
END_TEST

START_TEST(test_prefill_long_contexts_match_reference)
{
    static const struct part parts[] = {{4090, 20}, {7000, 3}};
    check_parts(&longest[_i], parts, ARRAY_SIZE(parts), false);
}
END_TEST

START_TEST(test_prefill_recorded_matches_reference)
{
    static const struct part parts[] = {{0, 20}, {33, 40}};
    check_parts(&edges[_i], parts, ARRAY_SIZE(parts), true);
}
END_TEST

/* The last rows of a tile see no key of its first key tiles. */
START_TEST(test_prefill_window_smaller_than_a_tile_of_queries)
{
    static const struct part parts[] = {{0, 128}, {200, 128}, {77, 100}};
    for (int window = 1; window < 128; window = 3 * window + 1) {
        struct geometry g = {"window", {1, 1, 64, 0.125f, 0, window}, 2, 0};
        check_parts(&g, parts, ARRAY_SIZE(parts), false);
    }
}
END_TEST

START_TEST(test_prefill_tile_rows_fill_the_block)
{
    static const struct {
        int num_heads, num_kv_heads, head_dim, rows;
    } cases[] = {
        {16, 8, 256, 32}, {32, 16, 128, 64}, {32, 8, 128, 32}, {28, 4, 128, 18},
        {40, 8, 128, 25}, {9, 3, 64, 42},    {4, 4, 64, 128},  {16, 1, 256, 4},
        {17, 1, 64, PREFILL_TILE_ROWS},      {4, 4, 80, PREFILL_TILE_ROWS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct attention_shape s = {.num_heads = cases[i].num_heads,
                                    .num_kv_heads = cases[i].num_kv_heads,
                                    .head_dim = cases[i].head_dim};
        ck_assert_int_eq(cuda_prefill_tile_rows(&s), cases[i].rows);
    }
}
END_TEST

/* A sequence prefilled in chunks, each cut into tiles: [len, num_heads, D]. */
static float *
run_chunks(const struct rig *rig, int chunk, int tile_rows)
{
    int len = rig->len[0];
    size_t width = (size_t)rig->shape.num_heads * rig->shape.head_dim;
    float *all = malloc((size_t)len * width * sizeof *all);
    ck_assert_ptr_nonnull(all);
    for (int at = 0; at < len; at += chunk) {
        struct part part = {at, MIN(chunk, len - at)};
        float *rows = run(rig, &part, tile_rows, false);
        memcpy(all + (size_t)at * width, rows, (size_t)part.rows * width * sizeof *all);
        free(rows);
    }
    return all;
}

static const struct geometry chunked[] = {
    {"256", {2, 1, 256, 1.0f / 16, 50, 37}, 8, 0},
    {"128", {4, 1, 128, 0.08838835f, 0, 0}, 2, 0},
    {"128, window", {7, 1, 128, 0.08838835f, 30, 50}, 4, 0},
    {"64", {3, 1, 64, 0.125f, 0, 0}, 2, 0},
    {"64, window", {5, 1, 64, 0.125f, 0, 66}, 2, 0},
    {"scores around 288", {4, 1, 64, 0.125f, 0, 0}, 2, 48},
    {"scores around 288, window", {4, 1, 128, 0.125f, 0, 40}, 2, 48},
};

START_TEST(test_prefill_any_cut_gives_the_same_bits)
{
    const struct geometry *g = &chunked[_i];
    int len = 149, rows = cuda_prefill_tile_rows(&g->shape);
    static const struct {
        int chunk, tile_rows;
    } cuts[] = {{1, 1}, {13, 13}, {64, 64}, {64, 5}, {149, 11}};
    struct rig rig = rig_open(g, &len, 1);
    float *whole = run_chunks(&rig, len, rows);
    size_t width = (size_t)g->shape.num_heads * g->shape.head_dim;
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        float *got = run_chunks(&rig, cuts[i].chunk, MIN(cuts[i].tile_rows, rows));
        for (int p = 0; p < len; p++)
            ck_assert_msg(memcmp(got + p * width, whole + p * width, width * sizeof *got) == 0,
                          "%s: chunks of %d in tiles of %d: position %d has other bits", g->name,
                          cuts[i].chunk, cuts[i].tile_rows, p);
        free(got);
    }
    free(whole);
    rig_close(&rig);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("cuda attention prefill");
    TCase *t = tcase_create("prefill");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, test_prefill_tile_rows_fill_the_block);
    tcase_add_loop_test(t, test_prefill_models_match_reference, 0, ARRAY_SIZE(models));
    tcase_add_loop_test(t, test_prefill_edges_match_reference, 0, ARRAY_SIZE(edges));
    tcase_add_loop_test(t, test_prefill_long_contexts_match_reference, 0,
                         ARRAY_SIZE(longest));
    tcase_add_loop_test(t, test_prefill_recorded_matches_reference, 0, ARRAY_SIZE(edges));
    tcase_add_test(t, test_prefill_window_smaller_than_a_tile_of_queries);
    tcase_add_loop_test(t, test_prefill_any_cut_gives_the_same_bits, 0, ARRAY_SIZE(chunked));
    suite_add_tcase(suite, t);
    return suite;
}

TEST_MAIN(make_suite)
