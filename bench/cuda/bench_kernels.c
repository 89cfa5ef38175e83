/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of the CUDA module's kernels at the shapes of the six models of
 * docs/benchmarks.md, beside what the device can do, which is measured first, and
 * beside what tools/kernel-table predicted. Times are of launches recorded as a
 * graph, by the device's own clock, and operands come from memory, not from its
 * cache; the percentage is of the median.
 */
#include "bench/cuda/bench.h"

#include "util/option.h"

#include <string.h>

#define DATA_BYTES ((size_t)10 << 30)  /* what most is read at once: 8.4 GB of keys and values */
#define OUT_BYTES ((size_t)1 << 30)
#define TINY_DATA_BYTES ((size_t)8 << 20)
#define TINY_OUT_BYTES ((size_t)16 << 20)
#define REPEATS 9

static const struct bench_model models[] = {
    {"gemma-2-9b", 3584, 16, 8, 256, 14336, 256000, 50, 1, 0},
    {"gemma-2-27b", 4608, 32, 16, 128, 36864, 256000, 50, 1, 0},
    {"llama-8b", 4096, 32, 8, 128, 14336, 128256, 0, 0, 0},
    {"qwen-7b", 3584, 28, 4, 128, 18944, 152064, 0, 0, 1},
    {"qwen-14b", 5120, 40, 8, 128, 13824, 152064, 0, 0, 1},
    {"qwen-32b", 5120, 40, 8, 128, 27648, 152064, 0, 0, 1},
};

/* For a device that interprets. */
static const struct bench_model tiny_models[] = {
    {"tiny", 256, 4, 1, 128, 512, 512, 0, 0, 1},
};

struct kernels_config {
    char *output, *predictions, *only;
    int64_t seconds;
    bool quick, tiny, help;
};

#define AT(field) offsetof(struct kernels_config, field)

static const struct option option_rows[] = {
    {.name = "output", .type = OPT_STRING, .offset = AT(output), .metavar = "FILE",
     .text = "A file that gets a JSON object for each line."},
    {.name = "predictions", .type = OPT_STRING, .offset = AT(predictions), .metavar = "FILE",
     .text = "The text with the table of tools/kernel-table."},
    {.name = "only", .type = OPT_STRING, .offset = AT(only), .metavar = "WORD",
     .text = "Only kernels with this word in their name, and the ceilings."},
    {.name = "seconds", .type = OPT_INT, .offset = AT(seconds), .min = 0, .max = 86400,
     .fallback = "0", .text = "After so many the rest is left out. 0: no limit."},
    {.name = "quick", .type = OPT_BOOL, .offset = AT(quick), .text = "Fewer shapes."},
    {.name = "tiny", .type = OPT_BOOL, .offset = AT(tiny),
     .text = "A few small shapes, once each, that tell nothing about speed: for trying this "
             "program out on a device that is simulated."},
    {.name = "help", .letter = 'h', .type = OPT_BOOL, .offset = AT(help), .text = "Shows this."},
};

static const struct option_table kernels_table = {
    .options = option_rows,
    .num_options = ARRAY_SIZE(option_rows),
    .program = "bench_kernels",
    .synopsis = "bench_kernels [options]",
};

static void
describe_device(struct bench *b)
{
    struct cudaDeviceProp prop;
    int driver = 0, runtime = 0;
    bench_check(cudaGetDeviceProperties(&prop, 0), "no GPU");
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    b->ctx.num_sms = prop.multiProcessorCount;
    printf("device: %s, %d multiprocessors, %.1f GB, driver for CUDA %d, runtime %d\n", prop.name,
           prop.multiProcessorCount, (double)prop.totalGlobalMem / 1e9, driver, runtime);
    rows_begin(&b->rows, "device");
    rows_text(&b->rows, "name", prop.name);
    rows_int(&b->rows, "multiprocessors", prop.multiProcessorCount);
    rows_int(&b->rows, "memory_bytes", (int64_t)prop.totalGlobalMem);
    rows_int(&b->rows, "driver_cuda", driver);
    rows_int(&b->rows, "runtime_cuda", runtime);
    rows_int(&b->rows, "cublaslt", (int64_t)cublasLtGetVersion());
    rows_end(&b->rows);
}

static int
open_bench(struct bench *b, struct error *err)
{
    size_t available = 0, total = 0;
    struct gemm_config cfg = {.workspace_bytes = b->tiny ? 1 << 20 : GEMM_WORKSPACE_BYTES};
    describe_device(b);
    bench_check(cudaStreamCreateWithFlags(&b->ctx.stream, cudaStreamNonBlocking), "a stream");
    bench_check(cudaEventCreate(&b->start), "an event");
    bench_check(cudaEventCreate(&b->stop), "an event");
    bench_check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    b->out_bytes = b->tiny ? TINY_OUT_BYTES : OUT_BYTES;
    b->data_bytes = b->tiny ? TINY_DATA_BYTES : MIN(DATA_BYTES, available / 2);
    b->out = bench_upload(NULL, b->out_bytes);
    bench_check(cudaMalloc((void **)&b->data, b->data_bytes), "cudaMalloc");
    bench_check(cudaMalloc(&cfg.workspace, cfg.workspace_bytes), "cudaMalloc");
    bench_check(cuda_random(&b->ctx, b->data, (int64_t)(b->data_bytes / 2), 1, 1, 0),
                "cuda_random");
    bench_check(cudaDeviceSynchronize(), "cuda_random");
    int rc = gemm_plans_new(&cfg, &b->plans, err);
    return rc;
}

static void
measure(struct bench *b)
{
    bench_ceilings(b);
    for (int i = 0; i < b->num_models; i++)
        bench_attention(b, &b->models[i]);
    for (int i = 0; i < b->num_models; i++)
        bench_gemm(b, &b->models[i]);
    bench_sampling(b);
    for (int i = 0; i < b->num_models; i++)
        bench_elementwise(b, &b->models[i]);
}

/* The whole file; NULL with a line on standard error: it cannot be read. */
static char *
read_text(const char *path)
{
    struct buf text = {0};
    char chunk[4096];
    size_t n;
    FILE *f = path != NULL ? fopen(path, "re") : NULL;
    if (path != NULL && f == NULL)
        fprintf(stderr, "bench_kernels: no predictions: cannot read '%s'\n", path);
    if (f == NULL)
        return NULL;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&text, chunk, n);
    fclose(f);
    buf_putc(&text, '\n');
    return buf_take(&text, NULL);
}

static int
run(const struct kernels_config *c, struct error *err)
{
    char *predictions = read_text(c->predictions);
    struct bench b = {
        .ctx = {.pdl = 1},
        .models = c->tiny ? tiny_models : models,
        .num_models = c->tiny ? ARRAY_SIZE(tiny_models) : ARRAY_SIZE(models),
        .tiny = c->tiny,
        .quick = c->quick,
        .repeats = c->tiny ? 1 : REPEATS,
        .deadline_ns = c->seconds > 0 ? mono_ns() + (uint64_t)c->seconds * 1000000000 : 0,
        .predictions = predictions,
        .only = c->only,
    };
    struct error close_err;
    int rc = rows_open(&b.rows, c->output, err);
    if (rc == 0 && (rc = open_bench(&b, err)) == 0)
        measure(&b);
    gemm_plans_free(b.plans);
    free(predictions);
    if (rows_close(&b.rows, &close_err) < 0 && rc == 0) {
        *err = close_err;
        rc = ERR_IO;
    }
    return rc;
}

int
main(int argc, char **argv)
{
    struct kernels_config config;
    struct error err = {0};
    size_t num_words;
    int rc = option_defaults(&kernels_table, &config, &err);
    if (rc == 0)
        rc = option_read_argv(&kernels_table, &config, argc, argv, NULL, 0, &num_words, &err);
    if (rc == 0 && config.help) {
        struct buf text = {0};
        option_help(&kernels_table, &text);
        fputs(buf_bytes(&text), stdout);
        buf_release(&text);
    } else if (rc == 0) {
        rc = run(&config, &err);
    }
    if (rc < 0)
        fprintf(stderr, "bench_kernels: %s\n", err.text);
    option_release(&kernels_table, &config);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
