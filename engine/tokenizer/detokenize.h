/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Incremental detokenising of one output: ids in, whole characters out, O(1)
 * amortised per token. The concatenation of all pieces equals
 * tokenizer_decode() of all ids. One thread at a time.
 *
 * One deliberate exception, for models with byte fallback: Hugging Face turns
 * a run of byte tokens that is not valid UTF-8 as a whole into U+FFFD for every
 * byte of it. A run is therefore held back until it ends, but at most
 * DETOKENIZER_MAX_HELD bytes: when a run is longer and valid up to there, its
 * whole characters are given out, and if it breaks only later, they stand.
 */
#ifndef ENGINE_TOKENIZER_DETOKENIZE_H
#define ENGINE_TOKENIZER_DETOKENIZE_H

#include "engine/tokenizer/tokenizer.h"

#define DETOKENIZER_MAX_HELD 64

struct detokenizer {
    const struct tokenizer *tok; /* borrowed */
    bool skip_special;
    bool run_broken;             /* the present run of byte tokens is invalid */
    unsigned char num_pending;   /* bytes held back */
    char pending[DETOKENIZER_MAX_HELD];
};

void detokenizer_init(struct detokenizer *d, const struct tokenizer *tok, bool skip_special);
/* Appends the text that `id` completes (maybe nothing) to `out`. */
void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out);
/* The output has ended: appends what was held back, as U+FFFD where it is not
 * a whole character. */
void detokenizer_finish(struct detokenizer *d, struct buf *out);

#endif
