/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/dataset_private.h"

#include <string.h>

static void
prompt_release(struct prompt *p)
{
    free(p->text);
    free(p->ids);
}

void
dataset_release(struct dataset *d)
{
    for (size_t i = 0; i < d->len; i++)
        prompt_release(&d->prompts[i]);
    free(d->prompts);
    *d = (struct dataset){0};
}

int
dataset_add(struct dataset *d, struct prompt *p, struct error *err)
{
    if (d->len == d->cap) {
        size_t cap = MAX(d->cap * 2, (size_t)64);
        struct prompt *prompts = reallocarray(d->prompts, cap, sizeof *prompts);
        if (prompts == NULL) {
            prompt_release(p);
            return error_set(err, ERR_NOMEM, "out of memory for %zu prompts", cap);
        }
        d->prompts = prompts;
        d->cap = cap;
    }
    d->prompts[d->len++] = *p;
    return 0;
}

/* ---- what several data sets do ---- */

int
dataset_order(const struct dataset_maker *m, size_t num, size_t **ret, struct error *err)
{
    struct mt19937 python;
    size_t *order = reallocarray(NULL, MAX(num, (size_t)1), sizeof *order);
    if (order == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu prompts", num);
    python_random_seed(&python, m->args->seed);
    if (m->args->shuffle) {
        python_random_shuffle(&python, order, num);
    } else {
        for (size_t i = 0; i < num; i++)
            order[i] = i;
    }
    *ret = order;
    return 0;
}

static int
add_copy(struct dataset *d, size_t i, struct error *err)
{
    struct prompt copy = d->prompts[i];
    copy.text = NULL;
    int e = dataset_set_text(d->prompts[i].text, d->prompts[i].text_bytes, &copy, err);
    return e == 0 ? dataset_add(d, &copy, err) : e;
}

int
dataset_oversample(struct dataset_maker *m, struct error *err)
{
    struct mt19937 python;
    size_t num = m->out->len;
    int e = 0;
    if (!m->args->oversample || num == 0)
        return 0;
    python_random_seed(&python, m->args->seed);
    while (m->out->len < m->args->num_prompts && e == 0)
        e = add_copy(m->out, python_random_below(&python, num), err);
    return e;
}

/* ---- the door ---- */

/* The tokenizer, NULL if none was asked for, and what ids there are. */
static int
load_vocab(struct dataset_maker *m, struct error *err)
{
    const struct dataset_args *args = m->args;
    int e = 0;
    if (args->tokenizer_dir != NULL) {
        e = tokenizer_load(args->tokenizer_dir, &m->tok, err);
        if (e == 0)
            e = dataset_vocab_read(&m->vocab, m->tok, args->tokenizer_dir, err);
    }
    if (e == 0 && args->vocab_size != 0)
        m->vocab.size = args->vocab_size;
    return e;
}

int
dataset_init(struct dataset *d, const struct dataset_args *args, struct numpy_legacy *global,
             struct error *err)
{
    static int (*const make[])(struct dataset_maker *, struct error *) = {
        [DATASET_RANDOM] = dataset_make_random,
        [DATASET_SHAREGPT] = dataset_make_sharegpt,
        [DATASET_CUSTOM] = dataset_make_custom,
        [DATASET_PREFIX_REPETITION] = dataset_make_prefix_repetition,
        [DATASET_BURSTGPT] = dataset_make_burstgpt,
        [DATASET_TIMED_TRACE] = dataset_make_timed_trace,
    };
    struct dataset_maker m = {.args = args, .global = global, .out = d};
    *d = (struct dataset){0};
    numpy_generator_seed(&m.generator, args->seed);
    int e = load_vocab(&m, err);
    if (e == 0)
        e = make[args->name](&m, err);
    dataset_vocab_release(&m.vocab);
    tokenizer_free(m.tok);
    if (e < 0)
        dataset_release(d);
    return e;
}
