/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon can be told: one struct, one table of options (vLLM's names
 * where the meaning is vLLM's). Filled once at start by main.c.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "util/option.h"

enum config_dtype { CONFIG_DTYPE_AUTO, CONFIG_DTYPE_BFLOAT16, CONFIG_DTYPE_FLOAT16,
                    CONFIG_DTYPE_FLOAT32 };
enum config_load_format { CONFIG_LOAD_AUTO, CONFIG_LOAD_SAFETENSORS, CONFIG_LOAD_DUMMY };
enum config_generation { CONFIG_GENERATION_AUTO, CONFIG_GENERATION_VLLM };

struct config {
    /* Model */
    char *model;
    struct option_list served_model_name;
    int dtype;                      /* enum config_dtype */
    int load_format;                /* enum config_load_format */
    int64_t max_model_len;
    int64_t seed;
    int generation_config;          /* enum config_generation */
    int64_t max_logprobs;

    /* Engine */
    int device;                     /* index into config_devices */
    int64_t threads;
    int isa;                        /* index into config_isas */
    int64_t max_num_seqs;
    int64_t max_num_batched_tokens;
    int64_t num_gpu_blocks_override;
    int64_t kv_cache_memory_bytes;
    int64_t max_num_queued_reqs;
    int64_t max_num_queued_tokens;

    /* Server */
    char *host;
    int64_t port;
    char *uds;
    struct option_list api_key;
    char *api_key_file;
    bool guard_metrics;
    struct option_list allowed_origins;
    double shutdown_timeout;
    double request_timeout;
    double sse_keep_alive_interval;
    int64_t max_connections;
    int64_t max_body_bytes;
    int64_t max_pending_bytes;
    int64_t max_prompts;
    int64_t max_n;
    double head_timeout, body_timeout, idle_timeout;

    /* Answers */
    bool enable_prompt_tokens_details;
    bool enable_force_include_usage;
    bool return_tokens_as_token_ids;

    /* Log */
    int log_level;                  /* index into config_log_levels: enum log_level */
    bool access_log;

    /* Command line only */
    char *config;
    bool check_config;
    bool man, print_config, version, help;
};

extern const struct option_table config_table;
extern const char *const config_devices[];
extern const char *const config_isas[];

/*
 * Defaults, then --config FILE, then the command line; then what the options
 * demand of each other. `llmd serve DIR` is `llmd --model DIR`.
 */
int config_read(struct config *c, int argc, char **argv, struct error *err);
void config_release(struct config *c);

#endif
