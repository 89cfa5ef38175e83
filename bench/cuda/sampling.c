/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing tokens at the vocabularies of the models, from logits spread like a bell. */
#include "bench/cuda/bench.h"

#include "util/rng.h"

#include <string.h>

#define MOST_COPIES 768 /* of a row of logits, before each repetition */

static const int rows_of[] = {1, 64, 256};

static const struct {
    const char *kernel;
    float temperature, top_p;
    int flags;
} kinds[] = {
    {"sample_greedy", 0, 1, 0},
    {"sample", 1, 1, 0}, /* as in the offline test */
    {"sample_top_p", 1, 0.9f, SAMPLE_FILTERS},
};

struct sampling_job {
    struct sample_args args;
    const float *row;      /* one row of logits */
    int num_launches;
};

/* Each launch has logits of its own, since they are destroyed. */
static float *
logits_of(const struct bench *b, const struct sampling_job *j, int i)
{
    return bench_space(b, 4.0 * j->args.num_rows * (double)j->args.vocab_size, i);
}

static cudaError_t
enqueue(const struct bench *b, const void *arg, int i)
{
    const struct sampling_job *j = arg;
    struct sample_args args = j->args;
    args.logits = logits_of(b, j, i);
    return cuda_sample(&b->ctx, &args);
}

static void
prepare(const struct bench *b, const void *arg)
{
    const struct sampling_job *j = arg;
    size_t bytes = (size_t)j->args.vocab_size * sizeof(float);
    for (int i = 0; i < j->num_launches; i++) {
        char *logits = (char *)logits_of(b, j, i);
        for (int r = 0; r < j->args.num_rows; r++)
            bench_check(cudaMemcpyAsync(logits + (size_t)r * bytes, j->row, bytes,
                                        cudaMemcpyDeviceToDevice, b->ctx.stream),
                        "cudaMemcpyAsync");
    }
}

/* A sum of uniform numbers is near to the bell of real logits. */
static float *
bell_row(int vocab)
{
    float *x = malloc((size_t)vocab * sizeof *x);
    ASSERT(x != NULL);
    for (int i = 0; i < vocab; i++) {
        float sum = 0;
        for (uint64_t k = 0; k < 4; k++)
            sum += (float)(rng_mix64((uint64_t)i * 4 + k) >> 40) * 0x1p-23f - 1;
        x[i] = 3 * sum;
    }
    return x;
}

static void
time_rows(struct bench *b, const char *model, size_t kind, int rows, int vocab, const float *row)
{
    struct sample_params *params = calloc((size_t)rows, sizeof *params);
    ASSERT(params != NULL);
    for (int r = 0; r < rows; r++)
        params[r] = (struct sample_params){
            .seed = (uint64_t)r,
            .temperature = kinds[kind].temperature,
            .top_p = kinds[kind].top_p,
            .repetition_penalty = 1,
            .num_logprobs = -1,
        };
    size_t workspace = cuda_sample_workspace(rows, vocab, 0, 0), n = (size_t)rows;
    struct sampling_job j = {
        .args = {
            .num_rows = rows,
            .vocab_size = vocab,
            .params = bench_upload(params, n * sizeof *params),
            .ids = bench_upload(NULL, 4),
            .values = bench_upload(NULL, 4),
            .last_tokens = bench_upload(NULL, n * 4),
            .drawn = bench_upload(NULL, n * 4),
            .out = bench_upload(NULL, n * sizeof(struct sample_out)),
            .top_ids = bench_upload(NULL, n * 4),
            .top_logprobs = bench_upload(NULL, n * 4),
            .top_stride = 1,
            .workspace = bench_upload(NULL, workspace),
            .workspace_bytes = workspace,
            .flags = kinds[kind].flags,
        },
        .row = row,
    };
    double bytes = 4.0 * rows * (double)vocab;
    j.num_launches = MIN(bench_launches(b, bytes), MOST_COPIES / rows);
    const struct job job = {enqueue, prepare, &j, j.num_launches};
    const struct bench_case c = {
        .kernel = kinds[kind].kernel,
        .how = "kernel",
        .model = model,
        .rows = rows,
        .bytes = bytes,
    };
    bench_report(b, &c, bench_time(b, &job));
    const void *const owned[] = {
        j.args.params, j.args.ids, j.args.values,  j.args.last_tokens,  j.args.drawn,
        j.args.out,    j.args.top_ids, j.args.top_logprobs, j.args.workspace,
    };
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        bench_check(cudaFree((void *)(uintptr_t)owned[i]), "cudaFree");
    free(params);
}

static void
time_vocab(struct bench *b, const char *model, int vocab)
{
    float *bell = bell_row(vocab);
    float *row = bench_upload(bell, (size_t)vocab * sizeof *bell);
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (size_t i = 0; i < ARRAY_SIZE(rows_of); i++) {
            bool thinned = (b->tiny && rows_of[i] > 1) || (b->quick && rows_of[i] == 64);
            if (!thinned)
                time_rows(b, model, k, rows_of[i], vocab, row);
        }
    }
    bench_check(cudaFree(row), "cudaFree");
    free(bell);
}

/* Each vocabulary once, for the first model that has it. */
void
bench_sampling(struct bench *b)
{
    for (int i = 0; i < b->num_models; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen = seen || b->models[k].vocab == b->models[i].vocab;
        if (!seen && bench_wants(b, "sample", b->models[i].name))
            time_vocab(b, b->models[i].name, b->models[i].vocab);
    }
}
