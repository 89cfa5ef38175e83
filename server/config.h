/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon can be told: one struct, one table of options (vLLM's names
 * where the meaning is vLLM's). Filled once at start by main.c.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "engine/engine_options.h"
#include "util/option.h"

enum config_generation { CONFIG_GENERATION_AUTO, CONFIG_GENERATION_VLLM };

struct config {
    /* Model */
    char *model;
    struct option_list served_model_name;
    int generation_config;          /* enum config_generation */
    int64_t max_logprobs;

    /* Engine */
    struct engine_options engine;
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
    bool plan;                      /* "llmd plan", and not "llmd serve" */
    int gpu;                        /* index into plan_gpus */
    int64_t context;
    bool json;
    char *config;
    bool check_config;
    bool man, print_config, version, help;
};

extern const struct option_table config_table;

/*
 * Defaults, then --config FILE, then the command line; then what the options
 * demand of each other. `llmd serve DIR` is `llmd --model DIR`; `llmd plan DIR`
 * takes the same options.
 */
int config_read(struct config *c, int argc, char **argv, struct error *err);
void config_release(struct config *c);

#endif
