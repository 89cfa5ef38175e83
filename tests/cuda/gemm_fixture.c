/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/gemm_fixture.h"

#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/ref_ops.h"

#include <math.h>

struct cuda_ctx ctx;
static void *workspace;

void
open_device(void)
{
    ctx = ctx_open();
    workspace = device_new(GEMM_WORKSPACE_BYTES);
}

void
close_device(void)
{
    ctx_close(&ctx);
    device_free(workspace);
}

float *
random_matrix(uint64_t seed, int64_t n, enum values values)
{
    float *x = random_bf16(seed, n, 1);
    for (int64_t i = 0; i < n && values == SMALL_INTEGERS; i++)
        x[i] = roundf(x[i] * 2.4f);
    return x;
}

void
product_init(struct product *p, int M, int N, int K, bool bias, bool out_f32, enum values values)
{
    *p = (struct product){
        .args = {.M = M, .N = N, .K = K, .out_f32 = out_f32},
        .x = random_matrix(1, (int64_t)M * K, values),
        .w = random_matrix(2, (int64_t)N * K, values),
        .bias = bias ? random_matrix(3, N, values) : NULL,
    };
    p->args.x = device_bf16(p->x, (int64_t)M * K);
    p->args.w = device_bf16(p->w, (int64_t)N * K);
    p->args.bias = bias ? device_bf16(p->bias, N) : NULL;
    p->args.out = device_new((size_t)M * N * (out_f32 ? sizeof(float) : sizeof(bf16_bits)));
}

void
product_release(struct product *p)
{
    device_free(p->args.x);
    device_free(p->args.w);
    device_free(p->args.bias);
    device_free(p->args.out);
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->out);
}

void
product_read(struct product *p)
{
    int64_t n = (int64_t)p->args.M * p->args.N;
    free(p->out);
    if (!p->args.out_f32) {
        p->out = device_read_bf16(p->args.out, n);
        return;
    }
    p->out = malloc((size_t)n * sizeof *p->out);
    ck_assert_ptr_nonnull(p->out);
    device_read(p->out, p->args.out, (size_t)n * sizeof *p->out);
}

double
product_exact(const struct product *p, int m, int n)
{
    const float *x = p->x + (size_t)m * p->args.K, *w = p->w + (size_t)n * p->args.K;
    double sum = p->bias == NULL ? 0 : (double)p->bias[n];
    for (int k = 0; k < p->args.K; k++)
        sum += (double)x[k] * (double)w[k];
    return sum;
}

void
assert_exact(const char *what, struct product *p)
{
    product_read(p);
    for (int m = 0; m < p->args.M; m++)
        for (int n = 0; n < p->args.N; n++) {
            float want = (float)product_exact(p, m, n), got = p->out[(size_t)m * p->args.N + n];
            if (!p->args.out_f32)
                want = ref_round(DTYPE_BF16, want);
            if (got != want)
                ck_abort_msg("%s: M %d N %d K %d: [%d, %d] is %g, not %g", what, p->args.M,
                             p->args.N, p->args.K, m, n, (double)got, (double)want);
        }
}

struct gemm_plans *
new_plans(const char *cache_dir, bool deterministic)
{
    struct gemm_config config = {.workspace = workspace,
                                 .workspace_bytes = GEMM_WORKSPACE_BYTES,
                                 .deterministic = deterministic,
                                 .cache_dir = cache_dir};
    struct gemm_plans *plans;
    struct error err;
    ck_assert_msg(gemm_plans_new(&config, &plans, &err) == 0, "%s", err.text);
    return plans;
}

void
check_run(struct gemm_plans *plans, int M, int N, int K, bool bias, bool out_f32)
{
    struct product p;
    struct error err;
    product_init(&p, M, N, K, bias, out_f32, SMALL_INTEGERS);
    ck_assert_msg(gemm_run(plans, &ctx, &p.args, &err) == 0, "%s", err.text);
    assert_exact("gemm_run", &p);
    product_release(&p);
}
