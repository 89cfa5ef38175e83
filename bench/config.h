/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of llmd-bench, as one table, and the struct they fill. Names and
 * meanings are those of `vllm bench throughput` and `vllm bench latency`; the
 * defaults are the reference workload, 300 prompts of 100 tokens and 600 more.
 */
#ifndef BENCH_CONFIG_H
#define BENCH_CONFIG_H

#include "engine/engine_options.h"
#include "loadgen/dataset.h"

enum bench_command { BENCH_THROUGHPUT, BENCH_LATENCY };

struct bench_config {
    enum bench_command command;
    char *model;
    struct engine_options engine;

    /* ---- work ---- */
    int64_t num_prompts, num_warmups, n;
    int dataset_name; /* enum dataset_name */
    char *dataset_path;
    int64_t input_len, output_len; /* 0: the command's own */
    int64_t random_input_len, random_output_len, random_prefix_len;
    double random_range_ratio;
    int64_t prefix_repetition_prefix_len, prefix_repetition_suffix_len;
    int64_t prefix_repetition_num_prefixes, prefix_repetition_output_len;
    int64_t custom_output_len; /* -1: each line's own */
    bool no_oversample;
    bool disable_detokenize, prequeue_requests;
    int backend; /* the one there is */
    int64_t batch_size, num_iters, num_iters_warmup;

    /* ---- results ---- */
    char *output_json;
    bool roofline, disable_tqdm;
    int64_t gpu;

    bool help, man, version;
};

extern const struct option_table bench_config_table;

/* Defaults, then the command line. On an error, and at the end, release it. */
int bench_config_read(struct bench_config *c, int argc, char **argv, struct error *err);
void bench_config_release(struct bench_config *c);

#endif
