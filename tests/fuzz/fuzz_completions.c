/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A completions body all the way to the engine's parameters: whatever it says,
 * what passes is within the limits, and what does not has an error that can be
 * written.
 */
#include "server/call.h"
#include "server/prompts.h"
#include "tests/unit/tokenizer_fixture.h"
#include "util/json.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct param_limits limits = {
    .max_model_len = 64,
    .vocab_size = 260,
    .max_n = 8,
    .max_logprobs = 5,
    .max_prompts = 4,
    .max_stop_strings = 3,
    .max_stop_bytes = 16,
    .max_stop_token_ids = 4,
    .max_logit_bias = 4,
    .eos_token_ids = {256},
    .num_eos_token_ids = 1,
};
static const struct sampling_defaults defaults = {
    .temperature = 1,
    .top_p = 1,
    .repetition_penalty = 1,
};

static void
check_sampling(const struct sampling_params *s)
{
    ASSERT(s->temperature >= 0 && s->temperature <= 2);
    ASSERT(s->top_p > 0 && s->top_p <= 1 && s->min_p >= 0 && s->min_p <= 1);
    ASSERT(s->repetition_penalty > 0 && isfinite(1 / s->repetition_penalty));
    ASSERT(s->max_tokens >= 1 && s->min_tokens >= 0 && s->min_tokens <= s->max_tokens);
    ASSERT(s->num_logprobs <= 5 && s->num_prompt_logprobs <= 5);
    ASSERT(s->num_stop_token_ids <= 4 && s->num_bias <= 4);
    for (int32_t i = 0; i < s->num_bias; i++)
        ASSERT(s->bias_ids[i] >= 0 && s->bias_ids[i] < 260 && fabsf(s->bias_values[i]) <= 100);
    for (int32_t i = 0; i < s->num_allowed; i++)
        ASSERT(s->allowed_ids[i] >= 0 && s->allowed_ids[i] < 260);
}

static void
check_prompts(const struct prompts *prompts, const struct completion_params *p)
{
    ASSERT(prompts->len >= 1 && prompts->len <= 4);
    for (size_t i = 0; i < prompts->len; i++) {
        const struct token_ids *ids = &prompts->items[i].ids;
        ASSERT(ids->len >= 1 && ids->len < 64);
        for (size_t k = 0; k < ids->len; k++)
            ASSERT(ids->ids[k] >= 0 && ids->ids[k] < 260);
        struct sampling_params s;
        int64_t max = params_max_tokens(p, &limits, &defaults, (int64_t)ids->len);
        ASSERT(max + (int64_t)ids->len <= 64);
        if (params_sampling(p, &limits, max, 1, &s) == 0) {
            check_sampling(&s);
            params_release_sampling(&s);
        }
    }
}

static void
check_error(const struct api_error *err)
{
    struct buf b = {0};
    ASSERT(err->set && err->message[0] != '\0');
    api_error_write(err, &b);
    json_t *v = json_loadb(b.data, b.len, 0, NULL);
    ASSERT(v != NULL);
    json_decref(v);
    buf_release(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tokenizer *tok;
    struct fixture f = {.byte_level = true,
                        .added = "[{\"id\":256,\"content\":\"<|end|>\",\"special\":true}]"};
    struct completion_params p;
    struct prompts prompts;
    struct api_error err = {0};
    if (tok == NULL)
        ASSERT(fixture_load(&f, &tok, NULL) == 0);
    json_t *v = json_body_parse((const char *)data, len, &err);
    if (v == NULL) {
        check_error(&err);
        return 0;
    }
    if (params_parse(v, &limits, &p, &err) < 0) {
        check_error(&err);
        json_decref(v);
        return 0;
    }
    struct prompt_args args = {.tokenizer = tok, .limits = &limits, .params = &p};
    if (params_complete(&p, &limits, &defaults, &err) < 0
        || prompts_read(&args, &prompts, &err) < 0) {
        check_error(&err);
    } else {
        check_prompts(&prompts, &p);
        prompts_release(&prompts);
    }
    params_release(&p);
    json_decref(v);
    return 0;
}
