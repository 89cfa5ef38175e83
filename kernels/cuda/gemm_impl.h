/* SPDX-License-Identifier: Apache-2.0 */
/* What gemm.c and gemm_tune.c share. */
#ifndef KERNELS_CUDA_GEMM_IMPL_H
#define KERNELS_CUDA_GEMM_IMPL_H

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_plan.h"

#include <cublasLt.h>

/* A product as cuBLASLt sees it. Made once and filled anew for each product, by the
 * library's own functions: its memory differs between releases of one version. */
struct lt_product {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, out;
    cublasLtMatmulPreference_t preference;
};

struct gemm_plans {
    cublasLtHandle_t handle;    /* owned; NULL when deterministic */
    struct lt_product product;  /* owned, with the handle */
    void *workspace;            /* borrowed */
    size_t workspace_bytes;
    struct gemm_table table;
    char *cache_path;           /* owned; NULL: no file */
    char *device;               /* owned; the GPU and the library, as the file names them */
};

struct gemm_shape gemm_shape_of(const struct gemm_args *args);
/* Whether cuBLASLt may do a shape. */
bool gemm_cublaslt_knows(const struct gemm_plans *plans, const struct gemm_shape *shape);
/* Whether a plan is there and may be carried out: one from the file may need more
 * workspace than there is. */
bool gemm_plan_usable(const struct gemm_plans *plans, const struct gemm_shape *shape,
                      const struct gemm_plan *plan);
/* At most `most` plans by cuBLASLt's heuristic, best guess first; how many. */
int gemm_ask_cublaslt(const struct gemm_plans *plans, const struct gemm_shape *shape, int num_rows,
                      struct gemm_plan *ret_plans, int most);
/* Does one product as `plan` says; 0 or ERR_DEVICE. */
int gemm_run_plan(const struct gemm_plans *plans, const struct cuda_ctx *ctx,
                  const struct gemm_args *args, const struct gemm_plan *plan, struct error *err);

#endif
