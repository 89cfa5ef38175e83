/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every op of the CPU backend, in each instruction set that this processor
 * has, against the reference; and its promise that an element's bits depend on
 * nothing beside it. This file: gemm and elementwise ops, and main.
 */
#include "tests/ops/fixture.h"

#include "kernels/cpu/layout.h"

#include <math.h>
#include <string.h>

/* N, K: SmolLM2's, the target models' scaled down, and awkward ones. */
static const int gemm_shapes[][2] = {
    {960, 576}, {576, 1536}, {512, 448}, {144, 1184}, {100, 37}, {33, 577}, {17, 1}, {7, 16},
    {49, 1301},
};
static const int gemm_rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 13, 18, 32, 50, 97};
static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};

static void
check_gemm(const char *isa, int N, int K, enum dtype dtype, bool with_bias)
{
    struct rig cpu, ref;
    if (!rig_open(&cpu, isa, 2))
        return;
    rig_open(&ref, "reference", 1);
    void *w = random_stored(1, (int64_t)N * K, 1, dtype);
    void *bias = random_stored(2, N, 1, dtype);
    struct weight cpu_w = rig_weight(&cpu, w, dtype, N, K, WEIGHT_MATRIX);
    struct weight ref_w = rig_weight(&ref, w, dtype, N, K, WEIGHT_MATRIX);
    struct weight cpu_b = rig_weight(&cpu, bias, dtype, 1, N, WEIGHT_VECTOR);
    struct weight ref_b = rig_weight(&ref, bias, dtype, 1, N, WEIGHT_VECTOR);
    int most = N * K > 100000 ? 32 : 97;
    float *x = random_floats(3, (int64_t)most * K, 1);
    struct buffer ref_x = rig_buffer(&ref, x, (int64_t)most * K);
    struct buffer ref_out = rig_buffer(&ref, NULL, (int64_t)most * N);
    ref.ops->gemm(ref.dev, &ref_out, &ref_x, &ref_w, with_bias ? &ref_b : NULL, most);
    float *got = malloc((size_t)most * N * sizeof *got);
    ck_assert_ptr_nonnull(got);
    struct buffer cpu_x = rig_buffer(&cpu, x, (int64_t)most * K);
    struct buffer cpu_out = rig_buffer(&cpu, NULL, (int64_t)most * N);
    for (size_t i = 0; i < ARRAY_SIZE(gemm_rows) && gemm_rows[i] <= most; i++) {
        char what[96];
        snprintf(what, sizeof what, "%s gemm type %d N %d K %d rows %d", isa, dtype, N, K,
                 gemm_rows[i]);
        cpu.ops->gemm(cpu.dev, &cpu_out, &cpu_x, &cpu_w, with_bias ? &cpu_b : NULL, gemm_rows[i]);
        rig_read(&cpu, &cpu_out, got, (int64_t)gemm_rows[i] * N);
        assert_close(what, got, ref_out.data, (int64_t)gemm_rows[i] * N,
                     (struct tol){TOL_GEMM_PER_K * K + 1e-7, 2e-7});
    }
    cpu.ops->buffer_free(cpu.dev, &cpu_x);
    cpu.ops->buffer_free(cpu.dev, &cpu_out);
    ref.ops->buffer_free(ref.dev, &ref_x);
    ref.ops->buffer_free(ref.dev, &ref_out);
    free(got);
    free(x);
    free(w);
    free(bias);
    rig_close(&cpu);
    rig_close(&ref);
}

START_TEST(test_gemm_any_shape_matches_reference)
{
    for (size_t s = 0; s < ARRAY_SIZE(gemm_shapes); s++) {
        for (size_t t = 0; t < ARRAY_SIZE(dtypes); t++)
            check_gemm(isa_names[_i], gemm_shapes[s][0], gemm_shapes[s][1], dtypes[t], s % 2 == 1);
    }
}
END_TEST

/* A row's bits: alone, in any batch, on 1 to 3 threads. */
START_TEST(test_gemm_row_in_batch_has_bits_of_row_alone)
{
    enum { N = 88, K = 1400, MOST = 70 };
    float *x = random_floats(5, MOST * K, 1), *alone = malloc(MOST * N * sizeof *alone);
    float *batch = malloc(MOST * N * sizeof *batch);
    for (int t = 0; t < 3; t++) {
        void *w = random_stored(4, N * K, 1, dtypes[t]);
        for (int threads = 1; threads <= 3; threads++) {
            struct rig cpu;
            if (!rig_open(&cpu, isa_names[_i], threads))
                break;
            struct weight weight = rig_weight(&cpu, w, dtypes[t], N, K, WEIGHT_MATRIX);
            struct buffer in = rig_buffer(&cpu, x, MOST * K);
            struct buffer out = rig_buffer(&cpu, NULL, MOST * N);
            for (int r = 0; threads == 1 && r < MOST; r++) {
                struct buffer row = rig_buffer(&cpu, x + r * K, K);
                cpu.ops->gemm(cpu.dev, &out, &row, &weight, NULL, 1);
                rig_read(&cpu, &out, alone + r * N, N);
                cpu.ops->buffer_free(cpu.dev, &row);
            }
            for (int rows = 1; rows <= MOST; rows++) {
                cpu.ops->gemm(cpu.dev, &out, &in, &weight, NULL, rows);
                rig_read(&cpu, &out, batch, rows * N);
                assert_same_bits("gemm in a batch", batch, alone, rows * N);
            }
            cpu.ops->buffer_free(cpu.dev, &in);
            cpu.ops->buffer_free(cpu.dev, &out);
            rig_close(&cpu);
        }
        free(w);
    }
    free(x);
    free(alone);
    free(batch);
}
END_TEST

START_TEST(test_weight_load_parts_are_stacked)
{
    struct rig cpu, ref;
    if (!rig_open(&cpu, isa_names[_i], 2))
        return;
    rig_open(&ref, "reference", 1);
    enum { K = 40, A = 21, B = 5, C = 30 };
    /* unaligned, of two types */
    char *raw = malloc(A * K * 2 + 1), *a = raw + 1;
    void *aligned = random_stored(1, A * K, 1, DTYPE_F16);
    memcpy(a, aligned, A * K * 2);
    void *b = random_stored(2, B * K, 1, DTYPE_BF16), *c = random_stored(3, C * K, 1, DTYPE_BF16);
    struct host_tensor parts[] = {
        {a, DTYPE_F16, A, K},
        {b, DTYPE_BF16, B, K},
        {c, DTYPE_BF16, C, K},
    };
    float *x = random_floats(4, 3 * K, 1), got[3 * (A + B + C)], want[3 * (A + B + C)];
    struct buffer cpu_x = rig_buffer(&cpu, x, 3 * K), ref_x = rig_buffer(&ref, x, 3 * K);
    struct buffer cpu_out = rig_buffer(&cpu, NULL, ARRAY_SIZE(got));
    struct buffer ref_out = rig_buffer(&ref, NULL, ARRAY_SIZE(got));
    for (int mode = 0; mode < 3; mode++) {   /* mixed; alike; alike and widened */
        int first = mode == 0 ? 0 : 1;
        struct weight cw, rw;
        ck_assert_int_eq(cpu.ops->weight_load(cpu.dev, parts + first, 3 - first, WEIGHT_MATRIX,
                                              mode == 2, &cw, NULL), 0);
        ck_assert_int_eq(ref.ops->weight_load(ref.dev, parts + first, 3 - first, WEIGHT_MATRIX,
                                              mode == 2, &rw, NULL), 0);
        ck_assert_int_eq(cw.dtype, mode == 1 ? DTYPE_BF16 : DTYPE_F32);
        ck_assert_int_eq(cw.rows, rw.rows);
        cpu.ops->gemm(cpu.dev, &cpu_out, &cpu_x, &cw, NULL, 3);
        ref.ops->gemm(ref.dev, &ref_out, &ref_x, &rw, NULL, 3);
        rig_read(&cpu, &cpu_out, got, 3 * cw.rows);
        rig_read(&ref, &ref_out, want, 3 * cw.rows);
        assert_close("stacked", got, want, 3 * cw.rows, (struct tol){TOL_GEMM_PER_K * K, 2e-7});
    }
    parts[1].cols--;
    struct weight w;
    ck_assert_int_eq(cpu.ops->weight_load(cpu.dev, parts, 3, WEIGHT_MATRIX, false, &w, NULL),
                     ERR_INVALID);
    cpu.ops->buffer_free(cpu.dev, &cpu_x);
    cpu.ops->buffer_free(cpu.dev, &cpu_out);
    ref.ops->buffer_free(ref.dev, &ref_x);
    ref.ops->buffer_free(ref.dev, &ref_out);
    free(raw);
    free(aligned);
    free(b);
    free(c);
    free(x);
    rig_close(&cpu);
    rig_close(&ref);
}
END_TEST

/* The tied table: rows come out exactly as stored, and it multiplies. */
START_TEST(test_embed_tied_table_gathers_exactly)
{
    enum { V = 100, H = 72, T = 9 };
    int32_t ids[T] = {0, 99, 15, 16, 17, 50, 96, 1, 0}, zeros[T] = {0};
    int32_t cu[] = {0, T}, len[] = {T}, table[] = {0};
    struct batch batch = {.num_tokens = T, .num_seqs = 1, .max_blocks_per_seq = 1,
                          .token_ids = ids, .positions = zeros, .slot_mapping = zeros,
                          .cu_seqlens_q = cu, .seq_lens = len, .block_tables = table};
    for (int t = 0; t < 3; t++) {
        struct rig cpu, ref;
        if (!rig_open(&cpu, isa_names[_i], 2))
            return;
        rig_open(&ref, "reference", 1);
        void *data = random_stored(7, V * H, 1, dtypes[t]);
        struct weight cw = rig_weight(&cpu, data, dtypes[t], V, H, WEIGHT_EMBEDDING);
        struct weight rw = rig_weight(&ref, data, dtypes[t], V, H, WEIGHT_EMBEDDING);
        struct buffer co = rig_buffer(&cpu, NULL, T * H), ro = rig_buffer(&ref, NULL, T * H);
        struct buffer cl = rig_buffer(&cpu, NULL, T * V), rl = rig_buffer(&ref, NULL, T * V);
        ck_assert_int_eq(rig_step_begin(&cpu, &batch), 0);
        rig_step_begin(&ref, &batch);
        cpu.ops->embed(cpu.dev, &co, &cw, 1.0f);
        ref.ops->embed(ref.dev, &ro, &rw, 1.0f);
        assert_same_bits("embed", co.data, ro.data, T * H);
        cpu.ops->gemm_logits(cpu.dev, &cl, &co, &cw, T);
        ref.ops->gemm_logits(ref.dev, &rl, &ro, &rw, T);
        assert_close("tied head", cl.data, rl.data, T * V, (struct tol){TOL_GEMM_PER_K * H, 2e-7});
        cpu.ops->embed(cpu.dev, &co, &cw, 59.867f);
        ref.ops->embed(ref.dev, &ro, &rw, 59.867f);
        assert_close("scaled", co.data, ro.data, T * H, TOL_EXACT);
        ck_assert_int_eq(rig_step_end(&cpu), 0);
        cpu.ops->buffer_free(cpu.dev, &co);
        cpu.ops->buffer_free(cpu.dev, &cl);
        ref.ops->buffer_free(ref.dev, &ro);
        ref.ops->buffer_free(ref.dev, &rl);
        free(data);
        rig_close(&cpu);
        rig_close(&ref);
    }
}
END_TEST

static void
check_norm(const char *isa, int H, int rows, float offset)
{
    struct rig cpu, ref;
    if (!rig_open(&cpu, isa, 2))
        return;
    rig_open(&ref, "reference", 1);
    int64_t n = (int64_t)rows * H;
    float *x = random_floats(1, n, 3), *res = random_floats(2, n, 30);
    void *w = random_stored(3, H, 2, DTYPE_BF16);
    struct weight cw = rig_weight(&cpu, w, DTYPE_BF16, 1, H, WEIGHT_VECTOR);
    struct weight rw = rig_weight(&ref, w, DTYPE_BF16, 1, H, WEIGHT_VECTOR);
    struct buffer cx = rig_buffer(&cpu, x, n), rx = rig_buffer(&ref, x, n);
    struct buffer cr = rig_buffer(&cpu, res, n), rr = rig_buffer(&ref, res, n);
    struct buffer co = rig_buffer(&cpu, NULL, n), ro = rig_buffer(&ref, NULL, n);
    cpu.ops->rmsnorm(cpu.dev, &co, &cx, &cw, rows, 1e-5f, offset);
    ref.ops->rmsnorm(ref.dev, &ro, &rx, &rw, rows, 1e-5f, offset);
    assert_close("rmsnorm", co.data, ro.data, n, TOL_ELEMENTWISE);
    /* out may be x */
    cpu.ops->add_rmsnorm(cpu.dev, &cx, &cr, &cx, &cw, rows, 1e-6f, offset);
    ref.ops->add_rmsnorm(ref.dev, &rx, &rr, &rx, &rw, rows, 1e-6f, offset);
    assert_same_bits("residual", cr.data, rr.data, n);
    assert_close("add_rmsnorm", cx.data, rx.data, n, TOL_ELEMENTWISE);
    struct buffer *all[] = {&cx, &cr, &co}, *all_ref[] = {&rx, &rr, &ro};
    for (int i = 0; i < 3; i++) {
        cpu.ops->buffer_free(cpu.dev, all[i]);
        ref.ops->buffer_free(ref.dev, all_ref[i]);
    }
    free(x);
    free(res);
    free(w);
    rig_close(&cpu);
    rig_close(&ref);
}

START_TEST(test_rmsnorm_matches_reference)
{
    check_norm(isa_names[_i], 576, 1, 0);
    check_norm(isa_names[_i], 576, 37, 0);
    check_norm(isa_names[_i], 3584, 5, 1);
    check_norm(isa_names[_i], 37, 3, 1);
    check_norm(isa_names[_i], 5, 200, 0);
}
END_TEST

START_TEST(test_act_mul_and_softcap_match_reference)
{
    struct rig cpu, ref;
    if (!rig_open(&cpu, isa_names[_i], 2))
        return;
    rig_open(&ref, "reference", 1);
    static const int widths[] = {1536, 37, 8, 1, 4100};
    for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
        int I = widths[i], rows = 5;
        float *x = random_floats(i, rows * 2 * I, i == 0 ? 30.0f : 4.0f);
        struct buffer cx = rig_buffer(&cpu, x, rows * 2 * I);
        struct buffer rx = rig_buffer(&ref, x, rows * 2 * I);
        struct buffer co = rig_buffer(&cpu, NULL, rows * I), ro = rig_buffer(&ref, NULL, rows * I);
        for (int act = ACT_SILU; act <= ACT_GELU_TANH; act++) {
            cpu.ops->act_mul(cpu.dev, &co, &cx, rows, I, (enum activation)act);
            ref.ops->act_mul(ref.dev, &ro, &rx, rows, I, (enum activation)act);
            /* 1 + tanh cancels far below zero */
            struct tol tol = act == ACT_SILU ? TOL_ELEMENTWISE : (struct tol){3e-6, 2e-6};
            assert_close("act_mul", co.data, ro.data, rows * I, tol);
        }
        cpu.ops->softcap(cpu.dev, &cx, rows, 2 * I, 3.0f);
        ref.ops->softcap(ref.dev, &rx, rows, 2 * I, 3.0f);
        assert_close("softcap", cx.data, rx.data, rows * 2 * I, TOL_ELEMENTWISE);
        cpu.ops->buffer_free(cpu.dev, &cx);
        cpu.ops->buffer_free(cpu.dev, &co);
        ref.ops->buffer_free(ref.dev, &rx);
        ref.ops->buffer_free(ref.dev, &ro);
        free(x);
    }
    rig_close(&cpu);
    rig_close(&ref);
}
END_TEST

START_TEST(test_gather_rows_copies_rows)
{
    struct rig cpu;
    if (!rig_open(&cpu, isa_names[_i], 2))
        return;
    float *x = random_floats(1, 10 * 33, 1), got[4 * 33];
    int32_t ids[] = {9, 0, 3, 3};
    struct buffer in = rig_buffer(&cpu, x, 10 * 33), out = rig_buffer(&cpu, NULL, 4 * 33);
    cpu.ops->gather_rows(cpu.dev, &out, &in, ids, 4, 33);
    rig_read(&cpu, &out, got, 4 * 33);
    for (int i = 0; i < 4; i++)
        assert_same_bits("row", got + i * 33, x + ids[i] * 33, 33);
    cpu.ops->buffer_free(cpu.dev, &in);
    cpu.ops->buffer_free(cpu.dev, &out);
    free(x);
    rig_close(&cpu);
}
END_TEST

/* Every 16-bit pattern there and back, and values between them, against the
 * reference's own conversion. */
START_TEST(test_conversions_all_patterns_round_trip)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t pattern = (uint16_t)h;
        float b = f32_from_bf16(pattern), f = f32_from_f16(pattern);
        bool ok = (b != b || bf16_from_f32(b) == pattern) &&
                  (f != f || (f16_from_f32(f) == pattern && f == ref_get(DTYPE_F16, &pattern, 0)));
        if (!ok)
            ck_abort_msg("pattern %#x: bf16 %a, half %a", h, (double)b, (double)f);
    }
    float *x = random_floats(1, 20000, 1);
    for (int i = 0; i < 20000; i++) {
        float v = ldexpf(x[i], i % 34 - 26), got;
        uint16_t h = f16_from_f32(v);
        got = f32_from_f16(h);
        if (got != ref_round(DTYPE_F16, v) ||
            f32_from_bf16(bf16_from_f32(v)) != ref_round(DTYPE_BF16, v))
            ck_abort_msg("%a is %a, not %a in half", (double)v, (double)got,
                         (double)ref_round(DTYPE_F16, v));
    }
    ck_assert(f32_from_bf16(bf16_from_f32(NAN)) != f32_from_bf16(bf16_from_f32(NAN)));
    free(x);
}
END_TEST

START_TEST(test_weight_random_is_uniform_and_repeats)
{
    struct rig cpu;
    if (!rig_open(&cpu, isa_names[_i], 2))
        return;
    struct weight a, b;
    ck_assert_int_eq(cpu.ops->weight_random(cpu.dev, 50, 40, WEIGHT_MATRIX, DTYPE_BF16, 0.5f, 1, &a,
                                            NULL), 0);
    ck_assert_int_eq(cpu.ops->weight_random(cpu.dev, 50, 40, WEIGHT_MATRIX, DTYPE_BF16, 0.5f, 1, &b,
                                            NULL), 0);
    float identity[40 * 40] = {0}, first[40 * 50], second[40 * 50];
    for (int i = 0; i < 40; i++)
        identity[i * 41] = 1;
    struct buffer x = rig_buffer(&cpu, identity, 1600), out = rig_buffer(&cpu, NULL, 2000);
    cpu.ops->gemm(cpu.dev, &out, &x, &a, NULL, 40);
    rig_read(&cpu, &out, first, 2000);
    cpu.ops->gemm(cpu.dev, &out, &x, &b, NULL, 40);
    rig_read(&cpu, &out, second, 2000);
    assert_same_bits("same seed", first, second, 2000);
    double sum = 0, squares = 0;
    for (int i = 0; i < 2000; i++) {
        if (fabsf(first[i]) > 0.5f)
            ck_abort_msg("%g is out of range", (double)first[i]);
        sum += (double)first[i];
        squares += (double)first[i] * first[i];
    }
    ck_assert(fabs(sum / 2000) < 0.03 && fabs(squares / 2000 - 0.25 / 3) < 0.01);
    cpu.ops->buffer_free(cpu.dev, &x);
    cpu.ops->buffer_free(cpu.dev, &out);
    rig_close(&cpu);
}
END_TEST

START_TEST(test_step_begin_bad_batch_is_refused)
{
    struct rig cpu;
    rig_open(&cpu, "generic", 1);
    struct kv_config kv = {1, 1, 16, 4, DTYPE_BF16, 0, 0};
    ck_assert_int_eq(cpu.ops->kv_init(cpu.dev, &kv, NULL), 0);
    int32_t ids[] = {1, 1}, pos[] = {0, 1}, slots[] = {0, 1};
    int32_t cu[] = {0, 2}, len[] = {2}, tab[] = {0};
    struct batch good = {2, 1, 1, ids, pos, slots, cu, len, tab};
    ck_assert_int_eq(rig_step_begin(&cpu, &good), 0);
    slots[1] = 64;
    ck_assert_int_eq(rig_step_begin(&cpu, &good), ERR_INVALID);
    slots[1] = 1;
    len[0] = 1;
    ck_assert_int_eq(rig_step_begin(&cpu, &good), ERR_INVALID);
    len[0] = 17;   /* more blocks than the table has columns */
    ck_assert_int_eq(rig_step_begin(&cpu, &good), ERR_INVALID);
    len[0] = 2;
    ids[0] = FIXTURE_VOCAB;
    ck_assert_int_eq(rig_step_begin(&cpu, &good), ERR_INVALID);
    ids[0] = 0;
    cu[1] = 1;
    ck_assert_int_eq(rig_step_begin(&cpu, &good), ERR_INVALID);
    rig_close(&cpu);
}
END_TEST

START_TEST(test_backend_find_names)
{
    struct error err = {0};
    const struct ops *ops = NULL;
    ck_assert_int_eq(backend_find("cpu", &ops, &err), 0);
    ck_assert_ptr_eq(ops, &cpu_ops);
    ck_assert_int_eq(backend_find("tpu", &ops, &err), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "tpu"));
    ck_assert_int_eq(backend_find("auto", &ops, &err), 0);
    struct device_options opt = {.max_tokens = 1, .max_seqs = 1, .vocab_size = 1, .isa = "mmx"};
    struct device *dev;
    ck_assert_int_eq(cpu_ops.device_open(&opt, &dev, &err), ERR_INVALID);
    opt.isa = NULL;
    ck_assert_int_eq(cpu_ops.device_open(&opt, &dev, &err), 0);
    struct device_info info;
    cpu_ops.device_info(dev, &info);
    ck_assert(info.memory_total > 0 && info.memory_free <= info.memory_total);
    ck_assert_ptr_nonnull(strstr(info.name, "cpu ("));
    cpu_ops.device_close(dev);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("ops");
    TCase *ops = tcase_create("gemm and elementwise");
    tcase_set_timeout(ops, 120);
    int num_isas = ARRAY_SIZE(isa_names);
    tcase_add_loop_test(ops, test_gemm_any_shape_matches_reference, 0, num_isas);
    tcase_add_loop_test(ops, test_gemm_row_in_batch_has_bits_of_row_alone, 0, num_isas);
    tcase_add_loop_test(ops, test_weight_load_parts_are_stacked, 0, num_isas);
    tcase_add_loop_test(ops, test_embed_tied_table_gathers_exactly, 0, num_isas);
    tcase_add_loop_test(ops, test_rmsnorm_matches_reference, 0, num_isas);
    tcase_add_loop_test(ops, test_act_mul_and_softcap_match_reference, 0, num_isas);
    tcase_add_loop_test(ops, test_gather_rows_copies_rows, 0, num_isas);
    tcase_add_loop_test(ops, test_weight_random_is_uniform_and_repeats, 0, num_isas);
    tcase_add_test(ops, test_conversions_all_patterns_round_trip);
    tcase_add_test(ops, test_step_begin_bad_batch_is_refused);
    tcase_add_test(ops, test_backend_find_names);
    suite_add_tcase(suite, ops);
    suite_add_tcase(suite, attention_tests());
    suite_add_tcase(suite, sample_tests());
    suite_add_tcase(suite, vmath_tests());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
