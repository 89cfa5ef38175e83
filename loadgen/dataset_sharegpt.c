/* SPDX-License-Identifier: Apache-2.0 */
/* sharegpt: the first two turns of recorded conversations, a question and an
 * answer as long as the recorded one. */
#include "loadgen/dataset_private.h"

#include <string.h>

#define FILE_BYTES_MAX ((size_t)4 << 30)

/* vLLM leaves out what is shorter or longer, in tokens. */
#define LEN_MIN 4
#define PROMPT_LEN_MAX 1024
#define TOTAL_LEN_MAX 2048

static int
read_entries(const char *path, json_t **ret, struct error *err)
{
    json_error_t where;
    char *bytes;
    size_t len;
    int e = json_read_file(path[0] == '/' ? "/" : ".", path, FILE_BYTES_MAX, &bytes, &len, err);
    if (e < 0)
        return e;
    *ret = json_loadb(bytes, len, JSON_ALLOW_NUL, &where);
    free(bytes);
    if (*ret == NULL)
        return error_set(err, ERR_CORRUPT, "%.200s:%d: %s", path, where.line, where.text);
    if (json_is_array(*ret))
        return 0;
    json_decref(*ret);
    *ret = NULL;
    return error_set(err, ERR_CORRUPT, "%.200s: not an array of conversations", path);
}

/* Removes the entries that have no two turns. */
static void
drop_short(json_t *entries)
{
    for (size_t i = json_array_size(entries); i-- > 0;) {
        const json_t *turns = json_object_get(json_array_get(entries, i), "conversations");
        if (json_array_size(turns) < 2)
            json_array_remove(entries, i);
    }
}

static const json_t *
turn_text(const json_t *entry, size_t turn)
{
    const json_t *turns = json_object_get(entry, "conversations");
    return json_object_get(json_array_get(turns, turn), "value");
}

static bool
is_usable(size_t prompt_len, int64_t output_len, bool output_is_given)
{
    return prompt_len >= LEN_MIN && (output_is_given || output_len >= LEN_MIN) &&
           prompt_len <= PROMPT_LEN_MAX && (int64_t)prompt_len + output_len <= TOTAL_LEN_MAX;
}

static int
add_entry(struct dataset_maker *m, const json_t *entry, struct error *err)
{
    const json_t *question = turn_text(entry, 0), *answer = turn_text(entry, 1);
    struct prompt p = {.output_len = m->args->sharegpt_output_len};
    size_t answer_len;
    if (!json_is_string(question) || !json_is_string(answer))
        return error_set(err, ERR_CORRUPT, "%.200s: a turn's 'value' is not a string",
                         m->args->path);
    const char *text = json_string_value(question);
    int e = dataset_count(m, text, json_string_length(question), &p.len, err);
    if (e == 0)
        e = dataset_count(m, json_string_value(answer), json_string_length(answer), &answer_len,
                          err);
    if (e < 0)
        return e;
    if (p.output_len == 0)
        p.output_len = (int64_t)answer_len;
    if (!is_usable(p.len, p.output_len, m->args->sharegpt_output_len > 0))
        return 0;
    e = dataset_set_text(text, json_string_length(question), &p, err);
    return e == 0 ? dataset_add(m->out, &p, err) : e;
}

int
dataset_make_sharegpt(struct dataset_maker *m, struct error *err)
{
    json_t *entries = NULL;
    size_t *order = NULL;
    if (m->tok == NULL)
        return error_set(err, ERR_INVALID, "option '--tokenizer' is missing: sharegpt chooses "
                                           "conversations by their tokens");
    int e = read_entries(m->args->path, &entries, err);
    if (e < 0)
        return e;
    drop_short(entries);
    e = dataset_order(m, json_array_size(entries), &order, err);
    for (size_t i = 0; i < json_array_size(entries) && e == 0; i++) {
        if (m->out->len == m->args->num_prompts)
            break;
        e = add_entry(m, json_array_get(entries, order[i]), err);
    }
    if (e == 0)
        e = dataset_oversample(m, err);
    free(order);
    json_decref(entries);
    return e;
}
