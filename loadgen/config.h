/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of loadgen, as one table, and the struct they fill. Names,
 * defaults and meanings are those of `vllm bench serve`.
 */
#ifndef LOADGEN_CONFIG_H
#define LOADGEN_CONFIG_H

#include "util/base.h"
#include "util/error.h"
#include "util/option.h"

struct config {
    char *base_url; /* NULL: from host and port */
    char *host;
    int64_t port;
    char *endpoint;
    char *api_key; /* NULL: none */
    char *model;   /* NULL: the first that the server lists */
    char *served_model_name;
    char *request_id_prefix;
    int backend;
    bool insecure;

    double request_rate, burstiness;
    int64_t max_concurrency; /* 0: no limit */
    int64_t num_prompts, seed;
    int64_t ready_check_timeout_s;

    char *tokenizer; /* directory; NULL: prompts are sent as token ids */
    int64_t random_input_len, random_output_len, random_vocab_size;
    double random_range_ratio;

    bool ignore_eos;
    double temperature; /* NAN: not sent */

    char *percentile_metrics, *metric_percentiles;
    bool save_result, save_detailed;
    char *result_dir, *result_filename, *label;
    bool disable_tqdm, print_schedule, help, man, version;
};

extern const struct option_table config_table;

/* What the rows alone cannot check. */
int config_check(const struct config *c, struct error *err);
/* Appends "http://host:port" or the base URL, without a slash at the end. */
void config_url(const struct config *c, struct buf *ret);
/* "openai": the backend as results name it. */
const char *config_backend_name(const struct config *c);

#define CONFIG_PERCENTILES_MAX 32
/* Reads "50,99.9" into ret_percents. */
int config_percentiles(const struct config *c, double ret_percents[CONFIG_PERCENTILES_MAX],
                       size_t *ret_num, struct error *err);

#endif
