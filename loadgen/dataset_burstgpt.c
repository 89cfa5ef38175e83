/* SPDX-License-Identifier: Apache-2.0 */
/*
 * burstgpt: lengths of a recorded service, as CSV
 * (https://github.com/HPMLL/BurstGPT). Its rows of GPT-4 that gave an answer
 * are drawn; the text is made up, and its times are not used.
 */
#include "loadgen/dataset_private.h"

#include <string.h>

#define NUM_COLUMNS_MAX 64
#define LEN_MAX 100000000

enum { COLUMN_INPUT = 2, COLUMN_OUTPUT = 3 }; /* as vLLM takes them */

struct row {
    int64_t input_len, output_len;
};

struct rows {
    struct row *items; /* owned */
    size_t len, cap;
};

struct fields {
    const char *at[NUM_COLUMNS_MAX];
    size_t len[NUM_COLUMNS_MAX];
    size_t num;
};

static void
split(const char *line, size_t len, struct fields *ret)
{
    const char *end = line + len;
    ret->num = 0;
    while (ret->num < NUM_COLUMNS_MAX) {
        const char *comma = memchr(line, ',', (size_t)(end - line));
        const char *stop = comma != NULL ? comma : end;
        ret->at[ret->num] = line;
        ret->len[ret->num++] = (size_t)(stop - line);
        if (comma == NULL)
            return;
        line = comma + 1;
    }
}

static bool
equals(const struct fields *f, size_t column, const char *text)
{
    return column < f->num && f->len[column] == strlen(text) &&
           memcmp(f->at[column], text, f->len[column]) == 0;
}

/* The column of this name, or NUM_COLUMNS_MAX. */
static size_t
find_column(const struct fields *header, const char *name)
{
    for (size_t i = 0; i < header->num; i++) {
        if (equals(header, i, name))
            return i;
    }
    return NUM_COLUMNS_MAX;
}

/* A field like "472" or "472.0". */
static int
read_len(const struct dataset_file *f, const struct fields *fields, size_t column, int64_t *ret,
         struct error *err)
{
    char text[32], *end = text;
    double value = 0;
    if (column < fields->num && fields->len[column] > 0 && fields->len[column] < sizeof text) {
        memcpy(text, fields->at[column], fields->len[column]);
        text[fields->len[column]] = '\0';
        value = strtod(text, &end);
    }
    if (end == text || *end != '\0' || !(value >= 0 && value <= LEN_MAX))
        return error_set(err, ERR_CORRUPT, "%.200s:%zu: column %zu is not a number in the range "
                                           "0..%d", f->path, f->line, column + 1, LEN_MAX);
    *ret = (int64_t)value;
    return 0;
}

static int
add_row(struct rows *rows, struct row row, struct error *err)
{
    if (rows->len == rows->cap) {
        size_t cap = MAX(rows->cap * 2, (size_t)1024);
        struct row *items = reallocarray(rows->items, cap, sizeof *items);
        if (items == NULL)
            return error_set(err, ERR_NOMEM, "out of memory for %zu rows", cap);
        rows->items = items;
        rows->cap = cap;
    }
    rows->items[rows->len++] = row;
    return 0;
}

/* The rows of GPT-4 whose answer is not empty. */
static int
read_rows(struct dataset_file *f, struct rows *ret, struct error *err)
{
    struct fields fields = {0};
    size_t len;
    const char *line = dataset_file_line(f, &len);
    if (line != NULL)
        split(line, len, &fields);
    size_t model = find_column(&fields, "Model");
    size_t answer = find_column(&fields, "Response tokens");
    if (model == NUM_COLUMNS_MAX || answer == NUM_COLUMNS_MAX)
        return error_set(err, ERR_CORRUPT, "%.200s: the first line does not name the columns "
                                           "'Model' and 'Response tokens'", f->path);
    while ((line = dataset_file_line(f, &len)) != NULL) {
        struct row row;
        int64_t answer_len;
        split(line, len, &fields);
        if (!equals(&fields, model, "GPT-4"))
            continue;
        int e = read_len(f, &fields, answer, &answer_len, err);
        if (e == 0)
            e = read_len(f, &fields, COLUMN_INPUT, &row.input_len, err);
        if (e == 0)
            e = read_len(f, &fields, COLUMN_OUTPUT, &row.output_len, err);
        if (e == 0 && answer_len > 0)
            e = add_row(ret, row, err);
        if (e < 0)
            return e;
    }
    return ret->len > 0 ? 0
                        : error_set(err, ERR_INVALID, "%.200s: no row of the model 'GPT-4' has an "
                                                      "answer", f->path);
}

/* What DataFrame.sample(n, random_state=seed) takes: rows in a random order, or
 * any row again where there are too few. *ret is the caller's. */
static int
choose(const struct dataset_args *args, size_t num_rows, size_t **ret, struct error *err)
{
    struct numpy_legacy g;
    size_t *chosen = reallocarray(NULL, MAX(args->num_prompts, num_rows), sizeof *chosen);
    if (chosen == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu rows", num_rows);
    numpy_legacy_seed(&g, (uint32_t)args->seed);
    if (args->num_prompts <= num_rows) {
        numpy_legacy_permutation(&g, chosen, num_rows);
    } else {
        for (size_t i = 0; i < args->num_prompts; i++)
            chosen[i] = (size_t)numpy_legacy_below(&g, (int64_t)num_rows);
    }
    *ret = chosen;
    return 0;
}

/* Prompt i is the ids i, i + 1, ... of the vocabulary. */
static int
add_prompt(struct dataset_maker *m, const struct row *row, struct error *err)
{
    struct prompt p = {.output_len = row->output_len};
    struct token_ids ids = {0};
    int e = 0;
    for (int64_t j = 0; j < row->input_len && e == 0; j++)
        e = token_ids_push(&ids, (int32_t)(((int64_t)m->out->len + j) % m->vocab.size));
    if (e < 0)
        error_set(err, ERR_NOMEM, "out of memory");
    else
        e = dataset_set_ids(m->tok, &ids, &p, err);
    token_ids_release(&ids);
    return e == 0 ? dataset_add(m->out, &p, err) : e;
}

int
dataset_make_burstgpt(struct dataset_maker *m, struct error *err)
{
    struct dataset_file f;
    struct rows rows = {0};
    size_t *chosen = NULL;
    int e = dataset_file_open(&f, m->args->path, err);
    if (e < 0)
        return e;
    e = read_rows(&f, &rows, err);
    if (e == 0)
        e = choose(m->args, rows.len, &chosen, err);
    for (size_t i = 0; i < m->args->num_prompts && e == 0; i++)
        e = add_prompt(m, &rows.items[chosen[i]], err);
    free(chosen);
    free(rows.items);
    dataset_file_close(&f);
    return e;
}
