/* SPDX-License-Identifier: Apache-2.0 */
/* random: ids in sequence from a random start, after a prefix that all share. */
#include "loadgen/dataset_private.h"

#include <math.h>

struct lengths {
    int64_t *in, *out, *offset; /* of each prompt; one allocation, at `in` */
};

static int32_t
draw_id(struct dataset_maker *m)
{
    return (int32_t)numpy_generator_integer(&m->generator, 0, m->vocab.size);
}

static void
draw_between(struct dataset_maker *m, int64_t *ret, int64_t low, int64_t high)
{
    for (size_t i = 0; i < m->args->num_prompts; i++)
        ret[i] = numpy_generator_integer(&m->generator, low, high + 1);
}

/* All input lengths are drawn first, then all output lengths, then all offsets. */
static int
draw_lengths(struct dataset_maker *m, struct lengths *ret, struct error *err)
{
    const struct dataset_args *a = m->args;
    double in = (double)MAX(a->random_input_len - m->vocab.num_added, 0);
    double out = (double)a->random_output_len;
    int64_t in_low = (int64_t)floor(in * (1 - a->random_input_range));
    if (a->random_prefix_len + in_low < 1)
        return error_set(err, ERR_RANGE, "option '--random-input-len': %lld can give a prompt "
                                         "without tokens: with a range of %g, %lld of them are "
                                         "special tokens",
                         (long long)a->random_input_len, a->random_input_range,
                         (long long)m->vocab.num_added);
    ret->in = reallocarray(NULL, MAX(a->num_prompts, (size_t)1), 3 * sizeof *ret->in);
    if (ret->in == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu prompts", a->num_prompts);
    ret->out = ret->in + a->num_prompts;
    ret->offset = ret->out + a->num_prompts;
    draw_between(m, ret->in, in_low, (int64_t)ceil(in * (1 + a->random_input_range)));
    draw_between(m, ret->out, MAX((int64_t)floor(out * (1 - a->random_output_range)), 1),
                 MAX((int64_t)ceil(out * (1 + a->random_output_range)), 1));
    draw_between(m, ret->offset, 0, m->vocab.size - 1);
    return 0;
}

struct material {
    int32_t *allowed; /* owned */
    int64_t num_allowed;
    struct token_ids prefix;
    struct buf text; /* of the prompt at hand */
};

static int
push(struct token_ids *ids, int32_t id, struct error *err)
{
    return token_ids_push(ids, id) == 0 ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static int
make_prefix(struct dataset_maker *m, struct material *x, struct error *err)
{
    size_t len = (size_t)m->args->random_prefix_len;
    int e = 0;
    for (size_t i = 0; i < len && e == 0; i++)
        e = push(&x->prefix, x->allowed[numpy_generator_integer(&m->generator, 0,
                                                                x->num_allowed)], err);
    if (e == 0 && len > 0 && m->tok != NULL)
        e = dataset_fit(m, draw_id, &x->prefix, len, &x->text, err);
    return e;
}

/* Prompt i has `len` ids after the prefix, from allowed[offset + i] on. */
static int
make_prompt(struct dataset_maker *m, struct material *x, int64_t first, int64_t len,
            struct prompt *ret, struct error *err)
{
    struct token_ids ids = {0};
    int e = 0;
    for (size_t i = 0; i < x->prefix.len && e == 0; i++)
        e = push(&ids, x->prefix.ids[i], err);
    for (int64_t i = 0; i < len && e == 0; i++)
        e = push(&ids, x->allowed[(first + i) % x->num_allowed], err);
    if (e == 0 && m->tok == NULL) {
        e = dataset_set_ids(NULL, &ids, ret, err);
    } else if (e == 0) {
        size_t target = (size_t)(m->args->random_prefix_len + len);
        e = dataset_fit(m, draw_id, &ids, target, &x->text, err);
        if (e == 0)
            e = dataset_set_text(buf_bytes(&x->text), buf_len(&x->text), ret, err);
        ret->len = ids.len;
    }
    token_ids_release(&ids);
    return e;
}

int
dataset_make_random(struct dataset_maker *m, struct error *err)
{
    struct lengths lengths = {0};
    struct material x = {0};
    int e = dataset_vocab_list(&m->vocab, &x.allowed, &x.num_allowed, err);
    if (e == 0)
        e = draw_lengths(m, &lengths, err);
    if (e == 0)
        e = make_prefix(m, &x, err);
    for (size_t i = 0; i < m->args->num_prompts && e == 0; i++) {
        struct prompt p = {.output_len = lengths.out[i]};
        e = make_prompt(m, &x, lengths.offset[i] + (int64_t)i, lengths.in[i], &p, err);
        if (e == 0)
            e = dataset_add(m->out, &p, err);
    }
    free(lengths.in);
    free(x.allowed);
    token_ids_release(&x.prefix);
    buf_release(&x.text);
    return e;
}
