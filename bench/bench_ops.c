/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the CPU backend's ops beside the limits of the machine, which are
 * measured first: `bench_ops [threads] [runs]`. Prints Markdown tables. Times
 * are of whole calls; each row gives the median of its runs, with the fastest
 * and the slowest, and its rate against the limit from the fastest: on a
 * machine with other work the fastest run is the one that says most.
 *
 * Between two calls of an op on weights, other weights are read, so that every
 * call finds its own in memory as it would in a model.
 */
#include "bench/machine.h"
#include "kernels/backend.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

#define MAX_RUNS 101

struct times {
    double min, median, max;   /* seconds */
};

struct bench {
    const struct ops *ops;
    struct device *dev;
    int threads, runs;
    double bytes_per_s, flops_per_s;   /* the limits */
};

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static struct times
summarize(double *samples, int n)
{
    qsort(samples, (size_t)n, sizeof *samples, compare_doubles);
    return (struct times){samples[0], samples[n / 2], samples[n - 1]};
}

static void
die_on(int rc, const char *what)
{
    if (rc != 0) {
        fprintf(stderr, "%s failed: %s\n", what, error_name(rc));
        exit(1);
    }
}

/* Prints a row and returns the best rate, per second. */
static double
measure_limit(const char *data, int threads, int streams)
{
    double samples[30];
    for (int i = 0; i < 30; i++)
        samples[i] = streams == 0 ? machine_fma_s(threads) : machine_read_s(data, threads, streams);
    struct times t = summarize(samples, 30);
    double work = streams == 0 ? machine_fma_flops(threads) : (double)MACHINE_SWEEP_BYTES;
    if (streams == 0)
        printf("| FMA f32, GFLOP/s");
    else
        printf("| read bandwidth, %d stream%s a thread, GB/s", streams, streams == 1 ? "" : "s");
    printf(", %d thread%s | %.1f | %.1f | %.1f |\n", threads, threads == 1 ? "" : "s",
           work / t.min * 1e-9, work / t.median * 1e-9, work / t.max * 1e-9);
    return work / t.min;
}

static void
measure_limits(struct bench *b, const char *data)
{
    printf("## Limits of this machine\n\n| what | best | median | worst |\n|---|---|---|---|\n");
    for (int threads = 1; threads <= b->threads; threads += MAX(1, b->threads - 1)) {
        for (int streams = 1; streams <= 8; streams *= 2) {
            double rate = measure_limit(data, threads, streams);
            b->bytes_per_s = MAX(b->bytes_per_s, rate);
        }
        b->flops_per_s = measure_limit(data, threads, 0);
    }
    printf("\nThe limits below are the best of all.\n\n");
}

/* Ops. */

static struct buffer
new_buffer(struct bench *b, size_t floats)
{
    struct buffer buf;
    die_on(b->ops->buffer_alloc(b->dev, floats * sizeof(float), &buf, NULL), "buffer_alloc");
    for (size_t i = 0; i < floats; i++)
        ((float *)buf.data)[i] = (float)(rng_mix64(i) >> 40) * 0x1p-23f - 1;
    return buf;
}

static void
print_row(const struct bench *b, const char *name, struct times t, double bytes, double flops)
{
    printf("| %s | %.3f / %.3f / %.3f | %.1f | %.0f %% | %.1f | %.0f %% |\n", name, t.min * 1e3,
           t.median * 1e3, t.max * 1e3, bytes / t.min * 1e-9, 100 * bytes / t.min / b->bytes_per_s,
           flops / t.min * 1e-9, 100 * flops / t.min / b->flops_per_s);
    fflush(stdout);
}

static void
print_head(const char *title)
{
    printf("## %s\n\n| op | ms min / median / max | GB/s | of limit | GFLOP/s | of limit |\n"
           "|---|---|---|---|---|---|\n",
           title);
}

/* A weight as often as it takes to leave every cache in between. */
struct weight_set {
    struct weight *copies;
    int num_copies, next;
};

static struct weight_set
new_weights(struct bench *b, int64_t rows, int64_t cols, enum dtype dtype, size_t total_bytes)
{
    size_t bytes = (size_t)(rows * cols) * dtype_bytes(dtype);
    struct weight_set set = {.num_copies = (int)MAX(1, MIN(64, total_bytes / bytes))};
    set.copies = calloc((size_t)set.num_copies, sizeof *set.copies);
    ASSERT(set.copies != NULL);
    for (int i = 0; i < set.num_copies; i++)
        die_on(b->ops->weight_random(b->dev, rows, cols, WEIGHT_MATRIX, dtype, 0.05f, (uint64_t)i,
                                     &set.copies[i], NULL),
               "weight_random");
    return set;
}

static struct times
time_gemm(struct bench *b, struct weight_set *set, struct buffer *out, struct buffer *x, int rows)
{
    double samples[MAX_RUNS];
    for (int i = -1; i < b->runs; i++) {
        const struct weight *w = &set->copies[set->next++ % set->num_copies];
        uint64_t begin_ns = mono_ns();
        b->ops->gemm(b->dev, out, x, w, NULL, rows);
        if (i >= 0)
            samples[i] = (double)(mono_ns() - begin_ns) * 1e-9;
    }
    return summarize(samples, b->runs);
}

struct model {
    const char *name;
    int hidden, intermediate, heads, kv_heads, head_dim, layers, vocab;
};

static const struct model models[] = {
    {"SmolLM2-135M", 576, 1536, 9, 3, 64, 30, 49152},
    {"1B (Llama-3.2-1B)", 2048, 8192, 32, 8, 64, 16, 128256},
};
static const int batch_rows[] = {1, 4, 8, 16, 32, 100, 512};
#define NUM_ROWS ((int)ARRAY_SIZE(batch_rows))
#define MOST_ROWS 512

/* Per layer and for the head: seconds by batch_rows. */
struct model_times {
    double layer[ARRAY_SIZE(batch_rows)], head[ARRAY_SIZE(batch_rows)];
    double other[ARRAY_SIZE(batch_rows)];   /* per layer: norms, rope, attention, activation */
};

static void
bench_gemms(struct bench *b, const struct model *m, enum dtype dtype, struct model_times *ret)
{
    int qkv = (m->heads + 2 * m->kv_heads) * m->head_dim;
    struct {
        const char *name;
        int64_t n, k;
    } mats[] = {
        {"qkv", qkv, m->hidden},
        {"o", m->hidden, m->heads * m->head_dim},
        {"gate_up", 2 * m->intermediate, m->hidden},
        {"down", m->hidden, m->intermediate},
        {"head", m->vocab, m->hidden},
    };
    char title[128];
    snprintf(title, sizeof title, "gemm, %s, %s", m->name,
             dtype == DTYPE_BF16 ? "bf16" : dtype == DTYPE_F16 ? "fp16" : "f32");
    print_head(title);
    int64_t widest = MAX(m->intermediate, m->hidden);
    struct buffer x = new_buffer(b, (size_t)(MOST_ROWS * widest));
    for (size_t i = 0; i < ARRAY_SIZE(mats); i++) {
        struct weight_set set =
            new_weights(b, mats[i].n, mats[i].k, dtype, MACHINE_SWEEP_BYTES / 2);
        struct buffer out = new_buffer(b, (size_t)(MOST_ROWS * mats[i].n));
        for (int r = 0; r < NUM_ROWS; r++) {
            int rows = batch_rows[r];
            if (i == 4 && rows > 32)
                break;   /* a prefill needs the head for one row */
            struct times t = time_gemm(b, &set, &out, &x, rows);
            char name[96];
            snprintf(name, sizeof name, "%s [%lld, %lld] x %d", mats[i].name,
                     (long long)mats[i].n, (long long)mats[i].k, rows);
            print_row(b, name, t, (double)(mats[i].n * mats[i].k) * (double)dtype_bytes(dtype),
                      2.0 * (double)(mats[i].n * mats[i].k) * rows);
            *(i == 4 ? &ret->head[r] : &ret->layer[r]) += t.min;
        }
        b->ops->buffer_free(b->dev, &out);
        free(set.copies);
    }
    b->ops->buffer_free(b->dev, &x);
    printf("\n");
}

/* A step of `num_seqs` sequences with q_len new tokens each, context in all. */
struct step {
    struct batch batch;
    int32_t *ints;
};

static struct step
new_step(int num_seqs, int q_len, int context)
{
    int T = num_seqs * q_len, blocks = CEIL_DIV(context, KV_BLOCK_SIZE);
    struct step s = {.ints = calloc((size_t)(3 * T + 2 * num_seqs + 1 + num_seqs * blocks), 4)};
    ASSERT(s.ints != NULL);
    int32_t *ids = s.ints, *pos = ids + T, *slots = pos + T, *cu = slots + T;
    int32_t *lens = cu + num_seqs + 1, *tables = lens + num_seqs;
    for (int i = 0; i < num_seqs; i++) {
        lens[i] = context;
        cu[i + 1] = (i + 1) * q_len;
        for (int k = 0; k < blocks; k++)
            tables[i * blocks + k] = i * blocks + k;
        for (int j = 0; j < q_len; j++) {
            int p = context - q_len + j;
            pos[i * q_len + j] = p;
            slots[i * q_len + j] = (i * blocks + p / KV_BLOCK_SIZE) * KV_BLOCK_SIZE +
                                   p % KV_BLOCK_SIZE;
        }
    }
    s.batch = (struct batch){T, num_seqs, blocks, ids, pos, slots, cu, lens, tables};
    return s;
}

static void
bench_attention(struct bench *b, const struct model *m, struct model_times *ret)
{
    static const struct {
        int seqs, q_len, context, into;   /* into: which batch_rows it stands for, or -1 */
    } cases[] = {
        {1, 1, 128, 0}, {1, 1, 1024, -1}, {4, 1, 128, 1}, {8, 1, 128, 2}, {16, 1, 128, 3},
        {32, 1, 128, 4}, {32, 1, 1024, -1}, {1, 100, 100, 5}, {1, 512, 512, 6}, {1, 512, 1024, -1},
    };
    char title[96];
    snprintf(title, sizeof title, "attention and the other ops of a layer, %s", m->name);
    print_head(title);
    struct kv_config kv = {m->layers, m->kv_heads, m->head_dim, 32 * 64, DTYPE_BF16, m->heads, 0};
    die_on(b->ops->kv_init(b->dev, &kv, NULL), "kv_init");
    float inv_freq[128];
    for (int i = 0; i < m->head_dim / 2; i++)
        inv_freq[i] = powf(10000, -2.0f * (float)i / (float)m->head_dim);
    struct rope_config rope = {m->head_dim, 2048, inv_freq, 1};
    die_on(b->ops->rope_init(b->dev, &rope, NULL), "rope_init");
    int width = (m->heads + 2 * m->kv_heads) * m->head_dim;
    struct buffer qkv = new_buffer(b, (size_t)MOST_ROWS * width);
    struct buffer out = new_buffer(b, (size_t)MOST_ROWS * m->heads * m->head_dim);
    struct buffer x = new_buffer(b, (size_t)MOST_ROWS * m->hidden), r = x;
    struct buffer gate = new_buffer(b, (size_t)MOST_ROWS * 2 * m->intermediate);
    r = new_buffer(b, (size_t)MOST_ROWS * m->hidden);
    struct buffer act = new_buffer(b, (size_t)MOST_ROWS * m->intermediate);
    struct weight norm;
    die_on(b->ops->weight_random(b->dev, 1, m->hidden, WEIGHT_VECTOR, DTYPE_F32, 1, 1, &norm, NULL),
           "weight_random");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct step s = new_step(cases[i].seqs, cases[i].q_len, cases[i].context);
        int T = s.batch.num_tokens;
        double samples[5][MAX_RUNS], flops, bytes;
        struct step_shape shape;
        die_on(b->ops->step_begin(b->dev, &s.batch, &shape), "step_begin");
        for (int j = -1; j < b->runs; j++) {
            int at = MAX(j, 0);
            struct attention_args a = {at % m->layers, m->heads, m->kv_heads, m->head_dim,
                                       0.125f, 0, 0};
            uint64_t t[6];
            t[0] = mono_ns();
            b->ops->rope_kv_write(b->dev, &qkv, &a);
            t[1] = mono_ns();
            b->ops->attention(b->dev, &out, &qkv, &a);
            t[2] = mono_ns();
            b->ops->add_rmsnorm(b->dev, &x, &r, &x, &norm, T, 1e-5f, 0);
            t[3] = mono_ns();
            b->ops->act_mul(b->dev, &act, &gate, T, m->intermediate, ACT_SILU);
            t[4] = mono_ns();
            for (int k = 0; k < 4; k++)
                samples[k][at] = (double)(t[k + 1] - t[k]) * 1e-9;
        }
        b->ops->step_end(b->dev);
        double pairs = 0;   /* query and key */
        for (int q = 0; q < cases[i].q_len; q++)
            pairs += cases[i].context - q;
        pairs *= cases[i].seqs;
        flops = 4 * pairs * m->heads * m->head_dim;
        bytes = 4.0 * cases[i].seqs * cases[i].context * m->kv_heads * m->head_dim;
        static const char *const names[] = {"rope_kv_write", "attention", "add_rmsnorm", "act_mul"};
        double sum = 0;
        for (int k = 0; k < 4; k++) {
            struct times t = summarize(samples[k], b->runs);
            double work[][2] = {{8.0 * T * width, 0}, {bytes, flops}, {16.0 * T * m->hidden, 0},
                                {12.0 * T * m->intermediate, 0}};
            char name[96];
            snprintf(name, sizeof name, "%s, %d x %d tokens, context %d", names[k], cases[i].seqs,
                     cases[i].q_len, cases[i].context);
            if (k == 1 || cases[i].into >= 0)
                print_row(b, name, t, work[k][0], work[k][1]);
            sum += t.min * (k == 2 ? 2 : 1);   /* two norms a layer */
        }
        if (cases[i].into >= 0)
            ret->other[cases[i].into] = sum;
        free(s.ints);
    }
    struct buffer *all[] = {&qkv, &out, &x, &r, &gate, &act};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        b->ops->buffer_free(b->dev, all[i]);
    printf("\n");
}

/* What a model would do if its ops were all: the fastest times, added up. */
static void
estimate(const struct bench *b, const struct model *m, const struct model_times *t,
         enum dtype dtype)
{
    double attn = (m->heads + 2 * m->kv_heads) * (double)m->head_dim * m->hidden +
                  (double)m->heads * m->head_dim * m->hidden;
    double layer_params = m->layers * (attn + 3.0 * m->hidden * m->intermediate);
    double head_params = (double)m->vocab * m->hidden;
    printf("## Whole model from the sums, %s\n\n"
           "| step | ms | tokens/s | GB/s | of limit | GFLOP/s | of limit |\n"
           "|---|---|---|---|---|---|---|\n",
           m->name);
    for (int r = 0; r < NUM_ROWS; r++) {
        int rows = batch_rows[r], head_rows = rows < 100 ? rows : 1;
        double seconds = m->layers * (t->layer[r] + t->other[r]) + t->head[rows < 100 ? r : 0];
        double bytes = (layer_params + head_params) * (double)dtype_bytes(dtype);
        double flops = 2 * (layer_params * rows + head_params * head_rows);
        printf("| %s %d | %.2f | %.1f | %.1f | %.0f %% | %.1f | %.0f %% |\n",
               rows < 100 ? "decode, batch" : "prefill", rows, seconds * 1e3, rows / seconds,
               bytes / seconds * 1e-9, 100 * bytes / seconds / b->bytes_per_s,
               flops / seconds * 1e-9, 100 * flops / seconds / b->flops_per_s);
    }
    printf("\n");
}

static void
bench_sampling(struct bench *b, int64_t V)
{
    static const struct {
        const char *name;
        int rows, top_k, num_logprobs;
        float temperature, top_p;
    } cases[] = {
        {"greedy", 1, 0, -1, 0, 1},          {"greedy", 32, 0, -1, 0, 1},
        {"temperature 0.8", 1, 0, -1, 0.8f, 1}, {"temperature 0.8", 32, 0, -1, 0.8f, 1},
        {"top-p 0.9", 1, 0, -1, 0.8f, 0.9f}, {"top-p 0.9", 32, 0, -1, 0.8f, 0.9f},
        {"top-k 50", 32, 50, -1, 0.8f, 1},   {"greedy, 5 logprobs", 32, 0, 5, 0, 1},
    };
    printf("## sample, V = %lld, logits spread as a model's\n\n"
           "| case | rows | ms min / median / max | us per row |\n|---|---|---|---|\n",
           (long long)V);
    struct buffer logits = new_buffer(b, (size_t)(32 * V)), copy = new_buffer(b, (size_t)(32 * V));
    /* a sum of three uniform numbers: near to the bell of real logits */
    for (int64_t i = 0; i < 32 * V; i++) {
        float sum = 0;
        for (int j = 0; j < 3; j++)
            sum += (float)(rng_mix64((uint64_t)(i * 3 + j)) >> 40) * 0x1p-24f - 0.5f;
        ((float *)copy.data)[i] = sum * 8;
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        double samples[MAX_RUNS];
        struct sample_row rows[32];
        struct sample_result results[32];
        int32_t ids[32 * 5];
        float lp[32 * 5];
        for (int run = 0; run < b->runs; run++) {
            memcpy(logits.data, copy.data, (size_t)(cases[i].rows * V) * sizeof(float));
            for (int r = 0; r < cases[i].rows; r++)
                rows[r] = (struct sample_row){.temperature = cases[i].temperature,
                                              .top_p = cases[i].top_p,
                                              .top_k = cases[i].top_k,
                                              .repetition_penalty = 1,
                                              .seed = (uint64_t)(run * 32 + r),
                                              .num_logprobs = cases[i].num_logprobs};
            uint64_t begin_ns = mono_ns();
            const struct sample_output output = {results, ids, lp, 5};
            die_on(b->ops->sample(b->dev, &logits, rows, cases[i].rows, V, &output), "sample");
            samples[run] = (double)(mono_ns() - begin_ns) * 1e-9;
        }
        struct times t = summarize(samples, b->runs);
        printf("| %s | %d | %.3f / %.3f / %.3f | %.1f |\n", cases[i].name, cases[i].rows,
               t.min * 1e3, t.median * 1e3, t.max * 1e3, t.min * 1e6 / cases[i].rows);
    }
    b->ops->buffer_free(b->dev, &logits);
    b->ops->buffer_free(b->dev, &copy);
    printf("\n");
}

static void
open_device(struct bench *b)
{
    struct device_options opt = {.threads = b->threads,
                                 .max_tokens = MOST_ROWS,
                                 .max_seqs = 64,
                                 .vocab_size = 128256};
    struct error err = {0};
    if (b->ops->device_open(&opt, &b->dev, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

int
main(int argc, char **argv)
{
    struct bench b = {.ops = &cpu_ops,
                      .threads = argc > 1 ? atoi(argv[1]) : 0,
                      .runs = argc > 2 ? MIN(atoi(argv[2]), MAX_RUNS) : 15};
    open_device(&b);
    struct device_info info;
    b.ops->device_info(b.dev, &info);
    if (b.threads == 0)
        sscanf(strstr(info.name, ", ") + 2, "%d", &b.threads);
    b.threads = MIN(MAX(b.threads, 1), 64);
    printf("# %s: %d runs a figure, rates from the fastest\n\n", info.name, b.runs);
    char *data = machine_memory();
    ASSERT(data != NULL);
    measure_limits(&b, data);
    free(data);
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        b.ops->device_close(b.dev);
        open_device(&b);
        struct model_times t = {0};
        bench_gemms(&b, &models[i], DTYPE_BF16, &t);
        bench_attention(&b, &models[i], &t);
        estimate(&b, &models[i], &t, DTYPE_BF16);
    }
    struct model_times unused = {0};
    b.ops->device_close(b.dev);
    open_device(&b);
    bench_gemms(&b, &models[0], DTYPE_F16, &unused);
    bench_sampling(&b, 49152);
    b.ops->device_close(b.dev);
    return 0;
}
