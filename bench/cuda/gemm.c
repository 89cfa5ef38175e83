/* SPDX-License-Identifier: Apache-2.0 */
/* The five matrix products of a model: by the module's own kernel, and by cuBLASLt. */
#include "bench/cuda/bench.h"

#include <math.h>

#define CANDIDATES 8

static const int skinny_rows[] = {1, 8, 16, 32};
static const int library_rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

struct product {
    const char *kernel; /* as tests/cuda/kernel_cases.c calls it */
    int N, K;
    bool bias, out_f32;
};

struct gemm_job {
    const struct product *product;
    int M;
    struct gemm_plan plan;
    const bf16_bits *x, *bias;
};

static double
weight_bytes(const struct product *p)
{
    return 2.0 * p->N * p->K;
}

static cudaError_t
enqueue(const struct bench *b, const void *arg, int i)
{
    const struct gemm_job *j = arg;
    const struct gemm_args args = {
        .out = b->out,
        .x = j->x,
        .w = bench_data(b, weight_bytes(j->product), i),
        .bias = j->bias,
        .M = j->M,
        .N = j->product->N,
        .K = j->product->K,
        .out_f32 = j->product->out_f32,
    };
    return gemm_run_plan(b->plans, &b->ctx, &args, &j->plan, NULL) == 0 ? cudaSuccess
                                                                       : cudaErrorNotSupported;
}

static struct times
time_plan(const struct bench *b, const struct gemm_job *j)
{
    const struct job job = {
        .enqueue = enqueue,
        .arg = j,
        .num_launches = bench_launches(b, weight_bytes(j->product)),
    };
    return bench_time(b, &job);
}

static void
report(struct bench *b, const struct bench_model *m, const struct gemm_job *j, const char *how,
       struct times t)
{
    const struct product *p = j->product;
    double out = (p->out_f32 ? 4.0 : 2.0) * j->M * p->N;
    const struct bench_case c = {
        .kernel = p->kernel,
        .how = how,
        .model = m->name,
        .rows = j->M,
        .bytes = weight_bytes(p) + 2.0 * j->M * p->K + out,
        .flops = 2.0 * j->M * p->N * p->K,
    };
    bench_report(b, &c, t);
}

/* The fastest of what cuBLASLt's heuristic proposes, as model_tune takes it. */
static void
time_library(struct bench *b, const struct bench_model *m, struct gemm_job *j)
{
    const struct product *p = j->product;
    const struct gemm_shape shape = {p->N, p->K, j->bias != NULL, p->out_f32};
    struct gemm_plan plans[CANDIDATES];
    struct times best = {NAN, NAN};
    int n = gemm_ask_cublaslt(b->plans, &shape, j->M, plans, b->quick ? 2 : CANDIDATES);
    for (int i = 0; i < n; i++) {
        j->plan = plans[i];
        struct times t = time_plan(b, j);
        if (!isnan(t.median_s) && !(t.median_s >= best.median_s))
            best = t;
    }
    if (!isnan(best.median_s))
        report(b, m, j, "cublaslt", best);
}

static void
time_product(struct bench *b, const struct bench_model *m, const struct product *p)
{
    struct gemm_job j = {.product = p, .x = (const bf16_bits *)b->data,
                         .bias = p->bias ? (const bf16_bits *)b->data : NULL};
    for (size_t i = 0; i < ARRAY_SIZE(skinny_rows); i++) {
        j.M = skinny_rows[i];
        j.plan = (struct gemm_plan){.kind = GEMM_KERNEL};
        report(b, m, &j, "kernel", time_plan(b, &j));
    }
    for (size_t i = 0; i < ARRAY_SIZE(library_rows); i++) {
        j.M = library_rows[i];
        bool thinned = b->quick && j.M != 1 && j.M != 32 && j.M != 256;
        if (!thinned && !(b->tiny && j.M > 32))
            time_library(b, m, &j);
    }
}

void
bench_gemm(struct bench *b, const struct bench_model *m)
{
    int q = m->heads * m->head_dim, qkv = q + 2 * m->kv_heads * m->head_dim;
    const struct product products[] = {
        {"gemm_qkv", qkv, m->hidden, m->bias, false},
        {"gemm_o", m->hidden, q, false, false},
        {"gemm_gate_up", 2 * m->ffn, m->hidden, false, false},
        {"gemm_down", m->hidden, m->ffn, false, false},
        {"gemm_head", m->vocab, m->hidden, false, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(products); i++) {
        if (bench_wants(b, products[i].kernel, m->name))
            time_product(b, m, &products[i]);
    }
}
