/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences in a paged cache on the device, queries, and what attention makes of
 * them in plain double loops. Whatever no kernel may read holds NaN or a page
 * number that is out of bounds: unused slots of the last page, pages before the
 * window, table entries past the sequence, keys and values within qkv.
 */
#ifndef TESTS_CUDA_PAGED_FIXTURE_H
#define TESTS_CUDA_PAGED_FIXTURE_H

#include "tests/cuda/cuda_fixture.h"

#define PAGED_MAX_SEQS 16
#define PAGED_MAX_ITEMS 256

struct paged {
    struct attention_shape shape;
    int num_seqs, num_rows, stride, num_pages;
    int seq_lens[PAGED_MAX_SEQS], q_lens[PAGED_MAX_SEQS];
    int first_rows[PAGED_MAX_SEQS];      /* of qkv and out */
    int32_t *tables;                     /* owned, [num_seqs, stride] */
    float *q;                            /* owned, [num_rows, num_heads * D] */
    float *k, *v;                        /* owned, the layer's halves of the cache */
    struct kv_layer kv;                  /* owned, and what follows, in device memory */
    bf16_bits *dev_qkv, *dev_out;
    struct step_ints ints;               /* header, seq_lens, block_tables, items, tiles */
    void *partials;
    uint32_t *counters;
    int num_items, num_tiles;
    struct decode_item items[PAGED_MAX_ITEMS];
    struct prefill_tile tiles[PAGED_MAX_ITEMS];
    int num_partials;
};

/* Sequence s has seq_lens[s] tokens, the last q_lens[s] (NULL: one) being this
 * step's rows; queries lie in +-q_scale, keys in +-2, values in +-1. Pages are
 * drawn in random order. No items yet. */
void paged_open(struct paged *ret, const struct attention_shape *shape, const int *seq_lens,
                const int *q_lens, int num_seqs, float q_scale, uint64_t seed);
void paged_close(struct paged *p);

/* First key that the last row of sequence s sees. */
int paged_first_visible(const struct paged *p, int s);

/* Appends sequence s as parts of split_keys keys from first_key on; 0: whole. */
void paged_add_items(struct paged *p, int s, int first_key, int split_keys);
/* Appends the tiles of sequence s. */
void paged_add_tiles(struct paged *p, int s);
/* No items, no tiles. */
void paged_clear(struct paged *p);
/* Lengths, items and tiles to the device, on the context's stream. */
void paged_upload(struct paged *p, const struct cuda_ctx *ctx);

/* Bits that no kernel writes, in all rows of out. */
void paged_wipe(struct paged *p, const struct cuda_ctx *ctx);
/* [num_rows, num_heads * D] as the device has it; the caller frees. */
bf16_bits *paged_read(const struct paged *p, const struct cuda_ctx *ctx);

/*
 * Rows of the items and tiles are right in `got`, the others are as paged_wipe
 * left them. A weight rounded to bf16 is off by 2^-8 of itself at most and so is the
 * output: each element within those bounds, each head's vector within 1/200 of
 * its length, which a missing or doubled key among thousands exceeds.
 */
void paged_check(const struct paged *p, const char *what, const bf16_bits *got);

#endif
