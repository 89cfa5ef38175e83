/* SPDX-License-Identifier: Apache-2.0 */
/* The transport as handlers and well-behaved clients see it. */
#include "tests/server/http_app.h"
#include "tests/server/http_raw.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define H "Host: t\r\n"

static struct http_app app;

static void
setup(void)
{
    struct http_config cfg = http_app_config();
    http_app_start(&app, &cfg);
}

static void
teardown(void)
{
    http_app_stop(&app);
}

static void
ck_body(const struct raw_reply *r, const char *text)
{
    ck_assert(r->complete);
    ck_assert_str_eq(buf_bytes(&r->body), text);
}

static bool
has_line(const struct raw_reply *r, const char *line)
{
    char text[200];
    snprintf(text, sizeof text, "\r\n%s\r\n", line);
    return strcasestr(buf_bytes(&r->head), text) != NULL;
}

START_TEST(test_http_reply_keep_alive_serves_again)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    for (int i = 0; i < 3; i++) {
        raw_puts(&r, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nabcde");
        ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
        ck_body(&a, "abcde");
        raw_reply_release(&a);
        raw_puts(&r, "GET /delay?ms=5 HTTP/1.1\r\n" H "\r\n");
        ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
        ck_body(&a, "late\n");
        raw_reply_release(&a);
    }
    raw_close(&r);
    ck_assert(http_app_reaches(&app.num_ended[HTTP_END_COMPLETED], 6, 1000));
}
END_TEST

START_TEST(test_http_target_forms_give_path_and_query)
{
    static const struct {
        const char *target, *seen;
    } cases[] = {
        {"/target?a=%41&b=+", "GET /target?a=%41&b=+"},
        {"/target", "GET /target?"},
        {"/target?", "GET /target?"},
        {"/target?x?y", "GET /target?x?y"},
        {"http://h:80/target?q=1", "GET /target?q=1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[200];
        struct raw r;
        struct raw_reply a;
        raw_open(&r, app.port);
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" H "\r\n", cases[i].target);
        raw_puts(&r, text);
        ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
        ck_body(&a, cases[i].seen);
        raw_reply_release(&a);
        raw_close(&r);
    }
}
END_TEST

START_TEST(test_http_pipelined_requests_are_answered_in_order)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    raw_puts(&r, "POST /delay?ms=30 HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nxx"
                 "GET /stream?n=3&size=2 HTTP/1.1\r\n" H "\r\n"
                 "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nend");
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_body(&a, "late\n");
    raw_reply_release(&a);
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_body(&a, "data: 000000 eee\n\ndata: 000001 eee\n\ndata: 000002 eee\n\n");
    raw_reply_release(&a);
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_body(&a, "end");
    raw_reply_release(&a);

    struct buf many = {0};
    for (int i = 0; i < 100; i++)
        buf_printf(&many, "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n%03d", i);
    raw_send(&r, buf_bytes(&many), buf_len(&many));
    buf_release(&many);
    for (int i = 0; i < 100; i++) {
        char text[8];
        snprintf(text, sizeof text, "%03d", i);
        ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
        ck_body(&a, text);
        raw_reply_release(&a);
    }
    raw_close(&r);
}
END_TEST

START_TEST(test_http_head_gets_no_body_and_keeps_the_connection)
{
    static const char *const targets[] = {"/now", "/stream?n=3", "/delay?ms=5"};
    struct raw r;
    raw_open(&r, app.port);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        char text[100];
        struct raw_reply a;
        snprintf(text, sizeof text, "HEAD %s HTTP/1.1\r\n" H "\r\n", targets[i]);
        raw_puts(&r, text);
        ck_assert_int_eq(raw_read(&r, 1000, true, &a), 200);
        ck_assert(has_line(&a, "Content-Type: text/plain") ||
                  has_line(&a, "Content-Type: text/event-stream"));
        raw_reply_release(&a);
    }
    raw_puts(&r, "GET /now HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 200);
    raw_close(&r);
    ck_assert(http_app_reaches(&app.num_ended[HTTP_END_COMPLETED], 4, 1000));
}
END_TEST

START_TEST(test_http_options_reaches_the_handler)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    raw_puts(&r, "OPTIONS /target HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_body(&a, "OPTIONS /target?");
    raw_reply_release(&a);
    raw_close(&r);
}
END_TEST

START_TEST(test_http_1_0_stream_ends_by_close)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    raw_puts(&r, "GET /stream?n=2&size=2 HTTP/1.0\r\n\r\n");
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_assert(!has_line(&a, "Transfer-Encoding: chunked"));
    ck_body(&a, "data: 000000 eee\n\ndata: 000001 eee\n\n");
    raw_reply_release(&a);
    raw_close(&r);
    raw_open(&r, app.port);
    raw_puts(&r, "GET /now HTTP/1.0\r\n\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 200);
    ck_assert(raw_wait_closed(&r, 1000));
    raw_close(&r);
}
END_TEST

START_TEST(test_http_expect_continue_is_answered)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    raw_puts(&r, "POST /echo HTTP/1.1\r\n" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 100);
    raw_puts(&r, "body");
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_body(&a, "body");
    raw_reply_release(&a);
    raw_puts(&r, "POST /echo HTTP/1.1\r\n" H
                 "Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 413);
    raw_close(&r);
    raw_open(&r, app.port);
    raw_puts(&r, "POST /deny HTTP/1.1\r\n" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 401);
    raw_close(&r);
}
END_TEST

START_TEST(test_http_on_headers_answer_closes_and_is_readable)
{
    /* A client that sends all before it reads must still see the answer. */
    static const char *const targets[] = {"/deny", "/nowhere", "/echo"};
    static const int statuses[] = {401, 404, 413};
    char *body = calloc(1, 6 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        size_t len = statuses[i] == 413 ? 6 << 20 : 3 << 20;
        char text[200];
        struct raw r;
        raw_open(&r, app.port);
        snprintf(text, sizeof text, "POST %s HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n",
                 targets[i], len);
        raw_puts(&r, text);
        ck_assert(raw_send(&r, body, len));
        ck_assert_int_eq(raw_status(&r, 2000), statuses[i]);
        ck_assert(raw_wait_closed(&r, 1000));
        raw_close(&r);
    }
    free(body);
    ck_assert_int_eq(http_app_settles(&app.num_requests, 0), 0);
    ck_assert_int_eq(http_app_settles(&app.num_refused, 1), 1);
}
END_TEST

START_TEST(test_http_refusal_is_an_error_object)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    raw_puts(&r, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 411);
    ck_assert(has_line(&a, "Content-Type: application/json"));
    ck_assert(has_line(&a, "Connection: close"));
    ck_body(&a, "{\"error\":{\"message\":\"Transfer-Encoding is not accepted, send a "
                "Content-Length\",\"type\":\"BadRequestError\",\"param\":null,\"code\":411}}");
    raw_reply_release(&a);
    raw_close(&r);
    ck_assert(http_app_reaches(&app.refused_status, 411, 1000));
}
END_TEST

START_TEST(test_http_body_arrives_whole)
{
    size_t len = 3 << 20;
    char *body = malloc(len);
    for (size_t i = 0; i < len; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    char text[200];
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    snprintf(text, sizeof text, "POST /echo HTTP/1.1\r\n" H "Content-Length: %zu\r\n\r\n", len);
    raw_puts(&r, text);
    raw_send(&r, body, len);
    ck_assert_int_eq(raw_read(&r, 3000, false, &a), 200);
    ck_assert_uint_eq(buf_len(&a.body), len);
    ck_assert_int_eq(memcmp(buf_bytes(&a.body), body, len), 0);
    raw_reply_release(&a);
    raw_close(&r);
    free(body);
}
END_TEST

/* Reads events off `in`; each must be the next. */
static void
ck_events(struct buf *in, int *next)
{
    const char *at;
    while ((at = memmem(buf_bytes(in), buf_len(in), "data: ", 6)) != NULL) {
        size_t offset = (size_t)(at - buf_bytes(in));
        if (buf_len(in) < offset + 12)
            break;
        ck_assert_int_eq(atoi(at + 6), *next);
        ++*next;
        buf_consume(in, offset + 12);
    }
}

START_TEST(test_http_stream_256_clients_get_every_event_in_order)
{
    enum { CLIENTS = 256, EVENTS = 100 };
    static struct raw r[CLIENTS];
    int next[CLIENTS] = {0};
    struct pollfd p[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        raw_open(&r[i], app.port);
        raw_puts(&r[i], "POST /stream?n=100&size=200 HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}");
        p[i] = (struct pollfd){.fd = r[i].fd, .events = POLLIN};
    }
    int open = CLIENTS;
    while (open > 0) {
        ck_assert_int_gt(poll(p, CLIENTS, 3000), 0);
        for (int i = 0; i < CLIENTS; i++) {
            if (p[i].revents == 0)
                continue;
            ck_assert_int_gt(raw_fill(&r[i], 0), 0);
            ck_events(&r[i].in, &next[i]);
            if (next[i] == EVENTS && memmem(buf_bytes(&r[i].in), buf_len(&r[i].in),
                                            "\r\n0\r\n\r\n", 7) != NULL) {
                p[i].fd = -1;
                p[i].revents = 0;
                open--;
            }
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        raw_close(&r[i]);
    ck_assert(http_app_reaches(&app.num_ended[HTTP_END_COMPLETED], CLIENTS, 1000));
}
END_TEST

START_TEST(test_http_abort_cuts_the_stream)
{
    struct raw r;
    struct raw_reply a;
    raw_open(&r, app.port);
    raw_puts(&r, "GET /cut HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_read(&r, 1000, false, &a), 200);
    ck_assert(!a.complete);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&a.body), "data: 000001"));
    raw_reply_release(&a);
    raw_close(&r);
    ck_assert(http_app_reaches(&app.num_ended[HTTP_END_ABORTED], 1, 1000));
}
END_TEST

START_TEST(test_http_quiesce_refuses_new_and_closes_old_connections)
{
    struct raw r, idle;
    struct raw_reply a;
    raw_open(&idle, app.port);
    raw_puts(&idle, "GET /now HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_status(&idle, 1000), 200);
    raw_open(&r, app.port);
    raw_puts(&r, "GET /quiet HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 200);
    raw_close(&r);

    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)app.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ne(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    ck_assert_int_eq(errno, ECONNREFUSED);
    close(fd);

    raw_puts(&idle, "GET /now HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_read(&idle, 1000, false, &a), 200);
    ck_assert(has_line(&a, "Connection: close"));
    raw_reply_release(&a);
    ck_assert(raw_wait_closed(&idle, 1000));
    raw_close(&idle);
}
END_TEST

/* Starts a server for its error text alone. */
static int
start_error(const struct http_config *cfg, struct error *err)
{
    static const struct http_handlers none;
    uv_loop_t loop;
    struct http_server *s = NULL;
    uv_loop_init(&loop);
    int rc = http_server_start(&loop, cfg, &none, NULL, &s, err);
    if (rc == 0)
        http_server_stop(s);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    return rc;
}

START_TEST(test_http_start_busy_port_says_so)
{
    struct http_config cfg = http_app_config();
    struct error err = {0};
    char want[100];
    cfg.port = app.port;
    ck_assert_int_eq(start_error(&cfg, &err), ERR_BUSY);
    snprintf(want, sizeof want, "cannot listen on 127.0.0.1:%d: address already in use", app.port);
    ck_assert_str_eq(err.text, want);
    cfg.host = "256.1.1.1.1";
    ck_assert_int_eq(start_error(&cfg, &err), ERR_NOTFOUND);
    cfg.host = "127.0.0.1";
    cfg.port = 65536;
    ck_assert_int_eq(start_error(&cfg, &err), ERR_RANGE);
    cfg.listen_fd = 0;
    ck_assert_int_eq(start_error(&cfg, &err), ERR_INVALID);
}
END_TEST

START_TEST(test_http_start_all_interfaces_serves_v4_and_v6)
{
    struct http_config cfg = http_app_config();
    struct http_app all;
    cfg.host = NULL;
    http_app_start(&all, &cfg);
    ck_assert_int_eq(raw_probe(all.port), 200);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)all.port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct raw r = {.fd = socket(AF_INET6, SOCK_STREAM, 0)};
    if (r.fd >= 0 && connect(r.fd, (struct sockaddr *)&to, sizeof to) == 0) {
        raw_puts(&r, "GET /now HTTP/1.1\r\n" H "\r\n");
        ck_assert_int_eq(raw_status(&r, 1000), 200);
    }
    raw_close(&r);
    http_app_stop(&all);
    cfg.host = "localhost";
    http_app_start(&all, &cfg);
    ck_assert_int_eq(raw_probe(all.port), 200);
    http_app_stop(&all);
}
END_TEST

START_TEST(test_http_start_inherited_socket_serves)
{
    struct http_config cfg = http_app_config();
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct http_app inherited;
    cfg.listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(cfg.listen_fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(cfg.listen_fd, 16), 0);
    http_app_start(&inherited, &cfg);
    ck_assert_int_eq(raw_probe(inherited.port), 200);
    http_app_stop(&inherited);
}
END_TEST

START_TEST(test_http_start_unix_socket_replaces_a_stale_one)
{
    char dir[] = "/tmp/llmd-http-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(stale, (struct sockaddr *)&a, sizeof a), 0);
    close(stale);

    struct http_config cfg = http_app_config();
    struct http_app local;
    struct raw r;
    cfg.uds = path;
    http_app_start(&local, &cfg);
    raw_open_unix(&r, path);
    raw_puts(&r, "GET /stream?n=3 HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_status(&r, 1000), 200);
    struct error err = {0};
    char want[200];
    ck_assert_int_eq(start_error(&cfg, &err), ERR_BUSY);
    snprintf(want, sizeof want, "cannot listen on '%s': address already in use", path);
    ck_assert_str_eq(err.text, want);
    raw_puts(&r, "GET /hold HTTP/1.1\r\n" H "\r\n");
    ck_assert(http_app_reaches(&local.num_requests, 2, 1000));
    raw_close(&r);
    ck_assert(http_app_reaches(&local.num_ended[HTTP_END_GONE], 1, 1000));
    http_app_stop(&local);
    struct stat st;
    ck_assert_int_ne(stat(path, &st), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(test_http_stop_from_a_handler)
{
    struct http_app brief;
    struct http_config cfg = http_app_config();
    struct raw r[2];
    http_app_start(&brief, &cfg);
    raw_open(&r[0], brief.port);
    raw_puts(&r[0], "GET /hold HTTP/1.1\r\n" H "\r\n");
    ck_assert(http_app_reaches(&brief.num_requests, 1, 1000));
    raw_open(&r[1], brief.port);
    raw_puts(&r[1], "GET /bye HTTP/1.1\r\n" H "\r\n");
    ck_assert_int_eq(raw_status(&r[1], 1000), 200);
    ck_assert(raw_wait_closed(&r[0], 1000));
    raw_close(&r[0]);
    raw_close(&r[1]);
    http_app_join(&brief);
    ck_assert_int_eq(http_app_settles(&brief.num_ended[HTTP_END_ABORTED], 1), 1);
    ck_assert_int_eq(http_app_settles(&brief.num_ended[HTTP_END_COMPLETED], 1), 1);
}
END_TEST

int
main(void)
{
    struct rlimit files = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &files);
    Suite *suite = suite_create("http");
    TCase *t = tcase_create("served");
    tcase_set_timeout(t, 20);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_http_reply_keep_alive_serves_again);
    tcase_add_test(t, test_http_target_forms_give_path_and_query);
    tcase_add_test(t, test_http_pipelined_requests_are_answered_in_order);
    tcase_add_test(t, test_http_head_gets_no_body_and_keeps_the_connection);
    tcase_add_test(t, test_http_options_reaches_the_handler);
    tcase_add_test(t, test_http_1_0_stream_ends_by_close);
    tcase_add_test(t, test_http_expect_continue_is_answered);
    tcase_add_test(t, test_http_on_headers_answer_closes_and_is_readable);
    tcase_add_test(t, test_http_refusal_is_an_error_object);
    tcase_add_test(t, test_http_body_arrives_whole);
    tcase_add_test(t, test_http_stream_256_clients_get_every_event_in_order);
    tcase_add_test(t, test_http_abort_cuts_the_stream);
    tcase_add_test(t, test_http_quiesce_refuses_new_and_closes_old_connections);
    tcase_add_test(t, test_http_start_busy_port_says_so);
    suite_add_tcase(suite, t);
    TCase *life = tcase_create("life");
    tcase_set_timeout(life, 20);
    tcase_add_test(life, test_http_start_all_interfaces_serves_v4_and_v6);
    tcase_add_test(life, test_http_start_inherited_socket_serves);
    tcase_add_test(life, test_http_start_unix_socket_replaces_a_stale_one);
    tcase_add_test(life, test_http_stop_from_a_handler);
    suite_add_tcase(suite, life);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
