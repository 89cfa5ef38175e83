/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of a wanted number of tokens. Decoding ids and encoding the text again
 * rarely gives the same ids, so the result is cut or padded and decoded again,
 * a few times, as vLLM does.
 */
#include "loadgen/dataset_private.h"

#include <string.h>

#define CORRECTIONS_MAX 10

static int
out_of_memory(struct error *err)
{
    return error_set(err, ERR_NOMEM, "out of memory for prompts");
}

static int
decode(const struct tokenizer *tok, const struct token_ids *ids, struct buf *text,
       struct error *err)
{
    buf_clear(text);
    tokenizer_decode(tok, ids->ids, ids->len, false, text);
    return text->failed ? out_of_memory(err) : 0;
}

int
dataset_fit(struct dataset_maker *m, dataset_draw_func *draw, struct token_ids *ids,
            size_t target, struct buf *text, struct error *err)
{
    for (int tries = 0;; tries++) {
        int e = decode(m->tok, ids, text, err);
        if (e < 0)
            return e;
        ids->len = 0;
        e = tokenizer_encode(m->tok, buf_bytes(text), buf_len(text), false, true, 0, ids, err);
        if (e < 0 || ids->len == target || tries == CORRECTIONS_MAX)
            return e;
        while (ids->len < target) {
            if (token_ids_push(ids, draw(m)) < 0)
                return out_of_memory(err);
        }
        ids->len = target;
    }
}

int
dataset_set_text(const char *text, size_t len, struct prompt *ret, struct error *err)
{
    ret->text = malloc(len + 1);
    if (ret->text == NULL)
        return out_of_memory(err);
    memcpy(ret->text, text, len);
    ret->text[len] = '\0';
    ret->text_bytes = len;
    return 0;
}

int
dataset_set_ids(const struct tokenizer *tok, const struct token_ids *ids, struct prompt *ret,
                struct error *err)
{
    struct buf text = {0};
    ret->len = ids->len;
    if (tok == NULL) {
        ret->ids = reallocarray(NULL, MAX(ids->len, (size_t)1), sizeof *ret->ids);
        if (ret->ids == NULL)
            return out_of_memory(err);
        if (ids->len > 0)
            memcpy(ret->ids, ids->ids, ids->len * sizeof *ret->ids);
        return 0;
    }
    int e = decode(tok, ids, &text, err);
    if (e == 0)
        e = dataset_set_text(buf_bytes(&text), buf_len(&text), ret, err);
    buf_release(&text);
    return e;
}

int
dataset_count(const struct dataset_maker *m, const char *text, size_t len, size_t *ret,
              struct error *err)
{
    struct token_ids ids = {0};
    *ret = 1;
    if (m->tok == NULL)
        return 0;
    int e = tokenizer_encode(m->tok, text, len, true, true, 0, &ids, err);
    *ret = ids.len;
    token_ids_release(&ids);
    return e;
}
