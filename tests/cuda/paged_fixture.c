/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/paged_fixture.h"

#include "tests/ops/ref_ops.h"
#include "util/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define B CUDA_PAGE_TOKENS
#define NO_PAGE 0x00ffffff /* far outside of any cache */
#define WIPED 0xABCD       /* a number like any other */

static void *
new_zeroed(size_t n, size_t size)
{
    void *p = calloc(MAX(n, 1), size);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* First key that a row at `position` sees. */
static int
first_visible(const struct paged *p, int position)
{
    int window = p->shape.window;
    return window > 0 ? MAX(0, position - window + 1) : 0;
}

int
paged_first_visible(const struct paged *p, int s)
{
    return first_visible(p, p->seq_lens[s] - 1);
}

static int64_t
slot_index(const struct paged *p, int s, int key, int kv_head)
{
    int64_t page = p->tables[s * p->stride + key / B];
    return ((page * p->shape.num_kv_heads + kv_head) * B + key % B) * p->shape.head_dim;
}

/* Pages in random order for the keys that this step's rows see. */
static void
draw_pages(struct paged *p, uint64_t seed)
{
    int num_used = 0;
    for (int s = 0; s < p->num_seqs; s++)
        for (int i = 0; i < p->stride; i++) {
            int first = first_visible(p, p->seq_lens[s] - p->q_lens[s]) / B;
            bool used = i >= first && i < CEIL_DIV(p->seq_lens[s], B);
            p->tables[s * p->stride + i] = used ? num_used++ : NO_PAGE;
        }
    p->num_pages = num_used + 2; /* two are nobody's */
    int32_t *order = new_zeroed((size_t)p->num_pages, sizeof *order);
    for (int i = 0; i < p->num_pages; i++)
        order[i] = i;
    for (int i = p->num_pages - 1; i > 0; i--) {
        int j = (int)(rng_mix64(seed + (uint64_t)i) % (uint64_t)(i + 1));
        int32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < p->num_seqs * p->stride; i++)
        if (p->tables[i] != NO_PAGE)
            p->tables[i] = order[p->tables[i]];
    free(order);
}

/* Keys and values of the used slots; NaN elsewhere. */
static void
fill_cache(struct paged *p, uint64_t seed)
{
    int D = p->shape.head_dim, K = p->shape.num_kv_heads;
    int64_t n = (int64_t)p->num_pages * K * B * D;
    float *keys = random_bf16(seed + 1, n, 2), *values = random_bf16(seed + 2, n, 1);
    p->k = new_zeroed((size_t)n, sizeof *p->k);
    p->v = new_zeroed((size_t)n, sizeof *p->v);
    for (int64_t i = 0; i < n; i++)
        p->k[i] = p->v[i] = NAN;
    for (int s = 0; s < p->num_seqs; s++) {
        int first = first_visible(p, p->seq_lens[s] - p->q_lens[s]);
        for (int key = first; key < p->seq_lens[s]; key++)
            for (int h = 0; h < K; h++) {
                int64_t at = slot_index(p, s, key, h);
                memcpy(p->k + at, keys + at, (size_t)D * sizeof *keys);
                memcpy(p->v + at, values + at, (size_t)D * sizeof *values);
            }
    }
    free(keys);
    free(values);
    p->kv.k = device_bf16(p->k, n);
    p->kv.v = device_bf16(p->v, n);
}

static void
fill_queries(struct paged *p, float q_scale, uint64_t seed)
{
    int64_t q_width = (int64_t)p->shape.num_heads * p->shape.head_dim;
    int64_t width = q_width + (int64_t)2 * p->shape.num_kv_heads * p->shape.head_dim;
    p->q = random_bf16(seed + 3, p->num_rows * q_width, q_scale);
    float *qkv = new_zeroed((size_t)(p->num_rows * width), sizeof *qkv);
    for (int64_t row = 0; row < p->num_rows; row++)
        for (int64_t i = 0; i < width; i++)
            qkv[row * width + i] = i < q_width ? p->q[row * q_width + i] : NAN;
    p->dev_qkv = device_bf16(qkv, p->num_rows * width);
    free(qkv);
    p->dev_out = device_new((size_t)(p->num_rows * q_width) * sizeof *p->dev_out);
}

void
paged_open(struct paged *ret, const struct attention_shape *shape, const int *seq_lens,
           const int *q_lens, int num_seqs, float q_scale, uint64_t seed)
{
    struct paged *p = ret;
    *p = (struct paged){.shape = *shape, .num_seqs = num_seqs};
    ck_assert_int_le(num_seqs, PAGED_MAX_SEQS);
    for (int s = 0; s < num_seqs; s++) {
        p->seq_lens[s] = seq_lens[s];
        p->q_lens[s] = q_lens != NULL ? q_lens[s] : 1;
        p->first_rows[s] = p->num_rows;
        p->num_rows += p->q_lens[s];
        p->stride = MAX(p->stride, CEIL_DIV(seq_lens[s], B) + 1);
    }
    size_t num_entries = (size_t)num_seqs * (size_t)p->stride;
    p->tables = new_zeroed(num_entries, sizeof *p->tables);
    draw_pages(p, seed);
    fill_cache(p, seed);
    fill_queries(p, q_scale, seed);

    size_t num_counters = (size_t)num_seqs * (size_t)shape->num_kv_heads;
    p->counters = device_new(num_counters * sizeof *p->counters);
    CUDA_OK(cudaMemset(p->counters, 0, num_counters * sizeof *p->counters));
    p->partials = device_new(PAGED_MAX_ITEMS * cuda_attention_partial_bytes(shape));
    p->ints = (struct step_ints){
        .header = device_new(STEP_HEADER_INTS * sizeof(int32_t)),
        .seq_lens = device_copy(p->seq_lens, (size_t)num_seqs * sizeof(int32_t)),
        .block_tables = device_copy(p->tables, num_entries * sizeof(int32_t)),
        .decode_items = device_new(sizeof p->items),
        .prefill_tiles = device_new(sizeof p->tiles),
    };
}

void
paged_close(struct paged *p)
{
    const void *device[] = {p->kv.k, p->kv.v, p->dev_qkv, p->dev_out, p->ints.header,
                            p->ints.seq_lens, p->ints.block_tables, p->ints.decode_items,
                            p->ints.prefill_tiles, p->partials, p->counters};
    for (size_t i = 0; i < ARRAY_SIZE(device); i++)
        device_free(device[i]);
    free(p->tables);
    free(p->q);
    free(p->k);
    free(p->v);
}

void
paged_add_items(struct paged *p, int s, int first_key, int split_keys)
{
    int num_keys = p->seq_lens[s] - first_key;
    int keys = split_keys > 0 ? split_keys : num_keys, num_splits = CEIL_DIV(num_keys, keys);
    for (int i = 0; i < num_splits; i++) {
        ck_assert_int_lt(p->num_items, PAGED_MAX_ITEMS);
        p->items[p->num_items++] = (struct decode_item){
            .row = p->first_rows[s] + p->q_lens[s] - 1,
            .seq = s,
            .split = i,
            .num_splits = num_splits,
            .first_key = first_key + i * keys,
            .last_key = MIN(first_key + (i + 1) * keys, p->seq_lens[s]),
            .partial = num_splits > 1 ? p->num_partials : -1,
            .counter = num_splits > 1 ? s : -1,
        };
    }
    p->num_partials += num_splits > 1 ? num_splits : 0;
}

void
paged_add_tiles(struct paged *p, int s)
{
    for (int i = 0; i < p->q_lens[s]; i += PREFILL_TILE_ROWS) {
        ck_assert_int_lt(p->num_tiles, PAGED_MAX_ITEMS);
        p->tiles[p->num_tiles++] = (struct prefill_tile){
            .row = p->first_rows[s] + i,
            .num_rows = MIN(PREFILL_TILE_ROWS, p->q_lens[s] - i),
            .seq = s,
            .position = p->seq_lens[s] - p->q_lens[s] + i,
        };
    }
}

void
paged_clear(struct paged *p)
{
    p->num_items = p->num_tiles = p->num_partials = 0;
}

static void
upload(const void *dst, const void *src, size_t bytes, const struct cuda_ctx *ctx)
{
    if (bytes > 0)
        CUDA_OK(cudaMemcpyAsync((void *)(uintptr_t)dst, src, bytes, cudaMemcpyHostToDevice,
                                ctx->stream));
}

void
paged_upload(struct paged *p, const struct cuda_ctx *ctx)
{
    int32_t header[STEP_HEADER_INTS] = {
        [STEP_TABLE_STRIDE] = p->stride,
        [STEP_NUM_DECODE_ITEMS] = p->num_items,
    };
    upload(p->ints.header, header, sizeof header, ctx);
    upload(p->ints.seq_lens, p->seq_lens, (size_t)p->num_seqs * sizeof *p->seq_lens, ctx);
    upload(p->ints.decode_items, p->items, (size_t)p->num_items * sizeof *p->items, ctx);
    upload(p->ints.prefill_tiles, p->tiles, (size_t)p->num_tiles * sizeof *p->tiles, ctx);
    CUDA_OK(cudaStreamSynchronize(ctx->stream));
}

static size_t
num_outputs(const struct paged *p)
{
    return (size_t)p->num_rows * (size_t)p->shape.num_heads * (size_t)p->shape.head_dim;
}

void
paged_wipe(struct paged *p, const struct cuda_ctx *ctx)
{
    bf16_bits *bits = new_zeroed(num_outputs(p), sizeof *bits);
    for (size_t i = 0; i < num_outputs(p); i++)
        bits[i] = WIPED;
    upload(p->dev_out, bits, num_outputs(p) * sizeof *bits, ctx);
    CUDA_OK(cudaStreamSynchronize(ctx->stream));
    free(bits);
}

bf16_bits *
paged_read(const struct paged *p, const struct cuda_ctx *ctx)
{
    bf16_bits *bits = new_zeroed(num_outputs(p), sizeof *bits);
    CUDA_OK(cudaStreamSynchronize(ctx->stream));
    device_read(bits, p->dev_out, num_outputs(p) * sizeof *bits);
    return bits;
}

/* want[D], and absolute[D]: the sum of |weight * value|. */
static void
attend(const struct paged *p, int s, int position, int row, int head, double *want,
       double *absolute)
{
    const struct attention_shape *a = &p->shape;
    int D = a->head_dim, kv_head = head / (a->num_heads / a->num_kv_heads);
    const float *q = p->q + ((int64_t)row * a->num_heads + head) * D;
    int first = first_visible(p, position), num_keys = position + 1 - first;
    double *weight = new_zeroed((size_t)num_keys, sizeof *weight), max = -INFINITY, sum = 0;
    for (int i = 0; i < num_keys; i++) {
        const float *k = p->k + slot_index(p, s, first + i, kv_head);
        double logit = 0;
        for (int d = 0; d < D; d++)
            logit += (double)q[d] * (double)k[d];
        logit *= (double)a->scale;
        if (a->softcap > 0)
            logit = (double)a->softcap * tanh(logit / (double)a->softcap);
        weight[i] = logit;
        max = fmax(max, logit);
    }
    for (int i = 0; i < num_keys; i++)
        sum += weight[i] = exp(weight[i] - max);
    for (int d = 0; d < D; d++)
        want[d] = absolute[d] = 0;
    for (int i = 0; i < num_keys; i++) {
        const float *v = p->v + slot_index(p, s, first + i, kv_head);
        for (int d = 0; d < D; d++) {
            want[d] += weight[i] / sum * (double)v[d];
            absolute[d] += weight[i] / sum * fabs((double)v[d]);
        }
    }
    free(weight);
}

static void
check_row(const struct paged *p, const char *what, const bf16_bits *got, int s, int position,
          int row)
{
    enum { MAX_DIM = 256 };
    int D = p->shape.head_dim;
    double want[MAX_DIM], absolute[MAX_DIM];
    for (int head = 0; head < p->shape.num_heads; head++) {
        const bf16_bits *x = got + ((int64_t)row * p->shape.num_heads + head) * D;
        double square = 0, length = 0;
        attend(p, s, position, row, head, want, absolute);
        for (int d = 0; d < D; d++) {
            double off = fabs((double)ref_get(DTYPE_BF16, x, d) - want[d]);
            if (!(off <= (absolute[d] + fabs(want[d])) * 0x1.02p-8 + 2e-5 * absolute[d]))
                ck_abort_msg("%s: sequence %d of %d, row %d head %d element %d is %.6g, not %.6g",
                             what, s, p->seq_lens[s], row, head, d,
                             (double)ref_get(DTYPE_BF16, x, d), want[d]);
            square += off * off;
            length += want[d] * want[d];
        }
        ck_assert_msg(square <= length / (200 * 200),
                      "%s: sequence %d of %d, row %d head %d is off by %.2e of its length", what, s,
                      p->seq_lens[s], row, head, sqrt(square / length));
    }
}

void
paged_check(const struct paged *p, const char *what, const bf16_bits *got)
{
    bool *written = new_zeroed((size_t)p->num_rows, sizeof *written);
    for (int i = 0; i < p->num_items; i++) {
        const struct decode_item *item = &p->items[i];
        if (!written[item->row])
            check_row(p, what, got, item->seq, p->seq_lens[item->seq] - 1, item->row);
        written[item->row] = true;
    }
    for (int i = 0; i < p->num_tiles; i++)
        for (int j = 0; j < p->tiles[i].num_rows; j++) {
            check_row(p, what, got, p->tiles[i].seq, p->tiles[i].position + j,
                      p->tiles[i].row + j);
            written[p->tiles[i].row + j] = true;
        }
    int width = p->shape.num_heads * p->shape.head_dim;
    for (int64_t i = 0; i < (int64_t)p->num_rows * width; i++)
        if (!written[i / width] && got[i] != WIPED)
            ck_abort_msg("%s: row %lld was written", what, (long long)(i / width));
    free(written);
}
