/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ops that touch each number once: embedding, norms, activations, row copies
 * and the soft cap. Tasks are whole rows, or stretches of a buffer.
 */
#include "kernels/cpu/cpu.h"

struct rows_job {
    const struct device *dev;
    float *out, *residual;
    const float *x, *w;
    const struct weight *table;
    const int32_t *ids;
    int64_t width;             /* of an output row */
    int rows, rows_per_task;
    float eps, offset, scale;
    enum activation act;
};

typedef void row_fn(const struct rows_job *job, int row);

/* Runs a task's rows; each op has its own entry so that the pool's callback
 * stays a direct call. */
static void
run_rows(const struct rows_job *job, int task, row_fn *fn)
{
    int begin = task * job->rows_per_task, end = MIN(begin + job->rows_per_task, job->rows);
    for (int row = begin; row < end; row++)
        fn(job, row);
}

static void
pool_rows(struct device *dev, struct rows_job *job, pool_fn *fn)
{
    job->rows_per_task = (int)MAX(1, TASK_ELEMENTS / job->width);
    pool_run(dev->pool, CEIL_DIV(job->rows, job->rows_per_task), fn, job);
}

/* Row `id` of a packed table: every sixteenth number of its panel. */
static void
embed_row(const struct rows_job *job, int row)
{
    const struct weight *w = job->table;
    const struct packed *packed = w->impl;
    int64_t id = job->ids[row], cols = w->cols;
    const char *panel = (const char *)packed->data + (size_t)(id / PANEL) * packed->panel_bytes;
    int slot = lane_slot(w->dtype, (int)(id % PANEL));
    float *out = job->out + (size_t)row * cols;
    if (w->dtype == DTYPE_BF16) {
        const uint16_t *p = (const uint16_t *)panel + slot;
        for (int64_t k = 0; k < cols; k++)
            out[k] = f32_from_bf16(p[k * PANEL]) * job->scale;
        return;
    }
    for (int64_t k = 0; k < cols; k++)
        out[k] = element_get(w->dtype, panel, k * PANEL + slot) * job->scale;
}

static void
embed_task(void *arg, int task, int thread)
{
    (void)thread;
    run_rows(arg, task, embed_row);
}

void
cpu_embed(struct device *dev, struct buffer *out, const struct weight *table, float scale)
{
    ASSERT(dev->batch != NULL);
    struct rows_job job = {
        .out = out->data,
        .table = table,
        .ids = dev->batch->token_ids,
        .width = table->cols,
        .rows = dev->batch->num_tokens,
        .scale = scale,
    };
    for (int t = 0; t < job.rows; t++)
        ASSERT(job.ids[t] >= 0 && job.ids[t] < table->rows);
    ASSERT((size_t)job.rows * job.width * sizeof(float) <= out->bytes);
    pool_rows(dev, &job, embed_task);
}

static void
rmsnorm_row(const struct rows_job *job, int row)
{
    size_t at = (size_t)row * job->width;
    job->dev->kernels->rmsnorm(job->out + at, job->residual ? job->residual + at : NULL,
                               job->x + at, job->w, job->width, job->eps, job->offset);
}

static void
rmsnorm_task(void *arg, int task, int thread)
{
    (void)thread;
    run_rows(arg, task, rmsnorm_row);
}

void
cpu_add_rmsnorm(struct device *dev, struct buffer *out, struct buffer *residual,
                const struct buffer *x, const struct weight *w, int rows, float eps,
                float weight_offset)
{
    struct rows_job job = {
        .dev = dev,
        .out = out->data,
        .residual = residual != NULL ? residual->data : NULL,
        .x = x->data,
        .w = ((const struct packed *)w->impl)->data,
        .width = w->cols,
        .rows = rows,
        .eps = eps,
        .offset = weight_offset,
    };
    size_t bytes = (size_t)rows * job.width * sizeof(float);
    ASSERT(bytes <= out->bytes && bytes <= x->bytes);
    ASSERT(residual == NULL || bytes <= residual->bytes);
    pool_rows(dev, &job, rmsnorm_task);
}

void
cpu_rmsnorm(struct device *dev, struct buffer *out, const struct buffer *x,
            const struct weight *w, int rows, float eps, float weight_offset)
{
    cpu_add_rmsnorm(dev, out, NULL, x, w, rows, eps, weight_offset);
}

static void
act_mul_row(const struct rows_job *job, int row)
{
    const float *gate = job->x + (size_t)row * 2 * job->width;
    job->dev->kernels->act_mul(job->out + (size_t)row * job->width, gate, gate + job->width,
                               job->width, job->act);
}

static void
act_mul_task(void *arg, int task, int thread)
{
    (void)thread;
    run_rows(arg, task, act_mul_row);
}

void
cpu_act_mul(struct device *dev, struct buffer *out, const struct buffer *gate_up, int rows,
            int64_t intermediate_size, enum activation act)
{
    struct rows_job job = {
        .dev = dev,
        .out = out->data,
        .x = gate_up->data,
        .width = intermediate_size,
        .rows = rows,
        .act = act,
    };
    ASSERT((size_t)rows * job.width * sizeof(float) <= out->bytes);
    ASSERT((size_t)rows * 2 * job.width * sizeof(float) <= gate_up->bytes);
    pool_rows(dev, &job, act_mul_task);
}

void
cpu_gather_rows(struct device *dev, struct buffer *out, const struct buffer *x,
                const int32_t *row_ids, int num_rows, int64_t hidden_size)
{
    (void)dev;
    size_t row_bytes = (size_t)hidden_size * sizeof(float);
    ASSERT((size_t)num_rows * row_bytes <= out->bytes);
    for (int i = 0; i < num_rows; i++) {
        ASSERT(row_ids[i] >= 0 && ((size_t)row_ids[i] + 1) * row_bytes <= x->bytes);
        memcpy((char *)out->data + (size_t)i * row_bytes,
               (const char *)x->data + (size_t)row_ids[i] * row_bytes, row_bytes);
    }
}

/* The soft cap knows no rows: stretches of the whole buffer. */
static void
softcap_task(void *arg, int task, int thread)
{
    (void)thread;
    const struct rows_job *job = arg;
    int64_t begin = (int64_t)task * TASK_ELEMENTS;
    job->dev->kernels->softcap(job->out + begin, MIN(TASK_ELEMENTS, job->width - begin),
                               job->scale);
}

void
cpu_softcap(struct device *dev, struct buffer *logits, int rows, int64_t vocab_size, float cap)
{
    struct rows_job job = {
        .dev = dev,
        .out = logits->data,
        .width = rows * vocab_size,
        .scale = cap,
    };
    ASSERT((size_t)job.width * sizeof(float) <= logits->bytes);
    pool_run(dev->pool, (int)CEIL_DIV(job.width, TASK_ELEMENTS), softcap_task, &job);
}
