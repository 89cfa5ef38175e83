/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/cuda_fixture.h"

#include "tests/ops/ref_ops.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

struct cuda_ctx
ctx_open(void)
{
    struct cuda_ctx ctx = {.pdl = 1};
    CUDA_OK(cudaDeviceGetAttribute(&ctx.num_sms, cudaDevAttrMultiProcessorCount, 0));
    CUDA_OK(cudaStreamCreateWithFlags(&ctx.stream, cudaStreamNonBlocking));
    return ctx;
}

void
ctx_close(struct cuda_ctx *ctx)
{
    CUDA_OK(cudaStreamSynchronize(ctx->stream));
    CUDA_OK(cudaStreamDestroy(ctx->stream));
}

void *
host_new(size_t bytes)
{
    void *p = malloc(MAX(bytes, 1));
    ck_assert_ptr_nonnull(p);
    return p;
}

struct buffer
host_buffer(const float *data, int64_t n)
{
    return (struct buffer){.data = (void *)(uintptr_t)data, .bytes = (size_t)n * sizeof *data};
}

void *
device_new(size_t bytes)
{
    void *p;
    CUDA_OK(cudaMalloc(&p, MAX(bytes, 1)));
    return p;
}

void *
device_copy(const void *data, size_t bytes)
{
    void *p = device_new(bytes);
    if (bytes > 0)
        CUDA_OK(cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice));
    return p;
}

bf16_bits *
device_bf16(const float *data, int64_t n)
{
    bf16_bits *rounded = host_new((size_t)n * sizeof *rounded);
    for (int64_t i = 0; i < n; i++)
        ref_set(DTYPE_BF16, rounded, i, data[i]);
    bf16_bits *p = device_copy(rounded, (size_t)n * sizeof *rounded);
    free(rounded);
    return p;
}

void
device_free(const void *p)
{
    CUDA_OK(cudaFree((void *)(uintptr_t)p));
}

void
device_read(void *ret, const void *src, size_t bytes)
{
    CUDA_OK(cudaDeviceSynchronize());
    CUDA_OK(cudaMemcpy(ret, src, bytes, cudaMemcpyDeviceToHost));
}

float *
device_read_bf16(const bf16_bits *src, int64_t n)
{
    bf16_bits *bits = host_new((size_t)n * sizeof *bits);
    float *x = host_new((size_t)n * sizeof *x);
    device_read(bits, src, (size_t)n * sizeof *bits);
    for (int64_t i = 0; i < n; i++)
        x[i] = ref_get(DTYPE_BF16, bits, i);
    free(bits);
    return x;
}

float *
random_bf16(uint64_t seed, int64_t n, float scale)
{
    float *x = host_new((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        uint64_t word = rng_mix64(rng_mix64(seed) + (uint64_t)i);
        x[i] = ref_round(DTYPE_BF16, ((float)(word >> 40) * 0x1p-23f - 1.0f) * scale);
    }
    return x;
}

/* The distance of bf16's neighbours around x: 8 bits of significand. */
static double
bf16_spacing(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, MAX(exponent - 8, -133));
}

void
assert_rounded(const char *what, const float *got, const float *want, int64_t n, double slack,
               double floor)
{
    for (int64_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - (double)want[i]);
        if (off <= (0.5 + slack) * bf16_spacing((double)want[i]) + floor || got[i] == want[i])
            continue;   /* check's own assertions cost a system call each */
        ck_abort_msg("%s: element %lld is %.9g, not %.9g: off by %.4f spacings of bf16", what,
                     (long long)i, (double)got[i], (double)want[i],
                     off / bf16_spacing((double)want[i]));
    }
}

void
assert_device_rounded(const char *what, const bf16_bits *got, const float *want, int64_t n,
                      double slack, double floor)
{
    float *x = device_read_bf16(got, n);
    assert_rounded(what, x, want, n, slack, floor);
    free(x);
}

void
assert_device_bits(const char *what, const bf16_bits *got, const float *want, int64_t n)
{
    bf16_bits *x = host_new((size_t)n * sizeof *x), bits;
    device_read(x, got, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        ref_set(DTYPE_BF16, &bits, 0, want[i]);
        if (x[i] != bits)
            ck_abort_msg("%s: element %lld is %.9g (%04x), not %.9g (%04x)", what, (long long)i,
                         (double)ref_get(DTYPE_BF16, x, i), x[i], (double)want[i], bits);
    }
    free(x);
}

/* Fisher-Yates over the numbers 0..n-1. */
static void
shuffle(int32_t *x, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        x[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(rng_mix64(rng_mix64(seed) + (uint64_t)i) % (uint64_t)(i + 1));
        int32_t t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}

void
batch_open(struct batch_fixture *ret, uint64_t seed, const int *q_lens, const int *seq_lens,
           int num_seqs, int num_blocks, int vocab_size)
{
    int T = 0, stride = 1;
    for (int s = 0; s < num_seqs; s++) {
        ck_assert(q_lens[s] >= 1 && q_lens[s] <= seq_lens[s]);
        T += q_lens[s];
        stride = MAX(stride, CEIL_DIV(seq_lens[s], KV_BLOCK_SIZE));
    }
    size_t n = (size_t)3 * T + (size_t)2 * num_seqs + 1 + (size_t)num_seqs * stride;
    int32_t *token_ids = host_new((n + (size_t)num_blocks) * sizeof *token_ids);
    int32_t *positions = token_ids + T, *slots = positions + T, *cu_seqlens = slots + T;
    int32_t *lens = cu_seqlens + num_seqs + 1, *tables = lens + num_seqs;
    int32_t *pages = tables + (size_t)num_seqs * stride;
    shuffle(pages, num_blocks, seed);
    int row = 0, next_page = 0;
    for (int s = 0; s < num_seqs; s++) {
        cu_seqlens[s] = row;
        lens[s] = seq_lens[s];
        int32_t *table = tables + (size_t)s * stride;
        for (int i = 0; i < stride; i++) {
            bool used = i < CEIL_DIV(seq_lens[s], KV_BLOCK_SIZE);
            ck_assert(!used || next_page < num_blocks);
            table[i] = used ? pages[next_page++] : 0;
        }
        for (int p = seq_lens[s] - q_lens[s]; p < seq_lens[s]; p++, row++) {
            positions[row] = p;
            slots[row] = table[p / KV_BLOCK_SIZE] * KV_BLOCK_SIZE + p % KV_BLOCK_SIZE;
            token_ids[row] = (int32_t)(rng_mix64(seed + (uint64_t)row) % (uint64_t)vocab_size);
        }
    }
    cu_seqlens[num_seqs] = row;
    *ret = (struct batch_fixture){
        .memory = token_ids,
        .batch = {
            .num_tokens = T,
            .num_seqs = num_seqs,
            .max_blocks_per_seq = stride,
            .token_ids = token_ids,
            .positions = positions,
            .slot_mapping = slots,
            .cu_seqlens_q = cu_seqlens,
            .seq_lens = lens,
            .block_tables = tables,
        },
    };
}

void
batch_close(struct batch_fixture *f)
{
    free(f->memory);
}

/* data[n] and, up to `padded`, the value that padding rows have. */
static const int32_t *
padded_ints(const int32_t *data, int n, int padded, int32_t padding)
{
    int32_t *x = host_new((size_t)padded * sizeof *x);
    memcpy(x, data, (size_t)n * sizeof *x);
    for (int i = n; i < padded; i++)
        x[i] = padding;
    const int32_t *p = device_copy(x, (size_t)padded * sizeof *x);
    free(x);
    return p;
}

/* The parts of sequence s, whose one row is `row`. */
static int
add_decode_items(struct decode_item *items, const struct batch *b, int s, bool split,
                 int *num_partials)
{
    int num_keys = b->seq_lens[s], keys = split ? decode_split_keys(num_keys) : num_keys;
    int num_splits = CEIL_DIV(num_keys, keys);
    for (int i = 0; i < num_splits; i++)
        items[i] = (struct decode_item){
            .row = b->cu_seqlens_q[s],
            .seq = s,
            .split = i,
            .num_splits = num_splits,
            .first_key = i * keys,
            .last_key = MIN((i + 1) * keys, num_keys),
            .partial = num_splits > 1 ? *num_partials : 0,
            .counter = s,
        };
    *num_partials += num_splits > 1 ? num_splits : 0;
    return num_splits;
}

static int
add_prefill_tiles(struct prefill_tile *tiles, const struct batch *b, int s)
{
    int first = b->cu_seqlens_q[s], last = b->cu_seqlens_q[s + 1], n = 0;
    for (int row = first; row < last; row += PREFILL_TILE_ROWS)
        tiles[n++] = (struct prefill_tile){
            .row = row,
            .num_rows = MIN(PREFILL_TILE_ROWS, last - row),
            .seq = s,
            .position = b->positions[row],
        };
    return n;
}

void
step_open(struct step_fixture *ret, const struct batch *b, int rows, bool split,
          const int32_t *row_ids, int num_row_ids, const int32_t *last_tokens,
          int num_last_tokens)
{
    ck_assert_int_ge(rows, b->num_tokens);
    size_t max_items = (size_t)b->num_seqs * DECODE_MAX_SPLITS;
    struct decode_item *items = host_new(max_items * sizeof *items);
    struct prefill_tile *tiles = host_new((size_t)b->num_tokens * sizeof *tiles);
    *ret = (struct step_fixture){.rows = rows};
    for (int s = 0; s < b->num_seqs; s++) {
        if (b->cu_seqlens_q[s + 1] - b->cu_seqlens_q[s] == 1)
            ret->num_items += add_decode_items(items + ret->num_items, b, s, split,
                                               &ret->num_partials);
        else
            ret->num_tiles += add_prefill_tiles(tiles + ret->num_tiles, b, s);
    }
    int32_t header[STEP_HEADER_INTS] = {
        [STEP_TABLE_STRIDE] = b->max_blocks_per_seq,
        [STEP_NUM_DECODE_ITEMS] = ret->num_items,
    };
    size_t table_ints = (size_t)b->num_seqs * b->max_blocks_per_seq;
    ret->ints = (struct step_ints){
        .header = device_copy(header, sizeof header),
        .token_ids = padded_ints(b->token_ids, b->num_tokens, rows, 0),
        .positions = padded_ints(b->positions, b->num_tokens, rows, 0),
        .slot_mapping = padded_ints(b->slot_mapping, b->num_tokens, rows, -1),
        .seq_lens = device_copy(b->seq_lens, (size_t)b->num_seqs * sizeof(int32_t)),
        .block_tables = device_copy(b->block_tables, table_ints * sizeof(int32_t)),
        .decode_items = device_copy(items, (size_t)ret->num_items * sizeof *items),
        .prefill_tiles = device_copy(tiles, (size_t)ret->num_tiles * sizeof *tiles),
        .last_tokens = device_copy(last_tokens, (size_t)num_last_tokens * sizeof(int32_t)),
    };
    ret->row_ids = device_copy(row_ids, (size_t)num_row_ids * sizeof(int32_t));
    free(items);
    free(tiles);
}

void
step_close(struct step_fixture *f)
{
    device_free(f->ints.header);
    device_free(f->ints.token_ids);
    device_free(f->ints.positions);
    device_free(f->ints.slot_mapping);
    device_free(f->ints.seq_lens);
    device_free(f->ints.block_tables);
    device_free(f->row_ids);
    device_free(f->ints.decode_items);
    device_free(f->ints.prefill_tiles);
    device_free(f->ints.last_tokens);
}
