/* SPDX-License-Identifier: Apache-2.0 */
/* What dataset.c (ids), dataset_text.c and dataset_vocab.c share. */
#ifndef LOADGEN_DATASET_PRIVATE_H
#define LOADGEN_DATASET_PRIVATE_H

#include "engine/tokenizer/tokenizer.h"
#include "loadgen/dataset.h"
#include "loadgen/numpy_random.h"

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
bool dataset_vocab_is_special(const struct dataset_vocab *v, int64_t id);

/* Turns the ids of each prompt into a text of as many tokens, or nearly. */
int dataset_make_texts(struct dataset *d, const struct tokenizer *tok, int64_t vocab_size,
                       struct numpy_generator *g, struct error *err);

#endif
