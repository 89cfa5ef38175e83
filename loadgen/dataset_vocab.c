/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Hugging Face's tokenizer classes say about a vocabulary and the
 * tokenizer module has no word for: its size without added tokens, the tokens
 * that its config names as special (fewer than tokenizer.json flags), and how
 * many tokens the post-processor adds.
 */
#include "loadgen/dataset_private.h"
#include "util/json.h"

#include <string.h>

#define FILE_BYTES_MAX (256u << 20)

static int
read_json(const char *dir, const char *name, json_t **ret, struct error *err)
{
    char *bytes;
    size_t len;
    int e = json_read_file(dir, name, FILE_BYTES_MAX, &bytes, &len, err);
    if (e < 0)
        return e;
    /* Some configs hold 10^30 for "no limit". */
    e = json_parse_object(bytes, len, JSON_DECODE_INT_AS_REAL, name, ret, err);
    free(bytes);
    return e;
}

/* The special tokens in the template of a post-processor, or of its parts. */
static int64_t
count_special(const json_t *processor)
{
    size_t i;
    const json_t *part;
    int64_t num = 0;
    json_array_foreach(json_object_get(processor, "processors"), i, part) {
        num += json_object_get(part, "processors") == NULL ? count_special(part) : 0;
    }
    json_array_foreach(json_object_get(processor, "single"), i, part) {
        num += json_object_get(part, "SpecialToken") != NULL;
    }
    return num;
}

static int
add_special_text(struct dataset_vocab *v, const struct tokenizer *tok, const char *text)
{
    int32_t id = text != NULL ? tokenizer_token_id(tok, text) : -1;
    if (id < 0)
        return 0;
    int32_t *ids = reallocarray(v->special_ids, v->num_special_ids + 1, sizeof *ids);
    if (ids == NULL)
        return ERR_NOMEM;
    ids[v->num_special_ids++] = id;
    v->special_ids = ids;
    return 0;
}

/* Adds a token given by its text, or by an object that has it. */
static int
add_special(struct dataset_vocab *v, const struct tokenizer *tok, const json_t *token)
{
    if (json_is_object(token))
        token = json_object_get(token, "content");
    return add_special_text(v, tok, json_string_value(token));
}

static int
add_all_special(struct dataset_vocab *v, const struct tokenizer *tok, const json_t *config)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
    size_t i;
    const json_t *token;
    int e = 0;
    for (i = 0; i < ARRAY_SIZE(keys) && e == 0; i++)
        e = add_special(v, tok, json_object_get(config, keys[i]));
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i, token) {
        if (e == 0)
            e = add_special(v, tok, token);
    }
    /* The Gemma class has a mask token even where the config names none. */
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    if (e == 0 && class != NULL && strncmp(class, "GemmaTokenizer", 14) == 0 &&
        json_object_get(config, "mask_token") == NULL)
        e = add_special_text(v, tok, "<mask>");
    return e;
}

int
dataset_vocab_read(struct dataset_vocab *v, const struct tokenizer *tok, const char *dir,
                   struct error *err)
{
    json_t *root = NULL, *config = NULL;
    *v = (struct dataset_vocab){0};
    int e = read_json(dir, "tokenizer.json", &root, err);
    if (e < 0)
        return e;
    v->size = (int64_t)json_object_size(json_object_get(json_object_get(root, "model"), "vocab"));
    v->num_added = count_special(json_object_get(root, "post_processor"));
    json_decref(root);
    if (v->size == 0)
        return error_set(err, ERR_CORRUPT, "tokenizer.json: 'model.vocab' is missing or empty");
    e = read_json(dir, "tokenizer_config.json", &config, err);
    if (e == ERR_NOTFOUND)
        return 0;
    if (e == 0 && add_all_special(v, tok, config) < 0)
        e = error_set(err, ERR_NOMEM, "out of memory");
    json_decref(config);
    if (e < 0)
        dataset_vocab_release(v);
    return e;
}

void
dataset_vocab_release(struct dataset_vocab *v)
{
    free(v->special_ids);
    *v = (struct dataset_vocab){0};
}

static bool
is_special(const struct dataset_vocab *v, int64_t id)
{
    for (size_t i = 0; i < v->num_special_ids; i++) {
        if (v->special_ids[i] == id)
            return true;
    }
    return false;
}

int
dataset_vocab_list(const struct dataset_vocab *v, int32_t **ret, int64_t *ret_num,
                   struct error *err)
{
    int64_t num = 0;
    int32_t *allowed = reallocarray(NULL, (size_t)MAX(v->size, 1), sizeof *allowed);
    if (allowed == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %lld token ids",
                         (long long)v->size);
    for (int64_t id = 0; id < v->size; id++) {
        if (!is_special(v, id))
            allowed[num++] = (int32_t)id;
    }
    if (num == 0) {
        free(allowed);
        return error_set(err, ERR_INVALID, "the vocabulary has special tokens only");
    }
    *ret = allowed;
    *ret_num = num;
    return 0;
}
