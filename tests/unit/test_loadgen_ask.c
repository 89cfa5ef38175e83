/* SPDX-License-Identifier: Apache-2.0 */
/* The client's life, its headers, and what it asks before a run. */
#include "tests/unit/client_fixture.h"
#include "tests/unit/main.h"

#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

static char text[] = "x";
static const struct prompt prompt = {.text = text, .text_bytes = 1, .len = 1, .output_len = 1};

/* ---- headers ---- */

static const struct {
    char *option;
    const char *line;
} headers[] = {
    {NULL, "Content-Type: application/json"},
    {NULL, "Authorization: Bearer key"},
    {"x-request-id=mine", "x-request-id: test-0"},
    {"X-Request-Id=mine", "x-request-id: test-0"},
    {"Authorization=Basic eA==", "Authorization: Basic eA=="},
    {"authorization=other", "authorization: other"},
    {"Content-Type=text/x", "Content-Type: text/x"},
    {"content-type = text/x ", "content-type: text/x"},
    {"x-a=b=c", "x-a: b=c"},
    {"x-empty=", "x-empty:"},
    {"Host=other:1", "Host: other:1"},
    {"Accept=text/x", "Accept: text/x"},
    {"x-colon=a:", "x-colon: a:"},
    {"x-list=a; b;", "x-list: a; b;"},
    {" x-spaces = a b ", "x-spaces: a b"},
    {"User-Agent=me", "User-Agent: me"},
};

/* As from the command line: words of a list may have spaces there. */
static void
set_headers(char **items, int num)
{
    char *argv[8] = {"loadgen", "--header"};
    size_t num_words;
    for (int i = 0; i < num; i++)
        argv[2 + i] = items[i];
    ck_assert_int_eq(option_read_argv(&config_table, &config, 2 + num, argv, NULL, 0, &num_words,
                                      &last_error), 0);
}

START_TEST(test_header_replaces_ours_but_not_the_id)
{
    char *option = headers[_i].option;
    set("api-key", "key");
    if (option != NULL)
        set_headers(&option, 1);
    start(answer_well);
    run(1);
    const char *request = server_request(server, 0);
    ck_assert_msg(has_line(request, headers[_i].line), "%s", request);
    ck_assert_uint_eq(count_lines(request, "Authorization:"), 1);
    ck_assert_uint_eq(count_lines(request, "Content-Type:"), 1);
    ck_assert_uint_eq(count_lines(request, "x-request-id:"), 1);
    ck_assert_uint_eq(count_lines(request, "Expect:"), 0);
}
END_TEST

START_TEST(test_header_given_twice_is_sent_once)
{
    char *items[] = {"x-a=1", "x-b=2", "X-A=3"};
    set_headers(items, 3);
    start(answer_well);
    run(1);
    ck_assert(has_line(server_request(server, 0), "X-A: 3"));
    ck_assert(has_line(server_request(server, 0), "x-b: 2"));
    ck_assert_uint_eq(count_lines(server_request(server, 0), "Authorization:"), 0);
}
END_TEST

START_TEST(test_header_with_an_id_is_sent_where_we_have_none)
{
    struct client_run args = run_of(1);
    args.anonymous = true;
    if (_i == 1)
        set("header", "x-request-id=mine");
    start(answer_well);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
    const char *request = server_request(server, 0);
    ck_assert_uint_eq(count_lines(request, "x-request-id:"), (size_t)_i);
    ck_assert_uint_eq(count_lines(request, "x-request-id: mine"), (size_t)_i);
}
END_TEST

/* ---- before a run ---- */

/* No loop runs that would see a signal: prompts are made, for example. */
static void
check_signals_are_not_caught(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct sigaction action;
        sigaction(numbers[i], NULL, &action);
        ck_assert(action.sa_handler == SIG_DFL);
    }
}

#define MODELS "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

static const struct {
    const char *text, *id, *root, *error; /* an error, or a model */
} models[] = {
    {MODELS "{\"data\": [{\"id\": \"a\", \"root\": \"b\"}, {\"id\": \"c\"}]}", "a", "b", NULL},
    {MODELS "{\"data\": [{\"id\": \"a\"}]}", "a", "a", NULL},
    {MODELS "{\"data\": []}", NULL, NULL, "/v1/models lists no model"},
    {MODELS "nonsense", NULL, NULL, "/v1/models"},
    {"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", NULL, NULL, "HTTP 404"},
    {NULL, NULL, NULL, "without an answer"},
};

#define ENOUGH_DESCRIPTORS 32

/* However few descriptors there are, it works or says why not. */
START_TEST(test_client_new_with_few_descriptors)
{
    struct rlimit before, few;
    set("threads", "2");
    ck_assert_int_eq(config_settle(&config, &last_error), 0);
    ck_assert_int_eq(client_new(&config, &client, &last_error), 0);
    client_free(client); /* what libuv and libcurl open once is open now */
    client = NULL;
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = (rlim_t)_i;
    setrlimit(RLIMIT_NOFILE, &few);
    int e = client_new(&config, &client, &last_error);
    setrlimit(RLIMIT_NOFILE, &before);
    ck_assert(e == 0 || last_error.text[0] != '\0');
}
END_TEST

START_TEST(test_find_model)
{
    char *id = NULL, *root = NULL;
    scripted = (struct server_answer){.text = models[_i].text};
    start(answer_as_scripted);
    int e = client_find_model(client, &id, &root, &last_error);
    if (models[_i].error == NULL) {
        ck_assert_int_eq(e, 0);
        ck_assert_str_eq(id, models[_i].id);
        ck_assert_str_eq(root, models[_i].root);
    } else {
        ck_assert_int_lt(e, 0);
        ck_assert_msg(strstr(last_error.text, models[_i].error) != NULL, "%s", last_error.text);
    }
    ck_assert_ptr_nonnull(strstr(server_request(server, 0), "GET /v1/models HTTP/1.1"));
    check_signals_are_not_caught();
    free(id);
    free(root);
}
END_TEST

static const struct {
    const char *text, *error;
} not_ready[] = {
    {"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
     "the server is not ready: HTTP 500"},
    {"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n{\"error\": {\"message\": \"loading\"}}",
     "the server is not ready: HTTP 503: loading"},
    {CLOSING, "the server is not ready: no token in the answer"},
    {NULL, "the server is not ready: connection failed: "},
};

START_TEST(test_check_ready_says_why_not)
{
    scripted = (struct server_answer){.text = not_ready[_i].text};
    start(answer_as_scripted);
    ck_assert_int_eq(client_check_ready(client, &prompt, &last_error), ERR_IO);
    ck_assert_mem_eq(last_error.text, not_ready[_i].error, strlen(not_ready[_i].error));
    ck_assert_uint_eq(count_lines(server_request(server, 0), "x-request-id:"), 0);
}
END_TEST

START_TEST(test_check_ready_of_a_ready_server_lets_run)
{
    set("ready-check-timeout-sec", "600");
    start(answer_well);
    ck_assert_int_eq(client_check_ready(client, &prompt, &last_error), 0);
    check_signals_are_not_caught();
    run(3);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 3);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_ask");
    TCase *tcase = tcase_create("loadgen_ask");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_header_replaces_ours_but_not_the_id, 0, ARRAY_SIZE(headers));
    tcase_add_test(tcase, test_header_given_twice_is_sent_once);
    tcase_add_loop_test(tcase, test_header_with_an_id_is_sent_where_we_have_none, 0, 2);
    tcase_add_loop_test(tcase, test_client_new_with_few_descriptors, 0, ENOUGH_DESCRIPTORS);
    tcase_add_loop_test(tcase, test_find_model, 0, ARRAY_SIZE(models));
    tcase_add_loop_test(tcase, test_check_ready_says_why_not, 0, ARRAY_SIZE(not_ready));
    tcase_add_test(tcase, test_check_ready_of_a_ready_server_lets_run);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
