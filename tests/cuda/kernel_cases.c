/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launches one kernel at the shape that one model gives it, for tools/kernel-table
 * to count what it does:
 *   kernel_cases --list            the cases, one a line: KERNEL MODEL ROWS
 *   kernel_cases KERNEL MODEL ROWS one of them; prints "bytes N flops M units U":
 *                                  what has to come from or go to memory, and be
 *                                  computed, in how many parts (0: a block each)
 * Runs on the virtual device with its check of never-written memory off: operands
 * are whatever is there, except the step's integers and logits, on which the
 * kernels' paths depend. Nobody reads the results; the other programs here do.
 */
#include "kernels/cuda/kernels.h"
#include "util/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUM_SMS 132 /* H200 */
#define CONTEXT 400 /* tokens of a sequence in decode: the mean of the offline test */

struct model {
    const char *name;
    int hidden, heads, kv_heads, head_dim, ffn, vocab;
    float softcap;
    int gelu;
};

/* The six models of docs/benchmarks.md. */
static const struct model models[] = {
    {"gemma-2-9b", 3584, 16, 8, 256, 14336, 256000, 50, 1},
    {"gemma-2-27b", 4608, 32, 16, 128, 36864, 256000, 50, 1},
    {"llama-8b", 4096, 32, 8, 128, 14336, 128256, 0, 0},
    {"qwen-7b", 3584, 28, 4, 128, 18944, 152064, 0, 0},
    {"qwen-14b", 5120, 40, 8, 128, 13824, 152064, 0, 0},
    {"qwen-32b", 5120, 40, 8, 128, 27648, 152064, 0, 0},
};
#define NUM_MODELS (sizeof models / sizeof models[0])

/* What a case has to move and compute, whoever does it; units: the parts that a
 * persistent grid shares out, 0: a block each. */
struct work {
    double bytes, flops;
    int units;
};

static const struct cuda_ctx *
context(void)
{
    static const struct cuda_ctx ctx = {.stream = NULL, .num_sms = NUM_SMS, .pdl = 0};
    return &ctx;
}

static void
check(cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess)
        return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(rc));
    exit(1);
}

/* Device memory, never freed and never written. */
static void *
space(double bytes)
{
    void *p;
    check(cudaMalloc(&p, (size_t)bytes + 256), "cudaMalloc");
    return p;
}

static void *
upload(const void *data, size_t bytes)
{
    void *p = space((double)bytes);
    check(cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
    return p;
}

static void *
zeros(size_t bytes)
{
    void *p = space((double)bytes);
    check(cudaMemset(p, 0, bytes), "cudaMemset");
    return p;
}

static int
qkv_width(const struct model *m)
{
    return (m->heads + 2 * m->kv_heads) * m->head_dim;
}

static struct attention_shape
shape_of(const struct model *m)
{
    return (struct attention_shape){.num_heads = m->heads, .num_kv_heads = m->kv_heads,
                                    .head_dim = m->head_dim, .scale = 0.088f,
                                    .softcap = m->softcap};
}

static struct work
run_gemm(int M, int N, int K, int f32)
{
    check(cuda_gemm_skinny(context(), space(4.0 * M * N), space(2.0 * M * K), space(2.0 * N * K),
                           NULL, M, N, K, f32), "cuda_gemm_skinny");
    double out_bytes = (f32 ? 4.0 : 2.0) * M * N;
    return (struct work){2.0 * N * K + 2.0 * M * K + out_bytes, 2.0 * M * N * K, 0};
}

static struct work
gemm_qkv(const struct model *m, int rows)
{
    return run_gemm(rows, qkv_width(m), m->hidden, 0);
}

static struct work
gemm_o(const struct model *m, int rows)
{
    return run_gemm(rows, m->hidden, m->heads * m->head_dim, 0);
}

static struct work
gemm_gate_up(const struct model *m, int rows)
{
    return run_gemm(rows, 2 * m->ffn, m->hidden, 0);
}

static struct work
gemm_down(const struct model *m, int rows)
{
    return run_gemm(rows, m->hidden, m->ffn, 0);
}

static struct work
gemm_head(const struct model *m, int rows)
{
    return run_gemm(rows, m->vocab, m->hidden, 1);
}

static struct work
add_rmsnorm(const struct model *m, int rows)
{
    double n = (double)rows * m->hidden;
    check(cuda_add_rmsnorm(context(), space(2 * n), space(2 * n), space(2 * n),
                           space(4.0 * m->hidden), rows, m->hidden, 1e-5f, 0), "cuda_add_rmsnorm");
    return (struct work){8 * n + 4.0 * m->hidden, 5 * n, 0};
}

static struct work
act_mul(const struct model *m, int rows)
{
    double n = (double)rows * m->ffn;
    check(cuda_act_mul(context(), space(2 * n), space(4 * n), rows, m->ffn, m->gelu),
          "cuda_act_mul");
    return (struct work){6 * n, 8 * n, 0};
}

/* A step's integers for `seqs` sequences of `context` tokens whose last `rows_each`
 * tokens are rows of the step; pages are dealt out in turn, as a server's are. */
static struct step_ints
step_of(const struct model *m, int seqs, int rows_each, int context_tokens)
{
    int pages = (context_tokens + CUDA_PAGE_TOKENS - 1) / CUDA_PAGE_TOKENS;
    int rows = seqs * rows_each;
    int splits_max = seqs * DECODE_MAX_SPLITS;
    int32_t header[STEP_HEADER_INTS] = {[STEP_TABLE_STRIDE] = pages};
    struct attention_shape shape = shape_of(m);
    int tile_rows = cuda_prefill_tile_rows(&shape), num_tiles = 0;
    int32_t *ids = calloc((size_t)rows * 3 + seqs, sizeof *ids);
    int32_t *positions = ids + rows, *slots = ids + 2 * rows, *lens = ids + 3 * rows;
    int32_t *tables = calloc((size_t)seqs * pages, sizeof *tables);
    struct decode_item *items = calloc((size_t)splits_max, sizeof *items);
    struct prefill_tile *tiles = calloc((size_t)rows, sizeof *tiles);
    if (ids == NULL || tables == NULL || items == NULL || tiles == NULL)
        abort();
    for (int s = 0; s < seqs; s++) {
        lens[s] = context_tokens;
        for (int p = 0; p < pages; p++)
            tables[s * pages + p] = p * seqs + s;
        for (int i = 0; i < rows_each; i++) {
            int r = s * rows_each + i, position = context_tokens - rows_each + i;
            ids[r] = r % m->vocab;
            positions[r] = position;
            slots[r] = tables[s * pages + position / CUDA_PAGE_TOKENS] * CUDA_PAGE_TOKENS +
                       position % CUDA_PAGE_TOKENS;
        }
        int keys = decode_split_keys(context_tokens);
        int splits = rows_each == 1 ? (context_tokens + keys - 1) / keys : 0;
        for (int i = 0; i < splits; i++) {
            int last = (i + 1) * keys;
            items[header[STEP_NUM_DECODE_ITEMS]++] = (struct decode_item){
                .row = s, .seq = s, .split = i, .num_splits = splits, .first_key = i * keys,
                .last_key = last < context_tokens ? last : context_tokens,
                .partial = s * splits, .counter = s};
        }
        for (int i = 0; rows_each > 1 && i < rows_each; i += tile_rows) {
            int left = rows_each - i;
            tiles[num_tiles++] = (struct prefill_tile){
                .row = s * rows_each + i, .seq = s, .position = context_tokens - rows_each + i,
                .num_rows = left < tile_rows ? left : tile_rows};
        }
    }
    struct step_ints ints = {
        .header = upload(header, sizeof header),
        .token_ids = upload(ids, (size_t)rows * 4),
        .positions = upload(positions, (size_t)rows * 4),
        .slot_mapping = upload(slots, (size_t)rows * 4),
        .seq_lens = upload(lens, (size_t)seqs * 4),
        .block_tables = upload(tables, (size_t)seqs * pages * 4),
        .decode_items = upload(items, (size_t)splits_max * sizeof *items),
        .prefill_tiles = upload(tiles, (size_t)rows * sizeof *tiles),
        .last_tokens = zeros((size_t)seqs * 4)};
    free(ids);
    free(tables);
    free(items);
    free(tiles);
    return ints;
}

static struct kv_layer
cache_of(const struct model *m, int seqs, int context_tokens)
{
    double tokens = (double)seqs * (context_tokens + CUDA_PAGE_TOKENS);
    double bytes = 2.0 * tokens * m->kv_heads * m->head_dim;
    return (struct kv_layer){.k = space(bytes), .v = space(bytes)};
}

static struct work
embed(const struct model *m, int rows)
{
    struct step_ints ints = step_of(m, rows, 1, CONTEXT);
    double n = (double)rows * m->hidden;
    /* of the table only the rows that step_of names */
    check(cuda_embed(context(), space(2 * n), space(2 * n), &ints, rows, m->hidden, 1),
          "cuda_embed");
    return (struct work){4 * n, n, 0};
}

static struct work
rope_kv_write(const struct model *m, int rows)
{
    struct step_ints ints = step_of(m, rows, 1, CONTEXT);
    struct attention_shape shape = shape_of(m);
    struct kv_layer kv = cache_of(m, rows, CONTEXT);
    double q = (double)rows * m->heads * m->head_dim;
    double k = (double)rows * m->kv_heads * m->head_dim;
    check(cuda_rope_kv_write(context(), space(2.0 * rows * qkv_width(m)), &kv,
                             space(4.0 * (CONTEXT + 1) * m->head_dim), &ints, rows, &shape),
          "cuda_rope_kv_write");
    return (struct work){4 * q + 8 * k + 4.0 * rows * m->head_dim, 3 * (q + k), 0};
}

static struct work
attention_decode(const struct model *m, int rows)
{
    struct step_ints ints = step_of(m, rows, 1, CONTEXT);
    struct attention_shape shape = shape_of(m);
    struct kv_layer kv = cache_of(m, rows, CONTEXT);
    double q = (double)rows * m->heads * m->head_dim;
    double keys = (double)rows * CONTEXT * m->kv_heads * m->head_dim;
    double slots = (double)rows * DECODE_MAX_SPLITS;
    check(cuda_attention_decode(context(), space(2 * q), space(2.0 * rows * qkv_width(m)), &kv,
                                &ints, &shape,
                                space(slots * cuda_attention_partial_bytes(&shape)),
                                zeros((size_t)rows * m->kv_heads * 4)), "cuda_attention_decode");
    int splits = (CONTEXT + decode_split_keys(CONTEXT) - 1) / decode_split_keys(CONTEXT);
    return (struct work){4 * keys + 4 * q, 4.0 * CONTEXT * q, rows * splits * m->kv_heads};
}

/* `rows` new tokens of one sequence, none before. */
static struct work
attention_prefill(const struct model *m, int rows)
{
    struct step_ints ints = step_of(m, 1, rows, rows);
    struct attention_shape shape = shape_of(m);
    struct kv_layer kv = cache_of(m, 1, rows);
    double q = (double)rows * m->heads * m->head_dim;
    double keys = (double)rows * m->kv_heads * m->head_dim;
    int tile_rows = cuda_prefill_tile_rows(&shape), tiles = (rows + tile_rows - 1) / tile_rows;
    check(cuda_attention_prefill(context(), space(2 * q), space(2.0 * rows * qkv_width(m)), &kv,
                                 &ints, tiles, &shape), "cuda_attention_prefill");
    return (struct work){4 * keys + 4 * q, 2.0 * (rows + 1) * q, 0};
}

/* As a model's: a bell of width 2.5, so that few compete to be drawn. */
static float *
logits_of(int64_t n)
{
    float *host = malloc((size_t)n * sizeof *host);
    if (host == NULL)
        abort();
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = rng_mix64((uint64_t)i);
        float sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (float)(bits >> (16 * k) & 0xffff) / 65536 - 0.5f;
        host[i] = sum * 2.5f / 0.57735f; /* four uniforms: a variance of 1/3 */
    }
    float *device = upload(host, (size_t)n * sizeof *host);
    free(host);
    return device;
}

/* Plain temperature, as in the offline test. */
static struct work
sample(const struct model *m, int rows)
{
    struct sample_params *params = calloc((size_t)rows, sizeof *params);
    if (params == NULL)
        abort();
    for (int r = 0; r < rows; r++)
        params[r] = (struct sample_params){.seed = (uint64_t)r, .temperature = 1, .top_p = 1,
                                           .repetition_penalty = 1, .num_logprobs = -1};
    double n = (double)rows * m->vocab;
    size_t workspace = cuda_sample_workspace(rows, m->vocab, 0, 0);
    struct sample_args args = {
        .logits = logits_of((int64_t)n), .num_rows = rows, .vocab_size = m->vocab,
        .params = upload(params, (size_t)rows * sizeof *params), .ids = zeros(4),
        .values = zeros(4), .last_tokens = zeros((size_t)rows * 4),
        .drawn = zeros((size_t)rows * 4), .out = space(rows * sizeof(struct sample_out)),
        .top_ids = space(4.0 * rows), .top_logprobs = space(4.0 * rows), .top_stride = 1,
        .workspace = zeros(workspace), .workspace_bytes = workspace};
    free(params);
    check(cuda_sample(context(), &args), "cuda_sample");
    return (struct work){4 * n, 20 * n, 0};
}

/* The table shows every kernel at every model, and one model at more batches. */
static const struct {
    const char *name;
    struct work (*run)(const struct model *m, int rows);
    int rows_all;    /* of the case that all models have */
    int rows_one[3]; /* more of them, for llama-8b alone; 0 ends */
} cases[] = {
    {"gemm_qkv", gemm_qkv, 8, {1, 32}},
    {"gemm_o", gemm_o, 8, {1, 32}},
    {"gemm_gate_up", gemm_gate_up, 8, {1, 32}},
    {"gemm_down", gemm_down, 8, {1, 32}},
    {"gemm_head", gemm_head, 0, {8}},
    {"attention_decode", attention_decode, 64, {1, 8, 256}},
    {"attention_prefill", attention_prefill, 128, {0}},
    {"add_rmsnorm", add_rmsnorm, 64, {1}},
    {"rope_kv_write", rope_kv_write, 64, {1}},
    {"act_mul", act_mul, 64, {1}},
    {"embed", embed, 0, {1, 64}},
    {"sample", sample, 0, {1, 16}},
};
#define NUM_CASES (sizeof cases / sizeof cases[0])

static void
list(void)
{
    for (size_t c = 0; c < NUM_CASES; c++) {
        for (size_t m = 0; cases[c].rows_all > 0 && m < NUM_MODELS; m++)
            printf("%s %s %d\n", cases[c].name, models[m].name, cases[c].rows_all);
        for (int i = 0; i < 3 && cases[c].rows_one[i] > 0; i++)
            printf("%s llama-8b %d\n", cases[c].name, cases[c].rows_one[i]);
    }
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    if (argc != 4 || atoi(argv[3]) <= 0) {
        fprintf(stderr, "usage: kernel_cases --list | KERNEL MODEL ROWS\n");
        return 2;
    }
    for (size_t c = 0; c < NUM_CASES; c++) {
        for (size_t m = 0; m < NUM_MODELS; m++) {
            if (strcmp(cases[c].name, argv[1]) != 0 || strcmp(models[m].name, argv[2]) != 0)
                continue;
            struct work work = cases[c].run(&models[m], atoi(argv[3]));
            check(cudaDeviceSynchronize(), argv[1]);
            printf("bytes %.0f flops %.0f units %d\n", work.bytes, work.flops, work.units);
            return 0;
        }
    }
    fprintf(stderr, "no case '%s %s'\n", argv[1], argv[2]);
    return 2;
}
