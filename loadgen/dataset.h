/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prompts of a run, made before it. So far: the random data set of
 * `vllm bench serve`: for the same seed and vocabulary the same lengths, the
 * same ids and, with a tokenizer, the same texts.
 */
#ifndef LOADGEN_DATASET_H
#define LOADGEN_DATASET_H

#include "util/base.h"
#include "util/error.h"

struct prompt {
    char *text;         /* owned; may hold NUL bytes; NULL: the ids are sent */
    size_t text_bytes;
    int32_t *ids;       /* borrowed from the data set; NULL with a text */
    size_t len;         /* tokens, without those a server puts around them */
    int64_t output_len; /* tokens asked for */
};

struct dataset {
    struct prompt *prompts; /* owned */
    size_t len;
    int32_t *ids;           /* owned: of all prompts */
};

struct dataset_random_args {
    size_t num_prompts;
    int64_t input_len, output_len; /* tokens */
    double range_ratio;            /* [0, 1) */
    int64_t vocab_size;            /* ids are in [0, vocab_size); 0: the tokenizer's */
    uint64_t seed;
    /* NULL: prompts are ids. Else a model directory: prompts are texts, without
     * special tokens, and shorter by those that its tokenizer adds. */
    const char *tokenizer_dir;
};

int dataset_init_random(struct dataset *d, const struct dataset_random_args *args,
                        struct error *err);
void dataset_release(struct dataset *d);

#endif
