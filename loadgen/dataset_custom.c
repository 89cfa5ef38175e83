/* SPDX-License-Identifier: Apache-2.0 */
/* custom: one JSON object a line, with "prompt" and perhaps "output_tokens".
 * Prompts are sent as they are, without a chat template. */
#include "loadgen/dataset_private.h"

#define OUTPUT_LEN_MAX 100000000

/* All lines; errors name them. */
static int
read_rows(const char *path, json_t *rows, struct error *err)
{
    struct dataset_file f;
    json_t *row = NULL;
    int e = dataset_file_open(&f, path, err);
    if (e < 0)
        return e;
    while ((e = dataset_file_object(&f, &row, err)) == 0 && row != NULL) {
        bool is_text = json_is_string(json_object_get(row, "prompt"));
        if (json_array_append_new(rows, row) < 0)
            e = error_set(err, ERR_NOMEM, "out of memory");
        else if (!is_text)
            e = error_set(err, ERR_CORRUPT, "%.200s:%zu: 'prompt' is missing or not a string",
                          path, f.line);
        if (e < 0)
            break;
    }
    dataset_file_close(&f);
    return e;
}

static int
output_len(const struct dataset_args *args, const json_t *row, int64_t *ret, struct error *err)
{
    struct json_object o = {row, args->path};
    *ret = args->custom_output_len;
    if (*ret != -1)
        return 0;
    int e = json_need(&o, "output_tokens", err);
    return e == 0 ? json_get_int(&o, "output_tokens", 0, OUTPUT_LEN_MAX, ret, err) : e;
}

static int
add_row(struct dataset_maker *m, const json_t *row, struct error *err)
{
    const json_t *text = json_object_get(row, "prompt");
    struct prompt p = {0};
    int e = output_len(m->args, row, &p.output_len, err);
    if (e == 0)
        e = dataset_count(m, json_string_value(text), json_string_length(text), &p.len, err);
    if (e == 0)
        e = dataset_set_text(json_string_value(text), json_string_length(text), &p, err);
    return e == 0 ? dataset_add(m->out, &p, err) : e;
}

int
dataset_make_custom(struct dataset_maker *m, struct error *err)
{
    size_t *order = NULL;
    json_t *rows = json_array();
    if (rows == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    int e = read_rows(m->args->path, rows, err);
    if (e == 0)
        e = dataset_order(m, json_array_size(rows), &order, err);
    for (size_t i = 0; e == 0 && i < json_array_size(rows); i++) {
        if (m->out->len == m->args->num_prompts)
            break;
        e = add_row(m, json_array_get(rows, order[i]), err);
    }
    if (e == 0)
        e = dataset_oversample(m, err);
    free(order);
    json_decref(rows);
    return e;
}
