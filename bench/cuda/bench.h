/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of bench_kernels share: a device, memory full of random numbers,
 * timing, and the table. All functions end the program when a CUDA call fails: a
 * measurement on a device that failed is none.
 */
#ifndef BENCH_CUDA_BENCH_H
#define BENCH_CUDA_BENCH_H

#include "bench/rows.h"
#include "kernels/cuda/gemm_impl.h"
#include "kernels/cuda/kernels.h"

struct bench_model {
    const char *name;
    int hidden, heads, kv_heads, head_dim, ffn, vocab;
    float softcap;
    int gelu, bias;
};

struct bench {
    struct cuda_ctx ctx;
    struct rows rows;
    struct gemm_plans *plans;
    const struct bench_model *models;
    int num_models;
    bool tiny, quick;         /* see --help */
    int repeats;
    uint64_t deadline_ns;     /* 0: none */
    const char *predictions;  /* text of the file, or NULL */
    const char *only;         /* kernels with this word alone, or NULL */
    char *data;               /* device: bf16 in +-1, read in turn by what is measured */
    size_t data_bytes;
    char *out;                /* device: what is written */
    size_t out_bytes;
    double bytes_per_s, flops_per_s; /* measured: the ceilings */
    cudaEvent_t start, stop;
};

/* One launch of what is measured, number i: another part of the memory each time.
 * Any other value than cudaSuccess: it cannot be done. */
struct job {
    cudaError_t (*enqueue)(const struct bench *b, const void *arg, int i);
    /* Before each repetition, outside of the time; may be NULL. */
    void (*prepare)(const struct bench *b, const void *arg);
    const void *arg;
    int num_launches; /* of a repetition */
};

struct times {
    double min_s, median_s; /* of one launch; NaN: it cannot be done */
};

/* A line of the table. */
struct bench_case {
    const char *kernel, *how; /* how: "kernel", or the library that did it */
    const char *model;
    int rows, context;        /* context 0: it has none */
    double bytes, flops;      /* that have to move, and be computed */
};

void bench_check(cudaError_t rc, const char *what);
/* The launches of a repetition are recorded as a graph, as they are in a step, and
 * replayed: once to warm up, then b->repeats times. */
struct times bench_time(const struct bench *b, const struct job *job);
/* Prints a line and writes a row. */
void bench_report(struct bench *b, const struct bench_case *c, struct times t);
/* Whether a kernel is wanted, and there is time for it; says so when not. */
bool bench_wants(struct bench *b, const char *kernel, const char *model);

/* Device memory with a copy of `data`, or zeros (NULL); free it with cudaFree. */
void *bench_upload(const void *data, size_t bytes);
/* So many launches that all of them together read several times the L2 cache. */
int bench_launches(const struct bench *b, double bytes_each);
/* Where launch i reads, of launches that read bytes_each. */
const void *bench_data(const struct bench *b, double bytes_each, int i);
/* The same with bytes_each bytes that may be written: later reads are still random
 * numbers, though others. */
static inline void *
bench_space(const struct bench *b, double bytes_each, int i)
{
    return (void *)(uintptr_t)bench_data(b, bytes_each, i);
}

/* The parts. */
void bench_ceilings(struct bench *b);
void bench_gemm(struct bench *b, const struct bench_model *m);
void bench_attention(struct bench *b, const struct bench_model *m);
void bench_elementwise(struct bench *b, const struct bench_model *m);
void bench_sampling(struct bench *b);

/* bench/cuda/read.cu: reads bytes (a multiple of 16 KB) and writes one word a block,
 * at most 65536 of them, to `sums`. */
#ifdef __cplusplus
extern "C"
#endif
cudaError_t bench_read(const struct cuda_ctx *ctx, const void *data, size_t bytes, void *sums);

#endif
