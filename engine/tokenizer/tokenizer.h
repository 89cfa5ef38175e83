/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to token ids and back, from a Hugging Face tokenizer.json. After
 * tokenizer_load() a tokenizer never changes: any number of threads may encode
 * and decode with it at once, each call bringing its own memory.
 *
 * Supported: BPE models, byte-level (Llama 3, Qwen 2, SmolLM) and with byte
 * fallback (Gemma 2); the normalizers, pre-tokenizers and decoders of those
 * families. Anything else is refused by name (ERR_UNSUPPORTED).
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_H
#define ENGINE_TOKENIZER_TOKENIZER_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

struct tokenizer;

/*
 * Reads tokenizer.json, tokenizer_config.json and chat_template.jinja (the last
 * two may be missing) of `model_dir`. `err` names the file and the reason:
 * ERR_NOTFOUND, ERR_IO, ERR_NOMEM, ERR_CORRUPT, or ERR_UNSUPPORTED with the
 * name of what is not supported.
 */
int tokenizer_load(const char *model_dir, struct tokenizer **ret, struct error *err);
void tokenizer_free(struct tokenizer *tok);

/* A growing list of ids; zero-initialised is empty. */
struct token_ids {
    int32_t *ids; /* owned */
    size_t len, cap;
};
void token_ids_release(struct token_ids *t);
/* Appends an id. ERR_NOMEM leaves the list as it was. */
int token_ids_push(struct token_ids *t, int32_t id);

/*
 * Appends the ids of `text` (valid UTF-8 of `len` bytes, else ERR_INVALID).
 * add_special: put BOS first (and EOS last) where the model's files ask for it.
 * parse_special: text that spells an added token becomes that token (as
 * Hugging Face does); false: it is encoded as plain text.
 * At most max_ids ids (0: no limit), else ERR_RANGE: so a hostile text stops
 * early. Time is O(n log n). Errors: ERR_NOMEM, ERR_INVALID, ERR_RANGE.
 */
int tokenizer_encode(const struct tokenizer *tok, const char *text, size_t len, bool add_special,
                     bool parse_special, size_t max_ids, struct token_ids *ret,
                     struct error *err);

/* Appends the text of ids to `ret`: always valid UTF-8 (U+FFFD for what is
 * not). Ids without an entry give nothing. */
void tokenizer_decode(const struct tokenizer *tok, const int32_t *ids, size_t num_ids,
                      bool skip_special, struct buf *ret);

/* One token alone, as `tokens` of a logprobs object shows it. */
void tokenizer_decode_one(const struct tokenizer *tok, int32_t id, struct buf *ret);

/* The token's own bytes (may be half a character), for `bytes` of chat
 * logprobs; NULL for an id without an entry. Borrowed. */
const char *tokenizer_token_bytes(const struct tokenizer *tok, int32_t id, size_t *ret_len);

/* The vocabulary's own spelling ("Ġthe", "▁the"), for return_token_strs; NULL
 * for an id without an entry. Borrowed. */
const char *tokenizer_token_string(const struct tokenizer *tok, int32_t id);

/* -1 when there is none. */
int32_t tokenizer_bos_id(const struct tokenizer *tok);
int32_t tokenizer_eos_id(const struct tokenizer *tok);
/* The id of an added token or vocabulary entry spelled exactly so, or -1. */
int32_t tokenizer_token_id(const struct tokenizer *tok, const char *text);
bool tokenizer_is_special(const struct tokenizer *tok, int32_t id);
/* One past the highest id that has an entry. */
int32_t tokenizer_num_ids(const struct tokenizer *tok);
/* Most bytes of text that one token can stand for: text longer than this times
 * the context limit need not be tokenised to be refused. (White space that an
 * added token strips, and characters that a vocabulary without <unk> drops, do
 * not count.) */
size_t tokenizer_max_token_bytes(const struct tokenizer *tok);
/* "left" or "right" of tokenizer_config.json's truncation_side; left if unset. */
bool tokenizer_truncates_left(const struct tokenizer *tok);
/* The default chat template's source (chat_template.jinja before the key of
 * tokenizer_config.json; of several, "default"), or NULL. Borrowed. */
const char *tokenizer_chat_template(const struct tokenizer *tok);
/* The spelling of the BOS and EOS tokens for templates, or NULL. */
const char *tokenizer_bos_text(const struct tokenizer *tok);
const char *tokenizer_eos_text(const struct tokenizer *tok);

#endif
