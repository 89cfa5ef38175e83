/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a backend may be from the reference: |got - want| <= abs + rel *
 * |want|. f32 has 2^-24 = 6e-8 of rounding per operation; the chains here are
 * up to a few thousand long.
 */
#ifndef TESTS_OPS_TOL_H
#define TESTS_OPS_TOL_H

struct tol {
    double abs, rel;
};

/* one rounding */
#define TOL_EXACT ((struct tol){0, 1.3e-7})
/* a few roundings, and exp or tanh within 2 ulp */
#define TOL_ELEMENTWISE ((struct tol){1e-7, 2e-6})
/* sums of K products of numbers around 1: partial sums and the number of
 * roundings both grow as sqrt(K), so abs is given per K */
#define TOL_GEMM_PER_K 1.2e-7
/* softmax and values of f32 pages */
#define TOL_ATTENTION_F32 ((struct tol){5e-6, 5e-6})
/* bf16 pages: a rotated key may fall on the other side of a rounding (2^-8 of
 * one number of the key) */
#define TOL_ATTENTION_BF16 ((struct tol){4e-3, 2e-3})
#define TOL_LOGPROB ((struct tol){2e-6, 1e-6})

#endif
