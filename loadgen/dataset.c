/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/dataset_private.h"

#include <math.h>

void
dataset_release(struct dataset *d)
{
    for (size_t i = 0; d->prompts != NULL && i < d->len; i++)
        free(d->prompts[i].text);
    free(d->prompts);
    free(d->ids);
    *d = (struct dataset){0};
}

/* The order of the draws is numpy's: all input lengths, then all output
 * lengths, then all offsets. */
static void
draw_lengths(struct dataset *d, const struct dataset_random_args *args, int64_t input_len,
             struct numpy_generator *g)
{
    double r = args->range_ratio;
    double in = (double)input_len, out = (double)args->output_len;
    int64_t in_low = (int64_t)floor(in * (1 - r)), in_high = (int64_t)ceil(in * (1 + r));
    int64_t out_low = MAX((int64_t)floor(out * (1 - r)), 1);
    int64_t out_high = MAX((int64_t)ceil(out * (1 + r)), 1);
    for (size_t i = 0; i < d->len; i++)
        d->prompts[i].len = (size_t)numpy_generator_integer(g, in_low, in_high + 1);
    for (size_t i = 0; i < d->len; i++)
        d->prompts[i].output_len = numpy_generator_integer(g, out_low, out_high + 1);
}

static int
alloc_ids(struct dataset *d, struct error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < d->len; i++)
        total += d->prompts[i].len;
    d->ids = reallocarray(NULL, MAX(total, (size_t)1), sizeof *d->ids);
    if (d->ids == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for prompts of %zu tokens", total);
    int32_t *next = d->ids;
    for (size_t i = 0; i < d->len; i++) {
        d->prompts[i].ids = next;
        next += d->prompts[i].len;
    }
    return 0;
}

/* The ids that prompts are made of, ascending; *ret is the caller's. */
static int
list_allowed(const struct dataset_vocab *v, int32_t **ret, int64_t *ret_num, struct error *err)
{
    int32_t *allowed = reallocarray(NULL, (size_t)v->size, sizeof *allowed);
    if (allowed == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %lld token ids",
                         (long long)v->size);
    int64_t num = 0;
    for (int64_t id = 0; id < v->size; id++) {
        if (!dataset_vocab_is_special(v, id))
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

static int
fill_ids(struct dataset *d, const struct dataset_vocab *v, struct numpy_generator *g,
         struct error *err)
{
    int32_t *allowed = NULL;
    int64_t num_allowed = 1;
    int e = list_allowed(v, &allowed, &num_allowed, err);
    if (e < 0)
        return e;
    for (size_t i = 0; i < d->len; i++) {
        int64_t first = numpy_generator_integer(g, 0, v->size) + (int64_t)i;
        for (size_t j = 0; j < d->prompts[i].len; j++)
            d->prompts[i].ids[j] = allowed[(first + (int64_t)j) % num_allowed];
    }
    free(allowed);
    return 0;
}

/* The tokenizer, NULL if none was asked for, and what ids there are. */
static int
load_vocab(const struct dataset_random_args *args, struct tokenizer **ret_tok,
           struct dataset_vocab *ret_vocab, struct error *err)
{
    int e = 0;
    if (args->tokenizer_dir != NULL) {
        e = tokenizer_load(args->tokenizer_dir, ret_tok, err);
        if (e == 0)
            e = dataset_vocab_read(ret_vocab, *ret_tok, args->tokenizer_dir, err);
    }
    if (e == 0 && args->vocab_size != 0)
        ret_vocab->size = args->vocab_size;
    return e;
}

int
dataset_init_random(struct dataset *d, const struct dataset_random_args *args,
                    struct error *err)
{
    struct numpy_generator g;
    struct tokenizer *tok = NULL;
    struct dataset_vocab vocab = {0};
    numpy_generator_seed(&g, args->seed);
    *d = (struct dataset){.len = args->num_prompts};
    d->prompts = calloc(MAX(d->len, (size_t)1), sizeof *d->prompts);
    if (d->prompts == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu prompts", d->len);
    int e = load_vocab(args, &tok, &vocab, err);
    if (e == 0) {
        draw_lengths(d, args, MAX(args->input_len - vocab.num_added, 0), &g);
        e = alloc_ids(d, err);
    }
    if (e == 0)
        e = fill_ids(d, &vocab, &g, err);
    if (e == 0 && tok != NULL)
        e = dataset_make_texts(d, tok, vocab.size, &g, err);
    dataset_vocab_release(&vocab);
    tokenizer_free(tok);
    if (e < 0)
        dataset_release(d);
    return e;
}
