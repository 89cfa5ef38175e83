/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Norms, rope, activation and embedding of a model. What they read comes from
 * memory here, so that times can be held against bandwidth; in a step of few rows
 * the kernel before has left it in the L2 cache.
 */
#include "bench/cuda/bench.h"

#define MOST_ROWS 8192
#define POSITIONS 4096

static const int rows_of[] = {1, 64, 256, 2048, 8192};

struct elementwise_job {
    const struct bench_model *model;
    int rows;
    struct step_ints ints; /* owned: token_ids, positions, slot_mapping */
    void *rope;            /* owned */
    const float *norm;     /* owned */
};

static int
qkv_width(const struct bench_model *m)
{
    return (m->heads + 2 * m->kv_heads) * m->head_dim;
}

static double
norm_bytes(const struct elementwise_job *j)
{
    return 4.0 * j->rows * j->model->hidden;
}

static cudaError_t
add_rmsnorm(const struct bench *b, const void *arg, int i)
{
    const struct elementwise_job *j = arg;
    bf16_bits *x = bench_space(b, norm_bytes(j), i), *residual = x + j->rows * j->model->hidden;
    return cuda_add_rmsnorm(&b->ctx, (bf16_bits *)b->out, residual, x, j->norm, j->rows,
                            j->model->hidden, 1e-5f, 0);
}

static cudaError_t
act_mul(const struct bench *b, const void *arg, int i)
{
    const struct elementwise_job *j = arg;
    const bf16_bits *gate_up = bench_data(b, 4.0 * j->rows * j->model->ffn, i);
    return cuda_act_mul(&b->ctx, (bf16_bits *)b->out, gate_up, j->rows, j->model->ffn,
                        j->model->gelu);
}

static cudaError_t
rope_kv_write(const struct bench *b, const void *arg, int i)
{
    const struct elementwise_job *j = arg;
    const struct bench_model *m = j->model;
    const struct attention_shape shape = {m->heads, m->kv_heads, m->head_dim, 1, 0, 0};
    struct kv_layer kv = {(bf16_bits *)b->out,
                          (bf16_bits *)b->out + (size_t)MOST_ROWS * m->kv_heads * m->head_dim};
    bf16_bits *qkv = bench_space(b, 2.0 * j->rows * qkv_width(m), i);
    return cuda_rope_kv_write(&b->ctx, qkv, &kv, j->rope, &j->ints, j->rows, &shape);
}

static cudaError_t
embed(const struct bench *b, const void *arg, int i)
{
    const struct elementwise_job *j = arg;
    const struct bench_model *m = j->model;
    /* the same ids: a table that begins elsewhere has other rows for them */
    const bf16_bits *table = (const bf16_bits *)b->data + (size_t)i * j->rows * m->hidden;
    return cuda_embed(&b->ctx, (bf16_bits *)b->out, table, &j->ints, j->rows, m->hidden, 1);
}

/* Rows of the embedding lie far apart; positions and slots are a long prompt's. */
static void
job_open(const struct bench *b, const struct bench_model *m, struct elementwise_job *ret)
{
    int32_t *ints = calloc(3 * MOST_ROWS, sizeof *ints);
    float *norm = calloc((size_t)m->hidden, sizeof *norm);
    ASSERT(ints != NULL && norm != NULL);
    for (int i = 0; i < MOST_ROWS; i++) {
        ints[i] = (int32_t)((int64_t)i * 7919 % m->vocab);
        ints[MOST_ROWS + i] = i % POSITIONS;
        ints[2 * MOST_ROWS + i] = i;
    }
    for (int i = 0; i < m->hidden; i++)
        norm[i] = 1;
    const int32_t *on_device = bench_upload(ints, 3 * MOST_ROWS * sizeof *ints);
    *ret = (struct elementwise_job){
        .model = m,
        .ints = {.token_ids = on_device,
                 .positions = on_device + MOST_ROWS,
                 .slot_mapping = on_device + 2 * MOST_ROWS},
        .rope = bench_upload(NULL, (size_t)POSITIONS * (size_t)m->head_dim * sizeof(float)),
        .norm = bench_upload(norm, (size_t)m->hidden * sizeof *norm),
    };
    bench_check(cuda_random(&b->ctx, ret->rope, (int64_t)POSITIONS * m->head_dim, 1, 7, 1),
                "cuda_random");
    free(ints);
    free(norm);
}

static void
job_close(struct elementwise_job *j)
{
    bench_check(cudaFree((void *)(uintptr_t)j->ints.token_ids), "cudaFree");
    bench_check(cudaFree(j->rope), "cudaFree");
    bench_check(cudaFree((void *)(uintptr_t)j->norm), "cudaFree");
}

static void
time_kernel(struct bench *b, struct elementwise_job *j, const char *name,
            cudaError_t (*enqueue)(const struct bench *, const void *, int), double bytes_of_row,
            double read_of_row)
{
    const struct job job = {
        .enqueue = enqueue, .arg = j, .num_launches = bench_launches(b, read_of_row * j->rows)};
    const struct bench_case c = {
        .kernel = name,
        .how = "kernel",
        .model = j->model->name,
        .rows = j->rows,
        .bytes = bytes_of_row * j->rows,
    };
    bench_report(b, &c, bench_time(b, &job));
}

void
bench_elementwise(struct bench *b, const struct bench_model *m)
{
    struct elementwise_job j;
    double h = m->hidden, q = (double)m->heads * m->head_dim;
    double kv = (double)m->kv_heads * m->head_dim;
    const struct {
        const char *name;
        cudaError_t (*enqueue)(const struct bench *, const void *, int);
        double moved, read; /* bytes of a row */
    } kernels[] = {
        {"add_rmsnorm", add_rmsnorm, 8 * h, 4 * h},
        {"act_mul", act_mul, 6.0 * m->ffn, 4.0 * m->ffn},
        {"rope_kv_write", rope_kv_write, 4 * q + 8 * kv, 2 * (q + 2 * kv)},
        {"embed", embed, 4 * h, 2 * h},
    };
    job_open(b, m, &j);
    for (size_t k = 0; k < ARRAY_SIZE(kernels); k++) {
        if (!bench_wants(b, kernels[k].name, m->name))
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(rows_of); i++) {
            j.rows = rows_of[i];
            bool thinned = (b->tiny && j.rows > 64) || (b->quick && j.rows != 64 && j.rows != 2048);
            if (!thinned)
                time_kernel(b, &j, kernels[k].name, kernels[k].enqueue, kernels[k].moved,
                            kernels[k].read);
        }
    }
    job_close(&j);
}
