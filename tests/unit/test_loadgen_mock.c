/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in server: what it sends, in which order, and what it notes. When is
 * never tested but for "not before its time". */
#include "loadgen/mock.h"
#include "tests/server/http_raw.h"
#include "tests/unit/main.h"

#include <check.h>
#include <string.h>

#define WAIT_MS 20000 /* until a test fails */
#define NUM_TOKENS 5
#define NUM_STREAMS 50
#define NEVER_NS 3600000000000u

static struct mock *mock;

static void
start(const struct mock_args *args)
{
    struct error err;
    ck_assert_msg(mock_new(args, &mock, &err) == 0, "%s", err.text);
    ck_assert_uint_ne(mock_port(mock), 0);
}

static void
teardown(void)
{
    mock_free(mock);
    mock = NULL;
}

static void
send_request(struct raw *r, const char *path, size_t index)
{
    char text[256];
    snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: mock\r\nX-Request-Id: test-%zu\r\n"
             "content-length: 2\r\n\r\n{}", path, index);
    ck_assert(raw_puts(r, text));
}

static size_t
count(const char *text, const char *word)
{
    size_t num = 0;
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        num++;
    return num;
}

/* Reads an answer of this status with so many tokens; its end is `last`. */
static void
check_answer(struct raw *r, int status, size_t num_tokens, const char *last)
{
    struct raw_reply reply = {0};
    ck_assert_int_eq(raw_read(r, WAIT_MS, false, &reply), status);
    ck_assert(reply.complete);
    const char *body = buf_bytes(&reply.body);
    ck_assert_uint_eq(count(body, " token\""), num_tokens);
    ck_assert_uint_ge(strlen(body), strlen(last));
    ck_assert_str_eq(body + strlen(body) - strlen(last), last);
    raw_reply_release(&reply);
}

static void
check_stream(struct raw *r)
{
    check_answer(r, 200, NUM_TOKENS, "\"usage\": {\"prompt_tokens\": 16, \"total_tokens\": 21, "
                 "\"completion_tokens\": 5}}\n\ndata: [DONE]\n\n");
}

static void
check_one(const char *path)
{
    struct raw r;
    raw_open(&r, mock_port(mock));
    send_request(&r, path, 0);
    check_stream(&r);
    raw_close(&r);
}

/* ---- what is sent ---- */

START_TEST(test_stream_has_tokens_then_usage_then_done)
{
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    check_one("/v1/completions");
    check_one("/v1/chat/completions");
}
END_TEST

START_TEST(test_stream_of_chat_has_deltas)
{
    struct raw r;
    struct raw_reply reply = {0};
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    send_request(&r, "/v1/chat/completions", 0);
    ck_assert_int_eq(raw_read(&r, WAIT_MS, false, &reply), 200);
    ck_assert_uint_eq(count(buf_bytes(&reply.body), "\"delta\": {\"content\": \" token\"}"),
                      NUM_TOKENS);
    raw_reply_release(&reply);
    raw_close(&r);
}
END_TEST

START_TEST(test_connection_is_used_again)
{
    struct raw r;
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    for (size_t i = 0; i < 3; i++) {
        send_request(&r, "/v1/completions", i);
        check_stream(&r);
    }
    ck_assert(raw_puts(&r, "GET /v1/models HTTP/1.1\r\n\r\n"));
    check_answer(&r, 200, 0, "{\"data\": [{\"id\": \"mock\", \"root\": \"mock\"}]}");
    raw_close(&r);
}
END_TEST

START_TEST(test_many_streams_each_get_all)
{
    struct raw r[NUM_STREAMS];
    start(&(struct mock_args){.ttft_ns = 2000000, .itl_ns = 1000000, .num_tokens = NUM_TOKENS,
                              .max_requests = NUM_STREAMS});
    for (size_t i = 0; i < NUM_STREAMS; i++)
        raw_open(&r[i], mock_port(mock));
    for (size_t i = 0; i < NUM_STREAMS; i++)
        send_request(&r[i], "/v1/completions", i);
    for (size_t i = NUM_STREAMS; i-- > 0;) {
        check_stream(&r[i]);
        raw_close(&r[i]);
    }
    for (size_t i = 0; i < NUM_STREAMS; i++) {
        uint64_t at_ns = mock_arrival_ns(mock, i) + 2000000;
        ck_assert_uint_gt(mock_arrival_ns(mock, i), 0);
        for (size_t k = 0; k < NUM_TOKENS; k++, at_ns += 1000000)
            ck_assert_uint_ge(mock_token_ns(mock, i, k), at_ns); /* not before its time */
    }
}
END_TEST

START_TEST(test_request_beyond_the_notes_is_answered)
{
    struct raw r;
    start(&(struct mock_args){.num_tokens = NUM_TOKENS, .max_requests = 2});
    raw_open(&r, mock_port(mock));
    send_request(&r, "/v1/completions", 2);
    check_stream(&r);
    ck_assert(raw_puts(&r, "POST /v1/completions HTTP/1.1\r\nx-request-id: none\r\n\r\n"));
    check_stream(&r);
    ck_assert_uint_eq(mock_arrival_ns(mock, 0), 0);
    ck_assert_uint_eq(mock_token_ns(mock, 1, 0), 0);
    raw_close(&r);
}
END_TEST

/* ---- what goes wrong ---- */

START_TEST(test_client_that_leaves_disturbs_nobody)
{
    struct raw early, half, late;
    start(&(struct mock_args){.ttft_ns = 1000000, .num_tokens = NUM_TOKENS});
    raw_open(&early, mock_port(mock));
    raw_open(&half, mock_port(mock));
    raw_open(&late, mock_port(mock));
    send_request(&early, "/v1/completions", 0);
    ck_assert(raw_puts(&half, "POST /v1/compl"));
    send_request(&late, "/v1/completions", 1);
    raw_reset(&early);
    raw_close(&half);
    check_stream(&late);
    raw_close(&late);
    check_one("/v1/completions");
}
END_TEST

START_TEST(test_free_closes_streams_under_way)
{
    struct raw r;
    start(&(struct mock_args){.itl_ns = NEVER_NS, .num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    send_request(&r, "/v1/completions", 0);
    ck_assert_int_gt(raw_fill(&r, WAIT_MS), 0); /* the first token */
    mock_free(mock);
    mock = NULL;
    ck_assert(raw_wait_closed(&r, WAIT_MS));
    raw_close(&r);
}
END_TEST

START_TEST(test_request_in_pieces_is_put_together)
{
    struct raw r;
    const char *text = "POST /v1/completions HTTP/1.1\r\nContent-Length: 4\r\n\r\n{  }";
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    for (size_t i = 0; text[i] != '\0'; i++)
        ck_assert(raw_send(&r, text + i, 1));
    check_stream(&r);
    raw_close(&r);
}
END_TEST

START_TEST(test_unknown_path_is_404)
{
    struct raw r;
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    send_request(&r, "/v1/embeddings", 0);
    check_answer(&r, 404, 0, "{\"error\": {\"message\": \"not found\"}}");
    ck_assert(raw_puts(&r, "nonsense\r\n\r\n"));
    check_answer(&r, 404, 0, "{\"error\": {\"message\": \"not found\"}}");
    raw_close(&r);
}
END_TEST

static const char *const refused[] = {
    "POST /v1/completions HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n",
    "POST /v1/completions HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
    "POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
};

START_TEST(test_too_long_a_body_closes)
{
    struct raw r;
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    ck_assert(raw_puts(&r, refused[_i]));
    ck_assert(raw_wait_closed(&r, WAIT_MS));
    raw_close(&r);
    check_one("/v1/completions");
}
END_TEST

START_TEST(test_head_without_end_closes)
{
    struct raw r;
    char part[4096];
    start(&(struct mock_args){.num_tokens = NUM_TOKENS});
    memset(part, 'x', sizeof part);
    raw_open(&r, mock_port(mock));
    bool open = true;
    for (size_t i = 0; i < 65536 && open; i++)
        open = raw_send(&r, part, sizeof part);
    ck_assert(!open);
    raw_close(&r);
}
END_TEST

START_TEST(test_second_request_during_the_first_closes)
{
    struct raw r;
    start(&(struct mock_args){.ttft_ns = NEVER_NS, .num_tokens = NUM_TOKENS});
    raw_open(&r, mock_port(mock));
    send_request(&r, "/v1/completions", 0);
    send_request(&r, "/v1/completions", 1);
    ck_assert(raw_wait_closed(&r, WAIT_MS));
    raw_close(&r);
}
END_TEST

/* ---- faults on demand ---- */

START_TEST(test_refuse_every_second)
{
    struct raw r;
    start(&(struct mock_args){.num_tokens = NUM_TOKENS, .refuse_every = 2});
    raw_open(&r, mock_port(mock));
    for (size_t i = 0; i < 4; i++) {
        send_request(&r, "/v1/completions", i);
        if (i % 2 == 0)
            check_stream(&r);
        else
            check_answer(&r, 503, 0, "{\"error\": {\"message\": \"busy\"}}");
    }
    raw_close(&r);
}
END_TEST

START_TEST(test_error_after_two_tokens)
{
    struct raw r;
    start(&(struct mock_args){.num_tokens = NUM_TOKENS, .error_after = 2});
    raw_open(&r, mock_port(mock));
    for (size_t i = 0; i < 2; i++) {
        send_request(&r, "/v1/completions", i);
        check_answer(&r, 200, 2, "\"code\": 500}}\n\n");
    }
    raw_close(&r);
}
END_TEST

START_TEST(test_close_after_two_tokens)
{
    struct raw r;
    struct raw_reply reply = {0};
    start(&(struct mock_args){.num_tokens = NUM_TOKENS, .close_after = 2});
    raw_open(&r, mock_port(mock));
    send_request(&r, "/v1/completions", 0);
    ck_assert_int_eq(raw_read(&r, WAIT_MS, false, &reply), 200);
    ck_assert(!reply.complete);
    ck_assert_uint_eq(count(buf_bytes(&reply.body), " token\""), 2);
    raw_reply_release(&reply);
    raw_close(&r);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_mock");
    TCase *tcase = tcase_create("loadgen_mock");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, test_stream_has_tokens_then_usage_then_done);
    tcase_add_test(tcase, test_stream_of_chat_has_deltas);
    tcase_add_test(tcase, test_connection_is_used_again);
    tcase_add_test(tcase, test_many_streams_each_get_all);
    tcase_add_test(tcase, test_request_beyond_the_notes_is_answered);
    tcase_add_test(tcase, test_client_that_leaves_disturbs_nobody);
    tcase_add_test(tcase, test_free_closes_streams_under_way);
    tcase_add_test(tcase, test_request_in_pieces_is_put_together);
    tcase_add_test(tcase, test_unknown_path_is_404);
    tcase_add_loop_test(tcase, test_too_long_a_body_closes, 0, ARRAY_SIZE(refused));
    tcase_add_test(tcase, test_head_without_end_closes);
    tcase_add_test(tcase, test_second_request_during_the_first_closes);
    tcase_add_test(tcase, test_refuse_every_second);
    tcase_add_test(tcase, test_error_after_two_tokens);
    tcase_add_test(tcase, test_close_after_two_tokens);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
