/* SPDX-License-Identifier: Apache-2.0 */
/* What dataset.c shares with the data sets, each in a file of its own. */
#ifndef LOADGEN_DATASET_PRIVATE_H
#define LOADGEN_DATASET_PRIVATE_H

#include "engine/tokenizer/tokenizer.h"
#include "loadgen/dataset.h"
#include "loadgen/python_random.h"
#include "util/json.h"

/* ---- dataset_vocab.c ---- */

struct dataset_vocab {
    int64_t size;         /* entries, without added tokens */
    int32_t *special_ids; /* owned; that the config names */
    size_t num_special_ids;
    int64_t num_added;    /* special tokens put around a prompt */
};

/* Reads tokenizer.json and, where there is one, tokenizer_config.json. */
int dataset_vocab_read(struct dataset_vocab *v, const struct tokenizer *tok, const char *dir,
                       struct error *err);
void dataset_vocab_release(struct dataset_vocab *v);
/* The ids that are no special token, ascending; *ret is the caller's. */
int dataset_vocab_list(const struct dataset_vocab *v, int32_t **ret, int64_t *ret_num,
                       struct error *err);

/* ---- making ---- */

struct dataset_maker {
    const struct dataset_args *args;
    struct numpy_legacy *global;
    struct numpy_generator generator; /* seeded */
    struct tokenizer *tok;            /* owned; NULL: none */
    struct dataset_vocab vocab;
    struct dataset *out;
};

int dataset_make_random(struct dataset_maker *m, struct error *err);
int dataset_make_sharegpt(struct dataset_maker *m, struct error *err);
int dataset_make_custom(struct dataset_maker *m, struct error *err);
int dataset_make_prefix_repetition(struct dataset_maker *m, struct error *err);
int dataset_make_burstgpt(struct dataset_maker *m, struct error *err);
int dataset_make_timed_trace(struct dataset_maker *m, struct error *err);

/* ---- dataset.c ---- */

/* Appends; what *p owns is the data set's, also on ERR_NOMEM. */
int dataset_add(struct dataset *d, struct prompt *p, struct error *err);
/* A small set is used again, by random.choice after random.seed(seed). */
int dataset_oversample(struct dataset_maker *m, struct error *err);
/* The order of `num` records of a file: shuffled, unless told otherwise, by
 * random.shuffle after random.seed(seed). *ret is the caller's. */
int dataset_order(const struct dataset_maker *m, size_t num, size_t **ret, struct error *err);

/* ---- dataset_text.c ---- */

/* Draws an id of the vocabulary. */
typedef int32_t dataset_draw_func(struct dataset_maker *m);

/*
 * Corrects `ids` until their text, encoded again without special tokens, has
 * `target` ids: cuts, or adds drawn ones, ten times at most. `ids` are then
 * those of `text`, whose former content is replaced.
 */
int dataset_fit(struct dataset_maker *m, dataset_draw_func *draw, struct token_ids *ids,
                size_t target, struct buf *text, struct error *err);
/* Sets the prompt to these ids, or to their text where there is a tokenizer. */
int dataset_set_ids(const struct tokenizer *tok, const struct token_ids *ids,
                    struct prompt *ret, struct error *err);
int dataset_set_text(const char *text, size_t len, struct prompt *ret, struct error *err);
/* Tokens of a text with those that the server puts around it; 1 without a tokenizer. */
int dataset_count(const struct dataset_maker *m, const char *text, size_t len, size_t *ret,
                  struct error *err);

/* ---- dataset_file.c ---- */

struct dataset_file {
    const char *path; /* borrowed */
    char *bytes;      /* owned */
    size_t len, next; /* of bytes; where the next line begins */
    size_t line;      /* 1, 2, ...: of the line last given */
};

int dataset_file_open(struct dataset_file *f, const char *path, struct error *err);
void dataset_file_close(struct dataset_file *f);
/* The next line that is not blank, without its end, or NULL at the end. */
const char *dataset_file_line(struct dataset_file *f, size_t *ret_len);
/* That line as a JSON object; *ret is NULL at the end, else the caller's. */
int dataset_file_object(struct dataset_file *f, json_t **ret, struct error *err);

#endif
