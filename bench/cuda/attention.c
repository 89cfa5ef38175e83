/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over a paged cache that is full of random numbers, at a model's heads. */
#include "bench/cuda/bench.h"

#include <string.h>

#define MOST_SEQS 256

static const int batches[] = {1, 8, 64, 256};
static const int contexts[] = {100, 400, 1000, 4000};
static const struct {
    int seqs, tokens;
} prefills[] = {{1, 128}, {8, 512}, {4, 2048}, {1, 8192}};

/* A step of sequences that are alike. */
struct attention_job {
    struct attention_shape shape;
    int seqs, q_len, context, pages; /* pages: of each sequence */
    int num_items, num_tiles, tile_rows;
    struct step_ints ints;           /* owned */
    void *partials, *counters;       /* owned */
    const bf16_bits *qkv;
};

static double
half_bytes(const struct attention_job *j)
{
    return 2.0 * j->seqs * j->pages * CUDA_PAGE_TOKENS * j->shape.num_kv_heads *
           j->shape.head_dim;
}

/* Keys in one half of a part of the data, values in the other. */
static cudaError_t
enqueue(const struct bench *b, const void *arg, int i)
{
    const struct attention_job *j = arg;
    size_t half = ROUND_UP((size_t)half_bytes(j), 256);
    char *cache = bench_space(b, 2.0 * (double)half, i);
    struct kv_layer kv = {(bf16_bits *)cache, (bf16_bits *)(cache + half)};
    bf16_bits *out = (bf16_bits *)b->out;
    if (j->q_len > 1)
        return cuda_attention_prefill(&b->ctx, out, j->qkv, &kv, &j->ints, j->num_tiles,
                                      &j->shape);
    return cuda_attention_decode(&b->ctx, out, j->qkv, &kv, &j->ints, &j->shape, j->partials,
                                 j->counters);
}

static void
fill_items(struct attention_job *j, struct decode_item *items)
{
    int keys = decode_split_keys(j->context), splits = CEIL_DIV(j->context, keys);
    for (int s = 0; s < j->seqs; s++) {
        for (int i = 0; i < splits; i++)
            items[j->num_items++] = (struct decode_item){
                .row = s,
                .seq = s,
                .split = i,
                .num_splits = splits,
                .first_key = i * keys,
                .last_key = MIN((i + 1) * keys, j->context),
                .partial = s * splits,
                .counter = s,
            };
    }
}

static void
fill_tiles(struct attention_job *j, struct prefill_tile *tiles)
{
    for (int s = 0; s < j->seqs; s++) {
        for (int i = 0; i < j->q_len; i += j->tile_rows)
            tiles[j->num_tiles++] = (struct prefill_tile){
                .row = s * j->q_len + i,
                .num_rows = MIN(j->tile_rows, j->q_len - i),
                .seq = s,
                .position = j->context - j->q_len + i,
            };
    }
}

/* Pages are dealt out in turn: those of a sequence lie among the others'. */
static void
job_open(struct bench *b, const struct bench_model *m, int seqs, int q_len, int context,
         struct attention_job *ret)
{
    struct attention_job j = {
        .shape = {m->heads, m->kv_heads, m->head_dim, 0.088f, m->softcap, 0},
        .seqs = seqs,
        .q_len = q_len,
        .context = context,
        .pages = CEIL_DIV(context, CUDA_PAGE_TOKENS),
        .qkv = (const bf16_bits *)b->data,
    };
    j.tile_rows = cuda_prefill_tile_rows(&j.shape);
    size_t S = (size_t)seqs, T = S * (size_t)q_len;
    int32_t *lens = calloc(S, sizeof *lens), *slots = calloc(T, sizeof *slots);
    int32_t *tables = calloc(S * (size_t)j.pages, sizeof *tables);
    struct decode_item *items = calloc(S * DECODE_MAX_SPLITS, sizeof *items);
    struct prefill_tile *tiles = calloc(T, sizeof *tiles);
    ASSERT(lens && slots && tables && items && tiles);
    if (q_len == 1)
        fill_items(&j, items);
    else
        fill_tiles(&j, tiles);
    for (int s = 0; s < seqs; s++) {
        lens[s] = context;
        for (int p = 0; p < j.pages; p++)
            tables[s * j.pages + p] = p * seqs + s;
    }
    const int32_t header[STEP_HEADER_INTS] = {
        [STEP_TABLE_STRIDE] = j.pages,
        [STEP_NUM_DECODE_ITEMS] = j.num_items,
    };
    j.ints = (struct step_ints){
        .header = bench_upload(header, sizeof header),
        .seq_lens = bench_upload(lens, S * sizeof *lens),
        .block_tables = bench_upload(tables, S * (size_t)j.pages * sizeof *tables),
        .decode_items = bench_upload(items, S * DECODE_MAX_SPLITS * sizeof *items),
        .prefill_tiles = bench_upload(tiles, T * sizeof *tiles),
    };
    j.partials = bench_upload(NULL, (size_t)MAX(j.num_items, 1) *
                                        cuda_attention_partial_bytes(&j.shape));
    j.counters = bench_upload(NULL, S * (size_t)m->kv_heads * sizeof(uint32_t));
    free(lens);
    free(slots);
    free(tables);
    free(items);
    free(tiles);
    *ret = j;
}

static void
job_close(struct attention_job *j)
{
    const void *const owned[] = {j->ints.header,       j->ints.seq_lens,      j->ints.block_tables,
                                 j->ints.decode_items, j->ints.prefill_tiles, j->partials,
                                 j->counters};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        bench_check(cudaFree((void *)(uintptr_t)owned[i]), "cudaFree");
}

static void
time_case(struct bench *b, const struct bench_model *m, int seqs, int q_len, int context)
{
    struct attention_job j;
    job_open(b, m, seqs, q_len, context, &j);
    double q = (double)seqs * q_len * m->heads * m->head_dim;
    double kv = 2.0 * seqs * context * m->kv_heads * m->head_dim;
    /* causal: a row looks at itself and all before it */
    double keys = context - (q_len - 1) / 2.0;
    const struct bench_case c = {
        .kernel = q_len > 1 ? "attention_prefill" : "attention_decode",
        .how = "kernel",
        .model = m->name,
        .rows = seqs * q_len,
        .context = context,
        .bytes = 2 * kv + 4 * q,
        .flops = 4 * q * keys,
    };
    const struct job job = {
        .enqueue = enqueue, .arg = &j, .num_launches = bench_launches(b, 2 * half_bytes(&j))};
    if (2 * half_bytes(&j) + 512 > (double)b->data_bytes) {
        printf("%-18s %-10s %-12s %5d x %-5d left out: its keys and values do not fit\n", c.kernel,
               "", m->name, c.rows, context);
        rows_begin(&b->rows, "left_out");
        rows_text(&b->rows, "kernel", c.kernel);
        rows_text(&b->rows, "model", m->name);
        rows_int(&b->rows, "rows", c.rows);
        rows_int(&b->rows, "context", context);
        rows_text(&b->rows, "why", "its keys and values do not fit");
        rows_end(&b->rows);
    } else {
        bench_report(b, &c, bench_time(b, &job));
    }
    job_close(&j);
}

static void
decode(struct bench *b, const struct bench_model *m)
{
    for (size_t k = 0; k < ARRAY_SIZE(batches); k++) {
        for (size_t i = 0; i < ARRAY_SIZE(contexts); i++) {
            bool thinned = (b->quick && contexts[i] != 400 && contexts[i] != 4000) ||
                           (b->tiny && (contexts[i] > 400 || batches[k] > 8));
            if (!thinned)
                time_case(b, m, batches[k], 1, contexts[i]);
        }
    }
}

static void
prefill(struct bench *b, const struct bench_model *m)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefills); i++) {
        if (!(b->tiny && i > 0) && !(b->quick && i == 0))
            time_case(b, m, prefills[i].seqs, prefills[i].tokens, prefills[i].tokens);
    }
}

void
bench_attention(struct bench *b, const struct bench_model *m)
{
    if (bench_wants(b, "attention_decode", m->name))
        decode(b, m);
    if (bench_wants(b, "attention_prefill", m->name))
        prefill(b, m);
}
