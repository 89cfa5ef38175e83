/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_impl.h"
#include "util/utf8.h"

void
token_ids_release(struct token_ids *t)
{
    free(t->ids);
    *t = (struct token_ids){0};
}

int
token_ids_push(struct token_ids *t, int32_t id)
{
    if (t->len == t->cap) {
        size_t cap = MAX(t->cap * 2, 32u);
        int32_t *ids = realloc(t->ids, cap * sizeof *ids);
        if (ids == NULL)
            return ERR_NOMEM;
        t->ids = ids;
        t->cap = cap;
    }
    t->ids[t->len++] = id;
    return 0;
}

void
tokenizer_free(struct tokenizer *tok)
{
    if (tok == NULL)
        return;
    vocab_release(&tok->vocab);
    added_release(&tok->added);
    added_release(&tok->added_normalized);
    normalizer_release(&tok->normalizer);
    pretokenizer_release(&tok->pretokenizer);
    bpe_release(&tok->bpe);
    token_ids_release(&tok->prefix);
    token_ids_release(&tok->suffix);
    free(tok->chat_template);
    free(tok);
}

/* One call of tokenizer_encode: what it needs on the way. */
struct encoding {
    const struct tokenizer *tok;
    bool parse_special;
    size_t max_len; /* of ret */
    struct token_ids *ret;
    struct normalize_scratch normalize;
    struct pretokenize_scratch pretokenize;
    struct bpe_scratch bpe;
};

static int
put_id(struct encoding *e, int32_t id)
{
    return e->ret->len >= e->max_len ? ERR_RANGE : token_ids_push(e->ret, id);
}

static int
take_piece(void *ctx, const char *piece, size_t len)
{
    struct encoding *e = ctx;
    int rc = bpe_encode(&e->tok->bpe, &e->bpe, piece, len, e->ret);
    return rc == 0 && e->ret->len > e->max_len ? ERR_RANGE : rc;
}

/* Takes what is left of normalised text when added tokens are cut out. */
static int
take_normalized(void *ctx, int32_t id, const char *text, size_t len)
{
    struct encoding *e = ctx;
    if (id >= 0)
        return put_id(e, id);
    const struct piece_sink sink = {take_piece, e};
    return pretokenizer_run(&e->tok->pretokenizer, &e->pretokenize, text, len, &sink);
}

/* The same for text as it came. */
static int
take_raw(void *ctx, int32_t id, const char *text, size_t len)
{
    struct encoding *e = ctx;
    if (id >= 0)
        return put_id(e, id);
    int rc = normalizer_run(&e->tok->normalizer, &e->normalize, text, len, &text, &len);
    if (rc < 0)
        return rc;
    if (!e->parse_special)
        return take_normalized(e, -1, text, len);
    const struct added_sink sink = {take_normalized, e};
    return added_cut(&e->tok->added_normalized, text, len, &sink);
}

static int
encode_text(struct encoding *e, const char *text, size_t len)
{
    if (len == 0)
        return 0;
    if (!e->parse_special)
        return take_raw(e, -1, text, len);
    const struct added_sink sink = {take_raw, e};
    return added_cut(&e->tok->added, text, len, &sink);
}

static int
put_ids(struct encoding *e, const struct token_ids *ids)
{
    int rc = 0;
    for (size_t i = 0; i < ids->len && rc == 0; i++)
        rc = put_id(e, ids->ids[i]);
    return rc;
}

int
tokenizer_encode(const struct tokenizer *tok, const char *text, size_t len, bool add_special,
                 bool parse_special, size_t max_ids, struct token_ids *ret, struct error *err)
{
    size_t len_before = ret->len;
    if (!utf8_valid(text, len))
        return error_set(err, ERR_INVALID, "text is not valid UTF-8");
    struct encoding e = {
        .tok = tok,
        .parse_special = parse_special,
        .ret = ret,
    };
    if (max_ids == 0 || add_overflow(len_before, max_ids, &e.max_len))
        e.max_len = SIZE_MAX;
    int rc = 0;
    if (add_special)
        rc = put_ids(&e, &tok->prefix);
    if (rc == 0)
        rc = encode_text(&e, text, len);
    if (rc == 0 && add_special)
        rc = put_ids(&e, &tok->suffix);
    normalize_scratch_release(&e.normalize);
    pretokenize_scratch_release(&e.pretokenize);
    bpe_scratch_release(&e.bpe);
    if (rc == 0)
        return 0;
    ret->len = len_before;
    if (rc == ERR_RANGE)
        return error_set(err, rc, "text of %zu bytes has more than %zu tokens", len, max_ids);
    return error_set(err, rc, "cannot tokenise %zu bytes: %s", len, error_name(rc));
}

const char *
tokenizer_token_bytes(const struct tokenizer *tok, int32_t id, size_t *ret_len)
{
    const struct vocab_entry *e = vocab_get(&tok->vocab, id);
    if (e == NULL)
        return NULL;
    *ret_len = e->bytes_len;
    return vocab_bytes(&tok->vocab, e);
}

const char *
tokenizer_token_string(const struct tokenizer *tok, int32_t id)
{
    const struct vocab_entry *e = vocab_get(&tok->vocab, id);
    return e == NULL ? NULL : vocab_text(&tok->vocab, e);
}

int32_t
tokenizer_bos_id(const struct tokenizer *tok)
{
    return tok->bos_id;
}

int32_t
tokenizer_eos_id(const struct tokenizer *tok)
{
    return tok->eos_id;
}

int32_t
tokenizer_token_id(const struct tokenizer *tok, const char *text)
{
    return vocab_find(&tok->vocab, text, strlen(text));
}

bool
tokenizer_is_special(const struct tokenizer *tok, int32_t id)
{
    const struct vocab_entry *e = vocab_get(&tok->vocab, id);
    return e != NULL && (e->flags & VOCAB_SPECIAL);
}

int32_t
tokenizer_num_ids(const struct tokenizer *tok)
{
    return tok->vocab.num_ids;
}

size_t
tokenizer_max_token_bytes(const struct tokenizer *tok)
{
    return tok->max_token_bytes;
}

bool
tokenizer_truncates_left(const struct tokenizer *tok)
{
    return tok->truncates_left;
}

const char *
tokenizer_chat_template(const struct tokenizer *tok)
{
    return tok->chat_template;
}

const char *
tokenizer_bos_text(const struct tokenizer *tok)
{
    return tokenizer_token_string(tok, tok->bos_id);
}

const char *
tokenizer_eos_text(const struct tokenizer *tok)
{
    return tokenizer_token_string(tok, tok->eos_id);
}
