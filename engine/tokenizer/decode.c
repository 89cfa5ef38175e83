/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoding of whole id lists, as Hugging Face's decoders do it: ByteLevel, and
 * Sequence[Replace.., ByteFallback, Fuse]. What a single token stands for was
 * worked out when the tokenizer was loaded.
 */
#include "engine/tokenizer/detokenize.h"
#include "engine/tokenizer/tokenizer_impl.h"
#include "util/utf8.h"

static void
decode_byte_level(const struct tokenizer *tok, const int32_t *ids, size_t num_ids,
                  bool skip_special, struct buf *ret)
{
    struct detokenizer d;
    detokenizer_init(&d, tok, skip_special);
    for (size_t i = 0; i < num_ids; i++)
        detokenizer_push(&d, ids[i], ret);
    detokenizer_finish(&d, ret);
}

/* A run of byte tokens was appended from `begin` on: U+FFFD for each byte if
 * the run is not valid as a whole. */
static void
finish_run(struct buf *ret, size_t begin)
{
    size_t len = ret->len - begin;
    if (ret->failed || utf8_valid(ret->data + begin, len))
        return;
    ret->len = begin;
    for (size_t i = 0; i < len; i++)
        buf_puts(ret, UTF8_REPLACEMENT);
}

static void
decode_byte_fallback(const struct tokenizer *tok, const int32_t *ids, size_t num_ids,
                     bool skip_special, struct buf *ret)
{
    size_t begin = 0;
    bool in_run = false;
    for (size_t i = 0; i < num_ids; i++) {
        const struct vocab_entry *e = tokenizer_decoded_entry(tok, ids[i], skip_special);
        if (e == NULL)
            continue;
        bool is_byte = e->flags & VOCAB_BYTE;
        if (in_run && !is_byte)
            finish_run(ret, begin);
        else if (!in_run && is_byte)
            begin = ret->len;
        in_run = is_byte;
        buf_append(ret, vocab_bytes(&tok->vocab, e), e->bytes_len);
    }
    if (in_run)
        finish_run(ret, begin);
}

void
tokenizer_decode(const struct tokenizer *tok, const int32_t *ids, size_t num_ids,
                 bool skip_special, struct buf *ret)
{
    if (tok->decoder == DECODER_BYTE_LEVEL)
        decode_byte_level(tok, ids, num_ids, skip_special, ret);
    else
        decode_byte_fallback(tok, ids, num_ids, skip_special, ret);
}

void
tokenizer_decode_one(const struct tokenizer *tok, int32_t id, struct buf *ret)
{
    tokenizer_decode(tok, &id, 1, false, ret);
}
