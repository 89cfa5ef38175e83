/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefix_repetition: a few random beginnings, each with many random ends. Ids
 * come from numpy's global generator, which the arrival times go on with.
 */
#include "loadgen/dataset_private.h"

#include <string.h>

static int32_t
draw_id(struct dataset_maker *m)
{
    return (int32_t)numpy_legacy_below(m->global, m->vocab.size);
}

/* `len` ids, corrected to as many where there is a tokenizer. */
static int
draw_part(struct dataset_maker *m, int64_t len, struct token_ids *ret, struct error *err)
{
    struct buf text = {0};
    int e = 0;
    ret->len = 0;
    for (int64_t i = 0; i < len; i++) {
        if (token_ids_push(ret, draw_id(m)) < 0)
            return error_set(err, ERR_NOMEM, "out of memory");
    }
    if (m->tok != NULL)
        e = dataset_fit(m, draw_id, ret, (size_t)len, &text, err);
    buf_release(&text);
    return e;
}

static int
add_prompt(struct dataset_maker *m, const struct token_ids *prefix,
           const struct token_ids *suffix, struct error *err)
{
    struct prompt p = {.output_len = m->args->prefix_repetition_output_len};
    struct token_ids both = {0};
    int e = 0;
    for (size_t i = 0; i < prefix->len + suffix->len && e == 0; i++) {
        bool is_first = i < prefix->len;
        e = token_ids_push(&both, is_first ? prefix->ids[i] : suffix->ids[i - prefix->len]);
    }
    if (e < 0)
        error_set(err, ERR_NOMEM, "out of memory");
    else
        e = dataset_set_ids(m->tok, &both, &p, err);
    token_ids_release(&both);
    return e == 0 ? dataset_add(m->out, &p, err) : e;
}

static int
shuffle(struct dataset_maker *m, struct error *err)
{
    struct dataset *d = m->out;
    size_t *order;
    int e = dataset_order(m, d->len, &order, err);
    if (e < 0)
        return e;
    struct prompt *shuffled = reallocarray(NULL, d->cap, sizeof *shuffled);
    if (shuffled != NULL) {
        for (size_t i = 0; i < d->len; i++)
            shuffled[i] = d->prompts[order[i]];
        free(d->prompts);
        d->prompts = shuffled;
    }
    free(order);
    return shuffled != NULL ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

int
dataset_make_prefix_repetition(struct dataset_maker *m, struct error *err)
{
    const struct dataset_args *a = m->args;
    struct token_ids prefix = {0}, suffix = {0};
    int64_t per_prefix = (int64_t)a->num_prompts / a->prefix_repetition_num_prefixes;
    int e = 0;
    if (per_prefix == 0)
        return error_set(err, ERR_INVALID, "option '--num-prompts': %zu is less than the %lld of "
                                           "--prefix-repetition-num-prefixes", a->num_prompts,
                         (long long)a->prefix_repetition_num_prefixes);
    m->out->anonymous = true;
    for (int64_t i = 0; i < a->prefix_repetition_num_prefixes && e == 0; i++) {
        e = draw_part(m, a->prefix_repetition_prefix_len, &prefix, err);
        for (int64_t j = 0; j < per_prefix && e == 0; j++) {
            e = draw_part(m, a->prefix_repetition_suffix_len, &suffix, err);
            if (e == 0)
                e = add_prompt(m, &prefix, &suffix, err);
        }
    }
    token_ids_release(&prefix);
    token_ids_release(&suffix);
    return e == 0 ? shuffle(m, err) : e;
}
