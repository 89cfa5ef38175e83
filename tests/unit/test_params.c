/* SPDX-License-Identifier: Apache-2.0 */
#include "server/params.h"
#include "tests/unit/main.h"

#include <check.h>
#include <math.h>
#include <string.h>

static const struct param_limits limits = {
    .max_model_len = 2048,
    .vocab_size = 1000,
    .max_n = 128,
    .max_logprobs = 20,
    .max_prompts = 16,
    .max_stop_strings = 4,
    .max_stop_bytes = 16,
    .max_stop_token_ids = 8,
    .max_logit_bias = 4,
    .eos_token_ids = {2, 7},
    .num_eos_token_ids = 2,
};

static const struct sampling_defaults defaults = {
    .temperature = 0.6,
    .top_p = 0.95,
    .repetition_penalty = 1,
    .top_k = 50,
    .max_tokens = 100,
};

static struct completion_params params;
static struct api_error err;

static int
parse(const char *text)
{
    json_t *v = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(v);
    err = (struct api_error){0};
    int rc = params_parse(v, &limits, &params, &err);
    if (rc == 0) {
        rc = params_complete(&params, &limits, &defaults, &err);
        if (rc < 0)
            params_release(&params);
    }
    ck_assert_int_eq(rc < 0, err.set);
    json_decref(v);
    return rc;
}

START_TEST(test_parse_empty_gives_defaults)
{
    ck_assert_int_eq(parse("{}"), 0);
    ck_assert(params.temperature == 0.6 && params.top_p == 0.95 && params.top_k == 50);
    ck_assert_int_eq(params.max_tokens, DEFAULT_MAX_TOKENS);
    ck_assert_int_eq(params.n, 1);
    ck_assert_int_eq(params_logprobs_width(&params), -1);
    ck_assert_int_eq(params_prompt_logprobs_width(&params), -1);
    ck_assert(params.skip_special_tokens && params.add_special_tokens && !params.stream);
    params_release(&params);
}
END_TEST

/* Every number field, with every odd number: never accepted out of range,
 * never anything but a clean error. */
START_TEST(test_parse_odd_numbers_for_every_field)
{
    static const char *const fields[] = {
        "max_tokens", "min_tokens", "n", "logprobs", "prompt_logprobs", "top_k", "seed",
        "priority", "truncate_prompt_tokens", "temperature", "top_p", "min_p",
        "repetition_penalty", "presence_penalty", "frequency_penalty",
    };
    static const char *const values[] = {
        "-1", "0", "-0", "-0.0", "1e-400", "1e308", "2147483648", "4294967297",
        "9007199254740993", "9223372036854775807", "-9223372036854775808", "1.5", "true",
        "\"nan\"", "\"inf\"", "\"-inf\"", "\"1e999\"", "\"0x10\"", "\"\"", "\" \"", "\"1 \"",
        "[]", "{}", "null", "1e-300",
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
            char text[128];
            snprintf(text, sizeof text, "{\"echo\":true,\"%s\":%s}", fields[i], values[k]);
            if (parse(text) < 0) {
                ck_assert_msg(strstr(err.param, fields[i]) != NULL || err.param[0] != '\0', "%s",
                              text);
                ck_assert_msg(strstr(err.message, fields[i]) != NULL, "%s: %s", text, err.message);
                continue;
            }
            struct sampling_params s;
            int64_t max = params_max_tokens(&params, &limits, &defaults, 10);
            ck_assert_msg(max >= 1 && max <= 100, "%s", text);
            ck_assert_int_eq(params_sampling(&params, &limits, max, 0, &s), 0);
            ck_assert_msg(s.temperature >= 0 && s.temperature <= 2, "%s", text);
            ck_assert_msg(s.top_p > 0 && s.top_p <= 1 && s.min_p >= 0 && s.min_p <= 1, "%s", text);
            ck_assert_msg(s.repetition_penalty > 0 && isfinite(1 / s.repetition_penalty), "%s",
                          text);
            ck_assert_msg(fabsf(s.presence_penalty) <= 2 && fabsf(s.frequency_penalty) <= 2, "%s",
                          text);
            ck_assert_msg(s.top_k >= 0 && s.top_k < 1000, "%s", text);
            ck_assert_msg(s.min_tokens >= 0 && s.min_tokens <= s.max_tokens, "%s", text);
            ck_assert_msg(s.num_logprobs <= 20 && s.num_prompt_logprobs <= 20, "%s", text);
            params_release_sampling(&s);
            params_release(&params);
        }
    }
}
END_TEST

START_TEST(test_parse_names_field_value_and_limit)
{
    static const struct {
        const char *text, *param, *message;
    } cases[] = {
        {"{\"temperature\":2.5}", "temperature", "temperature must be in [0.0, 2.0], got 2.5"},
        {"{\"top_p\":0}", "top_p", "top_p must be in (0.0, 1.0], got 0.0"},
        {"{\"n\":129}", "n", "n must be in [1, 128], got 129"},
        {"{\"max_tokens\":4096}", "max_tokens", "max_tokens must be in [0, 2048], got 4096"},
        {"{\"max_tokens\":\"x\"}", "body.max_tokens", "max_tokens must be an integer, got \"x\""},
        {"{\"stop\":[\"12345678901234567\"]}", "stop",
         "each stop string must be at most 16 bytes, got 17"},
        {"{\"stop_token_ids\":[1000]}", "stop_token_ids",
         "stop_token_ids: token id 1000 is not in [0, 999]"},
        {"{\"min_tokens\":20}", "min_tokens", "min_tokens must be at most max_tokens 16, got 20"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        ck_assert_int_lt(parse(cases[i].text), 0);
        ck_assert_str_eq(err.param, cases[i].param);
        ck_assert_str_eq(err.message, cases[i].message);
    }
}
END_TEST

START_TEST(test_logit_bias_clamps_and_merges)
{
    ck_assert_int_eq(parse("{\"logit_bias\":{\"5\":200,\"05\":-300,\"6\":\"1.5\"}}"), 0);
    ck_assert_int_eq(params.bias_ids.len, 2);
    ck_assert_int_eq(params.bias_ids.ids[0], 5);
    ck_assert(params.bias_values[0] == -100 && params.bias_values[1] == 1.5f);
    params_release(&params);
    ck_assert_int_lt(parse("{\"logit_bias\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1}}"), 0);
}
END_TEST

START_TEST(test_stop_token_ids_leave_eos_to_the_engine)
{
    struct sampling_params s;
    ck_assert_int_eq(parse("{\"stop_token_ids\":[9,7,3,9,2]}"), 0);
    ck_assert_int_eq(params_sampling(&params, &limits, 16, 0, &s), 0);
    ck_assert_int_eq(s.num_stop_token_ids, 2);
    ck_assert(s.stop_token_ids[0] == 3 && s.stop_token_ids[1] == 9);
    params_release_sampling(&s);
    params_release(&params);
    ck_assert_int_eq(parse("{\"stop_token_ids\":[7],\"ignore_eos\":true}"), 0);
    ck_assert_int_eq(params_sampling(&params, &limits, 16, 0, &s), 0);
    ck_assert_int_eq(s.num_stop_token_ids, 1);
    params_release_sampling(&s);
    params_release(&params);
}
END_TEST

START_TEST(test_sampling_seeds_follow_the_choice)
{
    struct sampling_params s;
    ck_assert_int_eq(parse("{\"seed\":41,\"n\":3,\"temperature\":1}"), 0);
    params_sampling(&params, &limits, 16, 2, &s);
    ck_assert(s.has_seed && s.seed == 43);
    params_release_sampling(&s);
    params_release(&params);
}
END_TEST

START_TEST(test_max_tokens_fits_context_and_cap)
{
    ck_assert_int_eq(parse("{\"max_tokens\":1000}"), 0);
    ck_assert_int_eq(params_max_tokens(&params, &limits, &defaults, 10), 100);
    ck_assert_int_eq(params_max_tokens(&params, &limits, &defaults, 2000), 48);
    params_release(&params);
}
END_TEST

START_TEST(test_echo_with_logprobs_asks_for_the_prompts)
{
    ck_assert_int_eq(parse("{\"echo\":true,\"logprobs\":3}"), 0);
    ck_assert_int_eq(params_prompt_logprobs_width(&params), 3);
    params_release(&params);
    ck_assert_int_eq(parse("{\"echo\":true,\"logprobs\":3,\"prompt_logprobs\":5}"), 0);
    ck_assert_int_eq(params_prompt_logprobs_width(&params), 5);
    params_release(&params);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("params");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_parse_empty_gives_defaults);
    tcase_add_test(t, test_parse_odd_numbers_for_every_field);
    tcase_add_test(t, test_parse_names_field_value_and_limit);
    tcase_add_test(t, test_logit_bias_clamps_and_merges);
    tcase_add_test(t, test_stop_token_ids_leave_eos_to_the_engine);
    tcase_add_test(t, test_sampling_seeds_follow_the_choice);
    tcase_add_test(t, test_max_tokens_fits_context_and_cap);
    tcase_add_test(t, test_echo_with_logprobs_asks_for_the_prompts);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
