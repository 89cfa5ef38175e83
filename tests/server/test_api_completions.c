/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions over real sockets: the exact bytes of answers and chunks, stop,
 * echo, logprobs, n, usage.
 */
#include "tests/server/test_api.h"

#include <math.h>
#include <string.h>

static struct api_server server;

static void
setup(void)
{
    struct app_config cfg = api_server_config();
    struct fake_engine_config engine = api_server_engine_config();
    api_server_start(&server, &cfg, &engine, true);
}

static void
teardown(void)
{
    api_server_stop(&server);
}

static struct api_reply
complete(const char *body)
{
    struct api_reply r = api_post(server.port, "/v1/completions", body);
    ck_assert_msg(r.status == 200, "%s: %d", body, r.status);
    return r;
}

/* ---- answers ------------------------------------------------------------- */

START_TEST(test_answer_has_vllms_keys_in_its_order)
{
    static const char wanted[] =
        "{\"id\":\"cmpl-my-id\",\"object\":\"text_completion\",\"created\":0,\"model\":\"fake\","
        "\"choices\":[{\"index\":0,\"text\":\"abc\",\"logprobs\":null,"
        "\"finish_reason\":\"length\",\"stop_reason\":null,\"token_ids\":null,"
        "\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"routed_experts\":null}],"
        "\"service_tier\":null,\"system_fingerprint\":\"F\",\"usage\":{\"prompt_tokens\":3,"
        "\"total_tokens\":6,\"completion_tokens\":3,\"prompt_tokens_details\":null,"
        "\"completion_tokens_details\":null},\"kv_transfer_params\":null,"
        "\"ec_transfer_params\":null,\"metrics\":null}";
    struct api_reply r = api_request(server.port, "POST", "/v1/completions",
                                     "X-Request-Id: my-id\r\n",
                                     "{\"model\":\"org/alias\",\"prompt\":\"abc\",\"max_tokens\":3,"
                                     "\"request_id\":\"other\"}");
    ck_assert_str_eq(api_header(&r, "X-Request-Id"), "my-id");
    ck_assert_int_eq(strncmp(api_text(&r, "system_fingerprint"), "llmd-1.2.3-", 11), 0);
    json_object_set_new(r.json, "created", json_integer(0));
    json_object_set_new(r.json, "system_fingerprint", json_string("F"));
    char *text = json_dumps(r.json, JSON_COMPACT);
    ck_assert_str_eq(text, wanted);
    free(text);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_defaults_and_lax_types)
{
    struct api_reply r = complete("{\"prompt\":\"abc\",\"max_tokens\":null,\"stop\":null,"
                                  "\"unknown\":{\"x\":[1]},\"logprobs\":null,\"n\":null}");
    ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), 16);
    struct sampling_params s = fake_engine_last_sampling(server.engine);
    ck_assert(s.temperature == 1 && s.top_p == 1 && s.top_k == 0 && !s.has_seed);
    api_reply_release(&r);
    r = complete("{\"prompt\":\"abc\",\"max_tokens\":\"5\",\"temperature\":true,\"seed\":-1,"
                 "\"top_k\":-1,\"logprobs\":true,\"stop\":[],\"max_tokens\":5.0}");
    ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), 5);
    api_reply_release(&r);
    r = complete("{\"prompt\":\"abc\",\"temperature\":0.0001,\"top_p\":0.5,\"top_k\":3,"
                 "\"min_p\":0.1,\"seed\":9223372036854775807,\"min_tokens\":2}");
    s = fake_engine_last_sampling(server.engine);
    ck_assert(s.temperature == 0.01f && s.top_p == 0.5f && s.top_k == 3 && s.min_p == 0.1f);
    ck_assert(s.has_seed && s.seed == INT64_MAX && s.min_tokens == 2);
    api_reply_release(&r);
    r = complete("{\"prompt\":\"abc\",\"temperature\":0,\"top_p\":0.5,\"top_k\":3}");
    s = fake_engine_last_sampling(server.engine);
    ck_assert(s.temperature == 0 && s.top_p == 1 && s.top_k == 0);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_prompt_forms_and_indices)
{
    struct api_reply r = complete("{\"prompt\":[\"ab\",\"xyz\"],\"max_tokens\":3,\"n\":2,"
                                  "\"seed\":1}");
    static const char *const texts[] = {"bab", "aba", "yzx", "zxy"};
    ck_assert_uint_eq(json_array_size(api_at(r.json, "choices")), 4);
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof path, "choices.%d.text", i);
        ck_assert_str_eq(api_text(&r, path), texts[i]);
        snprintf(path, sizeof path, "choices.%d.index", i);
        ck_assert_int_eq(api_int(&r, path), i);
    }
    ck_assert_int_eq(api_int(&r, "usage.prompt_tokens"), 5);
    ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), 12);
    api_reply_release(&r);
    r = complete("{\"prompt\":[97,98],\"max_tokens\":3}");
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "aba");
    api_reply_release(&r);
    r = complete("{\"prompt\":[[97,98],[99]],\"max_tokens\":3}");
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "aba");
    ck_assert_str_eq(api_text(&r, "choices.1.text"), "ccc");
    api_reply_release(&r);
    r = complete("{\"prompt\":\"a\\u0000b\",\"max_tokens\":3}");
    ck_assert_int_eq(api_int(&r, "usage.prompt_tokens"), 3);
    api_reply_release(&r);
    r = complete("{\"prompt\":\"abcd\",\"max_tokens\":2,\"truncate_prompt_tokens\":2}");
    ck_assert_int_eq(api_int(&r, "usage.prompt_tokens"), 2);
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "cd");
    api_reply_release(&r);
    r = complete("\xef\xbb\xbf{\"prompt\":\"abcd\",\"max_tokens\":2,\"truncate_prompt_tokens\":2,"
                 "\"truncation_side\":\"right\"}");
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "ab");
    api_reply_release(&r);
}
END_TEST

START_TEST(test_eos_stop_tokens_and_min_tokens)
{
    static const struct {
        const char *body, *text, *reason;
        int64_t stop_reason, tokens;
    } cases[] = {
        {"{\"prompt\":[97,98,256]}", "ab", "stop", INT64_MIN, 3},
        {"{\"prompt\":[97,98,257]}", "ab", "stop", 257, 3},
        {"{\"prompt\":[97,98,256],\"max_tokens\":5,\"ignore_eos\":true}", "abab", "length",
         INT64_MIN, 5},
        {"{\"prompt\":[97,98,99],\"stop_token_ids\":[99,256]}", "ab", "stop", 99, 3},
        {"{\"prompt\":[97,98,99],\"stop_token_ids\":[99],\"include_stop_str_in_output\":true}",
         "abc", "stop", 99, 3},
        {"{\"prompt\":[97,98,256],\"min_tokens\":4}", "abab", "stop", INT64_MIN, 6},
        {"{\"prompt\":[97,98,99,258],\"max_tokens\":5,\"skip_special_tokens\":false}",
         "abc<|mark|>a", "length", INT64_MIN, 5},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct api_reply r = complete(cases[i].body);
        ck_assert_str_eq(api_text(&r, "choices.0.text"), cases[i].text);
        ck_assert_str_eq(api_text(&r, "choices.0.finish_reason"), cases[i].reason);
        ck_assert_int_eq(api_int(&r, "choices.0.stop_reason"), cases[i].stop_reason);
        ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), cases[i].tokens);
        api_reply_release(&r);
    }
}
END_TEST

/* ---- stop strings -------------------------------------------------------- */

START_TEST(test_stop_strings)
{
    static const struct {
        const char *options, *text, *stop_reason;
        int64_t tokens;
    } cases[] = {
        {"\"stop\":\"cd\"", "ab", "cd", 4},
        {"\"stop\":[\"xx\",\"d\",\"cd\"]", "abc", "d", 4},
        {"\"stop\":[\"cd\",\"d\"]", "ab", "cd", 4},
        {"\"stop\":[\"def\",\"e\"]", "abcd", "e", 5},
        {"\"stop\":\"cd\",\"include_stop_str_in_output\":true", "abcd", "cd", 4},
        {"\"stop\":\"cd\",\"min_tokens\":4", "abcdefab", "cd", 10},
        {"\"stop\":\"fabcdefx\",\"max_tokens\":13", "abcdefabcdefa", "(none)", 13},
        {"\"stop\":\"bcd\",\"max_tokens\":3", "abc", "(none)", 3},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"prompt\":\"abcdef\",\"max_tokens\":20,%s}",
                 cases[i].options);
        struct api_reply r = complete(body);
        ck_assert_str_eq(api_text(&r, "choices.0.text"), cases[i].text);
        ck_assert_str_eq(api_text(&r, "choices.0.stop_reason"), cases[i].stop_reason);
        ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), cases[i].tokens);
        api_reply_release(&r);
        snprintf(body, sizeof body, "{\"prompt\":\"abcdef\",\"max_tokens\":20,\"stream\":true,%s}",
                 cases[i].options);
        struct api_events e = api_stream(server.port, body);
        ck_assert(e.well_formed && e.done);
        ck_assert_uint_eq(e.len, (size_t)cases[i].tokens + 1);
        char *text = api_events_text(&e, 0);
        ck_assert_str_eq(text, cases[i].text);
        free(text);
        api_events_release(&e);
    }
    ck_assert(api_server_wait_inside(&server, 0));
}
END_TEST

START_TEST(test_stop_holds_back_only_what_may_become_one)
{
    struct api_events e = api_stream(server.port,
                                     "{\"prompt\":\"abcabd\",\"max_tokens\":7,\"stream\":true,"
                                     "\"stop\":\"abd\"}");
    static const char *const texts[] = {"", "", "abc", "", "", ""};
    ck_assert_uint_eq(e.len, 7);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        ck_assert_str_eq(json_string_value(api_at(e.json[i], "choices.0.text")), texts[i]);
    ck_assert_str_eq(json_string_value(api_at(e.json[5], "choices.0.stop_reason")), "abd");
    api_events_release(&e);
}
END_TEST

/* ---- streams ------------------------------------------------------------- */

START_TEST(test_chunks_have_vllms_keys_in_its_order)
{
    struct api_reply r = api_request(server.port, "POST", "/v1/completions",
                                     "X-Request-Id: s\r\n",
                                     "{\"prompt\":\"ab\",\"max_tokens\":2,\"stream\":\"yes\"}");
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(api_header(&r, "Content-Type"), "text/event-stream; charset=utf-8");
    ck_assert_str_eq(api_header(&r, "Cache-Control"), "no-cache");
    ck_assert_str_eq(api_header(&r, "X-Accel-Buffering"), "no");
    ck_assert_str_eq(api_header(&r, "X-Request-Id"), "s");
    struct api_events e = api_events_parse(r.raw.body.data, r.raw.body.len);
    ck_assert(e.well_formed && e.done && e.len == 3);
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "{\"id\":\"cmpl-s\",\"object\":\"text_completion\",\"created\":%lld,"
             "\"model\":\"fake\",\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":null,"
             "\"finish_reason\":null,\"stop_reason\":null,\"prompt_token_ids\":null,"
             "\"token_ids\":null}]}",
             (long long)json_integer_value(api_at(e.json[0], "created")));
    ck_assert_str_eq(e.items[0], wanted);
    ck_assert_ptr_nonnull(strstr(e.items[1], "\"finish_reason\":\"length\""));
    ck_assert_ptr_nonnull(strstr(e.items[1], "}],\"system_fingerprint\":\"llmd-"));
    api_events_release(&e);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_stream_usage)
{
    struct api_events e = api_stream(server.port,
                                     "{\"prompt\":\"abc\",\"max_tokens\":2,\"stream\":true,"
                                     "\"stream_options\":{\"include_usage\":true,"
                                     "\"continuous_usage_stats\":true}}");
    ck_assert_uint_eq(e.len, 4);
    ck_assert_ptr_nonnull(strstr(e.items[0], "}],\"usage\":{\"prompt_tokens\":3,"
                                             "\"total_tokens\":4,\"completion_tokens\":1}}"));
    ck_assert_ptr_null(strstr(e.items[1], "system_fingerprint"));
    ck_assert_ptr_nonnull(strstr(e.items[2], "\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                                             "\"total_tokens\":5,\"completion_tokens\":2},"
                                             "\"system_fingerprint\":"));
    api_events_release(&e);
    e = api_stream(server.port, "{\"prompt\":\"abc\",\"max_tokens\":2,\"stream\":true,"
                                "\"stream_options\":{\"continuous_usage_stats\":true}}");
    ck_assert_uint_eq(e.len, 3);
    ck_assert_ptr_null(strstr(e.items[0], "usage"));
    api_events_release(&e);
}
END_TEST

START_TEST(test_stream_never_splits_a_character)
{
    /* U+1F600, then half of U+00E9 at the end */
    struct api_events e = api_stream(server.port,
                                     "{\"prompt\":[240,159,152,128,97,195],\"max_tokens\":6,"
                                     "\"stream\":true}");
    static const char *const texts[] = {"", "", "", "\xf0\x9f\x98\x80", "a", "\xef\xbf\xbd"};
    ck_assert_uint_eq(e.len, 7);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        ck_assert_str_eq(json_string_value(api_at(e.json[i], "choices.0.text")), texts[i]);
    ck_assert_ptr_nonnull(strstr(e.items[3], "\"text\":\"\\ud83d\\ude00\""));
    api_events_release(&e);
}
END_TEST

START_TEST(test_stream_of_choices)
{
    struct api_events e = api_stream(server.port,
                                     "{\"prompt\":[\"ab\",\"c\"],\"max_tokens\":4,\"n\":2,"
                                     "\"seed\":0,\"stream\":true,\"return_token_ids\":true}");
    static const char *const texts[] = {"abab", "baba", "cccc", "cccc"};
    ck_assert_uint_eq(e.len, 17);
    size_t fingerprints = 0, prompts = 0;
    for (size_t i = 0; i < e.len - 1; i++) {
        fingerprints += api_at(e.json[i], "system_fingerprint") != NULL;
        prompts += json_is_array(api_at(e.json[i], "choices.0.prompt_token_ids"));
        ck_assert_uint_eq(json_array_size(api_at(e.json[i], "choices")), 1);
        ck_assert_uint_eq(json_array_size(api_at(e.json[i], "choices.0.token_ids")), 1);
    }
    ck_assert_uint_eq(fingerprints, 1);
    ck_assert_uint_eq(prompts, 4);
    ck_assert_ptr_nonnull(api_at(e.json[15], "system_fingerprint"));
    for (int i = 0; i < 4; i++) {
        char *text = api_events_text(&e, i);
        ck_assert_str_eq(text, texts[i]);
        free(text);
    }
    api_events_release(&e);
}
END_TEST

/* ---- echo, logprobs ------------------------------------------------------ */

START_TEST(test_echo)
{
    struct api_reply r = complete("{\"prompt\":\"abc\",\"max_tokens\":2,\"echo\":true}");
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "abcab");
    ck_assert(json_is_null(api_at(r.json, "choices.0.prompt_logprobs")));
    api_reply_release(&r);
    r = complete("{\"prompt\":[97,98,256],\"max_tokens\":1,\"echo\":true}");
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "ab<|end|>a");
    api_reply_release(&r);
    r = complete("{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1}");
    ck_assert_str_eq(api_text(&r, "choices.0.text"), "abc");
    ck_assert_str_eq(api_text(&r, "choices.0.finish_reason"), "length");
    ck_assert_uint_eq(json_array_size(api_at(r.json, "choices.0.logprobs.tokens")), 3);
    ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), 1);
    api_reply_release(&r);
    struct api_events e = api_stream(server.port,
                                     "{\"prompt\":\"abc\",\"max_tokens\":2,\"echo\":true,"
                                     "\"stream\":true,\"logprobs\":0}");
    ck_assert_uint_eq(e.len, 3);
    ck_assert_str_eq(json_string_value(api_at(e.json[0], "choices.0.text")), "abca");
    ck_assert_uint_eq(json_array_size(api_at(e.json[0], "choices.0.prompt_token_ids")), 3);
    ck_assert_uint_eq(json_array_size(api_at(e.json[0], "choices.0.logprobs.tokens")), 4);
    ck_assert_int_eq(
        json_integer_value(api_at(e.json[1], "choices.0.logprobs.text_offset.0")), 4);
    api_events_release(&e);
}
END_TEST

START_TEST(test_logprobs_object)
{
    struct api_reply r = complete("{\"prompt\":\"ab\",\"max_tokens\":2,\"logprobs\":2}");
    char *text = json_dumps(api_at(r.json, "choices.0.logprobs"), JSON_COMPACT);
    ck_assert_str_eq(text, "{\"text_offset\":[0,1],\"token_logprobs\":[-0.375,-0.5],"
                           "\"tokens\":[\"a\",\"b\"],\"top_logprobs\":[{\"a\":-0.375,"
                           "\"b\":-1.375},{\"b\":-0.5,\"c\":-1.5}]}");
    free(text);
    api_reply_release(&r);
    r = complete("{\"prompt\":\"ab\",\"max_tokens\":1,\"logprobs\":0,"
                 "\"return_tokens_as_token_ids\":true}");
    text = json_dumps(api_at(r.json, "choices.0.logprobs"), JSON_COMPACT);
    ck_assert_str_eq(text, "{\"text_offset\":[0],\"token_logprobs\":[-0.375],"
                           "\"tokens\":[\"token_id:97\"],\"top_logprobs\":"
                           "[{\"token_id:97\":-0.375}]}");
    free(text);
    api_reply_release(&r);
    r = complete("{\"prompt\":\"ab\",\"max_tokens\":1,\"prompt_logprobs\":1}");
    text = json_dumps(api_at(r.json, "choices.0.prompt_logprobs"), JSON_COMPACT);
    ck_assert_str_eq(text, "[null,{\"98\":{\"logprob\":-0.5,\"rank\":1,"
                           "\"decoded_token\":\"b\"}}]");
    free(text);
    api_reply_release(&r);
}
END_TEST

/* What lm-eval sends, and what it reads. */
START_TEST(test_lm_eval_contract)
{
    struct api_reply r = complete("{\"prompt\":[[97,98,99],[256,97]],\"temperature\":0,"
                                  "\"max_tokens\":1,\"logprobs\":1,\"seed\":1234,"
                                  "\"echo\":true}");
    static const size_t lengths[] = {3, 2};
    for (size_t i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "choices.%zu.logprobs", i);
        const json_t *l = api_at(r.json, path);
        const json_t *own = json_object_get(l, "token_logprobs");
        const json_t *top = json_object_get(l, "top_logprobs");
        ck_assert_uint_eq(json_array_size(own), lengths[i] + 1);
        ck_assert_uint_eq(json_array_size(top), lengths[i] + 1);
        ck_assert(json_is_null(json_array_get(own, 0)) && json_is_null(json_array_get(top, 0)));
        for (size_t k = 1; k <= lengths[i]; k++) {
            const char *key;
            json_t *v;
            double best = -INFINITY;
            json_object_foreach(json_array_get(top, k), key, v)
                best = fmax(best, json_number_value(v));
            ck_assert(json_number_value(json_array_get(own, k)) == best);
        }
    }
    api_reply_release(&r);
}
END_TEST

void
test_api_add_completions(Suite *s)
{
    TCase *t = tcase_create("completions");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, test_answer_has_vllms_keys_in_its_order);
    tcase_add_test(t, test_defaults_and_lax_types);
    tcase_add_test(t, test_prompt_forms_and_indices);
    tcase_add_test(t, test_eos_stop_tokens_and_min_tokens);
    tcase_add_test(t, test_stop_strings);
    tcase_add_test(t, test_stop_holds_back_only_what_may_become_one);
    tcase_add_test(t, test_chunks_have_vllms_keys_in_its_order);
    tcase_add_test(t, test_stream_usage);
    tcase_add_test(t, test_stream_never_splits_a_character);
    tcase_add_test(t, test_stream_of_choices);
    tcase_add_test(t, test_echo);
    tcase_add_test(t, test_logprobs_object);
    tcase_add_test(t, test_lm_eval_contract);
    suite_add_tcase(s, t);
}
