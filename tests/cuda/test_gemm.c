/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matrix products of the CUDA module. Most cases use small integers, whose
 * sums are exact in float32 in any order, so that a wrong, missing or doubled
 * element of any slice shows as a difference; one case uses random numbers to
 * see that a row's bits do not depend on its company.
 */
#include "kernels/cuda/kernels.h"
#include "util/base.h"

#include <check.h>
#include <math.h>
#include <string.h>

#define CU(call) ck_assert_msg((call) == cudaSuccess, "%s", #call)

static float
float_of(bf16_bits b)
{
    uint32_t u = (uint32_t)b << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* to nearest, ties to even; no NaN here */
static bf16_bits
bf16_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (bf16_bits)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static uint32_t
next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* What the numbers are: -2..2, or uniform in (-1, 1). */
enum values { SMALL_INTEGERS, FRACTIONS };

static bf16_bits *
random_matrix(uint64_t seed, int64_t n, enum values values)
{
    bf16_bits *m = malloc((size_t)n * sizeof *m);
    ck_assert_ptr_nonnull(m);
    uint64_t state = seed;
    for (int64_t i = 0; i < n; i++) {
        uint32_t r = next_random(&state);
        m[i] = bf16_of(values == SMALL_INTEGERS ? (float)(r % 5) - 2
                                                : (float)r / 0x40000000 - 1);
    }
    return m;
}

static void *
to_device(const void *data, size_t bytes)
{
    void *p;
    CU(cudaMalloc(&p, bytes));
    CU(cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice));
    return p;
}

static struct cuda_ctx ctx;

static void
open_device(void)
{
    int device;
    CU(cudaGetDevice(&device));
    CU(cudaStreamCreateWithFlags(&ctx.stream, cudaStreamNonBlocking));
    CU(cudaDeviceGetAttribute(&ctx.num_sms, cudaDevAttrMultiProcessorCount, device));
    ctx.pdl = 1;
}

static void
close_device(void)
{
    CU(cudaStreamDestroy(ctx.stream));
}

/* One product on host and device. */
struct product {
    int M, N, K, out_f32;
    bf16_bits *x, *w, *bias;          /* owned, host */
    bf16_bits *dev_x, *dev_w, *dev_bias; /* owned, device */
    void *dev_out;
    void *out;
};

static void
product_init(struct product *p, int M, int N, int K, int bias, int out_f32, enum values values)
{
    size_t out_bytes = (size_t)M * N * (out_f32 ? 4 : 2);
    *p = (struct product){.M = M, .N = N, .K = K, .out_f32 = out_f32};
    p->x = random_matrix(1, (int64_t)M * K, values);
    p->w = random_matrix(2, (int64_t)N * K, values);
    p->dev_x = to_device(p->x, (size_t)M * K * 2);
    p->dev_w = to_device(p->w, (size_t)N * K * 2);
    if (bias) {
        p->bias = random_matrix(3, N, values);
        p->dev_bias = to_device(p->bias, (size_t)N * 2);
    }
    CU(cudaMalloc(&p->dev_out, out_bytes));
    p->out = malloc(out_bytes);
    ck_assert_ptr_nonnull(p->out);
}

static void
product_release(struct product *p)
{
    CU(cudaFree(p->dev_x));
    CU(cudaFree(p->dev_w));
    CU(cudaFree(p->dev_bias));
    CU(cudaFree(p->dev_out));
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->out);
}

static void
product_read(struct product *p)
{
    CU(cudaStreamSynchronize(ctx.stream));
    CU(cudaMemcpy(p->out, p->dev_out, (size_t)p->M * p->N * (p->out_f32 ? 4 : 2),
                  cudaMemcpyDeviceToHost));
}

static double
exact(const struct product *p, int m, int n)
{
    double sum = p->bias == NULL ? 0 : float_of(p->bias[n]);
    for (int k = 0; k < p->K; k++)
        sum += (double)float_of(p->x[(size_t)m * p->K + k]) *
               float_of(p->w[(size_t)n * p->K + k]);
    return sum;
}

/* Every element of an integer product is exact, or its one rounding. */
static void
assert_exact(const char *what, const struct product *p)
{
    for (int m = 0; m < p->M; m++)
        for (int n = 0; n < p->N; n++) {
            float want = (float)exact(p, m, n), got;
            size_t at = (size_t)m * p->N + n;
            if (p->out_f32)
                got = ((const float *)p->out)[at];
            else {
                got = float_of(((const bf16_bits *)p->out)[at]);
                want = float_of(bf16_of(want));
            }
            ck_assert_msg(got == want, "%s: M %d N %d K %d: [%d, %d] is %g, not %g", what, p->M,
                          p->N, p->K, m, n, (double)got, (double)want);
        }
}

typedef cudaError_t gemm_function(const struct cuda_ctx *, void *, const bf16_bits *,
                                  const bf16_bits *, const bf16_bits *, int, int, int, int);

static void
check_exact(const char *what, gemm_function *gemm, int M, int N, int K, int bias, int out_f32)
{
    struct product p;
    product_init(&p, M, N, K, bias, out_f32, SMALL_INTEGERS);
    CU(gemm(&ctx, p.dev_out, p.dev_x, p.dev_w, p.dev_bias, M, N, K, out_f32));
    product_read(&p);
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

START_TEST(test_any_many_rows_are_exact)
{
    check_exact("any", cuda_gemm_any, 5, 24, 200, 1, 0);
    check_exact("any", cuda_gemm_any, 33, 72, 320, 1, 0);
    check_exact("any", cuda_gemm_any, 70, 200, 1032, 0, 1);
    check_exact("any", cuda_gemm_any, 128, 136, 64, 1, 0);
}
END_TEST

/* Row m alone, in any company of the skinny kernel's tiles, and among many:
 * always the same bits; the values are near the truth. */
static void
check_company(int N, int K)
{
    enum { MOST = 75 };
    static const int companies[] = {2, 8, 9, 17, 25, 32, 33, MOST};
    struct product p;
    product_init(&p, MOST, N, K, 1, 1, FRACTIONS);
    float *alone = malloc((size_t)MOST * N * sizeof *alone);
    ck_assert_ptr_nonnull(alone);
    for (int m = 0; m < MOST; m++)
        CU(cuda_gemm_any(&ctx, (float *)p.dev_out + (size_t)m * N, p.dev_x + (size_t)m * K,
                         p.dev_w, p.dev_bias, 1, N, K, 1));
    product_read(&p);
    memcpy(alone, p.out, (size_t)MOST * N * sizeof *alone);
    for (int m = 0; m < MOST; m += 37)
        for (int n = 0; n < N; n++) {
            double want = exact(&p, m, n);
            ck_assert_msg(fabs(alone[(size_t)m * N + n] - want) <= 2e-6 * sqrt(K) + 2e-6 * fabs(want),
                          "[%d, %d] is %.9g, not %.9g", m, n, (double)alone[(size_t)m * N + n], want);
        }
    for (size_t i = 0; i < ARRAY_SIZE(companies); i++) {
        CU(cudaMemsetAsync(p.dev_out, 0xff, (size_t)MOST * N * 4, ctx.stream));
        CU(cuda_gemm_any(&ctx, p.dev_out, p.dev_x, p.dev_w, p.dev_bias, companies[i], N, K, 1));
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
    check_company(ctx.num_sms * 32, 328);
}
END_TEST

int
main(void)
{
    int num_devices;
    if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
        fprintf(stderr, "no CUDA device\n");
        return 77;
    }
    Suite *suite = suite_create("gemm");
    TCase *kernels = tcase_create("kernels");
    tcase_set_timeout(kernels, 600);
    tcase_add_checked_fixture(kernels, open_device, close_device);
    tcase_add_test(kernels, test_skinny_any_shape_is_exact);
    tcase_add_test(kernels, test_skinny_real_k_is_exact);
    tcase_add_test(kernels, test_skinny_wide_tiles_are_exact);
    tcase_add_test(kernels, test_any_many_rows_are_exact);
    tcase_add_test(kernels, test_any_row_has_the_same_bits_in_any_company);
    suite_add_tcase(suite, kernels);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
