/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of a /v1/completions body: one table says each one's name, type,
 * place and range. Null means absent, fields that are not in the table are
 * ignored, and every error names its field. Pure: no state, any thread.
 *
 *   params.c           the table, and how single values are read
 *   params_lists.c     fields that are lists or objects, and refusals
 *   params_sampling.c  checks between fields, defaults, sampling_params
 */
#ifndef SERVER_PARAMS_H
#define SERVER_PARAMS_H

#include "engine/request.h"
#include "server/api_error.h"
#include "server/stop_strings.h"

#include <jansson.h>

/* An integer that was not given. */
#define PARAM_UNSET INT64_MIN
#define REQUEST_ID_MAX_BYTES 128
#define MODEL_NAME_MAX_BYTES 256
#define DEFAULT_MAX_TOKENS 16
/* Most bytes of output ids and logprobs that one client request may reserve. */
#define MAX_OUTPUT_BYTES ((int64_t)256 << 20)

/* What the server and the model allow; copied, so that any thread may read. */
struct param_limits {
    int64_t max_model_len, vocab_size;
    int64_t max_n, max_logprobs, max_prompts;
    int64_t max_stop_strings, max_stop_bytes, max_stop_token_ids, max_logit_bias;
    int32_t eos_token_ids[16];
    int32_t num_eos_token_ids;
};

/* Where an omitted sampling value comes from. */
struct sampling_defaults {
    double temperature, top_p, min_p, repetition_penalty;
    double presence_penalty, frequency_penalty;
    int64_t top_k;
    int64_t max_tokens; /* a cap on every request's max_tokens; 0: none */
};

struct id_list {
    int32_t *ids; /* owned */
    int32_t len;
};

struct completion_params {
    char model[MODEL_NAME_MAX_BYTES + 1]; /* "": not given */
    char request_id[REQUEST_ID_MAX_BYTES + 1];
    const json_t *prompt;                 /* borrowed from the parsed body, or NULL */

    /* PARAM_UNSET where not given */
    int64_t max_tokens, min_tokens, n, logprobs, prompt_logprobs, top_k, seed, priority;
    int64_t truncate_prompt_tokens;
    /* NAN where not given */
    double temperature, top_p, min_p;
    double repetition_penalty, presence_penalty, frequency_penalty;

    bool stream, echo, ignore_eos, include_stop_str_in_output;
    bool skip_special_tokens, spaces_between_special_tokens, add_special_tokens;
    bool return_token_ids, return_tokens_as_token_ids;
    bool has_stream_options, include_usage, continuous_usage_stats;
    bool truncate_right;                  /* truncation_side "right" */
    bool has_truncation_side;

    struct stop_strings stop;
    struct id_list stop_token_ids, allowed_token_ids, bias_ids;
    float *bias_values;                   /* owned [bias_ids.len] */
    bool has_allowed;
};

/*
 * Reads an object. On success *ret is the caller's to release; on failure -1 and
 * *err. A field can be wrong by type (BAD_BODY) or by value (BAD_VALUE).
 */
int params_parse(const json_t *body, const struct param_limits *limits,
                 struct completion_params *ret, struct api_error *err);
void params_release(struct completion_params *p);
/* Checks between fields, and puts defaults where nothing was given. After it no
 * field is PARAM_UNSET or NAN, except seed, logprobs, prompt_logprobs and
 * truncate_prompt_tokens. */
int params_complete(struct completion_params *p, const struct param_limits *limits,
                    const struct sampling_defaults *defaults, struct api_error *err);
/*
 * Most tokens that a prompt may have so that one can be generated, and how many
 * to generate after a prompt of that length.
 */
int64_t params_max_tokens(const struct completion_params *p, const struct param_limits *limits,
                          const struct sampling_defaults *defaults, int64_t num_prompt_tokens);
/* Bytes that one choice's outputs will take. */
int64_t params_output_bytes(const struct completion_params *p, int64_t num_prompt_tokens,
                            int64_t max_tokens);
/*
 * The engine's form for choice `index` of its prompt, arrays copied.
 * 0 or ERR_NOMEM; release the arrays with params_release_sampling unless
 * request_new has taken them.
 */
int params_sampling(const struct completion_params *p, const struct param_limits *limits,
                    int64_t max_tokens, int64_t index, struct sampling_params *ret);
void params_release_sampling(struct sampling_params *s);

/* Width of the logprobs object asked for, and of the prompt's; -1: none. */
int32_t params_logprobs_width(const struct completion_params *p);
int32_t params_prompt_logprobs_width(const struct completion_params *p);

/* 1..128 visible ASCII characters. */
bool request_id_is_valid(const char *id);

/* ---- between the params*.c files ----------------------------------------- */

struct param;

/* What a reader of one field needs. */
struct param_reader {
    const struct param *param;
    const char *name;                    /* as errors call it */
    const struct param_limits *limits;
    struct completion_params *params;
    struct api_error *err;
};

struct param {
    const char *name;
    int (*read)(struct param_reader *r, const json_t *v);
    size_t offset;       /* in completion_params */
    double min, max;     /* accepted, inclusive; equal: no limit */
    size_t limit;        /* 1 + offset of an int64_t in param_limits that is the max, or 0 */
    bool above_min;      /* min itself is not accepted */
};

/* "x must be a y, got z": BAD_BODY. */
int param_wrong_type(struct param_reader *r, const json_t *v, const char *wanted);
/* Numbers and booleans in the forms that pydantic takes: 5, 5.0, "5", true. */
bool param_to_int(const json_t *v, int64_t *ret);
bool param_to_number(const json_t *v, double *ret);
bool param_to_bool(const json_t *v, bool *ret);
/* Appends how an error shows a value, at most some 40 characters. */
void param_print_value(const json_t *v, struct buf *ret);

int param_read_stop(struct param_reader *r, const json_t *v);
int param_read_stop_token_ids(struct param_reader *r, const json_t *v);
int param_read_allowed_token_ids(struct param_reader *r, const json_t *v);
int param_read_logit_bias(struct param_reader *r, const json_t *v);
int param_read_stream_options(struct param_reader *r, const json_t *v);
int param_read_truncation_side(struct param_reader *r, const json_t *v);
/* Not here: an error unless the value asks for nothing. */
int param_refuse(struct param_reader *r, const json_t *v);
int param_refuse_unless_text(struct param_reader *r, const json_t *v);

#endif
