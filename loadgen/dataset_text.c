/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of a wanted number of tokens. Decoding ids and encoding the text again
 * rarely gives the same ids, so the result is cut or padded and decoded again,
 * a few times, as vLLM does.
 */
#include "loadgen/dataset_private.h"

#define CORRECTIONS_MAX 10

static int
append_id(struct token_ids *t, int32_t id)
{
    if (t->len == t->cap) {
        size_t cap = MAX(t->cap * 2, (size_t)64);
        int32_t *ids = reallocarray(t->ids, cap, sizeof *ids);
        if (ids == NULL)
            return ERR_NOMEM;
        t->ids = ids;
        t->cap = cap;
    }
    t->ids[t->len++] = id;
    return 0;
}

/* Decodes `ids` into `text` and encodes that into `ids` again. */
static int
round_trip(const struct tokenizer *tok, struct token_ids *ids, struct buf *text,
           struct error *err)
{
    buf_clear(text);
    tokenizer_decode(tok, ids->ids, ids->len, false, text);
    if (text->failed)
        return error_set(err, ERR_NOMEM, "out of memory");
    ids->len = 0;
    return tokenizer_encode(tok, buf_bytes(text), buf_len(text), false, true, 0, ids, err);
}

struct maker {
    const struct tokenizer *tok;
    int64_t vocab_size;
    struct numpy_generator *g;
    struct token_ids ids; /* owned, as the text; of the prompt at hand */
    struct buf text;
};

/* Corrects the ids until their text has `target` tokens, or CORRECTIONS_MAX. */
static int
make_text(struct maker *m, size_t target, struct error *err)
{
    for (int tries = 0;; tries++) {
        int e = round_trip(m->tok, &m->ids, &m->text, err);
        if (e < 0 || m->ids.len == target || tries == CORRECTIONS_MAX)
            return e;
        while (m->ids.len < target) {
            int32_t id = (int32_t)numpy_generator_integer(m->g, 0, m->vocab_size);
            if (append_id(&m->ids, id) < 0)
                return error_set(err, ERR_NOMEM, "out of memory");
        }
        m->ids.len = target;
    }
}

static int
make_prompt(struct maker *m, struct prompt *p, struct error *err)
{
    m->ids.len = 0;
    for (size_t i = 0; i < p->len; i++) {
        if (append_id(&m->ids, p->ids[i]) < 0)
            return error_set(err, ERR_NOMEM, "out of memory");
    }
    int e = make_text(m, p->len, err);
    if (e < 0)
        return e;
    p->ids = NULL;
    p->len = m->ids.len;
    p->text = buf_take(&m->text, &p->text_bytes);
    return p->text != NULL ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

int
dataset_make_texts(struct dataset *d, const struct tokenizer *tok, int64_t vocab_size,
                   struct numpy_generator *g, struct error *err)
{
    struct maker m = {.tok = tok, .vocab_size = vocab_size, .g = g};
    int e = 0;
    for (size_t i = 0; i < d->len && e == 0; i++)
        e = make_prompt(&m, &d->prompts[i], err);
    token_ids_release(&m.ids);
    buf_release(&m.text);
    free(d->ids);
    d->ids = NULL;
    return e;
}
