/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as bytes, good and bad, and what becomes of each: through the whole
 * transport, and the guard's rules alone. All of the table are sent at the
 * same time to one server, and their connections stay open: then the loop must
 * be calm and a good request must be served.
 */
#include "server/http_guard.h"
#include "tests/server/http_app.h"
#include "tests/server/http_raw.h"

#include <check.h>
#include <unistd.h>

#define H "Host: t\r\n"
#define GET "GET /now HTTP/1.1\r\n"
#define POST "POST /echo HTTP/1.1\r\n"
#define CL "Content-Length: "
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define WAITS RAW_TIMEOUT  /* not complete: waits for the deadline */
#define CLOSES RAW_CLOSED  /* without an answer */

#define BYTES(text) text, sizeof(text) - 1

struct line {
    const char *name;
    const char *bytes;
    size_t len;
    int status;
};

static const struct line lines[] = {
    /* good */
    {"plain", BYTES(GET H "\r\n"), 200},
    {"http/1.0 without host", BYTES("GET /now HTTP/1.0\r\n\r\n"), 200},
    {"empty lines first", BYTES("\r\n\r\n" GET H "\r\n"), 200},
    {"absolute form", BYTES("GET http://h/now HTTP/1.1\r\n" H "\r\n"), 200},
    {"body on get", BYTES("GET /now HTTP/1.1\r\n" H CL "3\r\n\r\nabc"), 200},
    {"blanks before a length", BYTES(POST H CL "  3\r\n\r\nabc"), 200},
    {"blanks after a length", BYTES(POST H CL "3  \r\n\r\nabc"), 400},
    {"value with utf-8", BYTES(GET H "X-Name: caf\xc3\xa9\r\n\r\n"), 200},
    {"empty value", BYTES(GET H "X:\r\n\r\n"), 200},
    {"other expect", BYTES(POST H "Expect: the-best\r\n" CL "0\r\n\r\n"), 200},
    {"expect 100", BYTES(POST H "Expect: 100-continue\r\n" CL "3\r\n\r\n"), 100},
    {"expect 100, too large", BYTES(POST H "Expect: 100-continue\r\n" CL "5000000\r\n\r\n"), 413},
    {"unknown method", BYTES("BREW /now HTTP/1.1\r\n" H "\r\n"), 200},
    {"http/1.2", BYTES("GET /now HTTP/1.2\r\n" H "\r\n"), 200},

    /* versions and the request line */
    {"http/0.9", BYTES("GET /now\r\n"), 400},
    {"http/0.9 with host", BYTES("GET /now\r\n" H "\r\n"), 400},
    {"http/2.0", BYTES("GET /now HTTP/2.0\r\n" H "\r\n"), 505},
    {"http/2 preface", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
    {"http/9.9", BYTES("GET /now HTTP/9.9\r\n" H "\r\n"), 505},
    {"http/1.1x", BYTES("GET /now HTTP/1.1x\r\n" H "\r\n"), 400},
    {"lower case http", BYTES("GET /now http/1.1\r\n" H "\r\n"), 400},
    {"tls hello", BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"), WAITS},
    {"method alone", BYTES("GET\r\n\r\n"), CLOSES},
    {"method with odd bytes", BYTES("G{}T /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"method too long", BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZ /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"method with tab", BYTES("GE\tT /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"junk", BYTES("\xff\xfe\xfd junk \x01\r\n\r\n"), 400},

    /* targets */
    {"%00", BYTES("GET /now%00 HTTP/1.1\r\n" H "\r\n"), 400},
    {"%00 in the query", BYTES("GET /now?a=%00 HTTP/1.1\r\n" H "\r\n"), 400},
    {"space", BYTES("GET /now now HTTP/1.1\r\n" H "\r\n"), 400},
    {"tab", BYTES("GET /now\tnow HTTP/1.1\r\n" H "\r\n"), 400},
    {"byte above ascii", BYTES("GET /now\xc3\xa9 HTTP/1.1\r\n" H "\r\n"), 400},
    {"fragment", BYTES("GET /now#x HTTP/1.1\r\n" H "\r\n"), 400},
    {"no slash", BYTES("GET now HTTP/1.1\r\n" H "\r\n"), 400},
    {"authority form", BYTES("CONNECT h:443 HTTP/1.1\r\n" H "\r\n"), 400},
    {"dots", BYTES("GET /../now HTTP/1.1\r\n" H "\r\n"), 404},
    {"encoded dots", BYTES("GET /%2e%2e/now HTTP/1.1\r\n" H "\r\n"), 404},
    {"two slashes", BYTES("GET //now HTTP/1.1\r\n" H "\r\n"), 404},
    {"encoded name", BYTES("GET /%6eow HTTP/1.1\r\n" H "\r\n"), 404},
    {"star", BYTES("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 404},

    /* host */
    {"no host", BYTES(GET "\r\n"), 400},
    {"two hosts", BYTES(GET H H "\r\n"), 400},
    {"two hosts, http/1.0", BYTES("GET /now HTTP/1.0\r\n" H H "\r\n"), 400},

    /* content-length */
    {"length -1", BYTES(POST H CL "-1\r\n\r\nabc"), 400},
    {"length +7", BYTES(POST H CL "+3\r\n\r\nabc"), 400},
    {"length list", BYTES(POST H CL "3, 3\r\n\r\nabc"), 400},
    {"length 10^23", BYTES(POST H CL "100000000000000000000000\r\n\r\nabc"), 413},
    {"length 2^63", BYTES(POST H CL "9223372036854775808\r\n\r\nabc"), 400},
    {"length above the cap", BYTES(POST H CL "4194305\r\n\r\nabc"), 413},
    {"length empty", BYTES(POST H CL "\r\n\r\nabc"), 400},
    {"length hex", BYTES(POST H CL "0x3\r\n\r\nabc"), 400},
    {"length twice", BYTES(POST H CL "3\r\n" CL "3\r\n\r\nabc"), 400},
    {"length twice, different", BYTES(POST H CL "3\r\n" CL "4\r\n\r\nabcd"), 400},
    {"body short", BYTES(POST H CL "9\r\n\r\nabc"), WAITS},

    /* transfer-encoding */
    {"chunked", BYTES(POST H CHUNKED "\r\n3\r\nabc\r\n0\r\n\r\n"), 411},
    {"length and chunked", BYTES(POST H CL "3\r\n" CHUNKED "\r\n0\r\n\r\n"), 411},
    {"encoding gzip", BYTES(POST H "Transfer-Encoding: gzip\r\n\r\nabc"), 411},
    {"encoding identity", BYTES(POST H "Transfer-Encoding: identity\r\n\r\nabc"), 411},
    {"encoding with vertical tab", BYTES(POST H "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n"),
     400},
    {"encoding, space in name", BYTES(POST H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400},
    {"chunk 0x7", BYTES(POST H CHUNKED "\r\n0x7\r\nabcdefg\r\n0\r\n\r\n"), 411},
    {"chunk -7", BYTES(POST H CHUNKED "\r\n-7\r\nabcdefg\r\n0\r\n\r\n"), 411},
    {"chunk 17 F", BYTES(POST H CHUNKED "\r\nFFFFFFFFFFFFFFFFF\r\nabc"), 411},

    /* header lines */
    {"space before colon", BYTES(GET H "X : 1\r\n\r\n"), 400},
    {"tab in name", BYTES(GET H "X\ty: 1\r\n\r\n"), 400},
    {"no colon", BYTES(GET H "nothing\r\n\r\n"), 400},
    {"bare cr in value", BYTES(GET H "X: a\rb\r\n\r\n"), 400},
    {"escape in value", BYTES(GET H "X: a\x1b[31m\r\n\r\n"), 400},
    {"del in value", BYTES(GET H "X: a\x7f\r\n\r\n"), 400},
    {"folded first line", BYTES(GET " X: 1\r\n" H "\r\n"), 400},

    /* 0.9.75 reads these its own way and hides it from us: a NUL ends its line,
     * an empty name ends the headers. 1.0 refuses some. */
    {"nul in the target", BYTES("GET /now\0x HTTP/1.1\r\n" H "\r\n"), 200},
    {"empty name", BYTES(GET H ": 1\r\n\r\n"), 200},
    {"bare lf", BYTES("GET /now HTTP/1.1\nHost: t\n\n"), 200},
    {"folded value", BYTES(GET H "X: a\r\n b\r\n\r\n"), 200},
    {"nul in value", BYTES(GET H "X: a\0b\r\n\r\n"), 200},
    {"incomplete head", BYTES(GET H), WAITS},
};

/* Built at run time: too long to write down. */
static struct buf
long_request(int which)
{
    struct buf b = {0};
    buf_puts(&b, which == 0 ? "GET /" : GET H);
    switch (which) {
    case 0: /* URL of 40 KB */
        for (int i = 0; i < 40000; i++)
            buf_putc(&b, 'u');
        buf_puts(&b, " HTTP/1.1\r\n" H);
        break;
    case 1: /* one header of 40 KB */
        buf_puts(&b, "X: ");
        for (int i = 0; i < 40000; i++)
            buf_putc(&b, 'x');
        buf_puts(&b, "\r\n");
        break;
    case 2: /* one of 17 KB: libmicrohttpd would take it */
        buf_puts(&b, "X: ");
        for (int i = 0; i < 17000; i++)
            buf_putc(&b, 'x');
        buf_puts(&b, "\r\n");
        break;
    case 3: /* 2,000 headers */
        for (int i = 0; i < 2000; i++)
            buf_printf(&b, "X-%d: 1\r\n", i);
        break;
    default: /* as many as we take: 128 with Host, 15 KB */
        for (int i = 0; i < 127; i++)
            buf_printf(&b, "X-%03d: %0108d\r\n", i, i);
        break;
    }
    buf_puts(&b, "\r\n");
    return b;
}

static const int long_status[] = {414, 431, 431, 431, 200};

static struct http_app app;

START_TEST(test_http_request_table)
{
    enum { TABLE = ARRAY_SIZE(lines), ALL = TABLE + ARRAY_SIZE(long_status) };
    static struct raw r[ALL];
    struct http_config cfg = http_app_config();
    int failed = 0, status[ALL];
    http_app_start(&app, &cfg);
    for (int i = 0; i < ALL; i++) {
        raw_open(&r[i], app.port);
        if (i < TABLE) {
            raw_send(&r[i], lines[i].bytes, lines[i].len);
        } else {
            struct buf b = long_request(i - TABLE);
            raw_send(&r[i], buf_bytes(&b), buf_len(&b));
            buf_release(&b);
        }
    }
    for (int i = 0; i < ALL; i++) {
        bool table = i < TABLE;
        int want = table ? lines[i].status : long_status[i - TABLE];
        status[i] = raw_status(&r[i], want == WAITS ? 50 : 1000);
        if (status[i] != want) {
            fprintf(stderr, "%s %d: status %d, not %d\n", table ? lines[i].name : "long", i,
                    status[i], want);
            failed++;
        }
    }
    uint64_t cpu = http_app_cpu_ns(&app);
    usleep(300000);
    ck_assert_uint_lt(http_app_cpu_ns(&app) - cpu, 50000000u);
    ck_assert_int_eq(raw_probe(app.port), 200);
    for (int i = 0; i < ALL; i++) {
        if (status[i] >= 400)
            failed += !raw_wait_closed(&r[i], 1000);
        raw_close(&r[i]);
    }
    ck_assert_int_eq(raw_probe(app.port), 200);
    http_app_stop(&app);
    ck_assert_int_eq(failed, 0);
}
END_TEST

static int
guard(struct http_guard_request r, uint64_t *ret_length)
{
    const char *reason = NULL;
    r.max_header_bytes = 1000;
    r.max_body_bytes = 100;
    int status = http_guard_check(&r, ret_length, &reason);
    ck_assert(status == 0 || (reason != NULL && reason[0] != '\0'));
    return status;
}

#define HEADER(n, v) {n, sizeof(n) - 1, v, sizeof(v) - 1}

START_TEST(test_http_guard_check_gives_the_length)
{
    const struct http_guard_header h[] = {HEADER("hOsT", "x"), HEADER("content-length", "\t 100 ")};
    uint64_t length = 7;
    struct http_guard_request r = {"POST", "/", false, h, 2, 1000, 0, 0};
    ck_assert_int_eq(guard(r, &length), 0);
    ck_assert_uint_eq(length, 100);
    r.num_headers = 1;
    ck_assert_int_eq(guard(r, &length), 0);
    ck_assert_uint_eq(length, 0);
    r.num_headers = 0;
    ck_assert_int_eq(guard(r, &length), 400);
    r.http_1_0 = true;
    ck_assert_int_eq(guard(r, &length), 0);
}
END_TEST

START_TEST(test_http_guard_check_limits)
{
    static struct http_guard_header many[HTTP_GUARD_MAX_HEADERS + 1];
    static char uri[HTTP_GUARD_MAX_URI + 2] = "/";
    uint64_t length;
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = (struct http_guard_header){"X", 1, NULL, 0};
    many[0] = (struct http_guard_header)HEADER("Host", "x");
    struct http_guard_request r = {"GET", "/", false, many, HTTP_GUARD_MAX_HEADERS, 1000, 0, 0};
    ck_assert_int_eq(guard(r, &length), 0);
    r.num_headers++;
    ck_assert_int_eq(guard(r, &length), 431);
    r.num_headers--;
    r.header_bytes = 1001;
    ck_assert_int_eq(guard(r, &length), 431);
    r.header_bytes = 1;
    memset(uri + 1, 'a', HTTP_GUARD_MAX_URI - 1);
    r.uri = uri;
    ck_assert_int_eq(guard(r, &length), 0);
    uri[HTTP_GUARD_MAX_URI] = 'a';
    ck_assert_int_eq(guard(r, &length), 414);
    r.uri = NULL;
    ck_assert_int_eq(guard(r, &length), 400);
    many[1] = (struct http_guard_header)HEADER("Content-Length", "101");
    r.uri = "/";
    ck_assert_int_eq(guard(r, &length), 413);
}
END_TEST

START_TEST(test_http_guard_path_of_each_form)
{
    static const char *const cases[][2] = {
        {"/a/b?c", "/a/b"},       {"/", "/"},           {"/?x", "/"},   {"*", "*"},
        {"http://h:1/a?b", "/a"}, {"https://h", "/"},   {"HTTP://h?q", "/"},
        {"http://", "/"},         {"http:///a", "/a"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t len;
        const char *path = http_guard_path(cases[i][0], &len);
        ck_assert_uint_eq(len, strlen(cases[i][1]));
        ck_assert_int_eq(memcmp(path, cases[i][1], len), 0);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("http requests");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, test_http_request_table);
    tcase_add_test(t, test_http_guard_check_gives_the_length);
    tcase_add_test(t, test_http_guard_check_limits);
    tcase_add_test(t, test_http_guard_path_of_each_form);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
