/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All matrix products of the CUDA module: out[M, N] = x[M, K] . w[N, K]^T
 * (+ bias[N]), by the module's own kernel or by cuBLASLt, whichever the plan of
 * the shape and number of rows says. One thread at a time, with the device that
 * was current in gemm_plans_new.
 *
 * A product has the same bits whenever it is done with the same M by the same
 * plans: sums split over blocks meet in float32 in a fixed order. Across
 * different M it has them with `deterministic` only.
 */
#ifndef KERNELS_CUDA_GEMM_H
#define KERNELS_CUDA_GEMM_H

#include "kernels/cuda/kernels.h"
#include "util/error.h"

/* What cuBLASLt is given for partial sums: its own advice for Hopper is 32 MiB. */
#define GEMM_WORKSPACE_BYTES ((size_t)64 << 20)

struct gemm_config {
    void *workspace;          /* borrowed: device memory, 256-byte aligned; NULL: none */
    size_t workspace_bytes;
    bool deterministic;       /* a row's bits depend on that row alone: no cuBLASLt */
    const char *cache_dir;    /* borrowed for the call: where measured plans are kept,
                                 an existing folder; NULL: nowhere */
};

/* Device memory, 16-byte aligned; out overlaps nothing. */
struct gemm_args {
    void *out;                /* [M, N], bf16, or f32 when out_f32 */
    const bf16_bits *x;       /* [M, K] */
    const bf16_bits *w;       /* [N, K] */
    const bf16_bits *bias;    /* [N] or NULL */
    int M, N, K;
    bool out_f32;
};

struct gemm_plans;

/* A cache file that cannot be used is passed over with a warning in the log.
 * ERR_DEVICE: no driver, or cuBLASLt cannot start; ERR_NOMEM. */
int gemm_plans_new(const struct gemm_config *config, struct gemm_plans **ret_plans,
                   struct error *err);
void gemm_plans_free(struct gemm_plans *plans);

/*
 * Enqueues one product; M 0 is none. May be captured. The first call of a shape
 * and bucket of rows plans it (host work only), and CUDA may load a kernel at its
 * first launch: better not while recording. Later calls allocate nothing. N or K
 * not a multiple of 8: ERR_UNSUPPORTED; the launch's or cuBLASLt's failure:
 * ERR_DEVICE.
 */
int gemm_run(struct gemm_plans *plans, const struct cuda_ctx *ctx, const struct gemm_args *args,
             struct error *err);

/* A product to be measured before it is needed. */
struct gemm_tuned_product {
    const bf16_bits *const *weights; /* the layers' matrices [N, K], taken in turn so that
                                        each comes from memory, as in a step */
    int num_weights;
    const bf16_bits *bias;
    int N, K;
    bool out_f32;
    int max_rows;                    /* buckets up to that of so many rows */
};

struct gemm_tuning {
    const struct gemm_tuned_product *products;
    int num_products;
    const bf16_bits *x;   /* max_rows * K elements of the largest product, like real ones */
    void *out;            /* max_rows * N elements of the largest */
};

/*
 * Measures, for each product and bucket without a measured plan, the module's own
 * kernel (up to SKINNY_MAX_ROWS rows, with each number of row tiles) and what
 * cuBLASLt's heuristic proposes, each recorded in a graph as a step would be, and
 * keeps the fastest; then writes the cache file, if there is one, when anything is
 * new. Waits for the stream; not to be called during capture. Seconds. Nothing to
 * do when `deterministic`.
 */
int gemm_plans_tune(struct gemm_plans *plans, const struct cuda_ctx *ctx,
                    const struct gemm_tuning *tuning, struct error *err);

#endif
