/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a matrix product into tasks. The cut decides speed alone: every output
 * element is one chain over k wherever it is computed (gemm_impl.h).
 */
#include "kernels/cpu/cpu.h"

/* Rows of a task: their part of x stays in L2 while panels stream past. */
#define ROW_BLOCK 96
/* Tasks per thread: enough to level out a thread that is delayed; half for
 * rows so few that a task is over in microseconds. */
#define TASKS_PER_THREAD 16
#define FEW_ROWS 4
/* Below this many multiply-adds the barrier costs more than a thread saves. */
#define MIN_PARALLEL_WORK 32768

struct gemm_job {
    const struct cpu_kernels *kernels;
    struct gemm_tile whole;
    int rows_per_task, num_row_blocks;
    int64_t num_panel_chunks, num_panels;
};

/* Chunks differ by one pair of panels at most. Pairs, because one or two rows
 * take panels together. */
static int64_t
chunk_begin(const struct gemm_job *job, int64_t chunk)
{
    int64_t pairs = CEIL_DIV(job->num_panels, 2);
    return MIN(chunk * pairs / job->num_panel_chunks * 2, job->num_panels);
}

static void
gemm_task(void *arg, int task, int thread)
{
    (void)thread;
    const struct gemm_job *job = arg;
    int row = (int)(task / job->num_panel_chunks) * job->rows_per_task;
    int64_t chunk = task % job->num_panel_chunks;
    struct gemm_tile tile = job->whole;
    tile.x += (size_t)row * tile.k;
    tile.out += (size_t)row * tile.n;
    tile.rows = MIN(job->rows_per_task, tile.rows - row);
    tile.panel_begin = chunk_begin(job, chunk);
    tile.panel_end = chunk_begin(job, chunk + 1);
    job->kernels->gemm(&tile);
}

static void
run_gemm(struct device *dev, struct buffer *out, const struct buffer *x, const struct weight *w,
         const struct weight *bias, int rows)
{
    ASSERT(rows >= 0 && (size_t)rows * w->cols * sizeof(float) <= x->bytes);
    ASSERT((size_t)rows * w->rows * sizeof(float) <= out->bytes && out->data != x->data);
    ASSERT(bias == NULL || bias->cols == w->rows);
    if (rows == 0)
        return;
    const struct packed *packed = w->impl;
    struct gemm_job job = {
        .kernels = dev->kernels,
        .whole = {
            .x = x->data,
            .w = packed->data,
            .panel_bytes = packed->panel_bytes,
            .dtype = w->dtype,
            .bias = bias != NULL ? ((const struct packed *)bias->impl)->data : NULL,
            .out = out->data,
            .k = w->cols,
            .n = w->rows,
            .rows = rows,
        },
        .num_panels = CEIL_DIV(w->rows, PANEL),
    };
    int row_blocks = CEIL_DIV(rows, ROW_BLOCK);
    job.rows_per_task = ROUND_UP(CEIL_DIV(rows, row_blocks), 6);
    job.num_row_blocks = CEIL_DIV(rows, job.rows_per_task);
    job.num_panel_chunks = 1;
    int num_threads = pool_num_threads(dev->pool);
    if (num_threads > 1 && (int64_t)rows * w->rows * w->cols >= MIN_PARALLEL_WORK) {
        /* as many tasks as share out evenly, if there are that many pairs */
        int64_t tasks = num_threads * (rows < FEW_ROWS ? TASKS_PER_THREAD / 2 : TASKS_PER_THREAD);
        job.num_panel_chunks = CEIL_DIV(tasks, job.num_row_blocks);
        job.num_panel_chunks = MIN(job.num_panel_chunks, CEIL_DIV(job.num_panels, 2));
    }
    pool_run(dev->pool, job.num_row_blocks * (int)job.num_panel_chunks, gemm_task, &job);
}

void
cpu_gemm(struct device *dev, struct buffer *out, const struct buffer *x, const struct weight *w,
         const struct weight *bias, int rows)
{
    run_gemm(dev, out, x, w, bias, rows);
}

void
cpu_gemm_logits(struct device *dev, struct buffer *out, const struct buffer *x,
                const struct weight *w, int rows)
{
    run_gemm(dev, out, x, w, NULL, rows);
}
