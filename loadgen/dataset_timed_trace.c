/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timed_trace: JSON lines with a time, lengths, and a hash for each block of
 * the prompt, as Mooncake's and Alibaba's traces are
 * (https://github.com/kvcache-ai/Mooncake). Equal hashes give equal blocks. The
 * ids are not vLLM's: those come from a hash that differs in each process of
 * Python.
 */
#include "loadgen/dataset_private.h"
#include "util/hashmap.h"

#include <string.h>

#define LEN_MAX 100000000

struct material {
    int32_t *allowed; /* owned */
    int64_t num_allowed;
};

/* Appends the block of this hash, `size` ids. A last, shorter block of the same
 * hash is another one. */
static int
add_block(const struct material *x, const json_t *hash, int64_t size, struct token_ids *ids,
          struct error *err)
{
    struct mt19937 g;
    struct buf key = {0};
    char *text = json_dumps(hash, JSON_ENCODE_ANY);
    buf_printf(&key, "%s:%lld", text != NULL ? text : "", (long long)size);
    free(text);
    int e = text == NULL || key.failed ? ERR_NOMEM : 0;
    if (e == 0)
        mt19937_seed(&g, (uint32_t)hash_bytes(buf_bytes(&key), buf_len(&key)));
    buf_release(&key);
    for (int64_t i = 0; i < size && e == 0; i++) {
        int64_t at = (int64_t)(mt19937_uniform(&g) * (double)x->num_allowed);
        e = token_ids_push(ids, x->allowed[at]);
    }
    return e == 0 ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static int
make_prompt(const struct dataset_maker *m, const struct material *x, const json_t *hashes,
            int64_t input_len, struct prompt *ret, struct error *err)
{
    struct token_ids ids = {0};
    int e = 0;
    for (size_t i = 0; i < json_array_size(hashes) && input_len > 0 && e == 0; i++) {
        int64_t size = MIN(input_len, m->args->timed_trace_chunk_size);
        e = add_block(x, json_array_get(hashes, i), size, &ids, err);
        input_len -= size;
    }
    if (e == 0)
        e = dataset_set_ids(NULL, &ids, ret, err);
    token_ids_release(&ids);
    return e;
}

static int
add_entry(struct dataset_maker *m, const struct material *x, const struct json_object *o,
          struct error *err)
{
    const struct dataset_args *a = m->args;
    const char *const needed[] = {a->timed_trace_timestamp_field,
                                  a->timed_trace_input_length_field,
                                  a->timed_trace_output_length_field,
                                  a->timed_trace_hash_ids_field};
    struct prompt p = {0};
    const json_t *hashes = NULL;
    int64_t input_len = 0;
    int e = 0;
    for (size_t i = 0; i < ARRAY_SIZE(needed) && e == 0; i++)
        e = json_need(o, needed[i], err);
    if (e == 0)
        e = json_get_double(o, needed[0], 0, 1e18, &p.at_s, err);
    if (e == 0)
        e = json_get_int(o, needed[1], 1, LEN_MAX, &input_len, err);
    if (e == 0)
        e = json_get_int(o, needed[2], 1, LEN_MAX, &p.output_len, err);
    if (e == 0)
        e = json_get_typed(o, needed[3], JSON_ARRAY, &hashes, err);
    if (e < 0)
        return e;
    p.at_s *= a->timed_trace_timestamp_multiplier;
    e = make_prompt(m, x, hashes, input_len, &p, err);
    return e == 0 ? dataset_add(m->out, &p, err) : e;
}

int
dataset_make_timed_trace(struct dataset_maker *m, struct error *err)
{
    struct dataset_file f;
    struct material x = {0};
    int e = dataset_file_open(&f, m->args->path, err);
    if (e < 0)
        return e;
    e = dataset_vocab_list(&m->vocab, &x.allowed, &x.num_allowed, err);
    m->out->timed = true;
    numpy_legacy_seed(m->global, 0); /* as vLLM's does, whatever --seed is */
    while (e == 0 && m->out->len < m->args->num_prompts) {
        char where[256];
        json_t *entry = NULL;
        e = dataset_file_object(&f, &entry, err);
        if (entry == NULL)
            break;
        snprintf(where, sizeof where, "%.200s:%zu", f.path, f.line);
        e = add_entry(m, &x, &(struct json_object){entry, where}, err);
        json_decref(entry);
    }
    free(x.allowed);
    dataset_file_close(&f);
    return e;
}
