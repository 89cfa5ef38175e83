/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of loadgen, as one table, and the struct they fill. Names,
 * defaults and meanings are those of `vllm bench serve`, where it has them.
 */
#ifndef LOADGEN_CONFIG_H
#define LOADGEN_CONFIG_H

#include "util/base.h"
#include "util/error.h"
#include "util/option.h"

#define CONFIG_FILES_MAX 64

enum backend { BACKEND_OPENAI, BACKEND_VLLM, BACKEND_OPENAI_CHAT };
enum ramp_up { RAMP_UP_LINEAR, RAMP_UP_EXPONENTIAL, RAMP_UP_NONE = -1 };
enum format { FORMAT_TEXT, FORMAT_MARKDOWN, FORMAT_REFERENCE, FORMAT_VLLM, FORMAT_VLLM_0_8 };

/* Limits in ms of one request; NAN: none. */
struct goodput {
    double ttft_ms, tpot_ms, e2el_ms;
};

struct config {
    /* ---- server ---- */
    char *base_url; /* NULL: from host and port */
    char *host;
    int64_t port;
    char *endpoint; /* after config_settle never NULL */
    char *api_key;  /* NULL: none */
    char *model;    /* NULL: the first that the server lists */
    char *served_model_name;
    char *request_id_prefix;
    int backend; /* enum backend */
    bool insecure;
    struct option_list header; /* KEY=VALUE */
    int64_t ready_check_timeout_s;
    double timeout_s; /* of one request */

    /* ---- traffic ---- */
    double request_rate, burstiness;
    int ramp_up_strategy; /* enum ramp_up */
    int64_t ramp_up_start_rps, ramp_up_end_rps;
    int64_t max_concurrency; /* 0: no limit */
    int64_t num_prompts, seed, num_warmups;
    double duration_s; /* NAN: until all are sent */
    double probe_request_rate;
    int64_t threads; /* 0: by the machine */
    bool print_schedule;

    /* ---- prompts ---- */
    char *tokenizer; /* directory; NULL: the model, if that is one */
    bool skip_tokenizer_init;
    int dataset_name; /* enum dataset_name */
    char *dataset_path;
    int64_t input_len, output_len; /* 0: each data set's own */
    bool no_oversample, disable_shuffle, self_timed;
    int64_t random_input_len, random_output_len, random_prefix_len, random_vocab_size;
    char *random_range_ratio;
    int64_t sharegpt_output_len, custom_output_len;
    int64_t prefix_repetition_prefix_len, prefix_repetition_suffix_len;
    int64_t prefix_repetition_num_prefixes, prefix_repetition_output_len;
    int64_t timed_trace_chunk_hash_size;
    double timed_trace_sec_multiplier;
    char *timed_trace_label_timestamp, *timed_trace_label_input_length;
    char *timed_trace_label_output_length, *timed_trace_label_hash_ids;

    /* ---- sampling ---- */
    bool ignore_eos;
    double temperature, top_p, min_p; /* NAN: not sent, as all here */
    double frequency_penalty, presence_penalty, repetition_penalty, top_k;
    double logprobs;
    char *extra_body;

    /* ---- results ---- */
    char *percentile_metrics, *metric_percentiles;
    struct option_list goodput, metadata;
    bool save_result, save_detailed, append_result;
    char *result_dir, *result_filename, *label;
    bool disable_tqdm, plot_timeline;
    int format; /* enum format */
    char *report;
    double max_fail_rate;
    char *monitor;
    int64_t pid, gpu;

    /* ---- several runs ---- */
    int64_t num_runs;
    char *sweep, *find_rate;
    struct option_list compare;
    double max_regression; /* percent; NAN: any */
    bool self_test;

    const char *files[CONFIG_FILES_MAX]; /* borrowed: words that are no option */
    size_t num_files;

    bool help, man, version;

    /* From the strings above, by config_settle. */
    double random_input_range, random_output_range;
    struct goodput goodput_limits;
    bool has_goodput;
};

extern const struct option_table config_table;

/* After all options are read: checks what the rows alone cannot, and fills in
 * what one option says of another. */
int config_settle(struct config *c, struct error *err);
/* Appends "http://host:port" or the base URL, without a slash at the end. */
void config_url(const struct config *c, struct buf *ret);
/* "openai": the backend as results name it. */
const char *config_backend_name(const struct config *c);
const char *config_ramp_up_name(const struct config *c);
bool config_is_chat(const struct config *c);

#define CONFIG_PERCENTILES_MAX 32
/* Reads "50,99.9" into ret_percents. */
int config_percentiles(const struct config *c, double ret_percents[CONFIG_PERCENTILES_MAX],
                       size_t *ret_num, struct error *err);

#endif
