/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matrix products of the CUDA module: its kernels, and the plans that choose
 * between them and cuBLASLt. Most cases use small integers, whose
 * sums are exact in float32 in any order, so that a wrong, missing or doubled
 * element of any slice shows as a difference; one case uses random numbers to
 * see that a row's bits do not depend on its company.
 */
#include "kernels/ops.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/gemm_fixture.h"
#include "tests/unit/main.h"

#include <string.h>

typedef cudaError_t gemm_function(const struct cuda_ctx *, void *, const bf16_bits *,
                                  const bf16_bits *, const bf16_bits *, int, int, int, int);

static void
check_exact(const char *what, gemm_function *gemm, int M, int N, int K, bool bias, bool out_f32)
{
    struct product p;
    product_init(&p, M, N, K, bias, out_f32, SMALL_INTEGERS);
    CUDA_OK(gemm(&ctx, p.args.out, p.args.x, p.args.w, p.args.bias, M, N, K, out_f32));
    assert_exact(what, &p);
    product_release(&p);
}

/* Every number of token tiles, full and ragged; N and K ragged in every way that
 * multiples of 8 can be; fewer slices than warps and than stages, and more. */
START_TEST(test_skinny_any_shape_is_exact)
{
    static const int rows[] = {1, 2, 3, 8, 9, 16, 17, 24, 25, 32};
    static const struct {
        int N, K;
    } shapes[] = {{8, 8}, {16, 64}, {24, 72}, {40, 2056}, {72, 248}, {104, 1352}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t j = 0; j < ARRAY_SIZE(shapes); j++)
            check_exact("skinny", cuda_gemm_skinny, rows[i], shapes[j].N, shapes[j].K,
                        (i + j) % 2 == 0, (i + j) % 3 == 0);
}
END_TEST

/* The models' row lengths; few rows of w. */
START_TEST(test_skinny_real_k_is_exact)
{
    check_exact("skinny", cuda_gemm_skinny, 1, 48, 4096, 0, 0);
    check_exact("skinny", cuda_gemm_skinny, 2, 32, 14336, 1, 0);
    check_exact("skinny", cuda_gemm_skinny, 7, 24, 18944, 1, 1);
    check_exact("skinny", cuda_gemm_skinny, 32, 16, 36864, 0, 0);
}
END_TEST

/* Wide enough for 32 and 64 rows of w a block. */
START_TEST(test_skinny_wide_tiles_are_exact)
{
    int N = ctx.num_sms * 32;
    check_exact("skinny", cuda_gemm_skinny, 3, N - 8, 136, 1, 0);
    check_exact("skinny", cuda_gemm_skinny, 3, 2 * N - 24, 88, 1, 1);
    for (int M = 9; M <= 32; M += 8)
        check_exact("skinny", cuda_gemm_skinny, M, 2 * N - 40, 264, 1, M == 17);
}
END_TEST

/* Row tiles that the rule would not choose. */
START_TEST(test_skinny_row_tiles_do_not_change_bits)
{
    struct product p;
    product_init(&p, 27, 200, 712, true, true, FRACTIONS);
    for (int M = 3; M <= 27; M += 8) {
        float *first = NULL;
        p.args.M = M;
        for (int row_tiles = 1; row_tiles <= 4; row_tiles *= 2) {
            CUDA_OK(cuda_gemm_skinny_tiles(&ctx, p.args.out, p.args.x, p.args.w, p.args.bias, M,
                                           200, 712, 1, row_tiles));
            product_read(&p);
            if (first == NULL) {
                first = p.out;
                p.out = NULL;
            } else
                ck_assert_mem_eq(p.out, first, (size_t)M * 200 * sizeof *first);
        }
        free(first);
    }
    product_release(&p);
}
END_TEST

START_TEST(test_any_many_rows_are_exact)
{
    check_exact("any", cuda_gemm_any, 5, 24, 200, 1, 0);
    check_exact("any", cuda_gemm_any, 33, 72, 320, 1, 0);
    check_exact("any", cuda_gemm_any, 70, 200, 1032, 0, 1);
    check_exact("any", cuda_gemm_any, 128, 136, 64, 1, 0);
    /* tiles of 64 and of 128 tokens: many blocks are needed before they pay; K of
     * fewer slices than parts, of fewer than stages in a part, and of more */
    check_exact("any", cuda_gemm_any, 40, 3208, 72, 1, 0);
    check_exact("any", cuda_gemm_any, 64, 3336, 320, 0, 1);
    check_exact("any", cuda_gemm_any, 70, 4304, 136, 1, 1);
    check_exact("any", cuda_gemm_any, 300, 1288, 1352, 1, 0);
}
END_TEST

/* Row m alone, in any company of the skinny kernel's tiles, and among many:
 * always the same bits; the values are near the truth. */
static void
check_company(int N, int K)
{
    enum { MOST = 101 };
    static const int companies[] = {2, 8, 9, 17, 25, 32, 33, 64, MOST};
    struct product p;
    product_init(&p, MOST, N, K, true, true, FRACTIONS);
    const struct gemm_args *a = &p.args;
    size_t out_bytes = (size_t)MOST * N * sizeof(float);
    for (int m = 0; m < MOST; m++)
        CUDA_OK(cuda_gemm_any(&ctx, (float *)a->out + (size_t)m * N, a->x + (size_t)m * K, a->w,
                              a->bias, 1, N, K, 1));
    product_read(&p);
    for (int m = 0; m < MOST; m += 50)
        for (int n = 0; n < N; n++) {
            double want = product_exact(&p, m, n), got = (double)p.out[(size_t)m * N + n];
            if (fabs(got - want) > 2e-6 * sqrt(K))
                ck_abort_msg("K %d: [%d, %d] is %.9g, not %.9g", K, m, n, got, want);
        }
    float *alone = p.out;
    p.out = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(companies); i++) {
        CUDA_OK(cudaMemsetAsync(a->out, 0xff, out_bytes, ctx.stream));
        CUDA_OK(cuda_gemm_any(&ctx, a->out, a->x, a->w, a->bias, companies[i], N, K, 1));
        product_read(&p);
        ck_assert_msg(memcmp(p.out, alone, (size_t)companies[i] * N * sizeof *alone) == 0,
                      "N %d K %d: a row among %d has other bits than alone", N, K, companies[i]);
    }
    free(alone);
    product_release(&p);
}

START_TEST(test_any_row_has_the_same_bits_in_any_company)
{
    check_company(40, 4096);
    check_company(24, 1352);
    check_company(3656, 328); /* wide enough for tiles */
}
END_TEST

/* Both sides of the own kernel's limit; a bias that cuBLASLt does not know (with
 * a float32 result). */
START_TEST(test_run_any_rows_is_exact)
{
    static const int rows[] = {1, 32, 33, 64, 65, 100, 300};
    struct gemm_plans *plans = new_plans(NULL, false);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        check_run(plans, rows[i], 48, 128, i % 2 == 0, false);
        check_run(plans, rows[i], 24, 200, i % 2 == 1, true);
    }
    gemm_plans_free(plans);
}
END_TEST

START_TEST(test_run_without_workspace_is_exact)
{
    struct gemm_plans *plans;
    ck_assert_int_eq(gemm_plans_new(&(struct gemm_config){0}, &plans, NULL), 0);
    check_run(plans, 40, 24, 64, true, false);
    gemm_plans_free(plans);
}
END_TEST

START_TEST(test_run_odd_widths_are_refused)
{
    struct gemm_plans *plans = new_plans(NULL, false);
    struct gemm_args narrow = {.M = 1, .N = 12, .K = 64}, odd = {.M = 1, .N = 16, .K = 60};
    struct gemm_args none = {.N = 16, .K = 64};
    struct error err;
    ck_assert_int_eq(gemm_run(plans, &ctx, &narrow, &err), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "[64, 12]"));
    ck_assert_int_eq(gemm_run(plans, &ctx, &odd, &err), ERR_UNSUPPORTED);
    ck_assert_int_eq(gemm_run(plans, &ctx, &none, &err), 0);
    gemm_plans_free(plans);
}
END_TEST

START_TEST(test_run_deterministic_row_has_the_same_bits_in_any_company)
{
    struct gemm_plans *plans = new_plans(NULL, true);
    struct product p;
    product_init(&p, 70, 40, 1352, true, false, FRACTIONS);
    ck_assert_int_eq(gemm_run(plans, &ctx, &p.args, NULL), 0);
    product_read(&p);
    float *all = p.out;
    p.out = NULL;
    p.args.M = 1;
    for (int m = 0; m < 70; m++, p.args.x += p.args.K) {
        ck_assert_int_eq(gemm_run(plans, &ctx, &p.args, NULL), 0);
        product_read(&p);
        ck_assert_mem_eq(p.out, all + (size_t)m * p.args.N, (size_t)p.args.N * sizeof *all);
    }
    p.args.x -= 70 * p.args.K;
    free(all);
    product_release(&p);
    gemm_plans_free(plans);
}
END_TEST

/* Planned while it is recorded, then replayed with other contents of x. */
START_TEST(test_run_recorded_reads_what_is_there_at_replay)
{
    struct gemm_plans *plans = new_plans(NULL, false);
    struct product few, many;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    product_init(&few, 5, 56, 320, true, false, SMALL_INTEGERS);
    product_init(&many, 50, 24, 56, false, true, SMALL_INTEGERS);
    CUDA_OK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal));
    ck_assert_int_eq(gemm_run(plans, &ctx, &few.args, NULL), 0);
    ck_assert_int_eq(gemm_run(plans, &ctx, &many.args, NULL), 0);
    CUDA_OK(cudaStreamEndCapture(ctx.stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    CUDA_OK(cudaGraphDestroy(graph));
    for (int replay = 0; replay < 3; replay++) {
        struct product *both[] = {&few, &many};
        for (int i = 0; i < 2; i++) {
            int64_t n = (int64_t)both[i]->args.M * both[i]->args.K;
            free(both[i]->x);
            both[i]->x = random_matrix((uint64_t)(10 + replay), n, SMALL_INTEGERS);
            bf16_bits *fresh = device_bf16(both[i]->x, n);
            CUDA_OK(cudaMemcpyAsync((void *)(uintptr_t)both[i]->args.x, fresh,
                                    (size_t)n * sizeof *fresh, cudaMemcpyDeviceToDevice,
                                    ctx.stream));
            CUDA_OK(cudaStreamSynchronize(ctx.stream));
            device_free(fresh);
        }
        CUDA_OK(cudaGraphLaunch(exec, ctx.stream));
        assert_exact("replay", &few);
        assert_exact("replay", &many);
    }
    CUDA_OK(cudaGraphExecDestroy(exec));
    product_release(&few);
    product_release(&many);
    gemm_plans_free(plans);
}
END_TEST

/* A product of the product before it, launched while that one may still run: few
 * rows by the own kernel, more by cuBLASLt. Sums stay below 2^8, exact in bf16. */
START_TEST(test_run_chain_waits_for_the_product_before)
{
    static const int rows[] = {3, 32, 40};
    struct gemm_plans *plans = new_plans(NULL, false);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct product first, second;
        product_init(&first, rows[i], 136, 24, false, false, SMALL_INTEGERS);
        product_init(&second, rows[i], 40, 136, true, true, SMALL_INTEGERS);
        device_free(second.args.x);
        second.args.x = first.args.out;
        ck_assert_int_eq(gemm_run(plans, &ctx, &first.args, NULL), 0);
        ck_assert_int_eq(gemm_run(plans, &ctx, &second.args, NULL), 0);
        assert_exact("first", &first);
        memcpy(second.x, first.out, (size_t)rows[i] * 136 * sizeof *second.x);
        assert_exact("second", &second);
        second.args.x = NULL;
        product_release(&first);
        product_release(&second);
    }
    gemm_plans_free(plans);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("cuda gemm");
    TCase *kernels = tcase_create("kernels");
    tcase_set_timeout(kernels, 600);
    tcase_add_checked_fixture(kernels, open_device, close_device);
    tcase_add_test(kernels, test_skinny_any_shape_is_exact);
    tcase_add_test(kernels, test_skinny_real_k_is_exact);
    tcase_add_test(kernels, test_skinny_wide_tiles_are_exact);
    tcase_add_test(kernels, test_skinny_row_tiles_do_not_change_bits);
    tcase_add_test(kernels, test_any_many_rows_are_exact);
    tcase_add_test(kernels, test_any_row_has_the_same_bits_in_any_company);
    suite_add_tcase(suite, kernels);
    TCase *plans = tcase_create("plans");
    tcase_set_timeout(plans, 600);
    tcase_add_checked_fixture(plans, open_device, close_device);
    tcase_add_test(plans, test_run_any_rows_is_exact);
    tcase_add_test(plans, test_run_without_workspace_is_exact);
    tcase_add_test(plans, test_run_odd_widths_are_refused);
    tcase_add_test(plans, test_run_deterministic_row_has_the_same_bits_in_any_company);
    tcase_add_test(plans, test_run_recorded_reads_what_is_there_at_replay);
    tcase_add_test(plans, test_run_chain_waits_for_the_product_before);
    suite_add_tcase(suite, plans);
    return suite;
}

TEST_MAIN(make_suite)
