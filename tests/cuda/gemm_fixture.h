/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of matrix products share: products on host and device, their
 * exact values, and plans. One program: the context is its own.
 */
#ifndef TESTS_CUDA_GEMM_FIXTURE_H
#define TESTS_CUDA_GEMM_FIXTURE_H

#include "kernels/cuda/gemm.h"

extern struct cuda_ctx ctx;

void open_device(void);
void close_device(void);

/* What the numbers are: -2..2, or of [-1, 1). */
enum values { SMALL_INTEGERS, FRACTIONS };

/* One product on host and device. */
struct product {
    struct gemm_args args;   /* device memory, owned */
    float *x, *w, *bias;     /* owned */
    float *out;              /* owned; after product_read */
};

void product_init(struct product *p, int M, int N, int K, bool bias, bool out_f32,
                  enum values values);
void product_release(struct product *p);
void product_read(struct product *p);
/* Element [m, n] in double precision. */
double product_exact(const struct product *p, int m, int n);
/* Every element of an integer product is exact, or its one rounding. */
void assert_exact(const char *what, struct product *p);

/* With the fixture's workspace. */
struct gemm_plans *new_plans(const char *cache_dir, bool deterministic);
/* One product of small integers is exact. */
void check_run(struct gemm_plans *plans, int M, int N, int K, bool bias, bool out_f32);
float *random_matrix(uint64_t seed, int64_t n, enum values values);

#endif
