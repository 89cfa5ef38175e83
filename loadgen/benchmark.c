/* SPDX-License-Identifier: Apache-2.0 */
/* What is made once: model, prompts, a server that is ready. */
#include "loadgen/benchmark_private.h"
#include "util/json.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_VOCAB_SIZE 1000 /* without a tokenizer: every model has as many */
/* Of a run for a time and as fast as --max-concurrency allows. */
#define DURATION_REQUESTS_MAX (1u << 20)

/* ---- model and tokenizer ---- */

static int
find_model(struct benchmark *b, struct error *err)
{
    const struct config *c = b->config;
    if (c->model == NULL) {
        puts("Model not specified, fetching first model from server...");
        fflush(stdout);
        int e = client_find_model(b->client, &b->sent_model, &b->model, err);
        if (e == 0)
            printf("First model name: %s, first model id: %s\n", b->sent_model, b->model);
        return e;
    }
    b->model = strdup(c->model);
    b->sent_model = strdup(c->served_model_name != NULL ? c->served_model_name : c->model);
    return b->model != NULL && b->sent_model != NULL
               ? 0
               : error_set(err, ERR_NOMEM, "out of memory");
}

/* A model that is a directory with a tokenizer brings its own. */
static int
find_tokenizer(struct benchmark *b, struct error *err)
{
    const struct config *c = b->config;
    const char *dir = c->tokenizer;
    struct buf path = {0};
    if (c->skip_tokenizer_init)
        return 0;
    buf_printf(&path, "%s/tokenizer.json", b->model);
    if (dir == NULL && !path.failed && access(buf_bytes(&path), R_OK) == 0)
        dir = b->model;
    buf_release(&path);
    if (dir == NULL)
        return 0;
    b->tokenizer_dir = strdup(dir);
    return b->tokenizer_dir != NULL ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

/* ---- prompts ---- */

struct dataset_args
benchmark_dataset_args(const struct config *c, const char *tokenizer_dir)
{
    bool has_ids = tokenizer_dir == NULL && c->random_vocab_size == 0;
    /* vLLM asks for one token where it has no tokenizer. */
    int64_t custom_output_len = c->skip_tokenizer_init ? 1 : c->custom_output_len;
    return (struct dataset_args){
        .name = (enum dataset_name)c->dataset_name,
        .path = c->dataset_path,
        .num_prompts = (size_t)c->num_prompts,
        .seed = (uint64_t)c->seed,
        .tokenizer_dir = tokenizer_dir,
        .vocab_size = has_ids ? DEFAULT_VOCAB_SIZE : c->random_vocab_size,
        .oversample = !c->no_oversample,
        .shuffle = !c->disable_shuffle,
        .random_input_len = c->random_input_len,
        .random_output_len = c->random_output_len,
        .random_input_range = c->random_input_range,
        .random_output_range = c->random_output_range,
        .random_prefix_len = c->random_prefix_len,
        .sharegpt_output_len = c->sharegpt_output_len,
        .custom_output_len = custom_output_len,
        .prefix_repetition_prefix_len = c->prefix_repetition_prefix_len,
        .prefix_repetition_suffix_len = c->prefix_repetition_suffix_len,
        .prefix_repetition_num_prefixes = c->prefix_repetition_num_prefixes,
        .prefix_repetition_output_len = c->prefix_repetition_output_len,
        .timed_trace_chunk_size = c->timed_trace_chunk_hash_size,
        .timed_trace_timestamp_multiplier = c->timed_trace_sec_multiplier,
        .timed_trace_timestamp_field = c->timed_trace_label_timestamp,
        .timed_trace_input_length_field = c->timed_trace_label_input_length,
        .timed_trace_output_length_field = c->timed_trace_label_output_length,
        .timed_trace_hash_ids_field = c->timed_trace_label_hash_ids,
    };
}

static void
say_timed_trace(const struct config *c)
{
    struct buf text = {0};
    buf_printf(&text, "timed-trace: chunk_size: %lld, sec_multiplier: ",
               (long long)c->timed_trace_chunk_hash_size);
    json_write_double(&text, c->timed_trace_sec_multiplier);
    buf_printf(&text, ", label_ts: \"%s\", label_input_length: \"%s\", "
                      "label_output_length: \"%s\", label_hash_ids: \"%s\"\n",
               c->timed_trace_label_timestamp, c->timed_trace_label_input_length,
               c->timed_trace_label_output_length, c->timed_trace_label_hash_ids);
    fputs(buf_bytes(&text), stdout);
    buf_release(&text);
}

static int
make_prompts(struct benchmark *b, struct error *err)
{
    const struct config *c = b->config;
    struct dataset_args args = benchmark_dataset_args(c, b->tokenizer_dir);
    if (c->dataset_name == DATASET_TIMED_TRACE)
        say_timed_trace(c);
    numpy_legacy_seed(&b->global, (uint32_t)c->seed);
    int e = dataset_init(&b->dataset, &args, &b->global, err);
    if (e < 0)
        return e;
    if (b->dataset.len == 0)
        return error_set(err, ERR_INVALID, "option '--dataset-path': '%.150s' has no prompt that "
                                           "can be used", c->dataset_path);
    if (config_is_chat(c) && b->dataset.prompts[0].text == NULL)
        return error_set(err, ERR_INVALID, "option '--tokenizer' is missing: chat completions "
                                           "take text, not token ids");
    return 0;
}

static void
align_prompts(struct benchmark *b)
{
    struct buf said = {0};
    if (b->config->dataset_name != DATASET_RANDOM &&
        b->config->dataset_name != DATASET_PREFIX_REPETITION)
        return;
    client_align(b->client, b->sent_model, &b->dataset, &said);
    fputs(buf_bytes(&said), stdout);
    buf_release(&said);
}

/* ---- the schedule ---- */

void
benchmark_schedule_args(const struct config *c, size_t num_prompts, struct schedule_args *ret)
{
    *ret = (struct schedule_args){
        .num_requests = num_prompts,
        .request_rate = c->request_rate,
        .burstiness = c->burstiness,
        .ramp_up = (enum ramp_up)c->ramp_up_strategy,
        .ramp_up_start_per_s = (double)c->ramp_up_start_rps,
        .ramp_up_end_per_s = (double)c->ramp_up_end_rps,
    };
    if (isnan(c->duration_s) || c->ramp_up_strategy != RAMP_UP_NONE)
        return;
    ret->num_requests = isinf(c->request_rate)
                            ? DURATION_REQUESTS_MAX
                            : (size_t)MAX(c->request_rate * c->duration_s, 1.0);
}

int
benchmark_schedule(const struct config *c, struct schedule *ret, struct error *err)
{
    struct numpy_legacy global;
    struct schedule_args args;
    numpy_legacy_seed(&global, (uint32_t)c->seed);
    if (c->dataset_name == DATASET_RANDOM) {
        benchmark_schedule_args(c, (size_t)c->num_prompts, &args);
        return schedule_init(ret, &args, &global, err);
    }
    struct dataset d;
    struct dataset_args data = benchmark_dataset_args(c, c->tokenizer);
    int e = dataset_init(&d, &data, &global, err);
    if (e < 0)
        return e;
    benchmark_schedule_args(c, d.len, &args);
    e = d.timed && c->self_timed ? schedule_init_timed(ret, &d, err)
                                 : schedule_init(ret, &args, &global, err);
    dataset_release(&d);
    return e;
}

/* ---- readiness ---- */

static int
check_ready(struct benchmark *b, struct error *err)
{
    int64_t timeout_s = b->config->ready_check_timeout_s;
    puts("Starting initial single prompt test run...");
    if (timeout_s == 0) {
        puts("Skipping endpoint ready check.");
        return 0;
    }
    printf("Waiting for endpoint to become up in %lld seconds\n", (long long)timeout_s);
    fflush(stdout);
    int e = client_check_ready(b->client, &b->dataset.prompts[0], err);
    if (e == 0)
        puts("Initial test run completed.");
    return e;
}

/* Copies of the first request; whatever comes of them. */
static int
warm_up(struct benchmark *b, struct error *err)
{
    size_t num = (size_t)b->config->num_warmups;
    struct client_outcome outcome;
    if (num == 0)
        return 0;
    struct reply *replies = calloc(num, sizeof *replies);
    if (replies == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu replies", num);
    struct client_run run = {
        .prompts = b->dataset.prompts,
        .num_prompts = 1,
        .num_requests = num,
        .replies = replies,
        .anonymous = true,
        .duration_s = NAN,
    };
    printf("Warming up with %zu requests...\n", num);
    fflush(stdout);
    int e = client_run(b->client, &run, &outcome, err);
    if (e == 0 && outcome.interrupted)
        e = error_set(err, ERR_CANCELLED, "interrupted");
    if (e == 0)
        puts("Warmup run completed.");
    for (size_t i = 0; i < num; i++)
        reply_release(&replies[i]);
    free(replies);
    return e;
}

/* ---- life ---- */

static void
warn_of_temperature(const struct config *c)
{
    if (isnan(c->temperature))
        puts("WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by "
             "default. The default will be determined on the server side and can be model/API "
             "specific. For the old behavior, include --temperature=0.");
}

int
benchmark_new(const struct config *config, struct benchmark **ret, struct error *err)
{
    struct benchmark *b = calloc(1, sizeof *b);
    if (b == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    b->config = config;
    int e = client_new(config, &b->client, err);
    if (e == 0)
        e = find_model(b, err);
    if (e == 0)
        e = client_set_model(b->client, b->sent_model, err);
    if (e == 0)
        e = find_tokenizer(b, err);
    if (e == 0)
        e = make_prompts(b, err);
    if (e == 0) {
        align_prompts(b);
        warn_of_temperature(config);
        e = check_ready(b, err);
    }
    if (e == 0)
        e = warm_up(b, err);
    if (e < 0) {
        benchmark_free(b);
        return e;
    }
    *ret = b;
    return 0;
}

void
benchmark_free(struct benchmark *b)
{
    if (b == NULL)
        return;
    client_free(b->client);
    dataset_release(&b->dataset);
    tokenizer_free(b->tokenizer);
    free(b->tokenizer_dir);
    free(b->model);
    free(b->sent_model);
    buf_release(&b->path);
    free(b);
}
