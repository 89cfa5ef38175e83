/* SPDX-License-Identifier: Apache-2.0 */
/* The event parser, and what a reply makes of events. */
#include "loadgen/reply.h"
#include "loadgen/sse.h"
#include "tests/unit/main.h"
#include "util/error.h"

#include <check.h>

/* Events as "<a><b>". */
static struct buf events;

static void
setup(void)
{
    events = (struct buf){0};
}

static void
teardown(void)
{
    buf_release(&events);
}

static void
on_event(void *arg, const char *data, size_t len)
{
    (void)arg;
    buf_putc(&events, '<');
    buf_append(&events, data, len);
    buf_putc(&events, '>');
}

/* Feeds in pieces of at most `piece` bytes. */
static const char *
parse(const char *text, size_t piece)
{
    struct sse s = {0};
    size_t len = strlen(text);
    buf_clear(&events);
    for (size_t i = 0; i < len; i += piece)
        ck_assert_int_eq(sse_feed(&s, text + i, MIN(piece, len - i), on_event, NULL), 0);
    ck_assert_int_eq(sse_finish(&s, on_event, NULL), 0);
    sse_release(&s);
    return buf_bytes(&events);
}

static const struct {
    const char *text, *events;
} cases[] = {
    {"", ""},
    {"data: a\n\ndata: b\n\n", "<a><b>"},
    {"data: a\r\n\r\ndata: b\r\n\r\n", "<a><b>"},
    {"data: a\r\rdata: b\r\r", "<a><b>"},
    {"data:a\n\n", "<a>"},
    {"data:  a\n\n", "< a>"},
    {"data: a\ndata: b\n\n", "<a\nb>"},
    {"data:\n\n", "<>"},
    {"data\n\n", "<>"},
    {"data:\ndata: x\n\n", "<\nx>"},
    {": comment\n\ndata: a\n: more\n\n", "<a>"},
    {"event: message\nid: 7\nretry: 1\ndata: a\n\n", "<a>"},
    {"database: x\n\n", ""},
    {"\n\n\n\ndata: a\n\n\n\n", "<a>"},
    {"data: {\"a\": \"\xc3\xa9\"}\n\ndata: [DONE]\n\n", "<{\"a\": \"\xc3\xa9\"}><[DONE]>"},
    {"data: no blank line", "<no blank line>"},
    {"data: no blank line\n", "<no blank line>"},
    {"data: a\n\ndata: half\r", "<a><half>"},
};

START_TEST(test_feed_gives_the_same_events_however_split)
{
    size_t len = strlen(cases[_i].text);
    for (size_t piece = 1; piece <= MAX(len, (size_t)1); piece++)
        ck_assert_str_eq(parse(cases[_i].text, piece), cases[_i].events);
}
END_TEST

START_TEST(test_feed_long_event_and_too_long_event)
{
    struct sse s = {0};
    size_t len = 64 * 1024;
    char *part = malloc(len);
    memset(part, 'x', len);
    sse_feed(&s, "data: ", 6, on_event, NULL);
    ck_assert_int_eq(sse_feed(&s, part, len, on_event, NULL), 0);
    ck_assert_int_eq(sse_feed(&s, "\n\n", 2, on_event, NULL), 0);
    ck_assert_uint_eq(buf_len(&events), len + 2);
    int e = 0;
    for (size_t i = 0; i < 2 * SSE_EVENT_BYTES_MAX / len && e == 0; i++)
        e = sse_feed(&s, part, len, on_event, NULL);
    ck_assert_int_eq(e, ERR_RANGE);
    sse_release(&s);
    e = 0;
    for (size_t i = 0; i < 2 * SSE_EVENT_BYTES_MAX / len && e == 0; i++) {
        e = sse_feed(&s, "data:", 5, on_event, NULL);
        if (e == 0)
            e = sse_feed(&s, part, len, on_event, NULL);
        if (e == 0)
            e = sse_feed(&s, "\n", 1, on_event, NULL);
    }
    ck_assert_int_eq(e, ERR_RANGE);
    sse_release(&s);
    free(part);
}
END_TEST

#define MS 1000000u
#define TOKEN(text) "data: {\"choices\": [{\"index\": 0, \"text\": \"" text "\"}]}\n\n"
#define USAGE                                                                     \
    "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 11, "                   \
    "\"completion_tokens\": 5}}\n\n"
#define DONE "data: [DONE]\n\n"

static void
feed_at(struct reply *r, unsigned ms, const char *text)
{
    reply_feed(r, 200, text, strlen(text), ms * MS);
}

START_TEST(test_reply_times_are_those_of_token_events)
{
    struct reply r;
    reply_init(&r, REPLY_COMPLETION, 10);
    r.due_ns = 5 * MS;
    reply_start(&r, 10 * MS);
    feed_at(&r, 20, ": ping\n\ndata: {\"choices\": []}\n\n");
    feed_at(&r, 60, TOKEN(""));
    feed_at(&r, 70, TOKEN("a") TOKEN("b"));
    feed_at(&r, 100, TOKEN("c"));
    feed_at(&r, 150, USAGE);
    feed_at(&r, 160, DONE);
    reply_finish(&r, 200, NULL, 170 * MS);
    ck_assert_int_eq(r.status, REPLY_SUCCEEDED);
    ck_assert_double_eq_tol(reply_ttft_s(&r), 0.050, 1e-9);
    ck_assert_double_eq_tol(reply_latency_s(&r), 0.090, 1e-9);
    ck_assert_double_eq_tol(reply_queue_s(&r), 0.005, 1e-9);
    ck_assert_uint_eq(r.itls_s.len, 3);
    ck_assert_double_eq_tol(r.itls_s.values[0], 0.010, 1e-9);
    ck_assert_double_eq_tol(r.itls_s.values[1], 0, 1e-9);
    ck_assert_double_eq_tol(r.itls_s.values[2], 0.030, 1e-9);
    ck_assert_int_eq(r.output_len, 5);
    ck_assert_int_eq(r.input_len, 11);
    ck_assert_str_eq(buf_bytes(&r.text), "abc");
    reply_release(&r);
}
END_TEST

START_TEST(test_reply_without_usage_counts_events)
{
    struct reply r;
    reply_init(&r, REPLY_COMPLETION, 10);
    feed_at(&r, 1, TOKEN("a") TOKEN("b"));
    reply_finish(&r, 200, NULL, 2 * MS);
    ck_assert_int_eq(r.status, REPLY_SUCCEEDED); /* [DONE] is not needed */
    ck_assert_int_eq(r.output_len, 2);
    ck_assert_int_eq(r.input_len, 10);
    reply_release(&r);
}
END_TEST

static const struct {
    int status;
    const char *body, *transport, *reason, *error;
} failures[] = {
    {0, "", "refused", "connection failed", "refused"},
    {200, TOKEN("a"), "reset", "connection lost during the stream", "reset"},
    {503, "{\"error\": {\"message\": \"busy\", \"code\": 503}}", NULL, "HTTP 503", "busy"},
    {404, "{\"detail\": \"Not Found\"}", NULL, "HTTP 404", "{\"detail\":\"Not Found\"}"},
    {400, "{\"message\": \"flat\"}", NULL, "HTTP 400", "flat"},
    {500, "plain text", NULL, "HTTP 500", "plain text"},
    {500, TOKEN("a"), NULL, "HTTP 500", NULL},
    {500, "", NULL, "HTTP 500", "HTTP 500"},
    {503, "{\"error\": {\"message\": \"\"}}", NULL, "HTTP 503", "HTTP 503"},
    {200, "", NULL, "no token in the answer", "no token in the answer"},
    {200, "{\"choices\": [{\"text\": \"no stream\"}]}", NULL, "no token in the answer", NULL},
    {200, USAGE DONE, NULL, "no token in the answer", NULL},
    {200, TOKEN("a") "data: {\"error\": {\"message\": \"died\"}}\n\n" DONE, NULL,
     "error in the stream", "died"},
    {200, TOKEN("a") "data: {\"error\": \"died\"}\n\n", NULL, "error in the stream", "died"},
    {200, TOKEN("a") "data: {oops\n\n", NULL, "a message of the stream is not JSON", NULL},
};

START_TEST(test_reply_failures_have_a_reason_and_an_example)
{
    struct reply r;
    reply_init(&r, REPLY_COMPLETION, 10);
    reply_feed(&r, failures[_i].status, failures[_i].body, strlen(failures[_i].body), MS);
    reply_finish(&r, failures[_i].status, failures[_i].transport, 2 * MS);
    ck_assert_int_eq(r.status, REPLY_FAILED);
    ck_assert_str_eq(r.reason, failures[_i].reason);
    if (failures[_i].error != NULL)
        ck_assert_str_eq(r.error, failures[_i].error);
    ck_assert_int_eq(r.output_len, 0);
    ck_assert_double_eq(reply_latency_s(&r), 0);
    reply_release(&r);
}
END_TEST

START_TEST(test_reply_null_error_is_none)
{
    struct reply r;
    reply_init(&r, REPLY_COMPLETION, 10);
    feed_at(&r, 1, "data: {\"error\": null, \"choices\": [{\"text\": \"a\"}]}\n\n");
    reply_finish(&r, 200, NULL, 2 * MS);
    ck_assert_int_eq(r.status, REPLY_SUCCEEDED);
    reply_release(&r);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_sse");
    TCase *tcase = tcase_create("loadgen_sse");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_feed_gives_the_same_events_however_split, 0,
                        ARRAY_SIZE(cases));
    tcase_add_test(tcase, test_feed_long_event_and_too_long_event);
    tcase_add_test(tcase, test_reply_times_are_those_of_token_events);
    tcase_add_test(tcase, test_reply_without_usage_counts_events);
    tcase_add_loop_test(tcase, test_reply_failures_have_a_reason_and_an_example, 0,
                        ARRAY_SIZE(failures));
    tcase_add_test(tcase, test_reply_null_error_is_none);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
