/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building a tokenizer from tokenizer.json (the model and the added tokens; its
 * steps are loaded in tokenizer_steps.c) and tokenizer_config.json. Runs once at
 * start-up. What is wrong in the files is ERR_CORRUPT, what is not known here
 * ERR_UNSUPPORTED.
 */
#include "engine/tokenizer/reader.h"
#include "util/utf8.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Several times the largest known. */
#define MAX_FILE_BYTES (128u << 20)
#define MAX_MERGES (8u << 20)

int
reader_fail(struct reader *l, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    error_vset(l->err, code, fmt, args);
    va_end(args);
    error_prefix(l->err, "%s '%s'", code == ERR_CORRUPT ? "corrupt" : "cannot use", l->path);
    return code;
}

int
reader_no_memory(struct reader *l)
{
    return reader_fail(l, ERR_NOMEM, "out of memory");
}

int
reader_unsupported(struct reader *l, const char *what, const char *type)
{
    return reader_fail(l, ERR_UNSUPPORTED, "%s '%.100s' is not supported", what, type);
}

int
reader_shown(const char *text)
{
    return (int)utf8_cut(text, strlen(text), 60);
}

/* Reading JSON. */

/* Reads a whole file; *ret_bytes NULL and 0 when there is none. */
static int
read_file(struct reader *l, const char *name, char **ret_bytes, size_t *ret_len)
{
    int n = snprintf(l->path, sizeof l->path, "%s/%s", l->model_dir, name);
    *ret_bytes = NULL;
    *ret_len = 0;
    if (n < 0 || (size_t)n >= sizeof l->path)
        return error_set(l->err, ERR_INVALID, "path of '%s' is too long", name);
    FILE *file = fopen(l->path, "rb");
    if (file == NULL && errno == ENOENT)
        return 0;
    if (file == NULL)
        return error_set(l->err, ERR_IO, "cannot open '%s': %s", l->path, strerror(errno));
    struct buf b = {0};
    int rc = 0;
    size_t got;
    do {
        if (!buf_reserve(&b, MAX(b.len, 65536u)))
            break;
        got = fread(b.data + b.len, 1, b.cap - b.len - 1, file);
        b.len += got;
    } while (got > 0 && b.len <= MAX_FILE_BYTES);
    if (ferror(file))
        rc = error_set(l->err, ERR_IO, "cannot read '%s': %s", l->path, strerror(errno));
    else if (b.failed)
        rc = reader_no_memory(l);
    else if (b.len > MAX_FILE_BYTES)
        rc = reader_fail(l, ERR_CORRUPT, "larger than %u bytes", MAX_FILE_BYTES);
    fclose(file);
    if (rc < 0) {
        buf_release(&b);
        return rc;
    }
    *ret_bytes = buf_take(&b, ret_len);
    return *ret_bytes == NULL ? reader_no_memory(l) : 0;
}

/* *ret NULL when there is no such file. */
static int
read_json(struct reader *l, const char *name, json_t **ret)
{
    char *bytes;
    size_t len;
    *ret = NULL;
    int rc = read_file(l, name, &bytes, &len);
    if (rc < 0 || bytes == NULL)
        return rc;
    json_error_t why;
    /* Integers beyond 64 bits occur: model_max_length. */
    json_t *root = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL && json_error_code(&why) == json_error_numeric_overflow)
        root = json_loadb(bytes, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    free(bytes);
    if (root == NULL)
        return reader_fail(l, ERR_CORRUPT, "line %d: %s", why.line, why.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return reader_fail(l, ERR_CORRUPT, "not a JSON object");
    }
    *ret = root;
    return 0;
}

int
reader_get_bool(struct reader *l, const json_t *object, const char *key, bool *ret)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_boolean(value))
        return reader_fail(l, ERR_CORRUPT, "'%s' is not a boolean", key);
    *ret = json_is_true(value);
    return 0;
}

int
reader_get_string(struct reader *l, const json_t *object, const char *key, const char **ret)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return reader_fail(l, ERR_CORRUPT, "'%s' is not a string", key);
    *ret = json_string_value(value);
    return 0;
}

/* The model. */

static int
load_vocab(struct reader *l, json_t *vocab)
{
    const char *text;
    json_t *value;
    if (!json_is_object(vocab))
        return reader_fail(l, ERR_CORRUPT, "the model's vocab is not an object");
    json_object_foreach(vocab, text, value) {
        if (!json_is_integer(value))
            return reader_fail(l, ERR_CORRUPT, "the id of token '%.*s' is not an integer",
                               reader_shown(text), text);
        long long id = json_integer_value(value);
        int rc = vocab_add(&l->tok->vocab, id, text, strlen(text), VOCAB_MODEL);
        if (rc == ERR_RANGE)
            return reader_fail(l, ERR_CORRUPT, "the id %lld of token '%.*s' is not in [0, %d)",
                               id, reader_shown(text), text, VOCAB_MAX_IDS);
        if (rc == ERR_INVALID)
            return reader_fail(l, ERR_CORRUPT, "the id %lld of token '%.*s' is taken", id,
                               reader_shown(text), text);
        if (rc < 0)
            return reader_no_memory(l);
    }
    return 0;
}

/* The two halves of a merge: "a b" or ["a", "b"]. */
static bool
split_merge(const json_t *merge, const char **ret_left, size_t *ret_left_len,
            const char **ret_right, size_t *ret_right_len)
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        if (space == NULL || strchr(space + 1, ' ') != NULL)
            return false;
        *ret_left = text;
        *ret_left_len = (size_t)(space - text);
        *ret_right = space + 1;
    } else {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
            return false;
        *ret_left = json_string_value(left);
        *ret_left_len = json_string_length(left);
        *ret_right = json_string_value(right);
    }
    *ret_right_len = strlen(*ret_right);
    return *ret_left_len > 0 && *ret_right_len > 0;
}

static int
missing_piece(struct reader *l, size_t i, const char *piece, size_t len)
{
    return reader_fail(l, ERR_CORRUPT, "merge %zu needs '%.*s', which is not in the vocabulary",
                       i, (int)utf8_cut(piece, len, 60), piece);
}

static int
load_merges(struct reader *l, const json_t *merges)
{
    const struct vocab *v = &l->tok->vocab;
    struct buf joined = {0};
    uint32_t rank = 0;
    int rc = 0;
    if (!json_is_array(merges))
        return reader_fail(l, ERR_CORRUPT, "the model's merges are not a list");
    if (json_array_size(merges) > MAX_MERGES)
        return reader_fail(l, ERR_CORRUPT, "more than %u merges", MAX_MERGES);
    if (hashmap_reserve(&l->tok->bpe.merges, json_array_size(merges)) < 0)
        return reader_no_memory(l);
    for (size_t i = 0; i < json_array_size(merges) && rc == 0; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *left, *right;
        size_t left_len, right_len;
        if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0)
            continue;
        if (!split_merge(merge, &left, &left_len, &right, &right_len)) {
            rc = reader_fail(l, ERR_CORRUPT, "merge %zu is not a pair of pieces", i);
            break;
        }
        buf_clear(&joined);
        buf_append(&joined, left, left_len);
        buf_append(&joined, right, right_len);
        if (joined.failed) {
            rc = reader_no_memory(l);
            break;
        }
        int32_t left_id = vocab_find(v, left, left_len);
        int32_t right_id = vocab_find(v, right, right_len);
        int32_t whole = vocab_find(v, buf_bytes(&joined), buf_len(&joined));
        if (left_id < 0)
            rc = missing_piece(l, i, left, left_len);
        else if (right_id < 0)
            rc = missing_piece(l, i, right, right_len);
        else if (whole < 0)
            rc = missing_piece(l, i, buf_bytes(&joined), buf_len(&joined));
        else if (bpe_add_merge(&l->tok->bpe, left_id, right_id, whole, rank++) < 0)
            rc = reader_no_memory(l);
    }
    buf_release(&joined);
    return rc;
}

/* What would make another model of it. */
static int
refuse_bpe_options(struct reader *l, const json_t *model)
{
    const char *affix = NULL;
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout != NULL && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return reader_unsupported(l, "model option", "dropout");
    int rc = reader_get_string(l, model, "continuing_subword_prefix", &affix);
    if (rc == 0 && affix != NULL && affix[0] != '\0')
        return reader_unsupported(l, "model option", "continuing_subword_prefix");
    affix = NULL;
    if (rc == 0)
        rc = reader_get_string(l, model, "end_of_word_suffix", &affix);
    if (rc == 0 && affix != NULL && affix[0] != '\0')
        return reader_unsupported(l, "model option", "end_of_word_suffix");
    return rc;
}

static int
load_model(struct reader *l, const json_t *model)
{
    struct bpe *bpe = &l->tok->bpe;
    const char *type = NULL, *unk = NULL;
    int rc;
    if (!json_is_object(model))
        return reader_fail(l, ERR_CORRUPT, "there is no model");
    if ((rc = reader_get_string(l, model, "type", &type)) < 0)
        return rc;
    if (type == NULL && !json_is_array(json_object_get(model, "merges")))
        return reader_fail(l, ERR_CORRUPT, "the model has no type");
    if (type != NULL && strcmp(type, "BPE") != 0)
        return reader_unsupported(l, "model", type);
    if ((rc = refuse_bpe_options(l, model)) < 0 ||
        (rc = reader_get_bool(l, model, "ignore_merges", &bpe->ignore_merges)) < 0 ||
        (rc = reader_get_bool(l, model, "fuse_unk", &bpe->fuse_unk)) < 0 ||
        (rc = reader_get_bool(l, model, "byte_fallback", &bpe->byte_fallback)) < 0 ||
        (rc = reader_get_string(l, model, "unk_token", &unk)) < 0 ||
        (rc = load_vocab(l, json_object_get(model, "vocab"))) < 0)
        return rc;
    bpe->vocab = &l->tok->vocab;
    bpe->unk_id = BPE_NO_ID;
    if (unk != NULL) {
        bpe->unk_id = vocab_find(&l->tok->vocab, unk, strlen(unk));
        if (bpe->unk_id < 0)
            return reader_fail(l, ERR_CORRUPT, "the unk_token '%.*s' is not in the vocabulary",
                               reader_shown(unk), unk);
    }
    if ((rc = load_merges(l, json_object_get(model, "merges"))) < 0)
        return rc;
    rc = bpe_prepare(bpe);
    if (rc == ERR_UNSUPPORTED)
        return reader_unsupported(l, "model option", "byte_fallback with ByteLevel");
    return rc < 0 ? reader_no_memory(l) : 0;
}

/* Added tokens. */

static int
put_added(struct reader *l, int64_t id, const json_t *token)
{
    struct tokenizer *tok = l->tok;
    const char *text = NULL;
    bool normalized = false, special = false;
    struct added_token added = {.id = (int32_t)id};
    int rc;
    if ((rc = reader_get_string(l, token, "content", &text)) < 0 ||
        (rc = reader_get_bool(l, token, "single_word", &added.single_word)) < 0 ||
        (rc = reader_get_bool(l, token, "lstrip", &added.lstrip)) < 0 ||
        (rc = reader_get_bool(l, token, "rstrip", &added.rstrip)) < 0 ||
        (rc = reader_get_bool(l, token, "normalized", &normalized)) < 0 ||
        (rc = reader_get_bool(l, token, "special", &special)) < 0)
        return rc;
    if (text == NULL)
        return reader_fail(l, ERR_CORRUPT, "added token %lld has no content", (long long)id);
    if (text[0] == '\0')
        return 0;
    uint32_t flags =
        VOCAB_ADDED | (special ? VOCAB_SPECIAL : 0) | (normalized ? VOCAB_NORMALIZED : 0);
    if (id >= 0 && vocab_find_model(&tok->vocab, text, strlen(text)) == id) {
        tok->vocab.entries[id].flags |= flags;
    } else {
        rc = vocab_add(&tok->vocab, id, text, strlen(text), flags);
        if (rc == ERR_RANGE || rc == ERR_INVALID)
            return reader_fail(l, ERR_CORRUPT, "added token '%.*s': its id %lld is %s",
                               reader_shown(text), text, (long long)id,
                               rc == ERR_RANGE ? "out of range" : "not the vocabulary's");
        if (rc < 0)
            return reader_no_memory(l);
    }
    struct normalize_scratch scratch = {0};
    size_t len = strlen(text);
    if (normalized)
        rc = normalizer_run(&tok->normalizer, &scratch, text, len, &text, &len);
    /* Two that are normalised to the same text: the first is found. */
    if (rc == 0 && len > 0)
        rc = added_put(normalized ? &tok->added_normalized : &tok->added, text, len, added);
    normalize_scratch_release(&scratch);
    if (rc == ERR_INVALID && !normalized)
        return reader_fail(l, ERR_CORRUPT, "added token %lld is there twice", (long long)id);
    return rc < 0 && rc != ERR_INVALID ? reader_no_memory(l) : 0;
}

static int
load_added(struct reader *l, const json_t *tokens)
{
    if (tokens != NULL && !json_is_null(tokens) && !json_is_array(tokens))
        return reader_fail(l, ERR_CORRUPT, "'added_tokens' is not a list");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i), *id = json_object_get(token, "id");
        if (!json_is_integer(id))
            return reader_fail(l, ERR_CORRUPT, "added token number %zu has no integer id", i);
        int rc = put_added(l, json_integer_value(id), token);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The same list in tokenizer_config.json: an object by id. */
static int
load_added_decoder(struct reader *l, json_t *tokens)
{
    const char *key;
    json_t *token;
    json_object_foreach(tokens, key, token) {
        char *end;
        errno = 0;
        long long id = strtoll(key, &end, 10);
        if (end == key || *end != '\0' || errno != 0)
            return reader_fail(l, ERR_CORRUPT, "added_tokens_decoder has the key '%.*s'",
                               reader_shown(key), key);
        int rc = put_added(l, id, token);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* tokenizer_config.json. */

/* A special token: "text" or {"content": "text"}; null or missing is none. */
static int
load_special(struct reader *l, const json_t *config, const char *key, int32_t *ret)
{
    const json_t *value = json_object_get(config, key);
    if (value == NULL || json_is_null(value))
        return 0;
    if (json_is_object(value))
        value = json_object_get(value, "content");
    const char *text = json_string_value(value);
    if (text == NULL)
        return reader_fail(l, ERR_CORRUPT, "'%s' is not a token", key);
    int32_t id = vocab_find(&l->tok->vocab, text, strlen(text));
    if (id < 0)
        return reader_fail(l, ERR_CORRUPT, "the %s '%.*s' is not in the vocabulary", key,
                           reader_shown(text), text);
    *ret = id;
    return 0;
}

static int
insert_front(struct token_ids *list, int32_t id)
{
    int rc = token_ids_push(list, id);
    if (rc < 0)
        return rc;
    memmove(list->ids + 1, list->ids, (list->len - 1) * sizeof *list->ids);
    list->ids[0] = id;
    return 0;
}

/* add_bos_token and add_eos_token, where present, decide against what the
 * post_processor says: so do the tokenizer classes in Python. */
static int
override_special(struct reader *l, const json_t *config, const char *key, int32_t id, bool front)
{
    struct token_ids *list = front ? &l->tok->prefix : &l->tok->suffix;
    size_t at = front || list->len == 0 ? 0 : list->len - 1;
    bool has = list->len > 0 && list->ids[at] == id, want = has;
    int rc = reader_get_bool(l, config, key, &want);
    if (rc < 0 || want == has)
        return rc;
    if (!want) {
        list->len--;
        memmove(list->ids + at, list->ids + at + 1, (list->len - at) * sizeof *list->ids);
        return 0;
    }
    if (id < 0)
        return reader_fail(l, ERR_CORRUPT, "'%s' is true, but there is no such token", key);
    rc = front ? insert_front(list, id) : token_ids_push(list, id);
    return rc < 0 ? reader_no_memory(l) : 0;
}

/* A string, or a list of {"name", "template"}. */
static int
load_chat_template(struct reader *l, const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    const char *source = NULL;
    if (value == NULL || json_is_null(value) || l->tok->chat_template != NULL)
        return 0;
    if (!json_is_string(value) && !json_is_array(value))
        return reader_fail(l, ERR_CORRUPT, "'chat_template' is neither a string nor a list");
    source = json_string_value(value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *text = json_string_value(json_object_get(entry, "template"));
        if (name == NULL || text == NULL)
            return reader_fail(l, ERR_CORRUPT, "chat template number %zu lacks name or template",
                               i);
        if (strcmp(name, "default") == 0 || json_array_size(value) == 1)
            source = text;
    }
    if (source == NULL)
        return 0;
    l->tok->chat_template = strdup(source);
    return l->tok->chat_template == NULL ? reader_no_memory(l) : 0;
}

static int
load_config(struct reader *l, const json_t *config)
{
    struct tokenizer *tok = l->tok;
    const char *side = NULL;
    int rc;
    if ((rc = load_special(l, config, "bos_token", &tok->bos_id)) < 0 ||
        (rc = load_special(l, config, "eos_token", &tok->eos_id)) < 0 ||
        (rc = override_special(l, config, "add_bos_token", tok->bos_id, true)) < 0 ||
        (rc = override_special(l, config, "add_eos_token", tok->eos_id, false)) < 0 ||
        (rc = load_chat_template(l, config)) < 0 ||
        (rc = reader_get_string(l, config, "truncation_side", &side)) < 0)
        return rc;
    if (side != NULL && strcmp(side, "left") != 0 && strcmp(side, "right") != 0)
        return reader_fail(l, ERR_CORRUPT, "'truncation_side' is '%.20s'", side);
    tok->truncates_left = side == NULL || strcmp(side, "left") == 0;
    return 0;
}

/* The whole. */

/* A member that is a step, null or missing. */
static int
load_step(struct reader *l, const json_t *root, const char *key, reader_step *load)
{
    const json_t *step = json_object_get(root, key);
    return step == NULL || json_is_null(step) ? 0 : load(l, step, 0);
}

static int
load_root(struct reader *l, const json_t *root)
{
    int rc;
    /* The model must know of ByteLevel, the added tokens of the normalizer. */
    if ((rc = load_step(l, root, "pre_tokenizer", reader_pretokenizer)) < 0 ||
        (rc = load_step(l, root, "normalizer", reader_normalizer)) < 0 ||
        (rc = load_model(l, json_object_get(root, "model"))) < 0 ||
        (rc = load_added(l, json_object_get(root, "added_tokens"))) < 0 ||
        (rc = load_step(l, root, "post_processor", reader_post_processor)) < 0 ||
        (rc = load_step(l, root, "decoder", reader_decoder)) < 0)
        return rc;
    const json_t *decoder = json_object_get(root, "decoder");
    if (decoder == NULL || json_is_null(decoder))
        return reader_unsupported(l, "decoder", "null");
    return 0;
}

static int
load_files(struct reader *l)
{
    json_t *root, *config;
    size_t template_len;
    int rc = read_json(l, "tokenizer.json", &root);
    if (rc < 0)
        return rc;
    if (root == NULL)
        return error_set(l->err, ERR_NOTFOUND, "cannot open '%s': no such file", l->path);
    rc = load_root(l, root);
    bool has_added = json_array_size(json_object_get(root, "added_tokens")) > 0;
    json_decref(root);
    if (rc < 0 ||
        (rc = read_file(l, "chat_template.jinja", &l->tok->chat_template, &template_len)) < 0 ||
        (rc = read_json(l, "tokenizer_config.json", &config)) < 0)
        return rc;
    if (config != NULL) {
        if (!has_added)
            rc = load_added_decoder(l, json_object_get(config, "added_tokens_decoder"));
        if (rc == 0)
            rc = load_config(l, config);
        json_decref(config);
    }
    return rc < 0 ? rc : reader_decode_tokens(l);
}

int
tokenizer_load(const char *model_dir, struct tokenizer **ret, struct error *err)
{
    struct reader l = {.err = err, .model_dir = model_dir};
    l.tok = calloc(1, sizeof *l.tok);
    if (l.tok == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    l.tok->bos_id = l.tok->eos_id = -1;
    l.tok->truncates_left = true;
    l.tok->decoder = DECODER_BYTE_FALLBACK;
    int rc = load_files(&l);
    normalizer_release(&l.decoder_replaces);
#ifdef __GLIBC__
    malloc_trim(0); /* the parsed files were several times what is kept */
#endif
    if (rc < 0) {
        tokenizer_free(l.tok);
        return rc;
    }
    *ret = l.tok;
    return 0;
}
