/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tokenizer is made of; only for the files of engine/tokenizer. Text
 * goes added -> normalizer -> added_normalized -> pretokenizer -> bpe.
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_IMPL_H
#define ENGINE_TOKENIZER_TOKENIZER_IMPL_H

#include "engine/tokenizer/added.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/normalize.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

enum decoder_kind {
    DECODER_BYTE_LEVEL,    /* the bytes of all tokens, made valid together */
    DECODER_BYTE_FALLBACK, /* texts, and runs of byte tokens between them */
};

struct tokenizer {
    struct vocab vocab;
    struct added added;            /* found in the text as it comes */
    struct normalizer normalizer;
    struct added added_normalized; /* found in normalised text */
    struct pretokenizer pretokenizer;
    struct bpe bpe;
    enum decoder_kind decoder;
    struct token_ids prefix, suffix; /* what add_special puts around the text */
    int32_t bos_id, eos_id;          /* or -1 */
    bool truncates_left;
    size_t max_token_bytes;
    char *chat_template; /* owned, or NULL */
};

/* The text of an id as decoding sees it; NULL where it gives nothing. */
static inline const struct vocab_entry *
tokenizer_decoded_entry(const struct tokenizer *tok, int32_t id, bool skip_special)
{
    const struct vocab_entry *e = vocab_get(&tok->vocab, id);
    if (e == NULL || (skip_special && (e->flags & VOCAB_SPECIAL)))
        return NULL;
    return e;
}

#endif
