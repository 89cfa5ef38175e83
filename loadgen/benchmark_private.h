/* SPDX-License-Identifier: Apache-2.0 */
/* What benchmark.c (before a run) and benchmark_run.c (the run) share. */
#ifndef LOADGEN_BENCHMARK_PRIVATE_H
#define LOADGEN_BENCHMARK_PRIVATE_H

#include "engine/tokenizer/tokenizer.h"
#include "loadgen/benchmark.h"

struct benchmark {
    const struct config *config; /* borrowed */
    struct client *client;
    char *model;         /* owned, as all strings: as results name it */
    char *sent_model;    /* as requests name it */
    char *tokenizer_dir; /* NULL: none */
    struct tokenizer *tokenizer; /* loaded when answers have to be counted */
    struct dataset dataset;
    struct numpy_legacy global; /* as the data set left it: each run draws from a copy */
    size_t num_runs;            /* so far */
    struct buf path;            /* of the result file */
};

/* Strings are the config's. `tokenizer_dir`: NULL: prompts are ids. */
struct dataset_args benchmark_dataset_args(const struct config *c, const char *tokenizer_dir);
void benchmark_schedule_args(const struct config *c, size_t num_prompts,
                             struct schedule_args *ret);

#endif
