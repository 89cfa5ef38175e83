/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Incremental detokenising of one output: ids in, whole characters out, O(1)
 * amortised per token. The concatenation of all pieces equals
 * tokenizer_decode() of all ids. One thread at a time.
 */
#ifndef ENGINE_TOKENIZER_DETOKENIZE_H
#define ENGINE_TOKENIZER_DETOKENIZE_H

#include "engine/tokenizer/tokenizer.h"

struct detokenizer {
    const struct tokenizer *tok;     /* borrowed */
    bool skip_special;
    unsigned char pending[64];       /* bytes of a character not yet whole */
    size_t num_pending;
    int pending_byte_tokens;         /* byte-fallback run: see detokenize.c */
};

void detokenizer_init(struct detokenizer *d, const struct tokenizer *tok, bool skip_special);
/* Appends the text that `id` completes (maybe nothing) to `out`. */
void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out);
/* The output has ended: appends what was held back, as U+FFFD where it is not
 * a whole character. */
void detokenizer_finish(struct detokenizer *d, struct buf *out);

#endif
