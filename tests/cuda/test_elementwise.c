/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of elementwise.cu and norm.cu against the reference's doubles, at
 * the row lengths of the target models: what is copied has the same bits, what is
 * computed is rounded once.
 */
#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/ref_ops.h"
#include "tests/ops/tol.h"
#include "tests/unit/main.h"

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

static struct weight
ref_weight(const float *data, int64_t rows, int64_t cols)
{
    struct weight w;
    struct host_tensor part = {.data = data, .dtype = DTYPE_F32, .rows = rows, .cols = cols};
    ck_assert_int_eq(ref_ops.weight_load(ref, &part, 1, WEIGHT_EMBEDDING, true, &w, NULL), 0);
    return w;
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
    int32_t *ids = host_new((size_t)T * sizeof *ids), last_tokens[DRAWN] = {7, 39, 0, 2, 21};
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
    float *want = host_new((size_t)T * hidden_size * sizeof *want);
    struct buffer want_buffer = host_buffer(want, (int64_t)T * hidden_size);
    struct step_shape shape;
    ck_assert_int_eq(ref_ops.step_begin(ref, &given, &shape), 0);
    ref_ops.embed(ref, &want_buffer, &w, scale == 1 ? 1 : ref_round(DTYPE_BF16, scale));
    assert_device_bits("embed", out, want, (int64_t)T * hidden_size);
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
    float *want = host_new((size_t)LISTED * H * sizeof *want);
    struct buffer want_buffer = host_buffer(want, (int64_t)LISTED * H);
    struct buffer x_buffer = host_buffer(x, (int64_t)ROWS * H);
    ref_ops.gather_rows(ref, &want_buffer, &x_buffer, ids, LISTED, H);
    assert_device_bits("gather_rows", out, want, (int64_t)LISTED * H);
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
        assert_device_bits(what, device_residual, x, n);
    }
    struct weight weight = ref_weight(w, 1, c->hidden_size);
    struct buffer x_buffer = host_buffer(x, n);
    ref_ops.rmsnorm(ref, &x_buffer, &x_buffer, &weight, c->rows, c->eps, c->offset);
    assert_device_rounded(what, out, x, n, SLACK_NORM, 0);
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
    float *want = host_new((size_t)n * sizeof *want);
    struct buffer want_buffer = host_buffer(want, n), in_buffer = host_buffer(gate_up, 2 * n);
    ref_ops.act_mul(ref, &want_buffer, &in_buffer, rows, intermediate_size,
                    gelu_tanh ? ACT_GELU_TANH : ACT_SILU);
    /* the reference's 1 + tanh cancels in gelu's tail */
    assert_device_rounded(what, out, want, n, SLACK_ACT, gelu_tanh ? 1e-13 : 1e-36);
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
    float *got = host_new((size_t)n * sizeof *got);
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
    suite_add_tcase(suite, t);
    return suite;
}

TEST_MAIN(elementwise_suite)
