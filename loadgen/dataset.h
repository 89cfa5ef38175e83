/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prompts of a run, made before it: the data sets of `vllm bench serve`
 * that need nothing but a file or a seed. For the same seed, file and
 * tokenizer the same prompts, in the same order, with the same lengths.
 */
#ifndef LOADGEN_DATASET_H
#define LOADGEN_DATASET_H

#include "loadgen/numpy_random.h"
#include "util/base.h"
#include "util/error.h"

enum dataset_name {
    DATASET_RANDOM,
    DATASET_SHAREGPT,
    DATASET_CUSTOM,
    DATASET_PREFIX_REPETITION,
    DATASET_BURSTGPT,
    DATASET_TIMED_TRACE,
};

struct prompt {
    char *text;         /* owned; may hold NUL bytes; NULL: the ids are sent */
    size_t text_bytes;
    int32_t *ids;       /* owned; NULL with a text */
    size_t len;         /* tokens, as the data set counts them */
    int64_t output_len; /* tokens asked for */
    double at_s;        /* when it is sent, with a timed data set */
};

struct dataset {
    struct prompt *prompts; /* owned */
    size_t len, cap;
    bool timed;             /* `at_s` holds: no rate is applied */
    bool anonymous;         /* vLLM sends these without x-request-id */
};

struct dataset_args {
    enum dataset_name name;
    const char *path;              /* NULL for random and prefix_repetition */
    size_t num_prompts;
    uint64_t seed;
    /* A model directory, or NULL: prompts are ids (random, prefix_repetition,
     * burstgpt), or texts that count as one token (custom). */
    const char *tokenizer_dir;
    int64_t vocab_size;            /* ids are in [0, vocab_size); 0: the tokenizer's */
    bool oversample;               /* a small file is used again until num_prompts */
    bool shuffle;

    int64_t random_input_len, random_output_len; /* tokens */
    double random_input_range, random_output_range; /* [0, 1) */
    int64_t random_prefix_len;

    int64_t sharegpt_output_len;   /* 0: as long as the recorded answer */
    int64_t custom_output_len;     /* -1: as each line says */

    int64_t prefix_repetition_prefix_len, prefix_repetition_suffix_len;
    int64_t prefix_repetition_num_prefixes, prefix_repetition_output_len;

    int64_t timed_trace_chunk_size;
    double timed_trace_timestamp_multiplier;
    const char *timed_trace_timestamp_field, *timed_trace_input_length_field;
    const char *timed_trace_output_length_field, *timed_trace_hash_ids_field;
};

/*
 * `global` is numpy's global generator, already seeded: arrival times are drawn
 * from it afterwards, and prefix_repetition draws from it first. An error names
 * the option, or the file and its line.
 */
int dataset_init(struct dataset *d, const struct dataset_args *args, struct numpy_legacy *global,
                 struct error *err);
void dataset_release(struct dataset *d);

#endif
