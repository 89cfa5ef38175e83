/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures how each product is best done. A candidate is recorded RUNS times into
 * a graph, with another layer's weights each time, and the graph is replayed: host
 * time does not count, as it does not in a recorded step.
 */
#include "kernels/cuda/gemm_impl.h"

#include "util/log.h"

#include <math.h>

#define RUNS 5       /* of a candidate in its graph */
#define REPLAYS 2    /* that count, after one that does not; the best is taken */
#define CANDIDATES 16

struct tuner {
    struct gemm_plans *plans;
    const struct cuda_ctx *ctx;
    const struct gemm_tuning *tuning;
    cudaEvent_t start, stop;  /* owned */
    int next_weights;         /* goes round over all candidates of a product */
};

static int
cuda_error(struct error *err, const char *what, cudaError_t e)
{
    return e == cudaSuccess
        ? 0
        : error_set(err, ERR_DEVICE, "cannot measure products: %s: %s", what, cudaGetErrorName(e));
}

/* One run of a candidate, with the next layer's weights. */
static int
run_once(struct tuner *t, const struct gemm_tuned_product *product, int num_rows,
         const struct gemm_plan *plan, struct error *err)
{
    struct gemm_args args = {
        .out = t->tuning->out,
        .x = t->tuning->x,
        .w = product->weights[t->next_weights++ % product->num_weights],
        .bias = product->bias,
        .M = num_rows,
        .N = product->N,
        .K = product->K,
        .out_f32 = product->out_f32,
    };
    return gemm_run_plan(t->plans, t->ctx, &args, plan, err);
}

/* The runs of one candidate as a graph; *ret_graph is NULL when the candidate
 * cannot do the product, which is no error. */
static int
record(struct tuner *t, const struct gemm_tuned_product *product, int num_rows,
       const struct gemm_plan *plan, cudaGraphExec_t *ret_graph, struct error *err)
{
    cudaStream_t stream = t->ctx->stream;
    cudaGraph_t graph = NULL;
    *ret_graph = NULL;
    /* its kernels are loaded by a run of its own: recording may not do that */
    if (run_once(t, product, num_rows, plan, NULL) < 0) {
        cudaGetLastError(); /* what the candidate left */
        return 0;
    }
    cudaError_t e = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (e != cudaSuccess)
        return cuda_error(err, "recording", e);
    int run = 0;
    for (int i = 0; i < RUNS && run == 0; i++)
        run = run_once(t, product, num_rows, plan, err);
    e = cudaStreamEndCapture(stream, &graph);
    if (run == 0 && e == cudaSuccess)
        e = cudaGraphInstantiate(ret_graph, graph, 0);
    if (graph != NULL)
        cudaGraphDestroy(graph);
    return run < 0 ? run : cuda_error(err, "recording", e);
}

/* The best replay in ms. */
static int
replay(struct tuner *t, cudaGraphExec_t graph, float *ret_ms, struct error *err)
{
    cudaStream_t stream = t->ctx->stream;
    float best = INFINITY;
    for (int i = 0; i < 1 + REPLAYS; i++) {
        float ms = 0;
        cudaError_t e = cudaEventRecord(t->start, stream);
        if (e == cudaSuccess)
            e = cudaGraphLaunch(graph, stream);
        if (e == cudaSuccess)
            e = cudaEventRecord(t->stop, stream);
        if (e == cudaSuccess)
            e = cudaEventSynchronize(t->stop);
        if (e == cudaSuccess)
            e = cudaEventElapsedTime(&ms, t->start, t->stop);
        if (e != cudaSuccess)
            return cuda_error(err, "a run", e);
        if (i > 0)
            best = MIN(best, ms);
    }
    *ret_ms = best;
    return 0;
}

/* The fastest way to do a product of so many rows; GEMM_NONE when none can. */
static int
fastest(struct tuner *t, const struct gemm_tuned_product *product, int num_rows,
        struct gemm_plan *ret_plan, struct error *err)
{
    struct gemm_shape shape = {product->N, product->K, product->bias != NULL, product->out_f32};
    struct gemm_plan candidates[3 + CANDIDATES];
    int num_candidates = 0;
    for (uint64_t row_tiles = 1; row_tiles <= 4 && num_rows <= SKINNY_MAX_ROWS; row_tiles *= 2)
        candidates[num_candidates++] =
            (struct gemm_plan){.kind = GEMM_KERNEL, .algo = {row_tiles}};
    num_candidates += gemm_ask_cublaslt(t->plans, &shape, num_rows, candidates + num_candidates,
                                        CANDIDATES);
    float best_ms = INFINITY;
    *ret_plan = (struct gemm_plan){0};
    for (int i = 0; i < num_candidates; i++) {
        cudaGraphExec_t graph;
        float ms = INFINITY;
        int e = record(t, product, num_rows, &candidates[i], &graph, err);
        if (e == 0 && graph != NULL) {
            e = replay(t, graph, &ms, err);
            cudaGraphExecDestroy(graph);
        }
        if (e < 0)
            return e;
        if (ms < best_ms) {
            best_ms = ms;
            *ret_plan = candidates[i];
        }
    }
    ret_plan->measured = true;
    return 0;
}

/* All buckets of a product; *changed: something was measured. */
static int
tune_product(struct tuner *t, const struct gemm_tuned_product *product, bool *changed,
             struct error *err)
{
    struct gemm_shape shape = {product->N, product->K, product->bias != NULL, product->out_f32};
    t->next_weights = 0;
    for (int b = 0; b <= gemm_bucket(product->max_rows); b++) {
        struct gemm_entry *entry = gemm_table_entry(&t->plans->table, &shape);
        if (entry == NULL)
            return error_set(err, ERR_NOMEM, "cannot measure products: out of memory");
        if (entry->plans[b].measured &&
            gemm_plan_usable(t->plans, &shape, &entry->plans[b]))
            continue;
        struct gemm_plan plan;
        int e = fastest(t, product, MIN(gemm_buckets[b], product->max_rows), &plan, err);
        if (e < 0)
            return e;
        if (plan.kind == GEMM_NONE)
            continue;
        entry->plans[b] = plan;
        *changed = true;
    }
    return 0;
}

static int
tune_all(struct tuner *t, bool *changed, struct error *err)
{
    int e = cuda_error(err, "an event", cudaEventCreate(&t->start));
    if (e == 0)
        e = cuda_error(err, "an event", cudaEventCreate(&t->stop));
    for (int i = 0; i < t->tuning->num_products && e == 0; i++)
        e = tune_product(t, &t->tuning->products[i], changed, err);
    if (t->start != NULL)
        cudaEventDestroy(t->start);
    if (t->stop != NULL)
        cudaEventDestroy(t->stop);
    return e;
}

int
gemm_plans_tune(struct gemm_plans *plans, const struct cuda_ctx *ctx,
                const struct gemm_tuning *tuning, struct error *err)
{
    struct tuner t = {.plans = plans, .ctx = ctx, .tuning = tuning};
    bool changed = false;
    if (plans->handle == NULL)
        return 0;
    int e = tune_all(&t, &changed, err);
    if (e < 0 || !changed || plans->cache_path == NULL)
        return e;
    struct error why;
    if (gemm_table_save(&plans->table, plans->cache_path, plans->device, &why) < 0)
        log_warn("gemm_plans are measured again at the next start reason '%s'", why.text);
    return 0;
}
