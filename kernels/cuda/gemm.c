/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products through cuBLASLt and the choice between it and the own kernel.
 * cuBLASLt thinks in columns: our row-major out[M, N] is its D[N x M], w[N, K] its
 * A[K x N], used transposed, x[M, K] its B[K x M].
 */
#include "kernels/cuda/gemm_impl.h"

#include "util/buf.h"
#include "util/log.h"

#include <ctype.h>
#include <string.h>

_Static_assert(sizeof(cublasLtMatmulAlgo_t) == GEMM_ALGO_WORDS * sizeof(uint64_t),
               "an algorithm fits a plan");

#define SET(desc, attribute, value) \
    cublasLtMatmulDescSetAttribute(desc, attribute, &(value), sizeof(value))

static cublasStatus_t
lt_product_new(struct lt_product *p)
{
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasStatus_t s = cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = SET(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutCreate(&p->w, CUDA_R_16BF, 8, 8, 8);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutCreate(&p->x, CUDA_R_16BF, 8, 8, 8);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutCreate(&p->out, CUDA_R_16BF, 8, 8, 8);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceCreate(&p->preference);
    return s;
}

static void
lt_product_free(struct lt_product *p)
{
    if (p->desc != NULL)
        cublasLtMatmulDescDestroy(p->desc);
    cublasLtMatrixLayout_t layouts[] = {p->w, p->x, p->out};
    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
        if (layouts[i] != NULL)
            cublasLtMatrixLayoutDestroy(layouts[i]);
    }
    if (p->preference != NULL)
        cublasLtMatmulPreferenceDestroy(p->preference);
}

/* Columns of `rows` elements side by side. */
static cublasStatus_t
set_layout(cublasLtMatrixLayout_t layout, cudaDataType_t type, int rows, int cols)
{
    uint32_t element = (uint32_t)type;
    uint64_t num_rows = (uint64_t)rows, num_cols = (uint64_t)cols;
    int64_t leading = rows;
    const struct {
        cublasLtMatrixLayoutAttribute_t attribute;
        const void *value;
        size_t bytes;
    } values[] = {
        {CUBLASLT_MATRIX_LAYOUT_TYPE, &element, sizeof element},
        {CUBLASLT_MATRIX_LAYOUT_ROWS, &num_rows, sizeof num_rows},
        {CUBLASLT_MATRIX_LAYOUT_COLS, &num_cols, sizeof num_cols},
        {CUBLASLT_MATRIX_LAYOUT_LD, &leading, sizeof leading},
    };
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    for (size_t i = 0; i < ARRAY_SIZE(values) && s == CUBLAS_STATUS_SUCCESS; i++)
        s = cublasLtMatrixLayoutSetAttribute(layout, values[i].attribute, values[i].value,
                                             values[i].bytes);
    return s;
}

static cublasStatus_t
lt_product_set(const struct lt_product *p, const struct gemm_shape *shape, int num_rows,
               const bf16_bits *bias)
{
    cublasLtEpilogue_t epilogue =
        shape->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    cudaDataType_t out_type = shape->out_f32 ? CUDA_R_32F : CUDA_R_16BF;
    cublasStatus_t s = SET(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (s == CUBLAS_STATUS_SUCCESS && shape->bias)
        s = SET(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = set_layout(p->w, CUDA_R_16BF, shape->K, shape->N);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = set_layout(p->x, CUDA_R_16BF, shape->K, num_rows);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = set_layout(p->out, out_type, shape->N, num_rows);
    return s;
}

struct gemm_shape
gemm_shape_of(const struct gemm_args *args)
{
    return (struct gemm_shape){args->N, args->K, args->bias != NULL, args->out_f32};
}

/* It has no bf16 bias for a float32 result. */
bool
gemm_cublaslt_knows(const struct gemm_plans *plans, const struct gemm_shape *shape)
{
    return plans->handle != NULL && !(shape->bias && shape->out_f32);
}

static cublasStatus_t
set_preference(cublasLtMatmulPreference_t preference, const struct gemm_plans *plans)
{
    /* partial sums meet in float32, in workspace, in order */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, alignment = 16;
    uint64_t most_bytes = plans->workspace_bytes;
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };
    cublasStatus_t s = cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most_bytes, sizeof most_bytes);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(preference,
                                                 CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                 &schemes, sizeof schemes);
    for (size_t i = 0; i < ARRAY_SIZE(aligned) && s == CUBLAS_STATUS_SUCCESS; i++)
        s = cublasLtMatmulPreferenceSetAttribute(preference, aligned[i], &alignment,
                                                 sizeof alignment);
    return s;
}

#define MOST_CANDIDATES 16

int
gemm_ask_cublaslt(const struct gemm_plans *plans, const struct gemm_shape *shape, int num_rows,
                  struct gemm_plan *ret_plans, int most)
{
    const struct lt_product *p = &plans->product;
    cublasLtMatmulHeuristicResult_t found[MOST_CANDIDATES];
    int num_found = 0, num_plans = 0;
    if (!gemm_cublaslt_knows(plans, shape) ||
        lt_product_set(p, shape, num_rows, NULL) != CUBLAS_STATUS_SUCCESS ||
        set_preference(p->preference, plans) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulAlgoGetHeuristic(plans->handle, p->desc, p->w, p->x, p->out, p->out,
                                       p->preference, MIN(most, MOST_CANDIDATES), found,
                                       &num_found) != CUBLAS_STATUS_SUCCESS)
        return 0;
    for (int i = 0; i < num_found; i++) {
        struct gemm_plan *plan = &ret_plans[num_plans];
        if (found[i].state != CUBLAS_STATUS_SUCCESS ||
            found[i].workspaceSize > plans->workspace_bytes)
            continue;
        *plan = (struct gemm_plan){.kind = GEMM_CUBLASLT,
                                   .workspace_bytes = found[i].workspaceSize};
        memcpy(plan->algo, &found[i].algo, sizeof plan->algo);
        num_plans++;
    }
    return num_plans;
}

static int
run_kernel(const struct cuda_ctx *ctx, const struct gemm_args *a, const struct gemm_plan *plan,
           struct error *err)
{
    cudaError_t e = a->M <= SKINNY_MAX_ROWS
        ? cuda_gemm_skinny_tiles(ctx, a->out, a->x, a->w, a->bias, a->M, a->N, a->K, a->out_f32,
                                 (int)plan->algo[0])
        : cuda_gemm_any(ctx, a->out, a->x, a->w, a->bias, a->M, a->N, a->K, a->out_f32);
    return e == cudaSuccess ? 0
                            : error_set(err, ERR_DEVICE,
                                        "cannot multiply [%d, %d] by [%d, %d]: %s (%s)", a->M,
                                        a->K, a->K, a->N, cudaGetErrorString(e),
                                        cudaGetErrorName(e));
}

int
gemm_run_plan(const struct gemm_plans *plans, const struct cuda_ctx *ctx,
              const struct gemm_args *a, const struct gemm_plan *plan, struct error *err)
{
    if (plan->kind == GEMM_KERNEL)
        return run_kernel(ctx, a, plan, err);
    static const float one = 1, zero = 0;
    struct gemm_shape shape = gemm_shape_of(a);
    const struct lt_product *p = &plans->product;
    cublasLtMatmulAlgo_t algo;
    memcpy(&algo, plan->algo, sizeof algo);
    cublasStatus_t s = lt_product_set(p, &shape, a->M, a->bias);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmul(plans->handle, p->desc, &one, a->w, p->w, a->x, p->x, &zero, a->out,
                           p->out, a->out, p->out, &algo, plans->workspace,
                           plans->workspace_bytes, ctx->stream);
    return s == CUBLAS_STATUS_SUCCESS
        ? 0
        : error_set(err, ERR_DEVICE, "cannot multiply [%d, %d] by [%d, %d]: %s", a->M, a->K, a->K,
                    a->N, cublasLtGetStatusName(s));
}

/* Without a measurement: the own kernel for few rows, cuBLASLt's first guess for
 * more, the own kernel where it has none. */
static struct gemm_plan
guess(const struct gemm_plans *plans, const struct gemm_shape *shape, int num_rows)
{
    struct gemm_plan plan;
    if (num_rows > SKINNY_MAX_ROWS && gemm_ask_cublaslt(plans, shape, num_rows, &plan, 1) == 1)
        return plan;
    return (struct gemm_plan){.kind = GEMM_KERNEL};
}

bool
gemm_plan_usable(const struct gemm_plans *plans, const struct gemm_shape *shape,
                 const struct gemm_plan *plan)
{
    return plan->kind == GEMM_KERNEL ||
        (plan->kind == GEMM_CUBLASLT && gemm_cublaslt_knows(plans, shape) &&
         plan->workspace_bytes <= plans->workspace_bytes);
}

int
gemm_run(struct gemm_plans *plans, const struct cuda_ctx *ctx, const struct gemm_args *a,
         struct error *err)
{
    ASSERT(a->M >= 0 && a->N >= 1 && a->K >= 1);
    if (a->N % 8 != 0 || a->K % 8 != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "cannot multiply by [%d, %d]: not multiples of 8", a->K, a->N);
    if (a->M == 0)
        return 0;
    struct gemm_shape shape = gemm_shape_of(a);
    struct gemm_entry *entry = gemm_table_entry(&plans->table, &shape);
    if (entry == NULL)
        return error_set(err, ERR_NOMEM, "cannot plan a product: out of memory");
    int bucket = gemm_bucket(a->M);
    struct gemm_plan *plan = &entry->plans[bucket];
    if (!gemm_plan_usable(plans, &shape, plan))
        *plan = guess(plans, &shape, gemm_buckets[bucket]);
    int e = gemm_run_plan(plans, ctx, a, plan, err);
    if (e == 0 || plan->kind == GEMM_KERNEL)
        return e;
    /* an algorithm that was right for the bucket may not be for these rows */
    struct gemm_plan exact = guess(plans, &shape, a->M);
    e = gemm_run_plan(plans, ctx, a, &exact, err);
    if (e == 0)
        *plan = exact;
    return e;
}

/* "NVIDIA H200, cuBLASLt 130200" and the file's name made of it. */
static int
name_device(struct gemm_plans *plans, const char *cache_dir, struct error *err)
{
    struct cudaDeviceProp properties;
    int device;
    cudaError_t e = cudaGetDevice(&device);
    if (e == cudaSuccess)
        e = cudaGetDeviceProperties(&properties, device);
    if (e != cudaSuccess)
        return error_set(err, ERR_DEVICE, "cannot ask for the device's name: %s",
                         cudaGetErrorName(e));
    struct buf name = {0}, path = {0};
    buf_printf(&name, "%s, cuBLASLt %zu", properties.name, cublasLtGetVersion());
    if (cache_dir != NULL) {
        buf_printf(&path, "%s/gemm-", cache_dir);
        for (const char *c = buf_bytes(&name); *c != '\0'; c++)
            buf_putc(&path, isalnum((unsigned char)*c) ? *c : '_');
        buf_puts(&path, ".txt");
        plans->cache_path = buf_take(&path, NULL);
    }
    plans->device = buf_take(&name, NULL);
    if (plans->device == NULL || (cache_dir != NULL && plans->cache_path == NULL))
        return error_set(err, ERR_NOMEM, "cannot plan products: out of memory");
    return 0;
}

static int
open_cublaslt(struct gemm_plans *plans, struct error *err)
{
    cublasStatus_t s = cublasLtCreate(&plans->handle);
    if (s != CUBLAS_STATUS_SUCCESS)
        plans->handle = NULL;
    else if ((s = lt_product_new(&plans->product)) == CUBLAS_STATUS_SUCCESS)
        return 0;
    return error_set(err, ERR_DEVICE, "cannot start cuBLASLt: %s", cublasLtGetStatusName(s));
}

int
gemm_plans_new(const struct gemm_config *config, struct gemm_plans **ret_plans, struct error *err)
{
    struct gemm_plans *plans = calloc(1, sizeof *plans);
    if (plans == NULL)
        return error_set(err, ERR_NOMEM, "cannot plan products: out of memory");
    plans->workspace = config->workspace;
    plans->workspace_bytes = config->workspace == NULL ? 0 : config->workspace_bytes;
    /* the device is asked first: without a driver cuBLASLt has no handle to give */
    int e = name_device(plans, config->cache_dir, err);
    if (e == 0 && !config->deterministic)
        e = open_cublaslt(plans, err);
    if (e < 0) {
        gemm_plans_free(plans);
        return e;
    }
    struct error ignored;
    if (plans->handle != NULL && plans->cache_path != NULL) {
        e = gemm_table_load(&plans->table, plans->cache_path, plans->device, &ignored);
        if (e < 0 && e != ERR_NOTFOUND)
            log_warn("gemm_plans file unusable reason '%s'", ignored.text);
    }
    *ret_plans = plans;
    return 0;
}

void
gemm_plans_free(struct gemm_plans *plans)
{
    if (plans == NULL)
        return;
    lt_product_free(&plans->product);
    if (plans->handle != NULL)
        cublasLtDestroy(plans->handle);
    gemm_table_release(&plans->table);
    free(plans->cache_path);
    free(plans->device);
    free(plans);
}
