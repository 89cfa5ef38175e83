/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP answers taken apart: whole, in every pair of halves, and byte by byte. */
#include "loadgen/http_response.h"
#include "tests/unit/main.h"

#include <check.h>
#include <string.h>

#define HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    const char *bytes, *body;
    int status;
    bool is_done, keeps_alive; /* before the connection is closed */
} good[] = {
    {HEAD "Content-Length: 5\r\n\r\nhello", "hello", 200, true, true},
    {HEAD "content-length:5 \r\n\r\nhello", "hello", 200, true, true},
    {HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true, true},
    {HEAD "Content-Length: 0\r\n\r\n", "", 200, true, true},
    {HEAD "Connection: close\r\nContent-Length: 1\r\n\r\nx", "x", 200, true, false},
    {HEAD "Connection: x, Close\r\nContent-Length: 1\r\n\r\nx", "x", 200, true, false},
    {HEAD "Content-Length: 1\r\n\r\nxyz", "x", 200, true, false},
    {HEAD "\r\nuntil the end", "until the end", 200, false, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", 200, true, false},
    {"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "x", 200, true, true},
    {"HTTP/1.1 200 OK\nContent-Length: 2\n\nxy", "xy", 200, true, true},
    {CHUNKED "5\r\nhello\r\n0\r\n\r\n", "hello", 200, true, true},
    {CHUNKED "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nTrailer: x\r\n\r\n", "hello world", 200, true,
     true},
    {CHUNKED "00A\r\n0123456789\r\n1 \r\nx\r\n0\r\n\r\n", "0123456789x", 200, true, true},
    {HEAD "Transfer-Encoding: gzip, Chunked\r\nContent-Length: 7\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x",
     200, true, true},
    {CHUNKED "5\r\nhel", "hel", 200, false, true},
    {"HTTP/1.1 100 Continue\r\n\r\n" HEAD "Content-Length: 1\r\n\r\nx", "x", 200, true, true},
    {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, true, true},
    {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", "no", 503, true, true},
};

static const char *const bad[] = {
    "\r\n",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2 200 OK\r\n",
    "HTTP/1.1 2x0 OK\r\n",
    "HTTP/1.1 20\r\n",
    HEAD "Content-Length: -1\r\n",
    HEAD "Content-Length: 1x\r\n",
    HEAD "Content-Length:\r\n",
    HEAD "Content-Length: 99999999999999999999\r\n",
    HEAD "Content-Length: 1\r\nContent-Length: 2\r\n",
    CHUNKED "x\r\n",
    CHUNKED "\r\n",
    CHUNKED "-1\r\n",
    CHUNKED "1q\r\n",
    CHUNKED "1234567890123456\r\n",
    CHUNKED "1\r\nxy\r\n",
};

static void
append(void *arg, const char *bytes, size_t len)
{
    buf_append(arg, bytes, len);
}

static const char *
feed(struct http_response *r, const char *bytes, size_t len, size_t piece)
{
    const char *wrong = NULL;
    for (size_t i = 0; i < len && wrong == NULL; i += piece)
        wrong = http_response_feed(r, bytes + i, MIN(piece, len - i));
    return wrong;
}

START_TEST(test_good_answers)
{
    size_t len = strlen(good[_i].bytes);
    for (size_t piece = 1; piece <= len; piece++) {
        struct http_response r;
        struct buf body = {0};
        http_response_init(&r, append, &body);
        const char *wrong = feed(&r, good[_i].bytes, len, piece);
        ck_assert_msg(wrong == NULL, "%s", wrong);
        ck_assert_int_eq(r.status, good[_i].status);
        ck_assert_str_eq(buf_bytes(&body), good[_i].body);
        ck_assert_int_eq(r.state == RESPONSE_DONE, good[_i].is_done);
        ck_assert_int_eq(r.keeps_alive, good[_i].keeps_alive);
        http_response_release(&r);
        buf_release(&body);
    }
}
END_TEST

START_TEST(test_wrong_answers)
{
    size_t len = strlen(bad[_i]);
    for (size_t piece = 1; piece <= len; piece++) {
        struct http_response r;
        struct buf body = {0};
        http_response_init(&r, append, &body);
        ck_assert_ptr_nonnull(feed(&r, bad[_i], len, piece));
        http_response_release(&r);
        buf_release(&body);
    }
}
END_TEST

/* A connection that closes ends an answer only where nothing else says its end. */
START_TEST(test_closed_early)
{
    static const struct {
        const char *bytes;
        bool is_whole;
    } cases[] = {
        {"", false},
        {"HTTP/1.1 200 OK\r\n", false},
        {HEAD "\r\n", true},
        {HEAD "\r\nabc", true},
        {HEAD "Content-Length: 3\r\n\r\nab", false},
        {HEAD "Content-Length: 3\r\n\r\nabc", true},
        {CHUNKED "3\r\nabc\r\n", false},
        {CHUNKED "3\r\nabc\r\n0\r\n", false},
        {CHUNKED "3\r\nabc\r\n0\r\n\r\n", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct http_response r;
        struct buf body = {0};
        http_response_init(&r, append, &body);
        ck_assert_ptr_null(http_response_feed(&r, cases[i].bytes, strlen(cases[i].bytes)));
        ck_assert_int_eq(http_response_end(&r) == NULL, cases[i].is_whole);
        http_response_release(&r);
        buf_release(&body);
    }
}
END_TEST

/* A server that never stops sending headers. */
START_TEST(test_endless_headers)
{
    static const char header[] = "X-Header: 0123456789012345678901234567890123456789\r\n";
    for (int lines = 0; lines < 2; lines++) {
        struct http_response r;
        const char *wrong = NULL;
        http_response_init(&r, append, NULL);
        ck_assert_ptr_null(http_response_feed(&r, HEAD, strlen(HEAD)));
        size_t len = sizeof header - 1 - (lines == 0 ? 2 : 0); /* one long line, or many */
        size_t num_bytes = 0;
        for (; wrong == NULL && num_bytes < 1000000; num_bytes += len)
            wrong = http_response_feed(&r, header, len);
        ck_assert_ptr_nonnull(wrong);
        http_response_release(&r);
    }
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_http_response");
    TCase *tcase = tcase_create("loadgen_http_response");
    tcase_add_loop_test(tcase, test_good_answers, 0, ARRAY_SIZE(good));
    tcase_add_loop_test(tcase, test_wrong_answers, 0, ARRAY_SIZE(bad));
    tcase_add_test(tcase, test_closed_early);
    tcase_add_test(tcase, test_endless_headers);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
