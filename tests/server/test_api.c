/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API over real sockets, with a fake engine: every route, every row of the
 * error table, keys, the server's states. Completions are in
 * test_api_completions.c and test_api_life.c, which add their cases here.
 */
#include "tests/server/test_api.h"

#include <check.h>
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

static int
get_status(const char *method, const char *path, const char *headers)
{
    struct api_reply r = api_request(server.port, method, path, headers, NULL);
    int status = r.status;
    api_reply_release(&r);
    return status;
}

/* ---- routes -------------------------------------------------------------- */

START_TEST(test_models_list_has_a_card_per_name)
{
    struct api_reply r = api_get(server.port, "/v1/models");
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(api_text(&r, "object"), "list");
    ck_assert_str_eq(api_text(&r, "data.0.id"), "fake");
    ck_assert_str_eq(api_text(&r, "data.1.id"), "org/alias");
    ck_assert_str_eq(api_text(&r, "data.0.root"), "/models/fake");
    ck_assert_int_eq(api_int(&r, "data.0.max_model_len"), API_MAX_LEN);
    ck_assert_str_eq(api_text(&r, "data.0.permission.0.object"), "model_permission");
    api_reply_release(&r);
}
END_TEST

START_TEST(test_models_one_takes_slashes_and_escapes)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/v1/models/fake", 200},          {"/v1/models/org/alias", 200},
        {"/v1/models/org%2Falias", 200},   {"/v1/models/org%2falias", 200},
        {"/v1/models/nope", 404},          {"/v1/models/fake%2", 404},
        {"/v1/models/", 200},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct api_reply r = api_get(server.port, cases[i].path);
        ck_assert_msg(r.status == cases[i].status, "%s: %d", cases[i].path, r.status);
        if (r.status == 404)
            ck_assert_str_eq(api_text(&r, "error.param"), "model");
        api_reply_release(&r);
    }
}
END_TEST

START_TEST(test_health_ping_version_load)
{
    ck_assert_int_eq(get_status("GET", "/health", ""), 200);
    ck_assert_int_eq(get_status("HEAD", "/health", ""), 200);
    ck_assert_int_eq(get_status("GET", "/ping", ""), 200);
    ck_assert_int_eq(get_status("POST", "/ping", "Content-Length: 0\r\n"), 200);
    struct api_reply r = api_get(server.port, "/version");
    ck_assert_str_eq(api_text(&r, "version"), "1.2.3");
    api_reply_release(&r);
    r = api_get(server.port, "/load");
    ck_assert_int_eq(api_int(&r, "server_load"), 0);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_unknown_url_is_404_in_the_envelope)
{
    struct api_reply r = api_get(server.port, "/nope");
    ck_assert_int_eq(r.status, 404);
    ck_assert_str_eq(api_text(&r, "error.code"), "unknown_url");
    api_reply_release(&r);
    ck_assert_int_eq(get_status("GET", "//v1/models", ""), 404);
    ck_assert_int_eq(get_status("GET", "/v1", ""), 404);
    ck_assert_int_eq(get_status("GET", "/v1/models/?x=1", ""), 200);
    ck_assert_int_eq(get_status("GET", "/health/", ""), 200);
    r = api_post(server.port, "/nope", "{}");
    ck_assert_int_eq(r.status, 404);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_wrong_method_is_405_with_allow)
{
    struct api_reply r = api_request(server.port, "PUT", "/v1/completions", "", NULL);
    ck_assert_int_eq(r.status, 405);
    ck_assert_str_eq(api_header(&r, "Allow"), "POST, OPTIONS");
    ck_assert_str_eq(api_text(&r, "error.code"), "method_not_allowed");
    api_reply_release(&r);
    r = api_request(server.port, "POST", "/health", "", "{}");
    ck_assert_int_eq(r.status, 405);
    ck_assert_str_eq(api_header(&r, "Allow"), "GET, HEAD, OPTIONS");
    api_reply_release(&r);
    ck_assert_int_eq(get_status("HEAD", "/v1/completions", ""), 405);
}
END_TEST

START_TEST(test_options_and_cors)
{
    struct api_reply r = api_request(server.port, "OPTIONS", "/v1/completions",
                                     "Origin: http://x.example\r\n"
                                     "Access-Control-Request-Method: POST\r\n"
                                     "Access-Control-Request-Headers: authorization\r\n",
                                     NULL);
    ck_assert_int_eq(r.status, 204);
    ck_assert_str_eq(api_header(&r, "Access-Control-Allow-Origin"), "*");
    ck_assert_str_eq(api_header(&r, "Access-Control-Allow-Headers"), "authorization");
    ck_assert_str_eq(api_header(&r, "Access-Control-Allow-Methods"), "POST, OPTIONS");
    api_reply_release(&r);
    r = api_request(server.port, "GET", "/v1/models", "Origin: http://x.example\r\n", NULL);
    ck_assert_str_eq(api_header(&r, "Access-Control-Allow-Origin"), "*");
    api_reply_release(&r);
}
END_TEST

START_TEST(test_request_id_is_taken_or_made)
{
    struct api_reply r = api_request(server.port, "GET", "/version", "X-Request-Id: my-id\r\n",
                                     NULL);
    ck_assert_str_eq(api_header(&r, "X-Request-Id"), "my-id");
    api_reply_release(&r);
    char long_id[400], headers[500];
    memset(long_id, 'a', sizeof long_id);
    long_id[200] = '\0';
    snprintf(headers, sizeof headers, "X-Request-Id: %s\r\n", long_id);
    r = api_request(server.port, "GET", "/version", headers, NULL);
    ck_assert_uint_eq(strlen(api_header(&r, "X-Request-Id")), 16);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_tokenize_and_back)
{
    struct api_reply r = api_post(server.port, "/tokenize",
                                  "{\"prompt\":\"Hi<|end|>\",\"return_token_strs\":true}");
    ck_assert_int_eq(r.status, 200);
    ck_assert_int_eq(api_int(&r, "count"), 3);
    ck_assert_int_eq(api_int(&r, "max_model_len"), API_MAX_LEN);
    ck_assert_int_eq(api_int(&r, "tokens.2"), API_EOS);
    ck_assert_str_eq(api_text(&r, "token_strs.0"), "H");
    api_reply_release(&r);
    r = api_post(server.port, "/detokenize", "{\"model\":\"fake\",\"tokens\":[72,105,256]}");
    ck_assert_str_eq(api_text(&r, "prompt"), "Hi<|end|>");
    api_reply_release(&r);
}
END_TEST

START_TEST(test_tokenize_errors)
{
    static const struct {
        const char *path, *body;
        int status;
        const char *param;
    } cases[] = {
        {"/tokenize", "{}", 400, "body.prompt"},
        {"/tokenize", "{\"prompt\":5}", 400, "body.prompt"},
        {"/tokenize", "{\"messages\":[]}", 400, "messages"},
        {"/tokenize", "{\"prompt\":\"a\",\"model\":\"x\"}", 404, "model"},
        {"/tokenize", "{\"prompt\":\"a\",\"add_special_tokens\":\"maybe\"}", 400,
         "body.add_special_tokens"},
        {"/detokenize", "{}", 400, "body.tokens"},
        {"/detokenize", "{\"tokens\":\"abc\"}", 400, "body.tokens"},
        {"/detokenize", "{\"tokens\":[-1]}", 400, "body.tokens.0"},
        {"/detokenize", "[", 400, "body.1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct api_reply r = api_post(server.port, cases[i].path, cases[i].body);
        ck_assert_msg(r.status == cases[i].status, "%s: %d", cases[i].body, r.status);
        ck_assert_str_eq(api_text(&r, "error.param"), cases[i].param);
        api_reply_release(&r);
    }
}
END_TEST

START_TEST(test_tokenize_large_body_on_the_pool)
{
    struct buf b = {0};
    buf_puts(&b, "{\"prompt\":\"");
    for (int i = 0; i < 100000; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\"}");
    struct api_reply r = api_post(server.port, "/tokenize", b.data);
    ck_assert_int_eq(r.status, 200);
    ck_assert_int_eq(api_int(&r, "count"), 100000);
    api_reply_release(&r);
    buf_release(&b);
}
END_TEST

START_TEST(test_metrics_has_the_series_and_counts)
{
    static const char *const wanted[] = {
        "vllm:num_requests_running{engine=\"0\",model_name=\"fake\"} ",
        "model_name=\"fake\",finished_reason=\"length\"} 1\n",
        "model_name=\"fake\",finished_reason=\"abort\"} 0\n",
        "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"fake\"} 1\n",
        "vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"fake\"} 3\n",
        "vllm:request_prompt_tokens_sum{engine=\"0\",model_name=\"fake\"} 2",
        "vllm:cache_config_info{engine=\"0\",model_name=\"fake\",block_size=\"16\"",
        "http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"2xx\"} 1\n",
        "process_resident_memory_bytes ",
    };
    struct api_reply r = api_post(server.port, "/v1/completions",
                                  "{\"prompt\":\"ab\",\"max_tokens\":4}");
    ck_assert_int_eq(r.status, 200);
    api_reply_release(&r);
    r = api_get(server.port, "/metrics");
    ck_assert_str_eq(api_header(&r, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        ck_assert_msg(strstr(r.raw.body.data, wanted[i]) != NULL, "missing: %s", wanted[i]);
    api_reply_release(&r);
}
END_TEST

/* ---- errors of completions ----------------------------------------------- */

#define V "BadRequestError"
#define B "Bad Request"

static const struct error_case {
    const char *body;
    int status;
    const char *type, *param;
} error_cases[] = {
    {"{\"prompt\":\"a\",\"n\":2,\"temperature\":0}", 400, V, "n"},
    {"{\"prompt\":\"a\",\"n\":0}", 400, V, "n"},
    {"{\"prompt\":\"a\",\"n\":129}", 400, V, "n"},
    {"{\"prompt\":\"a\",\"n\":1.5}", 400, B, "body.n"},
    {"{\"prompt\":\"a\",\"stop\":\"\"}", 400, V, "stop"},
    {"{\"prompt\":\"a\",\"stop\":5}", 400, B, "body.stop"},
    {"{\"prompt\":\"a\",\"stop\":[\"a\",5]}", 400, B, "body.stop"},
    {"{\"prompt\":\"a\",\"suffix\":\"!\"}", 400, V, "suffix"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"999999\":1}}", 400, V, "logit_bias"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"x\":1}}", 400, V, "logit_bias"},
    {"{\"prompt\":\"a\",\"logit_bias\":[1]}", 400, B, "body.logit_bias"},
    {"{\"prompt\":\"a\",\"presence_penalty\":2.5}", 400, V, "presence_penalty"},
    {"{\"prompt\":\"a\",\"frequency_penalty\":-3}", 400, V, "frequency_penalty"},
    {"{\"prompt\":\"a\",\"repetition_penalty\":0}", 400, V, "repetition_penalty"},
    {"{\"prompt\":\"a\",\"temperature\":-1}", 400, V, "temperature"},
    {"{\"prompt\":\"a\",\"temperature\":2.5}", 400, V, "temperature"},
    {"{\"prompt\":\"a\",\"temperature\":\"warm\"}", 400, B, "body.temperature"},
    {"{\"prompt\":\"a\",\"top_p\":0}", 400, V, "top_p"},
    {"{\"prompt\":\"a\",\"top_k\":-2}", 400, V, "top_k"},
    {"{\"prompt\":\"a\",\"min_p\":-0.1}", 400, V, "min_p"},
    {"{\"prompt\":\"a\",\"max_tokens\":-1}", 400, V, "max_tokens"},
    {"{\"prompt\":\"a\",\"max_tokens\":0}", 400, V, "max_tokens"},
    {"{\"prompt\":\"a\",\"max_tokens\":2147483648}", 400, V, "max_tokens"},
    {"{\"prompt\":\"a\",\"max_tokens\":\"x\"}", 400, B, "body.max_tokens"},
    {"{\"prompt\":\"a\",\"min_tokens\":17}", 400, V, "min_tokens"},
    {"{\"prompt\":\"a\",\"model\":\"gpt-4\"}", 404, "NotFoundError", "model"},
    {"{\"prompt\":\"a\",\"model\":7}", 400, B, "body.model"},
    {"{}", 400, V, "prompt"},
    {"{\"prompt\":null}", 400, V, "prompt"},
    {"{\"prompt\":\"\"}", 400, V, "prompt"},
    {"{\"prompt\":[]}", 400, V, "prompt"},
    {"{\"prompt\":[\"\"]}", 400, V, "prompt"},
    {"{\"prompt\":[[]]}", 400, V, "prompt"},
    {"{\"prompt\":[\"a\",5]}", 400, B, "body.prompt.1"},
    {"{\"prompt\":[[1],\"a\"]}", 400, B, "body.prompt.1"},
    {"{\"prompt\":[1,[2]]}", 400, B, "body.prompt.1"},
    {"{\"prompt\":[1.5]}", 400, B, "body.prompt.0"},
    {"{\"prompt\":[[[1]]]}", 400, B, "body.prompt.0.0"},
    {"{\"prompt\":5}", 400, B, "body.prompt"},
    {"{\"prompt\":[260]}", 400, V, "prompt"},
    {"{\"prompt\":[-1]}", 400, V, "prompt"},
    {"{\"prompt\":[1099511627776]}", 400, V, "prompt"},
    {"{\"prompt\":\"a\",\"logprobs\":21}", 400, V, "logprobs"},
    {"{\"prompt\":\"a\",\"logprobs\":-1}", 400, V, "logprobs"},
    {"{\"prompt\":\"a\",\"logprobs\":1.5}", 400, B, "body.logprobs"},
    {"{\"prompt\":\"a\",\"prompt_logprobs\":-1}", 400, V, "prompt_logprobs"},
    {"{\"prompt\":\"a\",\"prompt_logprobs\":1,\"stream\":true}", 400, V, "prompt_logprobs"},
    {"{\"prompt\":\"a\",\"stream_options\":{}}", 400, V, "stream_options"},
    {"{\"prompt\":\"a\",\"stream\":true,\"stream_options\":{\"include_usage\":\"maybe\"}}", 400, B,
     "body.stream_options.include_usage"},
    {"{\"prompt\":\"a\",\"stream\":\"maybe\"}", 400, B, "body.stream"},
    {"{\"prompt\":\"a\",\"seed\":\"x\"}", 400, B, "body.seed"},
    {"{\"prompt\":\"a\",\"seed\":1.5}", 400, B, "body.seed"},
    {"{\"prompt\":\"a\",\"truncate_prompt_tokens\":1000000}", 400, V, "truncate_prompt_tokens"},
    {"{\"prompt\":\"a\",\"truncate_prompt_tokens\":0}", 400, V, "prompt"},
    {"{\"prompt\":\"a\",\"allowed_token_ids\":[]}", 400, V, "allowed_token_ids"},
    {"{\"prompt\":\"a\",\"allowed_token_ids\":[10000000]}", 400, V, "allowed_token_ids"},
    {"{\"prompt\":\"a\",\"stop_token_ids\":[-1]}", 400, V, "stop_token_ids"},
    {"{\"prompt\":\"a\",\"request_id\":\"a b\"}", 400, V, "request_id"},
    {"{\"prompt\":\"a\",\"response_format\":{\"type\":\"json_object\"}}", 400, V,
     "response_format"},
    {"{\"prompt\":\"a\",\"structured_outputs\":{\"choice\":[\"a\"]}}", 400, V,
     "structured_outputs"},
    {"{\"prompt\":\"a\",\"use_beam_search\":true}", 400, V, "use_beam_search"},
    {"{\"prompt\":\"a\",\"prompt_embeds\":\"AAAA\"}", 400, V, "prompt_embeds"},
    {"{\"prompt\":\"a\",\"bad_words\":[\"x\"]}", 400, V, "bad_words"},
    {"{\"prompt\":\"a\",\"logprob_token_ids\":[1]}", 400, V, "logprob_token_ids"},
    {"{\"prompt\":\"a\",\"repetition_detection\":{}}", 400, V, "repetition_detection"},
    {"{\"prompt\":", 400, B, "body.10"},
    {"{\"prompt\":\"a\",\"temperature\":1e999}", 400, B, NULL},
    {"{\"prompt\":\"a\\ud800b\"}", 400, B, NULL},
    {"", 400, B, "body"},
    {"[]", 400, B, "body"},
    {"\"hello\"", 400, B, "body"},
    {"null", 400, B, "body"},
};

START_TEST(test_completions_error_rows)
{
    const struct error_case *c = &error_cases[_i];
    struct api_reply r = api_post(server.port, "/v1/completions", c->body);
    ck_assert_msg(r.status == c->status, "%s: %d", c->body, r.status);
    ck_assert_str_eq(api_text(&r, "error.type"), c->type);
    if (c->param != NULL)
        ck_assert_str_eq(api_text(&r, "error.param"), c->param);
    ck_assert_int_eq(api_int(&r, "error.code"), c->status);
    ck_assert_uint_gt(strlen(api_text(&r, "error.message")), 8);
    ck_assert_uint_eq(strlen(api_header(&r, "X-Request-Id")), 16);
    ck_assert_int_eq(fake_engine_num_inside(server.engine), 0);
    api_reply_release(&r);
}
END_TEST

START_TEST(test_completions_content_type)
{
    static const struct {
        const char *header;
        int status;
    } cases[] = {
        {"Content-Type: text/plain\r\n", 400},
        {"Content-Type: application/x-www-form-urlencoded\r\n", 400},
        {"Content-Type: application/jsonx\r\n", 400},
        {"Content-Type: application/json; charset=utf-8\r\n", 200},
        {"Content-Type: APPLICATION/JSON\r\n", 200},
        {"", 200},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct api_reply r = api_request(server.port, "POST", "/v1/completions", cases[i].header,
                                         "{\"prompt\":\"a\",\"max_tokens\":1}");
        ck_assert_msg(r.status == cases[i].status, "%s: %d", cases[i].header, r.status);
        if (r.status == 400)
            ck_assert(json_is_null(api_at(r.json, "error.param")));
        api_reply_release(&r);
    }
}
END_TEST

START_TEST(test_completions_json_bombs_are_refused)
{
    struct buf b = {0};
    buf_puts(&b, "{\"prompt\":\"a\",\"x\":");
    for (int i = 0; i < 2000; i++)
        buf_putc(&b, '[');
    struct api_reply r = api_post(server.port, "/v1/completions", b.data);
    ck_assert_int_eq(r.status, 400);
    ck_assert_ptr_nonnull(strstr(api_text(&r, "error.message"), "nests"));
    api_reply_release(&r);
    buf_clear(&b);
    buf_puts(&b, "{\"prompt\":\"a\",\"x\":[{}");
    for (int i = 0; i < 20000; i++)
        buf_puts(&b, ",{}");
    buf_puts(&b, "]}");
    r = api_post(server.port, "/v1/completions", b.data);
    ck_assert_int_eq(r.status, 400);
    ck_assert_ptr_nonnull(strstr(api_text(&r, "error.message"), "objects"));
    api_reply_release(&r);
    buf_release(&b);
}
END_TEST

START_TEST(test_completions_context_length)
{
    struct buf b = {0};
    buf_puts(&b, "{\"max_tokens\":5,\"prompt\":\"");
    for (int i = 0; i < API_MAX_LEN; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\"}");
    struct api_reply r = api_post(server.port, "/v1/completions", b.data);
    ck_assert_int_eq(r.status, 400);
    ck_assert_str_eq(api_text(&r, "error.param"), "input_tokens");
    ck_assert_ptr_nonnull(
        strstr(api_text(&r, "error.message"), "maximum context length is 512 tokens"));
    api_reply_release(&r);
    /* One token less: one can be generated, whatever max_tokens says. */
    b.data[b.len - 3] = '"';
    b.data[b.len - 2] = '}';
    b.data[b.len - 1] = '\0';
    r = api_post(server.port, "/v1/completions", b.data);
    ck_assert_int_eq(r.status, 200);
    ck_assert_int_eq(api_int(&r, "usage.total_tokens"), API_MAX_LEN);
    ck_assert_int_eq(api_int(&r, "usage.completion_tokens"), 1);
    api_reply_release(&r);
    buf_release(&b);
}
END_TEST

/* ---- keys ---------------------------------------------------------------- */

START_TEST(test_api_keys_guard_all_but_the_open_routes)
{
    static const char *const keys[] = {"first", "second-key"};
    struct api_server s;
    struct app_config cfg = api_server_config();
    struct fake_engine_config engine = api_server_engine_config();
    cfg.api_keys = keys;
    cfg.num_api_keys = ARRAY_SIZE(keys);
    api_server_start(&s, &cfg, &engine, true);
    static const struct {
        const char *path, *header;
        int status;
    } cases[] = {
        {"/v1/models", "", 401},
        {"/v1/models", "Authorization: Bearer first\r\n", 200},
        {"/v1/models", "authorization: bearer second-key\r\n", 200},
        {"/v1/models", "Authorization: Bearer firs\r\n", 401},
        {"/v1/models", "Authorization: Bearer first2\r\n", 401},
        {"/v1/models", "Authorization: Bearer \r\n", 401},
        {"/v1/models", "Authorization: Basic first\r\n", 401},
        {"/load", "", 401},
        {"/nope", "", 401},
        {"/health", "", 200},
        {"/ping", "", 200},
        {"/version", "", 200},
        {"/metrics", "", 200},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct api_reply r = api_request(s.port, "GET", cases[i].path, cases[i].header, NULL);
        ck_assert_msg(r.status == cases[i].status, "%s %s: %d", cases[i].path, cases[i].header,
                      r.status);
        if (r.status == 401) {
            ck_assert_str_eq(api_header(&r, "WWW-Authenticate"), "Bearer");
            ck_assert_str_eq(api_text(&r, "error.code"), "invalid_api_key");
        }
        api_reply_release(&r);
    }
    struct api_reply r = api_post(s.port, "/v1/completions", "{\"prompt\":\"a\"}");
    ck_assert_int_eq(r.status, 401);
    api_reply_release(&r);
    api_server_stop(&s);
}
END_TEST

/* ---- states -------------------------------------------------------------- */

static struct engine_progress progress;

static void
show_progress(struct app *a)
{
    atomic_store(&progress.phase, "loading weights");
    atomic_store(&progress.done_bytes, 25);
    atomic_store(&progress.total_bytes, 100);
    app_set_progress(a, &progress);
}

START_TEST(test_loading_answers_503_until_ready)
{
    struct api_server s;
    struct app_config cfg = api_server_config();
    struct fake_engine_config engine = api_server_engine_config();
    api_server_start(&s, &cfg, &engine, false);
    api_server_call(&s, show_progress);
    struct api_reply r = api_get(s.port, "/health");
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(api_text(&r, "status"), "loading");
    ck_assert_str_eq(api_text(&r, "phase"), "loading weights");
    ck_assert(json_real_value(api_at(r.json, "percent")) == 25);
    api_reply_release(&r);
    r = api_post(s.port, "/v1/completions", "{\"prompt\":\"a\"}");
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(api_text(&r, "error.code"), "model_loading");
    ck_assert_str_eq(api_header(&r, "Retry-After"), "5");
    api_reply_release(&r);
    r = api_get(s.port, "/metrics");
    ck_assert_int_eq(r.status, 200);
    api_reply_release(&r);
    api_server_set_ready(&s);
    r = api_post(s.port, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":2}");
    ck_assert_int_eq(r.status, 200);
    api_reply_release(&r);
    api_server_stop(&s);
}
END_TEST

START_TEST(test_health_follows_the_engine)
{
    /* just beyond engine_stall_ms: the clock starts at boot, and may be young */
    fake_engine_age_heartbeat(server.engine, 61000000000u);
    struct api_reply r = api_get(server.port, "/health");
    ck_assert_int_eq(r.status, 503);
    api_reply_release(&r);
    fake_engine_age_heartbeat(server.engine, 0);
    ck_assert_int_eq(get_status("GET", "/health", ""), 200);
    fake_engine_fail(server.engine);
    ck_assert_int_eq(get_status("GET", "/health", ""), 503);
    r = api_post(server.port, "/v1/completions", "{\"prompt\":\"a\"}");
    ck_assert_int_eq(r.status, 500);
    ck_assert_str_eq(api_text(&r, "error.code"), "engine_dead");
    api_reply_release(&r);
}
END_TEST

START_TEST(test_draining_refuses_with_retry_after)
{
    api_server_call(&server, app_drain);
    struct api_reply r = api_post(server.port, "/v1/completions", "{\"prompt\":\"a\"}");
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(api_text(&r, "error.code"), "shutting_down");
    ck_assert_str_eq(api_header(&r, "Retry-After"), "5");
    ck_assert_str_eq(api_header(&r, "Connection"), "close");
    api_reply_release(&r);
    r = api_get(server.port, "/health");
    ck_assert_int_eq(r.status, 503);
    ck_assert_str_eq(api_text(&r, "status"), "draining");
    api_reply_release(&r);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("api");
    TCase *t = tcase_create("routes");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_models_list_has_a_card_per_name);
    tcase_add_test(t, test_models_one_takes_slashes_and_escapes);
    tcase_add_test(t, test_health_ping_version_load);
    tcase_add_test(t, test_unknown_url_is_404_in_the_envelope);
    tcase_add_test(t, test_wrong_method_is_405_with_allow);
    tcase_add_test(t, test_options_and_cors);
    tcase_add_test(t, test_request_id_is_taken_or_made);
    tcase_add_test(t, test_tokenize_and_back);
    tcase_add_test(t, test_tokenize_errors);
    tcase_add_test(t, test_tokenize_large_body_on_the_pool);
    tcase_add_test(t, test_metrics_has_the_series_and_counts);
    tcase_add_loop_test(t, test_completions_error_rows, 0, ARRAY_SIZE(error_cases));
    tcase_add_test(t, test_completions_content_type);
    tcase_add_test(t, test_completions_json_bombs_are_refused);
    tcase_add_test(t, test_completions_context_length);
    tcase_add_test(t, test_health_follows_the_engine);
    tcase_add_test(t, test_draining_refuses_with_retry_after);
    suite_add_tcase(s, t);
    t = tcase_create("servers");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, test_api_keys_guard_all_but_the_open_routes);
    tcase_add_test(t, test_loading_answers_503_until_ready);
    suite_add_tcase(s, t);
    test_api_add_completions(s);
    test_api_add_life(s);
    SRunner *runner = srunner_create(s);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    api_tokenizer_release();
    return failed == 0 ? 0 : 1;
}
