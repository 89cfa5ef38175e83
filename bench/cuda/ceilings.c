/* SPDX-License-Identifier: Apache-2.0 */
/* What the device can do at best, measured: the ground of all percentages. */
#include "bench/cuda/bench.h"

#include <math.h>

#define MOST_READ 4e9   /* bytes in one go */
#define SQUARE 8192     /* of the largest product */
#define CANDIDATES 8

static double
read_bytes(const struct bench *b)
{
    return floor(MIN(MOST_READ, (double)b->data_bytes / 2) / 16384) * 16384;
}

static cudaError_t
read_all(const struct bench *b, const void *arg, int i)
{
    (void)arg;
    return bench_read(&b->ctx, bench_data(b, read_bytes(b), i), (size_t)read_bytes(b), b->out);
}

static cudaError_t
copy_half(const struct bench *b, const void *arg, int i)
{
    size_t bytes = (size_t)read_bytes(b);
    (void)arg;
    return cudaMemcpyAsync(bench_space(b, (double)bytes, i + 1), bench_data(b, (double)bytes, i),
                           bytes, cudaMemcpyDeviceToDevice, b->ctx.stream);
}

struct square_job {
    int n;
    struct gemm_plan plan;
};

static cudaError_t
multiply(const struct bench *b, const void *arg, int i)
{
    const struct square_job *j = arg;
    double bytes = 2.0 * j->n * j->n;
    const struct gemm_args args = {
        .out = b->out, .x = bench_data(b, bytes, 0), .w = bench_data(b, bytes, 1 + i),
        .M = j->n, .N = j->n, .K = j->n,
    };
    return gemm_run_plan(b->plans, &b->ctx, &args, &j->plan, NULL) == 0 ? cudaSuccess
                                                                       : cudaErrorNotSupported;
}

static double
flops_of_square(const struct bench *b)
{
    struct square_job j = {.n = b->tiny ? 128 : SQUARE};
    const struct gemm_shape shape = {j.n, j.n, false, false};
    struct gemm_plan plans[CANDIDATES];
    double best = 0;
    int n = gemm_ask_cublaslt(b->plans, &shape, j.n, plans, CANDIDATES);
    for (int i = 0; i < n; i++) {
        const struct job job = {multiply, NULL, &j, b->tiny ? 1 : 3};
        j.plan = plans[i];
        struct times t = bench_time(b, &job);
        if (!isnan(t.median_s))
            best = MAX(best, 2.0 * j.n * j.n * j.n / t.median_s);
    }
    return best;
}

void
bench_ceilings(struct bench *b)
{
    const struct job read = {read_all, NULL, NULL, b->tiny ? 1 : 3};
    const struct job copy = {copy_half, NULL, NULL, b->tiny ? 1 : 3};
    double read_s = bench_time(b, &read).median_s, copy_s = bench_time(b, &copy).median_s;
    double copied = 2 * read_bytes(b) / copy_s;
    b->bytes_per_s = read_bytes(b) / read_s;
    b->flops_per_s = flops_of_square(b);
    printf("ceilings: read %.3f TB/s, copy %.3f TB/s (read and written), bf16 %.1f TFLOP/s\n",
           b->bytes_per_s / 1e12, copied / 1e12, b->flops_per_s / 1e12);
    fflush(stdout);
    rows_begin(&b->rows, "ceilings");
    rows_number(&b->rows, "read_bytes_per_s", b->bytes_per_s);
    rows_number(&b->rows, "copy_bytes_per_s", copied);
    rows_number(&b->rows, "flops_per_s", b->flops_per_s);
    rows_end(&b->rows);
}
