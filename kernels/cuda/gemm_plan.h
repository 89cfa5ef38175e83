/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each matrix product is to be done: a table of plans by shape and bucket of
 * rows, and the file that keeps measured ones between runs. Knows no CUDA; one
 * thread at a time.
 */
#ifndef KERNELS_CUDA_GEMM_PLAN_H
#define KERNELS_CUDA_GEMM_PLAN_H

#include "util/error.h"

/* A product of M rows is done as the smallest bucket >= M is (the last one, when
 * M is larger than all). */
#define GEMM_NUM_BUCKETS 24
extern const int gemm_buckets[GEMM_NUM_BUCKETS];
int gemm_bucket(int num_rows);

enum gemm_kind {
    GEMM_NONE,      /* not planned yet */
    GEMM_KERNEL,    /* the module's own kernels: few rows by cuda_gemm_skinny_tiles with
                       row_tiles = algo[0], more by cuda_gemm_any */
    GEMM_CUBLASLT,  /* cublasLtMatmul with `algo` */
};

#define GEMM_ALGO_WORDS 8

struct gemm_plan {
    enum gemm_kind kind;
    bool measured;               /* the best of several; else a first guess */
    uint64_t workspace_bytes;    /* cuBLASLt: what the algorithm needs */
    uint64_t algo[GEMM_ALGO_WORDS]; /* cuBLASLt: its cublasLtMatmulAlgo_t; else above */
};

/* out[M, N] = x[M, K] . w[N, K]^T of any M. */
struct gemm_shape {
    int N, K;
    bool bias, out_f32;
};

struct gemm_entry {
    struct gemm_shape shape;
    struct gemm_plan plans[GEMM_NUM_BUCKETS];
};

/* Zero-initialised is a valid empty table. */
struct gemm_table {
    struct gemm_entry *entries;  /* owned */
    int num_entries, capacity;
};

void gemm_table_release(struct gemm_table *table);
/* The entry of a shape, added when it is not there: valid until the next is
 * added. NULL: out of memory. Allocates only when it adds. */
struct gemm_entry *gemm_table_entry(struct gemm_table *table, const struct gemm_shape *shape);

/*
 * Replaces the table by the file at `path`, written for `device` (one line of
 * text that names the GPU and the library; other devices' files do not count).
 * ERR_NOTFOUND, ERR_IO, or ERR_CORRUPT for a file that is cut, changed, of
 * another version or another device: the table is as it was.
 */
int gemm_table_load(struct gemm_table *table, const char *path, const char *device,
                    struct error *err);
/* Writes the measured plans; a reader sees the old file or the new one. */
int gemm_table_save(const struct gemm_table *table, const char *path, const char *device,
                    struct error *err);

#endif
