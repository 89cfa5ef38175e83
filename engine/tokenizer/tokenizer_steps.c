/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of tokenizer.json around the model: normalizer, pre-tokenizer,
 * post-processor and decoder. Runs once at start-up.
 */
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/reader.h"

/* Sequences in Sequences. */
#define MAX_SEQUENCE_DEPTH 8

/* The "type" of a step. */
static int
get_type(struct reader *l, const json_t *step, const char *what, const char **ret)
{
    *ret = NULL;
    if (!json_is_object(step))
        return reader_fail(l, ERR_CORRUPT, "%s is not an object", what);
    int rc = reader_get_string(l, step, "type", ret);
    if (rc == 0 && *ret == NULL)
        return reader_fail(l, ERR_CORRUPT, "%s has no type", what);
    return rc;
}

/* Loads each step of a Sequence. */
static int
load_sequence(struct reader *l, const json_t *step, const char *key, reader_step *load, int depth)
{
    const json_t *parts = json_object_get(step, key);
    if (!json_is_array(parts))
        return reader_fail(l, ERR_CORRUPT, "'%s' of a Sequence is not a list", key);
    if (depth >= MAX_SEQUENCE_DEPTH)
        return reader_fail(l, ERR_CORRUPT, "Sequences nested more than %d deep",
                           MAX_SEQUENCE_DEPTH);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(parts) && rc == 0; i++)
        rc = load(l, json_array_get(parts, i), depth + 1);
    return rc;
}

/* The "pattern" of a Replace or Split. */
static int
get_pattern(struct reader *l, const json_t *step, const char *what, const char **ret,
            bool *ret_regex)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const char *string = NULL, *regex = NULL;
    if (!json_is_object(pattern))
        return reader_fail(l, ERR_CORRUPT, "%s has no pattern", what);
    int rc = reader_get_string(l, pattern, "String", &string);
    if (rc == 0)
        rc = reader_get_string(l, pattern, "Regex", &regex);
    if (rc < 0)
        return rc;
    if ((string == NULL) == (regex == NULL))
        return reader_fail(l, ERR_CORRUPT, "the pattern of %s is neither String nor Regex", what);
    *ret_regex = regex != NULL;
    *ret = *ret_regex ? regex : string;
    return **ret == '\0' ? reader_fail(l, ERR_CORRUPT, "the pattern of %s is empty", what) : 0;
}

/* Normalizer and pre-tokenizer. */

int
reader_normalizer(struct reader *l, const json_t *step, int depth)
{
    struct normalizer *n = &l->tok->normalizer;
    const char *type, *pattern, *content = NULL;
    bool regex;
    int rc = get_type(l, step, "the normalizer", &type);
    if (rc < 0)
        return rc;
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(l, step, "normalizers", reader_normalizer, depth);
    if (strcmp(type, "NFC") == 0) {
        rc = normalizer_add(n, NORMALIZE_NFC, NULL, NULL);
    } else if (strcmp(type, "Replace") == 0) {
        if ((rc = get_pattern(l, step, "Replace", &pattern, &regex)) < 0 ||
            (rc = reader_get_string(l, step, "content", &content)) < 0)
            return rc;
        if (regex)
            return reader_unsupported(l, "normalizer", "Replace with a Regex");
        if (content == NULL)
            return reader_fail(l, ERR_CORRUPT, "Replace has no content");
        rc = normalizer_add(n, NORMALIZE_REPLACE, pattern, content);
    } else {
        return reader_unsupported(l, "normalizer", type);
    }
    if (rc == ERR_RANGE)
        return reader_fail(l, ERR_UNSUPPORTED, "more than %d normalizers", NORMALIZER_MAX_STEPS);
    return rc < 0 ? reader_no_memory(l) : 0;
}

static const char *const behavior_names[] = {
    [SPLIT_REMOVED] = "Removed",
    [SPLIT_ISOLATED] = "Isolated",
    [SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
    [SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
    [SPLIT_CONTIGUOUS] = "Contiguous",
};

static int
add_split(struct reader *l, const char *pattern, bool regex, enum split_behavior behavior,
          bool invert)
{
    struct pretokenizer *p = &l->tok->pretokenizer;
    struct error why = {0};
    int rc = regex ? pretokenizer_add_regex(p, pattern, behavior, invert, &why)
                   : pretokenizer_add_string(p, pattern, behavior, invert);
    if (rc == ERR_RANGE)
        return reader_fail(l, ERR_UNSUPPORTED, "more than %d pre-tokenizers",
                           PRETOKENIZER_MAX_STEPS);
    if (rc == ERR_CORRUPT)
        return reader_fail(l, rc, "%s", why.text);
    return rc < 0 ? reader_no_memory(l) : 0;
}

static int
load_split(struct reader *l, const json_t *step)
{
    const char *pattern, *behavior = NULL;
    bool regex, invert = false;
    int rc;
    if ((rc = get_pattern(l, step, "Split", &pattern, &regex)) < 0 ||
        (rc = reader_get_string(l, step, "behavior", &behavior)) < 0 ||
        (rc = reader_get_bool(l, step, "invert", &invert)) < 0)
        return rc;
    if (behavior == NULL)
        return reader_fail(l, ERR_CORRUPT, "Split has no behavior");
    for (size_t i = 0; i < ARRAY_SIZE(behavior_names); i++) {
        if (strcmp(behavior, behavior_names[i]) == 0)
            return add_split(l, pattern, regex, (enum split_behavior)i, invert);
    }
    return reader_unsupported(l, "Split behavior", behavior);
}

static int
load_byte_level(struct reader *l, const json_t *step)
{
    bool prefix_space = true, use_regex = true;
    int rc;
    if ((rc = reader_get_bool(l, step, "add_prefix_space", &prefix_space)) < 0 ||
        (rc = reader_get_bool(l, step, "use_regex", &use_regex)) < 0)
        return rc;
    l->tok->bpe.byte_level = true;
    if (prefix_space) {
        rc = pretokenizer_add_prefix_space(&l->tok->pretokenizer);
        if (rc < 0)
            return reader_fail(l, ERR_UNSUPPORTED, "more than %d pre-tokenizers",
                               PRETOKENIZER_MAX_STEPS);
    }
    return use_regex ? add_split(l, PRETOKENIZE_GPT2_PATTERN, true, SPLIT_ISOLATED, false) : 0;
}

int
reader_pretokenizer(struct reader *l, const json_t *step, int depth)
{
    const char *type;
    int rc = get_type(l, step, "the pre_tokenizer", &type);
    if (rc < 0)
        return rc;
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(l, step, "pretokenizers", reader_pretokenizer, depth);
    if (l->tok->bpe.byte_level)
        return reader_fail(l, ERR_UNSUPPORTED, "pre_tokenizer '%.100s' behind ByteLevel", type);
    if (strcmp(type, "Split") == 0)
        return load_split(l, step);
    if (strcmp(type, "ByteLevel") == 0)
        return load_byte_level(l, step);
    if (strcmp(type, "Digits") == 0) {
        bool individual = false;
        if ((rc = reader_get_bool(l, step, "individual_digits", &individual)) < 0)
            return rc;
        return add_split(l, individual ? "\\p{N}" : "\\p{N}+", true, SPLIT_ISOLATED, false);
    }
    return reader_unsupported(l, "pre_tokenizer", type);
}

/* Post-processor: what goes around the text. */

/* The ids of a SpecialToken part of a template. */
static int
template_ids(struct reader *l, const json_t *part, const json_t *tokens, struct token_ids *ret)
{
    const json_t *special = json_object_get(part, "SpecialToken");
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *ids = json_object_get(json_object_get(tokens, name ? name : ""), "ids");
    if (name == NULL || !json_is_array(ids))
        return reader_fail(l, ERR_CORRUPT, "TemplateProcessing has a part without ids");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= l->tok->vocab.num_ids)
            return reader_fail(l, ERR_CORRUPT, "TemplateProcessing has an unknown id for '%.*s'",
                               reader_shown(name), name);
        if (token_ids_push(ret, (int32_t)value) < 0)
            return reader_no_memory(l);
    }
    return 0;
}

static int
append_ids(struct reader *l, struct token_ids *list, const struct token_ids *more)
{
    for (size_t i = 0; i < more->len; i++) {
        if (token_ids_push(list, more->ids[i]) < 0)
            return reader_no_memory(l);
    }
    return 0;
}

static int
load_template(struct reader *l, const json_t *step)
{
    const json_t *single = json_object_get(step, "single");
    struct token_ids before = {0}, after = {0};
    bool seen = false;
    int rc = 0;
    if (!json_is_array(single))
        return reader_fail(l, ERR_CORRUPT, "'single' of TemplateProcessing is not a list");
    for (size_t i = 0; i < json_array_size(single) && rc == 0; i++) {
        const json_t *part = json_array_get(single, i);
        if (json_is_object(json_object_get(part, "Sequence"))) {
            if (seen)
                rc = reader_unsupported(l, "post_processor", "TemplateProcessing, text twice");
            seen = true;
        } else {
            rc = template_ids(l, part, json_object_get(step, "special_tokens"),
                              seen ? &after : &before);
        }
    }
    if (rc == 0 && !seen)
        rc = reader_unsupported(l, "post_processor", "TemplateProcessing without text");
    /* A later processor goes around what earlier ones made. */
    if (rc == 0)
        rc = append_ids(l, &before, &l->tok->prefix);
    if (rc == 0)
        rc = append_ids(l, &l->tok->suffix, &after);
    if (rc == 0) {
        struct token_ids old = l->tok->prefix;
        l->tok->prefix = before;
        before = old;
    }
    token_ids_release(&before);
    token_ids_release(&after);
    return rc;
}

int
reader_post_processor(struct reader *l, const json_t *step, int depth)
{
    const char *type;
    int rc = get_type(l, step, "the post_processor", &type);
    if (rc < 0)
        return rc;
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(l, step, "processors", reader_post_processor, depth);
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* trims offsets, which we do not have */
    if (strcmp(type, "TemplateProcessing") == 0)
        return load_template(l, step);
    return reader_unsupported(l, "post_processor", type);
}

/* Decoder: worked out for each token now. */

int
reader_decoder(struct reader *l, const json_t *step, int depth)
{
    const char *type, *pattern, *content = NULL;
    bool regex;
    int rc = get_type(l, step, "the decoder", &type);
    if (rc < 0)
        return rc;
    if (strcmp(type, "Sequence") == 0)
        return load_sequence(l, step, "decoders", reader_decoder, depth);
    if (l->tok->decoder == DECODER_BYTE_LEVEL || l->has_fuse)
        return reader_fail(l, ERR_UNSUPPORTED, "decoder '%.100s' behind %s", type,
                           l->has_fuse ? "Fuse" : "ByteLevel");
    if (strcmp(type, "Fuse") == 0) {
        l->has_fuse = true;
        return 0;
    }
    if (l->has_byte_fallback)
        return reader_fail(l, ERR_UNSUPPORTED, "decoder '%.100s' behind ByteFallback", type);
    if (strcmp(type, "ByteFallback") == 0) {
        l->has_byte_fallback = true;
        return 0;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        l->tok->decoder = DECODER_BYTE_LEVEL;
        return 0;
    }
    if (strcmp(type, "Replace") != 0)
        return reader_unsupported(l, "decoder", type);
    if ((rc = get_pattern(l, step, "Replace", &pattern, &regex)) < 0 ||
        (rc = reader_get_string(l, step, "content", &content)) < 0)
        return rc;
    if (regex)
        return reader_unsupported(l, "decoder", "Replace with a Regex");
    if (content == NULL)
        return reader_fail(l, ERR_CORRUPT, "Replace has no content");
    rc = normalizer_add(&l->decoder_replaces, NORMALIZE_REPLACE, pattern, content);
    if (rc == ERR_RANGE)
        return reader_fail(l, ERR_UNSUPPORTED, "more than %d decoders", NORMALIZER_MAX_STEPS);
    return rc < 0 ? reader_no_memory(l) : 0;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "<0x41>" stands for, or -1. */
static int
fallback_byte(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = text[3] == '+' ? 0 : hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Sets what token `id` stands for. */
static int
decode_token(struct reader *l, int32_t id, struct normalize_scratch *in,
             struct normalize_scratch *out, struct buf *bytes)
{
    struct tokenizer *tok = l->tok;
    struct vocab_entry *e = &tok->vocab.entries[id];
    const char *text = vocab_text(&tok->vocab, e);
    size_t len = e->text_len;
    int rc = 0;
    /* The reference decodes an added token that it looks for in normalised
     * text as what it looks for. */
    if (e->flags & VOCAB_NORMALIZED)
        rc = normalizer_run(&tok->normalizer, in, text, len, &text, &len);
    if (rc == 0)
        rc = normalizer_run(&l->decoder_replaces, out, text, len, &text, &len);
    if (rc < 0)
        return rc;
    if (l->has_byte_fallback && fallback_byte(text, len) >= 0) {
        char byte = (char)fallback_byte(text, len);
        e->flags |= VOCAB_BYTE;
        return vocab_set_bytes(&tok->vocab, id, &byte, 1);
    }
    if (tok->decoder == DECODER_BYTE_LEVEL) {
        buf_clear(bytes);
        byte_level_unspell(text, len, bytes);
        if (bytes->failed)
            return ERR_NOMEM;
        text = buf_bytes(bytes);
        len = buf_len(bytes);
    }
    return vocab_set_bytes(&tok->vocab, id, text, len);
}

int
reader_decode_tokens(struct reader *l)
{
    struct tokenizer *tok = l->tok;
    struct normalize_scratch in = {0}, out = {0};
    struct buf bytes = {0};
    bool has_nfc = false;
    int rc = 0;
    for (int32_t id = 0; id < tok->vocab.num_ids && rc == 0; id++) {
        const struct vocab_entry *e = &tok->vocab.entries[id];
        if (e->flags == 0)
            continue;
        rc = decode_token(l, id, &in, &out, &bytes);
        size_t len = e->bytes_len;
        /* A character model is also reached from text spelled like the token. */
        if (!tok->bpe.byte_level || (e->flags & VOCAB_ADDED))
            len = MAX(len, e->text_len);
        tok->max_token_bytes = MAX(tok->max_token_bytes, len);
    }
    normalize_scratch_release(&in);
    normalize_scratch_release(&out);
    buf_release(&bytes);
    for (int i = 0; i < tok->normalizer.num_steps; i++)
        has_nfc |= tok->normalizer.steps[i].kind == NORMALIZE_NFC;
    if (has_nfc)
        tok->max_token_bytes *= 3; /* what composing may take away */
    return rc < 0 ? reader_no_memory(l) : 0;
}
