/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The integers of a step as one block of memory: filled on the host, copied
 * once, read by every kernel. What attention needs beyond the batch is made
 * here too: work items for rows that decode, tiles for those that prefill.
 */
#include "kernels/cuda/internal.h"

#include <string.h>

#define HEADER_BYTES (STEP_HEADER_INTS * sizeof(int32_t))
/* Blocks of a sequence when nobody said how long one can be. */
#define DEFAULT_MAX_BLOCKS 4096

static size_t
take(size_t *at, size_t bytes)
{
    size_t begin = *at;
    *at = ROUND_UP(begin + bytes, 16);
    return begin;
}

static int
max_blocks_per_seq(const struct device *dev)
{
    int len = dev->options.max_model_len;
    return len > 0 ? CEIL_DIV(len, KV_BLOCK_SIZE) : DEFAULT_MAX_BLOCKS;
}

/* Most items of num_seqs sequences: each has its splits, and all together have
 * no more than the cache's keys make. */
static size_t
most_items(const struct device *dev, int num_seqs)
{
    size_t each = (size_t)num_seqs * DECODE_MAX_SPLITS;
    size_t all = (size_t)num_seqs + (size_t)dev->num_partials;
    return dev->num_partials > 0 ? MIN(each, all) : each;
}

struct block_layout
block_layout(const struct device *dev, int num_rows, int num_seqs, int num_tiles)
{
    size_t rows = (size_t)num_rows, at = HEADER_BYTES;
    size_t items = most_items(dev, num_seqs) * sizeof(struct decode_item);
    struct block_layout l;
    l.token_ids = take(&at, rows * sizeof(int32_t));
    l.positions = take(&at, rows * sizeof(int32_t));
    l.slot_mapping = take(&at, rows * sizeof(int32_t));
    l.seq_lens = take(&at, (size_t)num_seqs * sizeof(int32_t));
    l.prefill_tiles = take(&at, (size_t)num_tiles * sizeof(struct prefill_tile));
    l.decode_items = take(&at, items);
    /* the second list has a header of its own, since kernels read its length */
    l.window_items = take(&at, dev->kv.window > 0 ? HEADER_BYTES + items : 0);
    l.block_tables = at;
    return l;
}

size_t
block_bytes_most(const struct device *dev)
{
    int rows = dev->options.max_tokens, seqs = dev->options.max_seqs;
    struct block_layout l = block_layout(dev, rows, seqs, rows);
    size_t window = HEADER_BYTES + most_items(dev, seqs) * sizeof(struct decode_item);
    return l.block_tables + window
           + (size_t)seqs * (size_t)max_blocks_per_seq(dev) * sizeof(int32_t);
}

void
block_views(struct device *dev, const struct block_layout *l)
{
    char *b = dev->block;
    dev->ints = (struct step_ints){
        .header = (const int32_t *)b,
        .token_ids = (const int32_t *)(b + l->token_ids),
        .positions = (const int32_t *)(b + l->positions),
        .slot_mapping = (const int32_t *)(b + l->slot_mapping),
        .seq_lens = (const int32_t *)(b + l->seq_lens),
        .block_tables = (const int32_t *)(b + l->block_tables),
        .decode_items = (const struct decode_item *)(b + l->decode_items),
        .prefill_tiles = (const struct prefill_tile *)(b + l->prefill_tiles),
        .last_tokens = dev->last_tokens,
    };
    dev->window_ints = dev->ints;
    if (dev->kv.window > 0) {
        dev->window_ints.header = (const int32_t *)(b + l->window_items);
        dev->window_ints.decode_items =
            (const struct decode_item *)(b + l->window_items + HEADER_BYTES);
    }
}

static void
fill_tokens(char *block, const struct block_layout *l, const struct batch *b, int num_rows)
{
    int32_t *ids = (int32_t *)(block + l->token_ids);
    int32_t *positions = (int32_t *)(block + l->positions);
    int32_t *slots = (int32_t *)(block + l->slot_mapping);
    size_t n = (size_t)b->num_tokens * sizeof(int32_t);
    memcpy(ids, b->token_ids, n);
    memcpy(positions, b->positions, n);
    memcpy(slots, b->slot_mapping, n);
    for (int t = b->num_tokens; t < num_rows; t++) {
        ids[t] = positions[t] = 0;
        slots[t] = -1;
    }
}

/* Rows that decode have a kernel of their own, whose sums are in another order
 * than those of a row that prefills. A deterministic device has only the latter,
 * so that a token computed anew after a preemption gets the same bits. */
static bool
decodes(const struct device *dev, int q_len)
{
    return q_len == 1 && !dev->options.deterministic;
}

/* The parts of one sequence's decode row; a function of its length alone. */
static int
add_items(const struct device *dev, struct decode_item *items, int row, int seq, int num_keys,
          int window, int *partial)
{
    bool whole = dev->partials == NULL;
    int first = window > 0 ? MAX(0, num_keys - window) : 0;
    first = first / DECODE_SPLIT_KEYS * DECODE_SPLIT_KEYS;
    int step = whole ? num_keys - first : decode_split_keys(num_keys - first);
    int num_splits = CEIL_DIV(num_keys - first, step);
    for (int i = 0; i < num_splits; i++) {
        items[i] = (struct decode_item){
            .row = row,
            .seq = seq,
            .split = i,
            .num_splits = num_splits,
            .first_key = first + i * step,
            .last_key = MIN(first + (i + 1) * step, num_keys),
            .partial = *partial,
            .counter = seq,
        };
    }
    if (num_splits > 1)
        *partial += num_splits;
    return num_splits;
}

static int
fill_items(const struct device *dev, struct decode_item *items, const struct batch *b, int window)
{
    int n = 0, partial = 0;
    for (int s = 0; s < b->num_seqs; s++) {
        int row = b->cu_seqlens_q[s];
        if (decodes(dev, b->cu_seqlens_q[s + 1] - row))
            n += add_items(dev, items + n, row, s, b->seq_lens[s], window, &partial);
    }
    return n;
}

int
block_count_tiles(const struct device *dev, const struct batch *b)
{
    int n = 0;
    for (int s = 0; s < b->num_seqs; s++) {
        int q_len = b->cu_seqlens_q[s + 1] - b->cu_seqlens_q[s];
        if (q_len > 0 && !decodes(dev, q_len))
            n += CEIL_DIV(q_len, dev->tile_rows);
    }
    return n;
}

/* As many as block_count_tiles says. */
static void
fill_tiles(const struct device *dev, struct prefill_tile *tiles, const struct batch *b)
{
    int n = 0;
    for (int s = 0; s < b->num_seqs; s++) {
        int row = b->cu_seqlens_q[s], q_len = b->cu_seqlens_q[s + 1] - row;
        if (q_len == 0 || decodes(dev, q_len))
            continue;
        for (int i = 0; i < q_len; i += dev->tile_rows) {
            tiles[n++] = (struct prefill_tile){
                .row = row + i,
                .num_rows = MIN(dev->tile_rows, q_len - i),
                .seq = s,
                .position = b->seq_lens[s] - q_len + i,
            };
        }
    }
}

/* Entries below 0, pages behind every window, become any page: never read. */
static size_t
fill_tables(char *block, const struct block_layout *l, const struct batch *b)
{
    int32_t *tables = (int32_t *)(block + l->block_tables);
    size_t n = (size_t)b->num_seqs * (size_t)b->max_blocks_per_seq;
    for (size_t i = 0; i < n; i++)
        tables[i] = MAX(b->block_tables[i], 0);
    return l->block_tables + n * sizeof *tables;
}

size_t
block_fill(struct device *dev, char *block, const struct block_layout *l, const struct batch *b,
           int num_rows)
{
    int32_t *header = (int32_t *)block;
    memset(header, 0, HEADER_BYTES);
    header[STEP_TABLE_STRIDE] = b->max_blocks_per_seq;
    fill_tokens(block, l, b, num_rows);
    memcpy(block + l->seq_lens, b->seq_lens, (size_t)b->num_seqs * sizeof(int32_t));
    fill_tiles(dev, (struct prefill_tile *)(block + l->prefill_tiles), b);
    header[STEP_NUM_DECODE_ITEMS] =
        fill_items(dev, (struct decode_item *)(block + l->decode_items), b, 0);
    dev->has_decodes = header[STEP_NUM_DECODE_ITEMS] > 0;
    if (dev->kv.window > 0) {
        int32_t *window_header = (int32_t *)(block + l->window_items);
        memcpy(window_header, header, HEADER_BYTES);
        window_header[STEP_NUM_DECODE_ITEMS] = fill_items(
            dev, (struct decode_item *)(block + l->window_items + HEADER_BYTES), b,
            dev->kv.window);
    }
    return fill_tables(block, l, b);
}
