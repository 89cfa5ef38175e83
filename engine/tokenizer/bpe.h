/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte pair encoding of one piece: start from its bytes (byte-level) or its
 * characters, merge the pair of lowest rank, leftmost first, until none is
 * left. O(n log n) for a piece of any length. Constant after loading; any
 * thread, each call with its own scratch.
 */
#ifndef ENGINE_TOKENIZER_BPE_H
#define ENGINE_TOKENIZER_BPE_H

#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"
#include "util/hashmap.h"

#define BPE_NO_ID (-1)

struct bpe {
    const struct vocab *vocab; /* borrowed from the tokenizer */
    struct hashmap merges;     /* pair of ids to rank << 32 | id of the whole */
    bool byte_level;           /* symbols are bytes, else characters */
    bool ignore_merges;        /* a piece that is a token is that token */
    bool fuse_unk;
    bool byte_fallback;
    int32_t unk_id;            /* or BPE_NO_ID: what is unknown vanishes */
    int32_t byte_ids[256];     /* of the symbol of a byte (byte-level) */
    int32_t fallback_ids[256]; /* of "<0x00>".. (byte_fallback) */
    size_t max_text_bytes;     /* longest spelling of a model token */

    /* For character models: which characters can ever come together. Text is
     * cut where no merge could bridge, so that a prompt is not one long word. */
    struct hashmap chars;      /* code point to id */
    struct hashmap joints;     /* last << 32 | first code point of some merge */
    uint64_t ascii_joints[128][2]; /* the same for ASCII pairs, as bits */
};

/* A symbol's rank with its right neighbour and what they make. */
struct bpe_symbol {
    int32_t id; /* BPE_NO_ID once merged into its left neighbour */
    uint32_t prev, next;
};

/* Zero-initialised is ready; grows with the longest piece. */
struct bpe_scratch {
    struct bpe_symbol *symbols; /* owned */
    size_t num_symbols, cap_symbols;
    uint64_t *heap; /* owned: rank << 32 | position */
    size_t num_heap, cap_heap;
    struct buf spelled;  /* of a byte-level piece */
    uint32_t last_cp;    /* of the last symbol, for joints */
    size_t num_merges;   /* merges looked at, for tests */
};

void bpe_release(struct bpe *b);
void bpe_scratch_release(struct bpe_scratch *s);

/* Adds the merge of `left` and `right`, ids of b->vocab, into `whole`; a later
 * one of the same pair replaces it. ERR_NOMEM. */
int bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t whole, uint32_t rank);

/* To be called once, when vocabulary, merges and flags are complete. ERR_NOMEM;
 * ERR_UNSUPPORTED: byte fallback in a byte-level model that needs it. */
int bpe_prepare(struct bpe *b);

/* Appends the ids of a piece of valid UTF-8, not empty. ERR_NOMEM; ERR_RANGE:
 * 4 GiB or more. */
int bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *piece, size_t len,
               struct token_ids *ret);

#endif
