/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Causal attention of a tile of query rows over the pages of one kv head, with
 * an online softmax in blocks of ATTENTION_KEYS keys. A block starts at a
 * multiple of ATTENTION_KEYS of the sequence, so a row's order of operations
 * depends on its position alone: in a decode step, in any chunk of a prefill
 * and in any tile it meets the same blocks, and a block or key that it does
 * not see changes no bit (a factor 1, an added 0).
 * Included by kernels_<isa>.c after gemm_impl.h.
 */
#ifndef KERNELS_CPU_ATTENTION_IMPL_H
#define KERNELS_CPU_ATTENTION_IMPL_H

#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/vmath.h"

#define PAGES_PER_BLOCK (ATTENTION_KEYS / KV_BLOCK_SIZE)

_Static_assert(KV_BLOCK_SIZE == PANEL, "a key page is one panel");
_Static_assert(ATTENTION_KEYS % KV_BLOCK_SIZE == 0, "blocks are whole pages");

/* First and last key that the token at `position` sees. */
INLINE int
first_key(const struct attention_tile *t, int position)
{
    return t->window > 0 ? MAX(0, position - t->window + 1) : 0;
}

static const char *
key_page(const struct attention_tile *t, int page)
{
    int32_t block = t->block_table[page];
    ASSERT(block >= 0 && block < t->num_blocks);
    return t->pages + (size_t)block * t->block_stride;
}

/* scores[rows, 16] = q . k of one page */
static void
attention_scores(const struct attention_tile *t, const struct attention_scratch *s, int rows,
                 int page, int column)
{
    const char *keys = key_page(t, page);
    int num_shares = CEIL_DIV(rows, MICRO_ROWS), row = 0;
    for (int share = 0; share < num_shares; share++) {
        int n = (rows - row) / (num_shares - share);
        micro_any(n, 1, t->dtype,
                  &(struct micro_args){.x = s->q + row * t->head_dim,
                                       .ldx = (size_t)t->head_dim,
                                       .w = keys,
                                       .next = keys + t->page_bytes,
                                       .k = t->head_dim,
                                       .c = s->scores + row * ATTENTION_KEYS + column,
                                       .ldc = ATTENTION_KEYS,
                                       .first = true});
        row += n;
    }
}

/*
 * One row's softmax over the block of keys from key0: scores become weights,
 * row maximum and sum go on, and the row's accumulator is scaled to the new
 * maximum. Keys outside [lo, hi] weigh exactly 0.
 */
INLINE void
softmax_row(const struct attention_tile *t, const struct attention_scratch *s, int row, int key0,
            int num_pages, int lo, int hi)
{
    float *scores = s->scores + row * ATTENTION_KEYS;
    vf z[ATTENTION_KEYS / LANES];
    vf max = v_set(-INFINITY);
    int n = num_pages * (KV_BLOCK_SIZE / LANES);
    vi key = v_iota() + key0;
    for (int i = 0; i < n; i++) {
        z[i] = v_load(scores + i * LANES);
        if (t->softcap > 0)
            z[i] = v_set(t->softcap) * v_tanh(z[i] / v_set(t->softcap));
        vi seen = (key >= v_seti(lo)) & (key <= v_seti(hi));
        z[i] = v_select(seen, z[i], v_set(-INFINITY));
        max = v_max(max, z[i]);
        key = key + LANES;
    }
    float old_max = s->max[row];
    float new_max = MAX(old_max, v_reduce_max(max));
    float base = new_max == -INFINITY ? 0.0f : new_max;   /* nothing seen yet */
    vf sum = v_set(0.0f);
    for (int i = 0; i < n; i++) {
        z[i] = v_exp(z[i] - v_set(base));
        sum = sum + z[i];
        v_store(scores + i * LANES, z[i]);
    }
    float *row_sum = s->sum + row * LANES;
    if (new_max != old_max) {
        float shrink = v_exp(v_set(old_max - base))[0];
        float *acc = s->acc + row * t->kv_dim;
        for (int d = 0; d < t->kv_dim; d += LANES)
            v_store(acc + d, v_load(acc + d) * v_set(shrink));
        v_store(row_sum, v_load(row_sum) * v_set(shrink));
        s->max[row] = new_max;
    }
    v_store(row_sum, v_load(row_sum) + sum);
}

struct value_pages {
    const char *values[PAGES_PER_BLOCK];
    const char *next[PAGES_PER_BLOCK];   /* key pages of the next block, to fetch meanwhile */
};

/* acc[rows, 16 of d] += weights . values, over the pages of a block */
INLINE void
values_micro(const int rows, const enum dtype dtype, const struct attention_tile *t,
             const struct attention_scratch *s, int row, int d,
             const struct value_pages *pages, int num_keys)
{
    vf acc[MICRO_ROWS][2];
    float *c = s->acc + row * t->kv_dim + d;
    const size_t step = PANEL * dtype_bytes(dtype);
    UNROLL
    for (int r = 0; r < rows; r++) {
        acc[r][0] = v_load(c + r * t->kv_dim);
        acc[r][1] = v_load(c + r * t->kv_dim + LANES);
    }
    const float *p = s->scores + row * ATTENTION_KEYS;
    for (int page = 0; page * KV_BLOCK_SIZE < num_keys; page++) {
        size_t offset = (size_t)d * KV_BLOCK_SIZE * dtype_bytes(dtype);
        const char *v = pages->values[page] + offset, *next = pages->next[page] + offset;
        int n = MIN(KV_BLOCK_SIZE, num_keys - page * KV_BLOCK_SIZE);
        for (int j = 0; j < n; j++) {
            vf lo, hi;
            __builtin_prefetch(next, 0, 2);
            v_load16(dtype, v, &lo, &hi);
            UNROLL
            for (int r = 0; r < rows; r++) {
                vf weight = v_set(p[r * ATTENTION_KEYS]);
                acc[r][0] = v_fma(weight, lo, acc[r][0]);
                acc[r][1] = v_fma(weight, hi, acc[r][1]);
            }
            v += step;
            next += step;
            p++;
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        v_store(c + r * t->kv_dim, acc[r][0]);
        v_store(c + r * t->kv_dim + LANES, acc[r][1]);
    }
}

INLINE void
values_rows(int n, const enum dtype dtype, const struct attention_tile *t,
            const struct attention_scratch *s, int row, int d,
            const struct value_pages *pages, int num_keys)
{
    switch (n) {
    case 1: values_micro(1, dtype, t, s, row, d, pages, num_keys); break;
    case 2: values_micro(2, dtype, t, s, row, d, pages, num_keys); break;
    case 3: values_micro(3, dtype, t, s, row, d, pages, num_keys); break;
    case 4: values_micro(4, dtype, t, s, row, d, pages, num_keys); break;
    case 5: values_micro(5, dtype, t, s, row, d, pages, num_keys); break;
    case 6: values_micro(6, dtype, t, s, row, d, pages, num_keys); break;
    default: ASSERT(false);
    }
}

/* num_keys: those that are written; a slot beyond may hold anything, NaN
 * included, so its weight 0 would not make it harmless. */
static void
attention_values(const struct attention_tile *t, const struct attention_scratch *s, int rows,
                 int first_page, int num_keys)
{
    struct value_pages pages;
    int last_page = (t->first_position + t->num_tokens - 1) / KV_BLOCK_SIZE;
    for (int i = 0; i * KV_BLOCK_SIZE < num_keys; i++) {
        pages.values[i] = key_page(t, first_page + i) + t->page_bytes;
        int after = MIN(first_page + PAGES_PER_BLOCK + i, last_page);
        pages.next[i] = key_page(t, after);
    }
    int num_shares = CEIL_DIV(rows, MICRO_ROWS);
    for (int d = 0; d < t->kv_dim; d += PANEL) {
        int row = 0;
        for (int share = 0; share < num_shares; share++) {
            int n = (rows - row) / (num_shares - share);
            switch (t->dtype) {
            case DTYPE_BF16: values_rows(n, DTYPE_BF16, t, s, row, d, &pages, num_keys); break;
            case DTYPE_F16: values_rows(n, DTYPE_F16, t, s, row, d, &pages, num_keys); break;
            case DTYPE_F32: values_rows(n, DTYPE_F32, t, s, row, d, &pages, num_keys); break;
            }
            row += n;
        }
    }
}

static void
attention_begin(const struct attention_tile *t, const struct attention_scratch *s, int rows)
{
    int row = 0;
    for (int i = 0; i < t->num_tokens; i++) {
        for (int h = 0; h < t->num_heads; h++, row++) {
            const float *q = t->q + i * t->q_stride + (size_t)h * t->head_dim;
            float *scaled = s->q + (size_t)row * t->head_dim;
            for (int d = 0; d < t->head_dim; d += LANES)
                v_store(scaled + d, v_load(q + d) * v_set(t->scale));
        }
    }
    memset(s->acc, 0, (size_t)rows * t->kv_dim * sizeof *s->acc);
    memset(s->sum, 0, (size_t)rows * LANES * sizeof *s->sum);
    for (int r = 0; r < rows; r++)
        s->max[r] = -INFINITY;
}

static void
attention_end(const struct attention_tile *t, const struct attention_scratch *s)
{
    int row = 0;
    for (int i = 0; i < t->num_tokens; i++) {
        for (int h = 0; h < t->num_heads; h++, row++) {
            float *out = t->out + i * t->out_stride + (size_t)h * t->head_dim;
            const float *acc = s->acc + (size_t)row * t->kv_dim;
            vf inverse = v_set(1.0f / v_sum(v_load(s->sum + row * LANES)));
            for (int d = 0; d < t->head_dim; d += LANES)
                v_store(out + d, v_load(acc + d) * inverse);
        }
    }
}

static void
attention_tile_run(const struct attention_tile *t, const struct attention_scratch *s)
{
    int rows = t->num_tokens * t->num_heads;
    int last = t->first_position + t->num_tokens - 1;
    attention_begin(t, s, rows);
    /* the first block from the first page that is seen: those before it may be
     * another sequence's by now */
    int next;
    int key0 = first_key(t, t->first_position) / KV_BLOCK_SIZE * KV_BLOCK_SIZE;
    for (; key0 <= last; key0 = next) {
        next = (key0 / ATTENTION_KEYS + 1) * ATTENTION_KEYS;
        int num_keys = MIN(next, last + 1) - key0;
        int num_pages = CEIL_DIV(num_keys, KV_BLOCK_SIZE);
        int page0 = key0 / KV_BLOCK_SIZE;
        for (int i = 0; i < num_pages; i++)
            attention_scores(t, s, rows, page0 + i, i * KV_BLOCK_SIZE);
        int row = 0;
        for (int i = 0; i < t->num_tokens; i++) {
            int position = t->first_position + i, lo = first_key(t, position);
            for (int h = 0; h < t->num_heads; h++, row++)
                softmax_row(t, s, row, key0, num_pages, lo, position);
        }
        attention_values(t, s, rows, page0, num_keys);
    }
    attention_end(t, s);
}

#endif
