/* SPDX-License-Identifier: Apache-2.0 */
#include "server/params.h"

#include <math.h>
#include <string.h>

/* vLLM's: below GREEDY_BELOW is greedy, below MIN_TEMPERATURE is raised to it. */
#define GREEDY_BELOW 1e-5
#define MIN_TEMPERATURE 0.01
/* Doubles above 0 that are 0, or overflow a logit, as floats. */
#define MIN_TOP_P 1e-6f
#define MIN_REPETITION_PENALTY 1e-3f

static double
value_or(double value, double fallback)
{
    return isnan(value) ? fallback : value;
}

static int64_t
int_or(int64_t value, int64_t fallback)
{
    return value == PARAM_UNSET ? fallback : value;
}

static void
put_defaults(struct completion_params *p, const struct sampling_defaults *d)
{
    p->max_tokens = int_or(p->max_tokens, DEFAULT_MAX_TOKENS);
    p->min_tokens = int_or(p->min_tokens, 0);
    p->n = int_or(p->n, 1);
    p->priority = int_or(p->priority, 0);
    p->top_k = int_or(p->top_k, d->top_k);
    p->temperature = value_or(p->temperature, d->temperature);
    p->top_p = value_or(p->top_p, d->top_p);
    p->min_p = value_or(p->min_p, d->min_p);
    p->repetition_penalty = value_or(p->repetition_penalty, d->repetition_penalty);
    p->presence_penalty = value_or(p->presence_penalty, d->presence_penalty);
    p->frequency_penalty = value_or(p->frequency_penalty, d->frequency_penalty);
}

/* -1 means the whole vocabulary. */
static int
check_logprobs(int64_t *width, const char *name, const struct param_limits *limits,
               struct api_error *err)
{
    if (*width == PARAM_UNSET)
        return 0;
    int64_t max = limits->max_logprobs < 0 ? limits->vocab_size : limits->max_logprobs;
    if (*width == -1)
        *width = limits->vocab_size;
    if (*width > max)
        return api_error_set(err, API_ERROR_BAD_VALUE, name, "%s must be at most %lld, got %lld",
                             name, (long long)max, (long long)*width);
    return 0;
}

static int
check_stream(const struct completion_params *p, struct api_error *err)
{
    if (p->has_stream_options && !p->stream)
        return api_error_set(err, API_ERROR_BAD_VALUE, "stream_options",
                             "stream_options needs \"stream\": true");
    bool wants = p->prompt_logprobs == -1 || p->prompt_logprobs > 0;
    if (p->stream && wants)
        return api_error_set(err, API_ERROR_BAD_VALUE, "prompt_logprobs",
                             "prompt_logprobs above 0 needs \"stream\": false");
    return 0;
}

int
params_complete(struct completion_params *p, const struct param_limits *limits,
                const struct sampling_defaults *defaults, struct api_error *err)
{
    put_defaults(p, defaults);
    if (check_stream(p, err) < 0)
        return -1;
    if (p->max_tokens == 0 && !p->echo)
        return api_error_set(err, API_ERROR_BAD_VALUE, "max_tokens",
                             "max_tokens must be at least 1, got 0; 0 needs \"echo\": true");
    if (p->min_tokens > MAX(p->max_tokens, 1))
        return api_error_set(err, API_ERROR_BAD_VALUE, "min_tokens",
                             "min_tokens must be at most max_tokens %lld, got %lld",
                             (long long)p->max_tokens, (long long)p->min_tokens);
    if (p->n > 1 && p->temperature < GREEDY_BELOW)
        return api_error_set(err, API_ERROR_BAD_VALUE, "n",
                             "n must be 1 at temperature 0, where all choices are equal, got %lld",
                             (long long)p->n);
    if (check_logprobs(&p->logprobs, "logprobs", limits, err) < 0)
        return -1;
    return check_logprobs(&p->prompt_logprobs, "prompt_logprobs", limits, err);
}

int64_t
params_max_tokens(const struct completion_params *p, const struct param_limits *limits,
                  const struct sampling_defaults *defaults, int64_t num_prompt_tokens)
{
    int64_t max = MAX(p->max_tokens, 1);
    if (defaults->max_tokens > 0)
        max = MIN(max, defaults->max_tokens);
    return MIN(max, limits->max_model_len - num_prompt_tokens);
}

int32_t
params_logprobs_width(const struct completion_params *p)
{
    return p->logprobs == PARAM_UNSET ? -1 : (int32_t)p->logprobs;
}

/* echo shows the prompt's logprobs in the logprobs object. */
int32_t
params_prompt_logprobs_width(const struct completion_params *p)
{
    int64_t width = p->prompt_logprobs == PARAM_UNSET ? -1 : p->prompt_logprobs;
    if (p->echo && p->logprobs != PARAM_UNSET)
        width = MAX(width, p->logprobs);
    return (int32_t)width;
}

int64_t
params_output_bytes(const struct completion_params *p, int64_t num_prompt_tokens,
                    int64_t max_tokens)
{
    int64_t width = params_logprobs_width(p);
    int64_t prompt_width = params_prompt_logprobs_width(p);
    int64_t bytes = max_tokens * 4;
    if (width >= 0)
        bytes += max_tokens * (8 + 8 * width);
    if (prompt_width >= 0)
        bytes += num_prompt_tokens * (8 + 8 * prompt_width);
    return bytes;
}

/* ---- the engine's form --------------------------------------------------- */

static float
engine_temperature(double t)
{
    if (t < GREEDY_BELOW)
        return 0;
    return (float)MAX(t, MIN_TEMPERATURE);
}

static bool
copy_ids(const struct id_list *from, int32_t **ret)
{
    *ret = NULL;
    if (from->len == 0)
        return true;
    *ret = malloc((size_t)from->len * sizeof **ret);
    if (*ret != NULL)
        memcpy(*ret, from->ids, (size_t)from->len * sizeof **ret);
    return *ret != NULL;
}

/* The engine looks at the model's EOS ids by itself, unless told to ignore
 * them; listed too they would be reported as stop tokens. */
static void
drop_eos(struct sampling_params *s, const struct param_limits *limits)
{
    int32_t len = 0;
    for (int32_t i = 0; i < s->num_stop_token_ids; i++) {
        bool is_eos = false;
        for (int32_t k = 0; k < limits->num_eos_token_ids; k++)
            is_eos = is_eos || s->stop_token_ids[i] == limits->eos_token_ids[k];
        if (!is_eos)
            s->stop_token_ids[len++] = s->stop_token_ids[i];
    }
    s->num_stop_token_ids = len;
}

int
params_sampling(const struct completion_params *p, const struct param_limits *limits,
                int64_t max_tokens, int64_t index, struct sampling_params *ret)
{
    bool greedy = p->temperature < GREEDY_BELOW;
    bool top_k_off = greedy || p->top_k <= 0 || p->top_k >= limits->vocab_size;
    *ret = (struct sampling_params){
        .temperature = engine_temperature(p->temperature),
        .top_p = greedy ? 1 : fmaxf((float)p->top_p, MIN_TOP_P),
        .min_p = greedy ? 0 : (float)p->min_p,
        .top_k = top_k_off ? 0 : (int32_t)p->top_k,
        .repetition_penalty = fmaxf((float)p->repetition_penalty, MIN_REPETITION_PENALTY),
        .presence_penalty = (float)p->presence_penalty,
        .frequency_penalty = (float)p->frequency_penalty,
        .has_seed = p->seed != -1,
        .seed = p->seed == -1 ? 0 : (uint64_t)p->seed + (uint64_t)index,
        .max_tokens = (int32_t)max_tokens,
        .min_tokens = (int32_t)MIN(p->min_tokens, max_tokens),
        .ignore_eos = p->ignore_eos,
        .num_logprobs = params_logprobs_width(p),
        .num_prompt_logprobs = params_prompt_logprobs_width(p),
        .num_stop_token_ids = p->stop_token_ids.len,
        .num_bias = p->bias_ids.len,
        .num_allowed = p->allowed_token_ids.len,
    };
    bool ok = copy_ids(&p->stop_token_ids, &ret->stop_token_ids)
              && copy_ids(&p->allowed_token_ids, &ret->allowed_ids)
              && copy_ids(&p->bias_ids, &ret->bias_ids);
    if (ok && ret->num_bias > 0) {
        size_t bytes = (size_t)ret->num_bias * sizeof *ret->bias_values;
        ret->bias_values = malloc(bytes);
        ok = ret->bias_values != NULL;
        if (ok)
            memcpy(ret->bias_values, p->bias_values, bytes);
    }
    if (!ok) {
        params_release_sampling(ret);
        return ERR_NOMEM;
    }
    if (!p->ignore_eos)
        drop_eos(ret, limits);
    return 0;
}

void
params_release_sampling(struct sampling_params *s)
{
    free(s->stop_token_ids);
    free(s->allowed_ids);
    free(s->bias_ids);
    free(s->bias_values);
    *s = (struct sampling_params){0};
}
